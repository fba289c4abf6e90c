"""Who is connected, and how to reach them.

Send has one addressee, broadcast has many. A call that is awaited speaks of the whole cluster, a
call that is not speaks of this process; on `memory://` they are the same. Membership changes in
one synchronous step: no await stands between a check and what it checked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
import secrets
from typing import Any, Protocol

from falcon_ws_mw import close_codes
from falcon_ws_mw.asgi import Event, Send
from falcon_ws_mw.backends import Backend, open_backend
from falcon_ws_mw.connection import Connection
from falcon_ws_mw.envelope import Codec, Frame, Sendable
from falcon_ws_mw.errors import ConnectionNotFound
from falcon_ws_mw.reports import DeliveryReport, ManagerStats
from falcon_ws_mw.rooms import Membership, check_name
from falcon_ws_mw.workers import WorkerSupervisor


class SendsFrames(Protocol):
    """What `add_connection` needs of a socket; `falcon.asgi.WebSocket` has it."""

    async def send_text(self, payload: str) -> None:
        """Send a text frame."""

    async def send_data(self, payload: bytes) -> None:
        """Send a binary frame."""

    async def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Close."""


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
        self.codec = Codec()
        """How messages become frames. The app's wrapper sets it by the app's media handlers."""
        self.workers = WorkerSupervisor()
        """The workers of the app that this manager belongs to."""
        self._connections: dict[str, Connection] = {}
        self._rooms: Membership[Connection] = Membership()
        self._users: Membership[Connection] = Membership()
        self._connections_total = 0
        self._delivered = 0
        self._dropped = 0
        self.forgotten: Counter[str] = Counter()
        """Messages that an old `on_websocket` never came back for, by resource."""

    # -- to one

    async def send_to_connection(self, connection_id: str, message: Sendable) -> None:
        """Send to one connection, wherever it is, without waiting for its peer.

        Args:
            connection_id: The connection's `ws.id`.
            message: A dict, str or bytes goes out as it is; a `Message` in the envelope.

        Raises:
            ConnectionNotFound: If there is no such connection, or it is just ending.
            TypeError: If the message cannot be encoded.
        """
        frame = self.codec.encode(message)
        if not self._post(self._connection(connection_id), frame):
            raise ConnectionNotFound(connection_id)

    # -- to many

    async def broadcast_to_room(
        self, room: str | Iterable[str], message: Sendable, exclude_ids: Iterable[str] = ()
    ) -> DeliveryReport:
        """Send to everybody in a room, or in several (to each once).

        The message is encoded once. Nobody is waited for and no peer's fault is raised.

        Args:
            room: A room name, or several.
            message: A dict, str or bytes goes out as it is; a `Message` in the envelope.
            exclude_ids: Connections that do not get it.

        Returns:
            What became of it in this process.

        Raises:
            InvalidName: If a name is not a room name.
            TypeError: If the message cannot be encoded; then nobody gets it.
        """
        return self._deliver(self._rooms, 'room', room, message, exclude_ids)

    async def broadcast(self, message: Sendable, exclude_ids: Iterable[str] = ()) -> DeliveryReport:
        """Send to every connection. Else like `broadcast_to_room`."""
        frame = self.codec.encode(message)
        return self._post_all(list(self._connections.values()), frame, exclude_ids)

    async def send_to_user(self, user_id: str, message: Sendable) -> DeliveryReport:
        """Send to all connections of a user. Else like `broadcast_to_room`."""
        return self._deliver(self._users, 'user', user_id, message, ())

    async def broadcast_to_users(
        self, user_ids: Iterable[str], message: Sendable
    ) -> DeliveryReport:
        """Send to all connections of several users. Else like `broadcast_to_room`."""
        return self._deliver(self._users, 'user', user_ids, message, ())

    # -- membership from outside a handler

    async def join_room(self, connection_id: str, room: str) -> None:
        """Put a connection into a room. Every broadcast that starts afterwards reaches it.

        Raises:
            ConnectionNotFound: If there is no such connection.
            InvalidName: If the name is not a room name.
        """
        check_name('room', room)
        connection = self._connection(connection_id)
        self._rooms.add(room, connection)
        connection.rooms.add(room)

    async def leave_room(self, connection_id: str, room: str) -> None:
        """Take a connection out of a room. It need not be in it.

        Raises:
            ConnectionNotFound: If there is no such connection.
            InvalidName: If the name is not a room name.
        """
        check_name('room', room)
        connection = self._connection(connection_id)
        self._rooms.discard(room, connection)
        connection.rooms.discard(room)

    async def identify(self, connection_id: str, user_id: str | None) -> None:
        """Say whose a connection is. Another user replaces the one before, `None` removes it.

        Raises:
            ConnectionNotFound: If there is no such connection.
            InvalidName: If the id is not a user name.
        """
        if user_id is not None:
            check_name('user', user_id)
        connection = self._connection(connection_id)
        if connection.user_id is not None:
            self._users.discard(connection.user_id, connection)
        if user_id is not None:
            self._users.add(user_id, connection)
        connection.user_id = user_id

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
        self._close(self._connection(connection_id), code, reason)

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
        connections = self._users.members(check_name('user', user_id))
        for connection in connections:
            self._close(connection, code, reason)
        return len(connections)

    # -- look, cluster-wide

    async def get_room_names(self) -> list[str]:
        """The names of all rooms that have a member. Costs a look at each room."""
        return self._rooms.names()

    async def get_rooms_by_prefix(self, prefix: str) -> list[str]:
        """The names of the rooms that begin with a prefix. Costs a look at each room."""
        return self._rooms.names(prefix)

    async def count_connections_in_room(self, room: str) -> int:
        """How many connections are in a room.

        Raises:
            InvalidName: If the name is not a room name.
        """
        return self._rooms.count(check_name('room', room))

    async def get_users_in_room(self, room: str) -> dict[str, int]:
        """The users in a room, each with the number of their connections in it.

        Connections without a user are not counted. Costs a look at each member.

        Raises:
            InvalidName: If the name is not a room name.
        """
        users: dict[str, int] = {}
        for connection in self._rooms.members(check_name('room', room)):
            if connection.user_id is not None:
                users[connection.user_id] = users.get(connection.user_id, 0) + 1
        return users

    # -- look, here

    @property
    def connections(self) -> Mapping[str, Any]:
        """The connections of this process: id → the `ws` that handlers get. A live view."""
        return _Websockets(self._connections)

    def get_connections_in_room(self, room: str) -> list[Any]:
        """The `ws` of each connection of this process that is in a room.

        Raises:
            InvalidName: If the name is not a room name.
        """
        members = self._rooms.members(check_name('room', room))
        return [connection.websocket for connection in members]

    def stats(self) -> ManagerStats:
        """This process at a glance."""
        return ManagerStats(
            connections=len(self._connections),
            rooms=len(self._rooms),
            users=len(self._users),
            connections_total=self._connections_total,
            delivered=self._delivered,
            dropped=self._dropped,
            forgotten=self.forgotten.total(),
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
        if connection_id in self._connections:
            raise ValueError(f'the connection id {connection_id!r} is taken')
        if not isinstance(websocket, Connection):
            connection = Connection(
                connection_id, _frame_sender(websocket), websocket=websocket, resource=resource
            )
            connection.opened()
            websocket = connection
        self._connections[connection_id] = websocket
        self._connections_total += 1

    def remove_connection(self, connection_id: str) -> None:
        """Forget a connection, its memberships and its user. It need not be known.

        What it was in stays readable on it (`ws.rooms`, `ws.user_id`).
        """
        connection = self._connections.pop(connection_id, None)
        if connection is None:
            return
        for room in connection.rooms:
            self._rooms.discard(room, connection)
        if connection.user_id is not None:
            self._users.discard(connection.user_id, connection)
        # No cycle is left for the garbage collector: `ws` knows its connection.
        connection.websocket = connection.resource = None

    def forget_all(self) -> None:
        """Forget every connection: those of an event loop that is no more."""
        for connection_id in list(self._connections):
            self.remove_connection(connection_id)

    # -- inside

    def _connection(self, connection_id: str) -> Connection:
        try:
            return self._connections[connection_id]
        except KeyError:
            raise ConnectionNotFound(connection_id) from None

    def _close(self, connection: Connection, code: int, reason: str) -> None:
        self.remove_connection(connection.id)
        connection.close(code, reason)

    def _deliver(
        self,
        index: Membership[Connection],
        kind: str,
        names: str | Iterable[str],
        message: Sendable,
        exclude_ids: Iterable[str],
    ) -> DeliveryReport:
        if isinstance(names, str) or not isinstance(names, Iterable):
            members = index.members(check_name(kind, names))
        else:
            members = index.union([check_name(kind, name) for name in names])
        return self._post_all(members, self.codec.encode(message), exclude_ids)

    def _post_all(
        self, connections: list[Connection], frame: Frame, exclude_ids: Iterable[str]
    ) -> DeliveryReport:
        excluded = {exclude_ids} if isinstance(exclude_ids, str) else set(exclude_ids)
        queued = dropped = 0
        for connection in connections:
            if connection.id in excluded:
                continue
            if connection.post(frame):
                queued += 1
            else:
                dropped += 1
        self._delivered += queued
        self._dropped += dropped
        return DeliveryReport(queued, dropped)

    def _post(self, connection: Connection, frame: Frame) -> bool:
        return self._post_all([connection], frame, ()).queued == 1


class _Websockets(Mapping[str, Any]):
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


def _frame_sender(websocket: SendsFrames) -> Send:
    """An ASGI-like send that speaks through a socket's public methods."""

    async def send(event: Event) -> None:
        if event['type'] == 'websocket.close':
            await websocket.close(event['code'], event['reason'])
        elif 'text' in event:
            await websocket.send_text(event['text'])
        else:
            await websocket.send_data(event['bytes'])

    return send
