"""Announcements to all rooms: speaking to sockets from outside a connection.

A background worker and an HTTP resource do it, each by the manager that it was given.
"""

import asyncio
from datetime import UTC, datetime

from falcon.asgi import Request, Response

from falcon_ws_mw import Message, WebSocketConnectionManager

from .fields import read_text
from .messages import Announcement
from .rooms import ROOM_PREFIX
from .sessions import require_user


async def announce(manager: WebSocketConnectionManager, text: str) -> tuple[int, int]:
    """Say `text` in every chat room.

    Returns:
        The number of rooms, and of connections of this process that the announcement is on its
        way to. A peer that does not read is not waited for.
    """
    rooms = await manager.get_rooms_by_prefix(ROOM_PREFIX)
    queued = 0
    for room in rooms:
        report = await manager.broadcast_to_room(
            room, Message('serverAnnouncement', Announcement(text))
        )
        queued += report.queued
    return len(rooms), queued


async def announce_periodically(
    manager: WebSocketConnectionManager, interval_seconds: float
) -> None:
    """Say the time of day in every chat room, for ever: a worker of the app.

    The library starts it with the app, restarts it if it fails and cancels it at shutdown.
    """
    while True:
        await asyncio.sleep(interval_seconds)
        await announce(manager, f'It is {datetime.now(UTC):%H:%M} UTC.')


class Announcements:
    """`/announcements`: for those who are logged in."""

    def __init__(self, manager: WebSocketConnectionManager) -> None:
        self._manager = manager

    async def on_post(self, req: Request, resp: Response) -> None:
        """Announce a text in all rooms."""
        require_user(req)
        text = read_text(await req.get_media(), 'text')
        rooms, queued = await announce(self._manager, text)
        resp.media = {'rooms': rooms, 'queued': queued}
