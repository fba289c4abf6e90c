"""The chat of `examples/cluster`: real processes, started as `make demo-cluster` starts them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
import os
from pathlib import Path
import re
import signal
import sys
from typing import Any

from examples.cluster.app import create_app
from examples.cluster.settings import VARIABLE
import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from .conftest import Logs
from .redis_server import RedisServer, needs_redis, redis_server, wire_to
from .servers import PATIENCE_SECONDS, Client, free_port, serve

__all__ = ['redis_server']

ROOT = Path(__file__).parent.parent
START_SECONDS = 40
LAST_LINE = 'Ctrl-C stops everything.'


class Demo:
    """What `python -m examples.cluster` has started."""

    def __init__(self, process: asyncio.subprocess.Process, ports: Sequence[int]) -> None:
        self.process = process
        self.ports = ports
        self.redis_url = ''
        self.redis_pid: int | None = None
        self.pids: list[int] = []

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            return (await self.process.stdout.readline()).decode().strip()

    async def read_introduction(self) -> None:
        line = ''
        while line != LAST_LINE:
            line = await self.line()
            assert line, 'it has ended'
            found = re.fullmatch(r'(\S+) +process (\d+)', line)
            if found is not None and found[1].startswith('redis://'):
                self.redis_url, self.redis_pid = found[1], int(found[2])
            elif found is not None:
                self.pids.append(int(found[2]))
        assert len(self.pids) == len(self.ports)

    def interrupt(self) -> None:
        """Ctrl-C: a terminal sends it to the whole group of what it has started."""
        os.killpg(self.process.pid, signal.SIGINT)

    async def rest(self) -> list[str]:
        """Wait for its end, and return what it said until then."""
        async with asyncio.timeout(START_SECONDS):
            output, _ = await self.process.communicate()
        return output.decode().splitlines()

    def living(self) -> list[int]:
        """Those of the processes that are still there."""
        started = (*self.pids, self.redis_pid)
        return [pid for pid in started if pid is not None and is_there(pid)]


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@asynccontextmanager
async def launched(**environment: str) -> AsyncIterator[Demo]:
    """Start it, with a log that goes where its lines go."""
    ports = [free_port() for _ in range(3)]
    inherited = {name: value for name, value in os.environ.items() if name != VARIABLE}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, '-m', 'examples.cluster', '--ports', *map(str, ports)),
        cwd=ROOT,
        env={**inherited, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    demo = Demo(process, ports)
    try:
        yield demo
    finally:
        if process.returncode is None:
            process.terminate()
        await demo.rest()


@asynccontextmanager
async def demo(**environment: str) -> AsyncIterator[Demo]:
    needs_redis()
    async with launched(**environment) as starting:
        await starting.read_introduction()
        yield starting


async def log_in(port: int, user: str) -> dict[str, str]:
    async with httpx.AsyncClient() as http:
        response = await http.post(f'http://127.0.0.1:{port}/session', json={'user': user})
    assert response.status_code == 201
    return {'Authorization': f'Bearer {response.json()["token"]}'}


@asynccontextmanager
async def entered(port: int, headers: dict[str, str]) -> AsyncIterator[Client]:
    url = f'ws://127.0.0.1:{port}/ws/chat/lobby'
    async with connect(url, additional_headers=headers) as connection:
        client = Client(connection)
        assert (await client.receive())['type'] == 'serverWelcome'
        yield client


@asynccontextmanager
async def three_people(ports: Sequence[int]) -> AsyncIterator[list[Client]]:
    """One at each process, who have seen each other come."""
    ada, bob, eve = [
        await log_in(port, user) for port, user in zip(ports, ('ada', 'bob', 'eve'), strict=True)
    ]
    async with entered(ports[0], ada) as first:
        async with entered(ports[1], bob) as second:
            await payload_of(first, 'serverUserJoined')
            async with entered(ports[2], eve) as third:
                for client in (first, second):
                    joined = await payload_of(client, 'serverUserJoined')
                    assert joined == {'user': 'eve', 'users': {'ada': 1, 'bob': 1, 'eve': 1}}
                yield [first, second, third]


async def payload_of(client: Client, expected: str) -> Any:
    message = await client.receive()
    assert message['type'] == expected, message
    return message['payload']


async def announce(url: str, text: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, '-m', 'examples.cluster.announce', text),
        cwd=ROOT,
        env={**os.environ, VARIABLE: url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


@pytest.mark.timeout(120)
async def test_what_one_says_at_any_process_all_get_in_one_order_and_ctrl_c_ends_it_all() -> None:
    async with demo() as running:
        async with three_people(running.ports) as clients:
            for number in range(10):
                for index, client in enumerate(clients):
                    payload = {'text': f'{index} {number}'}
                    await client.send({'type': 'clientSendMessage', 'payload': payload})
            heard = [
                [(await payload_of(client, 'serverNewMessage'))['text'] for _ in range(30)]
                for client in clients
            ]
            assert heard[0] == heard[1] == heard[2]
            for index in range(3):
                own = [text for text in heard[0] if text.startswith(f'{index} ')]
                assert own == [f'{index} {number}' for number in range(10)]

            assert await announce(running.redis_url, 'tea') == (0, 'said in 1 room\n')
            for client in clients:
                assert await payload_of(client, 'serverAnnouncement') == {'text': 'tea'}

            assert running.living() == [*running.pids, running.redis_pid]
            running.interrupt()
            for client in clients:
                assert await client.closed() == 1012
            with suppress(ProcessLookupError):  # somebody is impatient; it may have ended already
                running.interrupt()
            assert await running.rest() == []
        assert running.process.returncode == 0
        assert running.living() == []


@pytest.mark.timeout(120)
async def test_a_session_is_the_same_at_each_process_and_so_is_its_end() -> None:
    async with demo() as running:
        headers = await log_in(running.ports[0], 'ada')
        async with (
            entered(running.ports[1], headers) as second,
            entered(running.ports[2], headers) as third,
            httpx.AsyncClient(headers=headers) as http,
        ):
            session = f'http://127.0.0.1:{running.ports[0]}/session'
            assert (await http.get(session)).json() == {'user': 'ada'}
            assert (await http.delete(session)).status_code == 204
            assert await second.closed() == await third.closed() == 3401
        for port in running.ports:
            with pytest.raises(InvalidStatus) as refused:
                async with entered(port, headers):
                    pass
            assert refused.value.response.status_code == 401


@pytest.mark.timeout(120)
async def test_of_each_that_dies_it_says_so_and_health_says_who_should_get_clients() -> None:
    async with demo() as running:
        urls = [f'http://127.0.0.1:{port}/health' for port in running.ports]
        async with httpx.AsyncClient() as http:
            for url in urls:
                response = await http.get(url)
                assert response.status_code == 200
                assert response.json() == {'backend': 'connected', 'connections': 0}

            os.kill(running.pids[1], signal.SIGKILL)
            assert await running.line() == (
                f'the server on port {running.ports[1]} (process {running.pids[1]}) was ended by '
                'signal 9; the others go on'
            )
            assert (await http.get(urls[0])).status_code == 200

            assert running.redis_pid is not None
            os.kill(running.redis_pid, signal.SIGKILL)
            said = [await running.line()]
            while 'redis-server (process' not in said[-1]:
                said.append(await running.line())  # the log of the servers
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (response := await http.get(urls[0])).status_code == 200:
                    await asyncio.sleep(0.01)
            assert response.status_code == 503
            assert response.json() == {'backend': 'connecting', 'connections': 0}
            asked = await http.post(urls[0].replace('health', 'session'), json={'user': 'ada'})
            assert asked.status_code == 503

        for pid in (running.pids[0], running.pids[2]):
            os.kill(pid, signal.SIGKILL)
        assert (await running.rest())[-1] == 'No server is left.'
        assert running.process.returncode == 1


@pytest.mark.timeout(120)
async def test_it_uses_the_redis_that_it_is_given_and_leaves_it_alone(
    redis_server: RedisServer,
) -> None:
    async with demo(**{VARIABLE: redis_server.url}) as running:
        assert running.redis_pid is None
        async with three_people(running.ports):
            names = redis_server.keys()
            kinds = {re.split('[:{]', name)[0] for name in names}
            assert kinds <= {'chat', 'chat-session'}, 'the names of the library, and of the app'
        running.interrupt()
        await running.rest()
        assert redis_server.client().ping()


async def test_without_a_redis_it_says_what_to_do(tmp_path: Path) -> None:
    async with launched(PATH=str(tmp_path)) as running:
        [line] = await running.rest()
    assert running.process.returncode == 1
    assert 'apt install redis-server' in line
    assert VARIABLE in line


async def test_a_redis_that_is_not_there_is_said() -> None:
    url = f'redis://127.0.0.1:{free_port()}/0'
    async with launched(**{VARIABLE: url}) as running:
        assert await running.rest() == [f'The Redis that {VARIABLE} names does not answer.']
    assert running.process.returncode == 1

    code, said = await announce(url, 'tea')
    assert code == 1
    assert 'other processes cannot be reached now' in said


async def test_who_missed_something_is_told_and_nobody_else(
    redis_server: RedisServer, logs: Logs
) -> None:
    async with (
        wire_to(redis_server) as wire,
        serve(create_app(wire.url)) as cut_off,
        serve(create_app(redis_server.url)) as linked,
        entered(cut_off.port, await log_in(cut_off.port, 'ada')) as ada,
        entered(linked.port, await log_in(linked.port, 'bob')) as bob,
    ):
        await payload_of(ada, 'serverUserJoined')
        wire.cut()
        for number in range(3):
            await bob.send({'type': 'clientSendMessage', 'payload': {'text': str(number)}})
            await payload_of(bob, 'serverNewMessage')
        wire.mend()
        assert await payload_of(ada, 'serverMissed') == {'lost': 3}

        look = await ada.ask({'type': 'clientLook', 'id': 1})
        assert look == {'type': 'reply', 'id': 1, 'payload': {'users': {'ada': 1, 'bob': 1}}}
        await ada.send({'type': 'clientSendMessage', 'payload': {'text': 'back'}})
        for client in (ada, bob):
            assert (await payload_of(client, 'serverNewMessage'))['text'] == 'back'
    logs.take()


async def test_a_session_that_ended_while_redis_was_away_is_looked_for(
    redis_server: RedisServer, logs: Logs
) -> None:
    async with (
        wire_to(redis_server) as wire,
        serve(create_app(wire.url)) as cut_off,
        serve(create_app(redis_server.url)) as linked,
    ):
        headers = await log_in(linked.port, 'ada')
        async with entered(cut_off.port, headers) as ada:
            wire.cut()
            async with httpx.AsyncClient(headers=headers) as http:
                assert (await http.delete(f'{linked.http}/session')).status_code == 204
            wire.mend()
            assert await ada.closed() == 3401
    logs.take()


async def test_a_server_that_cannot_start_ends_the_demo_and_is_said() -> None:
    needs_redis()
    async with (
        launched() as running,
        await asyncio.start_server(
            lambda reader, writer: writer.close(), '127.0.0.1', running.ports[1]
        ),
    ):
        said = await running.rest()
    assert running.process.returncode == 1
    assert re.search(f'the server on port {running.ports[1]} .* has ended with status', said[-1])
