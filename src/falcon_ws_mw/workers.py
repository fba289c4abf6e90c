"""Background workers: started with the app, watched, restarted, stopped in reverse order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
import functools
import inspect
import logging
from typing import Any

from falcon_ws_mw import cancellation
from falcon_ws_mw.backoff import Backoff
from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.options import RestartPolicy, check_choice
from falcon_ws_mw.reports import WorkerState, WorkerStats

logger = logging.getLogger('falcon_ws_mw')

WorkerFunction = Callable[..., Awaitable[None]]


class Worker:
    """One worker: what runs, and how it goes."""

    def __init__(
        self,
        function: WorkerFunction,
        args: tuple[Any, ...] = (),
        *,
        name: str | None = None,
        restart: RestartPolicy = 'on_failure',
    ) -> None:
        unwrapped = function
        while isinstance(unwrapped, functools.partial):
            unwrapped = unwrapped.func
        if not _is_coroutine_function(unwrapped):
            raise ConfigurationError(
                f'a worker is a coroutine function, {function!r} is not one: '
                'define it with `async def` and pass it uncalled, its arguments behind it'
            )
        check_choice('restart', restart, RestartPolicy)
        try:
            inspect.signature(function).bind(*args)
        except TypeError as error:
            raise ConfigurationError(f'the worker {function!r} cannot be called: {error}') from None
        self.function = function
        self.args = args
        self.name = str(name or getattr(unwrapped, '__qualname__', type(unwrapped).__name__))
        self.restart = restart
        self.state: WorkerState = 'waiting'
        self.restarts = 0
        self.last_error: str | None = None
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Run it in the current event loop."""
        self.state = 'running'
        self.restarts = 0
        self.task = asyncio.create_task(self._supervise(), name=f'falcon_ws_mw worker {self.name}')

    async def stop(self, grace_seconds: float) -> None:
        """Cancel it and wait for it, but no longer than the grace."""
        task, self.task = self.task, None
        if task is None:
            return
        task.cancel()
        _, unfinished = await asyncio.wait([task], timeout=grace_seconds)
        if unfinished:
            logger.error(
                'the worker %s ignored its cancellation for %g s and was left behind',
                self.name,
                grace_seconds,
            )
        elif self.state in {'running', 'backing_off'}:
            self.state = 'stopped'

    async def _supervise(self) -> None:
        clock = asyncio.get_running_loop().time
        backoff = Backoff()
        while True:
            started = clock()
            crashed = await self._run_once()
            if self.task is not asyncio.current_task():
                return  # stopped: a cancellation may be answered by returning, or by a crash
            if self.restart == 'never' or (self.restart == 'on_failure' and not crashed):
                self.state = 'failed' if crashed else 'finished'
                return
            self.state = 'backing_off'
            await asyncio.sleep(backoff.pause_after(clock() - started))
            self.restarts += 1
            self.state = 'running'

    async def _run_once(self) -> bool:
        try:
            await self.function(*self.args)
        except Exception as error:
            self.last_error = f'{type(error).__name__}: {error}'
            logger.exception('the worker %s crashed', self.name)
            return True
        except asyncio.CancelledError:
            if cancellation.is_for_this_task():
                raise
            self.last_error = 'CancelledError'
            logger.exception('the worker %s was cancelled by something that it awaited', self.name)
            return True
        except BaseException as error:
            self.last_error = type(error).__name__
            self.state = 'failed'
            logger.critical('the worker %s was ended by %s', self.name, type(error).__name__)
            raise
        return False


def _is_coroutine_function(function: object) -> bool:
    if isinstance(function, type):
        return False  # calling it makes an object, whatever that object can do
    if inspect.isroutine(function):
        return inspect.iscoroutinefunction(function)
    return inspect.iscoroutinefunction(getattr(function, '__call__', None))  # noqa: B004


class WorkerSupervisor:
    """The workers of one app.

    Args:
        grace_seconds: How long a worker may take to end once it is cancelled (default 5).
    """

    def __init__(self, grace_seconds: float = 5.0) -> None:
        self.grace_seconds = grace_seconds
        self.started = False
        self._workers: list[Worker] = []

    def add(self, worker: Worker) -> None:
        """Add a worker; it starts with the app, or at once if the app has started."""
        self._workers.append(worker)
        if self.started:
            worker.start()

    def start(self) -> None:
        """Start all workers, in the order they were added."""
        self.started = True
        for worker in self._workers:
            worker.start()

    async def stop(self) -> None:
        """Stop all workers, in reverse order, each awaited before the next."""
        self.started = False
        for worker in reversed(self._workers):
            await worker.stop(self.grace_seconds)

    def stats(self) -> tuple[WorkerStats, ...]:
        """How each of them stands."""
        return tuple(
            WorkerStats(worker.name, worker.state, worker.restarts, worker.last_error)
            for worker in self._workers
        )

    def __len__(self) -> int:
        return len(self._workers)
