"""What is done to connections and asked of them wherever they are: each call is awaited.

What concerns one connection is done by the process that has it. So each call has two forms: one
that anybody may make, and one for this process's own, which others ask for.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
import math

from falcon_ws_mw import close_codes
from falcon_ws_mw.addressing import Addressing
from falcon_ws_mw.calls import Operation
from falcon_ws_mw.connection import Connection
from falcon_ws_mw.deadlines import posix_time
from falcon_ws_mw.rooms import check_name
from falcon_ws_mw.topics import check_topic_filter


class Everywhere(Addressing):
    """Reaches connections of all processes: to send, to move, to close and to count them.

    Raises:
        ConfigurationError: If no backend goes by that URL, or its driver is not installed.
    """

    # -- among other processes

    async def start(self) -> None:
        """Get in touch with other processes. The app's wrapper does this when the app starts.

        On `memory://` there is nothing to do. A backend whose engine is away is no error: it goes
        on trying.
        """
        if self._cluster is not None:
            await self._cluster.start()

    async def stop(self) -> None:
        """Leave them. The app's wrapper does this when the app stops."""
        if self._cluster is not None:
            await self._cluster.stop()

    def _operations(self) -> dict[str, Operation]:
        return {
            **super()._operations(),
            'join_room': self._join_here,
            'leave_room': self._leave_here,
            'subscribe': self._subscribe_here,
            'unsubscribe': self._unsubscribe_here,
            'identify': self._identify_here,
            'close_connection': self._close_here,
            'close_user': self._close_user_here,
            'users_in_room': self._users_here,
        }

    # -- membership from outside a handler

    async def join_room(self, connection_id: str, room: str) -> None:
        """Put a connection into a room. Every broadcast that starts afterwards reaches it.

        Raises:
            ConnectionNotFound: If there is no such connection.
            InvalidName: If the name is not a room name.
            TooManyRooms: If it is in `max_rooms_per_connection` of them.
            WireFormatMismatch: If those who are in it, in its process, speak another envelope.
            NotIdentified: If it has yet to be identified (`ws_authenticate_by`).
        """
        if self._cluster is None:
            self._registry.join(connection_id, room)
        elif self._cluster.is_elsewhere(connection_id):
            await self._cluster.ask(connection_id, 'join_room', check_name('room', room))
        else:
            await self._join_here(connection_id, room)

    async def _join_here(self, connection_id: str, room: str) -> None:
        self._registry.join(connection_id, room)
        await self._settled('room', room)

    async def leave_room(self, connection_id: str, room: str) -> None:
        """Take a connection out of a room. It need not be in it.

        Raises:
            ConnectionNotFound: If there is no such connection.
            InvalidName: If the name is not a room name.
        """
        if self._cluster is not None and self._cluster.is_elsewhere(connection_id):
            await self._cluster.ask(connection_id, 'leave_room', check_name('room', room))
        else:
            self._registry.leave(connection_id, room)

    async def _leave_here(self, connection_id: str, room: str) -> None:
        self._registry.leave(connection_id, room)

    async def subscribe(self, connection_id: str, topic_filter: str) -> None:
        """Have a connection get what is published on matching topics, from now on.

        Raises:
            ConnectionNotFound: If there is no such connection.
            InvalidTopic: If it is not a topic filter.
            NotIdentified: If it has yet to be identified (`ws_authenticate_by`).
        """
        if self._cluster is not None and self._cluster.is_elsewhere(connection_id):
            check_topic_filter(topic_filter)
            await self._cluster.ask(connection_id, 'subscribe', topic_filter)
        else:
            await self._subscribe_here(connection_id, topic_filter)

    async def _subscribe_here(self, connection_id: str, topic_filter: str) -> None:
        self._registry.subscribe(connection_id, topic_filter)
        await self._settled('topic', topic_filter)

    async def unsubscribe(self, connection_id: str, topic_filter: str) -> None:
        """Undo `subscribe`. It need not have been.

        Raises:
            ConnectionNotFound: If there is no such connection.
            InvalidTopic: If it is not a topic filter.
        """
        if self._cluster is not None and self._cluster.is_elsewhere(connection_id):
            check_topic_filter(topic_filter)
            await self._cluster.ask(connection_id, 'unsubscribe', topic_filter)
        else:
            await self._unsubscribe_here(connection_id, topic_filter)

    async def _unsubscribe_here(self, connection_id: str, topic_filter: str) -> None:
        self._registry.unsubscribe(connection_id, topic_filter)

    async def identify(
        self,
        connection_id: str,
        user_id: str | None,
        expires_at: float | datetime | None = None,
    ) -> None:
        """Say whose a connection is, and until when: `ws.identify`.

        Args:
            connection_id: The connection's `ws.id`.
            user_id: The user; another one replaces the one before, `None` removes it.
            expires_at: When that ends, in seconds since 1970 or as a `datetime` with a time zone.
                `None` (default) keeps the end that the same user had, and is never for another;
                `math.inf` is never.

        Raises:
            ConnectionNotFound: If there is no such connection.
            InvalidName: If the id is not a user name.
            IdentityExpired: If it is too late already.
            TooManyConnections: If the user has `max_connections_per_user` of them.
            ValueError: If `expires_at` is no such time.
        """
        if self._cluster is not None and self._cluster.is_elsewhere(connection_id):
            if user_id is None and expires_at is not None:
                raise ValueError('expires_at was given for nobody: user_id is None')
            until = posix_time(expires_at)
            never = expires_at is not None and until is None  # `math.inf`: JSON has no word for it
            await self._cluster.ask(
                connection_id, 'identify', user_id, None if never else until, never
            )
        else:
            await self._identify_here(connection_id, user_id, expires_at)

    async def _identify_here(
        self,
        connection_id: str,
        user_id: str | None,
        expires_at: float | datetime | None,
        never: bool = False,
    ) -> None:
        self._registry.identify(connection_id, user_id, math.inf if never else expires_at)
        if user_id is not None:
            await self._settled('user', user_id)

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
        if self._cluster is not None and self._cluster.is_elsewhere(connection_id):
            await self._cluster.ask(connection_id, 'close_connection', code, reason)
        else:
            await self._close_here(connection_id, code, reason)

    async def _close_here(self, connection_id: str, code: int, reason: str) -> None:
        self._close(self._registry.get(connection_id), code, reason)

    async def close_user(
        self, user_id: str, code: int = close_codes.FORBIDDEN, reason: str = ''
    ) -> int:
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
            BackendUnavailable: If another process that has some does not answer. Those of this
                process are closed all the same.
        """
        close_codes.check_code(code)
        check_name('user', user_id)
        closed = await self._close_user_here(user_id, code, reason)
        if self._cluster is None:
            return closed
        args = (user_id, code, reason)
        closed_there: list[int] = await self._cluster.ask_all('user', user_id, 'close_user', *args)
        return sum(closed_there, closed)

    async def _close_user_here(self, user_id: str, code: int, reason: str) -> int:
        connections = self._registry.users.members(user_id)
        for connection in connections:
            self._close(connection, code, reason)
        return len(connections)

    # -- look, cluster-wide

    async def get_room_names(self) -> list[str]:
        """The names of all rooms that have a member. Costs a look at each room."""
        return await self.get_rooms_by_prefix('')

    async def get_rooms_by_prefix(self, prefix: str) -> list[str]:
        """The names of the rooms that begin with a prefix. Costs a look at each room."""
        if self._cluster is None:
            return self._registry.rooms.names(prefix)
        return await self._cluster.names('room', prefix)

    async def count_connections_in_room(self, room: str) -> int:
        """How many connections are in a room.

        Raises:
            InvalidName: If the name is not a room name.
        """
        check_name('room', room)
        if self._cluster is None:
            return self._registry.rooms.count(room)
        return sum((await self._cluster.holders('room', room)).values())

    async def get_users_in_room(self, room: str) -> dict[str, int]:
        """The users in a room, each with the number of their connections in it.

        Connections without a user are not counted. Costs a look at each member.

        Raises:
            InvalidName: If the name is not a room name.
        """
        check_name('room', room)
        if self._cluster is None:
            return self._registry.users_in(room)
        answers = await self._cluster.ask_all(
            'room', room, 'users_in_room', room, without_absent=True
        )
        return dict(sum((Counter(each) for each in answers), Counter[str]()))

    async def _users_here(self, room: str) -> dict[str, int]:
        return self._registry.users_in(room)

    def _close(self, connection: Connection, code: int, reason: str) -> None:
        self._registry.remove(connection.id)
        connection.close(code, reason)
