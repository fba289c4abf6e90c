"""Serve one contender: the same server, loop and settings for all of them.

python -m benchmarks.serve benchmarks.apps.raw:app --fd 3
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib
import inspect
import logging
import signal
import socket
from typing import Any

import uvicorn
import uvloop

from benchmarks.servers import raise_file_limit


def serve_asgi(app: Any, listener: socket.socket, ping_seconds: float | None) -> None:
    """Serve an ASGI app by uvicorn (sansio, uvloop, no compression) until the process ends."""
    config = uvicorn.Config(
        app,
        loop='uvloop',
        http='h11',
        ws='websockets-sansio',
        ws_per_message_deflate=False,
        ws_ping_interval=ping_seconds,
        ws_ping_timeout=ping_seconds,
        access_log=False,
        log_level='warning',
    )
    uvicorn.Server(config).run(sockets=[listener])


def trim(*_: object) -> None:
    """Collect garbage, and give free memory back to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def main() -> None:
    """Serve what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('app', help='module:attribute')
    parser.add_argument('--fd', type=int, required=True, help='of a socket that listens')
    parser.add_argument(
        '--ping', type=float, metavar='SECONDS', help='interval and time-out (default: no pings)'
    )
    options = parser.parse_args()
    raise_file_limit()
    logging.basicConfig(level=logging.WARNING)
    signal.signal(signal.SIGUSR1, trim)
    module, _, attribute = options.app.partition(':')
    app = getattr(importlib.import_module(module), attribute)
    listener = socket.socket(fileno=options.fd)
    if inspect.iscoroutinefunction(app) and len(inspect.signature(app).parameters) == 1:
        uvloop.run(app(listener))  # no ASGI: it serves by itself
    else:
        serve_asgi(app, listener, options.ping)


if __name__ == '__main__':
    main()
