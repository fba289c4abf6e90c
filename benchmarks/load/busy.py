"""A handler that takes long, with messages waiting behind it and pings of the server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
import json
import time
from typing import Any

from benchmarks.load.client import Client, connect_many
from benchmarks.load.dialects import Dialect
from benchmarks.load.frames import client_frame
from benchmarks.servers import Server


@dataclass(frozen=True, slots=True)
class Service:
    """How a busy connection fared.

    Args:
        handled: How many of the waiting messages were handled.
        in_order: Whether in the order in which they were sent.
        ended_seconds: When the connection ended, from the beginning; None if it lives.
        close_code: How it ended; None without a close frame.
        noticed_seconds: How long after a client's abort its handler could know; None for never.
    """

    handled: int
    in_order: bool
    ended_seconds: float | None
    close_code: int | None
    noticed_seconds: float | None


class Talker(Client):
    """Keeps what it is told."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect.echo_path)
        self.heard: asyncio.Queue[Any] = asyncio.Queue()
        self._dialect = dialect

    def say(self, type: str, payload: object = None) -> None:
        """Send a message."""
        self.transport.write(client_frame(self._dialect.message(type, payload)))

    def message(self, data: bytes, start: int, end: int) -> None:
        """Keep a message."""
        self.heard.put_nowait(json.loads(data[start:end]))


async def measure_busy(
    server: Server, dialect: Dialect, *, busy_seconds: float, messages: int
) -> Service:
    """Keep a handler busy, with messages behind it; then abort a busy connection.

    Args:
        server: Who is kept busy.
        dialect: How to speak to it.
        busy_seconds: For how long.
        messages: How many wait meanwhile.
    """
    (noticed, (handled, in_order, ended, code)) = await asyncio.gather(
        _abort(server, dialect, busy_seconds, messages // 2),
        _wait(server, dialect, busy_seconds, messages),
    )
    return Service(handled, in_order, ended, code, noticed)


async def _wait(
    server: Server, dialect: Dialect, busy_seconds: float, messages: int
) -> tuple[int, bool, float | None, int | None]:
    (talker,) = await connect_many(server.port, 1, lambda: Talker(dialect))
    start = time.monotonic()
    talker.say('work', {'seconds': busy_seconds})
    for number in range(messages):
        talker.say('note', {'number': number})
    ended = None
    numbers: list[int] = []
    try:
        async with asyncio.timeout(busy_seconds + 5):
            while len(numbers) < messages and not talker.closed.done():
                heard = asyncio.ensure_future(talker.heard.get())
                await asyncio.wait({heard, talker.closed}, return_when='FIRST_COMPLETED')
                if heard.done() and heard.result()['type'] == 'noted':
                    numbers.append(heard.result()['payload']['number'])
    except TimeoutError:
        pass  # what has come by now is what counts
    if talker.closed.done():
        ended = time.monotonic() - start
    code = talker.closed.result() if talker.closed.done() else None
    return len(numbers), numbers == sorted(numbers), ended, code


async def _abort(
    server: Server, dialect: Dialect, busy_seconds: float, messages: int
) -> float | None:
    (victim,) = await connect_many(server.port, 1, lambda: Talker(dialect))
    victim.say('watch', {'seconds': busy_seconds})
    for number in range(messages):
        victim.say('note', {'number': number})
    await asyncio.sleep(1)
    aborted_at = time.monotonic()
    victim.transport.abort()
    await asyncio.sleep(busy_seconds)
    (asker,) = await connect_many(server.port, 1, lambda: Talker(dialect))
    asker.say('noticed')
    noticed_at = (await asyncio.wait_for(asker.heard.get(), 5)).get('payload')
    return None if noticed_at is None else noticed_at - aborted_at  # one clock for all processes
