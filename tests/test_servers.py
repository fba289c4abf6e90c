"""What each ASGI server can do is what `docs/servers.md` says, cell by cell.

Each server runs in a process of its own, as it would be deployed, and is asked once for everything
in the table. The cells of the page are the expectations: there is no other list of differences.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
import importlib.util
import json
import os
import re
import signal
import sys
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from .servers import PATIENCE_SECONDS, Client, free_port
from .test_docs import DOCS, ROOT, table_of

PAGE = 'servers.md'

IDLE = ('idle-1', 'idle-2')

STOPPING_SECONDS = 10
"""How long a server with open sockets may take to stop."""


UVICORN = (
    'uvicorn --port {port} --lifespan on --timeout-graceful-shutdown 5 --ws-max-size 65536 '
    '--ws-per-message-deflate false --ws '
)
SERVERS = {
    'uvicorn `websockets-sansio`': UVICORN + 'websockets-sansio',
    'uvicorn `websockets`': UVICORN + 'websockets',
    'uvicorn `wsproto`': UVICORN + 'wsproto',
    'granian': 'granian --port {port} --interface asgi',
    'hypercorn': 'hypercorn --bind 127.0.0.1:{port} --graceful-timeout 1',
}
"""How each is started, as a Python module."""


# -- a server and what it tells


@dataclass
class Served:
    """A running server, and what its app has told, in order."""

    port: int
    process: asyncio.subprocess.Process
    told: list[dict[str, Any]]
    news: asyncio.Condition
    tellers: list[asyncio.Task[Any] | None]
    """One for each process of the server that tells; done when that has ended."""
    log: list[str] = field(default_factory=list)
    guests: list[str] = field(default_factory=list)
    stopping: dict[str, str] = field(default_factory=dict)

    @asynccontextmanager
    async def guest(self, name: str) -> AsyncIterator[Client]:
        """A client whose connection has this name, in the room of this name."""
        self.guests.append(name)
        async with connect(f'ws://127.0.0.1:{self.port}/room/{name}') as connection:
            client = Client(connection)
            assert await client.receive() == {'type': 'welcome', 'payload': name}
            await client.ask({'type': 'join', 'payload': name, 'id': 0})
            yield client

    def found(self, event: str, **facts: Any) -> dict[str, Any] | None:
        wanted = {'event': event, **facts}.items()
        return next((told for told in self.told if wanted <= told.items()), None)

    async def hear(self, event: str, **facts: Any) -> dict[str, Any]:
        """Wait until the app tells it."""
        async with asyncio.timeout(PATIENCE_SECONDS), self.news:
            await self.news.wait_for(lambda: self.found(event, **facts))
        return self.found(event, **facts) or {}

    async def code_of(self, name: str) -> str:
        """The code with which `on_ws_disconnect` was called."""
        return str((await self.hear('disconnected', name=name))['code'])

    async def takes_connections(self) -> bool:
        try:
            _, writer = await asyncio.open_connection('127.0.0.1', self.port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    async def start(self) -> None:
        """Wait until it takes connections."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await self.takes_connections():
                assert self.process.returncode is None, ''.join(self.log)
                await asyncio.sleep(0.01)

    async def read_log(self) -> None:
        assert self.process.stdout
        async for line in self.process.stdout:
            await self._note(self.log, line.decode())
        await self.process.wait()
        async with self.news:
            self.news.notify_all()

    async def listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tellers.append(asyncio.current_task())
        async for line in reader:
            await self._note(self.told, json.loads(line))
        writer.close()

    async def _note(self, notes: list[Any], note: Any) -> None:
        async with self.news:
            notes.append(note)
            self.news.notify_all()

    async def everything_is_told(self) -> None:
        """Wait for the end of what a server tells that has ended."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*(teller for teller in self.tellers if teller))


@asynccontextmanager
async def serve(command: str, app: str = 'tests.served_app:app') -> AsyncIterator[Served]:
    """Serve an app by a server in a process of its own."""
    port = free_port()
    connected: asyncio.Future[Served] = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (await connected).listen(reader, writer)

    async with await asyncio.start_server(listen, '127.0.0.1', 0, limit=1 << 20) as listener:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            '-m',
            *command.format(port=port).split(),
            app,
            cwd=ROOT,
            env={
                **os.environ,
                'PYTHONUNBUFFERED': '1',
                'SERVED_APP_EVENTS': str(listener.sockets[0].getsockname()[1]),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        served = Served(port, process, [], asyncio.Condition(), [])
        connected.set_result(served)
        reading = asyncio.create_task(served.read_log())
        try:
            await served.start()
            yield served
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # its workers too
            except ProcessLookupError:
                pass
            await reading
            await served.everything_is_told()


# -- what is asked of it


async def answers(served: Served) -> str:
    async with served.guest('asker') as client:
        reply = await client.ask({'type': 'echo', 'id': 1, 'payload': 'Köln'})
        assert reply == {'type': 'reply', 'id': 1, 'payload': 'Köln'}
        for bad, status in (('{', 400), (b'\xff', 400), ({'type': 'nothing'}, 404)):
            assert (await client.ask(bad))['payload']['status'] == status
        assert (await client.ask({'type': 'echo', 'id': 2}))['id'] == 2
    return 'yes'


async def broadcasts(served: Served) -> str:
    async with (
        served.guest('host') as host,
        served.guest('first') as first,
        served.guest('second') as second,
    ):
        for client in (first, second):
            await client.ask({'type': 'join', 'payload': 'host', 'id': 1})
        await host.send({'type': 'tell_all', 'payload': {'room': 'host', 'count': 300}, 'id': 1})
        for client in (first, second):
            got = [(await client.receive())['number'] for _ in range(300)]
            assert got == list(range(300))
        assert (await host.receive())['type'] == 'reply'
    return 'yes'


async def welcomes(served: Served) -> str:
    async with served.guest('newcomer'):  # it insists on the welcome
        return 'yes'


async def refused(served: Served, how: str) -> InvalidStatus:
    try:
        async with connect(f'ws://127.0.0.1:{served.port}/refusing/{how}'):
            raise AssertionError('it was not refused')
    except InvalidStatus as error:
        return error


async def refuses_by_error(served: Served) -> str:
    response = (await refused(served, 'error')).response
    said = {
        'its status': response.status_code == 401,
        'headers': response.headers.get('X-Reason') == 'none',
        'body': b'Who is it?' in (response.body or b''),
    }
    true = [what for what, is_so in said.items() if is_so]
    return ', '.join(true) or str(response.status_code)


async def refuses_by_false(served: Served) -> str:
    return str((await refused(served, 'false')).response.status_code)


def client_closes(name: str, code: int) -> Callable[[Served], Awaitable[str]]:
    async def probe(served: Served) -> str:
        async with served.guest(name) as client:
            await client.connection.close(code)
        return await served.code_of(name)

    return probe


async def client_closes_without_a_code(served: Served) -> str:
    async with served.guest('wordless') as client:
        connection = client.connection
        connection.protocol.send_close()
        connection.transport.write(b''.join(connection.protocol.data_to_send()))
        await connection.wait_closed()
    return await served.code_of('wordless')


async def client_vanishes(served: Served) -> str:
    async with served.guest('vanishing') as client:
        assert await client.ask({'type': 'echo', 'id': 1})
        client.abort()
    return await served.code_of('vanishing')


async def vanished_member(served: Served) -> str:
    async with served.guest('present') as present, served.guest('vanished') as vanished:
        await vanished.send({'type': 'join', 'payload': 'present'})
        assert await vanished.ask({'type': 'echo', 'id': 1})
        vanished.abort()
        async with served.guest('teller') as teller:
            await teller.send({'type': 'tell_all', 'payload': {'room': 'present', 'count': 300}})
            got = [(await present.receive())['number'] for _ in range(300)]
    assert got == list(range(300))
    await served.code_of('vanished')
    return 'nothing'


async def sending_to_nobody(served: Served) -> str:
    async with served.guest('helper') as helper:
        async with served.guest('deaf') as client:
            await client.send({'type': 'sender'})
            await served.hear('ready to send', name='deaf')
            client.abort()
        await helper.ask({'type': 'send now', 'id': 1})
        noticed = await served.hear('sent', name='deaf')
    return f'{"yes" if noticed["raised"] else "no"}, {await served.code_of("deaf")}'


def server_closes(name: str, type: str) -> Callable[[Served], Awaitable[str]]:
    async def probe(served: Served) -> str:
        async with served.guest(name) as client:
            await client.send({'type': type})
            code = await client.closed()
        return f'{code}, {await served.code_of(name)}'

    return probe


async def kicks(served: Served) -> str:
    async with served.guest('victim') as victim, served.guest('kicker') as kicker:
        await kicker.ask({'type': 'kick', 'payload': 'victim', 'id': 1})
        code = await victim.closed()
    return f'{code}, {await served.code_of("victim")}'


async def stop(served: Served) -> dict[str, str]:
    """Stop the server by SIGTERM while two sockets are open and idle."""
    async with served.guest(IDLE[0]) as first, served.guest(IDLE[1]) as second:
        served.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOPPING_SECONDS):
                await served.process.wait()
        except TimeoutError:
            seen = {'nothing'}
            for client in (first, second):
                client.connection.transport.abort()
        else:
            seen = {str(await client.closed()) for client in (first, second)}
            await served.everything_is_told()
    ends = [served.found('disconnected', name=name) for name in IDLE]
    return {
        'client': ' or '.join(seen),
        'disconnect': ' or '.join({str(end['code']) if end else 'not called' for end in ends}),
        'worker': 'yes' if served.found('worker stopped') else 'no',
        'exit': 'no' if 'nothing' in seen else 'yes',
    }


def when_stopped(what: str) -> Callable[[Served], Awaitable[str]]:
    async def probe(served: Served) -> str:
        if not served.stopping:
            served.stopping |= await stop(served)
        return served.stopping[what]

    return probe


PROBES: dict[str, Callable[[Served], Awaitable[str]]] = {
    'requests and bad input are answered': answers,
    'a room gets 300 broadcasts in order': broadcasts,
    'what is said before the accept arrives': welcomes,
    '`HTTPError` before the accept: the client sees': refuses_by_error,
    '`return False`: the client sees': refuses_by_false,
    'client closes with 1000': client_closes('leaving', 1000),
    'client closes with 4001': client_closes('leaving-4001', 4001),
    'client closes without a code': client_closes_without_a_code,
    'client vanishes': client_vanishes,
    'what a vanished member costs its room': vanished_member,
    '`ws.send_text` tells a busy handler that the client vanished': sending_to_nobody,
    '`ws.close(4002)`': server_closes('closed', 'leave'),
    '`close_user(…, 4003)` by another connection': kicks,
    "crash with `crash_policy='close'`": server_closes('crashing', 'crash'),
    'SIGTERM: the client sees': when_stopped('client'),
    'SIGTERM: `on_ws_disconnect` gets': when_stopped('disconnect'),
    'SIGTERM: workers are stopped': when_stopped('worker'),
    'SIGTERM: the process exits': when_stopped('exit'),
}


@dataclass
class Observed:
    """What became of each question, and all that was told meanwhile."""

    server: str
    cells: dict[str, str | Exception]
    told: list[dict[str, Any]]
    guests: list[str]


async def observe(server: str) -> Observed:
    cells: dict[str, str | Exception] = {}
    async with serve(SERVERS[server]) as served:
        for row, probe in PROBES.items():
            try:
                cells[row] = await probe(served)
            except Exception as error:
                cells[row] = error
    return Observed(server, cells, served.told, served.guests)


@pytest.fixture(scope='module', params=SERVERS)
def observed(request: pytest.FixtureRequest) -> Observed:
    server: str = request.param
    module, *_ = SERVERS[server].split()
    if importlib.util.find_spec(module) is None:
        if os.environ.get('CI'):
            pytest.fail(f'{module} is not installed: CI has to test it')
        pytest.skip(f'{module} is not installed')
    return asyncio.run(observe(server))


# -- what is promised


def cell_of(server: str, row: str) -> str:
    """What the page says for the Python that runs this."""
    cells = {first: rest for first, *rest in table_of(PAGE, 'what happens')}
    cell = cells[row][list(SERVERS).index(server)]
    found = re.fullmatch(r'(.*) \(Python 3\.12\+: (.*)\)', cell)
    if found is None:
        return cell
    return found[2] if sys.version_info >= (3, 12) else found[1]


def test_the_page_has_all_rows_and_servers() -> None:
    assert [row[0] for row in table_of(PAGE, 'what happens')] == list(PROBES)
    assert f'| what happens | {" | ".join(SERVERS)} |' in (DOCS / PAGE).read_text().splitlines()


@pytest.mark.parametrize('row', PROBES)
def test_each_cell_of_the_page_is_so(observed: Observed, row: str) -> None:
    cell = observed.cells[row]
    if isinstance(cell, Exception):
        raise cell
    assert set(cell.split(' or ')) <= set(cell_of(observed.server, row).split(' or '))


def test_on_ws_disconnect_runs_once_for_whom_was_not_refused(observed: Observed) -> None:
    ended = [told['name'] for told in observed.told if told['event'] == 'disconnected']
    expected = set(observed.guests)
    if cell_of(observed.server, 'SIGTERM: `on_ws_disconnect` gets') == 'not called':
        # Not by the signal, that is. The test lets them go, and then it depends on who is first:
        # they, or the end of the process.
        expected -= set(IDLE)
        ended = [name for name in ended if name not in IDLE]
    assert sorted(ended) == sorted(expected)


def test_nothing_is_logged_but_the_crash(observed: Observed) -> None:
    lines = [told['text'] for told in observed.told if told['event'] == 'logged']
    # What asyncio and the server say of themselves when they stop is theirs.
    lines = [line for line in lines if line.split(' ', 1)[1].startswith('falcon')]
    if observed.server == 'hypercorn':  # what it cannot be told on its command line
        advice = lines[:2]
        del lines[:2]
        assert all(line.startswith('WARNING falcon_ws_mw: hypercorn ') for line in advice)
    [line] = lines
    assert line.startswith('ERROR falcon_ws_mw: Room.on_ws_crash raised LookupError')
