"""Which subprotocol a connection speaks, and which envelope by it (`ws_subprotocols`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
import json
from typing import Any

import falcon
import falcon.asgi
from falcon.testing import ASGIConductor
from falcon.testing.helpers import ASGIWebSocketSimulator
import pytest

from falcon_ws_mw import (
    ConfigurationError,
    Envelope,
    Message,
    WebSocket,
    WireFormatMismatch,
    handles_message,
    install,
)
from falcon_ws_mw.responders import build_table

from .conftest import Logs, shown
from .servers import serve

Socket = ASGIWebSocketSimulator

V2 = Envelope(type_field='event', payload_field='data')


class Plain:
    """An own envelope: `type payload`."""

    def decode(self, raw: str | bytes) -> tuple[str, Any, None]:
        message_type, _, payload = str(raw).partition(' ')
        return message_type, payload, None

    def encode(self, type: str, payload: Any, id: str | int | None) -> str:
        return f'{type} {payload}'


class Speaking:
    """Says what it speaks: before the accept, and when it is asked."""

    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        await ws.send_message('early', ws.subprotocol)

    async def on_ws_which(self, ws: WebSocket) -> None:
        await ws.send_message('now', ws.subprotocol)


class Listed(Speaking):
    ws_subprotocols = ('chat.v2', 'chat.v1')


class ByName(Speaking):
    ws_subprotocols = {'v2': V2, 'plain': Plain(), 'v1': None}


@asynccontextmanager
async def connected(resource: object, *offered: str, **options: Any) -> AsyncIterator[Socket]:
    app = install(falcon.asgi.App(), **options)
    app.add_route('/', resource)
    async with ASGIConductor(app) as conductor:
        async with conductor.simulate_ws('/', subprotocols=offered) as socket:
            yield socket


async def says(socket: Socket, message: object = None) -> Any:
    if message is not None:
        await socket.send_text(message if isinstance(message, str) else json.dumps(message))
    text = await socket.receive_text()
    return json.loads(text) if text.startswith('{') else text


# -- negotiation


@pytest.mark.parametrize(
    ('offered', 'chosen'),
    [
        (('chat.v1', 'chat.v2'), 'chat.v2'),  # the server's order of preference
        (('chat.v2', 'chat.v1'), 'chat.v2'),
        (('other', 'chat.v1'), 'chat.v1'),
        (('chat.v1',), 'chat.v1'),
        (('other',), None),
        (('CHAT.V2',), None),  # case matters (RFC 6455 §4.1)
        (('chat',), None),
        ((), None),
    ],
)
async def test_the_first_of_the_servers_that_the_client_offers_is_spoken(
    offered: tuple[str, ...], chosen: str | None
) -> None:
    async with connected(Listed(), *offered) as socket:
        assert socket.subprotocol == chosen
        assert await says(socket) == {'type': 'early', 'payload': chosen}
        assert await says(socket, {'type': 'which'}) == {'type': 'now', 'payload': chosen}


@pytest.mark.parametrize('names', [('b', 'a'), ['b', 'a'], {'b': None, 'a': None}], ids=shown)
async def test_names_stand_in_a_tuple_a_list_or_a_dict_in_order_of_preference(
    names: Iterable[str],
) -> None:
    resource = type('Named', (Speaking,), {'ws_subprotocols': names})()
    async with connected(resource, 'a', 'b') as socket:
        assert socket.subprotocol == 'b'


async def test_a_route_that_names_none_chooses_none() -> None:
    async with connected(Speaking(), 'a') as socket:
        assert socket.subprotocol is None
        assert await says(socket) == {'type': 'early', 'payload': None}


async def test_a_real_client_is_told_what_was_chosen(ws_implementation: str, logs: Logs) -> None:
    app = install(falcon.asgi.App())
    app.add_route('/', ByName())
    async with serve(app, ws_implementation) as served:
        for offered, chosen in ((['v1', 'v2'], 'v2'), (['other', 'v1'], 'v1'), (['other'], None)):
            async with served.client('/', subprotocols=offered) as client:
                assert client.connection.subprotocol == chosen
                assert chosen in (await client.receive()).values()
        async with served.client('/') as client:
            assert client.connection.subprotocol is None
    assert logs.lines == []


# -- the envelope


async def test_a_subprotocols_envelope_is_spoken_also_in_what_is_said_before_the_accept() -> None:
    async with connected(ByName(), 'v2') as socket:
        assert await says(socket) == {'event': 'early', 'data': 'v2'}
        assert await says(socket, {'event': 'which'}) == {'event': 'now', 'data': 'v2'}
        error = await says(socket, {'type': 'which'})
        assert (error['event'], error['data']['status']) == ('error', 400)


async def test_an_own_envelope_may_belong_to_a_subprotocol() -> None:
    async with connected(ByName(), 'plain') as socket:
        assert await says(socket) == 'early plain'
        assert await says(socket, 'which') == 'now plain'


@pytest.mark.parametrize(('offered', 'chosen'), [(['v1'], 'v1'), (['other'], None), ([], None)])
async def test_none_for_an_envelope_and_no_common_one_are_the_routes_envelope(
    offered: list[str], chosen: str | None
) -> None:
    class WithEnvelope(ByName):
        ws_envelope = Envelope(type_field='kind')

    async with connected(WithEnvelope(), *offered) as socket:
        assert await says(socket) == {'kind': 'early', 'payload': chosen}
    async with connected(ByName(), *offered, envelope=Envelope(type_field='op')) as socket:
        assert await says(socket) == {'op': 'early', 'payload': chosen}


async def test_connections_of_one_route_may_speak_differently_and_then_share_no_room() -> None:
    app = install(falcon.asgi.App())
    app.add_route('/', ByName())
    async with ASGIConductor(app) as conductor:
        async with (
            conductor.simulate_ws('/') as plain,
            conductor.simulate_ws('/', subprotocols=['v2']) as v2,
        ):
            manager = app.ws_connection_manager
            one, two = manager.connections
            for socket in (plain, v2):
                await socket.receive_text()  # what was said before the accept
            await manager.broadcast(Message('news', 5))
            assert await says(plain) == {'type': 'news', 'payload': 5}
            assert await says(v2) == {'event': 'news', 'data': 5}
            await manager.join_room(one, 'room')
            with pytest.raises(WireFormatMismatch):
                await manager.join_room(two, 'room')


@pytest.mark.parametrize('word', ['reply', 'error', 'done'])
def test_what_the_library_says_in_any_of_the_envelopes_is_reserved(word: str) -> None:
    @handles_message(word)
    async def handler(self: object, ws: WebSocket) -> None: ...

    envelopes = {'a': Envelope(reply_type='done')}
    cls = type('Wrong', (), {'ws_subprotocols': envelopes, 'handler': handler})
    with pytest.raises(ConfigurationError, match='is a message type of the library'):
        build_table(cls)


# -- accepting by hand


class ByHand(ByName):
    """Accepts by hand, as the query says."""

    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        await super().on_ws_connect(req, ws)
        await ws.accept(req.get_param('subprotocol'))
        await ws.send_message('late', ws.subprotocol)


@asynccontextmanager
async def accepted_by_hand(
    subprotocol: str | None, *offered: str, resource: object = None
) -> AsyncIterator[Socket]:
    app = install(falcon.asgi.App())
    app.add_route('/', resource or ByHand())
    query = '' if subprotocol is None else f'subprotocol={subprotocol}'
    async with ASGIConductor(app) as conductor:
        async with conductor.simulate_ws('/', subprotocols=offered, query_string=query) as socket:
            yield socket


async def test_a_manual_accept_takes_what_was_negotiated() -> None:
    async with accepted_by_hand(None, 'v1', 'v2') as socket:
        assert socket.subprotocol == 'v2'
        assert await says(socket) == {'event': 'early', 'data': 'v2'}
        assert await says(socket) == {'event': 'late', 'data': 'v2'}


@pytest.mark.parametrize('offered', [['v1', 'plain'], ['plain'], []], ids=shown)
async def test_a_manual_accept_may_choose_another_whose_envelope_is_spoken_from_then_on(
    offered: list[str],
) -> None:
    async with accepted_by_hand('v2', *offered) as socket:
        assert socket.subprotocol == 'v2'
        await socket.receive_text()
        assert await says(socket) == {'event': 'late', 'data': 'v2'}
        assert await says(socket, {'event': 'which'}) == {'event': 'now', 'data': 'v2'}


async def test_a_manual_accept_of_what_the_route_does_not_name_speaks_its_envelope() -> None:
    async with accepted_by_hand('other', 'v2') as socket:
        assert socket.subprotocol == 'other'
        await socket.receive_text()
        assert await says(socket) == {'type': 'late', 'payload': 'other'}


async def test_a_manual_accept_that_fails_chooses_nothing() -> None:
    class Failing(ByName):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            with pytest.raises(ValueError, match='sec-websocket-protocol'):
                await ws.accept('v2', headers=[('sec-websocket-protocol', 'v2')])

    async with connected(Failing(), 'v1') as socket:
        assert socket.subprotocol == 'v1'
        assert await says(socket, {'type': 'which'}) == {'type': 'now', 'payload': 'v1'}


async def test_a_manual_accept_cannot_bring_another_wire_format_into_a_room() -> None:
    class Joining(ByName):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await ws.join_room('room')
            with pytest.raises(WireFormatMismatch):
                await ws.accept('v2')

    app = install(falcon.asgi.App())
    app.add_route('/', Joining())
    app.add_route('/other', Speaking())
    async with ASGIConductor(app) as conductor:
        async with conductor.simulate_ws('/other'):
            await app.ws_connection_manager.join_room(
                next(iter(app.ws_connection_manager.connections)), 'room'
            )
            async with conductor.simulate_ws('/') as socket:
                assert socket.subprotocol is None


# -- what cannot be


@pytest.mark.parametrize(
    'wrong',
    [
        'chat',
        b'chat',
        5,
        None,
        {'chat'},
        ('',),
        ('two words',),
        ('a,b',),
        ('é',),
        ('a\n',),
        ('a', 'a'),
        ('a', 5),
        (None,),
        {'': None},
        {'two words': V2},
        {'a': 'json'},
        {'a': Envelope},
        {'a': object()},
        {5: None},
    ],
    ids=shown,
)
def test_subprotocols_are_tokens_each_once_with_an_envelope_or_none(wrong: Any) -> None:
    cls = type('Wrong', (Speaking,), {'ws_subprotocols': wrong})
    with pytest.raises(ConfigurationError, match=r'Wrong\.ws_subprotocols=.*: expected a tuple'):
        build_table(cls)


async def test_a_wrong_one_stops_the_start_of_the_app() -> None:
    app = install(falcon.asgi.App())
    app.add_route('/', type('Wrong', (Speaking,), {'ws_subprotocols': ('two words',)})())
    with pytest.raises(RuntimeError, match='two words'):
        async with ASGIConductor(app):
            pass


# -- beside an on_websocket of its own


class Adopted:
    """An old loop, which accepts as it always did, and echoes what nobody takes."""

    ws_subprotocols = {'v2': V2}

    async def on_websocket(self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
        await ws.accept(req.get_param('subprotocol'))
        try:
            while True:
                await ws.send_text(await ws.receive_text())
        except falcon.WebSocketDisconnected:
            pass

    async def on_ws_ping(self, ws: WebSocket) -> None:
        await ws.send_message('pong', 1)


async def test_an_old_loop_accepts_what_it_likes_whatever_is_negotiated() -> None:
    for chosen in (None, 'v2', 'other'):
        async with accepted_by_hand(chosen, 'v2', resource=Adopted()) as socket:
            assert socket.subprotocol == chosen
            assert await says(socket, 'as it was') == 'as it was'


@pytest.mark.parametrize(
    ('chosen', 'ping', 'pong'),
    [
        ('v2', {'event': 'ping'}, {'event': 'pong', 'data': 1}),
        (None, {'type': 'ping'}, {'type': 'pong', 'payload': 1}),
        ('other', {'type': 'ping'}, {'type': 'pong', 'payload': 1}),
    ],
)
async def test_beside_an_old_loop_the_envelope_is_that_of_what_the_loop_has_accepted(
    chosen: str | None, ping: Any, pong: Any
) -> None:
    async with accepted_by_hand(chosen, 'v2', resource=Adopted()) as socket:
        assert await says(socket, ping) == pong
