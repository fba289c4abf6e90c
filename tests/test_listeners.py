"""Who is told of connections: listeners, the log, and whoever starts the server."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
import logging
from types import SimpleNamespace
from typing import Any

import falcon
import falcon.asgi
from hypercorn.asyncio.lifespan import Lifespan
from hypercorn.config import Config
import pytest
import uvicorn
from uvicorn.lifespan.on import LifespanOn
from websockets.exceptions import InvalidStatus

from falcon_ws_mw import (
    ConfigurationError,
    Limits,
    WebSocket,
    WebSocketConnectionManager,
    WebSocketLifespan,
    install,
)
from falcon_ws_mw.logs import ClientFaults, quoted
from falcon_ws_mw.proxies import Proxies
from falcon_ws_mw.server_advice import advice
from falcon_ws_mw.server_internals import settings_of

from .conftest import Logs
from .servers import PATIENCE_SECONDS, Client, Served, serve

MIB = 1 << 20


class Told:
    """Everything that happened, in its order, and a way to wait for it."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self._news = asyncio.Condition()

    async def note(self, event: Any) -> None:
        async with self._news:
            self.events.append(event)
            self._news.notify_all()

    def __contains__(self, event: Any) -> bool:
        return event in self.events

    async def has(self, event: Any) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), self._news:
            await self._news.wait_for(lambda: event in self.events)

    def count(self, *names: str) -> Counter[str]:
        return Counter(event for event in self.events if event in names)


class Room:
    """Tells what becomes of its connections."""

    ws_crash_policy = 'close'

    def __init__(self, told: Told) -> None:
        self.told = told

    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        await self.told.note('on_ws_connect')

    async def on_ws_say(self, ws: WebSocket, payload: Any) -> Any:
        await self.told.note(f'said {payload}')
        return payload

    async def on_ws_leave(self, ws: WebSocket) -> None:
        await ws.close(4002)

    async def on_ws_crash(self, ws: WebSocket) -> None:
        raise LookupError('in a handler')

    async def on_ws_refuse(self, ws: WebSocket) -> None:
        raise falcon.HTTPForbidden

    async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
        await self.told.note('on_ws_disconnect')


def app_of(
    resource: object, manager: WebSocketConnectionManager, **options: Any
) -> WebSocketLifespan:
    app = install(falcon.asgi.App(), manager=manager, **options)
    app.add_route('/ws', resource)
    return app


def listen(manager: WebSocketConnectionManager, told: Told) -> None:
    @manager.on_connect
    async def connected(ws: WebSocket) -> None:
        await told.note('connect')

    @manager.on_disconnect
    async def disconnected(ws: WebSocket, close_code: int) -> None:
        await told.note('disconnect')
        await told.note(('code', close_code))

    @manager.on_error
    async def failed(ws: WebSocket, error: Exception) -> None:
        await told.note('error')
        await told.note(('error', type(error), str(error)))


# -- what a listener is


def test_a_listener_stays_what_it_was() -> None:
    manager = WebSocketConnectionManager()

    def listener(*told: object) -> None: ...

    for add in (manager.on_connect, manager.on_disconnect, manager.on_error):
        assert add(listener) is listener


@pytest.mark.parametrize(
    ('occasion', 'listener', 'expected'),
    [
        ('on_connect', lambda: None, '(ws)'),
        ('on_connect', lambda ws, more: None, '(ws)'),
        ('on_disconnect', lambda ws: None, '(ws, close_code)'),
        ('on_error', lambda ws: None, '(ws, error)'),
        ('on_error', 'not callable', '(ws, error)'),
    ],
)
def test_what_cannot_be_called_with_what_it_is_told_is_refused(
    occasion: str, listener: Any, expected: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        getattr(WebSocketConnectionManager(), occasion)(listener)

    assert str(refused.value).startswith(f'{occasion}(')
    assert str(refused.value).endswith(f'of {expected}')


# -- when it is called


async def test_listeners_hear_after_on_ws_connect_before_messages_and_after_on_ws_disconnect(
    ws_implementation: str, logs: Logs
) -> None:
    told, manager = Told(), WebSocketConnectionManager()
    listen(manager, told)
    async with serve(app_of(Room(told), manager), ws_implementation) as served:
        async with served.client('/ws') as client:
            await client.ask({'type': 'say', 'payload': 1, 'id': 1})
            await client.close(4001)
        await told.has('disconnect')

    assert [event for event in told.events if isinstance(event, str)] == [
        'on_ws_connect',
        'connect',
        'said 1',
        'on_ws_disconnect',
        'disconnect',
    ]
    assert ('code', 4001) in told


async def test_listeners_are_called_in_the_order_in_which_they_came_plain_or_not(
    logs: Logs,
) -> None:
    heard: list[str] = []
    manager = WebSocketConnectionManager()

    def plain(name: str) -> Callable[[WebSocket], None]:
        return lambda ws: heard.append(name)

    def waiting(name: str) -> Callable[[WebSocket], Any]:
        async def listener(ws: WebSocket) -> None:
            await asyncio.sleep(0)
            heard.append(name)

        return listener

    for listener in (plain('a'), waiting('b'), plain('c'), waiting('d')):
        manager.on_connect(listener)
    async with serve(app_of(Room(Told()), manager)) as served, served.client('/ws') as client:
        await client.ask({'type': 'say', 'id': 1})

    assert heard == ['a', 'b', 'c', 'd']


async def test_a_listener_gets_the_ws_of_the_handlers_and_may_use_it(
    ws_implementation: str, logs: Logs
) -> None:
    manager = WebSocketConnectionManager()

    @manager.on_connect
    async def greet(ws: WebSocket) -> None:
        await ws.join_room('all')
        await ws.send_message('welcome', ws.id)

    async with (
        serve(app_of(Room(Told()), manager), ws_implementation) as served,
        served.client('/ws') as client,
    ):
        welcome = await client.receive()
        assert [welcome['payload']] == list(manager.connections)
        assert await manager.count_connections_in_room('all') == 1


async def test_a_listener_that_waits_holds_up_its_own_connection_and_no_other(
    logs: Logs,
) -> None:
    told, manager, may_go_on = Told(), WebSocketConnectionManager(), asyncio.Event()

    @manager.on_connect
    async def slow(ws: WebSocket) -> None:
        if ws.req.get_param('slow'):
            await told.note('slow')
            await may_go_on.wait()

    async with (
        serve(app_of(Room(told), manager)) as served,
        served.client('/ws?slow=1') as held,
        served.client('/ws') as free,
    ):
        await held.send({'type': 'say', 'payload': 'held', 'id': 1})
        await told.has('slow')
        await free.ask({'type': 'say', 'payload': 'free', 'id': 1})
        assert 'said held' not in told
        may_go_on.set()
        assert (await held.receive())['payload'] == 'held'


async def test_what_a_listener_raises_is_logged_and_costs_nobody_anything(
    ws_implementation: str, logs: Logs, caplog: pytest.LogCaptureFixture
) -> None:
    told, manager = Told(), WebSocketConnectionManager()

    @manager.on_connect
    @manager.on_disconnect
    @manager.on_error
    def broken(*args: object) -> None:
        raise ZeroDivisionError

    @manager.on_connect
    @manager.on_disconnect
    @manager.on_error
    async def broken_later(*args: object) -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    listen(manager, told)
    room = Room(told)
    async with (
        serve(app_of(room, manager), ws_implementation) as served,
        served.client('/ws') as client,
    ):
        assert (await client.ask({'type': 'say', 'payload': 1, 'id': 1}))['payload'] == 1
        await client.send({'type': 'crash'})
        assert await client.closed() == 1011
        await told.has('disconnect')

    assert told.count('connect', 'error', 'disconnect', 'on_ws_disconnect') == {
        'connect': 1,
        'error': 1,
        'disconnect': 1,
        'on_ws_disconnect': 1,
    }
    found = [each.exc_info for each in caplog.records if 'a listener of on_' in each.getMessage()]
    assert len(found) == 6
    assert {info[0] for info in found if info} == {ZeroDivisionError}
    logs.take()


# -- in pairs


class OldRoom(Room):
    """One that has an old loop as well, which does what its client wants."""

    async def on_websocket(self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
        if req.get_param('refuse'):
            return
        await ws.accept()
        while True:
            wanted = await ws.receive_text()
            if wanted == 'crash':
                raise LookupError('in a loop')
            if wanted == 'leave':
                await ws.close(4002)
            if wanted in {'return', 'leave'}:
                return


class CrashingAtTheEnd(Room):
    async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
        await super().on_ws_disconnect(ws, close_code)
        raise LookupError('in on_ws_disconnect')


class CrashingOnceAccepted(Room):
    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        await ws.accept()
        raise LookupError('in on_ws_connect')


async def leaves(client: Client) -> None:
    await client.close()


async def vanishes(client: Client) -> None:
    client.abort()


def wants(message: Any) -> Callable[[Client], Any]:
    async def do(client: Client) -> None:
        await client.send(message)
        await client.closed()

    return do


async def waits(client: Client) -> None:
    await client.closed()


ENDS: dict[str, tuple[type[Room], Callable[[Client], Any]]] = {
    'the client closes': (Room, leaves),
    'the client vanishes': (Room, vanishes),
    'a handler closes': (Room, wants({'type': 'leave'})),
    'a handler crashes': (Room, wants({'type': 'crash'})),
    'on_ws_disconnect crashes': (CrashingAtTheEnd, leaves),
    'on_ws_connect crashes once it has accepted': (CrashingOnceAccepted, waits),
    'an old loop is left': (OldRoom, leaves),
    'an old loop is vanished from': (OldRoom, vanishes),
    'an old loop returns': (OldRoom, wants('return')),
    'an old loop closes': (OldRoom, wants('leave')),
    'an old loop crashes': (OldRoom, wants('crash')),
    'a handler beside an old loop closes': (OldRoom, wants({'type': 'leave'})),
    'a handler beside an old loop crashes': (OldRoom, wants({'type': 'crash'})),
}


async def test_who_is_told_of_a_connection_is_told_once_of_its_end(
    ws_implementation: str, logs: Logs
) -> None:
    told, manager = Told(), WebSocketConnectionManager()

    @manager.on_connect
    async def connected(ws: WebSocket) -> None:
        await told.note(('connect', ws.req.path))

    @manager.on_disconnect
    async def disconnected(ws: WebSocket, close_code: int) -> None:
        await told.note(('disconnect', ws.req.path))

    app = install(falcon.asgi.App(), manager=manager)
    paths = {how: f'/{how.replace(" ", "-")}' for how in ENDS}
    for how, (resource, _) in ENDS.items():
        app.add_route(paths[how], resource(told))
    async with serve(app, ws_implementation) as served:
        for how, (_, end) in ENDS.items():
            async with served.client(paths[how]) as client:
                await told.has(('connect', paths[how]))
                await end(client)
                await told.has(('disconnect', paths[how]))

    found = Counter(event for event in told.events if isinstance(event, tuple))
    assert found == {
        (occasion, path): 1 for path in paths.values() for occasion in ('connect', 'disconnect')
    }
    logs.take()


class Refusing(Room):
    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        if req.get_param('how') == 'error':
            raise falcon.HTTPUnauthorized
        if req.get_param('how') == 'crash':
            raise LookupError('in on_ws_connect')
        await ws.close()


class ForNobodysPages(Room):
    ws_allowed_origins: list[str] = []


async def test_who_is_refused_is_told_to_nobody(ws_implementation: str, logs: Logs) -> None:
    told, manager = Told(), WebSocketConnectionManager()
    listen(manager, told)
    app = app_of(Refusing(told), manager)
    app.add_route('/old', OldRoom(told))
    app.add_route('/nobody', ForNobodysPages(told))
    async with serve(app, ws_implementation) as served:
        for path in ('/ws?how=error', '/ws?how=crash', '/ws', '/old?refuse=1'):
            await is_refused(served, path)
        await is_refused(served, '/nobody', origin='http://evil.example')

    assert told.count('connect', 'disconnect') == {}
    logs.take()


async def is_refused(served: Served, path: str, origin: str | None = None) -> None:
    with pytest.raises(InvalidStatus):
        async with served.client(path, origin=origin):
            pass


# -- of errors


async def test_a_crash_is_told_with_what_was_raised(ws_implementation: str, logs: Logs) -> None:
    class Answering(CrashingAtTheEnd):
        ws_crash_policy = 'answer'

        async def on_ws_unhandled(self, ws: WebSocket, raw: Any, error: Exception) -> None:
            raise LookupError('in on_ws_unhandled')

    told, manager = Told(), WebSocketConnectionManager()
    listen(manager, told)
    app = app_of(Answering(told), manager)
    app.add_route('/refusing', Refusing(told))
    async with serve(app, ws_implementation) as served:
        await is_refused(served, '/refusing?how=crash')
        async with served.client('/ws') as client:
            for type_ in ('crash', 'refuse', 'unknown'):
                assert (await client.ask({'type': type_, 'id': 1}))['type'] == 'error'
        await told.has('disconnect')

    assert [event for event in told.events if isinstance(event, tuple) and len(event) == 3] == [
        ('error', LookupError, f'in {where}')
        for where in ('on_ws_connect', 'a handler', 'on_ws_unhandled', 'on_ws_disconnect')
    ]
    logs.take()


async def test_what_names_somebody_at_fault_is_no_error(logs: Logs) -> None:
    class Strict(Room):
        ws_limits = Limits(max_rooms_per_connection=1)

        async def on_ws_join(self, ws: WebSocket, payload: str) -> None:
            await ws.join_room(payload)

    told, manager = Told(), WebSocketConnectionManager()
    listen(manager, told)
    async with serve(app_of(Strict(told), manager)) as served, served.client('/ws') as client:
        await client.send({'type': 'join', 'payload': 'a'})
        for message in (
            {'type': 'join', 'payload': 'b'},
            {'type': 'join', 'payload': ''},
            {'type': 'refuse'},
            {'type': 'unknown'},
            '{',
        ):
            assert (await client.ask(message))['type'] == 'error'

    assert 'error' not in told


# -- lines about clients


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr('falcon_ws_mw.logs.time', clock)
    return clock


def test_of_one_kind_there_is_a_line_a_second_and_the_next_says_how_many_were_left_out(
    clock: Clock, logs: Logs
) -> None:
    faults = ClientFaults()
    for number in range(30):  # ten a second, for three
        clock.now = number / 10
        faults.warn('loud', 'the %dth', number)

    assert logs.take() == [
        'falcon_ws_mw: the 0th',
        'falcon_ws_mw: the 10th (and 9 more like this since the last such line)',
        'falcon_ws_mw: the 20th (and 9 more like this since the last such line)',
    ]


def test_the_first_line_after_a_quiet_time_counts_what_was_left_out_before_it(
    clock: Clock, logs: Logs
) -> None:
    faults = ClientFaults()
    for now in (0, 0.5, 3600, 7200):
        clock.now = now
        faults.warn('loud', 'hey')

    assert logs.take() == [
        'falcon_ws_mw: hey',
        'falcon_ws_mw: hey (and 1 more like this since the last such line)',
        'falcon_ws_mw: hey',
    ]


def test_one_kind_does_not_silence_another(clock: Clock, logs: Logs) -> None:
    faults = ClientFaults()
    for kind in ('a', 'b', 'a', 'b', 'c'):
        faults.warn(kind, '%s', kind)

    assert logs.take() == ['falcon_ws_mw: a', 'falcon_ws_mw: b', 'falcon_ws_mw: c']


def test_facts_are_attributes_of_the_record(
    clock: Clock, logs: Logs, caplog: pytest.LogCaptureFixture
) -> None:
    ClientFaults().warn('loud', 'hey', connection_id='x', close_code=1009)

    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert {'fault': 'loud', 'connection_id': 'x', 'close_code': 1009}.items() <= (
        vars(record).items()
    )
    logs.take()


@pytest.mark.parametrize(
    'said', ['\x1b[31m', 'a\r\nb', '\u202e', '\u2028', '\x00', '\ud800', 'ä', "'", '%s %d', '\x85']
)
def test_what_is_quoted_is_printable_ascii_on_one_line(said: str) -> None:
    text = quoted(said)

    assert text.isascii()
    assert text.isprintable()


def test_what_is_quoted_has_at_most_200_characters() -> None:
    assert len(quoted('x' * 10_000)) == len('...') + 200
    assert quoted('x' * 198) == repr('x' * 198)


async def test_lines_about_a_connection_have_its_id(
    ws_implementation: str,
    logs: Logs,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr('falcon_ws_mw.intake.CUT_OFF_SECONDS', 0.1)
    ids: list[str] = []
    manager = WebSocketConnectionManager()
    manager.on_connect(lambda ws: ids.append(ws.id))
    app = app_of(Room(Told()), manager, limits=Limits(max_message_bytes=40))
    async with (
        serve(app, ws_implementation) as served,
        served.client('/ws') as client,
    ):
        await client.send({'type': 'say', 'payload': 'x' * 100})
        assert await client.closed() == 1009

    [record] = [each for each in caplog.records if hasattr(each, 'connection_id')]
    [own_id] = ids
    assert own_id in record.getMessage()
    facts = {'connection_id': own_id, 'limit': 'max_message_bytes', 'close_code': 1009}
    assert facts.items() <= vars(record).items()
    assert 'xxx' not in record.getMessage()
    logs.take()


async def test_lines_about_a_resource_have_its_name(
    logs: Logs, caplog: pytest.LogCaptureFixture
) -> None:
    class Undecided(Room):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await asyncio.Event().wait()

    app = app_of(
        Undecided(Told()),
        WebSocketConnectionManager(),
        limits=Limits(connect_timeout_seconds=0.01),
    )
    async with serve(app) as served:
        await is_refused(served, '/ws')

    [record] = [each for each in caplog.records if each.name == 'falcon_ws_mw']
    assert vars(record)['resource'].endswith('Undecided')
    assert vars(record)['fault'] == 'connect_timeout_seconds'
    logs.take()


# -- lines about the server

ADVICE: list[tuple[str, dict[str, Any], Limits, list[str]]] = [
    ('uvicorn', {}, Limits(), []),
    ('uvicorn', {'ws_max_size': 16 * MIB}, Limits(), ['--ws-max-size 65536']),
    ('uvicorn', {'ws_max_size': MIB + 1}, Limits(), ['--ws-max-size 65536']),
    ('uvicorn', {'ws_max_size': MIB}, Limits(), []),
    ('uvicorn', {'ws_max_size': 16 * MIB}, Limits(max_message_bytes=MIB), []),
    ('uvicorn', {'ws_max_size': 16 * MIB}, Limits(max_message_bytes=None), []),
    (
        'uvicorn',
        {'ws': 'wsproto', 'ws_per_message_deflate': True},
        Limits(),
        ['--ws-per-message-deflate false'],
    ),
    ('uvicorn', {'ws': 'wsproto', 'ws_per_message_deflate': False}, Limits(), []),
    ('uvicorn', {'ws': 'auto', 'ws_per_message_deflate': True}, Limits(), []),
    (
        'uvicorn',
        {'timeout_graceful_shutdown': None},
        Limits(),
        ['--timeout-graceful-shutdown 10'],
    ),
    ('uvicorn', {'timeout_graceful_shutdown': 10}, Limits(), []),
    ('uvicorn', {'timeout_graceful_shutdown': 0}, Limits(), []),
    ('hypercorn', {}, Limits(), ['Sec-WebSocket-Extensions']),
    (
        'hypercorn',
        {'websocket_max_message_size': 16 * MIB},
        Limits(),
        ['websocket_max_message_size = 65536', 'Sec-WebSocket-Extensions'],
    ),
    ('granian', {'ws_max_size': 16 * MIB}, Limits(), []),
    ('', {}, Limits(), []),
]


@pytest.mark.parametrize(('server', 'settings', 'limits', 'cures'), ADVICE, ids=str)
def test_a_setting_that_undermines_a_limit_is_named_with_its_cure(
    server: str, settings: dict[str, Any], limits: Limits, cures: list[str]
) -> None:
    sentences = list(advice(server, settings, limits.max_message_bytes))

    assert len(sentences) == len(cures)
    assert all(cure in sentence for cure, sentence in zip(cures, sentences, strict=True))
    assert all(sentence.startswith(server) for sentence in sentences)


async def some_app(scope: Any, receive: Any, send: Any) -> None: ...


@pytest.mark.parametrize('ws', ['auto', 'websockets-sansio', 'wsproto'])
def test_the_settings_of_uvicorn_are_found_in_its_own_config(ws: Any) -> None:
    config = uvicorn.Config(
        some_app, ws=ws, ws_max_size=77, timeout_graceful_shutdown=5, log_config=None
    )

    assert settings_of(LifespanOn(config).receive) == (
        'uvicorn',
        {
            'forwarded_allow_ips': config.forwarded_allow_ips,
            'proxy_headers': True,
            'timeout_graceful_shutdown': 5,
            'ws': ws,
            'ws_max_size': 77,
            'ws_per_message_deflate': True,
        },
    )


async def test_the_settings_of_hypercorn_are_found_in_its_own_config() -> None:
    config = Config()
    config.websocket_ping_interval = 20
    config.graceful_timeout = 3
    lifespan = Lifespan(some_app, config, asyncio.get_running_loop(), {})  # type: ignore[arg-type]

    assert settings_of(lifespan.asgi_receive) == (
        'hypercorn',
        {
            'websocket_max_message_size': 16 * MIB,
            'graceful_timeout': 3,
            'websocket_ping_interval': 20,
        },
    )


@pytest.mark.parametrize(
    ('allowed', 'headers', 'trusted', 'is_said'),
    [
        ('127.0.0.1', True, '127.0.0.1', True),
        ('10.0.0.9, 127.0.0.1', True, ['10.0.0.0/8'], True),
        (['10.0.0.9'], True, ['10.0.0.0/8'], True),
        ('127.0.0.1', True, ['10.0.0.0/8'], False),
        ('127.0.0.1', False, '127.0.0.1', False),
        ('127.0.0.1', True, (), False),
    ],
)
def test_who_has_uvicorn_trust_a_proxy_too_is_told(
    allowed: Any, headers: bool, trusted: Any, is_said: bool
) -> None:
    settings = {'forwarded_allow_ips': allowed, 'proxy_headers': headers}

    said = list(advice('uvicorn', settings, None, Proxies(trusted)))

    assert ['--no-proxy-headers' in sentence for sentence in said] == [True] * is_said


def test_of_a_receive_that_tells_nothing_nothing_is_known() -> None:
    with_a_config = SimpleNamespace(__self__=SimpleNamespace(config=SimpleNamespace(ws_max_size=1)))
    receives: list[Any] = [some_app, None, with_a_config, [].append]
    for receive in receives:
        server, settings = settings_of(receive)
        assert list(advice(server, settings, 65_536)) == []


DEFAULTS = {
    'ws_max_size': 16 * MIB,
    'ws_per_message_deflate': True,
    'timeout_graceful_shutdown': None,
}
"""What uvicorn does unless it is told."""

COUNT = {'websockets-sansio': 2, 'websockets': 2, 'wsproto': 3}
"""How much is to be said of that."""


async def test_a_start_with_the_defaults_of_uvicorn_is_commented_once(
    ws_implementation: str, logs: Logs
) -> None:
    app = app_of(Room(Told()), WebSocketConnectionManager())
    async with serve(app, ws_implementation, **DEFAULTS) as served:
        for _ in range(3):
            async with served.client('/ws') as client:
                await client.ask({'type': 'say', 'id': 1})

    lines = [line for line in logs.take() if line.startswith('falcon_ws_mw')]
    assert len(lines) == COUNT[ws_implementation]
    assert all(line.startswith('falcon_ws_mw: uvicorn ') for line in lines)


async def test_what_a_route_may_take_is_not_said_to_be_too_much_for_the_server(
    logs: Logs,
) -> None:
    class Uploads(Room):
        ws_limits = Limits(max_message_bytes=16 * MIB)

    app = app_of(Uploads(Told()), WebSocketConnectionManager())
    async with serve(app, ws_max_size=16 * MIB):
        pass

    assert [line for line in logs.take() if line.startswith('falcon_ws_mw')] == []


async def test_a_start_as_docs_security_has_it_is_not_commented(
    ws_implementation: str, logs: Logs
) -> None:
    as_told = {
        'ws_max_size': 65_536,
        'ws_per_message_deflate': False,
        'timeout_graceful_shutdown': 10,
    }
    app = app_of(Room(Told()), WebSocketConnectionManager())
    async with serve(app, ws_implementation, **as_told):
        pass

    assert [line for line in logs.take() if line.startswith('falcon')] == []
