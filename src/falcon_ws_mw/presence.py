"""Users that come and go, whatever number of devices they have.

A user is in a room from his first connection there to his last, and online likewise. A page that is
reloaded leaves and comes back within moments, so whoever leaves is told of after a while only, and
not at all if he is back by then.

Nobody counts anything until somebody wants to be told.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterable
import logging
from time import monotonic
from typing import Final, NamedTuple, TypeAlias

from falcon_ws_mw.connection import Connection
from falcon_ws_mw.listeners import Listeners, Occasion
from falcon_ws_mw.sides import Keeper

logger = logging.getLogger('falcon_ws_mw')

LISTENER_SECONDS: Final = 30.0
"""How long the listeners of one event may take together: all later events wait for them."""

STOP_SECONDS: Final = 5.0
"""How long listeners may take when the app stops."""

_Place: TypeAlias = tuple[str, str | None]
"""A user and a room; `None` for the app as a whole."""


class _Event(NamedTuple):
    occasion: Occasion
    told: tuple[str, ...]


def _came(place: _Place) -> _Event:
    user_id, room = place
    if room is None:
        return _Event('user_online', (user_id,))
    return _Event('user_joined', (room, user_id))


def _left(place: _Place) -> _Event:
    user_id, room = place
    if room is None:
        return _Event('user_offline', (user_id,))
    return _Event('user_left', (room, user_id))


class Presence:
    """Tells who comes first and who leaves last.

    Args:
        listeners: Who is told.
        debounce_seconds: How long after a user's last connection he has left.

    Attributes:
        keeper: Looks here from time to time.
    """

    __slots__ = (
        '_debounce_seconds',
        '_devices',
        '_events',
        '_is_watched',
        '_leaving',
        '_listeners',
        '_telling',
        'keeper',
    )

    def __init__(self, listeners: Listeners, debounce_seconds: float) -> None:
        self.keeper = Keeper()
        self._listeners = listeners
        self._debounce_seconds = debounce_seconds
        self._is_watched = False
        self._devices: Counter[_Place] = Counter()
        self._leaving: dict[_Place, float] = {}  # in the order in which they are due
        self._events: deque[_Event] = deque()
        self._telling: asyncio.Task[None] | None = None

    def begin(self, connections: Iterable[Connection]) -> None:
        """Somebody wants to be told from now on. Of those who are here already nothing is told."""
        if self._is_watched:
            return
        self._is_watched = True
        for connection in connections:
            if connection.user_id is not None:
                self._devices.update((connection.user_id, room) for room in connection.rooms)
                self._devices[connection.user_id, None] += 1

    # -- what happens to connections

    def came_online(self, user_id: str) -> None:
        """One more connection is a user's."""
        if self._is_watched:
            self._enter((user_id, None))

    def went_offline(self, user_id: str) -> None:
        """One less is."""
        if self._is_watched:
            self._leave((user_id, None))

    def joined(self, user_id: str, rooms: Iterable[str]) -> None:
        """One more connection of a user is in some rooms."""
        if self._is_watched:
            for room in rooms:
                self._enter((user_id, room))

    def left(self, user_id: str, rooms: Iterable[str]) -> None:
        """One less is."""
        if self._is_watched:
            for room in rooms:
                self._leave((user_id, room))

    def _enter(self, place: _Place) -> None:
        self._devices[place] += 1
        if self._devices[place] == 1 and self._leaving.pop(place, None) is None:
            self._tell(_came(place))

    def _leave(self, place: _Place) -> None:
        self._devices[place] -= 1
        if self._devices[place]:
            return
        del self._devices[place]
        if not self._leaving:
            self.keeper.watch(self)
        self._leaving[place] = monotonic() + self._debounce_seconds

    def look(self, now: float) -> bool:
        """See who has left. Called by the sweep.

        Returns:
            Whether to look again.
        """
        moment = monotonic()  # `now` is the event loop's
        for place in [place for place, due in self._leaving.items() if due <= moment]:
            del self._leaving[place]
            self._tell(_left(place))
        return bool(self._leaving)

    # -- telling

    def _tell(self, event: _Event) -> None:
        self._events.append(event)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # no event loop: it waits for the next event that has one
        telling = self._telling
        if telling is None or telling.done() or telling.get_loop() is not loop:
            self._telling = loop.create_task(self._tell_all(), name='falcon_ws_mw presence')

    async def _tell_all(self) -> None:
        while self._events:
            event = self._events.popleft()
            try:
                async with asyncio.timeout(LISTENER_SECONDS):
                    await self._listeners.tell(event.occasion, *event.told)
            except TimeoutError:
                logger.exception(
                    'the listeners of on_%s took over %g s: they were cancelled',
                    event.occasion,
                    LISTENER_SECONDS,
                )

    async def settle(self) -> None:
        """Tell of all who are leaving, since nobody can come back any more."""
        for place in list(self._leaving):
            del self._leaving[place]
            self._tell(_left(place))
        telling, self._telling = self._telling, None
        if telling is not None:
            await asyncio.wait([telling], timeout=STOP_SECONDS)
            telling.cancel()
            await asyncio.wait([telling])
