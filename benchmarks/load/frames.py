"""WebSocket frames, made and read by hand (RFC 6455 §5.2), no more than a measurement needs."""

from __future__ import annotations

import base64
import hashlib
import struct

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
MASK = b'\x5a\xa5\x3c\xc3'
KEY = base64.b64encode(b'falcon_ws_mw key')
ACCEPT = base64.b64encode(
    hashlib.sha1(KEY + b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest()  # noqa: S324 (RFC 6455)
)


def client_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """A whole masked frame, to be written as it is, as often as one likes."""
    size = len(payload)
    if size < 126:
        head = struct.pack('!BB', 0x80 | opcode, 0x80 | size)
    elif size < 65_536:
        head = struct.pack('!BBH', 0x80 | opcode, 0x80 | 126, size)
    else:
        head = struct.pack('!BBQ', 0x80 | opcode, 0x80 | 127, size)
    repeated = (MASK * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, 'big') ^ int.from_bytes(repeated, 'big')
    return head + MASK + masked.to_bytes(size, 'big')


def opening_handshake(path: str) -> bytes:
    """The request that asks for a WebSocket, without any extension."""
    return (
        f'GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
        f'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY.decode()}\r\n\r\n'
    ).encode()


def frame_bounds(data: bytes, at: int) -> tuple[int, int] | None:
    """Where the payload of the server's frame at `at` begins and ends; None if it is cut off."""
    left = len(data) - at
    if left < 2:
        return None
    size, head = data[at + 1], 2
    if size == 126:
        head = 4
    elif size == 127:
        head = 10
    if left < head:
        return None
    if head > 2:
        size = int.from_bytes(data[at + 2 : at + head], 'big')
    return (at + head, at + head + size) if left >= head + size else None
