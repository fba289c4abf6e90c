"""The app: tokens are found by the library, verified by PyJWT, and end with the clock."""

import os

import falcon.asgi

from falcon_ws_mw import TokenMiddleware, WebSocketConnectionManager, WebSocketLifespan, install

from .board import BearerMiddleware, Board
from .issuer import Issuer, KeysResource, TokenResource
from .keys import GivenKeys
from .logout import RevokeResource, SessionEnd
from .page import Page
from .tokens import KeyOf, Revocations, Verifier


def create_app(key_of: KeyOf | None = None, issuer: Issuer | None = None) -> WebSocketLifespan:
    """Return the app.

    Args:
        key_of: Gives the key that a token has to be signed with, where somebody else issues them.
        issuer: Who does it else (default: one whose access tokens live for `BOARD_TOKEN_SECONDS`,
            60). It is part of the app then.
    """
    manager = WebSocketConnectionManager()
    revocations = Revocations()
    session_end = SessionEnd(revocations, manager)
    app = falcon.asgi.App()
    if key_of is None:
        issuer = issuer or Issuer(float(os.environ.get('BOARD_TOKEN_SECONDS', '60')))
        key_of = GivenKeys(issuer.jwks()).key_of
        app.add_route('/', Page())
        app.add_route('/token', TokenResource(issuer, session_end.end))
        app.add_route('/revoke', RevokeResource(issuer, session_end.end))
        app.add_route('/jwks.json', KeysResource(issuer))

    verifier = Verifier(key_of, revocations)
    app.add_middleware(TokenMiddleware())  # finds tokens
    app.add_middleware(BearerMiddleware(verifier))  # knows what they are worth
    app.add_route('/board/{name}', Board(verifier))
    return install(app, manager=manager)


app = create_app()
