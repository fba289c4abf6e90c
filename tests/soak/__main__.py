"""Check for real, and for long: figures, and PASS or FAIL against their bounds.

python -m tests.soak all
python -m tests.soak flooder --server wsproto
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.metadata import version
import os
import platform
import sys

from tests.soak import churn, flooder, outages, stalled
from tests.soak.serving import IMPLEMENTATIONS

SOAKS: dict[str, Callable[[argparse.Namespace], bool]] = {
    'flooder': flooder.run,
    'stalled': stalled.run,
    'churn': churn.run,
    'outages': outages.run,
}


def main() -> int:
    """Check what the command line says; 1 if something is outside its bounds."""
    parser = argparse.ArgumentParser(
        prog='python -m tests.soak', description=(__doc__ or '').partition('\n')[0]
    )
    parser.add_argument('name', choices=[*SOAKS, 'all'])
    parser.add_argument('--server', choices=IMPLEMENTATIONS, default='sansio')
    of_flooder = parser.add_argument_group('flooder')
    of_flooder.add_argument('--flooders', nargs='+', choices=flooder.FLOODERS, metavar='HOW')
    of_flooder.add_argument('--flood-seconds', type=float, default=12)
    of_stalled = parser.add_argument_group('stalled')
    of_stalled.add_argument('--members', type=int, default=300)
    of_stalled.add_argument('--deaf', type=int, default=10, help='how many of them never read')
    of_stalled.add_argument('--rate', type=int, default=200, help='messages a second')
    of_stalled.add_argument('--stall-seconds', type=float, default=30)
    of_churn = parser.add_argument_group('churn')
    of_churn.add_argument('--rounds', type=int, default=20)
    of_churn.add_argument('--clients', type=int, default=1000)
    of_outages = parser.add_argument_group('outages')
    of_outages.add_argument('--cuts', type=int, default=16)
    parser.set_defaults(flooders=list(flooder.FLOODERS))
    options = parser.parse_args()
    packages = ('falcon', 'redis', 'uvicorn', 'uvloop', 'websockets', 'wsproto')
    print(
        f'{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores, '
        + ', '.join(f'{package} {version(package)}' for package in packages)
    )
    names = list(SOAKS) if options.name == 'all' else [options.name]
    passed = [SOAKS[name](options) for name in names]  # all of them, whatever the first says
    return 0 if all(passed) else 1


if __name__ == '__main__':
    sys.exit(main())
