"""Dispatch: what a message costs that is decoded, handled by its type, and answered."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from benchmarks.contenders import (
    CHANNELS,
    FALCON,
    LIMITED,
    LITESTAR,
    OURS,
    RAW,
    SOCKETIO,
    STARLETTE,
    TUNED,
    Contender,
    chosen,
)
from benchmarks.load.echo import measure_echo
from benchmarks.load.process import in_own_process
from benchmarks.load.sample import Sample
from benchmarks.load.turns import Participant
from benchmarks.report import Plot, Report, Series
from benchmarks.rounds import in_rounds
from benchmarks.servers import serving_all
from benchmarks.traffic import traffic_ratios, traffic_table

CONTENDERS = (RAW, OURS, LIMITED, TUNED, FALCON, STARLETTE, LITESTAR, SOCKETIO, CHANNELS)
DEPTHS = (1, 16)
TARGETS = {1: 0.90, 16: 0.87}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of its own."""
    parser.add_argument('--connections', type=int, default=100)
    parser.add_argument('--characters', type=int, default=100, help='of text in a message')


def run(options: argparse.Namespace) -> Report:
    """Measure, at each pipeline depth."""

    def measure(order: Sequence[Contender]) -> list[tuple[Sample, ...]]:
        payload = {'text': 'x' * options.characters}
        with serving_all([each.app for each in order]) as servers:
            by_depth = in_own_process(
                measure_echo,
                [
                    Participant(server, each.dialect, each.dialect.message('echo', payload))
                    for server, each in zip(servers, order, strict=True)
                ],
                connections=options.connections,
                depths=DEPTHS,
                turns=options.turns,
                turn_seconds=options.turn_seconds,
            )
        return list(zip(*by_depth, strict=True))

    found = in_rounds(chosen(CONTENDERS, options.only), options.rounds, measure)
    tables, series = [], []
    for number, depth in enumerate(DEPTHS):
        samples = {who: [each[number] for each in rounds] for who, rounds in found.items()}
        under_way = 'one message at a time' if depth == 1 else f'{depth} messages under way'
        title = f'{options.connections} connections, {under_way} (target: {TARGETS[depth]:.2f})'
        tables.append(traffic_table(title, 'messages', samples))
        ratios = traffic_ratios(samples)
        series.append(Series(under_way, [ratio.median for ratio in ratios.values()]))
    plot = Plot(
        'Dispatch: messages for the same server CPU',
        'of raw ASGI',
        [contender.title for contender in found],
        series,
        TARGETS[1],
    )
    return Report('dispatch', tables, [plot])
