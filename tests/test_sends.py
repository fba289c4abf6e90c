"""What resources declare that they send (`@sends`), and what is refused because they do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
import json
from typing import Any

import falcon
import falcon.asgi
from falcon.testing import ASGIConductor
from falcon.testing.helpers import ASGIWebSocketSimulator
import msgspec
import pydantic
import pytest

from falcon_ws_mw import (
    ConfigurationError,
    Envelope,
    Message,
    UndeclaredMessage,
    WebSocket,
    WebSocketConnectionManager,
    WebSocketLifespan,
    WebSocketResource,
    handles_message,
    install,
    sends,
)
from falcon_ws_mw.responders import build_table
from falcon_ws_mw.sends import declared_by

from .conftest import Logs, shown

Socket = ASGIWebSocketSimulator


@dataclass
class News:
    text: str
    urgent: bool = False


class Struct(msgspec.Struct):
    text: str


class Model(pydantic.BaseModel):
    text: str


class Sending:
    """Does what a message says, and answers with what came of it."""

    @handles_message('send_message')
    async def by_send_message(self, ws: WebSocket, payload: Any) -> str:
        return await outcome(ws.send_message(*payload))

    @handles_message('send_media')
    async def by_send_media(self, ws: WebSocket, payload: Any) -> str:
        return await outcome(ws.send_media(payload))

    @handles_message('broadcast')
    async def by_broadcast(self, ws: WebSocket, payload: Any) -> str:
        await ws.join_room('room')
        message = Message(*payload) if isinstance(payload, list) else payload
        return await outcome(ws.broadcast_to_room('room', message))

    async def on_ws_echo(self, ws: WebSocket, payload: Any) -> Any:
        return payload

    async def on_ws_conflict(self, ws: WebSocket) -> None:
        raise falcon.HTTPConflict

    async def on_ws_text(self, ws: WebSocket) -> None:
        await ws.send_text('anything')
        await ws.send_data(b'anything')
        await ws.send_media([1, 2])
        await ws.send_media({'no': 'type'})
        await ws.broadcast_to_room('room', '{"type":"undeclared"}')


async def outcome(sending: Any) -> str:
    try:
        await sending
    except UndeclaredMessage as error:
        return str(error)
    return 'sent'


@sends('news', News)
@sends('bare')
class Declaring(Sending):
    pass


@asynccontextmanager
async def serving(app: WebSocketLifespan, *paths: str) -> AsyncIterator[list[Socket]]:
    async with ASGIConductor(app) as conductor, AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(conductor.simulate_ws(path)) for path in paths or ('/',)
        ]


def app_with(*resources: object, **options: Any) -> WebSocketLifespan:
    """An app with the first resource at `/`, the next at `/1`, `/2` and so on."""
    app = install(falcon.asgi.App(), **options)
    for number, resource in enumerate(resources):
        app.add_route(f'/{number or ""}', resource)
    return app


async def ask(socket: Socket, type: str, payload: Any = None) -> Any:
    """Ask, and pass over what else is sent."""
    await socket.send_text(json.dumps({'type': type, 'payload': payload, 'id': 'asked'}))
    while True:
        message = json.loads(await socket.receive_text())
        if message.get('id') == 'asked':
            return message['payload']


# -- what is refused

SENDINGS: list[tuple[str, Any, str]] = [
    ('send_message', ['news', {'text': 'x'}], 'sent'),
    ('send_message', ['news', {'text': 'x', 'urgent': True}], 'sent'),
    ('send_message', ['bare', [1, 2]], 'sent'),
    ('send_message', ['bare'], 'sent'),
    ('send_message', ['other'], "does not declare that it sends 'other'"),
    ('send_message', ['news', {'text': 5}], '/text: Expected `str`, got `int`'),
    ('send_message', ['news', {}], '/text: Object missing required field `text`'),
    ('send_message', ['news'], 'payload: Expected `object`, got `null`'),
    ('send_message', ['news', 'x'], 'declares another payload'),
    ('send_media', {'type': 'news', 'payload': {'text': 'x'}}, 'sent'),
    ('send_media', {'type': 'other'}, "does not declare that it sends 'other'"),
    ('send_media', {'type': 'news', 'payload': {'text': 5}}, '/text: Expected `str`'),
    ('send_media', {'type': 'news'}, 'payload: Expected `object`, got `null`'),
    ('broadcast', {'type': 'news', 'payload': {'text': 'x'}}, 'sent'),
    ('broadcast', {'type': 'other'}, "does not declare that it sends 'other'"),
    ('broadcast', {'type': 'news', 'payload': {'text': 5}}, '/text: Expected `str`'),
    ('broadcast', ['news', {'text': 'x'}], 'sent'),
    ('broadcast', ['other'], "does not declare that it sends 'other'"),
    ('broadcast', ['news', {'text': 5}], '/text: Expected `str`'),
]


async def test_what_is_not_declared_fails_its_sender_however_it_is_sent(logs: Logs) -> None:
    async with serving(app_with(Declaring(), check_sends=True)) as [socket]:
        for how, what, says in SENDINGS:
            answer = await ask(socket, how, what)
            assert says in answer, (how, what)
            assert says == 'sent' or 'Declaring' in answer
    assert logs.lines == []


async def test_what_is_not_declared_reaches_nobody() -> None:
    async with serving(app_with(Declaring(), check_sends=True)) as [socket]:
        await socket.send_text('{"type": "send_message", "payload": ["other"]}')
        await socket.send_text('{"type": "send_message", "payload": ["bare"]}')
        assert json.loads(await socket.receive_text())['type'] == 'bare'


BY_MANAGER: dict[str, Callable[[WebSocketConnectionManager, Any], Awaitable[object]]] = {
    'send_to_connection': lambda manager, message: manager.send_to_connection(
        next(iter(manager.connections)), message
    ),
    'broadcast': lambda manager, message: manager.broadcast(message),
    'broadcast_to_room': lambda manager, message: manager.broadcast_to_room('room', message),
    'send_to_user': lambda manager, message: manager.send_to_user('ada', message),
    'publish': lambda manager, message: manager.publish('news/x', message),
}


@pytest.mark.parametrize('how', BY_MANAGER)
@pytest.mark.parametrize('message', [Message('other'), {'type': 'other'}], ids=['Message', 'dict'])
async def test_what_others_send_to_a_connection_of_the_route_is_checked_too(
    how: str, message: Any
) -> None:
    class Member(Declaring):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await ws.identify('ada')
            await ws.subscribe('news/+')
            await ws.join_room('room')

    app = app_with(Member(), check_sends=True)
    async with serving(app):
        with pytest.raises(UndeclaredMessage) as caught:
            await BY_MANAGER[how](app.ws_connection_manager, message)
        assert caught.value.type == 'other'
        assert caught.value.resource.endswith('Member')
        assert caught.value.declared == ('bare', 'news')


async def test_a_broadcast_has_to_be_declared_by_each_route_that_declares_anything() -> None:
    @sends('more')
    class Other(Sending):
        pass

    app = app_with(Declaring(), Other(), Sending(), check_sends=True)
    async with serving(app, '/', '/1', '/2') as sockets:
        manager = app.ws_connection_manager
        with pytest.raises(UndeclaredMessage, match='Other does not declare'):
            await manager.broadcast(Message('bare'))
        _, other, free = manager.connections
        await manager.broadcast(Message('bare'), exclude_ids=[other])
        await manager.send_to_connection(free, Message('whatever'))
        for socket, expected in ((sockets[0], 'bare'), (sockets[2], 'bare')):
            assert json.loads(await socket.receive_text())['type'] == expected


async def test_a_request_to_the_client_is_checked() -> None:
    @sends('declared', reply=int)
    class Asking:
        async def on_ws_ask(self, ws: WebSocket, payload: str) -> Any:
            return await ws.request(payload)

        async def on_ws_ask_in_vain(self, ws: WebSocket) -> str:
            return await outcome(ws.request('undeclared'))

    async with serving(app_with(Asking(), check_sends=True)) as [socket]:
        assert 'does not declare' in await ask(socket, 'ask_in_vain')
        await socket.send_text('{"type": "ask", "payload": "declared", "id": 1}')
        question = json.loads(await socket.receive_text())
        await socket.send_text(json.dumps({'type': 'reply', 'id': question['id'], 'payload': 5}))
        assert json.loads(await socket.receive_text()) == {'type': 'reply', 'id': 1, 'payload': 5}


# -- what is not


async def test_replies_and_errors_are_never_checked() -> None:
    async with serving(app_with(Declaring(), check_sends=True)) as [socket]:
        assert await ask(socket, 'echo', {'any': 'thing'}) == {'any': 'thing'}
        assert (await ask(socket, 'conflict'))['status'] == 409
        assert (await ask(socket, 'nothing'))['status'] == 404


async def test_text_bytes_and_what_is_no_message_go_unchecked(logs: Logs) -> None:
    async with serving(app_with(Declaring(), check_sends=True)) as [socket]:
        await socket.send_text('{"type": "text"}')
        assert await socket.receive_text() == 'anything'
        assert await socket.receive_data() == b'anything'
        assert json.loads(await socket.receive_text()) == [1, 2]
        assert json.loads(await socket.receive_text()) == {'no': 'type'}
    assert logs.lines == []


async def test_a_resource_that_declares_nothing_is_not_checked() -> None:
    async with serving(app_with(Sending(), check_sends=True)) as [socket]:
        for how, what, _ in SENDINGS:
            assert await ask(socket, how, what) == 'sent'


async def test_nothing_is_checked_unless_it_is_asked_for() -> None:
    assert not asyncio.get_running_loop().get_debug()
    for options in ({}, {'check_sends': None}, {'check_sends': False}):
        async with serving(app_with(Declaring(), **options)) as [socket]:
            for how, what, _ in SENDINGS:
                assert await ask(socket, how, what) == 'sent'


@pytest.mark.parametrize(('option', 'checks'), [(None, True), (True, True), (False, False)])
async def test_asyncios_debug_mode_checks_unless_the_app_says_otherwise(
    option: bool | None, checks: bool
) -> None:
    asyncio.get_running_loop().set_debug(True)
    async with serving(app_with(Declaring(), check_sends=option)) as [socket]:
        said = await ask(socket, 'send_message', ['other'])
        assert ('does not declare' in said) is checks


# -- payloads


@pytest.mark.parametrize(
    'payload', [News('x'), Struct('x'), Model(text='x'), {'text': 'x'}], ids=shown
)
@pytest.mark.parametrize('declared', [News, Struct, Model, dict, dict[str, Any]], ids=shown)
async def test_a_payload_is_checked_as_the_client_will_see_it(declared: Any, payload: Any) -> None:
    @sends('news', declared)
    class Typed:
        async def on_ws_go(self, ws: WebSocket) -> str:
            return await outcome(ws.send_message('news', payload))

    async with serving(app_with(Typed(), check_sends=True)) as [socket]:
        assert await ask(socket, 'go') == 'sent'


@pytest.mark.parametrize(
    'envelope',
    [
        Envelope(type_field='event', payload_field='data'),
        Envelope(type_field='event', payload_field=None),
    ],
    ids=['renamed', 'flat'],
)
async def test_other_envelopes_are_checked_too(envelope: Envelope) -> None:
    flat = envelope.payload_field is None

    @sends('news', News)
    class Speaking:
        ws_envelope = envelope

        async def on_ws_go(self, ws: WebSocket) -> list[str]:
            def whole(payload: Mapping[str, Any]) -> dict[str, Any]:
                return {'event': 'news', **(payload if flat else {'data': payload})}

            return [
                await outcome(sending)
                for payload in ({'text': 'x'}, {'text': 5})
                for sending in (ws.send_message('news', payload), ws.send_media(whole(payload)))
            ]

    async with serving(app_with(Speaking(), check_sends=True)) as [socket]:
        await socket.send_text('{"event": "go", "id": 1}')
        answers = [json.loads(await socket.receive_text()) for _ in range(3)]
        assert [answer['event'] for answer in answers] == ['news', 'news', 'reply']
        *good, one, two = answers[-1]['payload' if flat else 'data']
        assert good == ['sent', 'sent']
        assert '/text: Expected `str`' in one
        assert '/text: Expected `str`' in two


class Raw:
    """An own envelope, whose payloads need be no JSON."""

    def decode(self, raw: str | bytes) -> tuple[str, Any, None]:
        return 'go', None, None

    def encode(self, type: str, payload: Any, id: str | int | None) -> bytes:
        return type.encode() + b' ' + (payload['data'] if type == 'raw' else b'')


@dataclass
class Bytes:
    data: bytes


async def test_own_envelopes_are_checked_where_a_message_is_named() -> None:
    @sends('other')
    class Speaking:
        ws_envelope = Raw()

        async def on_ws_go(self, ws: WebSocket) -> None:
            said = await outcome(ws.send_message('raw', Bytes(b'x')))
            await ws.send_media({'type': 'raw', 'said': said})  # what that is nobody knows

    async with serving(app_with(Speaking(), check_sends=True)) as [socket]:
        await socket.send_text('go')
        assert 'does not declare' in json.loads(await socket.receive_text())['said']


async def test_a_payload_that_is_no_json_is_checked_as_it_is() -> None:
    @sends('raw', Bytes)
    class Speaking:
        ws_envelope = Raw()

        async def on_ws_go(self, ws: WebSocket) -> None:
            await ws.send_message('raw', Bytes(b'\xff'))

    async with serving(app_with(Speaking(), check_sends=True)) as [socket]:
        await socket.send_text('go')
        assert await socket.receive_data() == b'raw \xff'


# -- what is declared


def test_declarations_of_a_class_its_bases_and_its_methods_add_up() -> None:
    @sends('of mixin')
    class Mixin:
        pass

    @sends('of base', News)
    class Base:
        @sends('of method')
        async def on_ws_x(self, ws: WebSocket) -> None: ...

        @sends('of helper')
        async def _tell(self, ws: WebSocket) -> None: ...

    @sends('of class')
    @sends('of class too', News, reply=int, description='Why.')
    class Derived(Mixin, Base):
        pass

    declared = build_table(Derived).sends
    assert set(declared) == {
        'of class',
        'of class too',
        'of mixin',
        'of base',
        'of method',
        'of helper',
    }
    assert declared['of base'].by.endswith('Base')
    assert declared['of method'].by.endswith('Derived.on_ws_x')
    too = declared['of class too']
    assert (too.is_request, too.description) == (True, 'Why.')
    assert too.payload is not None
    assert too.payload.annotation is News
    assert not declared['of class'].is_request


async def test_inherited_and_method_level_declarations_count_when_it_is_checked() -> None:
    class Further(Declaring):
        @sends('further')
        @handles_message('x')
        async def x(self, ws: WebSocket) -> None: ...

    async with serving(app_with(Further(), check_sends=True)) as [socket]:
        for declared in ('further', 'bare'):
            assert await ask(socket, 'send_message', [declared]) == 'sent'
        assert 'declares bare, further, news' in await ask(socket, 'send_message', ['other'])


async def test_a_class_per_connection_declares_like_any_other() -> None:
    @sends('declared')
    class Room(WebSocketResource):
        async def on_connect(self, req: falcon.asgi.Request, ws: WebSocket, **params: Any) -> bool:
            return True

        async def on_ws_go(self, ws: WebSocket, payload: str) -> str:
            return await outcome(ws.send_message(payload))

    app = install(falcon.asgi.App(), check_sends=True)
    app.add_websocket_route('/', Room)
    async with serving(app) as [socket]:
        assert await ask(socket, 'go', 'declared') == 'sent'
        assert 'does not declare' in await ask(socket, 'go', 'other')


def test_a_type_may_be_declared_in_several_places_if_they_say_the_same() -> None:
    @sends('news', News)
    class Twice:
        @sends('news', News)
        async def on_ws_x(self, ws: WebSocket) -> None: ...

    assert set(declared_by(Twice)) == {'news'}


@pytest.mark.parametrize(
    'other',
    [
        sends('news', Struct),
        sends('news'),
        sends('news', News, reply=int),
        sends('news', News, reply=None),
    ],
    ids=['payload', 'no payload', 'reply', 'null for a reply'],
)
def test_a_type_that_is_declared_twice_differently_is_a_configuration_error(other: Any) -> None:
    async def on_ws_x(self: object, ws: WebSocket) -> None: ...

    cls = sends('news', News)(type('Twice', (), {'on_ws_x': other(on_ws_x)}))
    with pytest.raises(ConfigurationError, match='declare it once, on the class'):
        build_table(cls)


@pytest.mark.parametrize('wrong', ['', None, 5, b'news', News])
def test_what_is_declared_is_a_type_of_message(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match='expected the type of a message'):
        sends(wrong)


@pytest.mark.parametrize('where', ['payload', 'reply'])
def test_a_payload_that_nobody_can_describe_stops_the_start(where: str) -> None:
    class Unknown:
        pass

    declared: dict[str, Any] = {where: Unknown}

    @sends('news', **declared)
    class Wrong:
        async def on_ws_x(self, ws: WebSocket) -> None: ...

    with pytest.raises(ConfigurationError, match=r"Wrong declares that it sends 'news', with a"):
        build_table(Wrong)


def test_sends_leaves_what_it_marks_as_it_is() -> None:
    async def method(self: object, ws: WebSocket) -> None: ...

    assert sends('x')(method) is method
