"""Cluster: what one delivery costs to a room on two processes, with one Redis between them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import cycle
import statistics

from benchmarks.contenders import (
    CHANNELS_PUBSUB,
    CHANNELS_REDIS,
    OURS_REDIS,
    SOCKETIO_REDIS,
    Contender,
    chosen,
)
from benchmarks.load.cluster import Cluster, Crossing, measure_cluster
from benchmarks.load.process import in_own_process
from benchmarks.redis_server import URL_VARIABLE, redis_url, redis_version, serving_redis
from benchmarks.report import Plot, Report, Series
from benchmarks.rounds import in_rounds
from benchmarks.servers import serving_all
from benchmarks.traffic import traffic_ratios, traffic_table

CONTENDERS = (OURS_REDIS, SOCKETIO_REDIS, CHANNELS_PUBSUB, CHANNELS_REDIS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of its own."""
    parser.add_argument('--members', type=int, default=50, help='at each of the two processes')
    parser.add_argument('--bytes', type=int, default=200, help='of a message that is delivered')


def run(options: argparse.Namespace) -> Report:
    """Measure; every other round the speaker is at the other process."""
    around = len(b'{"type":"said","payload":{"text":""}}')
    speaking = cycle((0, 1))

    def measure(order: Sequence[Contender]) -> list[Crossing]:
        # A new Redis in each round too: what killed processes have left there would cost
        # channels_redis something for each message.
        with (
            serving_redis() as redis,
            serving_all(
                [each.app for each in order for _ in range(2)],
                variables={URL_VARIABLE: redis_url(redis)},
            ) as servers,
        ):
            return in_own_process(
                measure_cluster,
                [
                    Cluster(each.name, pair, each.dialect)
                    for each, pair in zip(
                        order, zip(servers[::2], servers[1::2], strict=True), strict=True
                    )
                ],
                redis,
                members=options.members,
                size=options.bytes - around,
                speaking=next(speaking),
                turns=options.turns,
                turn_seconds=options.turn_seconds,
            )

    found = in_rounds(chosen(CONTENDERS, options.only), options.rounds, measure)
    samples = {who: [each.sample for each in rounds] for who, rounds in found.items()}
    columns: dict[str, Callable[[list[Crossing]], str]] = {
        'Redis CPU each, µs': _redis_cost,
        'p50 to the other process, ms': _across,
        'delivered': _delivered,
        'out of order': _disordered,
    }
    title = (
        f'one speaker, {options.members} members at each of two processes, {options.bytes} bytes, '
        f'Redis {redis_version()}'
    )
    table = traffic_table(
        title,
        'deliveries',
        samples,
        more={name: [cell(rounds) for rounds in found.values()] for name, cell in columns.items()},
    )
    plot = Plot(
        'Broadcast on two processes: deliveries for the same server CPU',
        f'of {OURS_REDIS.title}',
        [contender.title for contender in found],
        [Series('', [ratio.median for ratio in traffic_ratios(samples).values()])],
    )
    return Report('cluster', [table], [plot])


def _redis_cost(rounds: list[Crossing]) -> str:
    return f'{statistics.median(each.sample.shared_cost_microseconds for each in rounds):.2f}'


def _across(rounds: list[Crossing]) -> str:
    medians = [each.across_p50_seconds for each in rounds if each.across_p50_seconds is not None]
    return f'{statistics.median(medians) * 1e3:.2f}' if medians else 'nothing came'


def _delivered(rounds: list[Crossing]) -> str:
    came, due = sum(each.sample.messages for each in rounds), sum(each.due for each in rounds)
    return 'all' if came == due else f'{came:,} of {due:,}'


def _disordered(rounds: list[Crossing]) -> str:
    return f'{sum(each.disordered for each in rounds):,}'
