"""Which messages reach which methods, in which order, and what becomes of what they raise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
import json
from typing import Any

import falcon
import falcon.asgi
from falcon.media import JSONHandlerWS, MessagePackHandlerWS
import falcon.testing
import msgpack
import pytest

from falcon_ws_mw import Message, WebSocket, WebSocketLifespan, handles_message, install

from .conftest import Logs
from .servers import serve


@asynccontextmanager
async def talking_to(
    resource: object, path: str = '/ws', template: str = '/ws', **options: Any
) -> AsyncIterator[falcon.testing.ASGIWebSocketSimulator]:
    app = install(falcon.asgi.App(), **options)
    app.add_route(template, resource)
    async with talking(app, path) as ws:
        yield ws


@asynccontextmanager
async def talking(
    app: WebSocketLifespan, path: str = '/ws'
) -> AsyncIterator[falcon.testing.ASGIWebSocketSimulator]:
    async with falcon.testing.ASGIConductor(app) as conductor:
        async with conductor.simulate_ws(path) as ws:
            yield ws


async def ask(ws: falcon.testing.ASGIWebSocketSimulator, message: object) -> Any:
    await ws.send_json(message)
    return await ws.receive_json()


# -- what a handler gets


class Everything:
    async def on_ws_nothing(self, ws: WebSocket) -> str:
        return 'nothing'

    async def on_ws_payload(self, ws: WebSocket, payload: Any) -> Any:
        return payload

    async def on_ws_message(self, ws: WebSocket, message: dict[str, Any]) -> Any:
        return message

    async def on_ws_field(self, ws: WebSocket, number: int) -> Any:
        return number

    async def on_ws_all(self, ws: WebSocket, *, payload: Any, room: str, **params: Any) -> Any:
        return [payload, room, params]

    async def on_ws_ws(self, any_name: WebSocket) -> Any:
        return [any_name.uri_params, any_name.req.path, any_name.context.get('x')]

    @handles_message('chat.message', 'chat-edit')
    async def anything(self, ws: WebSocket, payload: Any) -> Any:
        return {'took': payload}


@pytest.mark.parametrize(
    ('message', 'reply'),
    [
        ({'type': 'nothing'}, 'nothing'),
        ({'type': 'payload'}, {}),
        ({'type': 'payload', 'payload': None}, {}),
        ({'type': 'payload', 'payload': 0}, 0),
        ({'type': 'payload', 'payload': ''}, ''),
        ({'type': 'payload', 'payload': [1, {'a': None}]}, [1, {'a': None}]),
        ({'type': 'message', 'x': 1}, {'type': 'message', 'x': 1, 'id': 'q'}),
        ({'type': 'field'}, 7),
        ({'type': 'all', 'payload': 1}, [1, 'r', {'number': 7}]),
        ({'type': 'ws'}, [{'room': 'r', 'number': 7}, '/ws/r/7', None]),
        ({'type': 'chat.message', 'payload': 1}, {'took': 1}),
        ({'type': 'chat-edit'}, {'took': {}}),
    ],
)
async def test_a_handler_gets_what_it_asks_for_and_its_answer_is_the_reply(
    message: dict[str, Any], reply: Any
) -> None:
    async with talking_to(Everything(), '/ws/r/7', '/ws/{room}/{number:int}') as ws:
        answer = await ask(ws, {**message, 'id': 'q'})
        assert answer == {'type': 'reply', 'id': 'q', 'payload': reply}


async def test_a_message_without_an_id_gets_no_reply() -> None:
    async with talking_to(Everything(), '/ws/r/7', '/ws/{room}/{number:int}') as ws:
        await ws.send_json({'type': 'payload', 'payload': 'unanswered'})
        assert (await ask(ws, {'type': 'nothing', 'id': 0}))['id'] == 0


async def test_a_resource_is_shared_but_connections_are_their_own() -> None:
    class Counting:
        async def on_ws_count(self, ws: WebSocket) -> int:
            ws.context.count = ws.context.get('count', 0) + 1
            return int(ws.context.count)

    app = install(falcon.asgi.App())
    app.add_route('/ws', Counting())
    async with serve(app) as served, served.client('/ws') as one, served.client('/ws') as two:
        for expected in (1, 2, 3):
            for client in (one, two):
                answer = await client.ask({'type': 'count', 'id': 1})
                assert answer['payload'] == expected


class Marked:
    @handles_message('chat-edit')
    async def anything(self, ws: WebSocket, payload: Any) -> Any:
        return payload


async def test_a_method_that_overrides_one_under_handles_message_keeps_its_types() -> None:
    class Louder(Marked):
        async def anything(self, ws: WebSocket, payload: Any) -> Any:
            return str(payload).upper()

    async with talking_to(Louder()) as ws:
        assert (await ask(ws, {'type': 'chat-edit', 'id': 1, 'payload': 'x'}))['payload'] == 'X'


# -- order


async def test_messages_are_handled_one_at_a_time_in_order_and_connections_concurrently(
    ws_implementation: str,
) -> None:
    class Slow:
        def __init__(self) -> None:
            self.running: dict[str, int] = {}
            self.both = asyncio.Barrier(2)

        async def on_ws_work(self, ws: WebSocket, payload: int) -> int:
            self.running[ws.id] = self.running.get(ws.id, 0) + 1
            assert self.running[ws.id] == 1
            if payload == 0:
                await self.both.wait()  # passes only if the other connection is in here too
            await asyncio.sleep(0)
            self.running[ws.id] -= 1
            return payload

    app = install(falcon.asgi.App())
    app.add_route('/ws', Slow())
    async with serve(app, ws_implementation) as served:
        async with served.client('/ws') as one, served.client('/ws') as two:
            for client in (one, two):
                for number in range(50):
                    await client.send({'type': 'work', 'id': number, 'payload': number})
            for client in (one, two):
                answers = [await client.receive() for _ in range(50)]
                assert [answer['payload'] for answer in answers] == list(range(50))


async def test_a_handler_may_receive_the_next_frames_itself() -> None:
    class Asking:
        async def on_ws_ask(self, ws: WebSocket) -> object:
            await ws.send_text('what?')
            return [
                await ws.receive_text(),
                (await ws.receive_data()).hex(),
                await ws.receive_media(),
            ]

    async with talking_to(Asking()) as ws:
        await ws.send_json({'type': 'ask', 'id': 1})
        assert await ws.receive_text() == 'what?'
        await ws.send_text('a')
        await ws.send_data(b'\x01')
        await ws.send_json({'media': True})
        assert (await ws.receive_json())['payload'] == ['a', '01', {'media': True}]


async def test_nobody_else_can_receive_while_the_library_reads() -> None:
    class Leaking:
        def __init__(self) -> None:
            self.ws: asyncio.Future[WebSocket] = asyncio.get_running_loop().create_future()

        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            self.ws.set_result(ws)

        async def on_ws_ping(self, ws: WebSocket) -> None:
            pass

    resource = Leaking()
    async with talking_to(resource) as client:
        await ask(client, {'type': 'ping', 'id': 1})
        ws = await resource.ws
        assert ws.ready
        while ws.inbox.in_hand is not None:  # the answer came before the method's end was noted
            await asyncio.sleep(0)
        with pytest.raises(falcon.OperationNotAllowed, match='between two messages the library'):
            await ws.receive_text()


# -- routes that are not ours


class Suffixed:
    async def on_get_item(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.text = 'item'

    async def on_ws_ping(self, ws: WebSocket) -> str:
        return 'pong'


class HttpOnly:
    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.text = 'http'


async def test_suffixed_http_only_and_unknown_routes_accept_no_socket() -> None:
    app = install(falcon.asgi.App())
    resource = Suffixed()
    app.add_route('/ws', resource)
    app.add_route('/item', resource, suffix='item')
    app.add_route('/http', HttpOnly())
    async with falcon.testing.ASGIConductor(app) as conductor:
        for path, error in [
            ('/item', falcon.errors.WebSocketHandlerNotFound),
            ('/http', falcon.errors.WebSocketHandlerNotFound),
            ('/nowhere', falcon.errors.WebSocketPathNotFound),
        ]:
            with pytest.raises(error):
                async with conductor.simulate_ws(path):
                    pass
        async with conductor.simulate_ws('/ws') as ws:
            assert (await ask(ws, {'type': 'ping', 'id': 1}))['payload'] == 'pong'
        assert (await conductor.simulate_get('/item')).text == 'item'


async def test_an_old_on_websocket_beside_it_is_left_alone(ws_implementation: str) -> None:
    class Old:
        async def on_websocket(self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
            assert type(ws) is falcon.asgi.WebSocket
            await ws.accept()
            await ws.send_text(await ws.receive_text())
            await ws.close(4005)

    app = install(falcon.asgi.App())
    app.add_route('/old', Old())
    async with serve(app, ws_implementation) as served, served.client('/old') as client:
        assert await client.ask('"x"') == 'x'
        assert await client.closed() == 4005


# -- the app's own media handlers


async def test_an_own_text_handler_reads_and_writes_everything(logs: Logs) -> None:
    def dumps(value: Any) -> str:
        return json.dumps(value) + ' // own'

    def loads(text: str) -> Any:
        if text == 'bad':
            raise RecursionError
        return json.loads(text.removesuffix(' // own'))

    class Saying(Everything):
        async def on_ws_say(self, ws: WebSocket) -> None:
            await ws.join_room('r')
            await ws.send_message('a')
            await ws.send_media({'b': 1})
            await ws.broadcast_to_room('r', Message('c', {}))
            await ws.broadcast_to_room('r', {'d': 1})

    app = install(falcon.asgi.App())
    app.ws_options.media_handlers[falcon.WebSocketPayloadType.TEXT] = JSONHandlerWS(dumps, loads)
    app.add_route('/ws/{room}/{number:int}', Saying())
    async with talking(app, '/ws/r/7') as ws:
        await ws.send_text('{"type":"payload","id":1} // own')
        assert await ws.receive_text() == '{"type": "reply", "id": 1, "payload": {}} // own'
        await ws.send_text('bad')
        assert '"status": 400' in await ws.receive_text()
        await ws.send_json({'type': 'say'})
        for _ in 'abcd':
            assert (await ws.receive_text()).endswith(' // own')
    assert logs.lines == []


async def test_binary_frames_go_through_a_usable_binary_handler() -> None:
    app = install(falcon.asgi.App())
    app.ws_options.media_handlers[falcon.WebSocketPayloadType.BINARY] = MessagePackHandlerWS()
    app.add_route('/ws/{room}/{number:int}', Everything())
    async with talking(app, '/ws/r/7') as ws:
        await ws.send_msgpack({'type': 'payload', 'id': 1, 'payload': b'\x00'})
        answer = await ws.receive_msgpack()  # answered in the same kind of frame
        assert answer == {'type': 'reply', 'id': 1, 'payload': b'\x00'}
        await ws.send_data(msgpack.packb(5))
        assert (await ws.receive_msgpack())['payload']['status'] == 400
        await ws.send_data(b'no MessagePack')  # so its sender may not read it either
        assert (await ws.receive_json())['payload']['status'] == 400


async def test_an_answer_that_its_handler_cannot_write_goes_out_as_text_or_ends_it(
    logs: Logs,
) -> None:
    def fail(media: Any) -> Any:
        raise RuntimeError('cannot write')

    class Reading(MessagePackHandlerWS):
        serialize = staticmethod(fail)

    app = install(falcon.asgi.App())
    app.ws_options.media_handlers[falcon.WebSocketPayloadType.BINARY] = Reading()
    app.add_route('/ws/{room}/{number:int}', Everything())
    async with talking(app, '/ws/r/7') as ws:
        await ws.send_msgpack({'type': 'payload', 'id': 1})
        answer = await ws.receive_json()
        assert (answer['id'], answer['payload']['status']) == (1, 500)
    assert all('RuntimeError' in line for line in logs.take())
    app.ws_options.media_handlers[falcon.WebSocketPayloadType.TEXT] = JSONHandlerWS(dumps=fail)
    async with talking(app, '/ws/r/7') as ws:
        await ws.send_json({'type': 'payload', 'id': 1})
        with pytest.raises(falcon.WebSocketDisconnected):
            await ws.receive_json()
        assert ws.close_code == 1011
    logs.take()


async def test_send_media_as_binary_without_a_handler_says_the_cure() -> None:
    class Sending:
        async def on_ws_send(self, ws: WebSocket) -> str:
            with pytest.raises(RuntimeError, match='media_handlers'):
                await ws.send_media({}, falcon.WebSocketPayloadType.BINARY)
            return 'raised'

    app = install(falcon.asgi.App())
    app.ws_options.media_handlers[falcon.WebSocketPayloadType.BINARY] = (
        falcon.media.MissingDependencyHandler('binary', 'msgpack')
    )
    app.add_route('/ws', Sending())
    async with talking(app) as ws:
        assert (await ask(ws, {'type': 'send', 'id': 1}))['payload'] == 'raised'


# -- the app's own error handlers


class Problem(Exception):
    pass


class Failing:
    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket, how: str) -> None:
        if how == 'refuse':
            raise Problem('connect')

    async def on_ws_fail(self, ws: WebSocket) -> None:
        raise Problem('fail')

    async def on_ws_crash(self, ws: WebSocket) -> None:
        raise KeyError('crash')

    async def on_ws_conflict(self, ws: WebSocket) -> None:
        raise falcon.HTTPConflict


def with_handler(exception: type[Exception], handler: Any) -> WebSocketLifespan:
    app = install(falcon.asgi.App())
    app.add_error_handler(exception, handler)
    app.add_route('/ws/{how}', Failing())
    return app


async def test_an_own_error_handler_is_called_as_falcon_would() -> None:
    seen: list[Any] = []

    async def handle(req: Any, resp: Any, ex: Any, params: Any, ws: Any = None) -> None:
        seen.append((req.path, resp, ex, params, type(ws)))
        await ws.send_message('handled')

    async with talking(with_handler(Problem, handle), '/ws/x') as ws:
        assert (await ask(ws, {'type': 'fail'}))['type'] == 'handled'
        # A request that it left unanswered is answered.
        assert (await ask(ws, {'type': 'fail', 'id': 1}))['type'] == 'handled'
        assert await ws.receive_json() == {
            'type': 'error',
            'id': 1,
            'payload': {'status': 500, 'title': '500 Internal Server Error'},
        }
    path, resp, ex, params, kind = seen[0]
    assert (path, resp, str(ex), params, kind) == ('/ws/x', None, 'fail', {'how': 'x'}, WebSocket)


async def test_an_own_error_handler_may_raise_the_answer(logs: Logs) -> None:
    async def handle(
        req: Any, resp: Any, ex: Any, params: Any
    ) -> None:  # no `ws`, as Falcon allows
        raise falcon.HTTPUnprocessableEntity(description=str(ex))

    async with talking(with_handler(Problem, handle), '/ws/x') as ws:
        answer = await ask(ws, {'type': 'fail', 'id': 1})
        assert (answer['id'], answer['payload']['status']) == (1, 422)
    assert logs.lines == []


async def test_an_own_error_handler_may_close() -> None:
    async def handle(req: Any, resp: Any, ex: Any, params: Any, ws: Any) -> None:
        await ws.close(4009)

    async with talking(with_handler(Exception, handle), '/ws/x') as ws:
        await ws.send_json({'type': 'crash', 'id': 1})
        with pytest.raises(falcon.WebSocketDisconnected):
            await ws.receive_json()
        assert ws.close_code == 4009


async def test_an_own_error_handler_that_fails_is_a_crash(logs: Logs) -> None:
    async def handle(req: Any, resp: Any, ex: Any, params: Any, ws: Any) -> None:
        raise ZeroDivisionError

    async with talking(with_handler(Problem, handle), '/ws/x') as ws:
        assert (await ask(ws, {'type': 'fail', 'id': 1}))['payload']['status'] == 500
    [line] = logs.take()
    assert 'raised ZeroDivisionError' in line


async def test_an_own_error_handler_takes_http_errors_too_and_decides_about_the_handshake() -> None:
    async def handle(req: Any, resp: Any, ex: Any, params: Any, ws: Any) -> None:
        raise falcon.HTTPGone

    async with talking(with_handler(falcon.HTTPError, handle), '/ws/x') as ws:
        assert (await ask(ws, {'type': 'conflict', 'id': 1}))['payload']['status'] == 410
    app = with_handler(Problem, handle)
    async with falcon.testing.ASGIConductor(app) as conductor:
        with pytest.raises(falcon.WebSocketDisconnected) as refused:
            async with conductor.simulate_ws('/ws/refuse'):
                pass
    assert refused.value.code == 3410


async def test_falcons_reporter_hears_of_errors_and_not_of_our_control_flow() -> None:
    if not hasattr(falcon.asgi.App, 'set_error_reporter'):
        pytest.skip('this Falcon has no error reporter')
    reported: list[tuple[type, bool]] = []
    handled: list[Exception] = []

    async def handle(req: Any, resp: Any, ex: Any, params: Any, ws: Any = None) -> None:
        handled.append(ex)
        raise falcon.HTTPGone

    app = with_handler(Problem, handle)
    app.set_error_reporter(lambda req, ex, params, handled: reported.append((type(ex), handled)))
    async with talking(app, '/ws/x') as ws:
        await ask(ws, {'type': 'conflict', 'id': 1})
        await ask(ws, {'type': 'crash', 'id': 1})
        assert handled == []
        await ask(ws, {'type': 'fail', 'id': 1})
    assert reported == [
        (error, True) for error in (falcon.HTTPConflict, KeyError, Problem, falcon.HTTPGone)
    ]
