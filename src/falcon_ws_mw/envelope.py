"""Bytes to message and back.

The default envelope is `{"type": str, "payload": any?, "id": str|int?}` in both directions. Text
frames are JSON through orjson, unless the app registered a TEXT media handler of its own; binary
frames go through the app's BINARY media handler where it has a usable one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import falcon
import orjson

from falcon_ws_mw.errors import MalformedMessage, UnhandledMessage

RESERVED_TYPES: Final = frozenset({'reply', 'error'})
"""Types that the library itself says; no handler may have them."""

MAX_SAFE_INTEGER: Final = 2**53 - 1
"""The largest whole number that every JSON reader takes exactly (RFC 8259 §6)."""

Frame: TypeAlias = dict[str, Any]
"""An ASGI `websocket.send` event. Encoded once and shared by all receivers: never changed."""

MessageId: TypeAlias = str | int


@dataclass(frozen=True, slots=True)
class Message:
    """A message to be put into the envelope: `Message('serverTyping', {'user': 'ada'})`."""

    type: str
    payload: Any = None


Sendable: TypeAlias = Mapping[str, Any] | str | bytes | bytearray | memoryview | Message
"""What can be sent: a mapping goes out as JSON, text and bytes as they are, a `Message` in the
envelope."""


class Incoming(NamedTuple):
    """A message as it arrived.

    Attributes:
        type: Its type.
        payload: Its payload; `{}` where it was absent or null.
        id: Its id, `None` if it is no request.
        message: The whole decoded object.
    """

    type: str
    payload: Any
    id: MessageId | None
    message: dict[str, Any]


def read_envelope(message: object) -> Incoming:
    """Read a decoded object by the envelope's rules.

    Raises:
        MalformedMessage: If it breaks one of them.
    """
    if not isinstance(message, dict):
        raise MalformedMessage(f'a message is an object, not {_json_kind(message)}')
    message_id = message.get('id')
    if message_id is None:
        if 'id' in message:
            raise MalformedMessage('the id is null: leave it out, or send text or a whole number')
    elif not _is_id(message_id):
        raise MalformedMessage('the id is neither text nor a whole number within ±(2⁵³-1)')
    message_type = message.get('type')
    if not isinstance(message_type, str):
        found = 'missing' if 'type' not in message else _json_kind(message_type)
        raise MalformedMessage(f'the type of a message is text, here it is {found}', id=message_id)
    payload = message.get('payload')
    # PERF: past the constructor that `NamedTuple` writes, which takes twice as long.
    return _new_tuple(
        Incoming, (message_type, {} if payload is None else payload, message_id, message)
    )


_new_tuple = tuple.__new__


def wrap(message_type: str, payload: Any, message_id: MessageId | None = None) -> dict[str, Any]:
    """Put a payload into the envelope."""
    if message_id is None:
        return {'type': message_type, 'payload': payload}
    return {'type': message_type, 'id': message_id, 'payload': payload}


def error_payload(error: falcon.HTTPError) -> dict[str, Any]:
    """What an error message carries: Falcon's own description of the error, and its status."""
    return {'status': error.status_code, **error.to_dict()}


class Codec:
    """Turns frames into messages and messages into frames.

    Args:
        loads: Text to object (default orjson).
        dumps: Object to text (default orjson).
        load_binary: Bytes to object; `None` if binary frames are not understood.
        dump_binary: Object to bytes, the counterpart.
    """

    __slots__ = ('_dump_binary', '_load_binary', '_loads', '_text_frame')

    def __init__(
        self,
        *,
        loads: Callable[[str], Any] | None = None,
        dumps: Callable[[Any], str] | None = None,
        load_binary: Callable[[bytes], Any] | None = None,
        dump_binary: Callable[[Any], bytes] | None = None,
    ) -> None:
        self._loads = loads or orjson.loads
        self._text_frame = _orjson_frame if dumps is None else _framing(dumps)
        self._load_binary = load_binary
        self._dump_binary = dump_binary

    def decode(self, raw: str | bytes) -> Incoming:
        """Read a frame.

        Raises:
            MalformedMessage: Whatever is wrong with it.
        """
        message = self.decode_object(raw)
        if type(message) is dict and 'id' not in message:
            # PERF: `read_envelope` of what is right and no request, with no call between.
            message_type = message.get('type')
            if type(message_type) is str:
                payload = message.get('payload')
                return _new_tuple(
                    Incoming, (message_type, {} if payload is None else payload, None, message)
                )
        return read_envelope(message)

    def decode_object(self, raw: str | bytes) -> Any:
        """Read a frame without looking for an envelope.

        Raises:
            MalformedMessage: If it cannot be decoded.
        """
        try:
            return self._loads(raw) if isinstance(raw, str) else self._decode_binary(raw)
        except UnhandledMessage:
            raise
        except Exception as error:  # an app's own handler may raise anything
            kind = 'text is not valid JSON' if isinstance(raw, str) else 'bytes cannot be decoded'
            raise MalformedMessage(f'the {kind}', decoded=False) from error

    @property
    def understands_binary(self) -> bool:
        """Whether binary frames can be decoded and encoded."""
        return self._load_binary is not None and self._dump_binary is not None

    def _decode_binary(self, raw: bytes) -> Any:
        if self._load_binary is None:
            raise MalformedMessage(
                'binary frames are not understood here: send text', decoded=False
            )
        return self._load_binary(raw)

    def encode(self, message: Sendable) -> Frame:
        """Make the frame of something to be sent.

        Raises:
            TypeError: If it is nothing that can be sent, or cannot be JSON.
            ValueError: If text has no UTF-8 form (a lone surrogate).
        """
        if isinstance(message, str):
            return text_frame(message)
        if isinstance(message, (bytes, bytearray, memoryview)):
            return {'type': 'websocket.send', 'bytes': bytes(message)}
        if isinstance(message, Message):
            return self.encode_message(message.type, message.payload)
        if isinstance(message, Mapping):
            return self.encode_object(message if isinstance(message, dict) else dict(message))
        raise TypeError(
            f'cannot send {type(message).__name__}: expected a dict, str, bytes or Message'
        )

    def encode_message(self, message_type: str, payload: Any) -> Frame:
        """Make the frame of a message in the envelope."""
        return self._text_frame({'type': message_type, 'payload': payload})

    def encode_object(self, media: object, *, binary: bool = False) -> Frame:
        """Make the frame of an object, as text or, where it can be, as binary."""
        if binary and self._dump_binary is not None:
            return {'type': 'websocket.send', 'bytes': self._dump_binary(media)}
        return self._text_frame(media)


def text_frame(text: str) -> Frame:
    """The frame of a text.

    Raises:
        ValueError: If the text has no UTF-8 form. Checked here, so that it fails its sender and
            not the receivers' connections.
    """
    if not text.isascii():
        text.encode()
    return {'type': 'websocket.send', 'text': text}


def frame_bytes(frame: Mapping[str, Any]) -> int:
    """How many bytes of payload an ASGI event carries, sent or received."""
    text = frame.get('text')
    if text is None:
        return len(frame['bytes'])
    return len(text) if text.isascii() else len(text.encode())


def _orjson_frame(media: object) -> Frame:
    return {'type': 'websocket.send', 'text': orjson.dumps(media).decode()}  # always UTF-8


def _framing(dumps: Callable[[Any], str]) -> Callable[[object], Frame]:
    """How an app's own text handler makes frames."""
    return lambda media: text_frame(dumps(media))


def _is_id(value: object) -> bool:
    if isinstance(value, str):
        return value.isascii() or _is_encodable(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER
    return False


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate: what decodes JSON may let it through
        return False
    return True


def _json_kind(value: object) -> str:
    if value is None:
        return 'null'
    names = {str: 'text', bool: 'a boolean', int: 'a number', float: 'a number', list: 'an array'}
    return names.get(type(value), 'an object' if isinstance(value, dict) else 'something else')
