"""One connection from handshake to clean-up.

`open` runs inside Falcon, in the middleware's hook, and decides about the handshake. `run` goes
on in the wrapper once Falcon's stack is unwound: it reads, has each message handled before the
next is read, and answers. However it ends, `on_ws_disconnect` runs once and nothing remains.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from typing import TYPE_CHECKING, Any

import falcon
from falcon import HTTPError, HTTPStatus, WebSocketDisconnected
import falcon.asgi

from falcon_ws_mw import cancellation, close_codes, falcon_internals
from falcon_ws_mw.connection import Connection
from falcon_ws_mw.envelope import Codec, MessageId, error_payload, wrap
from falcon_ws_mw.errors import (
    ConnectionNotFound,
    InvalidName,
    InvalidTopic,
    UnhandledMessage,
    UnknownMessageType,
)
from falcon_ws_mw.sides import State
from falcon_ws_mw.websocket import WebSocket

if TYPE_CHECKING:
    from collections.abc import Callable

    from falcon_ws_mw.handshake import Handshake
    from falcon_ws_mw.manager import WebSocketConnectionManager
    from falcon_ws_mw.responders import ResponderTable
    from falcon_ws_mw.signatures import Responder

logger = logging.getLogger('falcon_ws_mw')


class _Crash(falcon.HTTPInternalServerError):
    """What a client is told of an exception that nobody expected: nothing."""


def _is_disconnect(error: BaseException) -> bool:
    """Whether an error only says that a peer has gone, also out of a `TaskGroup`."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(WebSocketDisconnected)[1] is None
    return isinstance(error, WebSocketDisconnected)


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
        """Handle messages until the connection has ended, then clean up."""
        inbox = self._ws.inbox
        inbox.owner = asyncio.current_task()
        inbox.cancels_handler = self._table.settings.disconnect_policy == 'cancel'
        try:
            while True:
                try:
                    await self._handle_messages()
                except asyncio.CancelledError:
                    if not inbox.take_back():
                        raise
                else:
                    break
        finally:
            self._connection.in_hand = None
            await inbox.stop()
            await self._finish()

    async def _handle_messages(self) -> None:
        connection, inbox = self._connection, self._ws.inbox
        while True:
            event = await inbox.next()
            if event['type'] == 'websocket.receive':
                if connection.state is State.OPEN or self._is_worth_handling():
                    connection.in_hand = event
                    text = event.get('text')
                    await self._handle(event['bytes'] if text is None else text)
                    connection.in_hand = None
            elif event['type'] == 'websocket.disconnect':
                return

    def _is_worth_handling(self) -> bool:
        """Whether to handle a message that arrived before the connection ended."""
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
        await self._connection.end(close_codes.ABNORMAL)  # keeps the code that is known
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
            if not _is_disconnect(error):
                self._log_crash(error, disconnect)

    async def _handle(self, raw: str | bytes) -> None:
        binary = isinstance(raw, bytes)
        try:
            incoming = self._codec.decode(raw)
            responder = self._table.messages.get(incoming.type)
            if responder is None and self._table.any_message is None:
                raise UnknownMessageType(incoming.type, id=incoming.id)
        except UnhandledMessage as error:
            await self._handle_unhandled(raw, error, binary=binary and error.decoded)
            return
        if responder is not None:
            named = {'payload': incoming.payload, 'message': incoming.message}
            await self._respond(responder, incoming.id, (self._ws,), binary=binary, **named)
        elif self._table.any_message is not None:
            positional = (self._ws, incoming.message)
            await self._respond(self._table.any_message, incoming.id, positional, binary=binary)

    async def _handle_unhandled(
        self, raw: str | bytes, error: UnhandledMessage, *, binary: bool
    ) -> None:
        unhandled = self._table.unhandled
        if unhandled is None:
            await self._say_error(error.to_http_error(), error.id, binary=binary)
            return
        positional = (self._ws, raw, error)
        await self._respond(unhandled, error.id, positional, binary=binary, unanswered=error)

    async def _respond(
        self,
        responder: Responder,
        message_id: MessageId | None,
        positional: tuple[Any, ...],
        *,
        binary: bool,
        unanswered: UnhandledMessage | None = None,
        **named: Any,
    ) -> None:
        """Call a responder, and answer its message if that is a request.

        Args:
            responder: What to call.
            message_id: The request's id, if it is one.
            positional: What the responder gets by position.
            binary: Whether the answer goes out as binary, as the message came in.
            unanswered: The error that answers a request for which nothing is returned.
            named: What the responder may get by name.
        """
        try:
            result = await self._call(responder, positional, **named)
            if message_id is None:
                return
            if result is None and unanswered is not None:
                await self._say_error(unanswered.to_http_error(), message_id, binary=binary)
            else:
                await self._say(wrap('reply', result, message_id), binary=binary)
        except Exception as error:  # noqa: BLE001  # answered or logged
            await self._handle_failure(error, responder, message_id, binary=binary)

    async def _call(self, responder: Responder, positional: tuple[Any, ...], **named: Any) -> Any:
        self._ws.handling = True
        try:
            return await responder.call(self._resource, positional, self._uri_params, **named)
        except asyncio.CancelledError as error:
            if cancellation.is_for_this_task():
                raise
            raise RuntimeError('something that was awaited here was cancelled') from error
        finally:
            self._ws.handling = False

    async def _handle_failure(
        self, error: Exception, responder: Responder, message_id: MessageId | None, *, binary: bool
    ) -> None:
        answer = await self._answer_to(error, responder)
        if answer is None:
            if message_id is not None:
                await self._say_error(_Crash(), message_id, binary=binary)
        elif isinstance(answer, _Crash) and self._table.settings.crash_policy == 'close':
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
        for answer, as_binary in ((error, binary), (_Crash(), False)):
            try:
                message = wrap('error', error_payload(answer), message_id)
                await self._say(message, binary=as_binary)
            except Exception as failure:  # noqa: BLE001  # logged
                self._log_crash(failure, None)
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

    # -- errors

    async def _answer_to(
        self, error: Exception, responder: Responder | None
    ) -> HTTPError | HTTPStatus | None:
        """What the client is told of an exception.

        A handler that the app registered for it is called first, as Falcon would.

        Returns:
            The answer; `None` if the app's handler took care of it.
        """
        if _is_disconnect(error):  # this one's, whose end is about to be read, or another one's
            return None
        app = self._handshake.app
        falcon_internals.report_error(app, self._ws.req, error, self._uri_params)
        handler = falcon_internals.own_error_handler(app, error)
        if handler is None:
            return self._http_error(error, responder)
        try:
            await self._call_error_handler(handler, error)
        except Exception as derived:  # noqa: BLE001  # it replaces the error
            if _is_disconnect(derived):
                return None
            if derived is not error:
                falcon_internals.report_error(app, self._ws.req, derived, self._uri_params)
            return self._http_error(derived, responder)
        return None

    def _http_error(self, error: Exception, responder: Responder | None) -> HTTPError | HTTPStatus:
        if isinstance(error, (HTTPError, HTTPStatus)):
            return error
        if isinstance(error, UnhandledMessage):
            return error.to_http_error()
        if isinstance(error, InvalidName):
            return falcon.HTTPBadRequest(title='Invalid name', description=str(error))
        if isinstance(error, InvalidTopic):
            return falcon.HTTPBadRequest(title='Invalid topic', description=str(error))
        if isinstance(error, ConnectionNotFound):
            return falcon.HTTPNotFound(title='Connection not found', description=str(error))
        self._log_crash(error, responder)
        return _Crash()

    async def _call_error_handler(
        self, handler: falcon_internals.ErrorHandler, error: Exception
    ) -> None:
        named = {'ws': self._ws} if 'ws' in inspect.signature(handler).parameters else {}
        await handler(self._ws.req, None, error, self._uri_params, **named)

    def _log_crash(self, error: Exception, responder: Responder | None) -> None:
        name = responder.name if responder else type(self._resource).__qualname__
        logger.error('%s raised %s', name, type(error).__name__, exc_info=error)
