"""Build the wheel, install it alone in a new venv, and run the README's first example on it.

    python tests/wheel/check.py

What is tested elsewhere is the source tree; what users get is the wheel.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
import re
import socket
import subprocess
import sys
import tempfile
import venv
import zipfile

from websockets.asyncio.client import connect

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 30


def build(directory: Path) -> Path:
    command = [sys.executable, '-m', 'build', '--wheel', '--outdir', str(directory), str(ROOT)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    [wheel] = directory.glob('*.whl')
    return wheel


def check_contents(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    src = ROOT / 'src'
    assets = (src / 'falcon_ws_mw' / 'asyncapi' / 'assets').iterdir()
    sources = {str(path.relative_to(src)) for path in (*src.rglob('*.py'), *assets)} | {
        'falcon_ws_mw/py.typed'
    }
    packaged = {name for name in names if '.dist-info/' not in name}
    if packaged != sources:
        sys.exit(f'the wheel holds {sorted(packaged ^ sources)} too much or too little')


def install(wheel: Path, directory: Path) -> Path:
    venv.create(directory, with_pip=True)
    python = directory / 'bin' / 'python'
    subprocess.run(
        [str(python), '-m', 'pip', 'install', '--quiet', f'{wheel}[uvicorn]'], check=True
    )
    return python


def first_example() -> str:
    found = re.search(r'```python\n(.*?)```', (ROOT / 'README.md').read_text(), re.DOTALL)
    if found is None:
        sys.exit('README.md has no Python example')
    return found[1]


async def talk(port: int) -> None:
    url = f'ws://127.0.0.1:{port}/ws/kitchen'
    async with connect(url) as one, connect(url) as two:
        await one.send(json.dumps({'type': 'say', 'payload': {'text': 'hi'}}))
        for client in (one, two):
            message = json.loads(await client.recv())
            if message != {'type': 'said', 'payload': {'text': 'hi'}}:
                sys.exit(f'the README example answered {message}')


def run_example(python: Path, directory: Path) -> None:
    (directory / 'chat.py').write_text(first_example())
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    command = [str(python), '-m', 'uvicorn', 'chat:app', '--port', str(port)]
    server = subprocess.Popen(command, cwd=directory, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        for line in server.stderr:
            if 'Uvicorn running' in line:
                break
        else:
            sys.exit('the README example did not start')
        asyncio.run(asyncio.wait_for(talk(port), PATIENCE_SECONDS))
    finally:
        server.terminate()
        server.communicate(timeout=PATIENCE_SECONDS)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix='wheel-') as name:
        directory = Path(name)
        wheel = build(directory / 'dist')
        check_contents(wheel)
        run_example(install(wheel, directory / 'venv'), directory)
    print(f'{wheel.name} runs the README example in a venv of its own')


if __name__ == '__main__':
    main()
