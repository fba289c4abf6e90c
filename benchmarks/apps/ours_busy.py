"""falcon_ws_mw with a handler that takes long, and one that waits for its peer to vanish."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import falcon.asgi

from benchmarks.apps.limits import without_rates
from falcon_ws_mw import install
from falcon_ws_mw.websocket import WebSocket


class Busy:
    """Works, takes notes, watches."""

    noticed_at: float | None = None

    async def on_ws_work(self, ws: WebSocket, payload: Any) -> None:
        """Be busy."""
        await asyncio.sleep(payload['seconds'])
        await ws.send_message('worked')

    async def on_ws_note(self, ws: WebSocket, payload: Any) -> None:
        """Say that a message was handled."""
        await ws.send_message('noted', payload)

    async def on_ws_watch(self, ws: WebSocket, payload: Any) -> None:
        """Be busy, and look whether the peer is still there."""
        end = time.monotonic() + payload['seconds']
        while time.monotonic() < end:
            if ws.closed:
                self.noticed_at = time.monotonic()
                return
            await asyncio.sleep(0.01)

    async def on_ws_noticed(self, ws: WebSocket) -> None:
        """Say when it was gone."""
        await ws.send_message('noticed', self.noticed_at)


inner: falcon.asgi.App = falcon.asgi.App()  # type: ignore[type-arg]
inner.add_route('/echo', Busy())
app = install(inner, limits=without_rates())
