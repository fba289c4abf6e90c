"""Processes for the laws of `backend_contract`: started backends that write down what they hear."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
import reprlib
import secrets
import threading
from typing import Final, TypeVar

from falcon_ws_mw.backends import Backend, Channel, Gap, Kind

PATIENCE_SECONDS: Final = 10.0
"""How long anything may take before a law counts as broken."""

Make = Callable[[], Backend]
"""Makes a backend that is not started, and is linked with all others that it makes."""

Arrival = tuple[Channel, bytes]
"""What has arrived, and where it was sent to."""

_T = TypeVar('_T')

_SHORT: Final = reprlib.Repr()
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 8
_SHORT.maxstring = _SHORT.maxother = 80


def require(kept: bool, promise: str, found: object) -> None:
    """See that a promise is kept. It is no `assert`, so it is seen under `python -O` too.

    Args:
        kept: Whether it is.
        promise: What was promised.
        found: What was found.

    Raises:
        AssertionError: If it is not kept.
    """
    if not kept:
        said = found if isinstance(found, str) else _SHORT.repr(found)
        raise AssertionError(f'promised: {promise}; found: {said}')


async def in_time(work: Awaitable[_T], promise: str) -> _T:
    """Wait for something, but not for ever.

    Raises:
        AssertionError: If it takes longer than `PATIENCE_SECONDS`.
    """
    limit = asyncio.timeout(PATIENCE_SECONDS)
    try:
        async with limit:
            return await work
    except TimeoutError:
        require(not limit.expired(), promise, f'it has not within {PATIENCE_SECONDS:g} s')
        raise


class Recorder:
    """A receiver that writes down what it is told. Made in the event loop that it is for.

    Attributes:
        arrived: What has arrived, in order.
        gaps: What was said to be lost.
        faults: What should not have been told to it, or not so.
    """

    def __init__(self) -> None:
        self.arrived: list[Arrival] = []
        self.gaps: list[Gap] = []
        self.faults: list[str] = []
        self._is_over = False
        self._thread = threading.get_ident()
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    def receive(self, channel: Channel, data: bytes) -> None:
        """Something has arrived."""
        self._check(f'receive({_SHORT.repr(channel)}, …)')
        if type(channel) is not Channel or type(data) is not bytes:
            self.faults.append(f'receive({type(channel).__name__}, {type(data).__name__})')
        self.arrived.append((channel, data))
        self._loop.call_soon_threadsafe(self._changed.set)

    def lost(self, gap: Gap) -> None:
        """Something will not arrive."""
        self._check(f'lost({gap})')
        self.gaps.append(gap)

    async def until(self, count: int) -> list[Arrival]:
        """Wait until so much has arrived.

        Args:
            count: How many messages, from the beginning.

        Returns:
            All that has arrived.

        Raises:
            AssertionError: If that takes longer than `PATIENCE_SECONDS`.
        """

        async def so_many() -> list[Arrival]:
            while len(self.arrived) < count:
                self._changed.clear()
                await self._changed.wait()
            return self.arrived

        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await so_many()
        except TimeoutError:
            found = f'{len(self.arrived)} within {PATIENCE_SECONDS:g} s'
            require(False, f'{count} messages arrive', found)
            raise

    def end(self) -> None:
        """From here on nothing may be told to it."""
        self._is_over = True

    def _check(self, call: str) -> None:
        if threading.get_ident() != self._thread:
            self.faults.append(f'{call} from another thread')
        if self._is_over:
            self.faults.append(f'{call} after stop has returned')


class Node:
    """A process as the others see it: a backend, and what it was told since it was started last.

    Args:
        backend: The backend.

    Attributes:
        backend: The backend.
        id: What it is called.
        recorder: Whom it tells.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.id = ''
        self.recorder = Recorder()

    @property
    def arrived(self) -> list[Arrival]:
        """What has arrived."""
        return self.recorder.arrived

    async def start(self, node_id: str | None = None) -> None:
        """Start it, under a name that no other has."""
        self.check()
        self.id = node_id or secrets.token_hex(8)
        self.recorder = Recorder()
        await in_time(self.backend.start(self.id, self.recorder), 'start returns')

    async def stop(self) -> None:
        """Stop it, however often it was."""
        await in_time(self.backend.stop(), 'stop returns')
        self.recorder.end()

    async def hold(self, *channels: Channel, count: int = 1) -> None:
        """Hold channels; with 0, no longer."""
        await in_time(self.backend.hold(dict.fromkeys(channels, count)), 'hold returns')

    async def send(self, channels: Channel | Sequence[Channel], data: bytes) -> int | None:
        """Send to one channel, or several."""
        several = [channels] if isinstance(channels, Channel) else channels
        return await in_time(self.backend.send(several, data), 'send returns')

    async def holders(self, channel: Channel) -> dict[str, int]:
        """Who holds a channel, as this node sees it."""
        return await in_time(self.backend.holders(channel), 'holders returns')

    def check(self) -> None:
        """See that it was told nothing that it should not have been.

        Raises:
            AssertionError: If it was.
        """
        faults = self.recorder.faults
        require(
            not faults,
            'the receiver is told, in the thread of its event loop and until stop has returned, '
            'of a Channel and bytes',
            '; '.join(faults[:3]),
        )
        gaps = self.recorder.gaps
        require(not gaps, 'no loss is reported where nothing was lost', gaps)


@asynccontextmanager
async def started(backends: Iterable[Backend]) -> AsyncIterator[list[Node]]:
    """Some backends, started; stopped in the end, whatever happens.

    Raises:
        AssertionError: If one of them has told its receiver what it should not have.
    """
    nodes = [Node(backend) for backend in backends]
    failures: list[BaseException] = []
    try:
        for node in nodes:
            await node.start()
        yield nodes
    finally:
        for node in nodes:
            try:
                await node.stop()
            except BaseException as error:  # noqa: BLE001  # the others are stopped too
                failures.append(error)
    if failures:
        raise failures[0]
    for node in nodes:
        node.check()


@asynccontextmanager
async def linked(make: Make, count: int) -> AsyncIterator[list[Node]]:
    """So many processes of one app. Else like `started`."""
    async with started([make() for _ in range(count)]) as nodes:
        yield nodes


def fresh(kind: Kind = 'room', note: str = '') -> Channel:
    """A channel that nobody else knows."""
    return Channel(kind, f'{secrets.token_hex(8)}{note}')


async def expect(expected: Mapping[Node, Sequence[Arrival]], promise: str) -> None:
    """See that some nodes have got, or get soon, just what they should, in that order.

    Raises:
        AssertionError: If they have not.
    """
    for node, arrivals in expected.items():
        await node.recorder.until(len(arrivals))
    await settle(expected)
    for node, arrivals in expected.items():
        require(node.arrived == [*arrivals], promise, difference(arrivals, node.arrived))


async def settle(nodes: Iterable[Node]) -> None:
    """Have each node hear a last word of each, so whatever was sent before has arrived."""
    all_of_them = [*nodes]
    fence = fresh(note=' fence')
    words = [(fence, node.id.encode()) for node in all_of_them]
    for node in all_of_them:
        await node.hold(fence)
    for node, (_, word) in zip(all_of_them, words, strict=True):
        await node.send(fence, word)
    for node in all_of_them:
        while sum(channel == fence for channel, _ in node.arrived) < len(words):
            await node.recorder.until(len(node.arrived) + 1)
        node.arrived[:] = [each for each in node.arrived if each[0] != fence]
        await node.hold(fence, count=0)


def difference(expected: Sequence[Arrival], found: Sequence[Arrival]) -> str:
    """Where something else has arrived than should have, in words."""
    at = next(
        (i for i, pair in enumerate(zip(expected, found, strict=False)) if pair[0] != pair[1]),
        min(len(expected), len(found)),
    )
    should, did = (
        _SHORT.repr(each[at]) if at < len(each) else 'nothing' for each in (expected, found)
    )
    return (
        f'{len(found)} messages instead of {len(expected)}; as number {at + 1} {did} '
        f'instead of {should}'
    )
