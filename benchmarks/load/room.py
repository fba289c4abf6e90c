"""A room: one member speaks, all hear, and the next word follows when all have heard."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter

from benchmarks.load.client import Client, connect_many
from benchmarks.load.frames import client_frame
from benchmarks.load.sample import Sample
from benchmarks.load.turns import Participant, measure_in_turns
from benchmarks.servers import Server


class RoomTraffic:
    """All members of a room, the speaker among them."""

    def __init__(self, who: Participant, members: int) -> None:
        self.servers: Sequence[Server] = [who.server]
        self.latencies: list[float] = []
        self.sent_at = 0.0
        self.missing = 0
        self._who = who
        self._frame = client_frame(who.text)
        self._members = members
        self._speaker: Client | None = None
        self._running = False
        self._idle = asyncio.Event()

    async def connect(self) -> None:
        """Open the connections, until all are in the room."""
        members = await connect_many(self._who.server.port, self._members, lambda: Member(self))
        self._speaker = members[0]

    def start(self) -> None:
        """Speak."""
        self._running = True
        self._idle.clear()
        self._speak()

    async def stop(self) -> None:
        """Speak no more, and wait until all have heard the last word."""
        self._running = False
        async with asyncio.timeout(60):
            await self._idle.wait()

    def forget(self) -> None:
        """Count from here."""
        self.latencies.clear()

    def heard_by_all(self) -> None:
        """Speak again."""
        if self._running:
            self._speak()
        else:
            self._idle.set()

    def client_arguments(self) -> tuple[str, int, tuple[bytes, ...]]:
        """What a client has to know of the dialect."""
        dialect = self._who.dialect
        return dialect.room_path, dialect.frames_before_room(), dialect.answers

    def _speak(self) -> None:
        assert self._speaker is not None
        self.missing = self._members
        self.sent_at = perf_counter()
        self._speaker.transport.write(self._frame)


class Member(Client):
    """A connection in the room."""

    def __init__(self, room: RoomTraffic) -> None:
        super().__init__(*room.client_arguments())
        self._room = room
        self._frame_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Take the short way for what is one message alone: all have the same length."""
        if len(data) == self._frame_bytes and not self._rest:
            room = self._room
            room.latencies.append(perf_counter() - room.sent_at)
            room.missing -= 1
            if not room.missing:
                room.heard_by_all()
        else:
            super().data_received(data)

    def message(self, data: bytes, start: int, end: int) -> None:
        """Learn how long a frame is, and take the message as heard."""
        room = self._room
        self._frame_bytes = end if start == 4 else 0
        room.latencies.append(perf_counter() - room.sent_at)
        room.missing -= 1
        if not room.missing:
            room.heard_by_all()


async def measure_room(
    participants: Sequence[Participant], *, members: int, turns: int, turn_seconds: float
) -> list[Sample]:
    """Measure deliveries to a room: a sample for each participant.

    Args:
        participants: Who has a room, and what the speaker sends.
        members: How many are in each room, the speaker among them.
        turns: How often it is each one's turn.
        turn_seconds: How long a turn is.
    """
    traffics = [RoomTraffic(who, members) for who in participants]
    for traffic in traffics:
        await traffic.connect()
    return await measure_in_turns(traffics, turns=turns, turn_seconds=turn_seconds)
