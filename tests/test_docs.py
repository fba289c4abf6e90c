"""The user guide is true: its code runs, its links lead somewhere, its tables say what happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
import inspect
import itertools
import json
from pathlib import Path
import re
import subprocess
import sys
from types import ModuleType
from typing import Any, cast, get_args

from asgi_lifespan import LifespanManager
import falcon
import falcon.asgi
from falcon.testing import ASGIConductor
import pytest

from falcon_ws_mw import (
    CLOSE_CODES,
    ConfigurationError,
    DeliveryReport,
    Limits,
    ManagerStats,
    WebSocket,
    WebSocketConnectionManager,
    WebSocketDispatchMiddleware,
    WebSocketLifespan,
    WebSocketResource,
    WorkerStats,
    handles_message,
    install,
    topic_matches,
)
from falcon_ws_mw.options import DisconnectPolicy, SlowConsumer
from falcon_ws_mw.reports import Counters, WorkerState
from falcon_ws_mw.settings import _SETTINGS

from .servers import PATIENCE_SECONDS, serve

ROOT = Path(__file__).parent.parent
DOCS = ROOT / 'docs'
PAGES = [*sorted(DOCS.glob('*.md')), ROOT / 'README.md']
WITH_LINKS = [path for path in (*PAGES, ROOT / 'CONTRIBUTING.md') if path.exists()]


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
            return [[cell.strip() for cell in row.strip('|').split('|')] for row in rows]
    raise LookupError(f'{page} has no table under {first_heading!r}')


def code_in(cell: str) -> list[str]:
    return re.findall('`([^`]+)`', cell)


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
        return {'Authorization': f'Bearer {user}'}

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


async def test_the_origin_check_refuses_foreign_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Page(DOCS / 'deploying.md', monkeypatch).apps[1]
    async with ASGIConductor(app) as conductor:
        async with conductor.simulate_ws('/chat/x', headers={'Origin': 'https://chat.example'}):
            pass
        with pytest.raises(falcon.WebSocketDisconnected) as refused:
            async with conductor.simulate_ws('/chat/x', headers={'Origin': 'https://evil.example'}):
                pass

    assert refused.value.code == 3403


def test_the_tests_of_the_testing_page_pass(tmp_path: Path) -> None:
    blocks = blocks_of(DOCS / 'testing.md', 'python')
    files = {block.file_name: block.text for block in blocks if block.file_name}
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    command = [sys.executable, '-m', 'pytest', '-q', '--rootdir', '.']
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )

    count = files['test_chat.py'].count('async def test_')
    assert f'{count} passed' in done.stdout, done.stdout
    assert done.returncode == 0


# -- what the tables say


async def handler(self: object, ws: Any) -> None:
    """Do nothing, as a method that fits everywhere."""


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

    async def on_ws_crash(self, ws: Any) -> None:
        raise RuntimeError('secret')

    async def on_ws_no_json(self, ws: Any) -> object:
        return object()

    async def on_ws_too_long(self, ws: Any) -> str:
        return 'secret'.ljust(1_048_576)


FAILURES: dict[str, list[str | bytes]] = {
    'the frame is not JSON': ['{', '', '{"type": "fine", "payload": NaN}', '"\\ud800"'],
    'the message is not an object': ['[]', '1', 'null'],
    '`type` is missing, or no text': ['{}', '{"type": 1}'],
    '`id` is null, or neither text nor a whole number within ±(2⁵³-1)': [
        '{"type": "fine", "id": null}',
        '{"type": "fine", "id": 1.5}',
        '{"type": "fine", "id": 9007199254740992}',
    ],
    'a binary frame comes, and the app has no usable BINARY media handler': [b'{}'],
    'nothing handles the type': ['{"type": "other"}', '{"type": "connect"}', '{"type": ""}'],
    'the handler raises a `falcon.HTTPError`': ['{"type": "http_error"}'],
    'the handler raises a `falcon.HTTPStatus`': ['{"type": "http_status"}'],
    'the handler raises `InvalidName`': ['{"type": "invalid_name"}'],
    'the handler raises `InvalidTopic`': ['{"type": "invalid_topic"}'],
    'the handler raises `ConnectionNotFound`': ['{"type": "not_found"}'],
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
        for frame in FAILURES[what]:
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


async def refuse_hook(req: object, resp: object, resource: object, params: object) -> None:
    """Stand for a hook that checks."""


class WithHttp:
    async def on_get(self, req: object, resp: object) -> None:
        """Answer HTTP."""

    async def on_ws_x(self, ws: object) -> None:
        """Answer a message."""


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
    'a URI field called `ws`, `payload` or like another argument of ours': lambda: app_of(
        '/{payload}', on_ws_x=handler
    ),
    'an unknown `ws_…` class attribute': lambda: app_of(on_ws_x=handler, ws_limit=1),
    'a `ws_…` setting of a wrong kind': lambda: app_of(on_ws_x=handler, ws_slow_consumer='wait'),
    'a policy that is none of its words, in `install`': lambda: install(
        falcon.asgi.App(), disconnect_policy=cast('Any', 'wait')
    ),
    '`ws_client_topics` without `async def ws_authorize(self, ws, action, name)`': lambda: app_of(
        ws_client_topics=True
    ),
    '`ws_client_topics` and a handler for `subscribe` or `unsubscribe`': lambda: app_of(
        ws_client_topics=True, ws_authorize=authorize, on_ws_subscribe=handler
    ),
    'a limit that is no positive number': lambda: Limits(connect_timeout_seconds=0),
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
        await start(MISTAKES[what]())


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
}


async def shake_hands(port: int) -> str:
    """Try a handshake with a server of ours; return all that it says until it closes."""
    reader, writer = await asyncio.open_connection('127.0.0.1', port)
    writer.write(
        b'GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
        b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n'
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
    connect, status, detail = REFUSALS[how]
    refusing = resource(on_ws_connect=connect, ws_limits=Limits(connect_timeout_seconds=0.05))
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
    internal = {'forget_all'}
    calls = {'backend'}  # an attribute of each manager
    for name, member in vars(WebSocketConnectionManager).items():
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
    ):
        of_report = {field.name for field in fields(report)}
        assert documented(page, f'field of `{report.__name__}`') == of_report
    troubles = {field.name for field in fields(Counters)} - {'delivered'}
    assert documented('slow-peers.md', 'counter') == troubles
    assert documented('workers.md', 'state') == set(get_args(WorkerState))
    for heading, words in (('policy', SlowConsumer), ('disconnect policy', DisconnectPolicy)):
        policies = {re.sub(' .*', '', cell) for cell in first_column('slow-peers.md', heading)}
        assert {word.strip("`'") for word in policies} == set(get_args(words))


def test_each_default_of_a_limit_is_as_its_table_says() -> None:
    units = {'KiB': 1024, 'MiB': 1024**2}
    for name, default, _ in table_of('handlers.md', 'limit'):
        number, _, unit = default.partition(' ')
        assert getattr(Limits(), name.strip('`')) == int(number) * units.get(unit, 1)


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
