"""Users that come and go, whatever number of devices they have.

A user is in a room from his first connection there to his last, and online likewise. A page that is
reloaded leaves and comes back within moments, so whoever leaves is told of after a while only, and
not at all if he is back by then.

Nobody counts anything until somebody wants to be told.
"""

from __future__ import annotations

import asyncio
from collections import Counter
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


def _event(place: _Place, *, came: bool) -> _Event:
    user_id, room = place
    if room is None:
        return _Event('user_online' if came else 'user_offline', (user_id,))
    return _Event('user_joined' if came else 'user_left', (room, user_id))


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
        '_is_looked_at',
        '_is_watched',
        '_leaving',
        '_listeners',
        '_telling',
        '_untold',
        'keeper',
    )

    def __init__(self, listeners: Listeners, debounce_seconds: float) -> None:
        self.keeper = Keeper()
        self._listeners = listeners
        self._debounce_seconds = debounce_seconds
        self._is_watched = False
        self._is_looked_at = False
        self._devices: Counter[_Place] = Counter()
        self._leaving: dict[_Place, float] = {}  # in the order in which they are due
        self._untold: dict[str, dict[_Place, _Event]] = {}  # by user; of a place one at most
        self._telling: asyncio.Task[None] | None = None

    def begin(self, connections: Iterable[Connection]) -> None:
        """Somebody wants to be told from now on. Of those who are here already nothing is told."""
        if self._is_watched:
            return
        self._is_watched = True
        for connection in connections:
            if connection.is_here and connection.user_id is not None:
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
            self._tell(place, came=True)

    def _leave(self, place: _Place) -> None:
        self._devices[place] -= 1
        if self._devices[place]:
            return
        del self._devices[place]
        self._leaving[place] = monotonic() + self._debounce_seconds
        if not self._is_looked_at:
            self._is_looked_at = True
            self.keeper.watch(self)

    def look(self, now: float) -> bool:
        """See who has left. Called by the sweep.

        Returns:
            Whether to look again.
        """
        moment = monotonic()  # `now` is the event loop's
        for place, due in list(self._leaving.items()):
            if due > moment:
                break
            del self._leaving[place]
            self._tell(place, came=False)
        self._is_looked_at = bool(self._leaving)
        return self._is_looked_at

    # -- telling

    def _tell(self, place: _Place, *, came: bool) -> None:
        """Have it told, behind what is still to be told of the same user.

        If the opposite is among that, neither is: nobody has noticed. So there is no more to tell
        than there are places, however long listeners take.
        """
        user_id, event = place[0], _event(place, came=came)
        untold = self._untold.get(user_id, {})
        if untold.pop(place, None) is None and self._listeners.are_there(event.occasion):
            untold[place] = event
        if not untold:
            self._untold.pop(user_id, None)
            return
        self._untold[user_id] = untold
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # no event loop: it waits for the next event that has one
        telling = self._telling
        if telling is None or telling.done() or telling.get_loop() is not loop:
            self._telling = loop.create_task(self._tell_all(), name='falcon_ws_mw presence')

    async def _tell_all(self) -> None:
        """One event of each user in turn: who comes and goes often holds up nobody else."""
        while self._untold:
            user_id = next(iter(self._untold))
            untold = self._untold.pop(user_id)
            event = untold.pop(next(iter(untold)))
            if untold:
                self._untold[user_id] = untold
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
        """Tell of all who are leaving, since nobody can come back any more.

        What listeners have not heard within `STOP_SECONDS` they never hear; the log says so.
        """
        for place in list(self._leaving):
            del self._leaving[place]
            self._tell(place, came=False)
        telling, self._telling = self._telling, None
        if telling is None or telling.get_loop() is not asyncio.get_running_loop():
            return
        await asyncio.wait([telling], timeout=STOP_SECONDS)
        if not telling.done():
            telling.cancel()
            logger.error(
                'the app stops, and a listener of users takes over %g s: it is cancelled, and of '
                '%d events nobody is told',
                STOP_SECONDS,
                sum(map(len, self._untold.values())),
            )
            self._untold.clear()
            await asyncio.wait([telling], timeout=STOP_SECONDS / 10)
