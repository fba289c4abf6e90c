"""An app for `test_processes`: one of several processes behind one Redis (`LINKED_APP_BACKEND`)."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
import os
import resource
from typing import Any

import falcon.asgi

from falcon_ws_mw import BackendUnavailable, Gap, Limits, WebSocket, install


class Room:
    def __init__(self) -> None:
        self.gaps: list[Gap] = []
        self.refused = 0

    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket, room: str) -> None:
        await ws.identify(req.get_header('X-User', default='somebody'))
        await ws.join_room(room)

    async def on_ws_echo(self, ws: WebSocket, payload: Any) -> Any:
        return payload

    async def on_ws_say(self, ws: WebSocket, payload: dict[str, Any], room: str) -> None:
        """Broadcast numbers: `first`, `step`, `count`, so many of them at once."""
        numbers = range(
            payload['first'], payload['first'] + payload['step'] * payload['count'], payload['step']
        )
        at_once = payload.get('at_once', 1)
        for start in range(0, len(numbers), at_once):
            part = numbers[start : start + at_once]
            await asyncio.gather(*(self._say(ws, room, number) for number in part))

    async def _say(self, ws: WebSocket, room: str, number: int) -> None:
        try:
            await ws.broadcast_to_room(room, str(number))
        except BackendUnavailable:
            self.refused += 1

    async def on_ws_count(self, ws: WebSocket, payload: str) -> int:
        return await ws.manager.count_connections_in_room(payload)

    async def on_ws_look(self, ws: WebSocket, payload: str) -> dict[str, Any]:
        manager = ws.manager
        health = manager.stats().backend
        assert health is not None
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            'count': await manager.count_connections_in_room(payload),
            'users': await manager.get_users_in_room(payload),
            'gaps': [asdict(gap) for gap in self.gaps],
            'refused': self.refused,
            'cpu_seconds': used.ru_utime + used.ru_stime,
            'health': asdict(health),
        }


room = Room()
app = install(
    falcon.asgi.App(),
    backend=os.environ['LINKED_APP_BACKEND'],
    limits=Limits(messages_per_second=None, max_outbox_messages=None, max_outbox_bytes=None),
)
app.add_route('/rooms/{room}', room)
app.ws_connection_manager.on_gap(room.gaps.append)
