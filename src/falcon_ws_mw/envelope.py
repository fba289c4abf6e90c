"""What a message is: a type, a payload and an id, and where they stand in what arrives.

The default envelope is `{"type": str, "payload": any?, "id": str|int?}` in both directions. A route
may rename its fields, leave some out, or bring an envelope of its own, by any rule it likes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

import falcon

from falcon_ws_mw.errors import ConfigurationError, MalformedMessage

REPLY: Final = 'reply'
"""The type by which the library answers, and is answered."""

ERROR: Final = 'error'
"""The type by which it does so where something is wrong."""

PING: Final = 'ping'
"""By this type either side asks the other for a sign of life, where the route has a heartbeat."""

PONG: Final = 'pong'
"""And by this one it is given."""

EXPIRING: Final = 'expiring'
"""By this type the server tells a client that its identity is about to expire."""

CLIENT_PROTOCOL: Final = 'falcon-ws.v1'
"""The subprotocol of clients that know the library's own messages beside replies and errors."""

MAX_SAFE_INTEGER: Final = 2**53 - 1
"""The largest whole number that every JSON reader takes exactly (RFC 8259 §6)."""

MessageId: TypeAlias = str | int


@dataclass(frozen=True, slots=True)
class Message:
    """A message to be put into the envelope: `Message('serverTyping', {'user': 'ada'})`."""

    type: str
    payload: Any = None


class IsDataclass(Protocol):
    """A dataclass's instance, pydantic's dataclasses included."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


class IsStruct(Protocol):
    """An instance of a `msgspec.Struct`."""

    __struct_fields__: ClassVar[tuple[str, ...]]


class IsModel(Protocol):
    """An instance of a pydantic model."""

    def model_dump(self, *, mode: str = 'python') -> dict[str, Any]:
        """Its values by name."""


Sendable: TypeAlias = (
    Mapping[str, Any]
    | str
    | bytes
    | bytearray
    | memoryview
    | Message
    | IsDataclass
    | IsStruct
    | IsModel
)
"""What can be sent: a mapping goes out as JSON, text and bytes as they are, a `Message` in the
envelope; a dataclass, a `msgspec.Struct` or a pydantic model as the JSON of the whole message."""


class Incoming(NamedTuple):
    """A message as it arrived.

    Attributes:
        type: Its type.
        payload: Its payload, as the handler gets it.
        id: Its id, `None` if it is no request.
        message: The whole decoded object; `None` where no handler asks for it.
    """

    type: str
    payload: Any
    id: MessageId | None
    message: Any


@runtime_checkable
class MessageEnvelope(Protocol):
    """An envelope that an app brings: it replaces the routing rule completely.

    Where several processes are linked, it may have a `wire_name: str`, by which they know it
    (default: its class).

    For the AsyncAPI document it may also have `content_type: str` and
    `describe(type, payload, *, id) -> dict`, the JSON Schema of a whole message. `payload` is the
    schema of what it carries, `None` for anything; it admits null where the payload may be missing.
    `id` is `'always'` for requests of the server and all that answers a request, `'maybe'` for what
    clients send and for errors, which may be about what had none, and `'never'` for the rest.
    """

    def decode(self, raw: str | bytes) -> tuple[str, Any, MessageId | None]:
        """Read a frame.

        Args:
            raw: The text or the bytes of the frame.

        Returns:
            The type, the payload (`None` if there is none) and the id (`None` if it wants no
            answer). The types `reply` and `error` are answers to what the server has asked.

        Raises:
            MalformedMessage: If there is no message in it; with the id where it could be read.
        """

    def encode(self, type: str, payload: Any, id: MessageId | None) -> str | bytes:
        """Make a frame.

        Args:
            type: The message's type; `reply` or `error` for an answer, whose payload is what the
                handler returned, or describes the error.
            payload: What it carries, as dicts, lists, text, numbers and what the app puts there.
            id: The id, `None` if it has none.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Messages that are objects, with fields of these names.

    Args:
        type_field: Where the type stands (default `'type'`).
        payload_field: Where the payload stands (default `'payload'`). `None` is the flat form: the
            payload is the whole object, type and id included; what the library itself answers
            carries its payload under `payload`.
        id_field: Where the id stands (default `'id'`). `None` switches requests off.
        reply_type: The type of answers (default `'reply'`).
        error_type: The type of errors (default `'error'`).

    Raises:
        ConfigurationError: If a name is no text or stands for two things.
    """

    type_field: str = 'type'
    payload_field: str | None = 'payload'
    id_field: str | None = 'id'
    reply_type: str = REPLY
    error_type: str = ERROR

    def __post_init__(self) -> None:
        payload_field = 'payload' if self.payload_field is None else self.payload_field
        names = [self.type_field, payload_field]
        if self.id_field is not None:
            names.append(self.id_field)
        types = [self.reply_type, self.error_type]
        for name in (*names, *types):
            if not _is_name(name):
                raise ConfigurationError(
                    f'{self}: {name!r} is no name: expected non-empty text that has a UTF-8 form'
                )
        for group in (names, types):
            if len(set(group)) < len(group):
                raise ConfigurationError(f'{self}: {group} has one name twice: choose another')

    @property
    def reserved_types(self) -> frozenset[str]:
        """The types that the library itself says; no handler may have them."""
        return frozenset({self.reply_type, self.error_type})

    def read(self, message: object) -> Incoming:
        """Read a decoded object. An absent payload is `None`.

        Raises:
            MalformedMessage: If it breaks one of the rules.
        """
        if not isinstance(message, dict):
            raise MalformedMessage(f'a message is an object, not {_json_kind(message)}')
        message_id = None
        if self.id_field is not None:
            message_id = message.get(self.id_field)
            if message_id is None:
                if self.id_field in message:
                    raise MalformedMessage(
                        f'the {self.id_field} is null: leave it out, or send text or a whole number'
                    )
            elif not is_id(message_id):
                raise MalformedMessage(
                    f'the {self.id_field} is neither text nor a whole number within ±(2⁵³-1)'
                )
        message_type = message.get(self.type_field)
        if not isinstance(message_type, str):
            found = 'missing' if self.type_field not in message else _json_kind(message_type)
            raise MalformedMessage(
                f'the {self.type_field} of a message is text, here it is {found}', id=message_id
            )
        payload: Any = message
        if self.payload_field is not None or message_type in self.reserved_types:
            payload = message.get(self.payload_field or 'payload')
        # PERF: past the constructor that `NamedTuple` writes, which takes twice as long.
        return _new_tuple(Incoming, (message_type, payload, message_id, message))

    def wrap(self, type: str, payload: Any, id: MessageId | None = None) -> dict[str, Any]:
        """Put a payload into the envelope.

        Raises:
            TypeError: In the flat form, if the payload is no mapping.
        """
        if self.payload_field is not None:
            return self.wrap_answer(type, payload, id)
        if payload is not None and not isinstance(payload, Mapping):
            raise TypeError(
                f'the payload of {type!r} is the whole object here (payload_field=None): expected '
                f'a mapping, not {_json_kind(payload)}'
            )
        message = {**(payload or {}), self.type_field: type}
        if id is not None and self.id_field is not None:
            message[self.id_field] = id
        return message

    def wrap_answer(self, type: str, payload: Any, id: MessageId | None) -> dict[str, Any]:
        """Put what the library itself answers into the envelope: its payload has a field always."""
        payload_field = self.payload_field or 'payload'
        if id is None or self.id_field is None:
            return {self.type_field: type, payload_field: payload}
        return {self.type_field: type, self.id_field: id, payload_field: payload}


AnyEnvelope: TypeAlias = Envelope | MessageEnvelope

_new_tuple = tuple.__new__


def types_of_answers(envelope: AnyEnvelope) -> tuple[str, str]:
    """The types of a reply and of an error in an envelope."""
    if isinstance(envelope, Envelope):
        return envelope.reply_type, envelope.error_type
    return REPLY, ERROR


def wire_name(envelope: AnyEnvelope) -> str:
    """What other processes call an envelope.

    Equal ones are called alike; one of the app's own by its `wire_name`, or by its class.
    """
    if isinstance(envelope, Envelope):
        return repr(envelope)
    named = getattr(envelope, 'wire_name', None)
    return str(named or f'{type(envelope).__module__}.{type(envelope).__qualname__}')


def error_payload(error: falcon.HTTPError) -> dict[str, Any]:
    """What an error message carries: Falcon's own description of the error, and its status."""
    return {'status': error.status_code, **error.to_dict()}


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value != '' and _is_encodable(value)


def is_id(value: object) -> bool:
    """Whether a value can be the id of a message: text, or a whole number within ±(2⁵³-1)."""
    if isinstance(value, str):
        return value.isascii() or _is_encodable(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER
    return False


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate: what decodes JSON may let it through
        return False
    return True


def _json_kind(value: object) -> str:
    if value is None:
        return 'null'
    names = {str: 'text', bool: 'a boolean', int: 'a number', float: 'a number', list: 'an array'}
    return names.get(type(value), 'an object' if isinstance(value, dict) else 'something else')


DEFAULT_ENVELOPE: Final = Envelope()
"""What is spoken where nobody says anything."""
