"""Handlers of one connection beside each other: as many as may, and none of them forgotten."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
import gc
import json
import random
from typing import Any

import falcon
import falcon.asgi
import pytest
from websockets.exceptions import ConnectionClosed

from falcon_ws_mw import ConfigurationError, Limits, WebSocket, WebSocketResource, install, parallel
from falcon_ws_mw.options import DisconnectPolicy
from falcon_ws_mw.responders import build_table

from .conftest import Logs
from .servers import PATIENCE_SECONDS, serve
from .test_adoption import Echo, adopted
from .test_busy_handlers import POLICIES, Desk, note
from .test_connection import settled, soon
from .test_requests import ENDINGS, Asked, Endings, asked, endings_app, meaning, reply


class Crew(Desk):
    """Its handlers note who begins and who ends, and wait until each is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.begins: asyncio.Queue[str] = asyncio.Queue()
        self.gates: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.running = 0
        self.most = 0

    async def on_ws_job(self, ws: WebSocket, payload: str) -> str:
        self.running += 1
        self.most = max(self.most, self.running)
        self.begins.put_nowait(payload)
        try:
            await self.gates[payload].wait()
        except asyncio.CancelledError:
            self.notes.append(f'{payload} cancelled')
            raise
        finally:
            self.running -= 1
        self.notes.append(payload)
        return payload

    async def on_ws_other(self, ws: WebSocket, payload: str) -> str:
        return await self.on_ws_job(ws, payload)

    def who_began(self) -> str:
        """Who has begun since the last look, in order."""
        return ''.join(self.begins.get_nowait() for _ in range(self.begins.qsize()))

    async def next_begun(self, count: int) -> str:
        """Wait for as many to begin."""
        return ''.join([await soon(self.begins.get()) for _ in range(count)])

    def let_go(self, names: str) -> None:
        for name in names:
            self.gates[name].set()


class Three(Crew):
    ws_max_parallel = 3


class OwnPool(Crew):
    @parallel(2)
    async def on_ws_job(self, ws: WebSocket, payload: str) -> str:
        return await super().on_ws_job(ws, payload)


class Alone(Crew):
    ws_max_parallel = 3

    @parallel(1)
    async def on_ws_job(self, ws: WebSocket, payload: str) -> str:
        return await super().on_ws_job(ws, payload)


def job(name: str, type: str = 'job', **more: Any) -> str:
    return json.dumps({'type': type, 'payload': name, **more})


@asynccontextmanager
async def crewed(crew: Any, **options: Any) -> AsyncIterator[tuple[Any, Asked, WebSocket]]:
    """A connection in memory, all of whose handlers are let go in the end."""
    async with asked(crew, **options) as (_, peer, ws):
        yield crew, peer, ws
        crew.let_go('abcdefghijklmnopqrstuvwxyz')


# -- how many


async def test_without_a_word_one_message_is_handled_after_the_other() -> None:
    async with crewed(Crew()) as (crew, peer, _):
        peer.say(*map(job, 'abc'))
        for name in 'abc':
            await settled()
            assert crew.who_began() == name
            crew.let_go(name)


async def test_as_many_run_as_the_resource_says_and_begin_in_order_of_arrival() -> None:
    async with crewed(Three()) as (crew, peer, _):
        peer.say(*map(job, 'abcde'))
        await settled()
        assert crew.who_began() == 'abc'
        crew.let_go('b')
        await settled()
        assert crew.who_began() == 'd'
        crew.let_go('ad')
        await settled()
        assert (crew.who_began(), crew.notes) == ('e', ['b', 'a', 'd'])


async def test_the_handlers_of_a_resource_share_its_number() -> None:
    async with crewed(Three()) as (crew, peer, _):
        peer.say(job('a'), job('b', 'other'), job('c'), job('d', 'other'), job('e'))
        await settled()
        assert crew.who_began() == 'abc'
        crew.let_go('b')
        await settled()
        assert crew.who_began() == 'd'


async def test_the_number_of_a_handler_is_its_own() -> None:
    async with crewed(OwnPool()) as (crew, peer, _):
        peer.say(job('a'), job('b'), note(1), job('c', 'other'), job('d', 'other'), note(2))
        await settled()
        # The two run beside the others, which run one after the other.
        assert (crew.who_began(), crew.notes) == ('abc', [1])
        crew.let_go('c')
        await settled()
        assert (crew.who_began(), crew.notes) == ('d', [1, 'c'])
        crew.let_go('d')
        await settled()
        assert crew.notes == [1, 'c', 'd', 2]


async def test_a_number_of_its_own_is_beside_that_of_the_resource() -> None:
    class Both(OwnPool):
        ws_max_parallel = 2

    async with crewed(Both()) as (crew, peer, _):
        peer.say(*(job(name, 'other') for name in 'ab'), *map(job, 'cd'))
        await settled()
        assert crew.who_began() == 'abcd'
        peer.say(job('e', 'other'), job('f'))
        crew.let_go('cd')  # room for `f`, which waits behind `e`
        await settled()
        assert crew.who_began() == ''
        crew.let_go('a')
        await settled()
        assert crew.who_began() == 'ef'


async def test_what_arrives_behind_one_that_waits_for_room_waits_too() -> None:
    async with crewed(OwnPool()) as (crew, peer, _):
        peer.say(*map(job, 'abc'), note(1))
        await settled()
        assert (crew.who_began(), crew.notes) == ('ab', [])
        crew.let_go('a')
        await settled()
        assert (crew.who_began(), crew.notes) == ('c', ['a', 1])


async def test_of_a_handler_whose_number_is_1_there_are_never_two_at_once() -> None:
    async with crewed(Alone()) as (crew, peer, _):
        peer.say(job('a', 'other'), job('b'), job('c'), job('d', 'other'))
        await settled()
        assert crew.who_began() == 'ab'
        crew.let_go('b')
        await settled()
        assert crew.who_began() == 'cd'[: 1 + crew.gates['c'].is_set()]
        crew.let_go('c')
        await settled()
        assert crew.who_began() == 'd'


async def test_each_connection_has_the_number_for_itself() -> None:
    crew = Three()
    app = install(falcon.asgi.App())
    app.add_route('/ws', crew)
    async with (
        serve(app) as served,
        served.client('/ws') as first,
        served.client('/ws') as second,
    ):
        for client, names in ((first, 'abc'), (second, 'def')):
            for name in names:
                await client.send(job(name))
            assert await crew.next_begun(3) == names
        crew.let_go('abcdef')


@pytest.mark.parametrize('seed', range(5))
async def test_never_are_there_more_and_each_is_answered_once(seed: int) -> None:
    class Random(Three):
        async def on_ws_job(self, ws: WebSocket, payload: Any) -> str:
            self.gates[payload].set()
            result = await super().on_ws_job(ws, payload)
            for _ in range(chance.randrange(20)):
                await asyncio.sleep(0)
            return result

    chance = random.Random(seed)  # noqa: S311  # it has to repeat itself
    numbers = list(range(300))
    async with asked(Random()) as (crew, peer, _):
        for number in numbers:
            peer.say(job(str(number), id=number))
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
        answers = await peer.hears(len(numbers))
        assert isinstance(crew, Crew)
        assert crew.who_began() == ''.join(map(str, numbers))
        assert sorted(answer['id'] for answer in answers) == numbers
        assert all(answer['payload'] == str(answer['id']) for answer in answers)
        assert len(peer.heard()) == len(numbers)
        assert crew.most <= 3


@pytest.mark.parametrize('value', [0, -1, True, 1.0, '2', None])
def test_a_number_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match='expected a whole number from 1'):
        parallel(value)

    class Wrong(Crew):
        ws_max_parallel = value

    with pytest.raises(ConfigurationError, match=r'Wrong\.ws_max_parallel=.* whole number from 1'):
        build_table(Wrong)


async def test_on_message_is_a_handler_too() -> None:
    class Own(WebSocketResource):
        ws_max_parallel = 2

        async def on_connect(self, req: falcon.asgi.Request, ws: WebSocket, **params: Any) -> bool:
            return True

        async def on_message(self, ws: WebSocket, message: Any) -> None:
            await crew.on_ws_job(ws, message['payload'])

    crew = Crew()
    app = install(falcon.asgi.App())
    app.add_websocket_route('/ws', Own)
    async with serve(app) as served, served.client('/ws') as client:
        for name in 'ab':
            await client.send(job(name))
        assert await crew.next_begun(2) == 'ab'
        crew.let_go('ab')


# -- answers


async def test_answers_come_as_handlers_end(ws_implementation: str, logs: Logs) -> None:
    crew = Three()
    app = install(falcon.asgi.App())
    app.add_route('/ws', crew)
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        for name in 'abcd':
            await client.send(job(name, id=name))
        for name in 'cabd':
            crew.let_go(name)
            assert await client.receive() == {'type': 'reply', 'id': name, 'payload': name}
        assert await crew.next_begun(4) == 'abcd'
    assert logs.lines == []


async def test_each_request_has_exactly_one_answer_however_it_ends(
    ws_implementation: str, logs: Logs
) -> None:
    class Beside(Endings):
        ws_max_parallel = 3

    expected = dict(enumerate(list(ENDINGS.values()) * 5))
    async with (
        serve(endings_app(Beside()), ws_implementation) as served,
        served.client('/ws') as client,
    ):
        for number, words in enumerate(list(ENDINGS) * 5):
            await client.send(f'{{{words},"id":{number}}}')
        answers = [await client.receive() for _ in expected]
        assert (await client.ask('{"type":"null","id":"alive"}'))['id'] == 'alive'
    assert {answer['id']: meaning(answer) for answer in answers} == expected
    gc.collect()
    assert all('.Beside.on_ws_' in line for line in logs.take())


async def test_a_crash_that_closes_lets_the_others_end_first(
    ws_implementation: str, logs: Logs
) -> None:
    class Fragile(Three):
        ws_crash_policy = 'close'

        async def on_ws_crash(self, ws: WebSocket) -> None:
            raise LookupError('expected')

    crew = Fragile()
    app = install(falcon.asgi.App())
    app.add_route('/ws', crew)
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        await client.send(job('a', id='a'))
        await client.send('{"type":"crash","id":"crash"}')
        with pytest.raises(ConnectionClosed):
            await client.receive()
        assert (client.connection.close_code, crew.ends.qsize()) == (1011, 0)
        crew.let_go('a')
        assert await soon(crew.ends.get()) == 1011
    assert crew.notes == ['a']
    gc.collect()
    [line] = logs.take()
    assert 'on_ws_crash raised LookupError' in line


class Halt(BaseException):
    """What no handler of errors catches."""


async def test_what_nobody_catches_ends_the_connection_and_is_not_lost(
    logs: Logs, ws_implementation: str
) -> None:
    class Halting(Three):
        async def on_ws_halt(self, ws: WebSocket) -> None:
            raise Halt

    crew = Halting()
    app = install(falcon.asgi.App())
    app.add_route('/ws', crew)
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        await client.send('{"type":"halt","id":1}')
        assert await client.closed() in {1006, 1011}
        await soon(crew.ends.get())
        gc.collect()
    lines = logs.take()
    assert lines
    assert not any('never retrieved' in line for line in lines)


# -- the room is taken


async def test_while_the_room_is_taken_reading_goes_on_up_to_the_bound() -> None:
    async with crewed(Three(), limits=Limits(max_inbox_messages=4)) as (crew, peer, ws):
        peer.say(*map(job, 'abcdefghijklmnopqrstuvwxyz'))
        assert await crew.next_begun(3) == 'abc'
        while ws.inbox.reads_directly:  # the sweep has it read ahead
            await asyncio.sleep(0)
        await settled()
        assert peer.events.qsize() == 26 - 3 - 1 - 4  # one waits for room, four in the inbox
        crew.let_go('abcdefghijklmnopqrstuvwxyz')
        assert await crew.next_begun(23) == 'defghijklmnopqrstuvwxyz'
        assert crew.most == 3


async def test_a_client_that_vanishes_while_the_room_is_taken_is_seen(
    ws_implementation: str, logs: Logs
) -> None:
    class Watching(Three):
        async def on_ws_watch(self, ws: WebSocket) -> None:
            self.begins.put_nowait('w')
            while not ws.closed:
                await asyncio.sleep(0)
            self.notes.append(self.ends.qsize())

    crew = Watching()
    app = install(falcon.asgi.App())
    app.add_route('/ws', crew)
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        for _ in range(4):
            await client.send('{"type":"watch"}')
        assert await crew.next_begun(3) == 'www'
        client.abort()
        assert await soon(crew.ends.get()) in {1005, 1006}
    assert crew.notes == [0, 0, 0, 0]
    assert logs.lines == []


# -- the end


AFTERWARDS: dict[DisconnectPolicy, tuple[list[Any], int]] = {
    'handle': (['a', 'b', 'c', 'd', 1], 0),
    'drop': (['a', 'b', 'c'], 3 - 1),
    'cancel': (['a cancelled', 'b cancelled', 'c cancelled'], 2),
}
"""What is noted, and how many messages are abandoned: `d`, that waits for room, and a note."""


@pytest.mark.parametrize('policy', POLICIES)
async def test_all_have_ended_before_the_goodbye_and_who_waits_follows_the_policy(
    policy: DisconnectPolicy, ws_implementation: str, logs: Logs
) -> None:
    class Policed(Three):
        ws_disconnect_policy = policy

        async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
            assert self.running == 0
            self.notes.sort(key=str)
            await super().on_ws_disconnect(ws, close_code)

    crew = Policed()
    app = install(falcon.asgi.App())
    app.add_route('/ws', crew)
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        ws = await soon(crew.connected.get())
        for name in 'abcd':
            await client.send(job(name, id=name))
        await client.send(note(1))
        assert await crew.next_begun(3) == 'abc'
        while ws.inbox.is_empty:  # the sweep has it read ahead
            await asyncio.sleep(0)
        client.abort()
        if policy != 'cancel':
            while not ws.closed:
                await asyncio.sleep(0)
            assert crew.ends.empty()
            crew.let_go('abcd')
        assert await soon(crew.ends.get()) in {1005, 1006}
    notes, abandoned = AFTERWARDS[policy]
    assert crew.notes == sorted(notes, key=str)
    assert app.ws_connection_manager.stats().abandoned == abandoned
    assert crew.ends.empty()
    assert logs.lines == []


@pytest.mark.parametrize('policy', POLICIES)
async def test_while_there_is_room_the_end_is_seen_at_once(
    policy: DisconnectPolicy, ws_implementation: str, logs: Logs
) -> None:
    crew = Three()
    app = install(falcon.asgi.App(), disconnect_policy=policy)
    app.add_route('/ws', crew)
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        ws = await soon(crew.connected.get())
        await client.send(job('a', id='a'))
        await crew.next_begun(1)
        await client.close(4001)
        while not ws.closed:
            await asyncio.sleep(0)
        assert crew.ends.empty() or policy == 'cancel'
        crew.let_go('a')
        assert await soon(crew.ends.get()) == 4001
    assert crew.notes == (['a cancelled'] if policy == 'cancel' else ['a'])
    assert app.ws_connection_manager.stats().abandoned == 0
    assert logs.lines == []


async def test_who_is_kicked_has_no_more_messages_handled() -> None:
    async with crewed(Three()) as (crew, peer, ws):
        peer.say(*map(job, 'abcd'), note(1))
        await settled()
        await ws.manager.close_connection(ws.id, 4003)
        crew.let_go('abcd')
        peer.leave()
        await soon(peer.task)
        assert sorted(crew.notes) == ['a', 'b', 'c']
        assert (crew.ends.get_nowait(), peer.stats().abandoned) == (4003, 2)
        crew.ends.put_nowait(4003)


async def test_a_server_that_cancels_the_connection_cancels_its_handlers() -> None:
    class Careful(Three):
        async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
            self.notes.append(self.running)
            await asyncio.sleep(0)
            await super().on_ws_disconnect(ws, close_code)

    for names, waiting in (('ab', 0), ('abcd', 1)):
        crew = Careful()
        peer = Asked(crew)
        peer.say(*map(job, names))
        await crew.next_begun(len(names) - waiting)
        await settled()

        peer.task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await soon(peer.task)
        cancelled = [f'{name} cancelled' for name in names[: len(names) - waiting]]
        assert [*sorted(crew.notes[:-1]), crew.notes[-1]] == [*cancelled, 0]
        assert (crew.ends.qsize(), peer.stats().abandoned) == (1, waiting)


async def test_a_server_that_gives_up_waiting_for_them_cancels_them_too() -> None:
    crew = Three()
    peer = Asked(crew)
    peer.say(*map(job, 'ab'))
    await crew.next_begun(2)
    peer.leave()
    await settled()
    assert crew.notes == []

    peer.task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await soon(peer.task)
    assert sorted(crew.notes) == ['a cancelled', 'b cancelled']
    assert (crew.ends.qsize(), peer.stats().connections) == (1, 0)


async def test_a_server_that_stops_has_them_end_by_the_policy(
    ws_implementation: str, logs: Logs
) -> None:
    class Cancelled(Three):
        ws_disconnect_policy = 'cancel'

    crew, cancelled = Three(), Cancelled()
    app = install(falcon.asgi.App())
    app.add_route('/ws', crew)
    app.add_route('/cancelled', cancelled)
    async with (
        serve(app, ws_implementation) as served,
        served.client('/ws') as client,
        served.client('/cancelled') as other,
    ):
        for each in (client, other):
            await each.send(job('a'))
        await crew.next_begun(1)
        await cancelled.next_begun(1)
        stopping = asyncio.create_task(served.stop())
        assert await soon(cancelled.ends.get()) == 1012
        assert (cancelled.notes, crew.notes) == (['a cancelled'], [])
        crew.let_go('a')
        assert await soon(crew.ends.get()) == 1012
        await soon(stopping)
    assert crew.notes == ['a']
    assert logs.lines == []


async def test_an_eviction_cancels_nobody_by_itself(logs: Logs) -> None:
    async with crewed(Three(), limits=Limits(send_timeout_seconds=0.05)) as (crew, peer, ws):
        peer.say(*map(job, 'abcd'))
        assert await crew.next_begun(3) == 'abc'
        peer.server.gate.clear()
        await ws.manager.broadcast('x')
        while not ws.closed:
            await asyncio.sleep(0)
        assert (crew.running, crew.notes) == (3, [])
    logs.take()


# -- what a handler has to itself


WHO: ContextVar[str] = ContextVar('who', default='nobody')


async def test_the_context_variables_of_each_are_its_own() -> None:
    class Naming(Three):
        async def on_ws_job(self, ws: WebSocket, payload: str) -> str:
            before = WHO.get()
            WHO.set(payload)
            await super().on_ws_job(ws, payload)
            return f'{before} {WHO.get()}'

    async with crewed(Naming()) as (crew, peer, _):
        peer.say(*(job(name, id=name) for name in 'abc'))
        await crew.next_begun(3)
        crew.let_go('abc')
        answers = await peer.hears(3)
        peer.say(job('d', id='d'))
        crew.let_go('d')
        answers += await peer.hears()
    assert [answer['payload'] for answer in answers] == [f'nobody {name}' for name in 'abcd']


async def test_timeouts_and_task_groups_are_those_of_the_handler() -> None:
    class Timed(Three):
        async def on_ws_time(self, ws: WebSocket, payload: float) -> str:
            try:
                async with asyncio.timeout(payload):
                    await self.gates['a'].wait()
            except TimeoutError:
                return 'too late'
            async with asyncio.TaskGroup() as group:
                task = group.create_task(asyncio.sleep(0, 'in time'))
            return task.result()

    async with crewed(Timed()) as (crew, peer, _):
        for number, seconds in enumerate((PATIENCE_SECONDS, 0.01, PATIENCE_SECONDS)):
            peer.say(json.dumps({'type': 'time', 'id': number, 'payload': seconds}))
        assert [(each['id'], each['payload']) for each in await peer.hears()] == [(1, 'too late')]
        crew.let_go('a')
        assert [each['payload'] for each in await peer.hears(2)] == ['in time'] * 2


@pytest.mark.parametrize('is_room_taken', [False, True])
async def test_the_next_message_cannot_be_received_beside_others(is_room_taken: bool) -> None:
    class Receiving(Three):
        async def on_ws_listen(self, ws: WebSocket) -> str:
            await self.on_ws_job(ws, 'l')
            return await ws.receive_text()

    async with crewed(Receiving()) as (crew, peer, _):
        peer.say('{"type":"listen","id":1}', *map(job, 'abc' if is_room_taken else 'ab'))
        await crew.next_begun(3)
        crew.let_go('l')
        [answer] = await peer.hears()
        assert answer['payload']['status'] == 500
        peer.say(note('handled'))
        crew.let_go('abc')
        while 'handled' not in crew.notes:
            await asyncio.sleep(0)


# -- requests to the client


class Interviewers(Three):
    async def on_ws_ask(self, ws: WebSocket, payload: Any) -> Any:
        return await ws.request('question', payload)


async def test_all_the_room_may_wait_for_answers(ws_implementation: str, logs: Logs) -> None:
    crew = Interviewers()
    app = install(falcon.asgi.App())
    app.add_route('/ws', crew)
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        for number in range(6):
            await client.send({'type': 'ask', 'id': number, 'payload': number})
        for number in range(10):
            await client.send(note(number))
        questions = [await client.receive() for _ in range(3)]  # three more and the notes wait
        for each in questions:
            await client.send(reply(each, -each['payload']))
        answers = [await client.receive() for _ in range(6)]
        for each in answers:
            if each['type'] == 'question':
                await client.send(reply(each, -each['payload']))
        answers += [await client.receive() for _ in range(3)]
        await client.ask({'type': 'note', 'id': 'last', 'payload': 'last'})
    replies = {each['id']: each['payload'] for each in answers if each['type'] == 'reply'}
    assert replies == {number: -number for number in range(6)}
    assert sorted(crew.notes, key=str) == [*range(10), 'last']
    assert logs.lines == []


async def test_who_asked_before_the_room_was_taken_gets_the_answer() -> None:
    class Mixed(Interviewers):
        @parallel(1)
        async def on_ws_alone(self, ws: WebSocket, payload: str) -> str:
            return await self.on_ws_job(ws, payload)

    async with crewed(Mixed()) as (crew, peer, _):
        peer.say('{"type":"ask","id":"asker"}', *map(job, 'ab'))
        question = await peer.question()
        await crew.next_begun(2)
        peer.say(job('c'), job('d'), reply(question, 'here'))
        await settled()  # this is sooner than the sweep
        [_, answer] = map(json.loads, peer.heard())
        assert (answer['id'], answer['payload']) == ('asker', 'here')
        assert await crew.next_begun(1) == 'c'


# -- beside an old loop


class Old(Echo):
    """An old loop, and handlers beside it that wait."""

    ws_max_parallel = 2

    def __init__(self) -> None:
        super().__init__()
        self.crew = Crew()

    async def on_ws_job(self, ws: WebSocket, payload: str) -> str:
        return await self.crew.on_ws_job(ws, payload)

    async def on_ws_ask(self, ws: WebSocket, payload: Any) -> Any:
        return await ws.request('question', payload)

    async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
        assert self.crew.running == 0
        await super().on_ws_disconnect(ws, close_code)


@pytest.mark.parametrize('queue', [4, 0])
async def test_beside_an_old_loop_handlers_run_beside_each_other_and_the_loop_goes_on(
    queue: int, ws_implementation: str, logs: Logs
) -> None:
    old = Old()
    async with (
        serve(adopted(old, queue), ws_implementation) as served,
        served.client('/ws') as client,
    ):
        await client.send(job('a', id='a'))
        await client.send('first')
        await client.send(job('b', id='b'))
        assert await old.crew.next_begun(2) == 'ab'
        await client.send('second')
        await client.send(job('c', id='c'))
        await client.send('third')
        while len(old.old) < 2:
            await asyncio.sleep(0)
        old.crew.let_go('b')
        assert (await client.receive())['id'] == 'b'
        assert await old.crew.next_begun(1) == 'c'
        while len(old.old) < 3:
            await asyncio.sleep(0)
        await client.close()
        await settled()
        assert old.ended.empty()
        old.crew.let_go('ac')
        assert await old.end() == 1000
    assert old.old == ['first', 'second', 'third']
    assert sorted(old.crew.notes) == ['a', 'b', 'c']
    assert all('keeps its on_websocket' in line for line in logs.take())


async def test_beside_an_old_loop_many_may_wait_for_answers(
    ws_implementation: str, logs: Logs
) -> None:
    old = Old()
    async with (
        serve(adopted(old), ws_implementation) as served,
        served.client('/ws') as client,
    ):
        for number in range(2):
            await client.send({'type': 'ask', 'id': number, 'payload': number})
        questions = [await client.receive() for _ in range(2)]
        await client.send({'type': 'ask', 'id': 2, 'payload': 2})
        await client.send('in front')
        for each in questions:
            await client.send(reply(each, -each['payload']))
        answers = [await client.receive() for _ in range(3)]
        [third] = [each for each in answers if each['type'] == 'question']
        await client.send('last')
        await client.send(reply(third, -2))
        answers.append(await client.receive())
        replies = {each['id']: each['payload'] for each in answers if each['type'] == 'reply'}
        assert replies == {0: 0, 1: -1, 2: -2}
        while len(old.old) < 2:
            await asyncio.sleep(0)
    assert await old.end() == 1000
    assert old.old == ['in front', 'last']
    assert all('keeps its on_websocket' in line for line in logs.take())
