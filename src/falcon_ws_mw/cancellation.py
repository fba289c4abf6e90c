"""Whose cancellation it is.

A `CancelledError` means two things: that this task is to end, or that something which it awaited
was cancelled under it, by whomever. Only the first may end a connection or stop a worker.
"""

from __future__ import annotations

import asyncio


def is_for_this_task() -> bool:
    """Whether the current task was asked to end (`Task.cancel`) and has not refused."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def settle(task: asyncio.Task[object]) -> None:
    """Forget the requests to end that a task has refused: it goes on.

    On Python 3.11 and 3.12 a `TaskGroup` that failed leaves one behind, too.
    """
    while task.cancelling():
        task.uncancel()
