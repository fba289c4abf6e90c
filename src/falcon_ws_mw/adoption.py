"""An old `on_websocket` loop and `on_ws_*` methods on one resource.

The loop goes on as it was, on Falcon's own socket. Between the two stands a filter: messages whose
type has an `on_ws_<type>` leave the stream and are handled when the loop comes back for its next
one; everything else reaches it untouched and in order. What both say leaves through one connection,
so that it cannot overtake each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
import contextlib
import logging
import math
import sys
from time import monotonic
from typing import Any, Final

from falcon import OperationNotAllowed, WebSocketDisconnected
from falcon import WebSocketPayloadType as PayloadType
import falcon.asgi

from falcon_ws_mw import cancellation, close_codes, falcon_internals, guards
from falcon_ws_mw.asgi import Event
from falcon_ws_mw.conversation import Conversation
from falcon_ws_mw.errors import UnhandledMessage
from falcon_ws_mw.frames import raw_of, text_frame
from falcon_ws_mw.sides import State
from falcon_ws_mw.stream import Source, Stream, Taken, asks_by_itself
from falcon_ws_mw.websocket import WebSocket

logger = logging.getLogger('falcon_ws_mw')


CLOSE_TIMEOUT_SECONDS: Final = 10.0
"""How long a close may take to leave: as long as uvicorn waits for the peer's."""


_OF_MESSAGES: Final = frozenset({'max_message_bytes', 'message_burst', 'messages_per_second'})
"""Limits that what an old loop receives is held to only where they are asked for."""


class AdoptedWebSocket(WebSocket):
    """The `ws` of an adopted connection: Falcon's own socket, and what the library adds to it.

    The old loop gets it in place of Falcon's and finds there what it had: the same answers, errors
    and waiting. While `on_ws_connect` runs, it holds what is sent, as on any route of ours.
    """

    __slots__ = ('_old', 'connecting', 'left_with')

    def __init__(self, old: falcon.asgi.WebSocket, *args: Any) -> None:
        super().__init__(*args)
        self._old = old
        self.connecting = True
        self.left_with: int | None = None  # read, though the loop has yet to receive it

    @property
    def unaccepted(self) -> bool:
        """As Falcon tells it."""
        return self._old.unaccepted

    @property
    def ready(self) -> bool:
        """As Falcon tells it, unless the library has closed."""
        return self._old.ready and not super().closed

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

    def _listen_for_answer(self) -> None:
        """Falcon's reader reads, and `Source` looks at what it gets.

        Raises:
            WebSocketDisconnected: If it has got the end.
        """
        if self.left_with is not None:
            raise WebSocketDisconnected(self.left_with)

    async def receive_text(self) -> str:
        """Receive text, as Falcon does."""
        return await self._old.receive_text()

    async def receive_data(self) -> bytes:
        """Receive binary data, as Falcon does."""
        return await self._old.receive_data()

    async def receive_media(self) -> object:
        """Receive an object through Falcon's media handler."""
        return await self._old.receive_media()


class AdoptedConversation(Conversation):
    """A connection whose `on_websocket` goes on beside `on_ws_*` methods.

    Args:
        old: Falcon's socket.
        on_websocket: The loop, as Falcon would call it.
        strict: Whether what the loop receives is limited as what is taken.
        args: As for `Conversation`.
        kwargs: As for `Conversation`.
    """

    __slots__ = ('_asks', '_counts', '_old', '_on_websocket', '_source', '_stream', '_waiting')

    def __init__(
        self,
        old: falcon.asgi.WebSocket,
        on_websocket: Callable[..., Awaitable[None]],
        *args: Any,
        strict: bool,
        **kwargs: Any,
    ) -> None:
        self._old = old
        self._asks = False
        self._waiting: tuple[Event, float] | None = None  # what is held back for the loop
        self._on_websocket = guards.let_through(on_websocket, self._let_through)
        super().__init__(*args, **kwargs)
        self._connection.own_limit_bytes = None  # what the loop says is its own affair
        self._counts = _OF_MESSAGES if strict else _OF_MESSAGES & self._table.settings.named
        self._source = falcon_internals.read_through(old, Source)
        if self._source is not None:
            self._source.is_answer = self._answers
            self._source.noticed_end = self._noticed_end
        receive = falcon_internals.redirect(old, self._receive, self._send)
        self._stream = Stream(
            receive,
            self._received,
            self._take,
            self._handle_taken,
            self._disconnect_event,
            asks=asks_by_itself(on_websocket),
            hooked=self._on_websocket is not on_websocket,
        )
        if self._handshake.decided:  # another component has accepted
            self._connection.opened()

    def _new_websocket(self, *args: Any) -> WebSocket:
        return AdoptedWebSocket(self._old, *args)

    async def _accept(self) -> None:
        """Left to the old loop."""

    async def run_loop(self) -> None:
        """Run the old loop as Falcon would; what it raises is Falcon's to handle.

        A client that `on_ws_connect` did not let in does not get to it, whoever had accepted.
        """
        if not self._owes_disconnect or self._disconnect_event() is not None:
            await self._wait_for_close()
            return
        if isinstance(self._ws, AdoptedWebSocket):
            self._ws.connecting = False
        if self._handshake.decided:
            await self._accepted()
        await self._on_websocket(self._ws.req, self._ws, **self._uri_params)
        await self._old.close()

    async def _accepted(self) -> None:
        self._stream.accepted()
        self._connection.keeper.let_in(self._connection.id)
        await self._tell_connected()
        self._watch()

    def _last_read(self) -> object:
        """See `Watch`: while the loop does not ask, its client may say what nobody reads."""
        source = self._source
        return None if source is None or not self._asks else source.last or source

    def _is_busy(self) -> bool:
        return self._stream.is_busy

    def _let_through(self) -> None:
        self._stream.let_through()

    async def _wait_for_close(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await self._connection.all_written()

    async def run(self) -> None:
        """Clean up, once Falcon has done with the connection.

        Without `on_ws_connect` nobody has met a client that the loop, or a hook before it, refused:
        nobody is told that it has gone.
        """
        await self._stream.end(cancelled=cancellation.is_for_this_task())
        self._count_forgotten()
        refused = self._handshake.refused or self._stream.hooked
        if refused and self._table.connect is None:
            self._owes_disconnect = False
        if self._connection.state is State.CLOSING and sys.exception() is None:
            await self._wait_for_close()  # a kick: what was said before it goes first
        code = falcon_internals.close_code_of(self._old)
        await self._connection.end(close_codes.ABNORMAL if code is None else code)
        await self._finish()

    # -- what Falcon's socket receives and sends

    def _received(self, event: Event) -> None:
        if self._source is not None:
            self._source.received(event)

    async def _receive(self) -> Event:
        if self._waiting is None:
            self._asks = True
            try:
                event = await self._stream.receive()
            finally:
                self._asks = False
            self._waiting = (event, self._turn_of(event))
        event, turn = self._waiting
        while turn > monotonic() and self._connection.state is State.OPEN:
            # It stays meanwhile: the loop may cancel its receive.
            await self._ws.inbox.hold_back(turn - monotonic())
        self._waiting = None
        if turn and self._connection.hung_up:
            self._manager.counters.abandoned += 1
            event = self._disconnect_event() or event
        if event['type'] == 'websocket.disconnect':
            self._manager.remove_connection(self._connection.id)
            if self._disconnect_event() is None:  # else our close is on its way, behind what waits
                await self._connection.end(int(event.get('code') or close_codes.NO_STATUS))
        return event

    def _turn_of(self, event: Event) -> float:
        """When a message of the loop's own may be received, where limits are asked for; else 0."""
        inbox, delay = self._ws.inbox, 0.0
        if not self._counts or event['type'] != 'websocket.receive':
            return 0.0
        if 'max_message_bytes' in self._counts and inbox.is_too_long(event):
            return math.inf
        if not self._counts.isdisjoint({'messages_per_second', 'message_burst'}):
            delay = inbox.too_early()
        return monotonic() + delay if delay > 0 else 0.0

    async def _send(self, event: Event) -> None:
        connection = self._connection
        if event['type'] == 'websocket.accept':
            self._handshake.decided = True
            self._ws.speak(event.get('subprotocol'))
            await connection.accept(event)
            await self._accepted()
        elif event['type'] == 'websocket.close':
            self._manager.remove_connection(connection.id)
            if self._handshake.decided:
                if connection.state is State.OPEN:
                    self._stream.closed_by_loop = not self._stream.is_handling()
                await connection.close_with(event)
            else:
                await self._handshake.send(event)
        else:
            if 'text' in event:  # what has no UTF-8 form is the loop's fault, not the connection's
                text_frame(event['text'])
            try:
                await connection.send(dict(event))
            except WebSocketDisconnected:
                if connection.error is None:
                    raise
                # Falcon reads a close code out of what the server raised, and its cause.
                raise connection.error  # noqa: B904

    def _disconnect_event(self) -> Event | None:
        """What the loop receives once the library or a handler has closed, and when it asks anew.

        Where a send has failed, the server knows better how the connection ended.
        """
        code = self._connection.close_code
        if code is None or self._connection.state in {State.HANDSHAKE, State.OPEN}:
            return None
        return {'type': 'websocket.disconnect', 'code': code}

    # -- what is taken

    def _take(self, event: Event) -> Taken | None:
        if event['type'] != 'websocket.receive' or not self._table.messages:
            return None
        try:
            incoming = self._codec.decode(raw_of(event))
        except UnhandledMessage:
            return None
        return Taken(incoming, event) if incoming.type in self._table.messages else None

    def _answers(self, event: Event) -> bool:
        return bool(self._connection.requests and self._connection.requests.is_answer(event))

    def _read_ahead(self) -> None:
        """Left to Falcon's reader."""

    def _noticed_end(self, event: Event) -> None:
        """No answer comes any more, though the loop has yet to receive what came before the end."""
        code = int(event.get('code') or close_codes.NO_STATUS)
        if isinstance(self._ws, AdoptedWebSocket):
            self._ws.left_with = code
        if self._connection.requests:
            self._connection.requests.ended(code)

    async def _handle_taken(self, taken: Taken) -> None:
        if self._connection.state is not State.OPEN:
            return
        responder = self._table.messages[taken.incoming.type]
        incoming = None
        try:
            delay = self._ws.inbox.received(taken.event)
            if delay > 0:
                await self._ws.inbox.hold_back(delay)
            if self._connection.hung_up:
                return
            incoming = taken.incoming
            if responder.payload is not None:
                incoming = None
                incoming = self._codec.decoder(self._table.payloads)(raw_of(taken.event))
            await self._handle(incoming, responder, taken.event)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # answered or logged
            await self._handle_error(error, incoming, taken.event)

    def _count_forgotten(self) -> None:
        """Count what was taken, but nobody came back for.

        What a hook did not let through was answered by its refusal.
        """
        if self._stream.hooked:
            return
        events = [] if self._stream.held is None else [self._stream.held]
        events += falcon_internals.unread_events(self._old)
        events += self._unreceived(events)
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

    def _unreceived(self, known: list[Event]) -> list[Event]:
        """What Falcon's reader had in hand when it was stopped, and what the server still has.

        Not where the library or a handler has closed: that was the answer to what came behind it.
        """
        source = self._source
        if source is None or not (self._stream.closed_by_loop or self._disconnect_event() is None):
            return []
        in_hand = source.pending
        found = [] if in_hand is None or any(in_hand is event for event in known) else [in_hand]
        if not (self._handshake.refused or falcon_internals.reads_ahead(self._old)):
            found += source.rest()
        return found
