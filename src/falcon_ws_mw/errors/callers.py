"""What is wrong with a call: the app has to act."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from falcon_ws_mw.errors.base import FalconWebSocketError, shortened

MAX_NAME_BYTES: Final = 255
"""The longest room or user name, in bytes of UTF-8."""


class InvalidName(FalconWebSocketError, ValueError):
    """A room or user name is not non-empty text of at most 255 bytes.

    Attributes:
        kind: What was to be named: `'room'` or `'user'`.
        name: The name that was given.
    """

    def __init__(self, kind: str, name: object) -> None:
        self.kind = kind
        self.name = name
        super().__init__(kind, name)

    def __str__(self) -> str:
        return (
            f'{shortened(self.name)} is not a {self.kind} name: '
            f'expected non-empty text of at most {MAX_NAME_BYTES} bytes in UTF-8'
        )


class InvalidTopic(FalconWebSocketError, ValueError):
    """Something is not a topic, or not a topic filter (MQTT 3.1.1 §4.7).

    Attributes:
        kind: What it was to be: `'topic'` or `'topic filter'`.
        value: What was given.
        problem: The rule that it breaks, and what to write instead.
    """

    def __init__(self, kind: str, value: object, problem: str) -> None:
        self.kind = kind
        self.value = value
        self.problem = problem
        super().__init__(kind, value, problem)

    def __str__(self) -> str:
        return f'{shortened(self.value)} is not a {self.kind}: {self.problem}'


class InvalidCloseCode(FalconWebSocketError, ValueError):
    """A close code may not be sent (RFC 6455 §7.4).

    Attributes:
        code: The code that was given.
    """

    def __init__(self, code: object) -> None:
        self.code = code
        super().__init__(code)

    def __str__(self) -> str:
        return (
            f'{self.code!r} is not a close code that an endpoint may send: '
            'expected 1000-1003, 1007-1014 or 3000-4999; 4000-4999 are yours to define'
        )


class ConnectionNotFound(FalconWebSocketError, LookupError):
    """No connection has this id: it was never known, or it has ended.

    Attributes:
        connection_id: The id that was looked for.
    """

    def __init__(self, connection_id: str) -> None:
        self.connection_id = connection_id
        super().__init__(connection_id)

    def __str__(self) -> str:
        return f'no connection has the id {shortened(self.connection_id)}; it may have ended'


class OutboxFull(FalconWebSocketError):
    """More was sent before the handshake was accepted than may wait.

    Attributes:
        max_messages: The bound on waiting messages.
        max_bytes: The bound on the bytes of waiting messages.
    """

    def __init__(self, max_messages: int | None, max_bytes: int | None) -> None:
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        super().__init__(max_messages, max_bytes)

    def __str__(self) -> str:
        return (
            'nothing can be delivered before the connection is accepted, and the outbox is full '
            f'(max_outbox_messages={self.max_messages}, max_outbox_bytes={self.max_bytes}); '
            'call `await ws.accept()` first'
        )


class TooManyRequests(FalconWebSocketError):
    """As many requests to one client wait for their answers as may.

    Attributes:
        max_requests: The bound, `Limits.max_pending_requests`.
    """

    def __init__(self, max_requests: int) -> None:
        self.max_requests = max_requests
        super().__init__(max_requests)

    def __str__(self) -> str:
        return (
            f'{self.max_requests} requests to this client wait for an answer '
            '(max_pending_requests): await some of them first, or raise the limit'
        )


class TooManyRooms(FalconWebSocketError):
    """A connection is in as many rooms as it may be.

    A client whose message led to it is answered 429.

    Attributes:
        max_rooms: The bound, `Limits.max_rooms_per_connection`.
    """

    def __init__(self, max_rooms: int) -> None:
        self.max_rooms = max_rooms
        super().__init__(max_rooms)

    def __str__(self) -> str:
        return (
            f'this connection is in {self.max_rooms} rooms (max_rooms_per_connection): leave one '
            'first, or raise the limit'
        )


class TooManyConnections(FalconWebSocketError):
    """A user has as many connections as he may have.

    A handshake in which it is raised is refused with 429.

    Attributes:
        user_id: The user.
        max_connections: The bound, `Limits.max_connections_per_user`.
    """

    def __init__(self, user_id: str, max_connections: int) -> None:
        self.user_id = user_id
        self.max_connections = max_connections
        super().__init__(user_id, max_connections)

    def __str__(self) -> str:
        return (
            f'this user has {self.max_connections} connections (max_connections_per_user): close '
            'one first, or raise the limit'
        )


class NotIdentified(FalconWebSocketError):
    """A connection was to enter a room or a topic before it is known whose it is.

    Its route has `ws_authenticate_by`. A client whose message led to it is answered 401.

    Attributes:
        message_type: The message by which its client says who it is.
    """

    def __init__(self, message_type: str) -> None:
        self.message_type = message_type
        super().__init__(message_type)

    def __str__(self) -> str:
        return (
            'nobody has said yet whose connection this is '
            f'(ws_authenticate_by={shortened(self.message_type)}): call ws.identify first'
        )


class IdentityExpired(FalconWebSocketError, ValueError):
    """A connection was to be identified by what has expired already.

    It stays as it was. A client whose message led to it is answered 401, a handshake is refused
    with that.

    Attributes:
        expires_at: When it expired, in seconds since 1970 (POSIX time).
    """

    def __init__(self, expires_at: float) -> None:
        self.expires_at = expires_at
        super().__init__(expires_at)

    def __str__(self) -> str:
        return 'this identity has expired: get a new token, or log in again'


class MessageTooBig(FalconWebSocketError, ValueError):
    """One message is longer than what may wait for a peer, so it is not sent at all.

    Attributes:
        size: Its bytes of payload.
        max_bytes: The bound, `Limits.max_outbox_bytes`.
    """

    def __init__(self, size: int, max_bytes: int) -> None:
        self.size = size
        self.max_bytes = max_bytes
        super().__init__(size, max_bytes)

    def __str__(self) -> str:
        return (
            f'the message has {self.size} bytes, over the outbox of {self.max_bytes} '
            '(max_outbox_bytes): send it in parts, or raise the limit'
        )


class WireFormatMismatch(FalconWebSocketError, ValueError):
    """A connection was to join a room whose members speak another envelope.

    A broadcast is encoded once, so what is said in a room has one form on the wire.

    Attributes:
        room: The room.
        spoken: The envelope that its members speak.
        envelope: The connection's.
    """

    def __init__(self, room: str, spoken: object, envelope: object) -> None:
        self.room = room
        self.spoken = spoken
        self.envelope = envelope
        super().__init__(room, spoken, envelope)

    def __str__(self) -> str:
        return (
            f'the room {shortened(self.room)} speaks {shortened(self.spoken)}, and this '
            f'connection {shortened(self.envelope)}: give both routes one and the same envelope, '
            'or each envelope rooms of its own'
        )


class UndeclaredMessage(FalconWebSocketError, ValueError):
    """A route was to be sent what its `@sends` do not say.

    Raised only where that is checked: `install(check_sends=True)`, or asyncio's debug mode.

    Attributes:
        type: The message's type.
        resource: The resource whose clients would have got it.
        problems: What is wrong with the payload, each with path and message; empty if the type
            itself is not declared.
        declared: The types that are.
    """

    def __init__(
        self,
        type: str,
        resource: str,
        declared: Sequence[str] = (),
        problems: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.type = type
        self.resource = resource
        self.declared = tuple(declared)
        self.problems = tuple(problems)
        super().__init__(type, resource, declared, problems)

    def __str__(self) -> str:
        if self.problems:
            found = '; '.join(f'{path or "payload"}: {message}' for path, message in self.problems)
            return (
                f'{self.resource} declares another payload for {shortened(self.type)}: {found}; '
                'send that, or change its @sends'
            )
        return (
            f'{self.resource} does not declare that it sends {shortened(self.type)} '
            f'(it declares {", ".join(self.declared)}): add '
            f'@sends({shortened(self.type)}, …) to it'
        )


class BackendUnavailable(FalconWebSocketError, ConnectionError):
    """What links the processes did not do what was asked of it, in time.

    What was to be sent may have been, if the engine was lost just then. A client whose message led
    to it is answered 503.

    Attributes:
        problem: What did not happen, and why.
    """

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(problem)

    def __str__(self) -> str:
        return f'other processes cannot be reached now: {self.problem}'


class RemoteCallError(FalconWebSocketError):
    """The process that has a connection failed at what was asked of it. Its log says how.

    Attributes:
        name: The name of the exception there.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(name)

    def __str__(self) -> str:
        return f'the process that was asked failed with {self.name}: see its log'
