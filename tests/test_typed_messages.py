"""Payloads by annotation, on the wire: what fits reaches the handler, what does not is answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
import inspect
from typing import Annotated, Any, Literal, TypedDict, TypeVar

from examples.chat import app as chat_app
from examples.chat.fields import read_text
from examples.chat.messages import SendMessage, SetTyping
from examples.chat.rooms import ChatRoom
import falcon
import falcon.asgi
import falcon.testing
import httpx
import msgspec
import pydantic
import pydantic.dataclasses
import pytest

from falcon_ws_mw import (
    ConfigurationError,
    Envelope,
    InvalidPayload,
    Message,
    UnhandledMessage,
    WebSocket,
    WebSocketLifespan,
    install,
    parallel,
    payloads,
    sends,
)

from .conftest import Logs
from .servers import Client, serve

# -- the chat, its payloads annotated in five styles


class SendStruct(msgspec.Struct):
    text: Annotated[str, msgspec.Meta(pattern=r'\S', max_length=2000)]


class TypingStruct(msgspec.Struct):
    typing: bool = True


@dataclass
class SendDataclass:
    text: Annotated[str, msgspec.Meta(pattern=r'\S', max_length=2000)]


@dataclass
class TypingDataclass:
    typing: bool = True


class SendTypedDict(TypedDict):
    text: Annotated[str, msgspec.Meta(pattern=r'\S', max_length=2000)]


class TypingTypedDict(TypedDict, total=False):
    typing: bool


class SendModel(pydantic.BaseModel):
    text: Annotated[str, pydantic.Field(pattern=r'\S', max_length=2000)]


class TypingModel(pydantic.BaseModel):
    typing: pydantic.StrictBool = True


class ByDict(ChatRoom):
    async def on_ws_clientSendMessage(  # type: ignore[override]
        self, ws: WebSocket, payload: dict[str, Any], room_name: str
    ) -> None:
        text = read_text(payload, 'text')
        await super().on_ws_clientSendMessage(ws, SendMessage(text), room_name)

    async def on_ws_clientTyping(  # type: ignore[override]
        self, ws: WebSocket, payload: dict[str, Any], room_name: str
    ) -> None:
        typing = payload.get('typing', True)
        if not isinstance(typing, bool):
            raise falcon.HTTPUnprocessableEntity(description='typing is true or false')
        await super().on_ws_clientTyping(ws, SetTyping(typing), room_name)


class ByDataclass(ChatRoom):
    async def on_ws_clientSendMessage(  # type: ignore[override]
        self, ws: WebSocket, payload: SendDataclass, room_name: str
    ) -> None:
        await super().on_ws_clientSendMessage(ws, SendMessage(payload.text), room_name)

    async def on_ws_clientTyping(  # type: ignore[override]
        self, ws: WebSocket, payload: TypingDataclass, room_name: str
    ) -> None:
        await super().on_ws_clientTyping(ws, SetTyping(payload.typing), room_name)


class ByTypedDict(ChatRoom):
    async def on_ws_clientSendMessage(  # type: ignore[override]
        self, ws: WebSocket, payload: SendTypedDict, room_name: str
    ) -> None:
        await super().on_ws_clientSendMessage(ws, SendMessage(payload['text']), room_name)

    async def on_ws_clientTyping(  # type: ignore[override]
        self, ws: WebSocket, payload: TypingTypedDict, room_name: str
    ) -> None:
        await super().on_ws_clientTyping(ws, SetTyping(**payload), room_name)


class ByModel(ChatRoom):
    async def on_ws_clientSendMessage(  # type: ignore[override]
        self, ws: WebSocket, payload: SendModel, room_name: str
    ) -> None:
        await super().on_ws_clientSendMessage(ws, SendMessage(payload.text), room_name)

    async def on_ws_clientTyping(  # type: ignore[override]
        self, ws: WebSocket, payload: TypingModel, room_name: str
    ) -> None:
        await super().on_ws_clientTyping(ws, SetTyping(payload.typing), room_name)


SCRIPT: list[dict[str, Any]] = [
    {'type': 'clientSendMessage', 'payload': {'text': ' hi '}, 'id': 1},
    {'type': 'clientSendMessage', 'payload': {'text': 'é😀', 'more': 1}},
    {'type': 'clientTyping', 'id': 2},
    {'type': 'clientTyping', 'payload': None, 'id': 3},
    {'type': 'clientTyping', 'payload': {'typing': False}, 'id': 4},
    {'type': 'clientTyping', 'payload': {'typing': 'no'}, 'id': 5},
    {'type': 'clientTyping', 'payload': [], 'id': 6},
    {'type': 'clientSendMessage', 'id': 7},
    {'type': 'clientSendMessage', 'payload': {'text': ' '}, 'id': 8},
    {'type': 'clientSendMessage', 'payload': {'text': 'x' * 2001}},
    {'type': 'clientSendMessage', 'payload': {'text': 5}, 'id': 'nine'},
    {'type': 'clientSendMessage', 'payload': 'x', 'id': 10},
    {'type': 'clientSendMessage', 'payload': {'text': 'bye'}, 'id': 11},
]

TRANSCRIPT: list[Any] = [
    ('serverNewMessage', None, {'user': 'ada', 'text': 'hi'}),
    ('reply', 1, None),
    ('serverNewMessage', None, {'user': 'ada', 'text': 'é😀'}),
    ('reply', 2, None),
    ('reply', 3, None),
    ('reply', 4, None),
    ('error', 5, 422),
    ('error', 6, 422),
    ('error', 7, 422),
    ('error', 8, 422),
    ('error', None, 422),
    ('error', 'nine', 422),
    ('error', 10, 422),
    ('serverNewMessage', None, {'user': 'ada', 'text': 'bye'}),
    ('reply', 11, None),
]


def in_short(message: dict[str, Any]) -> Any:
    """A message without what differs from run to run, and an error by its status."""
    payload = message['payload']
    if message['type'] == 'error':
        payload = payload['status']
    elif isinstance(payload, dict):
        payload.pop('sent_at', None)
    return message['type'], message.get('id'), payload


@pytest.mark.parametrize('room', [ChatRoom, ByDict, ByDataclass, ByTypedDict, ByModel])
async def test_the_chat_is_the_same_on_the_wire_however_its_payloads_are_annotated(
    room: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_app, 'ChatRoom', room)
    async with serve(chat_app.create_app()) as served:
        async with httpx.AsyncClient(base_url=served.http) as http:
            token = (await http.post('/session', json={'user': 'ada'})).json()['token']
        headers = {'Authorization': f'Bearer {token}'}
        async with served.client('/ws/chat/lobby', additional_headers=headers) as ada:
            assert (await ada.receive())['type'] == 'serverWelcome'
            for message in SCRIPT:
                await ada.send(message)
            said = [in_short(await ada.receive()) for _ in TRANSCRIPT]

    assert said == TRANSCRIPT


# -- what does not fit


class LineStruct(msgspec.Struct):
    sku: str
    count: int


class OrderStruct(msgspec.Struct):
    title: str
    number: int
    price: float
    paid: bool
    kind: Literal['new', 'used']
    at: datetime
    lines: list[LineStruct]
    stock: dict[str, int]
    gift: LineStruct | None = None
    note: str | None = None


@dataclass
class LineDataclass:
    sku: str
    count: int


@dataclass
class OrderDataclass:
    title: str
    number: int
    price: float
    paid: bool
    kind: Literal['new', 'used']
    at: datetime
    lines: list[LineDataclass]
    stock: dict[str, int]
    gift: LineDataclass | None = None
    note: str | None = None


class LineDict(TypedDict):
    sku: str
    count: int


class _OrderDict(TypedDict):
    title: str
    number: int
    price: float
    paid: bool
    kind: Literal['new', 'used']
    at: datetime
    lines: list[LineDict]
    stock: dict[str, int]


class OrderDict(_OrderDict, total=False):
    gift: LineDict | None
    note: str | None


class LineModel(pydantic.BaseModel):
    sku: str
    count: int


class OrderModel(pydantic.BaseModel):
    title: str
    number: int
    price: float
    paid: bool
    kind: Literal['new', 'used']
    at: datetime
    lines: list[LineModel]
    stock: dict[str, int]
    gift: LineModel | None = None
    note: str | None = None


class Orders:
    calls = 0

    async def on_ws_struct(self, ws: WebSocket, payload: OrderStruct) -> str:
        Orders.calls += 1
        return payload.lines[0].sku

    async def on_ws_dataclass(self, ws: WebSocket, payload: OrderDataclass) -> str:
        Orders.calls += 1
        return payload.lines[0].sku

    async def on_ws_typeddict(self, ws: WebSocket, payload: OrderDict) -> str:
        Orders.calls += 1
        return payload['lines'][0]['sku']

    async def on_ws_model(self, ws: WebSocket, payload: OrderModel) -> str:
        Orders.calls += 1
        return payload.lines[0].sku


STYLES = ('struct', 'dataclass', 'typeddict', 'model')

RIGHT: dict[str, Any] = {
    'title': 'Tea',
    'number': 1,
    'price': 2.5,
    'paid': True,
    'kind': 'new',
    'at': '2026-01-02T03:04:05Z',
    'lines': [{'sku': 'a', 'count': 1}, {'sku': 'b', 'count': 2}],
    'stock': {'a': 1, 'b.c': 2, 'd/e': 3, 'f~g': 4, '[0]': 5},
    'gift': {'sku': 'g', 'count': 1},
}

NOTHING = object()


def changed(*steps_and_value: Any) -> dict[str, Any]:
    """The right payload with another value in one place, or nothing there."""
    *steps, value = steps_and_value
    payload: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(RIGHT))
    inner: Any = payload
    for step in steps[:-1]:
        inner = inner[step]
    if value is NOTHING:
        del inner[steps[-1]]
    else:
        inner[steps[-1]] = value
    return payload


WRONG: list[tuple[Any, str]] = [
    ([], ''),
    (['title'], ''),
    ('text', ''),
    (5, ''),
    (True, ''),
    *((changed(name, NOTHING), f'/{name}') for name in RIGHT if name != 'gift'),
    *((changed(name, None), f'/{name}') for name in RIGHT if name != 'gift'),
    (changed('title', 5), '/title'),
    (changed('title', ['x']), '/title'),
    (changed('title', {}), '/title'),
    (changed('number', 'one'), '/number'),
    (changed('number', 1.5), '/number'),
    (changed('number', []), '/number'),
    (changed('price', 'dear'), '/price'),
    (changed('price', {}), '/price'),
    (changed('paid', 'perhaps'), '/paid'),
    (changed('paid', []), '/paid'),
    (changed('paid', 7), '/paid'),
    (changed('kind', 'old'), '/kind'),
    (changed('kind', 1), '/kind'),
    (changed('at', 'yesterday'), '/at'),
    (changed('at', []), '/at'),
    (changed('lines', {}), '/lines'),
    (changed('lines', 'a'), '/lines'),
    (changed('lines', 0, 'a'), '/lines/0'),
    (changed('lines', 1, None), '/lines/1'),
    (changed('lines', 1, []), '/lines/1'),
    (changed('lines', 0, 'sku', 1), '/lines/0/sku'),
    (changed('lines', 1, 'count', 'many'), '/lines/1/count'),
    (changed('lines', 1, 'count', NOTHING), '/lines/1/count'),
    (changed('stock', []), '/stock'),
    (changed('stock', 'a', 'x'), '/stock/a'),
    (changed('stock', 'b.c', None), '/stock/b.c'),
    (changed('stock', 'd/e', []), '/stock/d~1e'),
    (changed('stock', 'f~g', 'x'), '/stock/f~0g'),
    (changed('stock', '[0]', {}), '/stock/[0]'),
    (changed('gift', []), '/gift'),
    (changed('gift', 'sku', 5), '/gift/sku'),
    (changed('gift', 'count', NOTHING), '/gift/count'),
    (changed('note', 5), '/note'),
    (changed('note', ['x']), '/note'),
]


@asynccontextmanager
async def serving(resource: object, **options: Any) -> AsyncIterator[Client]:
    app: WebSocketLifespan = install(falcon.asgi.App(), **options)
    app.add_route('/ws', resource)
    async with serve(app) as served, served.client('/ws') as client:
        yield client


@pytest.mark.parametrize('style', STYLES)
async def test_a_wrong_payload_is_answered_with_its_path_and_the_next_message_works(
    style: str,
) -> None:
    assert len(WRONG) > 40
    Orders.calls = 0
    async with serving(Orders()) as client:
        for number, (payload, path) in enumerate(WRONG):
            wrong = await client.ask({'type': style, 'payload': payload, 'id': number})
            assert (wrong['type'], wrong['id']) == ('error', number)
            assert wrong['payload']['status'] == 422
            assert wrong['payload']['title'] == 'Invalid payload'
            assert wrong['payload']['errors'][0]['path'] == path, (payload, wrong)
            assert all(error['message'] for error in wrong['payload']['errors'])
            right = await client.ask({'type': style, 'payload': RIGHT, 'id': 'next'})
            assert right == {'type': 'reply', 'id': 'next', 'payload': 'a'}
    assert Orders.calls == len(WRONG)  # no handler ran for what is wrong


async def test_without_an_id_a_wrong_payload_is_answered_too() -> None:
    async with serving(Orders()) as client:
        answer = await client.ask({'type': 'struct', 'payload': {}})
    assert answer['type'] == 'error'
    assert 'id' not in answer
    assert answer['payload']['errors'] == [
        {'path': '/title', 'message': 'Object missing required field `title`'}
    ]


async def test_a_wrong_payload_goes_to_on_ws_unhandled_with_what_the_library_raised() -> None:
    seen: list[UnhandledMessage] = []

    class Unhandled(Orders):
        async def on_ws_unhandled(self, ws: WebSocket, raw: str, error: UnhandledMessage) -> Any:
            seen.append(error)
            return {'problems': len(getattr(error, 'problems', ()))}

    async with serving(Unhandled()) as client:
        for style in ('struct', 'model'):
            answer = await client.ask({'type': style, 'payload': {}, 'id': style})
            assert answer['type'] == 'reply'
    struct, model = seen
    assert isinstance(struct, InvalidPayload)
    assert isinstance(model, InvalidPayload)
    assert isinstance(struct.original, msgspec.ValidationError)
    assert isinstance(model.original, pydantic.ValidationError)
    assert model.__cause__ is model.original
    assert (struct.type, struct.id) == ('struct', 'struct')


# -- what an absent payload is


class Absent:
    async def on_ws_bare(self, ws: WebSocket, payload) -> Any:  # type: ignore[no-untyped-def]
        return payload

    async def on_ws_any(self, ws: WebSocket, payload: Any) -> Any:
        return payload

    async def on_ws_dict(self, ws: WebSocket, payload: dict[str, Any]) -> Any:
        return payload

    async def on_ws_optional(self, ws: WebSocket, payload: dict[str, Any] | None) -> Any:
        return payload

    async def on_ws_defaults(self, ws: WebSocket, payload: TypingStruct) -> Any:
        return payload

    async def on_ws_number(self, ws: WebSocket, payload: int) -> Any:
        return payload

    async def on_ws_maybe(self, ws: WebSocket, payload: int | None) -> Any:
        return payload

    async def on_ws_list(self, ws: WebSocket, payload: list[int]) -> Any:
        return payload

    async def on_ws_null(self, ws: WebSocket, payload: None) -> Any:
        return payload


@pytest.mark.parametrize('whole', [False, True], ids=['in one pass', 'in two'])
async def test_an_absent_payload_is_an_empty_object_unless_the_annotation_has_no_place_for_one(
    whole: bool,
) -> None:
    class WithMessage(Absent):
        async def on_ws_whole(self, ws: WebSocket, message: Any) -> Any:
            return message

    async with serving(WithMessage() if whole else Absent()) as client:
        for name, expected in [
            ('bare', {}),
            ('any', {}),
            ('dict', {}),
            ('optional', None),
            ('defaults', {'typing': True}),
            ('number', 422),
            ('maybe', None),
            ('list', 422),
            ('null', None),
        ]:
            for message in ({'type': name}, {'type': name, 'payload': None}):
                answer = (await client.ask({**message, 'id': 1}))['payload']
                found = answer['status'] if expected == 422 else answer
                assert found == expected, message


# -- what goes out


class Reply(msgspec.Struct, rename='camel', omit_defaults=True):
    sent_at: datetime
    left_out: int = 0


class ReplyModel(pydantic.BaseModel):
    sent_at: datetime = pydantic.Field(serialization_alias='sentAt')


@dataclass
class ReplyDataclass:
    sentAt: datetime  # noqa: N815  # as it is on the wire


AT = datetime.fromisoformat('2026-01-02T03:04:05+00:00')


@pytest.mark.parametrize(
    'value', [Reply(AT), ReplyModel(sent_at=AT), ReplyDataclass(AT), {'sentAt': AT}]
)
async def test_what_is_sent_or_returned_may_be_of_any_of_these_types(value: Any) -> None:
    class Sending:
        async def on_ws_go(self, ws: WebSocket) -> Any:
            await ws.join_room('r')
            await ws.send_message('said', value)
            await ws.send_media({'type': 'said', 'payload': value})
            await ws.broadcast_to_room('r', Message('said', value))
            await ws.broadcast_to_room('r', {'type': 'said', 'payload': value})
            return value

    async with serving(Sending()) as client:
        await client.send({'type': 'go', 'id': 1})
        for expected in ('said', 'said', 'said', 'said', 'reply'):
            message = await client.receive()
            assert message['type'] == expected
            sent_at = message['payload']['sentAt'].replace('Z', '+00:00')
            assert message['payload'] == {'sentAt': message['payload']['sentAt']}
            assert datetime.fromisoformat(sent_at) == AT


async def test_a_typed_object_is_a_whole_message() -> None:
    class Said(msgspec.Struct, tag_field='type', tag='said'):
        payload: int

    class Sending:
        async def on_ws_go(self, ws: WebSocket) -> None:
            await ws.join_room('r')
            await ws.broadcast_to_room('r', Said(5))

    async with serving(Sending()) as client:
        assert await client.ask({'type': 'go'}) == {'type': 'said', 'payload': 5}


# -- mistakes stop the start


class Strange:
    """No type that anybody could convert to."""


async def started(resource: object) -> None:
    app = install(falcon.asgi.App())
    app.add_route('/ws', resource)
    async with falcon.testing.ASGIConductor(app):
        pass


async def test_an_annotation_that_nobody_can_convert_stops_the_start() -> None:
    class Wrong:
        async def on_ws_x(self, ws: WebSocket, payload: Strange) -> None: ...

    app = install(falcon.asgi.App())
    app.add_route('/ws', Wrong())
    with pytest.raises(ConfigurationError, match=r'test_typed_messages.py:\d+: .*Strange'):
        app.check_websockets()


async def test_an_annotation_that_cannot_be_resolved_stops_the_start() -> None:
    class Wrong:
        async def on_ws_x(self, ws: WebSocket, payload: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    app = install(falcon.asgi.App())
    app.add_route('/ws', Wrong())
    with pytest.raises(ConfigurationError, match="'Missing' of payload cannot be resolved"):
        app.check_websockets()


async def test_other_annotations_need_not_resolve() -> None:
    class Fine:
        async def on_ws_x(self, ws: Missing, payload: SendStruct) -> Gone: ...  # type: ignore[name-defined]  # noqa: F821

    await started(Fine())


class Crashing(pydantic.BaseModel):
    text: str

    @pydantic.field_validator('text')
    @classmethod
    def check(cls, value: str) -> str:
        raise KeyError(value)


async def test_a_validator_that_crashes_is_said_once_and_its_client_answered(logs: Logs) -> None:
    class Resource:
        async def on_ws_x(self, ws: WebSocket, payload: Crashing) -> None: ...

    async with serving(Resource()) as client:
        for _ in range(3):
            answer = await client.ask({'type': 'x', 'payload': {'text': 'secret'}, 'id': 1})
            assert answer['payload']['status'] == 422
            assert 'secret' not in str(answer)
    assert [line for line in logs.lines if 'KeyError was raised' in line] == logs.lines
    assert len(logs.lines) == 1


@dataclass
class Rich:
    price: Decimal
    tags: set[str]
    raw: bytes
    inner: LineDataclass
    _hidden: int = 0


async def test_what_fits_a_dataclass_goes_out_of_it_again() -> None:
    class Echo:
        async def on_ws_x(self, ws: WebSocket, payload: Rich) -> Rich:
            assert payload.price == Decimal('1.50')
            return payload

    plain = {'price': '1.50', 'tags': ['a'], 'raw': 'AP8=', 'inner': {'sku': 'a', 'count': 1}}
    async with serving(Echo()) as client:
        answer = await client.ask({'type': 'x', 'payload': plain, 'id': 1})
    assert answer['payload'] == plain


async def test_styles_may_stand_side_by_side_in_one_resource() -> None:
    class Mixed(Orders):
        async def on_ws_number(self, ws: WebSocket, payload: float) -> Any:
            return payload

        async def on_ws_dict(self, ws: WebSocket, payload: dict[str, Any]) -> Any:
            return payload

        async def on_ws_bare(self, ws: WebSocket, payload) -> Any:  # type: ignore[no-untyped-def]
            return payload

    async with serving(Mixed()) as client:
        for name, payload, expected in [
            *((style, RIGHT, 'a') for style in STYLES),
            ('number', 1, 1),
            ('number', 'x', 422),
            ('dict', {'a': 1}, {'a': 1}),
            ('dict', [1], 422),
            ('dict', None, {}),
            ('bare', [1], [1]),
            ('bare', None, {}),
        ]:
            answer = (await client.ask({'type': name, 'payload': payload, 'id': 1}))['payload']
            assert (answer['status'] if expected == 422 else answer) == expected


# -- what a second reading found


class Counted(msgspec.Struct):
    x: int = 0


@pytest.mark.parametrize(
    'text', ['{"id":1,"payload":{"x":1}}', '{"type{":"zzz","id":1}', '{"id":1}']
)
async def test_a_lone_type_of_message_has_to_be_named_too(text: str) -> None:
    class One:
        async def on_ws_only(self, ws: WebSocket, payload: Counted) -> int:
            raise AssertionError

    async with serving(One()) as client:
        await client.send(text)
        assert (await client.receive())['payload']['status'] == 400


@dataclass
class Book:
    title: str
    pages: int = 0
    when: datetime | None = None


async def test_a_dataclass_goes_out_with_its_defaults() -> None:
    class Books:
        async def on_ws_echo(self, ws: WebSocket, payload: Book) -> Book:
            return payload

    async with serving(Books()) as client:
        answer = await client.ask({'type': 'echo', 'payload': {'title': 'x'}, 'id': 1})
    assert answer['payload'] == {'title': 'x', 'pages': 0, 'when': None}


@pytest.mark.parametrize('name', ['a\\b', 'a"b', 'a\nb', 'é', 'payload', 'x y'])
async def test_fields_of_any_name_do(name: str) -> None:
    class Renamed:
        ws_envelope = Envelope(payload_field=name)

        async def on_ws_add(self, ws: WebSocket, payload: Counted) -> int:
            return payload.x

    async with serving(Renamed()) as client:
        answer = await client.ask({'type': 'add', name: {'x': 3}, 'id': 1})
    assert answer[name] == 3


class Closed(msgspec.Struct, forbid_unknown_fields=True):
    text: str


class Tagged(msgspec.Struct, tag_field='action', tag='tagged', forbid_unknown_fields=True):
    text: str


class ClosedModel(pydantic.BaseModel, extra='forbid'):
    text: str


class Flat:
    ws_envelope = Envelope(type_field='action', payload_field=None)

    async def on_ws_closed(self, ws: WebSocket, payload: Closed) -> str:
        return payload.text

    async def on_ws_tagged(self, ws: WebSocket, payload: Tagged) -> str:
        return payload.text

    async def on_ws_model(self, ws: WebSocket, payload: ClosedModel) -> str:
        return payload.text

    async def on_ws_words(self, ws: WebSocket, payload: dict[str, str]) -> str:
        return payload['text']


@pytest.mark.parametrize('name', ['closed', 'tagged', 'model', 'words'])
async def test_in_the_flat_form_a_closed_type_is_open_to_the_envelope_only(name: str) -> None:
    async with serving(Flat()) as client:
        right = await client.ask({'action': name, 'text': 'hi', 'id': 1})
        assert right == {'action': 'reply', 'id': 1, 'payload': 'hi'}
        wrong = await client.ask({'action': name, 'text': 5, 'id': 2})
        assert wrong['payload']['errors'][0]['path'] == '/text'
        more = await client.ask({'action': name, 'text': 'hi', 'more': 5, 'id': 3})
        assert more['payload']['status'] == 422
        assert more['payload']['errors'][0]['path'] == '/more'


@dataclass
class Nested:
    class Inner(msgspec.Struct):
        x: int

    async def on_ws_a(self, ws: WebSocket, payload: Inner) -> int:
        return payload.x


class Heir(Nested):
    pass


Open = TypeVar('Open')


class WithTypeVar:
    async def on_ws_x(self, ws: WebSocket, payload: Open) -> None: ...


class WithDefault:
    async def on_ws_x(self, ws: WebSocket, payload: Counted = None) -> None: ...  # type: ignore[assignment]


class FlatNumber:
    ws_envelope = Envelope(payload_field=None)

    async def on_ws_x(self, ws: WebSocket, payload: int) -> None: ...


@sends('reply', int)
class SendsReply:
    async def on_ws_x(self, ws: WebSocket) -> None: ...


@sends('sure', int, reply=bool)
class AsksWithoutIds:
    ws_envelope = Envelope(id_field=None)

    async def on_ws_x(self, ws: WebSocket) -> None: ...


class ParallelConnect:
    @parallel(4)
    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None: ...


class AsyncEnvelope:
    async def decode(self, raw: Any) -> Any: ...

    def encode(self, type: str, payload: Any, id: Any) -> Any: ...


class WithAsyncEnvelope:
    ws_envelope = AsyncEnvelope()

    async def on_ws_x(self, ws: WebSocket) -> None: ...


async def test_the_names_of_an_inherited_handler_are_those_of_its_own_class() -> None:
    app = install(falcon.asgi.App())
    app.add_route('/ws', Heir())
    app.check_websockets()


@pytest.mark.parametrize(
    ('resource', 'says'),
    [
        (WithTypeVar, 'leaves a type open'),
        (WithDefault, r'annotate `Counted \| None`'),
        (FlatNumber, 'the payload is the whole object here'),
        (SendsReply, 'a message type of the library itself'),
        (AsksWithoutIds, 'the envelope has no ids'),
        (ParallelConnect, 'is a life-cycle method'),
        (WithAsyncEnvelope, 'expected a falcon_ws_mw.Envelope, or an object'),
    ],
)
def test_what_could_never_work_stops_the_start(resource: type, says: str) -> None:
    app = install(falcon.asgi.App())
    app.add_route('/ws', resource())
    with pytest.raises(ConfigurationError, match=says):
        app.check_websockets()


async def test_a_parameter_for_all_fields_may_be_called_payload() -> None:
    class Odd:
        async def on_ws_x(self, ws: WebSocket, **payload: Any) -> Any:
            return payload

    async with serving(Odd()) as client:
        answer = await client.ask({'type': 'x', 'payload': {'a': 1}, 'id': 1})
    assert answer['payload'] == {}


async def test_a_reply_may_have_keys_that_are_no_text() -> None:
    class Numbers:
        async def on_ws_x(self, ws: WebSocket, payload: dict[int, str]) -> dict[int, str]:
            return payload

    async with serving(Numbers()) as client:
        answer = await client.ask({'type': 'x', 'payload': {'1': 'a'}, 'id': 1})
    assert answer['payload'] == {'1': 'a'}


class Inside(pydantic.BaseModel):
    sent_at: int = pydantic.Field(1, serialization_alias='sentAt')


class Outside(msgspec.Struct):
    inner: Inside


@pydantic.dataclasses.dataclass
class Aliased:
    a_b: int = pydantic.Field(1, serialization_alias='aB')


@pytest.mark.parametrize(
    ('value', 'plain'),
    [(Outside(Inside(sent_at=1)), {'inner': {'sentAt': 1}}), (Aliased(a_b=1), {'aB': 1})],
)
async def test_each_library_writes_its_own(value: Any, plain: Any) -> None:
    class Sending:
        async def on_ws_go(self, ws: WebSocket) -> Any:
            return [value]

    async with serving(Sending()) as client:
        assert (await client.ask({'type': 'go', 'id': 1}))['payload'] == [plain]


# -- nothing is looked into for each message


async def test_a_message_costs_no_look_at_signatures_or_types(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError

    async with serving(Orders()) as client:
        for (
            style
        ) in STYLES:  # what is made once, at the start and at the first connection, is there
            await client.ask({'type': style, 'payload': RIGHT, 'id': 1})
        monkeypatch.setattr(inspect, 'signature', fail)
        monkeypatch.setattr(payloads, 'payload_type', fail)
        monkeypatch.setattr(pydantic, 'TypeAdapter', fail)
        monkeypatch.setattr('falcon_ws_mw.payloads.with_pydantic.TypeAdapter', fail)
        monkeypatch.setattr(msgspec.json, 'Decoder', fail)
        monkeypatch.setattr(msgspec, 'defstruct', fail)
        for style in STYLES:
            answer = await client.ask({'type': style, 'payload': RIGHT, 'id': 2})
            assert answer['payload'] == 'a'
