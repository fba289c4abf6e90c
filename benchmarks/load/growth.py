"""The manager alone, with sockets that take everything: what its operations cost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
import time

from falcon_ws_mw import WebSocketConnectionManager

MEMBERS = 10
MESSAGE = {'type': 'said', 'payload': {'text': 'x' * 100}}


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU of one operation, in microseconds."""

    join_and_leave: float
    broadcast: float
    come_and_go: float


class Sink:
    """A socket that is always ready."""

    async def send_text(self, payload: str) -> None:
        """Take it."""

    async def send_data(self, payload: bytes) -> None:
        """Take it."""

    async def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Take it."""


async def measure_growth(others: int, repeats: int, operations: int) -> Costs:
    """Measure with so many other connections, each in a room of its own.

    Args:
        others: How many.
        repeats: How often to measure; the least counts, since noise only adds.
        operations: How many in each repeat.
    """
    manager = WebSocketConnectionManager()
    for number in range(others):
        manager.add_connection(f'other-{number}', Sink())
        await manager.join_room(f'other-{number}', f'other-{number}')
    for number in range(MEMBERS):
        manager.add_connection(f'member-{number}', Sink())
        await manager.join_room(f'member-{number}', 'room')
    manager.add_connection('wanderer', Sink())

    async def join_and_leave() -> None:
        await manager.join_room('wanderer', 'room')
        await manager.leave_room('wanderer', 'room')

    async def broadcast() -> None:
        await manager.broadcast_to_room('room', MESSAGE)

    async def come_and_go() -> None:
        manager.add_connection('guest', Sink())
        await manager.join_room('guest', 'room')
        manager.remove_connection('guest')

    return Costs(
        await _cost(join_and_leave, repeats, operations),
        await _cost(broadcast, repeats, operations),
        await _cost(come_and_go, repeats, operations),
    )


async def _cost(operation: Callable[[], Awaitable[None]], repeats: int, operations: int) -> float:
    costs = []
    for _ in range(repeats):
        start = time.process_time()
        for _ in range(operations):
            await operation()
        costs.append(time.process_time() - start)
    return min(costs) / operations * 1e6
