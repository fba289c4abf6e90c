"""Echoes: connections that send the next message as soon as an answer is back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from time import perf_counter

from benchmarks.load.client import Client, connect_many
from benchmarks.load.frames import client_frame
from benchmarks.load.sample import Sample
from benchmarks.load.turns import Participant, measure_in_turns
from benchmarks.servers import Server


class EchoClient(Client):
    """Keeps a number of messages under way."""

    def __init__(self, who: Participant, frames: list[bytes], latencies: list[float]) -> None:
        dialect = who.dialect
        super().__init__(dialect.echo_path, dialect.frames_before_echo(), dialect.answers)
        self._frames = frames
        self._latencies = latencies
        self._sent_at: deque[float] = deque()
        self.running = True

    def send(self, count: int) -> None:
        """Send so many at once."""
        self._sent_at.extend([perf_counter()] * count)
        self.transport.write(self._frames[count])

    def received(self, count: int) -> None:
        """Send as many again."""
        now = perf_counter()
        for _ in range(count):
            self._latencies.append(now - self._sent_at.popleft())
        if self.running:
            self.send(count)

    def idle(self) -> bool:
        """Whether all answers are back."""
        return not self._sent_at


class EchoTraffic:
    """Some connections that echo.

    Args:
        who: The server, and the message.
        deepest: The most messages that a connection will ever have under way.
    """

    def __init__(self, who: Participant, deepest: int) -> None:
        self.servers: Sequence[Server] = [who.server]
        self.latencies: list[float] = []
        self.depth = 1
        self._who = who
        self._frames = [client_frame(who.text) * count for count in range(deepest + 1)]
        self._clients: list[EchoClient] = []

    async def connect(self, connections: int) -> None:
        """Open the connections."""
        self._clients = await connect_many(
            self._who.server.port,
            connections,
            lambda: EchoClient(self._who, self._frames, self.latencies),
        )

    def start(self) -> None:
        """Let each connection send as many messages as it may have under way."""
        for client in self._clients:
            client.running = True
            client.send(self.depth)

    async def stop(self) -> None:
        """Send no more, and wait until every answer is there."""
        for client in self._clients:
            client.running = False
        while not all(client.idle() for client in self._clients):  # noqa: ASYNC110
            await asyncio.sleep(0.001)  # an event would cost something for each message

    def forget(self) -> None:
        """Count from here."""
        self.latencies.clear()


async def measure_echo(
    participants: Sequence[Participant],
    *,
    connections: int,
    depths: Sequence[int],
    turns: int,
    turn_seconds: float,
) -> list[list[Sample]]:
    """Measure echoes at each pipeline depth: one list for each, of a sample for each participant.

    Args:
        participants: Who echoes what.
        connections: How many of them send to each.
        depths: How many messages each has under way.
        turns: How often it is each one's turn.
        turn_seconds: How long a turn is.
    """
    traffics = [EchoTraffic(who, max(depths)) for who in participants]
    for traffic in traffics:
        await traffic.connect(connections)
    samples = []
    for depth in depths:
        for traffic in traffics:
            traffic.depth = depth
            traffic.forget()
        samples.append(await measure_in_turns(traffics, turns=turns, turn_seconds=turn_seconds))
    return samples
