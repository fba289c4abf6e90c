"""The chat rooms: what happens on a socket at `/ws/chat/{room_name}`."""

from datetime import UTC, datetime
import logging
import re

import falcon
from falcon.asgi import Request

from falcon_ws_mw import BackendUnavailable, Message, WebSocket, sends

from .messages import (
    Announcement,
    Here,
    Missed,
    NewMessage,
    Presence,
    SendMessage,
    SetTyping,
    UserTyping,
    Welcome,
)
from .sessions import require_user

# The library's rooms are names without meaning. A prefix keeps those of the chat apart from other
# rooms of the same app, and lets `get_rooms_by_prefix` find them all.
ROOM_PREFIX = 'chat:'

_ROOM_NAME = re.compile(r'[\w-]{1,32}')

logger = logging.getLogger(__name__)


@sends('serverAnnouncement', Announcement, description='Said in every room, now and then.')
@sends('serverMissed', Missed, description='Said where several processes serve: look again.')
class ChatRoom:
    """A room to talk in: everybody in it gets what any of them says."""

    # A plain Falcon resource: one object for all rooms and connections, hence without state. What
    # belongs to one connection is on `ws`, what belongs to a room is with `ws.manager`.

    @sends('serverWelcome', Welcome, description='Said to a new connection, before all else.')
    @sends('serverUserJoined', Presence, description='Said to the others in the room.')
    async def on_ws_connect(self, req: Request, ws: WebSocket, room_name: str) -> None:
        """Let a user in; what is said here is delivered right after the accept.

        Raises:
            falcon.HTTPUnauthorized: Nobody is logged in. The handshake is refused with 401.
            falcon.HTTPBadRequest: No room can have that name.
        """
        user = require_user(req)
        room = _to_library_room(room_name)
        # Identified before joining, so that the room never counts a connection without a user.
        # The socket ends with the session, which would else be outlived by it.
        await ws.identify(user, req.context.session_ends_at)
        await ws.join_room(room)
        users = await ws.manager.get_users_in_room(room)
        await ws.send_message('serverWelcome', Welcome(room_name, user, users))
        await ws.broadcast_to_room(
            room, Message('serverUserJoined', Presence(user, users)), exclude_self=True
        )

    @sends('serverNewMessage', NewMessage, description='Said to everybody in the room.')
    async def on_ws_clientSendMessage(
        self, ws: WebSocket, payload: SendMessage, room_name: str
    ) -> None:
        """Pass a text on to everybody, the sender included: all see the same order."""
        said = NewMessage(_user_of(ws), payload.text.strip(), datetime.now(UTC))
        await ws.broadcast_to_room(_to_library_room(room_name), Message('serverNewMessage', said))

    @sends('serverUserTyping', UserTyping, description='Said to the others in the room.')
    async def on_ws_clientTyping(self, ws: WebSocket, payload: SetTyping, room_name: str) -> None:
        """Tell the others that somebody started or stopped writing."""
        await ws.broadcast_to_room(
            _to_library_room(room_name),
            Message('serverUserTyping', UserTyping(_user_of(ws), payload.typing)),
            exclude_self=True,
        )

    async def on_ws_clientLook(self, ws: WebSocket, room_name: str) -> Here:
        """Say who is in the room, to a client that may have missed who came and left."""
        return Here(await ws.manager.get_users_in_room(_to_library_room(room_name)))

    @sends(
        'serverUserLeft',
        Presence,
        description='Said to the others in the room, however the connection ended.',
    )
    async def on_ws_disconnect(self, ws: WebSocket, close_code: int, room_name: str) -> None:
        """Tell the others, whether the user left, the network broke or the server closed.

        The room no longer counts this connection; `users` still names its user if another one of
        theirs is in the room.
        """
        room = _to_library_room(room_name)
        try:
            users = await ws.manager.get_users_in_room(room)
            await ws.broadcast_to_room(
                room, Message('serverUserLeft', Presence(_user_of(ws), users)), exclude_self=True
            )
        except BackendUnavailable as error:  # only where several processes serve
            logger.warning('nobody could be told who left %s: %s', room, error)
        logger.debug('connection %s left %s with close code %s', ws.id, room, close_code)


def _user_of(ws: WebSocket) -> str:
    if ws.user_id is None:  # on_ws_connect has identified everybody
        raise falcon.HTTPUnauthorized(description='Log in first: POST /session.')
    return ws.user_id


def _to_library_room(room_name: str) -> str:
    if not _ROOM_NAME.fullmatch(room_name):
        raise falcon.HTTPBadRequest(
            title='Invalid room name',
            description='A room is named by 1 to 32 letters, digits, "_" or "-".',
        )
    return ROOM_PREFIX + room_name
