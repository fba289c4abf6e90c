"""The boards of `examples/oauth`, with real tokens over real uvicorn, and its page in a browser."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
import json
import logging
from pathlib import Path
import re
import time
from types import SimpleNamespace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from examples.oauth import keys as key_module
from examples.oauth.app import create_app
from examples.oauth.issuer import ALGORITHM, AUDIENCE, ISSUER, Issuer
from examples.oauth.keys import PublishedKeys
import falcon.asgi
import httpx
import jwt
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from falcon_ws_mw import WebSocketConnectionManager, bearer_subprotocol

from .asyncapi_tools import dom_of, find_browser
from .conftest import Logs
from .servers import PATIENCE_SECONDS, Client, Served, serve

README = Path(__file__).parent.parent / 'examples' / 'oauth' / 'README.md'
PROTOCOL = 'falcon-ws.v1'
ALL = 'read:garden write:garden'


class Boards:
    """The app as it is served, with a key of our own to sign what the issuer never would."""

    def __init__(self, served: Served, issuer: Issuer, manager: WebSocketConnectionManager) -> None:
        self.served = served
        self.issuer = issuer
        self.manager = manager
        self.key: Any = vars(issuer)['_key']
        self.key_id: str = vars(issuer)['_key_id']

    def claims(self, **changed: Any) -> dict[str, Any]:
        now = time.time()
        claims = {
            'iss': ISSUER,
            'aud': AUDIENCE,
            'sub': 'ada',
            'sid': 'a session',
            'scope': ALL,
            'iat': now,
            'exp': now + 60,
            'jti': f'token-{now}',
            **changed,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def sign(self, *, typ: str | None = 'at+jwt', **changed: Any) -> str:
        headers = {'kid': self.key_id, 'typ': typ}
        return jwt.encode(self.claims(**changed), self.key, algorithm=ALGORITHM, headers=headers)

    async def post(self, path: str, **form: str) -> httpx.Response:
        async with httpx.AsyncClient() as http:
            return await http.post(self.served.http + path, data=form)

    async def log_in(self, user: str = 'ada', scope: str = ALL) -> dict[str, Any]:
        response = await self.post('/token', grant_type='password', username=user, scope=scope)
        assert response.status_code == 200
        found: dict[str, Any] = response.json()
        return found

    @asynccontextmanager
    async def board(self, token: str | None = None, name: str = 'garden') -> AsyncIterator[Client]:
        headers = {} if token is None else {'Authorization': f'Bearer {token}'}
        options: dict[str, Any] = {'subprotocols': [PROTOCOL], 'additional_headers': headers}
        async with self.served.client(f'/board/{name}', **options) as client:
            yield client


@asynccontextmanager
async def boards(
    lifetime_seconds: float = 60, ws_implementation: str = 'websockets-sansio'
) -> AsyncIterator[Boards]:
    issuer = Issuer(lifetime_seconds)
    app = create_app(issuer=issuer)
    async with serve(app, ws_implementation) as served:
        yield Boards(served, issuer, app.ws_connection_manager)


async def authenticate(client: Client, token: object) -> Any:
    answer = await client.ask({'type': 'authenticate', 'id': 1, 'payload': {'token': token}})
    return answer['payload']


def bad_tokens(boards: Boards) -> dict[str, str]:
    """Each token that must be worth nothing, by what is wrong with it."""
    own = Ed25519PrivateKey.generate()
    public = boards.key.public_key()
    raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    headers = {'kid': boards.key_id, 'typ': 'at+jwt'}
    now = time.time()
    good = boards.sign()
    head, body, signature = good.split('.')

    def as_part(part: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip('=')

    return {
        'forged': jwt.encode(boards.claims(), own, algorithm=ALGORITHM, headers=headers),
        'signed by nobody who is known': jwt.encode(
            boards.claims(), own, algorithm=ALGORITHM, headers={'kid': 'other'}
        ),
        'without a key': jwt.encode(boards.claims(), own, algorithm=ALGORITHM),
        'alg none': jwt.encode(boards.claims(), '', algorithm='none', headers=headers),
        'alg None': f'{as_part({"alg": "None", "kid": boards.key_id})}.{body}.',
        'alg none with a signature': f'{as_part({"alg": "none", **headers})}.{body}.{signature}',
        'signed by the public key as a secret': jwt.encode(
            boards.claims(), raw, algorithm='HS256', headers=headers
        ),
        'claims of another': f'{head}.{as_part(boards.claims(sub="bob"))}.{signature}',
        'expired': boards.sign(exp=now - 1),
        'expired long ago': boards.sign(exp=now - 86_400, iat=now - 90_000),
        'not yet': boards.sign(nbf=now + 600),
        'issued in the future': boards.sign(iat=now + 600),
        'for another audience': boards.sign(aud='other-api'),
        'for nobody': boards.sign(aud=None),
        'of another issuer': boards.sign(iss='https://evil.example'),
        'without an end': boards.sign(exp=None),
        'without a user': boards.sign(sub=None),
        'of a user that is no text': boards.sign(sub=7),
        'without an id': boards.sign(jti=None),
        'of a user without a name': boards.sign(sub=''),
        'of a user whose name is too long': boards.sign(sub='a' * 256),
        'without a session': boards.sign(sid=None),
        'an end that is no time': boards.sign(exp='tomorrow'),
        'an end that is text': boards.sign(exp=f'{now + 60} s'),
        'an end in milliseconds': boards.sign(exp=int(now + 60) * 1000),
        'an end that is far away': boards.sign(exp=now + 86_400),
        'an ID token': boards.sign(typ='JWT'),
        'of no type': boards.sign(typ=None),
        'cut': good[:-10],
        'no token': 'ada',
        'nothing': '..',
    }


# -- what is refused


def documented() -> list[tuple[str, str, str]]:
    """The rows of the table of answers in the README."""
    rows = re.findall(r'^\| (.+?) \| (.+?)? ?\| (.+?) \|$', README.read_text(), re.MULTILINE)
    return [row for row in rows if not row[0].startswith(('-', 'a token that', 'to see how'))]


async def test_every_bad_token_is_refused_with_the_documented_answer(
    ws_implementation: str, logs: Logs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with boards(ws_implementation=ws_implementation) as served:
        for wrong, token in bad_tokens(served).items():
            ways: list[dict[str, Any]] = [
                {'additional_headers': {'Authorization': f'Bearer {token}'}},
                {'subprotocols': [PROTOCOL, bearer_subprotocol(token)]},
            ]
            for options in ways:
                with pytest.raises(InvalidStatus) as refused:
                    async with served.served.client('/board/garden', **options):
                        pass
                response = refused.value.response
                assert response.status_code == 401, wrong
                assert response.headers['WWW-Authenticate'] == 'Bearer error="invalid_token"'
            async with served.board() as client:
                error = await authenticate(client, token)
                assert (error['status'], error['title']) == (401, 'Invalid token'), wrong
                assert await authenticate(client, served.sign()) == 'ada'
                renewed = await authenticate(client, token)
                assert renewed == error, 'and the connection goes on with the one that it has'
                await client.send({'type': 'write', 'payload': {'text': 'here'}})
                assert (await client.receive())['payload'] == {'by': 'ada', 'text': 'here'}
        text = '\n'.join(record.getMessage() for record in caplog.records)
        for token in bad_tokens(served).values():
            assert len(token) < 10 or token not in text
        assert served.manager.stats().errors.keys() <= {'http_error'}
    rows = documented()
    assert '401, `WWW-Authenticate: Bearer error="invalid_token"`' in rows[0][1]
    assert rows[0][2] == 'error 401, *Invalid token*'
    logs.take()


async def test_a_token_of_another_user_is_refused_on_a_connection_that_is_somebodys(
    ws_implementation: str,
) -> None:
    async with (
        boards(ws_implementation=ws_implementation) as served,
        served.board(served.sign()) as client,
    ):
        error = await authenticate(client, served.sign(sub='bob'))
        assert (error['status'], error['title']) == (403, 'Another user')
        assert f'error 403, *{error["title"]}*' in [row[2] for row in documented()]
        await client.send({'type': 'write', 'payload': {'text': 'here'}})
        assert (await client.receive())['payload']['by'] == 'ada'
        assert await served.manager.get_users_in_room('garden') == {'ada': 1}


async def test_what_has_no_scope_is_a_403(ws_implementation: str) -> None:
    async with boards(ws_implementation=ws_implementation) as served:
        with pytest.raises(InvalidStatus) as refused:
            async with served.board(served.sign(scope='read:kitchen')):
                pass
        assert refused.value.response.status_code == 403
        async with served.board(served.sign(scope='read:garden')) as client:
            error = await client.ask({'type': 'write', 'id': 2, 'payload': {'text': 'x'}})
            assert error['payload']['status'] == 403
        async with served.board() as client:
            assert (await authenticate(client, served.sign(scope='')))['status'] == 403


async def test_a_right_that_a_newer_token_has_not_is_gone() -> None:
    async with boards() as served, served.board(served.sign()) as client:
        await authenticate(client, served.sign(scope='read:garden'))
        error = await client.ask({'type': 'write', 'id': 2, 'payload': {'text': 'x'}})
        assert error['payload']['status'] == 403
        assert (await authenticate(client, served.sign(scope='')))['status'] == 403
        await served.manager.broadcast_to_room('garden', {'type': 'news'})
        error = await client.ask({'type': 'write', 'id': 3, 'payload': {'text': 'x'}})
        assert error['type'] == 'error', 'it is on the board no more, so it has no news'


async def test_who_brings_no_token_is_a_stranger_and_has_three_attempts(
    ws_implementation: str,
) -> None:
    async with boards(ws_implementation=ws_implementation) as served, served.board() as client:
        answer = await client.ask({'type': 'write', 'id': 1, 'payload': {'text': 'x'}})
        assert (answer['payload']['status'], answer['payload']['title']) == (
            401,
            'Not authenticated',
        )
        for token in ('', None, {'alg': 'none'}):
            assert (await authenticate(client, token))['status'] == 401
        with pytest.raises(ConnectionClosed):
            await client.receive()
        assert client.connection.close_code == 3401


# -- its life


async def test_a_token_of_three_seconds_is_renewed_in_band_or_ends(ws_implementation: str) -> None:
    async with boards(3, ws_implementation) as served:
        tokens = await served.log_in()
        async with served.board(tokens['access_token']) as client:
            (connection_id,) = served.manager.connections
            for _ in range(2):
                told = await client.receive()
                assert told['type'] == 'expiring'
                assert 0.5 < told['payload']['expires_in'] <= 1.5
                response = await served.post(
                    '/token', grant_type='refresh_token', refresh_token=tokens['refresh_token']
                )
                tokens = response.json()
                assert await authenticate(client, tokens['access_token']) == 'ada'
                assert list(served.manager.connections) == [connection_id]
                assert await served.manager.get_room_names() == ['garden']
            assert (await client.receive())['type'] == 'expiring'
            with pytest.raises(ConnectionClosed):
                await client.receive()
            assert client.connection.close_code == 3401
            assert served.manager.stats().expired == 1


async def test_a_log_out_closes_all_sockets_and_makes_good_tokens_worthless(
    ws_implementation: str, logs: Logs
) -> None:
    async with boards(ws_implementation=ws_implementation) as served:
        tokens, others = await served.log_in(), await served.log_in('bob')
        token = tokens['access_token']
        async with (
            served.board(token) as first,
            served.board() as second,
            served.board(others['access_token']) as other,
            served.board() as late,
        ):
            await authenticate(second, token)
            response = await served.post('/revoke', token=tokens['refresh_token'])
            assert response.status_code == 200
            for client in (first, second):
                assert await client.closed() == 3401
                assert client.connection.close_reason == 'Logged out'
            assert (await authenticate(late, token))['status'] == 401
            await other.send({'type': 'write', 'payload': {'text': 'here'}})
            assert (await other.receive())['payload']['by'] == 'bob'
            with pytest.raises(InvalidStatus):
                async with served.board(token):
                    pass
            again = await served.post(
                '/token', grant_type='refresh_token', refresh_token=tokens['refresh_token']
            )
            assert again.status_code == 400
            anew = await served.log_in()
            assert await authenticate(late, anew['access_token']) == 'ada'
        assert (await served.post('/revoke', token='unknown')).status_code == 200


async def test_a_clock_of_the_issuer_that_is_ahead_keeps_no_token_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with boards() as served:
        ahead = SimpleNamespace(time=lambda: time.time() + 4)
        monkeypatch.setattr('examples.oauth.issuer.time', ahead)
        tokens = await served.log_in()
        async with served.board(tokens['access_token']) as client:
            await served.post('/revoke', token=tokens['refresh_token'])
            assert await client.closed() == 3401
        with pytest.raises(InvalidStatus):
            async with served.board(tokens['access_token']):
                pass


async def test_who_logs_out_while_he_renews_is_logged_out() -> None:
    async with boards() as served:
        before = await served.log_in()
        form = {'grant_type': 'refresh_token', 'refresh_token': before['refresh_token']}
        after = (await served.post('/token', **form)).json()
        async with served.board(before['access_token']) as client:
            await served.post('/revoke', token=before['refresh_token'])
            assert await client.closed() == 3401
        async with served.board() as client:
            assert (await authenticate(client, after['access_token']))['status'] == 401
        form['refresh_token'] = after['refresh_token']
        assert (await served.post('/token', **form)).status_code == 400


async def test_a_log_out_is_of_one_device() -> None:
    async with boards() as served:
        laptop, phone = await served.log_in(), await served.log_in()
        async with (
            served.board(laptop['access_token']) as there,
            served.board(phone['access_token']) as here,
        ):
            await served.post('/revoke', token=laptop['refresh_token'])
            assert await there.closed() == 3401
            await here.send({'type': 'write', 'payload': {'text': 'here'}})
            assert (await here.receive())['payload']['by'] == 'ada'


async def test_a_refresh_token_that_comes_again_ends_its_session() -> None:
    async with boards() as served:
        tokens = await served.log_in()
        form = {'grant_type': 'refresh_token', 'refresh_token': tokens['refresh_token']}
        newer = (await served.post('/token', **form)).json()
        async with served.board(newer['access_token']) as thief:
            assert (await served.post('/token', **form)).status_code == 400
            assert await thief.closed() == 3401
        form['refresh_token'] = newer['refresh_token']
        assert (await served.post('/token', **form)).status_code == 400


async def test_what_is_no_form_is_a_400() -> None:
    async with boards() as served, httpx.AsyncClient(base_url=served.served.http) as http:
        assert (await served.post('/token', grant_type='magic')).status_code == 400
        for path in ('/token', '/revoke'):
            assert (await http.post(path, json=['token'])).status_code == 400


class Publisher:
    """Publishes keys, or something else, and counts how often it is asked."""

    def __init__(self, said: Any) -> None:
        self.said = said
        self.asked = 0

    async def on_get(self, req: Any, resp: Any) -> None:
        self.asked += 1
        if isinstance(self.said, int):
            resp.status = self.said
        elif isinstance(self.said, str):
            resp.text = self.said
        else:
            resp.media = self.said


@asynccontextmanager
async def publishing(said: Any) -> AsyncIterator[tuple[Publisher, PublishedKeys]]:
    publisher = Publisher(said)
    app: Any = falcon.asgi.App()
    app.add_route('/jwks.json', publisher)
    async with serve(app) as served:
        yield publisher, PublishedKeys(f'{served.http}/jwks.json')


@pytest.mark.parametrize('said', [503, 'no JSON', '[]', '{}', {'keys': []}], ids=str)
async def test_an_issuer_that_gives_no_keys_is_no_fault_of_a_token(said: Any) -> None:
    async with publishing(said) as (publisher, keys):
        app = create_app(key_of=keys.key_of)
        async with serve(app) as served:
            good = Boards(served, Issuer(), app.ws_connection_manager)
            with pytest.raises(InvalidStatus) as refused:
                async with good.board(good.sign()):
                    pass
            assert refused.value.response.status_code == 503
            assert refused.value.response.headers['Retry-After']
            async with good.board() as client:
                for _ in range(5):
                    assert (await authenticate(client, good.sign()))['status'] == 503
        assert publisher.asked == 1


async def test_made_up_keys_are_asked_for_once_in_a_while_and_new_ones_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    issuer = Issuer()
    async with publishing(Issuer().jwks()) as (publisher, keys):
        app = create_app(key_of=keys.key_of)
        async with serve(app) as served:
            good = Boards(served, issuer, app.ws_connection_manager)
            async with good.board() as client:
                tried = await asyncio.gather(
                    *(keys.key_of(good.sign()) for _ in range(30)), return_exceptions=True
                )
                assert {type(each) for each in tried} == {jwt.InvalidTokenError}
                assert (await authenticate(client, good.sign()))['status'] == 401
                assert publisher.asked == 1
                publisher.said = issuer.jwks()
                monkeypatch.setattr(key_module, 'PAUSE_SECONDS', 0)
                assert await authenticate(client, good.sign()) == 'ada'
                assert publisher.asked == 2
                assert await authenticate(client, good.sign()) == 'ada'
                assert publisher.asked == 2
                monkeypatch.setattr(key_module, 'LIFESPAN_SECONDS', 0)
                publisher.said = 503
                assert await authenticate(client, good.sign()) == 'ada', 'by the keys that it has'
                assert publisher.asked == 3


async def test_keys_may_be_taken_from_where_the_issuer_publishes_them() -> None:
    issuer = Issuer()
    async with serve(create_app(issuer=issuer)) as publisher:
        app = create_app(key_of=PublishedKeys(f'{publisher.http}/jwks.json').key_of)
        async with serve(app) as served, httpx.AsyncClient(base_url=served.http) as http:
            assert (await http.post('/token')).status_code == 404
            good = Boards(served, issuer, app.ws_connection_manager)
            async with good.board(good.sign()) as client:
                await client.send({'type': 'write', 'payload': {'text': 'here'}})
                assert (await client.receive())['payload']['by'] == 'ada'
                forged = jwt.encode(
                    good.claims(), Ed25519PrivateKey.generate(), ALGORITHM, {'kid': 'unknown'}
                )
                assert (await authenticate(client, forged))['status'] == 401


# -- the page

VISIT = """
<script>
  const wait = async (found) => { while (!found()) await new Promise((r) => setTimeout(r, 20)) }
  const visit = async () => {
    for (const way of ['subprotocol', 'message']) {
      document.querySelector(`[value=${way}]`).checked = true
      document.querySelector('#log-in button').click()
      await wait(() => state.textContent === 'Connected, by falcon-ws.v1.')
      document.querySelector('[name=text]').value = `hello by ${way} <b>`
      if (way === 'message') await new Promise((r) => setTimeout(r, 200))
      document.querySelector('#write button').click()
      await wait(() => document.body.textContent.includes(`ada: hello by ${way}`))
      const before = renewals
      await wait(() => renewals >= before + 2)
    }
    logOut.click()
    await wait(() => state.textContent.startsWith('Closed'))
    fetch('/told')
  }
  visit().catch((error) => { state.textContent = String(error); fetch('/told') })
</script>
<img src="/waiting">
"""


class Visited:
    """The example's page, and a visitor who does what is to be done on it."""

    def __init__(self) -> None:
        self.html = (README.parent / 'page.html').read_text()
        self.told = asyncio.Event()

    async def on_get(self, req: Any, resp: Any) -> None:
        resp.content_type = 'text/html'
        resp.text = self.html.replace('</html>', VISIT + '</html>')

    async def on_get_told(self, req: Any, resp: Any) -> None:
        self.told.set()

    async def on_get_waiting(self, req: Any, resp: Any) -> None:
        async with asyncio.timeout(40):
            await self.told.wait()


@pytest.mark.timeout(120)
async def test_the_page_stays_connected_by_new_tokens_and_closes_when_it_logs_out(
    tmp_path: Path,
) -> None:
    browser = find_browser()
    app = create_app(issuer=Issuer(4))
    page = Visited()
    app.add_route('/visited', page)
    app.add_route('/told', page, suffix='told')
    app.add_route('/waiting', page, suffix='waiting')
    async with serve(app) as served:
        dom, console = await dom_of(browser, f'{served.http}/visited', tmp_path)
        stats = app.ws_connection_manager.stats()

    lines = re.findall(r'<span class="(?:written|event)">(.*?)</span>', dom)
    assert lines.count('ada: hello by subprotocol &lt;b&gt;') == 1
    assert lines.count('ada: hello by message &lt;b&gt;') == 1
    assert len([line for line in lines if 'renewing' in line]) >= 4
    assert 'Closed: 3401 Logged out' in dom
    assert console == []
    assert (stats.connections_total, stats.expired) == (2, 0)


async def test_the_app_that_the_module_has_is_the_same() -> None:
    from examples.oauth import app as module

    async with serve(module.app) as served, httpx.AsyncClient() as http:
        async with asyncio.timeout(PATIENCE_SECONDS):
            page = await http.get(served.http)
    assert page.headers['content-type'].startswith('text/html')
