"""Cutting the socket behind an ASGI connection: found through whatever stands around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
import socket
from typing import Any, TypeAlias
from unittest.mock import MagicMock

import pytest
import uvloop

from falcon_ws_mw.asgi import Event, Receive, Send
from falcon_ws_mw.server_internals import abort

from .conftest import shown
from .servers import PATIENCE_SECONDS

LoopFactory: TypeAlias = Callable[[], asyncio.AbstractEventLoop]

every_loop = pytest.mark.parametrize(
    'factory', [asyncio.new_event_loop, uvloop.new_event_loop], ids=['asyncio', 'uvloop']
)


class Protocol(asyncio.Protocol):
    """The server's end of a connection, as uvicorn has it."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)

    async def send(self, event: Event) -> None:
        raise AssertionError('nobody sends')

    async def receive(self) -> Event:
        raise AssertionError('nobody receives')


class PrivateProtocol(Protocol):
    """One that keeps its transport to itself."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport


@dataclass
class Pair:
    """Both ends of a connection; the client's is a plain socket."""

    protocol: Protocol
    client: socket.socket

    async def read(self) -> object:
        """What the client reads next: bytes, or the error by which the connection has ended."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                return await asyncio.get_running_loop().sock_recv(self.client, 65_536)
            except OSError as error:
                return type(error)


@asynccontextmanager
async def connected(protocol_class: type[Protocol] = Protocol) -> AsyncIterator[Pair]:
    loop = asyncio.get_running_loop()
    ours, client = _tcp_pair()
    client.setblocking(False)
    transport, protocol = await loop.connect_accepted_socket(protocol_class, ours)
    with client:
        yield Pair(protocol, client)
        transport.close()
        await protocol.lost


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(('127.0.0.1', 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        return listener.accept()[0], client


# -- what other ASGI middleware puts around a server's send and receive


def nothing(send: Send, receive: Receive) -> tuple[Any, Any]:
    return send, receive


def closures(send: Send, receive: Receive) -> tuple[Any, Any]:
    async def own_send(event: Event) -> None:
        await send(event)

    async def own_receive() -> Event:
        return await receive()

    return own_send, own_receive


def closures_of_closures(send: Send, receive: Receive) -> tuple[Any, Any]:
    for _ in range(20):
        send, receive = closures(send, receive)
    return send, receive


def a_closure_around_itself(send: Send, receive: Receive) -> tuple[Any, Any]:
    again = 0

    async def own_send(event: Event) -> None:
        nonlocal again
        again += 1
        await (own_send(event) if again < 2 else send(event))

    return own_send, own_send


def partials(send: Send, receive: Receive) -> tuple[Any, Any]:
    async def by_position(inner: Send, event: Event) -> None:
        await inner(event)

    async def by_name(*, inner: Receive) -> Event:
        return await inner()

    return partial(by_position, send), partial(by_name, inner=receive)


def an_object_that_sends(send: Send, receive: Receive) -> tuple[Any, Any]:
    class Responder:  # as the compressing middleware of many frameworks
        def __init__(self) -> None:
            self.send = send

        async def send_compressed(self, event: Event) -> None:
            await self.send(event)

    return Responder().send_compressed, None


def a_callable_object(send: Send, receive: Receive) -> tuple[Any, Any]:
    class Sender:
        def __init__(self) -> None:
            self._wrapped_send = send

        async def __call__(self, event: Event) -> None:
            await self._wrapped_send(event)

    return Sender(), None


def only_receive(send: Send, receive: Receive) -> tuple[Any, Any]:
    class Receiver:
        def __init__(self) -> None:
            self.inner_receive = receive

        async def __call__(self) -> Event:
            return await self.inner_receive()

    return object(), Receiver()


def beside_what_answers_anything(send: Send, receive: Receive) -> tuple[Any, Any]:
    class Unbound:  # as the proxies for the current request, outside of one
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError('there is no current request')

    unbound, mock = Unbound(), MagicMock()

    async def own_send(event: Event) -> None:
        mock.note(unbound.request)
        await send(event)

    return own_send, receive


AROUND = [
    nothing,
    closures,
    closures_of_closures,
    a_closure_around_itself,
    partials,
    an_object_that_sends,
    a_callable_object,
    only_receive,
    beside_what_answers_anything,
]

Around = Callable[[Send, Receive], tuple[Any, Any]]


@pytest.mark.parametrize('around', AROUND)
async def test_the_socket_is_reset_through_whatever_is_around(around: Around) -> None:
    async with connected() as pair:
        send, receive = around(pair.protocol.send, pair.protocol.receive)

        assert abort(send, receive) is True

        assert await pair.read() is ConnectionResetError


async def test_a_transport_may_be_private() -> None:
    async with connected(PrivateProtocol) as pair:
        assert abort(pair.protocol.send, pair.protocol.receive) is True

        assert await pair.read() is ConnectionResetError


@every_loop
def test_the_socket_of_every_event_loop_is_reset(factory: LoopFactory) -> None:
    async def run() -> None:
        async with connected() as pair:
            assert abort(pair.protocol.send, pair.protocol.receive) is True
            assert await pair.read() is ConnectionResetError

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(run())


async def test_what_the_kernel_has_queued_does_not_keep_the_socket() -> None:
    async with connected() as pair:
        transport: Any = pair.protocol.transport
        transport.write(bytes(16_000_000))
        assert transport.get_write_buffer_size() > 0

        assert abort(pair.protocol.send, None) is True

        await pair.protocol.lost
        read = await pair.read()
        while isinstance(read, bytes) and read:
            read = await pair.read()
        assert read is ConnectionResetError


async def test_the_socket_is_found_in_the_servers_coroutine_that_the_task_runs() -> None:
    class ServingProtocol(Protocol):
        async def run_asgi(self, app: Callable[[], Awaitable[None]]) -> None:
            await app()

    async with connected(ServingProtocol) as pair:
        inside = asyncio.Event()
        leave = asyncio.Event()

        async def app() -> None:
            inside.set()
            await leave.wait()

        protocol: Any = pair.protocol
        task = asyncio.create_task(protocol.run_asgi(app))
        await inside.wait()

        assert abort(object(), object(), task) is True

        assert await pair.read() is ConnectionResetError
        leave.set()
        await task


# -- where nothing can be found


def a_chain_of(length: int, send: object) -> Any:
    """So many objects around one send, each with its inner one."""

    class Link:
        def __init__(self, inner: object) -> None:
            self.send = inner

    for _ in range(length):
        send = Link(send)
    return send


@pytest.mark.parametrize(
    'send',
    [object(), None, 5, 'send', len, partial(print, 1), MagicMock(), a_chain_of(50, None)],
    ids=shown,
)
async def test_where_there_is_no_transport_nothing_happens(send: object) -> None:
    assert abort(send, send) is False


async def test_a_task_that_has_ended_leads_nowhere() -> None:
    task = asyncio.create_task(asyncio.sleep(0))
    await task

    assert abort(object(), object(), task) is False


async def test_an_empty_cell_leads_nowhere() -> None:
    async def send(event: Event) -> None:
        await later(event)

    assert abort(send, send) is False

    later = send


@pytest.mark.parametrize(('length', 'is_found'), [(100, True), (300, False)])
async def test_the_search_ends(length: int, is_found: bool) -> None:
    async with connected() as pair:
        assert abort(a_chain_of(length, pair.protocol.send), None) is is_found


async def test_what_is_no_transport_is_not_taken_for_one() -> None:
    class Bus:
        aborted = False

        def abort(self) -> None:
            self.aborted = True

    class Publisher:
        def __init__(self) -> None:
            self.transport = Bus()

        async def send(self, event: Event) -> None:
            pass

    publisher = Publisher()

    assert abort(publisher.send, None) is False
    assert not publisher.transport.aborted


@every_loop
def test_a_socket_that_has_gone_is_no_error(factory: LoopFactory) -> None:
    async def run() -> None:
        async with connected() as pair:
            abort(pair.protocol.send, None)
            await pair.protocol.lost

            abort(pair.protocol.send, None)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(run())
