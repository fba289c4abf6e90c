"""What of JSON is taken from a client: how deep it nests, what repeats, which numbers it has.

By default orjson alone decides what is JSON, and depth is bounded besides: what is nested deeper
than orjson can write could be read and not be answered, and kills what walks it recursively. What
else may be asked for is looked up in the text itself, once orjson has said that it is JSON: objects
tell neither a key that stood twice nor a whole number that became a float.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
import json
import re
import sys
from typing import Any, Final, Literal, get_args

import orjson

from falcon_ws_mw.errors import ConfigurationError, MalformedMessage
from falcon_ws_mw.errors.base import shortened

DuplicateKeys = Literal['last', 'refuse']
"""What a key does that stands twice in an object: the last one counts, or the message is refused
(RFC 8259 §4: names should be unique)."""

Integers = Literal['any', 'safe']
"""Which whole numbers are taken: any, or those within ±(2⁵³-1) (RFC 8259 §6)."""

NonFinite = Literal['refuse', 'accept']
"""What becomes of `NaN`, `Infinity` and `-Infinity`, which are no JSON."""

_MAX_MAX_DEPTH: Final = 1000
"""Below what orjson itself reads, 1024, so that the bound is always ours."""

_MAX_SAFE_INTEGER: Final = 2**53 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """What is taken of what clients send. What is refused is a malformed message, an error 400.

    The depth holds for everything that is decoded, whoever decodes it. The rest is said of text
    that the library reads: where the app has a TEXT media handler of its own, it decides.

    Args:
        max_depth: How deep arrays and objects may stand in each other, the message itself counted
            (default 32, from 1 to 1000). `None` for what the decoder takes: 1024 in text. orjson
            writes 254, so what is nested deeper cannot be sent back.
        duplicate_keys: What a key does that stands twice in an object: `'last'` (default) takes
            the last one, `'refuse'` refuses the message.
        integers: Which whole numbers are taken: `'any'` (default), of which those that 64 bits
            cannot hold become floats; or `'safe'`, within ±(2⁵³-1), which every reader of JSON
            takes exactly. What has a fraction or an exponent is no whole number.
        non_finite: Whether `NaN`, `Infinity` and `-Infinity` are taken: `'refuse'` (default) or
            `'accept'`. They go out as null. A number that is too large for a float is refused
            either way.

    Raises:
        ConfigurationError: If an option is none of these.
    """

    max_depth: int | None = 32
    duplicate_keys: DuplicateKeys = 'last'
    integers: Integers = 'any'
    non_finite: NonFinite = 'refuse'

    def __post_init__(self) -> None:
        depth: object = self.max_depth
        if depth is not None and (
            not isinstance(depth, int)
            or isinstance(depth, bool)
            or not 1 <= depth <= _MAX_MAX_DEPTH
        ):
            raise ConfigurationError(
                f'Decoding.max_depth={shortened(depth)}: expected an int from 1 to '
                f'{_MAX_MAX_DEPTH}, or None for no bound but that of what decodes'
            )
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in get_args(choices):
                expected = ' or '.join(map(repr, get_args(choices)))
                raise ConfigurationError(f'Decoding.{name}={shortened(value)}: expected {expected}')

    @property
    def is_plain(self) -> bool:
        """Whether text is what a decoder says, and nothing but its depth is looked at."""
        return (self.duplicate_keys, self.integers, self.non_finite) == ('last', 'any', 'refuse')


_CHOICES: Final = {
    'duplicate_keys': DuplicateKeys,
    'integers': Integers,
    'non_finite': NonFinite,
}

DEFAULT_DECODING: Final = Decoding()
"""What is taken where nobody says anything."""


# -- depth

_ONE_KIND: Final = bytes.maketrans(b'{}', b'[]')
_NEITHER_BRACKETS_NOR_QUOTES: Final = bytes(sorted(set(range(256)) - set(b'[]{}"')))

_MAX_PEELED: Final = 8
"""How many levels are peeled off: it costs little for each, but as much for a few that are high."""

_STEPS: Final = bytes.maketrans(b'[]', array('b', [1, -1]).tobytes())

_CONTAINERS: Final = (dict, list, tuple)


class Depth:
    """How deep messages may nest.

    Args:
        max_depth: How deep, the message itself counted; `None` for any depth.

    Attributes:
        harmless_bytes: What has no more bytes is not too deep, as each level takes one.
        harmless_characters: JSON of no more characters is not too deep, as each level takes two.
        harmless_text: JSON without arrays of no more characters is not too deep, as each object
            around another takes five.
        harmless_offset: JSON without arrays is not too deep if no object begins here or later, as
            the objects around it have keys, and begin four characters before each other.
    """

    __slots__ = (
        '_max_depth',
        'harmless_bytes',
        'harmless_characters',
        'harmless_offset',
        'harmless_text',
    )

    def __init__(self, max_depth: int | None) -> None:
        self._max_depth = sys.maxsize if max_depth is None else max_depth
        self.harmless_bytes = self._max_depth
        self.harmless_characters = 2 * self._max_depth
        self.harmless_text = 5 * self._max_depth
        self.harmless_offset = 4 * self._max_depth

    def is_too_deep(self, text: str) -> bool:
        """Whether JSON is too deep. Of what is no JSON it says anything.

        PERF: a call of this costs more than the attributes, which say it of most messages.
        """
        if text.count('[') + text.count('{') <= self._max_depth:
            return False
        return _depth_of_json(text) > self._max_depth

    def checking(self, load: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """What reads frames of any format, of which only the object shows how deep it is.

        Args:
            load: What reads them to any depth.
        """

        def load_checked(raw: str | bytes) -> Any:
            message = load(raw)
            if len(raw) > self.harmless_bytes:
                self.check(message)
            return message

        return load_checked

    def check(self, message: object, message_id: str | int | None = None) -> None:
        """Check how deep a decoded object is, level by level.

        Args:
            message: The object.
            message_id: The id of the message that it is of, where that is known already.

        Raises:
            MalformedMessage: If it is too deep, or contains itself.
        """
        level: dict[int, Any] = {0: message} if isinstance(message, _CONTAINERS) else {}
        for _ in range(self._max_depth):
            # By identity, since YAML and CBOR can put one object into many places.
            level = {
                id(inner): inner
                for outer in level.values()
                for inner in (outer.values() if isinstance(outer, dict) else outer)
                if isinstance(inner, _CONTAINERS)
            }
            if not level:
                return
        raise self.exceeded(message_id)

    def exceeded(self, message_id: str | int | None = None) -> MalformedMessage:
        """What a client is told of a message that is too deep."""
        return MalformedMessage(
            f'arrays and objects are nested deeper than {self._max_depth}, which is the most here',
            id=message_id,
        )


def _depth_of_json(text: str) -> int:
    """How deep JSON nests, by its brackets alone.

    PERF: many small objects that lie side by side are common, and to walk them takes longer than
    to decode them. This looks at each character a few times, in C, whatever it is.
    """
    if '\\' in text:
        text = text.replace('\\\\', '').replace('\\"', '')
    brackets = text.encode(errors='replace').translate(_ONE_KIND, _NEITHER_BRACKETS_NOR_QUOTES)
    brackets = brackets.replace(b'""', b'')
    if b'"' in brackets:  # some stand in strings: take what is outside
        brackets = b''.join(brackets.split(b'"')[::2])
    peeled = 0
    while brackets and peeled < _MAX_PEELED:
        brackets = brackets.replace(b'[]', b'')  # what is innermost: all is one less deep
        peeled += 1
    return peeled + max(accumulate(array('b', brackets.translate(_STEPS))), default=0)


# -- what text says and objects do not

_STRING: Final = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
"""A string, or what begins like one and never ends: no character is looked at twice."""

_KEYS: Final = re.compile(rf'({_STRING})(\s*+:)?|[{{}}]', re.DOTALL)
_NUMBERS: Final = re.compile(rf'{_STRING}|([0-9]++)(\.[0-9]++)?([eE][-+]?[0-9]++)?', re.DOTALL)
_NON_FINITE: Final = re.compile(rf'{_STRING}|-?Infinity|NaN', re.DOTALL)
_MANY_DIGITS: Final = re.compile(f'[0-9]{{{len(str(_MAX_SAFE_INTEGER))}}}')


def text_reader(decoding: Decoding) -> Callable[[str], Any]:
    """What reads text by the rules, but for its depth.

    Returns:
        Text to object: orjson itself if no rule needs more. Raises `MalformedMessage` where a rule
        is broken, and else what decoders raise.
    """
    if decoding.is_plain:
        return orjson.loads
    loads = orjson.loads if decoding.non_finite == 'refuse' else _loads_with_non_finite
    checks: list[Callable[[str], None]] = []
    if decoding.duplicate_keys == 'refuse':
        checks.append(_check_keys)
    if decoding.integers == 'safe':
        checks.append(_check_integers)

    def read(text: str) -> Any:
        message = loads(text)
        for check in checks:
            check(text)
        return message

    return read


def _check_keys(text: str) -> None:
    """Refuse JSON in which a key stands twice in an object, however it is written."""
    open_objects: list[set[str]] = []
    for found in _KEYS.finditer(text):
        string, colon = found.groups()
        if colon is not None:
            key = orjson.loads(string)
            if key in open_objects[-1]:
                raise MalformedMessage(
                    f'the key {shortened(key)} stands twice in one object, and may stand once',
                    decoded=False,
                )
            open_objects[-1].add(key)
        elif string is None:
            if found[0] == '{':
                open_objects.append(set())
            else:
                open_objects.pop()


def _check_integers(text: str) -> None:
    """Refuse JSON with whole numbers that some readers round."""
    if _MANY_DIGITS.search(text) is None:
        return
    for found in _NUMBERS.finditer(text):
        digits, fraction, exponent = found.groups()
        if digits is None or fraction is not None or exponent is not None:
            continue
        if int(digits) > _MAX_SAFE_INTEGER:  # some 300 digits at most, or orjson had refused it
            raise MalformedMessage(
                f'a whole number of {len(digits)} digits is beyond ±(2⁵³-1): send it as text',
                decoded=False,
            )


def _loads_with_non_finite(text: str) -> Any:
    """Read JSON in which numbers may be `NaN`, `Infinity` and `-Infinity`.

    Python's own decoder reads them, but takes what orjson refuses. So orjson is asked about the
    text in which they are null.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        if 'NaN' not in text and 'Infinity' not in text:
            raise
    orjson.loads(_NON_FINITE.sub(_null_for_non_finite, text))
    return json.loads(text, parse_int=_int_as_orjson_does)


def _null_for_non_finite(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith('"') else 'null'


def _int_as_orjson_does(digits: str) -> int | float:
    """A whole number that orjson can write too."""
    number = int(digits)
    return number if -(2**63) <= number < 2**64 else float(number)
