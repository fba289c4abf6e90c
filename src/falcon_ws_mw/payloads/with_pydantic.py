"""Payloads of pydantic's models and dataclasses, and of whatever holds them, by pydantic itself.

A model's own configuration decides how strict it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from functools import lru_cache
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

_MAX_ERRORS: Final = 1_000
"""How many errors are looked into: pydantic lists all or none, each with the whole way to it."""

_NOT_WALKED: Final = frozenset({'default', 'metadata', 'serialization', 'strict_schema'})
"""What of a core schema is no rule for what comes in, or for strict models only."""

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
        """The method of pydantic's validator, behind which is a reader of JSON for strict models.

        Where a model is strict, JSON has its own rules: a date is text there. What Python's rules
        refuse is then read as JSON, which has the last word. A lax model is validated once.

        PERF: `TypeAdapter.validate_python` costs half as much again as the validation of a small
        model; the validator is public, and all that it calls.

        Raises:
            TypeError: If pydantic has no validator for this type.
        """
        try:
            adapter = TypeAdapter(annotation)
            validate = adapter.validator.validate_python  # where names are resolved at the latest
            validate_json = adapter.validator.validate_json
            json_differs = _has_rules_for_json(adapter.core_schema)
        except Exception as error:  # a PydanticUserError, or whatever a hook of a type raises
            reason = str(error).partition('\n')[0]
            raise refused(annotation, self.name, reason) from error
        return _then_as_json(validate, validate_json) if json_differs else validate

    def problems(self, error: Exception, annotation: Any, value: Any) -> list[Problem]:
        """All that is wrong with a value, in pydantic's words."""
        if not isinstance(error, ValidationError):
            return [NOT_CONVERTIBLE]
        count = error.error_count()
        if count > _MAX_ERRORS:
            return [Problem('', f'{count} values do not fit')]
        found = error.errors(include_url=False, include_input=False)
        return distinct(problem_at(_steps_to(each, value), each['msg']) for each in found)

    def owns(self, value: Any) -> bool:
        """Whether it is a model or one of pydantic's dataclasses, which have aliases too.

        PERF: `isinstance` asks the metaclass, and takes longer than to dump a small model.
        """
        mro = type(value).__mro__
        return BaseModel in mro or any('__pydantic_serializer__' in vars(cls) for cls in mro)

    def to_plain(self, value: Any) -> Any:
        """Pydantic's own dump for JSON, by the names that clients know."""
        if BaseModel in type(value).__mro__:
            return value.model_dump(mode='json', by_alias=True)
        return _adapter_of(value.__class__).dump_python(value, mode='json', by_alias=True)

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


def _then_as_json(
    validate: Callable[[Any], Any], validate_json: Callable[[bytes], Any]
) -> Callable[[Any], Any]:
    """Validation by Python's rules, and of what they refuse by those for JSON."""

    def convert(value: Any) -> Any:
        try:
            return validate(value)
        except ValidationError as error:
            try:
                text = orjson.dumps(value)
            except TypeError:  # from a codec that reads more than JSON has
                raise error from None
        return validate_json(text)

    return convert


def _has_rules_for_json(core_schema: Mapping[str, Any]) -> bool:
    """Whether something of a type is strict, or made of JSON but of nothing else."""
    seen: dict[int, Any] = {}  # the parts too, for an id to be one part's only
    ahead: list[Any] = [core_schema]
    while ahead:
        part = ahead.pop()
        if id(part) in seen:
            continue
        seen[id(part)] = part
        if isinstance(part, (list, tuple)):
            ahead += part
        elif isinstance(part, Mapping):
            if part.get('strict') is True or _is_made_of_json_only(part):
                return True
            is_schema = isinstance(part.get('type'), str)  # else it is by names of the user's
            ahead += (part[key] for key in part if not (is_schema and key in _NOT_WALKED))
    return False


def _is_made_of_json_only(part: Mapping[str, Any]) -> bool:
    """Whether a type of someone's takes, from Python, nothing but its own instances."""
    if part.get('type') != 'json-or-python':
        return False
    return bool(part['python_schema']['type'] == 'is-instance')


@lru_cache(maxsize=1_024)
def _adapter_of(cls: type) -> TypeAdapter[Any]:
    """What dumps the instances of a dataclass. PERF: it takes long to make."""
    return TypeAdapter(cls)


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
