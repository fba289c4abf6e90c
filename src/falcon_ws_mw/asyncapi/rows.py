"""A schema as the rows of a table: one for each property, and what stands inside of it below.

Schemas with a name are written out where a message first uses them; after that, and where they
refer to themselves, a row points to the place where all of them stand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
import json
from typing import Any, Final, NamedTuple

from falcon_ws_mw.asyncapi.schemas import REFERENCE


class Piece(NamedTuple):
    """A part of what a type is called.

    Attributes:
        text: What it says.
        schema: The name of the schema that it is the name of, if it is.
    """

    text: str
    schema: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        name: The property; `''` for a value that has no name, `[]` for an item.
        type: What its type is called.
        depth: How deep it is nested.
        is_required: Whether it is always there.
        alternative: `'either'` or `'or'` if it heads one of several forms of the row above.
        constraints: What else is asked of it, in short.
        description: What is written about it.
        is_elsewhere: Whether what is inside of it is not written out here.
    """

    name: str
    type: tuple[Piece, ...]
    depth: int = 0
    is_required: bool = False
    alternative: str = ''
    constraints: tuple[str, ...] = ()
    description: str = ''
    is_elsewhere: bool = False


@dataclass(slots=True)
class _Shape:
    """A schema with what is in the way of reading it taken off.

    Attributes:
        schema: The keywords that count, those beside a reference before those behind it.
        name: The name that it was referred to by.
        is_nullable: Whether null is a value too.
        alternatives: What it is one of, null aside.
    """

    schema: dict[str, Any]
    name: str | None = None
    is_nullable: bool = False
    alternatives: list[Any] = field(default_factory=list)


class Rows:
    """Makes the rows of schemas.

    Args:
        resolve: What a reference stands for.
        elsewhere: The names of schemas that are never written out.
    """

    def __init__(
        self, resolve: Callable[[str], Any], elsewhere: frozenset[str] = frozenset()
    ) -> None:
        self._resolve = resolve
        self._elsewhere = elsewhere

    def of(self, schema: Any, name: str | None = None) -> list[Row]:
        """The rows of a schema: its own, and those of what is inside of it.

        Args:
            schema: The schema, as AsyncAPI has it.
            name: Its own name, if it has one.
        """
        shape = self._shape(schema)
        return [*self._rows(_NAMELESS, shape, {*self._elsewhere, *([name] if name else [])})]

    # -- walking

    def _rows(self, row: Row, shape: _Shape, seen: set[str]) -> Iterator[Row]:
        is_elsewhere = shape.name in seen and self._has_inside(shape)
        yield replace(
            row,
            type=self._type(shape),
            constraints=tuple(_constraints(shape.schema)),
            description=str(shape.schema.get('description', '')),
            is_elsewhere=is_elsewhere,
        )
        if is_elsewhere:
            return
        if shape.name is not None:
            seen.add(shape.name)
        yield from self._inside(shape, row.depth + 1, seen)

    def _inside(self, shape: _Shape, depth: int, seen: set[str]) -> Iterator[Row]:
        """The rows below that of a schema."""
        schema = shape.schema
        required = schema.get('required', ())
        for name, inner in schema.get('properties', {}).items():
            row = replace(_NAMELESS, name=name, depth=depth, is_required=name in required)
            yield from self._rows(row, self._shape(inner), seen)
        for name, inner in self._unnamed_parts(schema):
            yield from self._rows(
                replace(_NAMELESS, name=name, depth=depth), self._shape(inner), seen
            )
        shapes = [self._shape(each) for each in shape.alternatives]
        if any(map(self._has_inside, shapes)):
            for number, each in enumerate(shapes):
                row = replace(_NAMELESS, depth=depth, alternative='or' if number else 'either')
                yield from self._rows(row, each, seen)

    def _unnamed_parts(self, schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        """Items and values under any key, as far as they need rows of their own."""
        items = schema.get('items')
        if isinstance(items, list):
            yield from ((f'[{number}]', each) for number, each in enumerate(items))
        elif isinstance(items, dict) and self._needs_row(items):
            yield '[]', items
        for pattern, inner in schema.get('patternProperties', {}).items():
            yield f'/{pattern}/', inner
        others = schema.get('additionalProperties')
        if isinstance(others, dict) and self._needs_row(others):
            yield '*', others

    def _needs_row(self, schema: Any) -> bool:
        shape = self._shape(schema)
        return self._has_inside(shape) or bool([*_constraints(shape.schema)])

    def _has_inside(self, shape: _Shape, depth: int = 0) -> bool:
        schema = shape.schema
        if schema.get('properties') or schema.get('patternProperties'):
            return True
        items, others = schema.get('items'), schema.get('additionalProperties')
        if isinstance(items, list):
            return True
        if depth > _DEEP_ENOUGH:
            return False
        inner = [each for each in (items, others, *shape.alternatives) if isinstance(each, dict)]
        return any(self._has_inside(self._shape(each), depth + 1) for each in inner)

    # -- reading

    def _shape(self, schema: Any) -> _Shape:
        if schema is False:
            return _Shape({'not': {}})
        if not isinstance(schema, dict):
            return _Shape({})
        shape = _Shape({key: value for key, value in schema.items() if key not in _TAKEN_OFF})
        if isinstance(schema.get('$ref'), str):
            self._behind(shape, schema['$ref'])
        for part in schema.get('allOf', ()):
            self._merge(shape, self._shape(part), is_only=len(schema['allOf']) == 1)
        for key in ('anyOf', 'oneOf'):
            shape.alternatives += schema.get(key, ())
        self._take_null(shape)
        return shape

    def _behind(self, shape: _Shape, reference: str) -> None:
        shape.name = reference.removeprefix(REFERENCE)
        target = self._resolve(reference)
        if isinstance(target, dict) and '$ref' not in target:
            self._merge(shape, self._shape(target), is_only=False)

    def _merge(self, shape: _Shape, other: _Shape, *, is_only: bool) -> None:
        properties = {**other.schema.get('properties', {}), **shape.schema.get('properties', {})}
        required = [*shape.schema.get('required', ()), *other.schema.get('required', ())]
        shape.schema = {**other.schema, **shape.schema}
        if properties:
            shape.schema['properties'] = properties
            shape.schema['required'] = required
        shape.alternatives += other.alternatives
        shape.is_nullable |= other.is_nullable
        if is_only:
            shape.name = other.name

    def _take_null(self, shape: _Shape) -> None:
        kinds = shape.schema.get('type')
        if isinstance(kinds, list) and 'null' in kinds and len(kinds) > 1:
            shape.is_nullable = True
            shape.schema['type'] = [kind for kind in kinds if kind != 'null']
        others = [each for each in shape.alternatives if not _is_null(each)]
        if len(others) < len(shape.alternatives):
            shape.is_nullable = True
            shape.alternatives = others
        if len(shape.alternatives) == 1:
            only = self._shape(shape.alternatives.pop())
            name = shape.name or only.name
            self._merge(shape, only, is_only=False)
            shape.name = name

    # -- naming

    def _type(self, shape: _Shape) -> tuple[Piece, ...]:
        pieces = [*self._pieces(shape)]
        if shape.is_nullable:
            pieces.append(Piece(' | null'))
        return tuple(pieces)

    def _pieces(self, shape: _Shape) -> Iterator[Piece]:
        schema = shape.schema
        if shape.name is not None:
            yield Piece(shape.name, shape.name)
        elif shape.alternatives:
            for number, each in enumerate(shape.alternatives):
                yield from [Piece(' | ')] * (number > 0)
                yield from self._type(self._shape(each))
        elif 'type' not in schema:
            yield Piece(_kind_of(schema))
        elif isinstance(schema['type'], list):
            yield Piece(' | '.join(schema['type']))
        else:
            yield from self._pieces_of_kind(schema)

    def _pieces_of_kind(self, schema: dict[str, Any]) -> Iterator[Piece]:
        kind = schema['type']
        items, others = schema.get('items'), schema.get('additionalProperties')
        if kind == 'array' and isinstance(items, dict) and items:
            yield Piece('array of ')
            yield from self._type(self._shape(items))
        elif kind == 'array' and isinstance(items, list):
            yield Piece('tuple')
        elif kind == 'object' and isinstance(others, dict) and not schema.get('properties'):
            yield Piece('map of ')
            yield from self._type(self._shape(others))
        elif 'format' in schema:
            yield Piece(f'{kind} ({schema["format"]})')
        else:
            yield Piece(kind)


_NAMELESS: Final = Row('', ())

_TAKEN_OFF: Final = frozenset({'$ref', 'allOf', 'anyOf', 'oneOf'})

_DEEP_ENOUGH: Final = 8
"""How many arrays and maps within each other are looked into for something to write out."""


def _is_null(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get('type') == 'null'


def _kind_of(schema: dict[str, Any]) -> str:
    """What a schema without a type describes, by what it says."""
    if 'not' in schema and not schema['not']:
        return 'nothing'
    if 'properties' in schema:
        return 'object'
    said = [schema['const']] if 'const' in schema else schema.get('enum', ())
    kinds = dict.fromkeys(_KINDS.get(type(value), 'any') for value in said)
    return ' | '.join(kinds) or 'any'


_KINDS: Final = {
    str: 'string',
    bool: 'boolean',
    int: 'integer',
    float: 'number',
    type(None): 'null',
    list: 'array',
    dict: 'object',
}

_BOUNDS: Final = (
    ('exclusiveMinimum', '> {}'),
    ('exclusiveMaximum', '< {}'),
    ('multipleOf', 'multiple of {}'),
    ('contentEncoding', '{}'),
    ('contentMediaType', '{}'),
    ('pattern', 'matches {}'),
    ('x-pattern', 'matches {}'),
)

_RANGES: Final = (
    ('minLength', 'maxLength', 'character'),
    ('minItems', 'maxItems', 'item'),
    ('minProperties', 'maxProperties', 'key'),
)

_FLAGS: Final = (
    ('uniqueItems', True, 'no item twice'),
    ('additionalProperties', False, 'nothing else'),
    ('deprecated', True, 'deprecated'),
)


def _constraints(schema: dict[str, Any]) -> Iterator[str]:
    """What a schema asks of a value besides its type."""
    if 'const' in schema:
        yield _as_json(schema['const'])
    if 'enum' in schema:
        yield ' | '.join(map(_as_json, schema['enum']))
    yield from _between(schema.get('minimum'), schema.get('maximum'))
    yield from (text.format(schema[key]) for key, text in _BOUNDS if key in schema)
    for low, high, unit in _RANGES:
        yield from _range(schema.get(low), schema.get(high), unit)
    yield from (text for key, value, text in _FLAGS if schema.get(key) is value)
    if 'default' in schema:
        yield f'default {_as_json(schema["default"])}'


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _between(low: float | None, high: float | None) -> Iterator[str]:
    if low is not None and high is not None:
        yield f'{low} to {high}'
    elif low is not None:
        yield f'≥ {low}'
    elif high is not None:
        yield f'≤ {high}'


def _range(low: int | None, high: int | None, unit: str) -> Iterator[str]:
    units = unit if (low if high is None else high) == 1 else f'{unit}s'
    if low is not None and low == high:
        yield f'{low} {units}'
    elif low and high is not None:
        yield f'{low} to {high} {units}'
    elif high is not None:
        yield f'at most {high} {units}'
    elif low:
        yield f'at least {low} {units}'
