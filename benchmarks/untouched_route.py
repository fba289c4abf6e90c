"""Untouched: what the library costs a WebSocket route that does not use it.

Two processes serve the same Falcon app with the same old echo loop, one with the library installed
and one without. Two processes of the same program differ by more than what is looked for here
(addresses, hash seeds), so there are many rounds, and each starts both anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from benchmarks.contenders import UNTOUCHED_WITH, UNTOUCHED_WITHOUT, Contender
from benchmarks.load.echo import measure_echo
from benchmarks.load.process import in_own_process
from benchmarks.load.sample import Sample
from benchmarks.load.turns import Participant
from benchmarks.report import Report
from benchmarks.rounds import in_rounds
from benchmarks.servers import serving_all
from benchmarks.traffic import traffic_table

TARGET = 0.99


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of its own."""
    parser.add_argument('--connections', type=int, default=50)
    parser.add_argument('--characters', type=int, default=100, help='of a message')


def run(options: argparse.Namespace) -> Report:
    """Measure."""

    def measure(order: Sequence[Contender]) -> list[Sample]:
        text = b'x' * options.characters
        with serving_all([each.app for each in order]) as servers:
            (samples,) = in_own_process(
                measure_echo,
                [
                    Participant(server, each.dialect, text)
                    for server, each in zip(servers, order, strict=True)
                ],
                connections=options.connections,
                depths=[1],
                turns=options.turns,
                turn_seconds=options.turn_seconds,
            )
        return samples

    found = in_rounds((UNTOUCHED_WITHOUT, UNTOUCHED_WITH), options.rounds, measure)
    title = f'{options.connections} connections, an old loop (target: at least {TARGET})'
    return Report('untouched', [traffic_table(title, 'messages', found, digits=3)])
