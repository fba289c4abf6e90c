"""The to-do lists of `examples/jsonrpc`, spoken to by another library over real uvicorn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
import json
from typing import Any

from examples.jsonrpc.app import create_app
from examples.jsonrpc.envelope import JsonRpcEnvelope
from examples.jsonrpc.lists import TodoLists
import falcon
import falcon.asgi
from jsonrpcclient import Error, Ok, notification, parse, request
import jsonschema
import pytest

from falcon_ws_mw import (
    Envelope,
    MalformedMessage,
    Message,
    ReplyError,
    UnknownMessageType,
    WebSocket,
    handles_message,
    install,
)
from falcon_ws_mw.asyncapi.document import asyncapi_document

from .conftest import Logs
from .servers import Client, serve

TEA = {'number': 1, 'title': 'Tea', 'done': False}


async def call(client: Client, method: str, params: Any = None) -> Any:
    """Ask, and let jsonrpcclient read the answer."""
    return await answer_to(client, request(method, params=params))


async def answer_to(client: Client, message: Any) -> Any:
    return parse(await client.ask(message))


@asynccontextmanager
async def people(
    count: int, ws_implementation: str = 'websockets-sansio'
) -> AsyncIterator[list[Client]]:
    async with serve(create_app(), ws_implementation) as served, AsyncExitStack() as stack:
        yield [await stack.enter_async_context(served.client('/rpc')) for _ in range(count)]


# -- the service


async def test_a_request_is_answered_by_a_result_with_its_id(
    ws_implementation: str, logs: Logs
) -> None:
    async with people(1, ws_implementation) as [ada]:
        for message_id in (1, 0, -5, 'a', '', 2**53 - 1):
            message = request('list.open', params={'list': 'home'}, id=message_id)
            answer = await ada.ask(message)
            assert answer == {'jsonrpc': '2.0', 'result': [], 'id': message_id}
    assert logs.lines == []


async def test_params_are_named_or_stand_in_order() -> None:
    async with people(1) as [ada]:
        named = await call(ada, 'list.add', {'list': 'home', 'title': 'Tea'})
        in_order = await call(ada, 'list.add', ('home', 'Milk'))
        assert named.result == TEA
        assert in_order.result == {**TEA, 'number': 2, 'title': 'Milk'}


async def test_a_notification_is_handled_and_not_answered() -> None:
    async with people(1) as [ada]:
        await ada.send(notification('list.add', {'list': 'home', 'title': 'Tea'}))
        # The next that comes is the answer to the next.
        assert (await call(ada, 'list.open', {'list': 'home'})).result == [TEA]


async def test_others_who_have_the_list_open_are_notified(ws_implementation: str) -> None:
    async with people(3, ws_implementation) as [ada, bob, eve]:
        await call(bob, 'list.open', {'list': 'home'})
        await call(eve, 'list.open', {'list': 'work'})
        await call(ada, 'list.add', {'list': 'home', 'title': 'Tea'})
        await ada.send(notification('list.check', {'list': 'home', 'number': 1}))
        assert await bob.receive() == {
            'jsonrpc': '2.0',
            'method': 'list.added',
            'params': {'list': 'home', 'item': TEA},
        }
        assert await bob.receive() == {
            'jsonrpc': '2.0',
            'method': 'list.checked',
            'params': {'list': 'home', 'number': 1, 'done': True},
        }
        await call(bob, 'list.close', {'list': 'home'})
        await call(ada, 'list.add', {'list': 'home', 'title': 'Milk'})
        for client in (bob, eve):  # neither heard of it
            assert (await call(client, 'list.open', {'list': 'garden'})).result == []


# -- the server asks


async def clear_and_be_asked(client: Client) -> Any:
    await call(client, 'list.add', {'list': 'home', 'title': 'Tea'})
    await call(client, 'list.check', {'list': 'home', 'number': 1})
    asked = await client.ask(request('list.clear', params={'list': 'home'}, id='mine'))
    assert asked['method'] == 'confirm'
    assert asked['params'] == {'question': 'Throw away 1 item(s) of "home"?'}
    return asked['id']


@pytest.mark.parametrize(
    ('answer', 'removed'),
    [
        ({'result': True}, 1),
        ({'result': False}, 0),
        ({'result': 'yes'}, 0),
        ({'error': {'code': -32601, 'message': 'Method not found'}}, 0),
    ],
)
async def test_the_server_asks_and_the_client_answers_by_a_response(
    answer: dict[str, Any], removed: int, ws_implementation: str, logs: Logs
) -> None:
    async with people(1, ws_implementation) as [ada]:
        asked = await clear_and_be_asked(ada)
        cleared = await answer_to(ada, {'jsonrpc': '2.0', 'id': asked, **answer})
        assert cleared == Ok({'removed': removed}, 'mine')
    assert logs.lines == []


class Asking:
    """What the client's error becomes."""

    ws_envelope = JsonRpcEnvelope()

    async def on_ws_ask(self, ws: WebSocket) -> dict[str, Any]:
        try:
            return {'answer': await ws.request('sum', [1, 2])}
        except ReplyError as error:
            return {'refused': error.title, 'payload': error.payload}


async def test_a_clients_error_is_read_as_one() -> None:
    app = install(falcon.asgi.App())
    app.add_route('/', Asking())
    async with serve(app) as served, served.client('/') as client:
        asked = await client.ask(request('ask', id=1))
        assert asked['params'] == [1, 2]
        answer = {'jsonrpc': '2.0', 'error': {'code': 7, 'message': 'No'}, 'id': asked['id']}
        assert await answer_to(client, answer) == Ok(
            {'refused': 'No', 'payload': {'code': 7, 'title': 'No', 'data': None}}, 1
        )


async def test_a_response_is_never_answered_whatever_it_answers() -> None:
    app = create_app()
    responses: list[dict[str, Any]] = [
        {'result': 1, 'id': 'nobody asked'},
        {'result': 1, 'id': 5},
        {'result': None, 'id': None},
        {'error': {'code': -32700, 'message': 'Parse error'}, 'id': None},
        {'error': {'code': 1, 'message': 'x'}, 'id': 1.5},
    ]
    async with serve(app) as served, served.client('/rpc') as client:
        for number, response in enumerate(responses, 1):
            await client.send({'jsonrpc': '2.0', **response})
            assert isinstance(await call(client, 'list.open', {'list': 'a'}), Ok), response
            assert app.ws_connection_manager.stats().unmatched_replies == number


# -- errors


REFUSED: list[tuple[str, Any, int, str]] = [
    ('list.burn', {}, -32601, 'Method not found'),
    ('reply', {}, -32601, 'Method not found'),
    ('error', {}, -32601, 'Method not found'),
    ('rpc.discover', {}, -32601, 'Method not found'),
    ('on_ws_connect', {}, -32601, 'Method not found'),
    ('', {}, -32601, 'Method not found'),
    ('list.open', None, -32602, 'Invalid params'),
    ('list.open', {'list': 5}, -32602, 'Invalid params'),
    ('list.open', {'list': 'with space'}, -32602, 'Invalid params'),
    ('list.open', ('home',), -32602, 'Invalid params'),
    ('list.add', ('home',), -32602, 'Invalid params'),
    ('list.add', {'list': 'home', 'title': ''}, -32602, 'Invalid params'),
    ('list.check', {'list': 'home', 'number': 9}, 404, 'No such item'),
]


async def test_what_goes_wrong_is_an_error_with_the_code_for_it(
    ws_implementation: str, logs: Logs
) -> None:
    async with people(1, ws_implementation) as [ada]:
        for method, params, code, message in REFUSED:
            error = await answer_to(ada, request(method, params=params, id='q'))
            assert isinstance(error, Error), method
            assert (error.code, error.message, error.id) == (code, message, 'q'), (method, params)
            assert isinstance(error.data['status'], int)  # what Falcon says is there too
            assert isinstance(await call(ada, 'list.open', {'list': 'a'}), Ok)
    assert logs.lines == []


async def test_invalid_params_say_which() -> None:
    async with people(1) as [ada]:
        error = await call(ada, 'list.open', {'list': 5})
        assert [problem['path'] for problem in error.data['errors']] == ['/list']


NO_REQUESTS: list[tuple[str | bytes, int, int | None]] = [
    ('not JSON', -32700, None),
    ('{"jsonrpc": "2.0", "method"', -32700, None),
    ('', -32700, None),
    ('[' * 60_000, -32700, None),
    (b'{"jsonrpc": "2.0", "method": "x", "id": 1}', -32700, None),
    ('5', -32600, None),
    ('null', -32600, None),
    ('{}', -32600, None),
    ('{"jsonrpc": "2.0"}', -32600, None),
    ('{"jsonrpc": "2.0", "id": 1}', -32600, 1),
    ('{"jsonrpc": "2.0", "method": 1, "params": "bar"}', -32600, None),
    ('{"jsonrpc": "2.0", "method": 1, "id": 4}', -32600, 4),
    ('{"jsonrpc": "1.0", "method": "x", "id": 4}', -32600, 4),
    ('{"jsonrpc": 2.0, "method": "x", "id": 4}', -32600, 4),
    ('{"method": "x", "params": [], "id": 4}', -32600, 4),
    ('{"jsonrpc": "2.0", "method": "x", "params": 5, "id": 4}', -32600, 4),
    ('{"jsonrpc": "2.0", "method": "x", "params": null, "id": 4}', -32600, 4),
    ('{"jsonrpc": "2.0", "method": "list.open", "id": null}', -32600, None),
    ('{"jsonrpc": "2.0", "method": "list.open", "id": 1.5}', -32600, None),
    ('{"jsonrpc": "2.0", "method": "list.open", "id": 1.0}', -32600, None),
    ('{"jsonrpc": "2.0", "method": "list.open", "id": true}', -32600, None),
    ('{"jsonrpc": "2.0", "method": "list.open", "id": [1]}', -32600, None),
    ('{"jsonrpc": "2.0", "method": "list.open", "id": 9007199254740992}', -32600, None),
    ('{"jsonrpc": "2.0", "result": 1, "error": {}, "id": 1}', -32600, None),
    ('{"jsonrpc": "2.0", "error": "x", "id": 1}', -32600, None),
    ('{"result": 1, "id": 1}', -32600, None),
    ('[]', -32600, None),
    ('[1]', -32600, None),
    ('[{"jsonrpc": "2.0", "method": "list.open", "id": 1}]', -32600, None),
]


async def test_what_is_no_request_is_answered_with_null_or_the_id_that_could_be_read(
    ws_implementation: str, logs: Logs
) -> None:
    async with people(1, ws_implementation) as [ada]:
        for raw, code, message_id in NO_REQUESTS:
            answer = await ada.ask(raw)
            assert answer.keys() == {'jsonrpc', 'error', 'id'}, raw
            error: Any = parse(answer)
            assert (error.code, error.id) == (code, message_id), raw
            # The next answer is the next request's: so there was exactly one.
            assert isinstance(await call(ada, 'list.open', {'list': 'a'}), Ok)
    assert logs.lines == []


async def test_a_batch_is_refused_and_says_what_to_do_instead() -> None:
    async with people(1) as [ada]:
        error = await answer_to(ada, [request('list.open', params={'list': 'a'})])
        assert error.message == 'Invalid Request'
        assert 'send each message in its own frame' in error.data['description']


class Failing:
    ws_envelope = JsonRpcEnvelope()

    async def on_ws_conflict(self, ws: WebSocket) -> None:
        raise falcon.HTTPConflict(title='Taken')

    async def on_ws_own_code(self, ws: WebSocket) -> None:
        raise falcon.HTTPConflict(title='Taken', code=77)

    async def on_ws_bad(self, ws: WebSocket) -> None:
        raise falcon.HTTPBadRequest

    async def on_ws_nobody(self, ws: WebSocket) -> None:
        await ws.manager.send_to_connection('nobody', 'x')

    async def on_ws_busy(self, ws: WebSocket) -> None:
        raise falcon.HTTPServiceUnavailable

    async def on_ws_crash(self, ws: WebSocket) -> None:
        raise RuntimeError('secret')

    async def on_ws_unsendable(self, ws: WebSocket) -> object:
        return {1, 2}

    async def on_ws_no_params(self, ws: WebSocket) -> None:
        await ws.send_message('news', 'text')

    @handles_message('null')
    async def null(self, ws: WebSocket) -> None:
        return None


@asynccontextmanager
async def failing() -> AsyncIterator[Client]:
    app = install(falcon.asgi.App())
    app.add_route('/', Failing())
    async with serve(app) as served, served.client('/') as client:
        yield client


async def test_a_handlers_error_has_its_own_code_or_its_status() -> None:
    async with failing() as client:
        for method, code, message in [
            ('conflict', 409, 'Taken'),
            ('own_code', 77, 'Taken'),
            ('bad', 400, '400 Bad Request'),
            ('nobody', 404, 'Connection not found'),
            ('busy', 503, '503 Service Unavailable'),
            ('crash', -32603, 'Internal error'),
            ('unsendable', -32603, 'Internal error'),
            ('no_params', -32603, 'Internal error'),
        ]:
            error = await call(client, method)
            assert (error.code, error.message) == (code, message)
            assert 'secret' not in str(error)


async def test_a_handler_that_returns_nothing_has_the_result_null() -> None:
    async with failing() as client:
        assert await answer_to(client, request('null', id=1)) == Ok(None, 1)


async def test_a_notification_that_fails_gets_no_response_but_a_notification() -> None:
    async with failing() as client:
        for method, code in (
            ('nothing', -32601),
            ('conflict', 409),
            ('bad', 400),
            ('crash', -32603),
        ):
            told = await client.ask(notification(method))
            assert told.keys() == {'jsonrpc', 'method', 'params'}  # so it is no response
            assert (told['method'], told['params']['code']) == ('error', code)


# -- the envelope by itself


def test_all_envelopes_are_one_wire_format() -> None:
    assert JsonRpcEnvelope() == JsonRpcEnvelope()


@pytest.mark.parametrize(
    ('message', 'decoded'),
    [
        (request('x', id=1), ('x', None, 1)),
        (request('x', params={'a': 1}, id='a'), ('x', {'a': 1}, 'a')),
        (request('x', params=(1, 2), id=1), ('x', [1, 2], 1)),
        (notification('x'), ('x', None, None)),
        ({'jsonrpc': '2.0', 'method': 'x', 'params': []}, ('x', [], None)),
        ({'jsonrpc': '2.0', 'method': 'x', 'params': {}}, ('x', {}, None)),
        ({'jsonrpc': '2.0', 'result': [], 'id': 1}, ('reply', [], 1)),
    ],
)
def test_a_frame_is_decoded(message: Any, decoded: tuple[Any, ...]) -> None:
    assert JsonRpcEnvelope().decode(json.dumps(message)) == decoded


@pytest.mark.parametrize('method', ['reply', 'error', 'rpc.x', 'rpc.'])
def test_a_reserved_method_is_unknown_and_keeps_its_id(method: str) -> None:
    with pytest.raises(UnknownMessageType) as caught:
        JsonRpcEnvelope().decode(json.dumps(request(method, id=7)))
    assert caught.value.id == 7


def test_the_result_of_a_request_round_trips() -> None:
    envelope = JsonRpcEnvelope()
    assert envelope.decode(envelope.encode('x', [1], 'a')) == ('x', [1], 'a')
    assert envelope.decode(envelope.encode('reply', None, 'a')) == ('reply', None, 'a')


@pytest.mark.parametrize('payload', ['text', 5, True])
def test_params_that_are_no_object_and_no_array_fail_their_sender(payload: object) -> None:
    with pytest.raises(TypeError, match='expected a dict or list'):
        JsonRpcEnvelope().encode('x', payload, None)


NUMBERS = {'type': 'array', 'items': {'type': 'number'}}
FALCONS_ERROR = {'status': 404, 'title': 'x'}
UNREAD = {'status': 400, 'title': 'Parse error', 'code': -32700}


@pytest.mark.parametrize(
    ('type', 'payload', 'schema', 'message_id'),
    [
        ('x', [1], NUMBERS, None),
        ('x', None, {'anyOf': [{'type': 'null'}, NUMBERS]}, None),
        ('x', [1], {'anyOf': [{'type': 'null'}, NUMBERS]}, None),
        ('x', None, {'type': ['object', 'null']}, 'a'),
        ('x', None, None, None),
        ('x', {'a': 1}, None, None),
        ('x', [1], NUMBERS, 'a'),
        ('reply', [1], NUMBERS, 'a'),
        ('reply', None, None, 'a'),
        ('error', FALCONS_ERROR, {'type': 'object'}, 'a'),
        ('error', FALCONS_ERROR, None, None),
        ('error', UNREAD, None, None),
    ],
)
def test_what_is_described_is_what_is_said(
    type: str, payload: Any, schema: dict[str, Any] | None, message_id: str | None
) -> None:
    envelope = JsonRpcEnvelope()
    described = [
        envelope.describe(type, schema, id='maybe'),
        envelope.describe(type, schema, id='never' if message_id is None else 'always'),
    ]
    for each in described:
        validator = jsonschema.Draft202012Validator(each)
        validator.validate(json.loads(envelope.encode(type, payload, message_id)))
        for other in ({'jsonrpc': '2.0'}, {}, {'jsonrpc': '2.0', 'method': 'y', 'id': 'a'}):
            assert not validator.is_valid(other)


@pytest.mark.parametrize(
    ('schema', 'id', 'members', 'is_valid'),
    [
        (NUMBERS, 'maybe', {}, False),
        (NUMBERS, 'maybe', {'params': [1]}, True),
        ({'anyOf': [NUMBERS, {'type': 'null'}]}, 'maybe', {'params': None}, False),
        ({'type': ['object', 'null']}, 'maybe', {'params': None}, False),
        ({'type': 'null'}, 'maybe', {}, True),
        (None, 'maybe', {'params': 'text'}, False),
        (None, 'maybe', {'id': 7}, True),
        (None, 'maybe', {'id': None}, False),
        (None, 'always', {}, False),
    ],
)
def test_what_is_refused_is_described_as_wrong(
    schema: dict[str, Any] | None, id: Any, members: dict[str, Any], is_valid: bool
) -> None:
    described = JsonRpcEnvelope().describe('x', schema, id=id)
    validator = jsonschema.Draft202012Validator(described)

    assert validator.is_valid({'jsonrpc': '2.0', 'method': 'x', **members}) is is_valid


def test_the_error_of_a_client_has_the_id_and_may_have_no_data() -> None:
    described = JsonRpcEnvelope().describe('error', None, id='always')
    validator = jsonschema.Draft202012Validator(described)
    error = {'jsonrpc': '2.0', 'error': {'code': 1, 'message': 'no'}}

    assert validator.is_valid({**error, 'id': 'r1'})
    assert not validator.is_valid({**error, 'id': None})
    assert not validator.is_valid(error)


def test_the_document_of_the_app_describes_json_rpc() -> None:
    contracts = create_app().describe_websockets()
    document = asyncapi_document(contracts, title='Lists', version='1')
    text = json.dumps(document)
    for method in ('list.add', 'list.added', 'confirm'):
        assert f'"method": {{"const": "{method}"}}' in text
    messages = document['components']['messages']
    required = {name: each['payload'].get('required', ()) for name, each in messages.items()}
    for name in ('list.open', 'list.add'):  # one that answers, but may be told as well
        assert required[f'TodoLists.rpc.receive.{name}'] == ['jsonrpc', 'method', 'params']
    assert required['TodoLists.rpc.send.confirm'] == ['jsonrpc', 'method', 'params', 'id']


async def test_the_same_handlers_speak_the_default_envelope_without_it() -> None:
    plain = type('Plain', (TodoLists,), {'ws_envelope': Envelope()})
    app = install(falcon.asgi.App())
    app.add_route('/', plain())
    async with serve(app) as served, served.client('/') as client:
        message = {'type': 'list.add', 'payload': ['home', 'Tea'], 'id': 1}
        assert await client.ask(message) == {'type': 'reply', 'id': 1, 'payload': TEA}


async def test_a_broadcast_reaches_json_rpc_clients_as_a_notification() -> None:
    app = create_app()
    async with serve(app) as served, served.client('/rpc') as client:
        await call(client, 'list.open', {'list': 'a'})
        await app.ws_connection_manager.broadcast(Message('list.cleared', {'list': 'a'}))
        assert await client.receive() == {
            'jsonrpc': '2.0',
            'method': 'list.cleared',
            'params': {'list': 'a'},
        }


def test_malformed_is_what_handlers_of_unhandled_messages_know() -> None:
    with pytest.raises(MalformedMessage):
        JsonRpcEnvelope().decode('x')
