"""An app for `test_reading_ahead`: it reads directly and ahead in turn, at random."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import falcon.asgi

from falcon_ws_mw import Limits, WebSocket, install, sweep

sweep.INTERVAL_SECONDS = 0.02  # type: ignore[misc]  # it is to be met often


class Switching:
    """Notes numbers, which have to come in order, one for each connection."""

    def __init__(self) -> None:
        self.chance = random.Random(0)  # noqa: S311  # it has to repeat itself
        self.numbers: list[int] = []
        self.switches = 0

    async def on_ws_number(self, ws: WebSocket, payload: dict[str, Any]) -> None:
        self.numbers.append(payload['number'])
        what = self.chance.random()
        if what < 0.2:
            self.switches += ws.inbox.reads_directly
            ws.inbox.read_ahead()
        elif what < 0.3 and payload['more']:
            self.switches += ws.inbox.reads_directly
            text = await ws.receive_text()
            self.numbers.append(json.loads(text)['payload']['number'])
        for _ in range(self.chance.randrange(4)):
            await asyncio.sleep(0)

    async def on_ws_be_busy(self, ws: WebSocket) -> None:
        """Take until the sweep has noticed."""
        self.switches += ws.inbox.reads_directly
        while ws.inbox.reads_directly:
            await asyncio.sleep(0)

    async def on_ws_report(self, ws: WebSocket) -> dict[str, Any]:
        numbers, self.numbers = self.numbers, []
        return {'numbers': numbers, 'switches': self.switches}


app = install(falcon.asgi.App(), limits=Limits(messages_per_second=None))
app.add_websocket_route('/ws', Switching)
