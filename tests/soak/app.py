"""The app under check: plain resources and the default settings; and what tells its figures."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
from pathlib import Path
import sys
from time import perf_counter
from typing import Any

import falcon
import falcon.asgi

from falcon_ws_mw import WebSocketConnectionManager, install
from falcon_ws_mw.lifespan import WebSocketLifespan
from falcon_ws_mw.websocket import WebSocket

LIBC = ctypes.CDLL(None)

TICK_HEAD = b'{"type":"tick","payload":"'
"""How each message of `Publisher` begins; number and time follow, each of a fixed length."""

NUMBER_DIGITS, TIME_DIGITS = 8, 17


class Echo:
    """Answers what is asked, and hears what is only said."""

    async def on_ws_echo(self, ws: WebSocket, payload: Any) -> Any:
        """Answer, where the message is a request."""
        return payload


class Room:
    """One room for all."""

    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        """Join."""
        await ws.join_room('all')
        await ws.send_message('joined')


class Visits:
    """Lets a user into rooms, and out again."""

    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket, user: str) -> None:
        """Say who it is."""
        await ws.identify(user)

    async def on_ws_join(self, ws: WebSocket, payload: str) -> str:
        """Into a room."""
        await ws.join_room(payload)
        return payload

    async def on_ws_leave(self, ws: WebSocket, payload: str) -> str:
        """Out of a room."""
        await ws.leave_room(payload)
        return payload


class Publisher:
    """Says messages of one length to the room at a steady rate, and answers when it is done."""

    def __init__(self, manager: WebSocketConnectionManager) -> None:
        self.manager = manager

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Say so many messages, each with its number and the time at which it was due.

        The time is not that of sending: what holds the publisher up is latency too.
        """
        plan = await req.get_media()
        first, count, rate, size = (plan[key] for key in ('first', 'count', 'rate', 'size'))
        filler = '.' * (size - len(TICK_HEAD) - NUMBER_DIGITS - TIME_DIGITS - 4)
        start, late = perf_counter() + 0.1, []
        for number in range(count):
            due = start + number / rate
            await asyncio.sleep(max(due - perf_counter(), 0))
            late.append(perf_counter() - due)
            text = f'{first + number:0{NUMBER_DIGITS}} {due:0{TIME_DIGITS}.6f} {filler}'
            await self.manager.broadcast_to_room('all', {'type': 'tick', 'payload': text})
        resp.media = {'late_seconds': late, 'seconds': perf_counter() - start}


class Figures:
    """What the process holds."""

    def __init__(self, manager: WebSocketConnectionManager) -> None:
        self.manager = manager

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Count, after the garbage has been collected."""
        gc.collect()
        stats = self.manager.stats()
        used, free = _malloc()
        resp.media = {
            'resident_bytes': _resident_bytes(),
            'tasks': len(asyncio.all_tasks()),
            'descriptors': _descriptors(),
            'blocks': sys.getallocatedblocks(),
            'malloc_used_bytes': used,
            'malloc_free_bytes': free,
            'connections': stats.connections,
            'rooms': stats.rooms,
            'users': stats.users,
            'dropped': stats.dropped,
            'slow_consumers': stats.slow_consumers,
            'evicted': stats.evicted,
        }

    async def on_delete(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Give back what malloc holds free; answer what remains."""
        gc.collect()
        if hasattr(LIBC, 'malloc_trim'):
            LIBC.malloc_trim(0)
        resp.media = {'resident_bytes': _resident_bytes()}


def _resident_bytes() -> int:
    return int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def _descriptors() -> int:
    return len(list(Path('/proc/self/fd').iterdir()))


class _Mallinfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *('arena', 'ordblks', 'smblks', 'hblks', 'hblkhd'),
            *('usmblks', 'fsmblks', 'uordblks', 'fordblks', 'keepcost'),
        )
    ]


def _malloc() -> tuple[int, int]:
    """Bytes that malloc has given out, and that it holds free (glibc 2.33; else zeros)."""
    if not hasattr(LIBC, 'mallinfo2'):
        return 0, 0
    LIBC.mallinfo2.restype = _Mallinfo
    found = LIBC.mallinfo2()
    return found.uordblks + found.hblkhd, found.fordblks


def _app() -> WebSocketLifespan:
    manager = WebSocketConnectionManager()
    inner: falcon.asgi.App = falcon.asgi.App()  # type: ignore[type-arg]
    inner.add_route('/figures', Figures(manager))
    inner.add_route('/publish', Publisher(manager))
    inner.add_route('/echo', Echo())
    inner.add_route('/room', Room())
    inner.add_route('/visits/{user}', Visits())
    return install(inner, manager=manager)


app = _app()
