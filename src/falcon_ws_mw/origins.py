"""From which web origins browsers may open a socket (RFC 6454).

A browser lets any page open a WebSocket to any server, and sends the user's cookies along: the
header Origin is all that tells a page of ours from one of an attacker (RFC 6455 §10.2). Browsers
always send it and scripts cannot change it. Whoever is no browser can write anything there, so
this keeps foreign pages out and nobody else: it is no authentication.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
import inspect
from ipaddress import AddressValueError, IPv6Address
import re
from typing import Any, Final, TypeAlias

import falcon

from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.logs import ClientFaults, quoted

AllowedOrigins: TypeAlias = (
    str | re.Pattern[str] | Callable[[str, Any], bool] | Iterable[str | re.Pattern[str]] | None
)
"""What can be allowed: see `OriginRule`. A function gets the `falcon.asgi.Request` as well."""

MAX_ORIGIN_CHARS: Final = 300
"""The longest origin: a host name has at most 253 characters (RFC 1035 §2.3.4)."""

SAME_ORIGIN: Final = 'same-origin'
"""The entry that stands for the server's own origin."""

_DEFAULT_PORTS: Final = {'http': 80, 'https': 443}
_PAGE_SCHEMES: Final = {'ws': 'http', 'wss': 'https'}
"""The scheme of the pages that a server has which speaks WebSocket by another one."""

_ORIGIN: Final = re.compile(
    r'(?P<scheme>[a-z][a-z0-9+.-]{0,63})://'
    r'(?:(?P<name>[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?)|\[(?P<ipv6>[0-9a-f:.]{2,45})\])'
    r'(?::(?P<port>[1-9][0-9]{0,4}))?'
)
"""An origin as browsers write it (RFC 6454 §6.1), in lower case.

Names are what the DNS can hold, with '_', which it can as well; one '.' may end them, and makes
another origin of them.
"""

_EXPECTED: Final = (
    'expected scheme://host or scheme://host:port, in ASCII, with no path, user or slash at the '
    "end, as in 'https://chat.example'"
)


class OriginRule:
    """Decides which pages may open a socket, by the header Origin.

    What can be allowed:

    - `None`: pages of the server's own origin, which is the default.
    - `'*'`: any page, and whatever else may be in the header.
    - An origin, as in `'https://chat.example'` or `'http://localhost:8080'`. Case does not
      matter, and neither does a port that is the scheme's own.
    - `'https://*.chat.example'`: whatever has one or more labels in place of the `*`. The domain
      itself has not; list it as well where it is meant.
    - A compiled pattern, which the whole of the origin has to match, in the form that
      `normalised` gives it.
    - `'same-origin'`: what `None` means, for use in lists.
    - A list of these, of which one has to fit. What is not in it is not allowed: the server's own
      origin neither, and with an empty list no page at all.
    - A function of the header as it was sent, whatever it holds, and the request. It allows what
      it returns `True` for; where it raises, that is logged and the socket refused.

    Requests without the header are admitted: they come from no browser. An empty header is not
    the same, and is refused. So is `null`, which is the origin of sandboxed frames and of files:
    any page can have it. Only `'*'` and a function can allow it.

    Args:
        allowed: What is allowed.

    Attributes:
        allows_any: Whether everything is admitted, so that nothing has to be asked.
        needs_own: Whether the server's own origin matters.

    Raises:
        ConfigurationError: If that is none of these things.
    """

    __slots__ = (
        '_asked',
        '_exact',
        '_faults',
        '_given',
        '_patterns',
        '_wildcards',
        'allows_any',
        'needs_own',
    )

    def __init__(self, allowed: AllowedOrigins = None) -> None:
        given: object = allowed
        entries: tuple[object, ...] = ()
        self._asked: Callable[[str, Any], object] | None = None
        if callable(given):
            _check_function(given)
            self._asked = given
        elif given is None:
            entries = (SAME_ORIGIN,)
        elif isinstance(given, (str, re.Pattern)):
            entries = (given,)
        elif isinstance(given, Iterable) and not isinstance(given, (bytes, bytearray)):
            entries = tuple(given)
            given = list(entries)
        else:
            raise ConfigurationError(
                f'{given!r} allows no origins: expected None for the own origin, an origin, a '
                "list of origins and patterns, a function of (origin, req), or '*' for any"
            )
        self._given = given
        self._faults = ClientFaults()
        _check_kinds(entries)
        texts = {entry for entry in entries if isinstance(entry, str)}
        self.allows_any = '*' in texts
        self.needs_own = SAME_ORIGIN in texts
        named = texts - {'*', SAME_ORIGIN}
        self._exact = frozenset(_check_origin(text) for text in named if '*' not in text)
        self._wildcards = frozenset(_check_wildcard(text) for text in named if '*' in text)
        self._patterns = frozenset(entry for entry in entries if isinstance(entry, re.Pattern))

    def admits(self, origin: str | None, own: str | None, req: falcon.Request) -> bool:
        """Tell whether a socket may be opened.

        Args:
            origin: The header Origin as it was sent, `None` if it was not.
            own: The server's own origin as clients see it, in the form that `own_origin` gives
                it; `None` if that is not known, and then nothing equals it.
            req: The request, for a function that was given.
        """
        if origin is None or self.allows_any:
            return True
        if self._asked is not None:
            # An empty header is nobody's origin, and 'not origin' an easy mistake to make.
            return origin != '' and _ask(self._asked, origin, req, self._faults)
        found = normalised(origin)
        if found is None:
            return False
        if found in self._exact or (self.needs_own and found == own):
            return True
        return any(
            found.startswith(head) and found.endswith(tail) for head, tail in self._wildcards
        ) or any(pattern.fullmatch(found) for pattern in self._patterns)

    def _meaning(self) -> tuple[object, ...]:
        return (
            self.allows_any,
            self.needs_own,
            self._asked,
            self._exact,
            self._wildcards,
            self._patterns,
        )

    def __eq__(self, other: object) -> bool:
        return self._meaning() == other._meaning() if isinstance(other, OriginRule) else False

    def __hash__(self) -> int:
        return hash(self._meaning())

    def __repr__(self) -> str:
        return f'OriginRule({self._given!r})'


def normalised(origin: str) -> str | None:
    """An origin in its one form: lower case, and no port that is the scheme's own.

    Args:
        origin: What may be one. `null` is none.

    Returns:
        `scheme://host` or `scheme://host:port`; `None` if that is no origin, or longer than 300
        characters.
    """
    if len(origin) > MAX_ORIGIN_CHARS or not origin.isascii():
        return None
    parts = _ORIGIN.fullmatch(origin.lower())
    if parts is None:
        return None
    scheme, host, port = parts['scheme'], parts['name'], int(parts['port'] or 0)
    if host is None:
        try:
            host = f'[{IPv6Address(parts["ipv6"])}]'
        except AddressValueError:
            return None
    if port > 65_535:
        return None
    own_port = not port or port == _DEFAULT_PORTS.get(scheme)
    return f'{scheme}://{host}' if own_port else f'{scheme}://{host}:{port}'


def own_origin(scheme: str, host: str) -> str | None:
    """The origin of the pages that a server has under a host.

    Args:
        scheme: `http` or `https`, or what a WebSocket calls them, `ws` and `wss`.
        host: As in the header Host: `name`, `name:port` or `[::1]:8000`.

    Returns:
        The origin in the form of `normalised`, with `http` or `https`; `None` if there is none.
    """
    page = _PAGE_SCHEMES.get(scheme.lower(), scheme.lower())
    return normalised(f'{page}://{host}') if page in _DEFAULT_PORTS else None


def _ask(
    function: Callable[[str, Any], object],
    origin: str,
    req: falcon.Request,
    faults: ClientFaults,
) -> bool:
    try:
        answer = function(origin, req)
    except Exception:  # noqa: BLE001  # logged
        message = '%r raised; the origin %s is refused'
        faults.warn('allowed_origins', message, function, quoted(origin), raised=True)
        return False
    if inspect.iscoroutine(answer):
        answer.close()  # else Python warns of it later, and of another line
    if not isinstance(answer, bool):  # what is merely true may be a coroutine, or an error's text
        faults.warn(
            'allowed_origins',
            '%r returned %s, neither True nor False; the origin %s is refused',
            function,
            quoted(answer),
            quoted(origin),
        )
    return answer is True


def _check_function(function: Callable[..., object]) -> None:
    problem = None
    call = getattr(function, '__call__', None)  # noqa: B004 -- an object's may be a coroutine's
    if isinstance(function, type):
        problem = 'it is a class; give an instance that can be called, or a function'
    elif any(map(_is_async, (function, call))):
        problem = 'it is async, and the answer is needed at once; make it a plain def'
    else:
        try:
            inspect.signature(function).bind('', None)
        except TypeError as error:
            problem = f'it cannot be called with these two ({error}); change its parameters'
        except ValueError:  # a built-in that does not tell
            pass
    if problem is not None:
        raise ConfigurationError(
            f'{function!r} cannot tell which origins are allowed: expected a function of '
            f'(origin, req) that returns True or False, but {problem}'
        )


def _is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _check_kinds(entries: tuple[object, ...]) -> None:
    for entry in entries:
        if isinstance(entry, re.Pattern) and isinstance(entry.pattern, bytes):
            raise ConfigurationError(
                f'{entry!r} is a pattern of bytes, and origins are text: compile it from a str'
            )
        if not isinstance(entry, (str, re.Pattern)):
            raise ConfigurationError(
                f'{entry!r} is not an entry of a list of origins: expected a str or a compiled '
                f'pattern; the own origin is {SAME_ORIGIN!r}, and a function stands alone'
            )
        if entry == '*' and len(entries) > 1:
            raise ConfigurationError(
                f"'*' allows any origin, so nothing can stand beside it in {list(entries)!r}: "
                'leave it out, or leave out the others'
            )


def _check_origin(text: str) -> str:
    if text.lower() == 'null':
        raise ConfigurationError(
            f'{text!r} is not an origin that can be allowed: any page can have it, as sandboxed '
            "frames and files do; allow any origin by '*', or decide by a function of (origin, req)"
        )
    found = normalised(text)
    if found is None:
        raise ConfigurationError(f'{text!r} is not an origin: {_EXPECTED}{_cure(text)}')
    scheme, _, rest = found.partition('://')
    if scheme in _PAGE_SCHEMES:
        raise ConfigurationError(
            f"{text!r} is a socket's address, and browsers send the page's origin: "
            f"expected http or https; write '{_PAGE_SCHEMES[scheme]}://{rest}'"
        )
    return found


def _cure(text: str) -> str:
    """What an entry was probably meant to be."""
    if not text.isascii():
        return '; write the host as browsers send it, xn--…'
    up_to_the_path = re.match(r'\s*([^/]*//)?[^/?#\s]*', text)
    meant = up_to_the_path[0].strip() if up_to_the_path else ''
    meant = meant if '//' in meant else f'https://{meant}'
    return '' if normalised(meant) is None else f'; write {meant!r}'


def _check_wildcard(text: str) -> tuple[str, str]:
    """How an origin begins and ends that fits; normalised, it has no empty label between."""
    head, _, tail = text.partition('*.')
    base = None if '*' in head + tail else normalised(head + tail)
    scheme, _, host = (base or '').partition('://')
    is_address = re.search(r'(?:\]|(?:^|\.)(?:0x[0-9a-f]*|[0-9]+)\.?)(?::[0-9]+)?$', host)
    if scheme not in _DEFAULT_PORTS or is_address or head.lower() != f'{scheme}://':
        raise ConfigurationError(
            f"{text!r} is not a pattern of origins: expected http or https, no path, and '*' "
            "once, for the labels at the left of a domain, as in 'https://*.chat.example'; for "
            'anything else give a compiled re.Pattern'
        )
    return f'{scheme}://', f'.{host}'
