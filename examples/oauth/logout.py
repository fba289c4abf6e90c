"""Taking back: a log-out that closes sockets, and makes tokens worthless that are still good."""

import contextlib

import falcon
from falcon.asgi import Request, Response

from falcon_ws_mw import ConnectionNotFound, WebSocketConnectionManager

from .issuer import EndSession, Issuer, read_form
from .tokens import Claims, Revocations

CLOSE_UNAUTHORIZED = 3401
"""Come back with another token, or not at all: 3000 + the status of Falcon's HTTPUnauthorized."""


class SessionEnd:
    """Ends sessions as far as this app is concerned, whoever says so.

    That is the revocation endpoint below, or what your issuer tells you: by its back-channel
    log-out, say. To end all sessions of a user, also those on other devices, there is
    `manager.close_user`.
    """

    def __init__(self, revocations: Revocations, manager: WebSocketConnectionManager) -> None:
        self._revocations = revocations
        self._manager = manager

    async def end(self, session_id: str) -> None:
        """First the tokens, then the sockets: whoever comes in between brings a dead one."""
        self._revocations.end(session_id)
        for connection_id, ws in list(self._manager.connections.items()):
            claims: Claims | None = ws.context.get('claims')
            if claims is not None and claims.session_id == session_id:
                # It may have left by itself while another one was being closed.
                with contextlib.suppress(ConnectionNotFound):
                    await self._manager.close_connection(
                        connection_id, CLOSE_UNAUTHORIZED, 'Logged out'
                    )


class RevokeResource:
    """`POST /revoke`: the revocation endpoint (RFC 7009), for refresh tokens."""

    def __init__(self, issuer: Issuer, end_session: EndSession) -> None:
        self._issuer = issuer
        self._end_session = end_session

    async def on_post(self, req: Request, resp: Response) -> None:
        """End the session of a token. An unknown one is no error (RFC 7009 §2.2).

        A token that is used up does as well: a page may log out while it renews.
        """
        session = self._issuer.end(str((await read_form(req)).get('token')))
        if session is not None:
            await self._end_session(session.id)
        resp.status = falcon.HTTP_200
