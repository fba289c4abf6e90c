"""The programs that the demo starts: a Redis, and one server for each port."""

import asyncio
from collections.abc import Awaitable, Callable
import contextlib
import os
from pathlib import Path
import shutil
import socket
import sys
from urllib.request import urlopen

from redis.asyncio import Redis
from redis.exceptions import RedisError

from .settings import VARIABLE

START_SECONDS = 30
STOP_SECONDS = 10
LOOK_SECONDS = 0.05


class CannotStart(Exception):
    """Something that the demo needs is not there, or does not work; says what."""


class Child:
    """A program that runs until it is stopped.

    It has a process group of its own: a terminal sends Ctrl-C to all of a group, and Redis should
    not stop before those who use it.

    Args:
        name: What it is called where somebody reads it.
        command: The program, and its arguments.
        is_ready: Says whether it does its work.
        environment: Variables that it gets beside ours.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        is_ready: Callable[[], Awaitable[bool]],
        environment: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self._command = command
        self._is_ready = is_ready
        self._environment = environment or {}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it is ready.

        Raises:
            CannotStart: It has ended, or takes too long.
        """
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            env={**os.environ, **self._environment},
            stdin=asyncio.subprocess.DEVNULL,
            process_group=0,
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await self._is_ready():
                    if self.has_ended:
                        raise CannotStart(await self.ended())
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            raise CannotStart(f'{self.name} is not ready after {START_SECONDS} s') from None

    @property
    def pid(self) -> int | None:
        """Its number, once it is started."""
        return None if self._process is None else self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it does not run, or not any more."""
        return self._process is None or self._process.returncode is not None

    async def ended(self) -> str:
        """Wait for its end, and say how that came."""
        code = 0 if self._process is None else await self._process.wait()
        how = f'was ended by signal {-code}' if code < 0 else f'has ended with status {code}'
        return f'{self.name} (process {self.pid}) {how}'

    async def stop(self) -> None:
        """Have it end, and wait for that; it need not run."""
        if self._process is None:
            return
        for end in (self._process.terminate, self._process.kill):
            with contextlib.suppress(ProcessLookupError):
                end()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._process.wait()
                    return


def redis_server(port: int, directory: Path) -> Child:
    """A Redis on a port of loopback, which keeps nothing.

    Raises:
        CannotStart: It is not installed.
    """
    program = shutil.which('redis-server')
    if program is None:
        raise CannotStart(
            'There is no redis-server. Install it (Debian: apt install redis-server), or say where '
            f'one runs: {VARIABLE}=redis://host:6379/0'
        )
    options = {
        'port': str(port),
        'bind': '127.0.0.1',
        'dir': str(directory),
        'save': '',
        'appendonly': 'no',
        'logfile': 'redis.log',
    }
    given = [text for name, value in options.items() for text in (f'--{name}', value)]
    url = f'redis://127.0.0.1:{port}/0'
    return Child('redis-server', [program, *given], lambda: is_redis_there(url))


def chat_server(port: int, redis_url: str) -> Child:
    """The chat on a port of loopback: one process of the cluster."""
    return Child(
        f'the server on port {port}',
        [
            *(sys.executable, '-m', 'uvicorn', '--factory', 'examples.cluster.app:create_app'),
            *('--host', '127.0.0.1', '--port', str(port), '--log-level', 'warning'),
            # Why each of these: see examples/chat/__main__.py.
            *('--timeout-graceful-shutdown', '5', '--ws-max-size', '65536'),
            *('--ws-per-message-deflate', 'false'),
        ],
        lambda: _is_healthy(port),
        {VARIABLE: redis_url},
    )


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port: int = probe.getsockname()[1]
    return port


async def is_redis_there(redis_url: str) -> bool:
    """Whether a Redis can be reached."""
    async with Redis.from_url(redis_url, socket_connect_timeout=2, socket_timeout=2) as redis:
        try:
            await redis.ping()
        except RedisError:
            return False
    return True


async def _is_healthy(port: int) -> bool:
    def ask() -> bool:
        try:
            with urlopen(f'http://127.0.0.1:{port}/health', timeout=2):
                return True
        except OSError:  # what urllib raises for a refusal, and for a 503, is one
            return False

    return await asyncio.to_thread(ask)
