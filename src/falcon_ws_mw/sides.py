"""What the sides of a connection know of each other.

One side sends, one receives, and somebody looks after both.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol

from falcon_ws_mw.asgi import Event
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

    def read_ahead(self) -> None:
        """Its handler takes long."""

    def hung_up(self, *, waits: bool) -> None:
        """We have said close, which waits behind something or does not."""

    def evicted(self) -> None:
        """The peer was given up."""


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
        """Whether the server has not taken what it was given, for as long as it may."""

    def evict(self) -> None:
        """Give the peer up."""


class Keeper:
    """What a connection tells of itself; here nobody acts on it.

    Attributes:
        counters: Where drops and evictions are counted.
    """

    def __init__(self) -> None:
        self.counters = Counters()

    def blocked(self, connection: Kept) -> None:
        """Its send has just blocked."""

    def unblocked(self, connection: Kept) -> None:
        """Nothing of it waits any more."""

    def lost(self, connection: Kept) -> None:
        """It has ended by itself: nothing more is to be delivered to it."""
