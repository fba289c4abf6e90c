"""Where a channel is: by its numbers one sees what has not arrived.

Everything that is sent to a channel has a number, one more than the one before. Numbers belong to
an epoch, `<text>.<generation>`. Who begins to count anew, since what was counted is gone, makes up
another text. Who goes on with a count that may be behind, since the engine was restarted, adds one
to the generation, and says from which number on.
"""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """How far a channel had got, as its engine says.

    Attributes:
        epoch: The epoch.
        number: The number of the last message.
        base: The number with which the generation began.
    """

    epoch: str
    number: int
    base: int


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

    Args:
        missed: Whether something may have been missed already, since the process counts as a
            holder for longer than it has listened.

    Attributes:
        epoch: The epoch of the last message.
        number: Its number.
        is_sure: Whether the engine has said where the channel is since this process has begun to
            listen.
    """

    __slots__ = ('_before', '_missed', 'epoch', 'is_sure', 'number')

    def __init__(self, *, missed: bool = False) -> None:
        self.epoch: str | None = None
        self.number = 0
        self.is_sure = False
        self._missed = missed
        self._before: Place | None = None

    def interrupt(self) -> None:
        """Nothing arrives any more, until `place` says where the channel is."""
        self.is_sure = False

    def message(self, epoch: str, number: int) -> Loss | None:
        """A message has arrived.

        Returns:
            What was lost before it; `None` if nothing was, or it will be said by `place`.
        """
        former, last = self.epoch, self.number
        self.epoch, self.number = epoch, number
        if former is None:
            missed, self._missed = self._missed, False
            return Loss(None, epoch, None) if missed else None
        if epoch == former and number > last:
            return None if number == last + 1 else Loss(number - last - 1, former, last)
        if not self.is_sure and epoch != former and self._before is None:
            self._before = Place(former, last, number - 1)
            return None
        return Loss(None, former, last)

    def place(self, place: Place) -> Loss | None:
        """The engine says where the channel is; all that was sent before has arrived, or is lost.

        Returns:
            What was lost.
        """
        former, last, end = self.epoch, self.number, place.number
        if self._before is not None and place.epoch == self.epoch:
            # Messages of the new epoch were quicker: what is lost lies before the first of them.
            former, last, end = self._before
        else:
            self.epoch, self.number = place.epoch, place.number
        missed, self._missed, self._before, self.is_sure = self._missed, False, None, True
        if former is None:
            return Loss(None, place.epoch, None) if missed else None
        if place.epoch != former and not (_follows(place.epoch, former) and place.base >= last):
            return Loss(None, former, last)
        if end == last:
            return None
        return Loss(end - last if end > last else None, former, last)


def _follows(epoch: str, former: str) -> bool:
    """Whether an epoch is the next generation of another one."""
    text, _, generation = epoch.rpartition('.')
    former_text, _, former_generation = former.rpartition('.')
    if text != former_text or not (generation.isdecimal() and former_generation.isdecimal()):
        return False
    return int(generation) == int(former_generation) + 1
