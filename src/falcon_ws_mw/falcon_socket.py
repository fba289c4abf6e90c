"""Falcon's socket, on our own connection.

It has the whole API of `falcon.asgi.WebSocket` and can stand wherever one is expected. Every public
method is defined anew here and Falcon's state is never set up, because Falcon reads ahead with a
task per connection and sends without order; a test compares the two APIs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from falcon import OperationNotAllowed, PayloadTypeError, WebSocketDisconnected
from falcon import WebSocketPayloadType as PayloadType
import falcon.asgi

from falcon_ws_mw import close_codes
from falcon_ws_mw.asgi import Event
from falcon_ws_mw.codec import Codec
from falcon_ws_mw.connection import Connection
from falcon_ws_mw.envelope import CLIENT_PROTOCOL
from falcon_ws_mw.errors import WireFormatMismatch
from falcon_ws_mw.frames import raw_of, text_frame
from falcon_ws_mw.handshake import encoded_headers
from falcon_ws_mw.inbox import Inbox
from falcon_ws_mw.sides import State

if TYPE_CHECKING:
    from falcon_ws_mw.handshake import Handshake
    from falcon_ws_mw.manager import WebSocketConnectionManager
    from falcon_ws_mw.responders import ResponderTable


class FalconSocket(falcon.asgi.WebSocket):
    """One connection, as Falcon would show it.

    Before the handshake is accepted, what is sent is held and delivered right after the accept,
    in order, or dropped on refusal; receiving raises `falcon.OperationNotAllowed`.

    Attributes:
        req: The handshake's request.
        uri_params: The fields of the URI template.
        manager: The connection manager.
        subprotocol: The one that was negotiated, `None` if there is none.
        handling: Whether a method of the resource is running that is not for a message.
        inbox: The receiving side.
        resource: The resource that handles its messages, until its conversation is over.
    """

    __slots__ = (
        '__weakref__',
        '_connection',
        '_handshake',
        '_table',
        'handling',
        'inbox',
        'manager',
        'req',
        'resource',
        'subprotocol',
        'uri_params',
    )

    def __init__(  # Falcon's initializer is left out on purpose, see above
        self,
        connection: Connection,
        handshake: Handshake,
        manager: WebSocketConnectionManager,
        req: falcon.asgi.Request,
        uri_params: dict[str, Any],
        table: ResponderTable,
        subprotocol: str | None,
    ) -> None:
        self.req = req
        self.uri_params = uri_params
        self.manager = manager
        self.subprotocols = tuple(req.scope.get('subprotocols') or ())
        self.handling = False
        self.resource: object = None
        self._connection = connection
        self._handshake: Handshake = handshake
        self.inbox = connection.reader = Inbox(connection, handshake)
        self._table = table
        self.subprotocol = subprotocol
        connection.hears_expiring = subprotocol == CLIENT_PROTOCOL

    @property
    def codec(self) -> Codec:
        """How messages become frames on this connection."""
        return self._connection.codec

    # -- its state, as Falcon tells it

    @property
    def unaccepted(self) -> bool:
        """Whether the handshake is neither accepted nor refused."""
        return self._connection.state is State.HANDSHAKE

    @property
    def ready(self) -> bool:
        """Whether it is accepted and, as far as is known, open."""
        return self._connection.state is State.OPEN

    @property
    def closed(self) -> bool:
        """Whether either side has closed it, or the peer is known to be gone."""
        return self._connection.state in {State.CLOSING, State.CLOSED}

    @property
    def supports_accept_headers(self) -> bool:
        """Whether the server can send headers with the accept (ASGI spec 2.1)."""
        spec_version: str = self.req.scope.get('asgi', {}).get('spec_version', '2.0')
        return spec_version != '2.0'

    # -- handshake and close

    async def accept(
        self,
        subprotocol: str | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
    ) -> None:
        """Accept the handshake now. Returning from `on_ws_connect` does it too.

        Args:
            subprotocol: One of `ws.subprotocols` (default: what was negotiated, by the route's
                `ws_subprotocols`).
            headers: Headers of the response, in ASCII.

        Raises:
            OperationNotAllowed: If it was accepted or refused before, or the server cannot send
                headers.
            ValueError: If the headers contain `sec-websocket-protocol`.
            WebSocketDisconnected: If the client has gone.
        """
        if self._handshake.decided:
            raise OperationNotAllowed('the handshake was accepted or refused before')
        if self.closed:
            raise WebSocketDisconnected(self._connection.close_code)
        event: dict[str, Any] = {'type': 'websocket.accept'}
        if headers:
            if not self.supports_accept_headers:
                raise OperationNotAllowed('the ASGI server does not support accept headers')
            event['headers'] = encoded_headers(headers)
        self._choose(subprotocol)
        if self.subprotocol is not None:
            event['subprotocol'] = self.subprotocol
        self._handshake.decided = True
        try:
            await self._connection.accept(event)
        except OSError as error:
            await self._connection.end(close_codes.ABNORMAL)
            raise WebSocketDisconnected(close_codes.ABNORMAL) from error

    def _choose(self, subprotocol: str | None) -> None:
        """Speak a subprotocol, if another than the negotiated one is asked for."""
        if subprotocol is None:
            return
        if not isinstance(subprotocol, str):
            raise ValueError(f'subprotocol={subprotocol!r}: expected a str')  # noqa: TRY004
        self.speak(subprotocol)

    def speak(self, subprotocol: str | None) -> None:
        """From now on speak a subprotocol, or none.

        Raises:
            WireFormatMismatch: If it is in a room that speaks another envelope.
        """
        codec = self._table.codec(self.manager.codecs, subprotocol)
        spoken = self._connection.codec.envelope
        if self._connection.rooms and codec.envelope != spoken:
            raise WireFormatMismatch(min(self._connection.rooms), spoken, codec.envelope)
        self.subprotocol = subprotocol
        self._connection.codec = codec
        self._connection.hears_expiring = subprotocol == CLIENT_PROTOCOL

    async def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Close the connection, or refuse the handshake (the client sees 403).

        What was sent before is delivered first, as far as the peer takes it within
        `send_timeout_seconds`; nobody waits for that. On an ended connection it does nothing.

        Args:
            code: The close code (default 1000).
            reason: Text for the peer, cut to 123 bytes of UTF-8; by default Falcon's for the code.

        Raises:
            InvalidCloseCode: If the code may not be sent.
        """
        code = close_codes.check_code(close_codes.NORMAL if code is None else code)
        if self._connection.state is State.HANDSHAKE:
            self.manager.remove_connection(self._connection.id)
            await self._connection.end(code)
            await self._handshake.refuse_plainly(code)
        elif self._connection.state is State.OPEN:
            self.manager.remove_connection(self._connection.id)
            self._connection.close(code, reason or '')

    # -- out

    async def send_media(self, media: object, payload_type: PayloadType = PayloadType.TEXT) -> None:
        """Send an object through the media handler for its payload type.

        Raises:
            WebSocketDisconnected: If the connection has ended.
            RuntimeError: If binary is asked for and the app has no usable BINARY media handler.
        """
        binary = payload_type is PayloadType.BINARY
        if binary and not self.codec.media.understands_binary:
            raise RuntimeError(
                'the app has no usable BINARY media handler: install msgpack, or set one in '
                'app.ws_options.media_handlers'
            )
        waiting = self._connection.say(self.codec.encode_object(media, binary=binary))
        if waiting is not None:
            await waiting

    async def send_text(self, payload: str) -> None:
        """Send text.

        Raises:
            WebSocketDisconnected: If the connection has ended.
            TypeError: If it is no text.
            ValueError: If it has no UTF-8 form.
        """
        if not isinstance(payload, str):
            raise TypeError('payload must be a string')
        waiting = self._connection.say(text_frame(payload))
        if waiting is not None:
            await waiting

    async def send_data(self, payload: bytes | bytearray | memoryview) -> None:
        """Send binary data.

        Raises:
            WebSocketDisconnected: If the connection has ended.
            TypeError: If it is no byte string.
        """
        if not isinstance(payload, (bytes, bytearray, memoryview)):
            raise TypeError('payload must be a byte string')
        await self._connection.send({'type': 'websocket.send', 'bytes': bytes(payload)})

    # -- in, for handlers that want the next frame themselves

    async def receive_text(self) -> str:
        """Receive the next frame, which must be text.

        Raises:
            OperationNotAllowed: Before the accept, or while the library reads for the next message.
            PayloadTypeError: If it is binary.
            WebSocketDisconnected: If the connection has ended.
        """
        text = (await self._receive_frame()).get('text')
        if text is None:
            raise PayloadTypeError('Missing TEXT (0x01) payload')
        return str(text)

    async def receive_data(self) -> bytes:
        """Receive the next frame, which must be binary. Raises like `receive_text`."""
        data = (await self._receive_frame()).get('bytes')
        if data is None:
            raise PayloadTypeError('Missing BINARY (0x02) payload')
        return bytes(data)

    async def receive_media(self) -> object:
        """Receive the next frame through the media handler for its kind.

        Raises:
            MalformedMessage: If it cannot be decoded.
            OperationNotAllowed: Before the accept, or while the library reads for the next message.
            WebSocketDisconnected: If the connection has ended.
        """
        event = await self._receive_frame()
        return self.codec.media.decode(raw_of(event))

    async def _receive_frame(self) -> Event:
        if self._connection.state is State.HANDSHAKE:
            raise OperationNotAllowed('nothing can be received before the handshake is accepted')
        if self.closed and self.inbox.is_empty:
            raise WebSocketDisconnected(self._connection.close_code)
        if not self.handling and self.inbox.in_hand is None:
            raise OperationNotAllowed(
                'between two messages the library reads: receive inside a handler, or declare '
                'an on_ws_<type>'
            )
        event = await self.inbox.receive()
        if event['type'] == 'websocket.disconnect':
            raise WebSocketDisconnected(self._connection.close_code)
        return event
