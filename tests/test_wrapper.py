"""The wrapper stands wherever the app stood: attributes, tools, servers, tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
import json
from pathlib import Path
import re
import subprocess
import sys
from typing import Any

from asgi_lifespan import LifespanManager
import falcon
import falcon.asgi
from falcon.asgi.ws import WebSocketOptions
import falcon.inspect
import falcon.testing
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from falcon_ws_mw import (
    ConfigurationError,
    WebSocket,
    WebSocketConnectionManager,
    WebSocketDispatchMiddleware,
    WebSocketLifespan,
    install,
)

from .conftest import Logs
from .servers import PATIENCE_SECONDS, free_port, serve
from .wrapped_app import Echo

ROOT = Path(__file__).parents[1]


# -- it is the app


def test_attributes_are_read_from_and_set_on_the_app() -> None:
    bare: Any = falcon.asgi.App()
    app = install(bare)
    options = WebSocketOptions()
    app.ws_options = options
    assert bare.ws_options is options
    assert app.req_options is bare.req_options
    assert 'add_route' in dir(app)
    with pytest.raises(AttributeError):
        _ = app.nonsense
    with pytest.raises(AttributeError):
        app.nonsense = 1
    with pytest.raises(AttributeError):
        app.ws_connection_manager = WebSocketConnectionManager()  # type: ignore[misc]


def test_it_is_an_instance_of_both() -> None:
    class App(falcon.asgi.App):  # type: ignore[type-arg]
        pass

    app: object = install(App())
    for cls in (WebSocketLifespan, App, falcon.asgi.App, falcon.App):
        assert isinstance(app, cls)


def test_falcon_inspect_sees_the_app() -> None:
    app: Any = install(falcon.asgi.App())
    app.add_route('/echo', Echo())
    text = falcon.inspect.inspect_app(app).to_string()
    assert '/echo' in text
    assert 'Echo' in text


def test_falcon_inspect_app_runs_on_it() -> None:
    result = subprocess.run(
        [sys.executable, '-m', 'falcon.cmd.inspect_app', 'tests.wrapped_app:app'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert '/echo' in result.stdout


# -- it is installed once, and served


def test_installing_twice_is_an_error() -> None:
    bare: Any = falcon.asgi.App()
    app: Any = install(bare)
    for again in (app, bare):
        with pytest.raises(ConfigurationError, match='once'):
            install(again)
    explicit: Any = falcon.asgi.App(
        middleware=[WebSocketDispatchMiddleware(WebSocketConnectionManager())]
    )
    with pytest.raises(ConfigurationError, match='not beside'):
        install(explicit)


@pytest.mark.parametrize('app', [falcon.App(), object(), None], ids=['WSGI', 'object', 'None'])
def test_only_a_falcon_asgi_app_can_be_wrapped(app: Any) -> None:
    with pytest.raises(ConfigurationError, match=r'not a falcon\.asgi\.App'):
        install(app)


@pytest.mark.parametrize(
    ('options', 'named'),
    [
        ({'crash_policy': 'ignore'}, 'crash_policy'),
        ({'refusals': '403'}, 'refusals'),
        ({'backend': 'nats://x'}, 'nats://x'),
        ({'manager': WebSocketConnectionManager(), 'backend': 'redis://x'}, 'a manager has'),
    ],
)
def test_a_wrong_option_is_said_at_once(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        install(falcon.asgi.App(), **options)


async def test_a_forgotten_wrapper_stops_the_start() -> None:
    bare: Any = falcon.asgi.App()
    install(bare)
    with pytest.raises(RuntimeError, match=r'app = install\(app\)'):
        async with falcon.testing.ASGIConductor(bare):
            pass


async def test_a_forgotten_wrapper_stops_each_handshake_without_lifespan(logs: Logs) -> None:
    bare: Any = falcon.asgi.App()
    install(bare)
    bare.add_route('/echo', Echo())
    async with serve(bare, lifespan='off') as served:
        with pytest.raises(InvalidStatus):
            async with served.client('/echo'):
                pass
    assert any('Unhandled exception' in line for line in logs.take())


# -- the explicit form


async def test_the_explicit_form_dispatches() -> None:
    manager = WebSocketConnectionManager()
    bare: Any = falcon.asgi.App(middleware=[WebSocketDispatchMiddleware(manager)])
    app = WebSocketLifespan(bare, manager)
    app.add_route('/echo', Echo())
    await assert_echoes(app)


async def test_the_explicit_form_checks_that_nothing_comes_after_it() -> None:
    class Later:
        async def process_request_ws(self, req: Any, ws: Any) -> None:
            pass

    manager = WebSocketConnectionManager()
    bare: Any = falcon.asgi.App(middleware=[WebSocketDispatchMiddleware(manager), Later()])
    app = WebSocketLifespan(bare, manager)
    app.add_route('/echo', Echo())
    await assert_does_not_start(app, 'WebSocket hooks of .*Later would never run')
    with pytest.raises(falcon.WebSocketDisconnected):  # nor does it serve without a start
        async with falcon.testing.ASGIConductor(PretendingToStart(app)).simulate_ws('/echo'):
            pass


async def test_the_explicit_form_needs_its_middleware_and_one_manager() -> None:
    bare: Any = falcon.asgi.App()
    await assert_does_not_start(
        WebSocketLifespan(bare, WebSocketConnectionManager()), 'without WebSocketDispatch'
    )
    other: Any = falcon.asgi.App(
        middleware=[WebSocketDispatchMiddleware(WebSocketConnectionManager())]
    )
    await assert_does_not_start(
        WebSocketLifespan(other, WebSocketConnectionManager()), 'different managers'
    )


# -- middleware order


async def test_components_added_after_install_and_after_start_run_before_the_first_message() -> (
    None
):
    seen: list[str] = []

    class Component:
        def __init__(self, name: str) -> None:
            self.name = name

        async def process_request_ws(self, req: Any, ws: Any) -> None:
            seen.append(f'{self.name} request')

        async def process_resource_ws(self, req: Any, ws: Any, res: Any, params: Any) -> None:
            seen.append(f'{self.name} resource')

    class Resource(Echo):
        async def on_ws_connect(self, req: Any, ws: Any) -> None:
            seen.append('connect')

    app = install(falcon.asgi.App(middleware=[Component('a')]))
    app.add_middleware(Component('b'))
    app.add_route('/echo', Resource())
    async with falcon.testing.ASGIConductor(app) as conductor:
        async with conductor.simulate_ws('/echo'):
            pass
        assert seen == ['a request', 'b request', 'a resource', 'b resource', 'connect']
        seen.clear()
        app.add_middleware(Component('c'))
        for _ in range(2):
            async with conductor.simulate_ws('/echo'):
                pass
            assert seen == [
                *(f'{name} {hook}' for hook in ('request', 'resource') for name in 'abc'),
                'connect',
            ]
            seen.clear()


async def test_a_component_without_websocket_hooks_may_come_after_the_explicit_form() -> None:
    class HttpOnly:
        async def process_request(self, req: Any, resp: Any) -> None:
            pass

    manager = WebSocketConnectionManager()
    bare: Any = falcon.asgi.App(middleware=[WebSocketDispatchMiddleware(manager), HttpOnly()])
    app = WebSocketLifespan(bare, manager)
    app.add_route('/echo', Echo())
    await assert_echoes(app)


# -- lifespan


async def test_workers_run_between_the_apps_own_start_and_shutdown() -> None:
    seen: list[str] = []
    started = asyncio.Event()

    class Component:
        async def process_startup(self, scope: Any, event: Any) -> None:
            seen.append('app starts')

        async def process_shutdown(self, scope: Any, event: Any) -> None:
            seen.append('app stops')

    async def worker() -> None:
        seen.append('worker starts')
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            seen.append('worker stops')

    app = install(falcon.asgi.App(middleware=[Component()]))
    app.add_websocket_worker(worker)
    async with LifespanManager(app):
        await started.wait()
    assert seen == ['app starts', 'worker starts', 'worker stops', 'app stops']


async def test_a_failing_start_of_the_app_starts_no_worker_and_is_passed_on() -> None:
    class Component:
        async def process_startup(self, scope: Any, event: Any) -> None:
            raise RuntimeError('no database')

    app = install(falcon.asgi.App(middleware=[Component()]))
    app.add_websocket_worker(asyncio.sleep, 0)
    await assert_does_not_start(app, 'no database')
    assert app.ws_connection_manager.stats().workers[0].state == 'waiting'


def test_one_app_serves_several_event_loops_in_turn() -> None:
    app = install(falcon.asgi.App())
    app.add_route('/echo', Echo())
    runs: list[object] = []

    async def worker() -> None:
        runs.append(asyncio.get_running_loop())
        await asyncio.Event().wait()

    app.add_websocket_worker(worker)
    for _ in range(3):
        asyncio.run(assert_echoes(app))
    assert len(set(map(id, runs))) == 3


async def test_a_wrong_resource_stops_the_start_with_file_method_and_cure() -> None:
    class Wrong:
        def on_ws_hello(self, ws: WebSocket) -> None:
            pass

    app = install(falcon.asgi.App())
    app.add_route('/wrong', Wrong())
    await assert_does_not_start(
        app, r'test_wrapper\.py:\d+: .*Wrong\.on_ws_hello is not a coroutine function: write'
    )


async def test_a_wrong_resource_added_later_is_refused_and_said_once(logs: Logs) -> None:
    class Wrong:
        async def on_ws_hello(self, ws: WebSocket, nonsense: int) -> None:
            pass

    app = install(falcon.asgi.App())
    async with serve(app) as served:
        app.add_route('/wrong', Wrong())
        for _ in range(2):
            with pytest.raises(InvalidStatus) as refused:
                async with served.client('/wrong'):
                    pass
            assert refused.value.response.status_code == 500
    assert len([line for line in logs.take() if "parameter 'nonsense'" in line]) == 1


async def test_attributes_that_answer_anything_do_not_make_a_route_ours() -> None:
    class Anything:
        def __getattr__(self, name: str) -> Any:
            if name == 'x':
                raise RuntimeError('not bound')
            return 'anything'

    class Old:
        proxy = Anything()

        async def on_websocket(self, req: Any, ws: Any) -> None:
            await ws.accept()
            await ws.send_text('old')
            await ws.receive_text()

    app = install(falcon.asgi.App())
    app.add_route('/old', Old())
    async with falcon.testing.ASGIConductor(app) as conductor, conductor.simulate_ws('/old') as ws:
        assert await ws.receive_text() == 'old'


async def test_a_resource_that_falcon_would_pass_over_stops_the_start() -> None:
    class Empty(Echo):
        def __len__(self) -> int:
            return 0

    app = install(falcon.asgi.App())
    app.add_route('/empty', Empty())
    await assert_does_not_start(app, "Empty at '/empty' is false")


# -- servers and other ASGI software


async def test_http_passes_through(ws_implementation: str) -> None:
    app = install(falcon.asgi.App())
    app.add_route('/echo', Echo())
    result = await falcon.testing.ASGIConductor(app).simulate_get('/echo')
    assert result.status_code == 200


async def test_other_asgi_middleware_may_stand_around_it(ws_implementation: str) -> None:
    seen: list[str] = []
    app = install(falcon.asgi.App())
    app.add_route('/echo', Echo())

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        async def watched(event: Any) -> None:
            seen.append(event['type'])
            await send(event)

        await app(scope, receive, watched)

    async with serve(outer, ws_implementation) as served, served.client('/echo') as client:
        assert (await client.ask({'type': 'echo', 'id': 1, 'payload': 2}))['payload'] == 2
    assert seen[:3] == ['lifespan.startup.complete', 'websocket.accept', 'websocket.send']


@asynccontextmanager
async def uvicorn_process(*arguments: str) -> AsyncIterator[tuple[int, subprocess.Popen[str]]]:
    port = free_port()
    command = [sys.executable, '-W', 'error', '-m', 'uvicorn', '--port', str(port), *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield port, process
        finally:
            process.terminate()
            try:
                await asyncio.to_thread(process.wait, PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


async def wait_for_line(process: subprocess.Popen[str], text: str, times: int = 1) -> list[str]:
    assert process.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while sum(text in line for line in lines) < times:
            line = await asyncio.to_thread(process.stdout.readline)
            assert line, lines
            lines.append(line)
    return lines


@pytest.mark.parametrize(
    ('arguments', 'processes'),
    [
        (['tests.wrapped_app:app'], 1),
        (['--factory', 'tests.wrapped_app:make'], 1),
        (['--workers', '2', 'tests.wrapped_app:app'], 2),
        (['--lifespan', 'off', 'tests.wrapped_app:app'], 1),
    ],
    ids=['app', 'factory', 'workers', 'lifespan off'],
)
async def test_uvicorn_serves_it(arguments: list[str], processes: int) -> None:
    async with uvicorn_process(*arguments) as (port, process):
        if processes > 1:
            await wait_for_line(process, 'Application startup complete', processes)
        else:
            await wait_for_line(process, 'Uvicorn running')
        for number in range(4):
            async with connect(f'ws://127.0.0.1:{port}/echo') as client:
                await client.send(json.dumps({'type': 'echo', 'id': number, 'payload': 'x'}))
                answer = {'type': 'reply', 'id': number, 'payload': 'x'}
                assert json.loads(await client.recv()) == answer


async def test_uvicorn_reloads_it(tmp_path: Path) -> None:
    module = tmp_path / 'reloaded.py'
    source = (ROOT / 'tests' / 'wrapped_app.py').read_text()
    module.write_text(source)
    arguments = ['--reload', '--reload-dir', str(tmp_path), '--app-dir', str(tmp_path)]
    async with uvicorn_process(*arguments, 'reloaded:app') as (_, process):
        await wait_for_line(process, 'Application startup complete')
        noticed = asyncio.create_task(wait_for_line(process, 'Reloading'))
        while not noticed.done():  # uvicorn does not say from when on it watches
            module.touch()
            await asyncio.wait([noticed], timeout=0.2)
        await noticed
        await wait_for_line(process, 'Application startup complete')


async def test_without_lifespan_workers_that_cannot_run_are_said(logs: Logs) -> None:
    app = install(falcon.asgi.App())
    app.add_route('/echo', Echo())
    app.add_websocket_worker(asyncio.sleep, 0)
    async with serve(app, lifespan='off') as served:
        for _ in range(2):
            async with served.client('/echo'):
                pass
    [line] = logs.take()
    assert 'no worker runs' in line


async def test_uvicorn_does_not_start_a_forgotten_wrapper() -> None:
    async with uvicorn_process('tests.wrapped_app:bare') as (_, process):
        lines = await wait_for_line(process, 'Application startup failed')
    assert any(re.search(r'app = install\(app\)', line) for line in lines)


# -- tools


class PretendingToStart:
    """An ASGI app that lets only WebSocket scopes through."""

    def __init__(self, app: WebSocketLifespan) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)


async def assert_echoes(app: WebSocketLifespan) -> None:
    async with falcon.testing.ASGIConductor(app) as conductor:
        async with conductor.simulate_ws('/echo') as ws:
            await ws.send_json({'type': 'echo', 'id': 1, 'payload': 'x'})
            assert await ws.receive_json() == {'type': 'reply', 'id': 1, 'payload': 'x'}


async def assert_does_not_start(app: WebSocketLifespan, because: str) -> None:
    with pytest.raises(RuntimeError, match=because):
        async with falcon.testing.ASGIConductor(app):
            pass
