"""What goes over the wire: ASGI `websocket.send` events, and their size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Frame: TypeAlias = dict[str, Any]
"""An ASGI `websocket.send` event. Encoded once and shared by all receivers: never changed."""


def text_frame(text: str) -> Frame:
    """The frame of a text.

    Raises:
        ValueError: If the text has no UTF-8 form. Checked here, so that it fails its sender and
            not the receivers' connections.
    """
    if not text.isascii():
        text.encode()
    return {'type': 'websocket.send', 'text': text}


def binary_frame(data: bytes | bytearray | memoryview) -> Frame:
    """The frame of some bytes."""
    return {'type': 'websocket.send', 'bytes': bytes(data)}


def frame_of(data: str | bytes | bytearray | memoryview) -> Frame:
    """The frame of text or bytes.

    Raises:
        ValueError: If text has no UTF-8 form.
    """
    return text_frame(data) if isinstance(data, str) else binary_frame(data)


def raw_of(event: Mapping[str, Any]) -> str | bytes:
    """The text or the bytes of an ASGI event that carries one of them."""
    text = event.get('text')
    raw: str | bytes = event['bytes'] if text is None else text
    return raw


def frame_bytes(frame: Mapping[str, Any]) -> int:
    """How many bytes of payload an ASGI event carries, sent or received."""
    text = frame.get('text')
    if text is None:
        return len(frame['bytes'])
    # A lone surrogate is malformed, and said to be so where it is read: no server lets it through.
    return len(text) if text.isascii() else len(text.encode(errors='surrogatepass'))
