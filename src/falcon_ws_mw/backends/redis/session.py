"""One time of being in touch with a Redis: a connection that listens, and one for commands.

redis-py's own pub/sub comes back from a lost connection by itself, and says nothing of what it has
missed. So here nothing comes back: a session ends, once, and whoever owns it begins another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
import contextlib
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import NoScriptError, RedisError, ResponseError

from falcon_ws_mw.backends.redis.scripts import ALL, Script

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool
    from redis.asyncio.connection import AbstractConnection

PING_SECONDS: Final = 1.5
"""How long Redis may say nothing before it is asked whether it is there."""

SILENCE_SECONDS: Final = 5.0
"""How long it may say nothing before it counts as lost."""

_AT_ONCE: Final = 500
"""How many channels one command is for."""

Argument = str | bytes | int | float
Heard = Callable[[bytes, bytes], None]
"""Is called with a channel and what was published on it."""


class Interrupted(Exception):
    """A command was sent, and it is not known what became of it."""


class Session:
    """A server, as long as it is there.

    Args:
        pool: Makes connections to it.
        heard: Is called with what arrives.
        timeout_seconds: How long it may take to answer.

    Attributes:
        run_id: Which run of which server it is.
    """

    def __init__(self, pool: ConnectionPool, heard: Heard, timeout_seconds: float) -> None:
        self.run_id = ''
        self._pool = pool
        self._heard = heard
        self._timeout_seconds = timeout_seconds
        self._listening: AbstractConnection | None = None
        self._commands: AbstractConnection | None = None
        self._lock = asyncio.Lock()
        self._confirmed: dict[bytes, asyncio.Future[None]] = {}
        self._last_heard = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        """Connect.

        Raises:
            RedisError: If that fails. So may the others that `ended` names.
        """
        async with asyncio.timeout(self._timeout_seconds):
            self._commands = await self._connect()
            self.run_id = await self._run_id(self._commands)
            for script in ALL:
                await self._ask(self._commands, ('SCRIPT', 'LOAD', script.text))
            self._listening = await self._connect()
        self._last_heard = asyncio.get_running_loop().time()
        for work in (self._listen(self._listening), self._watch(self._listening)):
            self._tasks.append(
                asyncio.create_task(self._until_lost(work), name='falcon_ws_mw redis')
            )

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

    async def close(self) -> None:
        """End it."""
        self._end(ConnectionError('it was closed'))
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for connection in (self._listening, self._commands):
            if connection is not None:
                await _disconnect(connection)
        self._listening = self._commands = None

    # -- commands

    async def execute(self, *commands: Sequence[Argument]) -> list[Any]:
        """Have commands done, in order, and wait for their answers.

        Raises:
            Interrupted: If the answers have not come. The commands may have been done.
            ResponseError: If one of them was wrong.
        """
        async with self._lock:
            if self._commands is None or self._over.done():
                raise Interrupted
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    return await self._exchange(self._commands, commands)
            except ResponseError:
                raise
            except (RedisError, OSError, TimeoutError) as error:
                await self._renew(error)
                raise Interrupted from error
            except asyncio.CancelledError:
                # An answer may be on its way that nobody reads: nothing else may read it.
                await _disconnect(self._commands)
                self._end(ConnectionError('a command was cancelled'))
                raise

    async def run(self, script: Script, keys: Sequence[Argument], *args: Argument) -> Any:
        """Run a script. Raises like `execute`."""
        (reply,) = await self.execute(call(script, keys, *args))
        return reply

    async def _exchange(
        self, connection: AbstractConnection, commands: Iterable[Sequence[Argument]]
    ) -> list[Any]:
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        replies = []
        refused: ResponseError | None = None
        for _ in commands:
            try:
                replies.append(await connection.read_response())
            except ResponseError as error:
                refused = refused or error
        if isinstance(refused, NoScriptError):  # somebody has flushed them: none of these has run
            for script in ALL:
                await self._ask(connection, ('SCRIPT', 'LOAD', script.text))
            return await self._exchange(connection, commands)
        if refused is not None:
            raise refused
        return replies

    async def _renew(self, error: BaseException) -> None:
        """Take another connection for commands, if the server is still the one that it was."""
        former, self._commands = self._commands, None
        if former is not None:
            await _disconnect(former)
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
                        await _disconnect(connection)
        except (RedisError, OSError, TimeoutError):
            self._end(error)

    # -- channels

    async def subscribe(self, channels: Sequence[str]) -> None:
        """Listen to channels; wait until that is confirmed.

        Raises:
            Interrupted: If it is not.
        """
        await self._change('SUBSCRIBE', channels)

    async def unsubscribe(self, channels: Sequence[str]) -> None:
        """Listen to them no longer. Else like `subscribe`."""
        await self._change('UNSUBSCRIBE', channels)

    async def _change(self, command: str, channels: Sequence[str]) -> None:
        for start in range(0, len(channels), _AT_ONCE):
            part = channels[start : start + _AT_ONCE]
            connection = self._listening
            if connection is None or self._over.done():
                raise Interrupted
            confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            key = f'{command.lower()} {part[-1]}'.encode()
            self._confirmed[key] = confirmed
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    await connection.send_command(command, *part, check_health=False)
                    await asyncio.wait((confirmed, self._over), return_when=asyncio.FIRST_COMPLETED)
            except (RedisError, OSError, TimeoutError) as error:
                self._end(error)
            finally:
                del self._confirmed[key]
            if not confirmed.done():
                raise Interrupted

    async def _listen(self, connection: AbstractConnection) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            kind, *rest = await connection.read_response(push_request=True)
            self._last_heard = clock()
            if kind == b'message':
                self._heard(*rest)
            elif rest:
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
        pool: Any = self._pool  # not typed there
        connection: Any = pool.make_connection()
        try:
            await connection.connect()
        except BaseException:
            await _disconnect(connection)
            raise
        made: AbstractConnection = connection
        return made

    async def _ask(self, connection: AbstractConnection, command: Sequence[Argument]) -> Any:
        await connection.send_command(*command, check_health=False)
        return await connection.read_response()

    async def _run_id(self, connection: AbstractConnection) -> str:
        said = await self._ask(connection, ('INFO', 'server'))
        facts = dict(line.partition(b':')[::2] for line in said.splitlines())
        run_id: bytes = facts[b'run_id']
        return run_id.decode()

    async def _until_lost(self, work: Any) -> None:
        try:
            await work
        except (RedisError, OSError, TimeoutError) as error:
            self._end(error)
        except Exception as error:
            self._end(error)
            raise

    def _end(self, error: BaseException) -> None:
        if not self._over.done():
            self._over.set_exception(error)
            self._over.exception()  # its owner may not be waiting yet, or any more


def call(script: Script, keys: Sequence[Argument], *args: Argument) -> tuple[Argument, ...]:
    """The command that runs a script."""
    return ('EVALSHA', script.sha, len(keys), *keys, *args)


async def _disconnect(connection: AbstractConnection) -> None:
    with contextlib.suppress(RedisError, OSError, TimeoutError):
        await connection.disconnect(nowait=True)
