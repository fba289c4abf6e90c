"""What handlers and clients may do while a connection is read ahead, or no more, or again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
import contextlib
from contextlib import asynccontextmanager
from contextvars import ContextVar
import importlib.util
import json
import os
import random
import signal
import sys
from typing import Any

import falcon
import falcon.asgi
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Frame, Opcode

from falcon_ws_mw import WebSocket, install

from .conftest import Logs
from .servers import IMPLEMENTATIONS, PATIENCE_SECONDS, Client, free_port, serve
from .test_busy_handlers import Desk, Peer, busy, note
from .test_connection import settled, soon
from .test_docs import ROOT
from .test_servers import SERVERS

# -- what a handler does meanwhile

WHO: ContextVar[str] = ContextVar('who')


class Helpful(Desk):
    """Its handler uses what asyncio has, before and after reading ahead has begun."""

    async def on_ws_work(self, ws: WebSocket) -> str:
        WHO.set('ada')
        task = asyncio.current_task()
        async with asyncio.timeout(PATIENCE_SECONDS):
            self.begun.set()
            await self.release.wait()
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0):
                        await asyncio.Event().wait()
        async with asyncio.TaskGroup() as group:
            twice = [group.create_task(self.double(number)) for number in range(3)]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.double(None))
                group.create_task(asyncio.Event().wait())
        except* TypeError:
            self.notes.append('failed')
        assert asyncio.current_task() is task
        assert WHO.get() == 'ada'
        return str([each.result() for each in twice])

    async def double(self, number: Any) -> Any:
        await asyncio.sleep(0)
        return number * 2


async def test_timeouts_and_task_groups_work_while_the_connection_is_read_ahead(
    ws_implementation: str, logs: Logs
) -> None:
    desk = Helpful()
    app = install(falcon.asgi.App())
    app.add_route('/ws', desk)
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        ws = await soon(desk.connected.get())
        await client.send({'type': 'work', 'id': 1})
        await soon(desk.begun.wait())
        for number in range(5):
            await client.send(note(number))
        while ws.inbox.is_empty:  # the sweep has it read ahead
            await asyncio.sleep(0)
        desk.release.set()
        assert (await client.receive())['payload'] == '[0, 2, 4]'
        await client.close()
        await soon(desk.ends.get())
    assert desk.notes == ['failed', 0, 1, 2, 3, 4]
    assert logs.lines == []


class Grouping(Desk):
    async def on_ws_group(self, ws: WebSocket) -> str:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.fail())
        except* LookupError:
            pass
        return 'failed'

    async def fail(self) -> None:
        await asyncio.sleep(0)
        raise LookupError

    async def on_ws_wait(self, ws: WebSocket) -> None:
        task = asyncio.create_task(asyncio.sleep(0))
        task.cancel()
        await task


async def test_a_task_group_that_failed_earlier_changes_nothing_later(
    ws_implementation: str, logs: Logs
) -> None:
    desk = Grouping()
    app = install(falcon.asgi.App())
    app.add_route('/ws', desk)
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        assert (await client.ask({'type': 'group', 'id': 1}))['payload'] == 'failed'
        assert (await client.ask({'type': 'wait', 'id': 2}))['payload']['status'] == 500
        assert (await client.ask({'type': 'group', 'id': 3}))['payload'] == 'failed'
        await client.close()
        assert await soon(desk.ends.get()) == 1000
    assert len(logs.take()) == 1


@pytest.mark.parametrize('is_busy', [True, False])
async def test_nor_does_it_when_the_connection_is_interrupted(is_busy: bool, logs: Logs) -> None:
    desk = Grouping()
    peer = Peer(desk, disconnect_policy='cancel')
    ws = await soon(desk.connected.get())
    peer.say('{"type":"group"}')
    if is_busy:
        peer.say('{"type":"work"}')
        await soon(desk.begun.wait())
    await settled()

    ws._connection.evict()

    await soon(peer.task)
    assert desk.ends.get_nowait() == 1006
    assert len(logs.take()) == 1


class Impatient(Desk):
    """Its handler receives 100 messages itself, and gives up a receive more often than not."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.chance = random.Random(seed)  # noqa: S311  # it has to repeat itself
        self.given_up = 0

    async def on_ws_work(self, ws: WebSocket) -> str:
        self.begun.set()
        while len(self.notes) < 100:
            receiving = asyncio.create_task(ws.receive_text())
            for _ in range(self.chance.randrange(4)):
                await asyncio.sleep(0)
            receiving.cancel()
            try:
                self.notes.append(json.loads(await receiving)['payload'])
            except asyncio.CancelledError:
                self.given_up += 1
        return 'done'


@pytest.mark.parametrize('seed', range(10))
async def test_a_receive_that_a_handler_gives_up_loses_nothing(seed: int) -> None:
    desk = Impatient(seed)
    async with busy(desk, reads_ahead=False) as (_, peer, _):
        for number in range(150):
            peer.say(note(number))
            for _ in range(desk.chance.randrange(16)):
                await asyncio.sleep(0)
        while len(desk.notes) < 150:  # the last ones are handled as messages
            await asyncio.sleep(0)

        assert desk.notes == list(range(150))
        assert desk.given_up > 10
        assert peer.cancelled == 0


async def test_a_receive_that_a_handler_gives_up_loses_nothing_on_a_server(
    ws_implementation: str, logs: Logs
) -> None:
    desk = Impatient(0)
    app = install(falcon.asgi.App())
    app.add_route('/ws', desk)
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        await client.send({'type': 'work', 'id': 1})
        await soon(desk.begun.wait())
        for number in range(150):
            await client.send(note(number))
        assert (await client.receive())['payload'] == 'done'
        await client.close()
        await soon(desk.ends.get())
    assert desk.notes == list(range(150))
    assert desk.given_up > 10
    assert logs.lines == []


async def test_what_is_received_before_the_first_message_is_not_lost_either() -> None:
    class Door(Desk):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await ws.accept()
            self.notes.append(await ws.receive_text())
            await super().on_ws_connect(req, ws)

    desk = Door()
    peer = Peer(desk)
    peer.say('hello', *map(note, range(20)))
    peer.leave()

    await soon(peer.task)

    assert desk.notes == ['hello', *range(20)]


# -- many at once


async def test_200_coroutines_send_at_once_and_every_message_arrives_whole(
    ws_implementation: str, logs: Logs
) -> None:
    class Chorus(Desk):
        async def sing(self, ws: WebSocket, voice: int) -> None:
            for number in range(5):
                await ws.send_media([voice, number, 'x' * (voice * number * 20)])

        async def on_ws_sing(self, ws: WebSocket) -> str:
            async with asyncio.TaskGroup() as group:
                for voice in range(200):
                    group.create_task(self.sing(ws, voice))
            return 'sung'

    app = install(falcon.asgi.App())
    app.add_route('/ws', Chorus())
    async with (
        serve(app, ws_implementation) as served,
        served.client('/ws', max_queue=1) as client,
    ):
        await client.send({'type': 'sing', 'id': 1})
        heard: dict[int, list[int]] = {}
        for _ in range(1000):
            voice, number, text = await client.receive()
            assert len(text) == voice * number * 20
            heard.setdefault(voice, []).append(number)
        assert (await client.receive())['payload'] == 'sung'
    assert heard == {voice: [0, 1, 2, 3, 4] for voice in range(200)}
    assert logs.lines == []


class Pinged(ClientConnection):
    """A client's connection that tells of each ping."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pings: asyncio.Queue[None] = asyncio.Queue()

    def process_event(self, event: Any) -> None:
        if isinstance(event, Frame) and event.opcode is Opcode.PING:
            self.pings.put_nowait(None)
        super().process_event(event)


async def handled_behind_a_busy_handler(ws_implementation: str) -> list[Any]:
    """Send 200 messages behind a busy handler of a server that pings; what was handled."""
    desk = Desk()
    app = install(falcon.asgi.App())
    app.add_route('/ws', desk)
    async with (
        serve(app, ws_implementation, ws_ping_interval=1, ws_ping_timeout=1) as served,
        served.client('/ws', create_connection=Pinged) as client,
    ):
        await client.send({'type': 'work', 'id': 1})
        for number in range(200):
            await client.send(note(number))
        connection: Any = client.connection
        for _ in range(3):  # whose answer to the first is not read is gone before the third
            await soon(connection.pings.get())
        desk.release.set()
        assert (await client.receive())['payload'] == 'done'
        await client.close()
        assert await soon(desk.ends.get()) == 1000
    return desk.notes


async def test_200_messages_behind_a_busy_handler_do_not_cost_it_the_servers_pings(
    logs: Logs,
) -> None:
    handled = await asyncio.gather(*map(handled_behind_a_busy_handler, IMPLEMENTATIONS))

    assert handled == [list(range(200))] * len(IMPLEMENTATIONS)
    assert logs.lines == []


# -- on every server


@asynccontextmanager
async def served_by(command: str) -> AsyncIterator[int]:
    """Serve `switching_app` by a process of its own, and give its port."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        '-m',
        *command.format(port=port).split(),
        'tests.switching_app:app',
        cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await takes_connections(port):
                assert process.returncode is None
                await asyncio.sleep(0.01)
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its workers too
        await process.wait()


async def takes_connections(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection('127.0.0.1', port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


@pytest.mark.parametrize('server', SERVERS)
async def test_6000_messages_with_hundreds_of_switches_stay_in_order(server: str) -> None:
    module, *_ = SERVERS[server].split()
    if importlib.util.find_spec(module) is None:
        pytest.skip(f'{module} is not installed')
    chance = random.Random(1)  # noqa: S311  # it has to repeat itself
    numbers = list(range(6000))
    heard: list[int] = []
    answer: dict[str, Any] = {}
    async with (
        served_by(SERVERS[server]) as port,
        connect(f'ws://127.0.0.1:{port}/ws', compression=None) as connection,
    ):
        client = Client(connection)
        while numbers:
            size = chance.randrange(1, 40)
            burst, numbers = numbers[:size], numbers[size:]
            if chance.random() < 0.1:
                await client.send({'type': 'be_busy'})
            for number in burst:
                payload = {'number': number, 'more': number != burst[-1]}
                await client.send({'type': 'number', 'payload': payload})
            answer = (await client.ask({'type': 'report', 'id': 1}))['payload']
            heard += answer['numbers']

    assert heard == list(range(6000))
    assert answer['switches'] > 300
