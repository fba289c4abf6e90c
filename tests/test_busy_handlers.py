"""A handler that takes long: its connection is read ahead, in bounds, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
import json
from typing import Any, get_args

import falcon
import falcon.asgi
import falcon.testing
import pytest

from falcon_ws_mw import Limits, WebSocket, install
from falcon_ws_mw.asgi import Event
from falcon_ws_mw.options import DisconnectPolicy

from .conftest import Logs
from .servers import PATIENCE_SECONDS, serve
from .test_connection import Server, settled, soon

POLICIES: tuple[DisconnectPolicy, ...] = get_args(DisconnectPolicy)


class Desk:
    """Has a handler that takes until it is released, and one that notes what it gets."""

    def __init__(self) -> None:
        self.connected: asyncio.Queue[WebSocket] = asyncio.Queue()
        self.ends: asyncio.Queue[int] = asyncio.Queue()
        self.begun = asyncio.Event()
        self.release = asyncio.Event()
        self.notes: list[Any] = []

    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        self.connected.put_nowait(ws)

    async def on_ws_work(self, ws: WebSocket) -> str:
        self.begun.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.notes.append('cancelled')
            raise
        return 'done'

    async def on_ws_note(self, ws: WebSocket, payload: Any) -> None:
        self.notes.append(payload)

    async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
        self.ends.put_nowait(close_code)


def note(payload: object) -> str:
    return json.dumps({'type': 'note', 'payload': payload})


class Peer:
    """An ASGI connection to a resource, by a server that is made by hand.

    Attributes:
        events: What the server has to give and nobody has received yet.
        task: What the server runs for the connection.
        server: The sending side.
        cancelled: How often a pending receive was cancelled.
    """

    def __init__(self, resource: Any, **options: Any) -> None:
        self.app = install(falcon.asgi.App(), **options)
        self.app.add_route('/ws', resource)
        self.stats = self.app.ws_connection_manager.stats
        self.server = Server()
        self.cancelled = 0
        self.events: asyncio.Queue[Event | Exception] = asyncio.Queue()
        self.events.put_nowait({'type': 'websocket.connect'})
        scope: Any = falcon.testing.create_scope_ws('/ws')
        self.task = asyncio.ensure_future(self.app(scope, self._receive, self.server.send))

    async def _receive(self) -> Event:
        try:
            event = await self.events.get()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(event, Exception):
            raise event
        return event

    def say(self, *texts: str) -> None:
        for text in texts:
            self.events.put_nowait({'type': 'websocket.receive', 'text': text})

    def leave(self) -> None:
        self.events.put_nowait({'type': 'websocket.disconnect', 'code': 1001})

    def heard(self) -> list[Any]:
        """What the server has taken since the accept: texts, and the codes of closes."""
        return [event.get('text', event.get('code')) for event in self.server.taken[1:]]


@asynccontextmanager
async def busy(
    desk: Desk | None = None, *, reads_ahead: bool = True, **options: Any
) -> AsyncIterator[tuple[Desk, Peer, WebSocket]]:
    """A connection that is read ahead while its handler waits to be released."""
    desk = desk or Desk()
    peer = Peer(desk, **options)
    ws = await soon(desk.connected.get())
    peer.say('{"type":"work"}')
    await soon(desk.begun.wait())
    if reads_ahead:
        ws.inbox.read_ahead()
    yield desk, peer, ws
    desk.release.set()
    peer.leave()
    await soon(peer.task)
    assert (desk.ends.qsize(), peer.stats().connections) == (1, 0)


# -- the bound


BOUNDS = [
    (Limits(max_inbox_messages=4), 4),
    (Limits(max_inbox_bytes=4 * len(note('00'))), 4),
    (Limits(max_inbox_bytes=4 * len(note('00')) - 1), 4),
    (Limits(max_inbox_bytes=4 * len(note('00')) + 1), 5),
    (Limits(max_inbox_messages=1), 1),
    (Limits(max_inbox_messages=None, max_inbox_bytes=None), 30),
]


@pytest.mark.parametrize(('limits', 'read'), BOUNDS)
async def test_reading_pauses_at_the_bound_and_nothing_is_lost(limits: Limits, read: int) -> None:
    numbers = [f'{number:02}' for number in range(30)]
    async with busy(limits=limits) as (desk, peer, _):
        peer.say(*map(note, numbers))
        await settled()
        assert 30 - peer.events.qsize() == read

        desk.release.set()
        await settled()
        while peer.events.qsize():
            await asyncio.sleep(0)
        await settled()
        assert desk.notes == numbers
        assert peer.cancelled == 0


async def test_5000_behind_a_busy_handler_stay_inside_the_bound() -> None:
    async with busy(limits=Limits(messages_per_second=None)) as (desk, peer, _):
        peer.say(*map(note, range(5000)))
        await settled()
        while peer.events.qsize() > 5000 - 256:
            await asyncio.sleep(0)
        await settled()
        assert peer.events.qsize() == 5000 - 256

        desk.release.set()
        while len(desk.notes) < 5000:
            await asyncio.sleep(0)
        assert desk.notes == list(range(5000))


async def test_behind_a_full_inbox_the_end_is_seen_once_there_is_room() -> None:
    async with busy(limits=Limits(max_inbox_messages=2)) as (desk, peer, ws):
        peer.say(*map(note, range(3)))
        peer.leave()
        await settled()
        assert (ws.closed, peer.events.qsize()) == (False, 2)

        desk.release.set()
        await soon(peer.task)

        assert desk.notes == [0, 1, 2]


# -- the end


async def test_a_client_that_vanishes_is_seen_by_the_busy_handler(
    ws_implementation: str, logs: Logs
) -> None:
    class Watching(Desk):
        async def on_ws_watch(self, ws: WebSocket) -> None:
            self.begun.set()
            while not ws.closed:
                await asyncio.sleep(0)
            assert ws.id not in ws.manager.connections
            self.notes.append(self.ends.qsize())

    desk = Watching()
    app = install(falcon.asgi.App())
    app.add_route('/ws', desk)
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        await client.send({'type': 'watch'})
        await soon(desk.begun.wait())
        client.abort()
        assert await soon(desk.ends.get()) in {1005, 1006}
    assert desk.notes == [0]
    assert logs.lines == []


AFTERWARDS: dict[DisconnectPolicy, tuple[list[Any], int]] = {
    'handle': ([0, 1, 2], 0),
    'drop': ([], 3),
    'cancel': (['cancelled'], 3),
}
"""What is noted, and how many messages are abandoned."""


@pytest.mark.parametrize('policy', POLICIES)
async def test_what_arrived_before_the_end_follows_the_policy(
    policy: DisconnectPolicy, ws_implementation: str, logs: Logs
) -> None:
    class Policed(Desk):
        ws_disconnect_policy = policy

    desk = Policed()
    app = install(falcon.asgi.App())
    app.add_route('/ws', desk)
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        ws = await soon(desk.connected.get())
        await client.send({'type': 'work', 'id': 1})
        await soon(desk.begun.wait())
        ws.inbox.read_ahead()
        for number in range(3):
            await client.send(note(number))
        while len(ws.inbox._queue or ()) < 3:
            await asyncio.sleep(0)
        client.abort()
        if policy != 'cancel':
            while not ws.closed:
                await asyncio.sleep(0)
            desk.release.set()
        assert await soon(desk.ends.get()) in {1005, 1006}
    notes, abandoned = AFTERWARDS[policy]
    assert desk.notes == notes
    assert app.ws_connection_manager.stats().abandoned == abandoned
    assert desk.ends.empty()
    assert logs.lines == []


@pytest.mark.parametrize('policy', POLICIES)
async def test_the_app_may_say_the_policy_and_an_idle_connection_has_none(
    policy: DisconnectPolicy, logs: Logs
) -> None:
    desk = Desk()
    peer = Peer(desk, disconnect_policy=policy)
    peer.say(*map(note, range(3)))
    peer.leave()
    await soon(peer.task)

    assert desk.notes == [0, 1, 2]
    assert peer.stats().abandoned == 0
    assert desk.ends.get_nowait() == 1001


class Stubborn(Desk):
    ws_disconnect_policy = 'cancel'

    async def on_ws_work(self, ws: WebSocket) -> str:
        try:
            return await super().on_ws_work(ws)
        except asyncio.CancelledError:
            return 'never mind'


class Grouped(Desk):
    ws_disconnect_policy = 'cancel'

    async def on_ws_work(self, ws: WebSocket) -> str:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(super().on_ws_work(ws))
        return task.result()


class Timed(Desk):
    ws_disconnect_policy = 'cancel'

    async def on_ws_work(self, ws: WebSocket) -> str:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await super().on_ws_work(ws)


class CleaningUp(Desk):
    ws_disconnect_policy = 'cancel'

    async def on_ws_work(self, ws: WebSocket) -> str:
        try:
            return await super().on_ws_work(ws)
        finally:
            await asyncio.sleep(0)
            self.notes.append('cleaned up')


@pytest.mark.parametrize('cls', [Stubborn, Grouped, Timed, CleaningUp])
async def test_a_cancelled_handler_ends_as_it_likes_and_the_goodbye_is_not_cancelled(
    cls: type[Desk], logs: Logs
) -> None:
    class Waiting(cls):  # type: ignore[misc, valid-type]
        async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
            for _ in range(3):
                await asyncio.sleep(0)
            try:
                async with asyncio.timeout(0):
                    await asyncio.Event().wait()
            except TimeoutError:
                self.notes.append('in time')
            await super().on_ws_disconnect(ws, close_code)

    async with busy(Waiting()) as (desk, peer, _):
        peer.say(note('abandoned'))
        peer.leave()
        await soon(peer.task)

        assert desk.notes[0] == 'cancelled'
        assert desk.notes[-1] == 'in time'
        assert peer.stats().abandoned == 1
        assert not peer.task.cancelled()
    assert logs.lines == []


async def test_who_is_cancelled_by_the_server_ends_with_the_servers_cancellation() -> None:
    desk = Desk()
    peer = Peer(desk, disconnect_policy='cancel')
    ws = await soon(desk.connected.get())
    peer.say('{"type":"work"}')
    await soon(desk.begun.wait())
    ws.inbox.read_ahead()
    await settled()

    peer.task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await soon(peer.task)
    assert desk.ends.qsize() == 1


async def test_what_a_kicked_client_still_says_is_abandoned(logs: Logs) -> None:
    async with busy() as (desk, peer, ws):
        peer.say(*map(note, range(3)))
        await settled()
        await ws.manager.close_connection(ws.id, 4000)
        peer.say(*map(note, range(3, 5)))
        await settled()
        assert (ws.closed, peer.events.qsize(), peer.heard()) == (True, 0, [4000])

        desk.release.set()
        peer.leave()
        await soon(peer.task)

        assert (desk.notes, peer.stats().abandoned) == ([], 5)
        assert desk.ends.get_nowait() == 4000
        desk.ends.put_nowait(4000)
    assert logs.lines == []


async def test_a_full_inbox_does_not_hide_the_end_of_one_that_was_kicked() -> None:
    async with busy(limits=Limits(max_inbox_messages=2)) as (_, peer, ws):
        peer.say(*map(note, range(5)))
        await settled()
        await ws.manager.close_connection(ws.id, 4000)
        await settled()
        assert peer.events.qsize() == 0


async def test_a_server_that_fails_to_receive_ends_the_connection() -> None:
    desk = Desk()
    peer = Peer(desk)
    ws = await soon(desk.connected.get())
    peer.say('{"type":"work"}', note(1))
    await soon(desk.begun.wait())
    ws.inbox.read_ahead()
    peer.events.put_nowait(LookupError('the server is broken'))
    await settled()
    desk.release.set()

    with pytest.raises(LookupError, match='the server is broken'):
        await soon(peer.task)

    assert (desk.notes, desk.ends.get_nowait()) == ([1], 1006)


async def test_one_that_is_evicted_as_reading_ahead_begins_ends(logs: Logs) -> None:
    async with busy(reads_ahead=False) as (desk, peer, ws):
        ws.inbox.read_ahead()
        ws._connection.evict()
        desk.release.set()

        await soon(peer.task)
    logs.take()


async def test_one_that_is_evicted_while_it_is_read_ahead_ends(logs: Logs) -> None:
    async with busy() as (desk, peer, ws):
        peer.say(*map(note, range(3)))
        await settled()
        ws._connection.evict()
        desk.release.set()

        await soon(peer.task)

        assert (desk.notes, peer.stats().abandoned) == ([], 3)
        assert desk.ends.get_nowait() == 1006
        desk.ends.put_nowait(1006)
    logs.take()


@pytest.mark.parametrize('reads_ahead', [True, False])
async def test_an_eviction_cancels_a_handler_where_the_end_does(
    reads_ahead: bool, logs: Logs
) -> None:
    async with busy(reads_ahead=reads_ahead, disconnect_policy='cancel') as (desk, peer, ws):
        ws._connection.evict()

        await soon(peer.task)

        assert desk.notes == ['cancelled']
    logs.take()
