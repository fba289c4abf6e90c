"""Whatever a client sends: exactly one error answer, no life-cycle hook, and life goes on."""

from __future__ import annotations

from typing import Any

import falcon
import falcon.asgi
import pytest

from falcon_ws_mw import MalformedMessage, UnhandledMessage, UnknownMessageType, WebSocket, install

from .conftest import Logs
from .servers import serve

BAD_INPUT: list[tuple[str | bytes, int]] = [
    ('{"type":"nope"}', 404),
    ('not JSON', 400),
    ('[1,2]', 400),
    ('5', 400),
    ('null', 400),
    ('""', 400),
    ('{}', 400),
    ('{"type":null}', 400),
    ('{"type":5}', 400),
    ('{"type":["a"]}', 400),
    ('', 400),
    (b'', 400),
    (b'\x93\x01\x02\x03', 400),
    (b'{"type":"ping"}', 400),
    ('{"type":"pi', 400),
    ('{"type":"__class__"}', 404),
    ('{"type":"connect"}', 404),
    ('{"type":"disconnect","payload":1000}', 404),
    ('{"type":"unhandled"}', 404),
    ('{"type":"on_ws_connect"}', 404),
    ('{"type":"reply"}', 404),
    ('{"type":"error"}', 404),
    ('{"type":""}', 404),
    ('{"type":"ping","id":1.5}', 400),
    ('{"type":"ping","id":true}', 400),
    ('{"type":"ping","id":null}', 400),
    ('{"type":"ping","id":9007199254740992}', 400),
    ('{"type":"ping","payload":NaN}', 400),
    ('{"type":"ping","payload":"\\ud800"}', 400),
    ('[' * 60_000, 400),
    ('{"type":"' + 'x' * 60_000 + '"}', 404),
]


class Hooks:
    """Counts what is called."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        self.calls.append('connect')

    async def on_ws_ping(self, ws: WebSocket) -> str:
        return 'pong'

    async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
        self.calls.append('disconnect')


async def test_bad_input_gets_one_error_answer_and_the_connection_lives(
    ws_implementation: str, logs: Logs
) -> None:
    resource = Hooks()
    app = install(falcon.asgi.App())
    app.add_route('/ws', resource)
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        for raw, status in BAD_INPUT:
            answer = await client.ask(raw)
            assert answer['type'] == 'error', raw
            assert answer['payload']['status'] == status, raw
            # The next answer is the next message's: so there was exactly one.
            alive = await client.ask({'type': 'ping', 'id': 'alive'})
            assert alive == {'type': 'reply', 'id': 'alive', 'payload': 'pong'}, raw
        assert resource.calls == ['connect']
    assert resource.calls == ['connect', 'disconnect']
    assert logs.lines == []


@pytest.mark.parametrize(
    ('message', 'status'),
    [({'type': 'nope', 'id': 7}, 404), ({'type': None, 'id': 'a'}, 400), ({'id': 0}, 400)],
)
async def test_an_error_carries_the_id_of_its_message(message: dict[str, Any], status: int) -> None:
    app = install(falcon.asgi.App())
    app.add_route('/ws', Hooks())
    async with serve(app) as served, served.client('/ws') as client:
        answer = await client.ask(message)
        assert (answer['id'], answer['payload']['status']) == (message['id'], status)


class Raising:
    async def on_ws_http(self, ws: WebSocket, payload: dict[str, Any]) -> None:
        raise falcon.HTTPConflict(title='Taken', description='by ada', code=7)

    async def on_ws_status(self, ws: WebSocket) -> None:
        raise falcon.HTTPStatus(503, text='later')

    async def on_ws_name(self, ws: WebSocket) -> None:
        await ws.join_room('')

    async def on_ws_lost(self, ws: WebSocket) -> None:
        await ws.manager.send_to_connection('nobody', 'x')

    async def on_ws_crash(self, ws: WebSocket) -> None:
        raise RuntimeError('secret')

    async def on_ws_unsendable(self, ws: WebSocket) -> object:
        return object()


@pytest.mark.parametrize(
    ('message_type', 'payload'),
    [
        ('http', {'status': 409, 'title': 'Taken', 'description': 'by ada', 'code': 7}),
        ('status', {'status': 503, 'title': '503 Service Unavailable', 'description': 'later'}),
        ('name', {'status': 400, 'title': 'Invalid name'}),
        ('lost', {'status': 404, 'title': 'Connection not found'}),
    ],
)
@pytest.mark.parametrize('message_id', [None, 5])
async def test_an_exception_that_speaks_to_the_client_is_answered_with_what_it_says(
    message_type: str, payload: dict[str, Any], message_id: int | None, logs: Logs
) -> None:
    app = install(falcon.asgi.App())
    app.add_route('/ws', Raising())
    message = {'type': message_type} | ({} if message_id is None else {'id': message_id})
    async with serve(app) as served, served.client('/ws') as client:
        answer = await client.ask(message)
    assert answer['type'] == 'error'
    assert answer.get('id') == message_id
    assert answer['payload'].items() >= payload.items()
    assert logs.lines == []


@pytest.mark.parametrize('message_type', ['crash', 'unsendable'])
async def test_a_crash_is_logged_with_its_traceback_and_answered_without_detail(
    message_type: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = install(falcon.asgi.App())
    app.add_route('/ws', Raising())
    async with serve(app) as served, served.client('/ws') as client:
        answer = await client.ask({'type': message_type, 'id': 1})
        assert answer == {
            'type': 'error',
            'id': 1,
            'payload': {'status': 500, 'title': '500 Internal Server Error'},
        }
        assert (await client.ask({'type': 'nope', 'id': 2}))['id'] == 2
    [record] = [r for r in caplog.records if r.name == 'falcon_ws_mw']
    assert record.exc_info is not None
    assert f'on_ws_{message_type}' in record.getMessage()


async def test_crash_policy_close_ends_the_connection_with_1011(
    ws_implementation: str, logs: Logs
) -> None:
    app = install(falcon.asgi.App(), crash_policy='close')
    app.add_route('/ws', Raising())
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        await client.send({'type': 'crash', 'id': 1})
        assert await client.closed() == 1011
    assert len(logs.take()) == 1


async def test_a_resource_may_choose_its_own_crash_policy() -> None:
    class Strict(Raising):
        ws_crash_policy = 'close'

    app = install(falcon.asgi.App())
    app.add_route('/ws', Strict())
    async with serve(app) as served, served.client('/ws') as client:
        await client.send({'type': 'crash'})
        assert await client.closed() == 1011


class Catching:
    """Takes what has no handler."""

    def __init__(self) -> None:
        self.seen: list[tuple[str | bytes, type[UnhandledMessage]]] = []

    async def on_ws_unhandled(
        self, ws: WebSocket, raw: str | bytes, error: UnhandledMessage, room: str
    ) -> object:
        self.seen.append((raw, type(error)))
        return {'heard in': room} if 'answer' in str(raw) else None


async def test_on_ws_unhandled_gets_the_frame_and_the_reason(ws_implementation: str) -> None:
    resource = Catching()
    app = install(falcon.asgi.App())
    app.add_route('/ws/{room}', resource)
    async with serve(app, ws_implementation) as served, served.client('/ws/a') as client:
        await client.send('not JSON')
        await client.send(b'\x00')
        await client.send({'type': 'nope'})
        # A request is answered whatever happens: by what is returned …
        answer = await client.ask({'type': 'answer', 'id': 1})
        assert answer == {'type': 'reply', 'id': 1, 'payload': {'heard in': 'a'}}
        # … or, for nothing, by the error.
        assert (await client.ask({'type': 'x', 'id': 2}))['payload']['status'] == 404
    assert resource.seen == [
        ('not JSON', MalformedMessage),
        (b'\x00', MalformedMessage),
        ('{"type": "nope"}', UnknownMessageType),
        ('{"type": "answer", "id": 1}', UnknownMessageType),
        ('{"type": "x", "id": 2}', UnknownMessageType),
    ]
