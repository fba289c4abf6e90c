"""Questions between processes, over a way that loses, doubles and delays, by a clock of its own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
import selectors
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from falcon_ws_mw import BackendUnavailable, RemoteCallError
from falcon_ws_mw.answers import FORGOTTEN, Answer, Answers
from falcon_ws_mw.calls import ANSWER, ANSWER_SECONDS, ASK, ASK_AGAIN, LONGEST_LOOK_SECONDS, Calls
from falcon_ws_mw.channels import Channel
from falcon_ws_mw.packets import Packet, Variant, decode

from .examples_made import some

# -- a clock that is where something is due


class _Selector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, 'nothing will ever happen any more'
        self.now += max(timeout, 0)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run it in no time, as long as it takes."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(work)


def now() -> float:
    return asyncio.get_running_loop().time()


# -- two processes


Fate = str | float
"""What becomes of a packet: `'lost'`, `'once'`, `'twice'`, or after how many seconds it comes."""


class Pair:
    """Two processes, and the way between them.

    Args:
        fates: What becomes of the first packets about each question; then nothing happens to them.

    Attributes:
        said: What was sent, as operation and number of the question, with the time.
        done: How often what was done.
        takes_seconds: How long that takes.
        held: How many processes hold the channel that is asked, and how many of them listen.
        looks: How often somebody wanted to know that.
        loses_answers: How many of the next answers are lost.
    """

    def __init__(self, *fates: list[Fate]) -> None:
        self.a = Calls(self._way('a'), self._presence, {})
        self.b = Calls(self._way('b'), self._presence, {'do': self._do})
        self.said: list[tuple[str, int, float]] = []
        self.done: Counter[int] = Counter()
        self.takes_seconds = 0.0
        self.held = (1, 1)
        self.looks = 0
        self.loses_answers = 0
        self._fates = [[*each] for each in fates]
        self._numbers = 0

    async def ask(self, what: int, **options: Any) -> Any:
        (answer,) = await self.a.ask(Channel('node', 'b'), 'do', what, **options)
        return answer

    async def _do(self, what: int) -> int:
        self.done[what] += 1
        await asyncio.sleep(self.takes_seconds)
        return what

    async def _presence(self, channel: Channel) -> tuple[int, int]:
        self.looks += 1
        await asyncio.sleep(0)
        return self.held

    def _way(self, origin: str) -> Callable[..., Any]:
        async def say(
            operation: str,
            channel: Channel,
            facts: Mapping[str, Any],
            variants: tuple[Variant, ...],
        ) -> int:
            self._numbers += 1
            data = Packet(operation, origin, self._numbers, facts, variants).encode()
            number = facts['id']
            self.said.append((operation, number, now()))
            await asyncio.sleep(0)
            if not self.held[1] and operation != ANSWER:
                return 0
            if operation == ANSWER and self.loses_answers:
                self.loses_answers -= 1
                return 1
            fates = self._fates[number - 1] if number <= len(self._fates) else []
            self._pass_on(channel, data, fates.pop(0) if fates else 'once')
            return 1

        return say

    def _pass_on(self, channel: Channel, data: bytes, fate: Fate) -> None:
        loop = asyncio.get_running_loop()
        if isinstance(fate, float):
            loop.call_later(fate, self._arrive, channel, data)
        elif fate != 'lost':
            for _ in range(2 if fate == 'twice' else 1):
                loop.call_soon(self._arrive, channel, data)

    def _arrive(self, channel: Channel, data: bytes) -> None:
        packet = decode(data)
        calls = self.a if channel.name == 'a' else self.b
        (calls.answered if packet.operation == ANSWER else calls.asked)(packet)

    def count(self, *operations: str) -> int:
        return sum(operation in operations for operation, _, _ in self.said)


fates = st.one_of(st.sampled_from(['lost', 'once', 'twice']), st.floats(0.001, 8, allow_nan=False))


@settings(max_examples=some(300), deadline=None)
@given(
    st.lists(st.lists(fates, max_size=4), min_size=1, max_size=5),
    st.floats(0, 0.9, allow_nan=False),
)
def test_each_is_done_once_and_answered_however_four_packets_are_treated(
    fates: list[list[Fate]], takes_seconds: float
) -> None:
    async def law() -> None:
        pair = Pair(*fates)
        pair.takes_seconds = takes_seconds
        answers = await asyncio.gather(*(pair.ask(what) for what in range(len(fates))))
        assert answers == [*range(len(fates))]
        await asyncio.sleep(20)  # until all that was delayed has come
        assert pair.done == dict.fromkeys(range(len(fates)), 1)

    run(law())


@settings(max_examples=some(300), deadline=None)
@given(st.lists(st.lists(fates, max_size=14), min_size=1, max_size=5))
def test_none_is_done_twice_and_no_answer_is_missed_whatever_the_way_does(
    fates: list[list[Fate]],
) -> None:
    async def law() -> None:
        pair = Pair(*fates)
        numbers = range(len(fates))
        answers = await asyncio.gather(*map(pair.ask, numbers), return_exceptions=True)
        for what, answer in enumerate(answers):
            if isinstance(answer, BackendUnavailable):
                assert 'has not answered within 5 s' in str(answer)
            else:
                assert (answer, pair.done[what]) == (what, 1)
        assert now() <= ANSWER_SECONDS
        await asyncio.sleep(20)
        assert all(count == 1 for count in pair.done.values())

    run(law())


def test_a_question_that_is_answered_at_once_is_put_once_and_nothing_is_looked_at() -> None:
    async def law() -> None:
        pair = Pair()
        assert [await pair.ask(what) for what in range(10)] == [*range(10)]
        await asyncio.sleep(100)
        assert (pair.count(ASK), pair.count(ASK_AGAIN), pair.count(ANSWER)) == (10, 0, 10)
        assert pair.looks == 0

    run(law())


def test_while_it_is_unanswered_each_look_puts_it_once_more_and_looks_become_rare() -> None:
    async def law() -> None:
        pair = Pair(['lost'] * 10)
        with pytest.raises(BackendUnavailable):
            await pair.ask(1)
        times = [when for _, _, when in pair.said]
        assert times[:5] == pytest.approx([0, 0.25, 0.5, 1, 2])
        assert times[-1] > 4.5
        assert pair.looks == 8 == len(times) - 1

        pair = Pair()
        pair.takes_seconds = 86_000
        assert await pair.ask(1, seconds=86_405) == 1
        assert pair.count(ASK_AGAIN) == pair.looks < 70
        assert (pair.done[1], pair.count(ANSWER)) == (1, 1)

    run(law())


@pytest.mark.parametrize('client_seconds', [1, 10, 30, 120, 3_600])
@pytest.mark.parametrize('share', [0.1, 0.5, 0.99, 1])
def test_an_answer_that_is_lost_is_said_again_soon_also_at_the_very_end(
    client_seconds: float, share: float
) -> None:
    async def law() -> None:
        pair = Pair()
        pair.takes_seconds = takes_seconds = share * client_seconds
        pair.loses_answers = 1
        assert await pair.ask(1, seconds=client_seconds + ANSWER_SECONDS) == 1
        assert (pair.done[1], pair.count(ANSWER)) == (1, 2)
        assert now() - takes_seconds <= max(LONGEST_LOOK_SECONDS, takes_seconds / 4)

    run(law())


def test_an_answer_that_comes_does_not_wait_for_a_look_that_hangs() -> None:
    async def law() -> None:
        pair = Pair()
        pair.takes_seconds = 1
        pair.a._presence = lambda _: asyncio.sleep(1_000, (1, 1))
        assert await pair.ask(1) == 1
        assert now() == pytest.approx(1)
        assert len(asyncio.all_tasks()) == 1

    run(law())


def test_who_is_away_is_not_asked_but_waited_for_and_asked_when_he_is_back() -> None:
    async def law() -> None:
        pair = Pair()
        pair.held = (1, 0)
        asking = asyncio.create_task(pair.ask(1))
        await asyncio.sleep(0.5)
        assert (pair.count(ASK), pair.count(ASK_AGAIN)) == (1, 0)
        pair.held = (1, 1)
        assert await asking == 1
        assert now() < 1

    run(law())


@pytest.mark.parametrize(('is_reached', 'seconds'), [(False, 0.94), (True, 2.19)])
def test_who_stays_away_is_waited_for_a_second_or_two(is_reached: bool, seconds: float) -> None:
    async def law() -> None:
        pair = Pair(['lost'])
        asking = asyncio.create_task(pair.ask(1))
        if is_reached:
            await asyncio.sleep(0.1)
        pair.held = (1, 0)
        with pytest.raises(BackendUnavailable, match='not in touch, or has just died'):
            await asking
        assert now() == pytest.approx(seconds, abs=0.01)
        assert await pair.a.ask(Channel('node', 'b'), 'do', 1, without_absent=True) == []
        assert pair.count(ASK_AGAIN) == 0

    run(law())


@pytest.mark.parametrize(('is_reached', 'seconds'), [(False, 0), (True, 0.25)])
def test_who_is_gone_is_not_waited_for(is_reached: bool, seconds: float) -> None:
    async def law() -> None:
        pair = Pair(['lost'])
        asking = asyncio.create_task(pair.a.ask(Channel('node', 'b'), 'do', 1))
        if is_reached:
            await asyncio.sleep(0.1)
        pair.held = (0, 0)
        assert await asking == []
        assert now() == pytest.approx(seconds)
        assert pair.count(ASK_AGAIN) == 0

    run(law())


def test_who_does_not_wait_any_more_leaves_nothing_behind() -> None:
    async def law() -> None:
        pair = Pair(['lost'] * 20)
        before = asyncio.all_tasks()
        asking = asyncio.create_task(pair.ask(1))
        await asyncio.sleep(0.6)
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        assert asyncio.all_tasks() == before
        said = len(pair.said)
        await asyncio.sleep(100)
        assert (len(pair.said), pair.a._questions) == (said, {})

    run(law())


def test_who_is_stopped_while_it_does_something_does_not_do_it_again() -> None:
    async def law() -> None:
        pair = Pair()
        pair.takes_seconds = 3
        asking = asyncio.create_task(pair.ask(1))
        await asyncio.sleep(1)
        await pair.b.end()
        pair.b.begin()
        with pytest.raises(BackendUnavailable, match='nobody remembers there'):
            await asking
        assert pair.done[1] == 1

    run(law())


def test_what_was_cancelled_under_it_is_answered_as_a_failure() -> None:
    async def cancelled(what: int) -> None:
        raise asyncio.CancelledError

    async def law() -> None:
        pair = Pair()
        pair.b._operations = {'do': cancelled}
        with pytest.raises(RemoteCallError, match='CancelledError'):
            await pair.ask(1)
        assert now() == 0
        assert pair.b._answers._open == set()

    run(law())


def test_who_stops_while_it_waits_for_an_answer_waits_no_longer_and_asks_nobody_again() -> None:
    async def law() -> None:
        pair = Pair()
        pair.takes_seconds = 3
        asking = [asyncio.create_task(pair.ask(1, seconds=3_600)) for _ in range(2)]
        await asyncio.sleep(0.1)  # before the first look
        asking.append(asyncio.create_task(pair.ask(1, seconds=3_600)))
        await asyncio.sleep(1)
        await pair.a.end()
        for each in asking:
            with pytest.raises(BackendUnavailable, match='the app has stopped'):
                await each
        assert now() == pytest.approx(1.1)
        said = pair.count(ASK, ASK_AGAIN)
        pair.a.begin()
        await asyncio.sleep(100)
        assert pair.count(ASK, ASK_AGAIN) == said

    run(law())


# -- what is remembered


keys = st.tuples(st.sampled_from(['a', 'b', 'c']), st.integers(1, 30))


@settings(max_examples=some(300), deadline=None)
@given(st.lists(st.tuples(keys, st.integers(0, 60), st.booleans())))
def test_nothing_is_new_twice_and_an_answer_is_the_one_that_was_given_or_forgotten(
    steps: list[tuple[tuple[str, int], int, bool]],
) -> None:
    answers = Answers(max_questions=8, max_bytes=100)
    being_done: set[tuple[str, int]] = set()
    given: dict[tuple[str, int], Answer] = {}
    for key, length, is_answered in steps:
        was_known = key in being_done or key in given
        if answers.is_new(*key):
            assert not was_known
            being_done.add(key)
        elif key in being_done:
            assert answers.of(*key) is None
        else:
            assert answers.of(*key) in {given.get(key, FORGOTTEN), FORGOTTEN}
        if is_answered and key in being_done:
            being_done.discard(key)
            given[key] = Answer('result', b'x' * length)
            answers.put(*key, given[key])
            assert answers.of(*key) == given[key], 'the last one is kept'
        for each in being_done:
            assert answers.of(*each) is None, 'what is being done is never forgotten'
        kept = [each for each in answers._given.values() if each is not None]
        assert len(answers._given) == len(answers._order) <= 8
        assert len(kept) == len(answers._kept)
        assert answers._bytes == sum(len(each.said) for each in kept) <= 100


def test_the_last_of_thousands_are_remembered_and_their_answers_while_they_are_short() -> None:
    answers = Answers()
    for number in range(1, 20_001):
        assert answers.is_new('a', number)
        answers.put('a', number, Answer('result', b'1'))
    assert answers.of('a', 20_000 - 16_000) == Answer('result', b'1')
    assert not answers.is_new('a', 1)
    assert answers.of('a', 1) == FORGOTTEN
    for number in range(20_001, 20_010):
        answers.is_new('a', number)
        answers.put('a', number, Answer('result', b'1' * 1_000_000))
    assert answers.of('a', 20_009) != FORGOTTEN
    assert answers.of('a', 19_999) == FORGOTTEN
    assert not answers.is_new('a', 19_999)
