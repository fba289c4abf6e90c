"""Limits and choices: what they accept, and how one replaces another."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
import math
from typing import Any, Literal

import pytest

from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.options import DEFAULT_LIMITS, Limits, check_choice

Colour = Literal['red', 'green']

KNOBS = ('connect_timeout_seconds', 'max_outbox_messages', 'max_outbox_bytes')


@pytest.mark.parametrize(
    'knobs',
    [
        {},
        {'connect_timeout_seconds': 1},
        {'connect_timeout_seconds': 0.001},
        {'connect_timeout_seconds': None},
        {'max_outbox_messages': 1},
        {'max_outbox_messages': None},
        {'max_outbox_bytes': 1},
        {'max_outbox_bytes': None},
    ],
)
def test_a_limit_is_a_number_above_0_or_none(knobs: dict[str, Any]) -> None:
    limits = Limits(**knobs)

    assert {name: getattr(limits, name) for name in knobs} == knobs


@pytest.mark.parametrize('knob', KNOBS)
@pytest.mark.parametrize('value', [0, -1, True, False, '10', math.nan, [1]])
def test_anything_else_is_refused(knob: str, value: object) -> None:
    named: dict[str, Any] = {knob: value}

    with pytest.raises(ConfigurationError):
        Limits(**named)


@pytest.mark.parametrize('knob', ['max_outbox_messages', 'max_outbox_bytes'])
def test_a_count_is_whole(knob: str) -> None:
    named: dict[str, Any] = {knob: 1.5}

    with pytest.raises(ConfigurationError):
        Limits(**named)


def test_a_refusal_names_the_limit_what_was_found_and_what_was_expected() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Limits(max_outbox_bytes=-5)

    assert str(caught.value) == (
        'Limits.max_outbox_bytes=-5: expected a whole number from 1 to 2147483647, '
        'or None for no limit'
    )


def test_a_name_that_is_no_limit_is_refused() -> None:
    named: dict[str, Any] = {'max_outbox_mesages': 5}

    with pytest.raises(TypeError, match='max_outbox_mesages'):
        Limits(**named)


@pytest.mark.parametrize(
    ('own', 'base', 'result'),
    [
        (Limits(), Limits(max_outbox_bytes=7), Limits(max_outbox_bytes=7)),
        (
            Limits(max_outbox_messages=3),
            Limits(max_outbox_bytes=7),
            Limits(max_outbox_messages=3, max_outbox_bytes=7),
        ),
        (Limits(max_outbox_bytes=3), Limits(max_outbox_bytes=7), Limits(max_outbox_bytes=3)),
        (Limits(max_outbox_bytes=None), Limits(max_outbox_bytes=7), Limits(max_outbox_bytes=None)),
    ],
)
def test_limits_over_others_replace_those_that_they_name(
    own: Limits, base: Limits, result: Limits
) -> None:
    assert own.over(base) == result


def test_a_limit_that_is_named_with_its_default_counts_as_named() -> None:
    named = Limits(max_outbox_bytes=DEFAULT_LIMITS.max_outbox_bytes)

    assert named.over(Limits(max_outbox_bytes=7)) == DEFAULT_LIMITS


def test_limits_that_nobody_named_are_these() -> None:
    assert {name: getattr(Limits(), name) for name in KNOBS} == {
        'connect_timeout_seconds': 10,
        'max_outbox_messages': 1000,
        'max_outbox_bytes': 1024 * 1024,
    }


def test_limits_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Limits().max_outbox_bytes = 5  # type: ignore[misc]


def test_limits_are_given_by_name() -> None:
    values: tuple[Any, ...] = (10,)

    with pytest.raises(TypeError):
        Limits(*values)


def test_limits_are_equal_by_what_they_limit_and_not_by_what_was_named() -> None:
    assert Limits(connect_timeout_seconds=10.0) == Limits()


@pytest.mark.parametrize('value', ['red', 'green'])
def test_a_choice_is_one_of_the_words(value: str) -> None:
    check_choice('colour', value, Colour)


@pytest.mark.parametrize('value', ['blue', 'RED', '', None, True, ['red']])
def test_a_wrong_choice_is_refused_with_its_name_and_the_words(value: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_choice('colour', value, Colour)

    assert str(caught.value) == f"colour={value!r}: expected one of 'red', 'green'"
