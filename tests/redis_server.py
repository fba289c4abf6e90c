"""A real Redis for tests: of Debian's package, on a free port, and all that can happen to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
import contextlib
import os
from pathlib import Path
import shutil
import signal
import subprocess
import time
from typing import Any

import pytest
import redis as redis_py

from .servers import PATIENCE_SECONDS, free_port

EXECUTABLE = 'redis-server'


def needs_redis() -> None:
    """Skip a test where there is no Redis; in CI that is a failure.

    Raises:
        RuntimeError: In CI.
    """
    if shutil.which(EXECUTABLE) is not None:
        return
    reason = f'there is no {EXECUTABLE}: install it (Debian: apt install redis-server)'
    if os.environ.get('CI'):
        raise RuntimeError(reason)
    pytest.skip(reason)


class RedisServer:
    """One server, which may be stopped, killed and started again on its port.

    Args:
        directory: Where it keeps its data.
        options: Lines of its configuration, as `{'appendonly': 'yes'}`.
    """

    def __init__(self, directory: Path, **options: str) -> None:
        self.port = free_port()
        self.directory = directory
        self.options = {'save': '', 'appendonly': 'no', **options}
        self._process: subprocess.Popen[bytes] | None = None
        self._has_run = False

    @property
    def url(self) -> str:
        return f'redis://127.0.0.1:{self.port}/0'

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def client(self) -> redis_py.Redis:
        return redis_py.Redis(port=self.port, socket_timeout=PATIENCE_SECONDS)

    def start(self) -> None:
        """Start it, and wait until it answers; at first on whatever port is free."""
        while not self._answers():
            if self._has_run:
                raise RuntimeError(f'{EXECUTABLE} does not answer: {self._log()}')
            self.port = free_port()  # somebody was quicker to take the one of before
        self._has_run = True

    def _answers(self) -> bool:
        given = {'port': str(self.port), 'bind': '127.0.0.1', 'dir': str(self.directory)}
        args = [
            text
            for name, value in {**given, **self.options}.items()
            for text in (f'--{name}', value)
        ]
        with (self.directory / 'redis.log').open('ab') as output:
            self._process = subprocess.Popen(
                [EXECUTABLE, *args], stdout=output, stderr=subprocess.STDOUT
            )
        for _ in range(PATIENCE_SECONDS * 100):
            if self._process.poll() is not None:
                return False
            with contextlib.suppress(redis_py.RedisError), self.client() as client:
                facts: Any = client.info('server')
                return bool(facts['process_id'] == self._process.pid)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.01)
        raise RuntimeError(f'{EXECUTABLE} does not answer: {self._log()}')

    def _log(self) -> str:
        return (self.directory / 'redis.log').read_text()[-1000:]

    def stop(self) -> None:
        """Have it shut down, with what it saves on that."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Let it vanish."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(number)
            process.wait(PATIENCE_SECONDS)

    def cut_clients(self) -> None:
        """Close the connections of all clients."""
        with self.client() as client:
            for kind in ('pubsub', 'normal'):
                client.execute_command('CLIENT', 'KILL', 'TYPE', kind, 'SKIPME', 'yes')

    def keys(self) -> list[str]:
        with self.client() as client:
            return sorted(key.decode() for key in client.keys('*'))

    def channels(self) -> list[str]:
        with self.client() as client:
            return sorted(key.decode() for key in client.pubsub_channels('*'))


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """An empty Redis that keeps nothing over a restart."""
    needs_redis()
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def lasting_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """One that writes down each command before it answers."""
    needs_redis()
    server = RedisServer(tmp_path, appendonly='yes', appendfsync='always')
    server.start()
    yield server
    server.kill()


class Wire:
    """What lies between a client and a server, and may be cut: a proxy on a port of its own.

    Args:
        port: The server's.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        self._server_port = port
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f'redis://127.0.0.1:{self.port}/0'

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, '127.0.0.1', 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Nothing passes any more, in either direction; nobody is told."""
        self._open.clear()

    def mend(self, *, reset: bool = True) -> None:
        """Things pass again. With `reset`, connections of before are gone, as behind a firewall."""
        if reset:
            for writer in self._writers:
                writer.transport.abort()
        self._open.set()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            await self._open.wait()
            their_reader, their_writer = await asyncio.open_connection(
                '127.0.0.1', self._server_port
            )
            self._writers.add(their_writer)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pass_on(reader, their_writer))
                    both.create_task(self._pass_on(their_reader, writer))
            finally:
                self._writers.discard(their_writer)
                their_writer.transport.abort()
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            await self._open.wait()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError


@contextlib.asynccontextmanager
async def wire_to(server: RedisServer) -> AsyncIterator[Wire]:
    wire = Wire(server.port)
    await wire.start()
    try:
        yield wire
    finally:
        await wire.stop()


class RedisCluster:
    """Three servers that share the slots of a cluster.

    Args:
        directory: Where they keep their data.
    """

    def __init__(self, directory: Path) -> None:
        self.servers: list[RedisServer] = []
        for name in ('one', 'two', 'three'):
            (directory / name).mkdir()
            self.servers.append(RedisServer(directory / name, **{'cluster-enabled': 'yes'}))

    @property
    def url(self) -> str:
        hosts = ','.join(f'127.0.0.1:{server.port}' for server in self.servers)
        return f'redis+cluster://{hosts}'

    def start(self) -> None:
        bounds = (0, 5_461, 10_923, 16_384)
        for server in self.servers:
            server.options['cluster-port'] = str(free_port())
            server.start()
        for server, first, beyond in zip(self.servers, bounds, bounds[1:], strict=False):
            with server.client() as client:
                client.execute_command('CLUSTER', 'ADDSLOTSRANGE', first, beyond - 1)
                for other in self.servers:
                    met = ('127.0.0.1', other.port, other.options['cluster-port'])
                    client.execute_command('CLUSTER', 'MEET', *met)
        for server in self.servers:
            self.until_whole(server)

    @staticmethod
    def until_whole(server: RedisServer) -> None:
        """Wait until a server says that the cluster is whole."""
        with server.client() as client:
            for _ in range(PATIENCE_SECONDS * 100):
                if b'cluster_state:ok' in client.execute_command('CLUSTER', 'INFO'):
                    return
                time.sleep(0.01)
        raise RuntimeError('the cluster is not whole')

    def move_slot(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """Have another server have a slot, with all its keys."""
        with source.client() as old, target.client() as new:
            old_id, new_id = (each.execute_command('CLUSTER', 'MYID') for each in (old, new))
            new.execute_command('CLUSTER', 'SETSLOT', slot, 'IMPORTING', old_id)
            old.execute_command('CLUSTER', 'SETSLOT', slot, 'MIGRATING', new_id)
            keys = old.execute_command('CLUSTER', 'GETKEYSINSLOT', slot, 1_000)
            if keys:
                where = ('127.0.0.1', target.port, '', 0, PATIENCE_SECONDS * 1_000)
                old.execute_command('MIGRATE', *where, 'REPLACE', 'KEYS', *keys)
            for each in (new, old):
                each.execute_command('CLUSTER', 'SETSLOT', slot, 'NODE', new_id)

    def end(self) -> None:
        for server in self.servers:
            server.kill()


@pytest.fixture(scope='module')
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    needs_redis()
    cluster = RedisCluster(tmp_path_factory.mktemp('cluster'))
    cluster.start()
    yield cluster
    cluster.end()


class Watched:
    """A master and a replica of it, and a sentinel that puts one in the place of the other.

    Args:
        directory: Where they keep their data.
    """

    NAME = 'main'

    def __init__(self, directory: Path) -> None:
        for name in ('master', 'replica', 'sentinel'):
            (directory / name).mkdir()
        self.master = RedisServer(directory / 'master')
        self.replica = RedisServer(directory / 'replica', **{'repl-diskless-sync-delay': '0'})
        self._sentinel: subprocess.Popen[bytes] | None = None
        self._directory = directory / 'sentinel'
        self._port = 0

    @property
    def url(self) -> str:
        return f'redis+sentinel://127.0.0.1:{self._port}/{self.NAME}/0'

    def start(self) -> None:
        self.master.start()
        self.replica.start()
        with self.replica.client() as client:
            client.replicaof('127.0.0.1', self.master.port)
            self._until(lambda: client.info('replication')['master_link_status'] == 'up')
        while self._sentinel is None or self._sentinel.poll() is not None:
            self._port = free_port()
            config = self._directory / 'sentinel.conf'
            config.write_text(
                f'port {self._port}\nbind 127.0.0.1\ndir {self._directory}\n'
                f'sentinel monitor {self.NAME} 127.0.0.1 {self.master.port} 1\n'
                f'sentinel down-after-milliseconds {self.NAME} 300\n'
                f'sentinel failover-timeout {self.NAME} 2000\n'
            )
            with (self._directory / 'log').open('ab') as output:
                self._sentinel = subprocess.Popen(
                    [EXECUTABLE, str(config), '--sentinel'], stdout=output, stderr=output
                )
            with contextlib.suppress(RuntimeError):
                self._until(self._sees_the_replica)

    def _sees_the_replica(self) -> bool:
        assert self._sentinel is not None
        if self._sentinel.poll() is not None:
            raise RuntimeError('somebody was quicker to take the port')
        with redis_py.Redis(port=self._port) as client:
            seen: Any = client.execute_command('SENTINEL', 'REPLICAS', self.NAME)
        return bool(seen)

    @staticmethod
    def _until(is_so: Callable[[], bool]) -> None:
        for _ in range(PATIENCE_SECONDS * 100):
            with contextlib.suppress(redis_py.RedisError):
                if is_so():
                    return
            time.sleep(0.01)
        raise RuntimeError('it did not come about')

    def end(self) -> None:
        if self._sentinel is not None:
            self._sentinel.kill()
            self._sentinel.wait(PATIENCE_SECONDS)
        self.replica.kill()
        self.master.kill()


@pytest.fixture
def watched_redis(tmp_path: Path) -> Iterator[Watched]:
    needs_redis()
    watched = Watched(tmp_path)
    try:
        watched.start()
        yield watched
    finally:
        watched.end()
