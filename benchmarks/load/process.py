"""A process of its own for the load generator."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from concurrent.futures import ProcessPoolExecutor
from functools import partial
import gc
import multiprocessing
from typing import ParamSpec, TypeVar

import uvloop

from benchmarks.servers import raise_file_limit

Params = ParamSpec('Params')
Found = TypeVar('Found')


def in_own_process(
    measure: Callable[Params, Coroutine[object, object, Found]],
    *args: Params.args,
    **kwargs: Params.kwargs,
) -> Found:
    """Run a coroutine function in a new process, and return what it returns.

    Args:
        measure: A coroutine function of a module.
        args: Its arguments, which have to be picklable.
        kwargs: The same by name.
    """
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_run, partial(measure, *args, **kwargs)).result()


def _run(measure: Callable[[], Coroutine[object, object, Found]]) -> Found:
    raise_file_limit()
    gc.disable()  # it lives for seconds, and a pause of its own is no latency of the server
    return uvloop.run(measure())
