"""The sensors of `examples/messagepack`, spoken to in binary frames over real uvicorn."""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
import json
import struct
import sys
from typing import Any

from examples.messagepack.app import create_app
from examples.messagepack.client import measure_and_watch
from examples.messagepack.envelope import MessagePackEnvelope
import falcon.asgi
from hypothesis import given
from hypothesis import strategies as st
import jsonschema
import msgpack
import pytest

from falcon_ws_mw import MalformedMessage, Message, UnhandledMessage, WebSocket, install
from falcon_ws_mw.asyncapi.document import asyncapi_document

from .conftest import Logs
from .servers import Client, serve

AT = msgpack.Timestamp.from_datetime(datetime(2026, 11, 21, 8, 30, tzinfo=UTC))


def samples_of(*numbers: int) -> bytes:
    samples = array('h', numbers)
    if sys.byteorder == 'big':
        samples.byteswap()
    return samples.tobytes()


READING = {'sensor': 'axle', 'at': AT, 'samples': samples_of(5, -32768, 7)}


async def tell(client: Client, *message: Any) -> None:
    await client.send(msgpack.packb(message))


async def ask(client: Client, *message: Any) -> Any:
    await tell(client, *message)
    return await client.receive()


@asynccontextmanager
async def connected(
    *paths: str, ws_implementation: str = 'websockets-sansio'
) -> AsyncIterator[list[Client]]:
    async with serve(create_app(), ws_implementation) as served, AsyncExitStack() as stack:
        yield [await stack.enter_async_context(served.client(path)) for path in paths]


# -- the service


async def test_a_reading_goes_as_it_is_to_those_who_watch_the_site(
    ws_implementation: str, logs: Logs
) -> None:
    paths = ('/sites/mill', '/sites/mill', '/sites/dam')
    async with connected(*paths, ws_implementation=ws_implementation) as [sensor, watcher, other]:
        for client in (watcher, other):
            assert await ask(client, 'watch', None, 1) == ['reply', [], 1]
        answer = await ask(sensor, 'reading', READING, 'q')
        assert answer == ['reply', {'samples': 3, 'peak': 32768}, 'q']
        assert await watcher.receive() == ['reading', READING]
        assert await ask(other, 'watch', None, 2) == ['reply', [], 2]  # it got nothing before
        assert await ask(sensor, 'watch', None, 3) == ['reply', [READING], 3]
    assert logs.lines == []


async def test_a_message_without_an_id_gets_no_reply() -> None:
    async with connected('/sites/mill') as [sensor]:
        await tell(sensor, 'reading', READING)
        assert await ask(sensor, 'watch', None, 1) == ['reply', [READING], 1]


async def test_a_payload_that_does_not_fit_its_annotation_says_where() -> None:
    async with connected('/sites/mill') as [sensor]:
        changes: list[tuple[dict[str, Any], str]] = [
            ({'sensor': 'with space'}, '/sensor'),
            ({'sensor': b'axle'}, '/sensor'),
            ({'at': 5}, '/at'),
            ({'samples': b''}, '/samples'),
            ({'samples': [1, 2]}, '/samples'),
            ({'samples': bytes(32_769)}, '/samples'),
            ({'samples': msgpack.ExtType(5, b'')}, '/samples'),
        ]
        for change, path in changes:
            type_, error, message_id = await ask(sensor, 'reading', {**READING, **change}, 'q')
            assert (type_, error['status'], message_id) == ('error', 422, 'q'), change
            assert [problem['path'] for problem in error['errors']] == [path]
        assert (await ask(sensor, 'reading', {**READING, 'samples': b'abc'}, 1))[1]['status'] == 422


async def test_the_client_of_the_example_works(capsys: pytest.CaptureFixture[str]) -> None:
    async with serve(create_app()) as served:
        await measure_and_watch(f'ws://127.0.0.1:{served.port}/sites/mill')
    latest, told, got = capsys.readouterr().out.splitlines()
    assert latest == "the latest: ['reply', [], 1]"
    assert told == "the sensor is told: ['reply', {'samples': 8, 'peak': 959}, 1]"
    assert got.startswith("the watcher gets: ['reading', {'sensor': 'axle', 'at': datetime.")


# -- what the envelope refuses

BAD_FRAMES: list[tuple[str | bytes, str]] = [
    ('["watch", null, 1]', 'text is not understood'),
    ('', 'text is not understood'),
    (b'', 'not valid MessagePack'),
    (b'\xc1', 'not valid MessagePack'),
    (b'\x91\xa5wat', 'not valid MessagePack'),
    (b'\x91\xa1x\xc0', 'not valid MessagePack'),  # one byte too many
    (b'\x91\xa1\xff', 'not valid MessagePack'),  # no UTF-8
    (b'\x91\xa3\xed\xa0\x80', 'not valid MessagePack'),  # a lone surrogate
    (b'\xdd\xff\xff\xff\xff', 'not valid MessagePack'),  # lengths of 4 GiB
    (b'\xdf\xff\xff\xff\xff', 'not valid MessagePack'),
    (b'\xdb\xff\xff\xff\xff', 'not valid MessagePack'),
    (b'\xc6\xff\xff\xff\xff', 'not valid MessagePack'),
    (b'\xc9\xff\xff\xff\xff\x05', 'not valid MessagePack'),
    (b'\x92\xa1x\xdd\x7f\xff\xff\xff', 'not valid MessagePack'),
    (b'\x91' * 60_000, 'not valid MessagePack'),
    (b'\x92\xa1x' + b'\x91' * 2_000 + b'\xc0', 'not valid MessagePack'),
    (b'\x92\xa1x\x81\x01\x02', 'not valid MessagePack'),  # keys that are no text
    (b'\x92\xa1x\x81\x90\x02', 'not valid MessagePack'),
    (b'\x92\xa1x\xc7\x0c\xff' + struct.pack('>Iq', 0, 2**62), 'not valid MessagePack'),
    (b'\x92\xa1x\xc7\x0c\xff' + struct.pack('>Iq', 2**32 - 1, 0), 'not valid MessagePack'),
    (msgpack.packb(5), 'is an array'),
    (msgpack.packb({'type': 'watch'}), 'is an array'),
    (msgpack.packb([]), 'is an array'),
    (msgpack.packb(['watch', None, 1, None]), 'is an array'),
    (msgpack.packb([None]), 'type of a message is text'),
    (msgpack.packb([b'watch']), 'type of a message is text'),
    (msgpack.packb(['watch', None, 1.5]), 'the id is neither'),
    (msgpack.packb(['watch', None, True]), 'the id is neither'),
    (msgpack.packb(['watch', None, b'a']), 'the id is neither'),
    (msgpack.packb(['watch', None, 2**53]), 'the id is neither'),
]


async def test_a_bad_frame_of_either_kind_gets_one_error_and_the_connection_lives(
    ws_implementation: str, logs: Logs
) -> None:
    async with connected('/sites/mill', ws_implementation=ws_implementation) as [client]:
        for raw, says in BAD_FRAMES:
            await client.send(raw)
            type_, error = await client.receive()
            assert (type_, error['status']) == ('error', 400), raw[:40]
            assert says in error['description'], raw[:40]
            # The next answer is the next request's: so there was exactly one.
            assert await ask(client, 'watch', None, 1) == ['reply', [], 1]
    assert logs.lines == []


async def test_errors_carry_the_id_of_their_message() -> None:
    async with connected('/sites/mill') as [client]:
        for message_type, status in (('nothing', 404), (5, 400)):
            type_, error, message_id = await ask(client, message_type, None, 'a')
            assert (type_, error['status'], message_id) == ('error', status, 'a')


@given(st.binary(max_size=64))
def test_whatever_the_bytes_are_they_are_a_message_or_malformed(raw: bytes) -> None:
    try:
        MessagePackEnvelope().decode(raw)
    except MalformedMessage:
        pass


# -- what the envelope carries


class Everything:
    ws_envelope = MessagePackEnvelope()

    def __init__(self) -> None:
        self.unhandled: list[tuple[str | bytes, str]] = []

    async def on_ws_echo(self, ws: WebSocket, payload: Any) -> Any:
        return payload

    async def on_ws_ask(self, ws: WebSocket, payload: bytes) -> Any:
        return await ws.request('which', payload + b'?')

    async def on_ws_unhandled(
        self, ws: WebSocket, raw: str | bytes, error: UnhandledMessage
    ) -> None:
        self.unhandled.append((raw, type(error).__name__))


@asynccontextmanager
async def talking_to(resource: object) -> AsyncIterator[Client]:
    app = install(falcon.asgi.App())
    app.add_route('/', resource)
    async with serve(app) as served, served.client('/') as client:
        yield client


async def test_payloads_come_back_as_they_were() -> None:
    async with talking_to(Everything()) as client:
        payloads: list[Any] = [
            0,
            b'\x00\xff',
            [b'a', {'b': b'c'}],
            {b'bytes': 1},
            -(2**63),
            2**64 - 1,
            1.5,
            float('inf'),
            '',
            'é😀',
            False,
            AT,
            msgpack.Timestamp(-1, 999_999_000),
            msgpack.ExtType(5, b'own'),
            [[[[[]]]]],
        ]
        for payload in payloads:
            assert await ask(client, 'echo', payload, 1) == ['reply', payload, 1]


async def test_a_nil_at_the_end_may_be_left_out() -> None:
    async with talking_to(Everything()) as client:
        await tell(client, 'echo')
        await tell(client, 'echo', None, None)
        assert await ask(client, 'echo', None, 0) == ['reply', {}, 0]


async def test_the_server_asks_for_bytes() -> None:
    async with talking_to(Everything()) as client:
        type_, payload, request_id = await ask(client, 'ask', b'one', 'q')
        assert (type_, payload) == ('which', b'one?')
        assert await ask(client, 'reply', b'\x01', request_id) == ['reply', b'\x01', 'q']


async def test_a_wrong_kind_of_frame_goes_to_on_ws_unhandled_as_it_is() -> None:
    resource = Everything()
    async with talking_to(resource) as client:
        await client.send('["echo"]')
        await client.send(b'\xc1')
        await tell(client, 'nothing')
        assert await ask(client, 'echo', 5, 1) == ['reply', 5, 1]
    assert resource.unhandled == [
        ('["echo"]', 'MalformedMessage'),
        (b'\xc1', 'MalformedMessage'),
        (msgpack.packb(['nothing']), 'UnknownMessageType'),
    ]


async def test_what_is_nested_as_deep_as_can_be_read_is_refused_and_harms_nobody() -> None:
    async with talking_to(Everything()) as client:
        deep = b'\x93\xa4echo' + b'\x91' * 1_000 + b'\xc0' + b'\x01'
        await client.send(deep)
        kind, payload, message_id = await client.receive()
        assert (kind, payload['status'], message_id) == ('error', 400, 1)
        assert await ask(client, 'echo', 5, 1) == ['reply', 5, 1]


@pytest.mark.parametrize(
    'payload',
    [object(), {1, 2}, 2**64, '\ud800', datetime.now(UTC).replace(tzinfo=None)],
    ids=['object', 'set', 'too large', 'surrogate', 'naive'],
)
def test_what_has_no_messagepack_fails_its_sender(payload: object) -> None:
    with pytest.raises((TypeError, ValueError, OverflowError)):
        MessagePackEnvelope().encode('x', payload, None)


@pytest.mark.parametrize(
    ('message', 'array_'),
    [
        (('x', None, None), ['x']),
        (('x', 0, None), ['x', 0]),
        (('x', None, 0), ['x', None, 0]),
        (('x', {}, ''), ['x', {}, '']),
    ],
)
def test_a_message_is_an_array_without_what_is_last_and_nil(
    message: tuple[Any, Any, Any], array_: list[Any]
) -> None:
    assert msgpack.unpackb(MessagePackEnvelope().encode(*message)) == array_


@pytest.mark.parametrize(
    ('id', 'message_id'), [('never', None), ('maybe', None), ('maybe', 'a'), ('always', 'a')]
)
def test_what_is_described_is_what_is_said(id: Any, message_id: str | None) -> None:
    envelope = MessagePackEnvelope()
    validator = jsonschema.Draft202012Validator(envelope.describe('x', {'type': 'number'}, id=id))
    assert validator.is_valid(msgpack.unpackb(envelope.encode('x', 5, message_id)))
    for other in (['y', 5, 'a'], ['x', 'text', 'a'], ['x', 5, 'a', 6], ['x'], []):
        assert not validator.is_valid(other)


@pytest.mark.parametrize(
    ('schema', 'id', 'message', 'is_valid'),
    [
        (None, 'maybe', ['x'], True),
        ({'anyOf': [{'type': 'number'}, {'type': 'null'}]}, 'maybe', ['x'], True),
        ({'type': ['number', 'null']}, 'maybe', ['x', None, None], True),
        ({'type': 'number'}, 'maybe', ['x', 5, None], True),
        ({'type': 'number'}, 'always', ['x', 5], False),
        ({'type': 'number'}, 'always', ['x', 5, None], False),
        ({'type': 'number'}, 'never', ['x', 5, 'a'], False),
    ],
)
def test_what_is_last_and_may_be_nil_may_be_left_out(
    schema: dict[str, Any] | None, id: Any, message: list[Any], is_valid: bool
) -> None:
    described = MessagePackEnvelope().describe('x', schema, id=id)

    assert jsonschema.Draft202012Validator(described).is_valid(message) is is_valid


def test_the_document_of_the_app_describes_arrays() -> None:
    contracts = create_app().describe_websockets()
    text = json.dumps(asyncapi_document(contracts, title='Sensors', version='1'))
    assert 'application/vnd.msgpack' in text
    assert '{"const": "reading"}' in text


async def test_a_broadcast_is_one_frame_for_all_messagepack_routes() -> None:
    class Other(Everything):
        ws_envelope = MessagePackEnvelope()

    app = install(falcon.asgi.App())
    app.add_route('/one', Everything())
    app.add_route('/two', Other())
    async with serve(app) as served, served.client('/one') as one, served.client('/two') as two:
        manager = app.ws_connection_manager
        for connection_id in list(manager.connections):
            await manager.join_room(connection_id, 'room')  # equal envelopes: one wire format
        await manager.broadcast_to_room('room', Message('news', b'\x00'))
        for client in (one, two):
            assert await client.receive() == ['news', b'\x00']
