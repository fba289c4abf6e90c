"""Stalled: what a room suffers from one member that never reads."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
import statistics

from benchmarks.contenders import FALCON, OURS, TUNED, Contender, chosen
from benchmarks.load.process import in_own_process
from benchmarks.load.stalled import Endurance, measure_stalled
from benchmarks.report import Report, Table
from benchmarks.servers import serving

CONTENDERS = (OURS, FALCON, TUNED)
MIB = 1024**2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of its own."""
    parser.add_argument('--members', type=int, default=1000)
    parser.add_argument('--messages', type=int, default=200)
    parser.add_argument('--bytes', type=int, default=32_768, help='of a message')


def run(options: argparse.Namespace) -> Report:
    """Measure each contender with nobody stalled and with one."""

    def measure(contender: Contender, stalled: int) -> Endurance:
        with serving(contender.app) as server:
            return in_own_process(
                measure_stalled,
                server,
                contender.dialect,
                members=options.members,
                stalled=stalled,
                messages=options.messages,
                size=options.bytes,
                patience_seconds=10.0,
            )

    rows = []
    for contender in chosen(CONTENDERS, options.only):
        rounds = options.rounds if contender is OURS else 1  # the others are a remark
        pairs = [_pair(partial(measure, contender), number) for number in range(rounds)]
        ratio = statistics.median(one.seconds / nobody.seconds for nobody, one in pairs)
        for stalled, found in enumerate(zip(*pairs, strict=True)):
            title = f'{contender.title}, {"one" if stalled else "nobody"} stalled'
            rows.append(_row(title, found, options, ratio if stalled else 1.0))
    table = Table(
        f'{options.members:,} members, {options.messages} messages of {options.bytes:,} bytes '
        '(targets: nothing lost, at most 1.10 times as long, silence at most 0.1 s)',
        [
            '',
            'time of nobody stalled',
            'seconds',
            'readers with all, in order',
            'messages that all got',
            'longest silence, s',
            'memory, MiB',
            'evicted after, s',
        ],
        rows,
    )
    return Report('stalled', [table])


def _pair(measure: Callable[[int], Endurance], number: int) -> tuple[Endurance, Endurance]:
    """Without and with a stalled member, every other time in the opposite order."""
    if number % 2:
        one = measure(1)
        return measure(0), one
    return measure(0), measure(1)


def _row(
    title: str, found: tuple[Endurance, ...], options: argparse.Namespace, ratio: float
) -> list[str]:
    dead = any(each.messages < options.messages for each in found)
    readers = options.members - title.endswith('one stalled')
    evicted = [each.evicted_seconds for each in found if each.evicted_seconds is not None]
    return [
        title,
        'the room is dead' if dead else f'{ratio:.2f}',
        f'{statistics.median(each.seconds for each in found):.2f}',
        f'{min(each.complete for each in found)} of {readers}',
        f'{min(each.messages for each in found)} of {options.messages}',
        'for good' if dead else f'{max(each.silence_seconds for each in found):.3f}',
        f'+{max(each.growth_bytes for each in found) / MIB:.1f}',
        f'{max(evicted):.1f}' if evicted else '',
    ]
