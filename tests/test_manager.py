"""The manager on one process: who is connected, and how to reach them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import falcon
import falcon.asgi
import falcon.testing
from hypothesis import given
from hypothesis import strategies as st
import pytest

from falcon_ws_mw import (
    ConnectionNotFound,
    DeliveryReport,
    InvalidCloseCode,
    InvalidName,
    Message,
    WebSocket,
    WebSocketConnectionManager,
    install,
    topic_matches,
)
from falcon_ws_mw.connection import Connection

from .conftest import Logs
from .servers import Client, serve


class Member:
    """A connection that writes to nowhere and remembers what."""

    def __init__(self, manager: WebSocketConnectionManager, name: str) -> None:
        self.heard: list[Any] = []
        self.connection = Connection(name, self._send, websocket=self)
        self.connection.opened()
        manager.add_connection(name, self.connection)

    async def _send(self, event: Any) -> None:
        self.heard.append(event.get('text', event.get('bytes', event['type'])))


@asynccontextmanager
async def people(
    *users: str, room: str = 'r', ws_implementation: str = 'websockets-sansio'
) -> AsyncIterator[tuple[WebSocketConnectionManager, list[Client], list[str]]]:
    """Real clients, in a room, with the ids of their connections."""

    class Door:
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket, user: str) -> None:
            await ws.identify(user)
            await ws.join_room(room)
            await ws.send_text(f'"{ws.id}"')

        async def on_ws_ping(self, ws: WebSocket) -> str:
            return 'pong'

    app = install(falcon.asgi.App())
    app.add_route('/ws/{user}', Door())
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(serve(app, ws_implementation))
        clients = [await stack.enter_async_context(served.client(f'/ws/{user}')) for user in users]
        ids = [await client.receive() for client in clients]
        yield app.ws_connection_manager, clients, ids


async def heard(client: Client) -> list[Any]:
    """Everything that has been sent to a client until now."""
    messages: list[Any] = []
    await client.send({'type': 'ping', 'id': 'end'})
    while (message := await client.receive()) != {'type': 'reply', 'id': 'end', 'payload': 'pong'}:
        messages.append(message)
    return messages


# -- sending


async def test_each_call_reaches_whom_it_says(ws_implementation: str, logs: Logs) -> None:
    async with people('ada', 'ada', 'bob', ws_implementation=ws_implementation) as (
        manager,
        clients,
        ids,
    ):
        await manager.join_room(ids[2], 'other')
        await manager.send_to_connection(ids[0], {'n': 1})
        assert await manager.send_to_user('ada', Message('n', 2)) == DeliveryReport(2, 0)
        assert await manager.send_to_user('nobody', 'x') == DeliveryReport(0, 0)
        assert await manager.broadcast_to_users(['ada', 'bob'], '3') == DeliveryReport(3, 0)
        assert await manager.broadcast_to_room('r', '4', exclude_ids=[ids[1]]) == DeliveryReport(2)
        assert await manager.broadcast_to_room(['r', 'other'], '5') == DeliveryReport(3, 0)
        assert await manager.broadcast_to_room('empty', 'x') == DeliveryReport(0, 0)
        assert await manager.broadcast('6', exclude_ids={ids[2]}) == DeliveryReport(2, 0)
        two = {'type': 'n', 'payload': 2}
        assert [await heard(client) for client in clients] == [
            [{'n': 1}, two, 3, 4, 5, 6],
            [two, 3, 5, 6],
            [3, 4, 5],
        ]
        assert manager.stats().delivered == 13
    assert logs.lines == []


async def test_a_message_that_cannot_be_encoded_reaches_nobody() -> None:
    manager = WebSocketConnectionManager()
    member = Member(manager, 'a')
    await manager.join_room('a', 'r')
    for wrong, error in [({'x': object()}, TypeError), ('\ud800', ValueError), (5, TypeError)]:
        with pytest.raises(error):
            await manager.broadcast_to_room('r', wrong)  # type: ignore[arg-type]
    assert member.heard == []


async def test_a_lost_member_is_counted_and_costs_nobody_else() -> None:
    manager = WebSocketConnectionManager()

    class Lost:
        async def send(self, event: Any) -> None:
            raise OSError('gone')

    broken = Connection('broken', Lost().send)
    broken.opened()
    manager.add_connection('broken', broken)
    well = Member(manager, 'well')
    for name in ('broken', 'well'):
        await manager.join_room(name, 'r')
    assert await manager.broadcast_to_room('r', 'x') == DeliveryReport(queued=1, dropped=1)
    with pytest.raises(ConnectionNotFound):
        await manager.send_to_connection('broken', 'x')
    assert well.heard == ['x']
    assert manager.stats().dropped == 1
    assert 'broken' not in manager.connections


# -- membership


async def test_rooms_are_looked_at_by_name_prefix_and_number() -> None:
    async with people('ada', 'ada', 'bob') as (manager, _, ids):
        await manager.join_room(ids[0], 'r2')
        assert sorted(await manager.get_room_names()) == ['r', 'r2']
        assert await manager.get_rooms_by_prefix('r2') == ['r2']
        assert await manager.count_connections_in_room('r') == 3
        assert await manager.get_users_in_room('r') == {'ada': 2, 'bob': 1}
        assert [ws.id for ws in manager.get_connections_in_room('r')] == ids
        assert {key: ws.user_id for key, ws in manager.connections.items()} == dict(
            zip(ids, ('ada', 'ada', 'bob'), strict=True)
        )
        await manager.leave_room(ids[0], 'r2')
        assert await manager.get_room_names() == ['r']


async def test_another_user_replaces_the_one_before_and_none_removes() -> None:
    manager = WebSocketConnectionManager()
    member = Member(manager, 'a')
    for user, reached in [('ada', 1), ('bob', 0), (None, 0)]:
        await manager.identify('a', user)
        assert (await manager.send_to_user('ada', 'x')).queued == reached
    assert manager.stats().users == 0
    assert member.heard == ['x']


class Modelled:
    """A connection of the model: sets, and nothing clever."""

    def __init__(self, manager: WebSocketConnectionManager, name: str) -> None:
        self.member = Member(manager, name)
        self.rooms: set[str] = set()
        self.filters: set[str] = set()
        self.user: str | None = None
        self.heard: list[str] = []


Model = dict[str, Modelled]

NAMES = ['n1', 'n2', 'n1/x']
"""Names of rooms, users and topics."""

FILTERS = [*NAMES, '#', '+', 'n1/#', 'n1/+']

CHANGES = ['join', 'leave', 'subscribe', 'unsubscribe', 'identify', 'forget']
ENDS = ['remove', 'kick', 'disconnect']
SAYS = ['broadcast', 'broadcast to all', 'publish', 'send to user']


async def change(
    manager: WebSocketConnectionManager, one: Modelled, what: str, name: str, topic_filter: str
) -> None:
    """Change what a connection is in, and the model likewise."""
    key = one.member.connection.id
    if what == 'join':
        await manager.join_room(key, name)
        one.rooms.add(name)
    elif what == 'leave':
        await manager.leave_room(key, name)
        one.rooms.discard(name)
    elif what == 'subscribe':
        await manager.subscribe(key, topic_filter)
        one.filters.add(topic_filter)
    elif what == 'unsubscribe':
        await manager.unsubscribe(key, topic_filter)
        one.filters.discard(topic_filter)
    else:
        one.user = name if what == 'identify' else None
        await manager.identify(key, one.user)


async def end(manager: WebSocketConnectionManager, one: Modelled, what: str) -> None:
    """End a connection; what it was in stays readable on it."""
    connection = one.member.connection
    if what == 'remove':
        manager.remove_connection(connection.id)
    elif what == 'kick':
        await manager.close_connection(connection.id)
    else:
        connection.evict()
    assert (connection.rooms, set(connection.topic_filters)) == (one.rooms, one.filters)
    assert connection.user_id == one.user


async def say(manager: WebSocketConnectionManager, model: Model, what: str, name: str) -> None:
    """Say something to those who should hear it by the model."""
    text = f'{what} {name}'
    if what == 'broadcast':
        report = await manager.broadcast_to_room(name, text)
        reached = [one for one in model.values() if name in one.rooms]
    elif what == 'broadcast to all':
        report = await manager.broadcast(text)
        reached = [*model.values()]
    elif what == 'publish':
        report = await manager.publish(name, text)
        reached = [
            one for one in model.values() if any(topic_matches(each, name) for each in one.filters)
        ]
    else:
        report = await manager.send_to_user(name, text)
        reached = [one for one in model.values() if one.user == name]
    assert report == DeliveryReport(len(reached), 0)
    for one in reached:
        one.heard.append(text)


async def take_step(
    manager: WebSocketConnectionManager, model: Model, key: str, what: str, name: str, pick: str
) -> None:
    """Do one thing to the manager and to the model."""
    if what in SAYS:
        await say(manager, model, what, name)
    elif what == 'add':
        if key not in model:
            model[key] = Modelled(manager, key)
    elif key not in model:
        manager.remove_connection(key)
        with pytest.raises(ConnectionNotFound):
            await manager.join_room(key, name)
        with pytest.raises(ConnectionNotFound):
            await manager.subscribe(key, pick)
    elif what in ENDS:
        await end(manager, model.pop(key), what)
    else:
        await change(manager, model[key], what, name, pick)


async def assert_equal(manager: WebSocketConnectionManager, model: Model) -> None:
    """What can be looked at is as the model says."""
    assert set(manager.connections) == set(model)
    for name in NAMES:
        members = {key for key, one in model.items() if name in one.rooms}
        found = manager.get_connections_in_room(name)
        assert {member.connection.id for member in found} == members
        assert await manager.count_connections_in_room(name) == len(members)
    names = {name for one in model.values() for name in one.rooms}
    assert set(await manager.get_room_names()) == names
    stats = manager.stats()
    assert stats.rooms == len(names)
    assert stats.users == len({one.user for one in model.values()} - {None})
    assert stats.topic_filters == len({each for one in model.values() for each in one.filters})


@given(
    st.lists(
        st.tuples(
            st.sampled_from('abc'),
            st.sampled_from([*CHANGES, *SAYS, *ENDS, 'add']),
            st.sampled_from(NAMES),
            st.sampled_from(FILTERS),
        ),
        max_size=60,
    )
)
def test_any_interleaving_equals_a_simple_model(steps: list[tuple[str, str, str, str]]) -> None:
    async def run() -> None:
        manager = WebSocketConnectionManager()
        model = {key: Modelled(manager, key) for key in 'ab'}
        everybody = [*model.values()]
        for step in steps:
            await take_step(manager, model, *step)
            everybody += [one for one in model.values() if one not in everybody]
        await assert_equal(manager, model)
        for one in everybody:
            assert [text for text in one.member.heard if text != 'websocket.close'] == one.heard
        for one in model.values():
            await end(manager, one, 'disconnect')
        await assert_equal(manager, {})

    asyncio.run(run())


# -- kicks


async def test_a_kick_stops_delivery_at_once(ws_implementation: str) -> None:
    async with people('ada', 'bob', ws_implementation=ws_implementation) as (manager, clients, ids):
        await manager.close_connection(ids[0], 4000, 'ö' * 100)
        assert await manager.broadcast_to_room('r', 'x') == DeliveryReport(1, 0)
        assert await manager.count_connections_in_room('r') == 1
        assert await clients[0].closed() == 4000
        assert clients[0].connection.close_reason == 'ö' * 61  # 123 bytes hold no more
        assert await manager.close_user('bob') == 1
        assert await clients[1].closed() == 3403
        assert await manager.close_user('bob') == 0
        with pytest.raises(ConnectionNotFound):
            await manager.close_connection(ids[0])


async def test_a_connection_that_is_kicked_during_its_handshake_is_refused(logs: Logs) -> None:
    class Door:
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket, how: str) -> None:
            await ws.identify('ada')
            assert await ws.manager.close_user('ada') == 1
            assert ws.closed
            if how == 'accepts':
                await ws.accept()

        async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
            raise AssertionError('it was refused')

    app = install(falcon.asgi.App())
    app.add_route('/ws/{how}', Door())
    async with falcon.testing.ASGIConductor(app) as conductor:
        for how in ('returns', 'accepts'):
            with pytest.raises(falcon.WebSocketDisconnected) as refused:
                async with conductor.simulate_ws(f'/ws/{how}'):
                    pass
            assert refused.value.code == 3403
    assert app.ws_connection_manager.stats().connections == 0
    assert logs.lines == []


# -- errors


async def test_unknown_connections_and_wrong_names_and_codes_are_said() -> None:
    manager = WebSocketConnectionManager()
    Member(manager, 'a')
    for call in (
        manager.send_to_connection('x', 'm'),
        manager.join_room('x', 'r'),
        manager.leave_room('x', 'r'),
        manager.identify('x', 'u'),
        manager.close_connection('x'),
    ):
        with pytest.raises(ConnectionNotFound, match="'x'"):
            await call
    wrong: Any
    for wrong in ('', 5, None, 'x' * 256, '\ud800'):
        for call_by_name in (
            manager.join_room('a', wrong),
            manager.leave_room('a', wrong),
            manager.broadcast_to_room([wrong], 'm'),
            manager.count_connections_in_room(wrong),
            manager.get_users_in_room(wrong),
            manager.send_to_user(wrong, 'm'),
            manager.close_user(wrong),
        ):
            with pytest.raises(InvalidName):
                await call_by_name
    for code in (999, 1006, 2000, 5000):
        with pytest.raises(InvalidCloseCode):
            await manager.close_connection('a', code)
        with pytest.raises(InvalidCloseCode):
            await manager.close_user('u', code)


# -- connections of others


async def test_the_socket_of_an_old_loop_can_be_made_known(ws_implementation: str) -> None:
    manager = WebSocketConnectionManager()

    class Old:
        async def on_websocket(self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
            await ws.accept()
            connection_id = manager.new_id()
            manager.add_connection(connection_id, ws, self)
            await manager.join_room(connection_id, 'r')
            try:
                while True:
                    await manager.broadcast_to_room('r', await ws.receive_text())
            finally:
                manager.remove_connection(connection_id)

    app = install(falcon.asgi.App(), manager=manager)
    app.add_route('/old', Old())
    async with serve(app, ws_implementation) as served:
        async with served.client('/old') as one, served.client('/old') as two:
            await one.send('1')
            assert [await one.receive(), await two.receive()] == [1, 1]
            await manager.close_connection(next(iter(manager.connections)), 4007)
            assert await one.closed() == 4007
    assert manager.stats().connections == 0


async def test_an_id_is_given_once() -> None:
    manager = WebSocketConnectionManager()
    Member(manager, 'a')
    with pytest.raises(ValueError, match="'a' is taken"):
        Member(manager, 'a')
    assert len({manager.new_id() for _ in range(1000)}) == 1000
