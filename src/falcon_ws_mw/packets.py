r"""What processes say to each other, as bytes: a head of JSON, and frames as they go out.

A frame is encoded by whoever sends it, once for the whole cluster; nobody encodes it again. Where
the routes of an app speak several envelopes there is one frame for each of them.

    b'\x01' | length of the head, 4 bytes, big-endian | head | frames

The head is `[operation, origin, number, facts, [[wire, is_text, bytes], …]]`. Packets are data,
never pickles: whatever else arrives is refused.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

from falcon_ws_mw.frames import Frame, binary_frame, raw_of

VERSION: Final = b'\x01'
"""Of the form above. Processes that speak another ignore what they do not know, and count it."""

_HEAD: Final = 5


class UnreadablePacket(ValueError):
    """Some bytes are no packet that this process can read."""


class Variant(NamedTuple):
    """A frame, and who is to get it.

    Attributes:
        wire: The name of the envelope that it is in; `None` if it is for whatever envelope.
        frame: The frame.
    """

    wire: str | None
    frame: Frame


@dataclass(frozen=True, slots=True)
class Packet:
    """One thing that a process says to others.

    Attributes:
        operation: What they are to do.
        origin: The process that says it.
        number: Its number among those of its origin: that of a later one is higher.
        facts: What there is to know: anything that can be JSON.
        variants: The frames to deliver.
    """

    operation: str
    origin: str
    number: int
    facts: Mapping[str, Any]
    variants: tuple[Variant, ...] = field(default=())

    def encode(self) -> bytes:
        """The packet as bytes.

        Raises:
            TypeError: If the facts cannot be JSON.
        """
        raws = [raw_of(variant.frame) for variant in self.variants]
        bodies = [raw.encode() if isinstance(raw, str) else raw for raw in raws]
        described = [
            (variant.wire, isinstance(raw, str), len(body))
            for variant, raw, body in zip(self.variants, raws, bodies, strict=True)
        ]
        head = orjson.dumps((self.operation, self.origin, self.number, self.facts, described))
        return b''.join((VERSION, len(head).to_bytes(4), head, *bodies))


def decode(data: bytes) -> Packet:
    """Read a packet.

    Raises:
        UnreadablePacket: If it is none.
    """
    if data[:1] != VERSION:
        raise UnreadablePacket(f'it begins with {data[:1]!r}: expected {VERSION!r}')
    start = _HEAD + int.from_bytes(data[1:_HEAD])
    try:
        operation, origin, number, facts, described = orjson.loads(data[_HEAD:start])
        variants = []
        for wire, is_text, length in described:
            body = data[start : start + length]
            start += length
            if len(body) != length:
                raise UnreadablePacket('a frame is cut short')
            frame: Frame
            if is_text:
                frame = {'type': 'websocket.send', 'text': body.decode()}
            else:
                frame = binary_frame(body)
            variants.append(Variant(wire, frame))
    except UnreadablePacket:
        raise
    except (ValueError, TypeError) as error:  # of orjson, of UTF-8, or of another form
        raise UnreadablePacket(f'{type(error).__name__}: {error}') from None
    is_well_formed = (
        isinstance(operation, str)
        and isinstance(origin, str)
        and isinstance(number, int)
        and isinstance(facts, dict)
    )
    if not is_well_formed:
        raise UnreadablePacket('its head is not that of a packet')
    return Packet(operation, origin, number, facts, tuple(variants))


def as_fact(key: Hashable) -> Any:
    """A key, under which messages wait for a slow peer, as JSON can carry it.

    Raises:
        TypeError: If it cannot.
    """
    if isinstance(key, tuple):
        return [as_fact(each) for each in key]
    if isinstance(key, (str, int, float, bool)) or key is None:
        return key
    raise TypeError(
        f'coalesce={key!r:.80}: other processes have to know it, so it has to be text, a number or '
        'a tuple of these'
    )


def as_key(fact: Any) -> Hashable:
    """The key that `as_fact` has made something of."""
    return tuple(as_key(each) for each in fact) if isinstance(fact, list) else fact
