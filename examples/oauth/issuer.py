"""Who gives out the tokens: a small authorization server, for the demo and the tests.

In production this is somebody else's: a service of your company, or a product. The rest of the app
knows of it only its name and where its public keys are.
"""

from dataclasses import dataclass
import json
import secrets
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
import falcon
from falcon.asgi import Request, Response
import jwt
from jwt.algorithms import OKPAlgorithm

ISSUER = 'https://login.example'
AUDIENCE = 'board-api'
ALGORITHM = 'EdDSA'

REFRESH_SECONDS = 24 * 60 * 60


@dataclass(frozen=True, slots=True)
class Grant:
    """What a refresh token stands for."""

    user: str
    scope: str
    expires_at: float  # in POSIX time


class Issuer:
    """Gives out access tokens that live for a short time, and refresh tokens to get new ones.

    Args:
        lifetime_seconds: How long an access token lives.
    """

    def __init__(self, lifetime_seconds: float = 60) -> None:
        self._lifetime_seconds = lifetime_seconds
        self._key = Ed25519PrivateKey.generate()
        self._key_id = secrets.token_urlsafe(8)
        self._grants: dict[str, Grant] = {}

    def log_in(self, user: str, scope: str) -> dict[str, Any]:
        """A token response (RFC 6749 §5.1) for a user who has just logged in."""
        return self._respond(Grant(user, scope, time.time() + REFRESH_SECONDS))

    def refresh(self, refresh_token: str) -> dict[str, Any]:
        """A new response for a refresh token, which is used up by that (RFC 9700 §4.14.2).

        Raises:
            falcon.HTTPBadRequest: It is unknown, used up, revoked or too old.
        """
        grant = self._grants.pop(refresh_token, None)
        if grant is None or grant.expires_at <= time.time():
            raise falcon.HTTPBadRequest(title='invalid_grant', description='Log in again.')
        return self._respond(grant)

    def revoke(self, refresh_token: str) -> str | None:
        """End what a refresh token stands for; return whose it was."""
        grant = self._grants.pop(refresh_token, None)
        return None if grant is None else grant.user

    def jwks(self) -> dict[str, Any]:
        """The public keys (RFC 7517 §5)."""
        key = json.loads(OKPAlgorithm.to_jwk(self._key.public_key()))
        return {'keys': [{**key, 'kid': self._key_id, 'use': 'sig', 'alg': ALGORITHM}]}

    def _respond(self, grant: Grant) -> dict[str, Any]:
        refresh_token = secrets.token_urlsafe()
        self._grants[refresh_token] = grant
        return {
            'access_token': self._sign(grant),
            'token_type': 'Bearer',
            'expires_in': self._lifetime_seconds,
            'refresh_token': refresh_token,
            'scope': grant.scope,
        }

    def _sign(self, grant: Grant) -> str:
        now = time.time()
        claims = {
            'iss': ISSUER,
            'aud': AUDIENCE,
            'sub': grant.user,
            'scope': grant.scope,
            'iat': now,
            'exp': now + self._lifetime_seconds,
            'jti': secrets.token_urlsafe(12),
        }
        return jwt.encode(
            claims, self._key, algorithm=ALGORITHM, headers={'kid': self._key_id, 'typ': 'at+jwt'}
        )


class TokenResource:
    """`POST /token`: the token endpoint. The demo lets anybody log in as anybody."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer

    async def on_post(self, req: Request, resp: Response) -> None:
        """Answer a form (RFC 6749 §4.3.2 and §6)."""
        form = await req.get_media()
        if form.get('grant_type') == 'refresh_token':
            resp.media = self._issuer.refresh(str(form.get('refresh_token')))
        elif form.get('grant_type') == 'password' and form.get('username'):
            resp.media = self._issuer.log_in(form['username'], form.get('scope', ''))
        else:
            raise falcon.HTTPBadRequest(title='unsupported_grant_type')
        resp.cache_control = ['no-store']


class KeysResource:
    """`GET /jwks.json`: the public keys, for whoever verifies tokens."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer

    async def on_get(self, req: Request, resp: Response) -> None:
        """Publish them."""
        resp.media = self._issuer.jwks()
