"""Litestar: a route with a loop, and the channels plugin in memory."""

from __future__ import annotations

from litestar import Litestar, WebSocket, websocket
from litestar.channels import ChannelsPlugin
from litestar.channels.backends.memory import MemoryChannelsBackend
from litestar.exceptions import WebSocketDisconnect


async def echo(socket: WebSocket) -> None:
    """Answer each message with itself."""
    await socket.accept()
    try:
        while True:
            message = await socket.receive_json()
            if message['type'] == 'echo':
                await socket.send_json({'type': 'echo', 'payload': message['payload']})
    except WebSocketDisconnect:
        return


async def room(socket: WebSocket, channels: ChannelsPlugin) -> None:
    """Send what a member says to all."""
    await socket.accept()
    try:
        async with (
            channels.start_subscription('all') as subscriber,
            subscriber.run_in_background(socket.send_text),
        ):
            await socket.send_json({'type': 'joined'})
            while True:
                message = await socket.receive_json()
                if message['type'] == 'say':
                    channels.publish({'type': 'said', 'payload': message['payload']}, 'all')
    except WebSocketDisconnect:
        return


app = Litestar(
    [websocket('/echo')(echo), websocket('/room')(room)],
    plugins=[ChannelsPlugin(backend=MemoryChannelsBackend(), channels=['all'])],
)
