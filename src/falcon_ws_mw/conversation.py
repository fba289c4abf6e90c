"""One connection from handshake to clean-up.

`open` runs inside Falcon, in the middleware's hook, and decides about the handshake. `run` goes
on in the wrapper once Falcon's stack is unwound: it reads, has each message handled before the
next is read, and answers. However it ends, `on_ws_disconnect` runs once and nothing remains.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import falcon
from falcon import HTTPError, HTTPStatus, WebSocketDisconnected
import falcon.asgi

from falcon_ws_mw import cancellation, close_codes
from falcon_ws_mw.asgi import Event
from falcon_ws_mw.authentication import Authenticating
from falcon_ws_mw.errors import TooManyConnections
from falcon_ws_mw.failures import Crash, is_disconnect, log_crash
from falcon_ws_mw.handshake import DENIED
from falcon_ws_mw.sides import State

logger = logging.getLogger('falcon_ws_mw')


class Conversation(Authenticating):
    """A connection and the resource that handles its messages. Made of what `Handling` is."""

    __slots__ = ()

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
                self._handshake.reason = 'timeout'
                self._manager.counters.limits_hit['connect_timeout_seconds'] += 1
                self._manager.faults.warn(
                    'connect_timeout_seconds',
                    '%s took over %s s: the handshake is refused',
                    self._where(self._table.connect),
                    seconds,
                    resource=self._table.name,
                )
                await self._refuse(falcon.HTTPServiceUnavailable())
            else:
                if isinstance(error, TooManyConnections):
                    self._handshake.reason = 'limit'
                answered = await self._answer_to(error, self._table.connect)
                if isinstance(answered, Crash):
                    self._handshake.reason = 'crash'
                await self._refuse(answered or falcon.HTTPInternalServerError())
        else:
            if answer is False or (self._table.only_true_accepts and answer is not True):
                await self._refuse(falcon.HTTPForbidden())
            elif self._handshake.decided or not self._ws.closed:
                return not self._handshake.refused
            else:  # somebody closed it meanwhile: a kick
                await self._refuse_kicked(self._connection.close_code or close_codes.NORMAL)
        return False

    async def _ask_to_connect(self) -> Any:
        self._resource = self._connection.resource = self._make_resource(self._ws)
        self._ws.resource = self._resource
        for hook in self._table.before:
            await hook(self._ws.req, self._ws, self._resource, self._uri_params)
        connect = self._table.connect
        if connect is None:
            return True
        return await self._call(connect, (self._ws.req, self._ws))

    async def _refuse_kicked(self, code: int) -> None:
        self._handshake.reason = DENIED
        status = close_codes.http_status(code)
        if status is None:
            await self._handshake.refuse_plainly(code)
        else:
            await self._handshake.refuse(HTTPError(status))

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
        self._handshake.reason = self._handshake.reason or DENIED
        await self._handshake.refuse(error)
        self._connection.close(close_codes.from_http_status(error.status_code))

    # -- the conversation

    async def run(self) -> None:
        """Handle messages until the connection has ended, then clean up.

        PERF: this is what every message passes, so its common path is written out, by local
        names: each call, coroutine and cache line less can be seen in `make bench`.
        """
        connection, ws, inbox, resource = self._connection, self._ws, self._ws.inbox, self._resource
        receive, messages = self._handshake.receive, self._table.messages
        decode = self._codec.decoder(self._table.payloads, whole=self._table.wants_whole)
        owner = asyncio.current_task()
        unlimited, asks_who = inbox.unlimited_characters, self._table.strangers is not None
        counters, is_measured = self._manager.counters, self._manager.meter is not None
        inbox.begin(cancels_handler=self._table.settings.disconnect_policy == 'cancel')
        try:
            await self._begin()
            while True:
                try:
                    directly = inbox.reads_directly
                    if directly:
                        pending = inbox.pending = receive()
                        event = await pending
                    else:
                        event = await inbox.next()
                    if event['type'] != 'websocket.receive':
                        inbox.note_end(event)
                        return
                    text = event.get('text')
                    counters.received += directly  # else the inbox has counted it
                    is_unlimited = text is not None and len(text) <= unlimited
                    delay = inbox.delay(event, text) if directly and not is_unlimited else 0.0
                    is_stranger = asks_who and connection.is_stranger
                    unusual = delay > 0 or connection.direct is None or is_stranger
                    if unusual and not await self._may_be_handled(delay, event):
                        continue
                    inbox.in_hand = event
                    incoming = None
                    try:
                        incoming = decode(event['bytes'] if text is None else text)
                        responder = messages.get(incoming[0])
                        if (
                            responder is None
                            or incoming[2] is not None
                            or responder.takes_more
                            or is_measured
                        ):
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

    async def _may_be_handled(self, delay: float, event: Event) -> bool:
        """Whether to handle a message, which may have to wait for its turn.

        What a stranger says has been handled then, as far as it is.
        """
        if delay > 0:
            await self._ws.inbox.hold_back(delay)
        if self._connection.is_stranger:
            await self._handle_of_stranger(event)
            return False
        return self._is_worth_handling()

    async def _begin(self) -> None:
        """Tell who listens, and see that the peer is not silent for ever."""
        if self._connection.state is not State.CLOSED:  # as after an accept that failed
            inbox = self._ws.inbox
            inbox.in_hand = {}  # as for a handler: if it takes long, the client is read ahead
            try:
                await self._tell_connected()
            except asyncio.CancelledError:
                if not await inbox.goes_on():
                    raise
            finally:
                inbox.in_hand = None
        self._watch()

    async def _finish(self) -> None:
        """Let nothing remain, and say good-bye if that is owed."""
        self._manager.remove_connection(self._connection.id)
        if isinstance(sys.exception(), GeneratorExit):
            return  # a coroutine that is being closed may not await: its event loop is gone
        if isinstance(sys.exception(), asyncio.CancelledError):  # hypercorn stops
            self._connection.close(close_codes.SERVICE_RESTART)
        try:
            await self._ws.inbox.stop()
            if self._parallel is not None:
                await self._parallel.end(
                    cancel=self._table.settings.disconnect_policy == 'cancel'
                    or isinstance(sys.exception(), asyncio.CancelledError)
                )
        finally:
            try:
                await self._connection.end(close_codes.ABNORMAL)  # keeps the code that is known
            finally:
                await self._say_goodbye()
                self._ws.resource = None  # no cycle is left

    async def _say_goodbye(self) -> None:
        if self._owes_disconnect:
            self._owes_disconnect = False
            await self._call_disconnect()
        if self._is_told:
            self._is_told = False
            await self._manager.listeners.tell('disconnect', self._ws, self._connection.close_code)

    async def _call_disconnect(self) -> None:
        disconnect = self._table.disconnect
        try:
            if disconnect is not None:
                await self._call(disconnect, (self._ws, self._connection.close_code))
            for hook in self._table.after:
                await hook(self._ws.req, self._ws, self._resource)
        except Exception as error:  # noqa: BLE001  # logged
            if not is_disconnect(error):
                log_crash(error, self._where(disconnect))
                await self._manager.listeners.tell('error', self._ws, error)
