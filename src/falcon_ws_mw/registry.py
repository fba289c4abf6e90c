"""Who is connected in this process, and under which names: rooms, users, topic filters.

Every change is one synchronous step, so nobody ever sees half of it; and its cost is that of the
connection's own memberships, however many others there are.
"""

from __future__ import annotations

from collections import Counter
import sys

from falcon_ws_mw.connection import Connection
from falcon_ws_mw.errors import (
    ConnectionNotFound,
    TooManyConnections,
    TooManyRooms,
    WireFormatMismatch,
)
from falcon_ws_mw.rooms import Membership, check_name
from falcon_ws_mw.topics import TopicIndex, check_topic_filter


class Registry:
    """The connections of a process.

    Attributes:
        connections: Connection id → connection.
        rooms: Who is in which room.
        users: Which connections a user has.
        topics: Who has subscribed to what.
        total: How many connections there have been.
        least_outbox_bytes: The shortest outbox that one of them had.
    """

    __slots__ = ('connections', 'least_outbox_bytes', 'rooms', 'topics', 'total', 'users')

    def __init__(self) -> None:
        self.connections: dict[str, Connection] = {}
        self.rooms: Membership[Connection] = Membership()
        self.users: Membership[Connection] = Membership()
        self.topics: TopicIndex[Connection] = TopicIndex()
        self.total = 0
        self.least_outbox_bytes = sys.maxsize

    def add(self, connection: Connection) -> None:
        """Make a connection known.

        Raises:
            ValueError: If its id is taken.
        """
        if connection.id in self.connections:
            raise ValueError(f'the connection id {connection.id!r} is taken')
        self.connections[connection.id] = connection
        self.total += 1
        max_bytes = connection.limits.max_outbox_bytes
        if max_bytes is not None:
            self.least_outbox_bytes = min(max_bytes, self.least_outbox_bytes)

    def remove(self, connection_id: str) -> None:
        """Forget a connection, its memberships and its user. It need not be known.

        What it was in stays readable on it.
        """
        connection = self.connections.pop(connection_id, None)
        if connection is None:
            return
        for room in connection.rooms:
            self.rooms.discard(room, connection)
        for topic_filter in connection.topic_filters:
            self.topics.discard(topic_filter, connection)
        if connection.user_id is not None:
            self.users.discard(connection.user_id, connection)
        # No cycle is left for the garbage collector: `ws` knows its connection.
        connection.websocket = connection.resource = None

    def get(self, connection_id: str) -> Connection:
        """The connection of an id.

        Raises:
            ConnectionNotFound: If there is none.
        """
        try:
            return self.connections[connection_id]
        except KeyError:
            raise ConnectionNotFound(connection_id) from None

    def join(self, connection_id: str, room: str) -> None:
        """Put a connection into a room.

        Raises:
            WireFormatMismatch: If those who are in it speak another envelope.
            TooManyRooms: If it is in as many as it may be.
        """
        check_name('room', room)
        connection = self.get(connection_id)
        most = connection.limits.max_rooms_per_connection
        if most is not None and len(connection.rooms) >= most and room not in connection.rooms:
            connection.keeper.counters.limits_hit['max_rooms_per_connection'] += 1
            raise TooManyRooms(most)
        spoken = self.rooms.first(room, connection).codec.envelope
        if spoken != connection.codec.envelope:
            raise WireFormatMismatch(room, spoken, connection.codec.envelope)
        self.rooms.add(room, connection)
        connection.rooms.add(room)

    def leave(self, connection_id: str, room: str) -> None:
        """Take a connection out of a room."""
        check_name('room', room)
        connection = self.get(connection_id)
        self.rooms.discard(room, connection)
        connection.rooms.discard(room)

    def subscribe(self, connection_id: str, topic_filter: str) -> None:
        """Give a connection a topic filter."""
        check_topic_filter(topic_filter)
        connection = self.get(connection_id)
        self.topics.add(topic_filter, connection)
        connection.topic_filters |= {topic_filter}

    def unsubscribe(self, connection_id: str, topic_filter: str) -> None:
        """Take a topic filter from a connection."""
        check_topic_filter(topic_filter)
        connection = self.get(connection_id)
        self.topics.discard(topic_filter, connection)
        connection.topic_filters -= {topic_filter}

    def identify(self, connection_id: str, user_id: str | None) -> None:
        """Say whose a connection is.

        Raises:
            TooManyConnections: If the user has as many as he may have.
        """
        if user_id is not None:
            check_name('user', user_id)
        connection = self.get(connection_id)
        if user_id is not None and user_id != connection.user_id:
            most = connection.limits.max_connections_per_user
            if most is not None and self.users.count(user_id) >= most:
                connection.keeper.counters.limits_hit['max_connections_per_user'] += 1
                raise TooManyConnections(user_id, most)
        if connection.user_id is not None:
            self.users.discard(connection.user_id, connection)
        if user_id is not None:
            self.users.add(user_id, connection)
        connection.user_id = user_id

    def users_in(self, room: str) -> dict[str, int]:
        """The users in a room, each with the number of their connections in it."""
        users = Counter(each.user_id for each in self.rooms.members(check_name('room', room)))
        return {user_id: count for user_id, count in users.items() if user_id is not None}
