"""What is held back is lost to nothing, and who is held back is treated like anybody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import falcon
import falcon.asgi
import pytest
import pytest_asyncio

from falcon_ws_mw import Limits, WebSocket, WebSocketConnectionManager, dispatch, install

from .conftest import Logs
from .servers import PATIENCE_SECONDS, serve
from .test_busy_handlers import Desk, Peer, note
from .test_connection import settled, soon

SLOW = Limits(messages_per_second=0.01, message_burst=1)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():
            await asyncio.sleep(0)


class Old:
    """A loop that gives up its receive again and again."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    async def on_websocket(self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
        await ws.accept()
        while True:
            try:
                async with asyncio.timeout(0.01):
                    self.got.append(await ws.receive_media())
            except TimeoutError:
                continue
            except falcon.WebSocketDisconnected:
                return

    async def on_ws_x(self, ws: WebSocket) -> None: ...


async def test_an_old_loop_that_cancels_its_receive_loses_nothing_that_is_held_back(
    ws_implementation: str, logs: Logs
) -> None:
    old = Old()
    limits = Limits(messages_per_second=20, message_burst=1)
    app = install(falcon.asgi.App(), strict=True, limits=limits)
    app.add_route('/ws', old)
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        for number in range(4):
            await client.send(str(number))
        await until(lambda: len(old.got) == 4)
        assert app.ws_connection_manager.stats().throttled >= 3
    assert old.got == [0, 1, 2, 3]
    logs.take()


@pytest_asyncio.fixture
async def held() -> AsyncIterator[tuple[Desk, Peer, WebSocket]]:
    """A connection whose second message waits for its turn."""
    desk = Desk()
    limits = Limits(messages_per_second=0.01, message_burst=1, send_timeout_seconds=0.2)
    peer = Peer(desk, limits=limits)
    ws = await soon(desk.connected.get())
    peer.say(note(0), note(1))
    await until(lambda: peer.stats().throttled == 1)
    yield desk, peer, ws
    peer.leave()
    await soon(peer.task)


async def test_a_kick_of_who_is_held_back_ends_though_the_peer_never_answers(
    held: tuple[Desk, Peer, WebSocket], logs: Logs
) -> None:
    desk, peer, ws = held
    await ws.manager.close_connection(ws.id, 4000)
    assert await soon(desk.ends.get()) == 4000
    await soon(peer.task)
    assert desk.notes == [0]
    assert (peer.stats().evicted, peer.stats().connections) == (1, 0)
    logs.take()


async def test_a_cut_off_ends_though_the_server_never_tells_it(
    monkeypatch: pytest.MonkeyPatch, logs: Logs
) -> None:
    monkeypatch.setattr('falcon_ws_mw.rates.FLOOD_SECONDS', 0.6)
    desk = Desk()
    limits = Limits(messages_per_second=5, message_burst=1, send_timeout_seconds=None)
    peer = Peer(desk, limits=limits)
    await soon(desk.connected.get())
    peer.say(*map(note, range(20)))
    assert await soon(desk.ends.get()) == 3429
    await soon(peer.task)
    assert peer.heard()[-1] == 3429
    assert desk.notes == list(range(len(desk.notes)))
    assert len(desk.notes) < 10
    logs.take()


async def test_what_waits_for_who_is_held_back_is_delivered_before_a_kick() -> None:
    desk = Desk()
    peer = Peer(desk, limits=SLOW)
    ws = await soon(desk.connected.get())
    peer.say(note(0), note(1))
    await until(lambda: peer.stats().throttled == 1)
    await ws.send_text('before')
    await ws.manager.close_connection(ws.id, 4000)
    await settled()
    assert peer.heard()[-2:] == ['before', 4000]
    peer.leave()
    await soon(peer.task)


async def test_an_answer_to_the_server_is_not_counted_in_the_rate() -> None:
    class Asking(Desk):
        async def on_ws_ask(self, ws: WebSocket, payload: Any) -> None:
            for _ in range(5):
                self.notes.append(await ws.request('which'))

    desk = Asking()
    app = install(falcon.asgi.App(), limits=Limits(messages_per_second=0.01, message_burst=1))
    app.add_route('/ws', desk)
    async with serve(app) as served, served.client('/ws') as client:
        await client.send({'type': 'ask'})
        for number in range(5):
            asked = await client.receive()
            await client.send({'type': 'reply', 'id': asked['id'], 'payload': number})
        await until(lambda: len(desk.notes) == 5)
    assert app.ws_connection_manager.stats().throttled == 0


async def test_hooks_that_take_long_let_no_more_in_than_there_may_be() -> None:
    gate = asyncio.Event()
    waiting: list[object] = []

    async def wait(req: Any, ws: Any, resource: Any, params: Any) -> None:
        waiting.append(req)
        await gate.wait()

    @falcon.before(wait)
    class Guarded:
        on_websocket = dispatch

        async def on_ws_x(self, ws: WebSocket) -> None: ...

    manager = WebSocketConnectionManager()
    app = install(falcon.asgi.App(), manager=manager, limits=Limits(max_connections=1))
    app.add_route('/ws', Guarded())

    async def come() -> bool:
        try:
            async with served.client('/ws'):
                await done.wait()
                return True
        except Exception:
            return False

    done = asyncio.Event()
    async with serve(app) as served:
        clients = [asyncio.create_task(come()) for _ in range(5)]
        await until(lambda: len(waiting) == 5)
        gate.set()
        await until(lambda: sum(task.done() for task in clients) == 4)
        assert manager.stats().connections == 1
        assert manager.stats().refusals == {'limit': 4}
        done.set()
        assert sum(await asyncio.gather(*clients)) == 1


async def test_a_meter_that_fails_costs_no_answer_and_is_said_once(logs: Logs) -> None:
    class Broken:
        def handled(self, *args: object) -> None:
            raise LookupError('expected')

    class Echo:
        async def on_ws_echo(self, ws: WebSocket, payload: Any) -> Any:
            return payload

    manager = WebSocketConnectionManager()
    manager.meter = Broken()
    app = install(falcon.asgi.App(), manager=manager)
    app.add_route('/ws', Echo())
    async with serve(app) as served, served.client('/ws') as client:
        for number in range(3):
            answer = await client.ask({'type': 'echo', 'id': 1, 'payload': number})
            assert answer['payload'] == number
    assert len(logs.take()) == 1


async def test_a_listener_that_awaits_what_was_cancelled_ends_nobody(logs: Logs) -> None:
    told: list[str] = []
    manager = WebSocketConnectionManager()

    @manager.on_connect
    async def stumble(ws: WebSocket) -> None:
        task = asyncio.create_task(asyncio.sleep(0))
        task.cancel()
        await task

    @manager.on_connect
    def note_it(ws: WebSocket) -> None:
        told.append(ws.id)

    app = install(falcon.asgi.App(), manager=manager)
    app.add_route('/ws', Desk())
    async with serve(app) as served, served.client('/ws') as client:
        assert (await client.ask({'type': 'nope', 'id': 1}))['payload']['status'] == 404
    assert len(told) == 1
    assert len(logs.take()) == 1


async def test_who_leaves_while_a_listener_takes_long_ends_like_anybody_else(logs: Logs) -> None:
    desk = Desk()
    peer = Peer(desk, disconnect_policy='cancel')

    @peer.app.ws_connection_manager.on_connect
    async def wait(ws: WebSocket) -> None:
        await asyncio.Event().wait()

    await soon(desk.connected.get())
    peer.leave()
    assert await soon(desk.ends.get()) == 1001
    await soon(peer.task)
    assert logs.lines == []


async def test_a_socket_of_some_middleware_is_left_alone(logs: Logs) -> None:
    ended = asyncio.Event()

    async def collect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        ended.set()
        writer.close()

    collector = await asyncio.start_server(collect, '127.0.0.1', 0)
    _, writer = await asyncio.open_connection(*collector.sockets[0].getsockname())

    def logging_to(app: Any) -> Callable[..., Awaitable[None]]:
        async def wrapped(scope: Any, receive: Any, send: Any) -> None:
            async def telling(event: Any) -> None:
                writer.write(b'.')
                await send(event)

            await app(scope, receive, telling)

        return wrapped

    desk = Desk()
    app = install(falcon.asgi.App())
    app.add_route('/ws', desk)
    async with collector:
        async with serve(logging_to(app)) as served, served.client('/ws') as client:
            await client.send('x' * 70_000)
            assert await client.closed() == 1009
            assert await soon(desk.ends.get()) == 1009
            writer.write(b'still there')
            await writer.drain()
            assert not ended.is_set()
        writer.close()
        await soon(ended.wait())
    logs.take()


def test_limits_over_limits_name_what_either_names() -> None:
    both = Limits(max_message_bytes=5).over(Limits(message_burst=7))

    assert both.named == {'max_message_bytes', 'message_burst'}
    assert (both.max_message_bytes, both.message_burst) == (5, 7)
