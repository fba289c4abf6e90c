"""Whatever a client sends, it is handled as documented, soon, and costs nobody else anything."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
import datetime as dt
import gc
from itertools import groupby
import json
import logging
import socket
import struct
from typing import Annotated, Any

import falcon
import falcon.asgi
import msgpack
from msgspec import Meta, Struct
from pydantic import BaseModel

from falcon_ws_mw import (
    Decoding,
    Limits,
    Message,
    WebSocket,
    WebSocketConnectionManager,
    install,
)

from .bad_inputs import (
    BAD_INPUTS,
    FIN,
    LINES,
    PAUSE,
    RAW,
    RESET,
    Bad,
    ask,
    close,
    frame,
    to,
)
from .servers import IMPLEMENTATIONS, Client, Served, serve

LIMIT_SECONDS = 5.0
"""Within this every input is handled, and nothing of it left, on a loaded machine too."""

TICK_SECONDS = 0.005
"""How often everybody in the room `control` is told a number."""


AT_ONCE = 6
"""How many inputs are under way at a time."""

LINGER_SECONDS = 15.0
"""After which nothing is left even of what the server keeps for longer."""


# -- what is served


class Song(Struct, forbid_unknown_fields=True):
    title: str
    seconds: Annotated[int, Meta(gt=0)]


@dataclass
class Book:
    title: str


@dataclass
class ByNumber:
    number: int


class Card(BaseModel):
    number: int


class Everything:
    """Does whatever it is asked, with what its clients say."""

    async def on_ws_ping(self, ws: WebSocket) -> str:
        return 'pong'

    async def on_ws_echo(self, ws: WebSocket, payload: Any) -> Any:
        return payload

    async def on_ws_count(self, ws: WebSocket, payload: int) -> None:
        pass

    async def on_ws_pick(self, ws: WebSocket, payload: dict[str, Any]) -> None:
        pass

    async def on_ws_tags(self, ws: WebSocket, payload: list[str]) -> None:
        pass

    async def on_ws_add(self, ws: WebSocket, payload: Song) -> None:
        pass

    async def on_ws_book(self, ws: WebSocket, payload: Book) -> None:
        pass

    async def on_ws_card(self, ws: WebSocket, payload: Card) -> None:
        pass

    async def on_ws_find(self, ws: WebSocket, payload: Book | ByNumber) -> None:
        pass

    async def on_ws_date(self, ws: WebSocket, payload: dt.date) -> None:
        pass

    async def on_ws_enter(self, ws: WebSocket, payload: Any) -> None:
        await ws.join_room(payload)

    async def on_ws_join(self, ws: WebSocket, payload: Any) -> None:
        await ws.join_room(payload)
        await ws.broadcast_to_room(payload, Message('heard', payload))

    async def _secret(self) -> None:
        raise AssertionError


class Control:
    """Stays in the room `control`."""

    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        await ws.join_room('control')

    async def on_ws_ping(self, ws: WebSocket) -> None:
        pass


class Plain:
    """Has no typed payload: its messages are read in another way than those of `Everything`."""

    async def on_ws_ping(self, ws: WebSocket) -> str:
        return 'pong'

    async def on_ws_echo(self, ws: WebSocket, payload: Any) -> Any:
        return payload


class Topics:
    ws_client_topics = True
    ws_limits = Limits(max_message_bytes=100_000)

    async def ws_authorize(self, ws: WebSocket, action: str, name: str) -> bool:
        return not name.startswith('secret')

    async def on_ws_ping(self, ws: WebSocket) -> str:
        return 'pong'


class Rated:
    ws_limits = Limits(handshakes_per_second=0.001, handshake_burst=2)

    async def on_ws_ping(self, ws: WebSocket) -> None:
        pass


class Denied:
    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        raise falcon.HTTPUnauthorized

    async def on_ws_ping(self, ws: WebSocket) -> None:
        pass


class Http:
    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        pass


class Suffixed:
    async def on_get_page(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        pass

    async def on_ws_ping(self, ws: WebSocket) -> None:
        pass


@asynccontextmanager
async def serving(implementation: str) -> AsyncIterator[Serving]:
    """Serve what the list needs."""
    strict = Decoding(duplicate_keys='refuse', integers='safe', non_finite='accept')
    apps = {
        '/ws': install(falcon.asgi.App()),
        '/strict/ws': install(falcon.asgi.App(), decoding=strict),
        '/full/ws': install(falcon.asgi.App(), limits=Limits(max_connections=1)),
    }
    for path, app in apps.items():
        app.add_route(path, Everything())
    main = apps['/ws']
    main.add_route('/plain', Plain())
    main.add_route('/topics', Topics())
    main.add_route('/control', Control())
    main.add_route('/denied', Denied())
    main.add_route('/rated', Rated())
    main.add_route('/http', Http())
    main.add_route('/suffixed', Suffixed(), suffix='page')
    async with AsyncExitStack() as stack:
        served = {
            path: await stack.enter_async_context(serve(app, implementation))
            for path, app in apps.items()
        }
        for _ in range(2):  # as many as there may be
            async with served['/ws'].client('/rated'):
                pass
        async with served['/full/ws'].client('/full/ws'):
            yield Serving(served, {path: app.ws_connection_manager for path, app in apps.items()})


class Serving:
    """The servers and managers of the apps, by the paths that only they have."""

    def __init__(
        self, served: dict[str, Served], managers: dict[str, WebSocketConnectionManager]
    ) -> None:
        self.served = served
        self.managers = managers

    def at(self, path: str) -> tuple[Served, WebSocketConnectionManager]:
        """Who answers at a path."""
        path = path if path in self.served else '/ws'
        return self.served[path], self.managers[path]


# -- who sends it


class Peer:
    """A client that sends a bad input, and tells what it sees."""

    def __init__(self, bad: Bad, *, asks_if_alive: bool) -> None:
        self.seen: list[str] = []
        self._path = bad.path
        self._steps = bad.sent if isinstance(bad.sent, tuple) else (bad.sent,)
        # After a handshake of its own too: whether that succeeds is what is to be seen.
        self._asks_if_alive = asks_if_alive or (bad.path == RAW and RESET not in self._steps)
        self._is_upgraded = asyncio.Event()
        self._says_goodbye = False
        self._is_closed = False
        self._socket = socket.socket()
        self._buffer = b''

    async def connect(self, port: int) -> int:
        """Connect, and give the port here."""
        self._socket.setblocking(False)
        await asyncio.get_running_loop().sock_connect(self._socket, ('127.0.0.1', port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        here: int = self._socket.getsockname()[1]
        return here

    async def run(self) -> None:
        """Send it, and see what there is to be seen."""
        with self._socket, suppress(EOFError):
            if self._path != RAW:
                await self._send(to(self._path))
                await self._shake_hands()
            sending = asyncio.create_task(self._send_all())  # who only sends may wait for ever
            try:
                if RESET in self._steps:
                    await sending
                    self.seen.append('cut')
                else:
                    await self._look()
            finally:
                sending.cancel()
                await asyncio.wait([sending])

    async def _send_all(self) -> None:
        for step in self._steps:
            if isinstance(step, str):
                await self._send(frame(1, step.encode()))
            elif isinstance(step, bytes):
                await self._send(step)
            elif step is PAUSE:
                for _ in range(20):  # client and server share an event loop
                    await asyncio.sleep(0)
            elif step is FIN:
                self._socket.shutdown(socket.SHUT_WR)
            else:
                linger = struct.pack('ii', 1, 0)
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self._socket.close()
        if self._asks_if_alive:
            await self._is_upgraded.wait()
            await self._send(frame(1, ask('ping', id='"alive"').encode()))

    async def _send(self, data: bytes) -> None:
        with suppress(ConnectionError):  # it may have been ended before it was all sent
            await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def _look(self) -> None:
        try:
            if not self._is_upgraded.is_set():
                await self._shake_hands()
            while True:
                await self._note(*await self._frame())
        except EOFError:
            if not self._is_closed:
                self.seen.append('end')

    async def _shake_hands(self) -> None:
        """Read the response to the handshake.

        Raises:
            EOFError: If there is no WebSocket then.
        """
        while b'\r\n\r\n' not in self._buffer:
            await self._fill()
        head, _, self._buffer = self._buffer.partition(b'\r\n\r\n')
        status = head.split()[1].decode()
        if status != '101':
            self.seen.append(f'http {status}')
            self._is_closed = True
            raise EOFError
        self._is_upgraded.set()

    async def _frame(self) -> tuple[int, bytes]:
        first, size = await self._bytes(2)
        assert first & 0xF0 == 0x80, 'no server here fragments or compresses'
        if size > 125:
            size = int.from_bytes(await self._bytes(2 if size == 126 else 8), 'big')
        return first & 0xF, await self._bytes(size)

    async def _note(self, opcode: int, payload: bytes) -> None:
        if opcode == 8:
            self._is_closed = True
            code = int.from_bytes(payload[:2], 'big') if payload else 1005
            if not self._says_goodbye or code != 1000:
                reason = payload[2:].decode('unicode_escape')
                self.seen.append(f'close {code} ({reason})')
            await self._send(frame(8, payload))
        elif opcode in (9, 10):
            self.seen.append('ping' if opcode == 9 else 'pong')
        else:
            message = msgpack.unpackb(payload) if opcode == 2 else json.loads(payload)
            if message.get('id') == 'alive':
                self.seen.append('alive' if message['payload'] == 'pong' else repr(message))
                self._says_goodbye = True
                await self._send(close(1000))
            elif message['type'] == 'error':
                self.seen.append(f'error {message["payload"]["status"]}')
            else:
                self.seen.append(message['type'])

    async def _bytes(self, count: int) -> bytes:
        while len(self._buffer) < count:
            await self._fill()
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    async def _fill(self) -> None:
        more = b''
        with suppress(ConnectionError):
            more = await asyncio.get_running_loop().sock_recv(self._socket, 65_536)
        if not more:
            raise EOFError
        self._buffer += more


def in_words(seen: list[str]) -> set[str]:
    """What was seen as the list says it: with the reasons of closes, and without."""
    told = []
    for word, group in groupby(seen):
        count = len(list(group))
        told.append(word if count == 1 else f'{word} x{count}')
    return {', '.join(told), ', '.join(word.partition(' (')[0] for word in told)}


# -- what is watched meanwhile


class Log(logging.Handler):
    """What is logged as an error, and what was under way then."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way: set[str] = set()
        self.lines: Counter[str] = Counter()
        self.during: dict[str, set[str]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or record.exc_info:
            line = f'{record.name}: {record.getMessage()}'
            line = next((known for known in LINES.values() if line.startswith(known)), line)
            self.lines[line] += 1
            self.during.setdefault(line, set()).update(self.under_way)

    def differences(self, expected: Counter[str]) -> list[str]:
        return [
            f'logged {self.lines[line]} times, expected {expected[line]}: {line!r} '
            f'(during {", ".join(sorted(self.during.get(line, ())))})'
            for line in expected | self.lines
            if self.lines[line] != expected[line]
        ]


@contextmanager
def all_loggers() -> Iterator[Log]:
    log = Log()
    logging.getLogger().addHandler(log)
    try:
        yield log
    finally:
        logging.getLogger().removeHandler(log)


async def tell_numbers(manager: WebSocketConnectionManager, enough: asyncio.Event) -> int:
    """Tell the control connection a number every few milliseconds; how many it were."""
    number = 0
    while not enough.is_set():
        await manager.broadcast_to_room('control', Message('number', number))
        number += 1
        await asyncio.sleep(TICK_SECONDS)
    await manager.broadcast_to_room('control', Message('end'))
    return number


async def hear_all(control: Client) -> list[Any]:
    """What the control connection hears up to the end."""
    heard = []
    while (message := await control.receive())['type'] != 'end':
        heard.append(message['payload'] if message['type'] == 'number' else message)
    return heard


# -- the laws


async def observe(bad: Bad, expected: str, serving: Serving) -> list[str]:
    """Send one input, wait until nothing is left of it, and tell what was seen."""
    served, manager = serving.at(bad.path)
    peer = Peer(bad, asks_if_alive='alive' in expected)
    here = await peer.connect(served.port)

    async def nothing_is_left() -> None:
        while any(
            client is not None and client[1] == here
            for client in (
                *(getattr(each, 'client', None) for each in served.server.server_state.connections),
                *(each.req.scope['client'] for each in manager.connections.values()),
            )
        ):
            await asyncio.sleep(0.001)

    limit = asyncio.get_running_loop().time() + LIMIT_SECONDS
    try:
        async with asyncio.timeout_at(limit):
            await peer.run()
    except TimeoutError:
        peer.seen.append('hangs')
    except Exception as error:
        peer.seen.append(repr(error))
    try:
        async with asyncio.timeout_at(limit):
            await nothing_is_left()
    except TimeoutError:
        peer.seen.append('lingers')
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                await nothing_is_left()
        except TimeoutError:
            peer.seen.append('stays')
    return peer.seen


async def test_every_bad_input_is_handled_as_listed_and_costs_nobody_else_anything(
    ws_implementation: str,
) -> None:
    failures: list[str] = []
    expected_lines: Counter[str] = Counter()
    few = asyncio.Semaphore(AT_ONCE)
    with all_loggers() as log:
        async with serving(ws_implementation) as serving_all:

            async def check(bad: Bad) -> None:
                expected, lines = expectation(bad, ws_implementation)
                expected_lines.update(lines)
                async with few:
                    log.under_way.add(bad.name)
                    seen = in_words(await observe(bad, expected, serving_all))
                    log.under_way.discard(bad.name)
                if seen.isdisjoint(expected.split(' | ')):
                    failures.append(
                        f'{bad.name}: expected {expected!r}, seen {max(seen, key=len)!r}'
                    )

            served, manager = serving_all.at('/ws')
            enough = asyncio.Event()
            async with served.client('/control') as control, asyncio.TaskGroup() as watching:
                told = watching.create_task(tell_numbers(manager, enough))
                heard = watching.create_task(hear_all(control))
                async with asyncio.TaskGroup() as sending:
                    for bad in BAD_INPUTS:
                        sending.create_task(check(bad))
                enough.set()
            if heard.result() != list(range(told.result())):
                failures.append(
                    f'the control connection: told {told.result()}, heard {heard.result()}'
                )
            failures += await what_is_left(serving_all)
        gc.collect()  # now a task that failed unseen is logged
    failures += log.differences(expected_lines)
    assert not failures, '\n'.join(['', *failures])


def expectation(bad: Bad, implementation: str) -> tuple[str, list[str]]:
    """What should be seen of an input, and logged."""
    seen = (
        bad.seen if isinstance(bad.seen, str) else bad.seen[IMPLEMENTATIONS.index(implementation)]
    )
    seen, *logged = seen.split(', logs ')
    return seen, [LINES[each] for each in logged]


async def what_is_left(serving_all: Serving) -> list[str]:
    """What the managers still have, once nobody but the one that fills `/full/ws` is there."""
    problems = []
    for path, manager in serving_all.managers.items():
        expected = (1 if path == '/full/ws' else 0, 0, 0, 0)
        with suppress(TimeoutError):
            async with asyncio.timeout(LIMIT_SECONDS):
                while manager.stats().connections > expected[0]:
                    await asyncio.sleep(0.001)
        stats = manager.stats()
        left = (stats.connections, stats.rooms, stats.users, stats.topic_filters)
        if left != expected or stats.errors.get('crash', 0) or stats.evicted:
            problems.append(f'{path} has at the end {stats}')
    return problems


def test_the_list_is_long_and_has_no_name_twice() -> None:
    names = Counter(bad.name for bad in BAD_INPUTS)
    assert len(names) >= 120
    assert [name for name, count in names.items() if count > 1] == []


def test_no_input_may_be_the_servers_fault() -> None:
    assert [bad.name for bad in BAD_INPUTS if '1011' in str(bad.seen)] == []
