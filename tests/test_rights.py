"""What clients may do: one method of a resource decides, whenever a `ws` acts for its client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import falcon
import falcon.asgi
import pytest
from websockets.exceptions import InvalidStatus

from falcon_ws_mw import (
    ConfigurationError,
    WebSocket,
    WebSocketConnectionManager,
    WebSocketResource,
    before,
    install,
)

from .conftest import Logs
from .servers import PATIENCE_SECONDS, Client, Served, serve


class Board:
    """Has a list of who may what; asks it slowly where a test says so."""

    ws_max_parallel = 8

    def __init__(self, *allowed: tuple[str | None, str, str]) -> None:
        self.allowed = set(allowed)
        self.asked: list[tuple[str | None, str, str]] = []
        self.is_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.ended = asyncio.Event()

    async def ws_authorize(self, ws: WebSocket, action: str, name: str) -> Any:
        asked = (ws.user_id, action, name)
        self.asked.append(asked)
        answer: Any = asked in self.allowed
        if name == 'truthy':
            answer = 'yes'
        if name == 'bug':
            raise LookupError('expected')
        if name == 'paid':
            raise falcon.HTTPError(402)
        self.is_asked.set()
        await self.may_answer.wait()
        return answer

    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        await ws.identify(req.get_param('user'))
        room = req.get_param('room')
        if room is not None:
            await ws.join_room(room)

    async def on_ws_join(self, ws: WebSocket, payload: str) -> None:
        await ws.join_room(payload)

    async def on_ws_leave(self, ws: WebSocket, payload: str) -> None:
        await ws.leave_room(payload)

    async def on_ws_listen(self, ws: WebSocket, payload: str) -> None:
        await ws.subscribe(payload)

    async def on_ws_tell(self, ws: WebSocket, payload: str) -> int:
        return (await ws.publish(payload, {'about': payload})).queued

    async def on_ws_delete(self, ws: WebSocket, payload: str) -> str:
        await ws.authorize('delete', payload)
        return payload

    async def on_ws_say(self, ws: WebSocket, payload: str) -> int:
        return (await ws.broadcast_to_room(payload, {'said': 1})).queued

    async def on_ws_where(self, ws: WebSocket) -> Any:
        return [sorted(ws.rooms), sorted(ws.topic_filters)]

    async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
        self.ended.set()


@asynccontextmanager
async def serving(
    resource: object, ws_implementation: str = 'websockets-sansio'
) -> AsyncIterator[tuple[Served, WebSocketConnectionManager]]:
    app = install(falcon.asgi.App())
    if isinstance(resource, type):
        app.add_websocket_route('/ws', resource)
    else:
        app.add_route('/ws', resource)
    async with serve(app, ws_implementation) as served:
        yield served, app.ws_connection_manager


async def ask(client: Client, what: str, payload: Any = None) -> Any:
    answer = await client.ask({'type': what, 'id': what, 'payload': payload})
    assert answer['id'] == what
    return answer['payload']


async def error_of(client: Client, what: str, payload: Any) -> tuple[int, str | None]:
    answer = await ask(client, what, payload)
    return answer['status'], answer.get('description')


# -- what is asked


async def test_what_a_ws_does_for_its_client_is_asked_and_a_refusal_is_a_403(
    ws_implementation: str, logs: Logs
) -> None:
    board = Board()
    async with (
        serving(board, ws_implementation) as (served, manager),
        served.client('/ws?user=ada') as client,
    ):
        assert await error_of(client, 'join', 'r') == (403, 'you may not join this room')
        text = 'you may not subscribe to this topic filter'
        assert await error_of(client, 'listen', 'a/#') == (403, text)
        assert await error_of(client, 'tell', 'a/b') == (403, 'you may not publish on this topic')
        assert await error_of(client, 'delete', '7') == (403, 'you may not delete this')
        assert board.asked == [
            ('ada', 'join', 'r'),
            ('ada', 'subscribe', 'a/#'),
            ('ada', 'publish', 'a/b'),
            ('ada', 'delete', '7'),
        ]
        assert await ask(client, 'where') == [[], []]
        assert manager.stats().rooms == manager.stats().topic_filters == 0
    assert logs.lines == []


async def test_only_true_allows_and_what_it_raises_is_answered(logs: Logs) -> None:
    board = Board(('ada', 'join', 'r'))
    async with serving(board) as (served, _), served.client('/ws?user=ada') as client:
        statuses = [
            (await error_of(client, 'join', name))[0] for name in ('truthy', 'paid', 'bug', 'other')
        ]
        assert statuses == [403, 402, 500, 403]
        assert await ask(client, 'join', 'r') is None
        assert await ask(client, 'where') == [['r'], []]
    assert 'Board.on_ws_join raised LookupError' in logs.take()[0]


async def test_what_no_name_can_be_is_a_400_and_nobody_is_asked() -> None:
    board = Board()
    async with serving(board) as (served, _), served.client('/ws?user=ada') as client:
        assert (await error_of(client, 'join', ''))[0] == 400
        assert (await error_of(client, 'listen', 'a/#/b'))[0] == 400
        assert (await error_of(client, 'tell', 'a/+'))[0] == 400
    assert board.asked == []


async def test_leaving_and_what_is_said_in_rooms_is_not_asked() -> None:
    board = Board(('ada', 'join', 'r'))
    async with serving(board) as (served, _), served.client('/ws?user=ada') as client:
        await ask(client, 'join', 'r')
        board.asked.clear()
        await client.send({'type': 'say', 'payload': 'r'})
        assert await client.receive() == {'said': 1}
        await ask(client, 'leave', 'r')
        assert board.asked == []


async def test_what_the_manager_does_is_the_servers_own_doing() -> None:
    board = Board()
    async with serving(board) as (served, manager), served.client('/ws?user=ada') as client:
        (connection_id,) = manager.connections
        await manager.join_room(connection_id, 'r')
        await manager.subscribe(connection_id, 'a/#')
        assert (await manager.publish('a/b', {'about': 1})).queued == 1
        assert await client.receive() == {'about': 1}
        assert await ask(client, 'where') == [['r'], ['a/#']]
    assert board.asked == []


async def test_in_the_handshake_a_refusal_is_a_403(ws_implementation: str) -> None:
    board = Board(('ada', 'join', 'r'))
    async with serving(board, ws_implementation) as (served, _):
        async with served.client('/ws?user=ada&room=r') as client:
            assert await ask(client, 'where') == [['r'], []]
        for query in ('user=bob&room=r', 'room=r', 'user=ada&room=s'):
            with pytest.raises(InvalidStatus) as refused:
                async with served.client(f'/ws?{query}'):
                    pass
            assert refused.value.response.status_code == 403


async def test_a_resource_of_one_connection_is_asked_itself() -> None:
    class Personal(WebSocketResource):
        async def ws_authorize(self, ws: WebSocket, action: str, name: str) -> bool:
            return self.ws is ws and name == 'own'

        async def on_ws_join(self, ws: WebSocket, payload: str) -> None:
            await self.join_room(payload)

    async with serving(Personal) as (served, _), served.client('/ws') as client:
        assert await ask(client, 'join', 'own') is None
        assert (await error_of(client, 'join', 'other'))[0] == 403


async def test_an_old_loop_is_asked_alike() -> None:
    told = asyncio.Queue[Any]()

    class Old:
        async def ws_authorize(self, ws: WebSocket, action: str, name: str) -> bool:
            return name == 'mine'

        async def on_ws_x(self, ws: WebSocket) -> None: ...

        async def on_websocket(self, req: falcon.asgi.Request, ws: Any) -> None:
            await ws.accept()
            await ws.join_room('mine')
            try:
                await ws.join_room('yours')
            except falcon.HTTPForbidden as error:
                told.put_nowait((error.status_code, sorted(ws.rooms)))

    async with serving(Old()) as (served, _), served.client('/ws'):
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await told.get() == (403, ['mine'])


async def test_where_nobody_says_who_may_everybody_may_but_asking_is_a_mistake(
    logs: Logs,
) -> None:
    class Free:
        async def on_ws_join(self, ws: WebSocket, payload: str) -> None:
            await ws.join_room(payload)
            await ws.authorize('join', payload)

    async with serving(Free()) as (served, manager), served.client('/ws') as client:
        assert (await error_of(client, 'join', 'r'))[0] == 500
        assert manager.stats().rooms == 1
    assert 'OperationNotAllowed' in logs.take()[0]


# -- what changes while it is asked


async def test_who_becomes_another_while_it_is_asked_is_asked_again(ws_implementation: str) -> None:
    board = Board(('ada', 'join', 'r'))
    async with (
        serving(board, ws_implementation) as (served, manager),
        served.client('/ws?user=ada') as client,
    ):
        (connection_id,) = manager.connections
        board.may_answer.clear()
        await client.send({'type': 'join', 'id': 1, 'payload': 'r'})
        await board.is_asked.wait()
        await manager.identify(connection_id, 'bob')
        board.may_answer.set()
        assert (await client.receive())['payload']['status'] == 403
        assert board.asked == [('ada', 'join', 'r'), ('bob', 'join', 'r')]
        assert manager.stats().rooms == 0


async def test_to_renew_is_no_reason_to_ask_again() -> None:
    board = Board(('ada', 'join', 'r'))
    async with serving(board) as (served, manager), served.client('/ws?user=ada') as client:
        (connection_id,) = manager.connections
        board.may_answer.clear()
        await client.send({'type': 'join', 'id': 1, 'payload': 'r'})
        await board.is_asked.wait()
        await manager.identify(connection_id, 'ada', 4_000_000_000)
        board.may_answer.set()
        assert (await client.receive())['payload'] is None
        assert board.asked == [('ada', 'join', 'r')]


async def test_what_is_revoked_while_it_is_asked_is_asked_again() -> None:
    board = Board(('ada', 'join', 'r'))
    async with serving(board) as (served, manager), served.client('/ws?user=ada') as client:
        (connection_id,) = manager.connections
        board.may_answer.clear()
        await client.send({'type': 'join', 'id': 1, 'payload': 'r'})
        await board.is_asked.wait()
        board.allowed.clear()
        await manager.leave_room(connection_id, 'r')
        board.may_answer.set()
        assert (await client.receive())['payload']['status'] == 403
        assert manager.stats().rooms == 0


async def test_who_leaves_while_it_is_asked_is_in_nothing(ws_implementation: str) -> None:
    board = Board(('ada', 'join', 'r'), ('ada', 'publish', 't'))
    async with serving(board, ws_implementation) as (served, manager):
        async with served.client('/ws?user=bob') as other:
            (other_id,) = manager.connections
            await manager.subscribe(other_id, 't')
            async with served.client('/ws?user=ada') as client:
                board.may_answer.clear()
                await client.send({'type': 'join', 'payload': 'r'})
                await board.is_asked.wait()
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(manager.connections) > 1:
                    await asyncio.sleep(0.01)
                board.may_answer.set()
                await board.ended.wait()
            assert manager.stats().rooms == 0
            await ask(other, 'where')


async def test_what_a_client_publishes_that_has_left_meanwhile_is_still_asked() -> None:
    """Else whoever may not would only have to hang up."""
    begun, goes_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Queue[Any]()

    class Slow(Board):
        ws_max_parallel = 1

        async def on_ws_tell(self, ws: WebSocket, payload: str) -> int:
            begun.set()
            await goes_on.wait()
            try:
                return (await ws.publish(payload, {'about': payload})).queued
            except falcon.HTTPForbidden as error:
                ended.put_nowait(error.status_code)
                raise

    board = Slow()
    async with serving(board) as (served, manager), served.client('/ws?user=bob') as other:
        (other_id,) = manager.connections
        await manager.subscribe(other_id, 't')
        async with served.client('/ws?user=ada') as client:
            await client.send({'type': 'tell', 'payload': 't'})
            await begun.wait()
        goes_on.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await ended.get() == 403
        assert board.asked == [('ada', 'publish', 't')]
        assert await ask(other, 'where') == [[], ['t']]


@pytest.mark.parametrize('what', ['join', 'listen', 'tell', 'delete'])
async def test_who_is_kicked_while_it_is_asked_may_nothing_any_more(
    what: str, ws_implementation: str, logs: Logs
) -> None:
    raised: asyncio.Queue[Any] = asyncio.Queue()

    class Watched(Board):
        async def on_ws_tell(self, ws: WebSocket, payload: str) -> int:
            return int(await self.watched(super().on_ws_tell(ws, payload)))

        async def on_ws_join(self, ws: WebSocket, payload: str) -> None:
            await self.watched(super().on_ws_join(ws, payload))

        async def on_ws_listen(self, ws: WebSocket, payload: str) -> None:
            await self.watched(super().on_ws_listen(ws, payload))

        async def on_ws_delete(self, ws: WebSocket, payload: str) -> str:
            return str(await self.watched(super().on_ws_delete(ws, payload)))

        async def watched(self, doing: Any) -> Any:
            try:
                return await doing
            except falcon.WebSocketDisconnected as error:
                raised.put_nowait(error.code)
                raise

    actions = {'join': 'join', 'listen': 'subscribe', 'tell': 'publish', 'delete': 'delete'}
    board = Watched(('eve', actions[what], 't'))
    async with (
        serving(board, ws_implementation) as (served, manager),
        served.client('/ws?user=bob') as bob,
    ):
        (bob_id,) = manager.connections
        await manager.subscribe(bob_id, 't')
        async with served.client('/ws?user=eve') as eve:
            board.may_answer.clear()
            await eve.send({'type': what, 'payload': 't'})
            await board.is_asked.wait()
            assert await manager.close_user('eve') == 1
            board.may_answer.set()
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert await raised.get() == 3403
            assert await eve.closed() == 3403
        assert await ask(bob, 'where') == [[], ['t']]
        assert manager.stats().rooms == 0
    assert logs.lines == []


async def test_leaving_another_room_is_no_reason_to_ask_again() -> None:
    board = Board(('ada', 'join', 'r'))
    async with serving(board) as (served, manager), served.client('/ws?user=ada') as client:
        (connection_id,) = manager.connections
        board.may_answer.clear()
        await client.send({'type': 'join', 'id': 1, 'payload': 'r'})
        await board.is_asked.wait()
        for number in range(20):
            await manager.leave_room(connection_id, f'other {number}')
            await manager.unsubscribe(connection_id, f'other/{number}')
        board.may_answer.set()
        assert (await client.receive())['payload'] is None
        assert board.asked == [('ada', 'join', 'r')]


async def test_when_the_conversation_is_over_nobody_is_left_to_be_asked() -> None:
    kept: list[WebSocket] = []

    class Keeping(Board):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            kept.append(ws)

    board = Keeping((None, 'publish', 't'))
    async with serving(board) as (served, _):
        async with served.client('/ws'):
            pass
        async with asyncio.timeout(PATIENCE_SECONDS):
            await board.ended.wait()
            while kept[0].resource is not None:
                await asyncio.sleep(0.01)
        with pytest.raises(falcon.WebSocketDisconnected):
            await kept[0].publish('t', {'about': 't'})
        with pytest.raises(falcon.WebSocketDisconnected):
            await kept[0].join_room('r')


async def test_one_that_changes_with_each_question_is_refused_in_the_end() -> None:
    class Restless(Board):
        async def ws_authorize(self, ws: WebSocket, action: str, name: str) -> bool:
            await super().ws_authorize(ws, action, name)
            await ws.identify(f'user-{len(self.asked)}')
            return True

    board = Restless()
    async with serving(board) as (served, manager), served.client('/ws?user=ada') as client:
        assert (await error_of(client, 'join', 'r'))[0] == 409
        assert len(board.asked) == 10
        assert manager.stats().rooms == 0


# -- whose rights they are


async def test_rights_are_asked_again_when_a_connection_comes_back() -> None:
    board = Board(('ada', 'join', 'r'))
    async with serving(board) as (served, _):
        async with served.client('/ws?user=ada&room=r'):
            pass
        board.allowed.clear()
        with pytest.raises(InvalidStatus):
            async with served.client('/ws?user=ada&room=r'):
                pass
    assert board.asked == [('ada', 'join', 'r')] * 2


@pytest.mark.parametrize('user', ['bob', None])
async def test_who_is_no_longer_the_user_is_in_nothing_that_he_was_let_into(
    user: str | None,
) -> None:
    board = Board(('ada', 'join', 'r'), ('ada', 'subscribe', 't'))
    async with serving(board) as (served, manager), served.client('/ws?user=ada') as client:
        await ask(client, 'join', 'r')
        await ask(client, 'listen', 't')
        (connection_id,) = manager.connections
        await manager.identify(connection_id, 'ada')
        assert await ask(client, 'where') == [['r'], ['t']]
        await manager.identify(connection_id, user)
        assert await ask(client, 'where') == [[], []]
        assert manager.stats().rooms == manager.stats().topic_filters == 0


async def test_a_hook_on_a_message_says_no_by_a_403() -> None:
    async def admins_only(req: Any, ws: Any, resource: Any, params: Any) -> None:
        if ws.user_id != 'admin':
            raise falcon.HTTPForbidden(description='admins only')

    class Guarded(Board):
        @before(admins_only)
        async def on_ws_delete(self, ws: WebSocket, payload: str) -> str:
            return payload

    async with serving(Guarded()) as (served, _):
        async with served.client('/ws?user=ada') as client:
            assert await error_of(client, 'delete', 'x') == (403, 'admins only')
        async with served.client('/ws?user=admin') as client:
            assert await ask(client, 'delete', 'x') == 'x'


# -- what stops the start


@pytest.mark.parametrize('name', ['ws_authorise', 'ws_authorized', 'ws_autorize', 'ws_authorize_'])
def test_one_that_is_nearly_called_like_it_stops_the_start(name: str) -> None:
    """Else a slip of the pen would let everybody in."""

    async def may(self: Any, ws: WebSocket, action: str, name: str) -> bool:
        return False

    async def handle(self: Any, ws: WebSocket) -> None: ...

    app = install(falcon.asgi.App())
    app.add_route('/ws', type('Slip', (), {'on_ws_x': handle, name: may})())

    with pytest.raises(ConfigurationError, match=rf'Slip\.{name} .*ws_authorize'):
        app.check_websockets()


def test_other_methods_of_ones_own_may_begin_alike() -> None:
    class Own:
        async def on_ws_x(self, ws: WebSocket) -> None: ...

        def ws_audit(self) -> None: ...

        def ws_authors(self) -> None: ...

    app = install(falcon.asgi.App())
    app.add_route('/ws', Own())
    app.check_websockets()


class Sync:
    def ws_authorize(self, ws: WebSocket, action: str, name: str) -> bool:
        return True


class Fewer:
    async def ws_authorize(self, ws: WebSocket, name: str) -> bool:
        return True


class More:
    async def ws_authorize(self, ws: WebSocket, action: str, name: str, why: str) -> bool:
        return True


class Static:
    @staticmethod
    async def ws_authorize(ws: WebSocket, action: str, name: str) -> bool:
        return True


class Value:
    ws_authorize = True


@pytest.mark.parametrize('base', [Sync, Fewer, More, Static, Value])
def test_a_ws_authorize_that_cannot_be_asked_stops_the_start(base: type) -> None:
    class Odd(base):  # type: ignore[misc]
        async def on_ws_x(self, ws: WebSocket) -> None: ...

    app = install(falcon.asgi.App())
    app.add_route('/ws', Odd())

    with pytest.raises(ConfigurationError, match=r'Odd.*ws_authorize'):
        app.check_websockets()
