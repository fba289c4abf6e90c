"""An old `on_websocket` loop and `on_ws_*` methods on one resource."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import wraps
from typing import Any

import falcon
import falcon.asgi
import falcon.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
import pytest
from websockets.exceptions import InvalidStatus

from falcon_ws_mw import Limits, WebSocket, WebSocketLifespan, falcon_internals, install, stream

from .conftest import Logs
from .examples_made import some
from .servers import PATIENCE_SECONDS, serve


class Echo:
    """An old loop that echoes what reaches it, and two types that do not."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.old: list[Any] = []
        self.ended: asyncio.Queue[int] = asyncio.Queue()

    async def on_websocket(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        await ws.accept()
        try:
            while True:
                event = await self.receive(ws)
                self.seen.append(event)
                self.old.append(event)
        except falcon.WebSocketDisconnected:
            pass

    async def receive(self, ws: WebSocket) -> Any:
        return await ws.receive_text()

    async def on_ws_taken(self, ws: WebSocket, payload: Any) -> Any:
        self.seen.append(payload)
        return payload

    async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
        self.ended.put_nowait(close_code)

    async def end(self) -> int:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.ended.get()


def adopted(resource: object, queue: int = 4, **options: Any) -> WebSocketLifespan:
    app = install(falcon.asgi.App(), **options)
    app.ws_options.max_receive_queue = queue
    app.add_route('/ws', resource)
    return app


@pytest.mark.parametrize('queue', [4, 0])
async def test_taken_types_leave_the_stream_and_the_rest_reaches_the_loop_untouched(
    queue: int, ws_implementation: str, logs: Logs
) -> None:
    class Both(Echo):
        async def receive(self, ws: WebSocket) -> Any:
            return await ws.receive_text() if len(self.old) % 2 else await ws.receive_data()

    resource = Both()
    messages: list[str | bytes] = [
        b'\x00', '{"type": "taken", "payload": 1}', 'not JSON', b'', '{"type":"other"}',
        b'{', '{"type":"taken","payload":2}', '[]',
    ]  # fmt: skip
    async with serve(adopted(resource, queue), ws_implementation) as served:
        async with served.client('/ws') as client:
            for message in messages:
                await client.send(message)
            assert (await client.ask({'type': 'taken', 'id': 1, 'payload': 3}))['payload'] == 3
        assert await resource.end() == 1000
    assert resource.old == [b'\x00', 'not JSON', b'', '{"type":"other"}', b'{', '[]']
    assert resource.seen == [b'\x00', 1, 'not JSON', b'', '{"type":"other"}', b'{', 2, '[]', 3]
    assert [line for line in logs.lines if 'keeps its on_websocket' not in line] == []


@pytest.mark.parametrize('queue', [4, 0])
async def test_any_conversation_is_split_in_the_order_it_was_sent(
    queue: int, ws_implementation: str
) -> None:
    class Mixed(Echo):
        async def receive(self, ws: WebSocket) -> Any:
            return await ws.receive_media()

    resource = Mixed()
    app = install(falcon.asgi.App())
    app.ws_options.max_receive_queue = queue
    app.add_route('/ws', resource)
    runs: list[list[str | bytes]] = []

    @settings(max_examples=some(170), deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.sampled_from(SAMPLES), max_size=30))
    def collect(conversation: list[str | bytes]) -> None:
        runs.append(conversation)

    collect()
    async with serve(app, ws_implementation) as served:
        for conversation in runs:
            resource.seen.clear()
            resource.old.clear()
            async with served.client('/ws') as client:
                for frame in conversation:
                    await client.send(frame)
                await client.send('{"type":"taken","payload":"end","id":1}')
                while (await client.receive()).get('id') != 1:
                    pass
            await resource.end()
            expected = [MEANING[frame] for frame in conversation]
            assert resource.seen == [*(value for _, value in expected), 'end']
            assert resource.old == [value for taken, value in expected if not taken]


MEANING: dict[str | bytes, tuple[bool, Any]] = {
    **{f'{{"type":"taken","payload":{n}}}': (True, n) for n in range(3)},
    **{
        f'{{"type":"other","payload":{n}}}': (False, {'type': 'other', 'payload': n})
        for n in range(3)
    },
    '"text"': (False, 'text'),
    '[1]': (False, [1]),
    '{"type":["taken"]}': (False, {'type': ['taken']}),
    '{"type":"on_ws_connect"}': (False, {'type': 'on_ws_connect'}),
    b'\xa3bin': (False, 'bin'),
    b'\x81\xa4type\xa5other': (False, {'type': 'other'}),
}
SAMPLES = list(MEANING)


@pytest.mark.parametrize('queue', [4, 0])
async def test_a_handler_survives_a_loop_that_cancels_its_receive_and_no_message_is_lost(
    queue: int, ws_implementation: str, logs: Logs
) -> None:
    class Impatient(Echo):
        def __init__(self) -> None:
            super().__init__()
            self.timeouts = 0
            self.cancelled = 0

        async def receive(self, ws: WebSocket) -> Any:
            while True:
                try:
                    return await asyncio.wait_for(ws.receive_text(), 0.01)
                except TimeoutError:
                    self.timeouts += 1

        async def on_ws_taken(self, ws: WebSocket, payload: Any) -> Any:
            before = self.timeouts
            try:
                while self.timeouts < before + 3:  # the loop gives up on us, again and again
                    await asyncio.sleep(0)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            return await super().on_ws_taken(ws, payload)

    resource = Impatient()
    async with serve(adopted(resource, queue), ws_implementation) as served:
        async with served.client('/ws') as client:
            for number in range(10):
                await client.send({'type': 'taken', 'payload': number})
                await client.send(str(number))
            assert (await client.ask({'type': 'taken', 'id': 1, 'payload': 'end'}))['id'] == 1
        await resource.end()
    assert resource.seen == [x for n in range(10) for x in (n, str(n))] + ['end']
    assert resource.cancelled == 0


@pytest.mark.parametrize('queue', [4, 0])
async def test_beside_a_loop_that_only_sends_taken_types_are_handled(
    queue: int, ws_implementation: str, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, 'GRACE_SECONDS', 0)

    class Ticker(Echo):
        paused = False

        async def on_websocket(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await ws.accept()
            while True:
                await ws.send_text('"tick"')
                await asyncio.sleep(0.01)

    resource = Ticker()
    async with serve(adopted(resource, queue), ws_implementation) as served:
        async with served.client('/ws') as client:
            for number in range(5):
                await client.send({'type': 'taken', 'id': number, 'payload': number})
                while (answer := await client.receive()) == 'tick':
                    pass
                assert answer['payload'] == number
        await resource.end()
    assert resource.seen == [0, 1, 2, 3, 4]


async def test_a_loop_that_asks_late_takes_over_what_was_being_read(
    ws_implementation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, 'GRACE_SECONDS', 0)

    class Late(Echo):
        async def on_websocket(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await ws.accept()
            while 1 not in self.seen:  # the reader beside us is at work
                await asyncio.sleep(0)
            await ws.send_text('"asking"')
            while True:
                self.seen.append(await self.receive(ws))

    resource = Late()
    async with serve(adopted(resource), ws_implementation) as served:
        async with served.client('/ws') as client:
            await client.send({'type': 'taken', 'payload': 1})
            assert await client.receive() == 'asking'
            await client.send('"old"')
            assert (await client.ask({'type': 'taken', 'id': 1, 'payload': 2}))['payload'] == 2
        await resource.end()
    assert resource.seen == [1, '"old"', 2]


async def test_taken_messages_that_nobody_came_back_for_are_counted_and_said_once(
    ws_implementation: str, logs: Logs
) -> None:
    class Leaving(Echo):
        async def on_websocket(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await ws.accept()
            await ws.receive_text()
            while len(falcon_internals.unread_events(ws._old)) < 2:  # type: ignore[attr-defined]
                await asyncio.sleep(0)

    resource = Leaving()
    app = adopted(resource)
    async with serve(app, ws_implementation) as served:
        for _ in range(2):
            async with served.client('/ws') as client:
                await client.send('first')
                await client.send({'type': 'taken'})
                await client.send({'type': 'taken'})
                await client.closed()
            await resource.end()
    assert resource.seen == []
    assert app.ws_connection_manager.stats().forgotten == 4
    [line] = [line for line in logs.take() if 'coming back' in line]
    assert 'Leaving.on_websocket' in line
    assert '2 message(s)' in line


async def test_a_taken_message_that_falcon_had_in_hand_is_counted(
    ws_implementation: str, logs: Logs
) -> None:
    class Leaving(Echo):
        async def on_websocket(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await ws.accept()
            reader = ws._old._buffered_receiver  # type: ignore[attr-defined]
            while reader._put_message_waiter is None:  # its queue is full, and it has one more
                await asyncio.sleep(0)

    resource = Leaving()
    app = adopted(resource)
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        for _ in range(5):
            await client.send({'type': 'taken'})
        await client.closed()
        await resource.end()
    assert app.ws_connection_manager.stats().forgotten == 5
    logs.take()


@pytest.mark.parametrize('implementation', ['websockets-sansio', 'wsproto'])
@pytest.mark.parametrize('how', ['return', 'close', 'raise'])
async def test_taken_messages_that_only_the_server_had_read_are_counted(
    how: str, implementation: str, logs: Logs
) -> None:
    class Leaving(Echo):
        async def on_websocket(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await ws.accept()
            queue = req.scope['falcon_ws_mw'].receive.__self__.queue  # uvicorn's
            while queue.empty():
                await asyncio.sleep(0)
            if how == 'close':
                await ws.close()
            elif how == 'raise':
                raise falcon.HTTPForbidden

    resource = Leaving()
    app = adopted(resource, queue=0)
    async with serve(app, implementation) as served, served.client('/ws') as client:
        await client.send({'type': 'taken'})
        await client.closed()
        await resource.end()
    assert app.ws_connection_manager.stats().forgotten == 1
    logs.take()


@pytest.mark.parametrize(
    ('ws_implementation', 'queue'),
    [
        ('websockets-sansio', 4),
        ('websockets-sansio', 0),
        ('websockets', 4),
        ('websockets', 0),
        ('wsproto', 4),
        ('wsproto', 0),
    ],
)
async def test_a_loop_that_closes_while_it_receives_is_told_what_falcon_tells(
    queue: int, ws_implementation: str
) -> None:
    class Closing:
        def __init__(self) -> None:
            self.codes: asyncio.Queue[int] = asyncio.Queue()

        async def on_websocket(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await ws.accept()
            receiving = asyncio.create_task(ws.receive_text())
            await asyncio.sleep(0)
            await ws.close(4001)
            with pytest.raises(falcon.WebSocketDisconnected) as disconnected:
                await receiving
            self.codes.put_nowait(disconnected.value.code)

    class Adopted(Closing):
        async def on_ws_taken(self, ws: WebSocket) -> None:
            pass

    codes = []
    for resource in (Closing(), Adopted()):
        async with serve(adopted(resource, queue), ws_implementation) as served:
            async with served.client('/ws') as client:
                assert await client.closed() == 4001
            async with asyncio.timeout(PATIENCE_SECONDS):
                codes.append(await resource.codes.get())
    assert codes[0] == codes[1]


# -- hooks around the loop


async def read_token(req: Any, resp: Any, resource: Any, params: Any) -> None:
    await resp.accept()
    if await resp.receive_media() != {'type': 'taken', 'payload': 'secret'}:
        await resp.close(4401)
        raise falcon.HTTPUnauthorized


@falcon.before(read_token)
class TokenFirst(Echo):
    async def on_websocket(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        while True:
            self.seen.append(await ws.receive_text())


def traced(function: Any) -> Any:
    @wraps(function)
    async def trace(*args: Any, **kwargs: Any) -> None:
        await function(*args, **kwargs)

    return trace


class TokenInside(Echo):
    @traced
    @falcon.before(read_token)
    @traced
    async def on_websocket(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        while True:
            self.seen.append(await ws.receive_text())


@pytest.mark.parametrize('shape', [TokenFirst, TokenInside])
@pytest.mark.parametrize('queue', [4, 0])
async def test_what_a_hook_receives_is_the_hooks_and_no_message_passes_it(
    queue: int, shape: Callable[[], Echo], ws_implementation: str, logs: Logs
) -> None:
    resource = shape()
    async with serve(adopted(resource, queue), ws_implementation) as served:
        async with served.client('/ws') as client:
            await client.send({'type': 'taken', 'payload': 'guess'})
            assert await client.closed() == 4401
        assert resource.seen == []
        async with served.client('/ws') as client:
            await client.send({'type': 'taken', 'payload': 'secret'})
            await client.send('"old"')
            assert (await client.ask({'type': 'taken', 'id': 1, 'payload': 1}))['payload'] == 1
        assert await resource.end() == 1000
    assert resource.seen == ['"old"', 1]
    logs.take()


class Accepting:
    async def process_request_ws(self, req: Any, ws: Any) -> None:
        await ws.accept()


async def check_slowly(req: Any, resp: Any, resource: Any, params: Any) -> None:
    for _ in range(100):
        await asyncio.sleep(0)
    if req.get_header('Authorization') is None:
        raise falcon.HTTPUnauthorized


@pytest.mark.parametrize('queue', [4, 0])
async def test_beside_a_loop_that_only_sends_nothing_is_handled_before_its_hook_has_passed(
    queue: int, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, 'GRACE_SECONDS', 0)

    class Ticker(Echo):
        @falcon.before(check_slowly)
        async def on_websocket(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            self.seen.append('loop')
            while not ws.closed:
                await asyncio.sleep(0)

    resource = Ticker()
    app = install(falcon.asgi.App(middleware=[Accepting()]))
    app.ws_options.max_receive_queue = queue
    app.add_route('/ws', resource)
    async with serve(app) as served:
        async with served.client('/ws') as client:
            await client.send({'type': 'taken', 'payload': 1})
            assert await client.closed() == 3401
        assert resource.seen == []
        headers = {'Authorization': 'Bearer secret'}
        async with served.client('/ws', additional_headers=headers) as client:
            assert (await client.ask({'type': 'taken', 'id': 1, 'payload': 1}))['payload'] == 1
            await app.ws_connection_manager.broadcast({'type': 'bye'})
            [ws] = app.ws_connection_manager.connections.values()
            await app.ws_connection_manager.close_connection(ws.id)
            await client.closed()
        await resource.end()
    assert resource.seen == ['loop', 1]
    logs.take()


@falcon.before(check_slowly)
class RefusedByAHook(Echo):
    pass


class RefusedByItself(Echo):
    async def on_websocket(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        raise falcon.HTTPUnauthorized


@pytest.mark.parametrize('shape', [RefusedByAHook, RefusedByItself])
async def test_of_a_client_that_nobody_has_met_no_end_is_told(
    shape: Callable[[], Echo], ws_implementation: str
) -> None:
    resource = shape()
    app = adopted(resource)
    async with serve(app, ws_implementation) as served:
        with pytest.raises(InvalidStatus):
            async with served.client('/ws'):
                pass
    assert resource.ended.empty()
    assert app.ws_connection_manager.stats().connections == 0


async def test_of_a_client_that_a_hook_accepts_and_refuses_no_end_is_told(logs: Logs) -> None:
    resource = TokenFirst()
    async with serve(adopted(resource)) as served, served.client('/ws') as client:
        await client.send('"guess"')
        assert await client.closed() == 4401
    assert resource.ended.empty()
    logs.take()


async def test_what_on_ws_connect_took_is_given_back_if_the_loop_refuses() -> None:
    class Counting(RefusedByItself):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            self.seen.append('connect')

    resource = Counting()
    async with serve(adopted(resource)) as served:
        with pytest.raises(InvalidStatus):
            async with served.client('/ws'):
                pass
        await resource.end()
    assert resource.seen == ['connect']
    assert resource.ended.empty()


# -- life-cycle


async def test_on_ws_connect_comes_first_and_the_loop_gets_our_ws(
    ws_implementation: str, logs: Logs
) -> None:
    class Room(Echo):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            self.seen.append('connect')
            with pytest.raises(falcon.OperationNotAllowed, match='on_websocket'):
                await ws.accept()
            await ws.join_room('r')
            await ws.send_text('"held"')
            ws.context.user = 'ada'

        async def on_websocket(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            assert isinstance(ws, WebSocket)
            assert (set(ws.rooms), ws.context.user) == ({'r'}, 'ada')
            with pytest.raises(falcon.OperationNotAllowed):
                await ws.send_text('too early, as ever')
            await super().on_websocket(req, ws)
            self.seen.append('loop ended')

        async def on_ws_taken(self, ws: WebSocket, payload: Any) -> Any:
            await ws.broadcast_to_room('r', {'said': payload})

        async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
            self.seen.append(('disconnect', close_code, ws.rooms))
            await super().on_ws_disconnect(ws, close_code)

    resource = Room()
    app = adopted(resource)
    async with serve(app, ws_implementation) as served:
        async with served.client('/ws') as client:
            assert await client.receive() == 'held'
            await client.send({'type': 'taken', 'payload': 1})
            assert await client.receive() == {'said': 1}
            await client.close(4001)
        await resource.end()
    assert resource.seen == ['connect', 'loop ended', ('disconnect', 4001, {'r'})]
    assert app.ws_connection_manager.stats().connections == 0


@pytest.mark.parametrize(('how', 'status'), [('false', 403), ('http', 401)])
async def test_on_ws_connect_may_refuse(how: str, status: int, ws_implementation: str) -> None:
    class Door(Echo):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> bool:
            if how == 'http':
                raise falcon.HTTPUnauthorized
            return False

    resource = Door()
    async with serve(adopted(resource), ws_implementation) as served:
        with pytest.raises(InvalidStatus) as refused:
            async with served.client('/ws'):
                pass
    assert refused.value.response.status_code == status
    assert resource.ended.empty()


class Endings(Echo):
    """An old loop that ends as it is told."""

    async def on_websocket(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        await ws.accept()
        how = await ws.receive_text()
        if how == 'close':
            await ws.close(4002)
        elif how == 'http':
            raise falcon.HTTPForbidden
        elif how == 'crash':
            raise RuntimeError('boom')
        elif how == 'kick':
            await ws.manager.close_connection(ws.id, 4003)
            await ws.receive_text()


@pytest.mark.parametrize(
    ('how', 'code'),
    [('return', 1000), ('close', 4002), ('http', 3403), ('crash', 1011), ('kick', 4003)],
)
async def test_an_old_loop_ends_as_ever_and_on_ws_disconnect_runs_after_it(
    how: str, code: int, ws_implementation: str
) -> None:
    resource = Endings()
    app = adopted(resource)
    async with serve(app, ws_implementation) as served:
        async with served.client('/ws') as client:
            await client.send(how)
            assert await client.closed() == code
        assert await resource.end() == code
        assert resource.ended.empty()
    assert app.ws_connection_manager.stats().connections == 0


async def test_an_exception_that_the_app_lets_through_leaves_nothing(logs: Logs) -> None:
    class Failing(Echo):
        async def on_websocket(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await ws.accept()
            raise ZeroDivisionError

    async def let_through(req: Any, resp: Any, ex: Any, params: Any, ws: Any = None) -> None:
        raise ex

    resource = Failing()
    app = adopted(resource)
    app.add_error_handler(ZeroDivisionError, let_through)
    async with serve(app) as served:
        async with served.client('/ws') as client:
            await client.closed()
        await resource.end()
    assert app.ws_connection_manager.stats().connections == 0
    logs.take()


async def test_what_both_say_leaves_in_order(ws_implementation: str) -> None:
    class Talking(Echo):
        async def on_websocket(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await ws.accept()
            await ws.join_room('r')
            for number in range(0, 200, 2):
                await ws.send_text(str(number))
                await ws.broadcast_to_room('r', str(number + 1))
            await ws.receive_text()

    async with serve(adopted(Talking()), ws_implementation) as served:
        async with served.client('/ws') as client:
            assert [await client.receive() for _ in range(200)] == list(range(200))


async def test_adoption_is_said_in_one_line_at_the_start(logs: Logs) -> None:
    async with serve(adopted(Echo())):
        pass
    [line] = [line for line in logs.take() if 'on_websocket' in line]
    assert 'Echo at /ws keeps its on_websocket; taken out of its stream: taken' in line


async def test_on_ws_unhandled_beside_an_old_loop_stops_the_start() -> None:
    class Wrong(Echo):
        async def on_ws_unhandled(self, ws: WebSocket, raw: Any, error: Any) -> None:
            pass

    with pytest.raises(RuntimeError, match='on_ws_unhandled would never be called'):
        async with falcon.testing.ASGIConductor(adopted(Wrong())):
            pass


@pytest.mark.parametrize(('strict', 'status'), [(False, 403), (True, 401)])
async def test_what_an_old_loop_refuses_is_refused_as_ever_unless_strict(
    strict: bool, status: int, ws_implementation: str
) -> None:
    class Refusing(Echo):
        async def on_websocket(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            raise falcon.HTTPUnauthorized

    async with serve(adopted(Refusing(), strict=strict), ws_implementation) as served:
        with pytest.raises(InvalidStatus) as refused:
            async with served.client('/ws'):
                pass
    assert refused.value.response.status_code == status


async def test_a_handler_cannot_receive_for_the_loop() -> None:
    class Greedy(Echo):
        async def on_ws_taken(self, ws: WebSocket, payload: Any) -> Any:
            with pytest.raises(falcon.OperationNotAllowed, match='cannot receive'):
                await ws.receive_text()
            with pytest.raises(falcon.OperationNotAllowed, match='cannot receive'):
                await asyncio.create_task(ws.receive_text())
            return 'raised'

    async with serve(adopted(Greedy())) as served, served.client('/ws') as client:
        assert (await client.ask({'type': 'taken', 'id': 1}))['payload'] == 'raised'


async def test_a_loop_whose_own_code_receives_is_never_taken_for_one_that_only_sends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, 'GRACE_SECONDS', 0)

    class Checking(Echo):
        async def on_websocket(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await ws.accept()
            for _ in range(100):  # a check that takes its time, and then refuses
                await asyncio.sleep(0)
            if self.seen or req.get_header('Authorization') is None:
                await ws.close(4001)
                return
            await ws.receive_text()

    resource = Checking()
    async with serve(adopted(resource)) as served, served.client('/ws') as client:
        await client.send({'type': 'taken', 'payload': 1})
        assert await client.closed() == 4001
    assert resource.seen == []


async def test_a_handler_that_closes_ends_the_loop_as_a_disconnect(
    ws_implementation: str, logs: Logs
) -> None:
    class Closing(Echo):
        async def on_ws_taken(self, ws: WebSocket, payload: Any) -> Any:
            await ws.close(4005)

    for queue in (4, 0):
        resource = Closing()
        async with serve(adopted(resource, queue), ws_implementation) as served:
            async with served.client('/ws') as client:
                await client.send({'type': 'taken'})
                assert await client.closed() == 4005
            assert await resource.end() == 4005
    assert [line for line in logs.take() if 'keeps its on_websocket' not in line] == []


async def test_after_a_kick_nothing_reaches_the_loop_or_a_handler(ws_implementation: str) -> None:
    class Kicked(Echo):
        async def on_websocket(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await ws.accept()
            self.seen.append(await ws.receive_text())
            await ws.manager.close_connection(ws.id, 4006)
            assert (ws.ready, ws.closed) == (False, True)
            with pytest.raises(falcon.WebSocketDisconnected):
                self.seen.append(await ws.receive_text())

    resource = Kicked()
    async with serve(adopted(resource), ws_implementation) as served:
        async with served.client('/ws') as client:
            for message in ('first', 'second', '{"type":"taken"}'):
                await client.send(message)
            assert await client.closed() == 4006
        await resource.end()
    assert resource.seen == ['first']


async def test_text_that_cannot_be_sent_is_the_loops_error_and_not_the_end(
    ws_implementation: str, logs: Logs
) -> None:
    class Surrogate(Echo):
        async def on_websocket(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await ws.accept()
            with pytest.raises(UnicodeEncodeError):
                await ws.send_text('\ud800')
            await ws.send_text('"fine"')
            await ws.receive_text()

    async with serve(adopted(Surrogate()), ws_implementation) as served:
        async with served.client('/ws') as client:
            assert await client.receive() == 'fine'
    assert [line for line in logs.take() if 'keeps its on_websocket' not in line] == []


async def test_whoever_had_accepted_a_client_that_is_refused_does_not_get_to_the_loop(
    ws_implementation: str,
) -> None:
    class Accepting:
        async def process_request_ws(self, req: Any, ws: Any) -> None:
            await ws.accept()

    class Door(Echo):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> bool:
            return False

        async def on_websocket(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            raise AssertionError('it was refused')

    resource = Door()
    app = install(falcon.asgi.App(middleware=[Accepting()]))
    app.add_route('/ws', resource)
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        assert await client.closed() == 3403
    assert resource.ended.empty()
    assert app.ws_connection_manager.stats().connections == 0


@pytest.mark.parametrize('how', ['close', 'kick'])
async def test_what_was_closed_in_on_ws_connect_does_not_get_to_the_loop(
    how: str, ws_implementation: str
) -> None:
    class Accepting:
        async def process_request_ws(self, req: Any, ws: Any) -> None:
            await ws.accept()

    class Door(Echo):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            if how == 'close':
                await ws.close(4004)
            else:
                await ws.manager.close_connection(ws.id, 4004)

        async def on_websocket(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            raise AssertionError('it was closed')

    app = install(falcon.asgi.App(middleware=[Accepting()]))
    app.add_route('/ws', Door())
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        assert await client.closed() == 4004


@pytest.mark.parametrize('queue', [4, 0])
async def test_a_handler_beside_a_loop_that_only_sends_may_close(
    queue: int, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, 'GRACE_SECONDS', 0)

    class Ticker(Echo):
        async def on_websocket(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await ws.accept()
            while True:
                await ws.send_text('"tick"')
                await asyncio.sleep(0.01)

        async def on_ws_taken(self, ws: WebSocket, payload: Any) -> Any:
            await ws.close(4005)

    resource = Ticker()
    async with serve(adopted(resource, queue)) as served, served.client('/ws') as client:
        await client.send({'type': 'taken'})
        assert await client.closed() == 4005
        assert await resource.end() == 4005
    assert [line for line in logs.take() if 'keeps its on_websocket' not in line] == []


async def test_a_kick_comes_behind_what_was_said_before(ws_implementation: str) -> None:
    class Kicking:
        ws_limits = Limits(max_outbox_bytes=None)

        async def on_websocket(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await ws.accept()
            await ws.receive_text()
            for number in range(200):
                await ws.manager.send_to_connection(ws.id, f'{number}'.ljust(30_000))
            await ws.manager.close_connection(ws.id, 4000)
            await ws.receive_text()

        async def on_ws_taken(self, ws: WebSocket) -> None: ...

    app = adopted(Kicking(), queue=4)
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        await client.send('go')
        heard = [int(await client.connection.recv()) for _ in range(200)]
        assert heard == list(range(200))
        assert await client.closed() == 4000


async def test_what_an_old_loop_says_may_be_as_long_as_ever(ws_implementation: str) -> None:
    class Long:
        async def on_websocket(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await ws.accept()
            await ws.send_text('x' * 2_000_000)
            await ws.send_data(bytes(2_000_000))

        async def on_ws_taken(self, ws: WebSocket) -> None: ...

    app = adopted(Long(), queue=4)
    async with (
        serve(app, ws_implementation) as served,
        served.client('/ws', max_size=None) as client,
    ):
        assert len(await client.connection.recv()) == 2_000_000
        assert len(await client.connection.recv()) == 2_000_000
