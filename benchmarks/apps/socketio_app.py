"""python-socketio: its own protocol, events and rooms."""

from __future__ import annotations

from typing import Any

import socketio


def app_with(manager: socketio.AsyncManager | None = None) -> socketio.ASGIApp:
    """An app; the manager is what knows the rooms."""
    sio = socketio.AsyncServer(async_mode='asgi', client_manager=manager)

    async def connect(sid: str, _environ: dict[str, Any]) -> None:
        """Put everybody into the room; who does not speak in it does not notice."""
        await sio.enter_room(sid, 'all')

    async def echo(sid: str, payload: Any) -> None:
        """Answer each message with itself."""
        await sio.emit('echo', payload, to=sid)

    async def say(_sid: str, payload: Any) -> None:
        """Send what a member says to all."""
        await sio.emit('said', payload, room='all')

    for handler in (connect, echo, say):
        sio.on(handler.__name__, handler)
    return socketio.ASGIApp(sio)


app = app_with()
