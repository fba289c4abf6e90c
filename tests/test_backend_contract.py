"""The backends that are here keep what the port promises; so the laws of that can be kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
import itertools
from pathlib import Path

import pytest

from falcon_ws_mw.backends import MemoryBackend, open_backend
from falcon_ws_mw.reports import ConnectionState
from falcon_ws_mw.testing.backend_contract import LAWS, Law
from falcon_ws_mw.testing.nodes import Node, fresh, linked

from .redis_server import RedisCluster, RedisServer, needs_redis, redis_cluster
from .servers import PATIENCE_SECONDS

__all__ = ['redis_cluster']

each_law = pytest.mark.parametrize('law', LAWS, ids=lambda law: law.__name__)

numbers = itertools.count()


@pytest.fixture(scope='module')
def redis_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for all laws: each has a prefix of its own."""
    needs_redis()
    directory: Path = tmp_path_factory.mktemp('redis')
    server = RedisServer(directory)
    server.start()
    yield server
    server.kill()


@each_law
async def test_memory_keeps(law: Law) -> None:
    url = f'memory://contract-{next(numbers)}'

    await law(lambda: MemoryBackend(url))


@each_law
async def test_redis_keeps(law: Law, redis_of_module: RedisServer) -> None:
    server = redis_of_module
    prefix = f'contract-{next(numbers)}'
    url = server.url.replace('redis://', 'redis://default:secret@')  # any password will do

    await law(lambda: open_backend(f'{url}?prefix={prefix}'))

    left = server.keys()
    assert [key for key in left if key.startswith(prefix)] == []
    await nobody_is_connected(server)


@each_law
async def test_a_redis_cluster_keeps(law: Law, redis_cluster: RedisCluster) -> None:
    prefix = f'contract-{next(numbers)}'
    url = redis_cluster.url

    await law(lambda: open_backend(f'{url}?prefix={prefix}'))

    left = [key for server in redis_cluster.servers for key in server.keys()]  # noqa: SIM118
    assert [key for key in left if prefix in key] == []


async def test_what_is_given_up_while_redis_is_away_is_not_held_when_it_is_back(
    redis_of_module: RedisServer,
) -> None:
    url = f'{redis_of_module.url}?prefix=contract-{next(numbers)}'
    kept, given_up = fresh(), fresh()
    async with linked(lambda: open_backend(url), 2) as (one, other):
        await one.hold(kept, given_up)
        redis_of_module.cut_clients()
        await state_is(one, 'connecting')
        await one.hold(given_up, count=0)
        await state_is(one, 'connected')

        assert await other.holders(given_up) == {}
        assert await other.holders(kept) == {one.id: 1}


async def test_a_stop_that_is_cancelled_leaves_no_task_behind(
    redis_of_module: RedisServer,
) -> None:
    before = asyncio.all_tasks()
    node = Node(open_backend(redis_of_module.url))
    await node.start()
    redis_of_module.pause()
    try:
        stop = asyncio.ensure_future(node.backend.stop())
        await asyncio.sleep(0)  # it has begun to wait
        stop.cancel()
        await asyncio.wait([stop])
    finally:
        redis_of_module.resume()

    assert node.backend.health().state == 'stopped'
    left = asyncio.all_tasks() - before
    if left:
        _, pending = await asyncio.wait(left, timeout=PATIENCE_SECONDS)
        assert not pending


async def state_is(node: Node, state: ConnectionState) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while node.backend.health().state != state:
            await asyncio.sleep(0)


async def nobody_is_connected(server: RedisServer) -> None:
    """Wait until the server, too, has noticed that all connections were closed."""
    with server.client() as client:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(client.client_list()) > 1:
                await asyncio.sleep(0.01)
    assert server.channels() == []
