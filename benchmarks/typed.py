"""Typed: what it costs that a payload is checked and built by its annotation.

The same handler in the same app, its payload annotated in different ways; the base has none.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from benchmarks.contenders import TYPED, Contender, chosen
from benchmarks.load.echo import measure_echo
from benchmarks.load.process import in_own_process
from benchmarks.load.sample import Sample
from benchmarks.load.turns import Participant
from benchmarks.report import Report
from benchmarks.rounds import in_rounds
from benchmarks.servers import serving_all
from benchmarks.traffic import traffic_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of its own."""
    parser.add_argument('--connections', type=int, default=100)
    parser.add_argument('--characters', type=int, default=100, help='of text in a message')


def run(options: argparse.Namespace) -> Report:
    """Measure."""
    payload = {'text': 'x' * options.characters, 'reply_to': 17, 'tags': ['a', 'b', 'c']}

    def measure(order: Sequence[Contender]) -> list[Sample]:
        with serving_all([each.app for each in order]) as servers:
            (samples,) = in_own_process(
                measure_echo,
                [
                    Participant(server, each.dialect, each.dialect.message('echo', payload))
                    for server, each in zip(servers, order, strict=True)
                ],
                connections=options.connections,
                depths=[1],
                turns=options.turns,
                turn_seconds=options.turn_seconds,
            )
        return samples

    found = in_rounds(chosen(TYPED, options.only), options.rounds, measure)
    title = (
        f'{options.connections} connections, a payload of three fields '
        '(target: msgspec at least 0.91, pydantic at least 0.63)'
    )
    return Report('typed', [traffic_table(title, 'messages', found)])
