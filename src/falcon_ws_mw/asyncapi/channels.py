"""The channels of an AsyncAPI document, with their operations and messages.

Operations are named from where the app stands: it *receives* what clients send.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
import re
from typing import Any

from falcon_ws_mw.asyncapi.facts import (
    description_of,
    limits_of,
    parameter_of,
    subprotocols_of,
)
from falcon_ws_mw.asyncapi.schemas import Names, PayloadSchemas, Used
from falcon_ws_mw.asyncapi.wire import (
    ANSWER_OF_CLIENT,
    ANSWER_TO_CLIENT,
    CLIENT_ERROR_PAYLOAD,
    ERROR_PAYLOAD,
    ERROR_TO_CLIENT,
    OWN_SCHEMAS,
    REQUEST_OF_CLIENT,
    REQUEST_OF_SERVER,
    Id,
    Wire,
)
from falcon_ws_mw.contract import ChannelContract, MessageContract
from falcon_ws_mw.payloads.base import Direction, PayloadType, Schema


class Parts:
    """The parts of a document that come from what routes promise.

    Args:
        contracts: The contracts, in the document's order.

    Attributes:
        channels: Name to Channel Object; the others alike.
        operations: Operation Objects.
        messages: Message Objects.
        correlation_ids: Correlation ID Objects.
        schemas: What payloads are.
    """

    def __init__(self, contracts: Sequence[ChannelContract]) -> None:
        received, sent = _payloads(contracts)
        self.schemas = PayloadSchemas(received, sent)
        self.channels: dict[str, Any] = {}
        self.operations: dict[str, Any] = {}
        self.messages: dict[str, Any] = {}
        self.correlation_ids: dict[str, Any] = {}
        self.message_names = Names()
        self.operation_names = Names()
        self._correlation_names = Names()
        self._names_of_locations: dict[str, str] = {}
        self._own_schemas: dict[str, Schema] = {}
        channel_names = Names()
        for contract in contracts:
            channel = _Channel(self, contract, channel_names.take(_channel_name(contract)))
            self.channels[channel.name] = channel.describe()

    def own_schema(self, name: str, schema: Schema) -> Schema:
        """A reference to a schema of the library's own."""
        if name not in self._own_schemas:
            self._own_schemas[name] = self.schemas.add(OWN_SCHEMAS + name, schema)
        return self._own_schemas[name]

    def correlation_id(self, pointer: str) -> dict[str, Any]:
        """A reference to what says where the id of a message stands."""
        location = f'$message.payload#{pointer}'
        name = self._names_of_locations.get(location)
        if name is None:
            name = self._correlation_names.take(pointer.removeprefix('/'))
            self._names_of_locations[location] = name
            self.correlation_ids[name] = {
                'description': 'A request and its answer have the same id.',
                'location': location,
            }
        return {'$ref': f'#/components/correlationIds/{name}'}


class _Channel:
    """One channel in the making.

    Args:
        parts: Where its messages and operations go.
        contract: What it promises.
        name: Its key.
    """

    def __init__(self, parts: Parts, contract: ChannelContract, name: str) -> None:
        self.name = name
        self._parts = parts
        self._contract = contract
        self._wire = Wire(next(iter(contract.envelopes.values())), parts.schemas.resolved)
        self._messages: dict[str, Any] = {}
        self._shared: dict[str, dict[str, Any]] = {}

    def describe(self) -> dict[str, Any]:
        """The Channel Object. Its messages and operations are added to the document."""
        contract, wire = self._contract, self._wire
        error = self._error()
        for message in contract.receives:
            self._receive(message, error)
        for message in contract.sends:
            self._send(message)
        self._operation('send', f'{self.name}.send.{wire.error_type}', error)
        subprotocols = subprotocols_of(contract)
        return without_empty(
            {
                'address': contract.address,
                'title': contract.resource.rpartition('.')[2],
                'summary': contract.summary,
                'description': description_of(contract),
                'messages': self._messages,
                'parameters': {
                    name: parameter_of(converter) for name, converter in contract.fields.items()
                },
                'bindings': {'ws': _binding(subprotocols)},
                'x-subprotocols': subprotocols,
                'x-limits': limits_of(contract),
            }
        )

    def _receive(self, message: MessageContract, error: dict[str, Any]) -> None:
        name = f'{self.name}.receive.{message.type}'
        asked = self._declared(name, message, 'in', REQUEST_OF_CLIENT)
        operation = self._operation('receive', name, asked, message.summary)
        if self._wire.has_requests:
            reply = self._reply(name, message)
            operation['reply'] = self._answers(reply, error)

    def _reply(self, name: str, message: MessageContract) -> dict[str, Any]:
        if not message.is_request and message.reply is None:
            return self._plain_reply()
        return self._add(
            f'{name}.reply',
            self._wire.reply_type,
            self._payload(message.reply, 'out'),
            ANSWER_TO_CLIENT,
            title=f'reply to {message.type}',
            summary=f'Answers a request `{message.type}`.',
        )

    def _send(self, message: MessageContract) -> None:
        wire = self._wire
        name = f'{self.name}.send.{message.type}'
        asks = REQUEST_OF_SERVER if message.is_request else None
        said = self._declared(name, message, 'out', asks)
        operation = self._operation('send', name, said, message.summary)
        if message.is_request and wire.has_requests:
            reply = self._add(
                f'{name}.reply',
                wire.reply_type,
                self._payload(message.reply, 'in'),
                ANSWER_OF_CLIENT,
                title=f'reply to {message.type}',
                summary=f'The answer of a client to `{message.type}`.',
            )
            operation['reply'] = self._answers(reply, self._client_error())

    # -- what the library itself says

    def _plain_reply(self) -> dict[str, Any]:
        return self._once(
            f'{self.name}.reply',
            self._wire.reply_type,
            {'description': 'Null, unless the handler has something to say.'},
            ANSWER_TO_CLIENT,
            title='reply',
            summary='The request has been handled.',
        )

    def _error(self) -> dict[str, Any]:
        return self._once(
            f'{self.name}.error',
            self._wire.error_type,
            self._parts.own_schema('Error', ERROR_PAYLOAD),
            ERROR_TO_CLIENT,
            title='error',
            summary='A message could not be read, was refused, or its handling failed.',
        )

    def _client_error(self) -> dict[str, Any]:
        return self._once(
            f'{self.name}.client-error',
            self._wire.error_type,
            self._parts.own_schema('ClientError', CLIENT_ERROR_PAYLOAD),
            ANSWER_OF_CLIENT,
            title='error of a client',
            summary='A client cannot answer a request.',
        )

    def _once(
        self, name: str, type: str, payload: Schema, id: Id, *, title: str, summary: str
    ) -> dict[str, Any]:
        """An answer that several operations refer to."""
        if name not in self._shared:
            self._shared[name] = self._add(name, type, payload, id, title=title, summary=summary)
        return self._shared[name]

    # -- parts

    def _payload(self, payload: PayloadType | None, direction: Direction) -> Schema | None:
        return None if payload is None else self._parts.schemas.of(payload, direction)

    def _declared(
        self, name: str, message: MessageContract, direction: Direction, id: Id | None
    ) -> dict[str, Any]:
        """Add a message that the app has declared."""
        payload = self._payload(message.payload, direction)
        described = self._wire.message(
            message.type,
            payload,
            payload_required=self._is_payload_required(message.payload, payload, direction),
            id=id,
        )
        texts = {'summary': message.summary, 'description': message.description}
        return self._add_message(name, message.type, described, id, title=message.type, **texts)

    def _is_payload_required(
        self, payload: PayloadType | None, schema: Schema | None, direction: Direction
    ) -> bool:
        if payload is None or schema is None or payload.admits_null:
            return False
        # What a client leaves out is converted from `{}`.
        if direction == 'in' and payload.is_mapping:
            return not self._parts.schemas.admits_empty_object(schema)
        return True

    def _add(
        self, name: str, type: str, payload: Schema | None, id: Id, *, title: str, summary: str
    ) -> dict[str, Any]:
        """Add an answer, of the server or of a client."""
        described = self._wire.message(type, payload, payload_required=True, id=id, is_answer=True)
        return self._add_message(name, type, described, id, title=title, summary=summary)

    def _add_message(
        self,
        name: str,
        type: str,
        payload: Schema,
        id: Id | None,
        *,
        title: str,
        summary: str,
        description: str = '',
    ) -> dict[str, Any]:
        """Add a Message Object to the document and to the channel.

        Returns:
            A reference to it within the channel.
        """
        wire, document = self._wire, self._parts
        key = document.message_names.take(name)
        pointer = None if id is None else wire.id_pointer
        document.messages[key] = {
            **without_empty(
                {
                    'name': type,
                    'title': title,
                    'summary': summary,
                    'description': '\n\n'.join(filter(None, (description, wire.note))),
                    'contentType': wire.content_type,
                    'correlationId': pointer and document.correlation_id(pointer),
                }
            ),
            'payload': payload,
        }
        self._messages[key] = {'$ref': f'#/components/messages/{key}'}
        return {'$ref': f'#/channels/{self.name}/messages/{key}'}

    def _operation(
        self, action: str, name: str, message: dict[str, Any], summary: str = ''
    ) -> dict[str, Any]:
        document = self._parts
        operation = {
            'action': action,
            'channel': {'$ref': f'#/channels/{self.name}'},
            **without_empty({'summary': summary}),
            'messages': [message],
        }
        document.operations[document.operation_names.take(name)] = operation
        return operation

    def _answers(self, *messages: dict[str, Any]) -> dict[str, Any]:
        return {'channel': {'$ref': f'#/channels/{self.name}'}, 'messages': [*messages]}


def _payloads(contracts: Iterable[ChannelContract]) -> tuple[list[Used], list[Used]]:
    """What clients send, and what they are sent: answers go the other way."""
    received: list[Used] = []
    sent: list[Used] = []
    for contract in contracts:
        for message in contract.receives:
            received += _used(contract, 'the payload of', message, message.payload)
            sent += _used(contract, 'the reply to', message, message.reply)
        for message in contract.sends:
            sent += _used(contract, 'the payload of', message, message.payload)
            received += _used(contract, 'the reply to', message, message.reply)
    return received, sent


def _used(
    contract: ChannelContract, what: str, message: MessageContract, payload: PayloadType | None
) -> Iterator[Used]:
    if payload is not None:
        yield Used(f'{contract.resource}: {what} {message.type!r}', payload)


def _channel_name(contract: ChannelContract) -> str:
    parts = [contract.resource.rpartition('.')[2]]
    parts += [part for part in re.sub('[{}]', '', contract.address).split('/') if part]
    return '.'.join(parts)


def _binding(subprotocols: Sequence[str]) -> dict[str, Any]:
    binding: dict[str, Any] = {'method': 'GET', 'bindingVersion': '0.1.0'}
    if subprotocols:
        offered = {
            'type': 'string',
            'description': 'The subprotocols that the client offers, with commas between them '
            '(RFC 6455 §4.1). The server takes the one among them that it prefers.',
            'examples': [*dict.fromkeys([*subprotocols, ', '.join(subprotocols)])],
        }
        binding['headers'] = {
            'type': 'object',
            'properties': {'Sec-WebSocket-Protocol': offered},
        }
    return binding


def without_empty(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an object that have something in them."""
    return {name: value for name, value in fields.items() if value not in (None, '', [], {})}
