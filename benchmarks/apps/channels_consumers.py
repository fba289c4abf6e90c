"""The consumers of Django Channels: JSON, and a group. A process has one app with one layer."""

from __future__ import annotations

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
import django
from django.conf import settings
from django.urls import path


class Echo(AsyncJsonWebsocketConsumer):  # type: ignore[misc]  # it is not installed where mypy is
    """Answers each message with itself."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Answer."""
        if content['type'] == 'echo':
            await self.send_json({'type': 'echo', 'payload': content['payload']})


class Room(AsyncJsonWebsocketConsumer):  # type: ignore[misc]
    """One group for all."""

    groups = ('all',)

    async def connect(self) -> None:
        """Greet; the group is joined already."""
        await self.accept()
        await self.send_json({'type': 'joined'})

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Send what a member says to all."""
        if content['type'] == 'say':
            said = {'type': 'said', 'payload': content['payload']}
            await self.channel_layer.group_send('all', said)

    async def said(self, event: Any) -> None:
        """Deliver it to one of them."""
        await self.send_json(event)


def app_on(layer: str, **config: object) -> ProtocolTypeRouter:
    """The app, on a channel layer with this configuration."""
    settings.configure(
        CHANNEL_LAYERS={'default': {'BACKEND': layer, 'CONFIG': config}}, LOGGING_CONFIG=None
    )
    django.setup()
    return ProtocolTypeRouter(
        {'websocket': URLRouter([path('echo', Echo.as_asgi()), path('room', Room.as_asgi())])}
    )
