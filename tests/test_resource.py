"""A fresh resource for each connection."""

from __future__ import annotations

from typing import Any

import falcon
import falcon.asgi
import falcon.testing
import pytest
from websockets.exceptions import InvalidStatus

from falcon_ws_mw import ConfigurationError, WebSocket, WebSocketResource, install

from .conftest import Logs
from .servers import serve


class ChatRoom(WebSocketResource):
    """The chat as its author would write it."""

    def __init__(self, store: list[str], *, greeting: str = 'hello') -> None:
        self.store = store
        self.greeting = greeting
        self.said = 0

    async def on_connect(self, req: falcon.asgi.Request, ws: WebSocket, room_name: str) -> bool:  # type: ignore[override]
        self.room = room_name
        await ws.send_media({'type': 'welcome', 'text': self.greeting})
        await self.join_room(room_name)
        await self.broadcast_to_room(
            room_name, {'type': 'joined', 'id': self.connection_id}, exclude_self=True
        )
        return True

    async def on_ws_say(self, ws: WebSocket, payload: str) -> int:
        assert ws is self.ws
        self.said += 1
        self.store.append(payload)
        await self.broadcast_to_room(self.room, {'type': 'said', 'text': payload})
        return self.said

    async def on_message(self, ws: WebSocket, message: dict[str, Any]) -> Any:
        return message['type'].upper()

    async def on_disconnect(self, ws: WebSocket, close_code: int) -> None:
        await self.leave_room(self.room)
        await self.broadcast_to_room(self.room, {'type': 'left', 'code': close_code})


async def test_a_chat_in_this_form_works_as_written(ws_implementation: str, logs: Logs) -> None:
    store: list[str] = []
    app = install(falcon.asgi.App())
    app.add_websocket_route('/ws/{room_name}', ChatRoom, store, greeting='hi')
    async with serve(app, ws_implementation) as served, served.client('/ws/a') as one:
        assert await one.receive() == {'type': 'welcome', 'text': 'hi'}
        async with served.client('/ws/a') as two, served.client('/ws/b') as elsewhere:
            for client in (two, elsewhere):
                assert (await client.receive())['type'] == 'welcome'
            joined = await one.receive()
            assert joined['type'] == 'joined'
            for number in (1, 2):  # the instance is this connection's own
                await two.send({'type': 'say', 'payload': 'x', 'id': number})
                assert await one.receive() == {'type': 'said', 'text': 'x'}
                assert await two.receive() == {'type': 'said', 'text': 'x'}
                assert (await two.receive())['payload'] == number
            answer = await elsewhere.ask({'type': 'other', 'id': 1})
            assert answer['payload'] == 'OTHER'
            assert (await elsewhere.ask('not JSON'))['payload']['status'] == 400
        assert await one.receive() == {'type': 'left', 'code': 1000}
    assert store == ['x', 'x']
    assert logs.lines == []


@pytest.mark.parametrize('answer', [False, None, 1, 'yes'])
async def test_only_true_accepts(answer: object) -> None:
    class Door(WebSocketResource):
        async def on_connect(self, req: Any, ws: WebSocket, **params: Any) -> bool:
            return answer  # type: ignore[return-value]

    app = install(falcon.asgi.App())
    app.add_websocket_route('/ws', Door)
    async with serve(app, 'wsproto') as served:
        with pytest.raises(InvalidStatus) as refused:
            async with served.client('/ws'):
                pass
    assert refused.value.response.status_code == 403


async def test_without_on_connect_and_on_message_it_accepts_and_knows_no_other_type() -> None:
    class Silent(WebSocketResource):
        async def on_ws_ping(self, ws: WebSocket) -> str:
            return self.connection_id

    app = install(falcon.asgi.App())
    app.add_websocket_route('/ws', Silent)
    async with falcon.testing.ASGIConductor(app) as conductor:
        async with conductor.simulate_ws('/ws') as ws:
            await ws.send_json({'type': 'ping', 'id': 1})
            assert (await ws.receive_json())['payload'] in app.ws_connection_manager.connections
            await ws.send_json({'type': 'nope', 'id': 1})
            assert (await ws.receive_json())['payload']['status'] == 404


async def test_any_class_will_do() -> None:
    class Plain:
        def __init__(self) -> None:
            self.calls = 0

        async def on_ws_count(self, ws: WebSocket) -> int:
            self.calls += 1
            return self.calls

    app = install(falcon.asgi.App())
    app.add_websocket_route('/own', Plain)
    app.add_websocket_route('/shared', Plain())
    async with falcon.testing.ASGIConductor(app) as conductor:
        for path, counts in [('/own', [1, 1]), ('/shared', [1, 2])]:
            for count in counts:
                async with conductor.simulate_ws(path) as ws:
                    await ws.send_json({'type': 'count', 'id': 1})
                    assert (await ws.receive_json())['payload'] == count


async def test_a_constructor_that_raises_refuses_like_on_ws_connect(logs: Logs) -> None:
    class Door:
        def __init__(self, error: Exception) -> None:
            raise error

        async def on_ws_x(self, ws: WebSocket) -> None:
            pass

    app = install(falcon.asgi.App())
    app.add_websocket_route('/http', Door, falcon.HTTPGone())
    app.add_websocket_route('/crash', Door, ZeroDivisionError())
    async with falcon.testing.ASGIConductor(app) as conductor:
        for path, code in [('/http', 3410), ('/crash', 3500)]:
            with pytest.raises(falcon.WebSocketDisconnected) as refused:
                async with conductor.simulate_ws(path):
                    pass
            assert refused.value.code == code
    [line] = logs.take()
    assert 'ZeroDivisionError' in line


async def test_other_components_see_the_attributes_of_the_class() -> None:
    seen: list[Any] = []

    class Auth:
        async def process_resource_ws(self, req: Any, ws: Any, resource: Any, params: Any) -> None:
            seen.append((resource.needs_login, hasattr(resource, 'nonsense'), repr(resource)))

    class Private(WebSocketResource):
        needs_login = True

    app = install(falcon.asgi.App(middleware=[Auth()]))
    app.add_websocket_route('/ws', Private)
    async with falcon.testing.ASGIConductor(app) as conductor, conductor.simulate_ws('/ws'):
        pass
    [(needs_login, nonsense, text)] = seen
    assert (needs_login, nonsense) == (True, False)
    assert 'Private per connection' in text


class Plain:
    async def on_ws_x(self, ws: WebSocket) -> None:
        pass


class WithHttp(Plain):
    async def on_get(self, req: Any, resp: Any) -> None:
        pass


class Nothing:
    pass


@pytest.mark.parametrize(
    ('resource', 'args', 'because'),
    [
        (ChatRoom([]), (), 'belongs to one connection: give the class'),
        (ChatRoom, (), "missing a required argument: 'store'"),
        (Plain, (1,), 'too many positional arguments'),
        (Plain(), (1,), 'they are for a class'),
        (WithHttp, (), 'on_get would never be called'),
        (Nothing, (), r'no on_ws_\* method'),
        (Nothing(), (), r'no on_ws_\* method'),
    ],
)
def test_what_cannot_work_is_said_when_the_route_is_added(
    resource: object, args: tuple[Any, ...], because: str
) -> None:
    app = install(falcon.asgi.App())
    with pytest.raises(ConfigurationError, match=because):
        app.add_websocket_route('/ws', resource, *args)


def test_a_template_that_has_a_resource_is_not_replaced() -> None:
    app = install(falcon.asgi.App())
    app.add_route('/ws/{name}', Plain())
    with pytest.raises(ConfigurationError, match='which Falcon would replace'):
        app.add_websocket_route('/ws/{name}', Plain)


@pytest.mark.parametrize(
    ('resource', 'because'),
    [
        (ChatRoom([]), r'give the class to app\.add_websocket_route'),
        (ChatRoom, 'is the class ChatRoom itself'),
        (Plain, 'is the class Plain itself'),
    ],
)
async def test_what_falcon_would_take_for_a_resource_stops_the_start(
    resource: object, because: str
) -> None:
    app = install(falcon.asgi.App())
    app.add_route('/ws', resource)
    with pytest.raises(RuntimeError, match=because):
        async with falcon.testing.ASGIConductor(app):
            pass
