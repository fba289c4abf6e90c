"""Broadcast: what one delivery of a message to a room costs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from benchmarks.contenders import (
    CHANNELS,
    FALCON,
    LITESTAR,
    OURS,
    RAW,
    SOCKETIO,
    TUNED,
    WEBSOCKETS,
    Contender,
    chosen,
)
from benchmarks.load.process import in_own_process
from benchmarks.load.room import measure_room
from benchmarks.load.sample import Sample
from benchmarks.load.turns import Participant
from benchmarks.report import Plot, Report, Series
from benchmarks.rounds import in_rounds
from benchmarks.servers import serving_all
from benchmarks.traffic import traffic_ratios, traffic_table

CONTENDERS = (RAW, OURS, WEBSOCKETS, TUNED, FALCON, LITESTAR, SOCKETIO, CHANNELS)
TARGET = 0.92


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of its own."""
    parser.add_argument('--members', type=int, default=1000)
    parser.add_argument('--bytes', type=int, default=200, help='of a message that is delivered')


def run(options: argparse.Namespace) -> Report:
    """Measure."""
    around = len(b'{"type":"said","payload":{"text":""}}')

    def measure(order: Sequence[Contender]) -> list[Sample]:
        payload = {'text': 'x' * (options.bytes - around)}
        with serving_all([each.app for each in order]) as servers:
            return in_own_process(
                measure_room,
                [
                    Participant(server, each.dialect, each.dialect.message('say', payload))
                    for server, each in zip(servers, order, strict=True)
                ],
                members=options.members,
                turns=options.turns,
                turn_seconds=options.turn_seconds,
            )

    found = in_rounds(chosen(CONTENDERS, options.only), options.rounds, measure)
    title = (
        f'one speaker, {options.members:,} members, {options.bytes} bytes (target: {TARGET:.2f})'
    )
    ratios = traffic_ratios(found)
    plot = Plot(
        f'Broadcast to {options.members:,}: deliveries for the same server CPU',
        'of raw ASGI',
        [contender.title for contender in found],
        [Series('', [ratio.median for ratio in ratios.values()])],
        TARGET,
    )
    return Report('broadcast', [traffic_table(title, 'deliveries', found)], [plot])
