"""A peer that reads slowly, or not at all, costs only itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
import math
from typing import Any, get_args

import falcon
import falcon.asgi
import falcon.testing
import pytest

from falcon_ws_mw import (
    ConfigurationError,
    DeliveryReport,
    Limits,
    WebSocket,
    WebSocketConnectionManager,
    install,
)
from falcon_ws_mw.asgi import ASGIApp, Event
from falcon_ws_mw.connection import Connection
from falcon_ws_mw.frames import text_frame
from falcon_ws_mw.options import SlowConsumer

from .conftest import Logs
from .test_connection import Server, opened, settled, soon

POLICIES: tuple[SlowConsumer, ...] = get_args(SlowConsumer)


def at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that must not wait for anything."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise AssertionError('it waits')


class Member:
    """A member of the room whose server has taken a frame and does not come back from it."""

    def __init__(
        self, manager: WebSocketConnectionManager, name: str = 'a', **options: Any
    ) -> None:
        self.server = Server(is_open=False)
        self.connection = Connection(name, self.server.send, **options)
        self.connection.opened()
        manager.add_connection(name, self.connection)
        at_once(manager.join_room(name, 'r'))
        at_once(manager.send_to_connection(name, '0'))

    async def heard(self) -> list[Any]:
        """Let the server go on, and give what it takes: texts, and the codes of closes."""
        self.server.gate.set()
        await soon(self.connection.all_written())
        return [event.get('text', event.get('code')) for event in self.server.taken]


async def tell(
    manager: WebSocketConnectionManager, *texts: str, **options: Any
) -> list[tuple[int, int]]:
    """Broadcast them; what the reports say was queued and dropped."""
    reports = [await manager.broadcast_to_room('r', text, **options) for text in texts]
    return [(report.queued, report.dropped) for report in reports]


THREE = [Limits(max_outbox_messages=3), Limits(max_outbox_bytes=3)]
"""Room for three messages of one byte."""


# -- no room


@pytest.mark.parametrize('limits', THREE, ids=['messages', 'bytes'])
class TestNoRoom:
    async def test_the_oldest_gives_way(self, limits: Limits) -> None:
        manager = WebSocketConnectionManager()
        member = Member(manager, limits=limits, slow_consumer='drop_oldest')

        assert await tell(manager, *'12345') == [(1, 0)] * 5

        stats = manager.stats()
        assert (stats.delivered, stats.dropped, stats.slow_consumers) == (6, 2, 0)
        assert await member.heard() == ['0', '3', '4', '5']

    async def test_the_newest_is_not_sent(self, limits: Limits) -> None:
        manager = WebSocketConnectionManager()
        member = Member(manager, limits=limits, slow_consumer='drop_newest')

        assert await tell(manager, *'12345') == [(1, 0)] * 3 + [(0, 1)] * 2

        stats = manager.stats()
        assert (stats.delivered, stats.dropped, stats.slow_consumers) == (4, 2, 0)
        assert await member.heard() == ['0', '1', '2', '3']

    async def test_the_connection_is_closed(self, limits: Limits, logs: Logs) -> None:
        manager = WebSocketConnectionManager()
        member = Member(manager, limits=limits)

        assert await tell(manager, *'12345') == [(1, 0)] * 3 + [(0, 1), (0, 0)]

        stats = manager.stats()
        assert (stats.delivered, stats.dropped, stats.slow_consumers) == (4, 4, 1)
        assert (stats.connections, stats.rooms) == (0, 0)
        assert await member.heard() == ['0', 1013]
        assert len(logs.take()) == 1

    @pytest.mark.parametrize('own', POLICIES)
    @pytest.mark.parametrize('policy', POLICIES)
    async def test_a_broadcast_may_say_what_it_does(
        self, limits: Limits, own: SlowConsumer, policy: SlowConsumer
    ) -> None:
        heard = {
            'drop_oldest': ['0', '2', '3', '4'],
            'drop_newest': ['0', '1', '2', '3'],
            'close': ['0', 1013],
        }
        for call in ('broadcast_to_room', 'publish'):
            manager = WebSocketConnectionManager()
            member = Member(manager, limits=limits, slow_consumer=own)
            await manager.subscribe('a', 'r')
            for text in '1234':
                await getattr(manager, call)('r', text, slow_consumer=policy)

            assert await member.heard() == heard[policy]


async def test_a_policy_that_is_none_reaches_nobody() -> None:
    manager = WebSocketConnectionManager()
    member = Member(manager)
    wrong: Any = 'drop'

    with pytest.raises(ConfigurationError, match="slow_consumer='drop': expected one of 'close'"):
        await manager.broadcast_to_room('r', 'x', slow_consumer=wrong)

    assert await member.heard() == ['0']


async def test_who_reads_gets_everything_whatever_the_others_do() -> None:
    manager = WebSocketConnectionManager()
    limits = Limits(max_outbox_messages=1)
    slow = [Member(manager, policy, limits=limits, slow_consumer=policy) for policy in POLICIES]
    well = Member(manager, 'well')
    assert await well.heard() == ['0']

    await tell(manager, *map(str, range(100)))

    assert await well.heard() == ['0', *map(str, range(100))]
    assert manager.stats().connections == 3
    for member in slow:
        await member.connection.end(1006)


async def test_a_room_with_stalled_members_is_told_without_waiting(logs: Logs) -> None:
    manager = WebSocketConnectionManager()
    members = [
        Member(manager, str(number), limits=Limits(max_outbox_messages=5)) for number in range(10)
    ]

    reports = [at_once(manager.broadcast_to_room('r', 'x')) for _ in range(7)]

    assert reports == [DeliveryReport(10, 0)] * 5 + [DeliveryReport(0, 10), DeliveryReport(0, 0)]
    for member in members:
        await member.connection.end(1006)


async def test_what_a_connection_loses_at_its_end_is_counted() -> None:
    manager = WebSocketConnectionManager()
    member = Member(manager)
    await tell(manager, *'123')

    await member.connection.end(1006)

    assert manager.stats().dropped == 3


# -- the latest of each key


async def test_a_newer_message_takes_the_place_of_the_one_with_its_key() -> None:
    manager = WebSocketConnectionManager()
    member = Member(manager)

    await tell(manager, 'price 1', coalesce='price')
    await tell(manager, 'other')
    assert await tell(manager, 'price 2', 'price 3', coalesce='price') == [(1, 0)] * 2

    stats = manager.stats()
    assert (stats.delivered, stats.coalesced, stats.dropped) == (5, 2, 0)
    assert await member.heard() == ['0', 'price 3', 'other']


async def test_who_reads_gets_every_message_of_a_key() -> None:
    manager = WebSocketConnectionManager()
    member = Member(manager)
    await member.heard()

    await tell(manager, *'123', coalesce='price')

    assert await member.heard() == ['0', '1', '2', '3']
    assert manager.stats().coalesced == 0


async def test_a_key_is_a_rooms_or_a_topics_own() -> None:
    manager = WebSocketConnectionManager()
    member = Member(manager)
    for room in ('r2', 'topic'):
        await manager.join_room('a', room)
    await manager.subscribe('a', '#')

    for number in '12':
        await manager.broadcast_to_room('r', f'r {number}', coalesce='k')
        await manager.broadcast_to_room('r2', f'r2 {number}', coalesce='k')
        await manager.broadcast_to_room('topic', f'room topic {number}', coalesce='k')
        await manager.publish('topic', f'topic {number}', coalesce='k')
        await manager.publish('topic/2', f'topic/2 {number}', coalesce='k')
        await manager.broadcast_to_room('r', f'r other {number}', coalesce=('k', 2))

    assert manager.stats().coalesced == 6
    assert await member.heard() == [
        '0',
        'r 2',
        'r2 2',
        'room topic 2',
        'topic 2',
        'topic/2 2',
        'r other 2',
    ]


async def test_a_full_outbox_takes_the_newer_of_a_key() -> None:
    manager = WebSocketConnectionManager()
    member = Member(manager, limits=Limits(max_outbox_messages=2))
    await tell(manager, 'x')

    await tell(manager, *map(str, range(1000)), coalesce='price')

    assert manager.stats().slow_consumers == 0
    assert await member.heard() == ['0', 'x', '999']


# -- a conversation with a server that is made by hand: what a client gets in any case


class Peer:
    """An ASGI connection to an app, with a server that takes frames while its gate is open."""

    def __init__(self, app: ASGIApp) -> None:
        self.server = Server()
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._events.put_nowait({'type': 'websocket.connect'})
        scope: Any = falcon.testing.create_scope_ws('/ws')
        self.task = asyncio.ensure_future(app(scope, self._events.get, self.server.send))

    def say(self, text: str) -> None:
        self._events.put_nowait({'type': 'websocket.receive', 'text': text})

    async def leave(self) -> None:
        self._events.put_nowait({'type': 'websocket.disconnect', 'code': 1000})
        await soon(self.task)

    def heard(self) -> list[Any]:
        """What the server has taken since the accept: texts, and the codes of closes."""
        return [event.get('text', event.get('code')) for event in self.server.taken[1:]]


class Resource:
    """A resource that tells who came and how each ended."""

    def __init__(self) -> None:
        self.connected: asyncio.Queue[WebSocket] = asyncio.Queue()
        self.ends: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self.calls: Counter[str] = Counter()
        self.sends: list[str] = []

    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        await ws.join_room('r')
        await ws.identify('ada')
        self.connected.put_nowait(ws)

    async def on_ws_echo(self, ws: WebSocket, payload: Any) -> Any:
        return payload

    async def on_ws_flood(self, ws: WebSocket) -> None:
        try:
            for number in range(1000):
                await ws.send_text(f'{number}'.ljust(65_536))
        except falcon.WebSocketDisconnected as error:
            self.sends.append(f'disconnected {error.code}')
            raise
        self.sends.append('all')

    async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
        self.calls[ws.id] += 1
        self.ends.put_nowait((ws.id, close_code))


@asynccontextmanager
async def stalled(**options: Any) -> AsyncIterator[tuple[Peer, WebSocketConnectionManager]]:
    """A peer in the room whose server has begun with a frame and does not take it."""
    resource = Resource()
    app = install(falcon.asgi.App(), **options)
    app.add_route('/ws', resource)
    peer = Peer(app)
    await soon(resource.connected.get())
    await settled()
    peer.server.gate.clear()
    await app.ws_connection_manager.broadcast_to_room('r', 'first')
    yield peer, app.ws_connection_manager
    peer.server.gate.set()
    await peer.leave()
    assert list(resource.calls.values()) == [1]


REQUEST = '{"type":"echo","id":1,"payload":"p"}'
REPLY = '{"type":"reply","id":1,"payload":"p"}'


@pytest.mark.parametrize('policy', POLICIES)
async def test_a_reply_that_waits_never_gives_way(policy: SlowConsumer, logs: Logs) -> None:
    async with stalled(slow_consumer=policy, limits=Limits(max_outbox_messages=2)) as (
        peer,
        manager,
    ):
        peer.say(REQUEST)
        await settled()
        await tell(manager, *'1234')
        peer.server.gate.set()
        await settled()
        last: dict[str, Any] = {'drop_oldest': '4', 'drop_newest': '1', 'close': 1013}
        assert peer.heard() == ['first', REPLY, last[policy]]
    logs.take()


@pytest.mark.parametrize('policy', ['drop_oldest', 'drop_newest'])
async def test_a_reply_that_finds_no_room_waits_for_it(policy: SlowConsumer) -> None:
    async with stalled(slow_consumer=policy, limits=Limits(max_outbox_messages=2)) as (
        peer,
        manager,
    ):
        await tell(manager, *'12')
        peer.say(REQUEST)
        await settled()
        await tell(manager, *'34')
        peer.server.gate.set()
        await settled()
        kept = {'drop_oldest': ['3', '4'], 'drop_newest': ['1', '2']}
        assert peer.heard() == ['first', *kept[policy], REPLY]


async def test_an_error_never_gives_way() -> None:
    async with stalled(slow_consumer='drop_oldest', limits=Limits(max_outbox_messages=1)) as (
        peer,
        manager,
    ):
        peer.say('{"type":"nothing","id":2}')
        await settled()
        await tell(manager, *'12')
        peer.server.gate.set()
        await settled()
        first, error = peer.heard()
        assert first == 'first'
        assert '"status":404' in error


@pytest.mark.parametrize('policy', POLICIES)
async def test_a_close_never_gives_way(policy: SlowConsumer) -> None:
    async with stalled(slow_consumer=policy, limits=Limits(max_outbox_messages=2)) as (
        peer,
        manager,
    ):
        await tell(manager, *'12')
        assert at_once(manager.close_user('ada', 4000)) == 1
        assert await tell(manager, '3') == [(0, 0)]
        peer.server.gate.set()
        await settled()
        assert peer.heard() == ['first', '1', '2', 4000]


async def test_a_handlers_own_send_waits_for_its_own_outbox_and_for_no_other() -> None:
    resource = Resource()
    app = install(falcon.asgi.App(), limits=Limits(max_outbox_messages=3))
    app.add_route('/ws', resource)
    slow, other = Peer(app), Peer(app)
    for _ in range(2):
        await soon(resource.connected.get())
    await settled()
    slow.server.gate.clear()

    slow.say('{"type":"flood"}')
    await settled()
    other.say('{"type":"flood"}')
    while len(other.heard()) < 1000:
        await asyncio.sleep(0)
    assert resource.sends == ['all']

    slow.server.gate.set()
    while len(slow.heard()) < 1000:
        await asyncio.sleep(0)
    assert [int(text) for text in slow.heard()] == list(range(1000))
    for peer in (slow, other):
        await peer.leave()
    assert resource.sends == ['all', 'all']


# -- how long a server may take


class SlowServer:
    """A server that takes a frame for each time that it is let."""

    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(0)
        self.taken: list[Any] = []

    async def send(self, event: Event) -> None:
        await self.turns.acquire()
        self.taken.append(event)

    async def take(self) -> None:
        """Take one frame, a while after the one before."""
        now = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() == now:
            await asyncio.sleep(0)
        count = len(self.taken) + 1
        self.turns.release()
        while len(self.taken) < count:
            await asyncio.sleep(0)


@pytest.mark.parametrize('is_closing', [False, True])
async def test_each_frame_has_the_whole_time_and_after_a_close_all_that_waits(
    is_closing: bool,
) -> None:
    server = SlowServer()
    connection = Connection('c1', server.send, limits=Limits(send_timeout_seconds=5))
    connection.opened()
    for text in 'abc':
        connection.post(text_frame(text))
    if is_closing:
        connection.close(1000)
    due = asyncio.get_running_loop().time() + 5
    assert not connection.is_overdue(due - 5)
    assert connection.is_overdue(due)

    await server.take()

    assert connection.is_overdue(due) is is_closing
    await connection.end(1006)
    assert not connection.is_overdue(math.inf)


@pytest.mark.parametrize('seconds', [None, 5])
async def test_none_is_for_ever(seconds: float | None) -> None:
    connection = opened(Server(is_open=False), limits=Limits(send_timeout_seconds=seconds))
    connection.post(text_frame('a'))
    connection.close(1000)

    assert connection.is_overdue(math.inf) is (seconds is not None)

    await connection.end(1006)


async def test_a_server_that_cannot_be_cut_is_left_to_itself(logs: Logs) -> None:
    resource = Resource()
    app = install(falcon.asgi.App(), limits=Limits(send_timeout_seconds=0.1))
    app.add_route('/ws', resource)
    peer = Peer(app)
    ws = await soon(resource.connected.get())
    await settled()
    peer.server.gate.clear()
    await app.ws_connection_manager.broadcast_to_room('r', 'x')

    await soon(peer.task)  # though no `websocket.disconnect` has come

    assert resource.calls == {ws.id: 1}
    assert resource.ends.get_nowait() == (ws.id, 1006)
    assert app.ws_connection_manager.stats().evicted == 1
    [line] = logs.take()
    assert 'its socket is left to the server' in line


async def test_the_socket_of_another_loop_is_given_up_too(logs: Logs) -> None:
    class Foreign:
        async def send_text(self, payload: str) -> None:
            await asyncio.Event().wait()

        async def send_data(self, payload: bytes) -> None:
            raise AssertionError('nobody sends bytes')

        async def close(self, code: int | None = None, reason: str | None = None) -> None:
            raise AssertionError('nobody waits for a close')

    manager = WebSocketConnectionManager()
    manager.add_connection('a', Foreign())
    connection = manager._connections['a']
    connection.limits = Limits(send_timeout_seconds=0.1)
    await manager.send_to_connection('a', 'x')

    await soon(connection.all_written())

    assert (manager.stats().connections, manager.stats().evicted) == (0, 1)


async def test_what_waits_for_room_is_overtaken_by_nothing() -> None:
    server = Server(is_open=False)
    connection = opened(server, limits=Limits(max_outbox_bytes=4))
    sends = [
        asyncio.create_task(connection.send(text_frame(text)))
        for text in ('0', '1111', '222', '3', '4')
    ]
    await settled()
    server.gate.set()
    await soon(asyncio.gather(*sends))
    assert [event['text'] for event in server.taken] == ['0', '1111', '222', '3', '4']


async def test_an_own_send_that_is_never_sent_is_no_dropped_broadcast() -> None:
    manager = WebSocketConnectionManager()
    member = Member(manager)
    waiting = asyncio.create_task(member.connection.send(text_frame('own')))
    await settled()
    await member.connection.end(1006)
    with pytest.raises(falcon.WebSocketDisconnected):
        await waiting
    assert manager.stats().dropped == 0
    manager.remove_connection('a')


class OfADeadLoop(Connection):
    """What a connection is whose event loop was closed under it."""

    def is_overdue(self, now: float) -> bool:
        return True

    def evict(self) -> None:
        raise RuntimeError('Event loop is closed')


async def test_one_that_cannot_be_evicted_costs_no_other_its_eviction(logs: Logs) -> None:
    manager = WebSocketConnectionManager()
    manager._sweep.blocked(OfADeadLoop('dead', Server().send))
    member = Member(manager, limits=Limits(send_timeout_seconds=0.05))
    while manager.connections:
        await asyncio.sleep(0)
    assert manager.stats().evicted == 1
    await member.connection.end(1006)
    assert any('connection dead could not be evicted' in line for line in logs.take())
