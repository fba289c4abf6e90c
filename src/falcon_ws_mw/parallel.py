"""Handlers of one connection that run beside each other, as many as may."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from falcon_ws_mw.asgi import Event
    from falcon_ws_mw.envelope import Incoming
    from falcon_ws_mw.reports import Counters
    from falcon_ws_mw.signatures import Responder

Handle = Callable[['Responder', 'Incoming', 'Event'], Coroutine[Any, Any, None]]


class Parallel:
    """The running handlers of one connection.

    Args:
        counters: Where it is counted if the connection ends before a message has its turn.
    """

    __slots__ = ('_counters', '_pools')

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._pools: dict[str, set[asyncio.Task[None]]] = {}

    @property
    def is_busy(self) -> bool:
        """Whether a handler runs."""
        return any(self._pools.values())

    async def room(self, responder: Responder) -> bool:
        """Wait until there is room for one more.

        Args:
            responder: Says how many there may be, and which share that.

        Returns:
            Whether that took any time.
        """
        running = self._pools.setdefault(responder.pool, set())
        if len(running) < responder.parallel:
            return False
        try:
            while len(running) >= responder.parallel:
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._counters.abandoned += 1
            raise
        return True

    async def start(
        self, responder: Responder, handle: Handle, incoming: Incoming, event: Event
    ) -> None:
        """Start a handler, for which there is room: it has begun when this returns.

        Args:
            responder: Which handler.
            handle: Handles, and takes care of what is raised.
            incoming: The message.
            event: The ASGI event that it came in.
        """
        running = self._pools[responder.pool]
        task = asyncio.create_task(handle(responder, incoming, event), name=responder.name)
        running.add(task)
        task.add_done_callback(running.discard)
        await asyncio.sleep(0)  # else what arrives behind it could begin before it

    async def end(self, *, cancel: bool) -> None:
        """Wait until all have ended.

        Args:
            cancel: Whether they are cancelled; so they are when the waiting is.
        """
        tasks = [task for running in self._pools.values() for task in running]
        if not tasks:
            return
        try:
            if not cancel:
                await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
