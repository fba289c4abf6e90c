"""Falcon alone, by somebody who measured: text, orjson, and no receive queue."""

from __future__ import annotations

import falcon
import falcon.asgi
import orjson

members: dict[falcon.asgi.WebSocket, None] = {}


class Echo:
    """Answers each message with itself."""

    async def on_websocket(self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
        """Talk."""
        try:
            await ws.accept()
            while True:
                message = orjson.loads(await ws.receive_text())
                if message['type'] == 'echo':
                    answer = {'type': 'echo', 'payload': message['payload']}
                    await ws.send_text(orjson.dumps(answer).decode())
        except falcon.WebSocketDisconnected:
            return


class Room:
    """One room for all; a broadcast is encoded once and sent to one after the other."""

    async def on_websocket(self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
        """Talk."""
        await ws.accept()
        members[ws] = None
        try:
            await ws.send_text('{"type":"joined"}')
            while True:
                message = orjson.loads(await ws.receive_text())
                if message['type'] == 'say':
                    said = {'type': 'said', 'payload': message['payload']}
                    text = orjson.dumps(said).decode()
                    for member in list(members):
                        await member.send_text(text)
        except falcon.WebSocketDisconnected:
            return
        finally:
            del members[ws]


app: falcon.asgi.App = falcon.asgi.App()  # type: ignore[type-arg]
app.ws_options.max_receive_queue = 0
app.add_route('/echo', Echo())
app.add_route('/room', Room())
