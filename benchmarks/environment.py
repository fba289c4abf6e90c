"""What a measurement ran on: machine and versions, without names of hosts or paths."""

from __future__ import annotations

from importlib.metadata import version
import os
from pathlib import Path
import platform

PACKAGES = [
    'falcon',
    'orjson',
    'uvicorn',
    'uvloop',
    'websockets',
    'starlette',
    'litestar',
    'python-socketio',
    'channels',
    'channels_redis',
    'redis',
]


def environment() -> str:
    """One line."""
    system = f'{platform.system()} {platform.release().partition("-")[0]}, {_processor()}'
    versions = ', '.join(f'{package} {version(package)}' for package in PACKAGES)
    python = f'{platform.python_implementation()} {platform.python_version()}'
    return f'{system}, {os.cpu_count()} cores. {python}, {versions}.'


def _processor() -> str:
    for line in Path('/proc/cpuinfo').read_text().splitlines():
        if line.startswith('model name'):
            return line.partition(':')[2].strip()
    return platform.machine()
