"""Examples of what a schema describes: every property once, and the first of each alternative.

They are valid, but for what only a person can say: text for a pattern, or for a format that is not
among the common ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import math
from typing import Any, Final

_FORMATS: Final[Mapping[str, str]] = {
    'date': '2025-03-14',
    'date-time': '2025-03-14T09:26:53Z',
    'duration': 'PT15M',
    'email': 'ada@example.com',
    'hostname': 'example.com',
    'ipv4': '192.0.2.1',
    'ipv6': '2001:db8::1',
    'json-pointer': '/name',
    'time': '09:26:53Z',
    'uri': 'https://example.com/',
    'uri-reference': '/',
    'uuid': '7d444840-9dc0-11d1-b245-5ffdce74fad2',
}

_NOTHING: Final = object()
"""Where a schema that refers to itself would go on for ever."""


def example_of(schema: Any, resolve: Callable[[str], Any]) -> Any:
    """An example of what a schema describes.

    Args:
        schema: The schema, as AsyncAPI has it.
        resolve: What a reference stands for.

    Returns:
        Decoded JSON; `None` where there is no finite example.
    """
    made = _Examples(resolve).of(schema, frozenset())
    return None if made is _NOTHING else made


class _Examples:
    def __init__(self, resolve: Callable[[str], Any]) -> None:
        self._resolve = resolve

    def of(self, schema: Any, inside: frozenset[str]) -> Any:
        """An example, or `_NOTHING`.

        Args:
            schema: The schema.
            inside: The references that led to it.
        """
        if not isinstance(schema, dict):
            return None
        reference = schema.get('$ref')
        if isinstance(reference, str):
            if reference in inside:
                return _NOTHING
            return self.of(self._resolve(reference), inside | {reference})
        said = [*schema.get('examples', ()), *schema.get('enum', ())]
        if said or 'const' in schema:
            return said[0] if said else schema['const']
        if 'allOf' in schema:
            return self._all(schema, inside)
        among = schema.get('anyOf') or schema.get('oneOf')
        return self._alternative(schema, among, inside) if among else self._by_type(schema, inside)

    def _alternative(self, schema: dict[str, Any], among: list[Any], inside: frozenset[str]) -> Any:
        """The first that has an example, null at the very last."""
        rest = {key: value for key, value in schema.items() if key not in {'anyOf', 'oneOf'}}
        found = [self.of(each, inside) for each in among]
        found = [each for each in found if each is not _NOTHING]
        chosen = next((each for each in found if each is not None), found[0] if found else _NOTHING)
        if isinstance(chosen, dict) and 'properties' in rest:
            return {**self._object(rest, inside), **chosen}
        return chosen

    def _all(self, schema: dict[str, Any], inside: frozenset[str]) -> Any:
        found = [self.of(each, inside) for each in schema['allOf']]
        if _NOTHING in found:
            return _NOTHING
        if not all(isinstance(each, dict) for each in found):
            return found[0]
        merged: dict[str, Any] = self._object(schema, inside) if 'properties' in schema else {}
        for each in found:
            merged.update(each)
        return merged

    def _by_type(self, schema: dict[str, Any], inside: frozenset[str]) -> Any:
        kinds = schema.get('type', 'object' if 'properties' in schema else 'null')
        kind = kinds if isinstance(kinds, str) else next(each for each in (*kinds, 'null'))
        match kind:
            case 'object':
                return self._object(schema, inside)
            case 'array':
                return self._array(schema, inside)
            case 'string':
                return _text(schema)
            case 'integer' | 'number':
                return _number(schema, whole=kind == 'integer')
            case 'boolean':
                return schema.get('default', True)
        return None

    def _object(self, schema: dict[str, Any], inside: frozenset[str]) -> Any:
        required = schema.get('required', ())
        made = {}
        for name, inner in schema.get('properties', {}).items():
            value = self.of(inner, inside)
            if value is not _NOTHING:
                made[name] = value
            elif name in required:
                return _NOTHING
        others = schema.get('additionalProperties')
        if not made and isinstance(others, dict):
            value = self.of(others, inside)
            made = {} if value is _NOTHING else {_key(schema): value}
        return made

    def _array(self, schema: dict[str, Any], inside: frozenset[str]) -> Any:
        items = schema.get('items', {})
        if isinstance(items, list):
            made = [self.of(each, inside) for each in items]
            return _NOTHING if _NOTHING in made else made
        least = schema.get('minItems', 0)
        item = self.of(items, inside)
        if item is _NOTHING or schema.get('maxItems') == 0:
            return _NOTHING if least else []
        return [item] * max(1, least)


def _key(schema: dict[str, Any]) -> str:
    names = schema.get('propertyNames')
    return _text(names) if isinstance(names, dict) and 'enum' not in names else 'key'


def _text(schema: dict[str, Any]) -> str:
    text = _FORMATS.get(schema.get('format', ''), 'text')
    if isinstance(schema.get('default'), str):
        text = schema['default']
    if schema.get('contentEncoding') in {'base64', 'base64url'}:
        text = 'dGV4dA=='
    least = schema.get('minLength', 0)
    while len(text) < least:
        text += text or 'text'
    most = max(schema.get('maxLength', len(text)), least)
    return text[:most] if 'format' not in schema else text


def _number(schema: dict[str, Any], *, whole: bool) -> float:
    """The number nearest to 1 that is within bounds."""
    if isinstance(schema.get('default'), (int, float)):
        number: float = schema['default']
        return number
    step = schema.get('multipleOf', 1)
    low, high = schema.get('minimum', -math.inf), schema.get('maximum', math.inf)
    gap = step if whole else 0.5
    low = max(low, schema.get('exclusiveMinimum', -math.inf) + gap)
    high = min(high, schema.get('exclusiveMaximum', math.inf) - gap)
    number = max(low, min(1, high))
    if 'multipleOf' in schema:
        number = math.ceil(number / step) * step
    return math.ceil(number) if whole else number
