"""One time of being in touch with a Redis: a connection that listens, and one for commands.

redis-py's own pub/sub comes back from a lost connection by itself, and says nothing of what it has
missed. So here nothing comes back: a session ends, once, and whoever owns it begins another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final, Protocol

from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from falcon_ws_mw.backends.redis.scripts import Dialect, Script

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

PING_SECONDS: Final = 1.5
"""How long Redis may say nothing before it is asked whether it is there."""

SILENCE_SECONDS: Final = 5.0
"""How long it may say nothing before it counts as lost."""

AT_ONCE: Final = 500
"""How many channels one command is for."""

NOT_PROMOTED: Final = b'0' * 40
"""What a server says of the one whose place it took, if it took none's."""

ELSEWHERE: Final = (
    *(AskError, ClusterDownError, MasterDownError, MovedError, ReadOnlyError, TryAgainError),
)
"""What a server says that is not the one to speak to, or not yet."""

logger = logging.getLogger('falcon_ws_mw')

Argument = str | bytes | int | float
Heard = Callable[[bytes, bytes], None]
"""Is called with a channel and what was published on it."""


class Interrupted(Exception):
    """A command was sent, and it is not known what became of it."""


class Connector(Protocol):
    """Finds a server."""

    async def find(self) -> AbstractConnection:
        """A connection to it that is not connected yet.

        Raises:
            RedisError: If there is none; likewise `OSError`, `TimeoutError`.
        """


class Session:
    """A server, as long as it is there.

    Args:
        connector: Finds it, and makes connections to it.
        dialect: How it is spoken to.
        heard: Is called with what arrives.
        timeout_seconds: How long it may take to answer.

    Attributes:
        run_id: Which run of which server it is.
        is_durable: Whether it writes down each command before anybody sees its effect, so that no
            restart loses any.
    """

    def __init__(
        self, connector: Connector, dialect: Dialect, heard: Heard, timeout_seconds: float
    ) -> None:
        self.run_id = ''
        self.is_durable = False
        self._connector = connector
        self._dialect = dialect
        self._heard = heard
        self._timeout_seconds = timeout_seconds
        self._listening: AbstractConnection | None = None
        self._commands: AbstractConnection | None = None
        self._lock = asyncio.Lock()
        self._confirmed: dict[bytes, asyncio.Future[None]] = {}
        self._leaving: set[bytes] = set()
        self._last_heard = 0.0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        """Connect.

        Raises:
            RedisError: If that fails; likewise `OSError`, `TimeoutError`.
        """
        async with asyncio.timeout(self._timeout_seconds):
            self._commands = await self._connect()
            self.run_id = await self._run_id(self._commands)
            self.is_durable = await self._finds_durable(self._commands)
            await self._load_scripts(self._commands)
            self._listening = await self._connect()
        self._last_heard = asyncio.get_running_loop().time()
        self._begin(self._until_lost(self._listen(self._listening)))
        self._begin(self._until_lost(self._watch(self._listening)))

    def _begin(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.create_task(work, name='falcon_ws_mw redis')
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._over.done()

    async def ended(self) -> None:
        """Wait until it is over.

        Raises:
            RedisError: Why it is; likewise `OSError`, `TimeoutError`.
        """
        await asyncio.shield(self._over)

    def _interrupted(self) -> Interrupted:
        interrupted = Interrupted()
        interrupted.__cause__ = self._over.exception() if self._over.done() else None
        return interrupted

    def end(self, error: BaseException) -> None:
        """End it: nothing is done in it any more."""
        if not self._over.done():
            self._over.set_exception(error)
            self._over.exception()  # its owner may not be waiting yet, or any more

    async def close(self) -> None:
        """End it, and disconnect."""
        self.end(ConnectionError('it was closed'))
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for connection in (self._listening, self._commands):
            if connection is not None:
                await disconnect(connection)
        self._listening = self._commands = None

    # -- commands

    async def execute(self, *commands: Sequence[Argument]) -> list[Any]:
        """Have commands done, in order, and wait for their answers.

        Cancelling the wait is fine: the commands are done all the same.

        Raises:
            Interrupted: If the answers have not come. The commands may have been done.
            ResponseError: If one of them was wrong.
        """
        if self._over.done():
            raise self._interrupted()
        doing = self._begin(self._execute(commands))
        try:
            done: list[Any] = await asyncio.shield(doing)
        except asyncio.CancelledError:
            doing.add_done_callback(lambda task: task.cancelled() or task.exception())
            if doing.cancelled():  # the session was closed, not the caller cancelled
                raise Interrupted from None
            raise
        return done

    async def run(self, script: Script, keys: Sequence[Argument], *args: Argument) -> Any:
        """Run a script. Raises like `execute`."""
        (reply,) = await self.execute(call(script, keys, *args))
        return reply

    async def _execute(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        async with self._lock:
            if self._commands is None or self._over.done():
                raise self._interrupted()
            packed = self._commands.pack_commands(commands)  # what cannot be packed is our fault
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    return await self._exchange(self._commands, packed, len(commands))
            except ELSEWHERE as error:
                self.end(error)
                raise Interrupted from error
            except ResponseError:
                raise
            except (RedisError, OSError, TimeoutError) as error:
                await self._renew(error)
                raise Interrupted from error

    async def _exchange(
        self, connection: AbstractConnection, packed: list[bytes], count: int
    ) -> list[Any]:
        await connection.send_packed_command(packed, check_health=False)
        replies = []
        refused: ResponseError | None = None
        for _ in range(count):
            try:
                replies.append(await connection.read_response())
            except ResponseError as error:
                refused = refused or error
        if isinstance(refused, NoScriptError):  # somebody has flushed them
            await self._load_scripts(connection)
            return await self._exchange(connection, packed, count)  # none does harm if done twice
        if refused is not None:
            raise refused
        return replies

    async def _renew(self, error: BaseException) -> None:
        """Take another connection for commands, if the server is still the one that it was."""
        former, self._commands = self._commands, None
        if former is not None:
            await disconnect(former)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                connection = await self._connect()
                try:
                    if await self._run_id(connection) != self.run_id:
                        raise ConnectionError('another server is in its place')
                    if not self._over.done():
                        self._commands = connection
                finally:
                    if self._commands is not connection:
                        await disconnect(connection)
        except (RedisError, OSError, TimeoutError):
            self.end(error)

    # -- channels

    async def subscribe(self, channels: Sequence[str]) -> None:
        """Listen to channels; wait until that is confirmed.

        Raises:
            Interrupted: If it is not.
        """
        await self._change(self._dialect.subscribe, channels)

    async def unsubscribe(self, channels: Sequence[str]) -> None:
        """Listen to them no longer. Else like `subscribe`."""
        self._leaving.update(channel.encode() for channel in channels)
        await self._change(self._dialect.unsubscribe, channels)

    async def _change(self, command: str, channels: Sequence[str]) -> None:
        for start in range(0, len(channels), AT_ONCE):
            part = channels[start : start + AT_ONCE]
            connection = self._listening
            if connection is None or self._over.done():
                raise self._interrupted()
            confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            key = f'{command.lower()} {part[-1]}'.encode()
            self._confirmed[key] = confirmed
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    await connection.send_command(command, *part, check_health=False)
                    await asyncio.wait((confirmed, self._over), return_when=asyncio.FIRST_COMPLETED)
            except (RedisError, OSError, TimeoutError) as error:
                self.end(error)
            finally:
                del self._confirmed[key]
            if not confirmed.done():
                raise self._interrupted()

    async def _listen(self, connection: AbstractConnection) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            said = await connection.read_response(push_request=True)
            self._last_heard = clock()
            if not isinstance(said, list):  # the answer to a PING, where nothing is subscribed to
                continue
            kind, *rest = said
            if kind == self._dialect.message:
                self._heard(*rest)
                continue
            if kind == self._dialect.unsubscribed:
                if rest[0] not in self._leaving:
                    raise ConnectionError('the server does not have that channel any more')
                self._leaving.discard(rest[0])
            if rest:
                confirmed = self._confirmed.get(kind + b' ' + (rest[0] or b''))
                if confirmed is not None and not confirmed.done():
                    confirmed.set_result(None)

    async def _watch(self, connection: AbstractConnection) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(PING_SECONDS)
            silent = clock() - self._last_heard
            if silent >= SILENCE_SECONDS:
                raise TimeoutError(f'it has said nothing for {silent:.1f} s')
            if silent >= PING_SECONDS:
                async with asyncio.timeout(self._timeout_seconds):
                    await connection.send_command('PING', check_health=False)

    # -- its connections

    async def _connect(self) -> AbstractConnection:
        connection = await self._connector.find()
        connect: Any = connection.connect  # not typed there
        try:
            await connect()
        except BaseException:
            await disconnect(connection)
            raise
        return connection

    async def _load_scripts(self, connection: AbstractConnection) -> None:
        for script in self._dialect.scripts:
            await ask(connection, ('SCRIPT', 'LOAD', script.text))

    async def _run_id(self, connection: AbstractConnection) -> str:
        try:
            said = await ask(connection, ('INFO', 'server'))
        except NoPermissionError as error:
            raise NoPermissionError(f'{error}, which tells when Redis was restarted') from None
        return _facts(said)[b'run_id'].decode()

    async def _finds_durable(self, connection: AbstractConnection) -> bool:
        """Whether the server says that nothing is seen before it is on its disk."""
        replication = _facts(await ask(connection, ('INFO', 'replication')))
        if replication.get(b'master_replid2') != NOT_PROMOTED:
            return False
        try:
            settings = await ask(connection, ('CONFIG', 'GET', 'append*'))
        except ResponseError:  # not for everybody
            return False
        said = dict(zip(settings[::2], settings[1::2], strict=True))
        return said.get(b'appendonly') == b'yes' and said.get(b'appendfsync') == b'always'

    async def _until_lost(self, work: Any) -> None:
        try:
            await work
        except (RedisError, OSError, TimeoutError) as error:
            self.end(error)
        except Exception as error:  # a bug, of ours or of a receiver's
            logger.exception('what Redis said could not be taken')
            self.end(error)


async def ask(connection: AbstractConnection, command: Sequence[Argument]) -> Any:
    """Have one command done on a connection that nobody else uses."""
    await connection.send_command(*command, check_health=False)
    return await connection.read_response()


def call(script: Script, keys: Sequence[Argument], *args: Argument) -> tuple[Argument, ...]:
    """The command that runs a script."""
    return ('EVALSHA', script.sha, len(keys), *keys, *args)


def _facts(info: bytes) -> dict[bytes, bytes]:
    return dict(line.partition(b':')[::2] for line in info.splitlines())


async def disconnect(connection: AbstractConnection) -> None:
    """Close a connection, whatever state it is in."""
    with contextlib.suppress(RedisError, OSError, TimeoutError):
        await connection.disconnect(nowait=True)
