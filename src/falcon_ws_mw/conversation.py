"""One connection from handshake to clean-up.

`open` runs inside Falcon, in the middleware's hook, and decides about the handshake. `run` goes
on in the wrapper once Falcon's stack is unwound: it reads, has each message handled before the
next is read, and answers. However it ends, `on_ws_disconnect` runs once and nothing remains.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, Any

import falcon
from falcon import HTTPError, HTTPStatus, WebSocketDisconnected
import falcon.asgi

from falcon_ws_mw import cancellation, close_codes
from falcon_ws_mw.asgi import Event
from falcon_ws_mw.connection import Connection
from falcon_ws_mw.envelope import Codec, Incoming, MessageId, error_payload, wrap
from falcon_ws_mw.errors import UnhandledMessage, UnknownMessageType
from falcon_ws_mw.failures import Crash, answer_to, is_disconnect, log_crash
from falcon_ws_mw.sides import State
from falcon_ws_mw.websocket import WebSocket

if TYPE_CHECKING:
    from collections.abc import Callable

    from falcon_ws_mw.handshake import Handshake
    from falcon_ws_mw.manager import WebSocketConnectionManager
    from falcon_ws_mw.responders import ResponderTable
    from falcon_ws_mw.signatures import Responder

logger = logging.getLogger('falcon_ws_mw')


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


def _is_binary(event: Event) -> bool:
    return event.get('text') is None


class Conversation:
    """A connection and the resource that handles its messages.

    Args:
        handshake: The handshake to decide about.
        req: Its request.
        uri_params: The fields of the URI template.
        manager: Where the connection becomes known.
        make_resource: Gives the resource; called once.
        table: The resource's responders.
        codec: How frames are read and made.
    """

    __slots__ = (
        '_codec',
        '_connection',
        '_handshake',
        '_make_resource',
        '_manager',
        '_owes_disconnect',
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
        codec: Codec,
    ) -> None:
        self._handshake = handshake
        self._uri_params = uri_params
        self._manager = manager
        self._make_resource = make_resource
        self._table = table
        self._codec = codec
        self._resource: object = None
        self._owes_disconnect = False
        self._connection = Connection(
            manager.new_id(),
            handshake.server_send,
            default_reasons=handshake.app.ws_options.default_close_reasons,
            limits=table.settings.limits,
            slow_consumer=table.settings.slow_consumer,
        )
        self._ws = self._new_websocket(self._connection, handshake, manager, codec, req, uri_params)
        self._connection.websocket = self._ws

    def _new_websocket(self, *args: Any) -> WebSocket:
        return WebSocket(*args)

    # -- the handshake

    async def open(self) -> bool:
        """Let `on_ws_connect` decide, then accept or refuse.

        Returns:
            Whether there is anything to `run`; if not, nothing of the connection remains.
        """
        self._manager.add_connection(self._connection.id, self._connection)
        try:
            self._owes_disconnect = await self._is_welcome()
            if not self._owes_disconnect:
                self._manager.remove_connection(self._connection.id)
            if not self._handshake.decided:
                await self._accept()
        except BaseException:
            await self._finish()
            raise
        if self._handshake.refused:
            await self._finish()
        return not self._handshake.refused

    async def _is_welcome(self) -> bool:
        seconds = self._table.settings.limits.connect_timeout_seconds
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                answer = await self._ask_to_connect()
        except WebSocketDisconnected:
            await self._refuse(falcon.HTTPForbidden())
        except Exception as error:  # noqa: BLE001  # answered or logged below
            if limit.expired():
                logger.warning('on_ws_connect took over %s s: the handshake is refused', seconds)
                await self._refuse(falcon.HTTPServiceUnavailable())
            else:
                answered = await self._answer_to(error, self._table.connect)
                await self._refuse(answered or falcon.HTTPInternalServerError())
        else:
            if answer is False or (self._table.only_true_accepts and answer is not True):
                await self._refuse(falcon.HTTPForbidden())
            elif self._handshake.decided or not self._ws.closed:
                return not self._handshake.refused
            else:  # somebody closed it meanwhile: a kick
                await self._handshake.refuse_plainly(
                    self._connection.close_code or close_codes.NORMAL
                )
        return False

    async def _ask_to_connect(self) -> Any:
        self._resource = self._connection.resource = self._make_resource(self._ws)
        for hook in self._table.before:
            await hook(self._ws.req, self._ws, self._resource, self._uri_params)
        connect = self._table.connect
        if connect is None:
            return True
        return await self._call(connect, (self._ws.req, self._ws))

    async def _accept(self) -> None:
        try:
            await self._ws.accept()
        except WebSocketDisconnected:  # the client did not wait: `run` finds it ended
            pass
        except Exception:  # servers differ on a client that has vanished
            logger.debug('the accept failed', exc_info=True)
            await self._connection.end(close_codes.ABNORMAL)

    async def _refuse(self, error: HTTPError | HTTPStatus) -> None:
        """Refuse the handshake; where it was accepted by hand before, close."""
        await self._handshake.refuse(error)
        self._connection.close(close_codes.from_http_status(error.status_code))

    # -- the conversation

    async def run(self) -> None:
        """Handle messages until the connection has ended, then clean up.

        PERF: this is what every message passes, so its common path is written out, by local
        names: each call, coroutine and cache line less can be seen in `make bench`.
        """
        connection, ws, inbox, resource = self._connection, self._ws, self._ws.inbox, self._resource
        receive, decode, messages = (
            self._handshake.receive,
            self._codec.decode,
            self._table.messages,
        )
        owner = asyncio.current_task()
        inbox.begin(cancels_handler=self._table.settings.disconnect_policy == 'cancel')
        try:
            while True:
                try:
                    if inbox.reads_directly:
                        pending = inbox.pending = receive()
                        event = await pending
                    else:
                        event = await inbox.next()
                    if event['type'] != 'websocket.receive':
                        inbox.note_end(event)
                        return
                    if connection.direct is None and not self._is_worth_handling():
                        continue
                    inbox.in_hand = event
                    text = event.get('text')
                    incoming = None
                    try:
                        incoming = decode(event['bytes'] if text is None else text)
                        responder = messages.get(incoming[0])
                        if responder is None or incoming[2] is not None or responder.takes_more:
                            await self._handle(incoming, responder, event)
                        else:
                            await responder.function(resource, ws, payload=incoming[1])
                    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
                        await self._handle_error(error, incoming, event)
                    inbox.in_hand = None
                    if owner is not None and owner.cancelling():
                        cancellation.settle(owner)
                except asyncio.CancelledError:
                    inbox.in_hand = None
                    if not await inbox.goes_on():
                        raise
        finally:
            inbox.in_hand = None
            await self._finish()

    def _is_worth_handling(self) -> bool:
        """Whether to handle a message that arrived before the connection ended."""
        if self._connection.state is State.OPEN:
            return True
        if not self._connection.hung_up and self._table.settings.disconnect_policy == 'handle':
            return True
        self._manager.counters.abandoned += 1
        return False

    async def _finish(self) -> None:
        """Let nothing remain, and say good-bye if that is owed."""
        self._manager.remove_connection(self._connection.id)
        if isinstance(sys.exception(), GeneratorExit):
            return  # a coroutine that is being closed may not await: its event loop is gone
        if isinstance(sys.exception(), asyncio.CancelledError):  # hypercorn stops
            self._connection.close(close_codes.SERVICE_RESTART)
        try:
            await self._ws.inbox.stop()
        finally:
            try:
                await self._connection.end(close_codes.ABNORMAL)  # keeps the code that is known
            finally:
                await self._say_goodbye()

    async def _say_goodbye(self) -> None:
        if not self._owes_disconnect:
            return
        self._owes_disconnect = False
        disconnect = self._table.disconnect
        try:
            if disconnect is not None:
                await self._call(disconnect, (self._ws, self._connection.close_code))
            for hook in self._table.after:
                await hook(self._ws.req, self._ws, self._resource)
        except Exception as error:  # noqa: BLE001  # logged
            if not is_disconnect(error):
                log_crash(error, self._where(disconnect))

    async def _handle(self, incoming: Incoming, responder: Responder | None, event: Event) -> None:
        """Have a message handled, and answer it if it is a request."""
        responder = responder or self._table.any_message
        if responder is None:
            unknown = UnknownMessageType(incoming.type, id=incoming.id)
            await self._handle_unhandled(unknown, event)
            return
        result = await responder.handle(self._resource, self._ws, incoming, self._uri_params)
        if incoming.id is not None:
            await self._say(wrap('reply', result, incoming.id), binary=_is_binary(event))

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
        await self._handle_failure(error, responder, message_id, binary=_is_binary(event))

    async def _handle_unhandled(self, error: UnhandledMessage, event: Event) -> None:
        binary = _is_binary(event)
        unhandled = self._table.unhandled
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
                await self._say(wrap('reply', result, error.id), binary=binary)
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

    # -- saying

    async def _say_error(
        self, error: HTTPError, message_id: MessageId | None, *, binary: bool
    ) -> None:
        # An error of the app, or an answer in binary, may be more than its media handler can write.
        for answer, as_binary in ((error, binary), (Crash(), False)):
            try:
                message = wrap('error', error_payload(answer), message_id)
                await self._say(message, binary=as_binary)
            except Exception as failure:  # noqa: BLE001  # logged
                log_crash(failure, self._where(None))
            else:
                return
        self._manager.remove_connection(self._connection.id)
        self._connection.close(close_codes.INTERNAL_ERROR)

    async def _say(self, message: dict[str, Any], *, binary: bool) -> None:
        frame = self._codec.encode_object(message, binary=binary)
        try:
            await self._connection.send(frame)
        except WebSocketDisconnected:
            pass  # the end of the connection answers everything

    async def _answer_to(
        self, error: Exception, responder: Responder | None
    ) -> HTTPError | HTTPStatus | None:
        return await answer_to(error, self._handshake.app, self._ws, self._where(responder))

    def _where(self, responder: Responder | None) -> str:
        return responder.name if responder else type(self._resource).__qualname__
