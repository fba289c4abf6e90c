"""What can go wrong, split by who must act.

FalconWebSocketError
├── ConfigurationError (ValueError)   the developer, before the app serves
├── InvalidName (ValueError)          the caller: not a room or user name
├── InvalidTopic (ValueError)         the caller: not a topic, or not a topic filter
├── InvalidCloseCode (ValueError)     the caller: not a code that may be sent
├── ConnectionNotFound (LookupError)  the caller: nobody has that id any more
├── OutboxFull                        the caller: more was said than may wait
├── TooManyRequests                   the caller: more was asked than may be waited for
├── MessageTooBig (ValueError)        the caller: one message is longer than may wait
├── WireFormatMismatch (ValueError)   the caller: a room speaks one envelope
├── UndeclaredMessage (ValueError)    the developer: `@sends` says something else
├── ReplyError                        the client, which answered a request with an error
├── ReplyTimeout (TimeoutError)       the client, which did not answer a request
└── UnhandledMessage                  the client; what `on_ws_unhandled` receives
    ├── MalformedMessage              no message could be read from the frame
    ├── UnknownMessageType            nobody handles that type
    └── InvalidPayload                the payload is not what the handler declares

Errors carry facts as attributes; their text is built here, and says what was found, what was
expected and the cure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import falcon

MAX_NAME_BYTES = 255
"""The longest room or user name, in bytes of UTF-8."""


class FalconWebSocketError(Exception):
    """The root of every error that this library raises."""


class ConfigurationError(FalconWebSocketError, ValueError):
    """The app is put together in a way that cannot work.

    Raised while the app is assembled or when it starts; where that was impossible, the first
    handshake is refused and the error is logged.
    """


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
            f'{_shortened(self.name)} is not a {self.kind} name: '
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
        return f'{_shortened(self.value)} is not a {self.kind}: {self.problem}'


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
        return f'no connection has the id {_shortened(self.connection_id)}; it may have ended'


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
            f'the room {_shortened(self.room)} speaks {_shortened(self.spoken)}, and this '
            f'connection {_shortened(self.envelope)}: give both routes one and the same envelope, '
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
                f'{self.resource} declares another payload for {_shortened(self.type)}: {found}; '
                'send that, or change its @sends'
            )
        return (
            f'{self.resource} does not declare that it sends {_shortened(self.type)} '
            f'(it declares {", ".join(self.declared)}): add '
            f'@sends({_shortened(self.type)}, …) to it'
        )


class ReplyError(FalconWebSocketError):
    """The client answered a request with an error.

    Attributes:
        type: The type of the request.
        payload: What the error carried, as it was decoded.
        status: Its `status`, where there is one.
        title: Its `title`, likewise.
        description: Its `description`, likewise.
    """

    def __init__(self, type: str, payload: Any) -> None:
        self.type = type
        self.payload = payload
        facts = payload if isinstance(payload, dict) else {}
        self.status: Any = facts.get('status')
        self.title: Any = facts.get('title')
        self.description: Any = facts.get('description')
        super().__init__(type, payload)

    def __str__(self) -> str:
        facts = [_shortened(fact) for fact in (self.status, self.title, self.description) if fact]
        said = ', '.join(facts) or _shortened(self.payload)
        return f'the client answered the request {_shortened(self.type)} with an error: {said}'


class ReplyTimeout(FalconWebSocketError, TimeoutError):
    """The client did not answer a request in time. An answer that comes later is counted.

    Attributes:
        type: The type of the request.
        timeout_seconds: How long it was waited for.
    """

    def __init__(self, type: str, timeout_seconds: float | None) -> None:
        self.type = type
        self.timeout_seconds = timeout_seconds
        super().__init__(type, timeout_seconds)

    def __str__(self) -> str:
        return (
            f'the client did not answer the request {_shortened(self.type)} '
            f'within {self.timeout_seconds} s'
        )


class UnhandledMessage(FalconWebSocketError):
    """A frame from the client that no handler was called for.

    Attributes:
        description: What was found and what was expected, for the client to read.
        id: The message's `id` as far as it could be read, else `None`.
        decoded: Whether the frame could be decoded, whatever it holds.
    """

    status: ClassVar[int] = 400
    title: ClassVar[str] = 'Unhandled message'
    decoded = True

    def __init__(self, description: str, *, id: str | int | None = None) -> None:
        self.description = description
        self.id = id
        super().__init__(description)

    def to_http_error(self) -> falcon.HTTPError:
        """The answer that the client gets, in Falcon's form."""
        return falcon.HTTPError(self.status, title=self.title, description=self.description)


class MalformedMessage(UnhandledMessage):
    """The frame is not a message: not JSON, not an object, no usable type, a bad id."""

    title = 'Malformed message'

    def __init__(
        self, description: str, *, id: str | int | None = None, decoded: bool = True
    ) -> None:
        self.decoded = decoded
        super().__init__(description, id=id)


class UnknownMessageType(UnhandledMessage):
    """The message is well-formed, but this route has no handler for its type.

    Attributes:
        type: The type that the client named.
    """

    status = 404
    title = 'Unknown message type'

    def __init__(self, type: str, *, id: str | int | None = None) -> None:
        self.type = type
        super().__init__(f'nothing here handles messages of type {_shortened(type)}', id=id)


class InvalidPayload(UnhandledMessage):
    """The payload does not fit what the handler declares; the handler was not called.

    What the payload library raised is its `__cause__`, and `original`.

    Attributes:
        type: The message's type.
        problems: What is wrong, each a path (JSON Pointer, RFC 6901) and a message.
        original: What the library raised.
    """

    status = 422
    title = 'Invalid payload'

    def __init__(
        self,
        type: str,
        problems: Sequence[tuple[str, str]],
        *,
        id: str | int | None = None,
        original: Exception | None = None,
    ) -> None:
        self.type = type
        self.problems = tuple(problems)
        self.original = original
        found = '; '.join(f'{path}: {message}' if path else message for path, message in problems)
        super().__init__(
            f'the payload of {_shortened(type)} does not fit: {_cut(found, 500)}', id=id
        )

    def to_http_error(self) -> falcon.HTTPError:
        """The answer that the client gets, with a list `errors` of `path` and `message`."""
        return _HTTPErrorWithErrors(
            self.status,
            title=self.title,
            description=self.description,
            errors=[{'path': path, 'message': message} for path, message in self.problems],
        )


class _HTTPErrorWithErrors(falcon.HTTPError):
    """An `HTTPError` whose form on the wire has a list `errors`."""

    def __init__(self, status: int, *, errors: list[dict[str, str]], **facts: Any) -> None:
        super().__init__(status, **facts)
        self.errors = errors

    def to_dict(self, obj_type: Any = dict) -> Any:
        return {**super().to_dict(obj_type), 'errors': self.errors}


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f'{text[:limit]}…'


def _shortened(value: object, limit: int = 80) -> str:
    """The value as a literal, cut to a length that is safe to log and to send."""
    text = repr(value)
    return text if len(text) <= limit else f'{text[:limit]}…'
