"""Connections come, join rooms and go, over and over: does anything remain of them?"""

from __future__ import annotations

import argparse
import asyncio
from itertools import count
import os
import socket
import struct
from time import perf_counter
from typing import Any

from benchmarks.load.client import Client, connect_many
from benchmarks.load.frames import CLOSE, client_frame
from benchmarks.load.process import in_own_process

from tests.soak.serving import IMPLEMENTATIONS, ask, serving, wait_until
from tests.soak.verdict import MIB, Check, verdict

BACK = ('tasks', 'descriptors', 'rooms', 'users', 'connections')
"""What has to be as at the start after each round."""

SETTLED_ROUND = 3
"""From which on memory has to stay as it is."""

GROWTH_BYTES = 5 * MIB
DEADLINE_SECONDS = 60
CLIENTS_PER_ROOM = 10


class Visitor(Client):
    """Joins two rooms, leaves them or not, and goes by a close or by a reset."""

    def __init__(self, round_number: int, number: int) -> None:
        # Other names in each round: what were kept by name would grow.
        super().__init__(f'/visits/user-{round_number}-{number // 2}')
        self._rooms = (
            f'own-{round_number}-{number}',
            f'shared-{round_number}-{number // CLIENTS_PER_ROOM}',
        )
        self._leaves = number % 4 < 2
        self._resets = number % 2 == 0
        self._missing = 0
        self._answered: asyncio.Future[None] | None = None
        self.errors = 0

    async def join(self) -> None:
        """Into both rooms."""
        await self._ask('join')

    async def leave(self) -> None:
        """Out of both, if it does."""
        if self._leaves:
            await self._ask('leave')

    async def end(self) -> None:
        """Go, and wait until the connection has ended."""
        if self._resets:
            handle = self.transport.get_extra_info('socket').fileno()
            with socket.socket(fileno=os.dup(handle)) as same:  # uvloop's own has no setsockopt
                same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            self.transport.abort()
        else:
            self.transport.write(client_frame((1000).to_bytes(2, 'big'), CLOSE))
        await self.closed

    async def _ask(self, what: str) -> None:
        self._missing = len(self._rooms)
        self._answered = asyncio.get_running_loop().create_future()
        for number, room in enumerate(self._rooms):
            text = f'{{"type":"{what}","payload":"{room}","id":{number}}}'
            self.transport.write(client_frame(text.encode()))
        await self._answered

    def message(self, data: bytes, start: int, end: int) -> None:
        """Count an answer."""
        self.errors += b'"type":"reply"' not in data[start:end]

    def received(self, count: int) -> None:
        """Go on when all answers are there."""
        self._missing -= count
        if not self._missing and self._answered is not None:
            self._answered.set_result(None)


async def visit(port: int, round_number: int, clients: int) -> dict[str, Any]:
    """Let clients come, join, leave and go; the server's figures while all were there."""
    numbers = count()
    async with asyncio.timeout(DEADLINE_SECONDS):
        visitors = await connect_many(port, clients, lambda: Visitor(round_number, next(numbers)))
        await asyncio.gather(*(each.join() for each in visitors))
        peak = await asyncio.to_thread(ask, port, 'GET', '/figures')
        await asyncio.gather(*(each.leave() for each in visitors))
        await asyncio.gather(*(each.end() for each in visitors))
    return {**peak, 'errors': sum(each.errors for each in visitors)}


def run(options: argparse.Namespace) -> bool:
    """Round after round, with a look at the figures after each."""
    clients = options.clients
    print(f'\nchurn: {options.rounds} rounds of {clients:,} connections; {options.server}')
    with serving(IMPLEMENTATIONS[options.server]) as served:
        served.figures()  # what the first request brings along is there
        start = served.figures()
        print(f'  start: {_line(start)}')
        memories: list[int] = []
        strays = short = 0
        for number in range(1, options.rounds + 1):
            peak = in_own_process(visit, served.port, number, clients)
            gone = perf_counter()
            figures, back = wait_until(
                served, lambda each: all(each[name] == start[name] for name in BACK), 30
            )
            strays += sum(abs(figures[name] - start[name]) for name in BACK)
            short += peak['errors'] + abs(peak['connections'] - clients)
            short += abs(peak['rooms'] - clients - len(range(0, clients, CLIENTS_PER_ROOM)))
            memories.append(figures['resident_bytes'])
            after = perf_counter() - gone
            print(
                f'  {number:2}: {_line(figures)}; at most {peak["tasks"]} tasks, {peak["rooms"]} '
                f'rooms; {f"back after {after:.2f} s" if back else "NOT BACK"}',
                flush=True,
            )
        trimmed = served.ask('DELETE', '/figures')['resident_bytes']
        print(f'  after malloc_trim, for comparison only: {trimmed / MIB:.1f} MiB')
    growth = memories[-1] - memories[min(SETTLED_ROUND, len(memories)) - 1]
    return verdict(
        [
            Check(
                f'memory after round {len(memories)}, above that after round {SETTLED_ROUND}',
                growth / MIB,
                GROWTH_BYTES / MIB,
                'MiB',
            ),
            Check('tasks, descriptors, rooms, users and connections that remained', strays, 0),
            Check('joins and connections that failed', short, 0),
        ]
    )


def _line(figures: dict[str, Any]) -> str:
    return (
        f'{figures["resident_bytes"] / MIB:.1f} MiB '
        f'(malloc {figures["malloc_used_bytes"] / MIB:.1f} used, '
        f'{figures["malloc_free_bytes"] / MIB:.1f} free), {figures["blocks"]:,} blocks, '
        f'{figures["tasks"]} tasks, {figures["descriptors"]} descriptors, '
        f'{figures["rooms"]} rooms, {figures["users"]} users, '
        f'{figures["connections"]} connections'
    )
