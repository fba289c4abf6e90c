"""One message to many connections: encoded once, nobody waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

from falcon_ws_mw.connection import Connection
from falcon_ws_mw.envelope import Frame
from falcon_ws_mw.errors import MessageTooBig
from falcon_ws_mw.options import SlowConsumer
from falcon_ws_mw.outbox import Key
from falcon_ws_mw.reports import DeliveryReport


def post_all(
    connections: list[Connection],
    frame: Frame,
    size: int,
    *,
    slow_consumer: SlowConsumer | None = None,
    key: Key | None = None,
) -> DeliveryReport:
    """Post one frame to each of many connections.

    PERF: what a delivery costs beside the server's send are cache misses, so nothing of a
    connection is touched but one slot, and its send is begun here and not a call further down.

    Args:
        connections: Who gets it.
        frame: The ASGI event.
        size: Its bytes of payload.
        slow_consumer: What it does where there is no room (default: as each connection says).
        key: Replaces the message that waits under the same key.
    """
    dropped = 0
    for connection in connections:
        send = connection.direct
        if send is None:
            if not connection.post(frame, size, slow_consumer=slow_consumer, key=key):
                dropped += 1
            continue
        try:
            sending = send(frame)
            steps = sending.__await__()
            for blocked_on in steps:
                connection.blocked(sending, blocked_on, steps)
                break
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # see `broken`
            connection.broken(error)
            dropped += 1
    return DeliveryReport(len(connections) - dropped, dropped)


def those_who_can_take(connections: list[Connection], size: int) -> list[Connection]:
    """Leave out connections whose outbox is shorter than one message.

    Raises:
        MessageTooBig: If that is all of them.
    """
    able = [
        connection
        for connection in connections
        if connection.limits.max_outbox_bytes is None or size <= connection.limits.max_outbox_bytes
    ]
    if connections and not able:
        raise MessageTooBig(size, max(each.limits.max_outbox_bytes or 0 for each in connections))
    return able


class Websockets(Mapping[str, Any]):
    """A live, read-only view: connection id → `ws`."""

    __slots__ = ('_connections',)

    def __init__(self, connections: dict[str, Connection]) -> None:
        self._connections = connections

    def __getitem__(self, connection_id: str) -> Any:
        return self._connections[connection_id].websocket

    def __iter__(self) -> Iterator[str]:
        return iter(self._connections)

    def __len__(self) -> int:
        return len(self._connections)
