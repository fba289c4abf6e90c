"""Serve the chat on three processes behind one Redis: `python -m examples.cluster`.

Redis is started too, unless `REDIS_URL` says where one is.
"""

import argparse
import asyncio
from collections.abc import Sequence
import os
from pathlib import Path
import signal
import sys
import tempfile

from .children import CannotStart, Child, chat_server, free_port, is_redis_there, redis_server
from .settings import VARIABLE, find_redis_url

PORTS = (8001, 8002, 8003)


def main() -> int:
    """Read the command line, serve until Ctrl-C, and return the exit status."""
    parser = argparse.ArgumentParser(prog='python -m examples.cluster', description=__doc__)
    parser.add_argument(
        '--ports',
        type=int,
        nargs='+',
        default=PORTS,
        metavar='PORT',
        help=f'one process for each; default: {" ".join(map(str, PORTS))}',
    )
    try:
        return asyncio.run(serve_until_told(parser.parse_args().ports))
    except CannotStart as error:
        print(error, file=sys.stderr)
        return 1


async def serve_until_told(ports: Sequence[int]) -> int:
    """Serve until Ctrl-C, a kill, or the end of the terminal."""
    serving = asyncio.create_task(serve(ports))

    def stop() -> None:
        if not serving.cancelling():  # a second Ctrl-C must not interrupt the stopping
            serving.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    await asyncio.wait([serving])
    return 0 if serving.cancelled() else serving.result()


async def serve(ports: Sequence[int]) -> int:
    """Start everything, and say of whatever ends that it did; at the end stop the rest.

    Raises:
        CannotStart: Something that is needed is not there.
    """
    redis: list[Child] = []
    servers: list[Child] = []
    with tempfile.TemporaryDirectory() as directory:
        try:
            url = find_redis_url()
            if url is None:
                redis_port = free_port()
                url = f'redis://127.0.0.1:{redis_port}/0'
                redis.append(redis_server(redis_port, Path(directory)))
                await redis[0].start()
            elif not await is_redis_there(url):
                raise CannotStart(f'The Redis that {VARIABLE} names does not answer.')
            servers += (chat_server(port, url) for port in ports)
            await asyncio.gather(*(server.start() for server in servers))
            introduce(ports, redis, servers, url)
            return await watch(redis, servers)
        finally:
            # Redis last: those who use it tell it that they leave.
            await asyncio.gather(*(server.stop() for server in servers))
            await asyncio.gather(*(each.stop() for each in redis))


def introduce(
    ports: Sequence[int], redis: Sequence[Child], servers: Sequence[Child], url: str
) -> None:
    """Print what there is to see."""
    for port, server in zip(ports, servers, strict=True):
        say(f'http://127.0.0.1:{port}   process {server.pid}')
    # The URL of somebody else's Redis may have a password, and is in the environment anyway.
    variable = ''
    for each in redis:
        say(f'{url}   process {each.pid}')
        variable = f'{VARIABLE}={url} '
    python = os.path.relpath(sys.executable)
    say(f'{variable}{python} -m examples.cluster.announce "Tea is ready."   speaks to all')
    say('Ctrl-C stops everything.')


async def watch(redis: Sequence[Child], servers: Sequence[Child]) -> int:
    """Say of each that ends that it did, until no server is left; the exit status for that."""
    ends = {asyncio.create_task(child.ended()) for child in (*redis, *servers)}
    try:
        while not all(server.has_ended for server in servers):
            ended, ends = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in ended:
                say(f'{end.result()}; the others go on')
    finally:
        for end in ends:
            end.cancel()
    say('No server is left.')
    return 1


def say(text: str) -> None:
    """Print a line at once, also into a pipe."""
    print(text, flush=True)


if __name__ == '__main__':
    sys.exit(main())
