"""By which channels something travels between processes.

A room has a channel, and a user. Topics travel by what they begin with: a filter's channel is named
by its levels in front of the first wildcard, and what is published goes to the channel of each
beginning of its topic. So a process listens for nothing that could not match a filter it holds, and
whoever publishes knows the channels without knowing the filters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Literal, NamedTuple

Kind = Literal['all', 'room', 'user', 'topic', 'node', 'connection']
"""What a channel is for: everybody, a room, a user, topics that begin alike, a process itself, or a
connection whose id does not say where it is."""

COUNTED_KINDS: Final = frozenset({'all', 'room', 'user', 'topic'})
"""The kinds of channel that have one order, and whose losses are reported. What goes to a process
or a connection is answered, so nobody has to count it."""


class Channel(NamedTuple):
    """Where something is sent to.

    Attributes:
        kind: What it is for.
        name: Which of its kind: any text of up to 64 KiB, so escape it.
    """

    kind: Kind
    name: str


MAX_LEVELS: Final = 8
"""How many levels of a topic its channels tell apart."""

EVERYBODY: Final = Channel('all', '')


def channels_of(kind: Kind, names: Iterable[str]) -> list[Channel]:
    """Where something is sent to.

    Args:
        kind: To whom: `'all'`, `'room'`, `'user'` or `'topic'`.
        names: Which rooms or users; the one topic.
    """
    if kind == 'all':
        return [EVERYBODY]
    if kind != 'topic':
        return [Channel(kind, name) for name in dict.fromkeys(names)]
    (topic,) = names
    levels = topic.split('/')[:MAX_LEVELS]
    beginnings = ['', *(_beginning(levels[:count]) for count in range(1, len(levels) + 1))]
    if topic.startswith('$'):  # no filter that begins with a wildcard matches it
        del beginnings[0]
    return [Channel('topic', beginning) for beginning in beginnings]


def channel_of_filter(topic_filter: str) -> Channel:
    """Where a topic filter is listened for."""
    levels = topic_filter.split('/')
    plain = next((i for i, level in enumerate(levels) if level in {'+', '#'}), len(levels))
    return Channel('topic', _beginning(levels[: min(plain, MAX_LEVELS)]))


def _beginning(levels: list[str]) -> str:
    return ''.join(f'{level}/' for level in levels)


class Holdings:
    """Which channels a process holds, and for how many connections, by what it is told.

    PERF: the counts of a topic channel are added up as they change. A client may have as many
    filters that begin alike as it likes, and each message by their channel asks for the sum.

    Args:
        count: Says how many connections there are under a kind and a name; of topics, a filter.
    """

    __slots__ = ('_count', '_counts', '_sums')

    def __init__(self, count: Callable[[Kind, str], int]) -> None:
        self._count = count
        self._counts: dict[str, int] = {}
        self._sums: dict[Channel, int] = {}

    def changed(self, kind: Kind, name: str) -> Channel:
        """The channel that a change concerns."""
        if kind != 'topic':
            return Channel(kind, name)
        channel = channel_of_filter(name)
        before, count = self._counts.pop(name, 0), self._count(kind, name)
        if count:
            self._counts[name] = count
        held = self._sums.pop(channel, 0) - before + count
        if held:
            self._sums[channel] = held
        return channel

    def count(self, channel: Channel) -> int:
        """For how many connections a channel is held, now."""
        if channel.kind == 'node':
            return 1
        if channel.kind != 'topic':
            return self._count(channel.kind, channel.name)
        return self._sums.get(channel, 0)
