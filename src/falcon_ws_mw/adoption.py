"""An old `on_websocket` loop and `on_ws_*` methods on one resource.

The loop goes on as it was, on Falcon's own socket. Between the two stands a filter: messages whose
type has an `on_ws_<type>` leave the stream and are handled when the loop comes back for its next
one; everything else reaches it untouched and in order. What both say leaves through one connection,
so that it cannot overtake each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
import logging
from typing import Any, Final, NamedTuple

from falcon import OperationNotAllowed, WebSocketDisconnected
from falcon import WebSocketPayloadType as PayloadType
import falcon.asgi

from falcon_ws_mw import close_codes, falcon_internals
from falcon_ws_mw.asgi import Event, Receive
from falcon_ws_mw.connection import State
from falcon_ws_mw.conversation import Conversation
from falcon_ws_mw.envelope import Incoming
from falcon_ws_mw.errors import UnhandledMessage
from falcon_ws_mw.websocket import WebSocket

logger = logging.getLogger('falcon_ws_mw')

GRACE_SECONDS: Final = 1.0
"""How long after its accept a loop may take to ask for its first message, before it is taken for
one that only sends. From then on taken messages are handled beside it."""


class AdoptedWebSocket(WebSocket):
    """The `ws` of an adopted connection: Falcon's own socket, and what the library adds to it.

    The old loop gets it in place of Falcon's and finds there what it had: the same answers, errors
    and waiting. While `on_ws_connect` runs, it holds what is sent, as on any route of ours.
    """

    __slots__ = ('_old', 'connecting')

    def __init__(self, old: falcon.asgi.WebSocket, *args: Any) -> None:
        super().__init__(*args)
        self._old = old
        self.connecting = True

    @property
    def unaccepted(self) -> bool:
        """As Falcon tells it."""
        return self._old.unaccepted

    @property
    def ready(self) -> bool:
        """As Falcon tells it."""
        return self._old.ready

    @property
    def closed(self) -> bool:
        """As Falcon tells it; also once the library has closed."""
        return self._old.closed or super().closed

    @property
    def supports_accept_headers(self) -> bool:
        """As Falcon tells it."""
        return self._old.supports_accept_headers

    async def accept(
        self,
        subprotocol: str | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
    ) -> None:
        """Accept, in `on_websocket`.

        Raises:
            OperationNotAllowed: In `on_ws_connect`, where accepting is not decided yet.
        """
        if self.connecting:
            raise OperationNotAllowed(
                'this resource has an on_websocket, and that accepts: on_ws_connect may refuse only'
            )
        await self._old.accept(subprotocol, headers)

    async def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Close, or refuse the handshake."""
        if self.connecting:
            await super().close(code, reason)
        else:
            await self._old.close(code, reason)

    async def send_media(self, media: object, payload_type: PayloadType = PayloadType.TEXT) -> None:
        """Send an object through Falcon's media handler."""
        if self.connecting:
            await super().send_media(media, payload_type)
        else:
            await self._old.send_media(media, payload_type)

    async def send_text(self, payload: str) -> None:
        """Send text."""
        await (super().send_text(payload) if self.connecting else self._old.send_text(payload))

    async def send_data(self, payload: bytes | bytearray | memoryview) -> None:
        """Send binary data."""
        await (super().send_data(payload) if self.connecting else self._old.send_data(payload))

    async def receive_text(self) -> str:
        """Receive text, as Falcon does."""
        return await self._old.receive_text()

    async def receive_data(self) -> bytes:
        """Receive binary data, as Falcon does."""
        return await self._old.receive_data()

    async def receive_media(self) -> object:
        """Receive an object through Falcon's media handler."""
        return await self._old.receive_media()


class Taken(NamedTuple):
    """A message that left the stream."""

    incoming: Incoming
    binary: bool


class Stream:
    """What the old loop receives: everything but the taken messages.

    A taken message is handled in a task of its own, so that it survives a loop which cancels its
    receive; the next receive waits for it. Until the loop has asked for the first time, a reader
    may stand in for it: then a read may be under way that the loop has to take over.

    Args:
        receive: Where events come from.
        take: Tells whether an event is a taken message.
        handle: Handles one.
    """

    __slots__ = (
        '_aside',
        '_asked',
        '_handle',
        '_handler',
        '_read',
        '_receive',
        '_take',
        '_timer',
        'held',
    )

    def __init__(
        self,
        receive: Receive,
        take: Callable[[Event], Taken | None],
        handle: Callable[[Taken], Awaitable[None]],
    ) -> None:
        self._receive = receive
        self._take = take
        self._handle = handle
        self._asked = False
        self._timer: asyncio.TimerHandle | None = None
        self._aside: asyncio.Task[None] | None = None
        self._read: asyncio.Future[Event] | None = None
        self._handler: asyncio.Task[None] | None = None
        self.held: Event | None = None

    def accepted(self) -> None:
        """From here on the loop can ask; if it does not, it only sends."""
        if not self._asked:
            self._timer = asyncio.get_running_loop().call_later(GRACE_SECONDS, self._stand_in)

    async def receive(self) -> Event:
        """The next event for the old loop."""
        if self._handler is not None and self._handler is asyncio.current_task():
            raise OperationNotAllowed(
                'an on_ws_<type> beside an on_websocket cannot receive: that loop does'
            )
        self._asked = True
        if self._timer is not None:
            self._timer.cancel()
        while True:
            await self._handled()
            event = await self._next()
            taken = self._take(event)
            if taken is None:
                return event
            # No await since the event was read: a cancelled loop loses nothing.
            self._handler = asyncio.create_task(self._run(taken))

    async def end(self, *, cancelled: bool) -> None:
        """The loop has returned: a handler may finish, nothing more is read."""
        if self._timer is not None:
            self._timer.cancel()
        for reader in (self._aside, self._read):
            if reader is not None:
                reader.cancel()
        if self._handler is not None and cancelled:
            self._handler.cancel()
        tasks = [task for task in (self._aside, self._read, self._handler) if task is not None]
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                logger.error('beside an old on_websocket: %r', ended, exc_info=ended)

    async def _run(self, taken: Taken) -> None:
        await self._handle(taken)

    async def _handled(self) -> None:
        """Wait for the handler of the last taken message."""
        handler = self._handler
        if handler is not None:
            await asyncio.wait([handler])
            if self._handler is handler:  # the stand-in and the loop may both have waited
                self._handler = None
            handler.result()

    async def _next(self) -> Event:
        if self.held is not None:
            event, self.held = self.held, None
            return event
        if self._read is not None:  # the stand-in's: it is taken over, not cancelled
            await asyncio.wait([self._read])
            taken_over, self._read = self._read, None
            return taken_over.result()
        return await self._receive()

    def _has_asked(self) -> bool:
        return self._asked

    def _stand_in(self) -> None:
        if not self._asked:
            self._aside = asyncio.create_task(self._read_aside())

    async def _read_aside(self) -> None:
        """Handle taken messages beside a loop that has never asked.

        Up to the first that is the loop's own: what comes after it has to wait for the loop, since
        it would overtake it.
        """
        while not self._has_asked():
            self._read = read = asyncio.ensure_future(self._receive())
            await asyncio.wait([read])
            if self._has_asked():
                return  # it takes the read over
            self._read = None
            event = read.result()
            taken = self._take(event)
            if taken is None:
                self.held = event
                return
            self._handler = asyncio.create_task(self._run(taken))
            await self._handled()


class AdoptedConversation(Conversation):
    """A connection whose `on_websocket` goes on beside `on_ws_*` methods.

    Args:
        old: Falcon's socket.
        args: As for `Conversation`.
        kwargs: As for `Conversation`.
    """

    __slots__ = ('_old', '_stream')

    def __init__(self, old: falcon.asgi.WebSocket, *args: Any, **kwargs: Any) -> None:
        self._old = old
        super().__init__(*args, **kwargs)
        receive = falcon_internals.redirect(old, self._receive, self._send)
        self._stream = Stream(receive, self._take, self._handle_taken)

    def _new_websocket(self, *args: Any) -> WebSocket:
        return AdoptedWebSocket(self._old, *args)

    async def _accept(self) -> None:
        """Left to the old loop."""

    async def run_loop(
        self, on_websocket: Callable[..., Awaitable[None]], req: falcon.asgi.Request
    ) -> None:
        """Run the old loop as Falcon would; what it raises is Falcon's to handle."""
        if isinstance(self._ws, AdoptedWebSocket):
            self._ws.connecting = False
        if self._handshake.decided:  # by another component: the loop finds it accepted
            self._connection.opened()
            self._stream.accepted()
        await on_websocket(req, self._ws, **self._uri_params)
        await self._old.close()

    async def run(self) -> None:
        """Clean up, once Falcon has done with the connection."""
        task = asyncio.current_task()
        await self._stream.end(cancelled=task is not None and task.cancelling() > 0)
        self._count_forgotten()
        code = falcon_internals.close_code_of(self._old)
        await self._connection.end(close_codes.ABNORMAL if code is None else code)
        await self._finish()

    # -- what Falcon's socket receives and sends

    async def _receive(self) -> Event:
        event = await self._stream.receive()
        if event['type'] == 'websocket.disconnect':
            self._manager.remove_connection(self._connection.id)
            await self._connection.end(int(event.get('code') or close_codes.NO_STATUS))
        return event

    async def _send(self, event: Event) -> None:
        connection = self._connection
        if event['type'] == 'websocket.accept':
            self._handshake.decided = True
            await connection.accept(event)
            self._stream.accepted()
        elif event['type'] == 'websocket.close':
            self._manager.remove_connection(connection.id)
            if connection.state is State.HANDSHAKE:
                await self._handshake.send(event)
            else:
                await connection.close_with(event)
        else:
            try:
                await connection.send(dict(event))
            except WebSocketDisconnected:
                if connection.error is None:
                    raise
                # Falcon reads a close code out of what the server raised.
                raise connection.error from None

    # -- what is taken

    def _take(self, event: Event) -> Taken | None:
        if event['type'] != 'websocket.receive':
            return None
        text = event.get('text')
        try:
            incoming = self._codec.decode(event['bytes'] if text is None else text)
        except UnhandledMessage:
            return None
        return Taken(incoming, text is None) if incoming.type in self._table.messages else None

    async def _handle_taken(self, taken: Taken) -> None:
        if self._connection.state is not State.OPEN:
            return
        incoming = taken.incoming
        await self._respond(
            self._table.messages[incoming.type],
            incoming.id,
            (self._ws,),
            binary=taken.binary,
            payload=incoming.payload,
            message=incoming.message,
        )

    def _count_forgotten(self) -> None:
        """Count what was taken, but nobody came back for."""
        events = [] if self._stream.held is None else [self._stream.held]
        events += falcon_internals.unread_events(self._old)
        types = [taken.incoming.type for event in events if (taken := self._take(event))]
        if types and not self._manager.forgotten[self._table.name]:
            logger.warning(
                '%s.on_websocket returned without coming back for %d message(s) that an on_ws_* '
                'method would have handled (%s); from here on such messages are only counted',
                self._table.name,
                len(types),
                ', '.join(sorted(set(types))),
            )
        if types:
            self._manager.forgotten[self._table.name] += len(types)
