"""Real servers and real clients for tests: uvicorn in this event loop, `websockets` against it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
import json
import secrets
import socket
from typing import Any

import msgpack
import uvicorn
from websockets.asyncio.client import ClientConnection, connect

IMPLEMENTATIONS = ('websockets-sansio', 'websockets', 'wsproto')
"""What uvicorn can speak WebSocket with (its `--ws`)."""

PATIENCE_SECONDS = 20
"""How long anything may take before a test fails instead of hanging."""


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


class Served:
    """An app that is being served on a free port of loopback."""

    def __init__(self, server: _Server, port: int, task: asyncio.Task[None]) -> None:
        self.server = server
        self.port = port
        self.task = task

    @property
    def http(self) -> str:
        return f'http://127.0.0.1:{self.port}'

    @asynccontextmanager
    async def client(self, path: str, **options: Any) -> AsyncIterator[Client]:
        async with connect(f'ws://127.0.0.1:{self.port}{path}', **options) as connection:
            yield Client(connection)

    async def stop(self) -> None:
        self.server.should_exit = True
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.task


class Client:
    """A WebSocket client that speaks JSON, reads MessagePack too, and never waits for ever."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, message: Any) -> None:
        """Send text or bytes as they are, anything else as JSON."""
        is_raw = isinstance(message, (str, bytes))
        await self.connection.send(message if is_raw else json.dumps(message))

    async def receive(self) -> Any:
        async with asyncio.timeout(PATIENCE_SECONDS):
            raw = await self.connection.recv()
        return msgpack.unpackb(raw) if isinstance(raw, bytes) else json.loads(raw)

    async def ask(self, message: Any) -> Any:
        await self.send(message)
        return await self.receive()

    async def close(self, code: int = 1000, reason: str = '') -> None:
        await self.connection.close(code, reason)

    async def closed(self) -> int | None:
        """Wait for the end; the close code that was received."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.connection.wait_closed()
        return self.connection.close_code

    def abort(self) -> None:
        """Vanish: RST, without a close frame."""
        transport = self.connection.transport
        raw = transport.get_extra_info('socket')
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\x01\0\0\0\0\0\0\0')
        transport.abort()


def free_port() -> int:
    """A port for a program that is told which, and can inherit no socket.

    Not one of those from which a connection is given its own (Linux: 32768 to 60999): until the
    program listens, any connection of another test might get it.
    """
    while True:
        port = 10_240 + secrets.randbelow(22_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(('127.0.0.1', port))
            return port


def listener() -> socket.socket:
    """A socket that says that it speaks TCP, which `socket.create_server` leaves open.

    Of others asyncio does not switch Nagle's algorithm off, and then a second small message waits
    40 ms for the client to acknowledge the first.
    """
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(('127.0.0.1', 0))
    made.listen()
    return made


@asynccontextmanager
async def serve(
    app: Callable[..., Awaitable[None]], ws: str = 'websockets-sansio', **options: Any
) -> AsyncIterator[Served]:
    """Serve an app by uvicorn in this event loop."""
    listening = listener()
    settings: dict[str, Any] = {
        'ws': ws,
        'log_config': None,
        'lifespan': 'on',
        'timeout_graceful_shutdown': 5,
        'ws_per_message_deflate': False,
        'ws_max_size': 1_048_576,
        **options,
    }
    server = _Server(uvicorn.Config(app, **settings))
    task = asyncio.create_task(server.serve(sockets=[listening]))
    up = asyncio.create_task(server.up.wait())
    await asyncio.wait([task, up], return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE_SECONDS)
    up.cancel()
    if not server.up.is_set() or not server.started:
        await task
        raise RuntimeError('the server did not start: see its log')
    served = Served(server, listening.getsockname()[1], task)
    try:
        yield served
    finally:
        if not task.done():
            await served.stop()
        listening.close()
