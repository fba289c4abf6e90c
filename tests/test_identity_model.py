"""Ten thousand random steps of clients, rights and time, against a model that is nothing clever."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
import itertools
import random
from typing import Any

import falcon
import falcon.asgi
import pytest
from websockets.exceptions import ConnectionClosed

from falcon_ws_mw import (
    Limits,
    WebSocket,
    WebSocketConnectionManager,
    install,
    topic_matches,
)

from .clocks import Clocks, clocks
from .conftest import Logs
from .examples_made import some
from .servers import PATIENCE_SECONDS, Client, Served, serve

__all__ = ['clocks']  # a fixture

STEPS = some(10_000)
USERS = ('ada', 'bob', 'cyd')
ROOMS = ('r1', 'r2', 'r3')
FILTERS = ('t/a', 't/b', 't/#')
TOPICS = ('t/a', 't/b')
AUTH_SECONDS = 10
"""How long a stranger may stay: the default."""

Right = tuple[str, str, str]
RIGHTS: tuple[Right, ...] = tuple(
    (user, action, name)
    for user in USERS
    for action, names in (('join', ROOMS), ('subscribe', FILTERS), ('publish', TOPICS))
    for name in names
)


class Board:
    """What is served: it does as it is told, as far as the rights go."""

    ws_authenticate_by = 'authenticate'

    def __init__(self, rights: set[Right]) -> None:
        self._rights = rights

    async def ws_authorize(self, ws: WebSocket, action: str, name: str) -> bool:
        await asyncio.sleep(0)
        return (ws.user_id, action, name) in self._rights

    async def on_ws_authenticate(self, ws: WebSocket, payload: Any) -> None:
        if payload['user'] is None:
            raise falcon.HTTPUnauthorized
        await ws.identify(payload['user'], payload['expires_at'])

    async def on_ws_log_out(self, ws: WebSocket) -> None:
        await ws.identify(None)

    async def on_ws_join(self, ws: WebSocket, payload: str) -> None:
        await ws.join_room(payload)

    async def on_ws_leave(self, ws: WebSocket, payload: str) -> None:
        await ws.leave_room(payload)

    async def on_ws_subscribe(self, ws: WebSocket, payload: str) -> None:
        await ws.subscribe(payload)

    async def on_ws_publish(self, ws: WebSocket, payload: Any) -> None:
        await ws.publish(payload['topic'], {'news': payload['number']})

    async def on_ws_fence(self, ws: WebSocket) -> Any:
        return [ws.user_id, sorted(ws.rooms), sorted(ws.topic_filters)]


@dataclass(eq=False)
class Peer:
    """One connection, as the model has it."""

    id: str
    client: Client
    since: float
    user: str | None = None
    ends: float | None = None
    failed: int = 0
    rooms: set[str] = field(default_factory=set)
    filters: set[str] = field(default_factory=set)
    owed: list[int] = field(default_factory=list)
    heard: list[int] = field(default_factory=list)
    code: int | None = None

    def become(self, user: str | None, ends: float | None, now: float) -> None:
        if self.user not in {None, user}:
            self.rooms.clear()
            self.filters.clear()
        if user is None:
            self.since = now
        else:
            self.failed = 0
        self.user, self.ends = user, ends

    def forget(self) -> None:
        self.rooms.clear()
        self.filters.clear()
        self.user = None

    async def listen(self) -> Any:
        """The next answer. Whatever else comes is news."""
        while True:
            message = await self.client.receive()
            if 'news' not in message:
                return message
            self.heard.append(message['news'])

    async def ask(self, what: str, payload: Any = None) -> int:
        """The status of the answer; 200 if it is no error."""
        await self.client.send({'type': what, 'id': 1, 'payload': payload})
        answer = await self.listen()
        return int(answer['payload']['status']) if answer['type'] == 'error' else 200

    async def is_closed(self, *codes: int) -> None:
        with pytest.raises(ConnectionClosed):
            await self.listen()
        assert self.client.connection.close_code in codes
        assert self.heard == self.owed


class Model:
    """The steps, each with what it has to lead to."""

    def __init__(self, served: Served, manager: WebSocketConnectionManager, clocks: Clocks) -> None:
        self.served = served
        self.manager = manager
        self.clocks = clocks
        self.rights: set[Right] = set()
        self.peers: list[Peer] = []
        self.numbers = itertools.count()
        self.done: dict[str, int] = {}

    # -- connections

    async def connect(self, chance: random.Random, stack: AsyncExitStack) -> None:
        if len(self.peers) >= 12:
            return
        before = set(self.manager.connections)
        client = await stack.enter_async_context(self.served.client('/ws'))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (new := set(self.manager.connections) - before):
                await asyncio.sleep(0)
        peer = Peer(new.pop(), client, self.clocks.passed)
        self.peers.append(peer)
        assert await peer.ask('fence') == 401

    async def disconnect(self, chance: random.Random, peer: Peer) -> None:
        self.peers.remove(peer)
        if chance.random() < 0.5:
            await peer.client.close()
        else:
            peer.client.abort()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while peer.id in self.manager.connections:
                await asyncio.sleep(0)

    async def identify(self, chance: random.Random, peer: Peer) -> None:
        user = chance.choice(USERS)
        lasts = chance.choice((None, 5.0, 60.0))
        expires_at = None if lasts is None else self.clocks.calendar + lasts
        payload = {'user': user, 'expires_at': expires_at}
        assert await peer.ask('authenticate', payload) == 200
        ends = None if lasts is None else self.clocks.passed + lasts
        if lasts is None and peer.user == user:
            ends = peer.ends  # to say the same again changes nothing
        peer.become(user, ends, self.clocks.passed)

    async def renew(self, chance: random.Random, peer: Peer) -> None:
        if peer.user is None:
            return
        expires_at = self.clocks.calendar + 30
        await self.manager.identify(peer.id, peer.user, expires_at)
        peer.become(peer.user, self.clocks.passed + 30, self.clocks.passed)

    async def fail(self, chance: random.Random, peer: Peer) -> None:
        assert await peer.ask('authenticate', {'user': None}) == 401
        peer.failed += 1
        if peer.failed == 3:
            self.peers.remove(peer)
            await peer.is_closed(3401)

    async def log_out(self, chance: random.Random, peer: Peer) -> None:
        assert await peer.ask('log_out') == (401 if peer.user is None else 200)
        if peer.user is not None:
            peer.become(None, None, self.clocks.passed)

    async def revoke(self, chance: random.Random, peer: Peer) -> None:
        user = chance.choice(USERS)
        theirs = [each for each in self.peers if each.user == user]
        assert await self.manager.close_user(user, 3401) == len(theirs)
        for each in theirs:
            self.peers.remove(each)
            await each.is_closed(3401)

    # -- rights

    async def authorise(self, chance: random.Random, peer: Peer) -> None:
        self.rights.add(chance.choice(RIGHTS))

    async def deny(self, chance: random.Random, peer: Peer) -> None:
        """Take a right back, and take out whoever uses it."""
        right = user, action, name = chance.choice(RIGHTS)
        self.rights.discard(right)
        for each in self.peers:
            if each.user != user:
                continue
            if action == 'join':
                await self.manager.leave_room(each.id, name)
                each.rooms.discard(name)
            elif action == 'subscribe':
                await self.manager.unsubscribe(each.id, name)
                each.filters.discard(name)

    def expected(self, peer: Peer, action: str, name: str) -> int:
        if peer.user is None:
            return 401
        return 200 if (peer.user, action, name) in self.rights else 403

    async def join(self, chance: random.Random, peer: Peer) -> None:
        room = chance.choice(ROOMS)
        expected = self.expected(peer, 'join', room)
        assert await peer.ask('join', room) == expected
        if expected == 200:
            peer.rooms.add(room)

    async def leave(self, chance: random.Random, peer: Peer) -> None:
        room = chance.choice(ROOMS)
        assert await peer.ask('leave', room) == (401 if peer.user is None else 200)
        peer.rooms.discard(room)

    async def subscribe(self, chance: random.Random, peer: Peer) -> None:
        topic_filter = chance.choice(FILTERS)
        expected = self.expected(peer, 'subscribe', topic_filter)
        assert await peer.ask('subscribe', topic_filter) == expected
        if expected == 200:
            peer.filters.add(topic_filter)

    # -- deliveries

    def owe(self, peers: Iterator[Peer]) -> int:
        number = next(self.numbers)
        for peer in peers:
            peer.owed.append(number)
        return number

    def on_topic(self, topic: str) -> Iterator[Peer]:
        return (p for p in self.peers if any(topic_matches(f, topic) for f in p.filters))

    async def publish(self, chance: random.Random, peer: Peer) -> None:
        topic = chance.choice(TOPICS)
        expected = self.expected(peer, 'publish', topic)
        number = self.owe(self.on_topic(topic) if expected == 200 else iter(()))
        assert await peer.ask('publish', {'topic': topic, 'number': number}) == expected

    async def broadcast(self, chance: random.Random, peer: Peer) -> None:
        kind, name = chance.choice(
            [
                *(('room', room) for room in ROOMS),
                *(('user', user) for user in USERS),
                *(('topic', topic) for topic in TOPICS),
                ('all', ''),
            ]
        )
        members = {
            'room': [p for p in self.peers if name in p.rooms],
            'user': [p for p in self.peers if p.user == name],
            'topic': list(self.on_topic(name)) if kind == 'topic' else [],
            'all': [p for p in self.peers if p.user is not None],
        }[kind]
        news = {'news': self.owe(iter(members))}
        if kind == 'room':
            report = await self.manager.broadcast_to_room(name, news)
        elif kind == 'user':
            report = await self.manager.send_to_user(name, news)
        elif kind == 'topic':
            report = await self.manager.publish(name, news)
        else:
            report = await self.manager.broadcast(news)
        assert (report.queued, report.dropped) == (len(members), 0)

    # -- time

    async def wait(self, chance: random.Random, peer: Peer) -> None:
        if chance.random() < 0.3:
            await self.clocks.jump(-3600.0)  # nobody lives longer by that
        await self.clocks.pass_by(chance.choice((0.5, 2.0, 5.0)))
        for each in list(self.peers):
            late = each.user is None and self.clocks.passed - each.since >= AUTH_SECONDS
            over = each.ends is not None and self.clocks.passed >= each.ends
            if late or over:
                self.peers.remove(each)
                await each.is_closed(3408 if late else 3401)

    # -- looking

    async def look(self) -> None:
        """Everybody has got what he was owed, and the index knows who is there."""
        for peer in self.peers:
            await peer.client.send({'type': 'fence', 'id': 1})
            answer = await peer.listen()
            assert peer.heard == peer.owed
            if peer.user is None:
                assert answer['payload']['status'] == 401
            else:
                assert answer['payload'] == [peer.user, sorted(peer.rooms), sorted(peer.filters)]
        stats = self.manager.stats()
        assert stats.connections == len(self.peers)
        assert stats.users == len({peer.user for peer in self.peers} - {None})
        assert stats.rooms == len(set().union(*(peer.rooms for peer in self.peers)))
        assert stats.topic_filters == len(set().union(*(peer.filters for peer in self.peers)))


WEIGHTS = {
    'connect': 8,
    'disconnect': 2,
    'identify': 8,
    'renew': 4,
    'fail': 2,
    'log_out': 2,
    'revoke': 1,
    'authorise': 12,
    'deny': 4,
    'join': 12,
    'leave': 2,
    'subscribe': 8,
    'publish': 6,
    'broadcast': 14,
    'wait': 2,
}


@pytest.mark.timeout(180)
async def test_ten_thousand_steps_deliver_nothing_without_a_right_and_leave_nobody_behind(
    clocks: Clocks, logs: Logs
) -> None:
    chance = random.Random(7)  # noqa: S311  # it has to be the same each time
    manager = WebSocketConnectionManager()
    rights: set[Right] = set()
    app = install(falcon.asgi.App(), manager=manager, limits=Limits(messages_per_second=None))
    app.add_route('/ws', Board(rights))
    async with serve(app) as served, AsyncExitStack() as stack:
        model = Model(served, manager, clocks)
        model.rights = rights
        for number in range(STEPS):
            (step,) = chance.choices([*WEIGHTS], [*WEIGHTS.values()])
            model.done[step] = model.done.get(step, 0) + 1
            if step == 'connect':
                await model.connect(chance, stack)
            elif model.peers:
                await getattr(model, step)(chance, chance.choice(model.peers))
            if number % 20 == 0:
                await model.look()
        await model.look()
        assert min(model.done.values()) > STEPS / 200
        for peer in list(model.peers):
            await model.disconnect(chance, peer)
        await model.look()
        assert not manager.connections
    logs.take()
