"""What one process asks of another is done once, and answered, whatever connection is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
import logging
from typing import Any

import pytest

from falcon_ws_mw import BackendUnavailable, WebSocketConnectionManager

from .conftest import Logs
from .linked import Member, Node, nodes, until
from .redis_server import RedisServer, redis_server, wire_to

__all__ = ['redis_server']


class Client:
    """Who is asked by a server, and counts it; and who reads what it says."""

    in_hand = None

    def __init__(self) -> None:
        self.asked = 0

    async def request(self, type: str, payload: Any, **options: float) -> int:
        self.asked += 1
        return self.asked


async def sends(manager: WebSocketConnectionManager, member: Member) -> None:
    report = await manager.send_to_connection(member.id, 'x')
    assert (report.queued, member.texts) == (1, ['x'])


async def requests(manager: WebSocketConnectionManager, member: Member) -> None:
    client = Client()
    member.connection.reader = member.connection.websocket = client  # type: ignore[assignment]
    assert await manager.request_connection(member.id, 'really?') == 1
    assert client.asked == 1
    member.connection.reader = None  # it has nothing to be ended


async def closes(manager: WebSocketConnectionManager, member: Member) -> None:
    await manager.close_connection(member.id, 4000)
    assert member.close_code == 4000


async def joins(manager: WebSocketConnectionManager, member: Member) -> None:
    await manager.join_room(member.id, 'another')
    assert member.connection.rooms == {'room', 'another'}


async def identifies(manager: WebSocketConnectionManager, member: Member) -> None:
    await manager.identify(member.id, 'bob')
    assert member.connection.user_id == 'bob'


async def closes_a_user(manager: WebSocketConnectionManager, member: Member) -> None:
    assert await manager.close_user('ada', 4000) == 1
    assert member.close_code == 4000


async def looks(manager: WebSocketConnectionManager, member: Member) -> None:
    assert await manager.get_users_in_room('room') == {'ada': 1}


each_call = pytest.mark.parametrize(
    'call',
    [sends, requests, closes, joins, identifies, closes_a_user, looks],
    ids=lambda call: call.__name__,
)
Call = Callable[[WebSocketConnectionManager, Member], Awaitable[None]]


async def begin(call: Call, a: Node, member: Member) -> asyncio.Task[None]:
    """Have `a` ask; Redis has taken the question when this returns."""
    sent = a.health.sent
    calling = asyncio.ensure_future(call(a.manager, member))
    await until(lambda: a.health.sent > sent or calling.done())
    return calling


@each_call
async def test_a_question_that_is_lost_is_put_again(
    redis_server: RedisServer, call: Call, logs: Logs
) -> None:
    async with wire_to(redis_server) as wire, nodes(redis_server.url, wire.url) as (a, b):
        member = await b.member('room')
        await b.manager.identify(member.id, 'ada')
        wire.cut()
        calling = await begin(call, a, member)
        assert not calling.done()
        wire.mend()  # what was under way is gone with the connections
        await calling
    logs.take()


@each_call
async def test_an_answer_that_is_lost_is_said_again(
    redis_server: RedisServer, call: Call, logs: Logs
) -> None:
    async with (
        wire_to(redis_server) as to_a,
        wire_to(redis_server) as to_b,
        nodes(to_a.url, to_b.url) as (a, b),
    ):
        member = await b.member('room')
        await b.manager.identify(member.id, 'ada')
        to_b.cut()
        calling = await begin(call, a, member)
        to_a.cut()
        sent = b.health.sent
        to_b.mend(reset=False)
        await until(lambda: b.health.sent > sent)
        assert not calling.done()
        to_a.mend()
        await calling
    logs.take()


async def test_two_hundred_questions_while_clients_are_killed_eight_times(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with nodes(*[redis_server.url] * 2) as (a, b):
        members = [await node.member() for node in (a, b)]
        answered: set[str] = set()
        refused: dict[str, BackendUnavailable] = {}

        async def send(number: int) -> None:
            here, there = (a, members[1]) if number % 2 else (b, members[0])
            try:
                await here.manager.send_to_connection(there.id, str(number))
            except BackendUnavailable as error:
                refused[str(number)] = error
            else:
                answered.add(str(number))

        async def send_all(numbers: Iterator[int]) -> None:
            for number in numbers:
                await send(number)

        numbers = iter(range(200))
        sending = [asyncio.create_task(send_all(numbers)) for _ in range(8)]
        for count in range(20, 180, 20):
            await until(lambda count=count: len(answered) + len(refused) >= count)  # type: ignore[misc]
            await asyncio.to_thread(redis_server.cut_clients)
        await asyncio.gather(*sending)

        done = Counter(text for member in members for text in member.texts)
        assert set(done.values()) == {1}
        assert answered <= set(done)
        assert len(answered) + len(refused) == 200
        for error in refused.values():  # whoever is killed again and again pauses for a second
            assert 'is not in touch' in str(error)
