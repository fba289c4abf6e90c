"""What was lost between processes: counted, logged, and told to the app."""

from __future__ import annotations

import asyncio
from collections import deque
import logging

from falcon_ws_mw.listeners import Listeners
from falcon_ws_mw.logs import ClientFaults
from falcon_ws_mw.reports import Gap

logger = logging.getLogger('falcon_ws_mw')


class Gaps:
    """Tells of gaps, one after the other.

    Args:
        listeners: Who is told.
        faults: Where the log is told.
    """

    __slots__ = ('_faults', '_listeners', '_task', '_untold')

    def __init__(self, listeners: Listeners, faults: ClientFaults) -> None:
        self._listeners = listeners
        self._faults = faults
        self._untold: deque[Gap] = deque()
        self._task: asyncio.Task[None] | None = None

    def noticed(self, gap: Gap) -> None:
        """There is one more."""
        self._faults.warn(
            'gap',
            'messages to a %s were lost between processes: %s',
            gap.kind,
            'how many is not known' if gap.lost is None else gap.lost,
            channel_kind=gap.kind,
            lost=gap.lost,
        )
        if not self._listeners.are_there('gap'):
            return
        self._untold.append(gap)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._tell_all(), name='falcon_ws_mw gaps')

    async def _tell_all(self) -> None:
        while self._untold:
            await self._listeners.tell('gap', self._untold.popleft())

    async def end(self) -> None:
        """Tell nobody any more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
