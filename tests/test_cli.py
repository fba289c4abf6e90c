"""The command line: what it prints of an app, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
import subprocess
import sys

import pytest
import yaml

from falcon_ws_mw.cli import main

CHAT = 'examples.chat.app:app'

BROKEN = """
import falcon.asgi
from falcon_ws_mw import install

class One:
    def on_ws_sync(self, ws): ...

class Two:
    async def on_ws_odd(self, ws, strange): ...

app = falcon.asgi.App()
app.add_route('/one', One())
app.add_route('/two', Two())
app.add_route('/http', object())
bare = app
app = install(app)

def make():
    fine = falcon.asgi.App()
    return install(fine)
"""


@pytest.fixture(autouse=True)
def path_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command puts into the path of this process is gone with the test."""
    monkeypatch.setattr(sys, 'path', [*sys.path])


@pytest.fixture
def module(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[str, str]:
    """A module of its own name, and where it is."""
    name = f'cli_{abs(hash(request.node.name))}'
    (tmp_path / f'{name}.py').write_text(BROKEN)
    return name, str(tmp_path)


def test_routes_lists_every_message_with_its_payload_and_its_method(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(['routes', CHAT]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == '/ws/chat/{room_name}  ChatRoom'
    assert '  < clientSendMessage: SendMessage  (ChatRoom.on_ws_clientSendMessage)' in lines
    assert '  > serverNewMessage: NewMessage' in lines


def test_routes_tells_settings_that_are_not_the_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'settings_app.py').write_text("""
import falcon.asgi
from falcon_ws_mw import Envelope, Limits, install, sends

@sends('sure?', reply=bool)
class Room:
    ws_limits = Limits(send_timeout_seconds=1)
    ws_max_parallel = 4
    ws_subprotocols = ('b', 'a')
    ws_envelope = Envelope(type_field='action')

    async def on_ws_x(self, ws, payload: int | None) -> list[str]: ...
    async def on_ws_unhandled(self, ws, raw, error): ...

class Old:
    async def on_websocket(self, req, ws): ...
    async def on_ws_y(self, ws): ...

app = falcon.asgi.App()
app.add_route('/room', Room())
app.add_route('/old', Old())
app = install(app)
""")
    assert main(['routes', 'settings_app:app', '--app-dir', str(tmp_path)]) == 0

    assert capsys.readouterr().out == (
        '/room  Room\n'
        '  < x: int | None -> list[str]  (Room.on_ws_x)\n'
        '  < anything else\n'
        '  > sure?: Any -> bool\n'
        '    limits = send_timeout_seconds=1\n'
        "    envelope = Envelope(type_field='action', payload_field='payload', id_field='id', "
        "reply_type='reply', error_type='error')\n"
        '    subprotocols = b, a\n'
        '    max_parallel = 4\n'
        '\n'
        '/old  Old\n'
        '  < y: Any  (Old.on_ws_y)\n'
        '  < anything else  (on_websocket)\n'
    )


def test_asyncapi_writes_the_document_as_json_and_as_yaml(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(['asyncapi', CHAT]) == 0
    as_json = json.loads(capsys.readouterr().out)
    assert main(['asyncapi', CHAT, '--yaml']) == 0
    as_yaml = yaml.safe_load(capsys.readouterr().out)

    assert as_json == as_yaml
    assert as_json['asyncapi'] == '3.0.0'


def test_asyncapi_takes_title_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['asyncapi', CHAT, '--title', 'Mine', '--version', '9']) == 0

    info = json.loads(capsys.readouterr().out)['info']
    assert (info['title'], info['version']) == ('Mine', '9')


def test_check_of_what_is_fine_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['check', CHAT]) == 0

    assert 'nothing is wrong' in capsys.readouterr().out


def test_check_says_everything_that_is_wrong_and_ends_with_1(
    module: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    name, directory = module
    assert main(['check', f'{name}:app', '--app-dir', directory]) == 1

    said = capsys.readouterr().err
    assert 'One.on_ws_sync is not a coroutine function' in said
    assert "nothing fills its parameter 'strange'" in said


@pytest.mark.parametrize('command', ['routes', 'asyncapi'])
def test_what_cannot_be_listed_ends_with_1(
    command: str, module: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    name, directory = module
    assert main([command, f'{name}:app', '--app-dir', directory]) == 1

    assert 'One.on_ws_sync' in capsys.readouterr().err


def test_a_factory_is_called_where_that_is_said(
    module: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    name, directory = module
    assert main(['check', f'{name}:make', '--factory', '--app-dir', directory]) == 0
    assert main(['check', f'{name}:make', '--app-dir', directory]) == 2

    assert '--factory' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('target', 'says'),
    [
        ('nothing', 'expected module:attribute'),
        ('no.such.module:app', "No module named 'no'"),
        ('{name}:gone', "has no attribute 'gone'"),
        ('{name}:bare', 'expected what install(app)'),
    ],
)
def test_what_is_no_app_ends_with_2(
    target: str, says: str, module: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    name, directory = module
    assert main(['check', target.format(name=name), '--app-dir', directory]) == 2

    assert says in capsys.readouterr().err


def test_it_is_a_command_and_a_module() -> None:
    command = Path(sys.executable).parent / 'falcon-ws-mw'
    for call in ([str(command)], [sys.executable, '-m', 'falcon_ws_mw']):
        done = subprocess.run([*call, 'check', CHAT], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, '')
