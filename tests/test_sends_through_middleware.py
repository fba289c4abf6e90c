"""ASGI middleware around the server's send: what it does works, and what it breaks is said."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import falcon.asgi

from falcon_ws_mw import install
from falcon_ws_mw.asgi import ASGIApp, Event, Receive, Scope, Send
from falcon_ws_mw.lifespan import WebSocketLifespan

from .conftest import Logs
from .servers import PATIENCE_SECONDS
from .test_connection import settled, soon
from .test_slow_consumers import REPLY, REQUEST, Peer, Resource

Around = Callable[[Send, Event], Awaitable[None]]


def sending_by(around: Around, app: ASGIApp) -> ASGIApp:
    """The app behind middleware that sends like that."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def own_send(event: Event) -> None:
            await around(send, event)

        await app(scope, receive, own_send)

    return wrapped


def app_of(resource: Resource) -> WebSocketLifespan:
    app = install(falcon.asgi.App())
    app.add_route('/ws', resource)
    return app


async def within_a_moment(send: Send, event: Event) -> None:
    async with asyncio.timeout(0.05):
        await send(event)


async def test_its_time_out_ends_its_send_and_nobody_elses_handler(logs: Logs) -> None:
    class Casting(Resource):
        async def on_ws_cast(self, ws: Any) -> str:
            await ws.broadcast_to_room('r', 'hello')
            await soon(stalled_one_has_ended.wait())
            return 'p'

    stalled_one_has_ended = asyncio.Event()
    resource = Casting()
    app = app_of(resource)
    speaker = Peer(app)
    stalled = Peer(sending_by(within_a_moment, app))
    await soon(resource.connected.get())
    await soon(resource.connected.get())
    await settled()  # both are accepted
    stalled.server.gate.clear()

    speaker.say('{"type":"cast","id":1}')
    await soon(stalled.server.reached.wait())
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not logs.lines:
            await asyncio.sleep(0)
    stalled.server.gate.set()
    stalled_one_has_ended.set()

    await speaker.leave()
    assert REPLY in speaker.heard()
    await stalled.leave()
    assert any('failed to send' in line for line in logs.take())


async def test_what_it_sets_for_a_send_it_can_reset(logs: Logs) -> None:
    variable: ContextVar[int] = ContextVar('variable')

    async def with_a_variable(send: Send, event: Event) -> None:
        token = variable.set(1)
        await send(event)
        variable.reset(token)

    resource = Resource()
    app = app_of(resource)
    peer = Peer(sending_by(with_a_variable, app))
    await soon(resource.connected.get())
    await settled()
    peer.server.gate.clear()
    await app.ws_connection_manager.broadcast_to_room('r', 'one')
    await settled()
    peer.server.gate.set()
    peer.say(REQUEST)
    await settled()
    await peer.leave()
    assert peer.heard() == ['one', REPLY]
    assert logs.lines == []


async def test_a_send_that_it_breaks_closes_by_1011(logs: Logs) -> None:
    broken = [True]

    async def breaking_once(send: Send, event: Event) -> None:
        if event['type'] == 'websocket.send' and broken:
            broken.clear()
            raise KeyError('a bug in a middleware')
        await send(event)

    resource = Resource()
    peer = Peer(sending_by(breaking_once, app_of(resource)))
    await soon(resource.connected.get())
    await settled()
    peer.say(REQUEST)
    await settled()
    assert peer.heard() == [1011]
    await peer.leave()
    assert [line for line in logs.take() if 'failed to send' in line]
