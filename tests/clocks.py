"""Clocks that only tests move: what is measured by them stands still while servers run."""

from __future__ import annotations

import asyncio

import pytest

from falcon_ws_mw import deadlines
from falcon_ws_mw.sweep import Sweep

from .servers import PATIENCE_SECONDS

NOON = 1_800_000_000.0
"""A time of the calendar, in seconds since 1970."""


def calendar_time() -> float:
    """What `time.time()` says to the library: in a test with `clocks`, what these say."""
    return float(vars(deadlines)['time'].time())


class Looks:
    """Waits for the sweep to look at everything once more, from its beginning."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []
        self._sweeps: set[Sweep] = set()

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have sweeps look a hundred times a second, and hear of each look."""
        look = Sweep._look

        def look_and_tell(sweep: Sweep, loop: asyncio.AbstractEventLoop) -> None:
            waiting, self._waiting = self._waiting, []  # who comes later waits for the next look
            self._sweeps.add(sweep)
            look(sweep, loop)
            loop.call_soon(_tell, waiting)  # behind the task that the sweep may have started

        monkeypatch.setattr('falcon_ws_mw.sweep.INTERVAL_SECONDS', 0.01)
        monkeypatch.setattr(Sweep, '_look', look_and_tell)

    async def one(self) -> None:
        looked = asyncio.get_running_loop().create_future()
        self._waiting.append(looked)
        for sweep in self._sweeps:  # it ends with the last connection
            sweep.start()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await looked


def _tell(waiting: list[asyncio.Future[None]]) -> None:
    for each in waiting:
        if not each.done():
            each.set_result(None)


class Clocks:
    """The two clocks that deadlines and presence go by, and the sweep that looks at them.

    Attributes:
        passed: What `time.monotonic()` says.
        calendar: What `time.time()` says.
    """

    def __init__(self) -> None:
        self.passed = 1_000.0
        self.calendar = NOON
        self.looks = Looks()

    def monotonic(self) -> float:
        return self.passed

    def time(self) -> float:
        return self.calendar

    async def are_seen(self) -> None:
        """Wait until the sweep has looked at them, and done what was due."""
        await self.looks.one()

    async def pass_by(self, seconds: float) -> None:
        """So much time goes by, on both."""
        self.passed += seconds
        self.calendar += seconds
        await self.are_seen()

    async def jump(self, seconds: float) -> None:
        """Somebody sets the calendar."""
        self.calendar += seconds
        await self.are_seen()


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    clocks = Clocks()
    clocks.looks.watch(monkeypatch)
    for module in ('sweep', 'deadlines'):
        monkeypatch.setattr(f'falcon_ws_mw.{module}.time', clocks)
    monkeypatch.setattr('falcon_ws_mw.presence.monotonic', clocks.monotonic)
    return clocks
