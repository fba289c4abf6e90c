"""Clients that say who they are by their first message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
import contextlib
from contextlib import AsyncExitStack, asynccontextmanager
import time
from typing import Any, TypedDict

import falcon
import falcon.asgi
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from falcon_ws_mw import (
    ConfigurationError,
    InvalidPayload,
    Limits,
    NotIdentified,
    UnhandledMessage,
    WebSocket,
    WebSocketConnectionManager,
    WebSocketResource,
    handles_message,
    install,
    parallel,
)

from .clocks import Clocks, clocks
from .conftest import Logs
from .servers import PATIENCE_SECONDS, Client, Served, serve

__all__ = ['clocks']  # a fixture

PROTOCOL = 'falcon-ws.v1'

AS_ADA = {'type': 'authenticate', 'id': 'auth', 'payload': {'token': 'ada'}}
FAILING = {'type': 'authenticate', 'id': 'auth', 'payload': {'token': 'forged'}}


class Credentials(TypedDict):
    token: str


class Room:
    """Knows users by their names, and everybody who calls himself forged by that."""

    ws_authenticate_by: str | None = 'authenticate'

    def __init__(self) -> None:
        self.reached: list[Any] = []
        self.ended: asyncio.Queue[int] = asyncio.Queue()

    async def on_ws_authenticate(self, ws: WebSocket, payload: Credentials) -> Any:
        if payload['token'] == 'forged':
            raise falcon.HTTPUnauthorized(title='Forged')
        if payload['token'] == 'bug':
            raise LookupError('expected')
        if payload['token'] != 'nobody':
            await ws.identify(payload['token'])
            await ws.join_room('all')
        return ws.user_id

    async def on_ws_say(self, ws: WebSocket, payload: Any) -> Any:
        self.reached.append(payload)
        return ws.user_id

    async def on_ws_log_out(self, ws: WebSocket) -> None:
        await ws.identify(None)

    async def on_ws_unhandled(self, ws: WebSocket, raw: Any, error: UnhandledMessage) -> None:
        self.reached.append(raw)

    async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
        self.ended.put_nowait(close_code)

    async def end(self) -> int:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.ended.get()


@asynccontextmanager
async def serving(
    resource: object, ws_implementation: str = 'websockets-sansio', **options: Any
) -> AsyncIterator[tuple[Served, WebSocketConnectionManager]]:
    app = install(falcon.asgi.App(), **options)
    if isinstance(resource, type):
        app.add_websocket_route('/ws', resource)
    else:
        app.add_route('/ws', resource)
    async with serve(app, ws_implementation) as served:
        yield served, app.ws_connection_manager


async def end_of(client: Client) -> tuple[int | None, str | None]:
    """How it was closed; nothing was said to it before."""
    with pytest.raises(ConnectionClosed):
        await client.receive()
    return client.connection.close_code, client.connection.close_reason


async def status_of(client: Client, message: Any) -> int | None:
    """The status of the error that answers, `None` if it is none."""
    answer = await client.ask(message)
    status: int | None = answer['payload'].get('status') if answer['type'] == 'error' else None
    return status


# -- before


OTHERS: list[Any] = [
    {'type': 'say', 'id': 1, 'payload': 'hello'},
    {'type': 'say', 'payload': 'hello'},
    {'type': 'log_out', 'id': 1},
    {'type': 'subscribe', 'id': 1, 'payload': {'topic_filter': '#'}},
    {'type': 'unknown', 'id': 1},
    {'type': '__class__', 'id': 1},
    {'type': 'connect', 'id': 1},
]


async def test_until_then_everything_else_is_answered_401_and_reaches_no_handler(
    ws_implementation: str, logs: Logs
) -> None:
    room = Room()
    async with (
        serving(room, ws_implementation) as (served, manager),
        served.client('/ws') as client,
    ):
        for message in OTHERS:
            answer = await client.ask(message)
            assert answer['type'] == 'error'
            assert answer.get('id') == message.get('id')
            assert answer['payload']['status'] == 401
            assert "'authenticate'" in answer['payload']['description']
        assert room.reached == []
        assert manager.stats().errors == {'unauthenticated': len(OTHERS)}

        assert (await client.ask(AS_ADA))['payload'] == 'ada'

        assert (await client.ask(OTHERS[0]))['payload'] == 'ada'
        assert room.reached == ['hello']
        await client.send('{"type": "unknown"}')
        assert (await client.ask(OTHERS[0]))['payload'] == 'ada'
        assert room.reached == ['hello', '{"type": "unknown"}', 'hello']
    assert logs.lines == []


@pytest.mark.parametrize('frame', ['{', '[]', '{"type": 1}', b'\x00', '{"id": 1}'])
async def test_what_is_no_message_is_answered_400_and_reaches_nobody(frame: Any) -> None:
    room = Room()
    async with serving(room) as (served, _), served.client('/ws') as client:
        assert await status_of(client, frame) == 400
        assert (await client.ask(AS_ADA))['payload'] == 'ada'
    assert room.reached == []


async def test_on_message_of_a_resource_for_each_connection_is_not_reached_either() -> None:
    reached = []

    class Personal(WebSocketResource):
        ws_authenticate_by = 'authenticate'

        async def on_ws_authenticate(self, ws: WebSocket) -> None:
            await ws.identify('ada')

        async def on_message(self, ws: WebSocket, message: Any) -> None:
            reached.append(message['type'])

    async with serving(Personal) as (served, _), served.client('/ws') as client:
        assert await status_of(client, {'type': 'first', 'id': 1}) == 401
        assert await status_of(client, {'type': 'authenticate', 'id': 2}) is None
        assert await status_of(client, {'type': 'second', 'id': 3}) is None
    assert reached == ['second']


async def test_nothing_that_others_say_reaches_a_stranger(ws_implementation: str) -> None:
    async with (
        serving(Room(), ws_implementation) as (served, manager),
        served.client('/ws') as client,
        served.client('/ws') as stranger,
    ):
        await client.ask(AS_ADA)
        await status_of(stranger, {'type': 'say', 'id': 1})
        for report in (
            await manager.broadcast({'to': 'everybody'}),
            await manager.broadcast_to_room('all', {'to': 'all'}),
            await manager.broadcast_to_users(['ada'], {'to': 'ada'}),
        ):
            assert (report.queued, report.dropped) == (1, 0)
        assert [await client.receive() for _ in range(3)] == [
            {'to': 'everybody'},
            {'to': 'all'},
            {'to': 'ada'},
        ]
        assert (await stranger.ask({**AS_ADA, 'payload': {'token': 'bob'}}))['payload'] == 'bob'
        assert (await manager.broadcast({'to': 'everybody'})).queued == 2
        assert await stranger.receive() == {'to': 'everybody'}


async def test_a_stranger_is_in_no_room_and_no_topic_whoever_puts_it_there(logs: Logs) -> None:
    raised = []

    class Early(Room):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            for entering in (ws.join_room('all'), ws.subscribe('#')):
                try:
                    await entering
                except NotIdentified as error:
                    raised.append(error)

    async with serving(Early()) as (served, manager), served.client('/ws'):
        (connection_id,) = manager.connections
        with pytest.raises(NotIdentified):
            await manager.join_room(connection_id, 'all')
        with pytest.raises(NotIdentified):
            await manager.subscribe(connection_id, '#')
        assert (manager.stats().rooms, manager.stats().topic_filters) == (0, 0)
    assert [error.message_type for error in raised] == ['authenticate'] * 2
    assert 'ws.identify' in str(raised[0])


async def test_who_forgets_to_identify_first_is_told_by_a_refused_handshake(logs: Logs) -> None:
    class Early(Room):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await ws.join_room('all')

    async with serving(Early()) as (served, _):
        with pytest.raises(InvalidStatus) as refused:
            async with served.client('/ws'):
                pass
    assert refused.value.response.status_code == 401
    assert b'ws.identify' in refused.value.response.body


async def test_who_is_known_from_the_handshake_need_not_say_it() -> None:
    class Known(Room):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await ws.identify(req.get_param('user'))

    async with serving(Known()) as (served, _):
        async with served.client('/ws?user=ada') as client:
            assert (await client.ask({'type': 'say', 'id': 1}))['payload'] == 'ada'
        async with served.client('/ws') as client:
            assert await status_of(client, {'type': 'say', 'id': 1}) == 401


async def test_what_is_sent_behind_it_without_waiting_is_handled_as_his(
    ws_implementation: str,
) -> None:
    class Slow(Room):
        ws_max_parallel = 4

        async def on_ws_authenticate(self, ws: WebSocket, payload: Credentials) -> Any:
            await asyncio.sleep(0)
            return await super().on_ws_authenticate(ws, payload)

    async with serving(Slow(), ws_implementation) as (served, _), served.client('/ws') as client:
        await client.send(AS_ADA)
        for number in range(5):
            await client.send({'type': 'say', 'id': number})
        answers = {answer['id']: answer for answer in [await client.receive() for _ in range(6)]}
        assert [answers[number]['payload'] for number in range(5)] == ['ada'] * 5


async def test_a_handler_may_ask_the_stranger_something(ws_implementation: str) -> None:
    class Asking(Room):
        @handles_message('authenticate')
        async def challenge(self, ws: WebSocket) -> Any:
            if await ws.request('challenge', 'abc') == 'cba':
                await ws.identify('ada')
            return ws.user_id

        on_ws_authenticate = None  # type: ignore[assignment]

    async with serving(Asking(), ws_implementation) as (served, _), served.client('/ws') as client:
        question = await client.ask({'type': 'authenticate', 'id': 1})
        assert question['type'] == 'challenge'
        await client.send({'type': 'reply', 'id': question['id'], 'payload': 'cba'})
        assert (await client.receive())['payload'] == 'ada'


async def test_an_answer_that_nobody_asked_for_is_counted_and_not_answered() -> None:
    async with serving(Room()) as (served, manager), served.client('/ws') as client:
        await client.send({'type': 'reply', 'id': 'forged', 'payload': 1})
        assert (await client.ask(AS_ADA))['payload'] == 'ada'
        assert manager.stats().unmatched_replies == 1


async def test_signs_of_life_are_given_before_too() -> None:
    class Beating(Room):
        ws_heartbeat_seconds = 20

    async with (
        serving(Beating()) as (served, manager),
        served.client('/ws', subprotocols=[PROTOCOL]) as client,
    ):
        assert (await client.ask({'type': 'ping'}))['type'] == 'pong'
        await client.send({'type': 'pong'})
        assert (await client.ask(AS_ADA))['payload'] == 'ada'
        assert manager.stats().errors == {}


async def test_the_route_offers_our_protocol_so_that_who_renews_is_told_when(
    clocks: Clocks,
) -> None:
    class Expiring(Room):
        async def on_ws_authenticate(self, ws: WebSocket, payload: Credentials) -> Any:
            await ws.identify(payload['token'], clocks.calendar + 60)
            return ws.id

    async with (
        serving(Expiring()) as (served, _),
        served.client('/ws', subprotocols=[PROTOCOL]) as client,
    ):
        assert client.connection.subprotocol == PROTOCOL
        same = (await client.ask(AS_ADA))['payload']
        for _ in range(3):
            await clocks.pass_by(30)
            assert (await client.receive())['type'] == 'expiring'
            assert (await client.ask(AS_ADA))['payload'] == same
        await clocks.pass_by(30)
        await clocks.pass_by(30)
        assert (await client.receive())['type'] == 'expiring'
        assert (await end_of(client))[0] == 3401


# -- who fails


async def test_who_fails_is_answered_and_may_try_again_but_not_for_ever(
    ws_implementation: str, logs: Logs
) -> None:
    room = Room()
    async with serving(room, ws_implementation) as (served, manager):
        async with served.client('/ws') as client:
            assert [await status_of(client, FAILING) for _ in range(2)] == [401, 401]
            assert (await client.ask(AS_ADA))['payload'] == 'ada'
        assert await room.end() in {1000, 1005}
        async with served.client('/ws') as client:
            assert [await status_of(client, FAILING) for _ in range(3)] == [401] * 3
            assert await end_of(client) == (3401, '3 attempts to authenticate failed')
        assert await room.end() == 3401
        assert manager.stats().limits_hit == {'max_auth_attempts': 1}
    assert logs.lines == []


@pytest.mark.parametrize(
    'payload', [{'token': 'nobody'}, {'token': 7}, {}, None, 'token', {'token': 'forged'}]
)
async def test_each_way_to_fail_counts(payload: Any, logs: Logs) -> None:
    async with (
        serving(Room(), limits=Limits(max_auth_attempts=1)) as (served, _),
        served.client('/ws') as client,
    ):
        await client.ask({'type': 'authenticate', 'id': 1, 'payload': payload})
        assert (await end_of(client))[0] == 3401
    logs.take()


@pytest.mark.parametrize('token', ['bug', 'ada'])
async def test_what_is_the_apps_own_fault_does_not_count(token: str, logs: Logs) -> None:
    """A crash, and a user who has as many connections as he may."""
    limits = Limits(max_auth_attempts=1, max_connections_per_user=1)
    async with (
        serving(Room(), limits=limits) as (served, _),
        served.client('/ws') as other,
        served.client('/ws') as client,
    ):
        await other.ask(AS_ADA)
        for _ in range(3):
            status = await status_of(client, {**AS_ADA, 'payload': {'token': token}})
            assert status in {429, 500}
        assert await status_of(client, {**AS_ADA, 'payload': {'token': 'bob'}}) is None
    logs.take()


async def test_a_stranger_is_a_stranger_before_anybody_is_asked_about_its_rights() -> None:
    asked = []

    class Guarded(Room):
        async def ws_authorize(self, ws: WebSocket, action: str, name: str) -> bool:
            asked.append(name)
            return True

        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            for entering in (ws.join_room('r'), ws.subscribe('r'), ws.publish('r', {})):
                with pytest.raises(NotIdentified):
                    await entering

    async with serving(Guarded()) as (served, _), served.client('/ws') as client:
        await client.ask(AS_ADA)
    assert asked == ['all']


async def test_who_is_accepted_by_hand_has_no_more_time(clocks: Clocks, logs: Logs) -> None:
    goes_on = asyncio.Event()

    class ByHand(Room):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await ws.accept()
            await goes_on.wait()

    async with serving(ByHand()) as (served, manager), served.client('/ws') as client:
        await clocks.pass_by(10)
        assert (await end_of(client))[0] == 3408
        goes_on.set()
        assert manager.stats().limits_hit == {'auth_timeout_seconds': 1}
    logs.take()


async def test_who_was_closed_in_the_handshake_is_not_waited_for(
    clocks: Clocks, logs: Logs
) -> None:
    class Leaving(Room):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await ws.accept()
            await ws.close(4000)

    async with serving(Leaving()) as (served, manager), served.client('/ws') as client:
        assert (await end_of(client))[0] == 4000
        async with served.client('/ws'):
            await clocks.pass_by(100)
        assert manager.stats().limits_hit == {}
    assert logs.lines == []


async def test_what_is_no_attempt_does_not_count() -> None:
    async with (
        serving(Room(), limits=Limits(max_auth_attempts=1)) as (served, _),
        served.client('/ws') as client,
    ):
        for message in (*OTHERS, '{', b'\x00'):
            assert await status_of(client, message) in {400, 401}
        assert (await client.ask(AS_ADA))['payload'] == 'ada'


async def test_without_a_limit_who_fails_may_go_on() -> None:
    async with (
        serving(Room(), limits=Limits(max_auth_attempts=None)) as (served, _),
        served.client('/ws') as client,
    ):
        assert [await status_of(client, FAILING) for _ in range(20)] == [401] * 20


async def test_who_is_known_and_fails_to_renew_stays_who_he_was_but_may_not_guess_for_ever(
    ws_implementation: str,
) -> None:
    async with (
        serving(Room(), ws_implementation) as (served, manager),
        served.client('/ws') as client,
    ):
        for _ in range(3):  # whoever succeeds may begin anew
            await client.ask(AS_ADA)
            assert [await status_of(client, FAILING) for _ in range(2)] == [401] * 2
            assert (await client.ask({'type': 'say', 'id': 1}))['payload'] == 'ada'
        assert await status_of(client, FAILING) == 401
        assert (await end_of(client))[0] == 3401
        assert manager.stats().limits_hit == {'max_auth_attempts': 1}


async def test_who_has_left_is_not_handled_any_more(ws_implementation: str) -> None:
    """Else many attempts could be made at once, by leaving before the first is answered."""
    begun, goes_on = asyncio.Event(), asyncio.Event()
    handled = []

    class Slow(Room):
        async def on_ws_authenticate(self, ws: WebSocket, payload: Credentials) -> Any:
            handled.append(payload)
            begun.set()
            await goes_on.wait()
            return await super().on_ws_authenticate(ws, payload)

    room = Slow()
    async with serving(room, ws_implementation) as (served, manager):
        async with served.client('/ws') as client:
            for _ in range(100):
                await client.send(FAILING)
            await begun.wait()
            (ws,) = manager.connections.values()
            client.abort()
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not ws.closed:
                    await asyncio.sleep(0.01)
            goes_on.set()
            await room.end()
        assert len(handled) == 1
        stats = manager.stats()
        assert stats.abandoned == stats.received - 1 > 10


async def test_who_logs_out_while_a_message_waits_for_room_has_it_handled_by_nobody() -> None:
    goes_on = asyncio.Event()
    handled = []

    class Beside(Room):
        @parallel(2)
        async def on_ws_slow(self, ws: WebSocket) -> None:
            handled.append(ws.user_id)
            await goes_on.wait()

        @parallel(2)
        async def on_ws_log_out(self, ws: WebSocket) -> None:
            await ws.identify(None)
            goes_on.set()

    async with serving(Beside()) as (served, _), served.client('/ws') as client:
        await client.ask(AS_ADA)
        for number, what in enumerate(('slow', 'slow', 'log_out', 'slow')):
            await client.send({'type': what, 'id': number})
        answers = {answer['id']: answer for answer in [await client.receive() for _ in range(4)]}
        assert answers[3]['payload']['status'] == 401
        assert handled == ['ada', 'ada']


async def test_a_listener_does_not_give_it_more_time(clocks: Clocks, logs: Logs) -> None:
    asked = asyncio.Event()
    app = install(falcon.asgi.App())
    app.add_route('/ws', Room())

    @app.ws_connection_manager.on_connect
    async def ask(ws: WebSocket) -> None:
        asked.set()
        await ws.request('hello')

    async with serve(app) as served, served.client('/ws') as client:
        await asked.wait()
        assert (await client.receive())['type'] == 'hello'
        await clocks.pass_by(10)
        assert (await end_of(client))[0] == 3408
    logs.take()


async def test_to_be_nobody_once_more_gives_no_more_time(clocks: Clocks, logs: Logs) -> None:
    class Nobody(Room):
        async def on_ws_authenticate(self, ws: WebSocket, payload: Credentials) -> Any:
            await ws.identify(None)

    async with (
        serving(Nobody(), limits=Limits(max_auth_attempts=None)) as (served, _),
        served.client('/ws') as client,
    ):
        for _ in range(4):
            await client.ask(AS_ADA)
            await clocks.pass_by(2)
        await client.ask(AS_ADA)
        await clocks.pass_by(2)
        assert (await end_of(client))[0] == 3408
    logs.take()


async def test_who_logs_out_is_a_stranger_again_and_in_no_room(clocks: Clocks, logs: Logs) -> None:
    async with serving(Room()) as (served, manager), served.client('/ws') as client:
        await client.ask(AS_ADA)
        await clocks.pass_by(100)
        await client.ask({'type': 'log_out', 'id': 1})
        assert manager.stats().rooms == manager.stats().users == 0
        assert await status_of(client, {'type': 'say', 'id': 1}) == 401
        assert (await manager.broadcast('x')).queued == 0
        await clocks.pass_by(9)
        assert await status_of(client, {'type': 'say', 'id': 1}) == 401
        await clocks.pass_by(1)
        assert (await end_of(client))[0] == 3408
    logs.take()


async def test_who_becomes_another_leaves_what_the_one_before_was_let_into() -> None:
    class Once(Room):
        async def on_ws_authenticate(self, ws: WebSocket, payload: Credentials) -> Any:
            await ws.identify(payload['token'])
            return sorted(ws.rooms)

        async def on_ws_enter(self, ws: WebSocket, payload: str) -> None:
            await ws.join_room(payload)
            await ws.subscribe(payload)

    async with serving(Once()) as (served, manager), served.client('/ws') as client:
        await client.ask(AS_ADA)
        await client.ask({'type': 'enter', 'id': 1, 'payload': 'r'})
        assert (await client.ask(AS_ADA))['payload'] == ['r']
        assert (await client.ask({**AS_ADA, 'payload': {'token': 'bob'}}))['payload'] == []
        assert (manager.stats().rooms, manager.stats().topic_filters) == (0, 0)


# -- who takes too long


@pytest.mark.timeout(90)
async def test_fifty_that_never_authenticate_are_closed_after_ten_seconds_having_got_only_answers(
    logs: Logs,
) -> None:
    room, count = Room(), 50
    said: list[list[Any]] = [[], ['{'], [OTHERS[0]], [FAILING, OTHERS[0]], [*OTHERS, FAILING]]

    async def stay(client: Client, number: int) -> tuple[float, int, list[Any]]:
        messages = said[number % len(said)]
        for message in messages:
            await client.send(message)
        got = []
        with contextlib.suppress(ConnectionClosed):
            async with asyncio.timeout(30):
                async for message in client.connection:
                    got.append(message)  # noqa: PERF401  # it ends by an error
        return time.monotonic() - begun[number], len(messages), got

    async with serving(room) as (served, manager), AsyncExitStack() as stack:
        known = await stack.enter_async_context(served.client('/ws'))
        await known.ask(AS_ADA)
        begun, clients = [], []
        for _ in range(count):
            begun.append(time.monotonic())
            clients.append(await stack.enter_async_context(served.client('/ws')))
        staying = [asyncio.create_task(stay(each, n)) for n, each in enumerate(clients)]
        while not all(task.done() for task in staying):
            await manager.broadcast_to_room('all', {'type': 'news'})
            await manager.broadcast({'type': 'news'})
            await asyncio.wait(staying, timeout=0.5)
        for task in staying:
            seconds, asked, got = task.result()
            assert 9.9 <= seconds <= 20
            assert len(got) == asked
            assert all('"error"' in each for each in got)
        assert {client.connection.close_code for client in clients} == {3408}
        assert {client.connection.close_reason for client in clients} == {
            'nobody authenticated within 10 s'
        }
        assert room.reached == []
        assert manager.stats().limits_hit == {'auth_timeout_seconds': count}
        assert len(manager.connections) == 1
    lines = logs.take()
    assert 1 <= len(lines) <= 3, 'a line a second at most'
    assert 'did not say who it is within 10.0 s: it is closed (3408)' in lines[0]


async def test_a_handler_that_takes_longer_than_the_time_comes_too_late(
    clocks: Clocks, ws_implementation: str, logs: Logs
) -> None:
    raised = asyncio.Queue[Any]()
    begun, goes_on = asyncio.Event(), asyncio.Event()

    class Slow(Room):
        async def on_ws_authenticate(self, ws: WebSocket, payload: Credentials) -> Any:
            begun.set()
            await goes_on.wait()
            try:
                await ws.identify('ada')
            except falcon.WebSocketDisconnected as error:
                raised.put_nowait(error.code)
                raise

    room = Slow()
    async with (
        serving(room, ws_implementation) as (served, manager),
        served.client('/ws') as client,
    ):
        await client.send(AS_ADA)
        await begun.wait()
        await clocks.pass_by(10)
        assert (await end_of(client))[0] == 3408
        goes_on.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await raised.get() == 3408
        assert await room.end() == 3408
        assert manager.stats().users == 0
    logs.take()


async def test_a_route_may_have_a_time_of_its_own_or_none(clocks: Clocks, logs: Logs) -> None:
    class Patient(Room):
        ws_limits = Limits(auth_timeout_seconds=60)

    class Open(Room):
        ws_limits = Limits(auth_timeout_seconds=None)

    for resource, code in ((Patient(), 3408), (Open(), None)):
        async with serving(resource) as (served, _), served.client('/ws') as client:
            await clocks.pass_by(59)
            assert await status_of(client, {'type': 'say', 'id': 1}) == 401
            await clocks.pass_by(1000)
            if code is None:
                assert (await client.ask(AS_ADA))['payload'] == 'ada'
            else:
                assert (await end_of(client))[0] == code
    logs.take()


async def test_where_nobody_has_to_say_it_nobody_is_closed_for_it(clocks: Clocks) -> None:
    class Free(Room):
        ws_authenticate_by = None

    async with serving(Free()) as (served, _), served.client('/ws') as client:
        await clocks.pass_by(1000)
        assert (await client.ask({'type': 'say', 'id': 1}))['payload'] is None


# -- what stops the start


def problem_of(resource: object) -> str:
    app = install(falcon.asgi.App())
    app.add_route('/ws', resource)
    with pytest.raises(ConfigurationError) as raised:
        app.check_websockets()
    return str(raised.value)


@pytest.mark.parametrize('value', ['', 7, True, ('authenticate',)])
def test_what_is_no_type_stops_the_start(value: Any) -> None:
    odd = type('Odd', (Room,), {'ws_authenticate_by': value})

    assert 'Odd.ws_authenticate_by=' in problem_of(odd())


def test_a_type_that_nothing_handles_stops_the_start() -> None:
    class Other(Room):
        ws_authenticate_by = 'login'

    found = problem_of(Other())

    assert "Other has ws_authenticate_by='login'" in found
    assert 'async def on_ws_login' in found


@pytest.mark.parametrize('name', ['ping', 'pong', 'subscribe'])
def test_a_type_that_only_the_library_handles_stops_the_start(name: str) -> None:
    async def may(self: Any, ws: Any, action: str, name: str) -> bool:
        return True

    own_words = type(
        'OwnWords',
        (Room,),
        {
            'ws_authenticate_by': name,
            'ws_heartbeat_seconds': 20,
            'ws_client_topics': True,
            'ws_authorize': may,
        },
    )

    assert f'on_ws_{name}' in problem_of(own_words())


def test_an_old_loop_beside_it_stops_the_start() -> None:
    class Old(Room):
        on_ws_unhandled = None  # type: ignore[assignment]

        async def on_websocket(self, req: Any, ws: Any) -> None: ...

    assert 'on_websocket of its own' in problem_of(Old())


async def test_parallel_on_it_has_no_effect() -> None:
    class Beside(Room):
        @parallel(4)
        async def on_ws_authenticate(self, ws: WebSocket, payload: Credentials) -> Any:
            return await super().on_ws_authenticate(ws, payload)

    async with serving(Beside()) as (served, _), served.client('/ws') as client:
        await client.send(AS_ADA)
        await client.send({'type': 'say', 'id': 1})
        assert [(await client.receive())['payload'] for _ in range(2)] == ['ada', 'ada']


async def test_a_payload_that_does_not_fit_is_told_as_ever() -> None:
    async with serving(Room()) as (served, manager), served.client('/ws') as client:
        answer = await client.ask({'type': 'authenticate', 'id': 1, 'payload': {'token': 7}})
        assert answer['payload']['status'] == 422
        assert answer['payload']['errors'][0]['path'] == '/token'
        assert manager.stats().errors == {InvalidPayload.kind: 1}
