"""Who is logged in: a store of sessions, and the Falcon middleware that looks a request up in it.

Nothing here knows the WebSocket library: one middleware serves HTTP requests and handshakes alike.
"""

from collections import OrderedDict
from dataclasses import dataclass
import secrets
import time
from typing import Protocol

import falcon
from falcon.asgi import Request, Response, WebSocket

SESSION_COOKIE = 'chat_session'
SESSION_LIFETIME_SECONDS = 12 * 60 * 60


@dataclass(frozen=True, slots=True)
class Session:
    """What the server remembers of a log-in."""

    user: str
    expires_at: float  # by time.monotonic()


class SessionStore(Protocol):
    """Sessions by token."""

    async def create(self, user: str) -> str:
        """Start a session and return its token."""

    async def get(self, token: str) -> Session | None:
        """Return the session of a token, or None if that is unknown or has expired."""

    async def discard(self, token: str) -> None:
        """End a session; an unknown token is no error."""


class MemorySessions(SessionStore):
    """Sessions in the memory of this process: a second process would not know them.

    Args:
        lifetime_seconds: How long a session lasts, counted from the log-in.
    """

    def __init__(self, lifetime_seconds: float = SESSION_LIFETIME_SECONDS) -> None:
        self._lifetime_seconds = lifetime_seconds
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    async def create(self, user: str) -> str:
        """Start a session and return its token."""
        self._forget_expired()
        token = secrets.token_urlsafe()
        self._sessions[token] = Session(user, time.monotonic() + self._lifetime_seconds)
        return token

    async def get(self, token: str) -> Session | None:
        """Return the session of a token, or None if that is unknown or has expired."""
        session = self._sessions.get(token)
        if session is None or session.expires_at <= time.monotonic():
            return None
        return session

    async def discard(self, token: str) -> None:
        """End a session; an unknown token is no error."""
        self._sessions.pop(token, None)

    def _forget_expired(self) -> None:
        # All sessions last equally long, so they expire in the order in which they were made.
        now = time.monotonic()
        while self._sessions and next(iter(self._sessions.values())).expires_at <= now:
            self._sessions.popitem(last=False)


class SessionMiddleware:
    """Puts who is logged in on every request: `req.context.user` is a name or None.

    Beside it stand `session_token` and `session_ends_at`, in seconds since 1970. It refuses nobody:
    whether a log-in is needed is the resource's decision.
    """

    # Browsers send cookies for pages of any origin: let the library see that none of those gets in.
    authenticates_by_cookie = True

    def __init__(self, sessions: SessionStore) -> None:
        self._sessions = sessions

    async def process_request(self, req: Request, resp: Response) -> None:
        """Look up an HTTP request."""
        await self._authenticate(req)

    async def process_request_ws(self, req: Request, ws: WebSocket) -> None:
        """Look up a WebSocket handshake."""
        await self._authenticate(req)

    async def _authenticate(self, req: Request) -> None:
        token = _find_token(req)
        session = None if token is None else await self._sessions.get(token)
        req.context.session_token = token
        req.context.user = req.context.session_ends_at = None
        if session is not None:
            req.context.user = session.user
            req.context.session_ends_at = time.time() + session.expires_at - time.monotonic()


def require_user(req: Request) -> str:
    """Return the user who makes this request.

    Raises:
        falcon.HTTPUnauthorized: Nobody is logged in.
    """
    user: str | None = req.context.get('user')
    if user is None:
        raise falcon.HTTPUnauthorized(
            description='Log in first: POST /session.', challenges=['Bearer']
        )
    return user


def _find_token(req: Request) -> str | None:
    scheme, _, credentials = (req.auth or '').partition(' ')
    if scheme.lower() == 'bearer':
        return credentials.strip()
    # A browser cannot set headers on a handshake, but it sends its cookies along.
    cookies = req.get_cookie_values(SESSION_COOKIE)
    return cookies[0] if cookies else None
