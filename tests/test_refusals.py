"""A refused handshake reaches the client with its real status where the server can say it."""

from __future__ import annotations

from typing import Any

import falcon
import falcon.asgi
import pytest
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from falcon_ws_mw import WebSocket, WebSocketLifespan, install

from .conftest import Logs
from .servers import serve


def unauthorized() -> falcon.HTTPUnauthorized:
    return falcon.HTTPUnauthorized(
        title='Who is it?',
        description='Log in first.',
        challenges=['Bearer'],
        headers={'X-Reason': 'none'},
    )


class InRequestHook:
    async def process_request_ws(self, req: Any, ws: Any) -> None:
        raise unauthorized()


class InResourceHook:
    async def process_resource_ws(self, req: Any, ws: Any, resource: Any, params: Any) -> None:
        raise unauthorized()


class Room:
    async def on_ws_ping(self, ws: WebSocket) -> None:
        pass


class Closed(Room):
    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        raise unauthorized()


class Moved(Room):
    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        raise falcon.HTTPTemporaryRedirect('/there')


class Old:
    """Not ours: what it raises stays as it was."""

    async def on_websocket(self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
        raise unauthorized()


async def refusal(app: WebSocketLifespan, ws_implementation: str, path: str = '/ws') -> Response:
    async with serve(app, ws_implementation) as served:
        with pytest.raises(InvalidStatus) as refused:
            async with served.client(path):
                pass
    return refused.value.response


def app_with(middleware: list[Any], resource: object, **options: Any) -> WebSocketLifespan:
    app = install(falcon.asgi.App(middleware=middleware), **options)
    app.add_route('/ws', resource)
    return app


@pytest.mark.parametrize(
    ('middleware', 'resource'),
    [([], Closed()), ([InRequestHook()], Room()), ([InResourceHook()], Room())],
    ids=['on_ws_connect', 'process_request_ws', 'process_resource_ws'],
)
async def test_an_http_error_before_the_accept_is_the_response(
    middleware: list[Any], resource: object, ws_implementation: str
) -> None:
    response = await refusal(app_with(middleware, resource), ws_implementation)
    assert response.status_code == 401
    assert response.headers['WWW-Authenticate'] == 'Bearer'
    assert response.headers['X-Reason'] == 'none'
    assert response.headers['Content-Type'] == 'application/json'
    assert response.body == unauthorized().to_json()


@pytest.mark.parametrize(('middleware', 'resource'), [([], Closed()), ([InRequestHook()], Room())])
async def test_refusals_close_keeps_the_plain_403(
    middleware: list[Any], resource: object, ws_implementation: str
) -> None:
    app = app_with(middleware, resource, refusals='close')
    assert (await refusal(app, ws_implementation)).status_code == 403


@pytest.mark.parametrize('middleware', [[], [InRequestHook()], [InResourceHook()]])
async def test_a_route_that_is_not_ours_is_refused_as_ever(
    middleware: list[Any], ws_implementation: str
) -> None:
    response = await refusal(app_with(middleware, Old()), ws_implementation)
    assert response.status_code == 403
    assert not response.body


@pytest.mark.parametrize('path', ['/nowhere', '/http'])
async def test_what_is_no_socket_stays_a_403(path: str, ws_implementation: str) -> None:
    class Http:
        async def on_get(self, req: Any, resp: Any) -> None:
            pass

    app = app_with([], Room())
    app.add_route('/http', Http())
    assert (await refusal(app, ws_implementation, path)).status_code == 403


async def test_a_client_follows_a_redirect(ws_implementation: str) -> None:
    app = app_with([], Moved())
    app.add_route('/there', Room())
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        assert (await client.ask({'type': 'ping', 'id': 1}))['type'] == 'reply'


async def test_refusing_in_on_ws_connect_writes_no_line_of_ours_or_falcons(logs: Logs) -> None:
    await refusal(app_with([], Closed()), 'wsproto')
    assert [line for line in logs.take() if line.startswith('falcon')] == []


async def test_the_status_survives_a_path_that_falcon_strips() -> None:
    app = app_with([InRequestHook()], Room())
    app.req_options.strip_url_path_trailing_slash = True
    assert (await refusal(app, 'wsproto', '/ws/')).status_code == 401


async def test_the_status_survives_a_path_that_another_component_rewrites() -> None:
    class Rewriting:
        async def process_request_ws(self, req: Any, ws: Any) -> None:
            req.path = '/ws'

    app = app_with([], Room())
    for component in (Rewriting(), InResourceHook()):
        app.add_middleware(component)
    assert (await refusal(app, 'wsproto', '/old')).status_code == 401


@pytest.mark.parametrize(
    'error',
    [falcon.HTTPBadRequest(description=object()), falcon.HTTPBadRequest(headers={'x': '\u20ac'})],  # type: ignore[arg-type]
    ids=['body', 'header'],
)
async def test_an_error_that_cannot_be_rendered_is_a_500_and_said(
    error: falcon.HTTPError, logs: Logs
) -> None:
    class Broken(Room):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            raise error

    assert (await refusal(app_with([], Broken()), 'wsproto')).status_code == 500
    [line] = logs.take()
    assert 'cannot be rendered' in line
