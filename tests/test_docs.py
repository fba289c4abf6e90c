"""The user guide is true: its code runs, its links lead somewhere, its tables say what happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
import datetime as dt
from functools import wraps
import inspect
import itertools
import json
import logging
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
from types import ModuleType
from typing import Any, TypeVar, cast, get_args

from asgi_lifespan import LifespanManager
import falcon
import falcon.asgi
import falcon.testing
from falcon.testing import ASGIConductor
import pydantic
import pytest

from falcon_ws_mw import (
    CLOSE_CODES,
    BackendHealth,
    BackendUnavailable,
    ConfigurationError,
    Decoding,
    DeliveryReport,
    Envelope,
    Gap,
    InvalidPayload,
    Limits,
    MalformedMessage,
    ManagerStats,
    NotIdentified,
    ReplyError,
    ReplyTimeout,
    TokenMiddleware,
    TooManyConnections,
    TooManyRequests,
    UnknownMessageType,
    WebSocket,
    WebSocketConnectionManager,
    WebSocketDispatchMiddleware,
    WebSocketLifespan,
    WebSocketResource,
    WorkerStats,
    handles_message,
    install,
    parallel,
    payloads,
    sends,
    topic_matches,
)
from falcon_ws_mw.backends import Guarantee, opening
from falcon_ws_mw.options import DisconnectPolicy, SlowConsumer
from falcon_ws_mw.origins import OriginRule
from falcon_ws_mw.reports import Counters, WorkerState
from falcon_ws_mw.settings import _SETTINGS

from .asyncapi_tools import unavailable
from .servers import IMPLEMENTATIONS, PATIENCE_SECONDS, serve

Anything = TypeVar('Anything')

OPENERS = {**opening._OPENERS}
"""The backends that are there before a page brings its own."""

ROOT = Path(__file__).parent.parent
DOCS = ROOT / 'docs'
PAGES = [*sorted(DOCS.glob('*.md')), ROOT / 'README.md']
DECISIONS = sorted((DOCS / 'decisions').glob('*.md'))
WITH_LINKS = [path for path in (*PAGES, *DECISIONS, ROOT / 'CONTRIBUTING.md') if path.exists()]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# -- reading a page


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    line: int

    @property
    def file_name(self) -> str | None:
        """The file that the block is, where its first line says so: `# chat.py`."""
        found = re.match(r'# (\w+\.py)$', self.text.partition('\n')[0])
        return found[1] if found else None


FENCED = re.compile(r'^```([^\n]*)\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def blocks_of(path: Path, language: str) -> list[Block]:
    page = path.read_text()
    blocks = [
        Block(found[1], found[2], page.count('\n', 0, found.start(2)))
        for found in FENCED.finditer(page)
    ]
    fences = [line for line in page.splitlines() if line.lstrip().startswith('```')]
    assert len(fences) == 2 * len(blocks), 'a fence is open or indented'
    assert not [b for b in blocks if b.language.startswith('py') and b.language != 'python']
    return [block for block in blocks if block.language == language]


def table_of(page: str, first_heading: str) -> list[list[str]]:
    """The rows of the table of a page of the guide that has this heading over its first column."""
    lines = iter((DOCS / page).read_text().splitlines())
    for line in lines:
        if line.startswith(f'| {first_heading} |'):
            next(lines)
            rows = itertools.takewhile(lambda line: line.startswith('|'), lines)
            cells = (re.split(r'(?<!\\)\|', row.strip('|')) for row in rows)
            return [[cell.strip().replace('\\|', '|') for cell in row] for row in cells]
    raise LookupError(f'{page} has no table under {first_heading!r}')


def code_in(cell: str) -> list[str]:
    return re.findall('`([^`]+)`', cell)


def unlinked(cell: str) -> str:
    """A cell without its links."""
    return LINK_WITH_TEXT.sub(r'\1', cell)


LINK_WITH_TEXT = re.compile(r'\[([^]]+)\]\([^)]+\)')


def first_column(page: str, first_heading: str) -> list[str]:
    return [row[0] for row in table_of(page, first_heading)]


# -- running a page


class Page:
    """A page whose Python blocks have been run, in order, in one namespace.

    Attributes:
        names: The namespace.
        apps: Each object that `app` was the name of, in order.
    """

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        module = ModuleType(f'page_{path.stem}')
        module.__file__ = str(path)
        self.names = vars(module)
        self.apps: list[Any] = []
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr('falcon_ws_mw.payloads._registered', [])
        monkeypatch.setattr(opening, '_OPENERS', {**OPENERS})
        monkeypatch.setenv('REDIS_URL', os.environ.get('REDIS_URL', 'memory://docs'))
        for block in blocks_of(path, 'python'):
            if block.file_name:
                monkeypatch.setitem(sys.modules, block.file_name.removesuffix('.py'), module)
            code = compile('\n' * block.line + block.text, path, 'exec')
            exec(code, self.names)  # noqa: S102  # our own documentation
            app = self.names.get('app')
            if app is not None and app not in self.apps:
                self.apps.append(app)


@pytest.mark.parametrize('path', PAGES, ids=name_of)
async def test_the_code_of_each_page_runs_and_its_apps_start_and_stop(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for app in Page(path, monkeypatch).apps:
        async with LifespanManager(app):
            pass


@pytest.mark.parametrize('path', PAGES, ids=name_of)
def test_each_json_block_is_json(path: Path) -> None:
    for block in blocks_of(path, 'json'):
        json.loads(block.text)


LINK = re.compile(r'\]\(([^)\s]+)\)')
HEADING = re.compile(r'^#+ (.+)$', re.MULTILINE)


def anchors_of(path: Path) -> set[str]:
    headings = HEADING.findall(FENCED.sub('', path.read_text()))
    return {
        re.sub(r'[^\w -]', '', heading).strip().lower().replace(' ', '-') for heading in headings
    }


def test_each_decision_is_in_the_list() -> None:
    listed = re.findall(r'^\d+\. \[(.+)\]\((.+)\)$', DECISIONS[-1].read_text(), re.MULTILINE)
    titles = [
        re.sub(r'# \d+\. ', '', path.read_text().partition('\n')[0]) for path in DECISIONS[:-1]
    ]
    assert listed == list(zip(titles, [path.name for path in DECISIONS[:-1]], strict=True))


@pytest.mark.parametrize('path', WITH_LINKS, ids=name_of)
def test_each_relative_link_leads_somewhere(path: Path) -> None:
    for link in LINK.findall(FENCED.sub('', path.read_text())):
        if re.match(r'[a-z]+:', link):
            continue
        target, _, anchor = link.partition('#')
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), f'{link} leads nowhere'
        assert not anchor or anchor in anchors_of(found), f'{link}: there is no such heading'


# -- what the examples do


async def ask(ws: Any, message: str | bytes | dict[str, Any]) -> Any:
    """Send a frame or a message, and receive the next message."""
    if isinstance(message, bytes):
        await ws.send_data(message)
    else:
        await ws.send_text(message if isinstance(message, str) else json.dumps(message))
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await ws.receive_json()


STYLES = ('plain', 'dataclass', 'typeddict', 'struct', 'model')


@pytest.mark.parametrize(
    ('page', 'path', 'message', 'answer'),
    [
        ('handlers.md', '/counter', {'type': 'add', 'payload': {'by': 2}}, {'value': 2}),
        (
            'handlers.md',
            '/tasks',
            {'type': 'task.create', 'payload': {'title': 'Tea'}},
            {'was': 'task.create', 'title': 'Tea'},
        ),
        (
            'handlers.md',
            '/lamps/hall/3',
            {'type': 'switch', 'payload': {'on': True}},
            {'room': 'hall', 'number': 3, 'on': True},
        ),
        ('handlers.md', '/lamps/hall/3', {'type': 'describe'}, {'room': 'hall', 'number': 3}),
        ('handlers.md', '/lamps', {'type': 'dim', 'payload': {'level': 7}}, {'level': 7}),
        ('handlers.md', '/lamps', {'type': 'dim', 'payload': {'level': 101}}, 422),
        ('handlers.md', '/relay', {'type': 'ping'}, 'pong'),
        ('handlers.md', '/relay', {'type': 'other'}, {'relayed': 'other'}),
        ('handlers.md', '/relay', {'type': None}, 400),
        ('handlers.md', '/game', {'type': 'play'}, 409),
        ('handlers.md', '/wizard/ada', {'type': 'next'}, {'step': 1}),
        ('handlers.md', '/wizard/ada', {'type': 'other'}, {'unknown': 'other'}),
        ('handlers.md', '/slow', {'type': 'hello'}, 'hello'),
        ('handlers.md', '/library', {'type': 'search', 'payload': 'tea'}, 'TEA'),
        ('handlers.md', '/library', {'type': 'search', 'payload': 5}, 422),
        ('handlers.md', '/library', {'type': 'rename', 'payload': 'tea'}, 'tea'),
        ('handlers.md', '/library', {'type': 'read', 'payload': 'tea'}, 'tea'),
        (
            'messages.md',
            '/playlist',
            {'type': 'add', 'payload': {'title': 'Blue', 'seconds': 200}},
            {'seconds': 200},
        ),
        ('messages.md', '/playlist', {'type': 'add', 'payload': {'title': '', 'seconds': 1}}, 422),
        *(
            ('messages.md', '/books', {'type': style, 'payload': payload}, answer)
            for style, payload, answer in [
                *((style, {'title': 'Dune', 'pages': 3}, 'Dune') for style in STYLES),
                *((style, ['Dune', 3], 422) for style in STYLES),
                *((style, {'title': 'Dune', 'pages': '3'}, 422) for style in STYLES[1:4]),
                *((style, {'title': 'Dune', 'pages': 3, 'x': 1}, 'Dune') for style in STYLES),
                ('model', {'title': 'Dune', 'pages': '3'}, 'Dune'),
                ('model', {'title': 'Dune', 'pages': -1}, 422),
            ]
        ),
        *(
            ('messages.md', '/shop', {'type': kind, 'payload': payload}, answer)
            for kind, payload, answer in [
                ('draw', {'type': 'circle', 'radius': 1}, 'Circle'),
                ('draw', {'type': 'square', 'side': 1.5}, 'Square'),
                ('draw', {'type': 'square', 'radius': 1}, 422),
                ('draw', {'radius': 1}, 422),
                ('pay', {'kind': 'card', 'number': '1'}, 'card'),
                ('pay', {'kind': 'card', 'iban': '1'}, 422),
                ('find', {'number': 1, 'name': 'x'}, 'ByNumber'),
                ('find', {'number': 'one', 'name': 'x'}, 'ByName'),
                ('find', {}, 422),
            ]
        ),
        ('messages.md', '/forms', {'type': 'send', 'payload': {}}, {'wrong': ['/title']}),
        ('messages.md', '/forms', {'type': 'other'}, 404),
        (
            'messages.md',
            '/radio',
            {'type': 'play', 'payload': {'title': 'Blue', 'seconds': 1}},
            {'songTitle': 'Blue', 'playedAt': '2026-01-02T00:00:00'},
        ),
        (
            'messages.md',
            '/lights',
            {'type': 'shine', 'payload': '#ff8800'},
            {'red': 255, 'back': '#ff8800'},
        ),
        ('messages.md', '/lights', {'type': 'shine', 'payload': 'green'}, 422),
        ('messages.md', '/lamps', {'type': 'which'}, None),
        ('requests.md', '/files', {'type': 'delete', 'payload': 'none.txt'}, 404),
        ('rooms-and-users.md', '/chat/garden?user=ada', {'type': 'who'}, {'ada': 1}),
        ('rooms-and-users.md', '/chat/garden?user=ada', {'type': 'say'}, {'reached': 0}),
        ('rooms-and-users.md', '/prices', {'type': 'watch', 'payload': {'kind': 'tea'}}, None),
        (
            'rooms-and-users.md',
            '/prices',
            {'type': 'quote', 'payload': {'kind': 'tea'}},
            {'reached': 0},
        ),
        (
            'rooms-and-users.md',
            '/feeds',
            {'type': 'subscribe', 'payload': {'topic_filter': 'news/+'}},
            {'topic_filter': 'news/+'},
        ),
        (
            'rooms-and-users.md',
            '/feeds',
            {'type': 'subscribe', 'payload': {'topic_filter': 'news/#'}},
            403,
        ),
        ('slow-peers.md', '/export', {'type': 'export', 'payload': {'pages': 3}}, {'pages': 3}),
        ('slow-peers.md', '/thumbnails', {'type': 'make', 'payload': {}}, 'accepted'),
        ('workers.md', '/reports', {'type': 'makeReport'}, 'accepted'),
    ],
)
async def test_an_example_answers(
    page: str, path: str, message: dict[str, Any], answer: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _, query = path.partition('?')
    async with (
        ASGIConductor(Page(DOCS / page, monkeypatch).apps[0]) as conductor,
        conductor.simulate_ws(path, query_string=query) as ws,
    ):
        answered = await ask(ws, {'id': 1, **message})

    assert answered['id'] == 1
    if isinstance(answer, int):
        assert (answered['type'], answered['payload']['status']) == ('error', answer)
    else:
        assert (answered['type'], answered['payload']) == ('reply', answer)


async def test_the_conversation_of_the_index_takes_place(monkeypatch: pytest.MonkeyPatch) -> None:
    (console,) = blocks_of(DOCS / 'index.md', 'console')
    asked = re.findall(r'^> (.+)$', console.text, re.MULTILINE)
    shown = re.findall(r'^< (.+)$', console.text, re.MULTILINE)

    async with (
        ASGIConductor(Page(DOCS / 'index.md', monkeypatch).apps[0]) as conductor,
        conductor.simulate_ws('/ws') as ws,
    ):
        answered = [await ask(ws, message) for message in asked]

    assert answered == [json.loads(line) for line in shown]


async def test_the_door_of_the_lifecycle_page_greets_and_says_who_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def headers(user: str) -> dict[str, str]:
        return {'Authorization': f'Bearer token-of-{user}'}

    async with (
        ASGIConductor(Page(DOCS / 'lifecycle.md', monkeypatch).apps[0]) as conductor,
        conductor.simulate_ws('/door/hall', headers=headers('ada')) as ada,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        assert await ada.receive_json() == {'type': 'welcome', 'payload': {'room': 'hall'}}
        async with conductor.simulate_ws('/door/hall', headers=headers('bob')):
            pass
        assert await ada.receive_json() == {'type': 'left', 'payload': {'user': 'bob'}}


async def test_the_versioned_example_chooses_its_subprotocol(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with ASGIConductor(Page(DOCS / 'lifecycle.md', monkeypatch).apps[0]) as conductor:
        protocols: Any = ['lamps.v1', 'lamps.v2']
        async with conductor.simulate_ws('/versioned', subprotocols=protocols) as ws:
            assert ws.subprotocol == 'lamps.v2'


async def test_a_loop_of_your_own_gets_broadcasts(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(DOCS / 'rooms-and-users.md', monkeypatch)
    manager: WebSocketConnectionManager = page.names['manager']
    joined = asyncio.Event()
    join_room = manager.join_room

    async def join_and_tell(connection_id: str, room: str) -> None:
        await join_room(connection_id, room)
        joined.set()

    monkeypatch.setattr(manager, 'join_room', join_and_tell)
    async with (
        ASGIConductor(page.apps[0]) as conductor,
        conductor.simulate_ws('/feed') as ws,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        await joined.wait()
        await manager.broadcast_to_room('feed', {'type': 'news'})
        assert await ws.receive_json() == {'type': 'news'}


class SlowSocket:
    """A socket for the manager that takes nothing until it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.taken: list[Any] = []

    async def send_text(self, payload: str) -> None:
        await self.opened.wait()
        self.taken.append(json.loads(payload)['payload'])

    async def send_data(self, payload: bytes) -> None:
        raise AssertionError('nobody sends bytes')

    async def close(self, code: int | None = None, reason: str | None = None) -> None:
        raise AssertionError('nobody closes')

    async def receive(self, count: int) -> list[Any]:
        """Open it, and wait for what waits."""
        self.opened.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.taken) < count:
                await asyncio.sleep(0)
        return self.taken


async def test_a_slow_client_gets_the_latest_of_each_price(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(DOCS / 'rooms-and-users.md', monkeypatch)
    manager: WebSocketConnectionManager = page.names['manager']
    socket = SlowSocket()
    manager.add_connection('slow', socket)
    await manager.join_room('slow', 'prices')

    for price in range(5):
        await page.names['set_price']('tea', price)
        await page.names['set_price']('milk', -price)

    assert await socket.receive(3) == [
        {'item': 'tea', 'price': 0},  # in flight
        {'item': 'milk', 'price': -4},
        {'item': 'tea', 'price': 4},
    ]
    assert manager.stats().coalesced == 7


async def test_typing_that_finds_no_room_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(DOCS / 'rooms-and-users.md', monkeypatch)
    manager: WebSocketConnectionManager = page.names['manager']
    socket = SlowSocket()
    manager.add_connection('slow', socket)
    await manager.join_room('slow', 'chat:garden')

    for _ in range(1010):
        await page.names['announce_typing']('garden', 'ada')

    stats = manager.stats()
    assert (stats.connections, stats.delivered, stats.dropped) == (1, 1001, 9)
    assert len(await socket.receive(1001)) == 1001


async def test_who_leaves_has_the_rendering_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(DOCS / 'slow-peers.md', monkeypatch)
    ended = asyncio.Event()

    cls: Any = page.names['Render']

    class Render(cls):  # type: ignore[misc]
        async def on_ws_render(self, ws: WebSocket) -> None:
            ended.clear()
            try:
                await super().on_ws_render(ws)
            finally:
                ended.set()

    app, renderer = page.apps[0], Render()
    app.add_route('/rendering', renderer)
    before = app.ws_connection_manager.stats()
    async with ASGIConductor(app) as conductor, asyncio.timeout(PATIENCE_SECONDS):
        async with conductor.simulate_ws('/rendering') as ws:
            for _ in range(2):
                await ws.send_json({'type': 'render'})
            while not renderer.running:
                await asyncio.sleep(0)
        await ended.wait()
        while app.ws_connection_manager.connections:
            await asyncio.sleep(0)
        troubles = page.names['troubles'](app.ws_connection_manager, before)

    assert renderer.running == 0
    assert troubles == {'dropped': 0, 'slow_consumers': 0, 'evicted': 0, 'abandoned': 1}


async def test_the_prices_of_the_page_of_slow_peers_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(DOCS / 'slow-peers.md', monkeypatch)
    app = page.apps[0]
    async with ASGIConductor(app) as conductor, conductor.simulate_ws('/prices') as ws:
        await page.names['tell_prices'](app.ws_connection_manager, {'tea': 3})
        message = await ws.receive_json()

    assert message == {'type': 'price', 'payload': {'item': 'tea', 'price': 3}}


def test_the_tests_of_the_testing_page_pass(tmp_path: Path) -> None:
    blocks = blocks_of(DOCS / 'testing.md', 'python')
    files = {block.file_name: block.text for block in blocks if block.file_name}
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    command = [sys.executable, '-m', 'pytest', '-q', '--rootdir', '.']
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )

    count = sum(text.count('async def test_') for text in files.values())
    assert f'{count} passed' in done.stdout, done.stdout
    assert done.returncode == 0


async def test_handlers_beside_each_other_answer_as_they_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with (
        ASGIConductor(Page(DOCS / 'handlers.md', monkeypatch).apps[0]) as conductor,
        conductor.simulate_ws('/library') as ws,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        for name in ('long' * 50, 's'):
            await ws.send_json({'type': 'search', 'id': name, 'payload': name})
        ended = [(await ws.receive_json())['id'] for _ in range(2)]

    assert ended == ['s', 'long' * 50]


def answer_shown(page: str, asked: str) -> Any:
    """What the next JSON block of a page says after something that is asked."""
    _, found, rest = (DOCS / page).read_text().partition(asked)
    assert found, f'{page} does not ask {asked}'
    shown = re.search(r'^```json\n(.*?)^```$', rest, re.MULTILINE | re.DOTALL)
    assert shown
    return json.loads(shown[1])


@pytest.mark.parametrize(
    ('page', 'path', 'asked'),
    [
        (
            'messages.md',
            '/playlist',
            '{"type": "add", "id": 1, "payload": {"title": "Blue", "seconds": 0}}',
        ),
        ('messages.md', '/board', '{"type": "move", "id": 1, "x": 3, "y": 4}'),
        ('messages.md', '/calculator', '["add", [1, 2], 7]'),
        ('requests.md', '/files', '{"type": "list", "id": 1}'),
    ],
)
async def test_what_is_asked_is_answered_as_shown(
    page: str, path: str, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = answer_shown(page, asked)
    async with (
        ASGIConductor(Page(DOCS / page, monkeypatch).apps[0]) as conductor,
        conductor.simulate_ws(path) as ws,
    ):
        answered = await ask(ws, asked)
        if path == '/board':
            answered = [answered, await ws.receive_json()]

    assert answered == shown


async def test_the_thermostat_speaks_its_envelope(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        ASGIConductor(Page(DOCS / 'messages.md', monkeypatch).apps[0]) as conductor,
        conductor.simulate_ws('/thermostat') as ws,
    ):
        answered = await ask(ws, '{"event": "set", "data": 21.5, "ref": 1}')

    assert '{"event": "set", "data": 21.5, "ref": 1}' in (DOCS / 'messages.md').read_text()
    assert answered == {'event': 'reply', 'ref': 1, 'data': 21.5}


async def test_the_lamps_speak_what_is_negotiated(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ASGIConductor(Page(DOCS / 'messages.md', monkeypatch).apps[0]) as conductor:
        offered: Any = ['lamps.v1', 'lamps.v2']
        async with conductor.simulate_ws('/lamps', subprotocols=offered) as ws:
            answered = await ask(ws, {'event': 'which', 'id': 1})
        async with conductor.simulate_ws('/lamps', subprotocols=offered[:1]) as ws:
            older = await ask(ws, {'type': 'which', 'id': 1})

    assert (answered['event'], answered['data']) == ('reply', 'lamps.v2')
    assert (older['type'], older['payload']) == ('reply', 'lamps.v1')


async def test_a_typed_object_is_the_whole_message(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(DOCS / 'messages.md', monkeypatch)
    app = page.apps[0]
    async with ASGIConductor(app) as conductor, conductor.simulate_ws('/playlist') as ws:
        await page.names['tell_all'](app.ws_connection_manager, 5)
        assert await ws.receive_json() == {'type': 'tick', 'payload': 5}


async def test_a_file_is_deleted_if_the_client_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        ASGIConductor(Page(DOCS / 'requests.md', monkeypatch).apps[0]) as conductor,
        conductor.simulate_ws('/files') as ws,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        endings: list[tuple[dict[str, Any], list[str]]] = [
            ({'type': 'error'}, ['new.txt', 'old.txt']),
            ({'type': 'reply', 'payload': 'yes'}, ['new.txt', 'old.txt']),
            ({'type': 'reply', 'payload': True}, ['new.txt']),
        ]
        for number, (says, left) in enumerate(endings):
            question = await ask(ws, {'type': 'delete', 'id': number, 'payload': 'old.txt'})
            assert question['payload'] == {'text': 'Delete old.txt?'}
            await ws.send_json({'type': 'list', 'id': 'behind it'})
            answered = await ask(ws, {**says, 'id': question['id']})
            assert answered == {'type': 'reply', 'id': number, 'payload': left}
            assert (await ws.receive_json())['id'] == 'behind it'


def node_with_websockets() -> list[str]:
    """The command of a Node.js that has WebSockets as browsers do: 22, or 20.10 if asked to."""
    node = shutil.which('node')
    if node is None:
        unavailable('the client in JavaScript needs node, which is not installed')
    for command in ([node], [node, '--experimental-websocket']):
        asks = 'process.exit(typeof WebSocket === "function" ? 0 : 1)'
        done = subprocess.run([*command, '--eval', asks], capture_output=True, check=False)
        if done.returncode == 0:
            return command
    pytest.skip('this node has no WebSocket, which came with 20.10')


async def test_the_client_in_javascript_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    command = node_with_websockets()
    (snippet,) = blocks_of(DOCS / 'requests.md', 'js')
    page = Page(DOCS / 'requests.md', monkeypatch)
    manager: WebSocketConnectionManager = page.names['manager']
    async with serve(page.apps[0]) as served:
        url = f'ws://127.0.0.1:{served.port}/files'
        node = await asyncio.create_subprocess_exec(
            *command,
            '--eval',
            'const window = {confirm: (text) => text === "Sure?"};'
            f'const socket = new WebSocket("{url}");{snippet.text}',
        )
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not manager.connections:
                    await asyncio.sleep(0.01)
                (connection_id,) = manager.connections
                asked = manager.request_connection
                assert await asked(connection_id, 'confirm', {'text': 'Sure?'}) is True
                assert await asked(connection_id, 'confirm', {'text': 'No?'}) is False
                for kind, status in (('whereAreYou', 404), ('confirm', 500)):
                    with pytest.raises(ReplyError) as error:
                        await asked(connection_id, kind)
                    assert error.value.status == status
        finally:
            node.kill()
            await node.wait()


async def test_the_document_is_served_where_its_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(DOCS / 'asyncapi.md', monkeypatch)
    kinds = {
        '/asyncapi': 'text/html',
        '/asyncapi.json': 'application/asyncapi+json',
        '/asyncapi.yaml': 'application/asyncapi+yaml',
    }
    assert [code_in(cell)[0] for cell in first_column('asyncapi.md', 'address')] == [*kinds]
    async with ASGIConductor(page.apps[0]) as conductor:
        for path, kind in kinds.items():
            result = await conductor.simulate_get(path)
            assert result.status_code == 200
            assert result.headers['content-type'].startswith(kind)
        served = (await conductor.simulate_get('/asyncapi.json')).json
        other = type('Other', (), {'on_ws_x': handler})()
        page.apps[0].add_route('/other', other)
        later = (await conductor.simulate_get('/asyncapi.json')).json

    document = page.names['document']
    assert document == {**served, 'info': {**served['info'], 'description': 'Talk to each other.'}}
    assert len(later['channels']) == len(served['channels']) + 1


def test_what_the_page_of_the_document_shows_stands_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    document = Page(DOCS / 'asyncapi.md', monkeypatch).names['document']
    (message,) = blocks_of(DOCS / 'asyncapi.md', 'json')
    messages = document['components']['messages']
    (channel,) = document['channels'].values()
    said = {(each['action'], each.get('summary')) for each in document['operations'].values()}

    assert document['asyncapi'] in first_text('asyncapi.md', '/asyncapi.json')
    assert json.loads(message.text) in messages.values()
    assert (channel['address'], *channel['parameters']) == ('/rooms/{room}', 'room')
    assert channel['summary'] == 'A room to talk in.'
    assert channel['description'].startswith('Everybody in it hears what any of them says.')
    assert ('receive', 'Say something.') in said
    assert ('send', 'Somebody has said something.') in said
    replies = [each for each in messages.values() if each['name'] == 'reply']
    assert [each['payload']['properties']['payload'] for each in replies] == [{'type': 'integer'}]
    assert [row['code'] for row in document['x-close-codes']] == [*CLOSE_CODES]


def first_text(page: str, code: str) -> str:
    """The second cell of the row of a table that begins with some code."""
    found = re.search(rf'^\| `{re.escape(code)}` \| (.*) \|$', (DOCS / page).read_text(), re.M)
    assert found
    return found[1]


def test_the_command_line_says_what_its_page_shows(tmp_path: Path) -> None:
    page = DOCS / 'command-line.md'
    (studio,) = blocks_of(page, 'python')
    environment = {**os.environ, 'PYTHONDONTWRITEBYTECODE': '1'}
    program = tmp_path / 'falcon-ws-mw'
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m falcon_ws_mw "$@"\n')
    program.chmod(0o755)
    environment['PATH'] = f'{tmp_path}:{environment["PATH"]}'

    for block in blocks_of(page, 'console'):
        if 'pip install' in block.text:
            continue
        text = studio.text
        if 'coroutine' in block.text:
            text = text.replace('async def on_ws_play', 'def on_ws_play')
        (tmp_path / 'studio.py').write_text(text)
        commands = '\n'.join(re.findall(r'^\$ (.+)$', block.text, re.MULTILINE))
        done = subprocess.run(
            ['sh', '-c', commands],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        expected = re.sub(r'^\$ .*\n', '', block.text, flags=re.MULTILINE)
        assert done.stdout.replace(f'{tmp_path}/', '') == expected


# -- what the page of security says


PARTNER, OWN = 'https://partner.example', 'https://chat.example'


@pytest.mark.parametrize(
    ('allowed', 'admitted', 'others'), table_of('security.md', '`allowed_origins`')
)
def test_the_table_of_origins(
    allowed: str, admitted: str, others: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Page(DOCS / 'security.md', monkeypatch).names
    rule = OriginRule(eval(code_in(allowed)[0], names))  # noqa: S307  # our own
    request = falcon.testing.create_asgi_req()
    for cell, expected in ((admitted, True), (others, False)):
        origins = code_in(cell) + [OWN] * ('own origin' in cell)
        origins += [PARTNER] * ('any other' in cell)
        for origin in origins:
            assert rule.admits(origin, OWN, request) is expected, origin
        assert rule.admits(None, OWN, request)


async def welcome(app: Any, path: str, **scope: Any) -> int:
    """Connect once; the close code, or 0 if the client was let in."""
    code = 0
    async with ASGIConductor(app) as conductor:
        try:
            async with conductor.simulate_ws(path, **scope):
                pass
        except falcon.WebSocketDisconnected as refused:
            code = refused.code
    return code


COOKIE = 'user=ada'


@pytest.mark.parametrize(
    ('path', 'origin', 'code'),
    [
        ('/chat/garden', 'https://chat.example', 0),
        ('/chat/garden', 'https://preview-7.example', 0),
        ('/chat/garden', 'https://evil.example', 3403),
        ('/prices', 'https://evil.example', 0),
        ('/admin', 'https://admin.chat.example', 0),
        ('/admin', 'https://chat.example', 3403),
    ],
)
async def test_who_may_come_in_by_the_page_of_security(
    path: str, origin: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Page(DOCS / 'security.md', monkeypatch).apps[1]
    headers = {'Origin': origin, 'Cookie': COOKIE}

    assert await welcome(app, path, headers=headers, host='chat.example', scheme='wss') == code


async def test_the_trap_of_a_proxy_is_as_its_page_shows(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    apps = Page(DOCS / 'security.md', monkeypatch).apps
    (shown_line,) = blocks_of(DOCS / 'security.md', 'text')
    headers = {'Origin': OWN, 'Cookie': COOKIE, 'X-Forwarded-Proto': 'https'}

    assert await welcome(apps[0], '/chat/x', headers=headers, host='chat.example') == 3403
    assert [each.getMessage() for each in caplog.records if 'origin' in each.getMessage()] == [
        shown_line.text.strip()
    ]
    trusting = apps[2]
    for peer, code in (('10.1.2.3', 0), ('192.0.2.1', 3403)):
        outer = as_seen_from(trusting, peer)
        assert await welcome(outer, '/chat/x', headers=headers, host='chat.example') == code


def as_seen_from(app: Any, peer: str) -> Any:
    """An app to which everybody connects from one address, in the form that servers give it."""

    async def seen(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, 'client': (peer, 50_000)}, receive, send)

    return seen


def test_the_environment_comes_above_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    (console,) = [
        block for block in blocks_of(DOCS / 'security.md', 'console') if 'FALCON_WS_' in block.text
    ]
    named = dict(re.findall(r'(FALCON_WS_\w+)=(\S+)', console.text))
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    limits = Limits.from_env(environ=named).over(Limits(message_burst=50))

    assert (limits.messages_per_second, limits.max_inbox_bytes, limits.message_burst) == (
        20,
        None,
        50,
    )
    assert Page(DOCS / 'security.md', monkeypatch).apps


@pytest.mark.parametrize('ws', IMPLEMENTATIONS)
async def test_query_strings_can_be_hidden(
    ws: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    page = Page(DOCS / 'security.md', monkeypatch)
    loggers = [logging.getLogger(name) for name in ('uvicorn.error', 'uvicorn.access')]
    caplog.set_level(logging.INFO)
    try:
        for is_hidden in (False, True):
            if is_hidden:
                page.names['hide_query_strings']()
            caplog.clear()
            async with serve(page.apps[1], ws, access_log=False) as server:
                async with server.client('/prices?token=SECRET'):
                    pass

            assert '/prices' in caplog.text
            assert ('SECRET' in caplog.text) is not is_hidden
            ours = [each.getMessage() for each in caplog.records if each.name == 'falcon_ws_mw']
            assert 'SECRET' not in str(ours)
    finally:
        for each in loggers:
            each.filters.clear()


def test_each_kind_of_line_about_clients_is_in_its_table() -> None:
    sources = (ROOT / 'src' / 'falcon_ws_mw').glob('**/*.py')
    said = re.compile(r"(?:faults\.warn|_hit|_break_off)\(\s*'(\w+)'")
    kinds = {kind for source in sources for kind in said.findall(source.read_text())}

    assert {cell.strip('`') for cell in first_column('security.md', '`fault`')} == kinds


def test_each_test_that_is_named_is_there() -> None:
    named = set(re.findall(r'`(tests/[\w./]+)`', (DOCS / 'security.md').read_text()))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


SAYING_TYPES = 'socket.addEventListener("message", ({data}) => console.log(JSON.parse(data).type))'


async def test_the_page_in_javascript_stays_as_long_as_it_answers() -> None:
    (snippet,) = blocks_of(DOCS / 'security.md', 'js')
    asked = {'ping': 0, 'pong': 0}

    class Beating:
        ws_heartbeat_seconds = 0.3

        async def on_ws_hello(self, ws: object) -> str:
            return 'hello'

    app = install(falcon.asgi.App())
    app.add_route('/ws', Beating())
    codes: list[int] = []
    app.ws_connection_manager.on_disconnect(lambda ws, code: codes.append(code))
    async with serve(app) as served:
        hurried = snippet.text.replace('25_000', '5_000')
        node = await asyncio.create_subprocess_exec(
            *node_with_websockets(),
            '--eval',
            f'const address = "ws://127.0.0.1:{served.port}/ws";{hurried}{SAYING_TYPES}',
            stdout=asyncio.subprocess.PIPE,
        )
        assert node.stdout
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                for _ in range(4):  # without an answer there would be no third
                    asked[(await node.stdout.readline()).decode().strip()] += 1
            assert asked == {'ping': 4, 'pong': 0}
            assert not codes
        finally:
            node.kill()
            await node.wait()


async def test_the_page_in_javascript_asks_a_server_that_is_silent() -> None:
    (snippet,) = blocks_of(DOCS / 'security.md', 'js')

    class Beating:
        ws_heartbeat_seconds = 60

        async def on_ws_hello(self, ws: object) -> str:
            return 'hello'

    class Silent:
        ws_subprotocols = ('falcon-ws.v1',)

        async def on_ws_ping(self, ws: object) -> None:
            """Say nothing."""

    app = install(falcon.asgi.App())
    app.add_route('/beating', Beating())
    app.add_route('/silent', Silent())
    async with serve(app) as served:
        for path, said in (('beating', b'pong'), ('silent', b'closed')):
            hurried = snippet.text.replace('25_000', '200').replace('10_000', '300')
            node = await asyncio.create_subprocess_exec(
                *node_with_websockets(),
                '--eval',
                f'const address = "ws://127.0.0.1:{served.port}/{path}";{hurried}'
                f'{SAYING_TYPES};socket.addEventListener("close", () => console.log("closed"))',
                stdout=asyncio.subprocess.PIPE,
            )
            assert node.stdout
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    assert (await node.stdout.readline()).strip() == said
            finally:
                node.kill()
                await node.wait()


# -- what the tables say


async def handler(self: object, ws: Any) -> None:
    """Do nothing, as a method that fits everywhere."""


def copy_of(function: Any) -> Any:
    """The same function anew, to be marked."""

    async def copied(self: object, ws: Any) -> None:
        await function(self, ws)

    return copied


def resource(**attributes: Any) -> object:
    return type('Example', (), attributes)()


def app_of(template: str = '/ws', **attributes: Any) -> WebSocketLifespan:
    """An app with one resource that has these attributes."""
    app = install(falcon.asgi.App())
    app.add_route(template, resource(**attributes))
    return app


class Failing:
    """Fails as the rows of the table of errors say."""

    async def on_ws_fine(self, ws: Any) -> str:
        return 'fine'

    async def on_ws_http_error(self, ws: Any) -> None:
        raise falcon.HTTPConflict

    async def on_ws_http_status(self, ws: Any) -> None:
        raise falcon.HTTPStatus(410)

    async def on_ws_invalid_name(self, ws: Any) -> None:
        await ws.join_room('')

    async def on_ws_invalid_topic(self, ws: Any) -> None:
        await ws.publish('a/+', {})

    async def on_ws_not_found(self, ws: Any) -> None:
        await ws.manager.send_to_connection('nobody', {})

    async def on_ws_too_many_rooms(self, ws: Any) -> None:
        for number in range(129):
            await ws.join_room(str(number))

    async def on_ws_not_identified(self, ws: Any) -> None:
        raise NotIdentified('authenticate')

    async def on_ws_expired(self, ws: Any) -> None:
        await ws.identify('ada', 1)

    async def on_ws_too_many_connections(self, ws: Any) -> None:
        raise TooManyConnections('secret', 1)

    async def on_ws_backend_unavailable(self, ws: Any) -> None:
        raise BackendUnavailable('Redis has not answered')

    async def on_ws_reply_error(self, ws: Any) -> None:
        raise ReplyError('ask', 'secret')

    async def on_ws_reply_timeout(self, ws: Any) -> None:
        raise ReplyTimeout('ask', 1)

    async def on_ws_number(self, ws: Any, payload: int) -> None:
        """Take a number."""

    async def on_ws_crash(self, ws: Any) -> None:
        raise RuntimeError('secret')

    async def on_ws_no_json(self, ws: Any) -> object:
        return object()

    async def on_ws_too_long(self, ws: Any) -> str:
        return 'secret'.ljust(1_048_576)


FAILURES: dict[str, list[str | bytes]] = {
    'the frame is not JSON': ['{', '', '{"type": "fine", "payload": NaN}', '"\\ud800"'],
    'it is nested deeper than `max_depth`': [
        f'{{"type": "fine", "payload": {"[" * 32}{"]" * 32}}}',
    ],
    'the message is not an object': ['[]', '1', 'null'],
    '`type` is missing, or no text': ['{}', '{"type": 1}'],
    '`id` is null, or neither text nor a whole number within ±(2⁵³-1)': [
        '{"type": "fine", "id": null}',
        '{"type": "fine", "id": 1.5}',
        '{"type": "fine", "id": 9007199254740992}',
    ],
    'a binary frame comes, and the app has no usable BINARY media handler': [b'{}'],
    'nothing handles the type': ['{"type": "other"}', '{"type": "connect"}', '{"type": ""}'],
    'the payload does not fit the annotation': ['{"type": "number", "payload": "1"}'],
    'the handler raises a `falcon.HTTPError`': ['{"type": "http_error"}'],
    'the handler raises a `falcon.HTTPStatus`': ['{"type": "http_status"}'],
    'the handler raises `InvalidName`': ['{"type": "invalid_name"}'],
    'the handler raises `InvalidTopic`': ['{"type": "invalid_topic"}'],
    'the handler raises `ConnectionNotFound`': ['{"type": "not_found"}'],
    'the handler raises `NotIdentified`': ['{"type": "not_identified"}'],
    'the handler raises `IdentityExpired`': ['{"type": "expired"}'],
    'the handler raises `TooManyRooms`': ['{"type": "too_many_rooms"}'],
    'the handler raises `TooManyConnections`': ['{"type": "too_many_connections"}'],
    'the handler raises `BackendUnavailable`: other processes cannot be reached': [
        '{"type": "backend_unavailable"}'
    ],
    'the handler raises `ReplyError`: the client answered a request with an error': [
        '{"type": "reply_error"}'
    ],
    'the handler raises `ReplyTimeout`: it did not answer in time': ['{"type": "reply_timeout"}'],
    'the handler raises anything else': ['{"type": "crash"}'],
    'what the handler returns cannot be JSON': ['{"type": "no_json", "id": 1}'],
    'what the handler returns is longer than `max_outbox_bytes`': ['{"type": "too_long", "id": 1}'],
}
OWN_STATUS = {
    'the handler raises a `falcon.HTTPError`': 409,
    'the handler raises a `falcon.HTTPStatus`': 410,
}


@pytest.mark.parametrize(
    ('what', 'status'), [row[:2] for row in table_of('handlers.md', 'what happens')]
)
async def test_the_table_of_errors(what: str, status: str) -> None:
    app = install(falcon.asgi.App())
    binary = falcon.media.MissingDependencyHandler('BINARY', 'msgpack')
    app.ws_options.media_handlers[falcon.WebSocketPayloadType.BINARY] = binary
    app.add_route('/ws', Failing())
    expected = OWN_STATUS[what] if status == 'its own' else int(status)

    async with ASGIConductor(app) as conductor, conductor.simulate_ws('/ws') as ws:
        for frame in FAILURES[unlinked(what)]:
            error = await ask(ws, frame)
            assert (error['type'], error['payload']['status']) == ('error', expected)
            assert 'secret' not in str(error)

        reply = await ask(ws, {'type': 'fine', 'id': 'stays'})
        assert reply == {'type': 'reply', 'id': 'stays', 'payload': 'fine'}


def with_route(add: str, *args: Any, **kwargs: Any) -> WebSocketLifespan:
    app = install(falcon.asgi.App())
    getattr(app, add)(*args, **kwargs)
    return app


def bare_app() -> falcon.asgi.App[Any, Any]:
    app = falcon.asgi.App()
    install(app)
    return app


def two_resources_on_a_template() -> WebSocketLifespan:
    app = app_of(on_ws_x=handler)
    app.add_websocket_route('/ws', WebSocketResource)
    return app


def late_component() -> WebSocketLifespan:
    manager = WebSocketConnectionManager()
    late = resource(process_request_ws=handler)
    middleware: list[Any] = [WebSocketDispatchMiddleware(manager), late]
    return WebSocketLifespan(falcon.asgi.App(middleware=middleware), manager)


async def with_payload(self: object, ws: Any, payload: Any) -> None:
    """Do nothing with a payload."""


async def with_unknown(self: object, ws: Any, unknown: Any) -> None:
    """Want what nobody has."""


async def with_type_variable(self: object, ws: object, payload: Anything) -> None: ...


async def with_default(
    self: object,
    ws: object,
    payload: dict[str, Any] = None,  # type: ignore[assignment]  # noqa: RUF013
) -> None: ...


async def with_number(self: object, ws: object, payload: int) -> None: ...


async def with_strange(self: object, ws: Any, payload: WebSocketLifespan) -> None:
    """Want what nobody converts to."""


async def with_missing(self: object, ws: Any, payload: Missing) -> None:  # type: ignore[name-defined]  # noqa: F821
    """Want what nobody has defined."""


async def without_ws(self: object) -> None:
    """Take no connection."""


async def take_frame(self: object, ws: object, raw: object, error: object) -> None:
    """Take what nobody handles."""


async def old_loop(self: object, req: object, ws: object) -> None:
    """Stand for an old responder."""


def hidden(function: Any) -> Any:
    """Decorate a function so that nobody sees by its closure what is called."""
    held = [function]

    @wraps(function)
    async def hiding(*args: Any, **kwargs: Any) -> None:
        await held[0](*args, **kwargs)

    return hiding


async def authorize(self: object, ws: object, action: str, name: str) -> bool:
    """Let everybody subscribe to everything."""
    return True


def without_extra() -> WebSocketLifespan:
    """An app that needs an extra which is not there."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ('msgspec', 'falcon_ws_mw.payloads.with_msgspec'):
            patched.setitem(sys.modules, name, None)
        payloads._built_in.cache_clear()
        try:
            app = app_of(on_ws_x=with_dataclass)
            app.check_websockets()
        finally:
            payloads._built_in.cache_clear()
        return app


async def with_dataclass(self: object, ws: Any, payload: Block) -> None:
    """Want what msgspec converts to."""


def with_own_loop() -> WebSocketLifespan:
    example: Any = resource(on_ws_x=handler)
    example.on_websocket = old_loop
    return with_route('add_route', '/ws', example)


async def refuse_hook(req: object, resp: object, resource: object, params: object) -> None:
    """Stand for a hook that checks."""


class WithHttp:
    async def on_get(self, req: object, resp: object) -> None:
        """Answer HTTP."""

    async def on_ws_x(self, ws: object) -> None:
        """Answer a message."""


def with_cookie() -> WebSocketLifespan:
    app = install(falcon.asgi.App(middleware=[TokenMiddleware(cookie='session')]))
    app.add_route('/ws', resource(on_ws_x=handler, ws_allowed_origins='*'))
    return app


MISTAKES: dict[str, Callable[[], Any]] = {
    'a responder that is no `async def`': lambda: app_of(on_ws_x=lambda self, ws: None),
    'a responder that is a static or class method': lambda: app_of(on_ws_x=staticmethod(handler)),
    'a handler without `ws`': lambda: app_of(on_ws_x=without_ws),
    'a parameter that nothing fills': lambda: app_of(on_ws_x=with_unknown),
    'two methods for one type': lambda: app_of(
        on_ws_x=handler, x=handles_message('x')(with_payload)
    ),
    'a handler for `reply` or `error`': lambda: app_of(on_ws_reply=handler),
    '`@handles_message` without a type': handles_message,
    '`@handles_message` on a life-cycle method': lambda: app_of(
        on_ws_disconnect=handles_message('x')(with_payload)
    ),
    'an annotation of `payload` that nobody can convert to': lambda: app_of(on_ws_x=with_strange),
    'one that needs an extra which is not installed': without_extra,
    'one that names what cannot be found': lambda: app_of(on_ws_x=with_missing),
    '`@parallel` with anything but a whole number from 1': lambda: parallel(0),
    'an annotation of `payload` with a type variable': lambda: app_of(on_ws_x=with_type_variable),
    '`payload: Song = None`': lambda: app_of(on_ws_x=with_default),
    'in the flat form, a payload that is written as no object': lambda: app_of(
        on_ws_x=with_number, ws_envelope=Envelope(payload_field=None)
    ),
    '`@parallel` on a life-cycle method': lambda: app_of(
        on_ws_disconnect=parallel(4)(copy_of(handler))
    ),
    "`@sends` of a type of the library's own": lambda: app_of(
        on_ws_x=sends('reply', int)(copy_of(handler))
    ),
    '`@sends` with a `reply`, where the envelope has no ids': lambda: app_of(
        on_ws_x=sends('a', reply=int)(copy_of(handler)), ws_envelope=Envelope(id_field=None)
    ),
    '`@sends` without a type': lambda: sends(''),
    '`@sends` with a payload or reply that nobody can convert to': lambda: app_of(
        on_ws_x=sends('a', WebSocketLifespan)(copy_of(handler))
    ),
    '`@sends` of one type with different payloads or replies': lambda: app_of(
        on_ws_x=sends('a', int)(sends('a', str)(copy_of(handler)))
    ),
    'an `Envelope` with a name that is no text, or stands for two things': lambda: Envelope(
        type_field='id'
    ),
    '`install(envelope=…)` with what is no envelope': lambda: install(
        falcon.asgi.App(), envelope=cast('Any', 'json')
    ),
    'a server or security scheme that cannot stand in the document': lambda: app_of(
        on_ws_x=handler
    ).asyncapi_document(servers={'x': {}}),
    'a `prefix` of `add_asyncapi_routes` that is no path': lambda: app_of(
        on_ws_x=handler
    ).add_asyncapi_routes('docs', title='x', version='1'),
    'an `on_websocket` that was set on the instance': with_own_loop,
    'a URI field called `ws`, `payload` or like another argument of ours': lambda: app_of(
        '/{payload}', on_ws_x=handler
    ),
    'an unknown `ws_…` class attribute': lambda: app_of(on_ws_x=handler, ws_limit=1),
    'a `ws_…` setting of a wrong kind': lambda: app_of(on_ws_x=handler, ws_slow_consumer='wait'),
    'a method that is nearly called `ws_authorize`': lambda: app_of(
        on_ws_x=handler, ws_authorise=handler
    ),
    "`user_limit_policy='close_oldest'` without `max_connections_per_user`": lambda: install(
        falcon.asgi.App(), user_limit_policy='close_oldest'
    ),
    'a policy that is none of its words, in `install`': lambda: install(
        falcon.asgi.App(), disconnect_policy=cast('Any', 'wait')
    ),
    'a `ws_authorize` that is no `async def ws_authorize(self, ws, action, name)`': lambda: app_of(
        on_ws_x=handler, ws_authorize=handler
    ),
    '`ws_authenticate_by` of a type that no method handles': lambda: app_of(
        on_ws_x=handler, ws_authenticate_by='y'
    ),
    '`ws_authenticate_by` beside an `on_websocket` of your own': lambda: app_of(
        on_ws_x=handler, ws_authenticate_by='x', on_websocket=old_loop
    ),
    'clients that are known by a cookie, and a route that lets pages of any origin in': with_cookie,
    '`TokenMiddleware` with nowhere to look, or a cookie that cannot be': lambda: TokenMiddleware(
        cookie='no name'
    ),
    '`ws_client_topics` without `async def ws_authorize(self, ws, action, name)`': lambda: app_of(
        ws_client_topics=True
    ),
    '`ws_client_topics` and a handler for `subscribe` or `unsubscribe`': lambda: app_of(
        ws_client_topics=True, ws_authorize=authorize, on_ws_subscribe=handler
    ),
    'a limit that is out of its range': lambda: Limits(connect_timeout_seconds=0),
    '`max_connections` or `max_connections_per_user` in a `ws_limits`': lambda: app_of(
        on_ws_x=handler, ws_limits=Limits(max_connections=1)
    ),
    'a variable that `Limits.from_env` does not know, or whose value is out of range': lambda: (
        Limits.from_env('X_', {'X_MAX_MESSAGES': '1'})
    ),
    '`allowed_origins` or `ws_allowed_origins` with what is no origin': lambda: app_of(
        on_ws_x=handler, ws_allowed_origins='chat.example'
    ),
    '`trusted_proxies` with what is neither an address nor a network': lambda: install(
        falcon.asgi.App(), trusted_proxies='proxy.example'
    ),
    '`heartbeat_seconds` or `expiry_notice_seconds` that is no number from 0.1 to 86400': (
        lambda: install(falcon.asgi.App(), expiry_notice_seconds=0)
    ),
    '`presence_debounce_seconds` that is no number from 0 to 86400': lambda: (
        WebSocketConnectionManager(presence_debounce_seconds=-1)
    ),
    '`ws_heartbeat_seconds` and a handler for `ping` or `pong`': lambda: app_of(
        on_ws_ping=handler, ws_heartbeat_seconds=20
    ),
    'an option of `Decoding` that it does not have': lambda: Decoding(max_depth=0),
    '`install(decoding=…)` with what is no `Decoding`': lambda: install(
        falcon.asgi.App(), decoding=cast('Any', 'strict')
    ),
    '`on_ws_unhandled` beside an `on_websocket`': lambda: app_of(
        on_ws_unhandled=take_frame, on_websocket=old_loop
    ),
    "one of Falcon's hooks on an `on_ws_*` method": lambda: app_of(
        on_ws_x=falcon.before(refuse_hook)(handler)
    ),
    (
        "what looks like a hook of Falcon's on the class or on a base, and does not guard the "
        'messages'
    ): lambda: app_of(on_ws_x=handler, on_get=falcon.before(refuse_hook)(old_loop)),
    'a decorator that hides a hook around `on_websocket`': lambda: app_of(
        on_ws_x=handler, on_websocket=hidden(falcon.before(refuse_hook)(old_loop))
    ),
    'a resource that is false, as an empty container is': lambda: app_of(
        on_ws_x=handler, __len__=lambda self: 0
    ),
    'a class given to `add_route`': lambda: with_route('add_route', '/ws', Failing),
    'an instance of a `WebSocketResource` as a resource': lambda: with_route(
        'add_route', '/ws', WebSocketResource()
    ),
    'a template that has a resource, in `add_websocket_route`': two_resources_on_a_template,
    'arguments that the class does not take, in `add_websocket_route`': lambda: with_route(
        'add_websocket_route', '/ws', WebSocketResource, unknown=1
    ),
    'a class with HTTP responders, in `add_websocket_route`': lambda: with_route(
        'add_websocket_route', '/ws', WithHttp
    ),
    'a `backend` that goes by no URL, or whose driver is not installed': lambda: install(
        falcon.asgi.App(), backend='localhost:6379'
    ),
    'an option in the URL that is out of its range, or unknown': lambda: install(
        falcon.asgi.App(), backend='redis://localhost:6379/0?lease_second=30'
    ),
    '`backend` or `outage_policy` beside a `manager`': lambda: install(
        falcon.asgi.App(), manager=WebSocketConnectionManager(), outage_policy='local'
    ),
    '`install` twice': lambda: install(bare_app()),
    'an app that was installed, served without what `install` returned': bare_app,
    'a component with WebSocket hooks behind `WebSocketDispatchMiddleware`': late_component,
}


async def start(app: Any) -> None:
    """Start an app and stop it.

    Raises:
        ConfigurationError: If it does not start.
    """
    events = iter(['lifespan.startup', 'lifespan.shutdown'])
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {'type': next(events)}

    async def send(event: dict[str, Any]) -> None:
        sent.append(event)

    await app({'type': 'lifespan', 'asgi': {'version': '3.0'}}, receive, send)
    if sent[0]['type'] == 'lifespan.startup.failed':
        raise ConfigurationError(sent[0]['message'])


@pytest.mark.parametrize('what', first_column('handlers.md', 'what is found'))
async def test_the_table_of_start_up_errors(what: str) -> None:
    with pytest.raises(ConfigurationError):
        await start(MISTAKES[unlinked(what)]())


# -- what the tables of messages and requests say


async def converted(annotation: Any, message: dict[str, Any]) -> Any:
    """What a handler with this annotation gets, or the status of the error."""

    async def take(self: object, ws: Any, payload: Any) -> None:
        got.append(payload)

    got: list[Any] = []
    if annotation is inspect.Parameter.empty:
        del take.__annotations__['payload']
    else:
        take.__annotations__['payload'] = annotation
    async with (
        ASGIConductor(app_of(on_ws_x=take)) as conductor,
        conductor.simulate_ws('/ws') as ws,
    ):
        answered = await ask(ws, {'type': 'x', 'id': 1, **message})
    return got[0] if got else answered['payload']['status']


@pytest.mark.parametrize('message', [{}, {'payload': None}], ids=['missing', 'null'])
@pytest.mark.parametrize(('parameter', 'gets'), table_of('messages.md', 'parameter'))
async def test_the_table_of_absent_payloads(
    parameter: str, gets: str, message: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Page(DOCS / 'messages.md', monkeypatch).names
    [code] = code_in(parameter)
    name, colon, annotation = code.partition(': ')
    assert name == 'payload'
    found = await converted(
        eval(annotation, names) if colon else inspect.Parameter.empty,  # noqa: S307  # our own
        message,
    )
    assert found == (422 if gets == 'an error 422' else eval(code_in(gets)[0], names))  # noqa: S307


async def test_a_strict_model_takes_dates_as_json_has_them() -> None:
    class Strict(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(strict=True)
        at: dt.date
        number: int = 0

    at = {'at': '2026-01-02'}
    assert await converted(Strict, {'payload': at}) == Strict(at=dt.date(2026, 1, 2))
    assert await converted(Strict, {'payload': {**at, 'number': '3'}}) == 422


def test_each_attribute_of_what_does_not_fit_is_in_its_table() -> None:
    error = InvalidPayload('x', [])
    names = {
        name
        for cell in first_column('messages.md', 'attribute of `InvalidPayload`')
        for name in code_in(cell)
    }
    assert names == set(vars(error))


def test_each_argument_is_in_its_table() -> None:
    rows = table_of('messages.md', 'argument of `Envelope`')
    defaults = {field.name: repr(field.default) for field in fields(Envelope)}
    assert {code_in(name)[0]: code_in(default)[0] for name, default, _ in rows} == defaults
    parameters = inspect.signature(WebSocketLifespan.add_asyncapi_routes).parameters
    described = {
        code_in(name)[0]: code_in(default)[0] if default else None
        for name, default, _ in table_of('asyncapi.md', 'argument')
    }
    assert described == {
        name: None if each.default is each.empty else repr(each.default)
        for name, each in parameters.items()
        if name != 'self'
    }
    rows = table_of('messages.md', 'argument of `Decoding`')
    of_decoding = {field.name: repr(field.default) for field in fields(Decoding)}
    assert {code_in(name)[0]: code_in(default)[0] for name, default, *_ in rows} == of_decoding
    arguments = first_column('messages.md', 'argument of `sends`')
    assert [code_in(cell)[0] for cell in arguments] == list(inspect.signature(sends).parameters)


class Faulty:
    """An envelope that does what the type of a message says."""

    def __init__(self, *, makes_errors: bool = True) -> None:
        self._makes_errors = makes_errors

    def decode(self, raw: str | bytes) -> Any:
        if raw == 'malformed':
            raise MalformedMessage('secret', id=1)
        if raw == 'unknown':
            raise UnknownMessageType('x', id=1)
        if raw == 'crash':
            raise LookupError('secret')
        return str(raw), None, 2**53 if raw == 'bad_id' else 1

    def encode(self, type: str, payload: Any, id: object) -> str:
        if type == 'message' or payload == 'no reply' or (type, self._makes_errors) == ('error', 0):
            raise LookupError(type)
        return json.dumps([type, payload, id])


class FaultySpeaker:
    ws_envelope = Faulty()

    async def on_ws_message(self, ws: WebSocket) -> str:
        with pytest.raises(LookupError):
            await ws.send_message('message')
        return 'raised'

    async def on_ws_no_reply(self, ws: WebSocket) -> str:
        return 'no reply'


class WithoutErrors(FaultySpeaker):
    ws_envelope = Faulty(makes_errors=False)


FAULTS: dict[str, tuple[str, Any]] = {
    '`decode` raises `MalformedMessage`': ('malformed', 400),
    '`decode` raises `UnknownMessageType`': ('unknown', 404),
    '`decode` returns an id beyond ±(2⁵³-1), or none of text and whole numbers': ('bad_id', 400),
    '`decode` raises anything else, or returns something else': ('crash', 400),
    '`encode` fails on a message': ('message', 'raised'),
    '`encode` fails on a reply': ('no_reply', 500),
    '`encode` fails on an error too': ('no_reply', 1011),
}


@pytest.mark.parametrize(
    ('what', 'becomes'), table_of('messages.md', 'what happens in an envelope')
)
async def test_the_table_of_faulty_envelopes(what: str, becomes: str) -> None:
    frame, expected = FAULTS[what]
    said = [int(each) for each in re.findall(r'[0-9]+', becomes)]
    resource = WithoutErrors() if expected == 1011 else FaultySpeaker()
    app = with_route('add_route', '/ws', resource)
    async with ASGIConductor(app) as conductor, conductor.simulate_ws('/ws') as ws:
        try:
            kind, payload, message_id = await ask(ws, frame)
        except falcon.WebSocketDisconnected:
            assert [ws.close_code] == said == [expected]
            return

    if kind == 'reply':
        assert (payload, said) == (expected, [])
        return
    assert [payload['status']] == said == [expected]
    assert frame == 'malformed' or 'secret' not in str(payload)
    assert message_id == (None if frame in {'crash', 'bad_id'} else 1)


class Ending:
    """Ends requests as the rows of the table say."""

    async def on_ws_something(self, ws: WebSocket) -> str:
        return 'that'

    async def on_ws_nothing(self, ws: WebSocket) -> None:
        """Return nothing."""

    async def on_ws_number(self, ws: WebSocket, payload: int) -> None:
        """Take a number."""

    async def on_ws_http_error(self, ws: WebSocket) -> None:
        raise falcon.HTTPConflict

    async def on_ws_crash(self, ws: WebSocket) -> None:
        raise RuntimeError

    async def on_ws_no_json(self, ws: WebSocket) -> object:
        return object()

    async def on_ws_leave(self, ws: WebSocket) -> str:
        await ws.close(4000)
        return 'that'


class CatchingAll(Ending):
    async def on_ws_unhandled(self, ws: WebSocket, raw: object, error: object) -> str:
        return 'that'


class ClosingAtCrash(Ending):
    ws_crash_policy = 'close'


ENDINGS: dict[str, tuple[type, str, Any]] = {
    'the handler returns something': (Ending, '"type": "something"', ('reply', 'that')),
    'the handler returns nothing': (Ending, '"type": "nothing"', ('reply', None)),
    '`on_ws_unhandled` returns something': (CatchingAll, '"type": "x"', ('reply', 'that')),
    'the payload does not fit': (Ending, '"type": "number", "payload": "1"', 422),
    'nothing handles the type': (Ending, '"type": "other"', 404),
    'the message is malformed, but its `id` is not': (Ending, '"type": 5', 400),
    'the handler raises a `falcon.HTTPError`': (Ending, '"type": "http_error"', 409),
    'the handler crashes': (Ending, '"type": "crash"', 500),
    'what it returns cannot be sent': (Ending, '"type": "no_json"', 500),
    "the handler crashes under `crash_policy='close'`": (
        ClosingAtCrash,
        '"type": "crash"',
        'closed with 1011',
    ),
    'the connection ends before': (Ending, '"type": "leave"', 'closed with 4000'),
}


@pytest.mark.parametrize(('how', 'says'), table_of('requests.md', 'how a request ends'))
async def test_the_table_of_how_requests_end(how: str, says: str) -> None:
    cls, words, expected = ENDINGS[how]
    app = with_route('add_route', '/ws', cls())
    async with ASGIConductor(app) as conductor, conductor.simulate_ws('/ws') as ws:
        if isinstance(expected, str):
            with pytest.raises(falcon.WebSocketDisconnected):
                await ask(ws, f'{{"id": 1, {words}}}')
            assert f'closed with {ws.close_code}' == expected
            assert says == 'none' or says.endswith(expected)
            return
        answered = await ask(ws, f'{{"id": 1, {words}}}')

    assert answered['id'] == 1
    if isinstance(expected, tuple):
        assert (answered['type'], answered['payload']) == expected
        assert says == f'a reply with {"null" if expected[1] is None else "that"}'
    else:
        assert (answered['type'], answered['payload']['status']) == ('error', expected)
        assert says in {f'an error {expected}', 'an error with its status'}


class Asked:
    """Notes how a request before the accept ended."""

    def __init__(self) -> None:
        self.early: Exception | None = None

    async def on_ws_connect(self, req: object, ws: WebSocket) -> None:
        try:
            await ws.request('early')
        except falcon.OperationNotAllowed as error:
            self.early = error


class AskedWithoutIds(Asked):
    ws_envelope = Envelope(id_field=None)


@asynccontextmanager
async def being_asked(cls: type, **options: Any) -> Any:
    """A client, the `ws` of it, and the resource."""
    app, asked = install(falcon.asgi.App(), **options), cls()
    app.add_route('/ws', asked)
    async with (
        ASGIConductor(app) as conductor,
        conductor.simulate_ws('/ws') as client,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        (ws,) = app.ws_connection_manager.connections.values()
        yield client, ws, asked


async def answered_by(client: Any, ws: WebSocket, answer: dict[str, Any]) -> Any:
    asking = asyncio.create_task(ws.request('question'))
    question = await client.receive_json()
    await client.send_json({**answer, 'id': question['id']})
    return await asking


async def end_while_asked(client: Any, ws: WebSocket) -> None:
    asking = asyncio.create_task(ws.request('question'))
    await client.receive_json()
    await ws.manager.close_connection(ws.id, 4000)
    await asking


async def ask_twice(client: Any, ws: WebSocket) -> None:
    asking = asyncio.create_task(ws.request('question'))
    question = await client.receive_json()
    try:
        await ws.request('question')
    finally:
        await client.send_json({'type': 'reply', 'id': question['id']})
        await asking


REQUESTS: dict[str, Any] = {
    'the client answers with an error': lambda client, ws: answered_by(
        client, ws, {'type': 'error', 'payload': {'status': 409, 'title': 'No'}}
    ),
    'the client does not answer in time': lambda client, ws: ws.request('question', timeout=0.01),
    'the client leaves, is closed, kicked or evicted; the server stops': end_while_asked,
    'as many as may wait do already': ask_twice,
    'the payload cannot be JSON': lambda client, ws: ws.request('question', object()),
}


@pytest.mark.parametrize(
    ('what', 'does'), [row for row in table_of('requests.md', 'what happens') if 'raises' in row[1]]
)
async def test_the_table_of_what_a_request_raises(what: str, does: str) -> None:
    cls: type = AskedWithoutIds if what == 'the envelope has no ids' else Asked
    limits = Limits(max_pending_requests=1)
    async with being_asked(cls, limits=limits) as (client, ws, asked):
        try:
            if what == 'the handshake is not accepted yet':
                assert asked.early
                raise asked.early
            await REQUESTS.get(what, lambda client, ws: ws.request('question'))(client, ws)
        except Exception as error:
            raised = error
        else:
            raise AssertionError('nothing was raised')

    expected = code_in(does)[0].rpartition('.')[2]
    assert type(raised).__name__ == expected
    if isinstance(raised, ReplyError):
        assert (raised.payload, raised.status) == ({'status': 409, 'title': 'No'}, 409)
    if isinstance(raised, falcon.WebSocketDisconnected):
        assert raised.code == 4000
    assert isinstance(raised, TimeoutError) == (what == 'the client does not answer in time')


async def test_a_request_returns_the_payload_of_the_reply() -> None:
    async with being_asked(Asked) as (client, ws, _):
        assert await answered_by(client, ws, {'type': 'reply', 'payload': [1]}) == [1]
        assert await answered_by(client, ws, {'type': 'reply'}) is None


class Uncaught:
    """Does not catch what a request raises."""

    async def on_ws_x(self, ws: WebSocket, payload: str) -> None:
        errors: dict[str, Exception] = {
            'ReplyTimeout': ReplyTimeout('x', 1),
            'ReplyError': ReplyError('x', 'secret'),
            'TooManyRequests': TooManyRequests(1),
        }
        raise errors[payload]


async def test_the_table_of_what_is_not_caught() -> None:
    app = with_route('add_route', '/ws', Uncaught())
    async with ASGIConductor(app) as conductor, conductor.simulate_ws('/ws') as ws:
        for name, status in table_of('requests.md', 'the handler raises'):
            answered = await ask(ws, {'type': 'x', 'payload': name.strip('`')})
            assert answered['payload']['status'] == int(status)
            assert 'secret' not in str(answered)


# -- what other tables say


async def refuse_by_error(self: object, req: object, ws: Any) -> None:
    raise falcon.HTTPUnauthorized(challenges=['Bearer'])


async def refuse_by_status(self: object, req: object, ws: Any) -> None:
    raise falcon.HTTPFound('/login')


async def refuse_by_false(self: object, req: object, ws: Any) -> bool:
    return False


async def refuse_by_close(self: object, req: object, ws: Any) -> None:
    await ws.close()


async def refuse_by_crash(self: object, req: object, ws: Any) -> None:
    raise RuntimeError('secret')


async def refuse_by_right(self: object, req: object, ws: Any) -> None:
    await ws.join_room('secret')


async def refuse_by_room(self: object, req: object, ws: Any) -> None:
    raise NotIdentified('authenticate')


async def refuse_by_time(self: object, req: object, ws: Any) -> None:
    await ws.identify('ada', 1)


async def nobody_may(self: object, ws: Any, action: str, name: str) -> bool:
    return False


async def refuse_by_outage(self: object, req: object, ws: Any) -> None:
    raise BackendUnavailable('Redis has not answered')


async def refuse_by_number(self: object, req: object, ws: Any) -> None:
    raise TooManyConnections('secret', 1)


async def refuse_by_waiting(self: object, req: object, ws: Any) -> None:
    await asyncio.Event().wait()


REFUSALS: dict[str, tuple[Any, int, str]] = {
    '`raise falcon.HTTPUnauthorized()`, or another `HTTPError`': (
        refuse_by_error,
        401,
        'www-authenticate: Bearer',
    ),
    "`raise falcon.HTTPFound('/login')`, or another `HTTPStatus`": (
        refuse_by_status,
        302,
        'location: /login',
    ),
    '`return False`': (refuse_by_false, 403, '"403 Forbidden"'),
    '`await ws.close()`': (refuse_by_close, 403, ''),
    'any other exception': (refuse_by_crash, 500, '"500 Internal Server Error"'),
    'it takes longer than `connect_timeout_seconds`': (refuse_by_waiting, 503, ''),
    '`ws.join_room` of what `ws_authorize` does not allow': (
        refuse_by_right,
        403,
        'you may not join',
    ),
    '`ws.join_room` before `ws.identify`, on a route that wants to know first': (
        refuse_by_room,
        401,
        '"Not identified"',
    ),
    '`ws.identify` by what has expired': (refuse_by_time, 401, '"Identity expired"'),
    '`ws.identify` of a user who has `max_connections_per_user`': (
        refuse_by_number,
        429,
        '"Too many connections"',
    ),
    'a call that needs other processes, while they cannot be reached': (
        refuse_by_outage,
        503,
        '"Backend unavailable"',
    ),
}


async def shake_hands(port: int, header: str = '') -> str:
    """Try a handshake with a server of ours; return all that it says until it closes."""
    reader, writer = await asyncio.open_connection('127.0.0.1', port)
    writer.write(
        b'GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
        b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n'
        + f'{header}\r\n'.encode()
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return (await reader.read()).decode()
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ('how', 'seen', 'else_seen'),
    [row[:3] for row in table_of('lifecycle.md', 'in `on_ws_connect`')],
)
async def test_the_table_of_refusals(how: str, seen: str, else_seen: str) -> None:
    connect, status, detail = REFUSALS[unlinked(how)]
    refusing = resource(
        on_ws_connect=connect,
        ws_authorize=nobody_may,
        ws_limits=Limits(connect_timeout_seconds=0.05),
    )
    said_status = re.match(r'\d+', seen)
    assert seen.startswith('its status') or (said_status and int(said_status[0]) == status)

    inner = falcon.asgi.App()
    inner.add_route('/ws', refusing)
    async with serve(install(inner)) as server:
        answer = await shake_hands(server.port)
    assert answer.startswith(f'HTTP/1.1 {status} ')
    assert detail.lower() in answer.lower()
    assert 'secret' not in answer

    inner = falcon.asgi.App()
    inner.add_route('/ws', refusing)
    async with serve(install(inner, refusals='close')) as server:
        answer = await shake_hands(server.port)
    assert answer.startswith(f'HTTP/1.1 {else_seen} ')
    assert answer.endswith('\r\n\r\n')


BEFORE: dict[str, tuple[dict[str, Any], str]] = {
    'the route cannot work, and there was no start to say so': ({}, ''),
    'its address opens more than `handshakes_per_second`': (
        {'limits': Limits(handshakes_per_second=0.001)},
        '',
    ),
    'there are `max_connections` already': ({'limits': Limits(max_connections=1)}, ''),
    'its page is of an origin that is not allowed': ({}, 'Origin: https://evil.example\r\n'),
}


@pytest.mark.parametrize(
    ('what', 'seen', 'else_seen', 'reason'), table_of('lifecycle.md', 'what is found')
)
async def test_the_table_of_what_is_refused_before(
    what: str, seen: str, else_seen: str, reason: str
) -> None:
    options, header = BEFORE[unlinked(what)]
    status, _, other_header = seen.partition(' with ')
    for refusals, expected in (('http', status), ('close', else_seen)):
        inner = falcon.asgi.App()
        app = install(inner, refusals=cast('Any', refusals), **options)
        inner.add_route('/ws', resource(on_ws_x=handler))
        async with serve(app) as server, server.client('/ws'):
            if reason == '`configuration`':
                inner.add_route('/ws', resource(on_ws_x=without_ws))
            answer = await shake_hands(server.port, header)
            counted = app.ws_connection_manager.stats().refusals

        assert answer.startswith(f'HTTP/1.1 {expected} ')
        assert refusals == 'close' or other_header.strip('`').lower() in answer.lower()
        assert counted == {reason.strip('`'): 1}


def test_the_table_of_close_codes_agrees_with_the_library() -> None:
    for code, name, _, come_back in table_of('lifecycle.md', 'code'):
        row = CLOSE_CODES[int(code)]
        assert (name, come_back) == (row.name, 'yes' if row.retry else 'no')


def test_the_table_of_topic_filters_is_so() -> None:
    for cells in table_of('rooms-and-users.md', 'topic filter'):
        [topic_filter], matching, others = map(code_in, cells)
        assert matching
        assert all(topic_matches(topic_filter, topic) for topic in matching)
        assert not any(topic_matches(topic_filter, topic) for topic in others)


def shown(name: str, member: Callable[..., Any]) -> str:
    """A method as a table shows it."""
    parameters = [
        p.replace(annotation=p.empty) for p in inspect.signature(member).parameters.values()
    ]
    call = f'{name}{inspect.Signature(parameters[1:])}'
    return f'await {call}' if inspect.iscoroutinefunction(member) else call


def test_each_call_of_ws_is_as_its_table_says() -> None:
    cells = [
        span for cell in first_column('rooms-and-users.md', 'on `ws`') for span in code_in(cell)
    ]
    for cell in cells:
        name = re.search(r'ws\.(\w+)', cell)
        assert name
        if cell.startswith('await '):
            assert cell.replace('ws.', '') == shown(name[1], getattr(WebSocket, name[1]))
        else:
            assert hasattr(WebSocket, name[1])


def test_each_call_of_the_manager_is_in_the_table_as_it_is() -> None:
    internal = {'forget_all', 'codecs'}
    calls = {'backend', 'meter'}  # attributes of each manager
    for name, member in inspect.getmembers_static(WebSocketConnectionManager):
        if name.startswith('_') or name in internal:
            continue
        if not inspect.isfunction(member):
            calls.add(name)
            continue
        calls.add(shown(name, member))

    assert {cell.strip('`') for cell in first_column('rooms-and-users.md', 'call')} == calls


def test_each_setting_and_state_is_in_its_table() -> None:
    def documented(page: str, heading: str) -> set[str]:
        return {cell.strip("`'") for cell in first_column(page, heading)}

    options = set(inspect.signature(install).parameters) - {'app'}
    assert documented('handlers.md', 'option of `install`') == options
    limits = {field.name for field in fields(Limits) if field.init}
    assert documented('handlers.md', 'limit') == limits
    assert documented('handlers.md', 'class attribute') == set(_SETTINGS)
    for page, report in (
        ('workers.md', WorkerStats),
        ('rooms-and-users.md', ManagerStats),
        ('rooms-and-users.md', DeliveryReport),
        ('rooms-and-users.md', Guarantee),
        ('many-machines.md', BackendHealth),
        ('many-machines.md', Gap),
    ):
        of_report = {field.name for field in fields(report)}
        assert documented(page, f'field of `{report.__name__}`') == of_report
    no_troubles = {'delivered', 'received', 'refusals', 'errors', 'expired'}
    troubles = {field.name for field in fields(Counters)} - no_troubles
    assert documented('slow-peers.md', 'counter') == troubles
    assert documented('workers.md', 'state') == set(get_args(WorkerState))
    for heading, words in (('policy', SlowConsumer), ('disconnect policy', DisconnectPolicy)):
        policies = {re.sub(' .*', '', cell) for cell in first_column('slow-peers.md', heading)}
        assert {word.strip("`'") for word in policies} == set(get_args(words))


@pytest.mark.parametrize('page', ['handlers.md', 'requests.md'])
def test_each_default_of_a_limit_is_as_its_table_says(page: str) -> None:
    units = {'KiB': 1024, 'MiB': 1024**2}
    for name, default, _ in table_of(page, 'limit'):
        number, _, unit = default.partition(' ')
        expected = None if number == 'none' else int(number) * units.get(unit, 1)
        assert getattr(Limits(), name.strip('`')) == expected


def figure(heading: str, first: str) -> str:
    """What the page of benchmarks says under a bold heading, in the row of the library."""
    page = (DOCS / 'benchmarks.md').read_text()
    _, _, rest = page.partition(f'**{heading}')
    found = re.search(rf'^\| {first} +\| +([\d.]+)', rest, re.MULTILINE)
    assert found, f'benchmarks.md has no figure under {heading!r}'
    return found[1]


@pytest.mark.parametrize('path', [ROOT / 'README.md', DOCS / 'index.md'], ids=name_of)
def test_what_is_said_of_speed_is_what_the_page_of_benchmarks_shows(path: Path) -> None:
    said = re.findall(r'0\.\d\d', path.read_text())
    assert said == [
        figure('100 connections, one message at a time', 'falcon_ws_mw'),
        figure('100 connections, 16 messages under way', 'falcon_ws_mw'),
        figure('one speaker, 1,000 members', 'falcon_ws_mw'),
    ]
