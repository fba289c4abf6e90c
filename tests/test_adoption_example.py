"""The app of `examples/adoption`: each step says the same on the wire as the one before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
import difflib
import hashlib
from importlib import import_module
import itertools
import json
from pathlib import Path
import re
import struct
import time
from types import ModuleType
from typing import Any

from examples.adoption import STEPS
from examples.adoption.auth import TOKENS
from examples.adoption.settings import CLOSE_SILENT, DEFAULTS, MAX_SILENT_ROUNDS, Settings
from examples.adoption.wslook import after as tutorial_after
from examples.adoption.wslook import before as tutorial_before
import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from falcon_ws_mw import ConfigurationError

from .conftest import Logs
from .servers import PATIENCE_SECONDS, Client, Served, serve
from .test_docs import DOCS, Page, blocks_of, start

EXAMPLE = Path(__file__).parent.parent / 'examples' / 'adoption'
BOARD = '/boards/kitchen'
ADA = {'Authorization': 'Bearer demo-ada'}
BOB = {'Authorization': 'Bearer demo-bob'}

LAST_STEP = len(STEPS) - 1

FIRST_STEP_WITH = {
    'comment': 2,
    'watch': 3,
    'unwatch': 3,
    'typing': 3,
    'listCards': 4,
    'showCard': 4,
    'addCard': 4,
    'renameCard': 4,
    'moveCard': 4,
    'deleteCard': 4,
    'alive': 5,
    'upload': 5,
}
"""The step in which each message leaves the ladder."""


@pytest.fixture(params=range(len(STEPS)), ids=STEPS)
def step(request: pytest.FixtureRequest) -> int:
    """Each step in turn."""
    number: int = request.param
    return number


class App:
    """A step, served, and those who use it."""

    def __init__(self, served: Served, http: httpx.AsyncClient) -> None:
        self.served = served
        self.http = http

    @asynccontextmanager
    async def enter(
        self, headers: dict[str, str] | None = None, path: str = BOARD
    ) -> AsyncIterator[Client]:
        async with self.served.client(path, additional_headers=headers or ADA) as client:
            yield client

    @asynccontextmanager
    async def watch(self, headers: dict[str, str] | None = None) -> AsyncIterator[Client]:
        async with self.enter(headers) as client:
            assert (await client.ask({'type': 'watch'}))['type'] == 'watching'
            yield client

    async def refusal(self, path: str, headers: dict[str, str]) -> int:
        """The status that a handshake is refused with."""
        with pytest.raises(InvalidStatus) as refused:
            async with self.served.client(path, additional_headers=headers):
                pass
        return refused.value.response.status_code


@asynccontextmanager
async def using(
    step: int, ws_implementation: str = 'websockets-sansio', settings: Settings = DEFAULTS
) -> AsyncIterator[App]:
    create_app: Callable[[Settings], Any] = import_module(
        f'examples.adoption.{STEPS[step]}'
    ).create_app
    # Without the library the app has no lifespan handlers, which is fine with Falcon.
    async with serve(create_app(settings), ws_implementation) as served:
        async with httpx.AsyncClient(base_url=served.http) as http:
            yield App(served, http)


def message(kind: str, **payload: Any) -> dict[str, Any]:
    return {'type': kind, 'payload': payload}


def upload(card: int, data: bytes) -> bytes:
    return struct.pack('!I', card) + data


def new_card(number: int, title: str, **changed: Any) -> dict[str, Any]:
    card = {'number': number, 'title': title, 'author': 'ada', 'column': 'todo'}
    return {**card, 'comments': [], 'files': [], **changed}


# -- what each step says


async def test_each_message_is_answered(step: int, ws_implementation: str, logs: Logs) -> None:
    data = bytes(range(256))
    file = {'bytes': 256, 'sha256': hashlib.sha256(data).hexdigest()}
    comment = {'author': 'ada', 'text': 'soon'}
    full = new_card(1, 'Green tea', column='doing', comments=[comment], files=[file])
    async with using(step, ws_implementation) as app, app.enter() as ada:
        for sent, answer in (
            ({'type': 'watch'}, {'type': 'watching', 'payload': {'watchers': 1}}),
            (message('addCard', title='Tea'), message('cardAdded', **new_card(1, 'Tea'))),
            (
                message('renameCard', card=1, title='Green tea'),
                message('cardRenamed', **new_card(1, 'Green tea')),
            ),
            (
                message('moveCard', card=1, column='doing'),
                message('cardMoved', **new_card(1, 'Green tea', column='doing')),
            ),
            (message('comment', card=1, text=' soon '), message('commented', card=1, **comment)),
            (upload(1, data), message('fileAdded', card=1, **file)),
            (message('showCard', card=1), message('card', **full)),
            ({'type': 'listCards'}, {'type': 'cards', 'payload': [full]}),
            (message('deleteCard', card=1), message('cardDeleted', **full)),
            (message('listCards'), {'type': 'cards', 'payload': []}),
            ({'type': 'fly'}, message('unknown', type='fly')),
            ({'type': 'unwatch'}, {'type': 'notWatching'}),
        ):
            assert await ada.ask(sent) == answer
        await ada.send({'type': 'alive'})  # not answered
        await ada.send(message('addCard', title='unseen'))
        assert (await ada.ask({'type': 'listCards'}))['payload'][0]['title'] == 'unseen'
    # At its start the library says which loops it takes messages from.
    assert [line for line in logs.lines if 'keeps its on_websocket' not in line] == []


async def test_messages_of_all_kinds_are_handled_in_their_order(
    step: int, ws_implementation: str
) -> None:
    kinds = itertools.cycle(
        [
            (message('addCard', title='x'), 'cardAdded'),
            (upload(1, b'file'), 'fileAdded'),
            (message('comment', card=1, text='x'), 'commented'),
            ({'type': 'nonsense'}, 'unknown'),
            (message('renameCard', card=1, title='y'), 'cardRenamed'),
            (upload(1, b'other'), 'fileAdded'),
            ({'type': 'alsoNonsense'}, 'unknown'),
            ({'type': 'alsoNonsense'}, 'unknown'),
            ({'type': 'listCards'}, 'cards'),
            (message('comment', card=1, text='z'), 'commented'),
        ]
    )
    sent = list(itertools.islice(kinds, 60))
    async with using(step, ws_implementation) as app, app.watch() as ada:
        for frame, _ in sent:
            await ada.send(frame)
        assert [(await ada.receive())['type'] for _ in sent] == [kind for _, kind in sent]


async def test_those_who_watch_are_told_and_nobody_else(step: int, ws_implementation: str) -> None:
    async with using(step, ws_implementation) as app:
        async with (
            app.watch() as ada,
            app.watch(BOB) as bob,
            app.enter(BOB) as idle,
            app.enter(ADA, '/boards/garden') as gardener,
        ):
            await gardener.ask({'type': 'watch'})
            await ada.send(message('typing', card=7))
            response = await app.http.post(BOARD, json={'title': 'Soup'}, headers=BOB)
            assert response.status_code == 201
            soup = response.json()
            assert (soup['number'], soup['author']) == (1, 'bob')
            assert await bob.receive() == message('typing', card=7, user='ada')
            for client in (ada, bob):  # typing went to the others only
                assert await client.receive() == message('cardAdded', **soup)
            for client in (idle, gardener):  # the first that they get
                assert (await client.ask({'type': 'listCards'}))['type'] == 'cards'
            response = await app.http.get(BOARD, headers=ADA)
            assert response.json() == [soup]


async def test_who_has_left_watches_no_more(step: int, ws_implementation: str) -> None:
    async with using(step, ws_implementation) as app, app.watch() as ada:
        async with app.watch(BOB) as bob, app.watch(BOB) as carl:
            assert (await ada.ask({'type': 'watch'}))['payload'] == {'watchers': 3}
            bob.abort()
            await carl.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await ada.ask({'type': 'watch'}))['payload'] != {'watchers': 1}:
                await asyncio.sleep(0.01)
        assert (await ada.ask(message('addCard', title='x')))['type'] == 'cardAdded'


async def test_the_ticker_ticks(step: int, ws_implementation: str) -> None:
    settings = Settings(tick_seconds=0.02)
    async with using(step, ws_implementation, settings) as app:
        async with app.enter(ADA, '/ticker') as ada:
            assert await ada.receive() == message('tick', kitchen=0, garden=0)
            await ada.send({'type': 'listCards'})  # nothing is ever received there
            await app.http.post(BOARD, json={'title': 'x'}, headers=ADA)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await ada.receive() != message('tick', kitchen=1, garden=0):
                    pass
        response = await app.http.get('/ticker', headers=ADA)
        assert response.json() == {'kitchen': 1, 'garden': 0}


# -- the heartbeat

HASTY = Settings(heartbeat_seconds=0.2)


async def test_a_silent_client_is_asked_and_closed(step: int) -> None:
    async with using(step, settings=HASTY) as app:
        started = time.monotonic()
        async with app.enter() as ada:
            for rounds in range(1, MAX_SILENT_ROUNDS + 1):
                assert await ada.receive() == {'type': 'heartbeat'}
                assert time.monotonic() - started >= 0.9 * rounds * HASTY.heartbeat_seconds
            assert await ada.closed() == CLOSE_SILENT


async def test_a_client_that_answers_stays(step: int) -> None:
    async with using(step, settings=HASTY) as app, app.enter() as ada:
        for _ in range(MAX_SILENT_ROUNDS + 2):
            assert await ada.receive() == {'type': 'heartbeat'}
            await ada.send({'type': 'alive'})
        assert (await ada.ask({'type': 'listCards'}))['type'] == 'cards'


async def test_a_busy_client_is_not_even_asked(step: int) -> None:
    async with using(step, settings=HASTY) as app:
        await app.http.post(BOARD, json={'title': 'x'}, headers=ADA)
        async with app.enter() as ada, app.enter() as bob, app.enter() as carl:
            for _ in range(10):  # longer than a silent client may stay
                await asyncio.sleep(HASTY.heartbeat_seconds / 2)
                await ada.send(message('comment', card=1, text='x'))
                await bob.send(upload(1, b'file'))
                await carl.send({'type': 'alive'})
            for client in (ada, bob, carl):  # the first that they get
                assert (await client.ask(message('showCard', card=1)))['type'] == 'card'


# -- errors: what a message changes by leaving the ladder

MISTAKES: dict[str, tuple[Any, int]] = {
    'comment': (message('comment', card=9, text='x'), 404),
    'typing': (message('typing', card='nine'), 422),
    'showCard': (message('showCard', card=9), 404),
    'addCard': (message('addCard', title=' '), 422),
    'renameCard': (message('renameCard', card=9, title='x'), 404),
    'moveCard': (message('moveCard', card=1, column='nowhere'), 409),
    'deleteCard': (message('deleteCard', card=9), 404),
    'upload': (upload(9, b'x'), 404),
}
"""What is wrong, and the status that it has over HTTP."""


async def test_a_mistake_closes_in_the_ladder_and_is_answered_by_a_method(step: int) -> None:
    async with using(step) as app:
        await app.http.post(BOARD, json={'title': 'x'}, headers=ADA)
        for kind, (mistake, status) in MISTAKES.items():
            async with app.enter() as ada:
                await ada.send(mistake)
                if step < FIRST_STEP_WITH[kind]:
                    assert await ada.closed() == 3000 + status, kind
                    continue
                async with asyncio.timeout(PATIENCE_SECONDS):
                    answer = json.loads(await ada.connection.recv())
                assert (answer['type'], answer['payload']['status']) == ('error', status), kind
                assert (await ada.ask({'type': 'listCards'}))['type'] == 'cards'


@pytest.mark.parametrize('frame', ['{', '[1]', '{}', '{"type": 1}'])
async def test_what_is_no_message_closes(step: int, frame: str) -> None:
    async with using(step) as app, app.enter() as ada:
        await ada.send(frame)
        is_crash = frame == '{' and step < FIRST_STEP_WITH['upload']  # of Falcon's receive_media
        assert await ada.closed() == (1011 if is_crash else 3400)


async def test_a_request_is_answered_once_its_message_has_a_method(step: int) -> None:
    async with using(step) as app, app.enter() as ada:
        await ada.send({'type': 'listCards', 'id': 5})
        await ada.send({'type': 'unwatch'})
        replies = [{'type': 'reply', 'id': 5, 'payload': None}]
        for answer in (
            {'type': 'cards', 'payload': []},
            *(replies if step >= FIRST_STEP_WITH['listCards'] else []),
            {'type': 'notWatching'},
        ):
            assert await ada.receive() == answer


# -- the hook of the class

CREDENTIALS: list[dict[str, str]] = [
    {},
    {'Authorization': 'Bearer nobody'},
    {'Authorization': 'Basic demo-ada'},
]


async def test_nobody_gets_in_without_a_token(step: int, ws_implementation: str) -> None:
    async with using(step, ws_implementation) as app:
        for headers in CREDENTIALS:
            for path in (BOARD, '/ticker'):
                # A loop is refused as ever. Where the ladder is gone, the status gets through.
                is_dispatched = step == LAST_STEP and path == BOARD
                assert await app.refusal(path, headers) == (401 if is_dispatched else 403)
                assert (await app.http.get(path, headers=headers)).status_code == 401
            response = await app.http.post(BOARD, json={'title': 'x'}, headers=headers)
            assert response.status_code == 401
        assert (await app.http.get(BOARD, headers=ADA)).json() == []


async def test_a_token_that_is_taken_away_opens_nothing(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with using(step) as app:
        async with app.enter(BOB):
            pass
        async with app.enter({'X-No': 'header'}, f'{BOARD}?token=demo-bob') as bob:
            assert (await bob.ask({'type': 'listCards'}))['type'] == 'cards'
        monkeypatch.delitem(TOKENS, 'demo-bob')
        for path, headers in ((BOARD, BOB), (f'{BOARD}?token=demo-bob', {})):
            assert await app.refusal(path, headers) == (401 if step == LAST_STEP else 403)
        assert (await app.http.get(BOARD, headers=BOB)).status_code == 401


GUARDED: dict[str, Any] = {
    **{kind: message(kind) for kind in FIRST_STEP_WITH},
    'comment': message('comment', card=1, text='x'),
    'addCard': message('addCard', title='x'),
    'renameCard': message('renameCard', card=1, title='x'),
    'moveCard': message('moveCard', card=1, column='done'),
    'deleteCard': message('deleteCard', card=1),
    'upload': upload(1, b'x'),
}


async def test_no_message_gets_past_the_hook(step: int, ws_implementation: str) -> None:
    """A client that does not wait for the handshake's answer says its message all the same."""
    async with using(step, ws_implementation) as app, app.watch() as ada:
        await ada.ask(message('addCard', title='the only one'))
        for kind, sent in GUARDED.items():
            answer = await say_at_once(app.served.port, sent)
            assert re.match(r'HTTP/1.1 40[13] ', answer), f'{kind}: {answer}'
        # Nothing was broadcast meanwhile, and nothing changed.
        assert await ada.ask({'type': 'listCards'}) == {
            'type': 'cards',
            'payload': [new_card(1, 'the only one')],
        }


async def say_at_once(port: int, sent: Any) -> str:
    """Send a handshake without a token and a message behind it; return all that comes back."""
    data = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    opcode = 0x82 if isinstance(sent, bytes) else 0x81
    frame = bytes([opcode, 0x80 | len(data)]) + bytes(4) + data  # masked with zeros
    reader, writer = await asyncio.open_connection('127.0.0.1', port)
    writer.write(
        f'GET {BOARD} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n'
        'Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
        'Sec-WebSocket-Version: 13\r\n\r\n'.encode()
        + frame
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return (await reader.read()).decode()
    finally:
        writer.close()


async def test_the_last_step_does_not_start_if_its_hook_would_be_lost() -> None:
    source = (EXAMPLE / f'{STEPS[LAST_STEP]}.py').read_text()
    module = ModuleType('examples.adoption.without_dispatch')
    module.__package__ = 'examples.adoption'
    careless = re.sub(r'^    on_websocket = dispatch.*$', '', source, flags=re.MULTILINE)
    assert careless != source
    exec(compile(careless, module.__name__, 'exec'), vars(module))  # noqa: S102
    with pytest.raises(ConfigurationError, match=r'falcon_ws_mw\.before'):
        await start(module.create_app())


async def test_there_is_no_socket_at_an_unknown_board(step: int) -> None:
    async with using(step) as app:
        status = await app.refusal('/boards/attic', ADA)
        assert status == (404 if step == LAST_STEP else 403)
        assert (await app.http.get('/boards/attic', headers=ADA)).status_code == 404


# -- the steps themselves


def diff_of(step: int) -> list[str]:
    """What changes from the step before: the lines that go and those that come."""
    before, after = (
        (EXAMPLE / f'{name}.py').read_text().splitlines() for name in STEPS[step - 1 : step + 1]
    )
    lines = list(difflib.unified_diff(before, after, lineterm=''))[2:]
    return [line for line in lines if not line.startswith((' ', '@'))]


@pytest.mark.parametrize('step', range(1, len(STEPS)))
def test_each_step_changes_less_than_60_lines(step: int) -> None:
    assert 0 < len(diff_of(step)) < 60
    readme = (EXAMPLE / 'README.md').read_text()
    assert re.search(rf'`{STEPS[step]}.py`.*\| {len(diff_of(step))} \|$', readme, re.MULTILINE)


@pytest.mark.parametrize('step', range(1, len(STEPS)))
def test_the_guide_shows_what_each_step_changes(step: int) -> None:
    shown = blocks_of(DOCS / 'adopting.md', 'diff')
    assert len(shown) == LAST_STEP
    lines = shown[step - 1].text.splitlines()
    assert lines[:2] == [f'--- {STEPS[step - 1]}.py', f'+++ {STEPS[step]}.py']
    assert [line for line in lines[2:] if line.startswith(('+', '-'))] == diff_of(step)


def test_adopting_the_library_is_one_line() -> None:
    assert diff_of(1) == [
        '+',
        '+from falcon_ws_mw import install',
        '-    return app',
        '+    return install(app)',
    ]


def test_the_first_step_knows_nothing_of_the_library() -> None:
    for name in (STEPS[0], 'auth', 'messages', 'settings', 'store'):
        assert 'falcon_ws_mw' not in (EXAMPLE / f'{name}.py').read_text()


def test_each_message_leaves_the_ladder_in_its_step() -> None:
    for number, name in enumerate(STEPS):
        source = (EXAMPLE / f'{name}.py').read_text()
        in_ladder = set(re.findall(r"kind == '(\w+)'", source))
        in_methods = set(re.findall(r'async def on_ws_(\w+)', source)) - {'connect', 'unhandled'}
        kinds = {kind for kind in FIRST_STEP_WITH if kind != 'upload'}
        assert in_methods == {kind for kind in kinds if FIRST_STEP_WITH[kind] <= number}
        assert in_ladder == kinds - in_methods


# -- the app of Falcon's tutorial

TOKEN = tutorial_before.TOKEN


@asynccontextmanager
async def reading_tutorial(
    create_app: Callable[[], Any], ws_implementation: str
) -> AsyncIterator[App]:
    async with serve(create_app(), ws_implementation) as served:
        async with httpx.AsyncClient(base_url=served.http) as http:
            yield App(served, http)


@pytest.mark.parametrize('version', [tutorial_before, tutorial_after], ids=['before', 'after'])
async def test_the_tutorial_talks_plain_text(version: Any, ws_implementation: str) -> None:
    async with reading_tutorial(version.create_app, ws_implementation) as app:
        assert (await app.http.get('/hello')).json() == {'hello': 'world'}
        assert 'Reports' in (await app.http.get('/anything')).text
        async with app.enter(path='/echo') as ada:
            assert (await ada.ask('Hello'))['message'] == 'Hello'
            assert (await ada.ask('{"type": "list"}'))['message'] == '{"type": "list"}'
        async with app.enter(path='/reports') as ada:
            await ada.send(TOKEN)
            assert await ada.ask('report1') == {'report': 'Report 1'}
            assert await ada.ask('report10') == {'error': 'report not found'}
            assert await ada.ask('{"type": "other"}') == {'error': 'report not found'}


@pytest.mark.parametrize('version', [tutorial_before, tutorial_after], ids=['before', 'after'])
@pytest.mark.parametrize('first', ['a guess', '{"type": "list", "id": 1}'])
async def test_the_tutorial_closes_without_its_token(
    version: Any, first: str, ws_implementation: str, logs: Logs
) -> None:
    async with reading_tutorial(version.create_app, ws_implementation) as app:
        async with app.enter(path='/reports') as eve:
            await eve.send(first)
            await eve.send({'type': 'list', 'id': 1})
            assert await eve.closed() == 1008
            with pytest.raises(ConnectionClosed):
                await eve.connection.recv()  # nothing was said before that
    assert [line for line in logs.lines if 'keeps its on_websocket' not in line] == []


async def test_the_adopted_tutorial_understands_messages_too(
    ws_implementation: str, logs: Logs
) -> None:
    async with reading_tutorial(tutorial_after.create_app, ws_implementation) as app:
        async with app.enter(path='/reports') as ada, app.enter(path='/reports') as bob:
            await bob.send(TOKEN)
            assert await bob.ask('report2') == {'report': 'Report 2'}
            for frame in (  # all at once: the loop and the methods share one stream
                TOKEN,
                {'type': 'list', 'id': 1},
                'report3',
                {'type': 'get', 'id': 2, 'payload': {'name': 'report4'}},
                {'type': 'get', 'id': 3, 'payload': {'name': 'report5'}},
                'report5',
                {'type': 'publish', 'payload': {'name': 'report5', 'title': 'Report 5'}},
                'report5',
            ):
                await ada.send(frame)
            names = ['report1', 'report2', 'report3', 'report4']
            assert await ada.receive() == {'type': 'reply', 'id': 1, 'payload': names}
            assert await ada.receive() == {'report': 'Report 3'}
            assert (await ada.receive())['payload'] == {'report': 'Report 4'}
            assert (await ada.receive())['payload']['status'] == 404
            assert await ada.receive() == {'error': 'report not found'}
            for client in (ada, bob):
                assert await client.receive() == message('published', name='report5')
            assert await ada.receive() == {'report': 'Report 5'}
    assert [line for line in logs.lines if 'keeps its on_websocket' not in line] == []


# -- what the guide says


@asynccontextmanager
async def following_the_guide(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[App]:
    (app,) = Page(DOCS / 'adopting.md', monkeypatch).apps[-1:]
    async with serve(app) as served, httpx.AsyncClient(base_url=served.http) as http:
        yield App(served, http)


async def test_the_hooks_of_the_guide_guard_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    hello: dict[str, Any] = {'type': 'hello', 'id': 1}
    reply = {'type': 'reply', 'id': 1, 'payload': 'hello'}
    async with following_the_guide(monkeypatch) as app:
        for path in ('/kept', '/guarded'):
            assert await app.refusal(path, {}) == 401
            assert (await app.http.get(path)).status_code == 401
            assert (await app.http.get(path, params={'token': 'secret'})).json() == 'hello'
            async with app.enter(path=f'{path}?token=secret') as ada:
                assert await ada.ask(hello) == reply
        async with app.enter(path='/open') as eve:  # the case that cannot be detected
            assert await eve.ask(hello) == reply


async def test_the_ticker_of_the_guide_is_told_its_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    async with following_the_guide(monkeypatch) as app, app.enter(path='/ticker') as ada:
        await ada.send({'type': 'setPace', 'id': 1, 'payload': {'seconds': 0.1}})
        received: list[Any] = []
        while len(received) < 4:
            received.append(await ada.receive())
        assert received.count({'type': 'reply', 'id': 1, 'payload': 0.1}) == 1
        assert received.count({'type': 'tick'}) == 3


async def test_a_method_of_the_guide_closes_as_the_ladder_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with following_the_guide(monkeypatch) as app, app.enter(path='/strict') as ada:
        assert await ada.ask('"echo"') == 'echo'
        await ada.send({'type': 'show'})
        assert await ada.closed() == 3404
