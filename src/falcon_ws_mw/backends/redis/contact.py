"""What the log says of being in touch with Redis: one line for all its parts.

The parts of a cluster are lost together, or those of one server, yet each notices by itself. So
with several parts it is waited for a second, and then said of how many.
"""

from __future__ import annotations

import asyncio

from falcon_ws_mw.logs import QUIET_SECONDS, ClientFaults


class Contact:
    """Knows which parts of a Redis are away, and says so.

    Args:
        shown: What the Redis is called in the log.
        parts: How many parts it has.
        faults: Where the log is told.
    """

    def __init__(self, shown: str, parts: int, faults: ClientFaults) -> None:
        self._shown = shown
        self._parts = parts
        self._faults = faults
        self._away: set[str] = set()
        self._concerned: set[str] = set()  # those too that are back, while others are away
        self._said = 0
        self._why: str | None = None
        self._timer: asyncio.TimerHandle | None = None

    def lost(self, part: str, why: str | None) -> None:
        """A part cannot be reached."""
        self._away.add(part)
        self._concerned.add(part)
        self._why = why
        self._say_soon()

    def back(self, part: str) -> None:
        """A part is reached again."""
        self._away.discard(part)
        self._say_soon()

    def end(self) -> None:
        """Say what is to be said, and begin anew."""
        if self._timer is not None:
            self._timer.cancel()
            self._say()
        self._away.clear()
        self._concerned.clear()
        self._said = 0

    def _say_soon(self) -> None:
        if self._parts == 1:
            self._say()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(QUIET_SECONDS, self._say)

    def _say(self) -> None:
        self._timer = None
        if len(self._concerned) > self._said:
            self._said = len(self._concerned)
            of_parts = f' ({self._said} of its {self._parts} parts)' if self._parts > 1 else ''
            what = f'{self._shown}{of_parts}'
            self._faults.warn('backend_lost', 'Redis at %s cannot be reached: %s', what, self._why)
        if self._said and not self._away:
            self._faults.warn('backend_back', 'Redis at %s is reached again', self._shown)
            self._concerned.clear()
            self._said = 0
