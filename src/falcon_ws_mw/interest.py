"""Has the backend hold what this process holds.

The truth is in the registry. Whatever changes there is brought to the backend soon after, as it is
by then: many changes at once, and what was undone meanwhile not at all. What it refuses is brought
again a moment later; nobody waits for that.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
import contextlib
import logging
from typing import Final, TypeVar

from falcon_ws_mw.backends import Backend
from falcon_ws_mw.channels import Channel, Holdings
from falcon_ws_mw.errors import BackendUnavailable
from falcon_ws_mw.logs import ClientFaults

logger = logging.getLogger('falcon_ws_mw')

PATIENCE_SECONDS: Final = 10.0
"""How long anybody waits for a backend to hold something. It is to return earlier by itself."""

RETRY_SECONDS: Final = 1.0
"""After what pause it is brought again what a backend has refused to hold, or failed at."""

T = TypeVar('T')


class Interest:
    """Brings a backend to hold the channels of a process.

    Args:
        backend: The backend.
        holdings: What the process holds.
        faults: Where the log is told of what the backend does not hold.
    """

    __slots__ = (
        '_backend',
        '_changed',
        '_current',
        '_failures',
        '_faults',
        '_holdings',
        '_in_hand',
        '_more',
        '_next',
        '_refused',
        '_task',
    )

    def __init__(self, backend: Backend, holdings: Holdings, faults: ClientFaults) -> None:
        self._backend = backend
        self._holdings = holdings
        self._faults = faults
        self._failures: Counter[str] = Counter()
        self._changed: dict[Channel, None] = {}
        self._refused: dict[Channel, None] = {}
        self._in_hand: dict[Channel, int] = {}
        self._next = asyncio.Event()
        self._current = asyncio.Event()
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def changed(self, channel: Channel) -> None:
        """What is held under a channel has changed."""
        self._changed[channel] = None
        self._more.set()
        if self._task is not None and self._task.done():
            self._start()

    def begin(self) -> None:
        """The backend has started: bring it what has gathered."""
        self._next, self._current, self._more = (asyncio.Event() for _ in range(3))
        self._start()

    def _start(self) -> None:
        self._task = asyncio.create_task(self._bring_all(), name='falcon_ws_mw interest')

    async def end(self) -> None:
        """Bring nothing any more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._refused.clear()  # whoever begins again says all anew
        self._next.set()
        self._current.set()

    async def settled(self, *channels: Channel) -> None:
        """Wait until the backend holds some channels, or all, as the process does.

        Not for longer than `PATIENCE_SECONDS`, and not at all while the backend is stopped, or for
        what it has refused.
        """
        if self._task is None:
            return
        waits = []
        for concerned, event in ((self._in_hand, self._current), (self._changed, self._next)):
            if any(channel in concerned for channel in channels or concerned):
                waits.append(event)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                for event in waits:
                    await event.wait()
        except TimeoutError:
            logger.error(  # noqa: TRY400  # the traceback would be of this wait
                'the backend %s has not answered for %g s: what is held is not sure',
                self._backend.url,
                PATIENCE_SECONDS,
            )

    async def look(self, looking: Callable[[], Awaitable[T]], *channels: Channel) -> T:
        """Look at some channels, or all, once the backend holds them as the process does.

        Not for longer than its `wait_seconds` if it says nothing: that time is for both.

        Raises:
            BackendUnavailable: If it does not say, in time.
        """
        seconds = self._backend.wait_seconds
        try:
            async with asyncio.timeout(seconds) as waiting:
                await self.settled(*channels)
                if self._backend.is_in_touch(channels):
                    waiting.reschedule(None)  # it sees to its own time; there may be much to see
                return await looking()
        except TimeoutError:
            raise BackendUnavailable(f'the backend has not answered within {seconds:g} s') from None

    async def _bring_all(self) -> None:
        clock, retry_at = asyncio.get_running_loop().time, 0.0
        while self._changed or self._refused:
            seconds = retry_at - clock()
            if self._refused and seconds <= 0:  # alone: what others say is not refused with it
                changed, self._refused = self._refused, {}
            elif self._changed:
                self._current, self._next = self._next, asyncio.Event()
                changed, self._changed = self._changed, {}
                self._more.clear()
            else:
                await self._pause(seconds)
                continue
            self._in_hand = {channel: self._holdings.count(channel) for channel in changed}
            try:
                await self._backend.hold(self._in_hand)
            except Exception as error:  # noqa: BLE001  # nobody loses his place by it
                self._refused |= changed
                retry_at = clock() + RETRY_SECONDS
                self._say(error)
            else:
                for channel in changed:
                    self._refused.pop(channel, None)
                if not self._refused:
                    self._failures.clear()
            finally:
                self._in_hand = {}
                self._current.set()

    def _say(self, error: Exception) -> None:
        url = self._backend.url
        if isinstance(error, BackendUnavailable):
            self._faults.warn(
                'hold_refused', 'the backend %s refuses to hold channels: %s', url, error.problem
            )
            return
        kind = type(error).__name__
        self._failures[kind] += 1
        times = self._failures[kind]
        if times & (times - 1) == 0:  # the first time, the second, the fourth: ever more rarely
            said = 'the backend %s failed to hold channels, by %s: %d times by now'
            self._faults.warn('hold_failed', said, url, kind, times, raised=True)

    async def _pause(self, seconds: float) -> None:
        """Wait so long, or until something else has changed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._more.wait()
