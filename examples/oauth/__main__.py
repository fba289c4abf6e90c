"""Serve the boards on this machine: `python -m examples.oauth`."""

import argparse
import os

import uvicorn

from .app import app


def main() -> None:
    """Read the command line and serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog='python -m examples.oauth', description=__doc__)
    parser.add_argument(
        '--port',
        type=int,
        default=os.environ.get('PORT', '8000'),
        help='default: the environment variable PORT, or 8000',
    )
    options = parser.parse_args()
    uvicorn.run(
        app,
        host='127.0.0.1',
        port=options.port,
        # By default uvicorn waits without end for a client that does not read.
        timeout_graceful_shutdown=5,
        # What is longer is refused; there is no need to read it first.
        ws_max_size=65_536,
        # Compressing short messages costs more processor time than it saves in bytes.
        ws_per_message_deflate=False,
    )


if __name__ == '__main__':
    main()
