"""Measure: ratios taken in one run against a named base.

python -m benchmarks all                         as `make bench` does
python -m benchmarks dispatch --only raw ours    one, and of its contenders some
"""

from __future__ import annotations

import argparse
import time

from benchmarks.environment import environment
from benchmarks.suite import BENCHMARKS, Benchmark


def main() -> None:
    """Measure what the command line says, and print it."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks', description=(__doc__ or '').partition('\n')[0]
    )
    commands = parser.add_subparsers(dest='name', required=True)
    for name, benchmark in BENCHMARKS.items():
        _add_command(commands, name, benchmark)
    everything = commands.add_parser('all', help='All of them.')
    for command in commands.choices.values():
        command.add_argument('--quick', action='store_true', help='for a first look')
        command.add_argument('--write', action='store_true', help='into docs/benchmarks.md')
    options, rest = parser.parse_known_args()
    if rest:
        everything.error(f'unknown: {" ".join(rest)}')
    if options.write and (options.quick or getattr(options, 'only', None)):
        everything.error('--write is for whole measurements')
    print(f'{environment()}\n')
    names = list(BENCHMARKS) if options.name == 'all' else [options.name]
    for name in names:
        if options.quick:
            commands.choices[name].set_defaults(**BENCHMARKS[name].quick)
        chosen = parser.parse_args([name] if options.name == 'all' else None)
        _measure(name, chosen, write=options.write)


def _add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, benchmark: Benchmark
) -> None:
    summary = (benchmark.summary or '').partition('\n')[0].partition(': ')[2]
    command = commands.add_parser(name, help=summary, description=summary)
    command.add_argument('--only', nargs='+', metavar='NAME', help='some contenders, and the base')
    command.add_argument('--rounds', type=int, help='each begins with new processes')
    if 'turns' in benchmark.defaults:
        command.add_argument('--turns', type=int, help="each contender's in a round")
        command.add_argument('--turn-seconds', type=float)
    benchmark.add_arguments(command)
    command.set_defaults(**benchmark.defaults)


def _measure(name: str, options: argparse.Namespace, *, write: bool) -> None:
    start = time.monotonic()
    report = BENCHMARKS[name].run(options)
    print(f'{name} ({time.monotonic() - start:.0f} s)\n\n{report}\n', flush=True)
    if write:
        from benchmarks.page import write_report  # noqa: PLC0415 (matplotlib takes a second)

        write_report(report, f'python -m benchmarks {name} --rounds {options.rounds}')


if __name__ == '__main__':
    main()
