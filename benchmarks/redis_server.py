"""A Redis of one's own: empty, in memory, on a free port, and gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import re
import shutil
import socket
import subprocess
import time

from benchmarks.servers import Server, running

PROGRAM = 'redis-server'
URL_VARIABLE = 'BENCHMARK_REDIS_URL'
"""The environment variable by which the apps are told where it is."""
START_SECONDS = 10.0


@contextmanager
def serving_redis() -> Iterator[Server]:
    """Run Redis, and kill it at the end.

    Raises:
        RuntimeError: If it does not come up.
    """
    with socket.create_server(('127.0.0.1', 0)) as free:  # it can inherit no socket that listens
        port = free.getsockname()[1]
    where = ['--bind', '127.0.0.1', '--port', str(port)]
    nothing_on_disk = ['--save', '', '--appendonly', 'no']
    with running([_program(), *where, *nothing_on_disk], PROGRAM) as process:
        server = Server(process.pid, port)
        deadline = time.monotonic() + START_SECONDS
        while not _answers(server):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f'{PROGRAM} does not answer on port {port}')
            time.sleep(0.02)
        yield server


def redis_url(server: Server) -> str:
    """What apps call it."""
    return f'redis://127.0.0.1:{server.port}'


def redis_version() -> str:
    """Which Redis there is here, `7.0.15`."""
    said = subprocess.run([_program(), '--version'], check=True, capture_output=True, text=True)
    found = re.search(r'v=(\S+)', said.stdout)
    return found[1] if found else 'of an unknown version'


def _program() -> str:
    found = shutil.which(PROGRAM)
    if found is None:
        raise SystemExit(f'no {PROGRAM} on the PATH: install Redis to measure what goes through it')
    return found


def _answers(server: Server) -> bool:
    """Whether this process, and not another that took the port, is there."""
    try:
        with socket.create_connection(('127.0.0.1', server.port), timeout=1) as connection:
            connection.sendall(b'INFO server\r\n')
            return f'process_id:{server.pid}\r\n'.encode() in connection.recv(65_536)
    except OSError:
        return False
