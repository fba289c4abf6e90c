"""What has come already, so that nobody gets twice what comes twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Generic, Protocol, TypeVar

from falcon_ws_mw.channels import Channel
from falcon_ws_mw.packets import Packet

MAX_REMEMBERED: Final = 500_000
"""How many deliveries are remembered, of messages whose other copies are still to come: they occupy
some 50 MiB."""

MESSAGE_WEIGHT: Final = 8
"""As how many deliveries a message counts itself: so much longer is what is remembered of it."""


class Identified(Protocol):
    """Whatever has an id."""

    @property
    def id(self) -> str:
        """Its id."""


Member = TypeVar('Member', bound=Identified)


class Seen:
    """Which packets have come by which channels.

    By one channel the packets of one process come in order, so a number that is no higher than the
    last one has been sent again: its sender could not know that it had arrived.
    """

    __slots__ = ('_highest',)

    def __init__(self) -> None:
        self._highest: Lately[tuple[Channel, str], int] = Lately(65_536)

    def is_new(self, channel: Channel, packet: Packet) -> bool:
        """Whether a packet has not come by a channel before. From now on it has."""
        way = (channel, packet.origin)
        highest = self._highest.get(way)
        if highest is not None and packet.number <= highest:
            return False
        self._highest.put(way, packet.number)
        return True


class Copies:
    """Who has had a message that comes by several channels.

    Each copy is for those under its own channel, at its own place in the order of that; whoever is
    under several gets the first one. A message is remembered until all its copies have come that
    this process listened for when the first one did, or until there are too many. Whoever joins
    later need not have it.
    """

    __slots__ = ('_done', '_expected', '_remembered')

    def __init__(self) -> None:
        self._expected: dict[tuple[str, int], _Expected] = {}
        self._done: Lately[tuple[str, int], bool] = Lately(4_096)
        self._remembered = 0

    def is_over(self, packet: Packet) -> bool:
        """Whether a message has been forgotten before all its copies had come."""
        return self._done.get((packet.origin, packet.number)) is False

    def those_without(
        self,
        packet: Packet,
        channel: Channel,
        others: Callable[[], Iterable[Channel] | None],
        members: list[Member],
    ) -> list[Member]:
        """Who has not had a message by another of its channels. From now on they have.

        Args:
            packet: The message.
            channel: By which channel it has come.
            others: Says by which others it may come to this process; `None` if that is not known.
            members: Who is under the channel.
        """
        one = (packet.origin, packet.number)
        if self._done.get(one) is not None:
            return []
        expected = self._expected.get(one)
        if expected is None:
            expected = self._expected[one] = _Expected(others())
            self._remembered += MESSAGE_WEIGHT
        rest = [member for member in members if member.id not in expected.had]
        if expected.channels is not None:
            expected.channels.discard(channel)
        if expected.channels is None or expected.channels:
            expected.had.update(member.id for member in rest)
            self._remembered += len(rest)
            while self._remembered > MAX_REMEMBERED and len(self._expected) > 1:
                self._end(next(iter(self._expected)), is_complete=False)
        else:
            self._end(one, is_complete=True)
        return rest

    def _end(self, one: tuple[str, int], *, is_complete: bool) -> None:
        self._remembered -= MESSAGE_WEIGHT + len(self._expected.pop(one).had)
        self._done.put(one, is_complete)


class _Expected:
    """A message of which there is more to come.

    Attributes:
        channels: By which channels; `None` if that is not known.
        had: Which connections have had it.
    """

    __slots__ = ('channels', 'had')

    def __init__(self, channels: Iterable[Channel] | None) -> None:
        self.channels = None if channels is None else set(channels)
        self.had: set[str] = set()


Key = TypeVar('Key')
Value = TypeVar('Value')


class Lately(Generic[Key, Value]):
    """A mapping that remembers so many entries at least, and forgets the oldest."""

    __slots__ = ('_former', '_least', '_now')

    def __init__(self, least: int) -> None:
        self._least = least
        self._now: dict[Key, Value] = {}
        self._former: dict[Key, Value] = {}

    def get(self, key: Key) -> Value | None:
        """What there is under a key, if that is remembered."""
        found = self._now.get(key)
        return self._former.get(key) if found is None else found

    def put(self, key: Key, value: Value) -> None:
        """Put something under a key."""
        if len(self._now) >= self._least:
            self._former, self._now = self._now, {}
        self._now[key] = value
