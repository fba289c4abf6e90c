"""Every shape of app that the library may be put around."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import falcon
import falcon.asgi
from falcon.routing import CompiledRouter
import falcon.testing
import pytest
from websockets.exceptions import InvalidStatus

from falcon_ws_mw import WebSocket, WebSocketLifespan, install

from .conftest import Logs
from .servers import serve


class Where:
    """Says where it was reached."""

    async def on_get(self, req: Any, resp: Any, **params: Any) -> None:
        resp.media = params

    async def on_ws_where(self, ws: WebSocket, **params: Any) -> Any:
        return [ws.req.uri_template, {name: repr(value) for name, value in params.items()}]


@asynccontextmanager
async def asking(app: WebSocketLifespan, path: str) -> AsyncIterator[Any]:
    async with falcon.testing.ASGIConductor(app) as conductor:
        async with conductor.simulate_ws(path) as ws:
            await ws.send_json({'type': 'where', 'id': 1})
            yield (await ws.receive_json())['payload']


async def test_one_resource_on_several_templates_with_converters() -> None:
    app = install(falcon.asgi.App())
    resource = Where()
    for template in (
        '/a',
        '/b/{name}',
        '/c/{number:int}',
        '/d/{day:dt("%Y-%m-%d")}',
        '/e/{rest:path}',
    ):
        app.add_route(template, resource)
    for path, answer in [
        ('/a', ['/a', {}]),
        ('/b/x', ['/b/{name}', {'name': "'x'"}]),
        ('/c/7', ['/c/{number:int}', {'number': '7'}]),
        ('/e/x/y', ['/e/{rest:path}', {'rest': "'x/y'"}]),
    ]:
        async with asking(app, path) as found:
            assert found == answer
    async with asking(app, '/d/2026-11-20') as found:
        assert 'datetime.datetime(2026, 11, 20' in found[1]['day']


async def test_a_field_of_one_template_needs_a_default_for_the_others() -> None:
    class Optional:
        async def on_ws_where(self, ws: WebSocket, name: str = 'nobody') -> str:
            return name

    class Needed:
        async def on_ws_where(self, ws: WebSocket, name: str) -> str:
            return name

    for resource, works in [(Optional(), True), (Needed(), False)]:
        app = install(falcon.asgi.App())
        app.add_route('/named/{name}', resource)
        app.add_route('/plain', resource)
        if works:
            async with asking(app, '/plain') as found:
                assert found == 'nobody'
            async with asking(app, '/named/ada') as found:
                assert found == 'ada'
        else:
            with pytest.raises(RuntimeError, match='give it a default'):
                async with falcon.testing.ASGIConductor(app):
                    pass


async def test_sinks_and_static_routes_go_on(tmp_path: Path, ws_implementation: str) -> None:
    (tmp_path / 'page.txt').write_text('static')

    async def sink(req: Any, resp: Any, ws: Any = None, **params: Any) -> None:
        if req.is_websocket:
            socket = ws or resp  # Falcon 4.0 passes it in place of the response
            await socket.accept()
            await socket.send_text('"sink"')
        else:
            resp.text = 'sink'

    app = install(falcon.asgi.App())
    app.add_route('/ws', Where())
    app.add_static_route('/static', tmp_path)
    app.add_sink(sink, '/sink')
    conductor = falcon.testing.ASGIConductor(app)
    assert (await conductor.simulate_get('/static/page.txt')).text == 'static'
    assert (await conductor.simulate_get('/sink')).text == 'sink'
    async with serve(app, ws_implementation) as served:
        async with served.client('/sink') as client:
            assert await client.receive() == 'sink'
        async with served.client('/ws') as client:
            assert (await client.ask({'type': 'where', 'id': 1}))['payload'] == ['/ws', {}]


class FlatRouter:
    """A router that knows whole paths only, and shows nobody its routes."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[Any, ...]] = {}

    def add_route(self, uri_template: str, resource: object, **kwargs: Any) -> None:
        helper = CompiledRouter()
        helper.add_route(uri_template, resource, **kwargs)
        found = helper.find(uri_template)
        assert found is not None
        self._found[uri_template] = found

    def find(self, uri: str, req: Any = None) -> Any:
        if req is None:
            raise RuntimeError('this router wants a request')
        return self._found.get(uri)


async def test_with_a_router_of_its_own_routes_are_checked_at_the_first_handshake(
    logs: Logs,
) -> None:
    class Wrong:
        async def on_ws_x(self, ws: WebSocket, nonsense: int) -> None:
            pass

    router: Any = FlatRouter()
    app = install(falcon.asgi.App(router=router))
    app.add_route('/ws', Where())
    app.add_route('/wrong', Wrong())
    async with asking(app, '/ws') as found:
        assert found == ['/ws', {}]
    async with serve(app) as served:
        for _ in range(2):
            with pytest.raises(InvalidStatus) as refused:
                async with served.client('/wrong'):
                    pass
            assert refused.value.response.status_code == 500
        async with served.client('/ws') as client:
            assert (await client.ask({'type': 'where', 'id': 1}))['payload'] == ['/ws', {}]
    ours = [line for line in logs.take() if line.startswith('falcon_ws_mw')]
    assert len(ours) == 1
    assert "nothing fills its parameter 'nonsense'" in ours[0]


async def test_subclasses_of_the_app_the_request_and_the_context() -> None:
    class Context:
        def __init__(self) -> None:
            self.user = 'ada'

    class Request(falcon.asgi.Request):
        context_type = Context

        @property
        def greeting(self) -> str:
            return 'hi'

    class App(falcon.asgi.App):  # type: ignore[type-arg]
        pass

    class Resource:
        async def on_ws_where(self, ws: WebSocket) -> Any:
            assert ws.context is ws.req.context
            return [type(ws.req).__name__, ws.context.user, ws.req.greeting]  # type: ignore[attr-defined]

    app = install(App(request_type=Request))
    app.add_route('/ws', Resource())
    async with asking(app, '/ws') as found:
        assert found == ['Request', 'ada', 'hi']


async def test_dependent_middleware() -> None:
    seen: list[str] = []

    class Component:
        async def process_request(self, req: Any, resp: Any) -> None:
            seen.append('request')

        async def process_request_ws(self, req: Any, ws: Any) -> None:
            seen.append('request_ws')

    app = install(falcon.asgi.App(middleware=[Component()], independent_middleware=False))
    app.add_route('/ws', Where())
    async with asking(app, '/ws') as found:
        assert found == ['/ws', {}]
    await falcon.testing.ASGIConductor(app).simulate_get('/ws')
    assert seen == ['request_ws', 'request']


async def test_two_apps_in_one_process_know_nothing_of_each_other() -> None:
    class Room:
        async def on_ws_connect(self, req: Any, ws: WebSocket) -> None:
            await ws.join_room('r')

        async def on_ws_count(self, ws: WebSocket) -> int:
            return await ws.manager.count_connections_in_room('r')

    apps = [install(falcon.asgi.App()) for _ in range(2)]
    shared = Room()
    for app in apps:
        app.add_route('/ws', shared)
    async with serve(apps[0]) as one, serve(apps[1]) as two:
        async with one.client('/ws') as a, one.client('/ws'), two.client('/ws') as b:
            assert (await a.ask({'type': 'count', 'id': 1}))['payload'] == 2
            assert (await b.ask({'type': 'count', 'id': 1}))['payload'] == 1


async def test_an_app_mounted_under_a_path_of_another(ws_implementation: str) -> None:
    inner = install(falcon.asgi.App())
    inner.add_route('/ws', Where())
    outer = install(falcon.asgi.App())
    outer.add_route('/ws', Where())

    async def mount(scope: Any, receive: Any, send: Any) -> None:
        path = scope.get('path', '')
        if path.startswith('/inner'):
            mounted = {**scope, 'root_path': '/inner', 'path': path.removeprefix('/inner')}
            await inner(mounted, receive, send)
        else:
            await outer(scope, receive, send)

    async with serve(mount, ws_implementation) as served:
        for path in ('/ws', '/inner/ws'):
            async with served.client(path) as client:
                assert (await client.ask({'type': 'where', 'id': 1}))['payload'] == ['/ws', {}]
    assert inner.ws_connection_manager.stats().connections_total == 1
    assert outer.ws_connection_manager.stats().connections_total == 1


# -- what is not ours stays as it was


class Old:
    """An old loop that shows all that such a loop can do."""

    async def on_websocket(
        self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket, how: str
    ) -> None:
        if how == 'refuse':
            raise falcon.HTTPUnauthorized
        if how == 'close first':
            await ws.close(4000)
            return
        if how == 'return first':
            return
        await ws.accept(subprotocol='chat', headers=[('x-a', 'b')])
        await ws.send_media({'ä': 1.5})
        if how == 'crash':
            raise RuntimeError('boom')
        if how == 'http':
            raise falcon.HTTPForbidden(title='no')
        if how == 'status':
            raise falcon.HTTPStatus(503)
        if how == 'bad code':
            await ws.close(70000)
        while True:
            text = await ws.receive_text()
            await ws.send_text(text)
            await ws.send_data(text.encode())
            if text == 'close':
                await ws.close(4001, 'bye')
                return


class HttpOnly:
    async def on_get(self, req: Any, resp: Any) -> None:
        pass


class OldMedia:
    async def on_websocket(self, req: Any, ws: falcon.asgi.WebSocket, how: str) -> None:
        await ws.accept()
        while True:
            await ws.send_media(await ws.receive_media())


CONVERSATIONS: list[tuple[str, list[str | bytes]]] = [
    ('/old/talk', ['a', '{"type":"x"}', 'ö' * 70_000, 'close']),
    ('/old/talk', ['a']),
    ('/old/talk', [b'binary is a PayloadTypeError']),
    ('/old/crash', []),
    ('/old/http', []),
    ('/old/status', []),
    ('/old/bad code', []),
    ('/old/refuse', []),
    ('/old/close first', []),
    ('/old/return first', []),
    ('/media/x', ['{"a": [1, null]}', 'not JSON']),
    ('/media/x', [b'\x81\xa1a\x01']),
    ('/nowhere', []),
    ('/http', []),
]


async def record(app: Any, ws_implementation: str, logs: Logs) -> list[Any]:
    """All that clients and the log see of a set of conversations."""
    app.add_route('/old/{how}', Old())
    app.add_route('/media/{how}', OldMedia())
    app.add_route('/http', HttpOnly())
    seen: list[Any] = []
    async with serve(app, ws_implementation) as served:
        logs.take()
        for path, messages in CONVERSATIONS:
            if path == '/old/bad code' and ws_implementation == 'websockets':
                continue  # it says nothing there, for 10 s
            seen.append(await record_one(served, path.replace(' ', '%20'), messages))
            while served.server.server_state.connections or served.server.server_state.tasks:
                await asyncio.sleep(0)
            seen.append([line for line in logs.take() if 'connection open' not in line])
    return seen


async def record_one(served: Any, path: str, messages: list[str | bytes]) -> list[Any]:
    frames: list[Any] = []
    try:
        async with served.client(path, subprotocols=['chat']) as client:
            connection = client.connection
            frames.append((connection.subprotocol, sorted(connection.response.headers.raw_items())))
            if path.startswith('/old'):
                frames.append(await connection.recv())
            for message in messages:
                await connection.send(message)
                frames.append(await connection.recv())
            if path.startswith('/old') and messages[-1:] != ['close'] and messages:
                frames.append(await connection.recv())
            elif messages[-1:] == ['close']:
                frames += [frame async for frame in connection]
            if not messages:
                frames.append(await client.closed())
    except InvalidStatus as error:
        response = error.response
        frames.append((response.status_code, bytes(response.body or b'')))
    except Exception as error:  # also a way for a conversation to end
        frames.append(repr(error))
    return [
        [item for item in frame if item] if isinstance(frame, list) else frame
        for frame in map(without_volatile, frames)
    ]


def without_volatile(frame: Any) -> Any:
    """A frame without what differs from one handshake to the next."""
    if isinstance(frame, tuple) and isinstance(frame[1], list):
        return frame[0], [
            (key, value)
            for key, value in frame[1]
            if key.lower() not in {'date', 'sec-websocket-accept'}
        ]
    return frame


async def test_a_route_that_is_not_ours_is_the_same_to_the_byte(
    ws_implementation: str, logs: Logs
) -> None:
    without = await record(falcon.asgi.App(), ws_implementation, logs)
    with_library = await record(install(falcon.asgi.App()), ws_implementation, logs)
    assert len(without) >= 2 * (len(CONVERSATIONS) - 1)
    assert with_library == without
