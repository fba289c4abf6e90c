"""Workers: started, watched, restarted and stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
import functools
import logging
import math
import random
from typing import Any

import pytest

from falcon_ws_mw import workers
from falcon_ws_mw.backoff import Backoff
from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.options import RestartPolicy
from falcon_ws_mw.workers import Worker, WorkerSupervisor

from .conftest import shown
from .servers import PATIENCE_SECONDS


@pytest.fixture(autouse=True)
def restart_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause before a restart, as tests wait for nothing but events."""
    monkeypatch.setattr(workers, 'Backoff', functools.partial(Backoff, first_seconds=0))


async def soon(awaitable: Awaitable[Any]) -> None:
    """Wait for what has to happen, and fail instead of hanging where it does not."""
    await asyncio.wait_for(awaitable, PATIENCE_SECONDS)


async def settled() -> None:
    """Let every task run until it waits for something."""
    for _ in range(10):
        await asyncio.sleep(0)


class Script:
    """A worker that ends as it is told, run by run, and then goes on for ever.

    Args:
        endings: What each run does: `None` returns, an exception is raised.
    """

    def __init__(self, *endings: BaseException | None) -> None:
        self.endings = list(endings)
        self.runs = 0
        self.goes_on = asyncio.Event()

    async def __call__(self) -> None:
        self.runs += 1
        if self.endings:
            ending = self.endings.pop(0)
            if ending is not None:
                raise ending
            return
        self.goes_on.set()
        await asyncio.Event().wait()


def supervised(*added: Worker, grace_seconds: float = PATIENCE_SECONDS) -> WorkerSupervisor:
    supervisor = WorkerSupervisor(grace_seconds)
    for worker in added:
        supervisor.add(worker)
    return supervisor


async def for_ever() -> None:
    await asyncio.Event().wait()


# -- the pause before a restart


def unjittered(_: float, high: float) -> float:
    return high


@pytest.fixture
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, 'uniform', unjittered)


@pytest.mark.usefixtures('no_jitter')
def test_a_pause_is_twice_the_one_before_up_to_the_longest() -> None:
    backoff = Backoff()

    pauses = [backoff.pause_after(0) for _ in range(11)]

    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30])


@pytest.mark.usefixtures('no_jitter')
@pytest.mark.parametrize(('ran_seconds', 'pause'), [(29.9, 0.8), (30, 0.1), (math.inf, 0.1)])
def test_after_a_long_run_the_pause_is_the_first_again(ran_seconds: float, pause: float) -> None:
    backoff = Backoff()
    for _ in range(3):
        backoff.pause_after(0)

    assert backoff.pause_after(ran_seconds) == pytest.approx(pause)


@pytest.mark.usefixtures('no_jitter')
def test_after_a_long_run_the_pauses_grow_anew() -> None:
    backoff = Backoff()
    for ran_seconds in (0, 0, 0, 30):
        backoff.pause_after(ran_seconds)

    assert backoff.pause_after(0) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ('jitter', 'pause'), [(min, 5.0), (max, 10.0)], ids=['the least', 'the most']
)
def test_a_pause_is_jittered_down_to_half(
    jitter: Callable[[float, float], float], pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, 'uniform', jitter)

    assert Backoff(first_seconds=10).pause_after(0) == pause


# -- what can be a worker


def no_coroutine_function() -> Awaitable[None]:
    return for_ever()


class Ticker:
    async def __call__(self) -> None: ...

    async def tick(self) -> None: ...

    def no_coroutine(self) -> None: ...


@pytest.mark.parametrize(
    ('function', 'name'),
    [
        (for_ever, 'for_ever'),
        (Ticker().tick, 'Ticker.tick'),
        (Ticker(), 'Ticker'),
        (functools.partial(for_ever), 'for_ever'),
        (functools.partial(functools.partial(for_ever)), 'for_ever'),
        (functools.partial(Ticker()), 'Ticker'),
        (functools.partial(Ticker().tick), 'Ticker.tick'),
    ],
)
def test_a_worker_is_a_coroutine_function_however_it_is_bound(
    function: Callable[..., Awaitable[None]], name: str
) -> None:
    assert Worker(function).name == name


def test_a_worker_can_be_given_a_name() -> None:
    assert Worker(for_ever, name='the ticker').name == 'the ticker'


@pytest.mark.parametrize(
    'function',
    [
        Ticker().no_coroutine,
        functools.partial(Ticker().no_coroutine),
        no_coroutine_function,
        print,
        Ticker,
        functools.partial(Ticker),
        object(),
        'for_ever',
        None,
    ],
    ids=shown,
)
def test_anything_else_is_refused_and_named_with_the_cure(function: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Worker(function)

    text = str(caught.value)
    assert repr(function) in text
    assert '`async def`' in text


async def greet(name: str, *, loudly: bool = False) -> None: ...


@pytest.mark.parametrize(
    ('function', 'args'),
    [
        (greet, ()),
        (greet, ('ada', 'bob')),
        (functools.partial(greet, 'ada'), ('bob',)),
        (Ticker().tick, ('ada',)),
        (Ticker(), ('ada',)),
    ],
)
def test_arguments_that_the_worker_does_not_take_are_refused(
    function: Callable[..., Awaitable[None]], args: tuple[Any, ...]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Worker(function, args)

    assert repr(function) in str(caught.value)


def test_a_restart_policy_is_one_of_three() -> None:
    policy: Any = 'sometimes'

    with pytest.raises(ConfigurationError, match="restart='sometimes': expected one of 'always'"):
        Worker(for_ever, restart=policy)


# -- start


async def test_a_worker_waits_for_the_start() -> None:
    supervisor = supervised(Worker(for_ever))

    (stats,) = supervisor.stats()
    assert (stats.state, stats.restarts, stats.last_error) == ('waiting', 0, None)


async def test_a_worker_is_called_with_its_arguments() -> None:
    calls: list[tuple[Any, ...]] = []

    async def worker(*args: Any) -> None:
        calls.append(args)

    started = Worker(worker, ('ada', 3))
    supervised(started).start()
    await soon(task_of(started))

    assert calls == [('ada', 3)]


def task_of(worker: Worker) -> asyncio.Task[None]:
    assert worker.task is not None
    return worker.task


async def test_workers_start_in_the_order_in_which_they_were_added() -> None:
    started: list[str] = []

    async def worker(name: str) -> None:
        started.append(name)

    last = Worker(worker, ('c',))
    supervised(Worker(worker, ('a',)), Worker(worker, ('b',)), last).start()
    await soon(task_of(last))

    assert started == ['a', 'b', 'c']


async def test_a_worker_that_is_added_after_the_start_starts_at_once() -> None:
    script = Script()
    supervisor = supervised()
    supervisor.start()

    supervisor.add(Worker(script))

    await soon(script.goes_on.wait())
    await supervisor.stop()


async def test_a_worker_that_is_added_after_the_stop_waits_for_the_next_start() -> None:
    supervisor = supervised()
    supervisor.start()
    await supervisor.stop()

    supervisor.add(Worker(for_ever))

    assert supervisor.stats()[0].state == 'waiting'


@pytest.mark.parametrize('stops', [True, False], ids=['stopped', 'its loop just ended'])
def test_workers_start_again_in_a_new_event_loop(stops: bool) -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def worker() -> None:
        loops.append(asyncio.get_running_loop())
        await for_ever()

    supervisor = supervised(Worker(worker))

    async def serve() -> None:
        supervisor.start()
        await settled()
        if stops:
            await supervisor.stop()

    for _ in range(2):
        with asyncio.Runner() as runner:
            runner.run(serve())

    assert len(loops) == 2
    assert loops[0] is not loops[1]


# -- restart


@pytest.mark.parametrize(
    ('restart', 'ending', 'state'),
    [
        ('never', None, 'finished'),
        ('never', RuntimeError(), 'failed'),
        ('on_failure', None, 'finished'),
    ],
)
async def test_this_ending_is_the_last(
    restart: RestartPolicy, ending: Exception | None, state: str
) -> None:
    script = Script(ending)
    worker = Worker(script, restart=restart)
    worker.start()

    await soon(task_of(worker))

    assert (worker.state, script.runs) == (state, 1)


@pytest.mark.parametrize(
    ('restart', 'ending'),
    [('on_failure', RuntimeError()), ('always', RuntimeError()), ('always', None)],
)
async def test_after_this_ending_the_worker_runs_again(
    restart: RestartPolicy, ending: Exception | None
) -> None:
    script = Script(ending, ending)
    worker = Worker(script, restart=restart)
    worker.start()

    await soon(script.goes_on.wait())

    assert (worker.state, worker.restarts, script.runs) == ('running', 2, 3)
    await worker.stop(PATIENCE_SECONDS)


async def test_between_two_runs_it_is_backing_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, 'Backoff', functools.partial(Backoff, first_seconds=3600))
    script = Script(RuntimeError())
    worker = Worker(script)
    worker.start()

    await settled()

    assert (worker.state, worker.restarts) == ('backing_off', 0)
    await worker.stop(PATIENCE_SECONDS)


async def test_a_crash_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    error = RuntimeError('out of luck')
    worker = Worker(Script(error), name='the ticker', restart='never')
    worker.start()

    await soon(task_of(worker))

    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, 'the worker the ticker crashed')
    assert record.exc_info is not None
    assert record.exc_info[1] is error


async def test_a_crash_is_visible_in_the_statistics() -> None:
    script = Script(RuntimeError('out of luck'))
    supervisor = supervised(Worker(script, name='the ticker'))
    supervisor.start()

    await soon(script.goes_on.wait())

    (stats,) = supervisor.stats()
    assert (stats.name, stats.restarts, stats.last_error) == (
        'the ticker',
        1,
        'RuntimeError: out of luck',
    )
    await supervisor.stop()


async def test_a_crash_of_one_leaves_the_others_running() -> None:
    script = Script()
    crashing = Worker(Script(RuntimeError()), restart='never')
    supervisor = supervised(crashing, Worker(script))
    supervisor.start()

    await soon(script.goes_on.wait())

    assert [stats.state for stats in supervisor.stats()] == ['failed', 'running']
    await supervisor.stop()


@pytest.mark.parametrize(('restart', 'runs'), [('never', 1), ('on_failure', 2)])
async def test_a_cancellation_of_what_the_worker_awaited_is_a_crash_and_no_stop(
    restart: RestartPolicy, runs: int
) -> None:
    script = Script(asyncio.CancelledError())
    supervisor = supervised(Worker(script, restart=restart))
    supervisor.start()

    await settled()

    assert script.runs == runs
    assert supervisor.stats()[0].last_error == 'CancelledError'
    await supervisor.stop()


async def test_a_cancellation_of_what_the_worker_awaited_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = Worker(Script(asyncio.CancelledError()), name='the ticker', restart='never')
    worker.start()

    await soon(task_of(worker))

    assert [record.getMessage() for record in caplog.records] == [
        'the worker the ticker was cancelled by something that it awaited'
    ]


async def test_restarts_are_counted_since_the_last_start() -> None:
    script = Script(RuntimeError())
    supervisor = supervised(Worker(script))
    supervisor.start()
    await soon(script.goes_on.wait())
    await supervisor.stop()

    supervisor.start()

    assert supervisor.stats()[0].restarts == 0
    await supervisor.stop()


# -- stop


async def test_workers_stop_in_reverse_order_each_before_the_next_is_told() -> None:
    happened: list[str] = []

    async def worker(name: str) -> None:
        try:
            await for_ever()
        finally:
            happened.append(f'{name} was told')
            await settled()
            happened.append(f'{name} has stopped')

    supervisor = supervised(Worker(worker, ('a',)), Worker(worker, ('b',)))
    supervisor.start()
    await settled()

    await supervisor.stop()

    assert happened == ['b was told', 'b has stopped', 'a was told', 'a has stopped']


async def test_a_stop_is_no_crash(caplog: pytest.LogCaptureFixture) -> None:
    supervisor = supervised(Worker(for_ever))
    supervisor.start()
    await settled()

    await supervisor.stop()

    (stats,) = supervisor.stats()
    assert (stats.state, stats.last_error, caplog.records) == ('stopped', None, [])


async def test_a_worker_that_never_ran_stops_too() -> None:
    supervisor = supervised(Worker(for_ever))
    supervisor.start()

    await supervisor.stop()

    assert supervisor.stats()[0].state == 'stopped'


async def test_a_worker_that_is_backing_off_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, 'Backoff', functools.partial(Backoff, first_seconds=3600))
    supervisor = supervised(Worker(Script(RuntimeError())))
    supervisor.start()
    await settled()

    await soon(supervisor.stop())

    assert supervisor.stats()[0].state == 'stopped'


@pytest.mark.parametrize(
    ('ending', 'state'), [(None, 'finished'), (RuntimeError(), 'failed')], ids=['well', 'crashed']
)
async def test_a_worker_that_had_ended_keeps_its_state(
    ending: Exception | None, state: str
) -> None:
    worker = Worker(Script(ending), restart='never')
    worker.start()
    await soon(task_of(worker))

    await worker.stop(PATIENCE_SECONDS)

    assert worker.state == state


async def test_a_supervisor_that_never_started_can_be_stopped() -> None:
    supervisor = supervised(Worker(for_ever))

    await supervisor.stop()

    assert supervisor.stats()[0].state == 'waiting'


@pytest.mark.parametrize('restart', ['on_failure', 'always'])
@pytest.mark.parametrize('ending', [None, RuntimeError()], ids=['by returning', 'by a crash'])
async def test_a_worker_that_answers_its_cancellation_in_its_own_way_is_not_started_again(
    ending: Exception | None, restart: RestartPolicy
) -> None:
    runs = 0

    async def worker() -> None:
        nonlocal runs
        runs += 1
        try:
            await for_ever()
        except asyncio.CancelledError:
            if runs > 1:  # so that a failed test ends, too
                raise
            if ending is not None:
                raise ending from None

    stopping = Worker(worker, restart=restart)
    stopping.start()
    await settled()
    task = task_of(stopping)

    await stopping.stop(0.01)

    has_ended = task.done()
    task.cancel()
    await asyncio.wait([task])
    assert (runs, has_ended) == (1, True)


class Stubborn:
    """A worker that does not end by being cancelled, until it is released."""

    def __init__(self) -> None:
        self.released = asyncio.Event()

    async def __call__(self) -> None:
        while not self.released.is_set():
            try:
                await self.released.wait()
            except asyncio.CancelledError:
                pass


async def test_a_worker_that_ignores_its_cancellation_is_named_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stubborn = Stubborn()
    worker = Worker(stubborn, name='the ticker', restart='never')
    worker.start()
    await settled()
    task = task_of(worker)

    await worker.stop(0.01)

    assert [record.getMessage() for record in caplog.records] == [
        'the worker the ticker ignored its cancellation for 0.01 s and was left behind'
    ]
    stubborn.released.set()
    await soon(task)


async def test_a_worker_that_ignores_its_cancellation_keeps_no_other_from_stopping() -> None:
    stubborn = Stubborn()
    last = Worker(stubborn, restart='never')
    supervisor = supervised(Worker(for_ever), last, grace_seconds=0.01)
    supervisor.start()
    await settled()
    task = task_of(last)

    await supervisor.stop()

    assert supervisor.stats()[0].state == 'stopped'
    stubborn.released.set()
    await soon(task)


async def test_a_worker_that_was_left_behind_does_not_run_again_beside_its_next_start() -> None:
    stubborn = Stubborn()
    worker = Worker(stubborn, restart='always')
    worker.start()
    await settled()
    left_behind = task_of(worker)
    await worker.stop(0.01)
    worker.function = for_ever
    worker.start()

    stubborn.released.set()
    await settled()

    has_ended = left_behind.done()
    left_behind.cancel()
    await asyncio.wait([left_behind])
    await worker.stop(PATIENCE_SECONDS)
    assert has_ended


# -- look


async def test_statistics_come_in_the_order_in_which_workers_were_added() -> None:
    supervisor = supervised(Worker(for_ever, name='a'), Worker(for_ever, name='b'))

    assert [stats.name for stats in supervisor.stats()] == ['a', 'b']


async def test_the_length_of_a_supervisor_is_the_number_of_its_workers() -> None:
    assert len(supervised(Worker(for_ever), Worker(for_ever))) == 2
