"""Falcon's hooks, extended to `on_ws_*`, and what stops the start where they would be lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

import falcon
import falcon.asgi
import falcon.testing
import pytest
from websockets.exceptions import InvalidStatus

import falcon_ws_mw
from falcon_ws_mw import ConfigurationError, WebSocket, WebSocketResource, install

from .conftest import Logs
from .servers import serve

SEEN: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    SEEN.clear()


async def note(req: Any, resp: Any, resource: Any, params: Any, word: str = 'before') -> None:
    SEEN.append((word, type(resp).__name__, dict(params)))


async def note_after(req: Any, resp: Any, resource: Any, word: str = 'after') -> None:
    SEEN.append(word)


async def forbid(req: Any, resp: Any, resource: Any, params: Any) -> None:
    raise falcon.HTTPForbidden(description='not you')


async def authenticate(req: Any, resp: Any, resource: Any, params: Any) -> None:
    if req.get_header('Authorization') != 'Bearer secret':
        raise falcon.HTTPUnauthorized
    req.context.user = 'ada'


@asynccontextmanager
async def talking_to(
    resource: object, template: str = '/ws', path: str = '/ws', **options: Any
) -> AsyncIterator[falcon.testing.ASGIWebSocketSimulator]:
    app = install(falcon.asgi.App())
    if isinstance(resource, type):
        app.add_websocket_route(template, resource)
    else:
        app.add_route(template, resource)
    async with falcon.testing.ASGIConductor(app) as conductor:
        async with conductor.simulate_ws(path, **options) as ws:
            yield ws


async def ask(ws: falcon.testing.ASGIWebSocketSimulator, message: object) -> Any:
    await ws.send_json(message)
    return await ws.receive_json()


# -- on a method


class Methods:
    @falcon_ws_mw.before(note, 'one')
    @falcon_ws_mw.before(note, word='two')
    @falcon_ws_mw.after(note_after)
    async def on_ws_say(self, ws: WebSocket, payload: Any, room: str) -> Any:
        SEEN.append((payload, room))
        return 'said'

    @falcon_ws_mw.before(forbid)
    async def on_ws_forbidden(self, ws: WebSocket) -> None:
        raise AssertionError

    @falcon_ws_mw.handles_message('chat.edit')
    @falcon_ws_mw.before(note)
    async def edit(self, ws: WebSocket) -> str:
        return 'edited'


async def test_hooks_on_a_method_run_around_each_message() -> None:
    async with talking_to(Methods(), '/ws/{room}', '/ws/r') as ws:
        for _ in range(2):
            answer = await ask(ws, {'type': 'say', 'id': 1, 'payload': 'hi'})
            assert answer['payload'] == 'said'
    params = {'room': 'r'}
    once = [('one', 'WebSocket', params), ('two', 'WebSocket', params), ('hi', 'r'), 'after']
    assert once * 2 == SEEN


async def test_a_hook_that_raises_answers_the_message_and_the_connection_stays(logs: Logs) -> None:
    async with talking_to(Methods(), '/ws/{room}', '/ws/r') as ws:
        answer = await ask(ws, {'type': 'forbidden', 'id': 1})
        assert answer['payload'] == {
            'status': 403,
            'title': '403 Forbidden',
            'description': 'not you',
        }
        assert (await ask(ws, {'type': 'chat.edit', 'id': 2}))['payload'] == 'edited'
    assert logs.lines == []


async def test_a_hook_may_change_what_the_uri_said() -> None:
    async def upper(req: Any, resp: Any, resource: Any, params: Any) -> None:
        params['room'] = params['room'].upper()

    class Room:
        @falcon_ws_mw.before(upper)
        async def on_ws_where(self, ws: WebSocket, room: str) -> str:
            return room

    async with talking_to(Room(), '/ws/{room}', '/ws/r') as ws:
        assert (await ask(ws, {'type': 'where', 'id': 1}))['payload'] == 'R'


async def test_on_an_ordinary_responder_they_are_falcons() -> None:
    class Http:
        @falcon_ws_mw.before(note)
        @falcon_ws_mw.after(note_after)
        async def on_get(self, req: Any, resp: Any) -> None:
            SEEN.append('get')

    app = install(falcon.asgi.App())
    app.add_route('/http', Http())
    await falcon.testing.ASGIConductor(app).simulate_get('/http')
    assert SEEN == [('before', 'Response', {}), 'get', 'after']


# -- on a class


@falcon_ws_mw.before(note, 'outer')
@falcon_ws_mw.before(note, 'inner')
@falcon_ws_mw.after(note_after, 'first')
@falcon_ws_mw.after(note_after, 'last')
class Whole:
    async def on_get(self, req: Any, resp: Any) -> None:
        SEEN.append('get')

    async def on_ws_connect(self, req: Any, ws: WebSocket) -> None:
        SEEN.append('connect')

    async def on_ws_ping(self, ws: WebSocket) -> str:
        return 'pong'

    async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
        SEEN.append('disconnect')


async def test_hooks_on_a_class_run_once_at_the_handshake_and_once_at_the_end() -> None:
    async with talking_to(Whole()) as ws:
        for number in range(3):
            await ask(ws, {'type': 'ping', 'id': number})
    names = [seen if isinstance(seen, str) else seen[0] for seen in SEEN]
    assert names == ['outer', 'inner', 'connect', 'disconnect', 'last', 'first']


async def test_hooks_on_a_class_guard_its_http_responders_too() -> None:
    app = install(falcon.asgi.App())
    app.add_route('/http', Whole())
    await falcon.testing.ASGIConductor(app).simulate_get('/http')
    names = [seen if isinstance(seen, str) else seen[0] for seen in SEEN]
    assert names == ['outer', 'inner', 'get', 'last', 'first']


@falcon_ws_mw.before(authenticate)
class Guarded:
    async def on_ws_who(self, ws: WebSocket) -> str:
        return str(ws.context.user)


@falcon.before(authenticate)
class GuardedByFalcon:
    on_websocket = falcon_ws_mw.dispatch

    async def on_get(self, req: Any, resp: Any) -> None:
        pass

    async def on_ws_who(self, ws: WebSocket) -> str:
        return str(ws.context.user)


@falcon_ws_mw.before(authenticate)
class GuardedPerConnection(WebSocketResource):
    async def on_ws_who(self, ws: WebSocket) -> str:
        return str(ws.context.user)


@pytest.mark.parametrize('resource', [Guarded(), GuardedByFalcon(), GuardedPerConnection])
async def test_a_hook_on_a_class_guards_the_handshake(
    resource: object, ws_implementation: str
) -> None:
    app = install(falcon.asgi.App())
    if isinstance(resource, type):
        app.add_websocket_route('/ws', resource)
    else:
        app.add_route('/ws', resource)
    async with serve(app, ws_implementation) as served:
        with pytest.raises(InvalidStatus) as refused:
            async with served.client('/ws'):
                pass
        assert refused.value.response.status_code == 401
        headers = {'Authorization': 'Bearer secret'}
        async with served.client('/ws', additional_headers=headers) as client:
            assert (await client.ask({'type': 'who', 'id': 1}))['payload'] == 'ada'
    assert app.ws_connection_manager.stats().connections == 0


# -- dispatch as a responder


@falcon.before(note)
@falcon.after(note_after)
class Dispatching:
    on_websocket = falcon_ws_mw.dispatch

    async def on_ws_connect(self, req: Any, ws: WebSocket, room: str) -> None:
        SEEN.append(('connect', room))
        await ws.send_text('"hello"')

    async def on_ws_ping(self, ws: WebSocket) -> str:
        return 'pong'

    async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
        SEEN.append(('disconnect', close_code))


async def test_falcons_own_hooks_work_around_a_dispatched_conversation(
    ws_implementation: str, logs: Logs
) -> None:
    app = install(falcon.asgi.App())
    app.add_route('/ws/{room}', Dispatching())
    async with serve(app, ws_implementation) as served:
        async with served.client('/ws/r') as client:
            assert await client.receive() == 'hello'
            assert (await client.ask({'type': 'ping', 'id': 1}))['payload'] == 'pong'
            await client.close(4001)
    assert SEEN == [
        ('before', 'WebSocket', {'room': 'r'}),
        ('connect', 'r'),
        ('disconnect', 4001),
        'after',
    ]
    assert logs.lines == []


# -- what would be lost


class HookedMethod:
    @falcon.before(authenticate)
    async def on_ws_ping(self, ws: WebSocket) -> None:
        pass


class HookedLifeCycle:
    @falcon.after(note_after)
    async def on_ws_connect(self, req: Any, ws: WebSocket) -> None:
        pass


class HookedMarked:
    @falcon_ws_mw.handles_message('x')
    @falcon.before(authenticate)
    async def anything(self, ws: WebSocket) -> None:
        pass


@falcon.before(authenticate)
class HookedClass:
    async def on_get(self, req: Any, resp: Any) -> None:
        pass

    async def on_post(self, req: Any, resp: Any) -> None:
        pass

    async def on_ws_ping(self, ws: WebSocket) -> None:
        pass


@pytest.mark.parametrize(
    ('resource', 'named'),
    [
        (HookedMethod(), r'HookedMethod\.on_ws_ping carries'),
        (HookedLifeCycle(), r'HookedLifeCycle\.on_ws_connect carries'),
        (HookedMarked(), r'HookedMarked\.anything carries'),
        (HookedClass(), 'responders of HookedClass carry'),
    ],
)
async def test_a_hook_of_falcons_that_would_be_lost_stops_the_start_with_the_cure(
    resource: object, named: str
) -> None:
    app = install(falcon.asgi.App())
    app.add_route('/ws', resource)
    with pytest.raises(
        RuntimeError, match=rf'test_hooks\.py.*{named}.*falcon_ws_mw\.(before|after)'
    ):
        async with falcon.testing.ASGIConductor(app):
            pass


async def test_falcons_hook_on_a_websocket_resource_stops_the_start() -> None:
    @falcon.before(authenticate)
    class Hooked(WebSocketResource):
        async def on_connect(self, req: Any, ws: WebSocket, **params: Any) -> bool:
            return True

    app = install(falcon.asgi.App())
    app.add_websocket_route('/ws', Hooked)
    with pytest.raises(RuntimeError, match=r'Hooked\.on_connect carries'):
        async with falcon.testing.ASGIConductor(app):
            pass


async def test_falcons_hook_on_a_short_name_stops_the_start_whatever_a_subclass_does() -> None:
    @falcon.before(authenticate)
    class Hooked(WebSocketResource):
        async def on_ws_ping(self, ws: WebSocket) -> None:
            pass

    class Child(Hooked):
        async def on_connect(self, req: Any, ws: WebSocket, **params: Any) -> bool:
            return True

    app = install(falcon.asgi.App())
    app.add_websocket_route('/ws', Child)
    with pytest.raises(RuntimeError, match=r'Hooked\.on_connect carries'):
        async with falcon.testing.ASGIConductor(app):
            pass


async def test_a_hook_on_one_of_several_http_responders_is_that_ones_business() -> None:
    class Partly:
        @falcon.before(note)
        async def on_post(self, req: Any, resp: Any) -> None:
            pass

        async def on_get(self, req: Any, resp: Any) -> None:
            pass

        async def on_ws_ping(self, ws: WebSocket) -> str:
            return 'pong'

    async with talking_to(Partly()) as ws:
        assert (await ask(ws, {'type': 'ping', 'id': 1}))['payload'] == 'pong'


def test_an_action_has_to_be_a_coroutine_function() -> None:
    def sync(req: Any, resp: Any, resource: Any, params: Any) -> None:
        pass

    for decorator in (falcon_ws_mw.before, falcon_ws_mw.after):
        with pytest.raises(ConfigurationError, match='not a coroutine function'):
            decorator(sync)  # type: ignore[arg-type]


# -- what must not be lost by the shape of the classes


async def refusal(resource: object) -> int:
    """The close code with which a handshake without credentials is refused."""
    app = install(falcon.asgi.App())
    if isinstance(resource, type):
        app.add_websocket_route('/ws', resource)
    else:
        app.add_route('/ws', resource)
    async with falcon.testing.ASGIConductor(app) as conductor:
        with pytest.raises(falcon.WebSocketDisconnected) as refused:
            async with conductor.simulate_ws('/ws'):
                pass
    return refused.value.code


@falcon_ws_mw.before(authenticate)
class Authenticated:
    pass


@falcon_ws_mw.before(note)
class Noted:
    pass


class Mixed(Noted, Authenticated):
    async def on_ws_who(self, ws: WebSocket) -> str:
        return str(ws.context.user)


async def test_the_hooks_of_all_bases_guard_a_class_that_is_mixed_of_them() -> None:
    assert await refusal(Mixed()) == 3401
    async with talking_to(Mixed(), headers={'Authorization': 'Bearer secret'}) as ws:
        assert (await ask(ws, {'type': 'who', 'id': 1}))['payload'] == 'ada'


@falcon.before(authenticate)
@falcon_ws_mw.before(note)
class BothKinds:
    async def on_get(self, req: Any, resp: Any) -> None:
        pass

    async def on_ws_ping(self, ws: WebSocket) -> None:
        pass


@falcon.before(authenticate)
class HookedBase:
    async def on_get(self, req: Any, resp: Any) -> None:
        pass


class DispatchingChild(HookedBase):
    on_websocket = falcon_ws_mw.dispatch

    async def on_ws_ping(self, ws: WebSocket) -> None:
        pass


@falcon.before(authenticate)
class HookedLoop:
    async def on_websocket(self, req: Any, ws: Any) -> None:
        pass


class LoopReplaced(HookedLoop):
    on_websocket = falcon_ws_mw.dispatch

    async def on_ws_ping(self, ws: WebSocket) -> None:
        pass


class LoopRemoved(HookedLoop):
    on_websocket = None  # type: ignore[assignment]

    async def on_ws_ping(self, ws: WebSocket) -> None:
        pass


@falcon.before(authenticate)
class OnlySuffixed:
    async def on_get_item(self, req: Any, resp: Any) -> None:
        pass

    async def on_ws_ping(self, ws: WebSocket) -> None:
        pass


@falcon.before(authenticate)
class OnlySuffixedLoop:
    async def on_websocket_item(self, req: Any, ws: Any) -> None:
        pass

    async def on_ws_ping(self, ws: WebSocket) -> None:
        pass


@falcon.before(authenticate)
class OtherwiseHooked:
    async def on_get(self, req: Any, resp: Any) -> None:
        pass

    @falcon_ws_mw.before(note)
    async def on_ws_ping(self, ws: WebSocket) -> None:
        pass


class MixedWithAnother(Noted, HookedBase):
    async def on_ws_ping(self, ws: WebSocket) -> None:
        pass


@falcon_ws_mw.after(note_after)
class Recording:
    pass


class MixedWithAnAfter(Recording, HookedBase):
    async def on_ws_ping(self, ws: WebSocket) -> None:
        pass


class OtherDispatch(HookedBase):
    on_websocket = falcon.after(note_after)(falcon_ws_mw.dispatch)

    async def on_ws_ping(self, ws: WebSocket) -> None:
        pass


@falcon.before(authenticate)
class HookedBoth:
    async def on_get(self, req: Any, resp: Any) -> None:
        pass

    async def on_ws_ping(self, ws: WebSocket) -> None:
        pass


class ResponderAdded(HookedBoth):
    async def on_post(self, req: Any, resp: Any) -> None:
        pass


class ResponderOverridden(HookedBoth):
    async def on_get(self, req: Any, resp: Any) -> None:
        pass


class Options:
    async def on_options(self, req: Any, resp: Any) -> None:
        pass


class ResponderMixedIn(Options, HookedBoth):
    pass


class BothAdded(HookedBase):
    async def on_post(self, req: Any, resp: Any) -> None:
        pass

    async def on_ws_ping(self, ws: WebSocket) -> None:
        pass


class LoopAdded(HookedBoth):
    async def on_websocket(self, req: Any, ws: Any) -> None:
        pass


class LoopByLoop(HookedLoop):
    async def on_websocket(self, req: Any, ws: Any) -> None:
        await super().on_websocket(req, ws)

    async def on_ws_ping(self, ws: WebSocket) -> None:
        pass


@falcon_ws_mw.before(authenticate)
class OurLoop:
    async def on_websocket(self, req: Any, ws: Any) -> None:
        pass


class OurLoopByLoop(OurLoop):
    async def on_websocket(self, req: Any, ws: Any) -> None:
        pass

    async def on_ws_ping(self, ws: WebSocket) -> None:
        pass


class OneLoopHooked:
    async def on_get(self, req: Any, resp: Any) -> None:
        pass

    @falcon_ws_mw.before(authenticate)
    async def on_websocket(self, req: Any, ws: Any) -> None:
        pass


class HookedOneReplaced(OneLoopHooked):
    on_websocket = falcon_ws_mw.dispatch

    async def on_ws_ping(self, ws: WebSocket) -> None:
        pass


class OnlyOnRequest:
    @falcon.before(authenticate)
    async def on_request(self, req: Any, resp: Any) -> None:
        pass

    async def on_ws_ping(self, ws: WebSocket) -> None:
        pass


class BesideOnRequest:  # which a hook on the class passes over
    @falcon.before(authenticate)
    async def on_get(self, req: Any, resp: Any) -> None:
        pass

    async def on_request(self, req: Any, resp: Any) -> None:
        pass

    async def on_ws_ping(self, ws: WebSocket) -> None:
        pass


LOST = [
    BothKinds,
    MixedWithAnother,
    MixedWithAnAfter,
    OtherDispatch,
    OtherwiseHooked,
    DispatchingChild,
    LoopReplaced,
    LoopRemoved,
    OnlySuffixed,
    OnlySuffixedLoop,
    HookedBoth,
    ResponderAdded,
    ResponderOverridden,
    ResponderMixedIn,
    BothAdded,
    LoopAdded,
    LoopByLoop,
    OurLoopByLoop,
    HookedOneReplaced,
    OnlyOnRequest,
    BesideOnRequest,
]

each_lost = pytest.mark.parametrize('shape', LOST, ids=lambda shape: shape.__name__)


async def starts(resource: object) -> None:
    app = install(falcon.asgi.App())
    app.add_route('/ws', resource)
    async with falcon.testing.ASGIConductor(app):
        pass


@each_lost
async def test_a_class_level_hook_that_would_not_guard_the_messages_stops_the_start(
    shape: type,
) -> None:
    with pytest.raises(RuntimeError, match=r"carry Falcon's hooks \(before authenticate\)"):
        await starts(shape())


@pytest.mark.filterwarnings('ignore:Skipping decoration')  # of on_request: Falcon's own advice
@each_lost
async def test_the_cure_that_the_error_names_guards_every_shape(shape: type) -> None:
    cured = falcon_ws_mw.before(authenticate)(type('Cured', (shape,), {}))
    assert await refusal(cured()) == 3401


async def check_role(req: Any, resp: Any, resource: Any, params: Any, role: str) -> None:
    if req.get_header('Role') != role:
        raise falcon.HTTPForbidden


@falcon.before(check_role, 'admin')
class ForAdmins:
    async def on_get(self, req: Any, resp: Any) -> None:
        pass


@falcon_ws_mw.before(check_role, 'reader')
class OurOtherRole(ForAdmins):
    async def on_ws_ping(self, ws: WebSocket) -> None:
        pass


class FalconsOtherRole(ForAdmins):
    on_websocket = falcon.before(check_role, role='reader')(falcon_ws_mw.dispatch)

    async def on_ws_ping(self, ws: WebSocket) -> None:
        pass


@pytest.mark.parametrize('shape', [OurOtherRole, FalconsOtherRole])
async def test_the_same_action_with_other_arguments_is_another_hook(shape: type) -> None:
    with pytest.raises(RuntimeError, match=r'\(before check_role\)'):
        await starts(shape())
    cured = falcon_ws_mw.before(check_role, 'admin')(type('Cured', (shape,), {}))
    await starts(cured())


# -- what is no lost hook


class DispatchBesideAHook:
    on_websocket = falcon_ws_mw.dispatch

    @falcon.before(note)
    async def on_get(self, req: Any, resp: Any) -> None:
        pass

    async def on_ws_ping(self, ws: WebSocket) -> str:
        return 'pong'


@falcon_ws_mw.before(note)
class GuardedBesideAHook:
    on_websocket = falcon_ws_mw.dispatch

    @falcon.before(check_role, 'admin')
    async def on_get(self, req: Any, resp: Any) -> None:
        pass

    async def on_ws_ping(self, ws: WebSocket) -> str:
        return 'pong'


class LoopBesideAHook:
    @falcon.before(note)
    async def on_get(self, req: Any, resp: Any) -> None:
        pass

    async def on_websocket(self, req: Any, ws: Any) -> None:
        await ws.accept()
        await ws.receive_text()

    async def on_ws_ping(self, ws: WebSocket) -> str:
        return 'pong'


@falcon_ws_mw.after(note_after)
class OurHookOnAMethod:
    @falcon_ws_mw.before(check_role, 'admin')
    async def on_get(self, req: Any, resp: Any) -> None:
        pass

    async def on_ws_ping(self, ws: WebSocket) -> str:
        return 'pong'


class OtherArgumentsEach:
    @falcon.before(check_role, 'reader')
    async def on_get(self, req: Any, resp: Any) -> None:
        pass

    @falcon.before(check_role, 'admin')
    async def on_post(self, req: Any, resp: Any) -> None:
        pass

    async def on_ws_ping(self, ws: WebSocket) -> str:
        return 'pong'


class HttpConnect:
    async def on_get(self, req: Any, resp: Any) -> None:
        pass

    @falcon.before(note)
    async def on_connect(self, req: Any, resp: Any) -> None:
        pass

    async def on_ws_ping(self, ws: WebSocket) -> str:
        return 'pong'


@pytest.mark.parametrize(
    'shape',
    [
        DispatchBesideAHook,
        GuardedBesideAHook,
        LoopBesideAHook,
        OurHookOnAMethod,
        OtherArgumentsEach,
        HttpConnect,
    ],
)
async def test_a_hook_that_is_seen_to_be_for_a_method_alone_is_no_lost_hook(shape: type) -> None:
    async with talking_to(shape()) as ws:
        assert (await ask(ws, {'type': 'ping', 'id': 1}))['payload'] == 'pong'


async def test_an_action_may_be_an_object_that_is_called() -> None:
    class Authenticate:
        async def __call__(self, req: Any, resp: Any, resource: Any, params: Any) -> None:
            await authenticate(req, resp, resource, params)

    @falcon_ws_mw.before(Authenticate())
    class ByAnObject:
        async def on_ws_who(self, ws: WebSocket) -> str:
            return str(ws.context.user)

    assert await refusal(ByAnObject()) == 3401
    async with talking_to(ByAnObject(), headers={'Authorization': 'Bearer secret'}) as ws:
        assert (await ask(ws, {'type': 'who', 'id': 1}))['payload'] == 'ada'


# -- beside an old loop


async def test_on_ws_connect_beside_a_hooked_loop_stops_the_start() -> None:
    @falcon.before(authenticate)
    class Early:
        async def on_websocket(self, req: Any, ws: Any) -> None:
            pass

        async def on_ws_connect(self, req: Any, ws: WebSocket) -> None:
            pass

    app = install(falcon.asgi.App())
    app.add_route('/ws', Early())
    with pytest.raises(RuntimeError, match=r'on_ws_connect would run before the hook'):
        async with falcon.testing.ASGIConductor(app):
            pass


async def test_on_ws_connect_before_a_hooked_loop_of_a_base_stops_the_start() -> None:
    class Calling(Authenticated, HookedLoop):
        async def on_websocket(self, req: Any, ws: Any) -> None:
            await super().on_websocket(req, ws)

        async def on_ws_connect(self, req: Any, ws: WebSocket) -> None:
            pass

    with pytest.raises(RuntimeError, match=r'on_ws_connect would run before the hook'):
        await starts(Calling())


async def test_on_ws_connect_comes_before_what_comes_after_a_loop() -> None:
    class Logged:
        @falcon.after(note_after)
        async def on_websocket(self, req: Any, ws: Any) -> None:
            await ws.accept()
            SEEN.append('loop')

        async def on_ws_connect(self, req: Any, ws: WebSocket) -> None:
            SEEN.append('connect')

    async with talking_to(Logged()):
        pass
    assert SEEN == ['connect', 'loop', 'after']


async def test_a_decorator_that_hides_the_hook_before_a_loop_stops_the_start() -> None:
    def hides(function: Any) -> Any:
        held = [function]

        @wraps(function)
        async def hiding(*args: Any, **kwargs: Any) -> None:
            await held[0](*args, **kwargs)

        return hiding

    class Hidden:
        @hides
        @falcon.before(authenticate)
        async def on_websocket(self, req: Any, ws: Any) -> None:
            pass

        async def on_ws_ping(self, ws: WebSocket) -> None:
            pass

    class Shown:
        @falcon.before(authenticate)
        @hides
        async def on_websocket(self, req: Any, ws: Any) -> None:
            pass

        async def on_ws_ping(self, ws: WebSocket) -> None:
            pass

    with pytest.raises(RuntimeError, match='put the hook above the decorator'):
        await starts(Hidden())
    await starts(Shown())


@falcon_ws_mw.before(authenticate)
class OwnConnect(WebSocketResource):
    async def on_connect(self, req: Any, ws: WebSocket, **params: Any) -> bool:
        return True

    async def on_ws_who(self, ws: WebSocket) -> str:
        return str(ws.context.user)


class HookedConnect(WebSocketResource):
    @falcon_ws_mw.before(authenticate)
    async def on_connect(self, req: Any, ws: WebSocket, **params: Any) -> bool:
        return True

    async def on_ws_who(self, ws: WebSocket) -> str:
        return str(ws.context.user)


@pytest.mark.parametrize('resource', [OwnConnect, HookedConnect])
async def test_our_hooks_work_on_the_short_names(resource: type) -> None:
    assert await refusal(resource) == 3401
    async with talking_to(resource, headers={'Authorization': 'Bearer secret'}) as ws:
        assert (await ask(ws, {'type': 'who', 'id': 1}))['payload'] == 'ada'


async def test_an_after_hook_alone_on_a_class_is_no_lost_hook() -> None:
    @falcon_ws_mw.after(note_after)
    class Watched:
        async def on_get(self, req: Any, resp: Any) -> None:
            pass

        async def on_ws_ping(self, ws: WebSocket) -> str:
            return 'pong'

    async with talking_to(Watched()) as ws:
        assert (await ask(ws, {'type': 'ping', 'id': 1}))['payload'] == 'pong'
    assert SEEN == ['after']


def test_a_hook_of_ours_on_a_sync_method_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r'test_hooks\.py:\d+: .*is not a coroutine'):

        @falcon_ws_mw.before(note)
        def on_ws_x(self: object, ws: WebSocket) -> None:
            pass


async def test_a_hook_that_accepts_before_dispatch_is_said_and_closed(
    ws_implementation: str, logs: Logs
) -> None:
    async def accept(req: Any, resp: Any, resource: Any, params: Any) -> None:
        await resp.accept()

    @falcon.before(accept)
    class Accepted:
        on_websocket = falcon_ws_mw.dispatch

        async def on_ws_ping(self, ws: WebSocket) -> None:
            pass

    app = install(falcon.asgi.App())
    app.add_route('/ws', Accepted())
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        assert await client.closed() == 1011
    [line] = logs.take()
    assert 'another component accepted the handshake' in line


async def test_an_on_websocket_on_an_instance_stops_the_start() -> None:
    class Instance(HookedLoop):
        def __init__(self) -> None:
            self.on_websocket = None  # type: ignore[assignment]

        async def on_ws_ping(self, ws: WebSocket) -> None:
            pass

    app = install(falcon.asgi.App())
    app.add_route('/ws', Instance())
    with pytest.raises(RuntimeError, match='sets on_websocket on its instances'):
        async with falcon.testing.ASGIConductor(app):
            pass


async def test_an_on_websocket_that_answers_anything_does_not_hold_up_the_start() -> None:
    class Anything:
        def __getattr__(self, name: str) -> Any:
            return self

        async def __call__(self, req: Any, ws: WebSocket) -> None:
            await ws.accept()
            await ws.receive_text()

    class Proxied:
        on_websocket = Anything()

        async def on_ws_ping(self, ws: WebSocket) -> str:
            return 'pong'

    async with talking_to(Proxied()) as ws:
        assert (await ask(ws, {'type': 'ping', 'id': 1}))['payload'] == 'pong'
