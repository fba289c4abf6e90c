"""How connections are reached: send has one addressee, broadcast many, publish a topic."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, Final

from falcon import OperationNotAllowed

from falcon_ws_mw.backends import Backend, open_backend
from falcon_ws_mw.calls import ANSWER_SECONDS, Operation
from falcon_ws_mw.channels import Kind
from falcon_ws_mw.cluster import Cluster
from falcon_ws_mw.codec import Codecs
from falcon_ws_mw.connection import Connection
from falcon_ws_mw.envelope import Sendable
from falcon_ws_mw.errors import ConnectionNotFound
from falcon_ws_mw.fanout import Fanout
from falcon_ws_mw.gaps import Gaps
from falcon_ws_mw.occasions import Occasions
from falcon_ws_mw.options import DEFAULT_LIMITS, OutagePolicy, SlowConsumer, check_timeout
from falcon_ws_mw.packets import Variant
from falcon_ws_mw.payloads import plain
from falcon_ws_mw.reports import DeliveryReport
from falcon_ws_mw.sides import State
from falcon_ws_mw.sweep import Sweep

_A_DAY: Final = 86_400.0


class Addressing(Occasions):
    """Sends to connections by what they are known by.

    Args:
        backend: What links the processes of the app.
        presence_debounce_seconds: How long after a user's last connection he has left.
        outage_policy: What broadcasts do while that is away.
    """

    def __init__(
        self,
        backend: str | Backend,
        presence_debounce_seconds: float,
        outage_policy: OutagePolicy,
    ) -> None:
        super().__init__(presence_debounce_seconds)
        self.backend: Backend = open_backend(backend)
        registry = self._registry
        self._connections = registry.connections
        self._sweep = self.presence.keeper = Sweep(
            self._connections, registry.let_in, registry.remove
        )
        self.counters = self._sweep.counters
        """What happened since the manager was made; `stats()` is the view for others."""
        self.faults = self._sweep.faults
        """Where the log is told of clients."""
        self._fanout = Fanout(registry, self.counters)
        self._cluster: Cluster | None = None
        if self.backend.is_shared:
            self._cluster = Cluster(
                self.backend,
                registry,
                self._fanout,
                self.counters,
                Gaps(self.listeners, self.faults),
                self.faults,
                self._operations(),
                outage_policy,
            )

    def _operations(self) -> dict[str, Operation]:
        """What other processes may ask of this one."""
        return {'send': self._send_here, 'request': self._request_here}

    async def _settled(self, kind: Kind, name: str) -> None:
        """Wait until what other processes send to a name arrives."""
        if self._cluster is not None:
            await self._cluster.settled(kind, name)

    async def _spread(
        self,
        kind: Kind,
        names: str | Iterable[str],
        message: Sendable,
        exclude_ids: Iterable[str] = (),
        coalesce: Hashable = None,
        slow_consumer: SlowConsumer | None = None,
    ) -> DeliveryReport:
        members = self._registry.under(kind, names)  # says what is wrong with the names
        if self._cluster is None:
            key = None if coalesce is None else (kind, names, coalesce)
            return self._fanout.send(
                members, message, exclude_ids, slow_consumer=slow_consumer, key=key
            )
        return await self._cluster.spread(
            kind,
            (names,) if isinstance(names, str) else names,
            members,
            message,
            exclude_ids,
            coalesce=coalesce,
            slow_consumer=slow_consumer,
        )

    @property
    def codecs(self) -> Codecs:
        """How messages become frames. The app's wrapper sets it by the app's media handlers."""
        return self._fanout.codecs

    @codecs.setter
    def codecs(self, codecs: Codecs) -> None:
        self._fanout.codecs = codecs

    # -- to one

    async def send_to_connection(self, connection_id: str, message: Sendable) -> DeliveryReport:
        """Send to one connection, wherever it is, without waiting for its peer.

        Args:
            connection_id: The connection's `ws.id`.
            message: A dict, str or bytes goes out as it is; a `Message` in the envelope.

        Returns:
            What became of it in this process.

        Raises:
            ConnectionNotFound: If there is no such connection, or it is just ending.
            TypeError: If the message cannot be encoded.
            MessageTooBig: If it is longer than the connection's outbox.
        """
        if self._cluster is not None and self._cluster.is_elsewhere(connection_id):
            return DeliveryReport(*await self._cluster.ask(connection_id, 'send', message=message))
        connection = self._registry.get(connection_id)
        return self._reported(connection, self._fanout.send([connection], message))

    async def _send_here(
        self, connection_id: str, *, variants: tuple[Variant, ...]
    ) -> tuple[int, int]:
        connection = self._registry.get(connection_id)
        report = self._reported(connection, self._fanout.deliver([connection], variants))
        return report.queued, report.dropped

    @staticmethod
    def _reported(connection: Connection, report: DeliveryReport) -> DeliveryReport:
        if report.dropped and connection.state not in {State.HANDSHAKE, State.OPEN}:
            raise ConnectionNotFound(connection.id)
        return report

    async def request_connection(
        self,
        connection_id: str,
        type: str,
        payload: Any = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109  # the peer's, and what it raises says so
    ) -> Any:
        """Ask the client of a connection something, and wait for its answer: `ws.request`.

        Args:
            connection_id: The connection's `ws.id`.
            type: The message's type.
            payload: Anything that can be JSON.
            timeout: How many seconds to wait at most (default: `request_timeout_seconds`; of a
                connection of another process 30).

        Returns:
            What the reply carries.

        Raises:
            ConnectionNotFound: If there is no such connection.
            OperationNotAllowed: If nobody of the library reads what its client says
                (`add_connection`). Else raises like `ws.request`.
            BackendUnavailable: If it is another process's, and that does not answer.
        """
        if self._cluster is not None and self._cluster.is_elsewhere(connection_id):
            seconds = DEFAULT_LIMITS.request_timeout_seconds if timeout is None else timeout
            seconds = min(_A_DAY if seconds is None else check_timeout(seconds), _A_DAY)
            return await self._cluster.ask(
                connection_id,
                'request',
                type,
                plain(payload),
                seconds,
                seconds=seconds + ANSWER_SECONDS,
            )
        return await self._request_here(connection_id, type, payload, timeout)

    async def _request_here(
        self, connection_id: str, type: str, payload: Any, timeout_seconds: float | None
    ) -> Any:
        connection = self._registry.get(connection_id)
        websocket: Any = connection.websocket
        if connection.reader is None:
            raise OperationNotAllowed(
                f'connection {connection_id!r} was added by hand, and its own loop reads it'
            )
        return await websocket.request(type, payload, timeout=timeout_seconds)

    # -- to many

    async def broadcast_to_room(
        self,
        room: str | Iterable[str],
        message: Sendable,
        exclude_ids: Iterable[str] = (),
        *,
        coalesce: Hashable = None,
        slow_consumer: SlowConsumer | None = None,
    ) -> DeliveryReport:
        """Send to everybody in a room, or in several (to each once).

        The message is encoded once. Nobody is waited for and no peer's fault is raised.

        Args:
            room: A room name, or several.
            message: A dict, str or bytes goes out as it is; a `Message` in the envelope.
            exclude_ids: Connections that do not get it.
            coalesce: A key. Where an earlier message to the same room with the same key still
                waits for a slow peer, this one takes its place in the line: the peer gets the
                latest price or cursor, not all of them. It may so overtake messages without it.
                For other processes it has to be text, a number, `None`, or a tuple of these.
            slow_consumer: What the message does where an outbox has no room: `'close'`,
                `'drop_oldest'` or `'drop_newest'` (default: as each connection's route says).

        Returns:
            What became of it in this process.

        Raises:
            InvalidName: If a name is not a room name.
            TypeError: If the message cannot be encoded; then nobody gets it.
            MessageTooBig: If it is longer than the outbox of everybody in the room who is connected
                to this process.
            BackendUnavailable: If other processes cannot be reached.
        """
        if not isinstance(room, str) and isinstance(room, Iterable):
            room = frozenset(room)
        return await self._spread('room', room, message, exclude_ids, coalesce, slow_consumer)

    async def broadcast(self, message: Sendable, exclude_ids: Iterable[str] = ()) -> DeliveryReport:
        """Send to every connection. Else like `broadcast_to_room`.

        Not to those that have yet to say who they are, on routes with `ws_authenticate_by`.
        """
        return await self._spread('all', (), message, exclude_ids)

    async def publish(
        self,
        topic: str,
        message: Sendable,
        exclude_ids: Iterable[str] = (),
        *,
        coalesce: Hashable = None,
        slow_consumer: SlowConsumer | None = None,
    ) -> DeliveryReport:
        """Send to everybody with a topic filter that matches (MQTT 3.1.1 §4.7), to each once.

        Args:
            topic: A topic, without wildcards. Else like `broadcast_to_room`.
            message: See there.
            exclude_ids: See there.
            coalesce: See there; the key is the topic's own.
            slow_consumer: See there.

        Raises:
            InvalidTopic: If it is not a topic.
            TypeError: If the message cannot be encoded; then nobody gets it.
            MessageTooBig: If it is longer than the outbox of everybody who would get it.
        """
        return await self._spread('topic', topic, message, exclude_ids, coalesce, slow_consumer)

    async def send_to_user(self, user_id: str, message: Sendable) -> DeliveryReport:
        """Send to all connections of a user. Else like `broadcast_to_room`."""
        return await self._spread('user', user_id, message)

    async def broadcast_to_users(
        self, user_ids: Iterable[str], message: Sendable
    ) -> DeliveryReport:
        """Send to all connections of several users. Else like `broadcast_to_room`."""
        return await self._spread('user', frozenset(user_ids), message)
