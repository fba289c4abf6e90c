"""Serve a step on this machine: `python -m examples.adoption 2`."""

import argparse
from importlib import import_module
import os

import uvicorn

from . import STEPS


def main() -> None:
    """Read the command line and serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog='python -m examples.adoption', description=__doc__)
    parser.add_argument(
        'step',
        type=int,
        nargs='?',
        choices=range(len(STEPS)),
        default=len(STEPS) - 1,
        help='0 is the app without the library; the default is the last step',
    )
    parser.add_argument(
        '--port',
        type=int,
        default=os.environ.get('PORT', '8000'),
        help='default: the environment variable PORT, or 8000',
    )
    options = parser.parse_args()
    app = import_module(f'.{STEPS[options.step]}', __package__).create_app()
    uvicorn.run(
        app,
        host='127.0.0.1',
        port=options.port,
        # By default uvicorn waits without end for a client that does not read.
        timeout_graceful_shutdown=5,
        # What is longer is refused; there is no need to read it first.
        ws_max_size=65_536,
    )


if __name__ == '__main__':
    main()
