"""The app: tokens are found by the library, verified by PyJWT, and end with the clock."""

import asyncio
from collections.abc import Awaitable, Callable
import os
from typing import Any

import falcon.asgi
import jwt

from falcon_ws_mw import TokenMiddleware, WebSocketConnectionManager, WebSocketLifespan, install

from .board import BearerMiddleware, Board
from .issuer import Issuer, KeysResource, TokenResource
from .logout import RevokeResource
from .page import Page
from .tokens import KeyOf, Revocations, Verifier


def create_app(issuer: Issuer | None = None, key_of: KeyOf | None = None) -> WebSocketLifespan:
    """Return the app.

    Args:
        issuer: Who gives out tokens (default: one whose access tokens live for
            `BOARD_TOKEN_SECONDS`, 60).
        key_of: Gives the key that a token has to be signed with (default: the issuer's own).
    """
    if issuer is None:
        issuer = Issuer(float(os.environ.get('BOARD_TOKEN_SECONDS', '60')))
    manager = WebSocketConnectionManager()
    revocations = Revocations()
    verifier = Verifier(key_of or keys_in(issuer.jwks()), revocations)

    app = falcon.asgi.App()
    app.add_middleware(TokenMiddleware())  # finds tokens
    app.add_middleware(BearerMiddleware(verifier))  # knows what they are worth
    app.add_route('/', Page())
    app.add_route('/token', TokenResource(issuer))
    app.add_route('/revoke', RevokeResource(issuer, revocations, manager))
    app.add_route('/jwks.json', KeysResource(issuer))
    app.add_route('/board/{name}', Board(verifier))
    return install(app, manager=manager)


def keys_in(jwks: dict[str, Any]) -> Callable[[str], Awaitable[Any]]:
    """Take keys from a set that is at hand."""
    keys = {key.key_id: key.key for key in jwt.PyJWKSet.from_dict(jwks).keys}

    async def key_of(token: str) -> Any:
        key = keys.get(jwt.get_unverified_header(token).get('kid'))
        if key is None:
            raise jwt.InvalidTokenError('signed by nobody who is known')
        return key

    return key_of


def keys_at(url: str) -> Callable[[str], Awaitable[Any]]:
    """Take keys from where the issuer publishes them: they are fetched when needed, and kept."""
    client = jwt.PyJWKClient(url, lifespan=3600, timeout=5)

    async def key_of(token: str) -> Any:
        # It fetches by urllib, which blocks: not in the event loop.
        return (await asyncio.to_thread(client.get_signing_key_from_jwt, token)).key

    return key_of


app = create_app()
