"""The `ws` that handlers get: Falcon's socket, and rooms, identity and requests beside it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from datetime import datetime
import math
from typing import TYPE_CHECKING, Any, Final

from falcon import HTTPConflict, HTTPForbidden, OperationNotAllowed, WebSocketDisconnected

from falcon_ws_mw.errors import NotIdentified
from falcon_ws_mw.falcon_socket import FalconSocket
from falcon_ws_mw.options import check_timeout
from falcon_ws_mw.requests import Requests
from falcon_ws_mw.rights import DECLARATION, DENIALS, JOIN, PUBLISH, SUBSCRIBE, Question
from falcon_ws_mw.rooms import check_name
from falcon_ws_mw.sides import State
from falcon_ws_mw.topics import check_topic, check_topic_filter

if TYPE_CHECKING:
    from falcon_ws_mw.envelope import Sendable
    from falcon_ws_mw.options import SlowConsumer
    from falcon_ws_mw.reports import DeliveryReport

MAX_QUESTIONS: Final = 10
"""How often a right is asked for whose answer was about somebody else each time."""


class WebSocket(FalconSocket):
    """One connection, as its handlers see it.

    It has the whole API of `falcon.asgi.WebSocket` and can stand wherever one is expected.
    """

    __slots__ = ()

    # -- who it is

    @property
    def id(self) -> str:
        """The connection's id in the manager: opaque, and not to be guessed."""
        return self._connection.id

    @property
    def context(self) -> Any:
        """The handshake's `req.context`, for whatever belongs to this connection."""
        return self.req.context

    @property
    def user_id(self) -> str | None:
        """The user that `identify` named."""
        return self._connection.user_id

    @property
    def expires_at(self) -> float | None:
        """Until when, in seconds since 1970; `None` for as long as the connection lives."""
        return self._connection.expires_at

    @property
    def rooms(self) -> frozenset[str]:
        """The rooms it is in; once it has ended, the rooms it was in."""
        return frozenset(self._connection.rooms)

    @property
    def topic_filters(self) -> frozenset[str]:
        """The topic filters it has subscribed to; once it has ended, those it had."""
        return self._connection.topic_filters

    # -- messages

    async def send_message(self, type: str, payload: Any = None) -> None:
        """Send a message in the envelope.

        Args:
            type: The message's type.
            payload: Anything that can be JSON: also a dataclass, a `msgspec.Struct` or a pydantic
                model.

        Raises:
            WebSocketDisconnected: If the connection has ended.
        """
        connection = self._connection
        waiting = connection.say(connection.codec.encode_message(type, payload))
        if waiting is not None:
            await waiting

    async def request(
        self,
        type: str,
        payload: Any = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109  # the peer's, and what it raises says so
    ) -> Any:
        """Ask the client something, and wait for its answer.

        The message goes out with an `id`, which the client has to put into its answer: a `reply`
        or an `error`. That is read as soon as it arrives, also in front of messages that wait, and
        while the handler runs that asks. Cancelling the wait is fine: an answer that comes
        afterwards is counted.

        Args:
            type: The message's type.
            payload: Anything that can be JSON.
            timeout: How many seconds to wait at most (default: the limit
                `request_timeout_seconds`); `math.inf` for as long as the connection lives.

        Returns:
            What the reply carries, as it was decoded.

        Raises:
            ReplyError: If the client answers with an error.
            ReplyTimeout: If it does not answer in time.
            TooManyRequests: If `max_pending_requests` of them wait already.
            OperationNotAllowed: Before the accept, or if the envelope has no ids.
            WebSocketDisconnected: If the connection has ended, or ends before the answer.
            ValueError: If the timeout is no number above 0.
        """
        if self._connection.state is State.HANDSHAKE:
            raise OperationNotAllowed('nothing can be asked before the handshake is accepted')
        if not self.codec.has_ids:
            raise OperationNotAllowed(
                'the envelope of this route has no ids (id_field=None), so nothing can be answered'
            )
        seconds = self._connection.limits.request_timeout_seconds if timeout is None else timeout
        if seconds is not None:
            check_timeout(seconds)
        requests = self._connection.requests
        if not isinstance(requests, Requests):
            if self.closed:
                raise WebSocketDisconnected(self._connection.close_code)
            requests = self._connection.requests = Requests(self._connection, self.codec)
        self._listen_for_answer()
        return await requests.ask(type, payload, None if seconds == math.inf else seconds)

    def _listen_for_answer(self) -> None:
        self.inbox.await_answer()

    # -- rooms and topics

    async def join_room(self, room: str) -> None:
        """Enter a room. Every broadcast to it that starts afterwards arrives.

        Where the resource has a `ws_authorize`, that is asked for `'join'`.

        Raises:
            HTTPForbidden: If the client may not.
            InvalidName: If the name is not a room name.
            NotIdentified: If it has yet to be identified (`ws_authenticate_by`).
            TooManyRooms: If it is in `max_rooms_per_connection` of them.
            WireFormatMismatch: If those who are in it speak another envelope.
            WebSocketDisconnected: If the connection has ended.
        """
        await self._ask(JOIN, check_name('room', room))
        self._require_known()
        await self.manager.join_room(self.id, room)

    async def leave_room(self, room: str) -> None:
        """Leave a room. It need not be in it, and may have ended.

        Raises:
            InvalidName: If the name is not a room name.
        """
        if self.id in self.manager.connections:
            await self.manager.leave_room(self.id, room)

    async def broadcast_to_room(
        self,
        room: str | Iterable[str],
        message: Sendable,
        exclude_self: bool = False,  # the name that the field knows
        exclude_ids: Iterable[str] = (),
        *,
        coalesce: Hashable = None,
        slow_consumer: SlowConsumer | None = None,
    ) -> DeliveryReport:
        """Send to everybody in a room, whether this connection is in it or not.

        Args:
            room: A room name, or several.
            message: A dict, str or bytes goes out as it is; a `Message` in the envelope.
            exclude_self: Whether this connection is left out.
            exclude_ids: Further connections to leave out.
            coalesce: See `WebSocketConnectionManager.broadcast_to_room`.
            slow_consumer: See there.

        Returns:
            What became of it in this process.
        """
        excluded = (*exclude_ids, self.id) if exclude_self else exclude_ids
        return await self.manager.broadcast_to_room(
            room, message, excluded, coalesce=coalesce, slow_consumer=slow_consumer
        )

    async def subscribe(self, topic_filter: str) -> None:
        """Get what is published on matching topics (MQTT 3.1.1 §4.7) from now on.

        Where the resource has a `ws_authorize`, that is asked for `'subscribe'`.

        Raises:
            HTTPForbidden: If the client may not.
            InvalidTopic: If it is not a topic filter.
            NotIdentified: If it has yet to be identified (`ws_authenticate_by`).
            WebSocketDisconnected: If the connection has ended.
        """
        await self._ask(SUBSCRIBE, check_topic_filter(topic_filter))
        self._require_known()
        await self.manager.subscribe(self.id, topic_filter)

    async def unsubscribe(self, topic_filter: str) -> None:
        """Undo `subscribe`. It need not have been, and the connection may have ended.

        Raises:
            InvalidTopic: If it is not a topic filter.
        """
        if self.id in self.manager.connections:
            await self.manager.unsubscribe(self.id, topic_filter)

    async def publish(
        self,
        topic: str,
        message: Sendable,
        exclude_self: bool = False,
        *,
        coalesce: Hashable = None,
        slow_consumer: SlowConsumer | None = None,
    ) -> DeliveryReport:
        """The manager's `publish`; `exclude_self` leaves this connection out.

        Where the resource has a `ws_authorize`, that is asked for `'publish'`.

        Raises:
            HTTPForbidden: If the client may not.
            WebSocketDisconnected: If it is to be asked, and the server has closed the connection.
        """
        await self._ask(PUBLISH, check_topic(topic))
        excluded = (self.id,) if exclude_self else ()
        return await self.manager.publish(
            topic, message, excluded, coalesce=coalesce, slow_consumer=slow_consumer
        )

    # -- whose it is

    async def identify(
        self, user_id: str | None, expires_at: float | datetime | None = None
    ) -> None:
        """Say which user this is, so that `send_to_user` and `close_user` reach it.

        Calling it again for the same user renews: the connection and its rooms stay, until the new
        `expires_at`, or the one before where none is given. Another user replaces the one before;
        on a route with `ws_authorize` or `ws_authenticate_by` the connection then leaves all rooms
        and topics, since what the one was let into is not for the other.

        Args:
            user_id: The user; `None` removes it.
            expires_at: When the identity ends, in seconds since 1970 (as in the claim `exp` of a
                JWT, RFC 7519 §4.1.4) or as a `datetime` with a time zone. Then the connection is
                closed with 3401, also if the calendar of the computer has been set back since. A
                client that speaks `falcon-ws.v1` is told `expiring` before. Never by default, and
                with `math.inf`.

        Raises:
            InvalidName: If the id is not a user name.
            IdentityExpired: If it is too late already. Nothing has changed then.
            TooManyConnections: If the user has `max_connections_per_user` of them.
            ValueError: If `expires_at` is no such time.
            WebSocketDisconnected: If the connection has ended.
        """
        self._require_known()
        await self.manager.identify(self.id, user_id, expires_at)

    # -- what its client may do

    async def authorize(self, action: str, name: str) -> None:
        """Ask the resource's `ws_authorize` whether the client may do something.

        `join_room`, `subscribe` and `publish` of this `ws` do so by themselves. If it becomes
        another user's meanwhile, or is taken out of a room, the question is put again.

        Args:
            action: `'join'`, `'subscribe'`, `'publish'`, or a word of the app's own.
            name: The room, the topic filter, the topic, or what the action is about.

        Raises:
            HTTPForbidden: Unless the answer is `True`.
            HTTPConflict: If it has been put ten times, and something had changed each time.
            NotIdentified: If it has yet to be identified (`ws_authenticate_by`).
            OperationNotAllowed: If the resource has no `ws_authorize`.
            WebSocketDisconnected: If the server has closed the connection, as by a kick, or the
                conversation is over.
        """
        if self._table.authorize is None:
            raise OperationNotAllowed(
                f'{self._table.name} cannot say who may {action}: declare {DECLARATION}'
            )
        for _ in range(MAX_QUESTIONS):
            question = Question(name)
            is_allowed = await self._is_allowed(action, question)
            if is_allowed and not question.is_stale:
                return
            if not question.is_stale:
                raise HTTPForbidden(description=DENIALS.get(action, f'you may not {action} this'))
        raise HTTPConflict(description='who you are, or what you may, has changed again and again')

    async def _is_allowed(self, action: str, question: Question) -> bool:
        connection = self._connection
        if connection.is_stranger:
            raise NotIdentified(connection.settings.authenticate_by or '')
        # Who has been kicked may nothing any more. Who has left by himself may have said it before.
        if self.resource is None or connection.hung_up or self._table.authorize is None:
            raise WebSocketDisconnected(connection.close_code)
        connection.questions += (question,)
        try:
            answer = await self._table.authorize(self.resource, self, action, question.name)
        finally:
            connection.questions = tuple(
                each for each in connection.questions if each is not question
            )
        return answer is True

    async def _ask(self, action: str, name: str) -> None:
        if self._table.authorize is not None:
            await self.authorize(action, name)

    def _require_known(self) -> None:
        if self.closed or self.id not in self.manager.connections:
            raise WebSocketDisconnected(self._connection.close_code)
