"""Where the token of a handshake stands: in a header, a subprotocol or a cookie.

A page cannot set headers on a WebSocket. It can name subprotocols, though, and one of them may
carry a token: `bearer.` and its base64url form, which may stand in that header. This finds it.
Whether it is worth anything is for the app to say.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
import re
from typing import Final

import falcon
import falcon.asgi

from falcon_ws_mw.errors import ConfigurationError

BEARER_PREFIX: Final = 'bearer.'
"""What the subprotocol begins with that carries a token."""

_BASE64URL: Final = re.compile('[A-Za-z0-9_-]+')
"""Without padding: `=` cannot stand in the name of a subprotocol (RFC 9110 §5.6.2)."""

_COOKIE_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

_B64TOKEN: Final = re.compile(r'[A-Za-z0-9._~+/-]+=*')
"""What a token in `Authorization` is made of (RFC 6750 §2.1): two headers in one are not."""


def bearer_subprotocol(token: str) -> str:
    """The subprotocol that carries a token, for clients to offer beside the one that they speak.

    Args:
        token: The token, any non-empty text.

    Raises:
        ValueError: If there is none.
    """
    if not token:
        raise ValueError('the token is empty')
    return BEARER_PREFIX + base64.urlsafe_b64encode(token.encode()).decode().rstrip('=')


class TokenMiddleware:
    """A Falcon component that puts the token of each handshake on `req.context.token`.

    It is for what decides who a client is, so it has to come before that in the app's middleware.
    `None` stands for no token. `req.context.token_source` is `'header'`, `'subprotocol'`,
    `'cookie'` or `None`. HTTP requests are left alone.

    Of a header and a subprotocol only one may carry a token (RFC 6750 §2); either goes before a
    cookie, which browsers send unasked. The subprotocol with the token is taken out of
    `ws.subprotocols`, so it is never echoed; the client has to offer one that is, such as
    `falcon-ws.v1`, which every route of the library speaks.

    Args:
        header: Whether to look at `Authorization: Bearer …` (default `True`).
        subprotocol: Whether to look at the subprotocol `bearer.…` (default `True`).
        cookie: The cookie to look at (default: none). Browsers send it for pages of any origin, so
            the app then does not start with a route of the library that lets all of them in.

    Attributes:
        authenticates_by_cookie: Whether a cookie counts. A component of your own that looks at one
            may say the same of itself, to have origins checked alike.

    Raises:
        ConfigurationError: If it looks nowhere, or no cookie can have that name.
    """

    def __init__(
        self, *, header: bool = True, subprotocol: bool = True, cookie: str | None = None
    ) -> None:
        given: object = cookie
        if given is not None and not (isinstance(given, str) and _COOKIE_NAME.fullmatch(given)):
            raise ConfigurationError(
                f'TokenMiddleware(cookie={given!r}): expected the name of a cookie, or None'
            )
        if not (header or subprotocol or cookie):
            raise ConfigurationError(
                'TokenMiddleware has nowhere to look: leave header or subprotocol on, or name a '
                'cookie'
            )
        self._header = header
        self._cookie = cookie
        self._subprotocol = subprotocol
        self.authenticates_by_cookie = cookie is not None

    async def process_request_ws(self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
        """Find the token.

        Raises:
            HTTPBadRequest: If there are several, or one that cannot be read.
        """
        req.context.token = req.context.token_source = None
        offered = self._take_from_subprotocols(req, ws)
        named = _bearer_of(req.auth) if self._header else None
        if offered is not None and named is not None:
            raise _invalid('the token has to be in Authorization or in a subprotocol, not in both')
        token, source = named, 'header'
        if token is None:
            token, source = offered, 'subprotocol'
        if token is None:
            token, source = self._in_cookie(req), 'cookie'
        if token:
            req.context.token, req.context.token_source = token, source

    def _take_from_subprotocols(
        self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket
    ) -> str | None:
        offered = tuple(ws.subprotocols)
        carriers = [name for name in offered if name.startswith(BEARER_PREFIX)]
        if not (carriers and self._subprotocol):
            return None
        spoken = tuple(name for name in offered if not name.startswith(BEARER_PREFIX))
        ws.subprotocols = spoken
        req.scope['subprotocols'] = list(spoken)
        if len(carriers) > 1:
            raise _invalid(f'{len(carriers)} subprotocols carry a token: offer one')
        return _decoded(carriers[0].removeprefix(BEARER_PREFIX))

    def _in_cookie(self, req: falcon.asgi.Request) -> str | None:
        values = None if self._cookie is None else req.get_cookie_values(self._cookie)
        if values and len({*values}) > 1:
            # Another host of the same domain can set one of that name, and browsers do not say
            # whose is whose (RFC 6265 §8.6).
            raise _invalid(f'there are {len(values)} cookies of the name {self._cookie}')
        return values[0] if values else None


def _bearer_of(authorization: str | None) -> str | None:
    """The token of an `Authorization` header (RFC 6750 §2.1), `None` if it is of another scheme."""
    scheme, _, credentials = (authorization or '').partition(' ')
    token = credentials.strip()
    if scheme.lower() != 'bearer' or not token:
        return None
    if not _B64TOKEN.fullmatch(token):
        raise _invalid('Authorization carries no single token')
    return token


def _decoded(text: str) -> str:
    try:
        if not _BASE64URL.fullmatch(text):
            raise ValueError
        return base64.b64decode(text + '=' * (-len(text) % 4), b'-_', validate=True).decode()
    except (ValueError, binascii.Error):  # UnicodeDecodeError is a ValueError
        raise _invalid(
            f'the subprotocol {BEARER_PREFIX}… has to carry the token as base64url of its UTF-8, '
            'without padding'
        ) from None


def _invalid(description: str) -> falcon.HTTPBadRequest:
    return falcon.HTTPBadRequest(
        title='Malformed token',
        description=description,
        headers={'WWW-Authenticate': 'Bearer error="invalid_request"'},  # RFC 6750 §3.1
    )


def cookie_readers(components: Iterable[object]) -> list[str]:
    """The components that take a cookie's word for who a client is."""
    return [
        type(each).__qualname__
        for each in components
        if getattr(each, 'authenticates_by_cookie', False)
    ]
