"""One Redis, or one part of a cluster, and this process: in touch, as long as it can be."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
import logging
from typing import Any, Final

from redis.exceptions import AuthenticationError, RedisError, ResponseError

from falcon_ws_mw.backends.base import NOT_STARTED, Receiver
from falcon_ws_mw.backends.redis.contact import Contact
from falcon_ws_mw.backends.redis.holding import Holding, is_counted
from falcon_ws_mw.backends.redis.keys import Keys, field_of, name_of
from falcon_ws_mw.backends.redis.lane import Lane, Taken
from falcon_ws_mw.backends.redis.options import RedisOptions
from falcon_ws_mw.backends.redis.refusals import in_words
from falcon_ws_mw.backends.redis.scripts import COUNT_SECONDS, Dialect
from falcon_ws_mw.backends.redis.session import (
    ELSEWHERE,
    Argument,
    Connector,
    Interrupted,
    Session,
    call,
)
from falcon_ws_mw.backoff import Backoff
from falcon_ws_mw.channels import Channel, Kind
from falcon_ws_mw.errors import BackendUnavailable
from falcon_ws_mw.logs import ClientFaults
from falcon_ws_mw.reports import BackendHealth, ConnectionState

logger = logging.getLogger('falcon_ws_mw')

FIRST_PAUSE_SECONDS: Final = 0.05
MAX_PAUSE_SECONDS: Final = 1.0
"""Between two attempts to reach Redis."""

STEADY_SECONDS: Final = 0.3
"""After having been in touch for so long, the pause is the shortest again."""

REFUSALS: Final = (AuthenticationError, ResponseError)
"""What a server raises that is there, unless it is `ELSEWHERE`."""

HOLD_ATTEMPTS: Final = 3
"""How often a session may fail to bring what is held."""

LAST_SESSION_SECONDS: Final = 2.0
"""How long a process that stops waits for a Redis that is just away, to give up what it holds."""

GIVE_UP_SECONDS: Final = 10.0
"""How long a process that stops may take to tell Redis what it does not hold any more."""


class Link:
    """Keeps one process in touch with one server, whichever that is.

    Args:
        connector: Finds the server.
        dialect: How it is spoken to.
        prefix: What keys begin with.
        options: How it is used.
        shown: What the server is called in the log.
        faults: Where that is told.
        contact: Is told there whether it is reached.
    """

    def __init__(
        self,
        connector: Connector,
        dialect: Dialect,
        prefix: str,
        options: RedisOptions,
        shown: str,
        faults: ClientFaults,
        contact: Contact,
    ) -> None:
        self._connector = connector
        self._dialect = dialect
        self._prefix = prefix
        self._options = options
        self._shown = shown
        self._faults = faults
        self._contact = contact
        self._keys = Keys(prefix, '')
        self._holding: Holding | None = None
        self._lane: Lane | None = None
        self._session: Session | None = None
        self._has_session = asyncio.Event()
        self._was_tried = asyncio.Event()
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._state: ConnectionState = 'stopped'
        self._state_since = 0.0
        self._connects = 0
        self._last_error: str | None = None
        self._refusal: str | None = None

    # -- its life

    async def start(self, node_id: str, receiver: Receiver) -> None:
        """Connect, or begin to try: see `Backend.start`."""
        if self._task is not None:
            raise RuntimeError('the backend is started already: stop it first')
        options = self._options
        self._keys = Keys(self._prefix, node_id)
        self._holding = Holding(self._keys, self._dialect, receiver, options.lease_seconds)
        self._lane = Lane(
            self._keys,
            self._dialect,
            self._connected,
            options.wait_seconds,
            options.max_waiting,
            self._faults,
        )
        self._has_session, self._was_tried = asyncio.Event(), asyncio.Event()
        self._lock = asyncio.Lock()
        self._connects = 0
        self._enter('connecting')
        self._task = asyncio.create_task(
            self._stay_connected(self._holding), name='falcon_ws_mw redis'
        )
        try:
            await self._was_tried.wait()
        except asyncio.CancelledError:
            self._connects = 0
            await self.stop()
            raise

    async def stop(self) -> None:
        """Give up what is held, and disconnect."""
        task, self._task = self._task, None
        if task is None or self._holding is None or self._lane is None:
            return
        if task.get_loop().is_closed():  # nothing of it is there any more, but its lease
            self._session = None
            self._state = 'stopped'
            return
        try:
            await self._lane.end()
            if self._connects and (self._session is None or self._session.is_over):
                async with asyncio.timeout(LAST_SESSION_SECONDS):  # it may be back in a moment
                    await self._connected()
            if self._session is not None:
                async with asyncio.timeout(GIVE_UP_SECONDS):
                    await self._holding.give_up(self._session)
        except (Interrupted, ResponseError, TimeoutError):
            self._faults.warn(
                'backend_untold', 'Redis could not be told that this process ends: its lease will'
            )
        finally:
            task.cancel()
            await asyncio.wait([task])
            self._enter('stopped')

    async def _stay_connected(self, holding: Holding) -> None:
        backoff = Backoff(FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS, STEADY_SECONDS)
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            session = Session(
                self._connector, self._dialect, holding.heard, self._options.timeout_seconds
            )
            try:
                await session.open()
                await self._resume(session, holding)
                await self._beat_until_over(session, holding)
            except (RedisError, OSError, TimeoutError, Interrupted) as error:
                self._failed(error)
            except Exception as error:  # a bug of ours must not end this
                logger.exception('being in touch with Redis failed')
                self._failed(error)
            finally:
                self._session = None
                self._has_session.clear()
                holding.interrupt()
                await session.close()
            await asyncio.sleep(backoff.pause_after(clock() - began))

    async def _resume(self, session: Session, holding: Holding) -> None:
        """Hold again what is held; what was held back may go now."""
        async with self._lock:
            await holding.resume(session)
            self._session = session
            self._has_session.set()
            self._connects += 1
            if self._was_tried.is_set():
                self._contact.back(self._prefix)
            self._enter('connected')
            self._was_tried.set()

    async def _beat_until_over(self, session: Session, holding: Holding) -> None:
        """Renew the lease of this process until the session ends."""
        clock = asyncio.get_running_loop().time
        refreshed = clock()
        over = asyncio.ensure_future(session.ended())
        try:
            while True:
                await asyncio.wait([over], timeout=self._options.lease_seconds / 3)
                if over.done():
                    await over
                async with self._lock:
                    if not await holding.beat(session):
                        await holding.resume(session)
                    if clock() - refreshed > COUNT_SECONDS / 4:
                        refreshed = clock()
                        await holding.refresh(session)
        finally:
            over.cancel()

    def _failed(self, error: Exception) -> None:
        cause = error.__cause__ if isinstance(error, Interrupted) and error.__cause__ else error
        said = in_words(cause) or f'no answer within {self._options.timeout_seconds:g} s'
        self._last_error = f'{type(cause).__name__}: {said}'
        before, self._refusal = self._refusal, None
        if isinstance(cause, REFUSALS) and not isinstance(cause, ELSEWHERE):
            self._refusal = said
        if self._state == 'connected' or not self._was_tried.is_set():
            self._contact.lost(self._prefix, self._last_error)
        elif self._refusal not in {None, before}:  # it was away; now it is there
            self._faults.warn(
                'backend_refused', 'Redis at %s refuses: %s', self._shown, self._last_error
            )
        self._enter('connecting')
        self._was_tried.set()

    async def _connected(self) -> Session:
        while self._session is None or self._session.is_over:
            self._has_session.clear()
            await self._has_session.wait()
        return self._session

    # -- what is held

    async def hold(self, counts: Mapping[Channel, int]) -> None:
        """Hold channels, or hold them no longer: see `Backend.hold`."""
        holding = self._holding
        if holding is None:
            return
        holding.want(counts)  # so it is among what is brought already, if something is
        seconds = self._options.timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                await self._lock.acquire()
        except TimeoutError:
            holding.doubt(counts)
            raise BackendUnavailable(
                f'Redis is being told of all that is held, for longer than {seconds:g} s'
            ) from None
        try:
            await self._settle(holding)
        except ResponseError as error:
            holding.doubt()
            said = in_words(error)
            self._last_error = f'{type(error).__name__}: {said}'
            raise BackendUnavailable(f'Redis says: {said}') from None
        else:
            holding.doubt()  # what is not brought, since Redis is away
        finally:
            self._lock.release()

    async def _settle(self, holding: Holding) -> None:
        """Bring what is held to Redis, if it is there; else that is done when it is."""
        for attempt in range(1, HOLD_ATTEMPTS + 1):
            session = self._session
            if session is None or session.is_over:
                return
            try:
                await holding.settle(session)
            except Interrupted as error:
                if attempt == HOLD_ATTEMPTS:
                    session.end(error)
            else:
                return

    async def holders(self, channel: Channel) -> dict[str, int]:
        """Which processes hold a channel: a command to Redis for each process that lives."""
        nodes = await self._living()
        field = field_of(channel)
        counts = await self._read(*(('HGET', self._keys.holds_of(node), field) for node in nodes))
        return {node: int(count) for node, count in zip(nodes, counts, strict=True) if count}

    async def listening(self, channel: Channel) -> int | None:
        """How many connections to Redis listen to a channel."""
        ((_, count),) = await self._read(
            ('PUBSUB', self._dialect.numsub, self._keys.channel(channel))
        )
        return int(count)

    async def names(self, kind: Kind, prefix: str = '') -> list[str]:
        """The names of a kind: Redis looks at all that every living process holds."""
        pattern = field_of(Channel(kind, prefix)) + '*'
        found: dict[str, None] = {}
        for node in await self._living():
            cursor = b'0'
            while True:
                scan = ('HSCAN', self._keys.holds_of(node), cursor, 'MATCH', pattern)
                ((cursor, fields),) = await self._read((*scan, 'COUNT', 1_000))
                found.update(dict.fromkeys(name_of(field) for field in fields[::2]))
                if cursor == b'0':
                    break
        return list(found)

    async def _living(self) -> list[str]:
        (nodes,) = await self._read(call(self._dialect.living, (self._keys.nodes,)))
        return [node.decode() for node in nodes]

    async def _read(self, *commands: Sequence[Argument]) -> list[Any]:
        """Ask Redis something; again, if it was lost meanwhile."""
        self._lane_of_started()
        if not commands:
            return []
        wait_seconds = self._options.wait_seconds
        try:
            async with asyncio.timeout(wait_seconds):
                while True:
                    session = await self._connected()
                    try:
                        return await session.execute(*commands)
                    except Interrupted:
                        continue
        except ResponseError as error:
            self._faults.warn('backend_refused', 'Redis refuses to say: %s', in_words(error))
            raise BackendUnavailable(f'Redis says: {error}') from None
        except TimeoutError:
            raise BackendUnavailable(f'Redis has not answered within {wait_seconds:g} s') from None

    # -- what is sent

    def put(self, channels: Sequence[Channel], data: bytes) -> Coroutine[Any, Any, int]:
        """Send to some channels of one kind; in the order in which this is called.

        Returns:
            How many processes the first of them has reached, once this one has it, if it holds it.

        Raises:
            BackendUnavailable: If it cannot be taken. So may the wait.
        """
        lane = self._lane_of_started()
        keys = [self._keys.channel(channel) for channel in channels]
        return self._sent(channels, lane.put(keys, data, is_counted=is_counted(channels[0])))

    async def _sent(self, channels: Sequence[Channel], taken: asyncio.Future[list[Taken]]) -> int:
        replies = await taken
        for channel, (_, number, epoch) in zip(channels, replies, strict=True):
            if number and self._holding is not None:
                seconds = self._options.timeout_seconds
                await self._holding.arrival(channel, epoch, number, seconds)
        return replies[0].reached

    def _lane_of_started(self) -> Lane:
        if self._task is None or self._lane is None:
            raise BackendUnavailable(NOT_STARTED)
        return self._lane

    # -- how it stands

    @property
    def is_connected(self) -> bool:
        """Whether it is in touch."""
        return self._session is not None and not self._session.is_over

    def _enter(self, state: ConnectionState) -> None:
        if state != self._state:
            self._state = state
            self._state_since = asyncio.get_running_loop().time()

    def health(self) -> BackendHealth:
        """How it stands."""
        lane, holding = self._lane, self._holding
        if lane is None or holding is None:
            return BackendHealth('stopped')
        seconds = 0.0
        if self._task is not None:
            seconds = self._task.get_loop().time() - self._state_since
        return BackendHealth(
            self._state,
            state_seconds=seconds,
            connects=self._connects,
            channels=0 if self._task is None else len(holding),
            waiting=len(lane),
            received=holding.received,
            gaps=holding.gaps,
            lost=holding.lost,
            undecodable=holding.undecodable,
            last_error=self._last_error,
        )
