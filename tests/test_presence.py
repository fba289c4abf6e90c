"""Users that come and go, whatever number of tabs they have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
import logging
from typing import Any

import falcon
import falcon.asgi
import pytest
from websockets.exceptions import InvalidStatus

from falcon_ws_mw import ConfigurationError, WebSocket, WebSocketConnectionManager, install

from .clocks import Clocks, clocks
from .conftest import Logs
from .servers import PATIENCE_SECONDS, Client, Served, serve

__all__ = ['clocks']  # a fixture

DEBOUNCE = 5.0


class Told:
    """What the listeners of a manager are told, in its order."""

    def __init__(self, manager: WebSocketConnectionManager) -> None:
        self.events: list[tuple[str, ...]] = []
        self._news = asyncio.Event()
        for name in ('user_online', 'user_offline', 'user_joined', 'user_left'):
            getattr(manager, f'on_{name}')(self._listener(name))

    def _listener(self, name: str) -> Callable[..., Any]:
        def note(*told: str) -> None:
            self.events.append((name, *told))
            self._news.set()

        return note

    def take(self) -> list[tuple[str, ...]]:
        events, self.events = self.events, []
        return events

    async def after(self, count: int) -> list[tuple[str, ...]]:
        """The next so many."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.events) < count:
                self._news.clear()
                await self._news.wait()
        return self.take()


class Room:
    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        await ws.identify(req.get_param('user'))
        for room in filter(None, req.get_param('rooms', default='').split(',')):
            await ws.join_room(room)

    async def on_ws_join(self, ws: WebSocket, payload: str) -> None:
        await ws.join_room(payload)

    async def on_ws_leave(self, ws: WebSocket, payload: str) -> None:
        await ws.leave_room(payload)

    async def on_ws_call_me(self, ws: WebSocket, payload: str | None) -> None:
        await ws.identify(payload)


@asynccontextmanager
async def serving(
    manager: WebSocketConnectionManager, ws_implementation: str = 'websockets-sansio'
) -> AsyncIterator[Served]:
    app = install(falcon.asgi.App(), manager=manager)
    app.add_route('/ws', Room())
    async with serve(app, ws_implementation) as served:
        yield served


async def ask(client: Client, what: str, payload: Any = None) -> None:
    assert (await client.ask({'type': what, 'id': 1, 'payload': payload}))['type'] == 'reply'


async def have_left(manager: WebSocketConnectionManager, remaining: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(manager.connections) > remaining:
            await asyncio.sleep(0.01)


# -- three tabs


async def test_three_tabs_come_once_and_leave_once_after_a_while(
    ws_implementation: str, clocks: Clocks, logs: Logs
) -> None:
    manager = WebSocketConnectionManager()
    told = Told(manager)
    async with serving(manager, ws_implementation) as served:
        async with AsyncExitStack() as tabs:
            for _ in range(3):
                await tabs.enter_async_context(served.client('/ws?user=alice&rooms=r'))
            assert await told.after(2) == [('user_online', 'alice'), ('user_joined', 'r', 'alice')]
            assert await manager.get_users_in_room('r') == {'alice': 3}
        await have_left(manager, 0)
        assert await manager.get_users_in_room('r') == {}
        await clocks.pass_by(DEBOUNCE - 0.1)
        assert told.take() == []
        await clocks.pass_by(0.1)
        assert await told.after(2) == [('user_left', 'r', 'alice'), ('user_offline', 'alice')]
        await clocks.pass_by(100)
    assert told.take() == []
    assert logs.lines == []


async def test_a_reload_within_it_says_nothing(ws_implementation: str, clocks: Clocks) -> None:
    manager = WebSocketConnectionManager()
    told = Told(manager)
    async with serving(manager, ws_implementation) as served:
        for _ in range(5):
            async with served.client('/ws?user=alice&rooms=r'):
                await clocks.pass_by(60)
            await have_left(manager, 0)
            await clocks.pass_by(DEBOUNCE - 0.1)
        assert told.take() == [('user_online', 'alice'), ('user_joined', 'r', 'alice')]


async def test_a_reload_that_takes_longer_is_a_leave_and_a_return(clocks: Clocks) -> None:
    manager = WebSocketConnectionManager()
    told = Told(manager)
    async with serving(manager) as served:
        for _ in range(2):
            async with served.client('/ws?user=alice&rooms=r'):
                pass
            await have_left(manager, 0)
            await clocks.pass_by(DEBOUNCE)
            assert await told.after(4) == [
                ('user_online', 'alice'),
                ('user_joined', 'r', 'alice'),
                ('user_left', 'r', 'alice'),
                ('user_offline', 'alice'),
            ]


async def test_the_time_begins_with_the_last_device(clocks: Clocks) -> None:
    manager = WebSocketConnectionManager()
    told = Told(manager)
    async with serving(manager) as served:
        async with served.client('/ws?user=alice'):
            async with served.client('/ws?user=alice'):
                pass
            await have_left(manager, 1)
            await clocks.pass_by(100)
            assert told.take() == [('user_online', 'alice')]
        await have_left(manager, 0)
        await clocks.pass_by(DEBOUNCE - 1)
        assert told.take() == []
        await clocks.pass_by(1)
        assert await told.after(1) == [('user_offline', 'alice')]


async def test_in_real_time_it_takes_as_long_as_it_says() -> None:
    manager = WebSocketConnectionManager(presence_debounce_seconds=1)
    told = Told(manager)
    async with serving(manager) as served:
        async with served.client('/ws?user=alice'):
            begun = asyncio.get_running_loop().time()
        assert await told.after(2) == [('user_online', 'alice'), ('user_offline', 'alice')]
        assert asyncio.get_running_loop().time() - begun >= 1


# -- rooms and users


async def test_rooms_are_told_of_each_by_itself(clocks: Clocks) -> None:
    manager = WebSocketConnectionManager()
    told = Told(manager)
    async with serving(manager) as served, served.client('/ws?user=alice&rooms=a') as first:
        async with served.client('/ws?user=alice&rooms=a,b') as second:
            assert await told.after(3) == [
                ('user_online', 'alice'),
                ('user_joined', 'a', 'alice'),
                ('user_joined', 'b', 'alice'),
            ]
            await ask(first, 'leave', 'a')
            await ask(second, 'leave', 'b')
            await ask(second, 'leave', 'b')
            await ask(second, 'join', 'a')
            await clocks.pass_by(DEBOUNCE)
            assert await told.after(1) == [('user_left', 'b', 'alice')]
            await ask(second, 'join', 'b')
            assert await told.after(1) == [('user_joined', 'b', 'alice')]


async def test_who_becomes_another_leaves_and_comes(clocks: Clocks) -> None:
    manager = WebSocketConnectionManager()
    told = Told(manager)
    async with serving(manager) as served, served.client('/ws?rooms=r') as client:
        await ask(client, 'join', 's')
        assert told.take() == [], 'who is nobody is not told of'
        await ask(client, 'call_me', 'alice')
        events = await told.after(3)
        assert events[0] == ('user_online', 'alice')
        assert sorted(events[1:]) == [('user_joined', r, 'alice') for r in 'rs']
        await ask(client, 'call_me', 'alice')
        await ask(client, 'call_me', 'bob')
        assert {event[-1] for event in await told.after(3)} == {'bob'}
        await clocks.pass_by(DEBOUNCE)
        left = await told.after(3)
        assert sorted(left) == [
            ('user_left', 'r', 'alice'),
            ('user_left', 's', 'alice'),
            ('user_offline', 'alice'),
        ]
        await ask(client, 'call_me', None)
        await clocks.pass_by(DEBOUNCE)
        assert sorted(await told.after(3))[-1] == ('user_offline', 'bob')


async def test_a_kick_is_a_leave(clocks: Clocks) -> None:
    manager = WebSocketConnectionManager()
    told = Told(manager)
    async with serving(manager) as served, served.client('/ws?user=alice&rooms=r') as client:
        await told.after(2)
        await manager.close_user('alice')
        await client.closed()
        await clocks.pass_by(DEBOUNCE)
        assert await told.after(2) == [('user_left', 'r', 'alice'), ('user_offline', 'alice')]


async def test_without_a_while_it_is_told_at_the_next_look(clocks: Clocks) -> None:
    manager = WebSocketConnectionManager(presence_debounce_seconds=0)
    told = Told(manager)
    async with serving(manager) as served:
        async with served.client('/ws?user=alice'):
            pass
        assert await told.after(2) == [('user_online', 'alice'), ('user_offline', 'alice')]


async def test_those_who_are_here_when_somebody_begins_to_listen_are_not_told_of(
    clocks: Clocks,
) -> None:
    manager = WebSocketConnectionManager()
    async with serving(manager) as served:
        async with (
            served.client('/ws?user=alice&rooms=r') as first,
            served.client('/ws?user=alice&rooms=r') as second,
        ):
            await ask(second, 'join', 'r')
            told = Told(manager)
            await first.close()
            await have_left(manager, 1)
            async with served.client('/ws?user=alice&rooms=r'):
                pass
            await clocks.pass_by(DEBOUNCE)
            assert told.take() == []
        await have_left(manager, 0)
        await clocks.pass_by(DEBOUNCE)
        assert await told.after(2) == [('user_left', 'r', 'alice'), ('user_offline', 'alice')]


async def test_where_nobody_listens_nothing_is_counted(clocks: Clocks) -> None:
    manager = WebSocketConnectionManager()
    async with serving(manager) as served, served.client('/ws?user=alice&rooms=r') as client:
        await ask(client, 'leave', 'r')
        assert not manager.presence._devices
        assert not manager.presence._leaving


# -- listeners


async def test_a_listener_that_fails_costs_nobody_else_anything(logs: Logs) -> None:
    manager = WebSocketConnectionManager()

    @manager.on_user_online
    async def fail(user_id: str) -> None:
        raise LookupError('expected')

    told = Told(manager)
    async with serving(manager) as served, served.client('/ws?user=alice&rooms=r'):
        assert await told.after(2) == [('user_online', 'alice'), ('user_joined', 'r', 'alice')]
    (line,) = logs.take()
    assert 'a listener of on_user_online failed' in line


async def test_a_listener_that_hangs_is_cancelled_and_the_others_go_on(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('falcon_ws_mw.presence.LISTENER_SECONDS', 0.1)
    manager = WebSocketConnectionManager()

    @manager.on_user_online
    async def hang(user_id: str) -> None:
        await asyncio.Event().wait()

    told = Told(manager)
    async with serving(manager) as served, served.client('/ws?user=alice&rooms=r'):
        assert await told.after(1) == [('user_joined', 'r', 'alice')]
    assert 'took over 0.1 s' in logs.take()[0]


async def test_who_comes_and_goes_often_costs_nobody_a_look(clocks: Clocks) -> None:
    """A room that is left, entered and left between two looks is looked at once."""
    manager = WebSocketConnectionManager()
    Told(manager)
    async with serving(manager) as served, served.client('/ws?user=alice') as client:
        for _ in range(50):
            for what in ('join', 'leave', 'join', 'leave'):
                await client.send({'type': what, 'payload': 'r'})
        await ask(client, 'leave', 'r')
        watches = manager.presence.keeper._watches  # type: ignore[attr-defined]
        assert watches == [manager.presence]
        await clocks.pass_by(DEBOUNCE)
        await clocks.are_seen()
        assert watches == [manager.presence] or not watches


async def test_a_slow_listener_holds_up_nobody_elses_news(logs: Logs) -> None:
    """What nobody has been told of yet need not be told any more once it is over."""
    manager = WebSocketConnectionManager(presence_debounce_seconds=0)
    goes_on = asyncio.Event()
    told: list[tuple[str, str]] = []

    @manager.on_user_joined
    async def slowly(room: str, user_id: str) -> None:
        told.append((room, user_id))
        await goes_on.wait()

    @manager.on_user_left
    def left(room: str, user_id: str) -> None:
        """So that leaving is told as well."""

    async with (
        serving(manager) as served,
        served.client('/ws?user=eve') as eve,
        served.client('/ws?user=bob') as bob,
    ):
        for number in range(100):
            await eve.send({'type': 'join', 'payload': f'r{number}'})
            await eve.send({'type': 'leave', 'payload': f'r{number}'})
        await ask(eve, 'leave', 'r')
        await ask(bob, 'join', 'bobs')
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(manager.presence._untold.get('eve', ())) > 1:  # as they leave unnoticed
                await asyncio.sleep(0.01)
        goes_on.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while ('bobs', 'bob') not in told:
                await asyncio.sleep(0.01)
        assert len(told) <= 4


async def test_who_is_refused_has_not_come(clocks: Clocks, ws_implementation: str) -> None:
    class Choosy(Room):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await super().on_ws_connect(req, ws)
            raise falcon.HTTPForbidden

    manager = WebSocketConnectionManager()
    told = Told(manager)
    app = install(falcon.asgi.App(), manager=manager)
    app.add_route('/ws', Choosy())
    async with serve(app, ws_implementation) as served:
        with pytest.raises(InvalidStatus):
            async with served.client('/ws?user=alice&rooms=r'):
                pass
        await clocks.pass_by(DEBOUNCE)
    assert told.take() == []


async def test_who_is_accepted_by_hand_has_come_then(clocks: Clocks) -> None:
    goes_on = asyncio.Event()

    class ByHand(Room):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await super().on_ws_connect(req, ws)
            await ws.accept()
            await goes_on.wait()

    manager = WebSocketConnectionManager()
    told = Told(manager)
    app = install(falcon.asgi.App(), manager=manager)
    app.add_route('/ws', ByHand())
    async with serve(app) as served, served.client('/ws?user=alice&rooms=r') as client:
        assert await told.after(2) == [('user_online', 'alice'), ('user_joined', 'r', 'alice')]
        goes_on.set()
        await ask(client, 'leave', 'x')
    told.take()


async def test_an_old_loop_is_told_of_alike(clocks: Clocks) -> None:
    class Old:
        async def on_ws_x(self, ws: WebSocket) -> None: ...

        async def on_websocket(self, req: falcon.asgi.Request, ws: Any) -> None:
            await ws.identify('alice')
            await ws.accept()
            await ws.join_room('r')
            try:
                await ws.receive_text()
            except falcon.WebSocketDisconnected:
                pass

    manager = WebSocketConnectionManager()
    told = Told(manager)
    app = install(falcon.asgi.App(), manager=manager)
    app.add_route('/ws', Old())
    async with serve(app) as served:
        async with served.client('/ws'):
            assert await told.after(2) == [('user_online', 'alice'), ('user_joined', 'r', 'alice')]
        await have_left(manager, 0)
        await clocks.pass_by(DEBOUNCE)
        assert await told.after(2) == [('user_left', 'r', 'alice'), ('user_offline', 'alice')]


async def test_listeners_may_send_and_nobody_waits_for_them(ws_implementation: str) -> None:
    manager = WebSocketConnectionManager()
    goes_on = asyncio.Event()

    @manager.on_user_joined
    async def announce(room: str, user_id: str) -> None:
        await goes_on.wait()
        await manager.broadcast_to_room(room, {'joined': user_id})

    async with (
        serving(manager, ws_implementation) as served,
        served.client('/ws?user=alice&rooms=r') as alice,
    ):
        await ask(alice, 'join', 's')
        goes_on.set()
        assert await alice.receive() == {'joined': 'alice'}


async def test_when_the_app_stops_who_is_leaving_has_left() -> None:
    manager = WebSocketConnectionManager(presence_debounce_seconds=3600)
    told = Told(manager)
    async with serving(manager) as served, AsyncExitStack() as stack:
        await stack.enter_async_context(served.client('/ws?user=alice&rooms=r'))
        async with served.client('/ws?user=bob'):
            pass
        await have_left(manager, 1)
        await told.after(3)
        await served.stop()
    assert sorted(told.take()) == [
        ('user_left', 'r', 'alice'),
        ('user_offline', 'alice'),
        ('user_offline', 'bob'),
    ]


@pytest.mark.parametrize('how', ['hears it', 'deaf', 'deaf for long'])
async def test_a_listener_that_hangs_does_not_keep_the_app_from_stopping(
    how: str, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('falcon_ws_mw.presence.STOP_SECONDS', 0.1)
    manager = WebSocketConnectionManager()

    @manager.on_user_offline
    async def hang(user_id: str) -> None:
        deaf = asyncio.get_running_loop().create_future()
        for _ in range(2 if how == 'deaf for long' else 1):
            try:
                await asyncio.shield(deaf)
            except asyncio.CancelledError:
                if how == 'hears it':
                    raise

    async with serving(manager) as served, served.client('/ws?user=alice'):
        pass
    (line,) = [line for line in logs.take() if line.startswith('falcon')]
    assert 'the app stops, and a listener of users takes over 0.1 s' in line
    for task in asyncio.all_tasks():
        if task.get_name() == 'falcon_ws_mw presence':
            task.cancel()
            await asyncio.wait([task])


async def test_an_app_that_is_started_anew_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    manager = WebSocketConnectionManager(presence_debounce_seconds=0)
    told = Told(manager)
    for _ in range(2):
        async with serving(manager) as served, served.client('/ws?user=alice'):
            pass
        assert await told.after(2) == [('user_online', 'alice'), ('user_offline', 'alice')]


def test_without_an_event_loop_what_happens_is_told_of_in_the_next_one() -> None:
    manager = WebSocketConnectionManager()
    told = Told(manager)

    class Silent:
        async def send_text(self, payload: str) -> None: ...
        async def send_data(self, payload: bytes) -> None: ...
        async def close(self, code: int | None = None, reason: str | None = None) -> None: ...

    def identify(name: str) -> None:
        manager.add_connection(name, Silent())
        with pytest.raises(StopIteration):
            manager.identify(name, name).send(None)

    async def in_a_loop() -> None:
        await manager.identify('alice', 'carol')
        assert await told.after(2) == [('user_online', 'alice'), ('user_online', 'carol')]
        await manager.presence.settle()

    identify('alice')
    assert told.take() == []
    asyncio.run(in_a_loop())


# -- what cannot be


@pytest.mark.parametrize('seconds', [-1, 86_401, True, 'soon', None, float('nan')])
def test_a_time_that_is_none_is_refused(seconds: Any) -> None:
    with pytest.raises(ConfigurationError, match=r'presence_debounce_seconds=.*from 0 to 86400'):
        WebSocketConnectionManager(presence_debounce_seconds=seconds)


@pytest.mark.parametrize('name', ['user_online', 'user_offline', 'user_joined', 'user_left'])
def test_what_cannot_be_called_like_that_is_no_listener(name: str) -> None:
    manager = WebSocketConnectionManager()

    with pytest.raises(ConfigurationError, match=rf'on_{name}.*user_id\)'):
        getattr(manager, f'on_{name}')(lambda one, two, three: None)
