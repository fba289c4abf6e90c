"""Rounds: every contender once in each, so that a noisy minute meets all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import statistics
import sys
from typing import TypeVar

from benchmarks.contenders import Contender

Found = TypeVar('Found')


def in_rounds(
    contenders: Sequence[Contender],
    rounds: int,
    measure: Callable[[Sequence[Contender]], Sequence[Found]],
) -> dict[Contender, list[Found]]:
    """Measure all contenders in each round, every other round in the opposite order.

    Args:
        contenders: Who takes part.
        rounds: How often.
        measure: Measures those that it is given, and returns what it found in their order.
    """
    found: dict[Contender, list[Found]] = {contender: [] for contender in contenders}
    for number in range(rounds):
        _say(f'round {number + 1} of {rounds}')
        order = list(reversed(contenders)) if number % 2 else list(contenders)
        for contender, result in zip(order, measure(order), strict=True):
            found[contender].append(result)
    _say('')
    return found


@dataclass(frozen=True, slots=True)
class Ratio:
    """The base's cost divided by another's, over the rounds: 1 is as good as the base."""

    median: float
    low: float
    high: float

    def text(self, digits: int) -> str:
        """The median, and the quartiles in brackets."""
        return f'{self.median:.{digits}f} ({self.low:.{digits}f}–{self.high:.{digits}f})'  # noqa: RUF001


def ratio(base: Sequence[float], other: Sequence[float]) -> Ratio:
    """Compare round by round: median and quartiles."""
    ratios = [a / b for a, b in zip(base, other, strict=True)]
    if len(ratios) == 1:
        return Ratio(ratios[0], ratios[0], ratios[0])
    low, median, high = statistics.quantiles(ratios, n=4, method='inclusive')
    return Ratio(median, low, high)


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f'\r\x1b[K{text}', end='', file=sys.stderr, flush=True)
