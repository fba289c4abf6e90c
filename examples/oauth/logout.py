"""Taking back: a log-out that closes sockets, and makes tokens worthless that are still good."""

import time

import falcon
from falcon.asgi import Request, Response

from falcon_ws_mw import WebSocketConnectionManager

from .issuer import Issuer
from .tokens import Revocations

CLOSE_UNAUTHORIZED = 3401
"""Come back with another token, or not at all: 3000 + the status of Falcon's HTTPUnauthorized."""


class RevokeResource:
    """`POST /revoke`: the revocation endpoint (RFC 7009)."""

    def __init__(
        self, issuer: Issuer, revocations: Revocations, manager: WebSocketConnectionManager
    ) -> None:
        self._issuer = issuer
        self._revocations = revocations
        self._manager = manager

    async def on_post(self, req: Request, resp: Response) -> None:
        """End a log-in everywhere. An unknown token is no error (RFC 7009 §2.2)."""
        form = await req.get_media()
        user = self._issuer.revoke(str(form.get('token')))
        resp.status = falcon.HTTP_200
        if user is not None:
            # First the tokens, then the sockets: whoever comes in between brings a dead one.
            self._revocations.log_out(user, time.time())
            await self._manager.close_user(user, CLOSE_UNAUTHORIZED, 'Logged out')
