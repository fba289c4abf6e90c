"""Traffic in turns: short stretches for one server after the other, over and over.

What a machine does beside slows minutes, seconds and milliseconds alike. Turns of some hundred
milliseconds meet the same weather, and what is left differs between the servers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
import time
from typing import Protocol

from benchmarks.load.dialects import Dialect
from benchmarks.load.sample import Sample, make_sample
from benchmarks.servers import Server, cpu_seconds

Readings = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Participant:
    """A server, how to speak to it, and what to say."""

    server: Server
    dialect: Dialect
    text: bytes


class Traffic(Protocol):
    """The connections to one contender, and what they do."""

    servers: Sequence[Server]
    """All processes of the contender, whose CPU counts together."""
    latencies: list[float]
    """In seconds, one for each message received."""

    def start(self) -> None:
        """Begin to send."""

    async def stop(self) -> None:
        """Send no more, and wait until every answer is there."""

    def forget(self) -> None:
        """Begin to count anew: what came so far was to warm up."""


async def measure_in_turns(
    traffics: Sequence[Traffic],
    *,
    turns: int,
    turn_seconds: float,
    shared: Server | None = None,
) -> list[Sample]:
    """Measure traffics that are connected already; a first turn of each warms up.

    Args:
        traffics: One for each contender.
        turns: How often it is each one's turn.
        turn_seconds: How long a turn is.
        shared: A process that all of them use; its CPU counts apart.
    """
    sums: list[Readings] = [(0.0, 0.0, 0.0, 0.0)] * len(traffics)
    for number in range(turns + 1):
        order = list(range(len(traffics)))
        for index in reversed(order) if number % 2 else order:
            traffic = traffics[index]
            before = _read(traffic.servers, shared)
            traffic.start()
            await asyncio.sleep(turn_seconds)
            await traffic.stop()
            after = _read(traffic.servers, shared)
            if number:
                spent = zip(sums[index], before, after, strict=True)
                wall, server, load, other = (total + b - a for total, a, b in spent)
                sums[index] = (wall, server, load, other)
            else:
                traffic.forget()
    return [make_sample(each.latencies, *sums[index]) for index, each in enumerate(traffics)]


def _read(servers: Sequence[Server], shared: Server | None) -> Readings:
    return (
        time.perf_counter(),
        sum(cpu_seconds(server.pid) for server in servers),
        time.process_time(),
        cpu_seconds(shared.pid) if shared else 0.0,
    )
