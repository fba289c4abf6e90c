"""What happens to Redis, and what is said of it: no silent loss, and nothing comes twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
import logging
import re
import time
from typing import Any

import pytest
from redis.crc import key_slot

from falcon_ws_mw import BackendUnavailable
from falcon_ws_mw.backends.redis import RedisBackend

from .conftest import Logs
from .linked import Member, Node, nodes, until
from .redis_server import (
    RedisCluster,
    RedisServer,
    Watched,
    lasting_redis,
    redis_cluster,
    redis_server,
    watched_redis,
    wire_to,
)

__all__ = ['lasting_redis', 'redis_cluster', 'redis_server', 'watched_redis']

REPORT_SECONDS = 5
"""How soon after Redis is back each loss has to be reported."""

ROOM = 'lobby'


class Flood:
    """Sends numbers to a room, from several nodes, until it is stopped.

    Attributes:
        taken: Those that were sent.
        refused: Those of which their sender was told that they were not, in time.
    """

    AT_ONCE = 64

    def __init__(self, *senders: Node) -> None:
        self.taken: list[int] = []
        self.refused: list[int] = []
        self._senders = senders
        self._next = 0
        self._is_over = False

    async def send_one(self, node: Node) -> None:
        self._next += 1
        number = self._next
        try:
            await node.manager.broadcast_to_room(ROOM, str(number))
        except BackendUnavailable:
            self.refused.append(number)
        else:
            self.taken.append(number)

    async def run(self, node: Node) -> None:
        while not self._is_over:
            await asyncio.gather(*(self.send_one(node) for _ in range(self.AT_ONCE)))

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.run(node)) for node in self._senders]
        try:
            await until(lambda: len(self.taken) > 1_000)
            yield
            before = len(self.taken)
            await until(lambda: len(self.taken) > before + 1_000, 20)
        finally:
            self._is_over = True
            await asyncio.gather(*tasks)


async def check_order(members: list[Member]) -> None:
    """Each number once, and two members got what both got in one order."""
    received = [member.numbers for member in members]
    for numbers in received:
        assert len(set(numbers)) == len(numbers), 'something came twice'
    first = received[0]
    place = {number: index for index, number in enumerate(first)}
    for numbers in received[1:]:
        common = [place[number] for number in numbers if number in place]
        assert common == sorted(common), 'not one order'


async def count_of(server: RedisServer) -> int:
    """How many messages to the room Redis has counted."""
    with server.client() as client:
        counted: bytes | None = await asyncio.to_thread(
            client.hget, f'falcon_ws:r:{ROOM}', 'number'
        )
    return int(counted or 0)


async def check_exact(server: RedisServer, node: Node, member: Member) -> None:
    """What was lost is what was reported."""
    counted = await count_of(server)
    missing = counted - len(member.texts)
    await until(lambda: node.lost(ROOM) == missing, REPORT_SECONDS)


async def check_alive(those: list[Node]) -> None:
    """All is as it was: they are in touch, hold what they held, and can hold more."""
    for node in those:
        await node.connected(REPORT_SECONDS)
    late = [await node.member('later', ROOM) for node in those]
    for node in those:
        await node.manager.broadcast_to_room('later', '0')
    for member in late:
        await member.gets(len(those))
        assert member.texts.count('0') == len(those)
    for node in those:
        assert await node.manager.count_connections_in_room(ROOM) == 2 * len(those)


async def test_clients_killed_sixteen_times_under_load(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with nodes(*[redis_server.url] * 2) as (a, b):
        members = [await node.member(ROOM) for node in (a, b)]
        flood = Flood(a, b)
        async with flood.going_on():
            for _ in range(16):
                before = len(flood.taken)
                await asyncio.to_thread(redis_server.cut_clients)
                await until(lambda before=before: len(flood.taken) > before + 500)  # type: ignore[misc]
        for node, member in zip((a, b), members, strict=True):
            await check_exact(redis_server, node, member)
        await check_order(members)
        assert not flood.refused
        await check_alive([a, b])


@pytest.mark.parametrize('end', [RedisServer.stop, RedisServer.kill], ids=['stop', 'kill'])
async def test_a_restart_that_keeps_the_counts(
    lasting_redis: RedisServer,
    end: Callable[[RedisServer], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with nodes(*[lasting_redis.url] * 2) as (a, b):
        members = [await node.member(ROOM) for node in (a, b)]
        flood = Flood(a, b)
        async with flood.going_on():
            await asyncio.to_thread(end, lasting_redis)
            await asyncio.to_thread(lasting_redis.start)
        for node, member in zip((a, b), members, strict=True):
            await check_exact(lasting_redis, node, member)
        await check_order(members)
        await check_alive([a, b])


@pytest.mark.parametrize('end', [RedisServer.stop, RedisServer.kill], ids=['stop', 'kill'])
async def test_a_restart_that_loses_the_counts(
    redis_server: RedisServer,
    end: Callable[[RedisServer], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with nodes(*[redis_server.url] * 2) as (a, b):
        members = [await node.member(ROOM) for node in (a, b)]
        flood = Flood(a, b)
        async with flood.going_on():
            await asyncio.to_thread(end, redis_server)
            await asyncio.to_thread(redis_server.start)
            for node in (a, b):
                await until(lambda node=node: node.lost(ROOM) is None, REPORT_SECONDS)  # type: ignore[misc]
        await check_order(members)
        await check_alive([a, b])
        epochs = {gap.epoch for gap in a.gaps}
        assert len(epochs) == 1


async def test_a_pause_of_three_seconds(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with nodes(*[redis_server.url] * 2) as (a, b):
        members = [await node.member(ROOM) for node in (a, b)]
        flood = Flood(a, b)
        async with flood.going_on():
            redis_server.pause()
            await asyncio.sleep(3)  # it is time itself that is tried here
            redis_server.resume()
        for node, member in zip((a, b), members, strict=True):
            await check_exact(redis_server, node, member)
        await check_order(members)
        await check_alive([a, b])


@pytest.mark.parametrize('reset', [True, False], ids=['reset', 'late'])
async def test_one_of_two_is_cut_off_for_ten_seconds(
    redis_server: RedisServer, reset: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with wire_to(redis_server) as wire, nodes(redis_server.url, wire.url) as (a, b):
        members = [await node.member(ROOM) for node in (a, b)]
        flood = Flood(a)
        async with flood.going_on():
            wire.cut()
            began = time.monotonic()
            with pytest.raises(BackendUnavailable, match='within 5 s'):
                await b.manager.broadcast_to_room(ROOM, '0')
            await b.manager.send_to_connection(members[1].id, '-1')
            assert members[1].texts[-1] == '-1', 'who is here is reached'
            alone = await b.member('alone')
            assert alone.id in b.manager.connections
            await asyncio.sleep(max(0, began + 10 - time.monotonic()))
            wire.mend(reset=reset)
            await b.connected(REPORT_SECONDS)
        members[1].texts.remove('-1')
        for node, member in zip((a, b), members, strict=True):
            await check_exact(redis_server, node, member)
        assert a.lost(ROOM) == 0
        assert b.lost(ROOM)
        await check_order(members)
        await check_alive([a, b])


async def test_what_was_joined_meanwhile_may_have_missed_something(
    redis_server: RedisServer, logs: Logs
) -> None:
    async with wire_to(redis_server) as wire, nodes(wire.url) as (node,):
        wire.cut()
        await until(lambda: node.health.state == 'connecting', 15)
        member = await node.member('new')
        wire.mend()
        await node.connected()
        await until(lambda: len(node.gaps) == 2)
        assert {(gap.kind, gap.name, gap.lost) for gap in node.gaps} == {
            ('all', '', None),  # it was its first connection
            ('room', 'new', None),
        }
        await node.manager.broadcast_to_room('new', '1')
        assert member.texts == ['1']
    (lost, gap, back) = logs.take()
    assert 'cannot be reached: TimeoutError' in lost
    assert 'how many is not known' in gap
    assert 'is reached again' in back


async def test_who_comes_back_to_a_room_is_told_nothing_of_what_was_said_while_nobody_was_there(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with wire_to(redis_server) as wire, nodes(redis_server.url, wire.url) as (a, b):
        await a.member(ROOM)
        member = await b.member(ROOM)
        await a.manager.broadcast_to_room(ROOM, '0')
        await member.gets(1)
        wire.cut()
        await until(lambda: b.health.state == 'connecting')
        held = b.health.channels
        await b.manager.leave_room(member.id, ROOM)
        await until(lambda: b.health.channels == held - 1)
        for _ in range(5):
            await a.manager.broadcast_to_room(ROOM, '1')
        await b.manager.join_room(member.id, ROOM)
        wire.mend()
        await b.connected()
        await until(lambda: b.gaps != [])
        assert [(gap.name, gap.lost) for gap in b.gaps] == [(ROOM, None)]
        await a.manager.broadcast_to_room(ROOM, '2')
        await member.gets(2)
        assert member.texts == ['0', '2']
        assert a.gaps == []


async def test_who_joins_while_redis_is_told_of_very_much_may_have_missed_something(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, logs: Logs
) -> None:
    monkeypatch.setattr('falcon_ws_mw.interest.RETRY_SECONDS', 0.001)
    async with nodes(f'{redis_server.url}?timeout_seconds=1', redis_server.url) as (a, b):
        member = await a.member()
        await a.manager.get_room_names()  # that somebody is there has been told
        backend = a.manager.backend
        assert isinstance(backend, RedisBackend)
        async with backend._links[0]._lock:  # as while it is told
            await a.manager.join_room(member.id, ROOM)
            await b.manager.broadcast_to_room(ROOM, '0')
        await until(lambda: a.gaps != [])
        assert [(gap.name, gap.lost) for gap in a.gaps] == [(ROOM, None)]
        await b.manager.broadcast_to_room(ROOM, '1')
        await member.gets(1)
        assert member.texts == ['1']
    refused, gap = logs.take()
    assert 'Redis is being told of all that is held, for longer than 1 s' in refused
    assert 'how many is not known' in gap


async def test_who_leaves_before_an_outage_is_noticed_and_comes_back_is_told_the_same(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    url = '?timeout_seconds=1'
    async with (
        wire_to(redis_server) as wire,
        nodes(f'{redis_server.url}{url}', f'{wire.url}{url}') as (a, b),
    ):
        await a.member(ROOM)
        member = await b.member(ROOM)
        await a.manager.broadcast_to_room(ROOM, '0')
        await member.gets(1)
        wire.cut()
        await b.manager.leave_room(member.id, ROOM)
        await until(lambda: b.health.state == 'connecting')
        for _ in range(5):
            await a.manager.broadcast_to_room(ROOM, '1')
        await b.manager.join_room(member.id, ROOM)
        wire.mend()
        await b.connected()
        await until(lambda: b.gaps != [])
        assert [(gap.name, gap.lost) for gap in b.gaps] == [(ROOM, None)]


async def test_who_comes_back_to_a_room_that_redis_has_refused_to_give_up_is_told_no_wrong_number(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with nodes(redis_server.url, redis_server.url) as (a, b):
        await a.member(ROOM)
        member = await b.member(ROOM)
        with redis_server.client() as client:
            client.config_set('maxmemory', 1)
            await b.manager.leave_room(member.id, ROOM)
            await b.manager.join_room(member.id, 'new')  # both are brought at once, and refused
            client.config_set('maxmemory', 0)
        for _ in range(5):
            await a.manager.broadcast_to_room(ROOM, '1')
        await b.manager.join_room(member.id, ROOM)
        await a.manager.broadcast_to_room(ROOM, '2')
        await member.gets(1)
        assert member.texts == ['2']
        assert b.lost(ROOM) in {0, None}
    caplog.clear()


async def test_an_app_starts_without_redis_and_is_in_touch_when_it_comes(
    redis_server: RedisServer, logs: Logs
) -> None:
    redis_server.kill()
    async with nodes(redis_server.url) as (node,):
        member = await node.member(ROOM)
        sending = asyncio.create_task(node.manager.broadcast_to_room(ROOM, '1'))
        await asyncio.to_thread(redis_server.start)
        report = await sending
        assert (report.queued, member.texts) == (1, ['1'])
    assert any('cannot be reached' in line for line in logs.take())


async def test_without_redis_broadcasts_can_reach_whoever_is_here(
    redis_server: RedisServer, logs: Logs
) -> None:
    async with nodes(redis_server.url, outage_policy='local') as (node,):
        member = await node.member(ROOM)
        redis_server.kill()
        await until(lambda: node.health.state == 'connecting')
        report = await node.manager.broadcast_to_room(ROOM, '1')
        assert (report.queued, member.texts) == (1, ['1'])
    logs.take()


async def test_when_too_much_waits_senders_are_told_at_once(
    redis_server: RedisServer, logs: Logs
) -> None:
    async with nodes(f'{redis_server.url}?max_waiting=10&wait_seconds=0.5') as (node,):
        redis_server.kill()
        await until(lambda: node.health.state == 'connecting')
        results = await asyncio.gather(
            *(node.manager.broadcast_to_room(ROOM, str(each)) for each in range(15)),
            return_exceptions=True,
        )
        assert all(isinstance(each, BackendUnavailable) for each in results)
        assert sum('10 messages wait already' in str(each) for each in results) == 5
        assert node.health.unsent == 15
    logs.take()


async def test_who_is_away_is_not_said_to_be_gone(redis_server: RedisServer, logs: Logs) -> None:
    async with wire_to(redis_server) as wire, nodes(redis_server.url, wire.url) as (a, b):
        member = await b.member('room')
        await b.manager.identify(member.id, 'ada')
        with redis_server.client() as client:
            for _ in range(5):
                client.execute_command('CLIENT', 'KILL', 'TYPE', 'pubsub')
                await until(lambda: b.health.state == 'connecting')
                await a.manager.send_to_connection(member.id, 'x')
        assert member.texts == ['x'] * 5
        await asyncio.to_thread(redis_server.cut_clients)
        await until(lambda: b.health.state == 'connecting')
        assert await a.manager.close_user('ada') == 1
        assert member.close_code == 3403

        member = await b.member('room')
        await b.manager.identify(member.id, 'ada')
        wire.cut()
        await asyncio.to_thread(redis_server.cut_clients)
        await a.connected()
        for call in (
            a.manager.send_to_connection(member.id, 'y'),
            a.manager.close_connection(member.id),
            a.manager.close_user('ada'),
        ):
            with pytest.raises(BackendUnavailable, match='not in touch, or has just died'):
                await call
        assert await a.manager.get_users_in_room('room') == {}
        assert await a.manager.count_connections_in_room('room') == 1
        wire.mend()
        await b.connected(REPORT_SECONDS)
        assert await a.manager.close_user('ada') == 1
    logs.take()


async def test_who_stops_while_it_gets_in_touch_again_leaves_nothing(
    redis_server: RedisServer, logs: Logs
) -> None:
    async with nodes(redis_server.url) as (node,):
        await node.member('room')
        await asyncio.to_thread(redis_server.cut_clients)
        await until(lambda: node.health.state == 'connecting')
    assert redis_server.keys() == []
    logs.take()


async def test_a_start_that_is_cancelled_leaves_nothing_and_can_be_repeated(
    redis_server: RedisServer, logs: Logs
) -> None:
    before = asyncio.all_tasks()
    node = Node(redis_server.url)
    redis_server.pause()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await node.manager.start()
    assert asyncio.all_tasks() <= before
    redis_server.resume()
    await node.manager.start()
    await node.connected()
    await node.manager.stop()
    assert redis_server.keys() == []
    logs.take()


HANGING_SECONDS = 4
"""Within which everybody is told who asks a Redis that hangs, by the times of these tests."""


@pytest.mark.parametrize(
    'times', ['wait_seconds=1&timeout_seconds=5', 'wait_seconds=3&timeout_seconds=2']
)
async def test_who_looks_at_a_redis_that_hangs_waits_once(
    redis_server: RedisServer, times: str, logs: Logs
) -> None:
    async with nodes(f'{redis_server.url}?{times}') as (node,):
        manager = node.manager
        member = await node.member(ROOM)
        redis_server.pause()
        joining = asyncio.create_task(manager.join_room(member.id, 'new'))
        await asyncio.sleep(0)  # it has changed what is held, and that is brought first
        looks: list[Coroutine[Any, Any, Any]] = [
            manager.count_connections_in_room('new'),
            manager.get_users_in_room('new'),
            manager.get_room_names(),
        ]
        async with asyncio.timeout(HANGING_SECONDS):
            refused = await asyncio.gather(*looks, return_exceptions=True)
        assert [type(each) for each in refused] == [BackendUnavailable] * 3
        redis_server.resume()
        await joining
        await node.connected(REPORT_SECONDS)
        assert await manager.count_connections_in_room('new') == 1
        assert sorted(await manager.get_room_names()) == sorted([ROOM, 'new'])
    logs.take()


async def test_who_joins_while_redis_hangs_goes_on_and_is_told_of_what_he_may_have_missed(
    redis_server: RedisServer, logs: Logs
) -> None:
    async with nodes(f'{redis_server.url}?timeout_seconds=1') as (node,):
        first, second = await node.member(ROOM), await node.member()
        redis_server.pause()
        async with asyncio.timeout(HANGING_SECONDS):
            await node.manager.join_room(second.id, ROOM)  # which takes no subscription
        redis_server.resume()
        await node.connected(REPORT_SECONDS)
        redis_server.pause()
        async with asyncio.timeout(HANGING_SECONDS):
            await node.manager.join_room(first.id, 'new')
        redis_server.resume()
        await node.connected(REPORT_SECONDS)
        await until(lambda: node.lost('new') is None)
        assert node.lost(ROOM) == 0
    logs.take()


async def test_a_redis_that_refuses_is_said_once_in_a_second(
    redis_server: RedisServer, logs: Logs
) -> None:
    async with nodes(redis_server.url) as (node,):
        await node.member(ROOM)
        with redis_server.client() as client:
            client.config_set('maxmemory', 1)
            for _ in range(50):
                with pytest.raises(BackendUnavailable, match='maxmemory'):
                    await node.manager.broadcast_to_room(ROOM, 'x')
            client.config_set('maxmemory', 0)
        assert len(logs.take()) <= 2
        await node.manager.broadcast_to_room(ROOM, 'x')
    logs.take()


async def test_what_redis_refuses_to_hold_is_said_in_a_line_and_held_when_it_takes_it(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    rooms = [f'room {number}' for number in range(50)]
    async with nodes(redis_server.url, redis_server.url) as (a, b):
        member = await a.member()
        with redis_server.client() as client:
            client.config_set('maxmemory', 1)
            began = time.monotonic()
            for room in rooms:
                await a.manager.join_room(member.id, room)
            await until(lambda: len(refusals(caplog)) > 1)  # it is tried again by itself
            assert len(refusals(caplog)) <= 1 + time.monotonic() - began
            for record in refusals(caplog):
                assert 'maxmemory' in record.getMessage()
                assert not record.exc_info
            assert 'maxmemory' in str(a.health.last_error)
            client.config_set('maxmemory', 0)
        await until(lambda: {gap.name for gap in a.gaps} >= {*rooms})  # each is held by now
        for room in rooms:
            assert a.lost(room) is None, 'what was sent meanwhile may have been missed'
            await b.manager.broadcast_to_room(room, room)
        await member.gets(50)
        assert sorted(member.texts) == sorted(rooms)
    caplog.clear()


def refusals(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [each for each in caplog.records if vars(each).get('fault') == 'hold_refused']


# -- several servers


async def test_who_takes_the_place_of_a_master_is_found_and_may_have_lost_something(
    watched_redis: Watched, logs: Logs
) -> None:
    async with nodes(watched_redis.url, watched_redis.url) as (a, b):
        members = [await node.member(ROOM) for node in (a, b)]
        await a.manager.broadcast_to_room(ROOM, '1')
        watched_redis.master.kill()
        for node in (a, b):
            await until(lambda node=node: node.lost(ROOM) is None, 3 * 10)  # type: ignore[misc]
        await a.manager.broadcast_to_room(ROOM, '2')
        await b.manager.broadcast_to_room(ROOM, '3')
        for member in members:
            await member.gets(3)
            assert member.texts == ['1', '2', '3']
        await check_alive([a, b])
    logs.take()


async def test_a_part_of_a_cluster_moves_to_another_server(
    redis_cluster: RedisCluster, logs: Logs
) -> None:
    async with nodes(*[f'{redis_cluster.url}?prefix=moving'] * 2) as (a, b):
        rooms = [f'room {number}' for number in range(64)]
        members = [await node.member(*rooms) for node in (a, b)]
        slot = key_slot(b'{moving.3}')
        owner = slot // 5_462
        source, target = redis_cluster.servers[owner], redis_cluster.servers[(owner + 1) % 3]
        for number in range(3):
            for room in rooms:
                await a.manager.broadcast_to_room(room, str(number))
            if number == 0:
                await asyncio.to_thread(redis_cluster.move_slot, slot, source, target)
        for member in members:
            await member.gets(64)
        received = [len(member.texts) for member in members]
        lost = [sum(gap.lost or 0 for gap in node.gaps) for node in (a, b)]
        unknown = [sum(gap.lost is None for gap in node.gaps) for node in (a, b)]
        for index in range(2):
            assert received[index] + lost[index] <= 192
            assert received[index] + lost[index] == 192 or unknown[index]
        assert sorted(await a.manager.get_room_names()) == sorted(rooms)
        assert await b.manager.count_connections_in_room('room 0') == 2
    logs.take()


@asynccontextmanager
async def without(cluster: RedisCluster, servers: list[RedisServer]) -> AsyncIterator[None]:
    """Some servers of a cluster are away."""
    for server in servers:
        server.kill()
    try:
        yield
    finally:
        for server in servers:
            await asyncio.to_thread(server.start)
        for server in cluster.servers:
            await asyncio.to_thread(cluster.until_whole, server)


@pytest.mark.parametrize('servers', [3, 1])
async def test_the_outage_of_a_cluster_is_one_line_for_all_its_parts(
    redis_cluster: RedisCluster, servers: int, logs: Logs
) -> None:
    async with nodes(f'{redis_cluster.url}?prefix=away') as (node,):
        member = await node.member(ROOM)
        async with without(redis_cluster, redis_cluster.servers[-servers:]):
            await until(lambda: len(logs.lines) > 0)
            (lost,) = logs.take()
        await node.connected(REPORT_SECONDS)
        await until(lambda: any('is reached again' in line for line in logs.lines))
        await node.manager.broadcast_to_room(ROOM, '1')
        assert member.texts == ['1']
    parts = re.search(r'\((\d+) of its 16 parts\) cannot be reached: ', lost)
    assert parts is not None
    assert (int(parts[1]) == 16) is (servers == 3)
    said = [line for line in logs.take() if 'reached' in line]
    assert ['again' in line for line in said] == [True]


async def test_who_stops_while_a_cluster_is_away_says_so_once(
    redis_cluster: RedisCluster, logs: Logs
) -> None:
    node = Node(f'{redis_cluster.url}?prefix=stops')
    await node.manager.start()
    async with without(redis_cluster, redis_cluster.servers):
        await until(lambda: node.health.state == 'connecting')
        await node.manager.stop()
    lost, untold = logs.take()
    assert '(16 of its 16 parts) cannot be reached' in lost
    assert 'could not be told' in untold


async def test_what_one_server_of_a_cluster_refuses_costs_the_rooms_of_the_others_nothing(
    redis_cluster: RedisCluster, logs: Logs
) -> None:
    url = f'{redis_cluster.url}?prefix=refusing'
    async with nodes(url, url) as (a, b):
        member = await a.member()
        sent = []
        with redis_cluster.servers[0].client() as client:
            client.config_set('maxmemory', 1)
            for number in range(64):
                await a.manager.join_room(member.id, f'room {number}')
                with suppress(BackendUnavailable):
                    await b.manager.broadcast_to_room(f'room {number}', str(number))
                    sent.append(number)
            await member.gets(len(sent))
            client.config_set('maxmemory', 0)
        assert 0 < len(sent) < 64
        assert sorted(member.numbers) == sent
    logs.take()


async def test_one_server_of_a_cluster_fails_and_the_rooms_of_the_others_go_on(
    redis_cluster: RedisCluster, logs: Logs
) -> None:
    url = f'{redis_cluster.url}?prefix=failing&wait_seconds=1'
    async with nodes(url, url) as (a, b):
        rooms = [f'room {number}' for number in range(32)]
        member = await b.member(*rooms)
        redis_cluster.servers[2].pause()
        redis_cluster.servers[2].kill()
        sent = await asyncio.gather(
            *(a.manager.broadcast_to_room(room, room) for room in rooms), return_exceptions=True
        )
        reached = [
            room
            for room, each in zip(rooms, sent, strict=True)
            if not isinstance(each, BaseException)
        ]
        await member.gets(len(reached))
        assert 0 < len(reached) < len(rooms)
        await asyncio.to_thread(redis_cluster.servers[2].start)
        for server in redis_cluster.servers:
            await asyncio.to_thread(redis_cluster.until_whole, server)
        for node in (a, b):
            await node.connected(REPORT_SECONDS)
        member.texts.clear()
        for room in rooms:
            await a.manager.broadcast_to_room(room, room)
        await member.gets(len(rooms))
        assert sorted(member.texts) == sorted(rooms)
    logs.take()
