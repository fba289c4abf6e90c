"""Which pages may open a socket, by real handshakes: raw ones, and those of a browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from html.parser import HTMLParser
import logging
from pathlib import Path
import re
from types import SimpleNamespace
from typing import Any, NamedTuple

import falcon
import falcon.asgi
import pytest

from falcon_ws_mw import ConfigurationError, WebSocket, WebSocketConnectionManager, install

from .asyncapi_tools import dom_of, find_browser
from .conftest import Logs
from .servers import PATIENCE_SECONDS, Served, serve

HOST = 'chat.example'
SWITCHING, FORBIDDEN = 101, 403

NOT_SENT = None

ANSWERS = {
    NOT_SENT: SWITCHING,
    'http://chat.example': SWITCHING,
    'http://chat.example:80': SWITCHING,
    'HTTP://CHAT.Example': SWITCHING,
    'http://chat.example:8080': FORBIDDEN,
    'https://chat.example': FORBIDDEN,
    'http://evil.example': FORBIDDEN,
    'http://www.chat.example': FORBIDDEN,
    'http://chat.example.evil.example': FORBIDDEN,
    'http://chat.example@evil.example': FORBIDDEN,
    'http://chat.example/': FORBIDDEN,
    'http://chat.example, http://evil.example': FORBIDDEN,
    'chat.example': FORBIDDEN,
    'null': FORBIDDEN,
    '': FORBIDDEN,
}
"""What `http://chat.example` answers to each origin, where nobody has said anything else."""

Headers = Iterable[tuple[str, str]]


# -- raw handshakes


class Answer(NamedTuple):
    """How a handshake was answered."""

    status: int
    headers: dict[str, str]
    body: bytes


async def ask(port: int, headers: Headers, path: str = '/ws') -> Answer:
    """Shake hands as nothing but bytes, and hang up."""
    lines = [
        f'GET {path} HTTP/1.1',
        'Upgrade: websocket',
        'Connection: Upgrade',
        'Sec-WebSocket-Version: 13',
        'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
        *(f'{name}: {value}' for name, value in headers),
    ]
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection('127.0.0.1', port)
        writer.write(''.join(f'{line}\r\n' for line in (*lines, '')).encode('latin-1'))
        first, *others = (await reader.readuntil(b'\r\n\r\n')).decode('latin-1').splitlines()
        found = dict(line.lower().split(': ', 1) for line in others if line)
        body = await reader.readexactly(int(found.get('content-length', 0)))
        writer.close()
        await writer.wait_closed()
    return Answer(int(first.split()[1]), found, body)


async def status_of(
    served: Served, origin: str | None, *others: tuple[str, str], path: str = '/ws'
) -> int:
    headers = [('Host', HOST), *others]
    if origin is not None:
        headers.append(('Origin', origin))
    return (await ask(served.port, headers, path)).status


# -- apps


class Room:
    """Remembers which of its methods were called."""

    def __init__(self) -> None:
        self.called: list[str] = []

    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        self.called.append('connect')

    async def on_ws_x(self, ws: WebSocket) -> None: ...

    async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
        self.called.append('disconnect')


class OldRoom(Room):
    """One that has an old loop as well."""

    async def on_websocket(
        self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket, **params: str
    ) -> None:
        self.called.append('loop')
        try:
            await ws.accept()
            while True:
                await ws.receive_text()
        except falcon.WebSocketDisconnected:
            pass


@asynccontextmanager
async def serving(
    resource: object,
    ws_implementation: str = 'websockets-sansio',
    *,
    server: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Served]:
    """Serve a resource. Nobody but the library is to believe a proxy: not uvicorn, say."""
    app = install(falcon.asgi.App(), **options)
    app.add_route('/ws', resource)
    app.add_route('/ws/{token}', resource)
    async with serve(app, ws_implementation, proxy_headers=False, **(server or {})) as served:
        yield served


def of_ours(logs: Logs) -> list[str]:
    """What was said of clients; what is said of routes at the start is not."""
    lines = [line for line in logs.take() if line.startswith('falcon')]
    return [line for line in lines if 'keeps its on_websocket' not in line]


# -- by default


async def test_by_default_pages_of_the_servers_own_origin_get_in_and_no_others(
    ws_implementation: str, logs: Logs
) -> None:
    async with serving(Room(), ws_implementation) as served:
        answers = {origin: await status_of(served, origin) for origin in ANSWERS}

    assert answers == ANSWERS
    logs.take()


async def test_a_port_in_host_is_part_of_the_own_origin(logs: Logs) -> None:
    async with serving(Room()) as served:
        own = f'127.0.0.1:{served.port}'
        answers = [
            (await ask(served.port, [('Host', own), ('Origin', origin)])).status
            for origin in (f'http://{own}', 'http://127.0.0.1', f'http://localhost:{served.port}')
        ]

    assert answers == [SWITCHING, FORBIDDEN, FORBIDDEN]
    logs.take()


async def test_a_refusal_is_falcons_403_as_json(logs: Logs) -> None:
    async with serving(Room()) as served:
        answer = await ask(served.port, [('Host', HOST), ('Origin', 'http://evil.example')])

    assert answer.status == FORBIDDEN
    assert answer.headers['content-type'] == 'application/json'
    assert b'403 Forbidden' in answer.body
    logs.take()


async def test_who_is_refused_is_met_by_no_method_and_counted(
    ws_implementation: str, logs: Logs
) -> None:
    room, old, manager = Room(), OldRoom(), WebSocketConnectionManager()
    app = install(falcon.asgi.App(), manager=manager, strict=True)
    app.add_route('/ws', room)
    app.add_route('/old', old)
    async with serve(app, ws_implementation) as served:
        for path in ('/ws', '/old'):
            for origin in ('http://evil.example', 'null'):
                assert await status_of(served, origin, path=path) == FORBIDDEN
        stats = manager.stats()

    assert (room.called, old.called) == ([], [])
    assert stats.refusals == {'origin': 4}
    assert stats.connections_total == 0
    logs.take()


# -- behind a proxy

FOR_OTHERS = (
    ('Host', 'backend:8000'),
    ('X-Forwarded-For', '203.0.113.7'),
    ('X-Forwarded-Proto', 'https'),
    ('X-Forwarded-Host', HOST),
)

TRUSTED = {
    NOT_SENT: SWITCHING,
    'https://chat.example': SWITCHING,
    'https://chat.example:443': SWITCHING,
    'HTTPS://CHAT.EXAMPLE': SWITCHING,
    'http://chat.example': FORBIDDEN,
    'https://chat.example:80': FORBIDDEN,
    'https://evil.example': FORBIDDEN,
    'https://www.chat.example': FORBIDDEN,
    'https://backend:8000': FORBIDDEN,
    'http://backend:8000': FORBIDDEN,
    'null': FORBIDDEN,
    '': FORBIDDEN,
}
"""What is answered behind a proxy that is believed."""

UNTRUSTED = dict.fromkeys(TRUSTED, FORBIDDEN) | {
    NOT_SENT: SWITCHING,
    'http://backend:8000': SWITCHING,
}
"""And behind one that is not: the server is where it was asked."""


@pytest.mark.parametrize('trusted', ['127.0.0.1', '10.0.0.1'])
async def test_host_and_scheme_are_those_that_a_trusted_proxy_tells(
    trusted: str, ws_implementation: str, logs: Logs
) -> None:
    expected = TRUSTED if trusted == '127.0.0.1' else UNTRUSTED
    answers = {}
    async with serving(Room(), ws_implementation, trusted_proxies=[trusted]) as served:
        for origin in expected:
            sent = () if origin is None else (('Origin', origin),)
            answers[origin] = (await ask(served.port, [*FOR_OTHERS, *sent])).status

    assert answers == expected
    logs.take()


async def test_a_page_cannot_be_the_proxy(logs: Logs) -> None:
    """What a client wrote stands left of what the proxy has appended."""
    forged = [
        ('Host', 'backend:8000'),
        ('X-Forwarded-Proto', 'https'),
        ('X-Forwarded-Host', f'evil.example, {HOST}'),
        ('Origin', 'https://evil.example'),
    ]
    async with serving(Room(), trusted_proxies='127.0.0.1') as served:
        assert (await ask(served.port, forged)).status == FORBIDDEN
    logs.take()


@pytest.mark.parametrize(
    ('host', 'trusted', 'status'),
    [
        (HOST, (), SWITCHING),
        (HOST, '127.0.0.1', SWITCHING),
        ('backend:8000', '127.0.0.1', FORBIDDEN),
    ],
    ids=['uvicorn', 'both', 'both, and the proxy has a Host of its own'],
)
async def test_uvicorn_believes_a_proxy_on_its_machine_as_far_as_that_passes_host_on(
    host: str, trusted: Any, status: int, logs: Logs
) -> None:
    """The page in `docs/security.md`: it takes the address of the client for the proxy's."""
    app = install(falcon.asgi.App(), trusted_proxies=trusted)
    app.add_route('/ws', Room())
    headers = [('Host', host), *FOR_OTHERS[1:], ('Origin', 'https://chat.example')]
    async with serve(app) as served:
        assert (await ask(served.port, headers)).status == status
    logs.take()


# -- what is allowed by name


VISITORS = (
    'https://partner.example',
    'https://eu.partner.example',
    'https://tenant.example',
    'http://chat.example',
    'null',
    '',
)


def of_tenant(origin: str, req: Any) -> bool:
    return origin == 'https://tenant.example' and req.get_header('X-Tenant') == 'yes'


ALLOWED: dict[str, tuple[Any, set[str]]] = {
    'origin': ('https://partner.example', {'https://partner.example'}),
    'list': (
        ['same-origin', 'https://partner.example'],
        {'http://chat.example', 'https://partner.example'},
    ),
    'wildcard': ('https://*.partner.example', {'https://eu.partner.example'}),
    'pattern': (
        re.compile(r'https://(eu\.)?partner\.example'),
        {'https://partner.example', 'https://eu.partner.example'},
    ),
    'function': (staticmethod(of_tenant), {'https://tenant.example'}),
    'nobody': ([], set()),
    'any': ('*', {*VISITORS}),
}
"""What a resource can allow, and who of the visitors gets in then."""


async def test_what_a_resource_allows_gets_in_and_nothing_else(logs: Logs) -> None:
    app = install(falcon.asgi.App())
    for name, (allowed, _) in ALLOWED.items():
        choosy = type('Choosy', (Room,), {'ws_allowed_origins': allowed})
        app.add_route(f'/{name}', choosy())
    async with serve(app) as served:
        found = {
            name: {
                origin
                for origin in VISITORS
                if await status_of(served, origin, ('X-Tenant', 'yes'), path=f'/{name}')
                == SWITCHING
            }
            for name in ALLOWED
        }
        without = [await status_of(served, NOT_SENT, path=f'/{name}') for name in ALLOWED]

    assert found == {name: admitted for name, (_, admitted) in ALLOWED.items()}
    assert {*without} == {SWITCHING}
    logs.take()


async def test_a_resource_that_says_nothing_follows_the_app_and_one_that_does_itself(
    logs: Logs,
) -> None:
    class Own(Room):
        ws_allowed_origins = None  # the server's own

    app = install(falcon.asgi.App(), allowed_origins='https://partner.example')
    app.add_route('/ws', Room())
    app.add_route('/own', Own())
    async with serve(app) as served:
        answers = [
            await status_of(served, origin, path=path)
            for path in ('/ws', '/own')
            for origin in ('https://partner.example', 'http://chat.example')
        ]

    assert answers == [SWITCHING, FORBIDDEN, FORBIDDEN, SWITCHING]
    logs.take()


async def test_a_function_that_raises_lets_nobody_in(logs: Logs) -> None:
    def broken(origin: str, req: Any) -> bool:
        raise LookupError('expected')

    async with serving(Room(), allowed_origins=broken) as served:
        assert await status_of(served, 'http://chat.example') == FORBIDDEN
        assert await status_of(served, NOT_SENT) == SWITCHING

    assert 'broken' in of_ours(logs)[0]


def test_what_allows_no_origins_stops_the_start_and_names_the_setting() -> None:
    class Mistyped(Room):
        ws_allowed_origins = ['chat.example']

    app = install(falcon.asgi.App())
    app.add_route('/ws', Mistyped())

    with pytest.raises(
        ConfigurationError, match=r'Mistyped\.ws_allowed_origins: .*https://chat\.ex'
    ):
        app.check_websockets()


# -- beside an old loop


async def test_an_old_loop_goes_on_to_let_foreign_pages_in(
    ws_implementation: str, logs: Logs
) -> None:
    room, manager = OldRoom(), WebSocketConnectionManager()
    async with serving(room, ws_implementation, manager=manager) as served:
        assert await status_of(served, 'http://evil.example') == SWITCHING

    assert room.called == ['connect', 'loop', 'disconnect']
    assert manager.stats().refusals == {}
    [line] = of_ours(logs)
    assert 'was let in, since on_websocket has let in all so far' in line


async def test_what_an_old_loop_lets_in_is_said_once_a_second(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr('falcon_ws_mw.logs.time', SimpleNamespace(monotonic=lambda: clock.now))
    async with serving(OldRoom()) as served:
        logs.take()
        for _ in range(5):
            await status_of(served, 'http://evil.example')
        assert len(of_ours(logs)) == 1
        clock.now += 1
        await status_of(served, 'http://evil.example')

    [line] = of_ours(logs)
    assert line.endswith('(and 4 more like this since the last such line)')


async def test_an_old_loop_lets_own_pages_in_without_a_word(logs: Logs) -> None:
    async with serving(OldRoom()) as served:
        logs.take()
        for origin in ('http://chat.example', NOT_SENT):
            assert await status_of(served, origin) == SWITCHING

    assert of_ours(logs) == []


async def test_an_old_loop_refuses_foreign_pages_where_it_is_strict(
    ws_implementation: str, logs: Logs
) -> None:
    room = OldRoom()
    async with serving(room, ws_implementation, strict=True) as served:
        assert await status_of(served, 'http://evil.example') == FORBIDDEN
        assert room.called == []
        assert await status_of(served, 'http://chat.example') == SWITCHING

    logs.take()


async def test_an_old_loop_refuses_whom_its_own_ws_allowed_origins_do_not_name(
    logs: Logs,
) -> None:
    class Own(OldRoom):
        ws_allowed_origins = 'https://partner.example'

    room = Own()
    async with serving(room) as served:
        for origin in ('http://evil.example', 'http://chat.example'):
            assert await status_of(served, origin) == FORBIDDEN
        assert room.called == []
        assert await status_of(served, 'https://partner.example') == SWITCHING

    logs.take()


async def test_a_route_that_is_not_ours_is_not_asked_about_origins(logs: Logs) -> None:
    class Foreign:
        async def on_websocket(self, req: Any, ws: falcon.asgi.WebSocket) -> None:
            await ws.accept()

    async with serving(Foreign(), strict=True) as served:
        assert await status_of(served, 'http://evil.example') == SWITCHING

    assert of_ours(logs) == []


# -- what the log says


async def test_a_refusal_is_said_with_both_origins_and_the_cures(logs: Logs) -> None:
    async with serving(Room()) as served:
        await status_of(served, 'http://evil.example')

    [line] = of_ours(logs)
    assert line.startswith('falcon_ws_mw: Room: ')
    assert "'http://evil.example'" in line
    assert "'http://chat.example'" in line
    assert 'allowed_origins' in line
    assert 'trusted_proxies' in line


async def test_a_refusal_shows_what_is_allowed_where_that_is_not_the_own_origin(
    logs: Logs,
) -> None:
    async with serving(Room(), allowed_origins=['https://partner.example']) as served:
        await status_of(served, 'http://evil.example')

    [line] = of_ours(logs)
    assert 'https://partner.example' in line
    assert 'chat.example' not in line


async def test_the_facts_of_a_refusal_are_in_its_record(
    logs: Logs, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(Room()) as served:
        await status_of(served, 'http://evil.example')

    [record] = [each for each in caplog.records if each.name == 'falcon_ws_mw']
    assert (record.levelno, vars(record)['fault'], vars(record)['resource']) == (
        logging.WARNING,
        'origin',
        'Room',
    )


@pytest.mark.parametrize('resource', [Room, OldRoom])
async def test_nothing_of_the_address_and_no_control_character_gets_into_a_line(
    resource: type[Room], logs: Logs
) -> None:
    """Only h11 and wsproto let such a header through."""
    path = '/ws/evil%0aINFO%20forged%1b[2J%0d?token=SECRET%0a%1b'
    async with serving(resource(), 'wsproto', server={'http': 'h11'}) as served:
        logs.take()
        await status_of(served, 'http://evil\x1b[31m\x07.example', path=path)

    [line] = of_ours(logs)
    assert line.isprintable()
    assert r'\x1b[31m\x07' in line
    for secret in ('SECRET', 'token', 'forged'):
        assert secret not in line


async def test_a_long_origin_is_cut(logs: Logs) -> None:
    async with serving(Room()) as served:
        await status_of(served, 'http://' + 'evil.' * 1_000)

    [line] = of_ours(logs)
    assert len(line) < 700


# -- in a browser

SCRIPT = """<!DOCTYPE html><title>A page</title><p id="outcome">none</p>
<script>
  const tell = (outcome) => {
    document.getElementById('outcome').textContent = outcome;
    fetch('/told');
  };
  const socket = new WebSocket('ws://127.0.0.1:PORT/ws');
  socket.onopen = () => socket.send('{"type": "echo", "id": 1, "payload": "here"}');
  socket.onmessage = (event) => tell('heard ' + JSON.parse(event.data).payload);
  socket.onclose = (event) => tell('closed ' + event.code);
</script>
<img src="/waiting">
"""


class EchoRoom(Room):
    async def on_ws_echo(self, ws: WebSocket, payload: Any) -> Any:
        return payload


class Pages:
    """A page that opens a socket, and is not loaded before it knows what becomes of that."""

    def __init__(self) -> None:
        self.told = asyncio.Event()

    async def on_get(self, req: falcon.asgi.Request, resp: Any, port: str) -> None:
        resp.content_type = falcon.MEDIA_HTML
        resp.text = SCRIPT.replace('PORT', port)

    async def on_get_told(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        self.told.set()

    async def on_get_waiting(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.told.wait()


class Outcome(HTMLParser):
    """The text of the one element with an id."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ''
        self._inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = ('id', 'outcome') in attrs

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        self.text += data if self._inside else ''


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ('page_of', 'outcome', 'called'),
    [
        ('its own server', 'heard here', ['connect', 'disconnect']),
        ('another port', 'closed 1006', []),
    ],
)
async def test_a_browser_lets_only_pages_of_the_own_origin_open_a_socket(
    page_of: str, outcome: str, called: list[str], logs: Logs, tmp_path: Path
) -> None:
    browser = find_browser()
    room, manager = EchoRoom(), WebSocketConnectionManager()
    own, other = falcon.asgi.App(), falcon.asgi.App()
    own.add_route('/ws', room)
    for app in (own, other):
        pages = Pages()
        app.add_route('/page/{port}', pages)
        app.add_route('/told', pages, suffix='told')
        app.add_route('/waiting', pages, suffix='waiting')
    async with serve(install(own, manager=manager)) as served, serve(other) as elsewhere:
        home = served if page_of == 'its own server' else elsewhere
        dom, _ = await dom_of(browser, f'{home.http}/page/{served.port}', tmp_path)

    assert Outcome(dom).text == outcome
    assert room.called == called
    assert manager.stats().refusals == ({} if called else {'origin': 1})
    logs.take()
