"""Which server to speak to: the one of the URL, a master by its name, or who has a slot."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import RedisError

from falcon_ws_mw.backends.redis.options import RedisUrl
from falcon_ws_mw.backends.redis.session import Connector, ask, disconnect

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

PARTS: Final = 16
"""Over how many parts of a cluster channels are spread. All processes have to agree on it."""

_CONNECTIONS: Final[dict[str, Any]] = {
    'decode_responses': False,
    'protocol': 2,
    'retry': Retry(NoBackoff(), 0),
    'socket_keepalive': True,
    'socket_timeout': None,  # a time-out of ours is around whatever must not take long
    'health_check_interval': 0,
}
"""How connections are made, whatever the URL says."""


class Direct:
    """Speaks to the server of a URL.

    Args:
        url: The URL, as redis-py reads it.
        timeout_seconds: How long connecting may take.

    Raises:
        ValueError: If redis-py cannot read it; likewise `TypeError`.
    """

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._pool = ConnectionPool.from_url(url)
        self._pool.connection_kwargs |= _CONNECTIONS | {'socket_connect_timeout': timeout_seconds}
        self.to()  # says what it does not know

    @property
    def database(self) -> int:
        """The number of the database."""
        return int(self._pool.connection_kwargs.get('db') or 0)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        facts = self._pool.connection_kwargs
        return str(facts.get('host', 'localhost')), int(facts.get('port', 6379))

    @property
    def security(self) -> dict[str, Any]:
        """How TLS is spoken, if it is."""
        facts = self._pool.connection_kwargs
        if not issubclass(self._pool.connection_class, SSLConnection):
            return {}
        return {'ssl': True} | {key: facts[key] for key in facts if key.startswith('ssl_')}

    def to(self, **address: Any) -> AbstractConnection:
        """A connection like those of this server, to another address."""
        made: AbstractConnection = self._pool.connection_class(
            **{**self._pool.connection_kwargs, **address}
        )
        return made

    async def find(self) -> AbstractConnection:
        """A connection to the server."""
        return self.to()


class BySentinel:
    """Speaks to the master that sentinels know by a name.

    Args:
        sentinels: What connects to each of them.
        master: The name.
        timeout_seconds: How long they may take to answer, one after the other.
        told: What else redis-py is told of them.
    """

    def __init__(
        self,
        sentinels: Sequence[Direct],
        master: str,
        timeout_seconds: float,
        told: Mapping[str, str],
    ) -> None:
        self._sentinels = sentinels
        self._master = master
        self._told = {
            'retry': Retry(NoBackoff(), 0),
            'socket_timeout': timeout_seconds / len(sentinels),
            **sentinels[0].security,
            **told,
        }

    async def find(self) -> AbstractConnection:
        """A connection to the master of this moment."""
        sentinels: Any = Sentinel  # not typed there
        sentinel = sentinels(
            [each.address for each in self._sentinels],
            sentinel_kwargs=self._told,
        )
        try:
            host, port = await sentinel.discover_master(self._master)
        finally:
            await asyncio.gather(*(each.aclose() for each in sentinel.sentinels))
        return self._sentinels[0].to(host=host, port=port)


class ByCluster:
    """Speaks to the server of a cluster that has a slot.

    Args:
        seeds: What connects to some servers of the cluster.
        tag: A key of the slot.
        timeout_seconds: How long servers may take to say who has it, one after the other.
    """

    def __init__(self, seeds: Sequence[Direct], tag: str, timeout_seconds: float) -> None:
        self._seeds = deque(seeds)
        self._slot = key_slot(tag.encode())
        self._timeout_seconds = timeout_seconds / (len(seeds) + 1)

    async def find(self) -> AbstractConnection:
        """A connection to whoever has the slot now."""
        failure: Exception = ConnectionError(f'no server of the cluster has slot {self._slot}')
        for _ in range(len(self._seeds)):
            seed = self._seeds[0]
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    slots = await self._slots_of(seed)
            except (RedisError, OSError, TimeoutError) as error:
                failure = error
                self._seeds.rotate(-1)  # the next time, too, another one is asked first
                continue
            for first, last, (host, port, *_), *_ in slots:
                if first <= self._slot <= last:
                    own = {'host': host.decode()} if host else {}
                    return seed.to(**own, port=port)
            self._seeds.rotate(-1)
        raise failure

    @staticmethod
    async def _slots_of(seed: Direct) -> Any:
        connection = seed.to()
        try:
            connect: Any = connection.connect  # not typed there
            await connect()
            return await ask(connection, ('CLUSTER', 'SLOTS'))
        finally:
            await disconnect(connection)


def connectors_of(url: RedisUrl) -> list[tuple[str, Connector]]:
    """The servers that a URL speaks of, each with what its keys begin with.

    Raises:
        ValueError: If redis-py cannot read it; likewise `TypeError`.
    """
    options = url.options
    directs = [Direct(each, options.timeout_seconds) for each in url.for_driver]
    database = directs[0].database
    # Channels know no databases, and two apps on two of them are not to meet.
    prefix = f'{options.prefix}@{database}' if database else options.prefix
    if url.topology == 'cluster':
        if database:
            raise ValueError(f'a cluster has no database {database}, only 0: leave it out')
        tags = [f'{{{prefix}.{part}}}' for part in range(PARTS)]
        seconds = options.timeout_seconds
        return [(tag, ByCluster(directs, tag, seconds)) for tag in tags]
    if url.topology == 'sentinel':
        seconds = options.timeout_seconds
        return [(prefix, BySentinel(directs, url.master, seconds, url.for_sentinels))]
    return [(prefix, directs[0])]
