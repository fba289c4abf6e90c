"""Who is connected, and how to reach them.

Send has one addressee, broadcast has many. A call that is awaited speaks of the whole cluster, a
call that is not speaks of this process; on `memory://` they are the same. Membership changes in
one synchronous step: no await stands between a check and what it checked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
import secrets
from typing import Any, Final

from falcon_ws_mw.backends import Backend
from falcon_ws_mw.connection import Connection
from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.everywhere import Everywhere
from falcon_ws_mw.fanout import Websockets
from falcon_ws_mw.foreign import SendsFrames, frame_sender
from falcon_ws_mw.options import OutagePolicy, check_choice
from falcon_ws_mw.reports import ManagerStats, Meter
from falcon_ws_mw.rooms import check_name
from falcon_ws_mw.workers import WorkerSupervisor

MAX_DEBOUNCE_SECONDS: Final = 86_400
"""A user who is away for longer has left."""


class WebSocketConnectionManager(Everywhere):
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
