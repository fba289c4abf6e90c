"""What an old `on_websocket` loop receives: everything but the taken messages, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
import contextlib
from contextvars import ContextVar
import inspect
import logging
from typing import Final, NamedTuple

from falcon import OperationNotAllowed

from falcon_ws_mw.asgi import Event, Receive
from falcon_ws_mw.envelope import Incoming

logger = logging.getLogger('falcon_ws_mw')

GRACE_SECONDS: Final = 1.0
"""How long after its accept a loop may take to ask for its first message, before it is taken for
one that only sends. From then on taken messages are handled beside it. A loop whose own code calls
`receive_…` is not taken for one, however long it checks who is there."""


MAX_REST: Final = 10_000
"""How many events are looked through at most after the end, for taken messages among them."""

_RECEIVES: Final = frozenset({'receive_text', 'receive_data', 'receive_media'})


_handled_by: ContextVar[object] = ContextVar('falcon_ws_mw_handled_by', default=None)
"""The stream whose taken message is being handled: from there nothing can be received."""


class Taken(NamedTuple):
    """A message that left the stream."""

    incoming: Incoming
    event: Event


class Source:
    """The server's receive, and what was read from it that nobody has received.

    Args:
        receive: The server's.

    Attributes:
        is_answer: Takes the answers to what the server has asked out of what is read.
        noticed_end: Told of the end of the connection, as soon as it is read.
        pending: The last event that was read, until it is received.
        last: The last event that was read.
        ended: Whether the end of the connection has been read.
    """

    __slots__ = ('_receive', 'ended', 'is_answer', 'last', 'noticed_end', 'pending')

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.is_answer: Callable[[Event], bool] = lambda event: False
        self.noticed_end: Callable[[Event], None] = lambda event: None
        self.pending: Event | None = None
        self.last: Event | None = None
        self.ended = False

    async def __call__(self) -> Event:
        """Read."""
        event = self.last = await self._receive()
        while event['type'] == 'websocket.receive' and self.is_answer(event):
            event = self.last = await self._receive()
        self.pending = event
        self.ended = event['type'] == 'websocket.disconnect'
        if self.ended:
            self.noticed_end(event)
        return event

    def received(self, event: Event) -> None:
        """Somebody has got an event."""
        if event is self.pending:
            self.pending = None

    def rest(self) -> Iterator[Event]:
        """What the server still gives without waiting, once nobody reads any more."""
        for _ in range(MAX_REST):
            event = None if self.ended else _without_waiting(self._receive)
            if event is None:
                return
            self.ended = event['type'] == 'websocket.disconnect'
            yield event


def _without_waiting(receive: Receive) -> Event | None:
    """One step of a receive, by hand: the connection is over, so nothing is worth a wait."""
    steps = receive().__await__()
    with contextlib.suppress(Exception):  # servers tell the end in many ways
        try:
            next(steps)
        except StopIteration as given:
            event: Event = given.value
            return event
        close = getattr(steps, 'close', None)  # granian's future has none, and is left alone
        if close is not None:
            close()
    return None


class Stream:
    """What the old loop receives: everything but the taken messages.

    A taken message is handled in a task of its own, so that it survives a loop which cancels its
    receive; the next receive waits for it. Until the loop has asked for the first time, a reader
    may stand in for it: then a read may be under way that the loop has to take over.

    While hooks run before the loop, nothing is taken: they decide who may be handled at all, and
    what they receive is theirs.

    Args:
        receive: Where events come from.
        received: Told of each event that has come.
        take: Tells whether an event is a taken message.
        handle: Handles one.
        ended: What to say instead of reading, once the connection has been closed.
        asks: Whether the loop is known to receive, and so needs nobody to stand in for it.
        hooked: Whether hooks run before the loop, which starts by `let_through` then.

    Attributes:
        held: What the stand-in read that was the loop's own.
        hooked: Whether hooks have yet to let the client through.
        closed_by_loop: Whether the loop has closed, and so receives what it would from Falcon.
    """

    __slots__ = (
        '_accepted',
        '_aside',
        '_asked',
        '_asks',
        '_ended',
        '_handle',
        '_handler',
        '_read',
        '_receive',
        '_received',
        '_take',
        '_timer',
        'closed_by_loop',
        'held',
        'hooked',
    )

    def __init__(
        self,
        receive: Receive,
        received: Callable[[Event], None],
        take: Callable[[Event], Taken | None],
        handle: Callable[[Taken], Awaitable[None]],
        ended: Callable[[], Event | None],
        *,
        asks: bool,
        hooked: bool,
    ) -> None:
        self._ended = ended
        self._receive = receive
        self._received = received
        self._take = take
        self._handle = handle
        self._asks = asks
        self.hooked = hooked
        self._accepted = False
        self._asked = False
        self._timer: asyncio.TimerHandle | None = None
        self._aside: asyncio.Task[None] | None = None
        self._read: asyncio.Future[Event] | None = None
        self._handler: asyncio.Task[None] | None = None
        self.held: Event | None = None
        self.closed_by_loop = False

    def accepted(self) -> None:
        """From here on the loop can ask; if it does not, it only sends."""
        self._accepted = True
        self._wait_for_it()

    def let_through(self) -> None:
        """The hooks before the loop have passed: it starts."""
        self.hooked = False
        if self._accepted:
            self._wait_for_it()

    @property
    def is_busy(self) -> bool:
        """Whether a taken message is being handled."""
        return self._handler is not None and not self._handler.done()

    def is_handling(self) -> bool:
        """Whether this is said from the handler of a taken message."""
        return _handled_by.get() is self

    def _wait_for_it(self) -> None:
        if not (self._asked or self._asks or self.hooked):
            self._timer = asyncio.get_running_loop().call_later(GRACE_SECONDS, self._stand_in)

    async def receive(self) -> Event:
        """The next event for the old loop."""
        if self.is_handling():
            raise OperationNotAllowed(
                'an on_ws_<type> beside an on_websocket cannot receive: that loop does'
            )
        if self.hooked:
            return await self._event()
        self._asked = True
        if self._timer is not None:
            self._timer.cancel()
        while True:
            await self._handled()
            event = await self._event()
            taken = self._take(event)
            if taken is None:
                return event
            # No await since the event was read: a cancelled loop loses nothing.
            self._handler = asyncio.create_task(self._run(taken))

    async def end(self, *, cancelled: bool) -> None:
        """The loop has returned: a handler may finish, nothing more is read."""
        if self._read is not None and self._read.done() and not self._read.cancelled():
            self.held = self.held or self._read.result()
        if self._timer is not None:
            self._timer.cancel()
        for reader in (self._aside, self._read):
            if reader is not None:
                reader.cancel()
        if self._handler is not None and cancelled:
            self._handler.cancel()
        tasks = [task for task in (self._aside, self._read, self._handler) if task is not None]
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                logger.error('beside an old on_websocket: %r', ended, exc_info=ended)

    async def _run(self, taken: Taken) -> None:
        _handled_by.set(self)  # in this task's own context, and those of tasks that it starts
        await self._handle(taken)

    async def _handled(self) -> None:
        """Wait for the handler of the last taken message."""
        handler = self._handler
        if handler is not None:
            await asyncio.wait([handler])
            if self._handler is handler:  # the stand-in and the loop may both have waited
                self._handler = None
            handler.result()

    async def _event(self) -> Event:
        event = self._ended() or await self._next()
        return event if self.closed_by_loop else self._ended() or event

    async def _next(self) -> Event:
        if self.held is not None:
            event, self.held = self.held, None
            return event
        if self._read is not None:  # the stand-in's: it is taken over, not cancelled
            await asyncio.wait([self._read])
            taken_over, self._read = self._read, None
            return taken_over.result()
        return await self._fetch()

    async def _fetch(self) -> Event:
        event = await self._receive()
        self._received(event)
        return event

    def _has_asked(self) -> bool:
        return self._asked

    def _stand_in(self) -> None:
        if not self._asked:
            self._aside = asyncio.create_task(self._read_aside())

    async def _read_aside(self) -> None:
        """Handle taken messages beside a loop that has never asked.

        Up to the first that is the loop's own: what comes after it has to wait for the loop, since
        it would overtake it.
        """
        while not (self._has_asked() or self._ended()):
            self._read = read = asyncio.create_task(self._fetch())
            await asyncio.wait([read])
            if self._has_asked():
                return  # it takes the read over
            self._read = None
            event = read.result()
            taken = self._take(event)
            if taken is None:
                self.held = event
                return
            self._handler = asyncio.create_task(self._run(taken))
            await self._handled()


def asks_by_itself(on_websocket: Callable[..., object]) -> bool:
    """Whether a loop can be seen to receive by itself, not through something that it calls."""
    called: object = on_websocket
    if not inspect.isroutine(on_websocket):
        called = getattr(type(on_websocket), '__call__', None)  # noqa: B004  # its code is wanted
    function = inspect.unwrap(called) if inspect.isroutine(called) else None
    codes = [getattr(function, '__code__', None)]
    while codes:
        code = codes.pop()
        if code is None:
            continue
        if _RECEIVES.intersection(code.co_names):
            return True
        codes += [const for const in code.co_consts if inspect.iscode(const)]
    return False
