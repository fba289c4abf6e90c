"""Frame to object and back.

Text frames are JSON through orjson, unless the app registered a TEXT media handler of its own;
binary frames go through the app's BINARY media handler where it has a usable one. Whoever decodes,
what is nested too deeply is refused.
"""

from __future__ import annotations

from collections.abc import Callable
import sys
from typing import Any, Final

import orjson

from falcon_ws_mw.decoding import DEFAULT_DECODING, Decoding, Depth, text_reader
from falcon_ws_mw.errors import MalformedMessage, UnhandledMessage
from falcon_ws_mw.frames import Frame, text_frame
from falcon_ws_mw.payloads import JSON_OPTIONS, plain, to_json_default

_ANY_KEYS: Final = JSON_OPTIONS | orjson.OPT_NON_STR_KEYS


class Media:
    """Turns frames into objects and objects into frames.

    Args:
        loads: Text to object (default orjson, by the rules of `decoding`).
        dumps: Object to text (default orjson).
        load_binary: Bytes to object; `None` if binary frames are not understood.
        dump_binary: Object to bytes, the counterpart.
        decoding: What is taken.

    Attributes:
        is_plain_orjson: Whether text is read by orjson and by no rule but that of the depth.
        depth: How deep it may nest, and all else that is decoded.
        loads: Text to object.
        text_frame: Object to a frame of text.
    """

    __slots__ = (
        '_dump_binary',
        '_harmless_characters',
        '_harmless_offset',
        '_load_binary',
        'depth',
        'is_plain_orjson',
        'loads',
        'text_frame',
    )

    def __init__(
        self,
        *,
        loads: Callable[[str], Any] | None = None,
        dumps: Callable[[Any], str] | None = None,
        load_binary: Callable[[bytes], Any] | None = None,
        dump_binary: Callable[[Any], bytes] | None = None,
        decoding: Decoding = DEFAULT_DECODING,
    ) -> None:
        self.depth = depth = Depth(decoding.max_depth)
        self.is_plain_orjson = loads is None and decoding.is_plain
        if loads is None:
            self.loads = text_reader(decoding)
            self._harmless_characters = depth.harmless_characters
        else:
            self.loads = depth.checking(loads)
            self._harmless_characters = sys.maxsize  # that looks itself
        self._harmless_offset = depth.harmless_offset
        self.text_frame = _orjson_frame if dumps is None else _framing(dumps)
        self._load_binary = None if load_binary is None else depth.checking(load_binary)
        self._dump_binary = dump_binary

    def decode(self, raw: str | bytes) -> Any:
        """Read a frame.

        Raises:
            MalformedMessage: If it cannot be decoded, or breaks a rule.
        """
        try:
            if not isinstance(raw, str):
                return self._decode_binary(raw)
            message = self.loads(raw)
            if (
                len(raw) > self._harmless_characters
                and ('[' in raw or '{' in raw[self._harmless_offset :])
                and self.depth.is_too_deep(raw)
            ):
                raise self.depth.exceeded()
        except UnhandledMessage:
            raise
        except Exception as error:  # an app's own handler may raise anything
            kind = 'text is not valid JSON' if isinstance(raw, str) else 'bytes cannot be decoded'
            raise MalformedMessage(f'the {kind}', decoded=False) from error
        return message

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
    except TypeError:
        encoded = _dumped_anyway(media)
    return {'type': 'websocket.send', 'text': encoded.decode()}  # it is UTF-8 always


def _dumped_anyway(media: object) -> bytes:
    """What orjson writes if it is helped; it takes much longer.

    Keys that are no text cost twice the time wherever they are allowed. Whole numbers beyond 64
    bits, which a client can send, are written as they are.
    """
    try:
        return orjson.dumps(media, to_json_default, _ANY_KEYS)
    except TypeError as error:
        try:
            helped = _with_digits(plain(media))
        except RecursionError:  # it contains itself, say
            raise error from None
        return orjson.dumps(helped, to_json_default, _ANY_KEYS)


def _with_digits(media: Any) -> Any:
    """The same with huge numbers as their digits."""
    if isinstance(media, dict):
        return {key: _with_digits(value) for key, value in media.items()}
    if isinstance(media, (list, tuple)):
        return [_with_digits(value) for value in media]
    if isinstance(media, int) and not -(2**63) <= media < 2**64:
        return orjson.Fragment(str(media))
    return media


def _framing(dumps: Callable[[Any], str]) -> Callable[[object], Frame]:
    """How an app's own text handler makes frames."""
    return lambda media: text_frame(dumps(plain(media)))
