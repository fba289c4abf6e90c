"""One connection's sending side, against servers made by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator, Iterator
import logging
import random
from typing import Any

from falcon import WebSocketDisconnected
import pytest

from falcon_ws_mw.asgi import Event
from falcon_ws_mw.connection import Connection
from falcon_ws_mw.errors import MessageTooBig, OutboxFull
from falcon_ws_mw.frames import Frame, text_frame
from falcon_ws_mw.options import Limits
from falcon_ws_mw.sides import State

from .servers import PATIENCE_SECONDS

A, B, C = text_frame('a'), text_frame('b'), text_frame('c')

ACCEPT: Event = {'type': 'websocket.accept'}

LOST = ConnectionResetError('the peer has gone')


class Server:
    """An ASGI server that takes frames while its gate is open, and waits at the gate else.

    Attributes:
        taken: What it has taken, in order.
        gate: Whether it takes.
        reached: Whether a frame has come as far as the gate.
        error: What it raises behind the gate instead of taking.
    """

    def __init__(self, *, is_open: bool = True, error: BaseException | None = None) -> None:
        self.taken: list[Any] = []
        self.gate = asyncio.Event()
        self.reached = asyncio.Event()
        self.error = error
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        if is_open:
            self.gate.set()

    async def send(self, event: Event) -> None:
        self.reached.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.taken.append(event)
        self._queue.put_nowait(event)

    async def next_taken(self, count: int) -> list[Any]:
        """Wait for that many frames."""
        return [await soon(self._queue.get()) for _ in range(count)]


async def soon(awaitable: Awaitable[Any]) -> Any:
    """Wait for what has to happen, and fail instead of hanging where it does not."""
    return await asyncio.wait_for(awaitable, PATIENCE_SECONDS)


async def settled() -> None:
    """Let every task run until it waits for something."""
    for _ in range(10):
        await asyncio.sleep(0)


def opened(server: Server, **options: Any) -> Connection:
    connection = Connection('c1', server.send, **options)
    connection.opened()
    return connection


async def outcomes(tasks: list[asyncio.Task[None]]) -> list[type[BaseException] | None]:
    """How tasks ended: returned (`None`), or by which error."""
    results = await soon(asyncio.gather(*tasks, return_exceptions=True))
    return [None if result is None else type(result) for result in results]


def sending(connection: Connection, *frames: Frame) -> list[asyncio.Task[None]]:
    """A task for each frame, that sends it and waits."""
    return [asyncio.create_task(connection.send(frame)) for frame in frames]


# -- order


class ErraticServer:
    """A server whose sends block as often as chance has it, none to three times.

    Attributes:
        taken: What it has taken, in order.
        most_in_flight: The most sends that it ever had at once.
    """

    def __init__(self, seed: int) -> None:
        self.taken: list[Any] = []
        self.most_in_flight = 0
        self._in_flight = 0
        self._random = random.Random(seed)  # noqa: S311  # it has to repeat itself

    async def send(self, event: Event) -> None:
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        for _ in range(self._random.randrange(4)):
            unblocked = asyncio.Event()
            asyncio.get_running_loop().call_soon(unblocked.set)
            await unblocked.wait()
        self.taken.append(event)
        self._in_flight -= 1


async def said_by_many(server: ErraticServer, seed: int) -> list[Frame]:
    """Have ten tasks speak at once, some waiting and some not; what they said, in order."""
    connection = Connection('c1', server.send)
    connection.opened()
    chance = random.Random(seed)  # noqa: S311  # it has to repeat itself
    said: list[Frame] = []

    async def speak(speaker: int) -> None:
        for number in range(20):
            frame = text_frame(f'{speaker}: {number}')
            said.append(frame)
            if chance.random() < 0.5:
                connection.post(frame)
                await asyncio.sleep(0)
            else:
                await connection.send(frame)

    await soon(asyncio.gather(*map(speak, range(10))))
    await soon(connection.send(A))
    return [*said, A]


@pytest.mark.parametrize('seed', range(10))
async def test_what_is_said_first_leaves_first_whoever_says_it(seed: int) -> None:
    server = ErraticServer(seed)

    said = await said_by_many(server, seed)

    assert server.taken == said


@pytest.mark.parametrize('seed', range(10))
async def test_one_send_at_most_is_in_flight(seed: int) -> None:
    server = ErraticServer(seed)

    await said_by_many(server, seed)

    assert server.most_in_flight == 1


# -- who waits


async def test_a_post_does_not_wait_for_a_server_that_blocks() -> None:
    server = Server(is_open=False)
    connection = opened(server)

    assert [connection.post(frame) for frame in (A, B, C)] == [True, True, True]

    server.gate.set()
    assert await server.next_taken(3) == [A, B, C]


async def test_a_send_to_a_server_that_does_not_block_has_left_at_once() -> None:
    server = Server()

    await opened(server).send(A)

    assert server.taken == [A]


@pytest.mark.parametrize('waits_behind', [0, 1, 2])
async def test_a_send_returns_once_the_server_has_taken_its_frame(waits_behind: int) -> None:
    server = Server(is_open=False)
    connection = opened(server)
    for _ in range(waits_behind):
        connection.post(B)
    (task,) = sending(connection, A)
    await settled()
    had_returned = task.done()

    server.gate.set()
    await soon(task)

    assert (had_returned, server.taken[-1]) == (False, A)


@pytest.mark.parametrize('waits_behind', [0, 1, 2])
async def test_cancelling_a_send_does_not_take_its_frame_back(waits_behind: int) -> None:
    server = Server(is_open=False)
    connection = opened(server)
    for _ in range(waits_behind):
        connection.post(B)
    (task,) = sending(connection, A)
    await settled()

    task.cancel()
    await asyncio.wait([task])
    connection.post(C)

    server.gate.set()
    assert await server.next_taken(waits_behind + 2) == [B] * waits_behind + [A, C]


async def test_cancelling_one_send_leaves_the_others_waiting() -> None:
    server = Server(is_open=False)
    first, *others = sending(opened(server), A, B, C)
    await settled()

    first.cancel()
    server.gate.set()

    assert await outcomes(others) == [None, None]


# -- what an idle connection costs


async def test_a_server_that_does_not_block_costs_no_task() -> None:
    before = asyncio.all_tasks()
    connection = opened(Server())

    connection.post(A)
    await connection.send(B)
    connection.close(1000)

    assert asyncio.all_tasks() == before


async def test_no_task_remains_once_a_blocked_server_has_taken_everything() -> None:
    before = asyncio.all_tasks()
    server = Server(is_open=False)
    connection = opened(server)
    connection.post(A)
    connection.post(B)

    server.gate.set()
    await server.next_taken(2)

    assert asyncio.all_tasks() == before


# -- before the accept


async def test_what_is_said_before_the_accept_is_held() -> None:
    server = Server()
    connection = Connection('c1', server.send)

    connection.post(A)
    await connection.send(B)

    assert server.taken == []


@pytest.mark.parametrize('is_open', [True, False], ids=['a free server', 'a blocked server'])
async def test_what_was_held_leaves_after_the_accept_in_order_and_first(is_open: bool) -> None:
    server = Server(is_open=is_open)
    connection = Connection('c1', server.send)
    connection.post(A)
    await connection.send(B)

    connection.opened()
    connection.post(C)

    server.gate.set()
    assert await server.next_taken(3) == [A, B, C]


async def test_what_is_said_while_the_accept_is_on_its_way_leaves_behind_it() -> None:
    server = Server(is_open=False)
    connection = Connection('c1', server.send)
    accepting = asyncio.create_task(connection.accept(ACCEPT))
    await soon(server.reached.wait())

    connection.post(A)
    server.gate.set()
    await soon(accepting)

    assert await server.next_taken(2) == [ACCEPT, A]


async def test_an_accept_that_fails_opens_nothing() -> None:
    connection = Connection('c1', Server(error=LOST).send)

    with pytest.raises(ConnectionResetError):
        await connection.accept(ACCEPT)

    assert connection.state is State.HANDSHAKE


def frames_of(*sizes: int) -> list[Frame]:
    return [text_frame('x' * size) for size in sizes]


@pytest.mark.parametrize(
    ('limits', 'held', 'one_too_many'),
    [
        (Limits(max_outbox_messages=2), frames_of(1, 1), text_frame('')),
        (Limits(max_outbox_bytes=10), frames_of(4, 6), text_frame('x')),
        (Limits(max_outbox_bytes=10), frames_of(4), text_frame('x' * 7)),
        (Limits(max_outbox_bytes=10), frames_of(4), text_frame('é' * 4)),
    ],
)
class TestAFullOutbox:
    def test_refuses_a_post(self, limits: Limits, held: list[Frame], one_too_many: Frame) -> None:
        connection = Connection('c1', Server().send, limits=limits)

        posted = [connection.post(frame) for frame in (*held, one_too_many)]

        assert posted == [True] * len(held) + [False]

    async def test_fails_a_send(
        self, limits: Limits, held: list[Frame], one_too_many: Frame
    ) -> None:
        connection = Connection('c1', Server().send, limits=limits)
        for frame in held:
            await connection.send(frame)

        with pytest.raises(OutboxFull) as caught:
            await connection.send(one_too_many)

        error = caught.value
        assert error.max_messages == limits.max_outbox_messages
        assert error.max_bytes == limits.max_outbox_bytes

    async def test_keeps_what_it_holds(
        self, limits: Limits, held: list[Frame], one_too_many: Frame
    ) -> None:
        server = Server()
        connection = Connection('c1', server.send, limits=limits)
        for frame in (*held, one_too_many):
            connection.post(frame)

        connection.opened()

        assert server.taken == held


def test_an_outbox_without_limits_is_never_full() -> None:
    limits = Limits(max_outbox_messages=None, max_outbox_bytes=None)
    connection = Connection('c1', Server().send, limits=limits)

    assert all(connection.post(text_frame('x' * 1_000_000)) for _ in range(3))


@pytest.mark.parametrize('state', [State.HANDSHAKE, State.OPEN])
async def test_a_message_longer_than_the_outbox_is_refused_to_its_sender(state: State) -> None:
    connection = Connection('c1', Server().send, limits=Limits(max_outbox_bytes=10))
    if state is State.OPEN:
        connection.opened()

    with pytest.raises(MessageTooBig) as caught:
        await connection.send({'type': 'websocket.send', 'bytes': bytes(11)})

    assert (caught.value.size, caught.value.max_bytes) == (11, 10)


# -- close


async def test_a_close_leaves_behind_everything_that_waits() -> None:
    server = Server(is_open=False)
    connection = opened(server)
    connection.post(A)
    connection.post(B)

    connection.close(4000, 'bye')

    server.gate.set()
    assert await server.next_taken(3) == [
        A,
        B,
        {'type': 'websocket.close', 'code': 4000, 'reason': 'bye'},
    ]


@pytest.mark.parametrize(
    ('reason', 'sent'),
    [('bye', 'bye'), ('', "Falcon's"), ('é' * 100, 'é' * 61)],
    ids=['given', 'by default', 'too long'],
)
async def test_a_close_says_its_reason(reason: str, sent: str) -> None:
    server = Server()
    connection = opened(server, default_reasons={1000: "Falcon's"})

    connection.close(1000, reason)

    assert server.taken == [{'type': 'websocket.close', 'code': 1000, 'reason': sent}]


async def test_a_code_without_a_default_reason_has_none() -> None:
    server = Server()

    opened(server, default_reasons={1000: "Falcon's"}).close(4000)

    assert server.taken == [{'type': 'websocket.close', 'code': 4000, 'reason': ''}]


@pytest.mark.parametrize('is_open', [True, False], ids=['a free server', 'a blocked server'])
class TestAfterAClose:
    async def test_nothing_is_delivered(self, is_open: bool) -> None:
        server = Server(is_open=is_open)
        connection = opened(server)
        connection.close(1000)

        posted = connection.post(A)
        failed = await outcomes(sending(connection, B))
        connection.close(1001)
        server.gate.set()
        await settled()

        assert (posted, failed) == (False, [WebSocketDisconnected])
        assert [event['type'] for event in server.taken] == ['websocket.close']

    async def test_a_sender_is_told_the_code(self, is_open: bool) -> None:
        server = Server(is_open=is_open)
        connection = opened(server)
        connection.close(4000)

        with pytest.raises(WebSocketDisconnected) as caught:
            await connection.send(A)

        assert caught.value.code == 4000
        await connection.end(1006)

    async def test_its_code_remains_the_one_that_it_ended_with(self, is_open: bool) -> None:
        server = Server(is_open=is_open)
        connection = opened(server)
        connection.close(4000)

        connection.close(4001)
        await connection.end(1006)

        assert connection.close_code == 4000


async def test_a_close_before_the_accept_says_nothing_yet() -> None:
    server = Server()
    connection = Connection('c1', server.send)

    connection.close(4000)

    assert (server.taken, connection.state) == ([], State.CLOSING)


async def test_a_close_before_the_accept_drops_what_was_held() -> None:
    server = Server()
    connection = Connection('c1', server.send)
    connection.post(A)

    connection.close(4000)
    await connection.accept(ACCEPT)

    assert A not in server.taken


async def test_nothing_is_held_after_a_close_before_the_accept() -> None:
    connection = Connection('c1', Server().send)

    connection.close(4000)

    assert connection.post(A) is False


async def test_a_close_while_the_accept_is_on_its_way_is_said_right_behind_it() -> None:
    server = Server(is_open=False)
    connection = Connection('c1', server.send)
    accepting = asyncio.create_task(connection.accept(ACCEPT))
    await soon(server.reached.wait())

    connection.close(4000, 'bye')
    server.gate.set()
    await soon(accepting)

    assert server.taken == [ACCEPT, {'type': 'websocket.close', 'code': 4000, 'reason': 'bye'}]


async def test_a_close_that_the_server_does_not_take_closes_all_the_same() -> None:
    connection = opened(Server(error=LOST))

    connection.close(4000)

    assert (connection.state, connection.close_code) == (State.CLOSING, 4000)


# -- the end


async def test_the_end_drops_what_waits() -> None:
    server = Server(is_open=False)
    connection = opened(server)
    for frame in (A, B, C):
        connection.post(frame)

    await connection.end(1006)

    server.gate.set()
    await settled()
    assert server.taken == []


async def test_the_end_drops_what_was_held() -> None:
    server = Server()
    connection = Connection('c1', server.send)
    connection.post(A)

    await connection.end(1006)

    assert (server.taken, connection.post(B)) == ([], False)


either_moment = pytest.mark.parametrize(
    'has_settled', [True, False], ids=['while its writer waits', 'before its writer has begun']
)


@either_moment
async def test_the_end_leaves_no_task(has_settled: bool) -> None:
    before = asyncio.all_tasks()
    connection = opened(Server(is_open=False))
    connection.post(A)
    if has_settled:
        await settled()

    await connection.end(1006)

    assert asyncio.all_tasks() == before


@either_moment
async def test_the_end_is_seen_inside_a_blocked_send(has_settled: bool) -> None:
    seen: list[str] = []

    class Patient:
        async def send(self, event: Event) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append('cancelled')
                await asyncio.sleep(0)
                seen.append('cleaned up')
                raise

    connection = Connection('c1', Patient().send)
    connection.opened()
    connection.post(A)
    if has_settled:
        await settled()

    await connection.end(1006)

    assert seen == ['cancelled', 'cleaned up']


@either_moment
async def test_the_end_wakes_everyone_who_waits(has_settled: bool) -> None:
    connection = opened(Server(is_open=False))
    tasks = sending(connection, A, B, C)
    await (settled() if has_settled else asyncio.sleep(0))

    await connection.end(1006)
    await settled()

    ended = [task.done() for task in tasks]
    for task in tasks:
        task.cancel()
    assert ended == [True, True, True]
    assert await outcomes(tasks) == [WebSocketDisconnected] * 3


async def test_whoever_the_end_wakes_is_told_the_code() -> None:
    connection = opened(Server(is_open=False))
    (task,) = sending(connection, A)
    await settled()

    await connection.end(1001)

    with pytest.raises(WebSocketDisconnected) as caught:
        await soon(task)
    assert caught.value.code == 1001


async def test_the_first_end_tells_how_it_ended() -> None:
    connection = opened(Server())

    await connection.end(1001)
    await connection.end(1006)

    assert connection.close_code == 1001


async def test_nothing_is_delivered_after_the_end() -> None:
    server = Server()
    connection = opened(server)
    await connection.end(1006)

    posted = connection.post(A)
    failed = await outcomes(sending(connection, A))
    connection.close(1000)

    assert (posted, failed, server.taken) == (False, [WebSocketDisconnected], [])


async def test_an_accept_that_comes_too_late_does_not_open_what_has_ended() -> None:
    server = Server(is_open=False)
    connection = Connection('c1', server.send)
    accepting = asyncio.create_task(connection.accept(ACCEPT))
    await soon(server.reached.wait())

    await connection.end(1006)
    server.gate.set()
    await asyncio.wait([accepting])

    assert connection.state is State.CLOSED


# -- servers that fail


@pytest.mark.parametrize('is_open', [True, False], ids=['at once', 'after blocking'])
class TestALostPeer:
    async def test_ends_a_send_by_a_disconnect(self, is_open: bool) -> None:
        server = Server(is_open=is_open, error=LOST)
        tasks = sending(opened(server), A, B)
        await settled()

        server.gate.set()

        assert await outcomes(tasks) == [WebSocketDisconnected, WebSocketDisconnected]

    async def test_refuses_the_next_post(self, is_open: bool) -> None:
        server = Server(is_open=is_open, error=LOST)
        connection = opened(server)
        connection.post(A)
        server.gate.set()
        await settled()

        assert connection.post(B) is False

    async def test_is_asked_no_more(self, is_open: bool) -> None:
        server = Server(is_open=is_open, error=LOST)
        connection = opened(server)
        for frame in (A, B, C):
            connection.post(frame)
        server.gate.set()
        await settled()
        server.error = None

        connection.close(1000)
        await settled()

        assert server.taken == []

    async def test_leaves_the_end_to_be_read(self, is_open: bool) -> None:
        server = Server(is_open=is_open, error=LOST)
        connection = opened(server)
        connection.post(A)
        server.gate.set()
        await settled()

        assert connection.state is State.CLOSING

    async def test_is_no_news_to_the_log(
        self, is_open: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        server = Server(is_open=is_open, error=LOST)
        opened(server).post(A)
        server.gate.set()
        await settled()

        assert caplog.records == []

    async def test_is_warned_of_where_the_server_calls_it_something_else(
        self, is_open: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        error = RuntimeError('unexpected ASGI message')
        server = Server(is_open=is_open, error=error)
        opened(server).post(A)
        server.gate.set()
        await settled()

        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert record.exc_info is not None
        assert record.exc_info[1] is error


async def test_a_post_that_the_server_takes_at_once_says_so() -> None:
    assert opened(Server()).post(A) is True


async def test_a_post_that_fails_at_once_says_so() -> None:
    assert opened(Server(error=LOST)).post(A) is False


async def test_a_send_that_the_server_cancels_ends_by_a_disconnect_too() -> None:
    server = Server(is_open=False, error=asyncio.CancelledError())
    tasks = sending(opened(server), A, B)
    await settled()

    server.gate.set()

    assert await outcomes(tasks) == [WebSocketDisconnected, WebSocketDisconnected]


# -- servers whose send is no coroutine function


class FutureServer:
    """A server whose `send` returns a future."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.pending: list[asyncio.Future[None]] = []

    def send(self, event: Event) -> Awaitable[None]:
        self.taken.append(event)
        future = asyncio.get_running_loop().create_future()
        self.pending.append(future)
        return future


class BareServer(FutureServer):
    """A server whose awaitables have a bare iterator without `throw`, as granian's have."""

    def send(self, event: Event) -> Awaitable[None]:
        super().send(event)
        return BareAwaitable(self.pending[-1])


class BareAwaitable:
    def __init__(self, future: asyncio.Future[None]) -> None:
        self._steps = future.__await__()

    def __await__(self) -> Generator[Any, Any, None]:
        steps: Any = self
        bare: Generator[Any, Any, None] = steps
        return bare

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._steps)


@pytest.fixture(params=[FutureServer, BareServer])
async def foreign(request: pytest.FixtureRequest) -> FutureServer:
    server: FutureServer = request.param()
    return server


async def test_a_send_may_return_a_future(foreign: FutureServer) -> None:
    connection = Connection('c1', foreign.send)
    connection.opened()
    tasks = sending(connection, A, B)
    for number in range(2):
        await settled()
        foreign.pending[number].set_result(None)

    assert await outcomes(tasks) == [None, None]
    assert foreign.taken == [A, B]


@pytest.mark.parametrize('number', [0, 1])
async def test_a_send_does_not_wait_for_what_was_said_after_it(number: int) -> None:
    server = FutureServer()
    connection = Connection('c1', server.send)
    connection.opened()
    tasks = sending(connection, A, B, C)
    for taken in range(number + 1):
        await settled()
        server.pending[taken].set_result(None)
    await settled()

    assert [task.done() for task in tasks] == [place <= number for place in range(3)]

    await connection.end(1006)
    await outcomes(tasks)


async def test_a_future_that_fails_is_a_lost_peer(foreign: FutureServer) -> None:
    connection = Connection('c1', foreign.send)
    connection.opened()
    tasks = sending(connection, A, B)
    await settled()

    foreign.pending[0].set_exception(LOST)

    assert await outcomes(tasks) == [WebSocketDisconnected, WebSocketDisconnected]


async def test_the_end_cancels_a_future_and_is_no_news_to_the_log(
    foreign: FutureServer, caplog: pytest.LogCaptureFixture
) -> None:
    connection = Connection('c1', foreign.send)
    connection.opened()
    connection.post(A)
    await settled()

    await connection.end(1006)

    assert (foreign.pending[0].cancelled(), caplog.records) == (True, [])


async def test_a_future_that_is_done_costs_no_task() -> None:
    before = asyncio.all_tasks()
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    connection = Connection('c1', lambda event: done)
    connection.opened()

    await connection.send(A)

    assert asyncio.all_tasks() == before


async def test_a_send_may_just_give_way_to_others() -> None:
    taken: list[Any] = []

    async def send(event: Event) -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        taken.append(event)

    connection = Connection('c1', send)
    connection.opened()

    assert await outcomes(sending(connection, A, B)) == [None, None]
    assert taken == [A, B]


async def test_the_end_is_seen_inside_a_send_that_gives_way() -> None:
    taken: list[Event] = []

    async def send(event: Event) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        taken.append(event)

    connection = Connection('c1', send)
    connection.opened()
    connection.post(A)

    await connection.end(1006)

    assert taken == []


async def test_a_send_may_wait_for_what_others_wait_for_too() -> None:
    shared: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    taken: list[Any] = []

    async def send(event: Event) -> None:
        await shared
        taken.append(event)

    async def wait() -> None:
        await shared

    connection = Connection('c1', send)
    connection.opened()
    earlier = asyncio.create_task(wait())  # its turn comes before the writer's
    connection.post(A)
    others = [earlier, asyncio.create_task(wait())]
    await settled()
    shared.set_result(None)
    await soon(connection.all_written())
    await soon(asyncio.gather(*others))
    assert taken == [A]
    assert connection.state is State.OPEN
