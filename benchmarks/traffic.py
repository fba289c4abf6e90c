"""Tables of traffic: server CPU first, as a ratio to the base, then rate and latency."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import statistics

from benchmarks.contenders import Contender
from benchmarks.load.sample import Sample
from benchmarks.report import Table
from benchmarks.rounds import Ratio, ratio

HEADER = [
    '',
    'of the base (quartiles)',
    'server CPU each, µs',
    '{units} a second',
    'p50, ms',
    'p99, ms',
    'server busy',
    'load / server CPU',
]

Samples = Mapping[Contender, Sequence[Sample]]


def traffic_table(
    title: str,
    units: str,
    samples: Samples,
    digits: int = 2,
    more: Mapping[str, Sequence[str]] | None = None,
) -> Table:
    """One row for each contender; the first is the base.

    Args:
        title: What was measured.
        units: What the CPU is counted for: messages, deliveries.
        samples: The samples of all rounds.
        digits: Of the ratio, behind the point.
        more: Columns that come behind: under each heading a cell for each contender.
    """
    more = more or {}
    ratios = traffic_ratios(samples)
    rows = []
    for number, (contender, found) in enumerate(samples.items()):

        def median(figure: Callable[[Sample], float], found: Sequence[Sample] = found) -> float:
            return statistics.median(map(figure, found))

        rows.append(
            [
                contender.title,
                ratios[contender].text(digits),
                f'{median(lambda each: each.cost_microseconds):.2f}',
                f'{median(lambda each: each.rate):,.0f}',
                f'{median(lambda each: each.p50_seconds) * 1e3:.2f}',
                f'{median(lambda each: each.p99_seconds) * 1e3:.2f}',
                f'{median(lambda each: each.busy):.2f}',
                f'{median(lambda each: each.load_share):.2f}',
                *(cells[number] for cells in more.values()),
            ]
        )
    return Table(title, [*(cell.format(units=units) for cell in HEADER), *more], rows)


def traffic_ratios(samples: Samples) -> dict[Contender, Ratio]:
    """What part of the base's cost each costs, the other way round: higher is better."""
    costs = {
        contender: [sample.cost_microseconds for sample in found]
        for contender, found in samples.items()
    }
    base = next(iter(costs.values()))
    return {contender: ratio(base, cost) for contender, cost in costs.items()}
