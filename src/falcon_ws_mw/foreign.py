"""Sockets that other loops converse on, made known to the manager by hand."""

from __future__ import annotations

from typing import Protocol

from falcon_ws_mw.asgi import Event, Send


class SendsFrames(Protocol):
    """What `add_connection` needs of a socket; `falcon.asgi.WebSocket` has it."""

    async def send_text(self, payload: str) -> None:
        """Send a text frame."""

    async def send_data(self, payload: bytes) -> None:
        """Send a binary frame."""

    async def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Close."""


def frame_sender(websocket: SendsFrames) -> Send:
    """An ASGI-like send that speaks through a socket's public methods."""

    async def send(event: Event) -> None:
        if event['type'] == 'websocket.close':
            await websocket.close(event['code'], event['reason'])
        elif 'text' in event:
            await websocket.send_text(event['text'])
        else:
            await websocket.send_data(event['bytes'])

    return send
