"""What the URL of a Redis says of it, and of how it is used.

    redis://user:password@host:6379/0?prefix=chat&lease_seconds=30

Whatever in the query is not of this library is redis-py's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from falcon_ws_mw.errors import ConfigurationError, without_password
from falcon_ws_mw.errors.base import shortened

_OURS = frozenset(
    {'decode_responses', 'health_check_interval', 'protocol', 'retry_on_timeout', 'socket_timeout'}
)
"""What redis-py could be told, and is told by us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisOptions:
    """How a Redis is used.

    Args:
        prefix: What the names of keys and channels begin with (default `'falcon_ws'`). Apps that
            share a Redis need one each.
        lease_seconds: For how long a process that died still counts, with its rooms and users
            (default 30).
        wait_seconds: How long a message waits for a Redis that is away (default 5). Beyond it its
            sender is told by `BackendUnavailable`.
        timeout_seconds: How long Redis may take to answer (default 5).
        max_waiting: How many messages may wait (default 10,000). Beyond it senders are told at
            once.

    Raises:
        ConfigurationError: If one of them is outside its range.
    """

    prefix: str = 'falcon_ws'
    lease_seconds: float = 30.0
    wait_seconds: float = 5.0
    timeout_seconds: float = 5.0
    max_waiting: int = 10_000

    def __post_init__(self) -> None:
        for name, least, most in (
            ('lease_seconds', 1, 3_600),
            ('wait_seconds', 0.01, 3_600),
            ('timeout_seconds', 0.1, 60),
            ('max_waiting', 1, 10_000_000),
        ):
            value: object = getattr(self, name)
            if not (isinstance(value, (int, float)) and least <= value <= most):
                raise ConfigurationError(
                    f'{name}={value!r} for Redis: expected a number from {least} to {most}'
                )
        if not self.prefix or quote(self.prefix, safe='') != self.prefix:
            raise ConfigurationError(
                f'prefix={self.prefix!r} for Redis: expected letters, digits, and any of -_.~'
            )


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """What a URL says.

    Attributes:
        topology: Whether it is of one server, of sentinels, or of servers of a cluster.
        for_driver: A URL for redis-py, for each server that it names.
        master: The name of the master that the sentinels know.
        shown: What may be shown of it: without a password.
        options: How Redis is used.
        for_sentinels: What else the sentinels are told, as redis-py's options: who we are.
    """

    topology: Literal['one', 'sentinel', 'cluster']
    for_driver: tuple[str, ...]
    master: str
    shown: str
    options: RedisOptions
    for_sentinels: Mapping[str, str] = field(default_factory=dict)


def read_url(url: str) -> RedisUrl:
    """Take a URL apart.

    Raises:
        ConfigurationError: If something of it is nothing of that kind.
    """
    shown = without_password(url).partition('?')[0]
    try:
        parts = urlsplit(url)
        _ = parts.port if ',' not in parts.netloc else None
        if '@' in parts.path:
            raise ValueError
    except ValueError:  # whose text may show a part of the password
        raise ConfigurationError(
            f'backend={shown!r} is no URL: has the password a character that is to be escaped?'
        ) from None
    if '+' in parts.scheme and not parts.netloc.rpartition('@')[2]:
        raise ConfigurationError(f'backend={shown!r}: expected hosts, as in //host:7000,host:7001')
    scheme, _, kind = parts.scheme.partition('+')
    query, options, for_sentinels = _read_query(parts.query)
    parts = parts._replace(scheme=scheme, query=query)
    master, path = '', parts.path
    if kind != 'sentinel':
        _check_database(path, shown)
    if not kind:
        return RedisUrl('one', (urlunsplit(parts),), '', shown, options)
    if kind == 'sentinel':
        master, _, database = path.strip('/').partition('/')
        if not master:
            raise ConfigurationError(
                f'backend={shown!r}: expected the name of the master behind the sentinels, as in '
                'redis+sentinel://host:26379/mymaster'
            )
        _check_database(database, shown)
        path = f'/{database}'
    user, at, hosts = parts.netloc.rpartition('@')
    for_driver = tuple(
        urlunsplit(parts._replace(netloc=f'{user}{at}{host}', path=path))
        for host in hosts.split(',')
    )
    topology: Literal['sentinel', 'cluster'] = 'sentinel' if kind == 'sentinel' else 'cluster'
    return RedisUrl(topology, for_driver, master, shown, options, for_sentinels)


def _check_database(path: str, shown: str) -> None:
    """See that a database is a number: redis-py takes anything else for none, and that is 0."""
    found = unquote(path).strip('/')
    if found and not _is_number(found):
        raise ConfigurationError(
            f'backend={shown!r}: the database is {shortened(found)}, expected a number from 0 or '
            'nothing; a name that keeps apps apart goes into the query, as in ?prefix=chat, and '
            'the name of a master behind redis+sentinel://host:26379/'
        )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _read_query(query: str) -> tuple[str, RedisOptions, dict[str, str]]:
    """What of a query is redis-py's, what is ours, and what is for sentinels."""
    types = {each.name: each.type for each in fields(RedisOptions)}
    ours: dict[str, str | int | float] = {}
    theirs: list[tuple[str, str]] = []
    for_sentinels: dict[str, str] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name in {'sentinel_username', 'sentinel_password'}:
            for_sentinels[name.removeprefix('sentinel_')] = text
        elif name == 'db' and not _is_number(text):
            raise ConfigurationError(f'db={shortened(text)} for Redis: expected a number from 0')
        elif name not in types:
            theirs += [(name, text)] if name not in _OURS else []
        elif name == 'prefix':
            ours[name] = text
        else:
            try:
                ours[name] = int(text) if types[name] == 'int' else float(text)
            except ValueError:
                raise ConfigurationError(f'{name}={text!r} for Redis: expected a number') from None
    options = RedisOptions(**ours)  # type: ignore[arg-type]  # by their types
    return urlencode(theirs), options, for_sentinels
