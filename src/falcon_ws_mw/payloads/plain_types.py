"""Payloads of the types that decoded JSON has anyway: checked here, without any extra.

Nothing is looked into: `dict` is any object, and what its keys hold is the handler's affair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from types import NoneType
from typing import Any, Final, get_args, get_origin

from falcon_ws_mw.payloads.base import (
    NOT_CONVERTIBLE,
    Direction,
    PayloadLibrary,
    Problem,
    Schema,
    Schemas,
    problem_at,
    refused,
    union_members,
    unwrapped,
)

_CLASSES: Final[dict[object, type]] = {
    Any: object,
    object: object,
    None: NoneType,
    NoneType: NoneType,
    dict: dict,
    Mapping: dict,
    MutableMapping: dict,
    list: list,
    str: str,
    int: int,
    float: float,
    bool: bool,
}
"""Annotation to the class of the values that it admits."""

_JSON_NAMES: Final[dict[type, str]] = {
    NoneType: 'null',
    dict: 'object',
    list: 'array',
    str: 'string',
    int: 'integer',
    float: 'number',
    bool: 'boolean',
}

_SHOWN: Final[dict[type, str]] = {NoneType: 'null', dict: 'object', list: 'array'}
"""What msgspec calls them, where that is not Python's name."""


class Mismatch(TypeError):
    """A value is of none of the types that were asked for."""


class PlainTypes(PayloadLibrary):
    """Converts to `dict`, `list`, text, numbers, booleans, null, anything, and unions of these."""

    name = 'plain'

    def handles(self, annotation: Any) -> bool:
        """Whether it is one of these types, or a union of them alone."""
        return bool(_classes_of(annotation))

    def converter(self, annotation: Any) -> Callable[[Any], Any]:
        """What lets values of these types through, as they are; `float` takes whole numbers too.

        Raises:
            TypeError: If the annotation is something else.
        """
        classes = _classes_of(annotation)
        if not classes:
            raise refused(annotation, self.name, 'it is none of the types that JSON has')
        if object in classes:
            return _as_it_is
        if float in classes and int not in classes:
            return _with_floats(_letting_through(classes))
        return _letting_through(classes)

    def problems(self, error: Exception, annotation: Any, value: Any) -> list[Problem]:
        """What is wrong with a value: only ever what it is."""
        return [problem_at((), str(error)) if isinstance(error, Mismatch) else NOT_CONVERTIBLE]

    def owns(self, value: Any) -> bool:
        """No value: what this converts to is plain already."""
        return False

    def to_plain(self, value: Any) -> Any:
        """The value itself."""
        return value

    def schemas(
        self, annotations: Sequence[Any], ref_template: str, direction: Direction
    ) -> Schemas:
        """The JSON Schemas of these types; there are no components."""
        return Schemas([_schema_of(_classes_of(annotation)) for annotation in annotations], {})


LIBRARY: Final = PlainTypes()


def _classes_of(annotation: Any) -> tuple[type, ...]:
    """The classes whose instances an annotation admits; none if it is not for this library."""
    annotation = unwrapped(annotation)
    members = union_members(annotation)
    if members:
        found = [_classes_of(member) for member in members]
        return tuple(dict.fromkeys(sum(found, ()))) if all(found) else ()
    cls = _class_of(annotation)
    return () if cls is None else (cls,)


def _class_of(annotation: Any) -> type | None:
    *keys, values = get_args(annotation) or (Any,)
    try:
        if values in {Any, object} and {*keys} <= {str, Any, object}:
            return _CLASSES.get(get_origin(annotation) or annotation)
    except TypeError:  # it cannot be hashed: nothing of ours
        pass
    return None


def _as_it_is(value: Any) -> Any:
    return value


def _letting_through(classes: tuple[type, ...]) -> Callable[[Any], Any]:
    """What lets the instances of some classes through. A boolean is no number here."""
    exactly = frozenset(classes)
    expected = ' | '.join(_SHOWN.get(cls, cls.__name__) for cls in classes)

    def convert(value: Any) -> Any:
        cls = value.__class__
        if cls in exactly or (isinstance(value, classes) and cls is not bool):
            return value
        raise Mismatch(f'Expected `{expected}`, got `{_SHOWN.get(cls, cls.__name__)}`')

    return convert


def _with_floats(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same, where a whole number is meant to be a float."""
    return lambda value: float(value) if type(value) is int else convert(value)


def _schema_of(classes: tuple[type, ...]) -> Schema:
    if object in classes:
        return {}
    names = [_JSON_NAMES[cls] for cls in classes]
    return {'type': names[0] if len(names) == 1 else names}
