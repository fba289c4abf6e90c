"""Growth: what joining, leaving and broadcasting cost as other rooms and connections add up."""

from __future__ import annotations

import argparse
import statistics

from benchmarks.load.growth import MEMBERS, Costs, measure_growth
from benchmarks.load.process import in_own_process
from benchmarks.report import Plot, Report, Series, Table

OTHERS = [100, 300, 1_000, 3_000, 10_000]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of its own."""
    parser.add_argument('--operations', type=int, default=1_000)


def run(options: argparse.Namespace) -> Report:
    """Measure in this machine's own time, without a server: the manager and nothing else."""
    found: dict[int, list[Costs]] = {others: [] for others in OTHERS}
    for _ in range(options.rounds):
        for others in OTHERS:
            found[others].append(
                in_own_process(measure_growth, others, repeats=10, operations=options.operations)
            )
    operations = {
        'join and leave': [_median([each.join_and_leave for each in found[n]]) for n in OTHERS],
        f'broadcast to {MEMBERS}': [_median([each.broadcast for each in found[n]]) for n in OTHERS],
        'connect, join, go': [_median([each.come_and_go for each in found[n]]) for n in OTHERS],
    }
    rows = [
        [f'{others:,}']
        + [f'{costs[at]:.2f} ({costs[at] / costs[0]:.2f})' for costs in operations.values()]
        for at, others in enumerate(OTHERS)
    ]
    table = Table(
        'µs of CPU, and times that of the first row (target: independent)',
        ['other connections, each in a room', *operations],
        rows,
    )
    plot = Plot(
        'Cost as other rooms and connections add up',
        'µs of CPU',
        OTHERS,
        [Series(name, costs) for name, costs in operations.items()],
        x_title='other connections, each in a room of its own',
    )
    return Report('growth', [table], [plot])


def _median(costs: list[float]) -> float:
    return statistics.median(costs)
