"""The channels that a process holds in Redis, and how far it has got with each of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
import secrets
from typing import Any, Final

from falcon_ws_mw.backends.base import Receiver
from falcon_ws_mw.backends.positions import Loss, Place, Position
from falcon_ws_mw.backends.redis.keys import Keys, field_of
from falcon_ws_mw.backends.redis.scripts import COUNT_SECONDS, LEAVE, LISTEN
from falcon_ws_mw.backends.redis.session import Argument, Interrupted, Session, call
from falcon_ws_mw.channels import COUNTED_KINDS, Channel
from falcon_ws_mw.reports import Gap

_AT_ONCE: Final = 500
"""How many channels are spoken of in one command."""


def is_counted(channel: Channel) -> bool:
    """Whether what is sent to a channel has numbers."""
    return channel.kind in COUNTED_KINDS


class _Held:
    """A channel that this process holds."""

    __slots__ = ('channel', 'count', 'key', 'position', 'session', 'waiting')

    def __init__(self, channel: Channel, key: str, count: int, *, missed: bool) -> None:
        self.channel = channel
        self.key = key
        self.count = count
        self.position = Position(missed=missed)
        self.session: Session | None = None
        self.waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def release(self, number: int | None = None) -> None:
        """Whoever waits for messages up to a number has them, or will not get them."""
        while self.waiting and (number is None or self.waiting[0][0] <= number):
            _, arrived = self.waiting.popleft()
            if not arrived.done():
                arrived.set_result(None)


class Holding:
    """Holds channels, and takes what arrives on them.

    Args:
        keys: The names of this process.
        receiver: Who is told of what arrives.
        lease_seconds: For how long Redis believes what it is told.

    Attributes:
        received: Messages that have arrived.
        gaps: Gaps among them.
        lost: Messages that were lost, as far as they could be counted.
        undecodable: What has arrived and is nothing that anybody here sends.
    """

    def __init__(self, keys: Keys, receiver: Receiver, lease_seconds: float) -> None:
        self.received = self.gaps = self.lost = self.undecodable = 0
        self._keys = keys
        self._receiver = receiver
        self._lease_seconds = lease_seconds
        self._held: dict[Channel, _Held] = {}
        self._by_key: dict[bytes, _Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    # -- what is held

    async def hold(self, counts: Mapping[Channel, int], session: Session | None) -> None:
        """Hold channels, or hold them no longer.

        Args:
            counts: Channel to number of connections, 0 for no longer.
            session: The session, if there is one. If not, that is done by `resume`.
        """
        began: list[_Held] = []
        changed: list[_Held] = []
        ended: list[_Held] = []
        for channel, count in counts.items():
            held = self._held.get(channel)
            if count and held is None:
                held = self._begin(channel, count, missed=session is None)
                began.append(held)
            elif held is not None and count:
                held.count = count
                changed.append(held)
            elif held is not None:
                del self._held[channel]
                ended.append(held)
        try:
            if session is not None:
                await self._listen(session, began, changed)
                await self._leave(session, ended)
        except Interrupted:
            for held in began:
                if not held.position.is_sure:
                    held.position = Position(missed=True)
        finally:
            for held in ended:
                self._by_key.pop(held.key.encode(), None)
                held.release()

    def _begin(self, channel: Channel, count: int, *, missed: bool) -> _Held:
        held = _Held(channel, self._keys.channel(channel), count, missed=missed)
        self._held[channel] = self._by_key[held.key.encode()] = held
        return held

    async def resume(self, session: Session) -> None:
        """Hold in a session whatever is held.

        Raises:
            Interrupted: If the session is lost meanwhile.
        """
        await self._listen(session, [*self._held.values()])

    def interrupt(self) -> None:
        """The session is over: nothing arrives until the next one."""
        for held in self._held.values():
            held.position.interrupt()
            held.release()

    async def refresh(self, session: Session) -> None:
        """See that the counts of the channels are not forgotten."""
        keys = self._counted(self._held.values())
        for part in _parts(keys):
            await session.execute(*(('EXPIRE', key, COUNT_SECONDS) for key in part))

    async def give_up(self, session: Session) -> None:
        """Hold nothing any more."""
        await session.unsubscribe([held.key for held in self._held.values()])
        keys = self._keys
        await session.execute(
            ('DEL', keys.holds, keys.sent),
            ('ZREM', keys.nodes, keys.node_id),
            *_calls(LEAVE, self._counted(self._held.values())),
        )

    async def _listen(
        self, session: Session, began: Sequence[_Held], changed: Sequence[_Held] = ()
    ) -> None:
        new = [held for held in began if held.session is not session]
        await session.subscribe([held.key for held in new])
        for held in new:
            held.session = session
        keys = self._keys
        args = (session.run_id, secrets.token_hex(6), COUNT_SECONDS, keys.node_id)
        numbers = [(field_of(held.channel), held.count) for held in (*began, *changed)]
        commands: list[Sequence[Argument]] = [*_calls(LISTEN, self._counted(began), *args)]
        commands += [
            ('HSET', keys.holds, *(text for pair in part for text in pair))
            for part in _parts(numbers)
        ]
        if commands:
            lease = ('PEXPIRE', keys.holds, int(self._lease_seconds * 1_000))
            await session.execute(*commands, lease)

    async def _leave(self, session: Session, ended: Sequence[_Held]) -> None:
        if not ended:
            return
        await session.unsubscribe([held.key for held in ended])
        fields = [field_of(held.channel) for held in ended]
        await session.execute(
            *(('HDEL', self._keys.holds, *part) for part in _parts(fields)),
            *_calls(LEAVE, self._counted(ended)),
        )

    @staticmethod
    def _counted(those: Iterable[_Held]) -> list[str]:
        return [held.key for held in those if is_counted(held.channel)]

    # -- what arrives

    def heard(self, key: bytes, said: bytes) -> None:
        """Something has been published on a channel."""
        held = self._by_key.get(key)
        if held is None:
            return  # it was held until just now
        try:
            self._take(held, said)
        except ValueError:
            self.undecodable += 1

    def _take(self, held: _Held, said: bytes) -> None:
        position = held.position
        kind = said[:2]
        if kind == b'D ' and is_counted(held.channel):
            _, epoch, number, data = said.split(b' ', 3)
            former = position.epoch
            self._tell(held, position.message(epoch.decode(), int(number)))
            self.received += 1
            self._receiver.receive(held.channel, data)
            held.release(None if position.epoch != former else position.number)
        elif kind == b'U ' and not is_counted(held.channel):
            self.received += 1
            self._receiver.receive(held.channel, said[2:])
        elif kind == b'P ':
            _, epoch, number, base, node = said.split(b' ')
            if node.decode() == self._keys.node_id:
                place = Place(epoch.decode(), int(number), int(base))
                self._tell(held, position.place(place))
                held.release(position.number)
        else:
            self.undecodable += 1

    def _tell(self, held: _Held, loss: Loss | None) -> None:
        if loss is not None:
            self.gaps += 1
            self.lost += loss.lost or 0
            kind, name = held.channel
            self._receiver.lost(Gap(kind, name, loss.lost, loss.epoch, loss.after))

    async def arrival(
        self, channel: Channel, number: int, session: Session, timeout_seconds: float
    ) -> None:
        """Wait until a message is here, or it is clear that it will not come."""
        held = self._held.get(channel)
        if held is None or held.session is not session or held.position.number >= number:
            return
        arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        held.waiting.append((number, arrived))
        await asyncio.wait([arrived], timeout=timeout_seconds)


def _parts(those: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """So many at a time."""
    return (those[start : start + _AT_ONCE] for start in range(0, len(those), _AT_ONCE))


def _calls(script: Any, keys: Sequence[Argument], *args: Argument) -> Iterable[Sequence[Argument]]:
    """The commands that run a script for many keys."""
    return (call(script, part, *args) for part in _parts(keys))
