"""A sensor and somebody who watches it: `python -m examples.messagepack.client`."""

import argparse
from array import array
import asyncio
from datetime import UTC, datetime
import math
import sys
from typing import Any

import msgpack
from websockets.asyncio.client import ClientConnection, connect

DEFAULT_URL = 'ws://127.0.0.1:8000/sites/mill'


async def measure_and_watch(url: str) -> None:
    """Watch a site, send one reading to it, and print what comes."""
    async with connect(url) as watcher, connect(url) as sensor:
        print('the latest:', await ask(watcher, 'watch'))
        payload = {'sensor': 'axle', 'at': datetime.now(UTC), 'samples': vibration()}
        print('the sensor is told:', await ask(sensor, 'reading', payload))
        print('the watcher gets:', unpacked(await watcher.recv()))


async def ask(connection: ClientConnection, type: str, payload: Any = None) -> Any:
    """Send a request, and return the message that comes next."""
    await connection.send(msgpack.packb([type, payload, 1], datetime=True))
    return unpacked(await connection.recv())


def unpacked(frame: str | bytes) -> Any:
    """The array in a frame."""
    return msgpack.unpackb(frame, timestamp=3)


def vibration() -> bytes:
    """Eight samples."""
    samples = array('h', (round(1000 * math.sin(step)) for step in range(8)))
    if sys.byteorder == 'big':
        samples.byteswap()
    return samples.tobytes()


def main() -> None:
    """Read the command line, and do it once."""
    parser = argparse.ArgumentParser(
        prog='python -m examples.messagepack.client', description=__doc__
    )
    parser.add_argument('--url', default=DEFAULT_URL, help=f'default: {DEFAULT_URL}')
    asyncio.run(measure_and_watch(parser.parse_args().url))


if __name__ == '__main__':
    main()
