"""What is wrong with what a client said, or did not say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import falcon

from falcon_ws_mw.errors.base import FalconWebSocketError, cut, shortened


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
        facts = [shortened(fact) for fact in (self.status, self.title, self.description) if fact]
        said = ', '.join(facts) or shortened(self.payload)
        return f'the client answered the request {shortened(self.type)} with an error: {said}'


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
            f'the client did not answer the request {shortened(self.type)} '
            f'within {self.timeout_seconds} s'
        )


class UnhandledMessage(FalconWebSocketError):
    """A frame from the client that no handler was called for.

    Attributes:
        description: What was found and what was expected, for the client to read.
        kind: What it is counted as in `ManagerStats.errors`.
        id: The message's `id` as far as it could be read, else `None`.
        decoded: Whether the frame could be decoded, whatever it holds.
    """

    kind: ClassVar[str] = 'unhandled'
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

    kind = 'malformed'
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

    kind = 'unknown_type'
    status = 404
    title = 'Unknown message type'

    def __init__(self, type: str, *, id: str | int | None = None) -> None:
        self.type = type
        super().__init__(f'nothing here handles messages of type {shortened(type)}', id=id)


class InvalidPayload(UnhandledMessage):
    """The payload does not fit what the handler declares; the handler was not called.

    What the payload library raised is its `__cause__`, and `original`.

    Attributes:
        type: The message's type.
        problems: What is wrong, each a path (JSON Pointer, RFC 6901) and a message.
        original: What the library raised.
    """

    kind = 'invalid_payload'
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
        super().__init__(f'the payload of {shortened(type)} does not fit: {cut(found, 500)}', id=id)

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
