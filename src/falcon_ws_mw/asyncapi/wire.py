"""Whole messages as they stand on the wire: the schema of an envelope around that of a payload."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from falcon_ws_mw.asyncapi.schemas import to_asyncapi
from falcon_ws_mw.envelope import MAX_SAFE_INTEGER, AnyEnvelope, Envelope, types_of_answers
from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.payloads.base import Schema

_CLIENTS_ID: Final[Schema] = {
    'type': ['string', 'integer'],
    'minimum': -MAX_SAFE_INTEGER,
    'maximum': MAX_SAFE_INTEGER,
    'examples': [1],
}
_SERVERS_ID: Final[Schema] = {'type': 'string', 'examples': ['r1']}


HasId: TypeAlias = Literal['never', 'maybe', 'always']
"""Whether a message has an id, as the app's own envelopes are told."""


class Id(NamedTuple):
    """The id of a message.

    Attributes:
        schema: What it is.
        is_required: Whether the message always has one.
    """

    schema: Schema
    is_required: bool


REQUEST_OF_CLIENT: Final = Id(
    {
        **_CLIENTS_ID,
        'description': 'Makes it a request, which is answered by one reply or error with this id.',
    },
    is_required=False,
)
ANSWER_TO_CLIENT: Final = Id(
    {**_CLIENTS_ID, 'description': 'The id of the request.'}, is_required=True
)
ERROR_TO_CLIENT: Final = Id(
    {
        **_CLIENTS_ID,
        'description': 'The id of the message that it is about; absent if that had none.',
    },
    is_required=False,
)
REQUEST_OF_SERVER: Final = Id(
    {**_SERVERS_ID, 'description': 'To be repeated in the reply or the error.'}, is_required=True
)
ANSWER_OF_CLIENT: Final = Id(
    {**_SERVERS_ID, 'description': 'The id of the request.'}, is_required=True
)

OWN_SCHEMAS: Final = 'falcon_ws_mw.'
"""What the names of the library's own schemas begin with."""

ERROR_PAYLOAD: Final[Schema] = {
    'title': 'Error',
    'description': 'What is wrong with a message.',
    'type': 'object',
    'properties': {
        'status': {
            'type': 'integer',
            'minimum': 100,
            'maximum': 999,
            'description': 'An HTTP status: 400 malformed message, 404 unknown type, 422 payload '
            'that does not fit, 500 a bug of the server, 502 and 504 an error or no answer of the '
            'client to what the server has asked; others as the message says.',
            'examples': [422],
        },
        'title': {
            'type': 'string',
            'description': 'What kind of error it is.',
            'examples': ['Invalid payload'],
        },
        'description': {
            'type': 'string',
            'description': 'What is wrong with this message, to be read by people.',
            'examples': ['the payload does not fit: /text: expected text'],
        },
        'code': {'type': 'integer', 'description': "The app's own code for the error."},
        'link': {
            'type': 'object',
            'description': 'Where to read more.',
            'properties': {
                'text': {'type': 'string'},
                'href': {'type': 'string', 'format': 'uri-reference'},
                'rel': {'type': 'string'},
            },
            'required': ['href'],
        },
        'errors': {
            'type': 'array',
            'description': 'What is wrong with the payload, place by place.',
            'items': {
                'type': 'object',
                'properties': {
                    'path': {
                        'type': 'string',
                        'format': 'json-pointer',
                        'description': 'Where in the payload, as a JSON Pointer (RFC 6901).',
                        'examples': ['/text'],
                    },
                    'message': {'type': 'string', 'examples': ['expected text']},
                },
                'required': ['path', 'message'],
            },
        },
    },
    'required': ['status', 'title'],
    'examples': [
        {
            'status': 422,
            'title': 'Invalid payload',
            'description': 'the payload does not fit: /text: expected text',
            'errors': [{'path': '/text', 'message': 'expected text'}],
        }
    ],
}

CLIENT_ERROR_PAYLOAD: Final[Schema] = {
    'title': 'ClientError',
    'description': 'Why a client cannot answer. It may be anything; these are understood.',
    'properties': {
        'status': {'type': 'integer', 'examples': [409]},
        'title': {'type': 'string', 'examples': ['Busy']},
        'description': {'type': 'string'},
    },
}


class Wire:
    """How an envelope carries messages.

    Args:
        envelope: The envelope.
        resolve: What follows the references of a schema.

    Attributes:
        content_type: The media type of its messages, if the app's own envelope names one.
        note: What has to be said about messages whose envelope cannot be described, or `''`.
        has_requests: Whether messages may have an id, and be answered.
        reply_type: The type of replies.
        error_type: The type of errors.
    """

    def __init__(self, envelope: AnyEnvelope, resolve: Callable[[Schema], Schema]) -> None:
        self._envelope = envelope
        self._resolve = resolve
        describe = getattr(envelope, 'describe', None)
        self._describe = describe if callable(describe) else None
        is_ours = isinstance(envelope, Envelope)
        self.content_type: str | None = getattr(envelope, 'content_type', None)
        self.note = ''
        if not is_ours and self._describe is None:
            name = type(envelope).__name__
            self.note = f"The app's own envelope `{name}` carries this; here is the payload alone."
        self.has_requests = not isinstance(envelope, Envelope) or envelope.id_field is not None
        self.reply_type, self.error_type = types_of_answers(envelope)

    @property
    def id_pointer(self) -> str | None:
        """Where the id stands in a message, as a JSON Pointer; `None` if that is not known."""
        if not isinstance(self._envelope, Envelope) or self._envelope.id_field is None:
            return None
        return '/' + self._envelope.id_field.replace('~', '~0').replace('/', '~1')

    def message(
        self,
        type: str,
        payload: Schema | None,
        *,
        payload_required: bool,
        id: Id | None,
        is_answer: bool = False,
    ) -> Schema:
        """The schema of a whole message.

        Args:
            type: Its type.
            payload: What it carries; `None` for anything.
            payload_required: Whether the payload always stands in it.
            id: What its id is; `None` if it has none.
            is_answer: Whether it is a reply or an error, whose payload has a field always.

        Raises:
            ConfigurationError: If the app's own envelope does not describe it by a dict.
        """
        envelope = self._envelope
        if not isinstance(envelope, Envelope):
            if self._describe is None:
                return {'description': 'Anything.'} if payload is None else payload
            if payload is not None and not payload_required:
                payload = _or_null(payload)
            return self._by_the_app(self._describe, type, payload, _has_id(id))
        properties: dict[str, Any] = {envelope.type_field: {'const': type}}
        required = [envelope.type_field]
        if id is not None and envelope.id_field is not None:
            properties[envelope.id_field] = id.schema
            required += [envelope.id_field] * id.is_required
        if envelope.payload_field is None and not is_answer:
            return self._flat(payload, properties, required)
        field = envelope.payload_field or 'payload'
        properties[field] = {'description': 'Anything.'} if payload is None else payload
        required += [field] * payload_required
        return {'type': 'object', 'properties': properties, 'required': required}

    def _by_the_app(
        self, describe: Callable[..., Any], type: str, payload: Schema | None, has_id: HasId
    ) -> Schema:
        call = f'{self._envelope.__class__.__qualname__}.describe({type!r}, …, id={has_id!r})'
        expected = 'expected a dict, the JSON Schema of the whole message'
        try:
            described = describe(type, payload, id=has_id)
        except Exception as error:  # it is the app's code
            raise ConfigurationError(f'{call} raised {error!r}: {expected}') from error
        if not isinstance(described, dict):
            raise ConfigurationError(f'{call} returned {described!r:.100}: {expected}')
        made: Schema = to_asyncapi(described)
        return made

    def _flat(
        self, payload: Schema | None, properties: dict[str, Any], required: list[str]
    ) -> Schema:
        """One object and not `allOf` of two, since each may be closed to what the other says."""
        described: Schema = {'type': 'object'} if payload is None else self._resolve(payload)
        for key in ('anyOf', 'oneOf'):
            if key in described:
                among = [each for each in described[key] if each.get('type') != 'null']
                return {
                    **described,
                    key: [self._flat(each, properties, required) for each in among],
                }
        if described.get('type') != 'object':
            envelope = self._flat(None, properties, required)
            return {'allOf': [envelope, described]} if described else envelope
        return {
            **described,
            'properties': {**properties, **described.get('properties', {}), **properties},
            'required': [*dict.fromkeys([*required, *described.get('required', ())])],
        }


def _has_id(id: Id | None) -> HasId:
    if id is None:
        return 'never'
    return 'always' if id.is_required else 'maybe'


def _or_null(schema: Schema) -> Schema:
    """A schema that says of itself that null fits it too."""
    alternatives = schema.get('anyOf', [schema])
    if any('null' in _types_of(each) for each in alternatives):
        return schema
    return {'anyOf': [schema, {'type': 'null'}]}


def _types_of(schema: Schema) -> list[str]:
    types = schema.get('type', [])
    return [types] if isinstance(types, str) else types
