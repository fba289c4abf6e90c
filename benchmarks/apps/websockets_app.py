"""The `websockets` package without ASGI: what its own broadcast can do on the same loop."""

from __future__ import annotations

import asyncio
import socket

import orjson
from websockets.asyncio.server import ServerConnection, broadcast
from websockets.asyncio.server import serve as serve_websockets

members: dict[ServerConnection, None] = {}


async def room(connection: ServerConnection) -> None:
    """Send what a member says to all."""
    members[connection] = None
    try:
        await connection.send('{"type":"joined"}')
        async for text in connection:
            message = orjson.loads(text)
            if message['type'] == 'say':
                said = {'type': 'said', 'payload': message['payload']}
                broadcast(members, orjson.dumps(said).decode())
    finally:
        del members[connection]


async def serve(listener: socket.socket) -> None:
    """Serve until the process ends."""
    async with serve_websockets(room, sock=listener, compression=None, ping_interval=None):
        await asyncio.Future()
