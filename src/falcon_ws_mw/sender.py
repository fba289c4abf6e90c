"""One socket's sends: in order, at most one in flight.

A send is started without a task, since most end at once; only one that blocks is given to a writer,
behind which later messages wait in the outbox. So an idle connection has neither task nor queue,
and nobody but the connection's own handler ever waits for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
import asyncio
from collections.abc import Awaitable
import logging
import sys
from typing import Final

from falcon import WebSocketDisconnected

from falcon_ws_mw import close_codes
from falcon_ws_mw.asgi import Send
from falcon_ws_mw.frames import Frame, frame_bytes
from falcon_ws_mw.options import DEFAULT_LIMITS, Limits, SlowConsumer
from falcon_ws_mw.outbox import Key, Offered, Outbox, check_size
from falcon_ws_mw.sides import Keeper, Reader, State
from falcon_ws_mw.writer import Steps, Writer, in_a_task, is_servers_own

logger = logging.getLogger('falcon_ws_mw')

_NOBODY: Final = Keeper()


class Sender(ABC):
    """The sends of one socket.

    Args:
        connection_id: The connection's name.
        send: The ASGI `send` of the socket.
        limits: What may wait for the peer, and how long.
        slow_consumer: What a message from others does for which there is no room.
        keeper: Who looks after it (default: nobody).

    Attributes:
        keeper: Who looks after it.
        state: How far the connection has come.
        direct: The ASGI `send` while it may be called at once: open, and nothing in flight.
        direct_characters: A text of so many is not too long, in whatever alphabet.
        own_limit_bytes: The longest message of its own handler, `None` for any.
        close_code: How the connection ended, once it has.
        error: What the server raised when it took no frame, if it did.
        reader: The receiving side, if it is ours.
    """

    __slots__ = (
        '_closing_since',
        '_outbox',
        '_send',
        '_slow_consumer',
        '_writer',
        'close_code',
        'direct',
        'direct_characters',
        'error',
        'id',
        'keeper',
        'limits',
        'own_limit_bytes',
        'reader',
        'state',
    )

    def __init__(
        self,
        connection_id: str,
        send: Send,
        *,
        limits: Limits = DEFAULT_LIMITS,
        slow_consumer: SlowConsumer = 'close',
        keeper: Keeper | None = None,
    ) -> None:
        self.id = connection_id
        self.state = State.HANDSHAKE
        self.direct: Send | None = None
        self.close_code: int | None = None
        self.error: BaseException | None = None
        self.limits = limits
        self.reader: Reader | None = None
        self.keeper = _NOBODY if keeper is None else keeper
        self._send = send if is_servers_own(send) else in_a_task(send)
        self._slow_consumer: SlowConsumer = slow_consumer
        self._outbox: Outbox | None = None
        self._writer: Writer | None = None
        self._closing_since: float | None = None
        self.own_limit_bytes = max_bytes = limits.max_outbox_bytes
        self.direct_characters = sys.maxsize if max_bytes is None else max_bytes // 4

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
            self.overflow()
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
        text = frame.get('text')
        if text is None or len(text) > self.direct_characters:
            check_size(frame, self.own_limit_bytes)
        send = self.direct
        if send is None:
            if self.state is not State.HANDSHAKE:
                return self._wait(frame)
            self._line().hold(frame)
            return None
        # PERF: `_begin`, with no call between.
        try:
            sending = send(frame)
            steps = sending.__await__()
            for blocked_on in steps:
                return self._wait(frame, self.blocked(sending, blocked_on, steps).first_taken())
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # see `broken`
            self.broken(error)
            return self._wait(frame)
        return None

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

    async def _wait(self, frame: Frame, taken: asyncio.Future[None] | None = None) -> None:
        """Wait in line, or for the frame that was begun and blocked.

        Args:
            frame: The frame.
            taken: Done when the server has taken it, if it was begun.
        """
        if taken is None:
            size = frame_bytes(frame)
            again = False
            while self._writer is not None and self._writer.has_no_room(size, again=again):
                await self._writer.room(again=again)
                again = True
            if self.direct is not None:
                taken = self._begin(frame)
            elif self._writer is not None and self.state is State.OPEN:
                taken = self._writer.in_line(frame)
        if taken is not None:
            await taken
        if self.state is not State.OPEN:
            code = close_codes.ABNORMAL if self.close_code is None else self.close_code
            raise WebSocketDisconnected(code)

    def is_overdue(self, now: float) -> bool:
        """Whether the server has not taken what it was given, for as long as it may.

        Or the peer has not answered a close. Once that is said, it is one time for both.

        Args:
            now: The event loop's time.
        """
        timeout = self.limits.send_timeout_seconds
        since = self._closing_since
        if since is None and self._writer is not None:
            since = self._writer.since
        return since is not None and timeout is not None and now - since >= timeout

    @abstractmethod
    def evict(self) -> None:
        """Give the peer up: it is overdue."""

    @abstractmethod
    def overflow(self) -> None:
        """What others say has no room any more, and the policy is to close."""

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

    def blocked(self, sending: object, blocked_on: object, steps: Steps) -> Writer:
        """A send that was begun has blocked: a writer sees it through."""
        self.direct = None
        self._writer = writer = Writer(self, self._send, self._line())
        writer.see_through(sending, blocked_on, steps)
        self.keeper.blocked(self)
        return writer

    def broken(self, error: BaseException) -> None:
        """The server took no frame: the peer is gone, and the end is about to be read.

        Servers tell it in many ways: an `OSError` since ASGI spec 2.4, a cancelled wait, others.
        """
        if self.state is State.CLOSED:
            return
        first, self.error = self.error is None, error
        self.state = State.CLOSING
        self.direct = None
        gone = isinstance(error, (OSError, asyncio.CancelledError))
        if first and (not gone or isinstance(error, TimeoutError)):  # some middleware's
            # Not the peer's doing, so it may wait for us: say that we have a bug.
            logger.warning('the server failed to send', exc_info=error)
            self._start({'type': 'websocket.close', 'code': close_codes.INTERNAL_ERROR})
        if self.reader is None:  # nobody here will read the end
            self.keeper.lost(self)

    def written(self) -> None:
        """Everything that waited has gone, or never will."""
        self._writer = None
        if self.state is State.OPEN:
            self.direct = self._send
        if self._closing_since is None:
            self.keeper.unblocked(self)
        self.keeper.counters.dropped += self._line().take_dropped()

    @property
    def is_blocked(self) -> bool:
        """Whether a send is in flight."""
        return self._writer is not None

    async def all_written(self) -> None:
        """Wait until nothing waits to be sent."""
        while self._writer is not None:
            await self._writer.ended()
