"""Payloads of pydantic's models and dataclasses, and of whatever holds them, by pydantic itself.

A model's own configuration decides how strict it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
import re
from typing import Any, Final, get_args, get_origin, get_type_hints, is_typeddict

import orjson
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from falcon_ws_mw.payloads.base import (
    NOT_CONVERTIBLE,
    Direction,
    PayloadLibrary,
    Problem,
    Schemas,
    distinct,
    problem_at,
    refused,
    unwrapped,
)

_PACKAGES: Final = frozenset({'pydantic', 'pydantic_core', 'annotated_types'})
"""Whose types and constraints only pydantic understands."""

_MODES: Final[dict[Direction, Any]] = {'in': 'validation', 'out': 'serialization'}

_NOWHERE: Final = object()


class Pydantic(PayloadLibrary):
    """Converts to whatever has something of pydantic's in it."""

    name = 'pydantic'
    extra = 'pydantic'

    def handles(self, annotation: Any) -> bool:
        """Whether there is a model, a type or a constraint of pydantic's anywhere in it."""
        seen: dict[int, Any] = {}  # the annotations too, for an id to be one thing's only
        ahead = [annotation]
        while ahead:
            part = unwrapped(ahead.pop())
            if id(part) not in seen:
                seen[id(part)] = part
                if _is_pydantics(part):
                    return True
                ahead += (get_origin(part), *get_args(part), *_fields_of(part))
        return False

    def converter(self, annotation: Any) -> Callable[[Any], Any]:
        """The method of pydantic's validator.

        PERF: `TypeAdapter.validate_python` costs half as much again as the validation of a small
        model; the validator is public, and all that it calls.

        Raises:
            TypeError: If pydantic has no validator for this type.
        """
        try:
            validator = TypeAdapter(annotation).validator
        except Exception as error:  # a PydanticUserError, or whatever a hook of a type raises
            reason = str(error).partition('\n')[0]
            raise refused(annotation, self.name, reason) from error
        validate, validate_json = validator.validate_python, validator.validate_json

        def convert(value: Any) -> Any:
            try:
                return validate(value)
            except ValidationError:
                # Where a model is strict, JSON has its own rules: a date is text there.
                try:
                    return validate_json(orjson.dumps(value))
                except (ValidationError, TypeError):
                    pass
                raise

        return convert

    def problems(self, error: Exception, annotation: Any, value: Any) -> list[Problem]:
        """All that is wrong with a value, in pydantic's words."""
        if not isinstance(error, ValidationError):
            return [NOT_CONVERTIBLE]
        found = error.errors(include_url=False, include_input=False)
        return distinct(problem_at(_steps_to(each, value), each['msg']) for each in found)

    def owns(self, value: Any) -> bool:
        """Whether it is a model. Pydantic's dataclasses are dataclasses, which anyone can read.

        PERF: `isinstance` asks the metaclass, and takes longer than to dump a small model.
        """
        return BaseModel in type(value).__mro__

    def to_plain(self, value: Any) -> Any:
        """The model's own dump for JSON, by the names that clients know."""
        return value.model_dump(mode='json', by_alias=True)

    def schemas(
        self, annotations: Sequence[Any], ref_template: str, direction: Direction
    ) -> Schemas:
        """The JSON Schemas that pydantic makes, by the names that clients know."""
        mode = _MODES[direction]
        made, rest = TypeAdapter.json_schemas(
            [(number, mode, TypeAdapter(each)) for number, each in enumerate(annotations)],
            ref_template=ref_template.replace('{name}', '{model}'),
        )
        of = [made[number, mode] for number in range(len(annotations))]
        return Schemas(of, rest.get('$defs', {}))


LIBRARY: Final = Pydantic()


def _is_pydantics(part: Any) -> bool:
    """Whether a part of an annotation says that the whole is pydantic's business."""
    cls = part if isinstance(part, type) else type(part)
    if cls.__module__.partition('.')[0] in _PACKAGES:
        return True
    return issubclass(cls, BaseModel) or '__pydantic_validator__' in vars(cls)


def _fields_of(part: Any) -> list[Any]:
    """The types of the fields of a class that pydantic can look into."""
    if not isinstance(part, type) or not (
        is_dataclass(part) or is_typeddict(part) or issubclass(part, tuple)
    ):
        return []
    try:
        return list(get_type_hints(part, include_extras=True).values())
    except Exception:  # noqa: BLE001  # whoever converts it says what cannot be resolved
        return []


def _steps_to(error: ErrorDetails, value: Any) -> list[object]:
    """The keys and indexes in an error's location, which also names members of unions and tags."""
    steps: list[object] = []
    location, kind = error['loc'], error['type']
    here = value
    for number, step in enumerate(location, 1):
        inner = _inner(here, step)
        if inner is not _NOWHERE:
            steps.append(step)
            here = inner
        elif number == len(location) and kind.startswith('missing'):
            steps.append(step)
    if kind.startswith('union_tag_') and isinstance(here, dict):
        tag_field = re.fullmatch("'([^']+)'", str(error.get('ctx', {}).get('discriminator')))
        steps += tag_field.groups() if tag_field else ()
    return steps


def _inner(here: Any, step: int | str) -> Any:
    """What is one step further in a value."""
    if isinstance(here, dict):
        return here.get(step, _NOWHERE)
    if isinstance(here, (list, tuple)) and isinstance(step, int) and step < len(here):
        return here[step]
    return _NOWHERE
