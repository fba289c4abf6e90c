"""The send that is in flight, and the line behind it.

A writer exists only while a send is blocked. It sees the send through, then sends what waits back
to back. A server whose `send` is a coroutine gets a task for that; one whose `send` gives a future
(granian) gets a callback, since a task for each frame costs it four times as much.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Generator
from functools import partial
import inspect
from typing import Any, Protocol, TypeAlias

from falcon_ws_mw.asgi import Event, Send
from falcon_ws_mw.frames import Frame
from falcon_ws_mw.outbox import Outbox

Steps: TypeAlias = Generator[Any, Any, None]


class Owner(Protocol):
    """Who a writer writes for."""

    id: str

    def broken(self, error: BaseException) -> None:
        """The server has taken no frame."""

    def written(self) -> None:
        """Nothing waits any more, or nothing more will be written."""


def is_servers_own(send: Send) -> bool:
    """Whether a send is the server's, which may be begun in one task and ended in another.

    Servers give a method of theirs. A function was put around it by ASGI middleware: what that does
    with the current task (`asyncio.timeout`) or the context (resetting a variable) would break.
    """
    return not (inspect.isfunction(send) or isinstance(send, partial))


def in_a_task(send: Send) -> Send:
    """A send that runs in a task of its own, from its beginning to its end."""

    async def run(event: Event) -> None:
        await send(event)

    def begin(event: Event) -> asyncio.Task[None]:
        return asyncio.create_task(run(event), name='falcon_ws_mw send')

    return begin


class Writer:
    """Writes what waits.

    Args:
        owner: Whom to tell.
        send: The ASGI send.
        outbox: The line.

    Attributes:
        outbox: The line.
        since: When the send in flight was begun, in the event loop's time.
    """

    __slots__ = (
        '_begun',
        '_end',
        '_ended',
        '_future',
        '_in_flight',
        '_owner',
        '_room',
        '_send',
        '_task',
        'outbox',
        'since',
    )

    def __init__(self, owner: Owner, send: Send, outbox: Outbox) -> None:
        self.outbox = outbox
        self.since = asyncio.get_running_loop().time()
        self._owner = owner
        self._send = send
        self._in_flight: asyncio.Future[None] | None = None
        self._room: deque[asyncio.Future[None]] = deque()
        self._end: asyncio.Future[None] | None = None
        self._ended = False
        self._future: Any = None
        self._task: asyncio.Task[None] | None = None
        self._begun = False

    def see_through(self, sending: object, blocked_on: Any, steps: Steps) -> None:
        """Finish a send that was begun by hand and blocked, then send what waits.

        Args:
            sending: What the ASGI send returned.
            blocked_on: What it waits for.
            steps: The iterator over it.
        """
        _taken_note_of(blocked_on)
        if hasattr(sending, 'add_done_callback'):
            self._future = blocked_on
            blocked_on.add_done_callback(partial(self._resume, steps))
        else:
            self._task = asyncio.create_task(
                self._run(_Resumed(blocked_on, steps)),
                name=f'falcon_ws_mw writer {self._owner.id}',
            )

    # -- for those who wait

    def in_line(self, frame: Frame) -> asyncio.Future[None]:
        """Put a frame in line; the future is done when the server has taken it, or never will."""
        taken = asyncio.get_running_loop().create_future()
        self.outbox.append(frame, taken)
        return taken

    def first_taken(self) -> asyncio.Future[None]:
        """The same for the frame that is in flight, which nobody waits for yet."""
        self._in_flight = asyncio.get_running_loop().create_future()
        return self._in_flight

    def has_no_room(self, size: int, *, again: bool) -> bool:
        """Whether a message has to wait for room: there is none, or others waited before.

        Args:
            size: Its bytes of payload.
            again: Whether it was just its turn.
        """
        return not self.outbox.has_room(size) or (bool(self._room) and not again)

    async def room(self, *, again: bool) -> None:
        """Wait until something has left the line, first come, first served.

        Args:
            again: Whether it was its turn and there was not enough room: then it stays first.
        """
        waiter = asyncio.get_running_loop().create_future()
        if again:
            self._room.appendleft(waiter)
        else:
            self._room.append(waiter)
        await waiter

    async def ended(self) -> None:
        """Wait until nothing waits any more."""
        if not self._ended:
            if self._end is None:
                self._end = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._end])

    # -- its end

    def cancel(self) -> None:
        """Give up what is in flight and what waits."""
        if self._task is None:
            self._future.cancel()
        elif self._begun:  # else `_run` does it: cancelled before its first step it never runs
            self._task.cancel()
        self._finish()

    async def stop(self) -> None:
        """Cancel, and wait until nothing of it runs."""
        self.cancel()
        tasks = [task for task in (self._task, self._future) if isinstance(task, asyncio.Task)]
        if tasks:
            await asyncio.wait(tasks)

    def _finish(self, error: BaseException | None = None) -> None:
        if self._ended:
            return
        self._ended = True
        waiters = [self._in_flight, self._end, *self._room, *self.outbox.clear()]
        self._owner.written()
        if error is not None:
            self._owner.broken(error)
        for waiter in waiters:
            _done(waiter)

    # -- writing

    def _next(self) -> Frame:
        """The next frame in line is the one in flight from now on."""
        waiting = self.outbox.pop()
        self._in_flight = waiting.taken
        self.since = asyncio.get_running_loop().time()
        while self._room:
            waiter = self._room.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break
        return waiting.frame

    async def _run(self, first: _Resumed) -> None:
        self._begun = True
        if self._ended and self._task is not None:
            self._task.cancel()
        try:
            await first
            _done(self._in_flight)
            while self.outbox and not self._ended:
                await self._send(self._next())
                _done(self._in_flight)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # see `broken`
            self._finish(error)
        else:
            self._finish()

    def _resume(self, steps: Steps, _: object) -> None:
        """A future is done: go on with what waited for it, then with what waits in line."""
        try:
            for blocked_on in steps:
                _taken_note_of(blocked_on)
                self._future = blocked_on
                blocked_on.add_done_callback(partial(self._resume, steps))
                return
            _done(self._in_flight)
            while self.outbox and not self._ended:
                sending = self._send(self._next())
                steps = sending.__await__()
                for blocked_on in steps:
                    self.see_through(sending, blocked_on, steps)
                    return
                _done(self._in_flight)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # see `broken`
            self._finish(error)
        else:
            self._finish()


class _Resumed:
    """The rest of an awaitable that was started by hand and blocked.

    Awaiting it waits for what the awaitable was blocked on, then runs it to its end.
    """

    __slots__ = ('_blocked_on', '_steps')

    def __init__(self, blocked_on: object, steps: Steps) -> None:
        self._blocked_on = blocked_on
        self._steps = steps

    def __await__(self) -> Steps:
        if asyncio.isfuture(self._blocked_on):
            self._blocked_on._asyncio_future_blocking = True  # see `_taken_note_of`
        try:
            yield self._blocked_on
        except BaseException as error:  # cancellation belongs inside the send
            if not hasattr(self._steps, 'throw'):  # no coroutine: it has nothing to tell
                raise
            try:
                yield self._steps.throw(error)
            except StopIteration:
                return
        yield from self._steps


def _taken_note_of(blocked_on: Any) -> None:
    """Say that somebody waits for a future, as a task does as soon as a coroutine yields one.

    Until then nobody else can await it (asyncio: "await wasn't used with future").
    """
    if asyncio.isfuture(blocked_on):
        blocked_on._asyncio_future_blocking = False


def _done(taken: asyncio.Future[None] | None) -> None:
    if taken is not None and not taken.done():
        taken.set_result(None)
