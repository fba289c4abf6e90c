"""Clients that say nothing: closed as idle, asked for a sign of life, and given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
import importlib.util
import json
import os
from typing import Any

import falcon
import falcon.asgi
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.legacy.protocol import WebSocketCommonProtocol

from falcon_ws_mw import (
    ConfigurationError,
    Limits,
    WebSocket,
    WebSocketConnectionManager,
    WebSocketLifespan,
    install,
    parallel,
)
from falcon_ws_mw.silence import Watch

from .asyncapi_tools import unavailable
from .clocks import Looks
from .conftest import Logs
from .servers import PATIENCE_SECONDS, Client, serve
from .test_servers import SERVERS
from .test_servers import Served as ServedAlone
from .test_servers import serve as serve_alone

PROTOCOL = 'falcon-ws.v1'
SPEAKS_IT: dict[str, Any] = {'subprotocols': [PROTOCOL]}

IDLE = 60
BEAT = 20
"""In seconds of a time that only tests move."""

PING = {'type': 'ping', 'payload': None}
PONG = {'type': 'pong', 'payload': None}


class Time:
    """The time that silence is measured by: it stands still while the sweep goes on looking."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.looks = Looks()

    async def passes(self, seconds: float) -> None:
        """What was said until now has been seen; then so much time goes by, and is seen too."""
        await self.looks.one()
        self.now += seconds
        await self.looks.one()


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time, watch = Time(), Watch.look
    time.looks.watch(monkeypatch)
    monkeypatch.setattr(Watch, 'look', lambda self, now: watch(self, time.now))
    return time


class Room:
    """Answers, at once or when it may, and tells how its connections ended."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.busy = asyncio.Event()
        self.ended: asyncio.Queue[int] = asyncio.Queue()

    async def on_ws_echo(self, ws: WebSocket, payload: Any) -> Any:
        return payload

    async def on_ws_slow(self, ws: WebSocket) -> str:
        self.busy.set()
        await self.may_answer.wait()
        return 'done'

    async def on_ws_leave(self, ws: WebSocket) -> None:
        await ws.close(4002, 'enough')

    async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
        self.ended.put_nowait(close_code)

    async def end(self) -> int:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.ended.get()


class Beside(Room):
    @parallel(2)
    async def on_ws_slow(self, ws: WebSocket) -> str:
        return await super().on_ws_slow(ws)


class Listening(Room):
    """Has a handler that reads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    async def on_ws_listen(self, ws: WebSocket) -> None:
        while True:
            self.heard.append(await ws.receive_text())
            await ws.send_text(self.heard[-1])


class OldRoom(Room):
    """One that has an old loop as well, which takes whatever subprotocol it is offered."""

    async def on_websocket(self, req: Any, ws: falcon.asgi.WebSocket) -> None:
        await ws.accept(subprotocol=ws.subprotocols[0] if ws.subprotocols else None)
        try:
            while True:
                await ws.send_text(await ws.receive_text())
        except falcon.WebSocketDisconnected:
            pass


def app_of(resource: object, **options: Any) -> WebSocketLifespan:
    app = install(falcon.asgi.App(), **options)
    app.add_route('/ws', resource)
    return app


async def is_there(client: Client) -> bool:
    """It is answered, and nothing else was said to it before."""
    answer = await client.ask({'type': 'echo', 'id': 'there', 'payload': 1})
    return bool(answer == {'type': 'reply', 'id': 'there', 'payload': 1})


async def says_back(client: Client) -> bool:
    """What is the loop's own comes back, and nothing else was said before."""
    return bool(await client.ask('{"type": "own"}') == {'type': 'own'})


async def end_of(client: Client) -> tuple[int | None, str | None]:
    """How it was closed; nothing was said to it before."""
    with pytest.raises(ConnectionClosed):
        await client.receive()
    return client.connection.close_code, client.connection.close_reason


# -- idle clients


async def test_a_client_that_says_nothing_for_too_long_is_closed_with_the_reason(
    ws_implementation: str, time: Time, logs: Logs
) -> None:
    room, manager = Room(), WebSocketConnectionManager()
    app = app_of(room, limits=Limits(idle_timeout_seconds=IDLE), manager=manager)
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        await time.passes(IDLE - 1)
        assert len(manager.connections) == 1
        await time.passes(1)
        assert await end_of(client) == (1001, 'idle for 60 s')
        assert await room.end() == 1001

    assert manager.stats().limits_hit == {'idle_timeout_seconds': 1}


@pytest.mark.parametrize(
    'message',
    [{'type': 'echo'}, {'type': 'unknown'}, '{', b'\x00', ''],
    ids=['handled', 'unknown', 'malformed', 'binary', 'empty'],
)
async def test_whatever_a_client_says_shows_that_it_is_not_idle(
    message: Any, time: Time, logs: Logs
) -> None:
    app = app_of(Room(), limits=Limits(idle_timeout_seconds=IDLE))
    async with serve(app) as served, served.client('/ws') as client:
        for _ in range(4):
            await time.passes(IDLE - 1)
            await client.send(message)
            if message != {'type': 'echo'}:
                assert (await client.receive())['type'] == 'error'
        assert await is_there(client)


async def test_what_is_said_to_a_client_does_not_keep_it(time: Time, logs: Logs) -> None:
    room, manager = Room(), WebSocketConnectionManager()
    app = app_of(room, limits=Limits(idle_timeout_seconds=IDLE), manager=manager)
    async with serve(app) as served, served.client('/ws') as client:
        for _ in range(2):
            await time.passes(IDLE / 2)
            await manager.broadcast({'type': 'news'})
        assert await room.end() == 1001
        assert [(await client.receive())['type']] == ['news']


async def test_who_waits_for_a_busy_handler_is_not_idle(time: Time, logs: Logs) -> None:
    room = Room()
    app = app_of(room, limits=Limits(idle_timeout_seconds=IDLE))
    async with serve(app) as served, served.client('/ws') as client:
        await client.send({'type': 'slow', 'id': 1})
        await room.busy.wait()
        await time.passes(10 * IDLE)
        room.may_answer.set()
        assert (await client.receive())['payload'] == 'done'
        await time.passes(IDLE - 1)
        assert await is_there(client), 'its time begins when it has its answer'
        await time.passes(IDLE)
        assert await end_of(client) == (1001, 'idle for 60 s')


async def test_who_waits_for_a_handler_beside_others_is_not_idle(time: Time, logs: Logs) -> None:
    room = Beside()
    app = app_of(room, limits=Limits(idle_timeout_seconds=IDLE))
    async with serve(app) as served, served.client('/ws') as client:
        await client.send({'type': 'slow', 'id': 1})
        await room.busy.wait()
        await time.passes(10 * IDLE)
        room.may_answer.set()
        assert (await client.receive())['payload'] == 'done'


async def test_whom_a_handler_waits_for_may_be_idle(time: Time, logs: Logs) -> None:
    room = Listening()
    app = app_of(room, limits=Limits(idle_timeout_seconds=IDLE))
    async with serve(app) as served, served.client('/ws') as client:
        await client.send({'type': 'listen'})
        for _ in range(3):
            assert await client.ask('"said"') == 'said'
            await time.passes(IDLE - 1)
        await time.passes(1)
        assert await end_of(client) == (1001, 'idle for 60 s')
        assert await room.end() == 1001

    assert room.heard == ['"said"'] * 3


async def test_who_is_held_back_is_not_idle(time: Time, logs: Logs) -> None:
    manager = WebSocketConnectionManager()
    limits = Limits(idle_timeout_seconds=IDLE, messages_per_second=0.001, message_burst=1)
    app = app_of(Room(), limits=limits, manager=manager)
    async with serve(app) as served, served.client('/ws') as client:
        assert await is_there(client)
        await client.send({'type': 'echo', 'id': 2})
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not manager.stats().throttled:
                await asyncio.sleep(0.01)
        await time.passes(10 * IDLE)
        [connection_id] = manager.connections
        await manager.close_connection(connection_id, 4003, 'not for idleness')
        assert await end_of(client) == (4003, 'not for idleness')


async def test_a_resource_may_have_an_idle_time_of_its_own_or_none(time: Time, logs: Logs) -> None:
    class Patient(Room):
        ws_limits = Limits(idle_timeout_seconds=None)

    class Impatient(Room):
        ws_limits = Limits(idle_timeout_seconds=1)

    app = app_of(Patient(), limits=Limits(idle_timeout_seconds=IDLE))
    app.add_route('/impatient', Impatient())
    async with (
        serve(app) as served,
        served.client('/ws') as patient,
        served.client('/impatient') as impatient,
    ):
        await time.passes(1)
        assert await end_of(impatient) == (1001, 'idle for 1 s')
        await time.passes(10 * IDLE)
        assert await is_there(patient)


async def test_by_default_a_client_may_be_silent_as_long_as_it_likes(
    time: Time, logs: Logs
) -> None:
    async with serve(app_of(Room())) as served, served.client('/ws', **SPEAKS_IT) as client:
        await time.passes(1_000_000)
        assert await is_there(client)


async def test_idle_by_the_clock(logs: Logs) -> None:
    """The one test of idle time that waits for it."""
    room = Room()
    app = app_of(room, limits=Limits(idle_timeout_seconds=0.1))
    async with serve(app) as served, served.client('/ws') as client:
        assert await end_of(client) == (1001, 'idle for 0.1 s')
        assert await room.end() == 1001


# -- the heartbeat


class Beating(Room):
    ws_heartbeat_seconds = BEAT


async def test_a_silent_client_that_negotiated_is_asked_once_and_then_closed(
    ws_implementation: str, time: Time, logs: Logs
) -> None:
    room, manager = Beating(), WebSocketConnectionManager()
    async with (
        serve(app_of(room, manager=manager), ws_implementation) as served,
        served.client('/ws', **SPEAKS_IT) as client,
    ):
        assert client.connection.subprotocol == PROTOCOL
        await time.passes(BEAT - 1)
        assert await is_there(client)
        await time.passes(BEAT)
        await time.passes(BEAT - 1)
        assert await client.receive() == PING
        assert len(manager.connections) == 1
        await time.passes(1)
        assert await end_of(client) == (1001, 'no sign of life for 40 s')
        assert await room.end() == 1001

    assert manager.stats().limits_hit == {'heartbeat_seconds': 1}


async def test_any_answer_keeps_a_client(ws_implementation: str, time: Time, logs: Logs) -> None:
    async with (
        serve(app_of(Beating()), ws_implementation) as served,
        served.client('/ws', **SPEAKS_IT) as client,
    ):
        for said in (PONG, {'type': 'unknown'}, b'\x00', PONG):
            await time.passes(BEAT)
            assert await client.receive() == PING
            await client.send(said)
            if said != PONG:
                assert (await client.receive())['type'] == 'error'
            await time.passes(BEAT - 1)
            assert await is_there(client)


async def test_who_talks_is_not_asked(time: Time, logs: Logs) -> None:
    async with (
        serve(app_of(Beating())) as served,
        served.client('/ws', **SPEAKS_IT) as client,
    ):
        for _ in range(5):
            await time.passes(BEAT - 1)
            assert await is_there(client)


@pytest.mark.parametrize('offered', [None, ['else'], ['mine', PROTOCOL]], ids=str)
async def test_who_did_not_negotiate_is_left_alone(
    offered: list[str] | None, time: Time, logs: Logs
) -> None:
    class Own(Beating):
        ws_subprotocols = ('mine',)

    async with (
        serve(app_of(Own())) as served,
        served.client('/ws', subprotocols=offered) as client,
    ):
        await time.passes(1_000 * BEAT)
        assert await is_there(client)


@pytest.mark.parametrize('said', ['by the app', 'by the resource'])
async def test_the_app_has_it_for_all_and_a_resource_may_leave_it_out(
    said: str, time: Time, logs: Logs
) -> None:
    class Without(Room):
        ws_heartbeat_seconds = None

    app = app_of(Room(), heartbeat_seconds=BEAT)
    app.add_route('/without', Without())
    path = '/ws' if said == 'by the app' else '/without'
    async with serve(app) as served, served.client(path, **SPEAKS_IT) as client:
        await time.passes(BEAT)
        if said == 'by the app':
            assert await client.receive() == PING
        assert await is_there(client)


async def test_a_client_may_ask_too_and_any_client(
    ws_implementation: str, time: Time, logs: Logs
) -> None:
    async with serve(app_of(Beating()), ws_implementation) as served:
        for options in (SPEAKS_IT, {}):
            async with served.client('/ws', **options) as client:
                assert await client.ask(PING) == PONG
                assert await client.ask({'type': 'ping', 'payload': [1]}) == PONG
                await client.send(PONG)
                assert await is_there(client), 'a pong is not answered'


async def test_who_waits_for_a_busy_handler_is_not_asked(time: Time, logs: Logs) -> None:
    room = Beating()
    async with serve(app_of(room)) as served, served.client('/ws', **SPEAKS_IT) as client:
        await client.send({'type': 'slow', 'id': 1})
        await room.busy.wait()
        time.now += 10 * BEAT  # before the sweep finds the handler busy twice, and has it read
        await time.looks.one()
        room.may_answer.set()
        assert (await client.receive())['payload'] == 'done'
        await time.passes(BEAT - 1)
        assert await is_there(client), 'its time begins when it has its answer'
        await time.passes(BEAT)
        assert await client.receive() == PING


@pytest.mark.parametrize('type', ['ping', 'pong'])
@pytest.mark.parametrize('by', ['resource', 'app'])
def test_a_handler_of_ones_own_for_what_the_library_answers_stops_the_start(
    type: str, by: str
) -> None:
    async def handler(self: Any, ws: WebSocket) -> None: ...

    setting = {'ws_heartbeat_seconds': 1} if by == 'resource' else {}
    resource = cls_of('Own', {f'on_ws_{type}': handler, **setting})
    app = app_of(resource(), heartbeat_seconds=1 if by == 'app' else None)

    with pytest.raises(ConfigurationError, match=rf'ws_heartbeat_seconds.*{type!r}.*rename it'):
        app.check_websockets()


def cls_of(name: str, attributes: dict[str, Any]) -> type:
    return type(name, (Room,), attributes)


@pytest.mark.parametrize('seconds', [0, 0.09, -1, 86_401, True, '20', float('nan')])
def test_a_heartbeat_is_a_number_of_seconds(seconds: Any) -> None:
    with pytest.raises(ConfigurationError, match=r'heartbeat_seconds=.*from 0\.1 to 86400'):
        install(falcon.asgi.App(), heartbeat_seconds=seconds)

    resource = cls_of('Odd', {'ws_heartbeat_seconds': seconds})
    with pytest.raises(ConfigurationError, match=r'Odd\.ws_heartbeat_seconds=.*0\.1 to 86400'):
        app_of(resource()).check_websockets()


async def test_without_a_heartbeat_ping_and_pong_are_types_like_others(logs: Logs) -> None:
    class Own(Room):
        async def on_ws_ping(self, ws: WebSocket, payload: str) -> str:
            return f'{payload}!'

    async with serve(app_of(Own())) as served, served.client('/ws') as client:
        answer = await client.ask({'type': 'ping', 'id': 1, 'payload': 'mine'})

    assert answer['payload'] == 'mine!'


# -- beside an old loop


async def test_an_old_loop_has_neither_from_the_app(
    ws_implementation: str, time: Time, logs: Logs
) -> None:
    app = app_of(OldRoom(), heartbeat_seconds=BEAT, limits=Limits(idle_timeout_seconds=IDLE))
    async with (
        serve(app, ws_implementation) as served,
        served.client('/ws', **SPEAKS_IT) as client,
    ):
        await time.passes(1_000 * IDLE)
        assert await says_back(client)
        assert await client.ask(PING) == PING, 'it is the loop that gets it'
        await time.passes(1_000 * IDLE)
        assert await is_there(client)


@pytest.mark.parametrize('how', ['own', 'strict'])
async def test_an_old_loop_has_an_idle_time_where_it_asks_for_it(
    how: str, ws_implementation: str, time: Time, logs: Logs
) -> None:
    class Own(OldRoom):
        ws_limits = Limits(idle_timeout_seconds=IDLE)

    room = Own() if how == 'own' else OldRoom()
    app = app_of(room, strict=how == 'strict', limits=Limits(idle_timeout_seconds=IDLE))
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        for says_so in (says_back, is_there, says_back):
            await time.passes(IDLE - 1)
            assert await says_so(client)
        await time.passes(IDLE)
        assert await end_of(client) == (1001, 'idle for 60 s')
        assert await room.end() == 1001


async def test_who_waits_for_a_handler_beside_an_old_loop_is_not_idle(
    time: Time, logs: Logs
) -> None:
    room = OldRoom()
    app = app_of(room, strict=True, limits=Limits(idle_timeout_seconds=IDLE))
    async with serve(app) as served, served.client('/ws') as client:
        await client.send({'type': 'slow', 'id': 1})
        await room.busy.wait()
        await time.passes(10 * IDLE)
        room.may_answer.set()
        assert (await client.receive())['payload'] == 'done'


@pytest.mark.parametrize('how', ['own', 'strict'])
async def test_an_old_loop_has_a_heartbeat_where_it_asks_for_it(
    how: str, ws_implementation: str, time: Time, logs: Logs
) -> None:
    class Own(OldRoom):
        ws_heartbeat_seconds = BEAT

    room = Own() if how == 'own' else OldRoom()
    app = app_of(room, strict=how == 'strict', heartbeat_seconds=BEAT)
    async with (
        serve(app, ws_implementation) as served,
        served.client('/ws', **SPEAKS_IT) as client,
    ):
        await time.passes(BEAT)
        assert await client.receive() == PING
        await client.send(PONG)
        assert await says_back(client)
        await time.passes(BEAT)
        assert await client.receive() == PING
        await time.passes(BEAT)
        assert await end_of(client) == (1001, 'no sign of life for 40 s')
        assert await room.end() == 1001


# -- who never answers


class Silent:
    """A client that shakes hands, keeps the TCP connection open, and never says anything more."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def is_cut(self) -> None:
        """Wait until the server has let go of the socket: by a reset, or an end."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                while await self._reader.read(65_536):
                    pass
            except ConnectionError:
                pass

    def send(self, message: Any) -> None:
        """Say something after all, as a text frame; the mask is 0 (RFC 6455 §5.3)."""
        data = json.dumps(message).encode()
        assert len(data) < 126
        self._writer.write(bytes([0x81, 0x80 | len(data), 0, 0, 0, 0]) + data)


@asynccontextmanager
async def silent(port: int, path: str = '/ws', *headers: str) -> AsyncIterator[Silent]:
    reader, writer = await asyncio.open_connection('127.0.0.1', port)
    lines = [
        f'GET {path} HTTP/1.1',
        'Host: x',
        'Upgrade: websocket',
        'Connection: Upgrade',
        'Sec-WebSocket-Version: 13',
        'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
        f'Sec-WebSocket-Protocol: {PROTOCOL}',
        *headers,
    ]
    writer.write(''.join(f'{line}\r\n' for line in (*lines, '')).encode())
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert b' 101 ' in await reader.readuntil(b'\r\n\r\n')
    try:
        yield Silent(reader, writer)
    finally:
        writer.transport.abort()


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('falcon_ws_mw.sweep.INTERVAL_SECONDS', 0.02)


EVICTIONS = {'websockets-sansio': 0, 'websockets': 1, 'wsproto': 0}
"""Whom the library has to give up itself: the others' `receive` ends by the close, unanswered."""


@pytest.mark.usefixtures('looks_often')
@pytest.mark.parametrize('why', ['idle', 'heartbeat', 'close'])
async def test_a_connection_is_over_though_its_client_does_not_answer_the_close(
    why: str, ws_implementation: str, logs: Logs
) -> None:
    class Strict(Room):
        ws_heartbeat_seconds = 0.1 if why == 'heartbeat' else None
        ws_limits = Limits(
            send_timeout_seconds=0.1, idle_timeout_seconds=0.1 if why == 'idle' else None
        )

    room, manager = Strict(), WebSocketConnectionManager()
    app = app_of(room, manager=manager)
    async with serve(app, ws_implementation) as served, silent(served.port) as client:
        if why == 'close':
            client.send({'type': 'leave'})
        assert await room.end() == (4002 if why == 'close' else 1001)
        if EVICTIONS[ws_implementation]:
            await client.is_cut()
        stats = manager.stats()

    assert (stats.connections, stats.evicted) == (0, EVICTIONS[ws_implementation])
    assert stats.not_aborted == 0
    lines = [line for line in logs.take() if ': evicted, ' in line]
    assert len(lines) == EVICTIONS[ws_implementation]


@pytest.mark.usefixtures('looks_often')
async def test_who_answers_a_close_is_not_given_up(ws_implementation: str, logs: Logs) -> None:
    room, manager = Room(), WebSocketConnectionManager()
    app = app_of(room, limits=Limits(idle_timeout_seconds=0.1), manager=manager)
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        assert await client.closed() == 1001
        assert await room.end() == 1001

    assert manager.stats().evicted == 0


@pytest.mark.usefixtures('looks_often')
async def test_uvicorn_notices_a_dead_link_by_its_own_pings(
    ws_implementation: str, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    # After its pings `websockets` waits 10 s for the answer to its close, and has no option for it.
    defaults: Any = WebSocketCommonProtocol.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, 'close_timeout', 0.1)
    room, manager = Room(), WebSocketConnectionManager()
    pings = {'ws_ping_interval': 0.1, 'ws_ping_timeout': 0.5}
    async with (
        serve(app_of(room, manager=manager), ws_implementation, **pings) as served,
        silent(served.port),
        served.client('/ws') as living,
    ):
        assert await room.end() in {1005, 1006, 1011}
        assert await is_there(living)
        assert manager.stats().connections == 1
    logs.take()


# -- on each server


class Dead:
    """Where the link of each client dies. It runs in a process of a server's."""

    ws_limits = Limits(send_timeout_seconds=0.2)

    async def on_ws_connect(self, req: Any, ws: WebSocket, name: str) -> None:
        from .served_app import tell  # it is an app by itself, which only a server should have

        self.tell = tell

    async def on_ws_x(self, ws: WebSocket) -> None: ...

    async def on_ws_disconnect(self, ws: WebSocket, close_code: int, name: str) -> None:
        self.tell('disconnected', name=name, code=close_code)


class DeadBeating(Dead):
    ws_heartbeat_seconds = 0.2


class DeadIdle(Dead):
    ws_limits = Limits(send_timeout_seconds=0.2, idle_timeout_seconds=0.3)


class Left:
    """What remains in the process."""

    def __init__(self, manager: WebSocketConnectionManager) -> None:
        self._manager = manager

    async def on_get(self, req: Any, resp: falcon.asgi.Response) -> None:
        resp.media = {
            'connections': self._manager.stats().connections,
            'tasks': len(asyncio.all_tasks()),
        }


def make() -> WebSocketLifespan:
    manager = WebSocketConnectionManager()
    wrapped = install(falcon.asgi.App(), manager=manager)
    wrapped.add_route('/beating/{name}', DeadBeating())
    wrapped.add_route('/idle/{name}', DeadIdle())
    wrapped.add_route('/left', Left(manager))
    return wrapped


if 'SERVED_APP_EVENTS' in os.environ:  # in a process of its own
    app = make()


async def left(served: ServedAlone) -> dict[str, int]:
    reader, writer = await asyncio.open_connection('127.0.0.1', served.port)
    writer.write(b'GET /left HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
    async with asyncio.timeout(PATIENCE_SECONDS):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    found: dict[str, int] = json.loads(answer[answer.index(b'{') : answer.rindex(b'}') + 1])
    return found


@pytest.mark.parametrize('server', SERVERS)
async def test_a_dead_link_is_noticed_and_nothing_of_it_remains(server: str) -> None:
    module, *_ = SERVERS[server].split()
    if importlib.util.find_spec(module) is None:
        unavailable(f'{module} is not installed')
    async with serve_alone(SERVERS[server], 'tests.test_silence:app') as served:
        before = await left(served)
        async with silent(served.port, '/beating/first'), silent(served.port, '/idle/second'):
            for name in ('first', 'second'):
                assert await served.code_of(name) == '1001'
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (after := await left(served)) != before:
                    await asyncio.sleep(0.02)

    assert after == before
    assert sum(told['event'] == 'disconnected' for told in served.told) == 2
