"""Sessions in Redis: whoever logs in at one process is known to all.

They are the app's own, under names of its own, by a client of its own. The library's keys in the
same Redis are the library's, and nobody else's.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
import secrets
import time
from typing import Any

import falcon
from redis.asyncio import Redis
from redis.exceptions import RedisError

from examples.chat.login import close_sockets_of
from examples.chat.sessions import SESSION_LIFETIME_SECONDS, Session, SessionStore
from falcon_ws_mw import WebSocketConnectionManager

ENDED_CHANNEL = 'chat-sessions-ended'
ANSWER_SECONDS = 2


class RedisSessions(SessionStore):
    """Sessions by token, each under a key that ends with it; also a Falcon middleware, to close.

    While Redis is away, whoever asks is answered with 503.
    """

    def __init__(self, redis_url: str) -> None:
        # It connects when it is first asked something. The time-outs are ours: those of redis-py
        # may swallow a cancellation on Python 3.11 (gh-86296 of CPython), and whoever listens has
        # nothing to hear most of the time.
        self.redis = Redis.from_url(
            redis_url, socket_connect_timeout=None, socket_timeout=None, socket_keepalive=True
        )

    async def create(self, user: str) -> str:
        """Start a session and return its token."""
        token = secrets.token_urlsafe()
        async with _or_503():
            await self.redis.set(_key(token), user, ex=SESSION_LIFETIME_SECONDS)
        return token

    async def get(self, token: str) -> Session | None:
        """Return the session of a token, or None if that is unknown or has expired."""
        async with _or_503(), self.redis.pipeline() as both:
            both.get(_key(token))
            both.pttl(_key(token))
            user, milliseconds = await both.execute()
        if user is None:
            return None
        return Session(user.decode(), time.monotonic() + milliseconds / 1_000)

    async def discard(self, token: str) -> None:
        """End a session, and have all processes hear of it; an unknown token is no error."""
        async with _or_503(), self.redis.pipeline() as both:
            both.delete(_key(token))
            both.publish(ENDED_CHANNEL, token)
            await both.execute()

    async def process_shutdown(self, scope: dict[str, Any], event: dict[str, Any]) -> None:
        """Disconnect, when the app stops."""
        await self.redis.aclose()


async def close_ended(sessions: RedisSessions, manager: WebSocketConnectionManager) -> None:
    """Close the sockets of sessions that end, at whatever process: a worker, in each of them."""
    while True:
        try:
            await _close_until_redis_is_lost(sessions, manager)
        except (RedisError, falcon.HTTPServiceUnavailable):  # the library logs that it is away
            await asyncio.sleep(1)


async def _close_until_redis_is_lost(
    sessions: RedisSessions, manager: WebSocketConnectionManager
) -> None:
    async with aclosing(sessions.redis.pubsub()) as pubsub:
        await pubsub.subscribe(ENDED_CHANNEL)
        async for message in pubsub.listen():
            if message['type'] == 'message':
                await close_sockets_of(manager, message['data'].decode())
                continue
            # It listens, for the first time or again: what ended before that is looked for.
            for token in {ws.context.session_token for ws in manager.connections.values()}:
                if await sessions.get(token) is None:
                    await close_sockets_of(manager, token)


def _key(token: str) -> str:
    return f'chat-session:{token}'


@asynccontextmanager
async def _or_503() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            yield
    except (RedisError, TimeoutError):
        raise falcon.HTTPServiceUnavailable(
            description='Who is logged in cannot be looked up now.', retry_after=1
        ) from None
