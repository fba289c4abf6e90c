"""What waits to be sent: in order, many at once, and none of it twice.

Everything of a process goes one way, so what it says to a room has one order. A message that was
sent when the connection was lost is sent again with its number: Redis knows by that whether it has
taken it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
import secrets
from typing import Any, Final, NamedTuple

from redis.exceptions import ResponseError

from falcon_ws_mw.backends.redis.keys import Keys
from falcon_ws_mw.backends.redis.refusals import in_words
from falcon_ws_mw.backends.redis.scripts import COUNT_SECONDS, Dialect
from falcon_ws_mw.backends.redis.session import Argument, Interrupted, Session
from falcon_ws_mw.errors import BackendUnavailable
from falcon_ws_mw.logs import ClientFaults

AT_ONCE: Final = 128
"""How many messages go to Redis at once at most."""

AT_ONCE_BYTES: Final = 262_144

SENT_SECONDS: Final = 600
"""For how long Redis knows the number of a process that sends nothing."""


class Taken(NamedTuple):
    """What became of a message on one channel.

    Attributes:
        reached: How many processes listened.
        number: Its number there; of one that was sent twice, that of a later one. 0 if nobody
            counts.
        epoch: The epoch of that.
    """

    reached: int
    number: int
    epoch: str


class _Waiting(NamedTuple):
    number: int
    channels: Sequence[str]
    is_counted: bool
    data: bytes
    taken: asyncio.Future[list[Taken]]
    deadline: float


class Lane:
    """Sends what a process has to say.

    Args:
        keys: The process's.
        dialect: How Redis is spoken to.
        session: Waits until Redis is there.
        wait_seconds: How long a message waits for that.
        max_waiting: How many may wait.
        faults: Where the log is told.
    """

    def __init__(
        self,
        keys: Keys,
        dialect: Dialect,
        session: Callable[[], Awaitable[Session]],
        wait_seconds: float,
        max_waiting: int,
        faults: ClientFaults,
    ) -> None:
        self._faults = faults
        self._keys = keys
        self._dialect = dialect
        self._session = session
        self._wait_seconds = wait_seconds
        self._max_waiting = max_waiting
        self._waiting: deque[_Waiting] = deque()
        self._due: deque[_Waiting] = deque()  # those under way too, in the order of their deadlines
        self._timer: asyncio.TimerHandle | None = None
        self._number = 0
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def put(
        self, channels: Sequence[str], data: bytes, *, is_counted: bool
    ) -> asyncio.Future[list[Taken]]:
        """Put a message for some channels into the line.

        At once, so that messages are in line as they were said.

        Returns:
            What becomes of it, for each of them; or `BackendUnavailable`, if Redis has not taken it
            in time.

        Raises:
            BackendUnavailable: If too many wait already.
        """
        if len(self._waiting) >= self._max_waiting:
            self._waiting = deque(each for each in self._waiting if not each.taken.done())
        if len(self._waiting) >= self._max_waiting:
            raise BackendUnavailable(f'{self._max_waiting} messages wait already (max_waiting)')
        loop = asyncio.get_running_loop()
        self._number += 1
        taken: asyncio.Future[list[Taken]] = loop.create_future()
        deadline = loop.time() + self._wait_seconds
        waiting = _Waiting(self._number, channels, is_counted, data, taken, deadline)
        self._waiting.append(waiting)
        self._due.append(waiting)
        if self._timer is None:
            self._timer = loop.call_at(deadline, self._expire)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._send_all(), name='falcon_ws_mw redis lane')
        return taken

    def _expire(self) -> None:
        """Tell those who have waited for too long."""
        # PERF: one timer for all, since a timer for each message takes a fifth of its time.
        now = asyncio.get_running_loop().time()
        while self._due and (self._due[0].taken.done() or self._due[0].deadline <= now):
            _refuse(
                self._due.popleft(),
                f'Redis has not taken a message within {self._wait_seconds:g} s (wait_seconds)',
            )
        while self._waiting and self._waiting[0].taken.done():
            self._waiting.popleft()
        self._timer = None
        if self._due:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._due[0].deadline, self._expire)

    async def end(self) -> None:
        """Send nothing any more. Whoever waits is told."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting.clear()
        while self._due:
            _refuse(self._due.popleft(), 'the app has stopped')

    async def _send_all(self) -> None:
        while self._waiting:
            session = await self._session()
            batch = self._next_batch()
            if not batch:
                continue
            try:
                keys, args = self._arguments(batch)
                counting = (session.run_id, int(session.is_durable), secrets.token_hex(6))
                lasting = (COUNT_SECONDS, SENT_SECONDS * 1_000)
                replies = await session.run(self._dialect.send, keys, *counting, *lasting, *args)
            except Interrupted:
                self._waiting.extendleft(reversed(batch))
            except ResponseError as error:  # it has no memory left, or no such command
                self._faults.warn('backend_refused', 'Redis refuses to send: %s', in_words(error))
                for each in batch:
                    _refuse(each, f'Redis says: {error}')
            else:
                self._report(batch, replies)

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._waiting and len(batch) < AT_ONCE and size < AT_ONCE_BYTES:
            each = self._waiting.popleft()
            if not each.taken.done():  # else it has waited for too long, or its sender has
                batch.append(each)
                size += len(each.data) * len(each.channels)
        return batch

    def _arguments(self, batch: list[_Waiting]) -> tuple[list[Argument], list[Argument]]:
        keys: list[Argument] = [self._keys.sent]
        args: list[Argument] = []
        for each in batch:
            keys += each.channels
            args += (each.number, int(each.is_counted), len(each.channels), each.data)
        return keys, args

    def _report(self, batch: list[_Waiting], replies: list[Any]) -> None:
        each_reply = iter(replies)
        triples = zip(each_reply, each_reply, each_reply, strict=True)
        for each in batch:
            taken = [
                Taken(reached, number, epoch.decode())
                for reached, number, epoch in islice(triples, len(each.channels))
            ]
            if not each.taken.done():  # else its sender has been told that it was not in time
                each.taken.set_result(taken)
        while self._due and self._due[0].taken.done():
            self._due.popleft()


def _refuse(waiting: _Waiting, problem: str) -> None:
    if not waiting.taken.done():
        waiting.taken.set_exception(BackendUnavailable(problem))
        waiting.taken.exception()  # its sender may have been cancelled
