"""One WebSocket connection as an asyncio protocol that counts what comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar, cast

from benchmarks.load.frames import (
    ACCEPT,
    CLOSE,
    PING,
    PONG,
    client_frame,
    frame_bounds,
    opening_handshake,
)

ENGINE_IO_PONG = client_frame(b'3')


class HandshakeFailed(ConnectionError):
    """The server did not answer the handshake with 101."""


class Client(asyncio.Protocol):
    """Opens a connection, sits out the greetings, and then hands numbers of messages on.

    Args:
        path: What to ask for.
        greetings: How many frames come before the connection is ready.
        answers: What to say to the first of them.
    """

    def __init__(self, path: str, greetings: int = 0, answers: tuple[bytes, ...] = ()) -> None:
        self.transport: asyncio.Transport = cast('asyncio.Transport', None)
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        """The close code once the connection has ended; None without a close frame."""
        self._path = path
        self._greetings = greetings
        self._answers = list(answers)
        self._rest = b''
        self._close_code: int | None = None
        self._opened = False
        self._begin = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the WebSocket."""
        self.transport = cast('asyncio.Transport', transport)
        self.transport.write(opening_handshake(self._path))

    def connection_lost(self, exc: Exception | None) -> None:
        """Remember how it ended."""
        if not self.ready.done():
            self.ready.set_exception(HandshakeFailed('the connection ended too early'))
        if not self.closed.done():
            self.closed.set_result(self._close_code)

    def data_received(self, data: bytes) -> None:
        """Count the messages that are complete."""
        if self._rest:
            data = self._rest + data
        if not self._opened and not self._open(data):
            self._rest = data
            return
        at, count = self._begin, 0
        self._begin = 0
        while (bounds := frame_bounds(data, at)) is not None:
            start, end = bounds
            if data[at] & 8 or end == start + 1:
                self._control(data[at] & 15, data[start:end])
            elif self._greetings:
                self._greeted()
            else:
                count += 1
                self.message(data, start, end)
            at = end
        self._rest = data[at:]
        if count:
            self.received(count)

    def message(self, data: bytes, start: int, end: int) -> None:
        """Look at a message, `data[start:end]`, if it matters."""

    def received(self, count: int) -> None:
        """Take note that so many messages have come at once."""

    def _open(self, data: bytes) -> bool:
        head, found, _ = data.partition(b'\r\n\r\n')
        if not found:
            return False
        if not head.startswith(b'HTTP/1.1 101') or ACCEPT not in head:
            self.ready.set_exception(HandshakeFailed(head.decode(errors='replace')))
            self.transport.abort()
        elif not self._greetings:
            self.ready.set_result(None)
        self._opened = True
        self._begin = len(head) + 4
        return True

    def _greeted(self) -> None:
        self._greetings -= 1
        if self._answers and (answer := self._answers.pop(0)):
            self.transport.write(client_frame(answer))
        if not self._greetings and not self.ready.done():
            self.ready.set_result(None)

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self.transport.write(client_frame(payload, PONG))
        elif opcode == CLOSE:
            self._close_code = int.from_bytes(payload[:2], 'big') if payload else None
            self.transport.write(client_frame(payload[:2], CLOSE))
        elif payload == b'2':  # a ping of Engine.IO is a text frame of one character
            self.transport.write(ENGINE_IO_PONG)


AnyClient = TypeVar('AnyClient', bound=Client)


async def connect_many(
    port: int, count: int, make: Callable[[], AnyClient], at_once: int = 50
) -> list[AnyClient]:
    """Open connections, some at a time, until all are ready.

    Raises:
        HandshakeFailed: If one is refused.
        TimeoutError: If one takes longer than a minute.
    """
    clients: list[AnyClient] = []
    while len(clients) < count:
        batch = min(at_once, count - len(clients))
        opened = await asyncio.gather(*(_connect(port, make) for _ in range(batch)))
        clients.extend(opened)
    return clients


async def _connect(port: int, make: Callable[[], AnyClient]) -> AnyClient:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(60):
        _, client = await loop.create_connection(make, '127.0.0.1', port)
        await client.ready
    return client
