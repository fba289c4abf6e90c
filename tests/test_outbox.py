"""The line in front of one peer, without any event loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from falcon_ws_mw.frames import Frame, text_frame
from falcon_ws_mw.options import Limits, SlowConsumer
from falcon_ws_mw.outbox import Key, Offered, Outbox

from .examples_made import some

CLOSE: Frame = {'type': 'websocket.close', 'code': 1000, 'reason': 'x' * 50}

POLICIES: tuple[SlowConsumer, ...] = get_args(SlowConsumer)

PRICE: Key = ('room', 'r', 'price')


def outbox(max_messages: int | None = None, max_bytes: int | None = None, *texts: str) -> Outbox:
    """An outbox in which texts wait that may be dropped."""
    box = Outbox(Limits(max_outbox_messages=max_messages, max_outbox_bytes=max_bytes))
    for text in texts:
        assert offer(box, text) is Offered.WAITS
    return box


def offer(
    box: Outbox, text: str, policy: SlowConsumer = 'drop_oldest', key: Key | None = None
) -> Offered:
    return box.offer(text_frame(text), len(text.encode()), policy, key)


def emptied(box: Outbox) -> list[Any]:
    """Take everything, in order: texts, and the types of what is no text."""
    return [
        frame.get('text', frame['type']) for frame in (box.pop().frame for _ in range(len(box)))
    ]


# -- the line


def test_what_came_first_leaves_first_whether_it_may_be_dropped_or_not() -> None:
    box = outbox()
    offer(box, 'a')
    box.append(text_frame('b'))
    offer(box, 'c')
    box.append(CLOSE)

    assert emptied(box) == ['a', 'b', 'c', 'websocket.close']


@pytest.mark.parametrize(
    ('frame', 'size'),
    [
        (text_frame('abc'), 3),
        (text_frame('aé'), 3),
        ({'type': 'websocket.send', 'bytes': b'1234'}, 4),
        (CLOSE, 0),
    ],
)
def test_a_frame_counts_by_the_bytes_of_its_payload(frame: Frame, size: int) -> None:
    box = outbox()

    box.append(frame)

    assert (len(box), box.bytes, box.pop().size, box.bytes) == (1, size, size, 0)


def test_who_waits_for_a_frame_stands_beside_it() -> None:
    box = outbox()
    taken = object()
    box.append(text_frame('a'), taken)

    assert box.pop().taken is taken


@pytest.mark.parametrize(
    ('max_messages', 'max_bytes', 'size', 'has_room'),
    [
        (3, None, 1_000, True),
        (2, None, 0, False),
        (None, 10, 4, True),
        (None, 10, 5, False),
        (3, 10, 4, True),
        (None, None, 10**9, True),
    ],
)
def test_there_is_room_up_to_the_limits(
    max_messages: int | None, max_bytes: int | None, size: int, has_room: bool
) -> None:
    assert outbox(max_messages, max_bytes, 'abc', 'def').has_room(size) is has_room


# -- no room: by messages, and by bytes

full = pytest.mark.parametrize(
    'box',
    [
        pytest.param(lambda: outbox(3, None, 'a', 'b', 'c'), id='by messages'),
        pytest.param(lambda: outbox(None, 3, 'a', 'b', 'c'), id='by bytes'),
    ],
)


@full
def test_close_overflows_and_changes_nothing(box: Any) -> None:
    box = box()

    assert offer(box, 'd', 'close') is Offered.OVERFLOWS

    assert (box.take_dropped(), emptied(box)) == (0, ['a', 'b', 'c'])


@full
def test_drop_newest_drops_what_is_offered(box: Any) -> None:
    box = box()

    assert offer(box, 'd', 'drop_newest') is Offered.DROPPED

    assert (box.take_dropped(), emptied(box)) == (1, ['a', 'b', 'c'])


@full
def test_drop_oldest_drops_the_first_in_line(box: Any) -> None:
    box = box()

    assert offer(box, 'd', 'drop_oldest') is Offered.WAITS

    assert (box.take_dropped(), emptied(box)) == (1, ['b', 'c', 'd'])


@full
def test_what_lasts_is_taken_in_all_the_same(box: Any) -> None:
    box = box()

    box.append(text_frame('reply'))
    box.append(CLOSE)

    assert emptied(box) == ['a', 'b', 'c', 'reply', 'websocket.close']


def test_drop_oldest_drops_as_many_as_it_has_to_and_no_more() -> None:
    box = outbox(None, 10, 'aaaa', 'bb', 'cccc')

    assert offer(box, 'ddddd', 'drop_oldest') is Offered.WAITS

    assert (box.take_dropped(), box.bytes, emptied(box)) == (2, 9, ['cccc', 'ddddd'])


def test_drop_oldest_passes_over_what_lasts() -> None:
    box = outbox(3)
    box.append(text_frame('reply'))
    offer(box, 'a')
    offer(box, 'b')

    assert offer(box, 'c', 'drop_oldest') is Offered.WAITS

    assert emptied(box) == ['reply', 'b', 'c']


@pytest.mark.parametrize(('max_messages', 'max_bytes'), [(3, None), (None, 6)])
def test_drop_oldest_drops_nothing_where_that_makes_no_room(
    max_messages: int | None, max_bytes: int | None
) -> None:
    box = outbox(max_messages, max_bytes, 'a')
    for _ in range(3):
        box.append(text_frame('rr'))

    assert offer(box, 'b', 'drop_oldest') is Offered.DROPPED

    assert (box.take_dropped(), emptied(box)) == (1, ['a', 'rr', 'rr', 'rr'])


def test_the_count_of_what_was_dropped_starts_anew_once_it_was_taken() -> None:
    box = outbox(1, None, 'a')
    offer(box, 'b', 'drop_newest')

    assert (box.take_dropped(), box.take_dropped()) == (1, 0)


def test_what_may_be_dropped_goes_and_what_lasts_stays() -> None:
    box = outbox(None, None, 'a')
    box.append(text_frame('reply'))
    offer(box, 'b', key=PRICE)
    box.append(CLOSE)

    box.drop_droppable()

    assert (box.take_dropped(), box.bytes) == (2, 5)
    assert offer(box, 'c', key=PRICE) is Offered.WAITS  # nothing is left to be replaced
    assert emptied(box) == ['reply', 'websocket.close', 'c']


def test_clearing_gives_back_who_waits_and_counts_what_others_said() -> None:
    box = outbox(2, None, 'a')
    box.append(text_frame('reply'), 'waits for the reply')
    box.append(CLOSE, 'waits for the close')

    assert box.clear() == ['waits for the reply', 'waits for the close']

    assert (box.take_dropped(), len(box), box.bytes) == (1, 0, 0)
    assert [offer(box, text, 'close') for text in 'ab'] == [Offered.WAITS] * 2


# -- keys


def test_a_newer_one_takes_the_place_of_the_one_that_waits_under_its_key() -> None:
    box = outbox()
    for text, key in [('a', None), ('price 1', PRICE), ('b', None)]:
        offer(box, text, key=key)

    assert offer(box, 'price 2', key=PRICE) is Offered.REPLACES

    assert (box.take_dropped(), emptied(box)) == (0, ['a', 'price 2', 'b'])


def test_other_keys_and_none_replace_nothing() -> None:
    box = outbox()

    offered = [
        offer(box, text, key=key)
        for text, key in [
            ('a', PRICE),
            ('b', ('room', 'r', 'cursor')),
            ('c', ('room', 'other', 'price')),
            ('d', ('topic', 'r', 'price')),
            ('e', None),
            ('f', None),
        ]
    ]

    assert offered == [Offered.WAITS] * 6
    assert emptied(box) == list('abcdef')


def test_what_has_left_is_not_replaced() -> None:
    box = outbox()
    offer(box, '1', key=PRICE)
    box.pop()

    assert offer(box, '2', key=PRICE) is Offered.WAITS


def test_what_was_dropped_is_not_replaced() -> None:
    box = outbox(1)
    offer(box, '1', key=PRICE)
    offer(box, 'a', 'drop_oldest')

    assert offer(box, '2', 'drop_newest', key=PRICE) is Offered.DROPPED

    assert emptied(box) == ['a']


@pytest.mark.parametrize('policy', POLICIES)
def test_to_replace_one_needs_no_room(policy: SlowConsumer) -> None:
    box = outbox(2, 2, 'a')
    offer(box, '1', key=PRICE)

    assert offer(box, '2', policy, key=PRICE) is Offered.REPLACES

    assert (box.take_dropped(), emptied(box)) == (0, ['a', '2'])


def test_the_bytes_are_those_of_the_newer_one() -> None:
    box = outbox(None, 10)
    offer(box, '55555', key=PRICE)

    offer(box, '1', key=PRICE)
    assert box.bytes == 1
    offer(box, '7777777', key=PRICE)
    assert box.bytes == 7

    assert (box.pop().size, box.bytes) == (7, 0)


@pytest.mark.parametrize(
    ('policy', 'offered', 'left'),
    [
        ('close', Offered.OVERFLOWS, ['aaa', '1', 'b']),
        ('drop_newest', Offered.DROPPED, ['aaa', '1', 'b']),
        ('drop_oldest', Offered.REPLACES, ['2222', 'b']),
    ],
)
def test_one_that_is_too_long_for_the_place_follows_the_policy(
    policy: SlowConsumer, offered: Offered, left: list[str]
) -> None:
    box = outbox(None, 5, 'aaa')
    offer(box, '1', key=PRICE)
    offer(box, 'b')

    assert offer(box, '2222', policy, key=PRICE) is offered

    assert emptied(box) == left


# -- any order of steps, against a simple model


@dataclass
class Waits:
    """A message of the model."""

    text: str
    droppable: bool
    key: Key | None = None


class Model:
    """What the module says, without a thought for speed."""

    def __init__(self, max_messages: int | None, max_bytes: int | None) -> None:
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self.line: list[Waits] = []
        self.dropped = 0

    def fits(self, line: list[Waits]) -> bool:
        size = sum(len(waits.text) for waits in line)
        return (self.max_messages is None or len(line) <= self.max_messages) and (
            self.max_bytes is None or size <= self.max_bytes
        )

    def with_new(self, line: list[Waits], new: Waits) -> list[Waits]:
        """The line with one more, in the place of the one with its key or at the end."""
        keys = [waits.key for waits in line]
        if new.key is None or new.key not in keys:
            return [*line, new]
        place = keys.index(new.key)
        return [*line[:place], new, *line[place + 1 :]]

    def offer(self, new: Waits, policy: SlowConsumer) -> Offered:
        line = list(self.line)
        gone = 0
        if policy == 'drop_oldest':
            while not self.fits_or_is_as_long(line, new) and any(w.droppable for w in line):
                line.remove(next(waits for waits in line if waits.droppable))
                gone += 1
        result = self.with_new(line, new)
        if not self.fits_or_is_as_long(line, new):
            if policy == 'close':
                return Offered.OVERFLOWS
            self.dropped += 1
            return Offered.DROPPED
        self.line = result
        self.dropped += gone
        return Offered.REPLACES if len(result) == len(line) else Offered.WAITS

    def fits_or_is_as_long(self, line: list[Waits], new: Waits) -> bool:
        """Whether one more fits; in another's place it does not make the line longer."""
        result = self.with_new(line, new)
        if len(result) > len(line):
            return self.fits(result)
        return self.max_bytes is None or sum(len(w.text) for w in result) <= self.max_bytes


Step: TypeAlias = tuple[
    Literal['offer', 'append', 'pop', 'drop droppable', 'clear'], int, SlowConsumer, Key | None
]

STEPS = st.lists(
    st.tuples(
        st.sampled_from(['offer'] * 5 + ['append', 'append', 'pop', 'drop droppable', 'clear']),
        st.integers(0, 6),
        st.sampled_from(POLICIES),
        st.sampled_from([None, ('k', 1), ('k', 2)]),
    ),
    max_size=40,
)
BOUNDS = st.none() | st.integers(1, 8)


def take_step(box: Outbox, model: Model, text: str, step: Step) -> None:
    """Do one thing to the outbox and to the model; what it says has to be the same."""
    what, _, policy, key = step
    if what == 'offer':
        assert offer(box, text, policy, key) is model.offer(Waits(text, True, key), policy)
    elif what == 'append':
        box.append(text_frame(text))
        model.line.append(Waits(text, False))
    elif what == 'pop':
        if model.line:
            assert box.pop().frame == text_frame(model.line.pop(0).text)
    elif what == 'drop droppable':
        box.drop_droppable()
        model.dropped += sum(waits.droppable for waits in model.line)
        model.line = [waits for waits in model.line if not waits.droppable]
    else:
        box.clear()
        model.dropped += sum(waits.droppable for waits in model.line)
        model.line = []


@settings(max_examples=some(300))
@given(STEPS, BOUNDS, BOUNDS)
def test_any_order_of_steps_equals_a_simple_model(
    steps: list[Step], max_messages: int | None, max_bytes: int | None
) -> None:
    box, model = outbox(max_messages, max_bytes), Model(max_messages, max_bytes)
    for number, step in enumerate(steps):
        take_step(box, model, chr(97 + number % 26) * step[1], step)
        assert box.bytes == sum(len(waits.text) for waits in model.line)
        assert box.dropped == model.dropped
        assert box.has_room(2) is model.fits([*model.line, Waits('xx', True)])
    assert emptied(box) == [waits.text for waits in model.line]


@given(STEPS, st.integers(1, 8), st.integers(6, 8))
def test_what_may_be_dropped_never_exceeds_the_limits(
    steps: list[Step], max_messages: int, max_bytes: int
) -> None:
    box = outbox(max_messages, max_bytes)
    for what, size, policy, key in steps:
        if what == 'offer':
            offer(box, 'x' * size, policy, key)
        assert len(box) <= max_messages
        assert box.bytes <= max_bytes
