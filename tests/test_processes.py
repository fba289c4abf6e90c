"""Processes behind one Redis, with real clients: what is promised of several machines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
import os
import signal
import sys
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from falcon_ws_mw.calls import ANSWER_SECONDS

from .redis_server import RedisServer, redis_server
from .servers import PATIENCE_SECONDS, Client, listener

__all__ = ['redis_server']

LEASE_SECONDS = 2


class Process:
    """One server, and its clients."""

    def __init__(self, port: int, process: asyncio.subprocess.Process) -> None:
        self.port = port
        self.process = process

    @asynccontextmanager
    async def client(self, room: str, user: str = 'somebody') -> AsyncIterator[Client]:
        url = f'ws://127.0.0.1:{self.port}/rooms/{room}'
        headers = {'X-User': user}
        async with connect(
            url,
            additional_headers=headers,
            max_queue=None,
            compression=None,
            open_timeout=3 * PATIENCE_SECONDS,  # the process may be starting
        ) as connection:
            yield Client(connection)

    @asynccontextmanager
    async def clients(self, count: int, room: str, user: str) -> AsyncIterator[list[Client]]:
        async with AsyncExitStack() as stack:
            entering = (self.client(room, user) for _ in range(count))
            yield [await stack.enter_async_context(each) for each in entering]


@asynccontextmanager
async def serve(backend: str) -> AsyncIterator[Process]:
    with listener() as listening:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *('-m', 'uvicorn', 'tests.linked_app:app', '--fd', str(listening.fileno())),
            *('--log-level', 'error', '--timeout-graceful-shutdown', '2'),
            *('--ws-per-message-deflate', 'false', '--ws-max-size', '65536'),
            env={**os.environ, 'LINKED_APP_BACKEND': backend},
            pass_fds=[listening.fileno()],
        )
        try:
            yield Process(int(listening.getsockname()[1]), process)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await process.wait()


async def ask(client: Client, type: str, payload: Any) -> Any:
    await client.send({'type': type, 'payload': payload, 'id': 1})
    while True:
        answer = await client.receive()
        if isinstance(answer, dict):
            return answer['payload']


async def look(client: Client, room: str) -> dict[str, Any]:
    seen: dict[str, Any] = await ask(client, 'look', room)
    return seen


async def numbers_of(connection: ClientConnection, count: int) -> list[int]:
    async with asyncio.timeout(60):
        return [int(await connection.recv()) for _ in range(count)]


@pytest.fixture
def url(redis_server: RedisServer) -> str:
    return f'{redis_server.url}?lease_seconds={LEASE_SECONDS}'


@pytest.mark.timeout(120)
async def test_two_hundred_thousand_deliveries_come_once_and_in_one_order(url: str) -> None:
    async with (
        serve(url) as a,
        serve(url) as b,
        a.clients(50, 'room', 'ada') as those_of_a,
        b.clients(50, 'room', 'bob') as those_of_b,
    ):
        clients = [*those_of_a, *those_of_b]
        reading = [asyncio.create_task(numbers_of(each.connection, 2_000)) for each in clients]
        for index, client in enumerate((those_of_a[0], those_of_b[0])):
            await client.send(
                {
                    'type': 'say',
                    'payload': {'first': index, 'step': 2, 'count': 1_000, 'at_once': 10},
                }
            )
        received = await asyncio.gather(*reading)
    assert sorted(received[0]) == list(range(2_000))
    assert all(each == received[0] for each in received)
    for index in range(2):
        assert [each for each in received[0] if each % 2 == index] == [*range(index, 2_000, 2)]


async def test_what_a_killed_process_held_is_gone_within_its_lease(url: str) -> None:
    async with serve(url) as a, serve(url) as b, a.client('room', 'ada') as watcher:
        async with b.clients(200, 'room', 'bob'):
            seen = await look(watcher, 'room')
            assert (seen['count'], seen['users']) == (201, {'ada': 1, 'bob': 200})
            b.process.kill()
            clock = asyncio.get_running_loop().time
            began, longest, count = clock(), 0.0, 201
            asked = still_there = began
            while count != 1:
                still_there, asked = asked, clock()
                count = await ask(watcher, 'count', 'room')
                longest = max(longest, clock() - asked)
                await asyncio.sleep(0.02)
            assert still_there - began <= LEASE_SECONDS + 0.2  # its last word may be under way
            assert longest < ANSWER_SECONDS / 2, 'nobody waits for it as for an answer'
            assert (await look(watcher, 'room'))['users'] == {'ada': 1}
            await b.process.wait()
