"""One message to many connections: encoded once, nobody waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from falcon_ws_mw.codec import Codec, Codecs
from falcon_ws_mw.connection import Connection
from falcon_ws_mw.envelope import Message, Sendable, wire_name
from falcon_ws_mw.errors import MessageTooBig
from falcon_ws_mw.frames import Frame, frame_bytes, raw_of
from falcon_ws_mw.options import SlowConsumer, check_choice
from falcon_ws_mw.outbox import Key
from falcon_ws_mw.packets import Variant
from falcon_ws_mw.registry import Registry
from falcon_ws_mw.reports import Counters, DeliveryReport


class Fanout:
    """Sends what the manager is told to send.

    Args:
        registry: Who is connected.
        counters: Where deliveries are counted.

    Attributes:
        codecs: How messages become frames.
    """

    __slots__ = ('_counters', '_registry', 'codecs')

    def __init__(self, registry: Registry, counters: Counters) -> None:
        self.codecs = Codecs()
        self._registry = registry
        self._counters = counters

    def send(
        self,
        members: list[Connection],
        message: Sendable,
        exclude_ids: Iterable[str] = (),
        *,
        slow_consumer: SlowConsumer | None = None,
        key: Key | None = None,
    ) -> DeliveryReport:
        """Send a message to some connections, without waiting for any.

        Args:
            members: Who gets it.
            message: What they get.
            exclude_ids: Who of them does not.
            slow_consumer: What it does where there is no room (default: as each connection says).
            key: Replaces the message that waits under the same key.
        """
        hash(key)  # what cannot be a key is said before anybody gets anything
        if slow_consumer is not None:
            check_choice('slow_consumer', slow_consumer, SlowConsumer)
        members = self.without(members, exclude_ids)
        if not members and isinstance(message, Message):
            return DeliveryReport(0, 0)  # which of the app's envelopes it would have is not known
        by_codec = [(self.codecs.default, members)]
        if (
            members
            and self.codecs.are_many
            and (isinstance(message, Message) or self.codecs.check_sends)
        ):
            by_codec = _by_codec(members)
        frames = [(codec.encode(message), group) for codec, group in by_codec]
        return self._post(frames, slow_consumer, key)

    # -- to and from other processes

    def pack(
        self, members: list[Connection], message: Sendable, slow_consumer: SlowConsumer | None
    ) -> tuple[Variant, ...]:
        """Encode a message for all processes, once for each envelope that is spoken.

        Args:
            members: Who gets it here.
            message: What they get.
            slow_consumer: What it does where there is no room.

        Raises:
            TypeError: If it cannot be encoded.
        """
        if slow_consumer is not None:
            check_choice('slow_consumer', slow_consumer, SlowConsumer)
        if self.codecs.check_sends:
            for codec in {member.codec: None for member in members}:
                codec.encode(message)
        if not isinstance(message, Message):
            return (Variant(None, self.codecs.default.encode(message)),)
        needed = {wire_name(member.codec.envelope) for member in members}
        variants, refused = [], None
        for name, codec in self.codecs.by_wire_name().items():
            try:
                variants.append(Variant(name, codec.encode(message)))
            except (TypeError, ValueError) as error:
                if name in needed:
                    raise
                refused = error
        if not variants and refused is not None:
            raise refused
        return tuple(variants)

    def deliver(
        self,
        members: list[Connection],
        variants: tuple[Variant, ...],
        exclude_ids: Iterable[str] = (),
        *,
        slow_consumer: SlowConsumer | None = None,
        key: Key | None = None,
    ) -> DeliveryReport:
        """Send what a process has encoded to some connections of this one, as `send` does.

        Raises:
            ValueError: If it is in no envelope that they speak, or that it could be put into.
            MessageTooBig: See `send`.
        """
        members = self.without(members, exclude_ids)
        first = variants[0]
        if first.wire is None or not members:
            return self._post([(first.frame, members)], slow_consumer, key)
        by_wire = {variant.wire: variant.frame for variant in variants}
        frames = []
        for codec, group in _by_codec(members):
            frame = by_wire.get(wire_name(codec.envelope))
            if frame is None:  # its sender has never spoken to such a client
                reader = self.codecs.by_wire_name().get(first.wire)
                if reader is None:
                    raise ValueError(f'nobody here speaks {first.wire}')
                incoming = reader.read(raw_of(first.frame))
                frame = codec.encode_message(incoming.type, incoming.payload)
            frames.append((frame, group))
        return self._post(frames, slow_consumer, key)

    # -- both

    def without(self, members: list[Connection], exclude_ids: Iterable[str]) -> list[Connection]:
        """Some connections, but for those of some ids."""
        if not exclude_ids:
            return members
        ids = (exclude_ids,) if isinstance(exclude_ids, str) else exclude_ids
        excluded = {self._registry.connections.get(connection_id) for connection_id in ids}
        return [member for member in members if member not in excluded]

    def _post(
        self,
        frames: list[tuple[Frame, list[Connection]]],
        slow_consumer: SlowConsumer | None,
        key: Key | None,
    ) -> DeliveryReport:
        queued = dropped = unable = 0
        too_big: MessageTooBig | None = None
        for frame, group in frames:
            size = frame_bytes(frame)
            if size > self._registry.least_outbox_bytes:
                try:
                    able = those_who_can_take(group, size)
                except MessageTooBig as error:
                    too_big, unable = error, unable + len(group)
                    continue
                dropped += len(group) - len(able)
                group = able  # noqa: PLW2901
            report = post_all(group, frame, size, slow_consumer=slow_consumer, key=key)
            queued += report.queued
            dropped += report.dropped
        if too_big is not None and not queued + dropped:  # in no envelope anybody could take it
            raise too_big
        self._counters.delivered += queued
        self._counters.dropped += dropped + unable
        return DeliveryReport(queued, dropped + unable)


def _by_codec(connections: list[Connection]) -> list[tuple[Codec, list[Connection]]]:
    """Who is spoken to alike, in the order in which they come first."""
    groups: dict[Codec, list[Connection]] = {}
    for connection in connections:
        groups.setdefault(connection.codec, []).append(connection)
    return list(groups.items())


def post_all(
    connections: list[Connection],
    frame: Frame,
    size: int,
    *,
    slow_consumer: SlowConsumer | None = None,
    key: Key | None = None,
) -> DeliveryReport:
    """Post one frame to each of many connections.

    PERF: what a delivery costs beside the server's send are cache misses, so nothing of a
    connection is touched but one slot, and its send is begun here and not a call further down.

    Args:
        connections: Who gets it.
        frame: The ASGI event.
        size: Its bytes of payload.
        slow_consumer: What it does where there is no room (default: as each connection says).
        key: Replaces the message that waits under the same key.
    """
    dropped = 0
    for connection in connections:
        send = connection.direct
        if send is None:
            if not connection.post(frame, size, slow_consumer=slow_consumer, key=key):
                dropped += 1
            continue
        try:
            sending = send(frame)
            steps = sending.__await__()
            for blocked_on in steps:
                connection.blocked(sending, blocked_on, steps)
                break
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # see `broken`
            connection.broken(error)
            dropped += 1
    return DeliveryReport(len(connections) - dropped, dropped)


def those_who_can_take(connections: list[Connection], size: int) -> list[Connection]:
    """Leave out connections whose outbox is shorter than one message.

    Raises:
        MessageTooBig: If that is all of them.
    """
    able = [
        connection
        for connection in connections
        if connection.limits.max_outbox_bytes is None or size <= connection.limits.max_outbox_bytes
    ]
    if connections and not able:
        raise MessageTooBig(size, max(each.limits.max_outbox_bytes or 0 for each in connections))
    return able


class Websockets(Mapping[str, Any]):
    """A live, read-only view: connection id → `ws`."""

    __slots__ = ('_connections',)

    def __init__(self, connections: dict[str, Connection]) -> None:
        self._connections = connections

    def __getitem__(self, connection_id: str) -> Any:
        return self._connections[connection_id].websocket

    def __iter__(self) -> Iterator[str]:
        return iter(self._connections)

    def __len__(self) -> int:
        return len(self._connections)
