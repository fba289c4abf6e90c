"""Serve the app in a process of its own, and ask it for figures.

python -m tests.soak.serving websockets-sansio --fd 3
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import http.client
import json
import logging
from pathlib import Path
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any, BinaryIO

from benchmarks.servers import raise_file_limit
import uvicorn

ROOT = Path(__file__).resolve().parent.parent.parent
IMPLEMENTATIONS = {
    'sansio': 'websockets-sansio',
    'websockets': 'websockets',
    'wsproto': 'wsproto',
}


@dataclass(frozen=True, slots=True)
class Served:
    """The app, being served on a port of loopback."""

    pid: int
    port: int
    _log: BinaryIO

    def figures(self) -> dict[str, Any]:
        """What the process holds, after the garbage has been collected."""
        return self.ask('GET', '/figures')

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """An HTTP request on a connection of its own."""
        return ask(self.port, method, path, body)

    def log(self) -> list[str]:
        """The lines that the process has logged."""
        self._log.seek(0)
        return self._log.read().decode(errors='replace').splitlines()


def ask(port: int, method: str, path: str, body: object = None) -> dict[str, Any]:
    """An HTTP request, answered in JSON, on a connection of its own."""
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=600)
    try:
        headers = {'Content-Type': 'application/json', 'Connection': 'close'}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise RuntimeError(f'{method} {path}: {response.status} {answer!r}')
        found: dict[str, Any] = json.loads(answer)
        return found
    finally:
        connection.close()


@contextmanager
def serving(server: str) -> Iterator[Served]:
    """Serve the app by one of uvicorn's implementations until the end, and show what it logged."""
    listener = socket.create_server(('127.0.0.1', 0), backlog=4096)
    port, handle = listener.getsockname()[1], listener.fileno()
    hush = '-Wignore:The `websockets` implementation is deprecated'  # and still deployed
    command = [sys.executable, hush, '-m', 'tests.soak.serving', server, '--fd', str(handle)]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, pass_fds=[handle]) as process,
    ):
        listener.close()
        served = Served(process.pid, port, log)
        try:
            yield served
        finally:
            process.kill()  # what it would do with its connections is not checked
            _show(served.log())


def _show(lines: list[str], most: int = 12) -> None:
    for line in lines[:most]:
        print(f'  log: {line[:200]}')
    if len(lines) > most:
        print(f'  log: … {len(lines) - most} more lines')


def waited_seconds(pid: int) -> float:
    """How long a process was ready to run and had no CPU, since others did (Linux)."""
    tasks = Path(f'/proc/{pid}/task').iterdir()
    return sum(int((task / 'schedstat').read_text().split()[1]) for task in tasks) / 1e9


def wait_until(
    served: Served, holds: Callable[[dict[str, Any]], bool], seconds: float
) -> tuple[dict[str, Any], bool]:
    """Ask for the figures until something is true of them.

    Returns:
        The last figures, and whether it is true of them.
    """
    deadline = time.monotonic() + seconds
    while not holds(figures := served.figures()):
        if time.monotonic() > deadline:
            return figures, False
        time.sleep(0.05)
    return figures, True


def serve(app: Any, listener: socket.socket, ws: Any) -> None:
    """Serve as `uvicorn --ws … --loop uvloop` does, with the pings that it has by default."""
    config = uvicorn.Config(
        app,
        loop='uvloop',
        ws=ws,
        ws_per_message_deflate=False,
        ws_max_size=65_536,
        timeout_graceful_shutdown=10,
        access_log=False,
        log_level='warning',
    )
    uvicorn.Server(config).run(sockets=[listener])


def main() -> None:
    """Serve by what the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('ws', choices=IMPLEMENTATIONS.values())
    parser.add_argument('--fd', type=int, required=True, help='of a socket that listens')
    options = parser.parse_args()
    raise_file_limit()
    logging.basicConfig(level=logging.WARNING)
    from tests.soak.app import app  # not where the load imports this module

    serve(app, socket.socket(fileno=options.fd), options.ws)


if __name__ == '__main__':
    main()
