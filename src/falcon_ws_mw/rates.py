"""How fast is too fast: rates of messages and of handshakes.

Both by the generic cell rate algorithm (ITU-T I.371), a leaky bucket whose whole state is one time:
when the next message would be due if they came evenly. What comes earlier than the burst allows has
to wait for its turn.
"""

from __future__ import annotations

from typing import Final

FLOOD_SECONDS: Final = 10.0
"""How long a client may be held back before it counts as a flooder."""

PAUSE_SECONDS: Final = 1.0
"""A pause of so long in being held back, and the client starts anew."""


class MessageRate:
    """The messages of one connection.

    Args:
        per_second: How many there may be.
        burst: How many may come at once (`None`: as many as in a second, at least one).
    """

    __slots__ = ('_due', '_held_since', '_held_until', '_interval', '_tolerance')

    def __init__(self, per_second: float, burst: int | None) -> None:
        self._interval, self._tolerance = _spacing(per_second, burst)
        self._due = 0.0
        self._held_since = self._held_until = -PAUSE_SECONDS

    def delay(self, now: float) -> float:
        """Count a message, and say how long it has to wait; not above 0 if not at all.

        Args:
            now: A monotonic time in seconds.
        """
        due = self._due
        self._due = due = (due if due > now else now) + self._interval
        return due - now - self._tolerance

    def hold(self, seconds: float, now: float) -> tuple[float, bool]:
        """A message is held back.

        Args:
            seconds: How long it has to wait for its turn.
            now: A monotonic time in seconds.

        Returns:
            How long it is held back, and whether its client is a flooder then.
        """
        if now - self._held_until >= PAUSE_SECONDS:
            self._held_since = now
        # At a rate of less than one in five seconds, one early message is no flood.
        patience = max(FLOOD_SECONDS, 2 * self._interval)
        left = max(self._held_since + patience - now, 0.0)
        wait = min(seconds, left)
        self._held_until = now + wait
        return wait, seconds >= left

    def held_for(self, now: float) -> float:
        """For how many seconds its messages have been held back, without a pause until now."""
        return now - self._held_since if now - self._held_until < PAUSE_SECONDS else 0.0


class AddressRates:
    """The handshakes of each client address.

    Args:
        per_second: How many there may be of one.
        burst: How many may come at once (`None`: as many as in a second, at least one).
    """

    def __init__(self, per_second: float, burst: int | None) -> None:
        self._interval, self._tolerance = _spacing(per_second, burst)
        self._due: dict[str, float] = {}
        self._tidy_at = _LEAST_ADDRESSES

    def delay(self, address: str, now: float) -> float:
        """Count a handshake, unless it comes too early.

        Args:
            address: Where it comes from.
            now: A monotonic time in seconds.

        Returns:
            How many seconds too early it comes: above 0, it is to be refused.
        """
        due = max(self._due.get(address, now), now) + self._interval
        early = due - now - self._tolerance
        if early <= 0:
            if len(self._due) >= self._tidy_at:
                self._tidy(now)
            self._due[address] = due
        return early

    def __len__(self) -> int:
        return len(self._due)

    def _tidy(self, now: float) -> None:
        """Forget those who are back at the start. It is done seldom enough to cost nothing."""
        self._due = {address: due for address, due in self._due.items() if due > now}
        self._tidy_at = max(_LEAST_ADDRESSES, 2 * len(self._due))


_LEAST_ADDRESSES: Final = 1024

_ROUNDING_SECONDS: Final = 1e-6
"""What adding to a large time and taking it away again may be wrong by."""


def _spacing(per_second: float, burst: int | None) -> tuple[float, float]:
    """The time between two, and how far they may run ahead of it."""
    interval = 1 / per_second
    at_once = max(per_second, 1) if burst is None else burst
    return interval, interval * at_once + _ROUNDING_SECONDS
