"""MessagePack as an envelope: each binary frame is an array `[type, payload, id]`.

Places are shorter than names, and there is one way to write a message. What is last and nil may be
left out: `["ping"]` and `["ping", nil, nil]` are the same. Payloads may hold bytes, timestamps and
extension types, which JSON has not (https://github.com/msgpack/msgpack/blob/master/spec.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, TypeGuard

import msgpack

from falcon_ws_mw import MalformedMessage

_LARGEST_ID: Final = 2**53 - 1
"""The largest whole number that clients in JavaScript read exactly."""

_TIMESTAMPS_AS_DATETIMES: Final = 3


@dataclass(frozen=True, slots=True)
class MessagePackEnvelope:
    """Speaks arrays in MessagePack, in both directions.

    Without state: all of them are equal, so connections of different routes can share rooms.
    """

    content_type: ClassVar[str] = 'application/vnd.msgpack'

    def decode(self, raw: str | bytes) -> tuple[str, Any, str | int | None]:
        """Read an array of type, payload and id.

        Raises:
            MalformedMessage: If it is none.
        """
        if isinstance(raw, str):
            raise MalformedMessage(
                'text is not understood here: send MessagePack in binary frames', decoded=False
            )
        message = _unpacked(raw)
        if not isinstance(message, list) or not 1 <= len(message) <= 3:
            raise MalformedMessage('a message is an array [type, payload, id] of 1 to 3 elements')
        message_type, payload, message_id = message + [None] * (3 - len(message))
        if message_id is not None and not _is_id(message_id):
            raise MalformedMessage('the id is neither text nor a whole number within ±(2⁵³-1)')
        if not isinstance(message_type, str):
            raise MalformedMessage('the type of a message is text', id=message_id)
        return message_type, payload, message_id

    def encode(self, type: str, payload: Any, id: str | int | None) -> bytes:
        """Make such an array; `datetime`s in it, which need a time zone, become timestamps.

        Raises:
            TypeError: If there is no MessagePack for the payload.
            ValueError: If a value in it is out of range: a number beyond 64 bits, a naive datetime.
        """
        message = [type, payload, id]
        while message[-1] is None:
            message.pop()
        packed: bytes = msgpack.packb(message, datetime=True)
        return packed

    def describe(
        self, type: str, payload: dict[str, Any] | None, *, id: Literal['never', 'maybe', 'always']
    ) -> dict[str, Any]:
        """The JSON Schema of a whole message, for the AsyncAPI document.

        Args:
            type: Its type.
            payload: The schema of its payload; `None` for anything. It admits null where the
                payload may be missing.
            id: Whether it has an id.
        """
        places: list[dict[str, Any]] = [{'const': type}, {} if payload is None else payload]
        fewest = 1 if payload is None or _admits_null(payload) else 2
        if id == 'always':
            places.append({'type': ['string', 'integer']})
            fewest = 3
        elif id == 'maybe':
            places.append({'type': ['string', 'integer', 'null']})
        return {'type': 'array', 'prefixItems': places, 'items': False, 'minItems': fewest}


def _unpacked(raw: bytes) -> Any:
    """What is in a frame.

    A frame cannot make this costly: `unpackb` refuses lengths that go beyond the frame before it
    makes room for them, nesting beyond 1024 levels, and keys that are neither text nor bytes.
    """
    try:
        return msgpack.unpackb(raw, strict_map_key=True, timestamp=_TIMESTAMPS_AS_DATETIMES)
    except (ValueError, OverflowError, RecursionError) as error:  # the second is a far timestamp
        raise MalformedMessage('the bytes are not valid MessagePack', decoded=False) from error


def _is_id(value: object) -> TypeGuard[str | int]:
    if isinstance(value, int) and not isinstance(value, bool):
        return -_LARGEST_ID <= value <= _LARGEST_ID
    return isinstance(value, str)


def _admits_null(schema: dict[str, Any]) -> bool:
    types = [each.get('type', ()) for each in schema.get('anyOf', [schema])]
    return any('null' in each for each in types)  # each is a word, or a list of them
