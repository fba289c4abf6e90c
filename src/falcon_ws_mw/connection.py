"""One live socket: what is said leaves in order, and there is one way to close it.

It is accepted once, and ends once: closed, left by the peer, or given up since nobody reads there.
"""

from __future__ import annotations

import asyncio

from falcon_ws_mw import close_codes
from falcon_ws_mw.alarms import Alarm
from falcon_ws_mw.asgi import Event, Send
from falcon_ws_mw.codec import DEFAULT_CODEC, Codec
from falcon_ws_mw.frames import Frame
from falcon_ws_mw.options import (
    DEFAULT_LIMITS,
    DEFAULT_SETTINGS,
    Limits,
    RouteSettings,
    SlowConsumer,
)
from falcon_ws_mw.rights import Question
from falcon_ws_mw.sender import Sender
from falcon_ws_mw.sides import Asked, Keeper, State
from falcon_ws_mw.writer import Writer


class Connection(Sender):
    """The sending side of one socket, and what the manager knows of it.

    Args:
        connection_id: Its name in the manager.
        send: The ASGI `send` of the socket.
        websocket: The object that handlers know it by.
        resource: The resource that handles its messages.
        settings: Those of its route, as far as they say who may be on it.
        default_reasons: Close code to reason, for a close without one.
        limits: What may wait for the peer, and how long.
        slow_consumer: What a message from others does for which there is no room.
        keeper: Who looks after it (default: nobody).
        codec: How messages become its frames (default: the default envelope, by orjson).

    Attributes:
        codec: The same.
        requests: What has been asked of its peer, if anything ever was.
        user_id: The user it belongs to.
        expires_at: Until when, in POSIX time; `None` for as long as it lives.
        questions: Rights of its client that are being asked for.
        failed_attempts: How often in a row its client has failed to say who it is.
        is_here: Whether it is accepted, so that its user counts as here.
        deadline: Ends it at a time, unless somebody says anew whose it is.
        hears_expiring: Whether its client is told before that.
        rooms: The rooms it is in. Kept as they were when it ended.
        topic_filters: The topic filters it has subscribed to, likewise.
        hung_up: Whether we ended it: what the peer still says is not listened to.
    """

    __slots__ = (
        '_cancelled',
        '_default_reasons',
        'codec',
        'deadline',
        'expires_at',
        'failed_attempts',
        'hears_expiring',
        'hung_up',
        'is_here',
        'questions',
        'requests',
        'resource',
        'rooms',
        'settings',
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
        settings: RouteSettings = DEFAULT_SETTINGS,
        default_reasons: dict[int, str] | None = None,
        limits: Limits = DEFAULT_LIMITS,
        slow_consumer: SlowConsumer = 'close',
        keeper: Keeper | None = None,
        codec: Codec = DEFAULT_CODEC,
    ) -> None:
        super().__init__(
            connection_id, send, limits=limits, slow_consumer=slow_consumer, keeper=keeper
        )
        self.codec = codec
        self.requests: Asked | None = None
        self.websocket = websocket
        self.resource = resource
        self.settings = settings
        self.user_id: str | None = None
        self.expires_at: float | None = None
        self.questions: tuple[Question, ...] = ()
        self.failed_attempts = 0
        self.is_here = False
        self.deadline: Alarm | None = None
        self.hears_expiring = False
        self.rooms: set[str] = set()
        self.topic_filters: frozenset[str] = frozenset()
        self.hung_up = False
        self._default_reasons = default_reasons or {}
        self._cancelled: Writer | None = None

    @property
    def is_stranger(self) -> bool:
        """Whether nobody has said yet whose it is, on a route that is for nobody else."""
        return self.user_id is None and self.settings.authenticate_by is not None

    # -- its life

    def overflow(self) -> None:
        """Close, since the peer reads too slowly; what others said makes way for the close."""
        outbox = self._line()
        self.keeper.faults.warn(
            'slow_consumer',
            'connection %s reads too slowly: it is closed (%d)',
            self.id,
            close_codes.TRY_AGAIN_LATER,
            connection_id=self.id,
            close_code=close_codes.TRY_AGAIN_LATER,
        )
        outbox.drop_droppable()
        self.keeper.counters.slow_consumers += 1
        self.keeper.counters.dropped += outbox.take_dropped()
        self.keeper.lost(self)
        self.close(close_codes.TRY_AGAIN_LATER)

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
        self.keeper.let_in(self.id)
        while self._outbox and self.direct is not None:
            self._start(self._outbox.pop().frame)

    def close(self, code: int, reason: str = '', *, after: Frame | None = None) -> None:
        """Say close, behind everything that waits, without waiting for it.

        Nothing said afterwards is delivered. A connection that is not accepted yet will be
        refused; one that has ended stays as it is.

        Args:
            code: A close code that may be sent.
            reason: Text for the peer; by default Falcon's for this code.
            after: What is said before it in any case.
        """
        if self.state not in {State.HANDSHAKE, State.OPEN}:
            return
        reason = reason or self._default_reasons.get(code, '')
        event = {'type': 'websocket.close', 'code': code, 'reason': close_codes.fit_reason(reason)}
        if self.state is State.HANDSHAKE:
            outbox = self._line()
            outbox.clear()
            outbox.append(event)
        else:
            for said in (event,) if after is None else (after, event):
                if self._writer is None:
                    self._start(said)
                else:
                    self._writer.outbox.append(said)
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
        if self.requests:
            self.requests.ended(code)
        if self._writer is not None or (self.reader is not None and self.reader.owner is not None):
            self.await_close()
        if self.reader is not None:
            self.reader.hung_up(waits=self._writer is not None)

    def await_close(self) -> None:
        """From now on the peer has so long to take what waits, and to answer the close."""
        self._closing_since = asyncio.get_running_loop().time()
        self.keeper.closing(self)

    def broken(self, error: BaseException) -> None:
        """The server took no frame: no answer will come either."""
        super().broken(error)
        if self.requests:
            self.requests.ended(self.close_code)

    def left(self, code: int) -> None:
        """The peer has left: nothing is delivered any more.

        Args:
            code: How it ended, unless we closed it with a code of ours before.
        """
        self.state = State.CLOSED
        self.direct = None
        self._closing_since = None
        self.keeper.unblocked(self)
        if self.close_code is None:
            self.close_code = code
        if self.requests:
            self.requests.ended(self.close_code)
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
        self.reader = self.requests = None  # no cycle is left
        cancelled, self._cancelled = self._cancelled, None
        if cancelled is not None:
            await cancelled.stop()

    # -- eviction

    def evict(self) -> None:
        """Give the peer up: nothing waits for it any more, and nobody for a close.

        A peer that does not read cannot be removed by ASGI: a close blocks as a send does.
        """
        self.keeper.counters.evicted += 1
        missed = 'take a frame' if self.is_blocked else 'answer a close'
        self.hung_up = True
        self.left(close_codes.ABNORMAL)
        self.keeper.lost(self)
        if self.reader is not None:
            self.reader.evicted(missed)
