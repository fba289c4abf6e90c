"""Managers that are linked by a backend, in this event loop, and members that write down all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
import contextlib
import json
from typing import Any

from falcon_ws_mw import Gap, WebSocketConnectionManager
from falcon_ws_mw.asgi import Event
from falcon_ws_mw.backends import Backend
from falcon_ws_mw.connection import Connection
from falcon_ws_mw.frames import raw_of

from .servers import PATIENCE_SECONDS


async def until(is_so: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for something that nobody tells of."""
    async with asyncio.timeout(seconds):
        while not is_so():
            await asyncio.sleep(0.005)


class Member:
    """A connection whose peer takes whatever it is sent, at once.

    Attributes:
        texts: What it was sent.
        close_code: By which code it was closed.
        in_hand: What it is busy with, where it is also who reads: nothing.
    """

    in_hand = None

    def __init__(self, manager: WebSocketConnectionManager) -> None:
        self.manager = manager
        self.id = manager.new_id()
        self.texts: list[str] = []
        self.close_code: int | None = None
        self.connection = Connection(self.id, self._send, websocket=self)
        self.connection.codec = manager.codecs.default
        manager.add_connection(self.id, self.connection)
        self.connection.opened()

    async def _send(self, event: Event) -> None:
        if event['type'] == 'websocket.close':
            self.close_code = event['code']
        else:
            raw = raw_of(event)
            self.texts.append(raw if isinstance(raw, str) else raw.decode())

    @property
    def numbers(self) -> list[Any]:
        return [json.loads(text) for text in self.texts]

    async def gets(self, count: int, seconds: float = PATIENCE_SECONDS) -> None:
        await until(lambda: len(self.texts) >= count, seconds)


class Node:
    """One manager as it would run in a process of its own.

    Attributes:
        gaps: What it was told of.
    """

    def __init__(self, backend: str | Backend, **options: Any) -> None:
        self.manager = WebSocketConnectionManager(backend, **options)
        self.gaps: list[Gap] = []
        self.manager.on_gap(self.gaps.append)

    @property
    def health(self) -> Any:
        return self.manager.stats().backend

    async def member(self, *rooms: str) -> Member:
        member = Member(self.manager)
        for room in rooms:
            await self.manager.join_room(member.id, room)
        return member

    def lost(self, room: str) -> int | None:
        """How many messages to a room it knows to have missed; `None` if it cannot say."""
        numbers = [gap.lost for gap in self.gaps if (gap.kind, gap.name) == ('room', room)]
        return None if None in numbers else sum(number or 0 for number in numbers)

    async def connected(self, seconds: float = PATIENCE_SECONDS) -> None:
        await until(lambda: self.health.state == 'connected', seconds)


@contextlib.asynccontextmanager
async def nodes(*backends: str | Backend, **options: Any) -> AsyncIterator[list[Node]]:
    """A node for each URL, started, and stopped at the end."""
    made = [Node(backend, **options) for backend in backends]
    try:
        for node in made:
            await node.manager.start()
        yield made
    finally:
        for node in made:
            node.manager.forget_all()
            await node.manager.stop()
