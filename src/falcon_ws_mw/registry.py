"""Who is connected in this process, and under which names: rooms, users, topic filters.

Every change is one synchronous step, so nobody ever sees half of it; and its cost is that of the
connection's own memberships, however many others there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
import sys

from falcon_ws_mw import close_codes
from falcon_ws_mw.channels import Kind
from falcon_ws_mw.connection import Connection
from falcon_ws_mw.deadlines import await_identity, expire, posix_time, release
from falcon_ws_mw.errors import (
    ConnectionNotFound,
    NotIdentified,
    TooManyConnections,
    TooManyRooms,
    WireFormatMismatch,
)
from falcon_ws_mw.presence import Presence
from falcon_ws_mw.rooms import Membership, check_name
from falcon_ws_mw.topics import TopicIndex, check_topic, check_topic_filter


class Registry:
    """The connections of a process.

    Attributes:
        connections: Connection id → connection.
        rooms: Who is in which room.
        users: Which connections a user has.
        topics: Who has subscribed to what.
        strangers: Those that nobody has identified yet, on routes that are for nobody else.
        presence: Who is told of users that come and go.
        total: How many connections there have been.
        least_outbox_bytes: The shortest outbox that one of them had.
        changed: Is told of each name under which there is one connection more, or less: `'all'`,
            `'room'`, `'user'` or `'topic'` (a filter), and the name. `None` where nobody asks.
    """

    __slots__ = (
        'changed',
        'connections',
        'least_outbox_bytes',
        'presence',
        'rooms',
        'strangers',
        'topics',
        'total',
        'users',
    )

    def __init__(self, presence: Presence) -> None:
        self.presence = presence
        self.strangers: set[Connection] = set()
        self.connections: dict[str, Connection] = {}
        self.rooms: Membership[Connection] = Membership()
        self.users: Membership[Connection] = Membership()
        self.topics: TopicIndex[Connection] = TopicIndex()
        self.total = 0
        self.least_outbox_bytes = sys.maxsize
        self.changed: Callable[[Kind, str], None] | None = None

    def add(self, connection: Connection) -> None:
        """Make a connection known.

        Raises:
            ValueError: If its id is taken.
        """
        if connection.id in self.connections:
            raise ValueError(f'the connection id {connection.id!r} is taken')
        self.connections[connection.id] = connection
        self.total += 1
        if connection.is_stranger:
            self.strangers.add(connection)
        max_bytes = connection.limits.max_outbox_bytes
        if max_bytes is not None:
            self.least_outbox_bytes = min(max_bytes, self.least_outbox_bytes)
        self._tell('connection', connection.id)
        self._tell('all', '')

    def remove(self, connection_id: str) -> None:
        """Forget a connection, its memberships and its user. It need not be known.

        What it was in stays readable on it.
        """
        connection = self.connections.pop(connection_id, None)
        if connection is None:
            return
        release(connection)
        _make_stale(connection)
        self.strangers.discard(connection)
        self._tell('connection', connection_id)
        self._tell('all', '')
        for room in connection.rooms:
            self.rooms.discard(room, connection)
            self._tell('room', room)
        for topic_filter in connection.topic_filters:
            self.topics.discard(topic_filter, connection)
            self._tell('topic', topic_filter)
        user_id = connection.user_id
        if user_id is not None:
            self.users.discard(user_id, connection)
            self._tell('user', user_id)
            if connection.is_here:
                self.presence.left(user_id, connection.rooms)
                self.presence.went_offline(user_id)
        connection.is_here = False
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

    def under(self, kind: Kind, names: str | Iterable[str]) -> list[Connection]:
        """The connections of a room, of a user, of several of either, or whom a topic concerns.

        Raises:
            InvalidName: If one of the names is none.
            InvalidTopic: If it is no topic.
        """
        if kind == 'room':
            return self.rooms.under('room', names)
        if kind == 'user':
            return self.users.under('user', names)
        if kind == 'topic':
            return self.topics.members(check_topic(names))
        return self.those_known()

    def count(self, kind: Kind, name: str) -> int:
        """How many connections there are under a name: of a topic filter, one of its holders."""
        if kind == 'room':
            return self.rooms.count(name)
        if kind == 'user':
            return self.users.count(name)
        if kind == 'topic':
            return self.topics.count(name)
        if kind == 'connection':
            return int(name in self.connections)
        return len(self.connections)

    def names(self) -> list[tuple[Kind, str]]:
        """All kinds and names under which there are connections."""
        by_kind: tuple[tuple[Kind, Iterable[str]], ...] = (
            ('all', ('',)),
            ('connection', self.connections),
            ('room', self.rooms.names()),
            ('user', self.users.names()),
            ('topic', self.topics.filters()),
        )
        return [(kind, name) for kind, names in by_kind for name in names]

    def _tell(self, kind: Kind, name: str) -> None:
        if self.changed is not None:
            self.changed(kind, name)

    def those_known(self) -> list[Connection]:
        """All connections but those of strangers."""
        everybody = list(self.connections.values())
        if not self.strangers:
            return everybody
        return [each for each in everybody if each not in self.strangers]

    # -- what they are in

    def join(self, connection_id: str, room: str) -> None:
        """Put a connection into a room.

        Raises:
            NotIdentified: If it is a stranger's.
            WireFormatMismatch: If those who are in it speak another envelope.
            TooManyRooms: If it is in as many as it may be.
        """
        check_name('room', room)
        connection = self._get_known(connection_id)
        if room in connection.rooms:
            return
        most = connection.limits.max_rooms_per_connection
        if most is not None and len(connection.rooms) >= most:
            connection.keeper.counters.limits_hit['max_rooms_per_connection'] += 1
            raise TooManyRooms(most)
        spoken = self.rooms.first(room, connection).codec.envelope
        if spoken != connection.codec.envelope:
            raise WireFormatMismatch(room, spoken, connection.codec.envelope)
        self.rooms.add(room, connection)
        connection.rooms.add(room)
        if self.changed is not None:
            self.changed('room', room)
        if connection.is_here and connection.user_id is not None:
            self.presence.joined(connection.user_id, (room,))

    def leave(self, connection_id: str, room: str) -> None:
        """Take a connection out of a room."""
        check_name('room', room)
        connection = self.get(connection_id)
        _make_stale(connection, room)
        self._leave(connection, room)

    def _leave(self, connection: Connection, room: str) -> None:
        if room not in connection.rooms:
            return
        self.rooms.discard(room, connection)
        connection.rooms.discard(room)
        if self.changed is not None:
            self.changed('room', room)
        if connection.is_here and connection.user_id is not None:
            self.presence.left(connection.user_id, (room,))

    def subscribe(self, connection_id: str, topic_filter: str) -> None:
        """Give a connection a topic filter.

        Raises:
            NotIdentified: If it is a stranger's.
        """
        check_topic_filter(topic_filter)
        connection = self._get_known(connection_id)
        self.topics.add(topic_filter, connection)
        connection.topic_filters |= {topic_filter}
        self._tell('topic', topic_filter)

    def unsubscribe(self, connection_id: str, topic_filter: str) -> None:
        """Take a topic filter from a connection."""
        check_topic_filter(topic_filter)
        connection = self.get(connection_id)
        _make_stale(connection, topic_filter)
        self._unsubscribe(connection, topic_filter)

    def _unsubscribe(self, connection: Connection, topic_filter: str) -> None:
        self.topics.discard(topic_filter, connection)
        connection.topic_filters -= {topic_filter}
        self._tell('topic', topic_filter)

    def _get_known(self, connection_id: str) -> Connection:
        """The connection of an id, for what is not for strangers."""
        connection = self.get(connection_id)
        if connection.is_stranger:
            raise NotIdentified(connection.settings.authenticate_by or '')
        return connection

    # -- whose they are

    def identify(
        self,
        connection_id: str,
        user_id: str | None,
        expires_at: float | datetime | None = None,
    ) -> None:
        """Say whose a connection is, and until when.

        Raises:
            IdentityExpired: If that is past.
            TooManyConnections: If the user has as many as he may have.
            ValueError: If it is no time, or of nobody.
        """
        if user_id is not None:
            check_name('user', user_id)
        elif expires_at is not None:
            raise ValueError('expires_at was given for nobody: user_id is None')
        connection = self.get(connection_id)
        until = posix_time(expires_at)
        is_another = user_id != connection.user_id
        if is_another:
            if user_id is not None:
                self._check_number(user_id, connection)
            self._change_user(connection, user_id)
        if user_id is not None:
            connection.failed_attempts = 0
        if is_another or expires_at is not None:  # else it stays until when it was to
            expire(connection, until)
        if is_another and connection.is_stranger and connection.is_here:
            await_identity(connection)

    def let_in(self, connection_id: str) -> None:
        """A connection is accepted: its user counts as here, or its client has to say who it is."""
        connection = self.get(connection_id)
        if connection.is_here:
            return
        connection.is_here = True
        self._arrive(connection)
        if connection.is_stranger:
            await_identity(connection)

    def _arrive(self, connection: Connection) -> None:
        user_id = connection.user_id
        if user_id is not None and connection.is_here:
            self._close_oldest(user_id, connection)
            self.presence.came_online(user_id)
            self.presence.joined(user_id, connection.rooms)

    def _check_number(self, user_id: str, newest: Connection) -> None:
        """Refuse one connection more than a user may have, where that is the policy."""
        most = newest.limits.max_connections_per_user
        if newest.settings.user_limit_policy != 'refuse' or most is None:
            return
        if self.users.count(user_id) >= most:
            newest.keeper.counters.limits_hit['max_connections_per_user'] += 1
            raise TooManyConnections(user_id, most)

    def _close_oldest(self, user_id: str, newest: Connection) -> None:
        """Have a user's newest connection take the place of the oldest, where that is the policy.

        Not before it has got in: one that is refused takes nobody's place.
        """
        most = newest.limits.max_connections_per_user
        if newest.settings.user_limit_policy != 'close_oldest' or most is None:
            return
        others = [
            each for each in self.users.members(user_id) if each.is_here and each is not newest
        ]
        for oldest in others[: max(0, len(others) + 1 - most)]:
            newest.keeper.counters.limits_hit['max_connections_per_user'] += 1
            self.remove(oldest.id)
            oldest.close(close_codes.CONFLICT, 'a newer connection took the place of this one')

    def _change_user(self, connection: Connection, user_id: str | None) -> None:
        former = connection.user_id
        _make_stale(connection)
        if former is not None:
            if connection.settings.is_personal:  # what he was let into is not for the next one
                for room in list(connection.rooms):
                    self._leave(connection, room)
                for topic_filter in connection.topic_filters:
                    self._unsubscribe(connection, topic_filter)
            self.users.discard(former, connection)
            self._tell('user', former)
            if connection.is_here:
                self.presence.left(former, connection.rooms)
                self.presence.went_offline(former)
        connection.user_id = user_id
        if user_id is not None:
            self.users.add(user_id, connection)
            self._tell('user', user_id)
            self._arrive(connection)
        if connection.is_stranger:
            self.strangers.add(connection)
        else:
            self.strangers.discard(connection)

    def users_in(self, room: str) -> dict[str, int]:
        """The users in a room, each with the number of their connections in it."""
        users = Counter(each.user_id for each in self.rooms.members(check_name('room', room)))
        return {user_id: count for user_id, count in users.items() if user_id is not None}


def _make_stale(connection: Connection, name: str | None = None) -> None:
    """What is being asked for a connection is no longer what it was.

    Args:
        connection: The connection.
        name: What the question is about; `None` for whatever is asked.
    """
    for question in connection.questions:
        if name is None or question.name == name:
            question.is_stale = True
