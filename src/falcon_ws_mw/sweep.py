"""A look at all connections a few times a second.

It finds peers that do not read, handlers that take long, and what is due. So neither a send nor a
message nor an identity needs a timer of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
import logging
import time
from typing import Final

from falcon_ws_mw.alarms import Alarm, Alarms
from falcon_ws_mw.asgi import Event
from falcon_ws_mw.sides import Keeper, Kept, Look, Reader

logger = logging.getLogger('falcon_ws_mw')

INTERVAL_SECONDS: Final = 0.2
"""The pause between two looks. A handler found at the same message twice is busy."""


class Sweep(Keeper):
    """Evicts peers that do not read, and has the connections of busy handlers read ahead.

    Args:
        connections: Those that are known.
        let_in: Has the user of one count as here, by its id.
        forget: Makes one unknown, by its id.
    """

    def __init__(
        self,
        connections: Mapping[str, Kept],
        let_in: Callable[[str], None],
        forget: Callable[[str], None],
    ) -> None:
        super().__init__()
        self._connections = connections
        self._let_in = let_in
        self._forget = forget
        self._blocked: set[Kept] = set()
        self._watches: list[Look] = []
        self._alarms = Alarms()
        self._looking: asyncio.Task[None] | None = None
        self._busy: dict[Reader, Event | None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Look from now on, as long as there is anything to look at."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # no event loop: nothing can block
        if self._timer is None or self._loop is not loop:
            self._loop = loop
            self._timer = loop.call_later(INTERVAL_SECONDS, self._look, loop)

    def let_in(self, connection_id: str) -> None:
        """It is accepted: its user counts as here."""
        if connection_id in self._connections:
            self._let_in(connection_id)

    def blocked(self, connection: Kept) -> None:
        """Its send has just blocked: see whether it ever ends."""
        self._blocked.add(connection)
        self.start()

    def closing(self, connection: Kept) -> None:
        """It has said close: see whether its peer ever answers."""
        self.blocked(connection)

    def watch(self, watch: Look) -> None:
        """Look at it from now on, until it says that there is nothing more to see."""
        self._watches.append(watch)
        self.start()

    def remind(self, alarm: Alarm) -> None:
        """Have something done at a time, or up to `INTERVAL_SECONDS` later."""
        self._alarms.add(alarm)
        self.start()

    def unblocked(self, connection: Kept) -> None:
        """Nobody waits for it any more."""
        self._blocked.discard(connection)

    def lost(self, connection: Kept) -> None:
        """Nothing more is to be delivered to it."""
        self._forget(connection.id)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for connection in [each for each in self._blocked if each.is_overdue(now)]:
            self._blocked.discard(connection)
            try:
                connection.evict()
            except Exception:  # one of them, say of another event loop, costs nobody else
                logger.exception('connection %s could not be evicted', connection.id)
        if self._watches or self._alarms.are_due(time.monotonic(), time.time()):
            self._looking = loop.create_task(self._act(now), name='falcon_ws_mw sweep')
        before = self._busy
        self._busy = {
            reader: reader.in_hand
            for connection in self._connections.values()
            if (reader := connection.reader) is not None and reader.in_hand is not None
        }
        for reader, event in self._busy.items():
            if before.get(reader) is event:
                reader.read_ahead()
        if self._connections or self._blocked or self._watches:
            self.start()

    async def _act(self, now: float) -> None:
        """In a task, since some servers' sends ask for the current one (`asyncio.timeout`)."""
        for ring in self._alarms.due(time.monotonic(), time.time()):
            try:
                ring()
            except Exception:  # it costs nobody else
                logger.exception('what was due for a connection failed')
        self._watches = [watch for watch in self._watches if self._is_to_stay(watch, now)]

    def _is_to_stay(self, watch: Look, now: float) -> bool:
        try:
            return watch.look(now)
        except Exception:  # an envelope of the app, say; it costs nobody else
            logger.exception('%r could not be looked at', watch)
            return False
