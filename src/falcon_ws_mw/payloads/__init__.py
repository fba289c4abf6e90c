"""Which library converts which payloads: chosen here, once, when the app starts.

An annotation goes to the first that wants it: libraries that the app registered, the latest first;
then what needs no extra, pydantic, msgspec. A union that the chosen one refuses is tried member by
member. Nothing here imports an extra before something of it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
from dataclasses import fields
import datetime as dt
import decimal
from functools import cache, lru_cache
import importlib
import operator
import re
import sys
from typing import Any, Final

import orjson

from falcon_ws_mw.payloads.base import (
    NOT_CONVERTIBLE,
    Direction,
    PayloadLibrary,
    PayloadType,
    Problem,
    Schema,
    Schemas,
    admits_null,
    described,
    distinct,
    is_mapping,
    problem_at,
    union_members,
)
from falcon_ws_mw.payloads.plain_types import LIBRARY as PLAIN

_registered: list[PayloadLibrary] = []

_MARKS: Final = (('__struct_config__', 'msgspec'), ('__pydantic_serializer__', 'pydantic'))
"""What only the classes of values have that an extra owns: where one is, so is the extra."""

_PLAIN_CLASSES: Final = frozenset({str, int, float, bool, type(None)})


def register_payload_library(library: PayloadLibrary) -> None:
    """Let a library convert payloads: it is asked before all others, from now on.

    Register before the app starts, as annotations are read then.

    Args:
        library: An instance of it. Registered again, it is asked first again.

    Raises:
        TypeError: If it is no instance of `PayloadLibrary`.
    """
    if not isinstance(library, PayloadLibrary):
        raise TypeError(
            f'{library!r:.100} is no payload library: expected an instance of a subclass of '
            'PayloadLibrary'
        )
    if library in _registered:
        _registered.remove(library)
    _registered.insert(0, library)


def payload_type(annotation: Any) -> PayloadType:
    """Choose what converts the payloads that are annotated so.

    Args:
        annotation: The annotation, resolved.

    Returns:
        What converts them, checked to be able to.

    Raises:
        TypeError: If nobody can, or the extra that could is not installed.
    """
    for library in _registered:
        if library.handles(annotation):
            return _made_by(library, annotation)
    members = union_members(annotation)
    if any(library.handles(member) for library in _registered for member in members):
        return _member_by_member(annotation, members)
    try:
        return _made_by(_built_in_for(annotation), annotation)
    except TypeError:
        if not members:
            raise
        return _member_by_member(annotation, members)


JSON_OPTIONS: Final = orjson.OPT_PASSTHROUGH_DATACLASS
"""With `to_json_default` for orjson. It would write a dataclass by its `__dict__`, in which fields
that have their defaults may be missing."""

_BY_MSGSPEC: Final = (
    decimal.Decimal,
    set,
    frozenset,
    bytes,
    bytearray,
    memoryview,
    dt.timedelta,
)
"""What msgspec reads and orjson does not write."""


def to_json_default(value: Any) -> Any:
    """Make plain what orjson does not know: for its `default=`, beside `JSON_OPTIONS`.

    Args:
        value: What orjson came across. Dates, UUIDs and enums it knows itself.

    Returns:
        What stands for it in JSON, as dicts, lists, text and numbers.

    Raises:
        TypeError: If no payload library knows it either.
    """
    library = _owner_of(value)
    if library is None and _is_dataclass(type(value)):
        return dict(_fields_of(value))
    if library is None and isinstance(value, _BY_MSGSPEC):
        with contextlib.suppress(ImportError):
            library = _built_in('msgspec')
    if library is None:
        raise TypeError(
            f'{type(value).__qualname__} is not JSON serializable: expected what orjson takes, a '
            'dataclass, a msgspec.Struct, a pydantic model or a value of a registered payload '
            'library'
        )
    return library.to_plain(value)


def plain(value: Any) -> Any:
    """Make plain what only we know, for encoders that are not orjson.

    Args:
        value: Anything. Dicts, lists and tuples are looked into, their subclasses are not.

    Returns:
        The value itself if there is nothing of ours in it, else a copy in which dicts stand for
        dataclasses, Structs and models. What else there is remains the encoder's affair.
    """
    cls = value.__class__
    if cls in _PLAIN_CLASSES:
        return value
    if cls is dict:
        new = [plain(inner) for inner in value.values()]
        same = all(map(operator.is_, value.values(), new))
        return value if same else dict(zip(value, new, strict=True))
    if cls is list or cls is tuple:
        new = [plain(inner) for inner in value]
        return value if all(map(operator.is_, value, new)) else cls(new)
    library = _owner_of(value)
    if library is None and _is_dataclass(cls):
        return {name: plain(inner) for name, inner in _fields_of(value)}
    return value if library is None else library.to_plain(value)


def is_typed(value: object) -> bool:
    """Whether a value is a dataclass's instance or of a payload library's types."""
    return _is_dataclass(type(value)) or _owner_of(value) is not None


def schemas(
    types: Sequence[PayloadType | None], ref_template: str, direction: Direction
) -> Schemas:
    """Describe payloads, each by the library that converts it.

    Args:
        types: What they are; `None` for anything.
        ref_template: What a reference looks like, with `{name}` for a component's name.
        direction: Which form to describe.

    Returns:
        One schema for each type, and the components of all. A component's name that two libraries
        use has the library's name before it.

    Raises:
        TypeError: If a library cannot describe them.
    """
    members = [_members_of(each) for each in types]
    by_library: dict[PayloadLibrary, list[Any]] = {}
    for each in sum(members, ()):
        by_library.setdefault(each.library, []).append(each.annotation)
    made = {
        library: library.schemas(annotations, ref_template, direction)
        for library, annotations in by_library.items()
    }
    of, components = _kept_apart(made, ref_template)
    return Schemas(
        [_any_of([next(of[each.library]) for each in group]) for group in members], components
    )


# -- choosing


@cache
def _built_in(name: str) -> PayloadLibrary:
    """A library whose module imports an extra."""
    library: Any = importlib.import_module(f'{__name__}.with_{name}').LIBRARY
    if name == 'msgspec':
        library.foreign_to_plain = to_json_default  # models within a Struct go out by pydantic
    found: PayloadLibrary = library
    return found


def _built_in_for(annotation: Any) -> PayloadLibrary:
    if PLAIN.handles(annotation):
        return PLAIN
    if sys.modules.get('pydantic') is not None:  # else nothing in an annotation can be its
        try:
            pydantic = _built_in('pydantic')
        except ImportError:  # pydantic 1
            pass
        else:
            if pydantic.handles(annotation):
                return pydantic
    try:
        return _built_in('msgspec')
    except ImportError as error:
        raise TypeError(
            f"{described(annotation)} needs msgspec: pip install 'falcon-ws-mw[msgspec]'; without "
            'it expected dict, list, str, int, float, bool, None or a union of these'
        ) from error


def _made_by(library: PayloadLibrary, annotation: Any) -> PayloadType:
    return PayloadType(
        annotation,
        library,
        library.converter(annotation),
        admits_null=admits_null(annotation),
        is_mapping=is_mapping(annotation),
    )


# -- unions that no library takes whole


class _EachMember(PayloadLibrary):
    """Converts to the first member of a union that fits, each by its own library."""

    name = 'union'

    def __init__(self, members: tuple[PayloadType, ...]) -> None:
        self.members = members

    def handles(self, annotation: Any) -> bool:
        return False

    def converter(self, annotation: Any) -> Callable[[Any], Any]:
        members = self.members

        def convert(value: Any) -> Any:
            errors = []
            for member in members:
                try:
                    return member.convert(value)
                except Exception as error:  # noqa: BLE001  # raised below, with the others
                    errors.append(error)
            try:
                raise ExceptionGroup('no member of the union fits', errors)
            finally:
                del errors  # else each error would hold, by its traceback, itself

        return convert

    def problems(self, error: Exception, annotation: Any, value: Any) -> list[Problem]:
        if not isinstance(error, ExceptionGroup) or len(error.exceptions) != len(self.members):
            return [NOT_CONVERTIBLE]
        return distinct(
            Problem(problem.path, problem_at((), f'{name}: {problem.message}').message)
            for member, inner in zip(self.members, error.exceptions, strict=True)
            for name in [described(member.annotation)]
            for problem in member.problems(inner, value)
        )

    def owns(self, value: Any) -> bool:
        return False

    def to_plain(self, value: Any) -> Any:
        return plain(value)

    def schemas(
        self, annotations: Sequence[Any], ref_template: str, direction: Direction
    ) -> Schemas:
        of, components = schemas(self.members, ref_template, direction)
        return Schemas([_any_of(of) for _ in annotations], components)


def _member_by_member(annotation: Any, members: tuple[Any, ...]) -> PayloadType:
    return _made_by(_EachMember(tuple(map(payload_type, members))), annotation)


def _members_of(type_: PayloadType | None) -> tuple[PayloadType, ...]:
    """What is converted by one library each: several for a union, none for anything."""
    if type_ is None:
        return ()
    if isinstance(type_.library, _EachMember):
        return sum(map(_members_of, type_.library.members), ())
    return (type_,)


# -- values


def _is_dataclass(cls: type) -> bool:
    return hasattr(cls, '__dataclass_fields__')


def _fields_of(value: Any) -> Iterator[tuple[str, Any]]:
    """The fields of a dataclass that go out: those that begin with `_` do not."""
    for field in fields(value):
        if not field.name.startswith('_'):
            yield field.name, getattr(value, field.name)


def _owner_of(value: Any) -> PayloadLibrary | None:
    """The library that a value is of one of the types of."""
    for library in _registered:
        if library.owns(value):
            return library
    return _extra_of(value.__class__)


@lru_cache(maxsize=1_024)
def _extra_of(cls: type) -> PayloadLibrary | None:
    """The library with an extra that owns the instances of a class.

    PERF: what a model's class does not have, its metaclass looks for in Python.
    """
    for attribute, name in _MARKS:
        if hasattr(cls, attribute) and not issubclass(cls, type):  # a metaclass describes it
            return _built_in(name)
    return None


# -- schemas


def _any_of(alternatives: list[Schema]) -> Schema:
    if len(alternatives) == 1:
        return alternatives[0]
    return {'anyOf': alternatives} if alternatives else {}


def _kept_apart(
    made: Mapping[PayloadLibrary, Schemas], ref_template: str
) -> tuple[dict[PayloadLibrary, Iterator[Schema]], dict[str, Schema]]:
    """What libraries describe, without two components of one name."""
    of: dict[PayloadLibrary, Iterator[Schema]] = {}
    components: dict[str, Schema] = {}
    taken = [name for part in made.values() for name in part.components]
    shared = {name for name in taken if taken.count(name) > 1}
    for library, part in made.items():
        names = {
            name: _qualified(library, name, taken) for name in part.components if name in shared
        }
        references = {
            ref_template.format(name=old): ref_template.format(name=new)
            for old, new in names.items()
        }
        of[library] = iter([_renamed(schema, references) for schema in part.of])
        for name, schema in part.components.items():
            components[names.get(name, name)] = _renamed(schema, references)
    return of, components


def _qualified(library: PayloadLibrary, name: str, taken: list[str]) -> str:
    name = re.sub(r'[^a-zA-Z0-9.\-_]', '_', f'{library.name}.{name}')
    while name in taken:
        name += '_'
    taken.append(name)
    return name


def _renamed(schema: Any, references: Mapping[str, str]) -> Any:
    """A schema in which references go elsewhere; those in a `mapping` of tags are plain values."""
    if not references:
        return schema
    if isinstance(schema, dict):
        return {
            key: references.get(inner, inner)
            if isinstance(inner, str)
            else _renamed(inner, references)
            for key, inner in schema.items()
        }
    if isinstance(schema, list):
        return [_renamed(inner, references) for inner in schema]
    return schema
