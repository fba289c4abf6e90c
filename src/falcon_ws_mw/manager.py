"""Who is connected, and how to reach them.

Send has one addressee, broadcast has many. A call that is awaited speaks of the whole cluster, a
call that is not speaks of this process; on `memory://` they are the same. Membership changes in
one synchronous step: no await stands between a check and what it checked.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
import math
import secrets
from typing import Any, Final

from falcon_ws_mw import close_codes
from falcon_ws_mw.addressing import Addressing
from falcon_ws_mw.backends import Backend
from falcon_ws_mw.calls import Operation
from falcon_ws_mw.connection import Connection
from falcon_ws_mw.deadlines import posix_time
from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.fanout import Websockets
from falcon_ws_mw.foreign import SendsFrames, frame_sender
from falcon_ws_mw.options import OutagePolicy, check_choice
from falcon_ws_mw.reports import ManagerStats, Meter
from falcon_ws_mw.rooms import check_name
from falcon_ws_mw.topics import check_topic_filter
from falcon_ws_mw.workers import WorkerSupervisor

MAX_DEBOUNCE_SECONDS: Final = 86_400
"""A user who is away for longer has left."""


class WebSocketConnectionManager(Addressing):
    """Keeps the connections of an app, their rooms and their users, and sends to them.

    Args:
        backend: What links the processes of the app, as a URL or a `Backend`. `'memory://'` (the
            default) knows this process only; `'redis://host:6379/0'` reaches all with that URL.
        presence_debounce_seconds: How long after a user's last connection has ended, or has left a
            room, the user counts as gone (default 5): whoever is back before that, as by a reload
            of the page, has never left for `on_user_left` and `on_user_offline`.
        outage_policy: What broadcasts do while the backend has lost its engine: `'wait'` (default)
            for it, and raise `BackendUnavailable` when that takes too long; `'local'` reaches the
            connections of this process at once, in no order with what others send, and no others.

    Raises:
        ConfigurationError: If no backend goes by that URL, or its driver is not installed; if the
            time is none from 0 to a day, or the policy is none.
    """

    def __init__(
        self,
        backend: str | Backend = 'memory://',
        *,
        presence_debounce_seconds: float = 5.0,
        outage_policy: OutagePolicy = 'wait',
    ) -> None:
        check_choice('outage_policy', outage_policy, OutagePolicy)
        debounce: object = presence_debounce_seconds
        is_number = isinstance(debounce, (int, float)) and not isinstance(debounce, bool)
        if not is_number or not 0 <= presence_debounce_seconds <= MAX_DEBOUNCE_SECONDS:
            raise ConfigurationError(
                f'presence_debounce_seconds={debounce!r}: expected a number of seconds from 0 to '
                f'{MAX_DEBOUNCE_SECONDS}'
            )
        super().__init__(backend, presence_debounce_seconds, outage_policy)
        self.workers = WorkerSupervisor()
        """The workers of the app that this manager belongs to."""
        self.forgotten: Counter[str] = Counter()
        """Messages that an old `on_websocket` never came back for, by resource."""
        self.meter: Meter | None = None
        """What measures handlers. To be set before the app serves."""

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
            WireFormatMismatch: If those who are in it speak another envelope.
            NotIdentified: If it has yet to be identified (`ws_authenticate_by`).
        """
        if self._cluster is not None and self._cluster.is_elsewhere(connection_id):
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
            await self._leave_here(connection_id, room)

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
        """
        close_codes.check_code(code)
        check_name('user', user_id)
        if self._cluster is None:
            return await self._close_user_here(user_id, code, reason)
        return sum(
            await self._cluster.ask_all('user', user_id, 'close_user', user_id, code, reason)
        )

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
        answers = await asyncio.gather(
            *(
                self._cluster.ask_all('node', node_id, 'users_in_room', room)
                for node_id in await self._cluster.holders('room', room)
            )
        )
        return dict(sum((Counter(each) for answer in answers for each in answer), Counter[str]()))

    async def _users_here(self, room: str) -> dict[str, int]:
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
            **self.counters.snapshot(),
            workers=self.workers.stats(),
            backend=None if self._cluster is None else self._cluster.health(),
        )

    # -- who is connected

    def new_id(self) -> str:
        """An id for a connection: 128 random bits, so nobody can guess another's."""
        return secrets.token_urlsafe(16) if self._cluster is None else self._cluster.new_id()

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
            connection.is_here = True
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
