"""What an access token says, once it has been verified. All that is cryptographic is PyJWT's."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
import logging
import time
from typing import Any

import falcon
import jwt

from .issuer import ALGORITHM, AUDIENCE, ISSUER

LEEWAY_SECONDS = 5
"""By how much the clocks of issuer and verifier may differ."""

MAX_LIFETIME_SECONDS = 3600
"""The longest that an access token lives."""

KeyOf = Callable[[str], Awaitable[Any]]
"""Gives the public key that a token has to be signed with, by its header `kid`."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claims:
    """Who somebody is, until when, and what he may do."""

    user: str
    session_id: str
    expires_at: float  # in POSIX time
    scopes: frozenset[str]


class Revocations:
    """Sessions that are over, though their tokens are still good: in the memory of this process.

    By the id of the session and not by time, since the clock of the issuer is another one.
    """

    def __init__(self) -> None:
        self._ended: dict[str, float] = {}  # in the order in which they ended

    def end(self, session_id: str) -> None:
        """Whatever was issued in a session is worth nothing from now on."""
        now = time.monotonic()
        while self._ended and now - next(iter(self._ended.values())) > 2 * MAX_LIFETIME_SECONDS:
            del self._ended[next(iter(self._ended))]  # its last token has expired long ago
        self._ended[session_id] = now

    def cover(self, claims: Claims) -> bool:
        """Whether the token with these claims is worth nothing any more."""
        return claims.session_id in self._ended


class Verifier:
    """Tells what an access token says, or that it is none.

    Args:
        key_of: Gives the key that a token has to be signed with.
        revocations: What has been taken back.
    """

    def __init__(self, key_of: KeyOf, revocations: Revocations) -> None:
        self._key_of = key_of
        self._revocations = revocations

    async def verify(self, token: object) -> Claims:
        """Read a token.

        Raises:
            falcon.HTTPUnauthorized: It is no token of ours, for us, now. Always the same, since
                what exactly is wrong is nobody's business who made it up; the log has the kind.
        """
        try:
            if not isinstance(token, str):
                raise jwt.InvalidTokenError('no text')
            claims = _read(token, await self._key_of(token))
        except (jwt.PyJWTError, TypeError, ValueError) as error:
            logger.info('a token was refused: %s', type(error).__name__)
            raise invalid_token() from None
        self.check(claims)
        return claims

    def check(self, claims: Claims) -> None:
        """Look once more, right before the claims are acted on: no await stands between.

        Raises:
            falcon.HTTPUnauthorized: They have been taken back meanwhile.
        """
        if self._revocations.cover(claims):
            logger.info('a token was refused: its session is over')
            raise invalid_token()


def _read(token: str, key: Any) -> Claims:
    """The claims of a token.

    Raises:
        jwt.PyJWTError, TypeError, ValueError: It is none.
    """
    decoded = jwt.decode_complete(
        token,
        key,
        algorithms=[ALGORITHM],  # never what the token's own header says: that may be `none`
        audience=AUDIENCE,
        issuer=ISSUER,
        leeway=LEEWAY_SECONDS,
        options={'require': ['iss', 'aud', 'sub', 'sid', 'exp', 'iat', 'jti']},
    )
    kind = str(decoded['header'].get('typ')).lower().removeprefix('application/')
    if kind != 'at+jwt':  # RFC 9068 §4
        raise jwt.InvalidTokenError('no access token')
    payload = decoded['payload']
    user, session_id, expires_at = payload['sub'], payload['sid'], float(payload['exp'])
    if not (isinstance(user, str) and isinstance(session_id, str) and 0 < len(user.encode()) < 256):
        raise jwt.InvalidTokenError('no user')
    left = expires_at - time.time()
    if not 0 < left <= MAX_LIFETIME_SECONDS:  # the leeway is for the other times
        raise jwt.ExpiredSignatureError('it has expired, or would live for too long')
    return Claims(user, session_id, expires_at, frozenset(str(payload.get('scope', '')).split()))


def invalid_token() -> falcon.HTTPUnauthorized:
    """The answer to a token that is none (RFC 6750 §3.1)."""
    return falcon.HTTPUnauthorized(
        title='Invalid token',
        description='Get a new one, or log in again.',
        challenges=['Bearer error="invalid_token"'],
    )
