"""A flood between processes, while their connections to Redis are closed again and again."""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import dataclass
import json
import logging
from pathlib import Path
import subprocess
import sys
import tempfile
import time
from typing import Any

from falcon_ws_mw import AsyncEmitter, BackendUnavailable
from tests.linked import nodes
from tests.redis_server import RedisServer
from tests.soak.verdict import Check, verdict

ROOM = 'lobby'
AT_ONCE = 256
RECEIVERS = 2
SETTLE_SECONDS = 6
"""Redis is back at once, so that all is reported after 5 s."""


@dataclass
class Said:
    """What the speaker says at its end."""

    sent: int
    refused: int
    busiest: int
    """Messages in the busiest second."""


async def receive(url: str) -> None:
    """Be a process with a member of the room, until a line comes; then say what it has got."""
    async with nodes(url) as (node,):
        member = await node.member(ROOM)
        print('ready', flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        numbers = member.numbers
        print(
            json.dumps(
                {
                    'received': len(numbers),
                    'twice': len(numbers) - len(set(numbers)),
                    'in order': numbers == sorted(numbers),
                    'reported': node.lost(ROOM),
                    'gaps': len(node.gaps),
                    'sessions': node.health.connects,
                }
            ),
            flush=True,
        )


async def speak(url: str, seconds: float) -> None:
    """Be a process that says numbers, as fast as it can."""
    sent = refused = 0
    by_second: dict[int, int] = {}

    async def say(emitter: AsyncEmitter, number: int) -> None:
        nonlocal refused
        try:
            await emitter.broadcast_to_room(ROOM, str(number))
        except BackendUnavailable:
            refused += 1

    async with AsyncEmitter(url) as emitter:
        began = time.monotonic()
        while (elapsed := time.monotonic() - began) < seconds:
            await asyncio.gather(*(say(emitter, sent + each) for each in range(AT_ONCE)))
            sent += AT_ONCE
            by_second[int(elapsed)] = by_second.get(int(elapsed), 0) + AT_ONCE
    print(json.dumps({'sent': sent, 'refused': refused, 'busiest': max(by_second.values())}))


def run(options: argparse.Namespace) -> bool:
    """Close all connections so many times, and see that each loss was reported."""
    checks: list[Check] = []
    with tempfile.TemporaryDirectory() as directory:
        server = RedisServer(Path(directory))
        server.start()
        try:
            receivers = [_process('receive', server.url) for _ in range(RECEIVERS)]
            for each in receivers:
                _line_of(each)
            pause = 0.4
            speaker = _process('speak', server.url, str(options.cuts * pause + 3))
            time.sleep(1.5)
            for _ in range(options.cuts):
                time.sleep(pause)
                server.cut_clients()
            said = Said(**json.loads(_line_of(speaker)))
            speaker.wait()
            time.sleep(SETTLE_SECONDS)
            with server.client() as client:
                counted = int(client.hget(f'falcon_ws:r:{ROOM}', 'number') or 0)
            print(
                f'{said.sent:,} messages, {said.busiest:,} in the busiest second, '
                f'{options.cuts} times all connections closed; {said.refused} refused'
            )
            taken = said.sent - said.refused
            checks.append(Check('taken, and not counted', abs(taken - counted), 0))
            for each in receivers:
                assert each.stdin is not None
                each.stdin.write('\n')
                each.stdin.flush()
                found: dict[str, Any] = json.loads(_line_of(each))
                each.wait()
                print(found)
                missed = counted - found['received']
                checks += (
                    Check('lost, and not reported', abs(missed - found['reported']), 0),
                    Check('received twice', found['twice'], 0),
                    Check('received out of order', not found['in order'], 0),
                )
        finally:
            server.kill()
    return verdict(checks)


def _process(*args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, '-m', 'tests.soak.outages', *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


if __name__ == '__main__':
    logging.disable(logging.CRITICAL)  # each outage has its lines
    if sys.argv[1] == 'receive':
        asyncio.run(receive(sys.argv[2]))
    else:
        asyncio.run(speak(sys.argv[2], float(sys.argv[3])))
