"""Frames to messages and back, table by table."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from decimal import Decimal
import json
from types import MappingProxyType
from typing import Any

import falcon
import pytest

from falcon_ws_mw.codec import Codec
from falcon_ws_mw.envelope import MAX_SAFE_INTEGER, Envelope, Message, error_payload
from falcon_ws_mw.errors import MalformedMessage, UnhandledMessage, UnknownMessageType
from falcon_ws_mw.frames import frame_bytes, text_frame
from falcon_ws_mw.media import Media

from .conftest import shown

CODEC = Codec()
DEEP = 100_000


def malformed(raw: str | bytes, codec: Codec = CODEC) -> MalformedMessage:
    with pytest.raises(MalformedMessage) as caught:
        codec.decode(raw)
    return caught.value


# -- in: what is a message


@pytest.mark.parametrize(
    ('raw', 'type', 'payload', 'id'),
    [
        ('{"type":"x"}', 'x', {}, None),
        ('{"type":""}', '', {}, None),
        ('{"type":"x","payload":null}', 'x', {}, None),
        ('{"type":"x","payload":{}}', 'x', {}, None),
        ('{"type":"x","payload":{"a":[1]}}', 'x', {'a': [1]}, None),
        ('{"type":"x","payload":0}', 'x', 0, None),
        ('{"type":"x","payload":false}', 'x', False, None),
        ('{"type":"x","payload":""}', 'x', '', None),
        ('{"type":"x","payload":[]}', 'x', [], None),
        ('{"type":"x","id":"a"}', 'x', {}, 'a'),
        ('{"type":"x","id":""}', 'x', {}, ''),
        ('{"type":"x","id":0}', 'x', {}, 0),
        ('{"type":"x","id":-1}', 'x', {}, -1),
        (f'{{"type":"x","id":{2**53 - 1}}}', 'x', {}, 2**53 - 1),
        (f'{{"type":"x","id":{1 - 2**53}}}', 'x', {}, 1 - 2**53),
        ('{"type":"x","type":"y"}', 'y', {}, None),
        ('{"type":"x","payload":1,"payload":2}', 'x', 2, None),
        ('{"type":"x","id":true,"id":5}', 'x', {}, 5),
        (' {"type" : "é\\u00e9😀"}\n', 'éé😀', {}, None),
        (f'{{"type":"{"x" * 100_000}"}}', 'x' * 100_000, {}, None),
        ('{"type":"x","more":1}', 'x', {}, None),
    ],
)
def test_this_is_a_message(raw: str, type: str, payload: object, id: str | int | None) -> None:
    incoming = CODEC.decode(raw)

    assert (incoming.type, incoming.payload, incoming.id) == (type, payload, id)


def test_an_id_of_0_is_no_boolean() -> None:
    assert CODEC.decode('{"type":"x","id":0}').id is not False


def test_a_message_keeps_the_whole_decoded_object() -> None:
    incoming = CODEC.decode('{"type":"x","payload":null,"more":[1]}')

    assert incoming.message == {'type': 'x', 'payload': None, 'more': [1]}


def test_an_absent_payload_is_a_new_object_for_each_message() -> None:
    CODEC.decode('{"type":"x"}').payload['left'] = 'behind'

    assert CODEC.decode('{"type":"x"}').payload == {}


# -- in: what is none


@pytest.mark.parametrize(
    ('raw', 'says'),
    [
        ('', 'not valid JSON'),
        ('hello', 'not valid JSON'),
        ('{"type":"x"', 'not valid JSON'),
        ('{"type":"x"} x', 'not valid JSON'),
        ("{'type':'x'}", 'not valid JSON'),
        ('{"type":"x","payload":NaN}', 'not valid JSON'),
        ('{"type":"x","payload":Infinity}', 'not valid JSON'),
        ('{"type":"\\ud800"}', 'not valid JSON'),
        ('{"type":"\ud800"}', 'not valid JSON'),
        ('[' * DEEP + ']' * DEEP, 'not valid JSON'),
        ('{"a":' * DEEP + '1' + '}' * DEEP, 'not valid JSON'),
        ('[]', 'an object, not an array'),
        ('"x"', 'an object, not text'),
        ('1', 'an object, not a number'),
        ('1.5', 'an object, not a number'),
        ('true', 'an object, not a boolean'),
        ('null', 'an object, not null'),
        ('{}', 'type of a message is text, here it is missing'),
        ('{"type":null}', 'here it is null'),
        ('{"type":1}', 'here it is a number'),
        ('{"type":true}', 'here it is a boolean'),
        ('{"type":["x"]}', 'here it is an array'),
        ('{"type":{}}', 'here it is an object'),
        ('{"type":"x","id":null}', 'the id is null: leave it out'),
        ('{"type":"x","id":true}', 'the id is neither text nor a whole number'),
        ('{"type":"x","id":1.5}', 'the id is neither text nor a whole number'),
        ('{"type":"x","id":1.0}', 'the id is neither text nor a whole number'),
        ('{"type":"x","id":[]}', 'the id is neither text nor a whole number'),
        ('{"type":"x","id":{}}', 'the id is neither text nor a whole number'),
        (f'{{"type":"x","id":{2**53}}}', 'within ±(2⁵³-1)'),
        (f'{{"type":"x","id":{-(2**53)}}}', 'within ±(2⁵³-1)'),
        (f'{{"type":"x","id":{2**64}}}', 'the id is neither text nor a whole number'),
        (b'{"type":"x"}', 'binary frames are not understood here: send text'),
        (b'', 'binary frames are not understood here: send text'),
    ],
    ids=lambda value: shown(value)[:40],
)
def test_this_is_no_message_and_the_client_reads_why(raw: str | bytes, says: str) -> None:
    assert says in malformed(raw).description


@pytest.mark.parametrize('id', ['a', '', 0, 5, MAX_SAFE_INTEGER])
def test_a_malformed_message_keeps_an_id_that_could_be_read(id: str | int) -> None:
    assert malformed(json.dumps({'id': id, 'type': None})).id == id


@pytest.mark.parametrize(
    'raw',
    ['{"id":"a"', '["a"]', '{"type":"x","id":null}', '{"type":1,"id":1.5}', '{"type":1,"id":true}'],
)
def test_a_malformed_message_has_no_id_where_none_could_be_read(raw: str) -> None:
    assert malformed(raw).id is None


# -- in: through the app's own handlers


@pytest.mark.parametrize(
    'error',
    [
        ValueError('bad'),
        KeyError('bad'),
        RecursionError(),
        MemoryError(),
        falcon.MediaMalformedError('JSON'),
        falcon.HTTPForbidden(),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize('raw', ['x', b'x'])
def test_whatever_an_own_handler_raises_the_message_is_malformed(
    raw: str | bytes, error: Exception
) -> None:
    def load(raw: object) -> Any:
        raise error

    caught = malformed(raw, Codec(Media(loads=load, load_binary=load)))

    assert caught.__cause__ is error


def test_what_an_own_handler_finds_unhandled_stays_what_it_is() -> None:
    own = UnknownMessageType('x', id=3)

    def load(raw: object) -> Any:
        raise own

    with pytest.raises(UnhandledMessage) as caught:
        Codec(Media(loads=load)).decode('x')

    assert caught.value is own


def test_pythons_json_dies_of_deep_nesting_and_it_is_the_message_that_is_malformed() -> None:
    raw = '[' * DEEP + ']' * DEEP

    assert 'not valid JSON' in malformed(raw, Codec(Media(loads=json.loads))).description


def test_binary_frames_are_read_by_the_handler_for_them() -> None:
    codec = Codec(Media(load_binary=lambda raw: {'type': raw.decode()}))

    assert codec.decode(b'x').type == 'x'


def test_an_id_that_no_answer_could_carry_is_malformed() -> None:
    """Python's own JSON lets a lone surrogate through, and no frame can bring it back."""
    raw = json.dumps({'type': 'x', 'id': '\ud800'})

    assert malformed(raw, Codec(Media(loads=json.loads))).id is None


@pytest.mark.parametrize(
    ('message', 'says'),
    [(object(), 'something else'), ((1, 2), 'something else'), (b'x', 'something else')],
)
def test_what_only_an_own_handler_can_decode_is_refused_too(message: object, says: str) -> None:
    with pytest.raises(MalformedMessage, match=says):
        Envelope().read(message)


# -- out


@pytest.mark.parametrize(
    ('message', 'frame'),
    [
        ({}, {'text': '{}'}),
        ({'type': 'x', 'a': [1, None]}, {'text': '{"type":"x","a":[1,null]}'}),
        ({'a': 'é😀'}, {'text': '{"a":"é😀"}'}),
        (MappingProxyType({'a': 1}), {'text': '{"a":1}'}),
        (ChainMap({'a': 1}, {'b': 2}), {'text': '{"b":2,"a":1}'}),
        ('', {'text': ''}),
        ('no JSON', {'text': 'no JSON'}),
        ('é😀', {'text': 'é😀'}),
        (b'', {'bytes': b''}),
        (b'\x00\xff', {'bytes': b'\x00\xff'}),
        (bytearray(b'ab'), {'bytes': b'ab'}),
        (memoryview(b'abcd')[1:3], {'bytes': b'bc'}),
        (memoryview(b'abcd')[::2], {'bytes': b'ac'}),
        (Message('x'), {'text': '{"type":"x","payload":null}'}),
        (Message('x', {'a': 1}), {'text': '{"type":"x","payload":{"a":1}}'}),
        (Message('x', [1]), {'text': '{"type":"x","payload":[1]}'}),
    ],
    ids=lambda value: shown(value)[:40],
)
def test_this_goes_out_as(message: Any, frame: dict[str, object]) -> None:
    assert CODEC.encode(message) == {'type': 'websocket.send', **frame}


@pytest.mark.parametrize('message', [bytearray(b'ab'), memoryview(b'ab')])
def test_a_frame_of_bytes_does_not_change_with_what_it_was_made_of(
    message: bytearray | memoryview,
) -> None:
    assert type(CODEC.encode(message)['bytes']) is bytes


@pytest.mark.parametrize('message', [None, 1, 1.5, True, [], [{}], (), {'a'}, object()], ids=shown)
def test_nothing_else_can_be_sent(message: Any) -> None:
    with pytest.raises(TypeError, match='expected a dict, str, bytes, a Message'):
        CODEC.encode(message)


@pytest.mark.parametrize(
    'message', [{'a': object()}, {object(): 2}, {'a': '\ud800'}, Message('x', object())], ids=shown
)
def test_what_cannot_be_json_is_a_type_error(message: Any) -> None:
    with pytest.raises(TypeError):
        CODEC.encode(message)


def test_keys_that_are_no_text_go_out_as_text() -> None:
    message: dict[Any, int] = {1: 2, None: 3}

    assert CODEC.encode(message) == text_frame('{"1":2,"null":3}')


def test_what_msgspec_reads_goes_out_as_msgspec_would_write_it() -> None:
    payload = {'price': Decimal('1.50'), 'tags': {'a'}, 'raw': b'\x00\xff'}

    assert CODEC.encode(payload) == text_frame('{"price":"1.50","tags":["a"],"raw":"AP8="}')


@pytest.mark.parametrize('text', ['\ud800', 'a\udfff', '😀\ud83d'], ids=ascii)
def test_text_without_a_utf8_form_fails_its_sender(text: str) -> None:
    with pytest.raises(ValueError, match='surrogates not allowed'):
        CODEC.encode(text)


def test_what_an_own_handler_makes_is_checked_like_any_text() -> None:
    codec = Codec(Media(dumps=lambda media: '\ud800'))

    with pytest.raises(ValueError, match='surrogates not allowed'):
        codec.encode({})


@pytest.mark.parametrize('message', [{'a': 1}, Message('x')])
def test_an_own_handler_makes_the_text_of_objects(message: Mapping[str, Any] | Message) -> None:
    codec = Codec(Media(dumps=lambda media: f'own {sorted(media)}'))

    assert codec.encode(message)['text'].startswith('own ')


@pytest.mark.parametrize('message', ['text', b'bytes'])
def test_an_own_handler_is_not_asked_for_text_and_bytes(message: str | bytes) -> None:
    def fail(media: object) -> Any:
        raise AssertionError

    assert Codec(Media(dumps=fail, dump_binary=fail)).encode(message) == CODEC.encode(message)


@pytest.mark.parametrize(
    ('codec', 'binary', 'frame'),
    [
        (Codec(Media(dump_binary=lambda media: b'own')), True, {'bytes': b'own'}),
        (Codec(Media(dump_binary=lambda media: b'own')), False, {'text': '[1]'}),
        (Codec(), True, {'text': '[1]'}),
    ],
)
def test_an_object_goes_out_as_binary_where_it_is_asked_for_and_can_be(
    codec: Codec, binary: bool, frame: dict[str, object]
) -> None:
    assert codec.encode_object([1], binary=binary) == {'type': 'websocket.send', **frame}


def test_an_object_goes_out_as_text_where_binary_is_not_asked_for() -> None:
    assert 'text' in Codec(Media(dump_binary=lambda media: b'own')).encode({})


@pytest.mark.parametrize(
    ('codec', 'understands'),
    [
        (Codec(), False),
        (Codec(Media(load_binary=json.loads)), False),
        (Codec(Media(dump_binary=lambda media: b'')), False),
        (Codec(Media(load_binary=json.loads, dump_binary=lambda media: b'')), True),
    ],
)
def test_binary_is_understood_if_it_can_be_read_and_made(codec: Codec, understands: bool) -> None:
    assert codec.media.understands_binary is understands


# -- the envelope's own words


@pytest.mark.parametrize(
    ('id', 'message'),
    [
        (None, {'type': 'x', 'payload': 1}),
        ('', {'type': 'x', 'id': '', 'payload': 1}),
        (0, {'type': 'x', 'id': 0, 'payload': 1}),
    ],
)
def test_an_id_is_in_the_envelope_unless_there_is_none(
    id: str | int | None, message: dict[str, object]
) -> None:
    assert Envelope().wrap('x', 1, id) == message


def test_an_error_carries_falcons_description_and_its_status() -> None:
    error = falcon.HTTPForbidden(title='No', description='not you', code=7)

    assert error_payload(error) == {
        'status': 403,
        'title': 'No',
        'description': 'not you',
        'code': 7,
    }


# -- sizes


@pytest.mark.parametrize('text', ['', 'abc', 'é', '€uro', '😀'])
def test_the_size_of_a_text_is_that_of_its_utf8(text: str) -> None:
    assert frame_bytes(text_frame(text)) == len(text.encode())


@pytest.mark.parametrize('data', [b'', b'\x00\xff'])
def test_the_size_of_bytes_is_their_number(data: bytes) -> None:
    assert frame_bytes(CODEC.encode(data)) == len(data)


def test_the_size_is_that_of_the_bytes_where_the_text_is_null() -> None:
    """ASGI allows both keys, as long as one is not None."""
    assert frame_bytes({'type': 'websocket.send', 'text': None, 'bytes': b'abc'}) == 3
