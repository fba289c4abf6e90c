"""Falcon alone with a message that takes long, and one that waits for the peer to vanish."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import falcon
import falcon.asgi


class Busy:
    """Works, takes notes, watches."""

    noticed_at: float | None = None

    async def on_websocket(self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
        """Talk."""
        try:
            await ws.accept()
            while True:
                message: Any = await ws.receive_media()
                await self.handle(ws, message['type'], message['payload'])
        except falcon.WebSocketDisconnected:
            return

    async def handle(self, ws: falcon.asgi.WebSocket, type: str, payload: Any) -> None:
        """Handle one message."""
        if type == 'work':
            await asyncio.sleep(payload['seconds'])
            await ws.send_media({'type': 'worked'})
        elif type == 'note':
            await ws.send_media({'type': 'noted', 'payload': payload})
        elif type == 'watch':
            await self.watch(ws, payload['seconds'])
        elif type == 'noticed':
            await ws.send_media({'type': 'noticed', 'payload': self.noticed_at})

    async def watch(self, ws: falcon.asgi.WebSocket, seconds: float) -> None:
        """Be busy, and look whether the peer is still there."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if ws.closed:
                self.noticed_at = time.monotonic()
                return
            await asyncio.sleep(0.01)


app: falcon.asgi.App = falcon.asgi.App()  # type: ignore[type-arg]
app.add_route('/echo', Busy())
