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

KeyOf = Callable[[str], Awaitable[Any]]
"""Gives the public key that a token has to be signed with, by its header `kid`."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claims:
    """Who somebody is, until when, and what he may do."""

    user: str
    expires_at: float  # in POSIX time
    issued_at: float
    token_id: str
    scopes: frozenset[str]


class Revocations:
    """What has been taken back, although its tokens are still good: in the memory of this process.

    It need not remember anything for longer than an access token lives.
    """

    def __init__(self) -> None:
        self._logged_out_at: dict[str, float] = {}
        self._token_ids: set[str] = set()

    def log_out(self, user: str, at: float) -> None:
        """Whatever was issued to a user up to now is worth nothing."""
        self._logged_out_at[user] = at

    def revoke(self, token_id: str) -> None:
        """One token is worth nothing."""
        self._token_ids.add(token_id)

    def cover(self, claims: Claims) -> bool:
        """Whether the token with these claims is worth nothing any more."""
        logged_out_at = self._logged_out_at.get(claims.user)
        is_old = logged_out_at is not None and claims.issued_at <= logged_out_at
        return is_old or claims.token_id in self._token_ids


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
            decoded = jwt.decode(
                token,
                await self._key_of(token),
                # Never what the token's own header says: that may be `none`.
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                leeway=LEEWAY_SECONDS,
                options={'require': ['iss', 'aud', 'sub', 'exp', 'iat', 'jti']},
            )
            if decoded['exp'] <= time.time():  # the leeway is for the other times
                raise jwt.ExpiredSignatureError('it has just expired')
            claims = Claims(
                decoded['sub'],
                float(decoded['exp']),
                float(decoded['iat']),
                str(decoded['jti']),
                frozenset(str(decoded.get('scope', '')).split()),
            )
        except jwt.PyJWTError as error:
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
            logger.info('a token was refused: it is revoked')
            raise invalid_token()


def invalid_token() -> falcon.HTTPUnauthorized:
    """The answer to a token that is none (RFC 6750 §3.1)."""
    return falcon.HTTPUnauthorized(
        title='Invalid token',
        description='Get a new one, or log in again.',
        challenges=['Bearer error="invalid_token"'],
    )
