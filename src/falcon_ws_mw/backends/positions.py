"""Where a channel is: by its numbers one sees what has not arrived.

Everything that is sent to a channel has a number, one more than the one before. Numbers belong to
an epoch. Whoever counts begins another one when it cannot be sure of its count any more: then
something may be lost, and nobody can say how much.
"""

from __future__ import annotations

from typing import NamedTuple


class Loss(NamedTuple):
    """What has not arrived.

    Attributes:
        lost: How many; `None` if that cannot be said.
        epoch: The epoch in which they were sent.
        after: The number of the last one before them, `None` if there was none.
    """

    lost: int | None
    epoch: str
    after: int | None


class Position:
    """How far a process has got with a channel.

    Attributes:
        epoch: The epoch of the last message, `None` before the first.
        number: Its number.
    """

    __slots__ = ('_is_in_doubt', 'epoch', 'number')

    def __init__(self) -> None:
        self.epoch: str | None = None
        self.number = 0
        self._is_in_doubt = False

    def doubt(self) -> None:
        """The process counts as a holder already, and may have missed what is sent before `place`.

        Of one that knows where the channel was, its number will say so.
        """
        self._is_in_doubt = self.epoch is None

    def message(self, epoch: str, number: int) -> Loss | None:
        """A message has arrived.

        Returns:
            What was lost before it, `None` if nothing was.
        """
        return self._reach(epoch, number, number - 1)

    def place(self, epoch: str, number: int) -> Loss | None:
        """Whoever counts says how far the channel is; all of it has arrived by now, or is lost.

        Returns:
            What was lost, `None` if nothing was.
        """
        return self._reach(epoch, number, number)

    def _reach(self, epoch: str, number: int, expected: int) -> Loss | None:
        """Be somewhere, having had to be at `expected` before."""
        former, last = self.epoch, self.number
        self.epoch, self.number = epoch, number
        if former is None:
            is_in_doubt, self._is_in_doubt = self._is_in_doubt, False
            return Loss(None, epoch, None) if is_in_doubt else None
        if epoch == former and expected == last:
            return None
        is_counted = epoch == former and expected > last
        return Loss(expected - last if is_counted else None, former, last)
