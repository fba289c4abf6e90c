"""Idle: what a connection costs in memory that sits in a room and says nothing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import statistics

from benchmarks.contenders import (
    CHANNELS,
    FALCON,
    LITESTAR,
    OURS,
    RAW,
    SOCKETIO,
    TUNED,
    Contender,
    chosen,
)
from benchmarks.load.idle import measure_idle
from benchmarks.load.process import in_own_process
from benchmarks.report import Plot, Report, Series, Table
from benchmarks.rounds import in_rounds
from benchmarks.servers import serving

CONTENDERS = (RAW, OURS, TUNED, FALCON, LITESTAR, SOCKETIO, CHANNELS)
TITLES = {
    TUNED: 'Falcon without its receive queue',
    FALCON: 'Falcon with its receive queue',
}
TARGET_KIB = 25.0
KIB = 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of its own."""
    parser.add_argument('--connections', type=int, nargs=2, default=[2000, 4000])


def run(options: argparse.Namespace) -> Report:
    """Measure: the slope between two numbers of connections."""
    few, many = options.connections

    def measure(order: Sequence[Contender]) -> list[list[int]]:
        found = []
        for each in order:
            with serving(each.app) as server:
                found.append(in_own_process(measure_idle, server, each.dialect, [few, many]))
        return found

    found = in_rounds(chosen(CONTENDERS, options.only), options.rounds, measure)
    slopes = {
        who: statistics.median((high - low) / (many - few) / KIB for low, high in rounds)
        for who, rounds in found.items()
    }
    base = next(iter(slopes.values()))
    rows = [
        [
            TITLES.get(who, who.title),
            f'{slope:.1f}',
            f'{slope - base:+.1f}',
            f'{slope / base:.2f}',
            f'{statistics.median(high for _, high in found[who]) / KIB**2:.0f}',
        ]
        for who, slope in slopes.items()
    ]
    table = Table(
        f'slope from {few:,} to {many:,} connections (target: at most {TARGET_KIB:.0f} KiB)',
        ['', 'KiB each', 'above the base', 'times the base', f'MiB at {many:,}'],
        rows,
    )
    plot = Plot(
        'An idle connection in a room',
        'KiB of server memory',
        [TITLES.get(who, who.title) for who in found],
        [Series('', list(slopes.values()))],
        TARGET_KIB,
    )
    return Report('idle', [table], [plot])
