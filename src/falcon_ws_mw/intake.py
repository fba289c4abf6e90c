"""What a peer may send: no message too long, and none too fast.

Who sends too fast is read more slowly, which costs nobody else anything. Who goes on with it is
closed, and cut off: a server that waits for the answer to a close reads on meanwhile, and a flood
that is read stalls everybody (uvicorn: for 10 s).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
import asyncio
import contextlib
import logging
import math
import sys
from time import monotonic
from typing import TYPE_CHECKING, Final

import falcon

from falcon_ws_mw import close_codes, server_internals
from falcon_ws_mw.asgi import Event
from falcon_ws_mw.connection import Connection
from falcon_ws_mw.envelope import error_payload
from falcon_ws_mw.frames import Frame, frame_bytes
from falcon_ws_mw.rates import PAUSE_SECONDS, MessageRate

if TYPE_CHECKING:
    from falcon_ws_mw.handshake import Handshake

logger = logging.getLogger('falcon_ws_mw')

CUT_OFF_SECONDS: Final = 1.0
"""How long a peer that broke a limit has to read its close before its socket is reset."""

_LONG_SECONDS: Final = 0.5
"""Whoever is held back for longer is read ahead meanwhile, so that its end is seen."""


class Intake(ABC):
    """What comes in on one socket, and how much of it may.

    Args:
        connection: Its sending side.
        handshake: What it came from.

    Attributes:
        owner: The task that converses, and so reads directly.
        reads_directly: Whether it may call the server's receive itself: nothing is read ahead,
            nobody else receives, and the end is still to come.
    """

    __slots__ = (
        '_connection',
        '_handshake',
        '_held',
        '_rate',
        '_small_characters',
        'owner',
        'reads_directly',
    )

    def __init__(self, connection: Connection, handshake: Handshake) -> None:
        limits = connection.limits
        self._connection = connection
        self._handshake = handshake
        self.owner: asyncio.Task[object] | None = None
        self._rate: MessageRate | None = None
        if limits.messages_per_second is not None:
            self._rate = MessageRate(limits.messages_per_second, limits.message_burst)
        max_bytes = limits.max_message_bytes
        self._small_characters = sys.maxsize if max_bytes is None else max_bytes // 4
        self.reads_directly = True
        self._held: tuple[asyncio.Future[None], ...] = ()

    @abstractmethod
    def read_ahead(self) -> None:
        """Read from now on into a queue."""

    @abstractmethod
    def _read_no_more(self) -> None:
        """It has been cut off."""

    @property
    def unlimited_characters(self) -> int:
        """A text of so many is within all limits, whenever it comes; none where there is a rate."""
        return self._small_characters if self._rate is None else -1

    def delay(self, event: Event, text: str | None) -> float:
        """Count a message in the rate, and say for how many seconds to `hold_back` it.

        Args:
            event: The ASGI event.
            text: Its text, if it has one.

        Returns:
            Not above 0 for what may be handled at once; infinite for what is too long.
        """
        if (text is None or len(text) > self._small_characters) and self.is_too_long(event):
            return math.inf
        return 0.0 if self._rate is None else self._rate.delay(monotonic())

    def received(self, event: Event) -> float:
        """The same, and count that it was received."""
        self._connection.keeper.counters.received += 1
        return self.delay(event, event.get('text'))

    def is_too_long(self, event: Event) -> bool:
        """Whether a message is longer than it may be."""
        max_bytes = self._connection.limits.max_message_bytes
        return max_bytes is not None and frame_bytes(event) > max_bytes

    def too_early(self) -> float:
        """Count a message by its time alone, and say for how many seconds to `hold_back` it."""
        return 0.0 if self._rate is None else self._rate.delay(monotonic())

    async def hold_back(self, delay: float) -> None:
        """Let a message that came too early wait for its turn; read nothing behind it meanwhile.

        Whether the connection has `hung_up` tells afterwards that it is not to be handled.

        Args:
            delay: What `delay` said.
        """
        connection, rate = self._connection, self._rate
        if delay == math.inf or rate is None:
            self._refuse_length()
            return
        if not connection.hung_up:
            connection.keeper.counters.throttled += 1
        seconds, is_flood = rate.hold(delay, monotonic())
        await self._wait(seconds)
        if is_flood and not connection.hung_up:
            await self._cut_off()

    def _refuse_length(self) -> None:
        most = self._connection.limits.max_message_bytes
        if not self._connection.hung_up:
            reason = f'messages have at most {most} bytes'
            self._break_off('max_message_bytes', close_codes.TOO_BIG, reason)

    async def _cut_off(self) -> None:
        error = falcon.HTTPTooManyRequests(
            description='messages came faster than they are taken, for too long'
        )
        code = close_codes.from_http_status(429)
        self._break_off('messages_per_second', code, 'too many messages', error)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CUT_OFF_SECONDS):
                await self._connection.all_written()
        self._connection.left(close_codes.ABNORMAL)
        self._read_no_more()

    async def _wait(self, seconds: float) -> None:
        if seconds > _LONG_SECONDS and self.owner is not None:
            self.read_ahead()
        turn = asyncio.get_running_loop().create_future()
        self._held += (turn,)
        try:
            await asyncio.wait([turn], timeout=seconds)
        finally:
            self._held = tuple(each for each in self._held if each is not turn)

    @property
    def is_held_back(self) -> bool:
        """Whether a message waits for its turn."""
        return bool(self._held)

    def let_go(self) -> None:
        """Whoever is held back need not wait any more."""
        for turn in self._held:
            if not turn.done():
                turn.set_result(None)

    def _break_off(
        self, limit: str, code: int, reason: str, error: falcon.HTTPError | None = None
    ) -> None:
        """Close, since a limit was broken, and see that nothing more is read."""
        connection = self._connection
        keeper = connection.keeper
        keeper.counters.limits_hit[limit] += 1
        keeper.faults.warn(
            limit,
            'connection %s broke %s=%s: it is closed (%d)',
            connection.id,
            limit,
            getattr(connection.limits, limit),
            code,
            connection_id=connection.id,
            limit=limit,
            close_code=code,
        )
        keeper.lost(connection)
        last_words = None if error is None else _frame_of(connection, error)
        connection.close(code, reason, after=last_words)
        self._hush(CUT_OFF_SECONDS)

    def hush_flood(self) -> None:
        """It is being closed: if it floods, have the server read nothing more of it."""
        if self._rate is not None and self._rate.held_for(monotonic()) > PAUSE_SECONDS:
            self._hush(self._connection.limits.send_timeout_seconds or CUT_OFF_SECONDS)

    def _hush(self, seconds: float) -> None:
        """Have the server read nothing more of the peer, and cut it off after so long."""
        transport = server_internals.transport_of(*self._handshake.server_sides)
        if transport is not None:
            server_internals.pause_reading(transport)
            asyncio.get_running_loop().call_later(seconds, server_internals.cut, transport)


def _frame_of(connection: Connection, error: falcon.HTTPError) -> Frame | None:
    """The last words to a peer; none if the app's envelope cannot say them."""
    codec = connection.codec
    try:
        return codec.encode_answer(codec.error_type, error_payload(error), None)
    except Exception:
        logger.exception('%r cannot be said in the envelope of the app', error)
        return None
