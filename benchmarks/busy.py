"""Busy: what becomes of a connection whose handler takes long, under the server's pings."""

from __future__ import annotations

import argparse

from benchmarks.contenders import FALCON_BUSY, OURS_BUSY, Contender, chosen
from benchmarks.load.busy import Service, measure_busy
from benchmarks.load.process import in_own_process
from benchmarks.report import Report, Table
from benchmarks.servers import serving

CONTENDERS = (OURS_BUSY, FALCON_BUSY)
PING_SECONDS = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of its own."""
    parser.add_argument('--busy-seconds', type=float, default=10.0)
    parser.add_argument('--messages', type=int, default=200)


def run(options: argparse.Namespace) -> Report:
    """Measure."""

    def measure(contender: Contender) -> Service:
        with serving(contender.app, '--ping', str(PING_SECONDS)) as server:
            return in_own_process(
                measure_busy,
                server,
                contender.dialect,
                busy_seconds=options.busy_seconds,
                messages=options.messages,
            )

    rows = []
    for contender in chosen(CONTENDERS, options.only):
        found = measure(contender)
        fate = 'it lives'
        if found.ended_seconds is not None:
            fate = f'closed {found.close_code} after {found.ended_seconds:.1f} s'
        noticed = 'not while busy'
        if found.noticed_seconds is not None:
            noticed = f'{found.noticed_seconds:.3f}'
        order = ('yes' if found.in_order else 'no') if found.handled else ''
        handled = f'{found.handled} of {options.messages}'
        rows.append([contender.title, fate, handled, order, noticed])
    table = Table(
        f'busy for {options.busy_seconds:.0f} s, {options.messages} messages behind it, '
        f'pings every {PING_SECONDS} s with {PING_SECONDS} s to answer '
        '(target: it lives, all are handled in order, an abort is noticed within 1 s)',
        ['', 'the connection', 'handled', 'in order', 'abort noticed after, s'],
        rows,
    )
    return Report('busy', [table])
