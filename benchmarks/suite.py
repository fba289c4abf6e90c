"""All benchmarks, and how long each goes on."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmarks import (
    broadcast,
    busy,
    cluster,
    dispatch,
    growth,
    idle,
    stalled,
    typed,
    untouched_route,
)
from benchmarks.report import Report


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One of the commands.

    Args:
        summary: What it measures.
        add_arguments: Adds the options of its own.
        run: Measures.
        defaults: Of its options: `rounds`, and for traffic `turns` in each round and
            `turn_seconds`.
        quick: What is different with `--quick`.
    """

    summary: str | None
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Report]
    defaults: Mapping[str, object]
    quick: Mapping[str, object] = field(default_factory=dict)


BENCHMARKS = {
    'dispatch': Benchmark(
        dispatch.__doc__,
        dispatch.add_arguments,
        dispatch.run,
        {'rounds': 5, 'turns': 4, 'turn_seconds': 0.25},
        {'rounds': 2, 'turns': 2, 'turn_seconds': 0.2},
    ),
    'typed': Benchmark(
        typed.__doc__,
        typed.add_arguments,
        typed.run,
        {'rounds': 5, 'turns': 4, 'turn_seconds': 0.25},
        {'rounds': 2, 'turns': 2, 'turn_seconds': 0.2},
    ),
    'broadcast': Benchmark(
        broadcast.__doc__,
        broadcast.add_arguments,
        broadcast.run,
        {'rounds': 5, 'turns': 4, 'turn_seconds': 0.4},
        {'rounds': 2, 'turns': 2, 'turn_seconds': 0.3},
    ),
    'idle': Benchmark(
        idle.__doc__,
        idle.add_arguments,
        idle.run,
        {'rounds': 2},
        {'rounds': 1, 'connections': [500, 1500]},
    ),
    'stalled': Benchmark(
        stalled.__doc__,
        stalled.add_arguments,
        stalled.run,
        {'rounds': 3},
        {'rounds': 1, 'only': ['ours']},
    ),
    'busy': Benchmark(
        busy.__doc__, busy.add_arguments, busy.run, {'rounds': 1}, {'busy_seconds': 5.0}
    ),
    'growth': Benchmark(
        growth.__doc__, growth.add_arguments, growth.run, {'rounds': 3}, {'rounds': 1}
    ),
    'untouched': Benchmark(
        untouched_route.__doc__,
        untouched_route.add_arguments,
        untouched_route.run,
        {'rounds': 25, 'turns': 4, 'turn_seconds': 0.25},
        {'rounds': 3},
    ),
    'cluster': Benchmark(
        cluster.__doc__,
        cluster.add_arguments,
        cluster.run,
        {'rounds': 6, 'turns': 4, 'turn_seconds': 0.4},
        {'rounds': 2, 'turns': 2, 'turn_seconds': 0.3},
    ),
}
