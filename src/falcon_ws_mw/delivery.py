"""What processes say to the connections of each other, handed to those that are here."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
import contextlib
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import orjson

from falcon_ws_mw.channels import (
    COUNTED_KINDS,
    Channel,
    Holdings,
    Kind,
    channel_of_filter,
    channels_of,
)
from falcon_ws_mw.connection import Connection
from falcon_ws_mw.errors import MessageTooBig
from falcon_ws_mw.fanout import Fanout
from falcon_ws_mw.logs import ClientFaults
from falcon_ws_mw.outbox import Key
from falcon_ws_mw.packets import Packet, UnreadablePacket, as_key
from falcon_ws_mw.registry import Registry
from falcon_ws_mw.reports import Counters, DeliveryReport
from falcon_ws_mw.seen import Copies
from falcon_ws_mw.topics import check_topic

MAX_NAMES: Final = 32
"""How many names go with a message to several rooms. Each room's copy has them all in it."""


def names_of(kind: Kind, names: Sequence[str]) -> dict[str, Any]:
    """What a message says of whom it is for, where its channel does not."""
    if len(names) > MAX_NAMES:
        return {'many': _digest(names)}
    return {'names': names} if kind == 'topic' or len(names) > 1 else {}


def line_of(kind: Kind, names: str | Sequence[str], key: Hashable) -> Key:
    """Under which key a message waits, so that a later one to the same names takes its place.

    Args:
        kind: To whom it goes.
        names: Which of them, or the `'many'` of `names_of`.
        key: The app's key.
    """
    if isinstance(names, str):
        return kind, names, key
    return kind, _digest(names) if len(names) > MAX_NAMES else tuple(sorted(names)), key


def _digest(names: Iterable[str]) -> str:
    return sha256(orjson.dumps(sorted(names))).hexdigest()


@dataclass(slots=True)
class Outcome:
    """What becomes of a message in the process that sends it; of all its packets and their copies.

    Attributes:
        queued: How many connections have got it.
        dropped: How many have not, though it was for them.
        too_big: Why not all under some channel could take it.
        unable: How many those were.
    """

    queued: int = 0
    dropped: int = 0
    too_big: MessageTooBig | None = None
    unable: int = 0


class Delivery:
    """Hands on what has come.

    Args:
        registry: Who is connected here.
        fanout: Reaches them.
        counters: Where is counted what could not be delivered.
        holdings: What this process listens for.
        faults: Where the log is told.
    """

    def __init__(
        self,
        registry: Registry,
        fanout: Fanout,
        counters: Counters,
        holdings: Holdings,
        faults: ClientFaults,
    ) -> None:
        self._registry = registry
        self._fanout = fanout
        self._counters = counters
        self._holdings = holdings
        self._faults = faults
        self._copies = Copies()
        self._outcomes: dict[tuple[str, int], Outcome] = {}

    def begin(self) -> None:
        """Forget what came under a former name of this process."""
        self._copies = Copies()

    @contextlib.contextmanager
    def watched(self, packet: Packet, outcome: Outcome) -> Iterator[None]:
        """See what becomes, here, of a packet that is sent meanwhile.

        Args:
            packet: The packet.
            outcome: Where that is added to.
        """
        one = (packet.origin, packet.number)
        self._outcomes[one] = outcome
        try:
            yield
        finally:
            del self._outcomes[one]

    def report(self, outcome: Outcome) -> DeliveryReport:
        """What became of a message.

        Raises:
            MessageTooBig: If nobody could take it.
        """
        if outcome.too_big is not None:
            if not outcome.queued + outcome.dropped:
                raise outcome.too_big
            self._counters.dropped += outcome.unable
        return DeliveryReport(outcome.queued, outcome.dropped + outcome.unable)

    def deliver(self, channel: Channel, packet: Packet) -> None:
        """Hand a message to those under the channel that it has come by.

        Raises:
            Exception: If what it says is nothing that this process understands.
        """
        outcome = self._outcomes.get((packet.origin, packet.number))
        facts, key = packet.facts, packet.facts.get('key')
        names = facts.get('many') or facts.get('names', (channel.name,))
        members = self._those_concerned(channel, packet)
        try:
            report = self._fanout.deliver(
                members,
                packet.variants,
                slow_consumer=facts.get('slow_consumer'),
                key=None if key is None else line_of(channel.kind, names, as_key(key)),
            )
        except MessageTooBig as error:
            if outcome is None:  # whoever sent it is told nothing of this process
                self._counters.dropped += len(members)
            else:
                outcome.too_big = error
                outcome.unable += len(members)
        except Exception:
            self._counters.dropped += len(members)
            raise
        else:
            if outcome is not None:
                outcome.queued += report.queued
                outcome.dropped += report.dropped

    def _those_concerned(self, channel: Channel, packet: Packet) -> list[Connection]:
        """Those under a channel who have not had a message by another one."""
        facts = packet.facts
        names = facts.get('names')
        members = self._fanout.without(self._members(channel, names), facts.get('except', ()))
        if names is None and 'many' not in facts:
            return members
        if self._copies.is_over(packet):
            self._counters.dropped += len(members)
            self._faults.warn(
                'undeliverable', 'a message came so late that it is not known who has had it'
            )
            return []

        def others() -> list[Channel] | None:
            if names is None:
                return None
            return [each for each in channels_of(channel.kind, names) if self._holdings.count(each)]

        return self._copies.those_without(packet, channel, others, members)

    def _members(self, channel: Channel, names: Any) -> list[Connection]:
        if channel.kind not in COUNTED_KINDS:
            raise UnreadablePacket(f'nothing is delivered by channels of a {channel.kind}')
        if channel.kind != 'topic':
            return self._registry.under(channel.kind, channel.name)
        (topic,) = names
        return self._registry.topics.members(
            check_topic(topic), lambda each: channel_of_filter(each) == channel
        )
