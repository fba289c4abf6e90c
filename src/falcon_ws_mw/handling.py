"""One message: handled, and answered.

What a handler returns answers a request, what it raises is answered too, and what cannot be read or
has no handler goes to `on_ws_unhandled`. Handlers run one after the other, or beside each other
where that is declared.
"""

from __future__ import annotations

import asyncio
import logging
from time import perf_counter
from typing import TYPE_CHECKING, Any

from falcon import HTTPError, HTTPStatus, HTTPUnauthorized, WebSocketDisconnected
import falcon.asgi

from falcon_ws_mw import cancellation, close_codes
from falcon_ws_mw.asgi import Event
from falcon_ws_mw.codec import Codec
from falcon_ws_mw.connection import Connection
from falcon_ws_mw.envelope import CLIENT_PROTOCOL, Incoming, MessageId, error_payload
from falcon_ws_mw.errors import UnhandledMessage, UnknownMessageType
from falcon_ws_mw.failures import Crash, answer_to, is_expected, log_crash
from falcon_ws_mw.frames import Frame
from falcon_ws_mw.inbox import HANDLED_BESIDE
from falcon_ws_mw.parallel import Parallel
from falcon_ws_mw.sides import State
from falcon_ws_mw.silence import Watch
from falcon_ws_mw.websocket import WebSocket

logger = logging.getLogger('falcon_ws_mw')

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from falcon_ws_mw.handshake import Handshake
    from falcon_ws_mw.manager import WebSocketConnectionManager
    from falcon_ws_mw.reports import Meter, Outcome
    from falcon_ws_mw.responders import ResponderTable
    from falcon_ws_mw.signatures import Responder


def _not_our_cancellation(cancelled: BaseException) -> RuntimeError:
    """The error of a handler that awaited what somebody else cancelled.

    Raises:
        CancelledError: If it is this task that is to end.
    """
    if cancellation.is_for_this_task():
        raise cancelled
    error = RuntimeError('something that was awaited here was cancelled')
    error.__cause__ = cancelled
    return error


def is_binary(event: Event) -> bool:
    """Whether a message came in binary, and so is answered in it."""
    return event.get('text') is None


class Handling:
    """A connection and the resource that handles its messages.

    Args:
        handshake: The handshake to decide about.
        req: Its request.
        uri_params: The fields of the URI template.
        manager: Where the connection becomes known.
        make_resource: Gives the resource; called once.
        table: The resource's responders.
    """

    __slots__ = (
        '_connection',
        '_handshake',
        '_is_told',
        '_make_resource',
        '_manager',
        '_owes_disconnect',
        '_parallel',
        '_resource',
        '_table',
        '_uri_params',
        '_ws',
    )

    def __init__(
        self,
        handshake: Handshake,
        req: falcon.asgi.Request,
        uri_params: dict[str, Any],
        *,
        manager: WebSocketConnectionManager,
        make_resource: Callable[[WebSocket], object],
        table: ResponderTable,
    ) -> None:
        self._handshake = handshake
        self._uri_params = uri_params
        self._manager = manager
        self._make_resource = make_resource
        self._table = table
        self._parallel: Parallel | None = None
        self._resource: object = None
        self._owes_disconnect = False
        self._is_told = False
        settings = table.settings
        subprotocol = settings.negotiate(handshake.scope.get('subprotocols') or ())
        self._connection = Connection(
            manager.new_id(),
            handshake.server_send,
            default_reasons=handshake.app.ws_options.default_close_reasons,
            limits=settings.limits,
            slow_consumer=settings.slow_consumer,
            settings=settings,
            codec=table.codec(manager.codecs, subprotocol),
        )
        self._ws = self._new_websocket(
            self._connection, handshake, manager, req, uri_params, table, subprotocol
        )
        self._connection.websocket = self._ws

    def _new_websocket(self, *args: Any) -> WebSocket:
        return WebSocket(*args)

    # -- handling

    async def _handle(self, incoming: Incoming, responder: Responder | None, event: Event) -> None:
        """Have a message handled, and answer it if it is a request."""
        if responder is None:
            responder = None if self._is_answer(incoming) else self._table.any_message
        if responder is None:
            await self._handle_unclaimed(incoming, event)
        elif responder.parallel > 1:
            await self._start_beside(responder, incoming, event)
        else:  # PERF: `_handle_by` once more, as each coroutine can be seen in `make bench`
            result = await self._handled(responder, incoming)
            if incoming.id is not None:
                await self._reply(result, incoming.id, binary=is_binary(event))

    def _handled(self, responder: Responder, incoming: Incoming) -> Awaitable[Any]:
        meter = self._manager.meter
        if meter is None:
            return responder.handle(self._resource, self._ws, incoming, self._uri_params)
        return self._measured(responder, incoming, meter)

    async def _measured(self, responder: Responder, incoming: Incoming, meter: Meter) -> Any:
        start = perf_counter()
        outcome: Outcome = 'handled'
        try:
            return await responder.handle(self._resource, self._ws, incoming, self._uri_params)
        except asyncio.CancelledError:
            outcome = 'error'
            raise
        except Exception as error:
            outcome = 'error' if is_expected(error) else 'crash'
            raise
        finally:
            type_ = incoming.type if incoming.type in self._table.messages else '*'
            try:
                meter.handled(self._table.name, type_, outcome, perf_counter() - start)
            except Exception:
                logger.exception('%r failed, and measures nothing any more', meter)
                self._manager.meter = None

    async def _start_beside(self, responder: Responder, incoming: Incoming, event: Event) -> None:
        if self._connection.requests:
            self._read_ahead()  # all the room may be taken by those who wait for answers
        if self._parallel is None:
            self._parallel = Parallel(self._manager.counters)
        if await self._parallel.room(responder) and not self._is_worth_handling():
            return
        await self._parallel.start(responder, self._handle_beside, incoming, event)

    async def _turn_away(self, incoming: Incoming, event: Event) -> None:
        """Tell a client that it has to say first who it is."""
        self._manager.counters.errors['unauthenticated'] += 1
        error = HTTPUnauthorized(
            title='Not authenticated',
            description='say who you are first, by a message of the type '
            f'{self._table.settings.authenticate_by!r}',
        )
        await self._say_error(error, incoming.id, binary=is_binary(event))

    def _read_ahead(self) -> None:
        self._ws.inbox.read_ahead()

    def _is_worth_handling(self) -> bool:
        """Whether to handle a message that arrived before the connection ended."""
        if self._connection.state is State.OPEN:
            return True
        if not self._connection.hung_up and self._table.settings.disconnect_policy == 'handle':
            return True
        self._manager.counters.abandoned += 1
        return False

    async def _handle_beside(self, responder: Responder, incoming: Incoming, event: Event) -> None:
        """Handle a message in a task of its own. What nobody catches ends the connection."""
        HANDLED_BESIDE.set(self._connection)
        try:
            try:
                if self._connection.is_stranger:  # it has logged out while this waited
                    await self._turn_away(incoming, event)
                else:
                    await self._handle_by(responder, incoming, event)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # answered, logged
                await self._handle_error(error, incoming, event)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            log_crash(error, responder.name)
            self._manager.remove_connection(self._connection.id)
            self._connection.close(close_codes.INTERNAL_ERROR)
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise

    async def _handle_by(self, responder: Responder, incoming: Incoming, event: Event) -> None:
        result = await self._handled(responder, incoming)
        if incoming.id is not None:
            await self._reply(result, incoming.id, binary=is_binary(event))

    def _is_answer(self, incoming: Incoming) -> bool:
        """Whether a message answers something that the server has asked, or might have."""
        codec = self._codec
        return incoming.id is not None and incoming.type in {codec.reply_type, codec.error_type}

    async def _handle_unclaimed(self, incoming: Incoming, event: Event) -> None:
        if not self._is_answer(incoming):
            unknown = UnknownMessageType(incoming.type, id=incoming.id)
            await self._handle_unhandled(unknown, event)
        elif not (self._connection.requests and self._connection.requests.is_answer(event)):
            # Too late, or never asked for: an answer to an answer would have no end.
            self._manager.counters.unmatched_replies += 1

    async def _handle_error(
        self, error: BaseException, incoming: Incoming | None, event: Event
    ) -> None:
        """Answer what went wrong with a message: it could not be read, or its handler raised.

        Raises:
            CancelledError: If this task is to end.
        """
        if incoming is None and isinstance(error, UnhandledMessage):
            await self._handle_unhandled(error, event)
            return
        if not isinstance(error, Exception):
            error = _not_our_cancellation(error)
        responder, message_id = self._table.any_message, None
        if incoming is not None:
            responder = self._table.messages.get(incoming.type, responder)
            message_id = incoming.id
        await self._handle_failure(error, responder, message_id, binary=is_binary(event))

    async def _handle_unhandled(self, error: UnhandledMessage, event: Event) -> None:
        self._manager.counters.errors[error.kind] += 1
        binary = is_binary(event)
        unhandled = None if self._connection.is_stranger else self._table.unhandled
        if unhandled is None:
            await self._say_error(error.to_http_error(), error.id, binary=binary and error.decoded)
            return
        try:
            raw = event['bytes'] if binary else event['text']
            result = await self._call(unhandled, (self._ws, raw, error))
            if error.id is None:
                return
            if result is None:
                await self._say_error(error.to_http_error(), error.id, binary=binary)
            else:
                await self._reply(result, error.id, binary=binary)
        except Exception as failure:  # noqa: BLE001  # answered or logged
            await self._handle_failure(failure, unhandled, error.id, binary=binary)

    async def _call(self, responder: Responder, positional: tuple[Any, ...]) -> Any:
        """Call a responder that is not for a message."""
        self._ws.handling = True
        try:
            return await responder.call(self._resource, positional, self._uri_params)
        except asyncio.CancelledError as cancelled:
            raise _not_our_cancellation(cancelled) from cancelled
        finally:
            self._ws.handling = False

    async def _handle_failure(
        self,
        error: Exception,
        responder: Responder | None,
        message_id: MessageId | None,
        *,
        binary: bool,
    ) -> None:
        answer = await self._answer_to(error, responder)
        if answer is not None:
            is_crash = isinstance(answer, Crash)
            self._manager.counters.errors['crash' if is_crash else 'http_error'] += 1
        if answer is None:
            if message_id is not None:
                await self._say_error(Crash(), message_id, binary=binary)
        elif isinstance(answer, Crash) and self._table.settings.crash_policy == 'close':
            self._manager.remove_connection(self._connection.id)
            self._connection.close(self._handshake.app.ws_options.error_close_code)
        elif isinstance(answer, HTTPStatus):
            error = HTTPError(answer.status_code, description=answer.text)
            await self._say_error(error, message_id, binary=binary)
        else:
            await self._say_error(answer, message_id, binary=binary)
        self._note_failure(responder, answer)

    def _note_failure(
        self, responder: Responder | None, answer: HTTPError | HTTPStatus | None
    ) -> None:
        """A handler has raised, and that has been answered."""

    # -- who watches

    async def _tell_connected(self) -> None:
        self._is_told = True
        await self._manager.listeners.tell('connect', self._ws)

    def _watch(self) -> None:
        """Have it looked at, if it must not be silent for ever."""
        settings = self._table.settings
        beat = settings.heartbeat_seconds
        if self._ws.subprotocol != CLIENT_PROTOCOL:
            beat = None  # it would not understand
        idle = settings.limits.idle_timeout_seconds
        if beat is not None or idle is not None:
            watch = Watch(
                self._connection,
                self._last_read,
                self._is_busy,
                idle_seconds=idle,
                heartbeat_seconds=beat,
            )
            self._connection.keeper.watch(watch)

    def _last_read(self) -> object:
        """See `Watch`."""
        return self._ws.inbox.last_read()

    def _is_busy(self) -> bool:
        inbox, parallel = self._ws.inbox, self._parallel
        return inbox.is_busy or inbox.is_held_back or (parallel is not None and parallel.is_busy)

    # -- saying

    async def _reply(self, result: Any, message_id: MessageId, *, binary: bool) -> None:
        codec = self._codec
        await self._say(codec.encode_answer(codec.reply_type, result, message_id, binary=binary))

    async def _say_error(
        self, error: HTTPError, message_id: MessageId | None, *, binary: bool
    ) -> None:
        codec = self._codec
        # An error of the app, or an answer in binary, may be more than its media handler can write.
        for answer, as_binary in ((error, binary), (Crash(), False)):
            try:
                frame = codec.encode_answer(
                    codec.error_type, error_payload(answer), message_id, binary=as_binary
                )
                await self._say(frame)
            except Exception as failure:  # noqa: BLE001  # logged
                log_crash(failure, self._where(None))
            else:
                return
        self._manager.remove_connection(self._connection.id)
        self._connection.close(close_codes.INTERNAL_ERROR)

    async def _say(self, frame: Frame) -> None:
        try:
            await self._connection.send(frame)
        except WebSocketDisconnected:
            pass  # the end of the connection answers everything

    async def _answer_to(
        self, error: Exception, responder: Responder | None
    ) -> HTTPError | HTTPStatus | None:
        where = self._where(responder)
        answer = await answer_to(error, self._handshake.app, self._ws, where)
        if isinstance(answer, Crash):
            await self._manager.listeners.tell('error', self._ws, error)
        return answer

    def _where(self, responder: Responder | None) -> str:
        return responder.name if responder else type(self._resource).__qualname__

    @property
    def _codec(self) -> Codec:
        return self._ws.codec
