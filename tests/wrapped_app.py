"""A small app for tests that start a server process."""

from __future__ import annotations

import os
from typing import Any

import falcon.asgi

from falcon_ws_mw import WebSocket, WebSocketLifespan, install


class Echo:
    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.media = {'pid': os.getpid()}

    async def on_ws_echo(self, ws: WebSocket, payload: Any) -> Any:
        return payload


def make() -> WebSocketLifespan:
    wrapped = install(falcon.asgi.App())
    wrapped.add_route('/echo', Echo())
    return wrapped


async def never_ending() -> None:
    """A worker for the test of `--lifespan off`."""
    raise RuntimeError('it ran')


def make_with_worker() -> WebSocketLifespan:
    wrapped = make()
    wrapped.add_websocket_worker(never_ending)
    return wrapped


def make_bare() -> falcon.asgi.App[Any, Any]:
    """The result of `install` is forgotten."""
    bare: falcon.asgi.App[Any, Any] = falcon.asgi.App()
    install(bare)
    bare.add_route('/echo', Echo())
    return bare


app = make()
bare = make_bare()
