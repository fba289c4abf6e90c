"""The sockets: boards to write on, for whoever has a token that names them."""

import falcon
import falcon.asgi
from falcon.asgi import Request

from falcon_ws_mw import Limits, Message, WebSocket

from .tokens import Claims, Verifier


class BearerMiddleware:
    """Puts `req.context.claims` on every handshake that comes with a token.

    `TokenMiddleware` has found it, in the header or in a subprotocol. Who brings none may go on: he
    has to say who he is by his first message.
    """

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    async def process_request_ws(self, req: Request, ws: falcon.asgi.WebSocket) -> None:
        """Verify.

        Raises:
            falcon.HTTPUnauthorized: There is a token, and it is not good. The handshake is refused.
        """
        token = req.context.token
        req.context.claims = None if token is None else await self._verifier.verify(token)


class Board:
    """`/board/{name}`: everybody on a board gets what any of them writes."""

    ws_authenticate_by = 'authenticate'
    ws_limits = Limits(auth_timeout_seconds=10, max_auth_attempts=3)

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    async def on_ws_connect(self, req: Request, ws: WebSocket, name: str) -> None:
        """Let in who is known already; anybody else is a stranger until he has authenticated."""
        claims = req.context.claims
        if claims is not None:
            req.context.claims = None  # not before they have been looked at
            await self._become(ws, claims, name)

    async def on_ws_authenticate(self, ws: WebSocket, payload: dict[str, object], name: str) -> str:
        """Say who you are, or renew: `{"token": …}`.

        Raises:
            falcon.HTTPUnauthorized: The token is not good.
            falcon.HTTPForbidden: It is somebody else's than this connection, or not for this board.
        """
        claims = await self._verifier.verify(payload.get('token'))
        await self._become(ws, claims, name)
        return claims.user

    async def on_ws_write(self, ws: WebSocket, payload: dict[str, object], name: str) -> None:
        """Write on the board."""
        await ws.authorize('write', name)
        message = Message('written', {'by': ws.user_id, 'text': str(payload.get('text', ''))})
        await ws.broadcast_to_room(name, message)

    async def ws_authorize(self, ws: WebSocket, action: str, name: str) -> bool:
        """Whether the token has a scope for it: `read:garden` to join, `write:garden` to write."""
        claims: Claims | None = ws.context.claims
        return claims is not None and _allows(claims, action, name)

    async def _become(self, ws: WebSocket, claims: Claims, name: str) -> None:
        if ws.user_id not in {None, claims.user}:
            raise falcon.HTTPForbidden(
                title='Another user', description='Open a connection of your own.'
            )
        if not _allows(claims, 'join', name):
            await ws.leave_room(name)  # a newer token may allow less than the one before
            raise falcon.HTTPForbidden(title='Not for this board')
        self._verifier.check(claims)
        # The connection ends with the token, unless a newer one comes in time.
        await ws.identify(claims.user, claims.expires_at)
        ws.context.claims = claims
        await ws.join_room(name)


_SCOPES = {'join': 'read', 'write': 'write'}


def _allows(claims: Claims, action: str, name: str) -> bool:
    return f'{_SCOPES.get(action)}:{name}' in claims.scopes
