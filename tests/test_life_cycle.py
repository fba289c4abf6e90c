"""From handshake to clean-up: `on_ws_disconnect` exactly once, and nothing remains."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
import gc
import logging
from typing import Any
import weakref

import falcon
import falcon.asgi
import falcon.testing
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from falcon_ws_mw import Limits, WebSocket, WebSocketLifespan, install

from .conftest import Logs
from .servers import PATIENCE_SECONDS, Client, Served, serve


class Recorder:
    """Notes how each connection ended, and lets a test wait for it."""

    def __init__(self) -> None:
        self.ends: asyncio.Queue[tuple[str, int, frozenset[str], str | None]] = asyncio.Queue()
        self.connected: asyncio.Queue[WebSocket] = asyncio.Queue()
        self.calls: Counter[str] = Counter()

    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        await ws.identify('ada')
        await ws.join_room('r')
        ws.context.note = 'kept'
        self.connected.put_nowait(ws)

    async def on_ws_hello(self, ws: WebSocket) -> str:
        return 'hello'

    async def on_ws_leave(self, ws: WebSocket, payload: dict[str, Any]) -> None:
        await ws.close(payload['code'], payload.get('reason', ''))

    async def on_ws_crash(self, ws: WebSocket) -> None:
        raise RuntimeError('boom')

    async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
        self.calls[ws.id] += 1
        assert ws.context.note == 'kept'
        self.ends.put_nowait((ws.id, close_code, ws.rooms, ws.user_id))

    async def end(self) -> tuple[str, int, frozenset[str], str | None]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.ends.get()


@asynccontextmanager
async def recorded(
    ws_implementation: str, **options: Any
) -> AsyncIterator[tuple[Recorder, WebSocketLifespan, Served]]:
    resource = Recorder()
    app = install(falcon.asgi.App(), **options)
    app.add_route('/ws', resource)
    async with serve(app, ws_implementation) as served:
        yield resource, app, served


async def closes_normally(client: Client, app: WebSocketLifespan) -> None:
    await client.close(1000)


async def closes_with_a_code(client: Client, app: WebSocketLifespan) -> None:
    await client.close(4001, 'bye')


async def aborts(client: Client, app: WebSocketLifespan) -> None:
    client.abort()


async def is_closed_by_its_handler(client: Client, app: WebSocketLifespan) -> None:
    await client.send({'type': 'leave', 'payload': {'code': 4002}})
    assert await client.closed() == 4002


async def is_kicked(client: Client, app: WebSocketLifespan) -> None:
    assert await app.ws_connection_manager.close_user('ada', 3403, 'out') == 1
    assert await client.closed() == 3403
    assert client.connection.close_reason == 'out'


async def makes_a_handler_crash(client: Client, app: WebSocketLifespan) -> None:
    await client.send({'type': 'crash'})
    assert await client.closed() == 1011


Ending = Callable[[Client, WebSocketLifespan], Awaitable[None]]

ENDINGS: list[tuple[Ending, set[int]]] = [
    (closes_normally, {1000}),
    (closes_with_a_code, {4001}),
    (aborts, {1005, 1006}),  # servers differ
    (is_closed_by_its_handler, {4002}),
    (is_kicked, {3403}),
    (makes_a_handler_crash, {1011}),
]


@pytest.mark.parametrize(
    ('ending', 'codes'), ENDINGS, ids=lambda case: getattr(case, '__name__', '')
)
async def test_on_ws_disconnect_runs_once_with_the_right_code_and_reads_what_was(
    ending: Ending, codes: set[int], ws_implementation: str, logs: Logs
) -> None:
    async with recorded(ws_implementation, crash_policy='close') as (resource, app, served):
        async with served.client('/ws') as client:
            assert (await client.ask({'type': 'hello', 'id': 1}))['payload'] == 'hello'
            ws = await resource.connected.get()
            await ending(client, app)
            connection_id, code, rooms, user_id = await resource.end()
            assert (connection_id, rooms, user_id) == (ws.id, frozenset({'r'}), 'ada')
            assert code in codes
            assert ws.closed
        assert_nothing_remains(app)
    assert resource.calls == {ws.id: 1}
    crashed = ending is makes_a_handler_crash
    assert len(logs.lines) == (1 if crashed else 0), logs.lines


async def test_a_shutdown_ends_connections_once_with_1012(
    ws_implementation: str, logs: Logs
) -> None:
    async with recorded(ws_implementation) as (resource, app, served):
        async with served.client('/ws') as client:
            await client.ask({'type': 'hello', 'id': 1})
            await served.stop()
            assert await client.closed() == 1012
        connection_id, code, _, _ = await resource.end()
    assert code == 1012
    assert resource.calls == {connection_id: 1}
    assert_nothing_remains(app)
    assert logs.lines == []


async def test_a_handler_cancelled_by_the_server_still_says_goodbye(
    ws_implementation: str, logs: Logs
) -> None:
    class Busy(Recorder):
        async def on_ws_wait(self, ws: WebSocket) -> None:
            await ws.send_text('"waiting"')
            await asyncio.Event().wait()

    resource = Busy()
    app = install(falcon.asgi.App())
    app.add_route('/ws', resource)
    async with serve(app, ws_implementation, timeout_graceful_shutdown=0) as served:
        async with served.client('/ws') as client:
            assert await client.ask({'type': 'wait'}) == 'waiting'
            await served.stop()
        await resource.end()
        assert list(resource.calls.values()) == [1]
        assert_nothing_remains(app)
    # uvicorn says that it cancelled a task; we have nothing to add.
    assert [line for line in logs.take() if line.startswith('falcon')] == []


class Refusing(Recorder):
    """Refuses in the way that the URI names."""

    async def on_ws_connect(  # type: ignore[override]
        self, req: falcon.asgi.Request, ws: WebSocket, how: str
    ) -> bool | None:
        await super().on_ws_connect(req, ws)
        await ws.send_text('never delivered')
        if how == 'false':
            return False
        if how == 'close':
            await ws.close(4000)
            return None
        if how == 'http':
            raise falcon.HTTPUnauthorized(
                title='Who?', description='Log in', challenges=['Bearer'], headers={'X-Why': 'no'}
            )
        if how == 'accepted':
            await ws.accept()
            raise falcon.HTTPForbidden
        raise RuntimeError('boom')


@pytest.mark.parametrize(
    ('how', 'status'), [('false', 403), ('close', 403), ('http', 401), ('crash', 500)]
)
async def test_a_refused_handshake_has_no_disconnect_and_leaves_nothing(
    how: str, status: int, ws_implementation: str, logs: Logs
) -> None:
    resource = Refusing()
    app = install(falcon.asgi.App())
    app.add_route('/ws/{how}', resource)
    async with serve(app, ws_implementation) as served:
        with pytest.raises(InvalidStatus) as refused:
            async with served.client(f'/ws/{how}'):
                pass
        assert refused.value.response.status_code == status
        assert_nothing_remains(app)
    assert resource.calls == {}
    ours = [line for line in logs.lines if line.startswith('falcon')]
    assert len(ours) == (1 if how == 'crash' else 0), ours


async def test_an_http_error_after_the_accept_closes_with_falcons_code(
    ws_implementation: str, logs: Logs
) -> None:
    resource = Refusing()
    app = install(falcon.asgi.App())
    app.add_route('/ws/{how}', resource)
    async with serve(app, ws_implementation) as served, served.client('/ws/accepted') as client:
        assert await client.connection.recv() == 'never delivered'
        assert await client.closed() == 3403
    assert resource.calls == {}
    assert_nothing_remains(app)
    assert logs.lines == []


class Speaking:
    """Speaks before it accepts."""

    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket, how: str) -> None:
        await ws.join_room('r')
        await ws.send_text('1')
        await ws.broadcast_to_room('r', '2')
        await ws.send_media(3)
        with pytest.raises(falcon.OperationNotAllowed):
            await ws.receive_text()
        assert (ws.unaccepted, ws.ready) == (True, False)
        if how == 'by_hand':
            await ws.accept(subprotocol='chat', headers={'X-Room': 'r'})
            assert (ws.unaccepted, ws.ready) == (False, True)
            with pytest.raises(falcon.OperationNotAllowed):
                await ws.accept()
        await ws.send_text('4')


@pytest.mark.parametrize('how', ['by_hand', 'by_returning'])
async def test_what_is_said_before_the_accept_is_delivered_after_it_in_order(
    how: str, ws_implementation: str, logs: Logs
) -> None:
    app = install(falcon.asgi.App())
    app.add_route('/ws/{how}', Speaking())
    async with serve(app, ws_implementation) as served:
        async with served.client(f'/ws/{how}', subprotocols=['chat']) as client:
            assert [await client.receive() for _ in range(4)] == [1, 2, 3, 4]
            if how == 'by_hand':
                assert client.connection.subprotocol == 'chat'
                assert client.connection.response is not None
                assert client.connection.response.headers['X-Room'] == 'r'
    assert logs.lines == []


async def test_a_client_that_vanishes_before_the_accept_is_a_1006(
    ws_implementation: str, logs: Logs
) -> None:
    class Slow(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.release = asyncio.Event()

        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await super().on_ws_connect(req, ws)
            await self.release.wait()

    resource = Slow()
    app = install(falcon.asgi.App())
    app.add_route('/ws', resource)
    async with serve(app, ws_implementation) as served:
        writer = await half_open(served)
        ws = await resource.connected.get()
        writer.transport.abort()
        while served.server.server_state.connections:  # the server has noticed
            await asyncio.sleep(0)
        resource.release.set()
        assert await resource.end() == (ws.id, 1006, frozenset({'r'}), 'ada')
        assert_nothing_remains(app)
    assert resource.calls == {ws.id: 1}
    assert [line for line in logs.lines if line.startswith('falcon')] == []


async def test_a_hanging_on_ws_connect_is_refused_with_503(logs: Logs) -> None:
    class Hanging(Recorder):
        ws_limits = Limits(connect_timeout_seconds=0.01)

        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await asyncio.Event().wait()

    resource = Hanging()
    app = install(falcon.asgi.App())
    app.add_route('/ws', resource)
    async with serve(app) as served:
        with pytest.raises(InvalidStatus) as refused:
            async with served.client('/ws'):
                pass
    assert refused.value.response.status_code == 503
    assert resource.calls == {}
    assert any('on_ws_connect took over 0.01 s' in line for line in logs.take())


async def test_a_disconnect_hook_that_raises_is_logged_and_cleaned_up_after(logs: Logs) -> None:
    class Failing(Recorder):
        async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
            await super().on_ws_disconnect(ws, close_code)
            raise RuntimeError('boom')

    resource = Failing()
    app = install(falcon.asgi.App())
    app.add_route('/ws', resource)
    async with serve(app) as served:
        async with served.client('/ws'):
            pass
        await resource.end()
        assert_nothing_remains(app)
    [line] = logs.take()
    assert 'on_ws_disconnect raised RuntimeError' in line


async def test_inside_on_ws_disconnect_nothing_is_delivered_to_the_connection(logs: Logs) -> None:
    class Leaving(Recorder):
        async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
            report = await ws.broadcast_to_room('r', 'left')
            assert (report.queued, report.dropped) == (0, 0)
            assert await ws.manager.count_connections_in_room('r') == 0
            with pytest.raises(falcon.WebSocketDisconnected):
                await ws.send_text('x')
            with pytest.raises(falcon.WebSocketDisconnected):
                await ws.join_room('other')
            await ws.leave_room('r')
            await super().on_ws_disconnect(ws, close_code)

    resource = Leaving()
    app = install(falcon.asgi.App())
    app.add_route('/ws', resource)
    async with serve(app) as served:
        async with served.client('/ws'):
            pass
        assert (await resource.end())[2] == {'r'}
    assert logs.lines == []


async def test_after_1000_connections_in_all_endings_nothing_remains(
    ws_implementation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No room, user, task or reference is left, however they ended."""
    # pytest keeps log records, their tracebacks keep the frames of the crashes.
    monkeypatch.setattr(logging.getLogger('falcon_ws_mw'), 'disabled', True)
    resource = Recorder()
    live: weakref.WeakSet[WebSocket] = weakref.WeakSet()
    app = install(falcon.asgi.App(), crash_policy='close')
    app.add_route('/ws', resource)
    app.add_route('/refused/{how}', Refusing())

    async def one(served: Served, number: int) -> None:
        ending, _ = ENDINGS[number % len(ENDINGS)]
        if ending is is_kicked:  # it would kick its fellows too
            ending = is_closed_by_its_handler
        async with served.client('/ws') as client:
            await client.ask({'type': 'hello', 'id': 1})
            live.add(await resource.connected.get())
            await ending(client, app)
        with pytest.raises((InvalidStatus, ConnectionClosed)):
            async with served.client('/refused/false') as client:
                await client.receive()

    async with serve(app, ws_implementation) as served:
        tasks_before = len(asyncio.all_tasks())
        for start in range(0, 1000, 50):
            await asyncio.gather(*(one(served, start + n) for n in range(50)))
        for _ in range(1000):
            await resource.end()
        assert set(resource.calls.values()) == {1}
        assert len(resource.calls) == 1000
        assert_nothing_remains(app)
        while served.server.server_state.connections:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        gc.collect()
        assert len(live) == 0
        assert len(asyncio.all_tasks()) == tasks_before


def assert_nothing_remains(app: WebSocketLifespan) -> None:
    stats = app.ws_connection_manager.stats()
    assert (stats.connections, stats.rooms, stats.users) == (0, 0, 0)


# -- what must not be mistaken, and must not leak


async def test_a_receive_that_a_handler_left_behind_may_read_the_end(
    ws_implementation: str, logs: Logs
) -> None:
    class Leaving(Recorder):
        left: asyncio.Task[str]

        async def on_ws_leave_behind(self, ws: WebSocket) -> None:
            self.left = asyncio.create_task(ws.receive_text())
            await asyncio.sleep(0)

    resource = Leaving()
    app = install(falcon.asgi.App())
    app.add_route('/ws', resource)
    async with serve(app, ws_implementation) as served:
        async with served.client('/ws') as client:
            await client.ask({'type': 'leave_behind', 'id': 1})
            client.abort()
            await resource.end()
        with pytest.raises(falcon.WebSocketDisconnected):
            await resource.left
        assert_nothing_remains(app)
    assert list(resource.calls.values()) == [1]
    assert logs.lines == []


def deciding(*, accepts: bool, hook: str) -> Any:
    """Another component that decides about the handshake before us."""

    async def decide(self: object, req: Any, ws: Any, *args: Any) -> None:
        await (ws.accept() if accepts else ws.close())

    return [type('Deciding', (), {hook: decide})()]


@pytest.mark.parametrize('hook', ['process_request_ws', 'process_resource_ws'])
async def test_what_another_component_refused_has_no_life_cycle(
    hook: str, ws_implementation: str, logs: Logs
) -> None:
    resource = Recorder()
    app = install(falcon.asgi.App(middleware=deciding(accepts=False, hook=hook)))
    app.add_route('/ws', resource)
    async with serve(app, ws_implementation) as served:
        with pytest.raises(InvalidStatus) as refused:
            async with served.client('/ws'):
                pass
    assert refused.value.response.status_code == 403
    assert resource.connected.empty()
    assert resource.calls == {}
    assert logs.lines == []


@pytest.mark.parametrize('hook', ['process_request_ws', 'process_resource_ws'])
async def test_what_another_component_accepted_is_closed_and_said(
    hook: str, ws_implementation: str, logs: Logs
) -> None:
    resource = Recorder()
    app = install(falcon.asgi.App(middleware=deciding(accepts=True, hook=hook)))
    app.add_route('/ws', resource)
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        assert await client.closed() == 1011
    assert resource.connected.empty()
    [line] = logs.take()
    assert 'another component accepted the handshake of' in line


async def test_what_another_component_accepted_and_closed_has_no_life_cycle(
    ws_implementation: str, logs: Logs
) -> None:
    class Door:
        async def process_request_ws(self, req: Any, ws: Any) -> None:
            await ws.accept()
            await ws.close(1008)

    resource = Recorder()
    app = install(falcon.asgi.App(middleware=[Door()]))
    app.add_route('/ws', resource)
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        assert await client.closed() == 1008
    assert resource.connected.empty()
    assert resource.calls == {}
    assert logs.lines == []


async def test_a_connection_cancelled_during_its_accept_leaves_nothing() -> None:
    resource = Recorder()
    app = install(falcon.asgi.App())
    app.add_route('/ws', resource)
    accepting = asyncio.Event()

    async def receive() -> dict[str, Any]:
        return {'type': 'websocket.connect'}

    async def send(event: Any) -> None:
        accepting.set()
        await asyncio.Event().wait()

    scope = falcon.testing.create_scope_ws('/ws')
    task = asyncio.create_task(app(scope, receive, send))
    await accepting.wait()
    assert app.ws_connection_manager.stats().connections == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert_nothing_remains(app)
    assert list(resource.calls.values()) == [1]  # on_ws_connect had returned


@pytest.mark.parametrize('how', ['refuse', 'close', 'kick'])
async def test_refusing_a_client_that_has_vanished_is_no_news(
    how: str, ws_implementation: str, logs: Logs
) -> None:
    class Door(Recorder):
        release = asyncio.Event()

        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> bool:  # type: ignore[override]
            await super().on_ws_connect(req, ws)
            await self.release.wait()
            if how == 'close':
                await ws.close()
            elif how == 'kick':
                await ws.manager.close_user('ada')
            return how != 'refuse'

    resource = Door()
    app = install(falcon.asgi.App())
    app.add_route('/ws', resource)
    async with serve(app, ws_implementation) as served:
        writer = await half_open(served)
        await resource.connected.get()
        writer.transport.abort()
        while served.server.server_state.connections:
            await asyncio.sleep(0)
        resource.release.set()
        while served.server.server_state.tasks:
            await asyncio.sleep(0)
        assert_nothing_remains(app)
    assert resource.calls == {}
    assert [line for line in logs.lines if line.startswith('falcon')] == []


async def test_a_cancellation_that_is_not_ours_is_a_crash_like_any_other(
    ws_implementation: str, logs: Logs
) -> None:
    class Awaiting(Recorder):
        async def on_ws_wait(self, ws: WebSocket) -> None:
            task = asyncio.create_task(asyncio.sleep(0))
            task.cancel()
            await task

    resource = Awaiting()
    app = install(falcon.asgi.App())
    app.add_route('/ws', resource)
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        assert (await client.ask({'type': 'wait', 'id': 1}))['payload']['status'] == 500
        assert (await client.ask({'type': 'hello', 'id': 2}))['payload'] == 'hello'
    assert len(logs.take()) == 1


async def test_a_task_group_of_sends_to_a_lost_peer_is_a_disconnect_and_no_crash(
    logs: Logs,
) -> None:
    class Sending(Recorder):
        async def on_ws_send(self, ws: WebSocket) -> None:
            await ws.close(4000)
            async with asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(ws.send_text('x'))

    resource = Sending()
    app = install(falcon.asgi.App())
    app.add_route('/ws', resource)
    async with serve(app) as served, served.client('/ws') as client:
        await client.send({'type': 'send', 'id': 1})
        assert await client.closed() == 4000
    assert logs.lines == []


async def half_open(served: Served) -> asyncio.StreamWriter:
    """Send a handshake and wait for no answer."""
    _, writer = await asyncio.open_connection('127.0.0.1', served.port)
    writer.write(
        b'GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
        b'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n'
    )
    return writer
