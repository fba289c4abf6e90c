"""What the library costs a WebSocket route that does not use it.

    make bench

Two uvicorn processes serve the same Falcon app with the same old echo loop, one with the library
installed and one without. The same client talks to both in turns. The figure is the ratio of the
CPU time that the operating system charged to each server for its messages, so a noisy machine
disturbs both alike. Two processes of the same program differ by more than what is looked for here
(addresses, hash seeds), so each round starts both anew, and the median over the rounds counts.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
import os
from pathlib import Path
import platform
import socket
import statistics
import subprocess
import sys
import time

import falcon
import falcon.asgi
import uvicorn
from websockets.asyncio.client import ClientConnection, connect

from falcon_ws_mw import WebSocketLifespan, install

TARGET = 1.01


class Echo:
    """An old loop as Falcon documents it."""

    async def on_websocket(self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
        """Send back what comes."""
        await ws.accept()
        while True:
            try:
                await ws.send_text(await ws.receive_text())
            except falcon.WebSocketDisconnected:
                return


def without() -> falcon.asgi.App:  # type: ignore[type-arg]
    """The app as it was."""
    app: falcon.asgi.App = falcon.asgi.App()  # type: ignore[type-arg]
    app.add_route('/echo', Echo())
    return app


def with_library() -> WebSocketLifespan:
    """The same app with the library installed."""
    return install(without())


@contextmanager
def serving(factory: str) -> Iterator[tuple[int, int]]:
    """Serve an app in a process of its own: its process id and port."""
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    app = f'benchmarks.untouched_route:{factory}'
    command = [sys.executable, '-m', 'uvicorn', '--factory', app, '--port', str(port)]
    command += ['--ws', 'websockets-sansio', '--log-level', 'warning']
    with subprocess.Popen(command) as server:
        try:
            wait_until_listening(port)
            yield server.pid, port
        finally:
            server.terminate()


def wait_until_listening(port: int, patience_seconds: float = 20.0) -> None:
    """Try to connect until it works."""
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            socket.create_connection(('127.0.0.1', port)).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
        else:
            return


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process (Linux: the scheduler's own count, in nanoseconds)."""
    nanoseconds = Path(f'/proc/{pid}/schedstat').read_text().split()[0]
    return int(nanoseconds) / 1e9


async def measure(pid: int, port: int, connections: int, messages: int) -> float:
    """Microseconds of server CPU for each message of connections that are open already."""
    async with AsyncExitStack() as stack:
        url = f'ws://127.0.0.1:{port}/echo'
        clients = [
            await stack.enter_async_context(connect(url, compression=None))
            for _ in range(connections)
        ]

        async def talk(client: ClientConnection) -> None:
            for _ in range(messages):
                await client.send('x' * 100)
                await client.recv()

        before = cpu_seconds(pid)
        await asyncio.gather(*map(talk, clients))
        return (cpu_seconds(pid) - before) / (connections * messages) * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--rounds', type=int, default=25)
    parser.add_argument('--connections', type=int, default=50)
    parser.add_argument('--messages', type=int, default=400)
    options = parser.parse_args()
    costs: dict[str, list[float]] = {'without': [], 'with_library': []}
    for number in range(options.rounds):
        names = list(costs) if number % 2 else list(reversed(costs))
        with ExitStack() as stack:
            servers = {name: stack.enter_context(serving(name)) for name in names}
            samples: dict[str, list[float]] = {name: [] for name in names}
            for repetition in range(4):  # the first warms up
                for name in names if repetition % 2 else reversed(names):
                    cost = measure(*servers[name], options.connections, options.messages)
                    samples[name].append(asyncio.run(cost))
            for name in names:
                costs[name].append(statistics.median(samples[name][1:]))
    pairs = zip(costs['with_library'], costs['without'], strict=True)
    ratios = [ours / plain for ours, plain in pairs]
    ratio = statistics.median(ratios)
    spread = statistics.quantiles(ratios, n=4)
    print(
        f'{platform.python_implementation()} {platform.python_version()}, '
        f'Falcon {falcon.__version__}, uvicorn {uvicorn.__version__} (websockets-sansio), '
        f'{os.cpu_count()} cores'
    )
    for name, values in costs.items():
        print(f'{name:>13}: {statistics.median(values):.2f} µs of server CPU a message')
    print(
        f'        ratio: {ratio:.4f} (quartiles {spread[0]:.4f} to {spread[2]:.4f}); '
        f'target: at most {TARGET}'
    )


if __name__ == '__main__':
    main()
