"""What carries messages between processes: the port that every backend implements.

A backend moves names and bytes. It knows nothing of sockets, of messages or of what the bytes mean;
a process listens only for the channels that it holds. `falcon_ws_mw.testing.backend_contract` holds
a backend to what is promised here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, Protocol

from falcon_ws_mw.channels import Channel, Kind
from falcon_ws_mw.reports import BackendHealth, Gap

NOT_STARTED: Final = 'the backend is not started: is the app served without ASGI lifespan?'
"""What is wrong where nobody has started it."""


@dataclass(frozen=True, slots=True)
class Guarantee:
    """What a backend promises of delivery.

    Attributes:
        reaches: `'process'`, or `'cluster'`: all processes with the same URL.
        delivery: `'at_most_once'`: something may be lost with the backend, never doubled.
            `'exactly_once'`: nor lost, as long as the receiving process lives.
        reports_loss: Whether a receiver is told of every loss.
        words: The same in words.
    """

    reaches: Literal['process', 'cluster']
    delivery: Literal['at_most_once', 'exactly_once']
    reports_loss: bool
    words: str


class Receiver(Protocol):
    """Whom a backend tells. Neither method raises, waits, or is called from another thread."""

    def receive(self, channel: Channel, data: bytes) -> None:
        """Something has arrived.

        Args:
            channel: Where it was sent to; one that this process holds.
            data: What was sent.
        """

    def lost(self, gap: Gap) -> None:
        """Something has not arrived, and will not."""


class Backend(ABC):
    """Carries bytes between the processes of an app.

    Made when the app is put together, without an event loop; it must not touch the network before
    `start`. After `stop` it can be started again, in another event loop, under any name. While it
    is not started, `send`, `holders`, `listening` and `names` raise `BackendUnavailable`. Any call
    may be cancelled: that costs no message of others.

    Args:
        url: The URL it is chosen by.

    Attributes:
        url: The same, without a password.
        guarantee: What it promises.
        wait_seconds: How long a look waits for the engine (default 5), to be told there first what
            has changed included. Then it is `BackendUnavailable`.
    """

    guarantee: ClassVar[Guarantee]
    wait_seconds: float = 5.0

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def is_shared(self) -> bool:
        """Whether there may be other processes. If not, nothing below is ever called."""
        return True

    @abstractmethod
    async def start(self, node_id: str, receiver: Receiver) -> None:
        """Get in touch with the engine, or begin to try, for no longer than a few seconds.

        What is held when it is lost is held again as soon as it is back.

        Args:
            node_id: What this process is called: text that no other one has.
            receiver: Who is told of what arrives, in this event loop.
        """

    @abstractmethod
    async def stop(self) -> None:
        """Hold nothing any more, and leave no task and no connection behind.

        What is being sent is sent, or its sender told. Harmless if it is not started.
        """

    @abstractmethod
    async def hold(self, counts: Mapping[Channel, int]) -> None:
        """Say how many connections this process holds under some channels.

        When this returns, whatever is sent later to a channel with a count above 0 arrives here,
        and `holders` says so everywhere. While the engine is away it returns at once: then the
        channel is held when it is back, and what may have been missed is reported as lost.

        Args:
            counts: Channel to number, for those that have changed; 0 is no longer held.

        Raises:
            BackendUnavailable: If the engine is there and refuses. The same is asked for again,
                soon and until it is taken.
        """

    @abstractmethod
    async def send(self, channels: Sequence[Channel], data: bytes) -> int | None:
        """Send to every process that holds one of some channels.

        All processes get what is sent to a channel in one order, this one included; a process that
        holds several of the channels gets it once for each. When this returns, the receiver of this
        process has had it, if it holds one of them. Both is promised of `COUNTED_KINDS`.

        Args:
            channels: Where to; at least one, none of them twice, all of one kind.
            data: What to send.

        Returns:
            How many processes it was given to, for a single channel; `None` if that is not known.

        Raises:
            BackendUnavailable: If the engine did not take it in time. It may have, if it was lost
                just then.
        """

    @abstractmethod
    async def holders(self, channel: Channel) -> dict[str, int]:
        """Which processes hold a channel, by their `node_id`, and for how many connections.

        Those that died are among them until their lease ends.

        Raises:
            BackendUnavailable: If the engine does not say, in time.
        """

    @abstractmethod
    async def listening(self, channel: Channel) -> int | None:
        """How many processes would get what is sent to a channel now; `None` if that is not known.

        One that has just died is not among them, though it may be among `holders`.

        Raises:
            BackendUnavailable: If the engine does not say, in time.
        """

    @abstractmethod
    async def names(self, kind: Kind, prefix: str = '') -> list[str]:
        """The names of all channels of a kind that are held somewhere, and begin with a prefix.

        Raises:
            BackendUnavailable: If the engine does not say, in time.
        """

    def is_in_touch(self, channels: Sequence[Channel]) -> bool:
        """Whether what is sent to some channels would be taken now, as far as is known.

        If there are none: whatever it is sent to.
        """
        return self.health().state == 'connected'

    @abstractmethod
    def health(self) -> BackendHealth:
        """How it stands. Costs nothing."""
