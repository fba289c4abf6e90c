"""Which topic filters match a topic, and who holds them (MQTT 3.1.1 §4.7).

A topic is text, cut into levels by '/'. In a filter '+' stands for any one level, and '#' at the
end for any number of them, none included. Neither stands for a first level that begins with '$'.

Filters are kept as a tree in which levels without a fork are one node: a topic visits only nodes
that fit it, and a filter's memory is in proportion to its length. Nothing here recurses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise, takewhile
from typing import Generic, TypeVar

from falcon_ws_mw.errors import InvalidTopic
from falcon_ws_mw.rooms import Membership

MAX_TOPIC_BYTES = 65_535
"""The longest topic or topic filter, in bytes of UTF-8 (MQTT 3.1.1 §4.7.3)."""

Member = TypeVar('Member')


def check_topic(topic: object) -> str:
    """Return `topic` if it is one, else raise `InvalidTopic`: no wildcard may be in it."""
    text = _check_text('topic', topic)
    if '+' in text or '#' in text:
        raise InvalidTopic('topic', topic, "'+' and '#' are for topic filters; leave them out")
    return text


def check_topic_filter(topic_filter: object) -> str:
    """Return `topic_filter` if it is one, else raise `InvalidTopic`: wildcards are whole levels."""
    text = _check_text('topic filter', topic_filter)
    levels = text.split('/')
    for number, level in enumerate(levels, 1):
        problem = None
        if level == '#' and number < len(levels):
            problem = f"'#' is level {number} of {len(levels)}; it can only be the last one"
        elif level not in ('+', '#') and ('+' in level or '#' in level):
            problem = f"'+' and '#' have to be whole levels; level {number} has more in it"
        if problem is not None:
            raise InvalidTopic('topic filter', topic_filter, problem)
    return text


def topic_matches(topic_filter: str, topic: str) -> bool:
    """Tell whether a topic filter matches a topic, by the rules of MQTT 3.1.1 §4.7.

    Args:
        topic_filter: Levels between '/', of which each may be '+' and the last one '#'.
        topic: Levels between '/', none of them a wildcard.

    Raises:
        InvalidTopic: If they are not, or one is empty, has U+0000 or is longer than 65,535 bytes.
    """
    own, open_ended = _levels_of(check_topic_filter(topic_filter))
    levels = check_topic(topic).split('/')
    if topic.startswith('$') and topic_filter.startswith(('+', '#')):  # [MQTT-4.7.2-1]
        return False
    return _fits(own, levels[: len(own)] if open_ended else levels)


class TopicIndex(Generic[Member]):
    """An index from a topic to those who hold a filter that matches it.

    Topics and filters are taken to be checked already, by the functions above.
    """

    __slots__ = ('_holders', '_reserved', '_root')

    def __init__(self) -> None:
        self._holders: Membership[Member] = Membership()
        self._root = _Node(())
        self._reserved = _Node(())  # for filters that begin with '$': here no wildcard comes first

    def add(self, topic_filter: str, member: Member) -> None:
        """Let a member hold a filter. Doing it twice changes nothing."""
        if not self._holders.count(topic_filter):
            _insert(self._root_of(topic_filter), topic_filter)
        self._holders.add(topic_filter, member)

    def discard(self, topic_filter: str, member: Member) -> None:
        """Take a filter from a member, and out of the tree with its last member."""
        held = self._holders.count(topic_filter)
        self._holders.discard(topic_filter, member)
        if held and not self._holders.count(topic_filter):
            _remove(self._root_of(topic_filter), topic_filter)

    def members(self, topic: str, concerns: Callable[[str], bool] | None = None) -> list[Member]:
        """Those who hold a filter that matches, each once, as a copy.

        First come 'a/#', 'a' and what is below it, then '+'; for one filter who came first.

        Args:
            topic: The topic.
            concerns: Which filters count (default: all).
        """
        return self._holders.union(filter(concerns, _matching(self._root_of(topic), topic)))

    def count(self, topic_filter: str) -> int:
        """How many hold a filter."""
        return self._holders.count(topic_filter)

    def filters(self) -> list[str]:
        """The filters that somebody holds."""
        return self._holders.names()

    def __len__(self) -> int:
        return len(self._holders)

    def _root_of(self, text: str) -> _Node:
        return self._reserved if text.startswith('$') else self._root


class _Node:
    """Where a filter ends or several fork; what lies between is part of the way to a node.

    Attributes:
        levels: The way here from the node above; only a root has none.
        children: The nodes right below, by the first of their levels.
        ends: The filter that ends here, and the one that goes on with '#'.
    """

    __slots__ = ('children', 'ends', 'levels')

    def __init__(self, levels: tuple[str, ...]) -> None:
        self.levels = levels
        self.children: dict[str, _Node] = {}
        self.ends: list[str | None] = [None, None]


def _insert(root: _Node, topic_filter: str) -> None:
    levels, open_ended = _levels_of(topic_filter)
    node, depth = root, 0
    while depth < len(levels):
        child = node.children.get(levels[depth])
        if child is None:
            child = node.children[levels[depth]] = _Node(levels[depth:])
        both = zip(child.levels, levels[depth : depth + len(child.levels)], strict=False)
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], both))
        if shared < len(child.levels):
            fork = node.children[levels[depth]] = _Node(child.levels[:shared])
            child.levels = child.levels[shared:]
            fork.children[child.levels[0]] = child
            child = fork
        node, depth = child, depth + shared
    node.ends[open_ended] = topic_filter


def _remove(root: _Node, topic_filter: str) -> None:
    levels, open_ended = _levels_of(topic_filter)
    way, depth = [root], 0
    while depth < len(levels):
        way.append(way[-1].children[levels[depth]])
        depth += len(way[-1].levels)
    way[-1].ends[open_ended] = None
    for above, node in reversed([*pairwise(way)][-2:]):  # the last one, and a fork right above it
        if not any(node.ends) and len(node.children) < 2:
            del above.children[node.levels[0]]
            for child in node.children.values():
                child.levels = node.levels + child.levels
                above.children[child.levels[0]] = child


def _matching(root: _Node, topic: str) -> list[str]:
    levels = topic.split('/')
    found: list[str | None] = []
    ahead = [(root, 0)]
    while ahead:  # a node has one way to it, so none is visited twice
        node, depth = ahead.pop()
        exact, open_ended = node.ends
        found.append(open_ended)
        if depth == len(levels):
            found.append(exact)
            continue
        for key in ('+', levels[depth]):  # the name comes last here, to be visited first
            child = node.children.get(key)
            if child is not None:
                end = depth + len(child.levels)
                if end == depth + 1 or _fits(child.levels, levels[depth:end]):
                    ahead.append((child, end))
    return [topic_filter for topic_filter in found if topic_filter is not None]


def _levels_of(topic_filter: str) -> tuple[tuple[str, ...], bool]:
    """The levels of a filter up to its '#', and whether it has one."""
    levels = tuple(topic_filter.split('/'))
    return (levels[:-1], True) if levels[-1] == '#' else (levels, False)


def _fits(own: Sequence[str], levels: Sequence[str]) -> bool:
    """Whether a topic's levels are as a filter's own, which may be '+'."""
    return len(own) == len(levels) and all(
        mine in (level, '+') for mine, level in zip(own, levels, strict=True)
    )


def _check_text(kind: str, text: object) -> str:
    if isinstance(text, str) and text and '\0' not in text:
        try:
            if len(text) <= MAX_TOPIC_BYTES and len(text.encode()) <= MAX_TOPIC_BYTES:
                return text
        except UnicodeEncodeError:  # a lone surrogate has no UTF-8 form
            pass
    problem = f'expected 1 to {MAX_TOPIC_BYTES} bytes of text in UTF-8, without U+0000'
    raise InvalidTopic(kind, text, problem)
