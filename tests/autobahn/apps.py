"""The two echoes under test, and a uvicorn for one of them on a socket that it is given.

    python tests/autobahn/apps.py plain|dispatched <uvicorn's --ws> <file descriptor>

Both send back each message as it came, text as text and binary as binary. One is Falcon alone; the
other gets its messages through the library.
"""

from __future__ import annotations

import dataclasses
import socket
import sys
from typing import Any

import falcon
import falcon.asgi
from falcon.media import BinaryBaseHandlerWS, TextBaseHandlerWS
import uvicorn

from falcon_ws_mw import Limits, UnhandledMessage, WebSocket, WebSocketLifespan, install

MAX_MESSAGE_BYTES = 64 * 1024 * 1024

# Not all of these are in every version of the library.
SWITCHED_OFF = {
    'max_inbox_messages',
    'max_inbox_bytes',
    'max_message_bytes',
    'max_outbox_messages',
    'max_outbox_bytes',
    'messages_per_second',
}


class TextAsItIs(TextBaseHandlerWS):
    def serialize(self, media: object) -> str:
        assert isinstance(media, str)
        return media

    def deserialize(self, payload: str) -> object:
        return payload


class BytesAsTheyAre(BinaryBaseHandlerWS):
    def serialize(self, media: object) -> bytes:
        assert isinstance(media, bytes)
        return media

    def deserialize(self, payload: bytes) -> object:
        return payload


class Loop:
    """The echo by Falcon's own means."""

    async def on_websocket(self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
        await ws.accept()
        while True:
            media = await ws.receive_media()
            is_text = isinstance(media, str)
            kind = falcon.WebSocketPayloadType.TEXT if is_text else None
            await ws.send_media(media, kind or falcon.WebSocketPayloadType.BINARY)


class Unhandled:
    """The echo by dispatch. No case sends a message of ours, so all arrive here."""

    ws_limits = Limits(
        **{
            knob.name: None
            for knob in dataclasses.fields(Limits)
            if knob.init and knob.name in SWITCHED_OFF
        }
    )

    async def on_ws_unhandled(
        self, ws: WebSocket, raw: str | bytes, error: UnhandledMessage
    ) -> None:
        if isinstance(raw, str):
            await ws.send_text(raw)
        else:
            await ws.send_data(raw)


def plain() -> falcon.asgi.App[Any, Any]:
    app = falcon.asgi.App()
    handlers = app.ws_options.media_handlers
    handlers[falcon.WebSocketPayloadType.TEXT] = TextAsItIs()
    handlers[falcon.WebSocketPayloadType.BINARY] = BytesAsTheyAre()
    app.add_route('/', Loop())
    return app


def dispatched() -> WebSocketLifespan:
    app = falcon.asgi.App()
    app.add_route('/', Unhandled())
    return install(app)


def main() -> None:
    which, ws, handle = sys.argv[1:]
    config = uvicorn.Config(
        {'plain': plain, 'dispatched': dispatched}[which],
        factory=True,
        ws=ws,
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        ws_ping_interval=None,  # a ping would be a frame that no case expects
        lifespan='on',
        log_level='warning',
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(handle))])


if __name__ == '__main__':
    main()
