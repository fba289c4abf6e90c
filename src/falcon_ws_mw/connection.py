"""One live socket: what is said leaves in order, and there is one way to close it.

At most one ASGI `send` is in flight. A send is started without a task, since most end at once;
only one that blocks is given to a writer, behind which later messages wait in the outbox. So an
idle connection has neither task nor queue, and nobody but the connection's own handler ever
waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
import logging
from typing import Final

from falcon import WebSocketDisconnected

from falcon_ws_mw import close_codes
from falcon_ws_mw.asgi import Event, Send
from falcon_ws_mw.envelope import Frame, frame_bytes
from falcon_ws_mw.errors import MessageTooBig, OutboxFull
from falcon_ws_mw.options import DEFAULT_LIMITS, Limits, SlowConsumer
from falcon_ws_mw.outbox import Key, Offered, Outbox
from falcon_ws_mw.sides import Keeper, Reader, State
from falcon_ws_mw.writer import Steps, Writer

logger = logging.getLogger('falcon_ws_mw')

_NOBODY: Final = Keeper()


class Connection:
    """The sending side of one socket, and what the manager knows of it.

    Args:
        connection_id: Its name in the manager.
        send: The ASGI `send` of the socket.
        websocket: The object that handlers know it by.
        resource: The resource that handles its messages.
        default_reasons: Close code to reason, for a close without one.
        limits: What may wait for the peer, and how long.
        slow_consumer: What a message from others does for which there is no room.
        keeper: Who looks after it (default: nobody).

    Attributes:
        keeper: Who looks after it.
        user_id: The user it belongs to.
        rooms: The rooms it is in. Kept as they were when it ended.
        topic_filters: The topic filters it has subscribed to, likewise.
        state: How far it has come.
        direct: The ASGI `send` while it may be called at once: open, and nothing in flight.
        in_hand: The ASGI event whose handler is running, if one is.
        hung_up: Whether we ended it: what the peer still says is not listened to.
        close_code: How it ended, once it has.
        error: What the server raised when it took no frame, if it did.
        reader: The receiving side, if it is ours.
    """

    __slots__ = (
        '_cancelled',
        '_closing_since',
        '_default_reasons',
        '_outbox',
        '_send',
        '_slow_consumer',
        '_writer',
        'close_code',
        'direct',
        'error',
        'hung_up',
        'id',
        'in_hand',
        'keeper',
        'limits',
        'reader',
        'resource',
        'rooms',
        'state',
        'topic_filters',
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
        slow_consumer: SlowConsumer = 'close',
        keeper: Keeper | None = None,
    ) -> None:
        self.id = connection_id
        self.websocket = websocket
        self.resource = resource
        self.user_id: str | None = None
        self.rooms: set[str] = set()
        self.topic_filters: frozenset[str] = frozenset()
        self.state = State.HANDSHAKE
        self.direct: Send | None = None
        self.in_hand: Event | None = None
        self.hung_up = False
        self.close_code: int | None = None
        self.error: BaseException | None = None
        self.limits = limits
        self.keeper = _NOBODY if keeper is None else keeper
        self.reader: Reader | None = None
        self._send = send
        self._default_reasons = default_reasons or {}
        self._slow_consumer: SlowConsumer = slow_consumer
        self._outbox: Outbox | None = None
        self._writer: Writer | None = None
        self._cancelled: Writer | None = None
        self._closing_since: float | None = None

    # -- saying something

    def post(
        self,
        frame: Frame,
        size: int | None = None,
        *,
        slow_consumer: SlowConsumer | None = None,
        key: Key | None = None,
    ) -> bool:
        """Send what others say, without waiting.

        Args:
            frame: The ASGI event.
            size: Its bytes of payload, where they are known.
            slow_consumer: What it does when there is no room (default: what the connection says).
            key: Replaces the message that waits under the same key.

        Returns:
            Whether the frame went to the server or waits its turn; `False` if it never will.
        """
        if self.direct is not None:
            return self._start(frame)
        if self.state is not State.OPEN and self.state is not State.HANDSHAKE:
            return False
        outbox = self._line()
        size = frame_bytes(frame) if size is None else size
        offered = outbox.offer(frame, size, slow_consumer or self._slow_consumer, key)
        counters = self.keeper.counters
        counters.dropped += outbox.take_dropped() - (offered is Offered.DROPPED)
        if offered is Offered.REPLACES:
            counters.coalesced += 1
        elif offered is Offered.OVERFLOWS and self.state is State.OPEN:
            self._overflow(outbox)
        return offered is Offered.WAITS or offered is Offered.REPLACES

    def say(self, frame: Frame) -> Awaitable[None] | None:
        """Send what its own handler says.

        Returns:
            `None` if the server has taken the frame or it is held for the accept; else what has
            to be awaited until it has. Cancelling that wait may leave the frame in line, but
            never half sent.

        Raises:
            MessageTooBig: If the frame is longer than the outbox.
            OutboxFull: If it is not accepted and no more can be held.
        """
        max_bytes = self.limits.max_outbox_bytes
        if max_bytes is not None and (size := frame_bytes(frame)) > max_bytes:
            raise MessageTooBig(size, max_bytes)
        if self.direct is not None:
            taken = self._begin(frame)
            if taken is None and self.state is State.OPEN:
                return None
            return self._wait(frame, taken)
        if self.state is State.HANDSHAKE:
            self._hold(frame)
            return None
        return self._wait(frame)

    async def send(self, frame: Frame) -> None:
        """Send what its own handler says, and wait until the server has taken it.

        Raises:
            WebSocketDisconnected: If the connection has ended.
            MessageTooBig: If the frame is longer than the outbox.
            OutboxFull: If it is not accepted and no more can be held.
        """
        waiting = self.say(frame)
        if waiting is not None:
            await waiting

    def _line(self) -> Outbox:
        if self._outbox is None:
            self._outbox = Outbox(self.limits)
        return self._outbox

    def _hold(self, frame: Frame) -> None:
        outbox = self._line()
        if not outbox.has_room(frame_bytes(frame)):
            raise OutboxFull(self.limits.max_outbox_messages, self.limits.max_outbox_bytes)
        outbox.append(frame)

    async def _wait(self, frame: Frame, taken: asyncio.Future[None] | None = None) -> None:
        """Wait in line, or for the frame that was begun and blocked.

        Args:
            frame: The frame.
            taken: Done when the server has taken it, if it was begun.
        """
        if taken is None:
            size = frame_bytes(frame)
            while self._writer is not None and not self._writer.outbox.has_room(size):
                await self._writer.room()
            if self.direct is not None:
                taken = self._begin(frame)
            elif self._writer is not None and self.state is State.OPEN:
                taken = self._writer.in_line(frame)
        if taken is not None:
            await taken
        if self.state is not State.OPEN:
            code = close_codes.ABNORMAL if self.close_code is None else self.close_code
            raise WebSocketDisconnected(code)

    def _overflow(self, outbox: Outbox) -> None:
        """The peer reads too slowly: what others said is given up, so that the close can leave."""
        logger.warning('connection %s reads too slowly: it is closed (1013)', self.id)
        outbox.drop_droppable()
        self.keeper.counters.slow_consumers += 1
        self.keeper.counters.dropped += outbox.take_dropped()
        self.keeper.lost(self)
        self.close(close_codes.TRY_AGAIN_LATER)

    # -- its life

    async def accept(self, event: Event) -> None:
        """Accept the handshake with an ASGI `websocket.accept` event; say what was held.

        Raises:
            Exception: Whatever the server raises when the client has gone meanwhile.
        """
        await self._send(event)
        if self.state is State.HANDSHAKE:
            self.opened()
        elif self._outbox:  # somebody closed it while the server was accepting
            self._start(self._outbox.pop().frame)

    def opened(self) -> None:
        """The handshake is accepted: what was held goes out. Nothing that has ended comes back."""
        if self.state is not State.HANDSHAKE:
            return
        self.state = State.OPEN
        self.direct = self._send
        while self._outbox and self.direct is not None:
            self._start(self._outbox.pop().frame)

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
            outbox = self._line()
            outbox.clear()
            outbox.append(event)
        elif self._writer is None:
            self._start(event)
        else:
            self._writer.outbox.append(event)
        self._hang_up(code)

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
        taken = self._writer.in_line(frame) if self._writer else self._begin(frame)
        self._hang_up(event.get('code', close_codes.NORMAL))
        if taken is not None:
            await taken
        if self.error is not None:
            raise self.error

    def _hang_up(self, code: int) -> None:
        self.state = State.CLOSING
        self.direct = None
        self.hung_up = True
        self.close_code = code
        if self._writer is not None:
            self._closing_since = asyncio.get_running_loop().time()
        if self.reader is not None:
            self.reader.hung_up(waits=self._writer is not None)

    def left(self, code: int) -> None:
        """The peer has left: nothing is delivered any more.

        Args:
            code: How it ended, unless we closed it with a code of ours before.
        """
        self.state = State.CLOSED
        self.direct = None
        if self.close_code is None:
            self.close_code = code
        if self._writer is not None:
            self._cancelled = self._writer
            self._writer.cancel()
        elif self._outbox is not None:
            self._outbox.clear()
            self.keeper.counters.dropped += self._outbox.take_dropped()

    async def end(self, code: int) -> None:
        """The socket is gone: what waits is dropped, the writer is stopped and awaited.

        Args:
            code: How it ended, unless we closed it with a code of ours before.
        """
        self.left(code)
        self.reader = None  # no cycle is left
        if self._cancelled is not None:
            await self._cancelled.stop()

    # -- eviction

    def is_overdue(self, now: float) -> bool:
        """Whether the server has not taken what it was given, for as long as it may.

        Args:
            now: The event loop's time.
        """
        timeout = self.limits.send_timeout_seconds
        if self._writer is None or timeout is None:
            return False
        since = self._writer.since if self._closing_since is None else self._closing_since
        return now - since >= timeout

    def evict(self) -> None:
        """Give the peer up: nothing waits for it any more, and nobody for a close.

        A peer that does not read cannot be removed by ASGI: a close blocks as a send does.
        """
        self.keeper.counters.evicted += 1
        self.hung_up = True
        self.left(close_codes.ABNORMAL)
        self.keeper.lost(self)
        if self.reader is not None:
            self.reader.evicted()

    # -- sending

    def _start(self, frame: Frame) -> bool:
        """Run one ASGI send as far as it goes without waiting; a writer takes it from there.

        PERF: iterating over the awaitable runs it until it blocks, with neither a task nor an
        exception for the common case that it never does.
        """
        try:
            sending = self._send(frame)
            steps = sending.__await__()
            for blocked_on in steps:
                self.blocked(sending, blocked_on, steps)
                return True
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # see `broken`
            self.broken(error)
            return False
        return True

    def _begin(self, frame: Frame) -> asyncio.Future[None] | None:
        """Start; where it blocks, return the future of the server having taken the frame."""
        self._start(frame)
        return self._writer.first_taken() if self._writer else None

    def blocked(self, sending: object, blocked_on: object, steps: Steps) -> None:
        """A send that was begun has blocked."""
        self.direct = None
        self._writer = Writer(self, self._send, self._line())
        self._writer.see_through(sending, blocked_on, steps)
        self.keeper.blocked(self)

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
        self.direct = None

    def written(self) -> None:
        """Everything that waited has gone, or never will."""
        self._writer = None
        if self.state is State.OPEN:
            self.direct = self._send
        self.keeper.unblocked(self)
        self.keeper.counters.dropped += self._line().take_dropped()

    async def all_written(self) -> None:
        """Wait until nothing waits to be sent."""
        while self._writer is not None:
            await self._writer.ended()
