"""Idle connections: what each takes of the server's memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from benchmarks.load.client import Client, connect_many
from benchmarks.load.dialects import Dialect
from benchmarks.servers import Server, resident_bytes, trim_memory


async def measure_idle(server: Server, dialect: Dialect, steps: Sequence[int]) -> list[int]:
    """The server's resident bytes at each number of connections that sit in a room.

    Args:
        server: Who has the room.
        dialect: How to speak to it.
        steps: Numbers of connections, rising.
    """

    def make() -> Client:
        return Client(dialect.room_path, dialect.frames_before_room(), dialect.answers)

    found: list[int] = []
    clients: list[Client] = []
    for step in steps:
        clients += await connect_many(server.port, step - len(clients), make)
        await asyncio.sleep(0.5)
        trim_memory(server.pid)
        found.append(resident_bytes(server.pid))
    return found
