"""The laws of a backend on its life: started, stopped and started again; what it says of itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

from falcon_ws_mw.backends import Backend, BackendHealth, Guarantee
from falcon_ws_mw.errors import BackendUnavailable
from falcon_ws_mw.testing.nodes import (
    Make,
    Node,
    expect,
    fresh,
    in_time,
    linked,
    require,
    settle,
    started,
)


async def it_is_made_without_an_event_loop(make: Make) -> None:
    """When the app is put together; it is started in whichever loop there is then."""
    backends = [await asyncio.to_thread(make) for _ in range(2)]
    async with started(backends) as (one, other):
        await _talk(one, other)


async def it_says_what_it_is(make: Make) -> None:
    """Its URL without a password, what it promises, and that there may be others."""
    backend = make()
    require(
        urlsplit(backend.url).password is None,
        'url is a URL without a password',
        'one with a password',
    )
    guarantee: object = backend.guarantee
    require(
        isinstance(guarantee, Guarantee) and bool(guarantee.words),
        'guarantee says in words what is promised',
        guarantee,
    )
    require(backend.is_shared, 'is_shared is true of a backend that is linked', backend.is_shared)


async def health_says_how_it_stands(make: Make) -> None:
    """Whether it is in touch, what it holds, and how much it has sent and received."""
    backend = make()
    require(
        backend.health().state == 'stopped', "health is 'stopped' before start", backend.health()
    )
    async with started([backend, make()]) as (one, other):
        health = one.backend.health()
        require(health.state == 'connected', "health is 'connected' after start", health)
        require(health.state_seconds >= 0, 'no state lasts for less than 0 s', health)
        _require_counts(health, channels=0, sent=0, received=0)
        first, second = fresh(), fresh('user')
        await one.hold(first, second, count=3)
        await other.hold(first)
        for _ in range(3):
            await one.send(first, b'')
        await one.send([second, fresh('user')], b'')
        await other.send(second, b'')
        await one.recorder.until(5)
        _require_counts(one.backend.health(), channels=2, sent=4, received=5)
        await other.recorder.until(3)
        _require_counts(other.backend.health(), channels=1, sent=1, received=3)
        await one.hold(first, count=0)
        _require_counts(one.backend.health(), channels=1, sent=4, received=5)
        await one.stop()
        health = one.backend.health()
        require(
            health.state == 'stopped' and health.channels == 0,
            "health is 'stopped' after stop, and no channel is held",
            health,
        )


async def what_is_not_started_cannot_be_used(make: Make) -> None:
    """To send, or to ask who holds what: before start, and after stop."""
    backend = make()
    async with linked(make, 1) as (other,):
        channel = fresh()
        await other.hold(channel)
        await _require_unavailable(backend, 'before start')
        node = Node(backend)
        await node.start()
        await node.stop()
        await _require_unavailable(backend, 'after stop')
        await expect({other: []}, 'what is not started sends nothing')


async def a_stop_leaves_nothing_behind(make: Make) -> None:
    """No task; and it may be called without a start, or twice."""
    before = asyncio.all_tasks()
    node = Node(make())
    await node.stop()
    for _ in range(3):
        channel = fresh()
        try:
            await node.start()
            await node.hold(channel)
            await asyncio.gather(*(node.send(channel, b'') for _ in range(20)))
        finally:
            await node.stop()
        left = asyncio.all_tasks() - before
        require(not left, 'stop leaves no task behind', left)
        await node.stop()
        node.check()
        async with linked(make, 1) as (other,):
            await _require_nothing_held_by(node, other)


async def who_has_stopped_receives_nothing(make: Make) -> None:
    """And holds nothing, as the others see it; nothing else has changed for these."""
    async with linked(make, 3) as (leaves, stays, sender):
        channel, own = fresh(), fresh(note=' own')
        await leaves.hold(channel, own, count=2)
        await stays.hold(channel)
        await sender.send(channel, b'before')
        await leaves.recorder.until(1)
        await leaves.stop()
        reached = await sender.send(channel, b'after')
        require(reached in {1, None}, 'who has stopped is not counted by send', reached)
        reached = await sender.send(own, b'after')
        require(reached in {0, None}, 'who has stopped is not counted by send', reached)
        for asked in (stays, sender):
            for each, known in ((channel, {stays.id: 1}), (own, {})):
                found = await asked.holders(each)
                require(found == known, 'who has stopped is no holder', found)
                count = await in_time(asked.backend.listening(each), 'listening returns')
                require(
                    count is None or count == len(known), 'who has stopped does not listen', count
                )
            names = await in_time(asked.backend.names('room', own.name), 'names returns')
            require(names == [], 'what only one who has stopped held is no name', names)
        await expect(
            {stays: [(channel, b'before'), (channel, b'after')], sender: []},
            'one goes on to receive when another has stopped',
        )
        require(
            leaves.arrived == [(channel, b'before')],
            'who has stopped receives nothing',
            leaves.arrived,
        )


async def it_can_be_started_again(make: Make) -> None:
    """Under another name, and under the same; of what it held before it holds nothing."""
    async with linked(make, 2) as (again, other):
        for node_id in (None, None, again.id, again.id):
            former, channel = fresh(), fresh()
            await again.hold(former)
            await again.stop()
            await again.start(node_id)
            health = again.backend.health()
            require(
                health.state == 'connected' and health.channels == 0,
                "it is 'connected' when it is started again, and holds nothing",
                health,
            )
            found = await other.holders(former)
            require(found == {}, 'who was stopped and started again holds nothing', found)
            await other.send(former, b'former')
            await _talk(again, other)
            await again.hold(channel)
            await _talk(again, other)


async def it_can_be_started_again_in_another_event_loop(make: Make) -> None:
    """In another thread, as servers and tests do."""
    backends = [make(), make()]

    async def live() -> None:
        async with started(backends) as (one, other):
            await _talk(one, other)

    for _ in range(3):
        await asyncio.to_thread(lambda: asyncio.run(live()))
    await live()


async def a_stop_ends_what_is_being_sent(make: Make) -> None:
    """Each send returns, or says that it was not taken; nothing is held, and all can go on."""
    async with linked(make, 2) as (stops, other):
        for _ in range(5):
            channel = fresh()
            await stops.hold(channel)
            await other.hold(channel)
            data = [b'%d' % number for number in range(500)]
            sends = [asyncio.ensure_future(stops.send(channel, each)) for each in data]
            await other.recorder.until(1)
            await stops.stop()
            outcomes = await asyncio.gather(*sends, return_exceptions=True)
            wrong = [
                each
                for each in outcomes
                if isinstance(each, BaseException) and not isinstance(each, BackendUnavailable)
            ]
            require(not wrong, 'what is not sent any more raises BackendUnavailable', wrong)
            await _require_nothing_held_by(stops, other)
            await settle([other])
            arrived = [each for _, each in other.arrived]
            require(
                arrived == data[: len(arrived)],
                'what was sent until stop arrives once, in order',
                f'{len(arrived)} messages, or another order',
            )
            taken = [
                each
                for each, outcome in zip(data, outcomes, strict=True)
                if not isinstance(outcome, BaseException)
            ]
            require(
                {*taken} <= {*arrived},
                'a send that has returned was sent',
                f'{len({*taken} - {*arrived})} of those that returned have not arrived',
            )
            await stops.start(stops.id)
            await _talk(stops, other)


async def a_cancelled_call_harms_nobody(make: Make) -> None:
    """Nothing that others send is lost by it, and whatever is called next is done."""
    async with linked(make, 2) as (one, other):
        channel, held, nobody = fresh(), fresh(note=' held'), fresh(note=' nobody')
        await one.hold(channel)
        for number in range(60):
            calls = (
                one.backend.holders(channel),
                one.backend.names('room'),
                one.backend.listening(channel),
                one.backend.send([nobody], b'cancelled'),
                one.backend.hold({held: 2 + number}),
            )
            tasks = [asyncio.ensure_future(call) for call in calls]
            for _ in range(number % 20):  # further on each time
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await other.send(channel, b'%d' % number)
            await in_time(asyncio.wait(tasks), 'a call that is cancelled ends')
        found = await one.holders(channel)
        require(found == {one.id: 1}, 'holders answers after calls that were cancelled', found)
        await expect(
            {one: [(channel, b'%d' % number) for number in range(60)], other: []},
            'a call that is cancelled costs no message of others',
        )
        one.arrived.clear()
        await one.hold(held)
        found = await other.holders(held)
        require(found == {one.id: 1}, 'hold holds, after calls of it that were cancelled', found)
        await other.send(held, b'held')
        await expect(
            {one: [(held, b'held')]},
            'what is sent after hold has returned arrives, after calls of it that were cancelled',
        )
        await one.hold(held, count=0)
        found = await other.holders(held)
        require(found == {}, 'hold with 0 ends it, after calls of it that were cancelled', found)


async def a_node_may_have_any_name(make: Make) -> None:
    """Text that no other one has."""
    async with linked(make, 1) as (other,):
        for name in ('a b', ' ', '*', '%20', 'a:b', ':', 'é', '{}', '\r\n', '"', '[a]', 'a' * 255):
            node = Node(make())
            channel = fresh()
            try:
                await node.start(name)
                await node.hold(channel)
                await other.send(channel, b'any')
                await node.send(channel, b'name')
                await expect(
                    {node: [(channel, b'any'), (channel, b'name')]},
                    f'a process called {name!r:.20} receives',
                )
                found = await other.holders(channel)
                require(found == {name: 1}, f'holders names the process {name!r:.20}', found)
                _require_counts(node.backend.health(), channels=1)
            finally:
                await node.stop()
            await _require_nothing_held_by(node, other)


async def _talk(one: Node, other: Node) -> None:
    """See that each of two hears the other, and itself; then forget that."""
    channel = fresh()
    for node in (one, other):
        await node.hold(channel)
        node.arrived.clear()
    said = [(channel, b'one'), (channel, b'other'), (channel, b'one again')]
    for node, (_, data) in zip((one, other, one), said, strict=True):
        await node.send(channel, data)
    await expect(dict.fromkeys((one, other), said), 'two that are started hear each other')
    for node, others in ((one, other), (other, one)):
        await node.hold(channel, count=0)
        node.arrived.clear()
        found = await others.holders(channel)
        require(node.id not in found, 'hold with 0 ends it', found)


async def _require_nothing_held_by(node: Node, asked: Node) -> None:
    for name in await in_time(asked.backend.names('room'), 'names returns'):
        found = await asked.holders(fresh()._replace(name=name))
        require(node.id not in found, 'who has stopped holds nothing, as the others see it', found)


async def _require_unavailable(backend: Backend, when: str) -> None:
    channel = fresh()
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        'send': lambda: backend.send([channel], b''),
        'holders': lambda: backend.holders(channel),
        'listening': lambda: backend.listening(channel),
        'names': lambda: backend.names('room'),
    }
    for name, call in calls.items():
        try:
            found = await in_time(call(), f'{name} returns')
        except BackendUnavailable:
            continue
        require(False, f'{name} raises BackendUnavailable {when}', f'it returned {found!r}')


def _require_counts(health: BackendHealth, **counts: int) -> None:
    expected = {**counts, 'waiting': 0, 'unsent': 0, 'gaps': 0, 'lost': 0, 'undecodable': 0}
    found = {name: getattr(health, name) for name in expected}
    require(found == expected, f'health says {expected}', str(found))


LAWS: Final = (
    it_is_made_without_an_event_loop,
    it_says_what_it_is,
    health_says_how_it_stands,
    what_is_not_started_cannot_be_used,
    a_stop_leaves_nothing_behind,
    who_has_stopped_receives_nothing,
    it_can_be_started_again,
    it_can_be_started_again_in_another_event_loop,
    a_stop_ends_what_is_being_sent,
    a_cancelled_call_harms_nobody,
    a_node_may_have_any_name,
)
