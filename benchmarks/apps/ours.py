"""falcon_ws_mw: plain resources, as the README writes them."""

from __future__ import annotations

from typing import Any

import falcon
import falcon.asgi

from benchmarks.apps.limits import with_rates, without_rates
from falcon_ws_mw import Limits, WebSocketLifespan, install
from falcon_ws_mw.websocket import WebSocket


class Echo:
    """Answers each message with itself."""

    async def on_ws_echo(self, ws: WebSocket, payload: Any) -> None:
        """Answer."""
        await ws.send_message('echo', payload)


class Room:
    """One room for all."""

    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        """Join."""
        await ws.join_room('all')
        await ws.send_message('joined')

    async def on_ws_say(self, ws: WebSocket, payload: Any) -> None:
        """Send to all."""
        await ws.broadcast_to_room('all', {'type': 'said', 'payload': payload})


def app_with(limits: Limits, backend: str = 'memory://') -> WebSocketLifespan:
    """An app with both routes."""
    inner: falcon.asgi.App = falcon.asgi.App()  # type: ignore[type-arg]
    inner.add_route('/echo', Echo())
    inner.add_route('/room', Room())
    return install(inner, backend=backend, limits=limits)


app = app_with(without_rates())
limited = app_with(with_rates())
