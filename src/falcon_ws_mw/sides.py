"""What the sides of a connection know of each other.

One side sends, one receives, and somebody looks after both.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol

from falcon_ws_mw.alarms import Alarm
from falcon_ws_mw.asgi import Event
from falcon_ws_mw.logs import ClientFaults
from falcon_ws_mw.reports import Counters


class State(Enum):
    """How far a connection has come. It only ever moves forward."""

    HANDSHAKE = auto()
    """Not accepted: what is said is held back."""
    OPEN = auto()
    CLOSING = auto()
    """We said close, or a send failed: nothing more goes out; the end is still to be read."""
    CLOSED = auto()


class Reader(Protocol):
    """The receiving side, as far as others know it.

    Attributes:
        in_hand: The ASGI event whose handler is running, if one is.
    """

    in_hand: Event | None

    @property
    def owner(self) -> object:
        """The task that converses, and so reads until the end; `None` where nobody does."""

    def read_ahead(self) -> None:
        """Its handler takes long."""

    def hung_up(self, *, waits: bool) -> None:
        """We have said close, which waits behind something or does not."""

    def evicted(self, missed: str) -> None:
        """The peer was given up, for what it did not do in time."""


class Asked(Protocol):
    """What has been asked of the peer, as far as others know it."""

    def __len__(self) -> int:
        """How many requests wait for an answer."""

    def is_answer(self, event: Event) -> bool:
        """Whether a frame is an answer that somebody waits for. If so, he has it."""

    def ended(self, code: int | None) -> None:
        """No answer will come."""


class Kept(Protocol):
    """The sending side, as far as others look after it."""

    id: str
    reader: Reader | None

    def is_overdue(self, now: float) -> bool:
        """Whether server or peer have not done what they were asked, for as long as they may."""

    def evict(self) -> None:
        """Give the peer up."""


class Look(Protocol):
    """What is to be looked at from time to time: a connection that must not be silent, say."""

    def look(self, now: float) -> bool:
        """See what there is to do, and say whether to look again."""


class Keeper:
    """What a connection tells of itself; here nobody acts on it.

    Attributes:
        counters: Where drops and evictions are counted.
        faults: Where the log is told of clients.
    """

    def __init__(self) -> None:
        self.counters = Counters()
        self.faults = ClientFaults()

    def let_in(self, connection_id: str) -> None:
        """It is accepted."""

    def blocked(self, connection: Kept) -> None:
        """Its send has just blocked."""

    def closing(self, connection: Kept) -> None:
        """It has said close, and its peer is to answer."""

    def watch(self, watch: Look) -> None:
        """Something is to be looked at from time to time."""

    def remind(self, alarm: Alarm) -> None:
        """Something is to be done at a time."""

    def unblocked(self, connection: Kept) -> None:
        """Nothing of it waits any more."""

    def lost(self, connection: Kept) -> None:
        """It has ended by itself: nothing more is to be delivered to it."""
