"""The AsyncAPI document: what stands in it, and that others can read it."""

from __future__ import annotations

from dataclasses import replace
import json
import re
from typing import Any

import falcon.asgi
import jsonschema
import msgspec
import pydantic
import pytest

from falcon_ws_mw import CLOSE_CODES, ConfigurationError, WebSocket, install
from falcon_ws_mw.asyncapi.document import asyncapi_document
from falcon_ws_mw.asyncapi.examples import example_of
from falcon_ws_mw.asyncapi.schemas import Names, portable_pattern, to_asyncapi
from falcon_ws_mw.contract import ChannelContract, MessageContract
from falcon_ws_mw.envelope import Envelope
from falcon_ws_mw.options import Limits, RouteSettings
from falcon_ws_mw.payloads.base import Direction, Schemas
from falcon_ws_mw.payloads.plain_types import PlainTypes

from . import asyncapi_samples as samples
from .asyncapi_samples import ABOUT, RICH, channel, message
from .asyncapi_tools import HERE, OFFICIAL_SCHEMA, OfficialParser, install_parser

CHAT = 'ChatRoom.ws.chat.room_name'


def document_of(*channels: ChannelContract, **about: Any) -> dict[str, Any]:
    return asyncapi_document(channels, **{'title': 'App', 'version': '1', **about})


def look_up(document: dict[str, Any], reference: str) -> Any:
    found: Any = document
    for step in reference.removeprefix('#/').split('/'):
        found = found[step.replace('~1', '/').replace('~0', '~')]
    return found


def payload_of(document: dict[str, Any], key: str) -> dict[str, Any]:
    payload: dict[str, Any] = document['components']['messages'][key]['payload']
    return payload


def only_message(document: dict[str, Any], key: str) -> dict[str, Any]:
    """The schema of the message of an operation."""
    operation = document['operations'][key]
    (reference,) = operation['messages']
    in_channel = look_up(document, reference['$ref'])
    found: dict[str, Any] = look_up(document, in_channel['$ref'])['payload']
    return found


def validator(document: dict[str, Any], schema: Any) -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator({**schema, 'components': document['components']})


@pytest.fixture(scope='module')
def rich() -> dict[str, Any]:
    return asyncapi_document(RICH, **ABOUT)


@pytest.fixture(scope='session')
def parser() -> OfficialParser:
    return install_parser()


# -- others can read it


@pytest.mark.parametrize(
    'channels', [(), *((each,) for each in RICH), RICH], ids=lambda channels: str(len(channels))
)
def test_it_is_valid_by_the_official_schema(channels: tuple[ChannelContract, ...]) -> None:
    made = document_of(*channels)

    errors = jsonschema.Draft7Validator(OFFICIAL_SCHEMA).iter_errors(made)

    assert [(list(error.path), error.message) for error in errors] == []


@pytest.mark.timeout(300)
def test_the_official_parser_has_nothing_to_say(
    parser: OfficialParser, rich: dict[str, Any]
) -> None:
    """But that there is a later version of the specification."""
    for found in parser.diagnostics(document_of(), rich):
        assert {each['code'] for each in found} <= {'asyncapi-latest-version'}, found


@pytest.mark.timeout(300)
def test_the_official_parser_would_say_so(parser: OfficialParser, rich: dict[str, Any]) -> None:
    broken = json.loads(json.dumps(rich))
    broken['components']['schemas']['Text']['properties']['text']['minLength'] = 'long'

    (found,) = parser.diagnostics(broken)

    assert 'error' in {each['severity'] for each in found}


@pytest.mark.timeout(300)
def test_the_official_schema_is_the_one_of_its_package(parser: OfficialParser) -> None:
    name = '3.0.0-without-$id.json'
    packaged = HERE / 'node_modules' / '@asyncapi' / 'specs' / 'schemas' / name

    assert json.loads(packaged.read_text()) == OFFICIAL_SCHEMA


def test_the_lockfile_names_no_registry_but_the_public_one() -> None:
    packages = json.loads((HERE / 'package-lock.json').read_text())['packages']
    hosts = [each.get('resolved', 'https://registry.npmjs.org/') for each in packages.values()]

    assert all(each.startswith('https://registry.npmjs.org/') for each in hosts)
    assert all('integrity' in each for name, each in packages.items() if name)


def test_every_reference_leads_somewhere(rich: dict[str, Any]) -> None:
    references = set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(rich)))

    assert references
    for reference in references:
        assert look_up(rich, reference) is not None


def test_every_key_of_a_component_is_valid(rich: dict[str, Any]) -> None:
    keys = [key for group in rich['components'].values() for key in group]
    keys += [*rich['channels'], *rich['operations']]

    assert [key for key in keys if not re.fullmatch(r'[A-Za-z0-9._-]+', key)] == []


# -- determinism


def test_equal_contracts_give_equal_text(rich: dict[str, Any]) -> None:
    assert json.dumps(asyncapi_document(RICH, **ABOUT)) == json.dumps(rich)


def test_the_order_of_channels_does_not_matter(rich: dict[str, Any]) -> None:
    assert json.dumps(asyncapi_document(RICH[::-1], **ABOUT)) == json.dumps(rich)


def test_nothing_is_shared_with_the_arguments() -> None:
    contact = {'name': 'Ada'}
    made = document_of(info={'contact': contact})

    made['info']['contact']['name'] = 'Bob'

    assert contact == {'name': 'Ada'}


def test_a_document_does_not_change_the_next_one() -> None:
    first = document_of(samples.CHAT)
    first['components']['schemas']['falcon_ws_mw.Error']['properties'].clear()

    assert document_of(samples.CHAT)['components']['schemas']['falcon_ws_mw.Error']['properties']


# -- names


def test_every_message_of_every_channel_has_an_operation(rich: dict[str, Any]) -> None:
    for contract in RICH:
        key = next(
            key for key, each in rich['channels'].items() if each['address'] == contract.address
        )
        said = [
            (operation['action'], look_up(rich, operation['messages'][0]['$ref'])['$ref'])
            for operation in rich['operations'].values()
            if operation['channel']['$ref'] == f'#/channels/{key}'
        ]
        types = [(action, look_up(rich, reference)['name']) for action, reference in said]
        expected = [('receive', each.type) for each in contract.receives]
        expected += [('send', each.type) for each in contract.sends]

        assert types == [*expected, ('send', 'error')]


def test_one_type_on_several_channels_and_in_both_directions_is_several_messages(
    rich: dict[str, Any],
) -> None:
    messages = rich['components']['messages']

    assert len([key for key in messages if messages[key]['name'] == 'chat.message']) == 3


def test_types_that_look_alike_in_a_key_are_kept_apart(rich: dict[str, Any]) -> None:
    names = [each['name'] for each in rich['components']['messages'].values()]

    assert names.count('聊天') == names.count('信息') == 1


def test_routes_whose_keys_would_be_the_same_are_kept_apart() -> None:
    made = document_of(channel('/a/{b}', fields={'b': None}), channel('/a/b'))

    assert sorted(each['address'] for each in made['channels'].values()) == ['/a/b', '/a/{b}']


def test_a_name_is_given_once() -> None:
    names = Names()

    taken = [names.take(wanted) for wanted in ('a b', 'a_b', 'a/b', 'ä', 'a', 'a b')]

    assert taken[:2] == ['a_b', 'a_b-' + taken[1][4:]]
    assert len({*taken}) == 6


def test_a_key_does_not_depend_on_what_else_there_is() -> None:
    alone = document_of(samples.CHAT)

    assert set(alone['components']['messages']) <= set(document_of(*RICH)['components']['messages'])


# -- what is said about messages


def test_a_message_is_described_as_it_stands_on_the_wire() -> None:
    made = document_of(channel('/x', receives=(message('add', payload=list[int]),)))

    schema = only_message(made, 'Room.x.receive.add')

    assert schema['properties']['type'] == {'const': 'add'}
    assert schema['properties']['payload'] == {'type': 'array', 'items': {'type': 'integer'}}
    assert schema['required'] == ['type', 'payload']
    validator(made, schema).validate({'type': 'add', 'payload': [1], 'id': 7})
    assert not validator(made, schema).is_valid({'type': 'add', 'payload': ['one']})


@pytest.mark.parametrize(
    ('annotation', 'is_required'),
    [
        (samples.Text, True),
        (samples.Text | None, False),
        (samples.Asked, True),
        (samples.Settings, False),
        (dict[str, Any], False),
        (str | None, False),
        (int, True),
    ],
    ids=str,
)
def test_a_payload_is_required_unless_nothing_can_stand_for_it(
    annotation: Any, is_required: bool
) -> None:
    made = document_of(channel('/x', receives=(message('x', payload=annotation),)))

    assert ('payload' in only_message(made, 'Room.x.receive.x')['required']) is is_required


def test_a_message_that_nothing_is_said_about_may_carry_anything() -> None:
    made = document_of(channel('/x', receives=(message('x'),)))
    schema = only_message(made, 'Room.x.receive.x')

    for payload in (None, 1, {'a': 1}):
        validator(made, schema).validate({'type': 'x', 'payload': payload})
    validator(made, schema).validate({'type': 'x'})


def test_a_request_is_answered_by_its_reply_or_an_error(rich: dict[str, Any]) -> None:
    operation = rich['operations'][f'{CHAT}.receive.clientSendMessage']

    keys = [each['$ref'].rpartition('/')[2] for each in operation['reply']['messages']]

    assert keys == [f'{CHAT}.receive.clientSendMessage.reply', f'{CHAT}.error']
    assert operation['reply']['channel'] == {'$ref': f'#/channels/{CHAT}'}
    schema = payload_of(rich, keys[0])
    assert schema['properties']['payload'] == {'$ref': '#/components/schemas/Line'}
    assert schema['required'] == ['type', 'id', 'payload']


def test_messages_whose_handlers_say_nothing_share_one_reply(rich: dict[str, Any]) -> None:
    replies = {
        rich['operations'][f'{CHAT}.receive.{each}']['reply']['messages'][0]['$ref']
        for each in ('clientTyping', 'chat.message')
    }

    assert replies == {f'#/channels/{CHAT}/messages/{CHAT}.reply'}


def test_an_error_fits_what_the_library_sends(rich: dict[str, Any]) -> None:
    schema = payload_of(rich, f'{CHAT}.error')
    payload = {
        'status': 422,
        'title': 'Invalid payload',
        'description': 'it does not fit',
        'errors': [{'path': '/a', 'message': 'expected int'}],
        'code': 7,
        'link': {'text': 'Documentation', 'href': 'https://example.com/', 'rel': 'help'},
    }

    validator(rich, schema).validate({'type': 'error', 'id': 1, 'payload': payload})
    validator(rich, schema).validate({'type': 'error', 'payload': payload})
    assert not validator(rich, schema).is_valid({'type': 'error', 'payload': {'status': 422}})


def test_a_request_of_the_server_is_answered_by_the_client(rich: dict[str, Any]) -> None:
    operation = rich['operations'][f'{CHAT}.send.serverAsk']

    keys = [each['$ref'].rpartition('/')[2] for each in operation['reply']['messages']]

    assert operation['action'] == 'send'
    assert keys == [f'{CHAT}.send.serverAsk.reply', f'{CHAT}.client-error']
    asked = only_message(rich, f'{CHAT}.send.serverAsk')
    assert asked['properties']['id']['type'] == 'string'
    assert 'id' in asked['required']
    assert sorted(payload_of(rich, keys[0])['properties']['payload']['enum']) == ['no', 'yes']


def test_a_message_that_is_no_request_of_the_server_has_no_reply(rich: dict[str, Any]) -> None:
    assert 'reply' not in rich['operations'][f'{CHAT}.send.serverBye']


def test_summaries_and_descriptions_are_those_of_the_contract(rich: dict[str, Any]) -> None:
    described = rich['components']['messages'][f'{CHAT}.receive.clientSendMessage']

    assert described['summary'] == 'Say something to the room.'
    assert described['description'].startswith('Answered with the line')
    operation = rich['operations'][f'{CHAT}.receive.clientSendMessage']
    assert operation['summary'] == described['summary']


@pytest.mark.parametrize('key', document_of(*RICH)['components']['messages'])
def test_every_message_has_an_example_that_is_valid(key: str, rich: dict[str, Any]) -> None:
    schema = payload_of(rich, key)

    example = example_of(schema, lambda reference: look_up(rich, reference))

    validator(rich, schema).validate(example)


# -- envelopes


def test_the_fields_of_an_envelope_are_where_it_says(rich: dict[str, Any]) -> None:
    schema = only_message(rich, 'BookingDesk.ws.booking.show_id.receive.pay')

    assert list(schema['properties']) == ['event', 're/q~', 'payload']


def test_the_correlation_id_is_where_the_id_stands(rich: dict[str, Any]) -> None:
    def location(key: str) -> str:
        reference = rich['components']['messages'][key]['correlationId']['$ref']
        found: str = look_up(rich, reference)['location']
        return found

    assert location(f'{CHAT}.receive.clientTyping') == '$message.payload#/id'
    pay = 'BookingDesk.ws.booking.show_id.receive.pay'
    assert location(pay) == '$message.payload#/re~1q~0'
    assert 'correlationId' not in rich['components']['messages'][f'{CHAT}.send.serverBye']


def test_the_types_of_answers_are_those_of_the_envelope() -> None:
    settings = RouteSettings(envelope=Envelope(reply_type='ack', error_type='nack'))
    made = document_of(channel('/x', receives=(message('x'),), settings=settings))

    assert payload_of(made, 'Room.x.reply')['properties']['type'] == {'const': 'ack'}
    assert only_message(made, 'Room.x.send.nack')['properties']['type'] == {'const': 'nack'}


def test_in_the_flat_form_the_payload_is_the_message(rich: dict[str, Any]) -> None:
    """Even where the payload's class forbids other fields."""
    said = {'kind': 'say', 'id': 1, 'type': 'text', 'text': 'hello'}
    for name in ('say', 'either'):
        schema = only_message(rich, f'Flat.ws.flat.x-y.rest.receive.{name}')
        validator(rich, schema).validate({**said, 'kind': name})
        assert not validator(rich, schema).is_valid({'kind': name, 'type': 'text'})
        assert not validator(rich, schema).is_valid(said | {'kind': 'other'})


def test_in_the_flat_form_answers_keep_a_payload(rich: dict[str, Any]) -> None:
    schema = payload_of(rich, 'Flat.ws.flat.x-y.rest.receive.either.reply')

    assert list(schema['properties']) == ['kind', 'id', 'payload']


def test_what_clients_subscribe_by_is_described() -> None:
    class Ticker:
        ws_client_topics = True

        async def ws_authorize(self, ws: WebSocket, action: str, name: str) -> bool:
            return True

    app = install(falcon.asgi.App())
    app.add_route('/ws', Ticker())
    made = app.asyncapi_document()

    for name in ('subscribe', 'unsubscribe'):
        (operation,) = [each for each in made['operations'] if each.endswith(f'receive.{name}')]
        schema = only_message(made, operation)
        validator(made, schema).validate({'type': name, 'payload': {'topic_filter': 'a/+'}})
        for payload in ({}, {'topic_filter': 5}, None, 'a/+'):
            assert not validator(made, schema).is_valid({'type': name, 'payload': payload})
        assert not validator(made, schema).is_valid({'type': name})
        reply = payload_of(made, f'{operation}.reply')
        assert reply['properties']['payload'] == schema['properties']['payload']


def test_without_an_id_there_are_no_requests(rich: dict[str, Any]) -> None:
    assert 'reply' not in rich['operations']['Plain.ws.plain.receive.say']
    assert 'reply' not in rich['operations']['Plain.ws.plain.send.ask']
    assert list(only_message(rich, 'Plain.ws.plain.receive.say')['properties']) == [
        'type',
        'payload',
    ]


def test_an_envelope_of_the_app_may_describe_itself(rich: dict[str, Any]) -> None:
    described = rich['components']['messages']['Calculator.rpc.receive.add']

    assert list(described['payload']['properties']) == ['jsonrpc', 'method', 'params', 'id']
    assert described['contentType'] == 'application/json'
    assert 'result' in payload_of(rich, 'Calculator.rpc.receive.add.reply')['properties']


@pytest.mark.parametrize(
    ('key', 'has_id'),
    [
        ('receive.add', 'maybe'),
        ('receive.add.reply', 'always'),
        ('receive.forget', 'maybe'),
        ('reply', 'always'),
        ('error', 'maybe'),
        ('send.overflow', 'never'),
        ('send.sure_', 'always'),
        ('send.sure_.reply', 'always'),
        ('client-error', 'always'),
    ],
)
def test_an_envelope_of_the_app_is_told_whether_a_message_has_an_id(
    rich: dict[str, Any], key: str, has_id: str
) -> None:
    schema = payload_of(rich, f'Calculator.rpc.{key}')

    assert ('id' in schema['properties']) is (has_id != 'never')
    assert ('id' in schema['required']) is (has_id == 'always')


@pytest.mark.parametrize(
    ('annotation', 'given'),
    [
        (samples.Text, {'$ref': '#/components/schemas/Text'}),
        (int, {'type': 'integer'}),
        (
            samples.Settings,
            {'anyOf': [{'$ref': '#/components/schemas/Settings'}, {'type': 'null'}]},
        ),
        (int | None, {'type': ['integer', 'null']}),
        (
            samples.Text | None,
            {'anyOf': [{'$ref': '#/components/schemas/Text'}, {'type': 'null'}]},
        ),
    ],
    ids=str,
)
def test_it_is_given_a_schema_that_null_fits_where_the_payload_may_be_missing(
    annotation: Any, given: dict[str, Any]
) -> None:
    contract = channel(
        '/x', receives=(message('x', payload=annotation),), envelopes={None: samples.JSONRPC()}
    )

    assert only_message(document_of(contract), 'Room.x.receive.x')['properties']['params'] == given


def test_of_an_envelope_that_does_not_the_payload_is_described(rich: dict[str, Any]) -> None:
    described = rich['components']['messages']['Packed.packed.receive.add']

    assert described['payload'] == {'type': 'array', 'items': {'type': 'integer'}}
    assert described['contentType'] == 'application/msgpack'
    assert "The app's own envelope `MessagePack` carries this" in described['description']


def test_an_envelope_that_describes_a_message_by_no_dict_is_an_error() -> None:
    class Odd(samples.JSONRPC):
        def describe(self, type: str, payload: Any, *, id: str) -> Any:
            return 'nonsense'

    said = r"Odd\.describe\('error', …, id='maybe'\) returned 'nonsense': expected a dict"
    with pytest.raises(ConfigurationError, match=said):
        document_of(channel('/x', envelopes={None: Odd()}))


def test_an_envelope_that_fails_to_describe_a_message_is_an_error_that_names_both() -> None:
    class Odd(samples.JSONRPC):
        def describe(self, type: str, payload: Any, *, id: str) -> Any:
            if type == 'move':
                raise KeyError('left')
            return {}

    contract = channel('/x', receives=(message('move'),), envelopes={None: Odd()})
    with pytest.raises(ConfigurationError, match=r"Odd\.describe\('move', .*KeyError\('left'\)"):
        document_of(contract)


# -- channels


def test_subprotocols_stand_in_the_binding_and_in_the_description(rich: dict[str, Any]) -> None:
    rpc, chat = rich['channels']['Calculator.rpc'], rich['channels'][CHAT]
    header = 'Sec-WebSocket-Protocol'

    headers = rpc['bindings']['ws']['headers']
    assert headers['properties'][header]['examples'] == ['jsonrpc', 'msgpack', 'jsonrpc, msgpack']
    assert 'required' not in headers
    for offered in ('jsonrpc', 'msgpack, jsonrpc', 'other, jsonrpc'):
        validator(rich, headers).validate({header: offered})
    assert 'first: `jsonrpc`, `msgpack`.' in rpc['description']
    assert 'Messages are described as they are under `jsonrpc`' in rpc['description']
    assert 'Messages are described' not in chat['description']


def test_fields_of_the_address_are_parameters_with_their_converters(rich: dict[str, Any]) -> None:
    flat = rich['channels']['Flat.ws.flat.x-y.rest']

    assert flat['address'] == '/ws/flat/{x}-{y}/{rest}'
    assert {name: each['description'] for name, each in flat['parameters'].items()} == {
        'x': 'A part of the path.',
        'y': 'A whole number (Falcon converter `int`).',
        'rest': 'The rest of the path, slashes included (Falcon converter `path`).',
    }


@pytest.mark.parametrize(('contract', 'said'), [('CHAT', True), ('BOOKING', True), ('RPC', False)])
def test_that_other_messages_are_possible_is_said(contract: str, said: bool) -> None:
    made = document_of(getattr(samples, contract))
    (described,) = made['channels'].values()

    assert ('Other messages than these are possible' in described['description']) is said


def test_limits_that_concern_a_client_are_told() -> None:
    contract = replace(
        samples.EMPTY,
        settings=RouteSettings(limits=Limits(max_outbox_bytes=2_000_000, send_timeout_seconds=2.5)),
    )
    (described,) = document_of(contract)['channels'].values()

    assert described['x-limits']['max_outbox_bytes'] == 2_000_000
    assert 'takes nothing for 2.5 s' in described['description']
    assert 'max_inbox_bytes' not in described['x-limits']
    assert 'max_topic_filters' not in described['x-limits']


def test_a_route_that_wants_to_know_first_says_so() -> None:
    settings = RouteSettings(authenticate_by='log in', limits=Limits(auth_timeout_seconds=7))
    asks = document_of(channel('/x', settings=settings))['channels']
    asks_nobody = document_of(channel('/x'))['channels']
    (described,), (other,) = asks.values(), asks_nobody.values()

    assert described['x-limits']['auth_timeout_seconds'] == 7
    assert described['x-limits']['max_auth_attempts'] == 3
    assert 'first who it is, by `log in`' in described['description']
    assert 'after 7 s is disconnected (3408)' in described['description']
    assert {'auth_timeout_seconds', 'max_auth_attempts'}.isdisjoint(other['x-limits'])


def test_limits_that_are_off_are_not() -> None:
    limits = Limits(max_outbox_bytes=None, send_timeout_seconds=None, connect_timeout_seconds=None)
    contract = replace(samples.EMPTY, settings=RouteSettings(limits=limits))
    (described,) = document_of(contract)['channels'].values()

    assert {'max_outbox_bytes', 'send_timeout_seconds'}.isdisjoint(described.get('x-limits', {}))
    assert 'None' not in described['description']


def test_close_codes_are_told_once(rich: dict[str, Any]) -> None:
    assert [row['code'] for row in rich['x-close-codes']] == [*CLOSE_CODES]


# -- servers and security


def test_a_security_scheme_holds_where_a_server_says_nothing(rich: dict[str, Any]) -> None:
    assert rich['servers']['production']['security'] == [
        {'$ref': '#/components/securitySchemes/session'},
        {'$ref': '#/components/securitySchemes/token'},
    ]
    assert rich['servers']['local']['security'] == []


@pytest.mark.parametrize(
    ('about', 'said'),
    [
        ({'servers': {'a b': {'host': 'x', 'protocol': 'ws'}}}, "servers: 'a b' cannot be a name"),
        ({'servers': {'a': {'host': 'x'}}}, r"servers\['a'\] has no protocol"),
        ({'security_schemes': {'a': {}}}, r"security_schemes\['a'\] has no type"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_cannot_stand_in_a_document_is_an_error(about: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        document_of(**about)


# -- schemas


class Undescribed(PlainTypes):
    """A library that has no schema for what it converts."""

    def schemas(self, annotations: Any, ref_template: str, direction: Direction) -> Schemas:
        raise LookupError('no schema')


UNDESCRIBED = replace(samples.type_of(int), library=Undescribed())


@pytest.mark.parametrize(
    ('facts', 'said'),
    [
        ({'receives': MessageContract(type='a', payload=UNDESCRIBED)}, "the payload of 'a'"),
        ({'receives': MessageContract(type='a', reply=UNDESCRIBED)}, "the reply to 'a'"),
        ({'sends': MessageContract(type='a', payload=UNDESCRIBED)}, "the payload of 'a'"),
        ({'sends': MessageContract(type='a', reply=UNDESCRIBED)}, "the reply to 'a'"),
    ],
)
def test_a_payload_that_cannot_be_described_is_an_error_that_names_it(
    facts: dict[str, MessageContract], said: str
) -> None:
    others = [message('before', payload=int, reply=int), message('behind', payload=int, reply=int)]
    made = {name: (others[0], each, others[1]) for name, each in facts.items()}

    with pytest.raises(ConfigurationError, match=rf'app\.Room: {said} .*: no schema; annotate'):
        document_of(*RICH, channel('/x', **made))


def test_so_are_two_that_cannot_stand_beside_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    describe = msgspec.json.schema_components

    def named_alike() -> Any:
        return msgspec.defstruct('Twin', ['a'], module='twins')

    def one_of_a_name(types: Any, **options: Any) -> Any:
        """As msgspec did before 0.23."""
        names = [f'{each.__module__}.{each.__qualname__}' for each in types]
        if len({*names}) < len(names):
            raise KeyError(types[-1])
        return describe(types, **options)

    monkeypatch.setattr('msgspec.json.schema_components', one_of_a_name)
    receives = tuple(message(each, payload=named_alike()) for each in 'abc')
    with pytest.raises(ConfigurationError, match="the payload of 'b' cannot be described: msgspec"):
        document_of(channel('/x', receives=receives))


def test_a_class_that_is_described_in_two_ways_has_two_names(rich: dict[str, Any]) -> None:
    schemas = rich['components']['schemas']

    assert 'label' in schemas['Seat-Output']['properties']
    assert 'label' not in schemas['Seat-Input']['properties']
    assert 'Seat' not in schemas
    chat = payload_of(rich, 'BookingDesk.ws.booking.show_id.receive.chat.message')
    assert chat['properties']['payload'] == {'$ref': '#/components/schemas/Seat-Input'}


def test_what_refers_to_such_a_class_has_two_names_too(rich: dict[str, Any]) -> None:
    schemas = rich['components']['schemas']

    assert '/Seat-Input"' in json.dumps(schemas['Booking-Input'])
    assert '-Output' not in json.dumps(schemas['Booking-Input'])
    assert '-Input' not in json.dumps(schemas['Booking-Output'])


def test_what_is_the_same_in_both_directions_has_one(rich: dict[str, Any]) -> None:
    assert {'Line', 'Text'} <= set(rich['components']['schemas'])


def test_what_a_client_answers_is_described_as_it_is_received() -> None:
    sends = (message('ask', reply=samples.Seat, is_request=True),)
    made = document_of(channel('/x', sends=sends))

    assert 'label' not in made['components']['schemas']['Seat']['properties']


def test_a_class_of_the_app_named_like_one_of_ours_is_another() -> None:
    model = pydantic.create_model('Error', text=(str, ...))
    made = document_of(channel('/x', receives=(message('x', payload=model),)))

    assert 'text' in made['components']['schemas']['Error']['properties']
    assert 'status' in made['components']['schemas']['falcon_ws_mw.Error']['properties']


@pytest.mark.parametrize(
    ('modern', 'expected'),
    [
        (
            {'prefixItems': [{'type': 'null'}], 'items': False},
            {'items': [{'type': 'null'}], 'additionalItems': False},
        ),
        (
            {'$ref': '#/components/schemas/A', 'default': 1},
            {'default': 1, 'allOf': [{'$ref': '#/components/schemas/B'}]},
        ),
        ({'$ref': '#/components/schemas/A'}, {'$ref': '#/components/schemas/B'}),
        (
            {'dependentRequired': {'a': ['b']}, 'dependentSchemas': {'c': {'type': 'object'}}},
            {'dependencies': {'a': ['b'], 'c': {'type': 'object'}}},
        ),
        (
            {'discriminator': {'propertyName': 'k', 'mapping': {'a': '#/components/schemas/A'}}},
            {'x-discriminator': {'propertyName': 'k', 'mapping': {'a': '#/components/schemas/B'}}},
        ),
        ({'pattern': '(?i)a'}, {'x-pattern': '(?i)a'}),
        ({'maximum': 2**64}, {'maximum': 2.0**64}),
        (
            {'properties': {'prefixItems': {'const': {'prefixItems': [1]}}}},
            {'properties': {'prefixItems': {'const': {'prefixItems': [1]}}}},
        ),
    ],
    ids=lambda value: next(iter(value)),
)
def test_what_draft_07_says_otherwise_is_said_so(
    modern: dict[str, Any], expected: dict[str, Any]
) -> None:
    references = {'#/components/schemas/A': '#/components/schemas/B'}

    assert to_asyncapi(modern, references) == expected


@pytest.mark.parametrize(
    ('pattern', 'portable'),
    [
        (r'^[a-z+*]+$', r'^[a-z+*]+$'),
        (r'(?P<year>\d+)-(?P=year)', r'(?<year>\d+)-\k<year>'),
        (r'\Aa\Z', '^a$'),
        (r'\\Aa', r'\\Aa'),
        (r'(?=a)(?:b)(?!c)(?<=d)', r'(?=a)(?:b)(?!c)(?<=d)'),
        (r'[*+]+', r'[*+]+'),
        ('(?i)a', None),
        ('(?>a)', None),
        ('a++', None),
        ('(?#comment)', None),
    ],
)
def test_a_pattern_is_one_that_javascript_knows(pattern: str, portable: str | None) -> None:
    assert portable_pattern(pattern) == portable
