"""Sending from outside an app: from a cron job, a WSGI app, a worker without sockets.

What is sent goes by the app's backend, as if one of its processes had sent it.
"""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
import contextlib
import functools
import os
import threading
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar
import weakref

from falcon_ws_mw.backends import Backend
from falcon_ws_mw.codec import Codecs
from falcon_ws_mw.envelope import DEFAULT_ENVELOPE, AnyEnvelope
from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.everywhere import Everywhere
from falcon_ws_mw.reports import BackendHealth

STOP_SECONDS: Final = 15.0
"""How long disconnecting may take. A backend is to be quicker by itself."""

P = ParamSpec('P')
Result = TypeVar('Result')


class AsyncEmitter(Everywhere):
    """Has the manager's awaitable calls, and no connections of its own.

        async with AsyncEmitter('redis://localhost:6379/0') as emitter:
            await emitter.broadcast_to_room('news', {'type': 'news', 'payload': 'hello'})

    It is bound to the event loop in which it is started. Reports speak of its own process, so they
    are empty, but for calls that concern one connection.

    Args:
        backend: The app's own: the same URL, with the same options.
        envelope: The app's own (default: the default envelope).

    Raises:
        ConfigurationError: If no backend goes by that URL, or it reaches nobody.
    """

    def __init__(self, backend: str | Backend, *, envelope: AnyEnvelope = DEFAULT_ENVELOPE) -> None:
        super().__init__(backend, presence_debounce_seconds=0, outage_policy='wait')
        if not self.backend.is_shared:
            raise ConfigurationError(
                f'backend={backend!r} reaches nobody from here: give the URL of the backend by '
                "which the app's processes are linked, for example 'redis://localhost:6379/0'"
            )
        self.codecs = Codecs(envelope=envelope)

    async def __aenter__(self) -> Self:
        """Start it."""
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop it."""
        await self.stop()

    def health(self) -> BackendHealth:
        """How the backend stands."""
        return self.backend.health()


def _blocking(
    call: Callable[Concatenate[AsyncEmitter, P], Coroutine[Any, Any, Result]],
) -> Callable[Concatenate[Emitter, P], Result]:
    """The same call, which blocks its thread until it is done."""

    def blocking(self: Emitter, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        return self._wait_for(lambda emitter: call(emitter, *args, **kwargs))

    functools.update_wrapper(blocking, call)
    return blocking


class _Running:
    """An emitter in an event loop, in a thread of its own."""

    def __init__(self, backend: str, envelope: AnyEnvelope) -> None:
        self.emitter = AsyncEmitter(backend, envelope=envelope)
        self._loop = asyncio.new_event_loop()
        self._executor = ThreadPoolExecutor(1, 'falcon_ws_mw emitter')
        self._loop.set_default_executor(self._executor)
        self._thread = threading.Thread(target=self._run, name='falcon_ws_mw emitter', daemon=True)
        self._thread.start()
        try:
            self.wait_for(self.emitter.start())
        except BaseException:
            self.end_soon()
            raise

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._executor.shutdown(wait=False)
            self._loop.close()

    def wait_for(self, work: Coroutine[Any, Any, Result]) -> Result:
        done = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return done.result()
        except BaseException:  # Ctrl-C, say: what nobody waits for is not to go on
            done.cancel()
            raise

    def end_soon(self) -> None:
        """End it, without waiting: whoever calls may be its own thread, or a garbage collector."""
        with contextlib.suppress(RuntimeError):  # its loop is closed already
            self._loop.call_soon_threadsafe(self._begin_to_end)

    def _begin_to_end(self) -> None:
        self._ending = self._loop.create_task(self._end())

    async def _end(self) -> None:
        try:
            await self.emitter.stop()
        finally:
            self._loop.stop()

    def end(self) -> None:
        """End it, and wait for that, but not for ever."""
        self.end_soon()
        self._thread.join(STOP_SECONDS)


class Emitter:
    """Has the manager's calls, for code that does not await: each blocks until it is done.

        emitter = Emitter('redis://localhost:6379/0')
        emitter.broadcast_to_room('news', {'type': 'news', 'payload': 'hello'})

    It connects with its first call, and may be used by any thread, and after a fork. It disconnects
    with `close()`, as a context manager, or when the interpreter ends. No call takes longer than
    the backend's own limits say.

    Args:
        backend: The app's own: the same URL, with the same options.
        envelope: The app's own (default: the default envelope).

    Raises:
        ConfigurationError: If no backend goes by that URL, or it reaches nobody from here.
    """

    def __init__(self, backend: str, *, envelope: AnyEnvelope = DEFAULT_ENVELOPE) -> None:
        emitter = AsyncEmitter(backend, envelope=envelope)  # what is wrong is said here and now
        if emitter.backend.guarantee.reaches == 'process':
            raise ConfigurationError(
                f'backend={emitter.backend.url!r} links managers of one event loop, and Emitter '
                'has one of its own: use AsyncEmitter there, or redis://'
            )
        self._backend = backend
        self._envelope = envelope
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._at_end: weakref.finalize[..., Emitter] | None = None
        _EMITTERS.add(self)

    def _wait_for(self, work: Callable[[AsyncEmitter], Coroutine[Any, Any, Result]]) -> Result:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            running = self._run()
            return running.wait_for(work(running.emitter))
        raise RuntimeError('Emitter blocks, and here an event loop runs: use AsyncEmitter')

    def _run(self) -> _Running:
        with self._lock:
            if self._running is None:
                self._running = _Running(self._backend, self._envelope)
                self._at_end = weakref.finalize(self, self._running.end_soon)
                self._at_end.atexit = False  # then it is waited for
            return self._running

    def close(self) -> None:
        """Disconnect. A later call connects anew."""
        with self._lock:
            running, self._running = self._running, None
            if self._at_end is not None:
                self._at_end.detach()
        if running is not None:
            running.end()

    def forked(self) -> None:
        """Nothing of the parent's is here: neither its thread, nor who holds its lock."""
        self._lock = threading.Lock()
        self._running = None
        if self._at_end is not None:
            self._at_end.detach()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Disconnect."""
        self.close()

    send_to_connection = _blocking(AsyncEmitter.send_to_connection)
    request_connection = _blocking(AsyncEmitter.request_connection)
    broadcast_to_room = _blocking(AsyncEmitter.broadcast_to_room)
    broadcast = _blocking(AsyncEmitter.broadcast)
    publish = _blocking(AsyncEmitter.publish)
    send_to_user = _blocking(AsyncEmitter.send_to_user)
    broadcast_to_users = _blocking(AsyncEmitter.broadcast_to_users)
    join_room = _blocking(AsyncEmitter.join_room)
    leave_room = _blocking(AsyncEmitter.leave_room)
    subscribe = _blocking(AsyncEmitter.subscribe)
    unsubscribe = _blocking(AsyncEmitter.unsubscribe)
    identify = _blocking(AsyncEmitter.identify)
    close_connection = _blocking(AsyncEmitter.close_connection)
    close_user = _blocking(AsyncEmitter.close_user)
    get_room_names = _blocking(AsyncEmitter.get_room_names)
    get_rooms_by_prefix = _blocking(AsyncEmitter.get_rooms_by_prefix)
    count_connections_in_room = _blocking(AsyncEmitter.count_connections_in_room)
    get_users_in_room = _blocking(AsyncEmitter.get_users_in_room)


_EMITTERS: Final[weakref.WeakSet[Emitter]] = weakref.WeakSet()


def _forget_the_parents() -> None:
    for emitter in list(_EMITTERS):
        emitter.forked()


def _close_all() -> None:
    for emitter in list(_EMITTERS):
        emitter.close()


if hasattr(os, 'register_at_fork'):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_forget_the_parents)
atexit.register(_close_all)
