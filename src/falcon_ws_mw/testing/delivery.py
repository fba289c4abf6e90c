"""The laws of a backend on what is sent: where it arrives, how often, and in which order."""

from __future__ import annotations

import asyncio
import secrets
from typing import Final, get_args

from falcon_ws_mw.backends import COUNTED_KINDS, Channel, Kind
from falcon_ws_mw.testing.nodes import Make, Node, expect, fresh, linked, require

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

_COUNTED: Final = tuple(kind for kind in KINDS if kind in COUNTED_KINDS)

_PAYLOADS: Final = (
    b'',
    b' ',
    b' a  b ',
    b'1 2 3',
    b'\r\n$-1\r\n+OK\n\0',
    '"é" €'.encode(),
    b'\xff\xfe\x00',
    bytes(range(256)),
    bytes(range(256)) * 4_096,  # 1 MiB
)


async def what_is_sent_arrives_once_as_the_same_bytes(make: Make) -> None:
    """Whatever they are; at the sender too, and of one that does not hold the channel."""
    async with linked(make, 3) as (one, other, third):
        channel = fresh()
        await one.hold(channel)
        await other.hold(channel)
        for data in _PAYLOADS:
            await one.send(channel, data)
        for data in _PAYLOADS:
            await third.send(channel, data)
        arrivals = [(channel, data) for data in (*_PAYLOADS, *_PAYLOADS)]
        await expect(
            {one: arrivals, other: arrivals},
            'what is sent arrives once, as the same bytes, at every process that holds the channel',
        )


async def nobody_else_gets_it(make: Make) -> None:
    """Neither a process that holds nothing, nor one that holds other channels."""
    async with linked(make, 3) as (holder, other, sender):
        for kind in KINDS:
            channel = fresh(kind)
            await holder.hold(channel)
            await other.hold(fresh(kind))
            await sender.send(channel, kind.encode())
            arrivals = [(channel, kind.encode())]
            await expect(
                {holder: arrivals, other: [], sender: []},
                f'what is sent to a channel ({kind}) arrives only where that is held',
            )
            holder.arrived.clear()


async def a_send_returns_when_its_own_process_has_it(make: Make) -> None:
    """Also while others send there; for the kinds that have one order."""
    promise = 'when send returns, the receiver of the same process has had the message'

    async def send_all(node: Node, channel: Channel) -> None:
        for number in range(50):
            data = f'{node.id} {number}'.encode()
            await node.send(channel, data)
            require((channel, data) in node.arrived, promise, f'{channel.kind}: {data!r} not there')

    async with linked(make, 2) as (one, other):
        for kind in _COUNTED:
            channel = fresh(kind)
            await one.hold(channel)
            await other.hold(channel)
            async with asyncio.TaskGroup() as both:
                both.create_task(send_all(one, channel))
                both.create_task(send_all(other, channel))


async def all_see_one_order(make: Make) -> None:
    """Of what several send at the same time; what one process sends has the order of its calls."""
    many = 200
    async with linked(make, 3) as nodes:
        for kind in _COUNTED:
            channel = fresh(kind)
            for node in nodes:
                await node.hold(channel)
            sent = [
                [_message(node, number, is_big=number % 40 == 7) for number in range(many)]
                for node in nodes[:2]
            ]
            await asyncio.gather(
                *(
                    node.send(channel, said[number])
                    for number in range(many)
                    for node, said in zip(nodes, sent, strict=False)
                )
            )
            for node in nodes:
                await node.recorder.until(2 * many)
            first = [*nodes[0].arrived]
            for said in sent:
                of_this_one = {*said}
                own = [each for each in first if each[1] in of_this_one]
                require(
                    own == [(channel, data) for data in said],
                    'what one process sends to a channel arrives once, in the order of its calls',
                    f'{kind}: {len(own)} messages of {many}, or another order',
                )
            await expect(
                dict.fromkeys(nodes, first),
                f'all processes get what is sent to a channel ({kind}) in one order',
            )
            for node in nodes:
                node.arrived.clear()


def _message(node: Node, number: int, *, is_big: bool) -> bytes:
    return f'{node.id} {number} '.encode().ljust(50_000 if is_big else 0)


async def several_channels_in_one_send(make: Make) -> None:
    """Who holds several of them gets it once for each."""
    promise = 'a process gets what is sent to several channels once for each that it holds'
    async with linked(make, 3) as (one, other, sender):
        for kind in KINDS:
            channels = [fresh(kind, f' {number}') for number in range(5)]
            await one.hold(*channels[:3])
            await other.hold(channels[4])
            await sender.send(channels, b'several')
            await one.recorder.until(3)
            found = sorted(one.arrived)
            require(found == sorted((each, b'several') for each in channels[:3]), promise, found)
            await expect(
                {one: [*one.arrived], other: [(channels[4], b'several')], sender: []}, promise
            )
            one.arrived.clear()
            other.arrived.clear()


async def a_send_to_very_many_channels(make: Make) -> None:
    """Of which some are held, by the sender too."""
    async with linked(make, 2) as (one, other):
        channels = [fresh('user', f' {number}') for number in range(1_500)]
        await one.hold(*channels[::3])
        await other.hold(*channels[::2])
        await one.send(channels, b'many')
        for node, held in ((one, channels[::3]), (other, channels[::2])):
            if node is other:
                await node.recorder.until(len(held))
            require(
                sorted(node.arrived) == sorted((each, b'many') for each in held),
                'what is sent to 1,500 channels arrives once for each that is held, at the sender '
                'when send returns',
                f'{len(node.arrived)} messages instead of {len(held)}',
            )


async def a_send_says_how_many_processes_it_was_given_to(make: Make) -> None:
    """Or that it is not known."""
    async with linked(make, 3) as nodes:
        for kind in KINDS:
            channel = fresh(kind)
            for number, node in enumerate(nodes, 1):
                await node.hold(channel, count=5)
                reached = await nodes[0].send(channel, b'')
                require(
                    reached is None or reached == number,
                    f'send to a channel ({kind}) that {number} processes hold returns {number}, '
                    'or None',
                    reached,
                )
            await nodes[0].hold(channel, count=0)
            reached = await nodes[0].send(channel, b'')
            require(
                reached is None or reached == 2, 'who holds it no longer is not counted', reached
            )


async def a_send_to_nobody_is_no_error(make: Make) -> None:
    """To one channel that nobody holds, or several."""
    async with linked(make, 2) as (one, other):
        for kind in KINDS:
            await other.hold(fresh(kind))
            reached = await one.send(fresh(kind), b'nobody')
            require(reached in {0, None}, 'send to a channel that nobody holds returns 0', reached)
            await one.send([fresh(kind), fresh(kind)], secrets.token_bytes(10))
        await expect({one: [], other: []}, 'what is sent to nobody arrives nowhere')


LAWS: Final = (
    what_is_sent_arrives_once_as_the_same_bytes,
    nobody_else_gets_it,
    a_send_returns_when_its_own_process_has_it,
    all_see_one_order,
    several_channels_in_one_send,
    a_send_to_very_many_channels,
    a_send_says_how_many_processes_it_was_given_to,
    a_send_to_nobody_is_no_error,
)
