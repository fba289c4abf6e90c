"""What is to happen at a time, by two clocks: whichever is there first.

A time in a token is a time of the calendar, and the computer's calendar can be set. Set back, it
would keep alive what ought to end, so the time that has passed counts too, by a clock that only
goes forward. That one may stand still while the computer sleeps, so both are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final, TypeAlias

_TIDY_ENTRIES: Final = 64
"""Fewer entries are not worth looking through for those that were cancelled."""


class Alarm:
    """Something that is to be done at a time, once.

    Args:
        ring: Does it.
        at: When, by `time.monotonic()`.
        at_time: When at the latest by `time.time()`; `None` where the calendar does not matter.
    """

    __slots__ = ('at', 'at_time', 'ring')

    def __init__(self, ring: Callable[[], None], at: float, at_time: float | None = None) -> None:
        self.ring: Callable[[], None] | None = ring
        self.at = at
        self.at_time = at_time

    def cancel(self) -> None:
        """It is not to be done any more. Nothing that belongs to it is held on to."""
        self.ring = None


_Heap: TypeAlias = list[tuple[float, int, Alarm]]


class Alarms:
    """The alarms of a process."""

    __slots__ = ('_by_time', '_by_time_passed', '_serial', '_tidy_at')

    def __init__(self) -> None:
        # The number keeps entries apart that are due at once: alarms have no order.
        self._by_time_passed: _Heap = []
        self._by_time: _Heap = []
        self._serial = count()
        self._tidy_at = _TIDY_ENTRIES

    def add(self, alarm: Alarm) -> None:
        """Have it rung when it is due."""
        if len(self) >= self._tidy_at:
            self._tidy()
        heappush(self._by_time_passed, (alarm.at, next(self._serial), alarm))
        if alarm.at_time is not None:
            heappush(self._by_time, (alarm.at_time, next(self._serial), alarm))

    def are_due(self, now: float, time: float) -> bool:
        """Whether one of them may be due."""
        return any(heap and heap[0][0] <= moment for heap, moment in self._at(now, time))

    def due(self, now: float, time: float) -> Iterator[Callable[[], None]]:
        """What is to be done now, each once. What is cancelled meanwhile is not among it.

        Args:
            now: The time by `time.monotonic()`.
            time: The time by `time.time()`.
        """
        for heap, moment in self._at(now, time):
            while heap and heap[0][0] <= moment:
                ring = (alarm := heappop(heap)[2]).ring
                if ring is not None:
                    alarm.cancel()
                    yield ring

    def _at(self, now: float, time: float) -> tuple[tuple[_Heap, float], tuple[_Heap, float]]:
        return (self._by_time_passed, now), (self._by_time, time)

    def __len__(self) -> int:
        """How many entries are kept, those included that were cancelled a while ago."""
        return len(self._by_time_passed) + len(self._by_time)

    def _tidy(self) -> None:
        """Throw out what was cancelled: who renews often would else be here many times."""
        for heap in (self._by_time_passed, self._by_time):
            heap[:] = [entry for entry in heap if entry[2].ring is not None]
            heapify(heap)
        self._tidy_at = max(_TIDY_ENTRIES, 2 * len(self))
