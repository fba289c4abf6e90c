"""The schemas of payloads, as an AsyncAPI 3.0 document takes them.

Payload libraries write JSON Schema 2020-12; AsyncAPI's Schema Object is a superset of draft-07. So
what has another form there is put into that form, and means the same. A class that is described in
two ways, as it is received and as it is sent, gets two names; what is the same has one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import hashlib
import re
from typing import Any, Final, NamedTuple
import unicodedata

from falcon_ws_mw import payloads
from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.payloads.base import Direction, PayloadType, Schema, Schemas

REFERENCE: Final = '#/components/schemas/'

_ONE_SCHEMA: Final = frozenset(
    {
        'additionalItems',
        'additionalProperties',
        'contains',
        'else',
        'if',
        'items',
        'not',
        'propertyNames',
        'then',
    }
)
_LIST_OF_SCHEMAS: Final = frozenset({'allOf', 'anyOf', 'oneOf', 'prefixItems'})
_MAP_OF_SCHEMAS: Final = frozenset({'definitions', 'dependentSchemas', 'properties'})

_MAX_INTEGER: Final = 2**63 - 1
"""What JSON writers and readers take as a whole number; beyond it they round or fail."""


class Names:
    """Names of components, each of which is given once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, wanted: str) -> str:
        """A name that may be a component's key, and that nobody else has.

        Args:
            wanted: What it should look like. What may not stand in a key becomes `_`; if somebody
                has the result already, a hash of what was wanted is added.
        """
        plain = unicodedata.normalize('NFKD', wanted)
        plain = ''.join(char for char in plain if not unicodedata.combining(char))
        base = name = re.sub(r'[^A-Za-z0-9._-]', '_', plain)
        # The hash depends on nothing but the name itself, so that a document stays as it is when
        # other things come and go.
        digest = hashlib.sha256(wanted.encode('utf-8', 'surrogatepass')).hexdigest()
        length = 6
        while name in self._taken:
            name = f'{base}-{digest[:length]}'
            length += 1
        self._taken.add(name)
        return name


class Used(NamedTuple):
    """A payload, and what it is the payload of.

    Attributes:
        where: What errors call it: `ChatRoom: the payload of 'clientTyping'`.
        payload: What it is.
    """

    where: str
    payload: PayloadType


class PayloadSchemas:
    """The schemas of all payloads of an app.

    Args:
        received: The payloads that clients send.
        sent: The payloads that they are sent.

    Attributes:
        components: Name to schema, for what the schemas refer to.

    Raises:
        ConfigurationError: If a payload library cannot describe one of them.
    """

    def __init__(self, received: Sequence[Used], sent: Sequence[Used]) -> None:
        self.components: dict[str, Schema] = {}
        self.names = Names()
        used: dict[Direction, Sequence[Used]] = {'in': received, 'out': sent}
        made = {direction: _made(used[direction], direction) for direction in used}
        apart = _described_in_two_ways(made['in'].components, made['out'].components)
        names = self._names(made['in'].components, made['out'].components, apart)
        self._schemas: dict[tuple[Direction, int], Schema] = {}
        for direction, (of, components) in made.items():
            renamed = names[direction]
            references = {REFERENCE + old: REFERENCE + new for old, new in renamed.items()}
            for name in sorted(components):
                self.components[renamed[name]] = to_asyncapi(components[name], references)
            for each, schema in zip(used[direction], of, strict=True):
                self._schemas[direction, id(each.payload)] = to_asyncapi(schema, references)
        self.components = dict(sorted(self.components.items()))

    def _names(
        self, received: Iterable[str], sent: Iterable[str], apart: frozenset[str]
    ) -> dict[Direction, dict[str, str]]:
        names: dict[Direction, dict[str, str]] = {'in': {}, 'out': {}}
        for name in sorted({*received, *sent}):
            if name in apart:
                names['in'][name] = self.names.take(f'{name}-Input')
                names['out'][name] = self.names.take(f'{name}-Output')
            else:
                names['in'][name] = names['out'][name] = self.names.take(name)
        return names

    def of(self, payload: PayloadType, direction: Direction) -> Schema:
        """The schema of a payload; it has to be among those that were given."""
        return self._schemas[direction, id(payload)]

    def add(self, name: str, schema: Schema) -> Schema:
        """Add a component.

        Returns:
            A reference to it.
        """
        name = self.names.take(name)
        self.components[name] = schema
        return {'$ref': REFERENCE + name}

    def resolved(self, schema: Schema) -> Schema:
        """What a schema says itself: references of nothing else are followed."""
        while '$ref' in schema:
            schema = self.components[schema['$ref'].removeprefix(REFERENCE)]
        return schema

    def admits_empty_object(self, schema: Schema) -> bool:
        """Whether `{}` is one of the values that a schema describes, as far as is easily seen."""
        schema = self.resolved(schema)
        if 'allOf' in schema:
            return all(map(self.admits_empty_object, schema['allOf']))
        for key in ('anyOf', 'oneOf'):
            if key in schema:
                return any(map(self.admits_empty_object, schema[key]))
        kinds = schema.get('type', 'object')
        is_object = kinds == 'object' or 'object' in kinds
        return is_object and not schema.get('required') and not schema.get('minProperties')


def _made(used: Sequence[Used], direction: Direction) -> Schemas:
    """The schemas by the payloads' own libraries.

    Raises:
        ConfigurationError: If one of them fails.
    """
    try:
        return _by_libraries(used, direction)
    except Exception as error:  # a library of the app's own may raise anything
        where = _first_that_fails(used, direction)
        raise ConfigurationError(
            f'{where} cannot be described: {error}; annotate it by a type that has a JSON Schema, '
            'or by Any'
        ) from error


def _by_libraries(used: Sequence[Used], direction: Direction) -> Schemas:
    return payloads.schemas([each.payload for each in used], f'{REFERENCE}{{name}}', direction)


def _first_that_fails(used: Sequence[Used], direction: Direction) -> str:
    """What cannot be described, by itself or beside those before it, as of two of one name."""

    def fails(count: int) -> bool:
        try:
            _by_libraries(used[:count], direction)
        except Exception:  # noqa: BLE001  # that is the question
            return True
        return False

    return used[bisect_left(range(1, len(used)), True, key=fails)].where


def _described_in_two_ways(
    received: Mapping[str, Schema], sent: Mapping[str, Schema]
) -> frozenset[str]:
    """The names that stand for two schemas, or refer to such a name."""
    common = received.keys() & sent.keys()
    apart = {name for name in common if received[name] != sent[name]}
    referring = {name: {*_references(received[name])} for name in common - apart}
    while more := {name for name, to in referring.items() if to & apart}:
        apart |= more
        referring = {name: to for name, to in referring.items() if name not in more}
    return frozenset(apart)


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == '$ref' and isinstance(value, str):
                yield value.removeprefix(REFERENCE)
            else:
                yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


# -- from 2020-12 to draft-07


def to_asyncapi(schema: Any, references: Mapping[str, str] | None = None) -> Any:
    """A JSON Schema 2020-12 as AsyncAPI's Schema Object: draft-07 and a little more.

    Args:
        schema: The schema.
        references: What references become that are to become something else.
    """
    if not isinstance(schema, dict):
        return schema

    def convert(inner: Any) -> Any:
        return to_asyncapi(inner, references)

    made = {key: _converted(key, value, convert) for key, value in schema.items()}
    _convert_tuple(made)
    _convert_dependencies(made)
    _convert_discriminator(made, references or {})
    _convert_patterns(made)
    if isinstance(made.get('$ref'), str):
        return _convert_reference(made, references or {})
    return made


def _converted(key: str, value: Any, convert: Callable[[Any], Any]) -> Any:
    if key in _ONE_SCHEMA:
        return [*map(convert, value)] if isinstance(value, list) else convert(value)
    if key in _LIST_OF_SCHEMAS:
        return [*map(convert, value)]
    if key in _MAP_OF_SCHEMAS:
        return {name: convert(inner) for name, inner in value.items()}
    if key == 'patternProperties':
        return {portable_pattern(name) or '': convert(inner) for name, inner in value.items()}
    if isinstance(value, int) and abs(value) > _MAX_INTEGER:
        return float(value)
    return value


def _convert_tuple(schema: Schema) -> None:
    if 'prefixItems' in schema:
        if 'items' in schema:
            schema['additionalItems'] = schema['items']
        schema['items'] = schema.pop('prefixItems')


def _convert_dependencies(schema: Schema) -> None:
    dependencies = {
        **schema.pop('dependentSchemas', {}),
        **schema.pop('dependentRequired', {}),
    }
    if dependencies:
        schema['dependencies'] = dependencies


def _convert_discriminator(schema: Schema, references: Mapping[str, str]) -> None:
    """OpenAPI's `discriminator` is an object; AsyncAPI's is a name, and means something else.

    The alternatives carry their tags as `const` or `enum`, so nothing is lost to who validates.
    """
    discriminator = schema.get('discriminator')
    if isinstance(discriminator, dict):
        del schema['discriminator']
        mapping = discriminator.get('mapping')
        if mapping:
            mapping = {tag: references.get(to, to) for tag, to in mapping.items()}
            discriminator = {**discriminator, 'mapping': mapping}
        schema['x-discriminator'] = discriminator


def _convert_patterns(schema: Schema) -> None:
    pattern = schema.get('pattern')
    if isinstance(pattern, str):
        portable = portable_pattern(pattern)
        if portable is None:
            schema['x-pattern'] = schema.pop('pattern')
        else:
            schema['pattern'] = portable


def _convert_reference(schema: Schema, references: Mapping[str, str]) -> Schema:
    target = schema.pop('$ref')
    reference = {'$ref': references.get(target, target)}
    if not schema:
        return reference
    # In draft-07 whatever stands beside a `$ref` is ignored.
    return {**schema, 'allOf': [reference, *schema.get('allOf', ())]}


_OURS_ALONE: Final = re.compile(r'\(\?(?:[aiLmsux-]|#|>|\()|[*+?}]\+|\[\[:')
"""What regular expressions of Python or Rust know and those of ECMA-262 do not."""

_INSIDE_OF_CLASS: Final = re.compile(r'\\.|\[\^?\]?[^\[\]\\]+\]')
"""An escape, or a class of characters: what looks like an operator there is none."""

_ANCHORS: Final = {'A': '^', 'Z': '$', 'z': '$'}


def portable_pattern(pattern: str) -> str | None:
    """A regular expression as ECMA-262 has it, which is what JSON Schema means.

    Returns:
        `None` if it says something that cannot be said there.
    """
    if _OURS_ALONE.search(_INSIDE_OF_CLASS.sub('_', pattern)):
        return None
    pattern = pattern.replace('(?P<', '(?<')
    pattern = re.sub(r'\(\?P=(\w+)\)', r'\\k<\1>', pattern)
    return re.sub(r'\\(.)', lambda found: _ANCHORS.get(found[1], found[0]), pattern)
