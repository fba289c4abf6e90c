"""Where the public keys of the issuer are: at hand, or published by it."""

import asyncio
import time
from typing import Any

import falcon
import jwt

PAUSE_SECONDS = 30
"""How long after a fetch the keys are not fetched again, whatever key a token asks for."""

LIFESPAN_SECONDS = 3600
"""How long keys are used before they are fetched again."""


class GivenKeys:
    """Keys that are at hand.

    Args:
        jwks: The set (RFC 7517 §5).
    """

    def __init__(self, jwks: dict[str, Any]) -> None:
        self._keys = _by_id(jwks)

    async def key_of(self, token: str) -> Any:
        """The key that a token has to be signed with.

        Raises:
            jwt.InvalidTokenError: There is none.
        """
        return _key_of(token, self._keys)


class PublishedKeys:
    """Keys that the issuer publishes: fetched when they are needed, and kept.

    All that need them at once wait for one fetch, which is not in the event loop, since PyJWT's
    blocks. After it there is a pause: whoever makes up the names of keys causes no further ones.

    Args:
        url: Where they are.
        timeout_seconds: How long a fetch may take.
    """

    def __init__(self, url: str, *, timeout_seconds: float = 5) -> None:
        self._client = jwt.PyJWKClient(url, cache_jwk_set=False, timeout=timeout_seconds)
        self._keys: dict[str, Any] = {}
        self._fetched_at = self._tried_at = float('-inf')
        self._fetching: asyncio.Task[None] | None = None

    async def key_of(self, token: str) -> Any:
        """The key that a token has to be signed with.

        Raises:
            jwt.InvalidTokenError: There is none.
            falcon.HTTPServiceUnavailable: The issuer does not say: that is no fault of the token.
        """
        now = time.monotonic()
        is_known = jwt.get_unverified_header(token).get('kid') in self._keys
        is_old = now - self._fetched_at >= LIFESPAN_SECONDS
        if (is_old or not is_known) and now - self._tried_at >= PAUSE_SECONDS:
            self._fetching = self._fetching or asyncio.create_task(self._fetch())
            await asyncio.shield(self._fetching)
        elif self._fetching is not None and not is_known:
            await asyncio.shield(self._fetching)
        if not self._keys:
            raise falcon.HTTPServiceUnavailable(
                title='No keys', description='Try again later.', retry_after=PAUSE_SECONDS
            )
        return _key_of(token, self._keys)

    async def _fetch(self) -> None:
        self._tried_at = time.monotonic()
        try:
            self._keys = _by_id(await asyncio.to_thread(self._client.fetch_data))
            self._fetched_at = time.monotonic()
        except (jwt.PyJWTError, OSError, ValueError):  # those that are there go on being used
            pass
        finally:
            self._fetching = None


def _by_id(jwks: Any) -> dict[str, Any]:
    return {str(key.key_id): key.key for key in jwt.PyJWKSet.from_dict(jwks).keys}


def _key_of(token: str, keys: dict[str, Any]) -> Any:
    key = keys.get(str(jwt.get_unverified_header(token).get('kid')))
    if key is None:
        raise jwt.InvalidTokenError('signed by nobody who is known')
    return key
