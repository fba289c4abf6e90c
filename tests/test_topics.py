"""Topics and their filters: the examples of MQTT 3.1.1 §4.7, and an index that agrees with them."""

from __future__ import annotations

from collections import Counter
import gc
import re
import tracemalloc
from typing import SupportsIndex

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

import falcon_ws_mw
from falcon_ws_mw import topics
from falcon_ws_mw.channels import Holdings, channel_of_filter
from falcon_ws_mw.errors import FalconWebSocketError, InvalidTopic
from falcon_ws_mw.topics import TopicIndex, check_topic, check_topic_filter, topic_matches

from .examples_made import some

MAX_BYTES = 65_535

anything = settings(deadline=None, database=None)

# -- the specification's own examples


@pytest.mark.parametrize(
    ('topic_filter', 'topic'),
    [
        # §4.7.1.2: any number of levels, the parent included
        ('sport/tennis/player1/#', 'sport/tennis/player1'),
        ('sport/tennis/player1/#', 'sport/tennis/player1/ranking'),
        ('sport/tennis/player1/#', 'sport/tennis/player1/score/wimbledon'),
        ('sport/#', 'sport'),
        ('sport/#', 'sport/'),
        ('#', 'sport/tennis/player1'),
        ('#', 'sport'),
        ('#', '/'),
        ('sport/tennis/#', 'sport/tennis/player1'),
        # §4.7.1.3: one level, an empty one included
        ('sport/tennis/+', 'sport/tennis/player1'),
        ('sport/tennis/+', 'sport/tennis/player2'),
        ('sport/+', 'sport/'),
        ('+', 'sport'),
        ('+/tennis/#', 'sport/tennis'),
        ('+/tennis/#', '/tennis/player1'),
        ('sport/+/player1', 'sport/tennis/player1'),
        ('sport/+/player1', 'sport//player1'),
        ('+/+', '/finance'),
        ('/+', '/finance'),
        ('+/+/+', '//'),
        ('+/#', 'sport'),
        # §4.7.2: '$' where the filter says so, or not in front
        ('$SYS/#', '$SYS'),
        ('$SYS/#', '$SYS/monitor/Clients'),
        ('$SYS/monitor/+', '$SYS/monitor/Clients'),
        ('+/$SYS', 'a/$SYS'),
        ('#', 'a/$SYS'),
        ('/#', '/$SYS'),
        # §4.7.3: nothing is folded, trimmed or normalised
        ('Accounts payable', 'Accounts payable'),
        ('/', '/'),
        ('/finance', '/finance'),
    ],
)
def test_a_filter_matches(topic_filter: str, topic: str) -> None:
    assert topic_matches(topic_filter, topic)


@pytest.mark.parametrize(
    ('topic_filter', 'topic'),
    [
        ('sport/tennis/player1/#', 'sport/tennis'),
        ('sport/tennis/player1/#', 'sport/tennis/player10'),
        ('sport/#', 'sports'),
        ('sport/tennis/+', 'sport/tennis/player1/ranking'),
        ('sport/tennis/+', 'sport/tennis'),
        ('sport/+', 'sport'),
        ('+', '/finance'),
        ('+', 'sport/'),
        ('/+', '/finance/'),
        ('+/+/#', 'sport'),
        ('#', '$SYS'),
        ('#', '$SYS/monitor/Clients'),
        ('+', '$SYS'),
        ('+/#', '$SYS/monitor/Clients'),
        ('+/monitor/Clients', '$SYS/monitor/Clients'),
        ('$SYS/+', '$SYS/monitor/Clients'),
        ('$SYS/#', 'SYS/monitor'),
        ('$SYS/#', '$SYSTEM/monitor'),
        ('ACCOUNTS', 'Accounts'),
        ('finance', '/finance'),
        ('/finance', 'finance'),
        ('finance', 'finance/'),
        ('finance ', 'finance'),
        ('é', 'e\u0301'),
        ('\ufeffa', 'a'),  # [MQTT-1.5.3-3]: U+FEFF is a character like any other
        ('sp.rt', 'sport'),
    ],
)
def test_a_filter_does_not_match(topic_filter: str, topic: str) -> None:
    assert not topic_matches(topic_filter, topic)


# -- what is a topic, and what is a filter

WILDCARDS = "'+' and '#' are for topic filters; leave them out"
TEXT = 'expected 1 to 65535 bytes of text in UTF-8, without U+0000'

no_text = pytest.mark.parametrize(
    'value',
    [
        '',
        '\0',
        'sport/\0/tennis',
        '\ud800',
        'sport/\udfff',
        'a' * (MAX_BYTES + 1),
        'é' * (MAX_BYTES // 2 + 1),
        '/' * (MAX_BYTES + 1),
        None,
        7,
        b'sport',
        ['sport'],
    ],
    ids=lambda value: ascii(value)[:20],
)


@pytest.mark.parametrize(
    'topic',
    [
        'a',
        ' ',
        '/',
        '//',
        '$',
        '$SYS/monitor',
        'Accounts payable',
        'a\n\x01\ufeff',
        '😀/ü',
        'a' * MAX_BYTES,
        '/' * MAX_BYTES,
        'é' * (MAX_BYTES // 2) + 'a',
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_a_topic_is_text_of_1_to_65535_bytes_and_a_filter_too(topic: str) -> None:
    assert (check_topic(topic), check_topic_filter(topic)) == (topic, topic)


@pytest.mark.parametrize(
    'topic_filter',
    ['#', '+', '+/+', '/+', '+/', '/#', '+/#', '+/tennis/#', 'sport/+/player1', '$SYS/#', '$/+'],
)
def test_wildcards_are_whole_levels_of_a_filter(topic_filter: str) -> None:
    assert check_topic_filter(topic_filter) == topic_filter


@no_text
def test_anything_else_is_no_topic(value: object) -> None:
    with pytest.raises(InvalidTopic) as caught:
        check_topic(value)

    error = caught.value
    assert (error.kind, error.value, error.problem) == ('topic', value, TEXT)


@no_text
def test_anything_else_is_no_filter(value: object) -> None:
    with pytest.raises(InvalidTopic) as caught:
        check_topic_filter(value)

    error = caught.value
    assert (error.kind, error.value, error.problem) == ('topic filter', value, TEXT)


@pytest.mark.parametrize('topic', ['+', '#', 'sport/+', 'sport/#', 'c#', 'a+b', '$SYS/#'])
def test_a_topic_has_no_wildcard(topic: str) -> None:
    with pytest.raises(InvalidTopic) as caught:
        check_topic(topic)

    error = caught.value
    assert (error.kind, error.value, error.problem) == ('topic', topic, WILDCARDS)


@pytest.mark.parametrize(
    ('topic_filter', 'problem'),
    [
        ('sport/tennis#', "'+' and '#' have to be whole levels; level 2 has more in it"),
        ('sport+', "'+' and '#' have to be whole levels; level 1 has more in it"),
        ('++', "'+' and '#' have to be whole levels; level 1 has more in it"),
        ('+#', "'+' and '#' have to be whole levels; level 1 has more in it"),
        ('##', "'+' and '#' have to be whole levels; level 1 has more in it"),
        ('a/+/ +/b', "'+' and '#' have to be whole levels; level 3 has more in it"),
        ('$+/a', "'+' and '#' have to be whole levels; level 1 has more in it"),
        ('sport/tennis/#/ranking', "'#' is level 3 of 4; it can only be the last one"),
        ('#/', "'#' is level 1 of 2; it can only be the last one"),
        ('#/#', "'#' is level 1 of 2; it can only be the last one"),
        ('+/#/+', "'#' is level 2 of 3; it can only be the last one"),
    ],
)
def test_a_filter_has_wildcards_only_where_they_are_levels(topic_filter: str, problem: str) -> None:
    with pytest.raises(InvalidTopic) as caught:
        check_topic_filter(topic_filter)

    error = caught.value
    assert (error.kind, error.value, error.problem) == ('topic filter', topic_filter, problem)


@pytest.mark.parametrize(
    ('topic_filter', 'topic'), [('a#', 'a'), ('a', 'a/#'), ('', 'a'), ('a', '')]
)
def test_only_topics_are_matched_and_only_by_filters(topic_filter: str, topic: str) -> None:
    with pytest.raises(InvalidTopic):
        topic_matches(topic_filter, topic)


# -- the error


def test_an_invalid_topic_is_an_error_of_ours_and_a_value_error() -> None:
    assert issubclass(InvalidTopic, FalconWebSocketError)
    assert issubclass(InvalidTopic, ValueError)


def test_its_text_says_what_was_found_and_what_to_write() -> None:
    error = InvalidTopic('topic filter', 'sport#', "write 'sport/#'")

    assert str(error) == "'sport#' is not a topic filter: write 'sport/#'"


def test_its_text_stays_short_and_clean_whatever_was_given() -> None:
    with pytest.raises(InvalidTopic) as caught:
        check_topic_filter('\n/' * 10_000 + '#/#')

    text = str(caught.value)
    assert len(text) < 200
    assert '\n' not in text


def test_users_match_and_catch_by_the_packages_names() -> None:
    assert falcon_ws_mw.topic_matches is topic_matches
    assert falcon_ws_mw.InvalidTopic is InvalidTopic


# -- matching, against a regular expression


def as_pattern(topic_filter: str) -> str:
    """The filter as a regular expression, which knows nothing of levels."""
    hidden = '(?![$])' if topic_filter[0] in '+#' else ''
    pattern = re.escape(topic_filter).replace(r'\+', '[^/]*')
    pattern = re.sub(r'(^|/)\\#$', lambda at: '(?:/.*)?' if at[1] else '.*', pattern)
    return f'(?s:{hidden}{pattern})'


few = st.sampled_from(['', 'a', 'b', '$', '$a'])
"""Few levels, so that topics and filters meet."""

any_level = st.text(
    st.characters(exclude_categories=['Cs'], exclude_characters='/+#\0'), max_size=3
)


def paths(levels: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(levels, min_size=1, max_size=5).map('/'.join).filter(bool)


def filters(levels: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    head = st.lists(levels | st.just('+'), max_size=5)
    tail = st.sampled_from([[], ['#']])
    return st.builds(lambda a, b: '/'.join(a + b), head, tail).filter(bool)


@settings(anything, max_examples=some(1_000))
@given(filters(few), paths(few))
def test_a_filter_matches_what_its_regular_expression_does(topic_filter: str, topic: str) -> None:
    expected = re.fullmatch(as_pattern(topic_filter), topic) is not None

    assert topic_matches(topic_filter, topic) == expected


@anything
@given(paths(any_level), st.data())
def test_a_topic_is_matched_by_itself_with_any_levels_left_open(
    topic: str, data: st.DataObject
) -> None:
    levels = topic.split('/')
    opened = ['+' if data.draw(st.booleans()) else level for level in levels]
    cut = data.draw(st.integers(min_value=0, max_value=len(levels)))
    reserved = topic.startswith('$')

    assert topic_matches('/'.join(opened), topic) == (not reserved or opened[0] != '+')
    assert topic_matches('/'.join([*levels[:cut], '#']), topic) == (not reserved or cut > 0)


# -- the index, against matching one by one

Steps = list[tuple[bool, str, int]]
Model = dict[str, list[int]]

steps = st.lists(
    st.tuples(st.booleans(), filters(few), st.integers(min_value=0, max_value=3)), max_size=40
)
"""Any interleaving: whether to add or to discard, the filter, the member."""

again = st.integers(min_value=0, max_value=2**40)


@st.composite
def interleavings(draw: st.DrawFn) -> Steps:
    """Steps of which many come back to an earlier one's filter, to discard or to add to it."""
    drawn = draw(steps)
    for adds, _, member in draw(steps):
        if drawn:
            drawn.append((adds, drawn[draw(again) % len(drawn)][1], member))
    return drawn


def played(interleaving: Steps) -> tuple[TopicIndex[int], Model]:
    """The index, and the simplest thing that should be equal to it."""
    index: TopicIndex[int] = TopicIndex()
    model: Model = {}
    for adds, topic_filter, member in interleaving:
        holders = model.setdefault(topic_filter, [])
        if adds:
            index.add(topic_filter, member)
            holders += [] if member in holders else [member]
        else:
            index.discard(topic_filter, member)
            holders[:] = [other for other in holders if other != member]
        if not holders:
            del model[topic_filter]
    return index, model


def place(topic_filter: str) -> list[int]:
    """Where a filter comes among those that match the same topic."""
    rank = {'#': 0, '+': 3}
    own = [rank.get(level, 2) for level in topic_filter.split('/')]
    return own if own[-1] == 0 else [*own, 1]


@settings(anything, max_examples=some(500))
@given(interleavings(), st.lists(paths(few), min_size=1, max_size=5))
def test_the_members_of_a_topic_are_those_of_all_its_filters_each_once_in_their_order(
    interleaving: Steps, asked: list[str]
) -> None:
    index, model = played(interleaving)

    for topic in asked:
        matching = sorted((own for own in model if topic_matches(own, topic)), key=place)
        assert index.members(topic) == list(
            dict.fromkeys(member for own in matching for member in model[own])
        )


@anything
@given(interleavings())
def test_a_filter_is_there_as_long_as_somebody_holds_it(interleaving: Steps) -> None:
    index, model = played(interleaving)

    assert (index.filters(), len(index)) == (list(model), len(model))


@settings(anything, max_examples=some(300))
@given(interleavings())
def test_there_are_never_more_than_two_nodes_to_a_filter(interleaving: Steps) -> None:
    index, model = played(interleaving)

    assert count_nodes(index) <= 2 * len(model)


@anything
@given(interleavings())
def test_nothing_is_left_when_the_last_filter_has_gone(interleaving: Steps) -> None:
    index, model = played(interleaving)

    for topic_filter, members in model.items():
        for member in members:
            index.discard(topic_filter, member)

    assert (len(index), index.filters(), count_nodes(index)) == (0, [], 0)


def objects_of(index: TopicIndex[int]) -> list[object]:
    """The index, and every object of its module's types that it keeps alive."""
    seen: dict[int, object] = {id(index): index}
    ahead: list[object] = [index]
    while ahead:
        for found in gc.get_referents(ahead.pop()):
            if not isinstance(found, type) and id(found) not in seen:
                seen[id(found)] = found
                ahead.append(found)
    return [found for found in seen.values() if type(found).__module__ == topics.__name__]


def count_nodes(index: TopicIndex[int]) -> int:
    """How many more objects an index is made of than an empty one."""
    return len(objects_of(index)) - len(objects_of(TopicIndex()))


def test_nodes_can_be_counted() -> None:
    """So the two tests above can see them."""
    index: TopicIndex[int] = TopicIndex()
    for topic_filter in ('a/b/c', 'a/b/d', '$a/+', '#'):
        index.add(topic_filter, 1)

    assert count_nodes(index) == len(['a/b', 'c', 'd', '$a/+'])


def test_adding_twice_changes_nothing() -> None:
    index: TopicIndex[int] = TopicIndex()
    index.add('a', 1)
    index.add('a', 1)

    index.discard('a', 1)

    assert (index.members('a'), len(index)) == ([], 0)


@pytest.mark.parametrize('topic_filter', ['a', 'a/b', 'a/b/c/d', 'a/+', '+', '#', 'a/b/#', '$'])
def test_discarding_what_nobody_holds_changes_nothing(topic_filter: str) -> None:
    index: TopicIndex[int] = TopicIndex()
    index.add('a/b/c', 1)

    index.discard(topic_filter, 1)
    index.discard('a/b/c', 2)

    assert (index.filters(), index.members('a/b/c')) == (['a/b/c'], [1])


def test_a_list_of_members_is_a_copy() -> None:
    index: TopicIndex[int] = TopicIndex()
    index.add('a', 1)
    members = index.members('a')

    index.add('a', 2)

    assert members == [1]


# -- what it costs


class Level(str):
    """A level that counts how often it is looked up or compared."""

    looks = 0

    def __hash__(self) -> int:
        Level.looks += 1
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        Level.looks += 1
        return super().__eq__(other)


class Topic(str):
    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return [Level(level) for level in super().split(sep, maxsplit)]


def looks(index: TopicIndex[int], topic: str) -> int:
    """How often a search looks at a level of the topic."""
    before = Level.looks
    index.members(Topic(topic))
    return Level.looks - before


TOPIC = 'site/b7/room3/temp'

MATCHING = (
    '#',
    'site/#',
    'site/b7/#',
    'site/b7/room3/#',
    'site/b7/room3/temp',
    'site/b7/room3/+',
    'site/b7/+/temp',
    'site/+/room3/temp',
    'site/+/+/temp',
    '+/b7/room3/temp',
)

NOT_MATCHING = (
    'site{}/#',
    'site/b{}/+/temp',
    'site/b7/room{}/temp',
    'site/b7/+/temp{}',
    'site/b7/room3/temp/{}/#',
    'site/+/{}/temp',
    '+/b{}/#',
    '+/+/+/temp{}',
    '$site/b7/room3/temp{}',
    '+/b7/room3/{}',
)
"""Filters that leave the topic at each of its levels, after a name and after a '+'."""


def crowded(others: int) -> TopicIndex[int]:
    index: TopicIndex[int] = TopicIndex()
    for number, topic_filter in enumerate(MATCHING):
        index.add(topic_filter, number)
    for number in range(100, 100 + others // len(NOT_MATCHING)):
        for form in NOT_MATCHING:
            index.add(form.format(number), -1)
    return index


def test_a_search_costs_the_same_however_many_filters_do_not_match() -> None:
    index, larger = crowded(100), crowded(10_000)

    assert (len(index), len(larger)) == (110, 10_010)
    assert looks(index, TOPIC) == looks(larger, TOPIC)
    assert sorted(larger.members(TOPIC)) == list(range(10))


def test_a_search_costs_more_when_more_filters_match() -> None:
    """So the test above can see a cost."""
    index = crowded(100)
    before = looks(index, TOPIC)

    index.add('+/+/room3/+', 1)

    assert looks(index, TOPIC) > before > 0


def test_a_search_looks_at_no_filter_twice_however_many_ways_its_wildcards_leave() -> None:
    index: TopicIndex[int] = TopicIndex()
    levels = 60
    for at in range(levels):
        named = ['+'] * levels
        named[at] = 'a'
        index.add('/'.join(named), at)

    topic = '/'.join(['a'] * levels)

    assert len(index.members(topic)) == levels
    assert looks(index, topic) <= levels * levels


LONG = {
    'empty levels': '/' * 8_000,
    'wildcards': '+/' * 4_000,
    'open-ended': '+/' * 3_999 + '#',
    'short levels': 'ab/' * 2_666 + 'ab',
    'the most levels': '/' * MAX_BYTES,
    'the most wildcards': '+/' * (MAX_BYTES // 2) + '+',
    'the most names': 'ā/' * (MAX_BYTES // 3),
}

each_long_filter = pytest.mark.parametrize('topic_filter', LONG.values(), ids=LONG)


def topic_for(topic_filter: str) -> str:
    return check_topic(topic_filter.replace('+', 'x').replace('#', 'x'))


@each_long_filter
def test_a_long_filter_is_matched(topic_filter: str) -> None:
    topic = topic_for(topic_filter)

    assert topic_matches(topic_filter, topic)
    assert not topic_matches(topic_filter, topic[: len(topic) // 2])


@each_long_filter
def test_a_long_filter_is_found_also_beside_its_like_and_goes_without_a_trace(
    topic_filter: str,
) -> None:
    index: TopicIndex[int] = TopicIndex()
    topic = topic_for(topic_filter)
    others = [topic[: len(topic) // 2] + 'y', topic[: len(topic) // 3] + 'y/#', 'y']

    index.add(topic_filter, 1)
    for other in others:
        index.add(other, 2)
    assert index.members(topic) == [1]

    for other in others:
        index.discard(other, 2)
    assert (index.members(topic), count_nodes(index)) == ([1], 1)

    index.discard(topic_filter, 1)
    assert (index.members(topic), count_nodes(index)) == ([], 0)


@each_long_filter
def test_a_filter_keeps_memory_by_its_length_whatever_its_levels(topic_filter: str) -> None:
    index: TopicIndex[int] = TopicIndex()
    index.add('x', 1)
    tracemalloc.start()
    try:
        index.add(topic_filter, 1)
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert kept <= 32 * len(topic_filter.encode()) + 1_000


def nested(count: int) -> list[str]:
    """Filters of which each is the beginning of the next, the longest one first."""
    return ['/'.join(['a'] * length) for length in range(count, 0, -1)]


def test_a_deep_tree_is_searched_pruned_and_dropped_without_recursion() -> None:
    """Deeper than Python lets calls nest."""
    index: TopicIndex[int] = TopicIndex()
    dropped: TopicIndex[int] = TopicIndex()
    chain = nested(2_000)
    for number, topic_filter in enumerate(chain):
        index.add(topic_filter, number)
        dropped.add(topic_filter + '/#', number)

    assert count_nodes(index) == count_nodes(dropped) == len(chain)
    assert dropped.members(chain[0]) == list(reversed(range(len(chain))))
    del dropped

    for number, topic_filter in enumerate(chain):
        assert index.members(topic_filter) == [number]
        index.discard(topic_filter, number)
    assert count_nodes(index) == 0


def test_a_chain_of_nodes_of_any_length_can_be_freed() -> None:
    """CPython frees what an object holds in a nested call, but for types with a trashcan."""
    top = node = topics._Node(())
    for _ in range(100_000):
        node.children['a'] = node = topics._Node(('a',))

    del top, node


# -- how many hold what begins alike


@anything
@given(st.lists(st.tuples(st.sampled_from(['#', '+/a', 'a', 'a/#', 'a/+/b']), st.integers(0, 3))))
def test_a_channel_is_held_by_those_of_all_its_filters(changes: list[tuple[str, int]]) -> None:
    counts: Counter[str] = Counter()
    holdings = Holdings(lambda _, topic_filter: counts[topic_filter])
    for topic_filter, count in changes:
        counts[topic_filter] = count
        assert holdings.changed('topic', topic_filter) == channel_of_filter(topic_filter)
        for channel in map(channel_of_filter, counts):
            those = (counts[each] for each in counts if channel_of_filter(each) == channel)
            assert holdings.count(channel) == sum(those)


def test_how_many_filters_begin_alike_is_not_counted_anew_for_each_message() -> None:
    asked: list[str] = []

    def count(kind: str, topic_filter: str) -> int:
        asked.append(topic_filter)
        return 1

    holdings = Holdings(count)
    for number in range(100):
        holdings.changed('topic', f'sensors/+/{number}')
    assert holdings.count(channel_of_filter('sensors/#')) == 100
    assert len(asked) == 100
