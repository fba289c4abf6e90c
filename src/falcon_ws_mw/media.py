"""Frame to object and back.

Text frames are JSON through orjson, unless the app registered a TEXT media handler of its own;
binary frames go through the app's BINARY media handler where it has a usable one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson

from falcon_ws_mw.errors import MalformedMessage, UnhandledMessage
from falcon_ws_mw.frames import Frame, text_frame
from falcon_ws_mw.payloads import JSON_OPTIONS, plain, to_json_default

_ANY_KEYS: Final = JSON_OPTIONS | orjson.OPT_NON_STR_KEYS


class Media:
    """Turns frames into objects and objects into frames.

    Args:
        loads: Text to object (default orjson).
        dumps: Object to text (default orjson).
        load_binary: Bytes to object; `None` if binary frames are not understood.
        dump_binary: Object to bytes, the counterpart.

    Attributes:
        is_orjson: Whether text is read by orjson.
        loads: Text to object.
        text_frame: Object to a frame of text.
    """

    __slots__ = ('_dump_binary', '_load_binary', 'is_orjson', 'loads', 'text_frame')

    def __init__(
        self,
        *,
        loads: Callable[[str], Any] | None = None,
        dumps: Callable[[Any], str] | None = None,
        load_binary: Callable[[bytes], Any] | None = None,
        dump_binary: Callable[[Any], bytes] | None = None,
    ) -> None:
        self.is_orjson = loads is None
        self.loads = loads or orjson.loads
        self.text_frame = _orjson_frame if dumps is None else _framing(dumps)
        self._load_binary = load_binary
        self._dump_binary = dump_binary

    def decode(self, raw: str | bytes) -> Any:
        """Read a frame.

        Raises:
            MalformedMessage: If it cannot be decoded.
        """
        try:
            return self.loads(raw) if isinstance(raw, str) else self._decode_binary(raw)
        except UnhandledMessage:
            raise
        except Exception as error:  # an app's own handler may raise anything
            kind = 'text is not valid JSON' if isinstance(raw, str) else 'bytes cannot be decoded'
            raise MalformedMessage(f'the {kind}', decoded=False) from error

    def _decode_binary(self, raw: bytes) -> Any:
        if self._load_binary is None:
            raise MalformedMessage(
                'binary frames are not understood here: send text', decoded=False
            )
        return self._load_binary(raw)

    @property
    def understands_binary(self) -> bool:
        """Whether binary frames can be decoded and encoded."""
        return self._load_binary is not None and self._dump_binary is not None

    def encode(self, media: object, *, binary: bool = False) -> Frame:
        """Make the frame of an object, as text or, where it can be, as binary."""
        if binary and self._dump_binary is not None:
            return {'type': 'websocket.send', 'bytes': self._dump_binary(plain(media))}
        return self.text_frame(media)


def _orjson_frame(media: object) -> Frame:
    try:
        encoded = orjson.dumps(media, to_json_default, JSON_OPTIONS)
    except TypeError:  # keys that are no text take twice the time, where they are allowed
        encoded = orjson.dumps(media, to_json_default, _ANY_KEYS)
    return {'type': 'websocket.send', 'text': encoded.decode()}  # it is UTF-8 always


def _framing(dumps: Callable[[Any], str]) -> Callable[[object], Frame]:
    """How an app's own text handler makes frames."""
    return lambda media: text_frame(dumps(plain(media)))
