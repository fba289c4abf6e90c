"""The laws of a backend on channels: what is held, under which names, and who says so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
import secrets
from typing import Final

from falcon_ws_mw.backends import Channel, Kind
from falcon_ws_mw.testing.delivery import KINDS
from falcon_ws_mw.testing.nodes import Make, Node, expect, fresh, in_time, linked, require

_AWKWARD_NAMES: Final = (
    '', ' ', '  ', 'a', 'A', 'a ', ' a', 'a b', 'a  b', 'ab',
    '*', '**', 'a*', '?', 'a?', '[a]', '[ab]', '[^a]', '[', ']', '{a}', '{', '}', '{}',
    '%', '%%', '%2A', '%2a', '%20', '+', 'a+b', '#', '>', 'a.>', '.', '..', 'a.b',
    '/', 'a/b', '//', ':', 'a:b', 'a:', ':a', '::', 'r:a', '\\', '\\*', 'a\\', '\\n',
    "'", '"', "a'b", 'a"b', '`', '$', '~', '-', '_', '!', '@', '(', ')', ',', ';', '&', '=', '|',
    '\r\n', '\n', '\r', 'a\r\nb', 'a\nb', '\t', '\0', 'a\0', 'a\0b', '\x1b', '\x7f', '\x85',
    '\u2028', '\ufeff', '\ufeffa', '日本', '\U0001f44d', '\U0001f44d\U0001f3fd',
    '\xe9', 'e\u0301', '\xc9', 'ß', '\u1e9e', 'ss', 'i', 'I', '\u0131', '\u0130', '\ufb01', 'fi',
    '\u03a9', '\u2126', '^', '<',
    'x' * 254, 'x' * 255, '\xe9' * 127, 'x' * 65_536, '\0' * 65_536,
)  # fmt: skip


async def what_is_sent_after_hold_has_returned_arrives(make: Make) -> None:
    """200 times, with a new channel."""
    async with linked(make, 2) as (holder, sender):
        arrivals = []
        for number in range(200):
            channel, data = fresh(), str(number).encode()
            await holder.hold(channel)
            await sender.send(channel, data)
            arrivals.append((channel, data))
            found = await holder.recorder.until(number + 1)
            require(
                found == arrivals,
                'what another process sends after hold has returned arrives',
                found[number:],
            )


async def names_never_meet(make: Make) -> None:
    """Any text is a name, and the receiver is told the very channel that is held."""
    channels = [Channel('room', name) for name in _AWKWARD_NAMES]
    async with linked(make, 3) as (one, other, sender):
        half, rest = channels[::2], channels[1::2]
        await one.hold(*half)
        await other.hold(*rest)
        said = {each: str(number).encode() for number, each in enumerate(channels)}
        for channel in channels:
            await sender.send(channel, said[channel])
            holder = one if channel in half else other
            arrived = (await holder.recorder.until(1))[:]
            require(
                arrived == [(channel, said[channel])],
                f'what is sent to the room {channel.name!r:.60} is told with that channel',
                arrived,
            )
            holder.arrived.clear()
        await expect(
            {one: [], other: [], sender: []},
            'what is sent to a name arrives under no other name',
        )
        for node, held in ((one, half), (other, rest)):
            for channel in held:
                found = await sender.holders(channel)
                require(
                    found == {node.id: 1},
                    f'the room {channel.name!r:.60} is held by the one who holds it',
                    found,
                )
        await _expect_names(sender, 'room', '', _AWKWARD_NAMES)


async def kinds_never_meet(make: Make) -> None:
    """A room, a user and all others may have the same name."""
    async with linked(make, 2) as (holder, sender):
        for name in (secrets.token_hex(8), ''):
            for kind in KINDS:
                channel = Channel(kind, name)
                await holder.hold(channel)
                for each in KINDS:
                    await sender.send(Channel(each, name), each.encode())
                await expect(
                    {holder: [(channel, kind.encode())], sender: []},
                    f'what is sent to another kind with the same name as a held {kind} does not '
                    'arrive',
                )
                for each in KINDS:
                    found = await sender.holders(Channel(each, name))
                    require(
                        found == ({holder.id: 1} if each == kind else {}),
                        f'who holds the {kind} {name!r} does not hold the {each} {name!r}',
                        found,
                    )
                await holder.hold(channel, count=0)
                holder.arrived.clear()


async def a_count_of_0_is_no_longer_held(make: Make) -> None:
    """And may be held again."""
    async with linked(make, 2) as (holder, sender):
        for kind in KINDS:
            channel, other = fresh(kind), fresh(kind)
            await holder.hold(other)
            for number in range(5):
                await holder.hold(channel)
                await sender.send(channel, b'held %d' % number)
                await holder.recorder.until(number + 1)
                await holder.hold(channel, count=0)
                await sender.send(channel, b'not held %d' % number)
            await expect(
                {holder: [(channel, b'held %d' % number) for number in range(5)]},
                f'what is sent to a channel ({kind}) arrives while that is held, and not after '
                'hold with 0 has returned',
            )
            holder.arrived.clear()


async def holding_again_changes_the_number_only(make: Make) -> None:
    """A message comes once, for however many connections."""
    async with linked(make, 2) as (holder, sender):
        channel = fresh()
        for count in (1, 1, 7, 1_000_000, 2):
            await holder.hold(channel, count=count)
            await sender.send(channel, b'%d' % count)
            found = await sender.holders(channel)
            require(
                found == {holder.id: count},
                f'a channel held for {count} is held for {count}',
                found,
            )
        await expect(
            {holder: [(channel, b'%d' % count) for count in (1, 1, 7, 1_000_000, 2)]},
            'a message arrives once, for however many connections its channel is held',
        )
        await holder.hold(channel, count=0)
        found = await sender.holders(channel)
        require(found == {}, 'hold with 0 ends it, whatever the number was', found)


async def one_hold_begins_changes_and_ends(make: Make) -> None:
    """Of many channels at once; nothing at all, and the end of what is not held, are harmless."""
    async with linked(make, 2) as (one, other):
        begun, kept, ended = ([fresh(note=f' {i}') for i in range(1_200)] for _ in range(3))
        await one.hold()
        await one.hold(*begun, count=0)
        await one.hold(*kept, *ended)
        counts = {**dict.fromkeys(begun, 1), **dict.fromkeys(kept, 2), **dict.fromkeys(ended, 0)}
        await in_time(one.backend.hold(counts), 'hold returns')
        require(
            one.backend.health().channels == 2_400,
            'one call of hold begins with 1,200 channels, changes 1,200, and ends 1,200',
            f'{one.backend.health().channels} channels held',
        )
        some = [*begun[::400], begun[-1], *kept[::400], kept[-1], *ended[::400], ended[-1]]
        for channel in some:
            found = await other.holders(channel)
            expected = {one.id: counts[channel]} if counts[channel] else {}
            require(found == expected, f'one call of hold has done {expected}', found)
            await other.send(channel, b'')
        await expect(
            {one: [(channel, b'') for channel in some if counts[channel]], other: []},
            'what is sent arrives on the channels that hold has begun or kept, and no others',
        )


async def one_may_end_what_another_begins(make: Make) -> None:
    """At the same time, 50 times."""
    async with linked(make, 3) as (one, other, sender):
        channel = fresh()
        arrivals: dict[Node, list[tuple[Channel, bytes]]] = {one: [], other: []}
        await other.hold(channel)
        for number in range(50):
            begins, ends = (one, other) if number % 2 == 0 else (other, one)
            await asyncio.gather(ends.hold(channel, count=0), begins.hold(channel))
            await sender.send(channel, b'%d' % number)
            arrivals[begins].append((channel, b'%d' % number))
            await begins.recorder.until(len(arrivals[begins]))
        await expect(
            arrivals,
            'what is sent arrives at the process that has begun to hold the channel while another '
            'ended, and not at that',
        )


async def holds_that_overlap_end_as_the_last_one_says(make: Make) -> None:
    """Who leaves and comes back at once is there, and has missed nothing."""
    async with linked(make, 2) as (holder, sender):
        channel = fresh()
        for number in range(40):
            leaving = asyncio.ensure_future(holder.backend.hold({channel: 0}))
            for _ in range(1 + number % 20):  # further on each time
                await asyncio.sleep(0)
            await holder.hold(channel)
            await in_time(leaving, 'hold returns')
            data = b'%d' % number
            await sender.send(channel, data)
            await expect(
                {holder: [(channel, data)], sender: []},
                'a channel is held if the hold that began last says so, and nothing is lost then',
            )
            holder.arrived.clear()


async def holders_are_told_with_their_numbers(make: Make) -> None:
    """By each process, as soon as `hold` has returned."""
    async with linked(make, 3) as (one, other, third):
        for kind in KINDS:
            channel = fresh(kind)
            expected: dict[str, int] = {}
            for node, count in ((one, 1), (other, 3), (one, 4), (other, 0), (other, 2), (one, 0)):
                await node.hold(channel, count=count)
                expected[node.id] = count
                known = {node_id: number for node_id, number in expected.items() if number}
                for asked in (one, other, third):
                    found = await asked.holders(channel)
                    require(
                        found == known,
                        f'holders says {known} of a channel ({kind}) as soon as hold has returned',
                        found,
                    )


async def listening_says_how_many_would_get_it(make: Make) -> None:
    """By each process, as soon as `hold` has returned; or that it is not known."""
    async with linked(make, 3) as (one, other, third):
        for kind in KINDS:
            channel = fresh(kind)
            steps = ((one, 1), (one, 5), (other, 2), (third, 1), (other, 0), (one, 0), (third, 0))
            holding: set[str] = set()
            for node, count in ((one, 0), *steps):
                await node.hold(channel, count=count)
                holding = holding | {node.id} if count else holding - {node.id}
                for asked in (one, other, third):
                    found = await in_time(asked.backend.listening(channel), 'listening returns')
                    require(
                        found is None or found == len(holding),
                        f'listening says {len(holding)} of a channel ({kind}) that so many hold, '
                        'or None',
                        found,
                    )


async def names_are_told_by_kind_and_prefix(make: Make) -> None:
    """Once each, wherever they are held; what a prefix has of a pattern means itself."""
    token = secrets.token_hex(8)
    prefixes = ('*', '?', '[a-z]', '{a,b}', '\\', '%', '%2', 'a', 'A', 'é', '\n', '^', '$', '.', '')
    names = [f'{token}{prefix}{end}' for prefix in prefixes for end in ('', 'x', 'y z', '*')]
    async with linked(make, 3) as (one, other, third):
        await one.hold(*(Channel('room', name) for name in names))
        await other.hold(*(Channel('room', name) for name in names[::2]))
        await other.hold(Channel('user', f'{token}user'))
        for prefix in prefixes:
            wanted = token + prefix
            await _expect_names(third, 'room', wanted, [n for n in names if n.startswith(wanted)])
        await _expect_names(one, 'room', token + 'nobody', [])
        await _expect_names(one, 'user', token, [f'{token}user'])
        await _expect_names(one, 'topic', token, [])
        everything = await in_time(one.backend.names('room'), 'names returns')
        require({*names} <= {*everything}, 'names without a prefix are all names', everything)
        await one.hold(*(Channel('room', name) for name in names), count=0)
        await _expect_names(one, 'room', token, {*names[::2]})


async def very_many_names(make: Make) -> None:
    """5,000, each told once."""
    token = secrets.token_hex(8)
    names = [f'{token} {number}' for number in range(5_000)]
    async with linked(make, 2) as (one, other):
        await one.hold(*(Channel('room', name) for name in names))
        await other.hold(*(Channel('room', name) for name in names[:100]))
        await _expect_names(other, 'room', token, names)


async def _expect_names(node: Node, kind: Kind, prefix: str, expected: Iterable[str]) -> None:
    names = {*expected}
    found = await in_time(node.backend.names(kind, prefix), 'names returns')
    require(
        sorted(found) == sorted(names),
        f'names of {kind} with the prefix {prefix!r} are the {len(names)} held, once each',
        f'{len(found)}; missing {[*(names - {*found})][:5]}, more {[*({*found} - names)][:5]}',
    )


LAWS: Final = (
    what_is_sent_after_hold_has_returned_arrives,
    names_never_meet,
    kinds_never_meet,
    a_count_of_0_is_no_longer_held,
    holding_again_changes_the_number_only,
    one_hold_begins_changes_and_ends,
    one_may_end_what_another_begins,
    holds_that_overlap_end_as_the_last_one_says,
    holders_are_told_with_their_numbers,
    listening_says_how_many_would_get_it,
    names_are_told_by_kind_and_prefix,
    very_many_names,
)
