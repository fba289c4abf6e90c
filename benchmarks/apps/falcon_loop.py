"""Falcon alone, as its documentation writes a WebSocket loop: media, and the receive queue."""

from __future__ import annotations

import asyncio
from typing import Any

import falcon
import falcon.asgi

members: dict[falcon.asgi.WebSocket, None] = {}


class Echo:
    """Answers each message with itself."""

    async def on_websocket(self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
        """Talk."""
        try:
            await ws.accept()
            while True:
                message: Any = await ws.receive_media()
                if message['type'] == 'echo':
                    await ws.send_media({'type': 'echo', 'payload': message['payload']})
        except falcon.WebSocketDisconnected:
            return


class Room:
    """One room for all; a broadcast is a `gather` of what everybody is sent."""

    async def on_websocket(self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
        """Talk."""
        await ws.accept()
        members[ws] = None
        try:
            await ws.send_media({'type': 'joined'})
            while True:
                message: Any = await ws.receive_media()
                if message['type'] == 'say':
                    said = {'type': 'said', 'payload': message['payload']}
                    await asyncio.gather(*(member.send_media(said) for member in members))
        except falcon.WebSocketDisconnected:
            return
        finally:
            del members[ws]


app: falcon.asgi.App = falcon.asgi.App()  # type: ignore[type-arg]
app.add_route('/echo', Echo())
app.add_route('/room', Room())
