"""What Redis has to do: `python -m benchmarks.sizing`, for the section "Sizing" of the docs.

No comparison: these are orders of magnitude, of one machine. Processes are managers of this one.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
import time

import redis

from benchmarks.environment import environment
from benchmarks.redis_server import redis_url, serving_redis
from falcon_ws_mw import AsyncEmitter, WebSocketConnectionManager
from falcon_ws_mw.connection import Connection
from falcon_ws_mw.options import Limits

ROOMS = 20_000
MESSAGES = 5_000
AT_ONCE = 128
TEXT = 'x' * 200
PROCESSES = (1, 2, 8)


class _Peer:
    """Takes whatever it is sent, at once."""

    async def send(self, event: object) -> None:
        pass


def _member(manager: WebSocketConnectionManager) -> str:
    connection = Connection(
        manager.new_id(), _Peer().send, limits=Limits(max_rooms_per_connection=None)
    )
    connection.codec = manager.codecs.default
    manager.add_connection(connection.id, connection)
    connection.opened()
    return connection.id


def _cpu_seconds(client: redis.Redis) -> float:
    used = client.info('cpu')
    return float(used['used_cpu_user'] + used['used_cpu_sys'])


async def _measure_rooms(url: str, client: redis.Redis) -> None:
    manager = WebSocketConnectionManager(url)
    await manager.start()
    member = _member(manager)
    memory, began = client.info('memory')['used_memory'], time.perf_counter()
    await asyncio.gather(*(manager.join_room(member, f'room {each}') for each in range(ROOMS)))
    seconds = time.perf_counter() - began
    memory = client.info('memory')['used_memory'] - memory
    print(f'{ROOMS:,} rooms: {seconds:.1f} s, {memory / ROOMS:.0f} bytes of Redis for each')
    manager.forget_all()
    await manager.stop()


async def _measure_messages(url: str, client: redis.Redis, processes: int) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(processes):
            manager = WebSocketConnectionManager(url)
            await manager.start()
            stack.push_async_callback(manager.stop)
            await manager.join_room(_member(manager), 'room')
        emitter = await stack.enter_async_context(AsyncEmitter(url))
        before = _cpu_seconds(client)
        for _ in range(MESSAGES):
            await emitter.broadcast_to_room('room', TEXT)
        alone = _cpu_seconds(client) - before
        for _ in range(MESSAGES // AT_ONCE):
            said = (emitter.broadcast_to_room('room', TEXT) for _ in range(AT_ONCE))
            await asyncio.gather(*said)
        together = _cpu_seconds(client) - before - alone
    print(
        f'{processes} processes: {alone / MESSAGES * 1e6:.0f} us of Redis for a message by itself, '
        f'{together / (MESSAGES // AT_ONCE * AT_ONCE) * 1e6:.0f} us of {AT_ONCE} at once'
    )


async def _measure() -> None:
    with serving_redis() as server, redis.Redis(port=server.port) as client:
        await _measure_rooms(redis_url(server), client)
        for processes in PROCESSES:
            await _measure_messages(redis_url(server), client, processes)


if __name__ == '__main__':
    print(environment())
    asyncio.run(_measure())
