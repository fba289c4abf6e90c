"""Managers that are linked: each call reaches everyone, over Redis as in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
import itertools
import math
from typing import Any

from falcon import WebSocketDisconnected
import pytest
import pytest_asyncio

from falcon_ws_mw import (
    BackendUnavailable,
    ConfigurationError,
    ConnectionNotFound,
    Envelope,
    InvalidName,
    InvalidTopic,
    Message,
    MessageTooBig,
    NotIdentified,
    RemoteCallError,
    ReplyError,
    TooManyRooms,
    WebSocketConnectionManager,
)
from falcon_ws_mw.backends import MemoryBackend
from falcon_ws_mw.backends.redis.connecting import connectors_of
from falcon_ws_mw.backends.redis.options import read_url
from falcon_ws_mw.channels import Channel, Kind
from falcon_ws_mw.options import Limits, RouteSettings
from falcon_ws_mw.packets import Packet, Variant

from .conftest import Logs
from .linked import Member, Node, nodes, until
from .redis_server import RedisCluster, RedisServer, redis_cluster, redis_server

__all__ = ['redis_cluster', 'redis_server']

hubs = itertools.count()


@pytest.fixture(params=['memory', 'redis', 'redis cluster'])
def url(request: pytest.FixtureRequest) -> str:
    """Of something that links managers."""
    if request.param == 'memory':
        return f'memory://cluster-{next(hubs)}'
    if request.param == 'redis':
        server: RedisServer = request.getfixturevalue('redis_server')
        return server.url
    cluster: RedisCluster = request.getfixturevalue('redis_cluster')
    return f'{cluster.url}?prefix=p{next(hubs)}'


@pytest_asyncio.fixture
async def both(url: str) -> AsyncIterator[list[Node]]:
    async with nodes(url, url) as made:
        yield made


# -- to many


async def test_a_room_is_reached_on_all_nodes_and_each_says_what_became_of_it_there(
    both: list[Node],
) -> None:
    a, b = both
    members = [await a.member('room'), await b.member('room'), await b.member('room', 'other')]
    report = await b.manager.broadcast_to_room('room', {'type': 'news'})
    assert report.queued == 2
    await a.manager.broadcast_to_room('room', Message('hello', 1))
    for member in members:
        await member.gets(2)
        assert member.texts == ['{"type":"news"}', '{"type":"hello","payload":1}']


async def test_nobody_gets_it_twice_who_is_in_several_of_the_rooms(both: list[Node]) -> None:
    a, b = both
    members = [await node.member('one', 'two') for node in both]
    alone = await b.member('two')
    await a.manager.broadcast_to_room(['one', 'two', 'empty'], 'said')
    await a.manager.broadcast_to_room('two', 'end')
    for member in (*members, alone):
        await member.gets(2)
        assert member.texts == ['said', 'end']


async def test_who_is_excluded_gets_nothing_wherever_it_is(both: list[Node]) -> None:
    a, _ = both
    members = [await node.member('room') for node in both]
    await a.manager.broadcast_to_room('room', '1', exclude_ids=(each.id for each in members))
    await a.manager.broadcast_to_room('room', '2', exclude_ids=members[1].id)
    await a.manager.broadcast('3', exclude_ids=[members[0].id])
    await a.manager.broadcast_to_room('room', '4')
    await members[1].gets(2)
    assert members[0].texts == ['2', '4']
    assert sorted(members[1].texts) == ['3', '4']  # a room and all: there is no order of these


async def test_users_are_reached_on_all_their_devices(both: list[Node]) -> None:
    a, b = both
    members = [await node.member() for node in (a, b, b)]
    for member, user in zip(members, ('ada', 'ada', 'bob'), strict=True):
        await member.manager.identify(member.id, user)
    await a.manager.send_to_user('ada', '1')
    await b.manager.broadcast_to_users(['ada', 'bob'], '2')
    await a.manager.broadcast_to_users([], '3')
    await a.manager.broadcast('4')
    for member, texts in zip(members, ('124', '124', '24'), strict=True):
        await member.gets(len(texts))
        assert sorted(member.texts) == [*texts]  # a user and all: there is no order of these


@pytest.mark.parametrize(
    ('topic', 'reached'),
    [
        ('prices/gold/eur', ['#', '+/gold/#', 'prices/#', 'prices/+/eur', 'prices/gold/eur']),
        ('prices', ['#', 'prices/#']),
        ('prices/gold', ['#', '+/gold/#', 'prices/#']),
        ('/prices', ['#', '/+']),
        ('$SYS/load', ['$SYS/#']),
        ('a/b/c/d/e/f/g/h/i/j', ['#', 'a/b/c/d/e/f/g/h/i/+', 'a/b/c/d/e/f/g/h/i/j']),
        ('a/b/c/d/e/f/g/h', ['#']),
    ],
)
async def test_topics_reach_all_filters_that_match_once(
    both: list[Node], topic: str, reached: list[str]
) -> None:
    a, b = both
    filters = (
        *('#', '+/gold/#', 'prices/#', 'prices/+/eur', 'prices/gold/eur', '/+', '$SYS/#'),
        *('a/b/c/d/e/f/g/h/i/j', 'a/b/c/d/e/f/g/h/i/+'),
    )
    members = {each: await b.member() for each in filters}
    for each, member in members.items():
        await b.manager.subscribe(member.id, each)
    everything = await b.member()
    for each in filters:
        await b.manager.subscribe(everything.id, each)
    await a.manager.publish(topic, '1')
    await a.manager.broadcast('end')
    for each, member in members.items():  # by a cluster 'end' may come first
        await member.gets(1 + (each in reached))
    assert sorted(each for each, member in members.items() if '1' in member.texts) == reached
    assert everything.texts.count('1') == 1
    for each, member in members.items():
        await b.manager.unsubscribe(member.id, each)
    await a.manager.publish(topic, '2')
    await a.manager.broadcast('end')
    await everything.gets(4)
    assert everything.texts.count('2') == 1
    assert not any('2' in member.texts for member in members.values())


async def test_after_joining_what_another_node_sends_arrives_a_thousand_times(
    both: list[Node],
) -> None:
    a, b = both
    member = Member(b.manager)
    for number in range(1_000):
        await b.manager.join_room(member.id, f'room {number}')
        await a.manager.broadcast_to_room(f'room {number}', str(number))
        if number % 100 == 99:
            await member.gets(number + 1)
            for each in list(member.connection.rooms):
                await b.manager.leave_room(member.id, each)
    await a.manager.broadcast('0')
    await member.gets(1_001)
    assert sorted(member.numbers) == [0, *range(1_000)]


async def test_a_room_has_one_order_for_all(both: list[Node]) -> None:
    members = [await node.member('room') for node in both]
    await asyncio.gather(
        *(
            node.manager.broadcast_to_room('room', str(2 * number + index))
            for number in range(500)
            for index, node in enumerate(both)
        )
    )
    for member in members:
        await member.gets(1_000)
    assert members[0].texts == members[1].texts
    for index in range(2):
        own = [number for number in members[0].numbers if number % 2 == index]
        assert own == list(range(index, 1_000, 2)), 'nor are those of one sender'


async def test_what_waits_for_a_slow_peer_is_replaced_there_too(both: list[Node]) -> None:
    a, b = both
    member = await b.member('prices')
    may_go = asyncio.Event()

    async def slowly(event: Any) -> None:
        await may_go.wait()
        member.texts.append(event['text'])

    member.connection.direct = slowly
    member.connection._send = slowly
    for number in range(10):
        await a.manager.broadcast_to_room('prices', str(number), coalesce=('gold', 1))
    await a.manager.broadcast_to_room('prices', 'end')
    await until(lambda: b.manager.stats().coalesced == 8)
    may_go.set()
    await member.gets(3)
    assert member.texts == ['0', '9', 'end']
    with pytest.raises(TypeError, match='coalesce=<object'):
        await a.manager.broadcast_to_room('prices', 'x', coalesce=object())


async def test_each_envelope_is_spoken_on_the_node_that_has_its_client(both: list[Node]) -> None:
    a, b = both
    short = Envelope(type_field='t', payload_field='p', id_field=None)
    plain, other = await a.member('plain'), await b.member('other')
    other.connection.codec = b.manager.codecs.speaking(short)
    await a.manager.broadcast(Message('hi', {'x': 1}))  # `a` has never seen that envelope
    a.manager.codecs.speaking(short)
    await a.manager.broadcast(Message('hi', {'x': 2}))
    await b.manager.send_to_connection(plain.id, Message('hi', {'x': 3}))
    await a.manager.send_to_connection(other.id, Message('hi', {'x': 4}))
    await other.gets(3)
    assert plain.texts == [f'{{"type":"hi","payload":{{"x":{x}}}}}' for x in (1, 2, 3)]
    assert other.texts == [f'{{"t":"hi","p":{{"x":{x}}}}}' for x in (1, 2, 4)]


async def test_what_is_too_long_for_everybody_is_refused_here_and_counted_there(
    both: list[Node],
) -> None:
    a, b = both
    here, there = await a.member('room'), await b.member('room')
    for member in (here, there):
        member.connection.limits = Limits(max_outbox_bytes=10)
    a.manager._registry.least_outbox_bytes = b.manager._registry.least_outbox_bytes = 10
    with pytest.raises(MessageTooBig):
        await a.manager.broadcast_to_room('room', 'x' * 11)
    await until(lambda: b.manager.stats().dropped == 1)
    with pytest.raises(MessageTooBig):
        await a.manager.send_to_connection(there.id, 'x' * 11)


async def test_what_some_can_take_is_refused_to_nobody_and_counted_for_the_others(
    both: list[Node],
) -> None:
    a, _ = both
    small, large = [await a.member('room') for _ in range(2)]
    small.connection.limits = Limits(max_outbox_bytes=10)
    a.manager._registry.least_outbox_bytes = 10
    for member, user in ((small, 'ada'), (large, 'bob')):
        await a.manager.identify(member.id, user)
    report = await a.manager.broadcast_to_users(['ada', 'bob'], 'x' * 11)
    assert (report.queued, report.dropped) == (1, 1)
    short = Envelope(type_field='t', payload_field='p', id_field=None)
    large.connection.codec = a.manager.codecs.speaking(short)
    report = await a.manager.broadcast_to_room('room', Message('x' * 11))
    assert (report.queued, report.dropped) == (1, 1)
    assert large.texts == ['x' * 11, '{"t":"xxxxxxxxxxx","p":null}']
    assert small.texts == []
    assert a.manager.stats().dropped == 2
    with pytest.raises(MessageTooBig):
        await a.manager.broadcast_to_users(['ada', 'cem'], 'x' * 11)


# -- to one


async def test_a_connection_is_reached_wherever_it_is(both: list[Node]) -> None:
    a, b = both
    member = await b.member()
    report = await a.manager.send_to_connection(member.id, b'\x00\x01')
    assert (report.queued, report.dropped) == (1, 0)
    await a.manager.join_room(member.id, 'room')
    assert member.connection.rooms == {'room'}
    await a.manager.leave_room(member.id, 'room')
    await a.manager.subscribe(member.id, 'a/#')
    assert member.connection.topic_filters == {'a/#'}
    await a.manager.unsubscribe(member.id, 'a/#')
    assert (member.connection.rooms, member.connection.topic_filters) == (set(), frozenset())
    await a.manager.close_connection(member.id, 4000, 'enough')
    assert member.close_code == 4000
    assert member.texts == ['\x00\x01']
    for call in (
        a.manager.send_to_connection(member.id, '1'),
        a.manager.join_room(member.id, 'room'),
        a.manager.close_connection(member.id),
        a.manager.send_to_connection('nobody', '1'),
        a.manager.send_to_connection('no.body', '1'),
        a.manager.send_to_connection(a.manager.new_id(), '1'),
        a.manager.send_to_connection('0123456789abcdef.x', '1'),
    ):
        with pytest.raises(ConnectionNotFound):
            await call


@pytest.mark.parametrize('name', ['mine', 'mi.ne', '0123456789abcdef.mine', 'ä *?{}\r\n'])
async def test_an_id_of_the_apps_own_is_found_too(both: list[Node], name: str) -> None:
    a, b = both
    member = await b.member()
    b.manager.add_connection(name, member)  # type: ignore[arg-type]  # only ever closed
    await b.manager.join_room(name, 'room')
    await a.manager.join_room(name, 'another')
    assert await a.manager.get_rooms_by_prefix('an') == ['another']
    b.manager.remove_connection(name)
    with pytest.raises(ConnectionNotFound):
        await a.manager.join_room(name, 'more')


async def test_what_is_wrong_there_is_raised_here(both: list[Node]) -> None:
    a, b = both
    member = await b.member('one')
    member.connection.limits = Limits(max_rooms_per_connection=1)
    with pytest.raises(TooManyRooms, match='is in 1 rooms'):
        await a.manager.join_room(member.id, 'two')
    member.connection.settings = RouteSettings(authenticate_by='login')
    with pytest.raises(NotIdentified, match='login'):
        await a.manager.subscribe(member.id, 'a')
    with pytest.raises(InvalidName):
        await a.manager.join_room(member.id, '')
    with pytest.raises(InvalidTopic):
        await a.manager.subscribe(member.id, '#/a')


async def test_a_connection_is_identified_from_elsewhere(both: list[Node]) -> None:
    a, b = both
    member = await b.member('room')
    until_then = datetime.now(UTC) + timedelta(hours=1)
    await a.manager.identify(member.id, 'ada', expires_at=until_then)
    assert member.connection.user_id == 'ada'
    assert member.connection.expires_at == pytest.approx(until_then.timestamp())
    await a.manager.identify(member.id, 'ada')
    assert member.connection.expires_at is not None
    await a.manager.identify(member.id, 'ada', expires_at=math.inf)
    assert [member.connection.expires_at] == [None]
    assert await a.manager.get_users_in_room('room') == {'ada': 1}
    await a.manager.identify(member.id, None)
    assert member.connection.user_id is None


async def test_all_devices_of_a_user_are_closed(both: list[Node]) -> None:
    a, b = both
    members = [await node.member() for node in (a, b, b)]
    for member in members:
        await member.manager.identify(member.id, 'ada')
    assert await a.manager.close_user('ada', 3401, 'log in again') == 3
    assert [member.close_code for member in members] == [3401] * 3
    assert await a.manager.close_user('ada') == 0


# -- look


async def test_rooms_and_users_are_counted_on_all_nodes(both: list[Node]) -> None:
    a, b = both
    members = [await node.member('x*', 'y') for node in (a, b, b)]
    for member, user in zip(members, ('ada', 'ada', 'bob'), strict=True):
        await member.manager.identify(member.id, user)
    for node in both:
        assert await node.manager.count_connections_in_room('y') == 3
        assert await node.manager.count_connections_in_room('z') == 0
        assert await node.manager.get_users_in_room('y') == {'ada': 2, 'bob': 1}
        assert sorted(await node.manager.get_room_names()) == ['x*', 'y']
        assert await node.manager.get_rooms_by_prefix('x*') == ['x*']
        assert await node.manager.get_rooms_by_prefix('*') == []
    await b.manager.leave_room(members[1].id, 'y')
    b.manager.remove_connection(members[2].id)
    await b.manager.get_room_names()  # has brought what changed
    assert await a.manager.count_connections_in_room('y') == 1
    assert await a.manager.get_users_in_room('y') == {'ada': 1}


class Many(MemoryBackend):
    """There are so many names that to see them takes longer than anybody waits for an engine."""

    wait_seconds = 0.01

    async def names(self, kind: Kind, prefix: str = '') -> list[str]:
        await asyncio.sleep(5 * self.wait_seconds)
        return await super().names(kind, prefix)


async def test_a_look_at_much_may_take_long() -> None:
    many = Many(f'memory://{next(hubs)}')
    async with nodes(many) as (node,):
        await node.member('x')
        assert await node.manager.get_room_names() == ['x']


class Failing(MemoryBackend):
    """It holds nothing as long as it fails, in a way that no backend should."""

    fails = True
    attempts = 0

    async def hold(self, counts: Mapping[Channel, int]) -> None:
        self.attempts += 1
        if self.fails:
            raise ZeroDivisionError('a bug')
        await super().hold(counts)


async def test_a_backend_that_fails_as_it_should_not_has_ever_fewer_tracebacks(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr('falcon_ws_mw.interest.RETRY_SECONDS', 0.001)
    monkeypatch.setattr('falcon_ws_mw.logs.QUIET_SECONDS', 0)
    hub = f'memory://{next(hubs)}'
    failing = Failing(hub)
    async with nodes(failing, hub) as (a, b):
        member = await a.member('x')
        await until(lambda: failing.attempts >= 100)
        failed = [each for each in caplog.records if vars(each).get('fault') == 'hold_failed']
        assert all(each.exc_info for each in failed)
        times = [each.getMessage().partition('ZeroDivisionError: ')[2] for each in failed[:7]]
        assert times == [f'{2**power} times by now' for power in range(7)]
        assert len(failed) <= failing.attempts.bit_length()
        failing.fails = False
        await a.manager.join_room(member.id, 'y')
        await until(lambda: Channel('room', 'x') in failing._counts)
        for room in ('x', 'y'):
            await b.manager.broadcast_to_room(room, room)
        assert member.texts == ['x', 'y']
    caplog.clear()


async def test_nobody_waits_for_what_a_backend_has_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr('falcon_ws_mw.interest.RETRY_SECONDS', 3_600)
    failing = Failing(f'memory://{next(hubs)}')
    async with nodes(failing) as (node,):
        await node.member('x', 'y')
        assert await node.manager.count_connections_in_room('x') == 0, 'nobody is told of it'
        assert failing.attempts > 1
    caplog.clear()


class Choosy(MemoryBackend):
    """It refuses one room, and whatever is said with it."""

    refused = 0

    async def hold(self, counts: Mapping[Channel, int]) -> None:
        if Channel('room', 'odd') in counts:
            self.refused += 1
            raise BackendUnavailable('there is no such room')
        await super().hold(counts)


async def test_what_comes_later_is_not_refused_with_what_was(
    monkeypatch: pytest.MonkeyPatch, logs: Logs
) -> None:
    monkeypatch.setattr('falcon_ws_mw.interest.RETRY_SECONDS', 0.001)
    choosy = Choosy(f'memory://{next(hubs)}')
    async with nodes(choosy) as (node,):
        member = await node.member('odd')
        for number in range(20):
            await until(lambda before=choosy.refused: choosy.refused > before)  # type: ignore[misc]
            await node.manager.join_room(member.id, str(number))
        assert {*await node.manager.get_room_names()} == {str(number) for number in range(20)}
    assert 'there is no such room' in logs.take()[0]


async def test_a_node_that_stops_takes_its_rooms_with_it(url: str) -> None:
    async with nodes(url) as (a,):
        await a.member('both')
        async with nodes(url) as (b,):
            await b.member('both', 'only')
            assert sorted(await a.manager.get_room_names()) == ['both', 'only']
        assert await a.manager.get_room_names() == ['both']
        assert await a.manager.count_connections_in_room('both') == 1


async def test_ten_thousand_rooms_leave_nothing_behind(redis_server: RedisServer) -> None:
    async with nodes(redis_server.url) as (node,):
        before = asyncio.all_tasks()
        empty = redis_server.keys(), redis_server.channels()
        for start in range(0, 10_000, 100):
            members = [Member(node.manager) for _ in range(100)]
            await asyncio.gather(
                *(
                    node.manager.join_room(member.id, f'room {start + index}')
                    for index, member in enumerate(members)
                )
            )
            await node.manager.broadcast_to_room(f'room {start}', 'x')
            for member in members:
                node.manager.remove_connection(member.id)
        await node.manager.get_room_names()  # what was left is left there too
        assert node.health.channels == 1
        keys, channels = redis_server.keys(), redis_server.channels()
        assert ([key for key in keys if ':sent:' not in key], channels) == empty
        await until(lambda: asyncio.all_tasks() <= before)
    assert (redis_server.keys(), redis_server.channels()) == ([], [])


# -- what others say


GARBAGE = {
    'nothing': b'',
    'a pickle': b'\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07boom()\x94.',
    'another version': b'\x02' + Packet('deliver', 'x', 1, {}).encode()[1:],
    'a head that is cut': Packet('deliver', 'x', 1, {}).encode()[:-3],
    'a frame that is cut': Packet(
        'deliver', 'x', 2, {}, (Variant(None, {'type': 'websocket.send', 'text': 'abc'}),)
    ).encode()[:-1],
    'no text': Packet(
        'deliver', 'x', 2, {}, (Variant(None, {'type': 'websocket.send', 'text': 'abc'}),)
    ).encode()[:-1]
    + b'\xff',
    'another form': b'\x01\x00\x00\x00\x02[]',
    'other types': b'\x01\x00\x00\x00\x0b[1,2,3,4,5]',
    'facts that are none': b'\x01\x00\x00\x00\x13["ask","x",1,[],[]]',
    'nobody can do that': Packet('explode', 'x', 3, {}).encode(),
    'a question without a number': Packet('ask', 'x', 3, {'call': 'send', 'args': []}).encode(),
    'nobody knows whom': Packet('deliver', 'x', 4, {}).encode(),
}


@pytest.mark.parametrize('said', GARBAGE)
async def test_what_cannot_be_read_is_counted_and_harms_nobody(
    both: list[Node], said: str, logs: Logs
) -> None:
    a, b = both
    member = await a.member('room')
    backend = b.manager.backend
    await backend.send([Channel('room', 'room')], GARBAGE[said])
    await until(lambda: a.health.undecodable == 1)
    await b.manager.broadcast_to_room('room', '1')
    await member.gets(1)
    assert member.texts == ['1']
    assert len(logs.take()) == 1


async def test_what_comes_by_the_channel_of_a_process_is_delivered_to_nobody(
    both: list[Node], logs: Logs
) -> None:
    a, b = both
    member = await a.member('room')
    variants = (Variant(None, {'type': 'websocket.send', 'text': 'x'}),)
    data = Packet('deliver', 'x', 1, {}, variants).encode()
    await b.manager.backend.send([Channel('node', member.id.partition('.')[0])], data)
    await until(lambda: a.health.undecodable == 1)
    assert member.texts == []
    assert len(logs.take()) == 1


@pytest.mark.parametrize(
    'said', [b'', b'D', b'D x', b'D a.0 nine data', b'P a.0 1', b'U x', b'X a', b'\xff' * 20]
)
async def test_what_somebody_else_publishes_in_redis_is_counted(
    redis_server: RedisServer, said: bytes
) -> None:
    async with nodes(redis_server.url) as (node,):
        member = await node.member('room')
        with redis_server.client() as client:
            client.publish('falcon_ws:r:room', said)
        await until(lambda: node.health.undecodable == 1)
        await node.manager.broadcast_to_room('room', '1')
        assert member.texts == ['1']


# -- before and after


async def test_what_is_not_started_says_so(url: str) -> None:
    manager = WebSocketConnectionManager(url)
    member = Member(manager)
    await manager.join_room(member.id, 'room')
    with pytest.raises(BackendUnavailable, match='not started'):
        await manager.broadcast_to_room('room', '1')
    await manager.send_to_connection(member.id, '2')
    assert member.texts == ['2']
    await manager.start()
    await manager.broadcast_to_room('room', '3')
    assert member.texts == ['2', '3']
    await manager.stop()
    await manager.stop()
    with pytest.raises(BackendUnavailable, match='not started'):
        await manager.broadcast_to_room('room', '4')
    await manager.start()
    await manager.broadcast_to_room('room', '5')
    assert member.texts == ['2', '3', '5']
    manager.forget_all()
    await manager.stop()


# -- what was found by others


class Asked:
    """A client that is asked something."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def request(self, type: str, payload: Any, **options: float) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return [type, payload, options['timeout'], self._answer]


async def test_a_client_of_another_process_is_asked_there(both: list[Node]) -> None:
    a, b = both
    member = await b.member()
    member.connection.reader = member  # type: ignore[assignment]  # somebody reads
    ask = a.manager.request_connection
    member.connection.websocket = Asked('yes')
    assert await ask(member.id, 'really?', {'x': 1}, timeout=3) == ['really?', {'x': 1}, 3, 'yes']
    assert (await ask(member.id, 'really?'))[2] == 30
    member.connection.websocket = Asked(WebSocketDisconnected(4000))
    with pytest.raises(WebSocketDisconnected) as left:
        await ask(member.id, 'really?')
    assert left.value.code == 4000
    member.connection.websocket = Asked(ReplyError('really?', {'status': 400}))
    with pytest.raises(ReplyError) as refused:
        await ask(member.id, 'really?')
    assert refused.value.payload == {'status': 400}
    with pytest.raises(ValueError, match='above 0'):
        await ask(member.id, 'really?', timeout=0)
    with pytest.raises(TypeError):
        await ask(member.id, 'really?', object())
    member.connection.reader = None


async def test_a_crash_there_is_an_error_here_and_a_traceback_there(
    both: list[Node], logs: Logs
) -> None:
    a, b = both
    member = await b.member()
    member.connection.reader = member  # type: ignore[assignment]
    member.connection.websocket = Asked(ZeroDivisionError('secret'))
    with pytest.raises(RemoteCallError, match='failed with ZeroDivisionError') as failed:
        await a.manager.request_connection(member.id, 'really?')
    assert 'secret' not in str(failed.value)
    member.connection.reader = None
    assert 'what another process asked for failed' in logs.take()[0]


@dataclass(frozen=True)
class Lines:
    """An envelope of an app's own: equal ones speak alike."""

    separator: str = '|'

    def decode(self, raw: str | bytes) -> tuple[str, Any, None]:
        kind, _, payload = str(raw).partition(self.separator)
        return kind, payload, None

    def encode(self, type: str, payload: Any, id: Any) -> str:
        return f'{type}{self.separator}{payload}'


async def test_equal_envelopes_of_an_apps_own_are_one_and_others_need_names(
    both: list[Node],
) -> None:
    a, b = both
    member = await b.member('room')
    member.connection.codec = b.manager.codecs.speaking(Lines())
    for node in both:
        node.manager.codecs.speaking(Lines())
    await a.manager.broadcast_to_room('room', Message('hi', 1))
    await member.gets(1)
    assert member.texts == ['hi|1']
    a.manager.codecs.speaking(Lines(';'))
    with pytest.raises(ConfigurationError, match='give each a `wire_name`'):
        await a.manager.broadcast_to_room('room', Message('hi', 2))


async def test_who_has_no_lease_any_more_is_not_waited_for(redis_server: RedisServer) -> None:
    """As a machine whose cable was cut: Redis still has its subscription."""
    async with nodes(redis_server.url) as (node,):
        gone = '0123456789abcdef'
        with redis_server.client() as client, client.pubsub() as pubsub:
            pubsub.subscribe(f'falcon_ws:n:{gone}')
            pubsub.get_message(timeout=1)
            async with asyncio.timeout(2):
                with pytest.raises(ConnectionNotFound):
                    await node.manager.send_to_connection(f'{gone}.x', '1')


async def test_what_goes_to_several_rooms_and_to_one_at_once_is_lost_to_nobody(
    both: list[Node],
) -> None:
    a, b = both
    members = [await node.member('one', 'two') for node in both]
    for node in both:
        await node.manager.identify(members[both.index(node)].id, 'ada')
    await asyncio.gather(
        *(
            call
            for number in range(0, 400, 4)
            for call in (
                a.manager.broadcast_to_room(['one', 'two'], str(number)),
                a.manager.broadcast_to_room('one', str(number + 1)),
                a.manager.broadcast_to_users(['ada', 'bob'], str(number + 2)),
                a.manager.send_to_user('ada', str(number + 3)),
            )
        )
    )
    for member in members:
        await member.gets(400)
        assert sorted(member.numbers) == list(range(400))
    assert (a.gaps, b.gaps) == ([], [])


async def test_a_room_has_one_order_for_all_whatever_is_said_to_several_rooms(
    both: list[Node],
) -> None:
    a, b = both
    rooms = [f'room {number}' for number in range(6)]  # of a cluster, in several parts
    alone = [await a.member(room) for room in rooms]
    apart = await b.member(rooms[0])  # here it is the only one of the rooms
    several = await a.member(*rooms)
    of_first = [number for number in range(400) if number % 3 != 2]
    of_others = [number for number in range(400) if number % 3 != 1]
    reports = await asyncio.gather(
        *(
            both[number % 2].manager.broadcast_to_room(
                (rooms, rooms[:1], rooms[1:])[number % 3], str(number)
            )
            for number in range(400)
        )
    )
    for member in (alone[0], apart):
        await member.gets(len(of_first))
        assert sorted(member.numbers) == of_first
    assert alone[0].numbers == apart.numbers
    for member in alone[1:]:
        await member.gets(len(of_others))
        assert sorted(member.numbers) == of_others
    await several.gets(400)
    assert sorted(several.numbers) == list(range(400))
    assert {report.queued for report in reports[::2]} == {2, 6, 7}
    assert (a.gaps, b.gaps) == ([], [])
    assert a.manager._cluster is not None
    assert not a.manager._cluster._delivery._copies._expected


async def test_who_cannot_take_what_others_of_several_rooms_can_is_counted(
    both: list[Node],
) -> None:
    a, b = both
    small, large = await a.member('small'), await a.member('large')
    there = await b.member('small')
    for member in (small, there):
        member.connection.limits = Limits(max_outbox_bytes=10)
    a.manager._registry.least_outbox_bytes = b.manager._registry.least_outbox_bytes = 10
    excluded = await a.member('small')
    excluded.connection.limits = small.connection.limits
    report = await a.manager.broadcast_to_room(['small', 'large'], 'x' * 11, [excluded.id])
    assert (report.queued, report.dropped) == (1, 1)
    assert large.texts == ['x' * 11]
    await until(lambda: b.manager.stats().dropped == 1)
    assert a.manager.stats().dropped == 1
    with pytest.raises(MessageTooBig):
        await a.manager.broadcast_to_room(['small', 'empty'], 'x' * 11)
    assert a.manager.stats().dropped == 1


async def test_hundreds_of_rooms_are_reached_at_once_and_nobody_twice(both: list[Node]) -> None:
    a, b = both
    rooms = [f'room {number}' for number in range(300)]
    alone = [await b.member(room) for room in rooms[::30]]
    several = [await node.member(*rooms[:100]) for node in both]
    for number in range(3):
        await a.manager.broadcast_to_room(rooms, str(number))
    await a.manager.broadcast_to_room(rooms[:2], '3')
    for member in (*several, alone[0]):
        await member.gets(4)
        assert member.texts == ['0', '1', '2', '3']
    for member in alone[1:]:
        await member.gets(3)
        assert member.texts == ['0', '1', '2']


async def test_a_thousand_users_are_told_at_once(both: list[Node]) -> None:
    a, b = both
    members = [Member(b.manager) for _ in range(1_000)]
    users = [f'user {number}' for number in range(1_000)]
    await asyncio.gather(
        *(b.manager.identify(each.id, user) for each, user in zip(members, users, strict=True))
    )
    await a.manager.broadcast_to_users(users, 'x' * 10_000)
    for member in members:
        await member.gets(1)
    assert b.gaps == []
    assert {len(member.texts) for member in members} == {1}


@pytest.mark.parametrize(
    ('url', 'problem'),
    [
        ('redis://h?lease_second=3', "'lease_second'; is an option misspelt.* lease_seconds,"),
        ('redis://h?lease_seconds=0', 'expected a number from 1 to 3600'),
        ('redis://h?max_waiting=some', 'expected a number'),
        ('redis://h?prefix=a:b', 'expected letters, digits'),
        ('redis://user:sec/ret@h/0', 'is no URL: has the password a character'),
        ('amqp://user:secret@h', 'expected a URL that begins with memory://, redis://'),
        ('redis+sentinel://h:1', 'expected the name of the master'),
        ('redis+cluster:///', 'expected hosts'),
        ('redis+cluster://h:7000/3', 'a cluster has no database 3'),
        ('redis+cluster://h:7000?db=3', 'a cluster has no database 3'),
        ('redis://h/chat', r"database is 'chat', expected a number .* \?prefix=chat"),
        ('redis://h/1/2', "database is '1/2', expected a number"),
        ('redis://h/-1', "database is '-1', expected a number"),
        ('redis+sentinel://h:1/main/chat', "database is 'chat', expected a number"),
        ('redis+cluster://h:7000/chat', "database is 'chat', expected a number"),
        ('redis://h?db=chat', "db='chat' for Redis: expected a number"),
        ('redis://h?db=1&db=-1', "db='-1' for Redis: expected a number"),
        ('redis://:1/sec@h/0', 'is no URL: has the password a character'),
        ('memory://a/b', "expected 'memory://'"),
    ],
)
def test_what_is_wrong_with_a_url_is_said_without_its_password(url: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as wrong:
        WebSocketConnectionManager(url)
    assert 'sec' not in str(wrong.value).replace('lease_sec', '').replace('_seconds', '')


@pytest.mark.parametrize(
    ('url', 'prefix'),
    [
        ('redis://h', ''),
        ('redis://h/', ''),
        ('redis://h/0', ''),
        ('redis://h/1', '@1'),
        ('redis://h/1/', '@1'),
        ('redis://h/%31', '@1'),
        ('redis://h?db=1', '@1'),
        ('redis+sentinel://h:1/main', ''),
        ('redis+sentinel://h:1/main/', ''),
        ('redis+sentinel://h:1/main/1', '@1'),
        ('redis+sentinel://h:1/main?db=1', '@1'),
    ],
)
def test_a_database_is_a_number_in_the_path_or_the_query(url: str, prefix: str) -> None:
    ((found, _),) = connectors_of(read_url(url))

    assert found == f'falcon_ws{prefix}'
