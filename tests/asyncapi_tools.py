"""What the tests of the AsyncAPI document need from outside: the official parser, and a browser."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
from pathlib import Path
import shutil
import subprocess
from typing import Any, NoReturn

import pytest

HERE = Path(__file__).parent / 'asyncapi'

OFFICIAL_SCHEMA: dict[str, Any] = json.loads((HERE / '3.0.0-without-$id.json').read_text())

BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')

INSTALL_SECONDS = 240
RUN_SECONDS = 50
BROWSER_SECONDS = 50


def unavailable(reason: str) -> NoReturn:
    """Skip a test that cannot be run here; in CI, where everything is to be there, fail."""
    if os.environ.get('CI') == 'true':
        pytest.fail(reason)
    pytest.skip(reason)


def find_browser() -> str:
    """The path of a Chromium."""
    for name in BROWSERS:
        path = shutil.which(name)
        if path is not None:
            return path
    unavailable(f'no browser to test the page in: none of {", ".join(BROWSERS)} is installed')


class OfficialParser:
    """`@asyncapi/parser` under node."""

    def __init__(self, node: str) -> None:
        self._node = node

    def diagnostics(self, *documents: dict[str, Any]) -> list[list[dict[str, str]]]:
        """What it says about each of some documents."""
        done = subprocess.run(
            [self._node, 'validate.mjs'],
            cwd=HERE,
            input=json.dumps(documents),
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found: list[list[dict[str, str]]] = json.loads(done.stdout)
        return found


def install_parser() -> OfficialParser:
    """Install the parser as the lockfile says, unless it is there already."""
    node, npm = shutil.which('node'), shutil.which('npm')
    if node is None or npm is None:
        unavailable('the official AsyncAPI parser needs node and npm, which are not installed')
    lockfile = HERE / 'package-lock.json'
    wanted = hashlib.sha256(lockfile.read_bytes()).hexdigest()
    stamp = HERE / 'node_modules' / '.installed'
    with (HERE / 'package.json').open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test runs at the same time share one checkout
        if not stamp.exists() or stamp.read_text() != wanted:
            _npm_ci(npm)
            stamp.write_text(wanted)
    return OfficialParser(node)


def _npm_ci(npm: str) -> None:
    done = subprocess.run(
        [npm, 'ci', '--omit=optional', '--ignore-scripts', '--no-audit', '--no-fund'],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    if done.returncode:
        unavailable(f'`npm ci` in {HERE} failed: {done.stderr.strip()[-500:]}')


async def dom_of(browser: str, url: str, profile: Path) -> tuple[str, list[str]]:
    """What a browser makes of a page, and what it writes to the console."""
    process = await asyncio.create_subprocess_exec(
        browser,
        '--headless=new',
        '--no-sandbox',
        '--disable-gpu',
        '--disable-background-networking',
        f'--user-data-dir={profile}',
        '--enable-logging=stderr',
        '--dump-dom',
        url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(BROWSER_SECONDS):
            dom, log = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.communicate()
        raise
    return dom.decode(), [line for line in log.decode().splitlines() if 'CONSOLE' in line]
