"""Servers under measurement, each a process of its own, and what the system says of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
import os
from pathlib import Path
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = Path(__file__).resolve().parent.parent
LOG_CHARACTERS = 2000
"""How much of a server's log is shown if its measurement fails."""


@dataclass(frozen=True, slots=True)
class Server:
    """A process that listens on 127.0.0.1."""

    pid: int
    port: int


@contextmanager
def running(
    command: Sequence[str],
    title: str,
    *,
    pass_fds: Sequence[int] = (),
    variables: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program, and kill it at the end; if that is a failure, add to it what it logged.

    Args:
        command: The program and its arguments.
        title: What to call it then.
        pass_fds: What it inherits of what this process has open.
        variables: Of its environment, beside those of this process.
    """
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(variables or {})},
            stdout=log,
            stderr=log,
            pass_fds=pass_fds,
        ) as process,
    ):
        try:
            yield process
        except Exception as failure:
            log.seek(0)
            if text := log.read().decode(errors='replace')[-LOG_CHARACTERS:].strip():
                failure.add_note(f'the log of {title}:\n{text}')
            raise
        finally:
            process.kill()  # what it would do with its connections is not measured


@contextmanager
def serving(
    app: str, *options: str, variables: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Serve an app in a new process, and kill it at the end.

    The process inherits a socket that listens already: connections wait until it accepts them, and
    nobody else can take the port. If it does not come up, they are reset.

    Args:
        app: `module:attribute` of an ASGI app, or of an async function that serves by itself; see
            `benchmarks.serve`.
        options: More arguments of `benchmarks.serve`.
        variables: Of the environment of the process.
    """
    listener = socket.create_server(('127.0.0.1', 0), backlog=4096)
    port, handle = listener.getsockname()[1], listener.fileno()
    command = [sys.executable, '-m', 'benchmarks.serve', app, '--fd', str(handle), *options]
    with running(command, app, pass_fds=[handle], variables=variables) as process:
        listener.close()
        yield Server(process.pid, port)


@contextmanager
def serving_all(
    apps: Sequence[str], *options: str, variables: Mapping[str, str] | None = None
) -> Iterator[list[Server]]:
    """Serve several apps at once, each in a process of its own. Else like `serving`."""
    with ExitStack() as stack:
        yield [stack.enter_context(serving(app, *options, variables=variables)) for app in apps]


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process, all threads (Linux: the scheduler's own count, nanoseconds)."""
    tasks = Path(f'/proc/{pid}/task').iterdir()
    return sum(int((task / 'schedstat').read_text().split()[0]) for task in tasks) / 1e9


def resident_bytes(pid: int) -> int:
    """The memory of a process that is in RAM."""
    pages = Path(f'/proc/{pid}/statm').read_text().split()[1]
    return int(pages) * os.sysconf('SC_PAGE_SIZE')


def trim_memory(pid: int) -> None:
    """Let a server of ours collect its garbage and give what is free back to the system."""
    os.kill(pid, signal.SIGUSR1)
    time.sleep(0.5)  # it says nothing when it is done


def raise_file_limit() -> None:
    """Allow this process as many open sockets as the system lets it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
