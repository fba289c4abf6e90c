"""A room on two servers: a member at one of them speaks, and all at both hear.

Up to eight words are under way at a time, and the next follows when one has been heard by all. One
would measure how long the way is; more than one lets a server read several at once, as a busy one
does. Eight are fair to all: channels_redis keeps a hundred for a channel by default and drops what
is above, and none comes near that, however slow it is.

What has not been heard some seconds after the end of a turn counts as lost. That is said on stderr,
and stands in what is found: how much was delivered, and how much it should have been. The waiting
is then in the figures: they are no longer those of a contender that works.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
import statistics
import sys
from time import perf_counter

from benchmarks.load.client import Client, connect_many
from benchmarks.load.dialects import Dialect
from benchmarks.load.frames import client_frame
from benchmarks.load.numbered import number_in, numbered
from benchmarks.load.sample import Sample
from benchmarks.load.turns import measure_in_turns
from benchmarks.servers import Server

WORDS_UNDER_WAY = 8
PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """The servers of one contender, what to call them, and how to speak to them."""

    name: str
    servers: tuple[Server, Server]
    dialect: Dialect


@dataclass(frozen=True, slots=True)
class Crossing:
    """How a room on two servers fared.

    Args:
        sample: Of all deliveries.
        due: How many deliveries there should have been.
        disordered: How many came after one that was said later.
        across_p50_seconds: The median time to members at the other server; None if none came there.
    """

    sample: Sample
    due: int
    disordered: int
    across_p50_seconds: float | None


@dataclass(slots=True)
class Word:
    """What was said, and who has yet to hear it."""

    said_at: float
    missing: int


class ClusterTraffic:
    """All members of a room, half of them at each server.

    Args:
        who: Who has the room.
        members: How many are at each server.
        filler: What is said, after a number.
        speaking: At which of the servers the speaker is.
    """

    def __init__(self, who: Cluster, members: int, filler: str, speaking: int) -> None:
        self.servers: Sequence[Server] = who.servers
        self.latencies: list[float] = []
        self.across: list[float] = []
        """Of the latencies those of members that are not at the speaker's server."""
        self.due = 0
        self.disordered = 0
        self._who = who
        self._each = members
        self._filler = filler
        self._speaking = speaking
        self._members: list[Listener] = []
        self._speaker: Listener | None = None
        self._numbers = count()
        self._words: dict[int, Word] = {}
        self._running = False
        self._idle = asyncio.Event()

    async def connect(self) -> None:
        """Open the connections, until all are in the room."""
        for at, server in enumerate(self.servers):
            across = at != self._speaking
            make = partial(Listener, self, self._who.dialect, across=across)
            members = await connect_many(server.port, self._each, make)
            self._members += members
            if not across:
                self._speaker = members[0]

    def start(self) -> None:
        """Say as many words as may be under way."""
        self._running = True
        self._idle.clear()
        for _ in range(WORDS_UNDER_WAY):
            self._speak()

    async def stop(self) -> None:
        """Speak no more, and wait until all have heard the last word, or as if they never will."""
        self._running = False
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._idle.wait()
        except TimeoutError:
            self._give_up()

    def forget(self) -> None:
        """Count from here."""
        self.latencies.clear()
        self.across.clear()
        self.due = self.disordered = 0

    def heard(self, number: int, *, across: bool) -> None:
        """One more member has it; speak again if that was the last one."""
        word = self._words.get(number)
        if word is None:
            return  # too late: it counts as lost
        latency = perf_counter() - word.said_at
        self.latencies.append(latency)
        if across:
            self.across.append(latency)
        word.missing -= 1
        if not word.missing:
            del self._words[number]
            if self._running:
                self._speak()
            elif not self._words:
                self._idle.set()

    def _speak(self) -> None:
        assert self._speaker is not None
        number = next(self._numbers)
        payload = {'text': numbered(number, self._filler)}
        frame = client_frame(self._who.dialect.message('say', payload))
        self.due += len(self._members)
        self._words[number] = Word(perf_counter(), len(self._members))
        if not self._speaker.closed.done():
            self._speaker.transport.write(frame)

    def _give_up(self) -> None:
        missing = sum(word.missing for word in self._words.values())
        gone = sum(member.closed.done() for member in self._members)
        print(
            f'{self._who.name} lost {missing} deliveries of {len(self._words)} messages: they had '
            f'not come after {PATIENCE_SECONDS:.0f} s; {gone} of {len(self._members)} connections '
            'are closed',
            file=sys.stderr,
        )
        self._words.clear()


class Listener(Client):
    """A connection in the room.

    Args:
        room: Who is told what comes.
        dialect: How to speak to the server.
        across: Whether the speaker is at the other server.
    """

    def __init__(self, room: ClusterTraffic, dialect: Dialect, *, across: bool) -> None:
        super().__init__(dialect.room_path, dialect.frames_before_room(), dialect.answers)
        self._room = room
        self._across = across
        self._latest = -1

    def message(self, data: bytes, start: int, end: int) -> None:
        """See which word it is."""
        number = number_in(data, start, end)
        if number < self._latest:
            self._room.disordered += 1
        else:
            self._latest = number
        self._room.heard(number, across=self._across)


async def measure_cluster(
    clusters: Sequence[Cluster],
    shared: Server,
    *,
    members: int,
    size: int,
    speaking: int,
    turns: int,
    turn_seconds: float,
) -> list[Crossing]:
    """Measure deliveries to a room on two servers: what was found of each contender.

    Args:
        clusters: Who has a room.
        shared: What the servers use to reach each other.
        members: How many are at each server, the speaker among them.
        size: How long the text is that the speaker says.
        speaking: At which server the speaker is, 0 or 1.
        turns: How often it is each one's turn.
        turn_seconds: How long a turn is.
    """
    filler = 'x' * (size - len(numbered(0, '')))
    traffics = [ClusterTraffic(who, members, filler, speaking) for who in clusters]
    for traffic in traffics:
        await traffic.connect()
    await asyncio.sleep(1)  # they cannot be asked whether they have subscribed
    samples = await measure_in_turns(
        traffics, turns=turns, turn_seconds=turn_seconds, shared=shared
    )
    return [
        Crossing(
            sample=sample,
            due=traffic.due,
            disordered=traffic.disordered,
            across_p50_seconds=statistics.median(traffic.across) if traffic.across else None,
        )
        for traffic, sample in zip(traffics, samples, strict=True)
    ]
