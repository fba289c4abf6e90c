"""What this process says to the others, and does for them.

Whatever has one order for all goes through the backend, also to the connections of this process.
What concerns one connection is done by the process that has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace
import secrets
from typing import Any, Final

from falcon_ws_mw.backends import Backend
from falcon_ws_mw.calls import ANSWER, ASK, ASK_AGAIN, Calls, Operation
from falcon_ws_mw.channels import Channel, Holdings, Kind, channels_of
from falcon_ws_mw.connection import Connection
from falcon_ws_mw.delivery import Delivery, Outcome, line_of, names_of
from falcon_ws_mw.envelope import Sendable, is_id
from falcon_ws_mw.errors import ConnectionNotFound
from falcon_ws_mw.fanout import Fanout
from falcon_ws_mw.gaps import Gaps
from falcon_ws_mw.interest import Interest
from falcon_ws_mw.logs import ClientFaults, quoted
from falcon_ws_mw.options import OutagePolicy, SlowConsumer
from falcon_ws_mw.packets import Packet, UnreadablePacket, Variant, as_fact, decode
from falcon_ws_mw.registry import Registry
from falcon_ws_mw.reports import BackendHealth, Counters, DeliveryReport, Gap
from falcon_ws_mw.seen import Seen

DELIVER: Final = 'deliver'

_SEPARATOR: Final = '.'
"""Between the process and the rest, in the id of a connection."""


class Cluster:
    """This process among others.

    Args:
        backend: What links them.
        registry: Who is connected here.
        fanout: Reaches them.
        counters: Where is counted what could not be delivered.
        gaps: Is told of what was lost.
        faults: Where the log is told of what could not be read.
        operations: What other processes may ask of this one, by name.
        outage_policy: What becomes of broadcasts while the backend is away.

    Attributes:
        node_id: What this process is called by the others.
        undecodable: How much has arrived that could not be read.
    """

    def __init__(
        self,
        backend: Backend,
        registry: Registry,
        fanout: Fanout,
        counters: Counters,
        gaps: Gaps,
        faults: ClientFaults,
        operations: Mapping[str, Operation],
        outage_policy: OutagePolicy,
    ) -> None:
        self.node_id = secrets.token_hex(8)
        self.undecodable = 0
        self._backend = backend
        self._registry = registry
        self._fanout = fanout
        self._gaps = gaps
        self._faults = faults
        self._outage_policy: OutagePolicy = outage_policy
        self._holdings = Holdings(registry.count)
        self._interest = Interest(backend, self._holdings, faults)
        self._calls = Calls(self._say, self._presence, operations)
        self._seen = Seen()
        self._said = 0
        self._delivery = Delivery(registry, fanout, counters, self._holdings, faults)
        registry.changed = self._changed

    async def start(self) -> None:
        """Get in touch with the others."""
        # Not the one of before: what was said under that name is over, and a process that was
        # forked since has its own.
        node_id = secrets.token_hex(8)
        await self._backend.start(node_id, self)
        self.node_id = node_id
        self._seen, self._said = Seen(), 0
        self._delivery.begin()
        self._calls.begin()
        self._interest.changed(Channel('node', self.node_id))
        for kind, name in self._registry.names():
            self._changed(kind, name)
        self._interest.begin()
        try:
            await self._interest.settled()
        except asyncio.CancelledError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Leave them."""
        await self._calls.end()
        await self._interest.settled()
        await self._interest.end()
        await self._backend.stop()
        await self._gaps.end()

    # -- whose a connection is

    def new_id(self) -> str:
        """An id for a connection of this process; 128 bits of it are random."""
        return f'{self.node_id}{_SEPARATOR}{secrets.token_urlsafe(16)}'

    def is_elsewhere(self, connection_id: str) -> bool:
        """Whether a connection may be one of another process."""
        is_text: object = connection_id
        return (
            isinstance(is_text, str)
            and connection_id not in self._registry.connections
            and not self._is_own(connection_id)
        )

    def _is_own(self, connection_id: str) -> bool:
        return connection_id.startswith(self.node_id + _SEPARATOR)

    def _changed(self, kind: Kind, name: str) -> None:
        if kind != 'connection' or not self._is_own(name):
            self._interest.changed(self._holdings.changed(kind, name))

    async def settled(self, kind: Kind, name: str) -> None:
        """Wait until what is sent to a name elsewhere arrives here."""
        await self._interest.settled(self._holdings.changed(kind, name))

    # -- to many

    async def spread(
        self,
        kind: Kind,
        names: Iterable[str],
        members: list[Connection],
        message: Sendable,
        exclude_ids: Iterable[str] = (),
        *,
        coalesce: Hashable = None,
        slow_consumer: SlowConsumer | None = None,
    ) -> DeliveryReport:
        """Send to all connections under some names, wherever they are.

        Args:
            kind: To whom: `'all'`, `'room'`, `'user'` or `'topic'`.
            names: Which rooms or users; the one topic.
            members: Those of this process.
            message: What they get.
            exclude_ids: Who of them does not.
            coalesce: A key of text, numbers, or tuples of them.
            slow_consumer: What it does where there is no room.

        Returns:
            What became of it in this process.

        Raises:
            BackendUnavailable: If it could not be sent.
        """
        names = [*dict.fromkeys(names)]
        variants = self._fanout.pack(members, message, slow_consumer)
        channels = channels_of(kind, names)
        facts: dict[str, Any] = {}
        if excluded := [exclude_ids] if isinstance(exclude_ids, str) else [*exclude_ids]:
            facts['except'] = excluded
        if coalesce is not None:
            facts['key'] = as_fact(coalesce)
        if slow_consumer is not None:
            facts['slow_consumer'] = slow_consumer
        if not channels:
            return DeliveryReport()
        if self._outage_policy == 'local' and not self._backend.is_in_touch(channels):
            key = None if coalesce is None else line_of(kind, names, coalesce)
            return self._fanout.deliver(
                members, variants, excluded, slow_consumer=slow_consumer, key=key
            )
        outcome = Outcome()
        if kind == 'user' and len(channels) > 1:
            await self._send_each(channels, facts, variants, outcome)
        else:
            await self._send(channels, facts | names_of(kind, names), variants, outcome)
        return self._delivery.report(outcome)

    async def _send_each(
        self,
        channels: Iterable[Channel],
        facts: Mapping[str, Any],
        variants: tuple[Variant, ...],
        outcome: Outcome,
    ) -> None:
        """Send to many users: no connection is two users', so none could get it twice."""
        sending = [self._send([channel], facts, variants, outcome) for channel in channels]
        for failure in await asyncio.gather(*sending, return_exceptions=True):
            if failure is not None:
                raise failure

    async def _send(
        self,
        channels: list[Channel],
        facts: Mapping[str, Any],
        variants: tuple[Variant, ...],
        outcome: Outcome,
    ) -> None:
        packet = self._packet(DELIVER, facts, variants)
        data = packet.encode()
        with self._delivery.watched(packet, outcome):
            await self._backend.send(channels, data)

    def _packet(
        self, operation: str, facts: Mapping[str, Any], variants: tuple[Variant, ...] = ()
    ) -> Packet:
        self._said += 1
        return Packet(operation, self.node_id, self._said, facts, variants)

    # -- to one

    async def ask(
        self,
        connection_id: str,
        operation: str,
        *args: Any,
        message: Sendable | None = None,
        seconds: float | None = None,
    ) -> Any:
        """Have the process that has a connection do something with it.

        Args:
            connection_id: The connection's id.
            operation: What to do: called there with the id, and the arguments behind it.
            args: Anything that can be JSON.
            message: What is to be sent to it.
            seconds: How long that may take (default: `calls.ANSWER_SECONDS`).

        Returns:
            What it returns there.

        Raises:
            ConnectionNotFound: If no process has it.
            BackendUnavailable: If that process does not answer.
        """
        named: dict[str, Any] = {} if seconds is None else {'seconds': seconds}
        if message is not None:
            named['variants'] = self._fanout.pack([], message, None)
        if not is_id(connection_id):  # a lone surrogate: nobody could be asked for it
            raise ConnectionNotFound(connection_id)
        node_id, separator, _ = connection_id.partition(_SEPARATOR)
        node_ids: Iterable[str] = ()
        if separator and len(node_id) == len(self.node_id):
            node_ids = (node_id,)
        answers = await self._calls.ask_each(node_ids, operation, connection_id, *args, **named)
        if not answers:  # it may be an id of the app's own
            node_ids = await self._backend.holders(Channel('connection', connection_id))
            answers = await self._calls.ask_each(node_ids, operation, connection_id, *args, **named)
        if not answers:
            raise ConnectionNotFound(connection_id)
        return answers[0]

    async def ask_all(
        self, kind: Kind, name: str, operation: str, *args: Any, without_absent: bool = False
    ) -> list[Any]:
        """Have every process that holds a name do something; what each of them returns.

        Args:
            kind: The kind of the name.
            name: The name.
            operation: What to do.
            args: Anything that can be JSON.
            without_absent: Whether those are left out who may have been killed.

        Raises:
            BackendUnavailable: If one of them does not answer. The others have done it.
        """
        node_ids = await self._backend.holders(Channel(kind, name))
        return await self._calls.ask_each(node_ids, operation, *args, without_absent=without_absent)

    async def _say(
        self,
        operation: str,
        channel: Channel,
        facts: Mapping[str, Any],
        variants: tuple[Variant, ...],
    ) -> int | None:
        return await self._backend.send(
            [channel], self._packet(operation, facts, variants).encode()
        )

    async def _presence(self, channel: Channel) -> tuple[int, int]:
        """How many processes hold a channel by their leases, and how many of them listen.

        Of a machine whose cable was cut, the subscription may be there long after its lease.
        """
        held = len(await self._backend.holders(channel))
        listening = await self._backend.listening(channel)
        return held, held if listening is None else min(held, listening)

    # -- look

    async def holders(self, kind: Kind, name: str) -> dict[str, int]:
        """Which processes have connections under a name, and how many."""
        channel = Channel(kind, name)
        return await self._interest.look(lambda: self._backend.holders(channel), channel)

    async def names(self, kind: Kind, prefix: str = '') -> list[str]:
        """The names of a kind, with a prefix, under which a process has connections."""
        return await self._interest.look(lambda: self._backend.names(kind, prefix))

    def health(self) -> BackendHealth:
        """How the backend stands."""
        health = self._backend.health()
        return replace(health, undecodable=health.undecodable + self.undecodable)

    # -- from others

    def receive(self, channel: Channel, data: bytes) -> None:
        """Something has arrived."""
        try:
            packet = decode(data)
        except UnreadablePacket as error:
            self.undecodable += 1
            self._faults.warn(
                'undecodable', 'a packet could not be read and is ignored: %s', quoted(str(error))
            )
            return
        if not self._seen.is_new(channel, packet):
            return
        try:
            if packet.operation == DELIVER:
                self._delivery.deliver(channel, packet)
            elif packet.operation in {ASK, ASK_AGAIN}:
                self._calls.asked(packet)
            elif packet.operation == ANSWER:
                self._calls.answered(packet)
            else:
                raise UnreadablePacket('nobody knows how to do that')
        except Exception as error:  # noqa: BLE001  # of another version, an envelope of the app's
            self.undecodable += 1
            self._faults.warn(
                'undeliverable',
                'what another process said (%s) could not be done: %s: %s',
                quoted(packet.operation),
                type(error).__name__,
                quoted(str(error)),
            )

    def lost(self, gap: Gap) -> None:
        """Something will not arrive."""
        self._gaps.noticed(gap)
