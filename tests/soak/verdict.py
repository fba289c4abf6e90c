"""Figures against bounds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Check:
    """A figure, and the most that it may be."""

    what: str
    found: float
    most: float
    unit: str = ''

    @property
    def passed(self) -> bool:
        """Whether it is inside the bound."""
        return self.found <= self.most  # false for what is not a number

    def __str__(self) -> str:
        word = 'PASS' if self.passed else 'FAIL'
        unit = self.unit and f' {self.unit}'
        return f'{word}  {self.what}: {self.found:.4g}{unit} (at most {self.most:.4g}{unit})'


def verdict(checks: Iterable[Check]) -> bool:
    """Print the checks; whether all have passed."""
    checks = list(checks)
    for check in checks:
        print(check, flush=True)
    return all(check.passed for check in checks)


def percentile(values: list[float], part: float) -> float:
    """What this part of the values does not exceed; not a number if there are none."""
    if not values:
        return float('nan')
    return sorted(values)[min(int(len(values) * part), len(values) - 1)]
