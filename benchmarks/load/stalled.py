"""A room where some members never read."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass
import socket
from time import perf_counter

from benchmarks.load.client import Client, connect_many
from benchmarks.load.dialects import Dialect
from benchmarks.load.frames import client_frame, opening_handshake
from benchmarks.load.numbered import number_in, numbered
from benchmarks.servers import Server, resident_bytes

TCP_ESTABLISHED = 1


@dataclass(frozen=True, slots=True)
class Endurance:
    """How the readers of a room fared.

    Args:
        complete: How many readers got every message, in order.
        messages: How many messages all readers got.
        seconds: From the first word to the last delivery (or to giving up).
        silence_seconds: The longest that any reader heard nothing.
        growth_bytes: How much the server's memory grew at its highest.
        evicted_seconds: When the server had ended the last stalled connection; None if it had not.
    """

    complete: int
    messages: int
    seconds: float
    silence_seconds: float
    growth_bytes: int
    evicted_seconds: float | None


class Reader(Client):
    """A member that reads, and checks what it reads."""

    def __init__(self, room: Room, dialect: Dialect) -> None:
        super().__init__(dialect.room_path, dialect.frames_before_room(), dialect.answers)
        self.next = 0
        self.in_order = True
        self.silence = 0.0
        self.heard_at = 0.0
        self._room = room

    def message(self, data: bytes, start: int, end: int) -> None:
        """Check the number in the message."""
        now = perf_counter()
        self.in_order &= number_in(data, start, end) == self.next
        self.silence = max(self.silence, now - self.heard_at)
        self.heard_at = now
        self.next += 1
        self._room.heard()


class Room:
    """Says a number of large messages, the next when all readers have heard the one before."""

    def __init__(self, dialect: Dialect, messages: int, size: int) -> None:
        self.readers: list[Reader] = []
        self.said = 0
        self.progress_at = 0.0
        self.over = asyncio.Event()
        self._dialect = dialect
        self._messages = messages
        self._filler = '.' * (size - 50)
        self._missing = 0

    def say(self) -> None:
        """Say the next message, or end."""
        self.progress_at = perf_counter()
        if self.said == self._messages:
            self.over.set()
            return
        text = numbered(self.said, self._filler)
        self._missing = len(self.readers)
        self.said += 1
        frame = client_frame(self._dialect.message('say', {'text': text}))
        self.readers[0].transport.write(frame)

    def heard(self) -> None:
        """One more reader has it."""
        self._missing -= 1
        if not self._missing:
            self.say()


async def measure_stalled(
    server: Server,
    dialect: Dialect,
    *,
    members: int,
    stalled: int,
    messages: int,
    size: int,
    patience_seconds: float,
) -> Endurance:
    """Let one member speak to all.

    Args:
        server: Who has the room.
        dialect: How to speak to it.
        members: How many are in the room.
        stalled: How many of them never read.
        messages: How many messages are said.
        size: How large they are, in bytes.
        patience_seconds: How long without progress before the room counts as dead; also how long
            to wait for the eviction afterwards.
    """
    room = Room(dialect, messages, size)
    room.readers = await connect_many(server.port, members - stalled, lambda: Reader(room, dialect))
    with ExitStack() as stack:
        deaf = [
            stack.enter_context(_never_reading(server, dialect.room_path)) for _ in range(stalled)
        ]
        await asyncio.sleep(0.5)  # it cannot be asked whether it has joined
        memory = resident_bytes(server.pid)
        highest, evicted_at, start = memory, None, perf_counter()
        for reader in room.readers:
            reader.heard_at = start
        room.say()
        while perf_counter() < room.progress_at + patience_seconds:
            await asyncio.sleep(0.05)
            highest = max(highest, resident_bytes(server.pid))
            if evicted_at is None and not any(map(_established, deaf)):
                evicted_at = perf_counter()
            if room.over.is_set() and evicted_at is not None:
                break
    return Endurance(
        complete=sum(each.in_order and each.next == messages for each in room.readers),
        messages=min(each.next for each in room.readers),
        seconds=room.progress_at - start,
        silence_seconds=max(each.silence for each in room.readers),
        growth_bytes=highest - memory,
        evicted_seconds=evicted_at - start if stalled and evicted_at is not None else None,
    )


def _never_reading(server: Server, path: str) -> socket.socket:
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.connect(('127.0.0.1', server.port))
    deaf.sendall(opening_handshake(path))
    return deaf


def _established(deaf: socket.socket) -> bool:
    """Whether the server still holds the connection: a reset is known without reading."""
    return deaf.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_ESTABLISHED
