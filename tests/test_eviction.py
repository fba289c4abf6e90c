"""A peer that does not read at all, by a real socket: it is given up, and its socket is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
import socket
from typing import Any

import falcon
import falcon.asgi
import pytest
import uvloop

from falcon_ws_mw import Limits, WebSocket, WebSocketLifespan, install
from falcon_ws_mw.asgi import ASGIApp, Event, Receive, Scope, Send

from .conftest import Logs
from .servers import IMPLEMENTATIONS, PATIENCE_SECONDS, Served, serve
from .test_connection import soon
from .test_slow_consumers import Resource, at_once

LIVE = {
    '01': 'ESTABLISHED',
    '04': 'FIN_WAIT1',
    '05': 'FIN_WAIT2',
    '08': 'CLOSE_WAIT',
    '09': 'LAST_ACK',
}
"""States of `/proc/net/tcp` in which the kernel keeps a socket and what it has queued."""

LONG = 'x' * 65_536


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests wait for the sweep more than for anything else."""
    monkeypatch.setattr('falcon_ws_mw.sweep.INTERVAL_SECONDS', 0.02)


# -- a client that does not read


class Deaf:
    """A WebSocket client that reads nothing after the handshake."""

    def __init__(self, sock: socket.socket, server_port: int) -> None:
        self.sock = sock
        self.server_port = server_port

    async def say(self, text: str) -> None:
        """Send a text frame; the mask is 0 (RFC 6455 §5.3)."""
        data = text.encode()
        assert len(data) < 126
        frame = bytes([0x81, 0x80 | len(data), 0, 0, 0, 0]) + data
        await soon(asyncio.get_running_loop().sock_sendall(self.sock, frame))

    async def last_read(self) -> object:
        """Read after all, up to the end: empty bytes, or the error by which it has ended."""
        loop = asyncio.get_running_loop()
        try:
            while await soon(loop.sock_recv(self.sock, 1 << 20)):
                pass
        except OSError as error:
            return type(error)
        return b''

    def at_the_server(self) -> list[str]:
        """In which states the kernel keeps the server's end."""
        own_port = self.sock.getsockname()[1]
        lines = [line.split() for line in Path('/proc/net/tcp').read_text().splitlines()[1:]]
        return [
            LIVE[state]
            for _, local, remote, state, *_ in lines
            if (port_of(local), port_of(remote)) == (self.server_port, own_port) and state in LIVE
        ]


def port_of(address: str) -> int:
    return int(address.rpartition(':')[2], 16)


@asynccontextmanager
async def deaf(served: Served) -> AsyncIterator[Deaf]:
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await soon(loop.sock_connect(sock, ('127.0.0.1', served.port)))
        request = (
            b'GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
            b'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n'
        )
        await soon(loop.sock_sendall(sock, request))
        answer = b''
        while not answer.endswith(b'\r\n\r\n'):
            answer += await soon(loop.sock_recv(sock, 1))
        assert b' 101 ' in answer
        yield Deaf(sock, served.port)


async def stall(*websockets: WebSocket) -> None:
    """Broadcast until the server takes nothing more for them."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while any(ws._connection.direct is not None for ws in websockets):
            await websockets[0].broadcast_to_room('r', LONG)
            for _ in range(5):  # behind middleware each send is a task's
                await asyncio.sleep(0)


# -- other ASGI middleware


def bare(app: ASGIApp) -> ASGIApp:
    return app


def with_closures(app: ASGIApp) -> ASGIApp:
    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def own_receive() -> Event:
            return await receive()

        async def own_send(event: Event) -> None:
            await send(event)

        await app(scope, own_receive, own_send)

    return wrapped


def with_an_object(app: ASGIApp) -> ASGIApp:
    class Responder:
        send: Send

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            self.send = send
            await app(scope, receive, self.send_through)

        async def send_through(self, event: Event) -> None:
            await self.send(event)

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        await Responder()(scope, receive, send)

    return wrapped


Around = Callable[[ASGIApp], ASGIApp]

around_the_app = pytest.mark.parametrize('around', [bare, with_closures, with_an_object])


# -- what is seen of an eviction


def own_tasks() -> list[str]:
    return [name for task in asyncio.all_tasks() if 'falcon_ws_mw' in (name := task.get_name())]


async def nothing_runs(served: Served) -> None:
    """Wait until the server has no task for a connection any more."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while served.server.server_state.tasks:
            await asyncio.sleep(0)


async def assert_gone(served: Served, client: Deaf) -> None:
    """The tasks have ended, and the server's end was reset."""
    await nothing_runs(served)
    assert own_tasks() == []
    assert await client.last_read() is ConnectionResetError
    assert client.at_the_server() == []


@asynccontextmanager
async def serving(
    ws_implementation: str,
    around: Around = bare,
    *,
    resource: Resource | None = None,
    seconds: float = 0.2,
    **options: Any,
) -> AsyncIterator[tuple[Resource, WebSocketLifespan, Served]]:
    resource = resource or Resource()
    app = install(falcon.asgi.App(), limits=Limits(send_timeout_seconds=seconds), **options)
    app.add_route('/ws', resource)
    async with serve(around(app), ws_implementation) as served:
        yield resource, app, served
    assert set(resource.calls.values()) <= {1}
    assert app.ws_connection_manager.stats().connections == 0


@around_the_app
async def test_a_peer_that_does_not_read_is_evicted_and_nothing_of_it_is_left(
    around: Around, ws_implementation: str, logs: Logs
) -> None:
    async with serving(ws_implementation, around) as (resource, app, served):
        async with deaf(served) as client:
            ws = await soon(resource.connected.get())
            await stall(ws)
            assert client.at_the_server() == ['ESTABLISHED']

            assert await soon(resource.ends.get()) == (ws.id, 1006)

            stats = app.ws_connection_manager.stats()
            assert (stats.evicted, stats.connections, stats.rooms) == (1, 0, 0)
            await assert_gone(served, client)
    assert resource.calls == {ws.id: 1}
    [line] = logs.take()
    assert f'{ws.id} did not take a frame for 0.2 s: evicted, its socket is aborted' in line


async def test_a_busy_handler_does_not_keep_it(ws_implementation: str, logs: Logs) -> None:
    class Busy(Resource):
        def __init__(self) -> None:
            super().__init__()
            self.begun = asyncio.Event()
            self.release = asyncio.Event()

        async def on_ws_work(self, ws: WebSocket) -> None:
            self.begun.set()
            await self.release.wait()

    busy = Busy()
    async with serving(ws_implementation, resource=busy) as (_, _, served):
        async with deaf(served) as client:
            ws = await soon(busy.connected.get())
            await client.say('{"type":"work"}')
            await client.say('{"type":"echo"}')
            await soon(busy.begun.wait())
            await stall(ws)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not ws.closed:
                    await asyncio.sleep(0)

            assert await client.last_read() is ConnectionResetError
            assert client.at_the_server() == []
            assert busy.calls == {}
            busy.release.set()
            assert await soon(busy.ends.get()) == (ws.id, 1006)
            await nothing_runs(served)
            assert own_tasks() == []
    logs.take()


async def test_a_handler_that_sends_to_it_is_told(ws_implementation: str, logs: Logs) -> None:
    async with serving(ws_implementation) as (resource, _, served):
        async with deaf(served) as client:
            await client.say('{"type":"flood"}')
            ws = await soon(resource.connected.get())

            assert await soon(resource.ends.get()) == (ws.id, 1006)

            assert resource.sends == ['disconnected 1006']
            await assert_gone(served, client)
    assert len(logs.take()) == 1


async def test_to_close_such_a_peer_waits_for_nothing(ws_implementation: str, logs: Logs) -> None:
    closes: list[Callable[[WebSocket], Coroutine[Any, Any, object]]] = [
        lambda ws: ws.close(4000),
        lambda ws: ws.manager.close_connection(ws.id, 4000),
        lambda ws: ws.manager.close_user('ada', 4000),
    ]
    async with serving(ws_implementation) as (resource, app, served):
        for number, close in enumerate(closes, 1):
            async with deaf(served) as client:
                ws = await soon(resource.connected.get())
                await stall(ws)

                at_once(close(ws))

                assert app.ws_connection_manager.stats().connections == 0
                assert await soon(resource.ends.get()) == (ws.id, 4000)
                await assert_gone(served, client)
                assert app.ws_connection_manager.stats().evicted == number
    logs.take()


async def test_one_that_is_kicked_and_reads_again_gets_all_that_waited_and_the_close(
    ws_implementation: str, logs: Logs
) -> None:
    async with serving(ws_implementation, seconds=PATIENCE_SECONDS) as (resource, app, served):
        async with served.client('/ws', max_queue=1) as client:
            ws = await soon(resource.connected.get())
            await stall(ws)
            delivered = app.ws_connection_manager.stats().delivered

            await app.ws_connection_manager.close_user('ada', 4003, 'out')

            for _ in range(delivered):
                assert await soon(client.connection.recv()) == LONG
            assert (await client.closed(), client.connection.close_reason) == (4003, 'out')
            assert await soon(resource.ends.get()) == (ws.id, 4003)
    assert logs.lines == []


async def test_others_lose_nothing_and_nobody_waits(ws_implementation: str, logs: Logs) -> None:
    async with serving(ws_implementation) as (resource, app, served), AsyncExitStack() as stack:
        manager = app.ws_connection_manager
        clients = [await stack.enter_async_context(deaf(served)) for _ in range(3)]
        await stall(*[await soon(resource.connected.get()) for _ in clients])
        well = await stack.enter_async_context(served.client('/ws'))
        await soon(resource.connected.get())

        async def read() -> list[str]:
            return [await well.connection.recv(decode=True) for _ in range(200)]

        reading = asyncio.create_task(read())
        for number in range(200):
            at_once(manager.broadcast_to_room('r', f'{number}'.ljust(1_024)))
            await asyncio.sleep(0)

        assert [int(text) for text in await soon(reading)] == list(range(200))
        for _ in clients:
            assert (await soon(resource.ends.get()))[1] == 1006
        for client in clients:
            assert await client.last_read() is ConnectionResetError
            assert client.at_the_server() == []
        assert manager.stats().evicted == 3
        assert (await well.ask({'type': 'echo', 'id': 1, 'payload': 'p'}))['payload'] == 'p'
    assert len(logs.take()) == 1  # for all three: there is one in a second at most


async def test_one_whose_outbox_is_full_is_closed_and_then_evicted(
    ws_implementation: str, logs: Logs
) -> None:
    async with serving(ws_implementation) as (resource, app, served):
        async with deaf(served) as client:
            ws = await soon(resource.connected.get())
            await stall(ws)
            for _ in range(17):  # a MiB
                await app.ws_connection_manager.broadcast_to_room('r', LONG)
            assert app.ws_connection_manager.stats().slow_consumers == 1

            assert await soon(resource.ends.get()) == (ws.id, 1013)

            await assert_gone(served, client)
    assert len(logs.take()) == 2


async def test_a_peer_of_an_old_loop_is_evicted_too(ws_implementation: str, logs: Logs) -> None:
    class Old(Resource):
        async def on_websocket(self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
            await ws.accept()
            self.accepted.set()
            while True:
                await ws.receive_text()

        accepted = asyncio.Event()

    old = Old()
    async with serving(ws_implementation, resource=old) as (_, app, served):
        async with deaf(served) as client:
            ws = await soon(old.connected.get())
            await soon(old.accepted.wait())
            await stall(ws)

            assert await soon(old.ends.get()) == (ws.id, 1006)

            await assert_gone(served, client)
            assert app.ws_connection_manager.stats().evicted == 1
    logs.take()


@pytest.mark.parametrize('ws', IMPLEMENTATIONS)
def test_it_is_so_on_uvloop(ws: str, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with serving(ws) as (resource, _, served), deaf(served) as client:
            await stall(await soon(resource.connected.get()))
            assert (await soon(resource.ends.get()))[1] == 1006
            await assert_gone(served, client)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
