"""Every touch of an ASGI server's private names, each with what happens where it is gone.

ASGI has no way to cut a connection: `send` blocks on a peer that does not read, and so does a
close. Where the transport can be found it is aborted, and reset: a plain abort leaves up to 4 MB a
peer in the kernel (FIN_WAIT1).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
import contextlib
from functools import partial
import inspect
import os
import socket
import struct
from typing import Any, Final

_TRANSPORT_NAMES: Final = ('transport', '_transport')

_MAX_STEPS: Final = 200
"""How many objects are looked at for a transport."""


_SERVER_SETTINGS: Final = {
    'uvicorn': (
        'forwarded_allow_ips',
        'proxy_headers',
        'timeout_graceful_shutdown',
        'ws',
        'ws_max_size',
        'ws_per_message_deflate',
    ),
    'hypercorn': ('websocket_max_message_size', 'graceful_timeout', 'websocket_ping_interval'),
}


def settings_of(receive: object) -> tuple[str, dict[str, Any]]:
    """The name of a server, and those of its settings that concern WebSockets.

    Looked for in the object whose method the `receive` of its lifespan is.

    Fall-back: no name and no settings.

    Args:
        receive: The ASGI receive of a lifespan scope.
    """
    config = _attribute(_attribute(receive, '__self__'), 'config')
    server = type(config).__module__.partition('.')[0]
    names = _SERVER_SETTINGS.get(server, ())
    found = {name: _attribute(config, name) for name in names if hasattr(config, name)}
    protocol = _attribute(config, 'ws_protocol_class')
    if protocol is not None and 'wsproto' in getattr(protocol, '__module__', ''):
        found['ws'] = 'wsproto'  # what `--ws auto` took
    return server, found


def transport_of(send: object, receive: object, task: asyncio.Task[Any] | None = None) -> Any:
    """The transport of the socket behind an ASGI connection.

    Looked for in the server's own object whose coroutine the task runs (uvicorn: its protocol), as
    long as it does; then in the server's send and receive, and in what other ASGI middleware has
    put around them, which may hold sockets of its own.

    Fall-back: `None`.

    Args:
        send: The ASGI send.
        receive: The ASGI receive.
        task: The task that runs the ASGI application for this connection.
    """
    frame = getattr(task.get_coro(), 'cr_frame', None) if task is not None else None
    server = None if frame is None else frame.f_locals.get('self')
    transport = None if server is None else _transport_behind([server])
    return transport or _transport_behind([send, receive])


def pause_reading(transport: Any) -> None:
    """Read no more from a socket."""
    with contextlib.suppress(RuntimeError):  # uvloop's, of one that is paused or closing
        transport.pause_reading()


def cut(transport: Any) -> None:
    """Cut a socket: reset it, whatever waits for its peer."""
    _reset_on_close(transport)
    transport.abort()


def abort(send: object, receive: object, task: asyncio.Task[Any] | None = None) -> bool:
    """Cut the socket behind an ASGI connection, where `transport_of` finds it.

    Returns:
        Whether it was found, and cut.
    """
    transport = transport_of(send, receive, task)
    if transport is None:
        return False
    cut(transport)
    return True


def _transport_behind(starts: list[object]) -> Any:
    waiting = deque(starts)
    seen: set[int] = set()
    while waiting and len(seen) < _MAX_STEPS:
        thing = waiting.popleft()
        if thing is None or id(thing) in seen:
            continue
        seen.add(id(thing))
        for name in _TRANSPORT_NAMES:
            transport = _attribute(thing, name)
            if _is_transport(transport):
                return transport
        waiting.extend(_behind(thing))
    return None


def _attribute(thing: object, name: str) -> Any:
    """An attribute of an object that may answer anything, for one with an error too."""
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001  # an app's own
        return None


def _is_transport(thing: object) -> bool:
    """Whether it is a socket's transport; uvloop's are no `asyncio.Transport`."""
    return all(hasattr(type(thing), name) for name in ('abort', 'get_extra_info', 'write'))


def _behind(thing: object) -> Iterator[object]:
    """What a callable works with: its object, its closure, its arguments."""
    if isinstance(thing, partial):
        yield thing.func
        yield from thing.args
        yield from thing.keywords.values()
    elif inspect.ismethod(thing):
        yield thing.__self__
    elif inspect.isfunction(thing):
        for cell in thing.__closure__ or ():
            with contextlib.suppress(ValueError):  # an empty cell
                yield cell.cell_contents
    elif not isinstance(thing, (type, str, bytes, int, dict, list, tuple)):
        attributes = _attribute(thing, '__dict__') or {}
        yield from (value for name, value in attributes.items() if 'send' in name)
        yield from (value for name, value in attributes.items() if 'receive' in name)


def _reset_on_close(transport: asyncio.Transport) -> None:
    """Have the kernel drop what it has queued (SO_LINGER with a time of 0: RST)."""
    sock = transport.get_extra_info('socket')
    try:
        descriptor = os.dup(sock.fileno())  # uvloop's own has no setsockopt
    except (AttributeError, OSError):
        return
    with socket.socket(fileno=descriptor) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
