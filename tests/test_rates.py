"""How fast clients may talk and come: by a model of the rates, and over the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Any

import falcon
import falcon.asgi
from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
from websockets.exceptions import ConnectionClosed

from falcon_ws_mw import (
    Limits,
    WebSocket,
    WebSocketConnectionManager,
    WebSocketLifespan,
    install,
)
from falcon_ws_mw.rates import FLOOD_SECONDS, PAUSE_SECONDS, AddressRates, MessageRate

from .conftest import Logs
from .examples_made import some
from .servers import IMPLEMENTATIONS, PATIENCE_SECONDS, Client, Served, serve

anything = settings(deadline=None, database=None, max_examples=some(200))

rates = st.floats(0.1, 1_000)
bursts = st.none() | st.integers(1, 50)
pauses = st.lists(
    st.just(0.0) | st.floats(0, 0.01) | st.floats(0, 5) | st.just(100.0), min_size=1, max_size=80
)
"""How long a client waits before each of its messages, or handshakes."""

ROUNDING = 2e-6
"""The rates forgive a millionth of a second."""


def at_once(rate: float, burst: int | None) -> float:
    return max(rate, 1) if burst is None else burst


def assert_never_more_than(times: list[float], rate: float, burst: int | None) -> None:
    """In no span of time are there more than the burst and what the rate gives."""
    for first, begin in enumerate(times):
        for last, end in enumerate(times[first:], first):
            most = at_once(rate, burst) + rate * (end - begin)
            assert last - first + 1 <= most + 1e-3, (begin, end)


# -- messages


@anything
@given(rates, bursts, pauses)
def test_never_more_messages_are_handled_than_burst_and_rate_allow(
    rate: float, burst: int | None, pauses: list[float]
) -> None:
    message_rate, now, handled = MessageRate(rate, burst), 1_000.0, []
    for pause in pauses:
        now += pause
        now += max(message_rate.delay(now), 0)  # nothing is read meanwhile
        handled.append(now)

    assert_never_more_than(handled, rate, burst)


@anything
@given(rates, bursts, pauses)
def test_no_message_waits_longer_than_it_has_to(
    rate: float, burst: int | None, pauses: list[float]
) -> None:
    """A message that is held back comes as soon as the one before it lets it."""
    message_rate, now = MessageRate(rate, burst), 1_000.0
    for pause in pauses:
        now += pause
        delay = message_rate.delay(now)
        assert delay <= 1 / rate + ROUNDING
        now += max(delay, 0)


@anything
@given(rates, st.integers(1, 50))
def test_a_burst_goes_through_at_once_and_what_follows_at_the_rate(rate: float, burst: int) -> None:
    message_rate, now, delays = MessageRate(rate, burst), 1_000.0, []
    for _ in range(burst + 5):
        delays.append(max(message_rate.delay(now), 0))
        now += delays[-1]

    assert delays[:burst] == [0] * burst
    assert delays[burst:] == pytest.approx([1 / rate] * 5, abs=ROUNDING)


@anything
@given(rates, st.integers(1, 20), st.integers(1, 60))
def test_who_stays_within_the_rate_is_never_held_back(rate: float, burst: int, count: int) -> None:
    message_rate = MessageRate(rate, burst)

    delays = [message_rate.delay(1_000 + number * 1.0001 / rate) for number in range(count)]

    assert max(delays) <= ROUNDING


@pytest.mark.parametrize(('rate', 'count'), [(100, 100), (2.5, 2), (1, 1), (0.1, 1)])
def test_without_a_burst_as_many_may_come_at_once_as_in_a_second(rate: float, count: int) -> None:
    message_rate = MessageRate(rate, None)

    delays = [message_rate.delay(1_000.0) for _ in range(count + 1)]

    assert max(delays[:count]) <= ROUNDING
    assert delays[count] > ROUNDING


# -- floods


def flooded_after(gap: Callable[[float], float], *, rate: float, until: float) -> float | None:
    """When a client counts as a flooder, in seconds since it was first held back.

    Args:
        gap: How long the client pauses after a message that was handled at a time.
        rate: The rate.
        until: When it stops by itself.
    """
    message_rate, now, first = MessageRate(rate, 1), 0.0, None
    while first is None or now - first < until:
        delay = message_rate.delay(now)
        if delay > 0:
            first = now if first is None else first
            waited, is_flood = message_rate.hold(delay, now)
            now += waited
            if is_flood:
                return now - first
        now += gap(now)
    return None


@pytest.mark.parametrize('rate', [1, 3, 10, 100, 1_000])
def test_who_is_held_back_without_a_pause_is_a_flooder_after_10_seconds(rate: float) -> None:
    assert flooded_after(lambda now: 0, rate=rate, until=60) == pytest.approx(FLOOD_SECONDS)


@pytest.mark.parametrize('rate', [3, 10, 100, 1_000])
def test_pauses_that_are_too_short_are_none(rate: float) -> None:
    """A quarter of the time it is quiet, but never for a second, and it catches up."""
    message_rate, now, is_flood = MessageRate(rate, 1), 0.0, False
    first = now
    while not is_flood and now < 60:
        quiet = 0.25 if int(now * 4) % 4 == 0 else 0
        now += quiet
        delays = []
        for _ in range(int(rate * 0.75) + 3):
            delays.append(message_rate.delay(now))
            if delays[-1] > 0:
                waited, is_flood = message_rate.hold(delays[-1], now)
                now += waited
            if is_flood:
                break

    assert is_flood
    assert FLOOD_SECONDS <= now - first <= FLOOD_SECONDS + 2 * PAUSE_SECONDS + 1 / rate


@pytest.mark.parametrize('rate', [3, 10, 100, 1_000])
def test_a_second_of_silence_makes_a_client_start_anew(rate: float) -> None:
    paused = [0.0]

    def pauses_every_9_seconds(now: float) -> float:
        if now - paused[-1] < 9:
            return 0
        paused.append(now)
        return PAUSE_SECONDS + 2 / rate

    assert flooded_after(pauses_every_9_seconds, rate=rate, until=120) is None


@anything
@given(st.floats(0.05, 1_000), st.lists(st.floats(0, 3), min_size=1, max_size=300))
def test_nobody_is_held_back_for_longer_than_10_seconds_or_a_flooder_before(
    rate: float, gaps: list[float]
) -> None:
    """Whatever the gaps: since the last pause of a second, or since the start."""
    message_rate, now = MessageRate(rate, 1), 1_000.0
    since, last_held = None, None
    for gap in gaps:
        now += gap
        delay = message_rate.delay(now)
        if delay <= 0:
            continue
        if last_held is None or now - last_held >= PAUSE_SECONDS:
            since = now
        waited, is_flood = message_rate.hold(delay, now)
        now = last_held = now + waited
        assert since is not None
        patience = max(FLOOD_SECONDS, 2 / rate)
        assert now - since <= patience + PAUSE_SECONDS
        if is_flood:
            assert now - since >= patience - ROUNDING
            return
        assert now - since < patience + ROUNDING
        assert waited == delay


# -- addresses


@anything
@given(rates, bursts, st.lists(st.tuples(st.sampled_from('abc'), pauses.map(lambda p: p[0]))))
def test_of_each_address_never_more_come_in_than_burst_and_rate_allow(
    rate: float, burst: int | None, visits: list[tuple[str, float]]
) -> None:
    address_rates, now = AddressRates(rate, burst), 1_000.0
    admitted: dict[str, list[float]] = {'a': [], 'b': [], 'c': []}
    for address, pause in visits:
        now += pause
        if address_rates.delay(address, now) <= 0:
            admitted[address].append(now)

    for times in admitted.values():
        assert_never_more_than(times, rate, burst)


@anything
@given(rates, bursts, st.lists(st.tuples(st.sampled_from('ab'), st.floats(0, 2)), max_size=60))
def test_one_address_takes_nothing_from_another(
    rate: float, burst: int | None, visits: list[tuple[str, float]]
) -> None:
    both, alone, now = AddressRates(rate, burst), AddressRates(rate, burst), 1_000.0
    for address, pause in visits:
        now += pause
        answer = both.delay(address, now)
        if address == 'a':
            assert alone.delay('a', now) == answer


@anything
@given(rates, bursts, pauses)
def test_who_comes_back_when_he_was_told_to_is_let_in(
    rate: float, burst: int | None, pauses: list[float]
) -> None:
    address_rates, now = AddressRates(rate, burst), 1_000.0
    for pause in pauses:
        now += pause
        early = address_rates.delay('a', now)
        if early > 0:
            assert early <= 1 / rate + ROUNDING
            now += early + ROUNDING
            assert address_rates.delay('a', now) <= 0


def test_a_refusal_does_not_count() -> None:
    address_rates = AddressRates(1, 1)
    assert address_rates.delay('a', 0) <= 0
    for _ in range(1_000):
        assert address_rates.delay('a', 0.5) == pytest.approx(0.5, abs=ROUNDING)
    assert address_rates.delay('a', 1) <= 0


@anything
@given(
    rates,
    bursts,
    st.lists(st.tuples(st.integers(0, 30), st.floats(0, 3)), max_size=150),
)
def test_to_forget_addresses_lets_nobody_in_who_would_not_be(
    rate: float, burst: int | None, visits: list[tuple[int, float]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        keeps_all = AddressRates(rate, burst)
        patch.setattr('falcon_ws_mw.rates._LEAST_ADDRESSES', 2)
        forgets = AddressRates(rate, burst)
        now = 1_000.0
        for address, pause in visits:
            now += pause
            assert forgets.delay(str(address), now) == keeps_all.delay(str(address), now)


def test_addresses_are_forgotten_once_they_are_back_at_the_start() -> None:
    address_rates, most = AddressRates(10, 5), 0
    for number in range(50_000):  # each is remembered for 0.1 s, so 100 at a time
        address_rates.delay(str(number), number / 1_000)
        most = max(most, len(address_rates))

    assert most <= 1_024


def test_a_flood_of_addresses_is_forgotten_when_it_is_over() -> None:
    address_rates = AddressRates(1, 1)
    for number in range(10_000):
        address_rates.delay(str(number), 0)
    assert len(address_rates) == 10_000, 'each of them is still to be refused'
    for number in range(20_000):
        address_rates.delay(f'later {number}', 10 + number)

    assert len(address_rates) <= 1_024


# -- over the wire


@pytest.fixture(autouse=True)
def cuts_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is stopped after each test, and waits for sockets that are to be cut."""
    monkeypatch.setattr('falcon_ws_mw.intake.CUT_OFF_SECONDS', 0.05)
    monkeypatch.setattr('falcon_ws_mw.sweep.INTERVAL_SECONDS', 0.02)


@pytest.fixture
def flood_seconds(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr('falcon_ws_mw.rates.FLOOD_SECONDS', 0.15)
    return 0.15


class Room:
    """Notes what is handled, and when."""

    def __init__(self) -> None:
        self.handled: list[Any] = []
        self.times: list[float] = []
        self.busy = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.ended: asyncio.Queue[int] = asyncio.Queue()

    async def on_ws_say(self, ws: WebSocket, payload: Any) -> Any:
        self.times.append(monotonic())
        self.handled.append(payload)
        return payload

    async def on_ws_slow(self, ws: WebSocket) -> str:
        self.busy.set()
        await self.may_answer.wait()
        return 'done'

    async def on_ws_listen(self, ws: WebSocket, payload: int) -> int:
        self.busy.set()
        for _ in range(payload):
            self.handled.append(await ws.receive_text())
            self.times.append(monotonic())
        return payload

    async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
        self.ended.put_nowait(close_code)

    async def end(self) -> int:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.ended.get()


class OldRoom(Room):
    async def on_websocket(self, req: Any, ws: falcon.asgi.WebSocket) -> None:
        await ws.accept()
        try:
            while True:
                self.handled.append(await ws.receive_text())
                await ws.send_text(self.handled[-1])
        except falcon.WebSocketDisconnected:
            pass


@asynccontextmanager
async def serving(
    resource: object, ws_implementation: str = 'websockets-sansio', **options: Any
) -> AsyncIterator[tuple[Served, WebSocketConnectionManager]]:
    manager = WebSocketConnectionManager()
    app: WebSocketLifespan = install(falcon.asgi.App(), manager=manager, **options)
    app.add_route('/ws', resource)
    async with serve(app, ws_implementation) as served:
        yield served, manager


async def say(client: Client, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        await client.send({'type': 'say', 'payload': number, 'id': number})


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


async def last_words(client: Client) -> tuple[list[Any], int | None, str | None]:
    """What is still said, and how the connection is closed."""
    said = []
    with suppress(ConnectionClosed):
        while True:
            said.append(await client.receive())
    return said, client.connection.close_code, client.connection.close_reason


async def kick_all(manager: WebSocketConnectionManager) -> None:
    """What a client says itself, its close too, would have to wait for its turn."""
    for connection_id in list(manager.connections):
        await manager.close_connection(connection_id)


FAST = Limits(messages_per_second=1_000, message_burst=10)


async def test_what_comes_at_once_is_answered_in_order_at_the_rate(
    ws_implementation: str, logs: Logs
) -> None:
    room = Room()
    async with (
        serving(room, ws_implementation, limits=FAST) as (served, manager),
        served.client('/ws') as client,
    ):
        begin = monotonic()  # not when the first was handled: that may have been late
        await say(client, 300)
        answers = [await client.receive() for _ in range(300)]
        stats = manager.stats()

    assert [answer['id'] for answer in answers] == [*range(300)]
    assert room.handled == [*range(300)]
    assert room.times[-1] - begin >= (300 - 10) / 1_000 - 0.001
    assert 0 < stats.throttled <= 290
    assert (stats.received, stats.limits_hit) == (300, {})


async def test_a_client_that_is_held_back_costs_another_nothing(logs: Logs) -> None:
    room = Room()
    limits = Limits(messages_per_second=0.001, message_burst=10)
    async with (
        serving(room, limits=limits) as (served, manager),
        served.client('/ws') as loud,
        served.client('/ws') as quiet,
    ):
        await say(loud, 100)
        await until(lambda: manager.stats().throttled > 0)
        for number in range(10):
            answer = await quiet.ask({'type': 'say', 'payload': 'quiet', 'id': number})
            assert answer['id'] == number
        assert room.handled.count('quiet') == 10
        assert len(room.handled) == 20
        await kick_all(manager)


async def test_without_a_rate_nobody_is_held_back(logs: Logs) -> None:
    limits = Limits(messages_per_second=None)
    async with (
        serving(Room(), limits=limits) as (served, manager),
        served.client('/ws') as client,
    ):
        await say(client, 500)
        for _ in range(500):
            await client.receive()
        assert manager.stats().throttled == 0


async def test_a_resource_may_have_a_rate_of_its_own(logs: Logs) -> None:
    class Quiet(Room):
        ws_limits = Limits(messages_per_second=0.001, message_burst=2)

    room = Quiet()
    async with serving(room) as (served, manager), served.client('/ws') as client:
        await say(client, 5)
        await until(lambda: manager.stats().throttled > 0)
        assert room.handled == [0, 1]
        await kick_all(manager)


async def test_a_flooder_is_told_closed_and_not_handled_any_more(
    ws_implementation: str, flood_seconds: float, logs: Logs
) -> None:
    room = Room()
    limits = Limits(messages_per_second=100, message_burst=5)
    async with (
        serving(room, ws_implementation, limits=limits) as (served, manager),
        served.client('/ws') as client,
    ):
        await say(client, 400)
        said, code, reason = await last_words(client)
        assert await room.end() == 3429
        stats, handled = manager.stats(), len(room.handled)

    *replies, error = said
    assert (code, reason) == (3429, 'too many messages')
    assert [reply['id'] for reply in replies] == [*range(handled)] == room.handled
    assert (error['type'], error['payload']['status']) == ('error', 429)
    assert 5 < handled <= 5 + 100 * (flood_seconds + 1)
    assert stats.limits_hit == {'messages_per_second': 1}
    assert 0 < stats.throttled <= handled - 5 + 1
    assert stats.connections == 0
    assert any('broke messages_per_second=100' in line for line in logs.take())


async def test_who_stops_in_time_is_no_flooder(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three bursts, each of which takes less than it may, with pauses between."""
    monkeypatch.setattr('falcon_ws_mw.rates.FLOOD_SECONDS', 1.0)
    monkeypatch.setattr('falcon_ws_mw.rates.PAUSE_SECONDS', 0.1)
    limits = Limits(messages_per_second=100, message_burst=1)
    async with (
        serving(Room(), limits=limits) as (served, manager),
        served.client('/ws') as client,
    ):
        for burst in range(3):
            await say(client, 40, first=burst * 40)
            for number in range(40):
                assert (await client.receive())['id'] == burst * 40 + number
            await asyncio.sleep(0.11)  # what makes the next one another one
        assert manager.stats().limits_hit == {}
        assert manager.stats().throttled > 0


async def test_a_flood_behind_a_busy_handler_is_ended_once_that_is_done(
    ws_implementation: str, flood_seconds: float, logs: Logs
) -> None:
    room = Room()
    limits = Limits(messages_per_second=100, message_burst=1)
    async with (
        serving(room, ws_implementation, limits=limits) as (served, manager),
        served.client('/ws') as client,
    ):
        await client.send({'type': 'slow'})
        await say(client, 400)
        await room.busy.wait()
        room.may_answer.set()
        said, code, _ = await last_words(client)
        assert not manager.connections
        assert await room.end() == 3429
        stats = manager.stats()

    errors = [each['payload']['status'] for each in said if each['type'] == 'error']
    assert errors == [429]
    assert code == 3429
    assert len(room.handled) < 400
    assert stats.limits_hit == {'messages_per_second': 1}
    logs.take()


async def test_what_a_handler_receives_comes_at_the_rate(
    ws_implementation: str, logs: Logs
) -> None:
    room = Room()
    async with (
        serving(room, ws_implementation, limits=FAST) as (served, _),
        served.client('/ws') as client,
    ):
        begin = monotonic()  # not when the first was handled: that may have been late
        await client.send({'type': 'listen', 'payload': 200, 'id': 1})
        for number in range(200):
            await client.send(str(number))
        assert (await client.receive())['payload'] == 200

    assert room.handled == [str(number) for number in range(200)]
    assert room.times[-1] - begin >= (201 - 10) / 1_000 - 0.001


async def test_a_flood_that_a_handler_receives_ends_by_a_disconnect(
    ws_implementation: str, flood_seconds: float, logs: Logs
) -> None:
    room = Room()
    limits = Limits(messages_per_second=100, message_burst=1)
    async with (
        serving(room, ws_implementation, limits=limits) as (served, _),
        served.client('/ws') as client,
    ):
        await client.send({'type': 'listen', 'payload': 400, 'id': 1})
        for number in range(400):
            await client.send(str(number))
        said, code, _ = await last_words(client)
        assert await room.end() == 3429

    assert [each['payload']['status'] for each in said] == [429]
    assert code == 3429
    assert room.handled == [str(number) for number in range(len(room.handled))]
    assert len(room.handled) < 400
    logs.take()


@pytest.mark.parametrize(
    ('where', 'ws_implementation'),
    [
        *(('held back', each) for each in IMPLEMENTATIONS),
        ('behind a busy handler', 'websockets-sansio'),
        ('in a handler', 'websockets-sansio'),
    ],
)
async def test_a_kick_reaches_who_is_held_back_at_once(
    where: str, ws_implementation: str, logs: Logs
) -> None:
    """It would be held back for ten seconds, which the test does not have."""
    room = Room()
    limits = Limits(messages_per_second=0.001, message_burst=1)
    first = {'held back': 'say', 'behind a busy handler': 'slow', 'in a handler': 'listen'}[where]
    async with (
        serving(room, ws_implementation, limits=limits) as (served, manager),
        served.client('/ws') as client,
    ):
        await client.send({'type': first, 'payload': 5})
        await say(client, 3, first=100)
        if where == 'behind a busy handler':  # they wait for that, not for their turn
            await until(lambda: manager.stats().received == 4)
        else:
            await until(lambda: manager.stats().throttled > 0)
        [connection_id] = manager.connections
        begin = monotonic()
        await manager.close_connection(connection_id, 4003, 'kicked')
        assert (await last_words(client))[1:] == (4003, 'kicked')
        room.may_answer.set()
        assert await room.end() == 4003
        assert monotonic() - begin < 5

    assert room.handled == ([5] if where == 'held back' else [])
    logs.take()


async def test_the_end_of_who_is_held_back_is_seen(ws_implementation: str, logs: Logs) -> None:
    room = Room()
    limits = Limits(messages_per_second=0.001, message_burst=1)
    async with serving(room, ws_implementation, limits=limits) as (served, manager):
        async with served.client('/ws') as client:
            await say(client, 5)
            await until(lambda: manager.stats().throttled > 0)
            begin = monotonic()
        assert await room.end() in {1000, 1005, 1006}
        assert monotonic() - begin < 5
        assert manager.stats().connections == 0


# -- too long

LONG = 'x' * 2_000
TOO_LONG = (1009, 'messages have at most 1000 bytes')


TOO_LONG_MESSAGES: dict[str, Any] = {
    'text': '{"type": "say", "payload": "' + LONG + '"}',
    'binary': b'x' * 1_001,
    'not ascii': '{"type": "say", "payload": "' + '\u20ac' * 400 + '"}',
    'in fragments': ['x' * 300] * 4,
}


async def test_a_message_that_is_too_long_closes_with_the_limit(
    ws_implementation: str, logs: Logs
) -> None:
    room, limits, found = Room(), Limits(max_message_bytes=1_000), {}
    async with serving(room, ws_implementation, limits=limits) as (served, manager):
        for how, message in TOO_LONG_MESSAGES.items():
            async with served.client('/ws') as client:
                assert (await client.ask({'type': 'say', 'payload': how, 'id': 1}))['id'] == 1
                await client.connection.send(message)
                found[how] = (*await last_words(client), await room.end())
        stats = manager.stats()

    assert found == {how: ([], *TOO_LONG, 1009) for how in TOO_LONG_MESSAGES}
    assert room.handled == [*TOO_LONG_MESSAGES]
    assert stats.limits_hit == {'max_message_bytes': len(TOO_LONG_MESSAGES)}
    logs.take()


async def test_a_message_may_be_as_long_as_the_limit(ws_implementation: str, logs: Logs) -> None:
    head, tail = '{"type": "say", "id": 1, "payload": "', '"}'
    payload = '\u20ac' * 300 + 'x' * (100 - len(head + tail))
    limits = Limits(max_message_bytes=1_000)
    async with (
        serving(Room(), ws_implementation, limits=limits) as (served, _),
        served.client('/ws') as client,
    ):
        assert (await client.ask(head + payload + tail))['payload'] == payload


@pytest.mark.parametrize('first', ['slow', 'listen'])
async def test_a_message_that_is_too_long_ends_a_busy_handlers_connection(
    first: str, ws_implementation: str, logs: Logs
) -> None:
    room = Room()
    limits = Limits(max_message_bytes=1_000)
    async with (
        serving(room, ws_implementation, limits=limits) as (served, manager),
        served.client('/ws') as client,
    ):
        await client.send({'type': first, 'payload': 5})
        await room.busy.wait()
        await client.send(LONG)
        assert await last_words(client) == ([], *TOO_LONG)
        room.may_answer.set()
        assert await room.end() == 1009
        assert manager.stats().limits_hit == {'max_message_bytes': 1}

    assert room.handled == []
    logs.take()


# -- beside an old loop


async def test_messages_that_an_old_loop_receives_are_not_limited_by_the_app(
    flood_seconds: float, logs: Logs
) -> None:
    room = OldRoom()
    limits = Limits(messages_per_second=1, message_burst=1, max_message_bytes=1_000)
    async with serving(room, limits=limits) as (served, manager), served.client('/ws') as client:
        for _ in range(50):
            await client.send('"x"')
            assert await client.receive() == 'x'
        await client.send(f'"{LONG}"')
        assert await client.receive() == LONG
        assert (manager.stats().throttled, manager.stats().limits_hit) == (0, {})


@pytest.mark.parametrize('how', ['own', 'strict'])
async def test_an_old_loop_is_limited_where_it_asks_for_it(
    how: str, flood_seconds: float, logs: Logs
) -> None:
    few = Limits(messages_per_second=100, message_burst=1, max_message_bytes=1_000)

    class Own(OldRoom):
        ws_limits = few

    options: dict[str, Any] = {'limits': few, 'strict': True} if how == 'strict' else {}
    room = OldRoom() if how == 'strict' else Own()
    async with serving(room, **options) as (served, manager):
        async with served.client('/ws') as client:
            await client.send(LONG)
            assert await last_words(client) == ([], *TOO_LONG)
            assert await room.end() == 1009
        async with served.client('/ws') as client:
            for _ in range(400):
                await client.send('"x"')
            said, code, _ = await last_words(client)
            assert await room.end() == 3429
        stats = manager.stats()

    assert said[-1]['payload']['status'] == 429
    assert code == 3429
    assert stats.limits_hit == {'max_message_bytes': 1, 'messages_per_second': 1}
    logs.take()


async def test_moved_messages_of_an_old_loop_are_limited_by_the_app(
    ws_implementation: str, flood_seconds: float, logs: Logs
) -> None:
    room = OldRoom()
    limits = Limits(messages_per_second=100, message_burst=1)
    async with (
        serving(room, ws_implementation, limits=limits) as (served, manager),
        served.client('/ws') as client,
    ):
        await say(client, 400)
        said, code, _ = await last_words(client)
        assert await room.end() == 3429
        stats = manager.stats()

    assert [each['id'] for each in said[:-1]] == room.handled == [*range(len(said) - 1)]
    assert said[-1]['payload']['status'] == 429
    assert code == 3429
    assert stats.limits_hit == {'messages_per_second': 1}
    logs.take()
