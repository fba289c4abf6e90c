"""One live socket: what is said leaves in order, and there is one way to close it.

At most one ASGI `send` is in flight. A send is started without a task, since most end at once;
only one that blocks is handed to a writer task, behind which later messages wait in order. So an
idle connection has neither task nor queue, and nobody but the connection's own handler ever
waits for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Generator
from enum import Enum, auto
import logging
from typing import Any

from falcon import WebSocketDisconnected

from falcon_ws_mw import close_codes
from falcon_ws_mw.asgi import Event, Send
from falcon_ws_mw.envelope import Frame, frame_bytes
from falcon_ws_mw.errors import OutboxFull
from falcon_ws_mw.options import DEFAULT_LIMITS, Limits

logger = logging.getLogger('falcon_ws_mw')


class State(Enum):
    """How far a connection has come. It only ever moves forward."""

    HANDSHAKE = auto()
    """Not accepted: what is said is held back."""
    OPEN = auto()
    CLOSING = auto()
    """We said close, or a send failed: nothing more goes out; the end is still to be read."""
    CLOSED = auto()


class Connection:
    """The sending side of one socket, and what the manager knows of it.

    Args:
        connection_id: Its name in the manager.
        send: The ASGI `send` of the socket.
        websocket: The object that handlers know it by.
        resource: The resource that handles its messages.
        default_reasons: Close code to reason, for a close without one.
        limits: What may be held before the accept.

    Attributes:
        user_id: The user it belongs to.
        rooms: The rooms it is in. Kept as they were when it ended.
        state: How far it has come.
        close_code: How it ended, once it has.
        error: What the server raised when it took no frame, if it did.
        stop_receiving: Called when a close has to wait, to end a receive that holds it up.
    """

    __slots__ = (
        '_default_reasons',
        '_held',
        '_limits',
        '_send',
        '_writer',
        'close_code',
        'error',
        'id',
        'resource',
        'rooms',
        'state',
        'stop_receiving',
        'user_id',
        'websocket',
    )

    def __init__(
        self,
        connection_id: str,
        send: Send,
        *,
        websocket: object = None,
        resource: object = None,
        default_reasons: dict[int, str] | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self.id = connection_id
        self.websocket = websocket
        self.resource = resource
        self.user_id: str | None = None
        self.rooms: set[str] = set()
        self.state = State.HANDSHAKE
        self.close_code: int | None = None
        self.error: BaseException | None = None
        self.stop_receiving: Callable[[], None] | None = None
        self._send = send
        self._default_reasons = default_reasons or {}
        self._limits = limits
        self._held: deque[Frame] | None = None
        self._writer: _Writer | None = None

    # -- saying something

    def post(self, frame: Frame) -> bool:
        """Send without waiting.

        Returns:
            Whether the frame went to the server or waits its turn; `False` if it never will.
        """
        if self.state is State.OPEN:
            if self._writer is None:
                return self._start(frame)
            self._writer.queue.append((frame, None))
            return True
        if self.state is State.HANDSHAKE:
            try:
                self._hold(frame)
            except OutboxFull:
                return False
            return True
        return False

    async def send(self, frame: Frame) -> None:
        """Send, and wait until the server has taken the frame.

        Before the accept the frame is held and nothing is waited for. Cancelling the wait does
        not take the frame back.

        Raises:
            WebSocketDisconnected: If the connection has ended.
            OutboxFull: If it is not accepted and no more can be held.
        """
        if self.state is State.HANDSHAKE:
            self._hold(frame)
            return
        if self.state is State.OPEN:
            taken = self._writer.append(frame) if self._writer else self._start_to_wait(frame)
            if taken is not None:
                await taken
        if self.state is not State.OPEN:
            code = close_codes.ABNORMAL if self.close_code is None else self.close_code
            raise WebSocketDisconnected(code)

    def _hold(self, frame: Frame) -> None:
        if self._held is None:
            self._held = deque()
        max_messages = self._limits.max_outbox_messages
        max_bytes = self._limits.max_outbox_bytes
        if (max_messages is not None and len(self._held) >= max_messages) or (
            max_bytes is not None
            and sum(map(frame_bytes, self._held)) + frame_bytes(frame) > max_bytes
        ):
            raise OutboxFull(max_messages, max_bytes)
        self._held.append(frame)

    # -- its life

    async def accept(self, event: Event) -> None:
        """Accept the handshake with an ASGI `websocket.accept` event; say what was held.

        Raises:
            Exception: Whatever the server raises when the client has gone meanwhile.
        """
        await self._send(event)
        if self.state is State.HANDSHAKE:
            self.opened()
        elif self._held:  # somebody closed it while the server was accepting
            self._start(self._held.popleft())

    def opened(self) -> None:
        """The handshake is accepted: what was held goes out. Nothing that has ended comes back."""
        if self.state is not State.HANDSHAKE:
            return
        self.state = State.OPEN
        held, self._held = self._held, None
        for frame in held or ():
            self.post(frame)

    def close(self, code: int, reason: str = '') -> None:
        """Say close, behind everything that waits, without waiting for it.

        Nothing said afterwards is delivered. A connection that is not accepted yet will be
        refused; one that has ended stays as it is.

        Args:
            code: A close code that may be sent.
            reason: Text for the peer; by default Falcon's for this code.
        """
        if self.state not in {State.HANDSHAKE, State.OPEN}:
            return
        reason = reason or self._default_reasons.get(code, '')
        event = {'type': 'websocket.close', 'code': code, 'reason': close_codes.fit_reason(reason)}
        if self.state is State.HANDSHAKE:
            self._held = deque([event])
        elif self._writer is None:
            self._start(event)
        else:
            self._writer.queue.append((event, None))
        self.state = State.CLOSING
        self.close_code = code
        if self._writer is not None and self.stop_receiving is not None:
            self.stop_receiving()

    async def close_with(self, event: Event) -> None:
        """Say a close that somebody else has worded, and wait until the server has taken it.

        Args:
            event: An ASGI `websocket.close`.

        Raises:
            Exception: Whatever the server raises.
        """
        if self.state is not State.OPEN:
            return
        frame = dict(event)
        taken = self._writer.append(frame) if self._writer else self._start_to_wait(frame)
        self.state = State.CLOSING
        self.close_code = event.get('code', close_codes.NORMAL)
        if taken is not None:
            await taken
        if self.error is not None:
            raise self.error

    async def end(self, code: int) -> None:
        """The socket is gone: what waits is dropped, the writer is stopped and awaited.

        Args:
            code: How it ended, unless we closed it with a code of ours before.
        """
        self.state = State.CLOSED
        if self.close_code is None:
            self.close_code = code
        self._held = None
        self.stop_receiving = None  # no cycle is left: it belongs to the socket
        if self._writer is not None:
            await self._writer.stop()

    # -- the writer

    def _start(self, frame: Frame) -> bool:
        """Run one ASGI send as far as it goes without waiting; a writer task takes it from there.

        PERF: iterating over the awaitable runs it until it blocks, with neither a task nor an
        exception for the common case that it never does.
        """
        try:
            steps = self._send(frame).__await__()
            for blocked_on in steps:
                self._writer = _Writer(self, blocked_on, steps)
                return True
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # see `broken`
            self.broken(error)
            return False
        return True

    def _start_to_wait(self, frame: Frame) -> asyncio.Future[None] | None:
        """Start; where it blocks, return the future of the server having taken the frame."""
        self._start(frame)
        return self._writer.first_taken() if self._writer else None

    def broken(self, error: BaseException) -> None:
        """The server took no frame: the peer is gone, and the end is about to be read.

        Servers tell it in many ways: an `OSError` since ASGI spec 2.4, a cancelled wait, others.
        """
        if self.state is State.CLOSED:
            return
        if not isinstance(error, (OSError, asyncio.CancelledError)):
            logger.warning('the server failed to send', exc_info=error)
        self.error = error
        self.state = State.CLOSING

    def written(self) -> None:
        """Everything that waited has gone."""
        self._writer = None

    async def all_written(self) -> None:
        """Wait until nothing waits to be sent."""
        while self._writer is not None:
            await self._writer.ended()

    async def write(self, frame: Frame) -> None:
        """One ASGI send; the writer's."""
        await self._send(frame)


class _Writer:
    """What waits behind a blocked send, and the task that sends it. Exists only that long."""

    __slots__ = ('_begun', '_connection', '_first', '_task', 'queue')

    def __init__(
        self, connection: Connection, blocked_on: object, steps: Generator[Any, Any, None]
    ) -> None:
        self.queue: deque[tuple[Frame, asyncio.Future[None] | None]] = deque()
        self._connection = connection
        self._first: asyncio.Future[None] | None = None
        self._begun = False
        self._task = asyncio.create_task(
            self._run(_Resumed(blocked_on, steps)), name=f'falcon_ws_mw writer {connection.id}'
        )

    def append(self, frame: Frame) -> asyncio.Future[None]:
        """Queue a frame; the future is done when the server has taken it, or never will."""
        taken = asyncio.get_running_loop().create_future()
        self.queue.append((frame, taken))
        return taken

    def first_taken(self) -> asyncio.Future[None]:
        """The same for the frame whose sending blocked."""
        self._first = asyncio.get_running_loop().create_future()
        return self._first

    async def ended(self) -> None:
        """Wait for the task."""
        await asyncio.wait([self._task])

    async def stop(self) -> None:
        """Cancel the task and wait for it."""
        try:
            if not self._begun:  # cancelled before its first step it never runs, nor cleans up
                await asyncio.sleep(0)
        finally:
            self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self, first: _Resumed) -> None:
        self._begun = True
        try:
            await first
            _done(self._first)
            while self.queue:
                frame, taken = self.queue.popleft()
                try:
                    await self._connection.write(frame)
                finally:
                    _done(taken)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # see `broken`
            self._connection.broken(error)
        finally:
            self._connection.written()
            _done(self._first)
            for _, taken in self.queue:
                _done(taken)


class _Resumed:
    """The rest of an awaitable that was started by hand and blocked.

    Awaiting it waits for what the awaitable was blocked on, then runs it to its end.
    """

    __slots__ = ('_blocked_on', '_steps')

    def __init__(self, blocked_on: object, steps: Generator[Any, Any, None]) -> None:
        self._blocked_on = blocked_on
        self._steps = steps

    def __await__(self) -> Generator[Any, Any, None]:
        try:
            yield self._blocked_on
        except BaseException as error:  # cancellation belongs inside the send
            if not hasattr(self._steps, 'throw'):  # a future: granian's has nothing to tell it
                raise
            try:
                yield self._steps.throw(error)
            except StopIteration:
                return
        yield from self._steps


def _done(taken: asyncio.Future[None] | None) -> None:
    if taken is not None and not taken.done():
        taken.set_result(None)
