"""How many may come, how fast, and from where: by real handshakes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
import logging
import math
from types import SimpleNamespace
from typing import Any

import falcon
import falcon.asgi
import pytest
from websockets.exceptions import InvalidStatus

from falcon_ws_mw import (
    ConfigurationError,
    Limits,
    TooManyConnections,
    TooManyRooms,
    WebSocket,
    WebSocketConnectionManager,
    WebSocketLifespan,
    install,
)

from .conftest import Logs
from .servers import PATIENCE_SECONDS, Client, Served, serve
from .test_origins_on_the_wire import Answer, ask

HOST = 'chat.example'
SWITCHING, TOO_MANY, UNAVAILABLE = 101, 429, 503

NEVER_AGAIN = 0.001
"""So few in a second that no test sees the next."""


class Clock:
    """The time by which handshakes are counted; it stands still unless it is told."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr('falcon_ws_mw.admission.monotonic', clock)
    return clock


class Lobby:
    """Lets everybody in who may come, as the user that they name."""

    def __init__(self) -> None:
        self.met = 0
        self.left = 0
        self._news = asyncio.Condition()

    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        self.met += 1
        user = req.get_param('user')
        if user:
            await ws.identify(user)

    async def on_ws_call_me(self, ws: WebSocket, payload: str | None) -> str | None:
        await ws.identify(payload)
        return ws.user_id

    async def on_ws_join(self, ws: WebSocket, payload: str) -> list[str]:
        await ws.join_room(payload)
        return sorted(ws.rooms)

    async def on_ws_leave(self, ws: WebSocket, payload: str) -> list[str]:
        await ws.leave_room(payload)
        return sorted(ws.rooms)

    async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
        async with self._news:
            self.left += 1
            self._news.notify_all()

    async def have_left(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), self._news:
            await self._news.wait_for(lambda: self.left >= count)


def app_of(resource: object, **options: Any) -> WebSocketLifespan:
    app = install(falcon.asgi.App(), **options)
    app.add_route('/ws', resource)
    return app


def believing(app: WebSocketLifespan, ws_implementation: str = 'websockets-sansio') -> Any:
    """Serve by a server that believes no proxy by itself."""
    return serve(app, ws_implementation, proxy_headers=False)


async def knock(served: Served, path: str = '/ws', *, of: str | None = None) -> Answer:
    """One handshake, asked for somebody by a proxy or not."""
    headers = [('Host', HOST)]
    if of is not None:
        headers.append(('X-Forwarded-For', of))
    return await ask(served.port, headers, path)


async def statuses(served: Served, count: int, path: str = '/ws', **of: str) -> list[int]:
    return [(await knock(served, path, **of)).status for _ in range(count)]


async def refusal_of(served: Served, path: str) -> InvalidStatus:
    with pytest.raises(InvalidStatus) as refused:
        async with served.client(path):
            pass
    return refused.value


# -- how fast


async def test_handshakes_beyond_the_rate_are_refused_and_told_when_to_come_back(
    ws_implementation: str, clock: Clock, logs: Logs
) -> None:
    lobby = Lobby()
    app = app_of(lobby, limits=Limits(handshakes_per_second=0.5, handshake_burst=2))
    async with serve(app, ws_implementation) as served:
        assert await statuses(served, 2) == [SWITCHING, SWITCHING]
        early = await knock(served)
        clock.now += 1.9
        still_early = await knock(served)
        clock.now += 0.1
        assert await statuses(served, 2) == [SWITCHING, TOO_MANY]

    assert (early.status, early.headers['retry-after']) == (TOO_MANY, '2')
    assert (still_early.status, still_early.headers['retry-after']) == (TOO_MANY, '1')
    assert lobby.met == 3
    logs.take()


async def test_a_pause_gives_the_whole_burst_back_and_no_more(clock: Clock, logs: Logs) -> None:
    app = app_of(Lobby(), limits=Limits(handshakes_per_second=2, handshake_burst=3))
    async with serve(app) as served:
        await statuses(served, 3)
        clock.now += 3_600
        assert await statuses(served, 4) == [SWITCHING] * 3 + [TOO_MANY]
    logs.take()


async def test_without_a_burst_as_many_may_come_at_once_as_in_a_second(
    clock: Clock, logs: Logs
) -> None:
    app = app_of(Lobby(), limits=Limits(handshakes_per_second=4))
    async with serve(app) as served:
        assert await statuses(served, 5) == [SWITCHING] * 4 + [TOO_MANY]
    logs.take()


async def test_who_is_refused_is_counted_and_said_by_his_address(
    clock: Clock, logs: Logs, caplog: pytest.LogCaptureFixture
) -> None:
    manager = WebSocketConnectionManager()
    limits = Limits(handshakes_per_second=NEVER_AGAIN, handshake_burst=1)
    async with serve(app_of(Lobby(), limits=limits, manager=manager)) as served:
        await statuses(served, 4)
        stats = manager.stats()

    assert stats.refusals == {'limit': 3}
    assert stats.limits_hit == {'handshakes_per_second': 3}
    [record] = [each for each in caplog.records if each.name == 'falcon_ws_mw']
    assert "'127.0.0.1'" in record.getMessage()
    assert vars(record)['limit'] == 'handshakes_per_second'
    logs.take()


async def test_a_flood_of_handshakes_is_one_line_a_second(
    clock: Clock, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('falcon_ws_mw.logs.time', SimpleNamespace(monotonic=clock))
    limits = Limits(handshakes_per_second=NEVER_AGAIN, handshake_burst=1)
    async with serve(app_of(Lobby(), limits=limits)) as served:
        await statuses(served, 21)
        clock.now += 1
        await statuses(served, 20)
        lines = [line for line in logs.take() if line.startswith('falcon_ws_mw')]

    assert len(lines) == 2
    assert lines[1].endswith('(and 19 more like this since the last such line)')


async def test_what_a_proxy_says_in_place_of_an_address_is_escaped_and_cut_in_the_log(
    clock: Clock, logs: Logs
) -> None:
    """Only h11 and wsproto let such a header through."""
    limits = Limits(handshakes_per_second=NEVER_AGAIN, handshake_burst=1)
    app = app_of(Lobby(), limits=limits, trusted_proxies='127.0.0.1')
    async with serve(app, 'wsproto', proxy_headers=False, http='h11') as served:
        assert await statuses(served, 2, of='\x1b[2J' + 'x' * 900) == [SWITCHING, TOO_MANY]

    [line] = [line for line in logs.take() if line.startswith('falcon_ws_mw')]
    assert line.isprintable()
    assert len(line) < 300


async def test_each_client_behind_a_trusted_proxy_has_a_rate_of_his_own(
    clock: Clock, logs: Logs
) -> None:
    limits = Limits(handshakes_per_second=NEVER_AGAIN, handshake_burst=2)
    async with believing(app_of(Lobby(), limits=limits, trusted_proxies='127.0.0.1')) as served:
        assert await statuses(served, 3, of='203.0.113.7') == [SWITCHING] * 2 + [TOO_MANY]
        assert await statuses(served, 3, of='203.0.113.8') == [SWITCHING] * 2 + [TOO_MANY]
        assert await statuses(served, 1, of='6.6.6.6, 203.0.113.7') == [TOO_MANY]
    logs.take()


async def test_what_an_untrusted_client_says_of_his_address_changes_nothing(
    clock: Clock, logs: Logs
) -> None:
    limits = Limits(handshakes_per_second=NEVER_AGAIN, handshake_burst=2)
    async with believing(app_of(Lobby(), limits=limits, trusted_proxies='10.0.0.1')) as served:
        addresses = ('203.0.113.7', '203.0.113.8', '203.0.113.9')
        found = [(await knock(served, of=address)).status for address in addresses]

    assert found == [SWITCHING, SWITCHING, TOO_MANY]
    logs.take()


async def test_an_ipv6_client_is_counted_by_its_64_bits(clock: Clock, logs: Logs) -> None:
    limits = Limits(handshakes_per_second=NEVER_AGAIN, handshake_burst=1)
    async with believing(app_of(Lobby(), limits=limits, trusted_proxies='127.0.0.1')) as served:
        found = {
            address: (await knock(served, of=address)).status
            for address in ('2001:db8::1', '2001:db8::2:0:0:1', '2001:db8:0:1::1', '::ffff:1.2.3.4')
        }
        mapped = (await knock(served, of='1.2.3.4')).status

    assert [*found.values()] == [SWITCHING, TOO_MANY, SWITCHING, SWITCHING]
    assert mapped == TOO_MANY
    logs.take()


async def test_a_resource_with_a_rate_of_its_own_counts_its_own_handshakes(
    clock: Clock, logs: Logs
) -> None:
    class Busy(Lobby):
        ws_limits = Limits(handshakes_per_second=NEVER_AGAIN, handshake_burst=1)

    class Open(Lobby):
        ws_limits = Limits(handshakes_per_second=None)

    app = app_of(Lobby(), limits=Limits(handshakes_per_second=NEVER_AGAIN, handshake_burst=2))
    app.add_route('/busy', Busy())
    app.add_route('/open', Open())
    async with serve(app) as served:
        assert await statuses(served, 2, '/busy') == [SWITCHING, TOO_MANY]
        assert await statuses(served, 9, '/open') == [SWITCHING] * 9
        assert await statuses(served, 3) == [SWITCHING, SWITCHING, TOO_MANY]
    logs.take()


async def test_a_rate_is_one_resources_and_not_all_of_its_name(clock: Clock, logs: Logs) -> None:
    def room(burst: int) -> Lobby:
        class Room(Lobby):
            ws_limits = Limits(handshakes_per_second=NEVER_AGAIN, handshake_burst=burst)

        return Room()

    app = app_of(room(1))
    app.add_route('/other', room(3))
    async with serve(app) as served:
        assert await statuses(served, 2) == [SWITCHING, TOO_MANY]
        assert await statuses(served, 4, '/other') == [SWITCHING] * 3 + [TOO_MANY]
    logs.take()


async def test_an_old_loop_has_a_rate_too(clock: Clock, logs: Logs) -> None:
    class Old:
        async def on_ws_x(self, ws: WebSocket) -> None: ...

        async def on_websocket(self, req: Any, ws: falcon.asgi.WebSocket) -> None:
            await ws.accept()

    limits = Limits(handshakes_per_second=NEVER_AGAIN, handshake_burst=1)
    async with serve(app_of(Old(), limits=limits)) as served:
        assert await statuses(served, 2) == [SWITCHING, TOO_MANY]
    logs.take()


# -- how many


async def test_beyond_max_connections_there_is_a_503_until_somebody_leaves(
    ws_implementation: str, logs: Logs
) -> None:
    lobby, manager = Lobby(), WebSocketConnectionManager()
    app = app_of(lobby, limits=Limits(max_connections=2), manager=manager)
    async with serve(app, ws_implementation) as served:
        async with served.client('/ws'):
            async with served.client('/ws'):
                refused = await refusal_of(served, '/ws')
            await lobby.have_left(1)
            async with served.client('/ws') as client:
                assert (await client.ask({'type': 'join', 'payload': 'r', 'id': 1}))['id'] == 1
        await lobby.have_left(3)
        stats = manager.stats()

    assert refused.response.status_code == UNAVAILABLE
    assert refused.response.headers['Retry-After'] == '5'
    assert (stats.refusals, stats.limits_hit) == ({'limit': 1}, {'max_connections': 1})
    assert (lobby.met, lobby.left) == (3, 3)
    logs.take()


async def test_who_is_still_being_let_in_counts_among_the_connections(logs: Logs) -> None:
    inside, may_go_on = asyncio.Semaphore(0), asyncio.Event()

    class Slow(Lobby):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            inside.release()
            await may_go_on.wait()

    async with serve(app_of(Slow(), limits=Limits(max_connections=3))) as served:
        guests = [asyncio.create_task(knock(served)) for _ in range(3)]
        async with asyncio.timeout(PATIENCE_SECONDS):
            for _ in guests:
                await inside.acquire()
        assert await statuses(served, 5) == [UNAVAILABLE] * 5
        may_go_on.set()
        assert {(await guest).status for guest in guests} == {SWITCHING}
    logs.take()


async def test_who_is_refused_by_the_app_leaves_his_place_to_the_next(logs: Logs) -> None:
    class Closed(Lobby):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            raise falcon.HTTPUnauthorized

    manager = WebSocketConnectionManager()
    limits = Limits(max_connections=1)
    async with serve(app_of(Closed(), limits=limits, manager=manager)) as served:
        assert await statuses(served, 5) == [401] * 5

    assert manager.stats().limits_hit == {}
    logs.take()


@pytest.mark.parametrize('limit', ['max_connections', 'max_connections_per_user'])
def test_a_limit_of_the_whole_app_on_a_resource_stops_the_start(limit: str) -> None:
    class Greedy(Lobby):
        ws_limits = Limits(**{limit: 5})

    with pytest.raises(ConfigurationError, match=rf'Greedy\.ws_limits names {limit}, .*install'):
        app_of(Greedy()).check_websockets()


# -- how many of one user


async def test_a_user_with_all_his_connections_is_refused_one_more_and_others_are_not(
    ws_implementation: str, logs: Logs
) -> None:
    lobby, manager = Lobby(), WebSocketConnectionManager()
    app = app_of(lobby, limits=Limits(max_connections_per_user=2), manager=manager)
    async with serve(app, ws_implementation) as served:
        async with served.client('/ws?user=ada'), served.client('/ws?user=bob'):
            async with served.client('/ws?user=ada'):
                refused = await refusal_of(served, '/ws?user=ada')
                async with served.client('/ws?user=bob'), served.client('/ws'):
                    assert manager.stats().users == 2
                await lobby.have_left(2)
            await lobby.have_left(3)
            async with served.client('/ws?user=ada'):
                pass
        await lobby.have_left(6)

    assert refused.response.status_code == TOO_MANY
    assert manager.stats().limits_hit == {'max_connections_per_user': 1}
    assert sum(manager.stats().refusals.values()) == 1
    logs.take()


async def test_who_becomes_a_user_with_too_many_connections_is_answered_429_and_stays(
    ws_implementation: str, logs: Logs
) -> None:
    app = app_of(Lobby(), limits=Limits(max_connections_per_user=1))
    async with (
        serve(app, ws_implementation) as served,
        served.client('/ws?user=ada') as ada,
        served.client('/ws?user=bob') as bob,
    ):
        error = await bob.ask({'type': 'call_me', 'payload': 'ada', 'id': 1})
        again = await ada.ask({'type': 'call_me', 'payload': 'ada', 'id': 2})
        nobody = await ada.ask({'type': 'call_me', 'payload': None, 'id': 3})
        ada_now = await bob.ask({'type': 'call_me', 'payload': 'ada', 'id': 4})

    assert (error['type'], error['payload']['status']) == ('error', TOO_MANY)
    assert [each['payload'] for each in (again, nobody, ada_now)] == ['ada', None, 'ada']


async def test_too_many_connections_can_be_caught_and_leave_the_user_as_he_was(
    logs: Logs,
) -> None:
    caught: list[TooManyConnections] = []

    class Catching(Lobby):
        async def on_ws_call_me(self, ws: WebSocket, payload: str | None) -> str | None:
            try:
                await ws.identify(payload)
            except TooManyConnections as error:
                caught.append(error)
            return ws.user_id

    app = app_of(Catching(), limits=Limits(max_connections_per_user=1))
    async with (
        serve(app) as served,
        served.client('/ws?user=ada'),
        served.client('/ws?user=bob') as bob,
    ):
        still = await bob.ask({'type': 'call_me', 'payload': 'ada', 'id': 1})

    assert still['payload'] == 'bob'
    [error] = caught
    assert (error.user_id, error.max_connections) == ('ada', 1)


# -- how many rooms


async def join(client: Client, room: str) -> Any:
    answer = await client.ask({'type': 'join', 'payload': room, 'id': room})
    return answer['payload']


async def test_one_room_too_many_is_answered_429_and_leaving_one_makes_room(
    ws_implementation: str, logs: Logs
) -> None:
    manager = WebSocketConnectionManager()
    app = app_of(Lobby(), limits=Limits(max_rooms_per_connection=2), manager=manager)
    async with (
        serve(app, ws_implementation) as served,
        served.client('/ws') as client,
        served.client('/ws') as other,
    ):
        assert await join(client, 'a') == ['a']
        assert await join(client, 'b') == ['a', 'b']
        assert (await join(client, 'c'))['status'] == TOO_MANY
        assert await join(client, 'b') == ['a', 'b'], 'it is in that one already'
        assert await join(other, 'c') == ['c'], 'each connection counts its own'
        await client.ask({'type': 'leave', 'payload': 'a', 'id': 1})
        assert await join(client, 'c') == ['b', 'c']

    assert manager.stats().limits_hit == {'max_rooms_per_connection': 1}


async def test_too_many_rooms_is_raised_also_from_outside_a_handler(logs: Logs) -> None:
    class Small(Lobby):
        ws_limits = Limits(max_rooms_per_connection=1)

    manager = WebSocketConnectionManager()
    app = app_of(Small(), manager=manager)
    async with serve(app) as served, served.client('/ws') as client:
        await join(client, 'a')
        [connection_id] = manager.connections
        with pytest.raises(TooManyRooms) as raised:
            await manager.join_room(connection_id, 'b')

        assert raised.value.max_rooms == 1
        assert await manager.get_room_names() == ['a']


# -- limits by the environment


def test_limits_are_named_by_the_environment() -> None:
    limits = Limits.from_env(
        environ={
            'FALCON_WS_MAX_CONNECTIONS': '500',
            'FALCON_WS_HANDSHAKES_PER_SECOND': '2.5',
            'FALCON_WS_MAX_MESSAGE_BYTES': ' none ',
            'FALCON_WS_MAX_INBOX_MESSAGES': 'None',
            'OTHER': '1',
        }
    )

    assert limits == Limits(
        max_connections=500,
        handshakes_per_second=2.5,
        max_message_bytes=None,
        max_inbox_messages=None,
    )
    assert limits.named == {
        'max_connections',
        'handshakes_per_second',
        'max_message_bytes',
        'max_inbox_messages',
    }


def test_the_environment_is_the_processs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('CHAT_MAX_ROOMS_PER_CONNECTION', '7')

    assert Limits.from_env('CHAT_').max_rooms_per_connection == 7


@pytest.mark.parametrize('name', Limits.names())
def test_every_limit_has_a_variable(name: str) -> None:
    limits = Limits.from_env(environ={f'FALCON_WS_{name.upper()}': '12'})

    assert getattr(limits, name) == 12
    assert limits.named == {name}


def test_an_empty_environment_names_nothing() -> None:
    assert Limits.from_env(environ={}).named == frozenset()


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('MAX_CONNECTIONS', '0'),
        ('MAX_CONNECTIONS', '-1'),
        ('MAX_CONNECTIONS', '1.5'),
        ('MAX_CONNECTIONS', '2147483648'),
        ('MAX_CONNECTIONS', ''),
        ('MAX_CONNECTIONS', 'ten'),
        ('MAX_MESSAGE_BYTES', '64k'),
        ('MESSAGES_PER_SECOND', '0'),
        ('MESSAGES_PER_SECOND', '1000001'),
        ('IDLE_TIMEOUT_SECONDS', '0.0001'),
        ('IDLE_TIMEOUT_SECONDS', 'inf'),
        ('IDLE_TIMEOUT_SECONDS', 'nan'),
        ('IDLE_TIMEOUT_SECONDS', '31536001'),
    ],
)
def test_a_text_outside_the_range_is_refused_by_the_name_of_its_variable(
    name: str, text: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Limits.from_env(environ={f'FALCON_WS_{name}': text})

    assert str(refused.value).startswith(f'FALCON_WS_{name}={text!r}: expected a ')
    assert "'none' for no limit" in str(refused.value)


@pytest.mark.parametrize('value', [0, -1, 2**31, 1.5, True, '10', math.nan])
def test_a_number_outside_the_range_is_refused_in_python_as_well(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r'Limits\.max_connections='):
        Limits(max_connections=value)


def test_a_variable_that_is_no_limit_is_refused_with_the_names_that_are() -> None:
    with pytest.raises(ConfigurationError, match=r'MAX_CONECTIONS: .*max_connections') as refused:
        Limits.from_env(environ={'FALCON_WS_MAX_CONECTIONS': '5'})

    assert all(name in str(refused.value) for name in Limits.names())


# -- nothing of a token is in the log

SECRET = 'S3cr3t-of-the-client'
IN_THE_QUERY = f'{SECRET}-in-the-query'
ELSEWHERE = [
    ('Authorization', f'Bearer {SECRET}-in-a-header'),
    ('Cookie', f'session={SECRET}-in-a-cookie'),
]


class Limited(Lobby):
    ws_limits = Limits(handshakes_per_second=NEVER_AGAIN, handshake_burst=1)


class Crashing(Lobby):
    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        assert req.get_param('token')
        assert req.auth
        raise LookupError('expected')


class CrashingLoop:
    async def on_ws_x(self, ws: WebSocket) -> None: ...

    async def on_websocket(self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
        await ws.accept()
        raise LookupError('expected')


class Undecided(Lobby):
    ws_limits = Limits(connect_timeout_seconds=0.001)

    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        await asyncio.Event().wait()


def written(records: Iterator[logging.LogRecord]) -> str:
    """The lines as a file would have them, with tracebacks and what is in `extra`."""
    formatter = logging.Formatter()
    return '\n'.join(f'{formatter.format(record)} {vars(record)}' for record in records)


async def test_of_a_hundred_clients_no_token_is_in_a_line_of_ours_or_falcons(
    ws_implementation: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for name in ('falcon', 'falcon_ws_mw'):
        caplog.set_level(logging.DEBUG, name)
    app = app_of(Lobby())
    for path, resource in (
        ('/limited', Limited()),
        ('/crashing', Crashing()),
        ('/loop', CrashingLoop()),
        ('/undecided', Undecided()),
    ):
        app.add_route(path, resource)
    evil = ('Origin', 'http://evil.example')
    found: Counter[int] = Counter()
    async with serve(app, ws_implementation) as served, AsyncExitStack() as stack:
        for path, others in (
            *((path, []) for path in ('/ws', '/limited', '/crashing', '/loop', '/undecided')),
            *((path, [evil]) for path in ('/ws', '/loop')),
        ):
            headers = [('Host', HOST), *ELSEWHERE, *others]
            for _ in range(15):
                answer = await ask(served.port, headers, f'{path}?token={IN_THE_QUERY}')
                found[answer.status] += 1
        client = await stack.enter_async_context(served.client(f'/ws?token={IN_THE_QUERY}'))
        await client.ask({'type': 'unknown', 'id': 1})

    ours = written(each for each in caplog.records if each.name.startswith('falcon'))
    servers = written(each for each in caplog.records if each.name.startswith('uvicorn'))
    # 15 + 1 + 15 + 15 (a loop accepts before it crashes, and lets foreign pages in)
    assert found == {101: 46, 429: 14, 500: 15, 503: 15, 403: 15}
    assert ours.count('Crashing.on_ws_connect raised LookupError\nTraceback') == 15
    assert SECRET not in ours
    assert IN_THE_QUERY in servers, 'what docs/deploying.md says of uvicorn is no more so'
    assert 'in-a-header' not in servers
    assert 'in-a-cookie' not in servers
