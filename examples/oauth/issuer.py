"""Who gives out the tokens: a small authorization server, for the demo and the tests.

In production this is somebody else's: a service of your company, or a product. The rest of the app
knows of it only its name and where its public keys are.
"""

from collections.abc import Awaitable, Callable
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

SESSION_SECONDS = 24 * 60 * 60

EndSession = Callable[[str], Awaitable[None]]
"""Makes the access tokens of a session worthless, and closes its sockets."""


@dataclass(frozen=True, slots=True)
class Session:
    """One log-in, on one device: a family of tokens, each of which replaces the one before."""

    id: str
    user: str
    scope: str
    expires_at: float  # in POSIX time


class Reused(Exception):
    """A refresh token came a second time: two have it, and one of them has stolen it."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session


class Issuer:
    """Gives out access tokens that live for a short time, and refresh tokens to get new ones.

    Args:
        lifetime_seconds: How long an access token lives.
    """

    def __init__(self, lifetime_seconds: float = 60) -> None:
        self._lifetime_seconds = lifetime_seconds
        self._key = Ed25519PrivateKey.generate()
        self._key_id = secrets.token_urlsafe(8)
        self._sessions: dict[str, Session] = {}  # in the order in which they end
        self._current: dict[str, str] = {}  # session id → refresh token
        self._session_ids: dict[str, str] = {}  # refresh token, used up ones too → session id

    def log_in(self, user: str, scope: str) -> dict[str, Any]:
        """A token response (RFC 6749 §5.1) for a user who has just logged in."""
        self._forget_old()
        session = Session(secrets.token_urlsafe(12), user, scope, time.time() + SESSION_SECONDS)
        self._sessions[session.id] = session
        return self._respond(session)

    def refresh(self, refresh_token: str) -> dict[str, Any]:
        """A new response for a refresh token, which is used up by that (RFC 9700 §4.14.2).

        Raises:
            falcon.HTTPBadRequest: It is unknown, or its session is over.
            Reused: It was used up. Its session is over now.
        """
        self._forget_old()
        session = self._sessions.get(self._session_ids.get(refresh_token, ''))
        if session is None:
            raise invalid_grant()
        if self._current[session.id] != refresh_token:
            self.end(refresh_token)
            raise Reused(session)
        return self._respond(session)

    def end(self, refresh_token: str) -> Session | None:
        """End the session of a refresh token, also of one that is used up; return it."""
        session = self._sessions.pop(self._session_ids.get(refresh_token, ''), None)
        if session is not None:
            del self._current[session.id]
        return session

    def jwks(self) -> dict[str, Any]:
        """The public keys (RFC 7517 §5)."""
        key = json.loads(OKPAlgorithm.to_jwk(self._key.public_key()))
        return {'keys': [{**key, 'kid': self._key_id, 'use': 'sig', 'alg': ALGORITHM}]}

    def _respond(self, session: Session) -> dict[str, Any]:
        refresh_token = secrets.token_urlsafe()
        self._current[session.id] = refresh_token
        self._session_ids[refresh_token] = session.id
        return {
            'access_token': self._sign(session),
            'token_type': 'Bearer',
            'expires_in': self._lifetime_seconds,
            'refresh_token': refresh_token,
            'scope': session.scope,
        }

    def _sign(self, session: Session) -> str:
        now = time.time()
        claims = {
            'iss': ISSUER,
            'aud': AUDIENCE,
            'sub': session.user,
            'sid': session.id,
            'scope': session.scope,
            'iat': now,
            'exp': now + self._lifetime_seconds,
            'jti': secrets.token_urlsafe(12),
        }
        # RFC 9068: what is no access token of ours, say an ID token, has another type.
        headers = {'kid': self._key_id, 'typ': 'at+jwt'}
        return jwt.encode(claims, self._key, algorithm=ALGORITHM, headers=headers)

    def _forget_old(self) -> None:
        now = time.time()
        while self._sessions and next(iter(self._sessions.values())).expires_at <= now:
            session_id = next(iter(self._sessions))
            del self._sessions[session_id], self._current[session_id]
        if len(self._session_ids) > 100 + 1000 * len(self._sessions):
            self._session_ids = {
                token: session_id
                for token, session_id in self._session_ids.items()
                if session_id in self._sessions
            }


class TokenResource:
    """`POST /token`: the token endpoint. The demo lets anybody log in as anybody."""

    def __init__(self, issuer: Issuer, end_session: EndSession) -> None:
        self._issuer = issuer
        self._end_session = end_session

    async def on_post(self, req: Request, resp: Response) -> None:
        """Answer a form (RFC 6749 §4.3.2 and §6)."""
        form = await read_form(req)
        resp.cache_control = ['no-store']
        if form.get('grant_type') == 'refresh_token':
            try:
                resp.media = self._issuer.refresh(str(form.get('refresh_token')))
            except Reused as reused:
                await self._end_session(reused.session.id)
                raise invalid_grant() from None
        elif form.get('grant_type') == 'password' and form.get('username'):
            resp.media = self._issuer.log_in(str(form['username']), str(form.get('scope', '')))
        else:
            raise falcon.HTTPBadRequest(title='unsupported_grant_type')


class KeysResource:
    """`GET /jwks.json`: the public keys, for whoever verifies tokens."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer

    async def on_get(self, req: Request, resp: Response) -> None:
        """Publish them."""
        resp.media = self._issuer.jwks()


async def read_form(req: Request) -> dict[str, Any]:
    """The fields of a form.

    Raises:
        falcon.HTTPBadRequest: There is none.
    """
    form = await req.get_media()
    if not isinstance(form, dict):
        raise falcon.HTTPBadRequest(title='invalid_request', description='Send a form.')
    return form


def invalid_grant() -> falcon.HTTPBadRequest:
    """The answer to a refresh token that is worth nothing (RFC 6749 §5.2)."""
    return falcon.HTTPBadRequest(title='invalid_grant', description='Log in again.')
