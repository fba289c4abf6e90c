"""What the server asks of a client, and who waits for the answer.

A request carries an id that nobody can guess; the client answers with a `reply` or an `error` of
that id. The answer resolves the request the moment it is read, also while the handler runs that
waits for it. Nobody waits for ever: there is an answer, a time-out, or the end of the connection.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

from falcon import WebSocketDisconnected

from falcon_ws_mw import close_codes
from falcon_ws_mw.asgi import Event
from falcon_ws_mw.errors import ReplyError, ReplyTimeout, TooManyRequests, UnhandledMessage
from falcon_ws_mw.frames import raw_of

if TYPE_CHECKING:
    from falcon_ws_mw.codec import Codec
    from falcon_ws_mw.connection import Connection


class Requests:
    """The requests to one client that wait for their answers.

    Args:
        connection: Whose client it is.
        codec: How it is spoken to.
    """

    __slots__ = ('_asked', '_codec', '_connection', '_pending', '_secret')

    def __init__(self, connection: Connection, codec: Codec) -> None:
        self._connection = connection
        self._codec = codec
        self._pending: dict[str, tuple[str, asyncio.Future[Any]]] = {}
        self._secret = secrets.token_urlsafe(12)  # 96 bits
        self._asked = 0

    def __len__(self) -> int:
        return len(self._pending)

    async def ask(self, type: str, payload: Any, timeout_seconds: float | None) -> Any:
        """Send a request, and wait for its answer.

        Raises:
            ReplyError: If the client answers with an error.
            ReplyTimeout: If it does not answer in time.
            TooManyRequests: If too many wait already.
            WebSocketDisconnected: If the connection ends before.
        """
        limit = self._connection.limits.max_pending_requests
        if limit is not None and len(self._pending) >= limit:
            raise TooManyRequests(limit)
        self._asked += 1
        request_id = f'{self._secret}-{self._asked}'
        frame = self._codec.encode_message(type, payload, request_id)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending[request_id] = (type, answer)
        timeout = asyncio.timeout(timeout_seconds)
        try:
            async with timeout:
                await self._connection.send(frame)
                return await answer
        except TimeoutError:
            if not timeout.expired():
                raise
            raise ReplyTimeout(type, timeout_seconds) from None
        finally:
            del self._pending[request_id]
            if answer.done() and not answer.cancelled():
                answer.exception()  # nobody may be left to be told of it

    def is_answer(self, event: Event) -> bool:
        """Whether a frame is an answer that somebody waits for. If so, he has it."""
        codec = self._codec
        try:
            incoming = codec.read(raw_of(event))
        except UnhandledMessage:
            return False
        pending = self._pending.get(incoming.id) if isinstance(incoming.id, str) else None
        if pending is None or incoming.type not in {codec.reply_type, codec.error_type}:
            return False
        asked, answer = pending
        if answer.done():  # answered twice
            return False
        if incoming.type == codec.reply_type:
            answer.set_result(incoming.payload)
        else:
            answer.set_exception(ReplyError(asked, incoming.payload))
        return True

    def ended(self, code: int | None) -> None:
        """The connection has ended: no answer will come."""
        code = close_codes.ABNORMAL if code is None else code
        for _, answer in self._pending.values():
            if not answer.done():
                answer.set_exception(WebSocketDisconnected(code))
