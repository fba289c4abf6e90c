"""What the page about identity says is so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
import inspect
import re
import time
from typing import Any

import falcon
import falcon.asgi
import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from falcon_ws_mw import (
    CLOSE_CODES,
    Limits,
    TokenMiddleware,
    WebSocket,
    WebSocketConnectionManager,
    bearer_subprotocol,
    install,
)
from falcon_ws_mw.options import UserLimitPolicy

from .conftest import Logs
from .servers import PATIENCE_SECONDS, Client, Served, serve
from .test_docs import (
    DOCS,
    Page,
    blocks_of,
    code_in,
    first_column,
    node_with_websockets,
    table_of,
)

PAGE = DOCS / 'identity.md'
ADA = {'Cookie': 'session=secret-of-ada'}
BOB = {'Cookie': 'session=secret-of-bob'}


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    return Page(PAGE, monkeypatch)


@pytest.fixture
def apps(page: Page) -> Iterator[Any]:
    """The apps of the page, in order."""
    return iter(page.apps)


async def ask(client: Client, what: str, payload: Any = None) -> Any:
    answer = await client.ask({'type': what, 'id': 1, 'payload': payload})
    return answer['payload']


async def is_refused(served: Served, path: str, **options: Any) -> int:
    with pytest.raises(InvalidStatus) as refused:
        async with served.client(path, **options):
            pass
    return int(refused.value.response.status_code)


# -- the four ways


async def test_a_middleware_and_a_cookie(apps: Any) -> None:
    async with serve(next(apps)) as served:
        assert await is_refused(served, '/rooms/r') == 401
        async with served.client('/rooms/r', additional_headers=ADA) as client:
            await client.send({'type': 'say', 'payload': {'text': 'hi'}})
            assert (await client.receive())['payload'] == {'by': 'ada', 'text': 'hi'}
        foreign = {**ADA, 'Origin': 'https://evil.example'}
        assert await is_refused(served, '/rooms/r', additional_headers=foreign) == 403


async def test_a_token(apps: Any) -> None:
    next(apps)
    async with serve(next(apps)) as served:
        ways: list[dict[str, Any]] = [
            {'additional_headers': {'Authorization': 'Bearer token-of-ada'}},
            {'subprotocols': ['falcon-ws.v1', bearer_subprotocol('token-of-ada')]},
        ]
        for options in ways:
            async with served.client('/rooms/r', **options) as client:
                await client.send({'type': 'say', 'payload': {'text': 'hi'}})
                assert (await client.receive())['payload']['by'] == 'ada'
        assert await is_refused(served, '/rooms/r', additional_headers=ADA) == 401


def test_each_argument_of_the_middleware_is_in_its_table() -> None:
    described = {
        code_in(cell)[0] for cell in first_column('identity.md', 'argument of `TokenMiddleware`')
    }
    parameters = inspect.signature(TokenMiddleware).parameters.values()

    assert described == {f'{each.name}={each.default}' for each in parameters}


async def test_the_desk_wants_to_know_first(apps: Any) -> None:
    next(apps)
    async with serve(next(apps)) as served, served.client('/desk') as client:
        assert (await ask(client, 'say', {'text': 'hi'}))['status'] == 401
        assert (await ask(client, 'authenticate', {'token': 'forged'}))['status'] == 401
        assert await ask(client, 'authenticate', {'token': 'token-of-ada'}) == {'user': 'ada'}
        await client.send({'type': 'say', 'payload': {'text': 'hi'}})
        assert (await client.receive())['payload'] == {'by': 'ada', 'text': 'hi'}


def test_the_table_of_strangers_has_the_defaults() -> None:
    cells = ' '.join(' '.join(row) for row in table_of('identity.md', 'a stranger'))
    limits = Limits()

    assert limits.max_auth_attempts == 3
    assert 'failed three times' in cells
    assert f'after {limits.auth_timeout_seconds:g} s' in cells
    assert {int(code) for code in re.findall(r'\b3\d{3}\b', cells)} == {3401, 3408}


# -- for how long


async def test_the_board_tells_and_ends(page: Page) -> None:
    tokens = page.names['TOKENS']
    async with serve(page.apps[1]) as served:
        async with served.client('/board', subprotocols=['falcon-ws.v1']) as client:
            tokens['short'] = ('ada', time.time() + 1)
            await ask(client, 'authenticate', {'token': 'short'})
            told = await client.receive()
            assert told['type'] == 'expiring'
            assert set(told['payload']) == {'expires_in'}
            await ask(client, 'authenticate', {'token': 'token-of-ada'})
            other = ('bob', time.time() + 60)
            tokens['other'] = other
            assert (await ask(client, 'authenticate', {'token': 'other'}))['status'] == 403
            tokens['short'] = ('ada', time.time() + 0.5)
            await ask(client, 'authenticate', {'token': 'short'})
            await client.receive()
            with pytest.raises(ConnectionClosed):
                await client.receive()
            assert client.connection.close_code == 3401
            assert f'*{client.connection.close_reason}*' in PAGE.read_text()


async def test_the_scripts_of_the_page_bring_a_token_and_a_newer_one(logs: Logs) -> None:
    command = node_with_websockets()
    carry, renew = blocks_of(PAGE, 'js')
    seen: asyncio.Queue[Any] = asyncio.Queue()

    class Room:
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            seen.put_nowait((req.context.token, ws.subprotocol))
            await ws.identify('ada', time.time() + 2)

        async def on_ws_authenticate(self, ws: WebSocket, payload: dict[str, Any]) -> None:
            await ws.identify('ada', time.time() + 60)
            seen.put_nowait(payload['token'])
            await ws.close()

    app = install(falcon.asgi.App(middleware=[TokenMiddleware()]))
    app.add_route('/ws', Room())
    async with serve(app) as served:
        script = (
            f'const address = "ws://127.0.0.1:{served.port}/ws", token = "tøken.a_b-c";'
            f'const newToken = async () => "newer";{carry.text}{renew.text}'
        )
        node = await asyncio.create_subprocess_exec(*command, '--eval', script)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert await seen.get() == ('tøken.a_b-c', 'falcon-ws.v1')
                assert await seen.get() == 'newer'
                await node.wait()
        finally:
            if node.returncode is None:
                node.kill()
                await node.wait()


# -- logging out


async def test_logging_out_closes_all(page: Page) -> None:
    app = page.apps[2]
    async with serve(app) as served, served.client('/rooms/r', additional_headers=ADA) as client:
        async with httpx.AsyncClient() as http:
            assert (await http.post(f'{served.http}/logout')).status_code == 401
            answer = await http.post(f'{served.http}/logout', headers=ADA)
        assert answer.json() == {'closed': 1}
        assert await client.closed() == 3401
        assert await is_refused(served, '/rooms/r', additional_headers=ADA) == 401


def test_the_codes_say_whether_to_come_back() -> None:
    for codes, _, client in table_of('identity.md', 'code'):
        for code in map(int, re.findall(r'\b[13]\d{3}\b', codes)):
            assert CLOSE_CODES[code].retry == client.startswith('comes back'), code


def test_each_policy_is_in_its_table() -> None:
    described = [
        code_in(cell)[0].strip("'") for cell in first_column('identity.md', '`user_limit_policy`')
    ]

    assert tuple(described) == UserLimitPolicy.__args__  # type: ignore[attr-defined]


async def test_one_too_many_closes_the_oldest(page: Page) -> None:
    async with (
        serve(page.names['bounded']) as served,
        served.client('/rooms/r', additional_headers=BOB) as first,
    ):
        async with (
            served.client('/rooms/r', additional_headers=BOB),
            served.client('/rooms/r', additional_headers=BOB),
            served.client('/rooms/r', additional_headers=BOB),
        ):
            assert await first.closed() == 3409


# -- rights


async def test_the_club_lets_in_whom_it_knows(page: Page) -> None:
    app = page.apps[3]
    manager = app.ws_connection_manager
    async with (
        serve(app) as served,
        served.client('/club', additional_headers=ADA) as ada,
        served.client('/club', additional_headers=BOB) as bob,
    ):
        assert (await ask(bob, 'enter', 'attic'))['status'] == 403
        assert await ask(bob, 'enter', 'garden') is None
        assert await ask(ada, 'enter', 'garden') is None
        for room in ('attic', None, ['garden']):
            assert (await ask(bob, 'write', {'room': room}))['status'] == 403
        assert (await ask(bob, 'write', {}))['status'] == 403
        await bob.send({'type': 'write', 'payload': {'room': 'garden', 'text': 'hi'}})
        assert (await ada.receive())['payload']['text'] == 'hi'
        assert (await bob.receive())['payload']['text'] == 'hi'
        await page.names['expel'](manager, 'bob', 'club:garden')
        assert await manager.get_users_in_room('club:garden') == {'ada': 1}
        assert (await ask(bob, 'enter', 'garden'))['status'] == 403


def test_what_is_asked_is_what_the_table_says() -> None:
    asked = {
        call: action
        for calls, action, _ in table_of('identity.md', 'call')
        for call in re.findall(r'ws\.(?:manager\.)?(\w+)', calls.partition(', and')[0])
    }

    assert asked['subscribe'].startswith("`'subscribe'`")
    assert asked['publish'].startswith("`'publish'`")
    assert asked['authorize'] == 'any action of yours'
    for name in ('leave_room', 'unsubscribe', 'broadcast_to_room'):
        assert asked[name] == 'nothing'
        assert hasattr(WebSocket, name)


# -- presence


async def test_three_tabs_are_told_of_once(page: Page) -> None:
    app = page.apps[4]
    async with (
        serve(app) as served,
        served.client('/rooms/r', additional_headers=BOB) as bob,
    ):
        assert (await bob.receive())['payload'] == {'user': 'bob'}
        async with (
            served.client('/rooms/r', additional_headers=ADA) as first,
            served.client('/rooms/r', additional_headers=ADA) as second,
        ):
            assert await bob.receive() == {'type': 'joined', 'payload': {'user': 'ada'}}
            await first.send({'type': 'say', 'payload': {}})
            assert (await second.receive())['type'] in {'joined', 'said'}
            assert (await bob.receive())['type'] == 'said'


def test_each_listener_of_users_is_in_its_table() -> None:
    rows = [row for row in table_of('identity.md', 'listener') if row[0]]
    names = {code_in(row[0])[0].partition('(')[0] for row in rows}

    assert names == {
        name for name in dir(WebSocketConnectionManager) if name.startswith('on_user_')
    }
