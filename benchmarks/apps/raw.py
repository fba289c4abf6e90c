"""Raw ASGI with orjson: what any library on top of ASGI has to pay at least. The base."""

from __future__ import annotations

from typing import Any

import orjson

from falcon_ws_mw.asgi import Receive, Scope, Send

members: dict[
    Send, None
] = {}  # in the order of joining: kinder to the processor's cache than a set


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve both routes."""
    if scope['type'] != 'websocket':
        return
    await receive()
    await send({'type': 'websocket.accept'})
    await (echo if scope['path'] == '/echo' else room)(receive, send)


async def echo(receive: Receive, send: Send) -> None:
    """Answer each message with itself."""
    while True:
        event = await receive()
        if event['type'] == 'websocket.disconnect':
            return
        message = orjson.loads(event['text'])
        if message['type'] == 'echo':
            answer = {'type': 'echo', 'payload': message['payload']}
            await send({'type': 'websocket.send', 'text': orjson.dumps(answer).decode()})


async def room(receive: Receive, send: Send) -> None:
    """Send what a member says to all, one after the other, encoded once."""
    members[send] = None
    await send({'type': 'websocket.send', 'text': '{"type":"joined"}'})
    try:
        while True:
            event = await receive()
            if event['type'] == 'websocket.disconnect':
                return
            message = orjson.loads(event['text'])
            if message['type'] == 'say':
                await say(message['payload'])
    finally:
        del members[send]


async def say(payload: Any) -> None:
    """One send for each member."""
    text = orjson.dumps({'type': 'said', 'payload': payload}).decode()
    event = {'type': 'websocket.send', 'text': text}
    for send in list(members):
        await send(event)
