"""What comes twice counts once."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
import pytest

from falcon_ws_mw import seen
from falcon_ws_mw.channels import Channel
from falcon_ws_mw.packets import Packet
from falcon_ws_mw.seen import Copies, Lately, Seen

ONE, TWO, THREE = CHANNELS = [Channel('room', name) for name in ('one', 'two', 'three')]


@dataclass(frozen=True)
class Member:
    id: str


ADA, BOB, CEM = (Member(name) for name in ('ada', 'bob', 'cem'))


def packet(number: int, origin: str = 'a') -> Packet:
    return Packet('deliver', origin, number, {})


def take(
    copies: Copies,
    number: int,
    channel: Channel,
    members: list[Member],
    all_channels: list[Channel] | None = CHANNELS,
) -> list[Member]:
    return copies.those_without(packet(number), channel, lambda: all_channels, members)


def test_what_is_sent_again_is_not_new() -> None:
    packets = Seen()
    assert [packets.is_new(ONE, packet(number)) for number in (1, 2, 2, 1, 3)] == [
        *(True, True, False, False, True),
    ]
    assert packets.is_new(TWO, packet(2))
    assert packets.is_new(ONE, packet(2, 'b'))


def test_each_copy_is_for_those_of_its_channel_who_have_none() -> None:
    copies = Copies()
    assert take(copies, 1, ONE, [ADA, BOB]) == [ADA, BOB]
    assert take(copies, 1, TWO, [BOB, CEM]) == [CEM]
    assert take(copies, 2, TWO, [BOB], [ONE, TWO]) == [BOB]
    assert take(copies, 1, THREE, [ADA, BOB, CEM]) == []


def test_once_all_expected_copies_have_come_nobody_who_joins_gets_another() -> None:
    copies = Copies()
    assert take(copies, 1, ONE, [ADA], [ONE]) == [ADA]
    assert take(copies, 1, TWO, [ADA, BOB], [ONE, TWO]) == []
    assert not copies.is_over(packet(1))


def test_what_is_forgotten_is_known_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, 'MAX_REMEMBERED', 2 + 3 * seen.MESSAGE_WEIGHT)
    copies = Copies()
    take(copies, 1, ONE, [ADA, BOB], [ONE, TWO])
    take(copies, 2, ONE, [ADA], [ONE, TWO])
    assert not copies.is_over(packet(1))
    take(copies, 3, ONE, [ADA], [ONE, TWO])
    assert copies.is_over(packet(1))
    assert not copies.is_over(packet(2))
    assert take(copies, 3, TWO, [ADA, BOB], [ONE, TWO]) == [BOB]
    crowd = [Member(str(number)) for number in range(2 + 3 * seen.MESSAGE_WEIGHT)]
    take(copies, 4, ONE, [ADA, *crowd], [ONE, TWO])  # alone it is remembered all the same
    assert copies.is_over(packet(2))
    assert take(copies, 4, TWO, [ADA, BOB], [ONE, TWO]) == [BOB]


def test_where_it_is_not_known_what_is_to_come_who_had_it_is_remembered() -> None:
    copies = Copies()
    assert take(copies, 1, ONE, [ADA], None) == [ADA]
    assert take(copies, 1, TWO, [ADA, BOB], None) == [BOB]
    assert take(copies, 1, THREE, [ADA, BOB, CEM], None) == [CEM]
    assert take(copies, 1, ONE, [ADA, BOB, CEM], None) == []


@given(st.data())
def test_whoever_is_under_a_channel_gets_a_message_once_in_whatever_order_copies_come(
    data: st.DataObject,
) -> None:
    copies = Copies()
    members = {
        channel: data.draw(st.lists(st.sampled_from([ADA, BOB, CEM]), min_size=1, unique=True))
        for channel in CHANNELS
    }
    coming = [(number, channel) for number in range(4) for channel in CHANNELS]
    got: dict[int, list[Member]] = {number: [] for number in range(4)}
    for number, channel in data.draw(st.permutations(coming)):
        got[number] += take(copies, number, channel, members[channel])
    everybody = {member for those in members.values() for member in those}
    for those in got.values():
        assert len(those) == len({*those})
        assert {*those} == everybody
    assert not copies._expected
    assert copies._remembered == 0


def test_the_oldest_is_forgotten_first() -> None:
    lately: Lately[int, str] = Lately(3)
    for number in range(7):
        lately.put(number, str(number))
    assert [lately.get(number) for number in range(7)] == [
        *(None, None, None, '3', '4', '5', '6'),
    ]
