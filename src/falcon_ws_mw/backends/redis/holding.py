"""The channels that a process holds in Redis, and how far it has got with each of them.

What is wanted is written down first. It is brought to Redis in parts, and counts as brought only
when Redis has confirmed it: whatever is interrupted is brought again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
import logging
import secrets

from falcon_ws_mw.backends.base import Receiver
from falcon_ws_mw.backends.positions import Loss, Position
from falcon_ws_mw.backends.redis.keys import Keys, field_of
from falcon_ws_mw.backends.redis.scripts import COUNT_SECONDS, SESSION_FIELD, Dialect
from falcon_ws_mw.backends.redis.session import AT_ONCE, Argument, Session, call
from falcon_ws_mw.channels import COUNTED_KINDS, Channel
from falcon_ws_mw.reports import Gap

logger = logging.getLogger('falcon_ws_mw')


def is_counted(channel: Channel) -> bool:
    """Whether what is sent to a channel has numbers."""
    return channel.kind in COUNTED_KINDS


class _Held:
    """A channel that this process holds, or has held until just now.

    Attributes:
        count: For how many connections it is wanted.
        listened_in: The session that listens to it.
        announced_in: The session in which Redis was told that it does.
        waiting: Who waits for a message of it, by number.
    """

    __slots__ = ('announced_in', 'channel', 'count', 'key', 'listened_in', 'position', 'waiting')

    def __init__(self, channel: Channel, key: str) -> None:
        self.channel = channel
        self.key = key
        self.count = 0
        self.listened_in: Session | None = None
        self.announced_in: Session | None = None
        self.position = Position()
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
        dialect: How Redis is spoken to.
        receiver: Who is told of what arrives.
        lease_seconds: For how long Redis believes what it is told.

    Attributes:
        received: Messages that have arrived.
        gaps: Gaps among them.
        lost: Messages that were lost, as far as they could be counted.
        undecodable: What has arrived and is nothing that anybody here sends.
    """

    def __init__(
        self, keys: Keys, dialect: Dialect, receiver: Receiver, lease_seconds: float
    ) -> None:
        self.received = self.gaps = self.lost = self.undecodable = 0
        self._keys = keys
        self._dialect = dialect
        self._receiver = receiver
        self._lease_seconds = lease_seconds
        self._token = ''
        self._held: dict[Channel, _Held] = {}
        self._by_key: dict[bytes, _Held] = {}
        self._unsettled: dict[Channel, _Held] = {}

    def __len__(self) -> int:
        return sum(1 for held in self._held.values() if held.count)

    # -- what is held

    def want(self, counts: Mapping[Channel, int]) -> None:
        """Say how many connections there are under some channels."""
        for channel, count in counts.items():
            held = self._held.get(channel)
            if held is None:
                if not count:
                    continue
                held = _Held(channel, self._keys.channel(channel))
                self._held[channel] = self._by_key[held.key.encode()] = held
            is_heard = held.listened_in is not None and not held.listened_in.is_over
            if not is_heard and not (held.count and count):
                held.position = Position()  # what is missed while nobody is here concerns nobody
            held.count = count
            self._unsettled[channel] = held

    def doubt(self, channels: Iterable[Channel] | None = None) -> None:
        """What is wanted is not brought, and those who wait for that wait no longer.

        Args:
            channels: Of which channels (default: of all that are not brought).
        """
        for channel in tuple(self._unsettled) if channels is None else channels:
            if channel in self._unsettled:
                self._unsettled[channel].position.doubt()

    def interrupt(self) -> None:
        """The session is over: nothing arrives until the next one."""
        for held in self._held.values():
            held.release()

    async def settle(self, session: Session) -> None:
        """Bring to Redis what was said since.

        Raises:
            Interrupted: If that was interrupted. What is not brought is to be brought again.
            ResponseError: If Redis refuses it. Likewise.
        """
        await self._settle(session, self._keys.holds)

    async def resume(self, session: Session) -> None:
        """Bring to Redis all that is held, and nothing else. Raises like `settle`."""
        keys = self._keys
        self._token = secrets.token_hex(6)
        for held in self._held.values():
            held.announced_in = None
        self._unsettled = dict(self._held)
        await session.execute(
            ('DEL', keys.holds_made),
            ('HSET', keys.holds_made, SESSION_FIELD, self._token),
            ('PEXPIRE', keys.holds_made, int(self._lease_seconds * 1_000)),
        )
        await self._settle(session, keys.holds_made)
        await session.execute(('RENAME', keys.holds_made, keys.holds))
        await self.beat(session)

    async def beat(self, session: Session) -> bool:
        """Renew the lease.

        Returns:
            Whether Redis knows what is held. If not, somebody has emptied it.
        """
        keys = self._keys
        args = (keys.node_id, self._lease_seconds, self._token)
        return bool(await session.run(self._dialect.heartbeat, (keys.nodes, keys.holds), *args))

    async def _settle(self, session: Session, into: str) -> None:
        while self._unsettled:
            part = [(each, each.count) for each in islice(self._unsettled.values(), AT_ONCE)]
            await self._bring(session, into, part)
            for held, count in part:
                if held.count == count:
                    del self._unsettled[held.channel]
                    if not count:
                        self._forget(held)

    async def _bring(self, session: Session, into: str, part: Sequence[tuple[_Held, int]]) -> None:
        held = [each for each, count in part if count]
        ended = [each for each, count in part if not count]
        new = [each for each in held if each.listened_in is not session]
        await session.subscribe([each.key for each in new])
        for each in new:
            each.listened_in = session
        old = [each for each in ended if each.listened_in is session]
        await session.unsubscribe([each.key for each in old])
        for each in ended:  # if it is wanted again by now, it begins anew
            each.listened_in = each.announced_in = None
            each.position = Position()

        commands: list[Sequence[Argument]] = []
        told = [(field_of(each.channel), count) for each, count in part if count]
        if told:
            commands.append(('HSET', into, *(text for pair in told for text in pair)))
        if ended:
            commands.append(('HDEL', into, *(field_of(each.channel) for each in ended)))
        silent = _counted(each for each in held if each.announced_in is not session)
        if silent:
            args = (session.run_id, int(session.is_durable), secrets.token_hex(6), COUNT_SECONDS)
            commands.append(call(self._dialect.listen, silent, *args, self._keys.node_id))
        if left := _counted(ended):
            commands.append(self._leave(left))
        commands.append(('PEXPIRE', into, int(self._lease_seconds * 1_000)))
        await session.execute(*commands)
        for each in held:
            each.announced_in = session

    def _leave(self, left: Sequence[str]) -> Sequence[Argument]:
        keys = self._keys
        lease = int(self._lease_seconds * 1_000)
        return call(self._dialect.leave, (keys.nodes, *left), keys.node_id, keys.prefix, lease)

    def _forget(self, held: _Held) -> None:
        del self._held[held.channel]
        del self._by_key[held.key.encode()]
        held.release()

    async def refresh(self, session: Session) -> None:
        """See that the counts of the channels are not forgotten."""
        keys = _counted(self._held.values())
        for part in _parts(keys):
            await session.execute(*(('EXPIRE', key, COUNT_SECONDS) for key in part))

    async def give_up(self, session: Session) -> None:
        """Hold nothing any more. Raises like `settle`."""
        keys, held = self._keys, [*self._held.values()]
        await session.execute(
            ('DEL', keys.holds, keys.holds_made, keys.sent), ('ZREM', keys.nodes, keys.node_id)
        )
        await session.unsubscribe([each.key for each in held])
        for part in _parts(_counted(held)):
            await session.execute(self._leave(part))

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
        kind = said[:2]
        if kind == b'D ' and is_counted(held.channel):
            _, epoch, number, data = said.split(b' ', 3)
            loss = held.position.message(epoch.decode(), int(number))
            self._tell(held, loss)
            self._give(held, data)
            held.release(None if loss is not None else held.position.number)
        elif kind == b'U ' and not is_counted(held.channel):
            self._give(held, said[2:])
        elif kind == b'P ' and is_counted(held.channel):
            _, epoch, number, node = said.split(b' ', 3)
            if node.decode() == self._keys.node_id:
                loss = held.position.place(epoch.decode(), int(number))
                self._tell(held, loss)
                held.release(None if loss is not None else held.position.number)
        else:
            self.undecodable += 1

    def _give(self, held: _Held, data: bytes) -> None:
        self.received += 1
        try:
            self._receiver.receive(held.channel, data)
        except Exception:  # it should not; the others' messages are not to be lost by it
            logger.exception('a receiver failed')

    def _tell(self, held: _Held, loss: Loss | None) -> None:
        if loss is not None:
            self.gaps += 1
            self.lost += loss.lost or 0
            kind, name = held.channel
            self._receiver.lost(Gap(kind, name, loss.lost, loss.epoch, loss.after))

    async def arrival(
        self, channel: Channel, epoch: str, number: int, timeout_seconds: float
    ) -> None:
        """Wait until a message is here, or it is clear that it will not come."""
        held = self._held.get(channel)
        if held is None or held.listened_in is None or held.listened_in.is_over:
            return
        position = held.position
        if position.epoch == epoch and position.number >= number:
            return
        arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        held.waiting.append((number, arrived))
        await asyncio.wait([arrived], timeout=timeout_seconds)


def _counted(those: Iterable[_Held]) -> list[str]:
    return [held.key for held in those if is_counted(held.channel)]


def _parts(those: Sequence[str]) -> Iterable[Sequence[str]]:
    """So many at a time."""
    return (those[start : start + AT_ONCE] for start in range(0, len(those), AT_ONCE))
