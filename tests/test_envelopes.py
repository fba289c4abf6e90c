"""Where type, payload and id stand: envelopes that rename, that leave out, and those of an app."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
import json
from typing import Any

import falcon
import falcon.asgi
from falcon.testing import ASGIConductor
from falcon.testing.helpers import ASGIWebSocketSimulator
import msgspec
import pytest

from falcon_ws_mw import (
    ConfigurationError,
    Envelope,
    MalformedMessage,
    Message,
    MessageEnvelope,
    UnhandledMessage,
    UnknownMessageType,
    WebSocket,
    WebSocketConnectionManager,
    WebSocketDispatchMiddleware,
    WireFormatMismatch,
    handles_message,
    install,
)
from falcon_ws_mw.responders import build_table

from .conftest import Logs, shown
from .servers import PATIENCE_SECONDS, serve

Socket = ASGIWebSocketSimulator


class Talk:
    """A manager, and sockets on the routes that it was made with."""

    def __init__(self, conductor: ASGIConductor, manager: WebSocketConnectionManager) -> None:
        self.manager = manager
        self._conductor = conductor
        self._stack = AsyncExitStack()

    async def open(self, path: str = '/') -> Socket:
        return await self._stack.enter_async_context(self._conductor.simulate_ws(path))

    async def close(self) -> None:
        await self._stack.aclose()

    @property
    def ids(self) -> list[str]:
        return list(self.manager.connections)


@asynccontextmanager
async def talk(*resources: object, **options: Any) -> AsyncIterator[Talk]:
    """An app with the first resource at `/`, the next at `/1`, `/2` and so on."""
    app = install(falcon.asgi.App(), **options)
    for number, resource in enumerate(resources):
        app.add_route(f'/{number or ""}', resource)
    async with ASGIConductor(app) as conductor:
        talking = Talk(conductor, app.ws_connection_manager)
        try:
            yield talking
        finally:
            await talking.close()


async def ask(socket: Socket, message: object) -> Any:
    await socket.send_text(message if isinstance(message, str) else json.dumps(message))
    return json.loads(await socket.receive_text())


class Echo:
    """Says what it is told to say."""

    async def on_ws_echo(self, ws: WebSocket, payload: Any) -> Any:
        return payload

    async def on_ws_say(self, ws: WebSocket, payload: Any) -> None:
        await ws.send_message('said', payload)

    async def on_ws_ask(self, ws: WebSocket, payload: Any) -> Any:
        return {'answer': await ws.request('question', payload)}

    async def on_ws_whole(self, ws: WebSocket, message: Any) -> Any:
        return message


def speaking(envelope: Any, base: type = Echo) -> Any:
    """A resource whose route speaks an envelope."""
    return type('Speaking', (base,), {'ws_envelope': envelope})()


# -- other names

RENAMED = Envelope(
    type_field='event',
    payload_field='data',
    id_field='ref',
    reply_type='done',
    error_type='failed',
)


async def test_renamed_fields_are_read_and_written_in_both_directions(logs: Logs) -> None:
    async with talk(speaking(RENAMED)) as talking:
        socket = await talking.open()
        assert await ask(socket, {'event': 'echo', 'ref': 1, 'data': [5]}) == {
            'event': 'done',
            'ref': 1,
            'data': [5],
        }
        assert await ask(socket, {'event': 'say', 'data': 5}) == {'event': 'said', 'data': 5}
        failed = await ask(socket, {'event': 'nothing', 'ref': 2})
        assert (failed['event'], failed['ref'], failed['data']['status']) == ('failed', 2, 404)
        question = await ask(socket, {'event': 'ask', 'ref': 3, 'data': 'x'})
        assert (question['event'], question['data']) == ('question', 'x')
        answered = await ask(socket, {'event': 'done', 'ref': question['ref'], 'data': 'y'})
        assert answered == {'event': 'done', 'ref': 3, 'data': {'answer': 'y'}}
    assert logs.lines == []


async def test_the_old_names_of_renamed_fields_mean_nothing() -> None:
    async with talk(speaking(RENAMED)) as talking:
        socket = await talking.open()
        failed = await ask(socket, {'type': 'echo', 'id': 1})
        assert (failed['data']['status'], 'ref' in failed) == (400, False)
        assert 'the event of a message is text' in failed['data']['description']
        answer = await ask(socket, {'event': 'whole', 'ref': 1, 'id': [], 'type': 0, 'payload': 0})
        assert answer['data'] == {'event': 'whole', 'ref': 1, 'id': [], 'type': 0, 'payload': 0}


async def test_a_handler_for_reply_and_error_is_possible_where_these_are_renamed() -> None:
    class Replying:
        ws_envelope = Envelope(reply_type='done', error_type='failed')

        async def on_ws_reply(self, ws: WebSocket) -> str:
            return 'a reply'

        @handles_message('error')
        async def error(self, ws: WebSocket) -> str:
            return 'an error'

    async with talk(Replying()) as talking:
        socket = await talking.open()
        assert (await ask(socket, {'type': 'reply', 'id': 1}))['payload'] == 'a reply'
        assert (await ask(socket, {'type': 'error', 'id': 2}))['payload'] == 'an error'


@pytest.mark.parametrize('word', ['done', 'failed'])
def test_a_handler_for_the_librarys_word_is_a_configuration_error_whatever_the_word(
    word: str,
) -> None:
    @handles_message(word)
    async def handler(self: object, ws: WebSocket) -> None: ...

    cls = type('Wrong', (), {'ws_envelope': RENAMED, 'handler': handler})
    with pytest.raises(ConfigurationError, match=f"'{word}' is a message type of the library"):
        build_table(cls)


# -- the flat form

FLAT = Envelope(type_field='action', payload_field=None)


@dataclass
class Said:
    message: str


class Flat(Echo):
    ws_envelope = FLAT

    async def on_ws_message(self, ws: WebSocket, payload: Said) -> str:
        return payload.message

    async def on_ws_merge(self, ws: WebSocket, payload: dict[str, Any]) -> None:
        await ws.send_message('merged', payload.get('into'))

    async def on_ws_typed(self, ws: WebSocket) -> None:
        await ws.send_message('typed', Said('hi'))

    async def on_ws_no_mapping(self, ws: WebSocket, payload: dict[str, Any]) -> str:
        try:
            await ws.send_message('x', payload['value'])
        except TypeError as error:
            return str(error)
        return 'sent'


async def test_in_the_flat_form_the_payload_is_the_whole_object() -> None:
    async with talk(Flat()) as talking:
        socket = await talking.open()
        message = {'action': 'echo', 'message': 'hi', 'payload': 5, 'id': 1}
        assert (await ask(socket, message))['payload'] == message


async def test_in_the_flat_form_what_the_library_answers_keeps_its_payload() -> None:
    async with talk(Flat()) as talking:
        socket = await talking.open()
        answer = await ask(socket, {'action': 'message', 'message': 'hi', 'id': 1})
        assert answer == {'action': 'reply', 'id': 1, 'payload': 'hi'}
        error = await ask(socket, {'action': 'nothing', 'id': 2})
        assert (error['action'], error['id'], error['payload']['status']) == ('error', 2, 404)
        invalid = await ask(socket, {'action': 'message', 'id': 3})
        assert (invalid['id'], invalid['payload']['status']) == (3, 422)


async def test_in_the_flat_form_send_message_merges() -> None:
    async with talk(Flat()) as talking:
        socket = await talking.open()
        for into, sent in [
            ({'text': 'x'}, {'action': 'merged', 'text': 'x'}),
            ({'action': 'mine', 'text': 'x'}, {'action': 'merged', 'text': 'x'}),
            ({}, {'action': 'merged'}),
            (None, {'action': 'merged'}),
        ]:
            assert await ask(socket, {'action': 'merge', 'into': into}) == sent
        assert await ask(socket, {'action': 'typed'}) == {'action': 'typed', 'message': 'hi'}


@pytest.mark.parametrize('value', [[1], 'text', 5, False])
async def test_in_the_flat_form_a_payload_that_is_no_mapping_fails_its_sender(
    value: object,
) -> None:
    async with talk(Flat()) as talking:
        socket = await talking.open()
        answer = await ask(socket, {'action': 'no_mapping', 'value': value, 'id': 1})
        assert 'expected a mapping' in answer['payload']


async def test_in_the_flat_form_the_server_asks_and_is_answered() -> None:
    async with talk(Flat()) as talking:
        socket = await talking.open()
        question = await ask(socket, {'action': 'ask', 'id': 1, 'x': 5})
        assert question['action'] == 'question'
        assert question['x'] == 5
        answered = await ask(socket, {'action': 'reply', 'id': question['id'], 'payload': 'y'})
        assert answered == {'action': 'reply', 'id': 1, 'payload': {'answer': 'y'}}


# -- without ids

WITHOUT_IDS = Envelope(id_field=None)


class NoIds(Echo):
    ws_envelope = WITHOUT_IDS

    async def on_ws_refused(self, ws: WebSocket) -> None:
        try:
            await ws.request('question')
        except falcon.OperationNotAllowed as error:
            await ws.send_message('refused', str(error))

    async def on_ws_tell(self, ws: WebSocket, message: dict[str, Any]) -> str:
        await ws.send_message('told', message['id'])
        return 'never sent'


@pytest.mark.parametrize('own', [1, None, 1.5, [1], {'a': 1}, True])
async def test_without_an_id_field_an_id_is_the_apps_own_and_nothing_is_a_request(
    own: object,
) -> None:
    async with talk(NoIds()) as talking:
        socket = await talking.open()
        # Were it a request, the reply would be what the second message gets.
        for _ in range(2):
            told = await ask(socket, {'type': 'tell', 'id': own})
            assert told == {'type': 'told', 'payload': own}


async def test_without_an_id_field_errors_have_none_and_answers_are_unknown_types() -> None:
    async with talk(NoIds()) as talking:
        socket = await talking.open()
        for message_type in ('nothing', 'reply', 'error'):
            error = await ask(socket, {'type': message_type, 'id': 7})
            assert error.keys() == {'type', 'payload'}
            assert error['payload']['status'] == 404


async def test_without_an_id_field_nothing_can_be_asked_of_the_client() -> None:
    async with talk(NoIds()) as talking:
        socket = await talking.open()
        refused = await ask(socket, {'type': 'refused'})
        assert refused['type'] == 'refused'
        assert 'has no ids' in refused['payload']


# -- where an envelope is said


async def test_a_routes_envelope_goes_before_the_apps() -> None:
    app_wide = Envelope(type_field='kind')
    async with talk(Echo(), speaking(Envelope(type_field='op')), envelope=app_wide) as talking:
        for path, field in (('/', 'kind'), ('/1', 'op')):
            answer = await ask(await talking.open(path), {field: 'echo', 'id': 1, 'payload': 5})
            assert answer == {field: 'reply', 'id': 1, 'payload': 5}


async def test_an_own_envelope_may_be_the_apps(logs: Logs) -> None:
    async with talk(Echo(), envelope=Arrays()) as talking:
        assert await ask(await talking.open(), ['echo', 5, 1]) == ['reply', 5, 1]
    assert logs.lines == []


async def test_a_subclass_inherits_the_envelope() -> None:
    class Further(Flat):
        pass

    async with talk(Further()) as talking:
        answer = await ask(await talking.open(), {'action': 'message', 'message': 'x', 'id': 1})
        assert answer['payload'] == 'x'


@pytest.mark.parametrize(
    'names',
    [
        {'type_field': 'id'},
        {'type_field': 'payload'},
        {'payload_field': 'id'},
        {'type_field': 'payload', 'payload_field': None},
        {'id_field': 'payload', 'payload_field': None},
        {'reply_type': 'error'},
        {'reply_type': 'same', 'error_type': 'same'},
        {'type_field': ''},
        {'payload_field': ''},
        {'id_field': ''},
        {'reply_type': ''},
        {'error_type': ''},
        {'type_field': None},
        {'reply_type': None},
        {'type_field': 5},
        {'payload_field': b'payload'},
        {'id_field': ['id']},
        {'error_type': False},
    ],
    ids=str,
)
def test_names_are_text_and_each_stands_for_one_thing(names: Any) -> None:
    with pytest.raises(ConfigurationError):
        Envelope(**names)


EXPECTED = 'expected a falcon_ws_mw\\.Envelope, or an object'


class DecodesOnly:
    def decode(self, raw: str | bytes) -> Any: ...


class EncodesOnly:
    def encode(self, type: str, payload: Any, id: Any) -> Any: ...


@pytest.mark.parametrize(
    'wrong',
    ['json', 5, {}, dict, Envelope, MessageEnvelope, DecodesOnly(), EncodesOnly(), object()],
    ids=shown,
)
def test_what_is_no_envelope_is_a_configuration_error_wherever_it_is_said(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=EXPECTED):
        install(falcon.asgi.App(), envelope=wrong)
    with pytest.raises(ConfigurationError, match=EXPECTED):
        WebSocketDispatchMiddleware(WebSocketConnectionManager(), envelope=wrong)
    with pytest.raises(ConfigurationError, match=r'Speaking\.ws_envelope=.*expected a falcon_ws'):
        build_table(type(speaking(wrong)))


def test_a_class_of_an_own_envelope_is_none() -> None:
    with pytest.raises(ConfigurationError, match=EXPECTED):
        install(falcon.asgi.App(), envelope=Arrays)  # type: ignore[arg-type]


# -- envelopes of the app's own


class Arrays:
    """`[type, payload, id]`."""

    def __init__(self) -> None:
        self.encoded = 0

    def decode(self, raw: str | bytes) -> tuple[str, Any, str | int | None]:
        try:
            message_type, payload, message_id = json.loads(raw)
        except ValueError:
            raise MalformedMessage('expected an array of three') from None
        return message_type, payload, message_id

    def encode(self, type: str, payload: Any, id: str | int | None) -> str:
        self.encoded += 1
        return json.dumps([type, payload, id])


class Prefixed:
    """`say:hello`, in text; `reply` and `error` likewise. Nothing is a request."""

    def decode(self, raw: str | bytes) -> tuple[str, Any, None]:
        if isinstance(raw, bytes):
            raise MalformedMessage('expected text', decoded=False)
        message_type, colon, payload = raw.partition(':')
        if not colon:
            raise MalformedMessage('expected a colon')
        return message_type, payload, None

    def encode(self, type: str, payload: Any, id: str | int | None) -> str:
        return f'{type}:{payload["title"] if type == "error" else payload}'


async def test_an_array_format_is_a_few_lines(logs: Logs) -> None:
    async with talk(speaking(Arrays())) as talking:
        socket = await talking.open()
        assert await ask(socket, ['echo', 5, 1]) == ['reply', 5, 1]
        assert await ask(socket, ['echo', None, 0]) == ['reply', {}, 0]
        assert await ask(socket, ['say', 'x', None]) == ['said', 'x', None]
        assert (await ask(socket, ['nothing', None, 'a']))[0::2] == ['error', 'a']
        assert (await ask(socket, '[1]'))[1]['description'] == 'expected an array of three'
        question = await ask(socket, ['ask', 'x', 9])
        assert question[:2] == ['question', 'x']
        answered = await ask(socket, ['reply', 'y', question[2]])
        assert answered == ['reply', {'answer': 'y'}, 9]
    assert logs.lines == []


async def test_a_text_protocol_is_a_few_lines(logs: Logs) -> None:
    async with talk(speaking(Prefixed())) as talking:
        socket = await talking.open()
        for said, answered in [
            ('say:hello', 'said:hello'),
            ('say:a:b', 'said:a:b'),
            ('shout:hello', 'error:Unknown message type'),
            ('hello', 'error:Malformed message'),
        ]:
            await socket.send_text(said)
            assert await socket.receive_text() == answered
    assert logs.lines == []


async def test_an_own_envelope_gives_the_whole_message_by_its_parts() -> None:
    async with talk(speaking(Arrays())) as talking:
        answer = await ask(await talking.open(), ['whole', [5], 'a'])
        assert answer == ['reply', {'type': 'whole', 'payload': [5], 'id': 'a'}, 'a']


async def test_payloads_of_an_own_envelope_are_converted_like_any_other() -> None:
    class Typed:
        ws_envelope = Arrays()

        async def on_ws_message(self, ws: WebSocket, payload: Said) -> Said:
            return Said(payload.message.upper())

    async with talk(Typed()) as talking:
        socket = await talking.open()
        said = await ask(socket, ['message', {'message': 'hi'}, 1])
        assert said == ['reply', {'message': 'HI'}, 1]  # plain by the time it is encoded
        message_type, error, message_id = await ask(socket, ['message', {'message': 5}, 2])
        assert (message_type, error['status'], message_id) == ('error', 422, 2)


class Struct(msgspec.Struct):
    text: str


@pytest.mark.parametrize('payload', [Said('x'), Struct('x'), [Said('x')], {'a': Struct('x')}])
async def test_an_own_envelope_gets_plain_payloads(payload: object) -> None:
    class Saying:
        ws_envelope = Arrays()

        async def on_ws_go(self, ws: WebSocket) -> None:
            await ws.send_message('said', payload)

    async with talk(Saying()) as talking:
        assert (await ask(await talking.open(), ['go', None, None]))[0] == 'said'


class Faulty(Arrays):
    """Does what a test says."""

    def __init__(
        self,
        decode: Callable[[str | bytes], Any] | None = None,
        encode: Callable[[str], Any] | None = None,
    ) -> None:
        super().__init__()
        self._decode = decode
        self._encode = encode

    def decode(self, raw: str | bytes) -> Any:
        found = self._decode(raw) if self._decode is not None else None
        return super().decode(raw) if found is None else found

    def encode(self, type: str, payload: Any, id: str | int | None) -> Any:
        found = self._encode(type) if self._encode is not None else None
        return super().encode(type, payload, id) if found is None else found


@pytest.mark.parametrize(
    'error',
    [ValueError('bad'), KeyError('bad'), RecursionError(), falcon.HTTPForbidden()],
    ids=shown,
)
async def test_whatever_decode_raises_the_message_is_malformed_and_that_is_logged_once(
    error: Exception, logs: Logs
) -> None:
    def fail(raw: str | bytes) -> None:
        if 'bad' in str(raw):
            raise error

    async with talk(speaking(Faulty(fail))) as talking:
        for _ in range(2):  # once, for all connections
            socket = await talking.open()
            for _ in range(2):
                message_type, answer, _ = await ask(socket, 'bad')
                assert (message_type, answer['status']) == ('error', 400)
                assert 'bad' not in answer['description']
            assert await ask(socket, ['echo', 5, 1]) == ['reply', 5, 1]
    [line] = logs.take()
    assert 'Faulty.decode has to raise MalformedMessage' in line


@pytest.mark.parametrize(
    'nonsense',
    [
        5,
        (),
        ('echo',),
        ('echo', None),
        ('echo', None, 1, 2),
        (5, None, None),
        (None, None, None),
        (b'echo', None, None),
    ],
    ids=ascii,
)
async def test_what_decode_must_not_return_is_malformed_and_logged(
    nonsense: object, logs: Logs
) -> None:
    envelope = Faulty(lambda raw: nonsense if 'bad' in str(raw) else None)
    async with talk(speaking(envelope)) as talking:
        socket = await talking.open()
        message_type, answer, _ = await ask(socket, 'bad')
        assert (message_type, answer['status']) == ('error', 400)
        assert await ask(socket, ['echo', 5, 1]) == ['reply', 5, 1]
    assert len(logs.take()) == 1


@pytest.mark.parametrize('bad', [1.5, True, 2**53, '\ud800', []], ids=ascii)
async def test_an_id_of_the_client_that_cannot_be_one_is_malformed(bad: object, logs: Logs) -> None:
    envelope = Faulty(lambda raw: ('echo', None, bad) if 'bad' in str(raw) else None)
    async with talk(speaking(envelope)) as talking:
        message_type, answer, _ = await ask(await talking.open(), 'bad')
        assert (message_type, answer['status']) == ('error', 400)
    assert logs.lines == []


@pytest.mark.parametrize(
    ('error', 'status'),
    [
        (MalformedMessage('x', id='q'), 400),
        (UnknownMessageType('x', id='q'), 404),
        (UnhandledMessage('x', id='q'), 400),
    ],
    ids=shown,
)
async def test_any_unhandled_message_may_be_raised_by_decode_with_the_id_that_was_read(
    error: UnhandledMessage, status: int, logs: Logs
) -> None:
    def fail(raw: str | bytes) -> None:
        raise error

    async with talk(speaking(Faulty(fail))) as talking:
        message_type, answer, message_id = await ask(await talking.open(), 'x')
        assert (message_type, answer['status'], message_id) == ('error', status, 'q')
    assert logs.lines == []


@pytest.mark.parametrize('nonsense', [5, {}, ['x'], object()], ids=shown)
async def test_what_encode_must_not_return_fails_its_sender(nonsense: object, logs: Logs) -> None:
    class Saying:
        ws_envelope = Faulty(encode=lambda name: nonsense if name == 'bad' else None)

        async def on_ws_bad(self, ws: WebSocket) -> str:
            with pytest.raises(TypeError, match=r'encode returned .*: expected str or bytes'):
                await ws.send_message('bad')
            return 'raised'

    async with talk(Saying()) as talking:
        assert await ask(await talking.open(), ['bad', None, 1]) == ['reply', 'raised', 1]
    assert logs.lines == []


async def test_an_answer_that_encode_cannot_make_becomes_an_error(logs: Logs) -> None:
    def fail(type: str) -> None:
        if type == 'reply':
            raise LookupError('secret')

    async with talk(speaking(Faulty(encode=fail))) as talking:
        message_type, answer, message_id = await ask(await talking.open(), ['echo', 5, 1])
        assert (message_type, answer['status'], message_id) == ('error', 500, 1)
        assert 'secret' not in str(answer)
    [line] = logs.take()
    assert 'LookupError' in line


@pytest.mark.parametrize('wrong', [lambda name: 5, lambda name: 1 / 0], ids=['returns', 'raises'])
async def test_an_envelope_that_can_make_no_error_ends_the_connection(
    wrong: Callable[[str], Any], logs: Logs
) -> None:
    async with talk(speaking(Faulty(encode=wrong))) as talking:
        socket = await talking.open()
        await socket.send_text('["echo", 5, 1]')
        with pytest.raises(falcon.WebSocketDisconnected):
            await socket.receive_text()
        assert socket.close_code == 1011
    assert logs.take()


async def test_what_encode_returns_is_the_kind_of_frame() -> None:
    kinds: dict[str, Any] = {
        'text': 'é',
        'bytes': b'\xff',
        'bytearray': bytearray(b'ab'),
        'memoryview': memoryview(b'ab'),
    }

    class Saying:
        ws_envelope = Faulty(encode=kinds.get)

        async def on_ws_go(self, ws: WebSocket) -> None:
            for kind in kinds:
                await ws.send_message(kind)

    async with talk(Saying()) as talking:
        socket = await talking.open()
        await socket.send_text('["go", null, null]')
        assert await socket.receive_text() == 'é'
        for data in (b'\xff', b'ab', b'ab'):
            assert await socket.receive_data() == data


# -- the kind of frame


class Catching(Echo):
    def __init__(self) -> None:
        self.seen: list[tuple[str | bytes, str]] = []

    async def on_ws_unhandled(
        self, ws: WebSocket, raw: str | bytes, error: UnhandledMessage
    ) -> None:
        self.seen.append((raw, type(error).__name__))


async def test_a_binary_frame_where_none_is_understood_is_an_unhandled_message(
    ws_implementation: str, logs: Logs
) -> None:
    catching = Catching()
    app = install(falcon.asgi.App())
    missing = falcon.media.MissingDependencyHandler('binary', 'msgpack')
    app.ws_options.media_handlers[falcon.WebSocketPayloadType.BINARY] = missing
    app.add_route('/plain', Echo())
    app.add_route('/catching', catching)
    async with serve(app, ws_implementation) as served:
        async with served.client('/plain') as client:
            error = await client.ask(b'{"type": "echo"}')
            assert error['payload']['status'] == 400
            assert 'send text' in error['payload']['description']
            assert (await client.ask({'type': 'echo', 'id': 1}))['type'] == 'reply'
        async with served.client('/catching') as client:
            await client.send(b'{"type": "echo"}')
            assert (await client.ask({'type': 'echo', 'id': 1}))['type'] == 'reply'
    assert catching.seen == [(b'{"type": "echo"}', 'MalformedMessage')]
    assert logs.lines == []


class Binary(Arrays):
    """The same arrays, in binary frames alone."""

    def decode(self, raw: str | bytes) -> Any:
        if isinstance(raw, str):
            raise MalformedMessage('expected binary frames', decoded=False)
        return super().decode(raw)

    def encode(self, type: str, payload: Any, id: str | int | None) -> Any:
        return super().encode(type, payload, id).encode()


async def test_an_own_envelope_gets_frames_of_both_kinds_and_refuses_which_it_likes() -> None:
    resource = speaking(Binary(), Catching)
    async with talk(resource, speaking(Binary())) as talking:
        catching, plain = await talking.open('/'), await talking.open('/1')
        await catching.send_text('["echo", 5, 1]')
        for socket in (catching, plain):
            await socket.send_data(b'["echo", 5, 2]')
            assert json.loads(await socket.receive_data()) == ['reply', 5, 2]
        await plain.send_text('["echo", 5, 1]')
        error = json.loads(await plain.receive_data())  # its answers are binary all the same
        assert (error[0], error[1]['description']) == ('error', 'expected binary frames')
    assert resource.seen == [('["echo", 5, 1]', 'MalformedMessage')]


# -- one wire format for a room


async def test_a_room_speaks_one_envelope(logs: Logs) -> None:
    arrays = Arrays()
    routes = [Echo(), speaking(RENAMED), speaking(FLAT), speaking(arrays)]
    async with talk(*routes) as talking:
        await talking.open('/')
        for path in ('/1', '/2', '/3'):
            await talking.open(path)
        plain, *others = talking.ids
        await talking.manager.join_room(plain, 'room')
        for other in others:
            with pytest.raises(WireFormatMismatch) as caught:
                await talking.manager.join_room(other, 'room')
            assert (caught.value.room, caught.value.spoken) == ('room', Envelope())
            assert talking.manager.connections[other].rooms == frozenset()
        assert await talking.manager.count_connections_in_room('room') == 1
    assert logs.lines == []


async def test_ws_join_room_raises_the_same_mismatch_to_its_handler() -> None:
    class Joining:
        async def on_ws_join(self, ws: WebSocket, payload: str) -> str:
            try:
                await ws.join_room(payload)
            except WireFormatMismatch as error:
                return str(error)
            return 'joined'

    async with talk(Joining(), speaking(Arrays(), Joining)) as talking:
        one, two = await talking.open('/'), await talking.open('/1')
        assert (await ask(one, {'type': 'join', 'payload': 'r', 'id': 1}))['payload'] == 'joined'
        _, refused, _ = await ask(two, ['join', 'r', 1])
        assert "the room 'r' speaks Envelope(" in refused
        assert (await ask(two, ['join', 'other', 2]))[1] == 'joined'


async def test_a_room_that_has_emptied_may_speak_another_envelope() -> None:
    async with talk(Echo(), speaking(RENAMED)) as talking:
        await talking.open('/')
        await talking.open('/1')
        one, two = talking.ids
        await talking.manager.join_room(one, 'room')
        await talking.manager.leave_room(one, 'room')
        await talking.manager.join_room(two, 'room')
        with pytest.raises(WireFormatMismatch):
            await talking.manager.join_room(one, 'room')


@pytest.mark.parametrize(
    'envelopes',
    [
        (Envelope(type_field='t'), Envelope(type_field='t')),
        (Envelope(), Envelope(payload_field='payload')),
    ],
)
async def test_equal_envelopes_are_one_wire_format(envelopes: tuple[Envelope, Envelope]) -> None:
    async with talk(*map(speaking, envelopes)) as talking:
        await talking.open('/')
        await talking.open('/1')
        for connection_id in talking.ids:
            await talking.manager.join_room(connection_id, 'room')
        assert await talking.manager.count_connections_in_room('room') == 2


@dataclass(frozen=True)
class Dialect(Prefixed):
    """Equal where it says the same."""

    name: str


@pytest.mark.parametrize(
    ('one', 'two', 'fits'),
    [
        (Prefixed(), Prefixed(), False),
        (Dialect('a'), Dialect('a'), True),
        (Dialect('a'), Dialect('b'), False),
    ],
    ids=['by identity', 'equal', 'unequal'],
)
async def test_own_envelopes_are_one_wire_format_where_they_are_equal(
    one: MessageEnvelope, two: MessageEnvelope, fits: bool
) -> None:
    async with talk(speaking(one), speaking(two)) as talking:
        await talking.open('/')
        await talking.open('/1')
        first, second = talking.ids
        await talking.manager.join_room(first, 'room')
        if fits:
            await talking.manager.join_room(second, 'room')
        else:
            with pytest.raises(WireFormatMismatch):
                await talking.manager.join_room(second, 'room')


async def test_routes_that_share_an_own_envelope_share_rooms_and_encode_once() -> None:
    arrays = Arrays()
    async with talk(speaking(arrays), speaking(arrays)) as talking:
        sockets = [await talking.open('/'), await talking.open('/1')]
        for connection_id in talking.ids:
            await talking.manager.join_room(connection_id, 'room')
        report = await talking.manager.broadcast_to_room('room', Message('news', 5))
        assert report.queued == 2
        for socket in sockets:
            assert json.loads(await socket.receive_text()) == ['news', 5, None]
        assert arrays.encoded == 1


# -- one message to connections of several envelopes


class Member(Echo):
    """Is a user, and subscribes to news."""

    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        await ws.identify('ada')
        await ws.subscribe('news/+')


Send = Callable[[WebSocketConnectionManager, Any], Any]

TO_ALL: dict[str, Send] = {
    'broadcast': lambda manager, message: manager.broadcast(message),
    'send_to_user': lambda manager, message: manager.send_to_user('ada', message),
    'broadcast_to_users': lambda manager, message: manager.broadcast_to_users(['ada'], message),
    'publish': lambda manager, message: manager.publish('news/x', message),
}


@asynccontextmanager
async def members(arrays: Arrays) -> AsyncIterator[tuple[Talk, list[Socket]]]:
    """Two connections each of the default envelope, of another and of an own one."""
    envelopes: list[Any] = [Envelope(), RENAMED, arrays]
    async with talk(*(speaking(envelope, Member) for envelope in envelopes)) as talking:
        yield talking, [await talking.open(path) for path in ('/', '/', '/1', '/1', '/2', '/2')]


@pytest.mark.parametrize('how', TO_ALL)
async def test_a_message_reaches_each_in_its_own_form_encoded_once_per_form(how: str) -> None:
    arrays = Arrays()
    async with members(arrays) as (talking, sockets):
        report = await TO_ALL[how](talking.manager, Message('news', 5))
        assert (report.queued, report.dropped) == (6, 0)
        assert [json.loads(await socket.receive_text()) for socket in sockets] == [
            *([{'type': 'news', 'payload': 5}] * 2),
            *([{'event': 'news', 'data': 5}] * 2),
            *([['news', 5, None]] * 2),
        ]
        assert arrays.encoded == 1
        assert talking.manager.stats().delivered == 6


async def test_a_message_to_one_connection_has_its_form() -> None:
    async with members(Arrays()) as (talking, sockets):
        for connection_id in talking.ids:
            await talking.manager.send_to_connection(connection_id, Message('news', 5))
        last = json.loads(await sockets[-1].receive_text())
        assert last == ['news', 5, None]
        assert json.loads(await sockets[0].receive_text()) == {'type': 'news', 'payload': 5}


@pytest.mark.parametrize('how', TO_ALL)
@pytest.mark.parametrize(
    ('message', 'text'),
    [({'type': 'news', 'own': 1}, '{"type":"news","own":1}'), ('plain', 'plain'), (b'\x00', None)],
)
async def test_dicts_text_and_bytes_go_out_to_everybody_as_they_are(
    how: str, message: Any, text: str | None
) -> None:
    async with members(Arrays()) as (talking, sockets):
        await TO_ALL[how](talking.manager, message)
        for socket in sockets:
            if text is None:
                assert await socket.receive_data() == message
            else:
                assert await socket.receive_text() == text


async def test_what_one_form_cannot_carry_reaches_nobody() -> None:
    """A flat form has no place for a number; so the sender is told, and nobody hears half of it."""
    async with talk(Echo(), speaking(FLAT)) as talking:
        plain, _ = await talking.open('/'), await talking.open('/1')
        with pytest.raises(TypeError, match='expected a mapping'):
            await talking.manager.broadcast(Message('news', 5))
        await talking.manager.broadcast(Message('news', {'x': 1}))
        assert json.loads(await plain.receive_text()) == {'type': 'news', 'payload': {'x': 1}}


async def test_excluded_connections_need_no_form() -> None:
    async with talk(Echo(), speaking(FLAT)) as talking:
        plain, _ = await talking.open('/'), await talking.open('/1')
        _, flat = talking.ids
        report = await talking.manager.broadcast(Message('news', 5), exclude_ids=[flat])
        assert report.queued == 1
        assert json.loads(await plain.receive_text()) == {'type': 'news', 'payload': 5}


class Packing(Arrays):
    """Carries what JSON cannot."""

    def encode(self, type: str, payload: Any, id: str | int | None) -> Any:
        return type.encode() + b':' + payload


async def test_a_message_to_an_empty_room_is_made_in_no_form_that_nobody_there_speaks() -> None:
    async with talk(speaking(Packing())) as talking:
        await talking.open()
        report = await talking.manager.broadcast_to_room('nobody', Message('x', b'\x00'))
        assert (report.queued, report.dropped) == (0, 0)


async def test_a_message_to_nobody_is_no_error_before_the_first_connection_either() -> None:
    async with talk(speaking(Packing())) as talking:
        await talking.manager.broadcast_to_room('nobody', Message('x', b'\x00'))


class Foreign:
    """A socket of somebody else's loop."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[str] = asyncio.Queue()

    async def send_text(self, payload: str) -> None:
        self.sent.put_nowait(payload)

    async def send_data(self, payload: bytes) -> None:
        raise AssertionError

    async def close(self, code: int | None = None, reason: str | None = None) -> None:
        raise AssertionError


@pytest.mark.parametrize('others', [[], [Arrays()]], ids=['alone', 'beside another'])
async def test_a_connection_that_was_added_by_hand_speaks_the_apps_envelope(
    others: list[Any],
) -> None:
    foreign = Foreign()
    async with talk(Echo(), *map(speaking, others), envelope=RENAMED) as talking:
        paths = ['/', *(['/1'] if others else [])]
        for path in paths:
            await talking.open(path)
        manager = talking.manager
        manager.add_connection('mine', foreign)
        await manager.broadcast(Message('news', 5))
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await foreign.sent.get() == '{"event":"news","data":5}'
        await manager.join_room(talking.ids[0], 'room')
        await manager.join_room('mine', 'room')  # one wire format
        manager.remove_connection('mine')
