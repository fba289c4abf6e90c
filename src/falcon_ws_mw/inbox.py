"""What a peer says: read directly while nobody is busy, and ahead of a handler that is.

Most connections are idle and most handlers are quick: for those the conversation calls the server's
`receive` itself, which costs neither task nor queue. But a server with unread messages stops
reading, its peer's pongs and end included. So while a handler takes long, a task reads ahead of it
into a bounded queue. A receive that is pending is never cancelled while the connection lives
(granian would lose the connection): whoever reads next takes its outcome.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
import contextlib
from contextvars import ContextVar
import math
from time import monotonic
from typing import TYPE_CHECKING, Final

from falcon import OperationNotAllowed

from falcon_ws_mw import cancellation, close_codes, server_internals
from falcon_ws_mw.asgi import Event
from falcon_ws_mw.connection import Connection
from falcon_ws_mw.frames import frame_bytes
from falcon_ws_mw.intake import Intake
from falcon_ws_mw.sides import State

if TYPE_CHECKING:
    from falcon_ws_mw.handshake import Handshake

HANDLED_BESIDE: Final[ContextVar[object]] = ContextVar('falcon_ws_mw_beside', default=None)
"""The connection a message of which is handled beside others: the next is not for its handler."""


class Inbox(Intake):
    """The receiving side of one socket. Made of what `Intake` is.

    Attributes:
        in_hand: The ASGI event whose handler is running, if one is.
        pending: What the server's receive returned last.
    """

    __slots__ = (
        '_bytes',
        '_cancels_handler',
        '_closes_first',
        '_error',
        '_interrupted',
        '_library_waits',
        '_news',
        '_queue',
        '_receiver',
        '_receives',
        '_room',
        '_task',
        'in_hand',
        'pending',
    )

    def __init__(self, connection: Connection, handshake: Handshake) -> None:
        super().__init__(connection, handshake)
        self.in_hand: Event | None = None
        self._cancels_handler = False
        self.pending: Awaitable[Event] | None = None
        self._receiver: asyncio.Future[None] | None = None
        self._receives = False
        self._closes_first = False
        self._interrupted: int | None = None  # if so, how often it was cancelled before
        # What follows exists only while it is read ahead.
        self._queue: deque[tuple[Event, float]] | None = None  # each with when its turn is
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._library_waits = False
        self._news: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._error: Exception | None = None

    def begin(self, *, cancels_handler: bool) -> None:
        """The current task converses from now on.

        Args:
            cancels_handler: Whether it is cancelled when the peer leaves while it handles.
        """
        self.owner = asyncio.current_task()
        self._cancels_handler = cancels_handler
        self._look()
        if self._connection.state is State.CLOSING:  # it was closed before anybody read
            self._connection.await_close()

    # -- reading

    async def next(self) -> Event:
        """The next ASGI event, for the library: a message, or how the connection ended."""
        while self._receiver is not None:  # a handler left a receive behind: it comes first
            await asyncio.wait([self._receiver])
        self._library_waits = True
        try:
            event = await self._take()
        finally:
            self._library_waits = False
        if self._task is None and not self._queue and self._error is None:
            self._queue = None
            self._look()
        return event

    def note_end(self, event: Event) -> None:
        """The peer has left: nothing more is delivered."""
        self.reads_directly = False
        timeout = self._connection.limits.send_timeout_seconds
        if self._connection.is_blocked and timeout is not None:
            # The server has told the end, and still holds a socket that does not drain: on its
            # shutdown uvicorn would wait for it, for ever.
            transport = server_internals.transport_of(*self._handshake.server_sides)
            if transport is not None:
                asyncio.get_running_loop().call_later(timeout, server_internals.cut, transport)
        # The ASGI spec makes 1005 the default. Some servers send an IntEnum.
        self._connection.left(int(event.get('code') or close_codes.NO_STATUS))
        self._connection.keeper.lost(self._connection)
        self.let_go()

    async def receive(self) -> Event:
        """The next ASGI event, for a handler. Cancelling it loses nothing.

        Raises:
            OperationNotAllowed: If somebody receives already, or for a handler that runs beside
                others.
        """
        if HANDLED_BESIDE.get() is self._connection:
            raise OperationNotAllowed(
                'a handler that runs beside others cannot receive: declare an on_ws_<type> for '
                'what comes next, or have this one run alone by @parallel(1)'
            )
        if self._receiver is not None:
            raise OperationNotAllowed(
                'another receive is under way on this connection: await one after the other'
            )
        self._receiver = asyncio.get_running_loop().create_future()
        self.reads_directly = False
        try:
            if not self._queue:
                self.read_ahead()
            return await self._take()
        finally:
            self._receiver.set_result(None)
            self._receiver = None
            self._look()

    @property
    def is_busy(self) -> bool:
        """Whether a handler runs that does not receive."""
        return self.in_hand is not None and self._receiver is None

    def last_read(self) -> object:
        """What was read last, or is being read; `None` where nobody reads."""
        is_unread = self.is_busy and (self._task is None or self._is_full())
        return None if is_unread or (self.is_held_back and self._task is None) else self.pending

    @property
    def is_empty(self) -> bool:
        """Whether nothing that was read waits to be received."""
        return not self._queue

    async def _take(self) -> Event:
        """The first of what was read ahead, and may be handled."""
        while True:
            while not self._queue:
                if self._error is not None:
                    raise self._error
                if self._task is None:
                    return await self._receive_admitted()
                self._news = asyncio.get_running_loop().create_future()
                await self._news
            event, turn = self._queue[0]
            while turn and self._connection.state is State.OPEN and turn > monotonic():
                # It stays in the queue meanwhile: whoever waits for it may be cancelled.
                await self.hold_back(turn - monotonic())
            self._queue.popleft()
            if event['type'] == 'websocket.receive':
                self._bytes -= frame_bytes(event)
            _wake(self._room)
            if not (turn and self._connection.hung_up):
                return event
            self._connection.keeper.counters.abandoned += 1

    def _end_event(self) -> Event:
        return {'type': 'websocket.disconnect', 'code': self._connection.close_code}

    async def _receive_admitted(self) -> Event:
        """The server's next event, but for messages that must not be handled."""
        while self._connection.state is not State.CLOSED:
            event = await self._receive()
            if event['type'] != 'websocket.receive':
                return event
            delay = self.received(event)
            if delay > 0:
                await self.hold_back(delay)
            if not self._connection.hung_up:
                return event
            self._connection.keeper.counters.abandoned += 1
        return self._end_event()

    async def _receive(self) -> Event:
        """Call the server's receive, and note the end if it is that."""
        self._receives = True
        try:
            if self._closes_first:
                await self._connection.all_written()
            pending = self.pending = self._handshake.receive()
            event = await pending
        except asyncio.CancelledError:
            if not await self.goes_on():
                raise
            event = await self._handshake.receive()
        finally:
            self._receives = False
        if event['type'] == 'websocket.disconnect':
            self.note_end(event)
        return event

    def _look(self) -> None:
        """Whether the conversation may read directly again."""
        self.reads_directly = (
            self._queue is None
            and self._receiver is None
            and self._connection.state is not State.CLOSED
        )

    # -- reading ahead

    def await_answer(self) -> None:
        """Somebody is about to wait for what the peer answers, maybe the handler that runs."""
        if self.in_hand is not None or self.owner is None:
            self.read_ahead()

    def read_ahead(self) -> None:
        """Read from now on into the queue, until the library waits for what comes."""
        if self._task is None and not self._receives and self._connection.state is not State.CLOSED:
            if self._queue is None:
                self._queue = deque()
                self.reads_directly = False
            self._task = asyncio.create_task(
                self._read_ahead(), name=f'falcon_ws_mw reader {self._connection.id}'
            )
            # A task that is cancelled before its first step never runs, not even its `finally`.
            self._task.add_done_callback(self._reads_no_more)

    async def _read_ahead(self) -> None:
        try:
            while await self._read_one():
                while self._is_full() and not self._connection.hung_up:
                    self._room = asyncio.get_running_loop().create_future()
                    await self._room
        except Exception as error:  # noqa: BLE001  # the server's; whoever takes next gets it
            self._error = error
        finally:
            self._reads_no_more(self._task)

    def _reads_no_more(self, task: asyncio.Task[None] | None) -> None:
        if self._task is task:
            self._task = None
            _wake(self._news)

    async def _read_one(self) -> bool:
        """Read one event into the queue.

        Returns:
            Whether to go on.
        """
        connection = self._connection
        event = await self._receive()
        queue = self._queue
        if queue is None:
            return False
        if event['type'] == 'websocket.disconnect':
            if self._cancels_handler and self.in_hand is not None and not connection.hung_up:
                self._interrupt()
            queue.append((event, 0.0))
            return False
        if (
            connection.requests
            and not self.is_too_long(event)
            and connection.requests.is_answer(event)
        ):
            connection.keeper.counters.received += 1
            return True
        delay = self.received(event)
        if delay == math.inf or (delay > 0 and connection.hung_up):
            await self.hold_back(delay)
        if connection.hung_up:  # nobody will listen; the server has to get at the end
            connection.keeper.counters.abandoned += 1
            return True
        queue.append((event, monotonic() + delay if delay > 0 else 0.0))
        self._bytes += frame_bytes(event)
        _wake(self._news)
        return not (self._library_waits and len(queue) == 1)

    def _is_full(self) -> bool:
        limits = self._connection.limits
        return (
            limits.max_inbox_messages is not None
            and self._queue is not None
            and len(self._queue) >= limits.max_inbox_messages
        ) or (limits.max_inbox_bytes is not None and self._bytes >= limits.max_inbox_bytes)

    # -- what the sending side tells

    def hung_up(self, *, waits: bool) -> None:
        """We have said close.

        Args:
            waits: Whether it waits behind something. granian 2.8 holds a close back while a
                receive is pending: its futures can be cancelled; other servers' coroutines
                need not be.
        """
        _wake(self._room)
        self.let_go()
        self.hush_flood()
        if self.in_hand is not None:
            self.read_ahead()  # what the peer says now would hold its close up
        cancel = getattr(self.pending, 'cancel', None)
        if waits and cancel is not None:
            self._closes_first = True
            self.reads_directly = False
            cancel()

    def evicted(self, missed: str) -> None:
        """The peer was given up: cut the socket, and end what waits for it.

        Args:
            missed: What it did not do in time.
        """
        cut = server_internals.abort(*self._handshake.server_sides)
        self._connection.keeper.faults.warn(
            'evicted',
            'connection %s did not %s for %s s: evicted, %s',
            self._connection.id,
            missed,
            self._connection.limits.send_timeout_seconds,
            'its socket is aborted' if cut else 'its socket is left to the server',
            connection_id=self._connection.id,
            aborted=cut,
        )
        self.let_go()
        self._connection.keeper.counters.not_aborted += not cut
        self.reads_directly = False
        if self._task is not None:
            self._task.cancel()
        if self._cancels_handler if self.in_hand is not None else self._task is None:
            self._interrupt()

    def _interrupt(self) -> None:
        if self.owner is not None:
            # On Python 3.11 and 3.12 a `TaskGroup` that failed leaves a count behind.
            self._interrupted = self.owner.cancelling()
            self.owner.cancel()

    def _read_no_more(self) -> None:
        """Nobody waits for what the server may never tell."""
        self.reads_directly = False
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    async def goes_on(self) -> bool:
        """Whether a cancellation that has just been met is no reason to end.

        Because it was we who had interrupted, and nobody else; or it was a receive that `hung_up`
        cancelled, behind which the end comes next.
        """
        before = self._interrupted
        if before is not None and self.owner is asyncio.current_task():
            self._interrupted = None
            return self.owner is not None and self.owner.uncancel() <= before
        if cancellation.is_for_this_task() or self._connection.state is not State.CLOSING:
            return False
        try:
            await self._connection.all_written()
        except asyncio.CancelledError:
            return await self.goes_on()  # evicted meanwhile
        return True

    async def stop(self) -> None:
        """Read no more, and let no interruption of ours reach what comes next."""
        owner, self.owner = self.owner, None
        before, self._interrupted = self._interrupted, None
        if before is not None and owner is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)  # it may have been under way still, or been refused
            if owner.uncancel() > before:
                raise asyncio.CancelledError
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait([task])


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
