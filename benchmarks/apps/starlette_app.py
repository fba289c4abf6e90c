"""Starlette: a `WebSocketRoute`, JSON by its own methods."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect


async def echo(websocket: WebSocket) -> None:
    """Answer each message with itself."""
    await websocket.accept()
    try:
        while True:
            message = await websocket.receive_json()
            if message['type'] == 'echo':
                await websocket.send_json({'type': 'echo', 'payload': message['payload']})
    except WebSocketDisconnect:
        return


app = Starlette(routes=[WebSocketRoute('/echo', echo)])
