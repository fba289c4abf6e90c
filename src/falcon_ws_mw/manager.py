"""Who is connected, and how to reach them.

Send has one addressee, broadcast has many. A call that is awaited speaks of the whole cluster, a
call that is not speaks of this process; on `memory://` they are the same. Membership changes in
one synchronous step: no await stands between a check and what it checked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import asdict
import secrets
from typing import Any

from falcon import OperationNotAllowed

from falcon_ws_mw import close_codes
from falcon_ws_mw.backends import Backend, open_backend
from falcon_ws_mw.codec import Codecs
from falcon_ws_mw.connection import Connection
from falcon_ws_mw.envelope import Sendable
from falcon_ws_mw.errors import ConnectionNotFound
from falcon_ws_mw.fanout import Fanout, Websockets
from falcon_ws_mw.foreign import SendsFrames, frame_sender
from falcon_ws_mw.options import SlowConsumer
from falcon_ws_mw.registry import Registry
from falcon_ws_mw.reports import DeliveryReport, ManagerStats
from falcon_ws_mw.rooms import check_name
from falcon_ws_mw.sides import State
from falcon_ws_mw.sweep import Sweep
from falcon_ws_mw.topics import check_topic
from falcon_ws_mw.workers import WorkerSupervisor


class WebSocketConnectionManager:
    """Keeps the connections of an app, their rooms and their users, and sends to them.

    Args:
        backend: Where connections of other processes are reached, as a URL. `'memory://'` (the
            default) knows this process only.

    Raises:
        ConfigurationError: If no backend goes by that URL.
    """

    def __init__(self, backend: str = 'memory://') -> None:
        self.backend: Backend = open_backend(backend)
        self.workers = WorkerSupervisor()
        """The workers of the app that this manager belongs to."""
        self._registry = registry = Registry()
        self._connections = registry.connections
        self._sweep = Sweep(self._connections, registry.remove)
        self.counters = self._sweep.counters
        """What happened since the manager was made; `stats()` is the view for others."""
        self._fanout = Fanout(registry, self.counters)
        self.forgotten: Counter[str] = Counter()
        """Messages that an old `on_websocket` never came back for, by resource."""

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
        connection = self._registry.get(connection_id)
        report = self._fanout.send([connection], message)
        if report.dropped and connection.state not in {State.HANDSHAKE, State.OPEN}:
            raise ConnectionNotFound(connection_id)
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
            timeout: How many seconds to wait at most (default: `request_timeout_seconds`).

        Returns:
            What the reply carries.

        Raises:
            ConnectionNotFound: If there is no such connection.
            OperationNotAllowed: If nobody of the library reads what its client says
                (`add_connection`). Else raises like `ws.request`.
        """
        connection = self._registry.get(connection_id)
        websocket: Any = connection.websocket
        if connection.reader is None:
            raise OperationNotAllowed(
                f'connection {connection_id!r} was added by hand, and its own loop reads it'
            )
        return await websocket.request(type, payload, timeout=timeout)

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
            slow_consumer: What the message does where an outbox has no room: `'close'`,
                `'drop_oldest'` or `'drop_newest'` (default: as each connection's route says).

        Returns:
            What became of it in this process.

        Raises:
            InvalidName: If a name is not a room name.
            TypeError: If the message cannot be encoded; then nobody gets it.
            MessageTooBig: If it is longer than the outbox of everybody in the room.
        """
        if not isinstance(room, str) and isinstance(room, Iterable):
            room = frozenset(room)
        members = self._registry.rooms.under('room', room)
        key = None if coalesce is None else ('room', room, coalesce)
        return self._fanout.send(
            members, message, exclude_ids, slow_consumer=slow_consumer, key=key
        )

    async def broadcast(self, message: Sendable, exclude_ids: Iterable[str] = ()) -> DeliveryReport:
        """Send to every connection. Else like `broadcast_to_room`."""
        return self._fanout.send(list(self._connections.values()), message, exclude_ids)

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
        members = self._registry.topics.members(check_topic(topic))
        key = None if coalesce is None else ('topic', topic, coalesce)
        return self._fanout.send(
            members, message, exclude_ids, slow_consumer=slow_consumer, key=key
        )

    async def send_to_user(self, user_id: str, message: Sendable) -> DeliveryReport:
        """Send to all connections of a user. Else like `broadcast_to_room`."""
        return self._fanout.send(self._registry.users.under('user', user_id), message)

    async def broadcast_to_users(
        self, user_ids: Iterable[str], message: Sendable
    ) -> DeliveryReport:
        """Send to all connections of several users. Else like `broadcast_to_room`."""
        return self._fanout.send(self._registry.users.under('user', user_ids), message)

    # -- membership from outside a handler

    async def join_room(self, connection_id: str, room: str) -> None:
        """Put a connection into a room. Every broadcast that starts afterwards reaches it.

        Raises:
            ConnectionNotFound: If there is no such connection.
            InvalidName: If the name is not a room name.
            WireFormatMismatch: If those who are in it speak another envelope.
        """
        self._registry.join(connection_id, room)

    async def leave_room(self, connection_id: str, room: str) -> None:
        """Take a connection out of a room. It need not be in it.

        Raises:
            ConnectionNotFound: If there is no such connection.
            InvalidName: If the name is not a room name.
        """
        self._registry.leave(connection_id, room)

    async def subscribe(self, connection_id: str, topic_filter: str) -> None:
        """Have a connection get what is published on matching topics, from now on.

        Raises:
            ConnectionNotFound: If there is no such connection.
            InvalidTopic: If it is not a topic filter.
        """
        self._registry.subscribe(connection_id, topic_filter)

    async def unsubscribe(self, connection_id: str, topic_filter: str) -> None:
        """Undo `subscribe`. It need not have been.

        Raises:
            ConnectionNotFound: If there is no such connection.
            InvalidTopic: If it is not a topic filter.
        """
        self._registry.unsubscribe(connection_id, topic_filter)

    async def identify(self, connection_id: str, user_id: str | None) -> None:
        """Say whose a connection is. Another user replaces the one before, `None` removes it.

        Raises:
            ConnectionNotFound: If there is no such connection.
            InvalidName: If the id is not a user name.
        """
        self._registry.identify(connection_id, user_id)

    # -- kick

    async def close_connection(
        self, connection_id: str, code: int = close_codes.NORMAL, reason: str = ''
    ) -> None:
        """Close one connection; nothing is delivered to it any more when this returns.

        Args:
            connection_id: The connection's `ws.id`.
            code: The close code (default 1000).
            reason: Text for the peer, cut to 123 bytes of UTF-8.

        Raises:
            ConnectionNotFound: If there is no such connection.
            InvalidCloseCode: If the code may not be sent.
        """
        close_codes.check_code(code)
        self._close(self._registry.get(connection_id), code, reason)

    async def close_user(self, user_id: str, code: int = 3403, reason: str = '') -> int:
        """Close all connections of a user.

        Args:
            user_id: The user.
            code: The close code (default 3403, forbidden: do not come back).
            reason: Text for the peer, cut to 123 bytes of UTF-8.

        Returns:
            How many connections it closed.

        Raises:
            InvalidName: If the id is not a user name.
            InvalidCloseCode: If the code may not be sent.
        """
        close_codes.check_code(code)
        connections = self._registry.users.members(check_name('user', user_id))
        for connection in connections:
            self._close(connection, code, reason)
        return len(connections)

    # -- look, cluster-wide

    async def get_room_names(self) -> list[str]:
        """The names of all rooms that have a member. Costs a look at each room."""
        return self._registry.rooms.names()

    async def get_rooms_by_prefix(self, prefix: str) -> list[str]:
        """The names of the rooms that begin with a prefix. Costs a look at each room."""
        return self._registry.rooms.names(prefix)

    async def count_connections_in_room(self, room: str) -> int:
        """How many connections are in a room.

        Raises:
            InvalidName: If the name is not a room name.
        """
        return self._registry.rooms.count(check_name('room', room))

    async def get_users_in_room(self, room: str) -> dict[str, int]:
        """The users in a room, each with the number of their connections in it.

        Connections without a user are not counted. Costs a look at each member.

        Raises:
            InvalidName: If the name is not a room name.
        """
        return self._registry.users_in(room)

    # -- look, here

    @property
    def connections(self) -> Mapping[str, Any]:
        """The connections of this process: id → the `ws` that handlers get. A live view."""
        return Websockets(self._connections)

    def get_connections_in_room(self, room: str) -> list[Any]:
        """The `ws` of each connection of this process that is in a room.

        Raises:
            InvalidName: If the name is not a room name.
        """
        members = self._registry.rooms.members(check_name('room', room))
        return [connection.websocket for connection in members]

    def stats(self) -> ManagerStats:
        """This process at a glance."""
        return ManagerStats(
            connections=len(self._connections),
            rooms=len(self._registry.rooms),
            users=len(self._registry.users),
            connections_total=self._registry.total,
            topic_filters=len(self._registry.topics),
            forgotten=self.forgotten.total(),
            **asdict(self.counters),
            workers=self.workers.stats(),
        )

    # -- who is connected

    def new_id(self) -> str:
        """An id for a connection: 128 random bits, so nobody can guess another's."""
        return secrets.token_urlsafe(16)

    def add_connection(
        self, connection_id: str, websocket: Connection | SendsFrames, resource: object = None
    ) -> None:
        """Make a connection known. The middleware does this for the routes that it dispatches.

        Args:
            connection_id: A name that no other connection has; `new_id()` makes one.
            websocket: An accepted `falcon.asgi.WebSocket`, or anything that sends like it, of a
                loop of your own. Its loop goes on receiving; it must not send past the manager
                while others send to it, since servers allow one send at a time.
            resource: The resource that handles it.

        Raises:
            ValueError: If the id is taken.
        """
        if not isinstance(websocket, Connection):
            connection = Connection(
                connection_id, frame_sender(websocket), websocket=websocket, resource=resource
            )
            connection.codec = self.codecs.default
            connection.opened()
            websocket = connection
        self._registry.add(websocket)
        websocket.keeper = self._sweep
        self._sweep.start()

    def remove_connection(self, connection_id: str) -> None:
        """Forget a connection, its memberships and its user. It need not be known.

        What it was in stays readable on it (`ws.rooms`, `ws.user_id`).
        """
        self._registry.remove(connection_id)

    def forget_all(self) -> None:
        """Forget every connection: those of an event loop that is no more."""
        for connection_id in list(self._connections):
            self.remove_connection(connection_id)

    def _close(self, connection: Connection, code: int, reason: str) -> None:
        self.remove_connection(connection.id)
        connection.close(code, reason)
