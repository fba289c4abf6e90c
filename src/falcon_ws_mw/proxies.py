"""Who is really asking, where proxies stand between.

A proxy says in headers for whom it asks: in Forwarded (RFC 7239), in X-Forwarded-For, -Proto and
-Host, or in X-Real-IP. Any client can write them too, so they count only if whoever connects to
this server is a trusted proxy, and only as far back as proxies are trusted.

Falcon's `access_route`, `remote_addr`, `forwarded_host` and `forwarded_scheme` are not asked. All
prefer Forwarded, which most proxies pass on as the client sent it. The latter two believe what
stands leftmost, which a client has written where proxies append. The former two raise for a port
that is no number, and in releases to 4.2 also where a server gives its client as None.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
import re
from typing import Any, Final, Protocol, TypeAlias

import falcon

from falcon_ws_mw.errors import ConfigurationError

TrustedProxies: TypeAlias = str | Iterable[str]
"""Which proxies are trusted: see `Proxies`."""

MAX_ADDRESS_CHARS: Final = 64
"""How much is kept of what a proxy gives in place of an address."""

UNKNOWN_PEER: Final = '127.0.0.1'
"""What stands for the peer where the server tells none, as in Falcon."""

_SCHEMES: Final = frozenset({'http', 'https', 'ws', 'wss'})

_NODE: Final = re.compile(r'\[([^\]]*)\](?::[\w.-]*)?|([^:]*):[\w.-]*')
"""An address with a port or in brackets (RFC 7239 §6)."""

_PAIR: Final = (
    r"""[\w!#$%&'*+.^`|~-]++=(?:[\w!#$%&'*+.^`|~-]++|"(?:[\t !#-\[\]-~]|\\[\t !-~])*+")"""
)
_FORWARDED: Final = re.compile(
    rf'[ \t,;]*+{_PAIR}(?:[ \t]*+[,;][ \t,;]*+{_PAIR})*+[ \t,;]*+', re.ASCII
)
"""A whole header Forwarded (RFC 7239 §4), in which Falcon's parser finds nothing to skip."""

_Address: TypeAlias = IPv4Address | IPv6Address
_Network: TypeAlias = IPv4Network | IPv6Network


class AnyRequest(Protocol):
    """What is read of a request: a `falcon.asgi.Request` has it."""

    @property
    def scope(self) -> dict[str, Any]:
        """The ASGI scope."""

    @property
    def scheme(self) -> str:
        """The scheme by which this server was asked."""

    @property
    def netloc(self) -> str:
        """The header Host, or else where the server listens."""

    @property
    def forwarded(self) -> list[falcon.Forwarded] | None:
        """The header Forwarded."""

    def get_header(self, name: str) -> str | None:
        """A header, `None` if there is none."""


class Proxies:
    """The proxies whose word is taken for whom they ask.

    They have to overwrite the headers named above, or add to them, and to drop those that they do
    not write: otherwise a client can name itself what it likes. Where both are there,
    X-Forwarded-… counts before Forwarded, and that before X-Real-IP.

    Args:
        trusted: Addresses and networks, as in `'10.0.0.1'` and `['10.0.0.0/8', 'fd00::/8']`; by
            default none. `'*'` alone trusts whoever connects, for a server that only a proxy can
            reach, by a UNIX socket for instance; of the addresses in headers it trusts none, so
            that the last one is the client's.

    Raises:
        ConfigurationError: If an entry is neither an address nor a network.
    """

    __slots__ = ('_given', '_networks', '_trusts_any_peer')

    def __init__(self, trusted: TrustedProxies = ()) -> None:
        given: object = trusted
        if isinstance(given, (bytes, bytearray)) or not isinstance(given, Iterable):
            raise ConfigurationError(
                f'{given!r} names no proxies: expected an IP address, a network, a list of them, '
                "or '*' for whoever connects"
            )
        entries: list[object] = [given] if isinstance(given, str) else list(given)
        if '*' in entries and len(entries) > 1:
            raise ConfigurationError(
                f"'*' trusts whoever connects, so nothing can stand beside it in {entries!r}: "
                'leave it out, or leave out the others'
            )
        self._given = given if isinstance(given, str) else entries
        self._trusts_any_peer = '*' in entries
        self._networks = () if self._trusts_any_peer else tuple(map(_check_network, entries))

    def trusts(self, req: AnyRequest) -> bool:
        """Tell whether whoever connected to this server is a trusted proxy.

        Where the server does not tell who that is, only `'*'` trusts it.
        """
        peer = _peer_of(req)
        return self._trusts_any_peer or (peer is not None and self.includes(peer))

    def client_address(self, req: AnyRequest) -> str:
        """The address of the client: the one nearest to this server that is no trusted proxy's.

        Nothing that a header says raises.

        Returns:
            The address without port, brackets and zone, an IPv4 one also if it came mapped to
            IPv6. If all are trusted, the one farthest away. Where a proxy gave something else,
            as `unknown` and `_hidden`, that, cut to 64 characters. Without a trusted proxy, and
            with a server that does not tell who connected, `127.0.0.1`, as Falcon has it.
        """
        client = _peer_of(req) or UNKNOWN_PEER
        if self.trusts(req):
            for hop in reversed(_hops_of(req)):
                client = hop
                if not self.includes(hop):
                    break
        return _shown(client)

    def host_and_scheme(self, req: AnyRequest) -> tuple[str, str]:
        """The scheme, and the host with its port, as the client used them.

        Where several trusted proxies have appended to Forwarded, the one nearest to the client
        counts. X-Forwarded-Proto and -Host do not say who wrote which of several values: there
        the last one counts, which is of the proxy nearest to this server and no client's.

        Returns:
            First the scheme: `http`, `https`, `ws` or `wss`, whichever of them the proxy or the
            server says. Then the host as it was sent, which may be anything.
        """
        scheme, host = req.scheme, req.netloc
        if not self.trusts(req):
            return scheme, host
        for element in reversed(_forwarded_of(req) or ()):
            scheme = element.scheme if element.scheme in _SCHEMES else scheme
            host = element.host or host
            if not self.includes(element.src or ''):
                break
        protos = _values_of(req, 'X-Forwarded-Proto')
        if protos and protos[-1].lower() in _SCHEMES:
            scheme = protos[-1].lower()
        hosts = _values_of(req, 'X-Forwarded-Host')
        return scheme, hosts[-1] if hosts else host

    def includes(self, text: str) -> bool:
        """Tell whether an address is a trusted proxy's."""
        address = _parsed(text)
        return address is not None and any(address in network for network in self._networks)

    def _meaning(self) -> tuple[object, ...]:
        return (self._trusts_any_peer, frozenset(self._networks))

    def __eq__(self, other: object) -> bool:
        return self._meaning() == other._meaning() if isinstance(other, Proxies) else False

    def __hash__(self) -> int:
        return hash(self._meaning())

    def __repr__(self) -> str:
        return f'Proxies({self._given!r})'


def address_block(address: str) -> str:
    """What counts as one client where clients are counted.

    Args:
        address: As `Proxies.client_address` gives it.

    Returns:
        An IPv4 address itself; of an IPv6 address its /64, all of which one client can use;
        anything else as it is, cut to 64 characters.
    """
    parsed = _parsed(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((parsed, 64), strict=False))
    return _shown(address)


def _peer_of(req: AnyRequest) -> str | None:
    """Who connected; `None` where the server does not tell, as with a UNIX socket."""
    client = req.scope.get('client')
    if isinstance(client, (tuple, list)) and client and isinstance(client[0], str):
        return client[0] or None
    return None


def _hops_of(req: AnyRequest) -> list[str]:
    """For whom each proxy asks, by the header that counts, the nearest proxy last."""
    hops = _values_of(req, 'X-Forwarded-For')
    if hops:
        return hops
    forwarded = _forwarded_of(req)
    if forwarded is None:  # a quote that a client left open could hide what a proxy appended
        return ['unknown']
    if forwarded:
        return [element.src or 'unknown' for element in forwarded]
    return [*filter(None, [(req.get_header('X-Real-IP') or '').strip()])]


def _forwarded_of(req: AnyRequest) -> list[falcon.Forwarded] | None:
    """The elements of Forwarded; none if it is absent or empty, `None` if it is malformed."""
    value = req.get_header('Forwarded') or ''
    if not value.strip(' \t,;'):
        return []
    return req.forwarded if _FORWARDED.fullmatch(value) else None


def _values_of(req: AnyRequest, name: str) -> list[str]:
    """The values of a header that is a list; empty ones do not count (RFC 9110 §5.6.1)."""
    values = (value.strip() for value in (req.get_header(name) or '').split(','))
    return [value for value in values if value]


def _parsed(text: str) -> _Address | None:
    """The address in what may have a port, brackets, quotes or a zone, `None` if there is none."""
    text = text.strip().strip('"')
    node = _NODE.fullmatch(text)
    bare = text if node is None else node[1] or node[2] or ''
    try:
        return _unmapped(ip_address(bare.partition('%')[0]))
    except ValueError:
        return None


def _unmapped(address: _Address) -> _Address:
    """An IPv4 address that came mapped to IPv6, as an IPv4 one (RFC 4291 §2.5.5.2)."""
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _shown(text: str) -> str:
    address = _parsed(text)
    return text[:MAX_ADDRESS_CHARS] if address is None else str(address)


def _check_network(entry: object) -> _Network:
    problem = 'expected an IP address or a network'
    if isinstance(entry, str):
        try:
            network = ip_network(entry)
        except ValueError as error:
            problem = f'{problem}: {error}'
        else:
            mapped = _unmapped(network.network_address)
            if network.version == 6 and mapped.version == 4 and network.prefixlen >= 96:
                return ip_network((str(mapped), network.prefixlen - 96))
            return network
    raise ConfigurationError(
        f"{entry!r} is not a proxy that can be trusted: {problem}; write '10.0.0.1', "
        "'10.0.0.0/8' or 'fd00::/8', a list of them, or '*' alone for whoever connects"
    )
