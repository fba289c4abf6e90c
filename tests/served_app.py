"""An app for `test_servers`: served by a process of its own, it tells the test what it saw.

What happens in it goes as JSON lines to the TCP port that `SERVED_APP_EVENTS` names, so that the
test waits for what happened and not for time.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import os
import socket
from typing import Any

import falcon
import falcon.asgi

from falcon_ws_mw import WebSocket, WebSocketLifespan, handles_message, install

send_now = asyncio.Event()


@functools.cache
def _events() -> socket.socket:
    return socket.create_connection(('127.0.0.1', int(os.environ['SERVED_APP_EVENTS'])))


def tell(event: str, **facts: Any) -> None:
    _events().sendall(json.dumps({'event': event, **facts}).encode() + b'\n')


class TellingHandler(logging.Handler):
    """Tells what Falcon, the library and asyncio log, whatever the server does with its log."""

    def emit(self, record: logging.LogRecord) -> None:
        text = f'{record.levelname} {record.name}: {record.getMessage()}'
        if record.exc_info:
            text += '\n' + (self.formatter or logging.Formatter()).formatException(record.exc_info)
        tell('logged', text=text)


class Room:
    ws_crash_policy = 'close'

    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket, name: str) -> None:
        await ws.identify(name)
        await ws.send_message('welcome', name)

    async def on_ws_join(self, ws: WebSocket, payload: str) -> None:
        await ws.join_room(payload)

    async def on_ws_echo(self, ws: WebSocket, payload: Any) -> Any:
        return payload

    async def on_ws_tell_all(self, ws: WebSocket, payload: dict[str, Any], name: str) -> None:
        for number in range(payload['count']):
            await ws.broadcast_to_room(payload['room'], {'number': number}, exclude_self=True)

    async def on_ws_sender(self, ws: WebSocket, name: str) -> None:
        """Be busy with sending only."""
        tell('ready to send', name=name)
        await send_now.wait()
        raised = False
        try:
            for _ in range(200):
                await ws.send_text('x' * 1_000)
                await asyncio.sleep(0)  # uvicorn's send does not yield, not even to notice the end
        except falcon.WebSocketDisconnected:
            raised = True
        tell('sent', name=name, raised=raised)

    @handles_message('send now')
    async def let_send(self, ws: WebSocket) -> None:
        send_now.set()

    async def on_ws_leave(self, ws: WebSocket) -> None:
        await ws.close(4002, 'enough')

    async def on_ws_kick(self, ws: WebSocket, payload: str) -> None:
        await ws.manager.close_user(payload, 4003, 'kicked')

    async def on_ws_crash(self, ws: WebSocket) -> None:
        raise LookupError('expected')

    async def on_ws_disconnect(self, ws: WebSocket, close_code: int, name: str) -> None:
        tell('disconnected', name=name, code=close_code)


class Refusing:
    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket, how: str) -> bool:
        if how == 'error':
            raise falcon.HTTPUnauthorized(title='Who is it?', headers={'X-Reason': 'none'})
        return False

    async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
        tell('disconnected', name='refused', code=close_code)


async def worker() -> None:
    tell('worker started')
    try:
        await asyncio.Event().wait()
    finally:
        tell('worker stopped')


def make() -> WebSocketLifespan:
    for name in ('falcon', 'falcon_ws_mw', 'asyncio'):
        logging.getLogger(name).addHandler(TellingHandler())
    wrapped = install(falcon.asgi.App())
    wrapped.add_route('/room/{name}', Room())
    wrapped.add_route('/refusing/{how}', Refusing())
    wrapped.add_websocket_worker(worker)
    return wrapped


app = make()
