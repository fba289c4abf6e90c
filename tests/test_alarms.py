"""What is due by either clock."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from falcon_ws_mw.alarms import Alarm, Alarms

NOON = 1_800_000_000.0
"""A time of the calendar."""


class Clockwork:
    """Alarms, two clocks, and what has rung."""

    def __init__(self) -> None:
        self.alarms = Alarms()
        self.passed = 0.0
        self.calendar = NOON
        self.rung: list[str] = []

    def set(self, name: str, seconds: float, *, dated: bool = True) -> Alarm:
        alarm = Alarm(
            lambda: self.rung.append(name),
            self.passed + seconds,
            self.calendar + seconds if dated else None,
        )
        self.alarms.add(alarm)
        return alarm

    def wait(self, seconds: float, *, jump: float = 0.0, sleeps: bool = False) -> list[str]:
        """Let time pass, in which the calendar may be set, or the computer sleep."""
        self.passed += 0.0 if sleeps else seconds
        self.calendar += seconds + jump
        for ring in self.alarms.due(self.passed, self.calendar):
            ring()
        rung, self.rung = self.rung, []
        return rung


def test_each_rings_once_in_the_order_of_time() -> None:
    clock = Clockwork()
    clock.set('late', 9)
    clock.set('early', 3)

    assert clock.wait(2.9) == []
    assert clock.wait(6.2) == ['early', 'late']
    assert clock.wait(100) == []


def test_a_calendar_that_is_set_back_keeps_nothing_alive() -> None:
    clock = Clockwork()
    clock.set('token', 60)

    assert clock.wait(10, jump=-86_400) == []
    assert clock.wait(49) == []
    assert clock.wait(1) == ['token']


def test_a_calendar_that_is_set_forward_ends_what_is_past_by_it() -> None:
    clock = Clockwork()
    clock.set('token', 60)
    clock.set('time to log in', 60, dated=False)

    assert clock.wait(1, jump=3600) == ['token']
    assert clock.wait(59) == ['time to log in']


def test_one_that_was_set_back_and_forth_ends_it_in_its_time() -> None:
    clock = Clockwork()
    clock.wait(1, jump=-3600)
    clock.set('token', 60)

    assert clock.wait(1, jump=3600) == ['token']


def test_a_computer_that_slept_finds_what_is_due_when_it_wakes() -> None:
    clock = Clockwork()
    clock.set('token', 60)

    assert clock.wait(3600, sleeps=True) == ['token']


def test_a_cancelled_one_never_rings_and_holds_nothing() -> None:
    clock = Clockwork()
    alarm = clock.set('token', 60)

    alarm.cancel()

    assert alarm.ring is None
    assert clock.wait(61) == []


def test_one_that_cancels_another_that_is_due_does_so() -> None:
    clock = Clockwork()
    second = Alarm(lambda: clock.rung.append('second'), 2)
    clock.alarms.add(Alarm(second.cancel, 1))
    clock.alarms.add(second)

    assert clock.wait(3) == []


def test_who_renews_often_is_not_kept_often() -> None:
    clock = Clockwork()
    for _ in range(100_000):
        clock.set('token', 3600).cancel()

    assert len(clock.alarms) < 1000


@pytest.mark.parametrize('others', [0, 500])
def test_what_is_tidied_away_is_only_what_was_cancelled(others: int) -> None:
    clock = Clockwork()
    for number in range(others):
        clock.set(str(number), 10)
    for _ in range(5000):
        clock.set('cancelled', 5).cancel()

    assert sorted(clock.wait(10), key=int) == [str(number) for number in range(others)]


def test_alarms_at_one_time_need_no_order() -> None:
    clock = Clockwork()
    for name in 'abc':
        clock.set(name, 1)

    assert clock.wait(1) == ['a', 'b', 'c']


def test_what_is_due_may_set_another() -> None:
    alarms = Alarms()
    rung: list[float] = []

    def again(at: float) -> Callable[[], None]:
        def ring() -> None:
            rung.append(at)
            alarms.add(Alarm(again(at + 1), at + 1))

        return ring

    alarms.add(Alarm(again(1), 1))
    for now in (1.0, 2.0, 2.5):
        for ring in alarms.due(now, NOON):
            ring()

    assert rung == [1, 2]
