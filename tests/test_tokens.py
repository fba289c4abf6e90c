"""Tokens that come with the handshake: in a header, a subprotocol, or a cookie."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
import json
from pathlib import Path
import secrets
from typing import Any

import falcon
import falcon.asgi
import pytest
from websockets.exceptions import InvalidStatus

from falcon_ws_mw import (
    ConfigurationError,
    TokenMiddleware,
    WebSocket,
    WebSocketConnectionManager,
    bearer_subprotocol,
    dispatch,
    install,
)

from .asyncapi_tools import dom_of, find_browser
from .conftest import Logs
from .servers import PATIENCE_SECONDS, Served, serve
from .test_origins_on_the_wire import Outcome

PROTOCOL = 'falcon-ws.v1'

TOKEN = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl_-'
"""What a token looks like."""


class Authenticate:
    """The app's own middleware, behind ours: it knows who has which token."""

    def __init__(self, users: dict[str, str]) -> None:
        self.users = users

    async def process_request_ws(self, req: Any, ws: Any) -> None:
        req.context.user = self.users.get(req.context.token)


class Room:
    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        if req.context.user is None:
            raise falcon.HTTPUnauthorized(challenges=['Bearer'])
        await ws.identify(req.context.user)

    async def on_ws_who(self, ws: WebSocket) -> Any:
        return [ws.user_id, ws.context.token_source, list(ws.subprotocols)]


def app_of(
    resource: object,
    users: dict[str, str] | None = None,
    tokens: TokenMiddleware | None = None,
    **options: Any,
) -> Any:
    components: Any = [tokens or TokenMiddleware(), Authenticate(users or {TOKEN: 'ada'})]
    app = install(falcon.asgi.App(middleware=components), **options)
    app.add_route('/ws', resource)
    return app


@asynccontextmanager
async def serving(
    resource: object, ws_implementation: str = 'websockets-sansio', **options: Any
) -> AsyncIterator[Served]:
    async with serve(app_of(resource, **options), ws_implementation) as served:
        yield served


async def who(served: Served, **options: Any) -> tuple[Any, str | None]:
    """Who the server takes a client for, and the subprotocol that they speak."""
    async with served.client('/ws', **options) as client:
        answer = await client.ask({'type': 'who', 'id': 1})
        return answer['payload'], client.connection.subprotocol


async def refusal_of(served: Served, **options: Any) -> Any:
    with pytest.raises(InvalidStatus) as refused:
        async with served.client('/ws', **options):
            pass
    return refused.value.response


def by_header(token: str) -> dict[str, Any]:
    return {'additional_headers': {'Authorization': f'Bearer {token}'}}


def by_cookie(token: str) -> dict[str, Any]:
    return {'additional_headers': {'Cookie': f'other=1; session={token}'}}


def by_subprotocol(token: str, *others: str) -> dict[str, Any]:
    return {'subprotocols': [*others, bearer_subprotocol(token)]}


# -- where it stands


async def test_it_is_read_from_the_header_or_a_subprotocol_of_which_only_the_real_one_is_echoed(
    ws_implementation: str, logs: Logs
) -> None:
    async with serving(Room(), ws_implementation) as served:
        assert await who(served, **by_header(TOKEN)) == (['ada', 'header', []], None)
        assert await who(served, **by_subprotocol(TOKEN, PROTOCOL)) == (
            ['ada', 'subprotocol', [PROTOCOL]],
            PROTOCOL,
        )
        assert await who(served, **by_subprotocol(TOKEN, 'unknown', PROTOCOL)) == (
            ['ada', 'subprotocol', ['unknown', PROTOCOL]],
            PROTOCOL,
        )
        assert await who(served, **by_subprotocol(TOKEN)) == (['ada', 'subprotocol', []], None)
        for options in ({}, {'subprotocols': [PROTOCOL]}, by_cookie(TOKEN)):
            assert (await refusal_of(served, **options)).status_code == 401
    assert [line for line in logs.take() if line.startswith('falcon')] == []


async def test_a_route_with_subprotocols_of_its_own_prefers_them(ws_implementation: str) -> None:
    class Own(Room):
        ws_subprotocols = ('chat.v2', 'chat.v1')

    async with serving(Own(), ws_implementation) as served:
        _, spoken = await who(served, **by_subprotocol(TOKEN, PROTOCOL, 'chat.v1'))
        assert spoken == 'chat.v1'
        _, spoken = await who(served, **by_subprotocol(TOKEN, PROTOCOL))
        assert spoken == PROTOCOL


async def test_who_accepts_the_first_that_is_offered_does_not_echo_the_token() -> None:
    class Naive(Room):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await super().on_ws_connect(req, ws)
            await ws.accept(subprotocol=ws.subprotocols[0])

    class Old(Room):
        async def on_websocket(self, req: Any, ws: Any) -> None:
            await ws.accept(subprotocol=ws.subprotocols[0])
            try:
                while True:
                    await ws.receive_text()
            except falcon.WebSocketDisconnected:
                pass

    class Plain:
        async def on_websocket(self, req: Any, ws: Any) -> None:
            await ws.accept(subprotocol=ws.subprotocols[0])
            await ws.send_media({'payload': [req.context.user]})

    token = bearer_subprotocol(TOKEN)
    for resource in (Naive(), Old(), Plain()):
        async with (
            serving(resource) as served,
            served.client('/ws', subprotocols=[token, 'chat.v1']) as client,
        ):
            assert client.connection.subprotocol == 'chat.v1'
            assert (await client.ask({'type': 'who', 'id': 1}))['payload'][0] == 'ada'


async def test_a_conversation_in_a_responder_is_no_other() -> None:
    class Dispatching(Room):
        on_websocket = dispatch

    async with serving(Dispatching()) as served:
        found = await who(served, **by_subprotocol(TOKEN, PROTOCOL))
    assert found == (['ada', 'subprotocol', [PROTOCOL]], PROTOCOL)


async def test_a_cookie_counts_where_it_is_named_and_behind_what_is_sent_on_purpose() -> None:
    users = {'one': 'ada', 'two': 'bob'}
    tokens = TokenMiddleware(cookie='session')
    async with serving(Room(), users=users, tokens=tokens) as served:
        assert (await who(served, **by_cookie('one')))[0] == ['ada', 'cookie', []]
        both = {
            'additional_headers': {'Cookie': 'session=one', 'Authorization': 'bearer two'},
        }
        assert (await who(served, **both))[0] == ['bob', 'header', []]
        assert (await refusal_of(served)).status_code == 401
        both['additional_headers']['Authorization'] = 'Basic YTpi'
        assert (await who(served, **both))[0] == ['ada', 'cookie', []]


@pytest.mark.parametrize(
    ('tokens', 'reads'),
    [
        (TokenMiddleware(header=False), {'subprotocol'}),
        (TokenMiddleware(subprotocol=False), {'header'}),
        (TokenMiddleware(subprotocol=False, header=False, cookie='session'), {'cookie'}),
    ],
)
async def test_it_looks_only_where_it_is_told_to(tokens: TokenMiddleware, reads: set[str]) -> None:
    ways = {
        'header': by_header(TOKEN),
        'subprotocol': by_subprotocol(TOKEN, PROTOCOL),
        'cookie': by_cookie(TOKEN),
    }
    found = set()
    async with serving(Room(), tokens=tokens) as served:
        for way, options in ways.items():
            try:
                found.add((await who(served, **options))[0][1])
            except InvalidStatus:
                assert way not in reads
    assert found == reads


async def test_other_routes_and_http_are_left_alone() -> None:
    class Page:
        async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
            resp.media = 'token' in req.context

    class Old:
        async def on_websocket(self, req: Any, ws: falcon.asgi.WebSocket) -> None:
            await ws.accept()
            await ws.send_media(list(ws.subprotocols))

    app = app_of(Room())
    app.add_route('/page', Page())
    app.add_route('/old', Old())
    async with serve(app) as served, served.client('/old', subprotocols=['a', 'b']) as client:
        assert await client.receive() == ['a', 'b']
        reader, writer = await asyncio.open_connection('127.0.0.1', served.port)
        writer.write(b'GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert (await reader.read()).endswith(b'false')
        writer.close()


# -- what is none


@pytest.mark.parametrize('carried', ['', TOKEN, 'ab*', '_-8', 'A', '__79'])
async def test_what_cannot_be_read_is_a_400_that_says_how_it_is_written(
    carried: str, logs: Logs
) -> None:
    async with serving(Room()) as served:
        port = served.port
        reader, writer = await asyncio.open_connection('127.0.0.1', port)
        lines = [
            'GET /ws HTTP/1.1',
            f'Host: 127.0.0.1:{port}',
            'Upgrade: websocket',
            'Connection: Upgrade',
            'Sec-WebSocket-Version: 13',
            'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
            f'Sec-WebSocket-Protocol: {PROTOCOL}, bearer.{carried}',
        ]
        writer.write('\r\n'.join([*lines, '', '']).encode())
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = await reader.readuntil(b'\r\n\r\n')
            body = await reader.read(200)
        writer.close()
    assert head.startswith(b'HTTP/1.1 400')
    assert b'www-authenticate: bearer error="invalid_request"' in head.lower()
    assert b'base64url' in body
    if carried:
        assert f'bearer.{carried}' not in (head + body).decode()
    logs.take()


async def test_two_tokens_are_a_400() -> None:
    async with serving(Room()) as served:
        two = {'subprotocols': [PROTOCOL, bearer_subprotocol('a'), bearer_subprotocol('b')]}
        assert (await refusal_of(served, **two)).status_code == 400
        both = {**by_header('a'), **by_subprotocol('b', PROTOCOL)}
        assert (await refusal_of(served, **both)).status_code == 400


@pytest.mark.parametrize('said', ['a,Bearer b', 'a b', '"a"', 'a=b'])
async def test_what_is_no_single_token_in_the_header_is_a_400(said: str) -> None:
    async with serving(Room()) as served:
        headers = {'additional_headers': {'Authorization': f'Bearer {said}'}}
        assert (await refusal_of(served, **headers)).status_code == 400


async def test_two_cookies_of_the_name_are_a_400_unless_they_say_the_same() -> None:
    """Another host of the domain may have set one of them."""
    async with serving(Room(), tokens=TokenMiddleware(cookie='session')) as served:
        two = {'Cookie': f'session=forged; session={TOKEN}'}
        assert (await refusal_of(served, additional_headers=two)).status_code == 400
        same = {'Cookie': f'session={TOKEN}; session={TOKEN}'}
        assert (await who(served, additional_headers=same))[0][0] == 'ada'


async def test_any_route_speaks_the_protocol_of_our_clients() -> None:
    async with (
        serve(app_of(Room(), tokens=TokenMiddleware(subprotocol=False))) as served,
        served.client('/ws', subprotocols=['x', PROTOCOL], **by_header(TOKEN)) as client,
    ):
        assert client.connection.subprotocol == PROTOCOL


@pytest.mark.parametrize('token', ['a', 'ab', 'abc', TOKEN, 'ÿ?>~', '\N{SNOWMAN}' * 50])
async def test_any_text_can_be_carried(token: str) -> None:
    name = bearer_subprotocol(token)

    assert name.isascii()
    assert '=' not in name
    assert '/' not in name
    padded = name.removeprefix('bearer.') + '=='
    assert base64.urlsafe_b64decode(padded).decode() == token
    async with serving(Room(), users={token: 'ada'}) as served:
        assert (await who(served, **by_subprotocol(token, PROTOCOL)))[0][0] == 'ada'


def test_an_empty_token_is_none() -> None:
    with pytest.raises(ValueError, match='empty'):
        bearer_subprotocol('')


@pytest.mark.parametrize('cookie', ['', 'a b', 'a;b', 7, True])
def test_a_cookie_that_cannot_be_is_refused(cookie: Any) -> None:
    with pytest.raises(ConfigurationError, match='the name of a cookie'):
        TokenMiddleware(cookie=cookie)


def test_to_look_nowhere_is_a_mistake() -> None:
    with pytest.raises(ConfigurationError, match='nowhere to look'):
        TokenMiddleware(header=False, subprotocol=False)


# -- a cookie, and pages of other origins


class Own:
    """A component of the app's own that reads a cookie, and says so."""

    authenticates_by_cookie = True

    async def process_request_ws(self, req: Any, ws: Any) -> None: ...


class Careless:
    authenticates_by_cookie = 1

    async def process_request_ws(self, req: Any, ws: Any) -> None: ...


class Everybody(Room):
    ws_allowed_origins = '*'


class Listed(Room):
    ws_allowed_origins = ('https://partner.example', 'same-origin')


class OfAFunction(Room):
    ws_allowed_origins = staticmethod(lambda origin, req: True)


class WithALoop(Room):
    async def on_websocket(self, req: Any, ws: Any) -> None: ...


class WithALoopAndOrigins(WithALoop):
    ws_allowed_origins = 'same-origin'


class WithALoopForAll(WithALoop):
    ws_allowed_origins = '*'


class NoneOfOurs:
    async def on_websocket(self, req: Any, ws: Any) -> None: ...


COOKIE = TokenMiddleware(cookie='session')


@pytest.mark.parametrize(
    ('component', 'resource', 'options', 'stops'),
    [
        (COOKIE, Room, {}, False),
        (COOKIE, Room, {'allowed_origins': '*'}, True),
        (COOKIE, Everybody, {}, True),
        (COOKIE, Listed, {'allowed_origins': '*'}, False),
        (COOKIE, OfAFunction, {}, False),
        (COOKIE, WithALoop, {}, True),
        (COOKIE, WithALoop, {'strict': True}, False),
        (COOKIE, WithALoopAndOrigins, {}, False),
        (COOKIE, WithALoopForAll, {'strict': True}, True),
        (COOKIE, NoneOfOurs, {'allowed_origins': '*'}, False),
        (Own(), Everybody, {}, True),
        (Careless(), Everybody, {}, True),
        (Own(), Room, {}, False),
        (TokenMiddleware(), Everybody, {}, False),
        (TokenMiddleware(), WithALoop, {}, False),
    ],
)
def test_an_app_that_knows_clients_by_a_cookie_does_not_start_where_any_page_gets_in(
    component: Any, resource: type, options: dict[str, Any], stops: bool
) -> None:
    app = install(falcon.asgi.App(middleware=[component]), **options)
    app.add_route('/ws', resource())
    if not stops:
        app.check_websockets()
        return
    with pytest.raises(ConfigurationError) as raised:
        app.check_websockets()
    for said in (resource.__name__, type(component).__name__, 'cookie', 'ws_allowed_origins'):
        assert said in str(raised.value)


def test_a_plain_socket_in_such_an_app_is_warned_of(logs: Logs) -> None:
    for component, expected in ((COOKIE, 1), (Own(), 1), (TokenMiddleware(), 0)):
        plain: Any = component
        app = install(falcon.asgi.App(middleware=[plain]))
        app.add_route('/ws', Room())
        app.add_route('/plain', NoneOfOurs())
        app.add_route('/page', object())
        app.check_websockets()
        lines = logs.take()
        assert len(lines) == expected
        for line in lines:
            assert 'NoneOfOurs at /plain' in line
            assert type(component).__name__ in line


# -- a hundred connections by each way, from a browser and from a program

SCRIPT = """<!DOCTYPE html><title>A page</title><p id="outcome">none</p>
<script>
  const TOKEN = 'THE_TOKEN'
  const base64url = (text) =>
    btoa(String.fromCharCode(...new TextEncoder().encode(text)))
      .replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')

  const open = (path, ...protocols) => new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${location.host}${path}`, protocols)
    socket.onopen = () => resolve(socket)
    socket.onclose = ({code}) => reject(new Error(`${path} closed ${code}`))
  })
  const ask = (socket, type, payload) => new Promise((resolve) => {
    socket.onmessage = ({data}) => resolve(JSON.parse(data).payload)
    socket.send(JSON.stringify({type, payload, id: 1}))
  })
  const WAYS = {
    subprotocol: () => open('/ws', 'falcon-ws.v1', `bearer.${base64url(TOKEN)}`),
    cookie: () => open('/ws', 'falcon-ws.v1'),
    message: async () => {
      const socket = await open('/first', 'falcon-ws.v1')
      await ask(socket, 'authenticate', TOKEN)
      return socket
    },
  }
  const tell = (outcome) => {
    document.getElementById('outcome').textContent = JSON.stringify(outcome)
    fetch('/told')
  }
  const run = async () => {
    const found = {}
    for (const [way, connect] of Object.entries(WAYS)) {
      for (let number = 0; number < COUNT; number += 1) {
        const socket = await connect()
        const key = JSON.stringify([way, socket.protocol, await ask(socket, 'who')])
        found[key] = (found[key] ?? 0) + 1
        socket.onclose = null
        socket.close()
      }
    }
    return found
  }
  run().then(tell, (error) => tell(String(error)))
</script>
<img src="/waiting">
"""

COUNT = 100


class First(Room):
    """Knows who has the token from the first message."""

    ws_authenticate_by = 'authenticate'

    def __init__(self, users: dict[str, str]) -> None:
        self._users = users

    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        """Nobody is known yet, whatever the handshake says."""

    async def on_ws_authenticate(self, ws: WebSocket, payload: str) -> None:
        user = self._users.get(payload)
        if user is None:
            raise falcon.HTTPUnauthorized(title='Unknown token')
        await ws.identify(user)


class Pages:
    """A page that is not loaded before it knows what became of its sockets."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._told = asyncio.Event()

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.set_cookie('session', self._token, secure=False, http_only=True, same_site='Strict')
        resp.content_type = falcon.MEDIA_HTML
        resp.text = SCRIPT.replace('THE_TOKEN', self._token).replace('COUNT', str(COUNT))

    async def on_get_told(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        self._told.set()

    async def on_get_waiting(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        async with asyncio.timeout(40):
            await self._told.wait()


def everything_logged(caplog: pytest.LogCaptureFixture, name: str) -> str:
    """All that was logged under a name, whatever the level, tracebacks and attributes included."""
    return '\n'.join(
        f'{record.getMessage()} {record.exc_text} {vars(record)}'
        for record in caplog.records
        if record.name.startswith(name)
    )


@pytest.mark.timeout(150)
async def test_a_browser_and_a_program_are_known_by_each_way_and_no_line_has_the_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    browser = find_browser()
    caplog.set_level('DEBUG', 'falcon_ws_mw')
    token = f'{secrets.token_urlsafe(30)}.{secrets.token_urlsafe(20)}'
    users = {token: 'ada'}
    manager = WebSocketConnectionManager()
    app = app_of(Room(), users, COOKIE, manager=manager)
    app.add_route('/first', First(users))
    pages = Pages(token)
    app.add_route('/page', pages)
    app.add_route('/told', pages, suffix='told')
    app.add_route('/waiting', pages, suffix='waiting')
    async with serve(app) as served:
        dom, console = await dom_of(browser, f'{served.http}/page', tmp_path)
        for number in range(COUNT):
            for options in (by_header(token), by_cookie(token), by_subprotocol(token, PROTOCOL)):
                assert (await who(served, **options))[0][0] == 'ada'
            async with served.client('/first') as client:
                await client.send({'type': 'authenticate', 'payload': token})
                assert (await client.ask({'type': 'who', 'id': 1}))['payload'][0] == 'ada'
                wrong = {'type': 'authenticate', 'id': number, 'payload': f'forged{token}'}
                assert (await client.ask(wrong))['type'] == 'error'
            forged = by_subprotocol(f'forged{token}', PROTOCOL)
            assert (await refusal_of(served, **forged)).status_code == 401
        stats = manager.stats()

    assert json.loads(Outcome(dom).text) == {
        json.dumps([way, PROTOCOL, ['ada', source, [PROTOCOL]]], separators=(',', ':')): COUNT
        for way, source in (
            ('subprotocol', 'subprotocol'),
            ('cookie', 'cookie'),
            ('message', 'cookie'),  # it is sent along, and nobody looks at it there
        )
    }
    assert console == []
    assert stats.connections_total == 8 * COUNT
    ours = everything_logged(caplog, 'falcon_ws_mw')
    assert token not in ours
    assert bearer_subprotocol(token).removeprefix('bearer.')[:20] not in ours
    caplog.clear()
