"""Logging in and out over HTTP.

The demo asks for a name and no password: anybody may log in as anybody. Put your own log-in here;
the rest of the app only reads `req.context.user`.
"""

import contextlib

import falcon
from falcon.asgi import Request, Response

from falcon_ws_mw import ConnectionNotFound, WebSocketConnectionManager

from .fields import read_name
from .sessions import SESSION_COOKIE, SESSION_LIFETIME_SECONDS, SessionStore, require_user

# Falcon's own code for a socket that its 401 ends: 3000 + the HTTP status.
CLOSE_UNAUTHORIZED = 3401


class SessionResource:
    """`/session`: the session of whoever asks."""

    def __init__(self, sessions: SessionStore, manager: WebSocketConnectionManager) -> None:
        self._sessions = sessions
        self._manager = manager

    async def on_get(self, req: Request, resp: Response) -> None:
        """Say who is logged in, which a page cannot read from an HttpOnly cookie."""
        resp.media = {'user': require_user(req)}
        resp.cache_control = ['no-store']

    async def on_post(self, req: Request, resp: Response) -> None:
        """Log in: browsers keep the cookie, other clients the token."""
        user = read_name(await req.get_media(), 'user')
        token = await self._sessions.create(user)
        resp.set_cookie(
            SESSION_COOKIE,
            token,
            max_age=SESSION_LIFETIME_SECONDS,
            path='/',
            http_only=True,
            same_site='Lax',
            # The demo speaks plain http, where browsers may drop a Secure cookie. Behind https
            # leave this line out: Falcon's default is True.
            secure=False,
        )
        resp.status = falcon.HTTP_201
        resp.media = {'token': token, 'user': user}
        resp.cache_control = ['no-store']

    async def on_delete(self, req: Request, resp: Response) -> None:
        """Log out, everywhere this session is in use."""
        require_user(req)
        token: str = req.context.session_token
        await self._sessions.discard(token)
        resp.unset_cookie(SESSION_COOKIE, path='/')
        resp.status = falcon.HTTP_204
        await close_sockets_of(self._manager, token)


async def close_sockets_of(manager: WebSocketConnectionManager, token: str) -> None:
    """Close the sockets that a session, which has ended, has in this process.

    A handshake is checked once, a socket lives on: without this its tabs could go on talking.
    """
    for connection_id, ws in list(manager.connections.items()):
        if ws.context.get('session_token') == token:
            # It may have left by itself while another one was being closed.
            with contextlib.suppress(ConnectionNotFound):
                await manager.close_connection(connection_id, CLOSE_UNAUTHORIZED, 'Logged out')
