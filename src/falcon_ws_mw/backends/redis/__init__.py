"""Redis links the processes: by pub/sub, with numbers by which what is lost is noticed.

A process listens for the channels that it holds, and for itself. It tells Redis for how many
connections it holds them, under a lease. In a Redis Cluster, channels are spread over parts; each
part is with one of its servers, and is as a Redis of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import fields
from typing import Any, ClassVar
from zlib import crc32

from falcon_ws_mw.backends.base import Backend, Guarantee, Receiver
from falcon_ws_mw.backends.redis.options import RedisOptions, read_url
from falcon_ws_mw.backends.redis.scripts import PLAIN, SHARDED
from falcon_ws_mw.channels import Channel, Kind
from falcon_ws_mw.errors import BackendUnavailable, ConfigurationError
from falcon_ws_mw.logs import ClientFaults
from falcon_ws_mw.reports import BackendHealth

try:
    from redis.exceptions import RedisError
except ImportError as error:
    raise ConfigurationError(
        "the backend redis:// needs redis-py: pip install 'falcon-ws-mw[redis]'"
    ) from error

from falcon_ws_mw.backends.redis.connecting import connectors_of
from falcon_ws_mw.backends.redis.contact import Contact
from falcon_ws_mw.backends.redis.link import Link


class RedisBackend(Backend):
    """Links processes by a Redis (7.0 or later).

    Args:
        url: `redis://host:6379/0`; with Sentinel
            `redis+sentinel://host:26379,host:26379/name-of-the-master/0`; with Redis Cluster
            `redis+cluster://host:7000,host:7001`, some of its servers. With `rediss` by TLS. The
            query may have the fields of `RedisOptions`, and whatever redis-py knows.

    Raises:
        ConfigurationError: If something is wrong with the URL.
    """

    guarantee: ClassVar[Guarantee] = Guarantee(
        reaches='cluster',
        delivery='at_most_once',
        reports_loss=True,
        words=(
            'All processes with the same Redis and prefix. What is sent to a room, a user or a '
            'topic has one order in all of them, and arrives at most once. While a process cannot '
            'reach Redis it misses what others send: how many messages each room has missed, or '
            'that Redis has lost count, is reported when it is back.'
        ),
    )

    def __init__(self, url: str) -> None:
        read = read_url(url)
        super().__init__(read.shown)
        self.options = read.options
        """How Redis is used."""
        self.wait_seconds = read.options.wait_seconds
        try:
            found = connectors_of(read)
        except TypeError as error:
            raise ConfigurationError(
                f'backend={read.shown!r}: {error}; is an option misspelt? Beside those of redis-py '
                f'there are {", ".join(each.name for each in fields(RedisOptions))}'
            ) from None
        except (ValueError, RedisError) as error:
            raise ConfigurationError(f'backend={read.shown!r}: {error}') from None
        dialect = SHARDED if read.topology == 'cluster' else PLAIN
        faults = ClientFaults()
        self._contact = Contact(read.shown, len(found), faults)
        self._links = [
            Link(connector, dialect, prefix, read.options, read.shown, faults, self._contact)
            for prefix, connector in found
        ]
        self._sent = self._unsent = 0

    async def start(self, node_id: str, receiver: Receiver) -> None:
        """Connect, or begin to try: see `Backend.start`."""
        try:
            await asyncio.gather(*(link.start(node_id, receiver) for link in self._links))
        except asyncio.CancelledError:
            self._contact.end()
            raise
        self._sent = self._unsent = 0

    async def stop(self) -> None:
        """Give up what is held, and disconnect."""
        stopping = [asyncio.ensure_future(link.stop()) for link in self._links]
        try:
            await asyncio.wait(stopping)
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # each has begun, and ends its tasks whatever happens
            for each in stopping:
                each.cancel()
            await asyncio.wait(stopping)
            raise
        finally:
            self._contact.end()

    def _link_of(self, channel: Channel) -> Link:
        if len(self._links) == 1:
            return self._links[0]
        return self._links[
            crc32(':'.join(channel).encode(errors='surrogatepass')) % len(self._links)
        ]

    def _by_link(self, channels: Sequence[Channel]) -> dict[Link, list[Channel]]:
        by_link: dict[Link, list[Channel]] = {}
        for channel in channels:
            by_link.setdefault(self._link_of(channel), []).append(channel)
        return by_link

    async def hold(self, counts: Mapping[Channel, int]) -> None:
        """Hold channels, or hold them no longer: see `Backend.hold`."""
        outcomes = await asyncio.gather(
            *(
                link.hold({channel: counts[channel] for channel in channels})
                for link, channels in self._by_link([*counts]).items()
            ),
            return_exceptions=True,
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):  # the other parts hold theirs by now
                raise outcome

    async def send(self, channels: Sequence[Channel], data: bytes) -> int | None:
        """Send to some channels of one kind: see `Backend.send`."""
        try:
            reached = await self._all_sent(self._put(channels, data))
        except BackendUnavailable:
            self._unsent += 1
            raise
        self._sent += 1
        return reached if len(channels) == 1 else None

    def _put(self, channels: Sequence[Channel], data: bytes) -> list[Coroutine[Any, Any, int]]:
        """Put a message into all its lines at once: they are in the order of the calls."""
        sending: list[Coroutine[Any, Any, int]] = []
        try:
            for link, those in self._by_link(channels).items():
                sending.append(link.put(those, data))  # one of them may raise
        except BackendUnavailable:
            for each in sending:
                each.close()
            raise
        return sending

    @staticmethod
    async def _all_sent(sending: Sequence[Coroutine[Any, Any, int]]) -> int:
        if len(sending) == 1:
            return await sending[0]
        outcomes = await asyncio.gather(*sending, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):  # some may have had it from the others
                raise outcome
        return len(outcomes)

    async def holders(self, channel: Channel) -> dict[str, int]:
        """Which processes hold a channel: a command to Redis for each process that lives."""
        return await self._link_of(channel).holders(channel)

    async def listening(self, channel: Channel) -> int | None:
        """How many connections to Redis listen to a channel."""
        return await self._link_of(channel).listening(channel)

    async def names(self, kind: Kind, prefix: str = '') -> list[str]:
        """The names of a kind: Redis looks at all that every living process holds."""
        found = await asyncio.gather(*(link.names(kind, prefix) for link in self._links))
        return [name for names in found for name in names]

    def is_in_touch(self, channels: Sequence[Channel]) -> bool:
        """Whether there is a server for each of some channels; if there are none, for all."""
        return all(link.is_connected for link in self._by_link(channels) or self._links)

    def health(self) -> BackendHealth:
        """How it stands; of several parts, it is in touch if it is with each of them."""
        healths = [link.health() for link in self._links]
        worst = min(healths, key=lambda each: _STATES.index(each.state))
        return BackendHealth(
            worst.state,
            state_seconds=min(each.state_seconds for each in healths if each.state == worst.state),
            connects=max(each.connects for each in healths),
            channels=sum(each.channels for each in healths),
            waiting=sum(each.waiting for each in healths),
            sent=self._sent,
            unsent=self._unsent,
            received=sum(each.received for each in healths),
            gaps=sum(each.gaps for each in healths),
            lost=sum(each.lost for each in healths),
            undecodable=sum(each.undecodable for each in healths),
            last_error=next((each.last_error for each in healths if each.last_error), None),
        )


_STATES = ('stopped', 'connecting', 'connected')
