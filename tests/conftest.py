"""What all tests share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
import logging
import re

import pytest
import pytest_asyncio

from .servers import IMPLEMENTATIONS


@pytest.fixture(params=IMPLEMENTATIONS)
def ws_implementation(request: pytest.FixtureRequest) -> str:
    """Each of uvicorn's WebSocket implementations in turn."""
    name: str = request.param
    return name


@pytest_asyncio.fixture(autouse=True)
async def no_task_is_left() -> AsyncIterator[None]:
    """A task that outlives its test is a leak, whoever started it."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f'tasks were left behind: {left}'


def shown(value: object) -> str:
    """The id of a case: the same in each process."""
    return re.sub(r" at 0x[0-9a-f]+| id='[0-9]+'", '', ascii(value))


class Logs:
    """What was logged at WARNING or above, uvicorn's and asyncio's lines included."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    @property
    def lines(self) -> list[str]:
        return [
            f'{record.name}: {record.getMessage()}'
            for record in self._caplog.records
            if record.levelno >= logging.WARNING or record.name.startswith('falcon')
        ]

    def take(self) -> list[str]:
        """The lines so far; from here on they count as seen."""
        lines = self.lines
        self._caplog.clear()
        return lines


@pytest.fixture
def logs(caplog: pytest.LogCaptureFixture) -> Logs:
    """The log of this test. Whoever expects a line has to `take` it."""
    caplog.set_level(logging.INFO)
    return Logs(caplog)
