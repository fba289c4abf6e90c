"""What calls report back: frozen snapshots of counts and states."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Protocol

from falcon_ws_mw.channels import Kind

WorkerState = Literal['waiting', 'running', 'backing_off', 'finished', 'failed', 'stopped']
"""A worker's state: not started yet, running, pausing before a restart, ended by itself and not
to be restarted (well, or by a crash), or stopped with the app."""


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """What became of one broadcast in this process.

    Attributes:
        queued: Connections to which the message was handed: given to the server, or waiting in
            the connection's outbox. It proves no receipt.
        dropped: Connections that should have got it and did not.
    """

    queued: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that was sent to a channel has not arrived in this process.

    Attributes:
        kind: `'room'`, `'user'`, `'topic'` or `'all'`.
        name: Which of them. Of topics it is what the topics begin with, as `'prices/'`; of `'all'`
            it is empty.
        lost: How many messages; `None` if the backend lost count, as when it was restarted without
            its data: then there may be none.
        epoch: The count that the lost messages belonged to; opaque.
        after: The number of the last message before the gap, in that count; `None` if there was
            none.
    """

    kind: Kind
    name: str
    lost: int | None
    epoch: str
    after: int | None


ConnectionState = Literal['stopped', 'connecting', 'connected']
"""Of a backend: not started, looking for its engine, or in touch with it."""


@dataclass(frozen=True, slots=True)
class BackendHealth:
    """How a backend stands, in this process.

    Attributes:
        state: Whether it is in touch with its engine.
        state_seconds: How long it has been in that state.
        connects: How often it has got in touch.
        channels: The channels that this process holds.
        waiting: Messages that wait to be taken by the engine.
        sent: Messages that it took.
        unsent: Messages that it did not take in time; their senders were told.
        received: Messages that came from it, own ones included.
        gaps: Gaps that were noticed.
        lost: Messages that were lost, as far as they could be counted.
        undecodable: Messages that were no such, and were ignored.
        last_error: The last failure as text, `None` if there was none.
    """

    state: ConnectionState
    state_seconds: float = 0.0
    connects: int = 0
    channels: int = 0
    waiting: int = 0
    sent: int = 0
    unsent: int = 0
    received: int = 0
    gaps: int = 0
    lost: int = 0
    undecodable: int = 0
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """One worker as it stands.

    Attributes:
        name: Its name, as in the log.
        state: What it is doing.
        restarts: How often it was started again since the app started.
        last_error: The last crash as text, `None` if there was none.
    """

    name: str
    state: WorkerState
    restarts: int
    last_error: str | None


@dataclass(slots=True)
class Counters:
    """What a process counts as it goes; `ManagerStats` explains each.

    Attributes:
        received: Messages.
        delivered: Messages.
        dropped: Messages.
        coalesced: Messages.
        throttled: Messages.
        slow_consumers: Connections.
        evicted: Connections.
        not_aborted: Connections.
        expired: Connections.
        abandoned: Messages.
        unmatched_replies: Messages.
        refusals: Handshakes, by reason.
        limits_hit: Limit to how often it was hit.
        errors: Messages, by kind of error.
    """

    received: int = 0
    delivered: int = 0
    dropped: int = 0
    coalesced: int = 0
    throttled: int = 0
    slow_consumers: int = 0
    evicted: int = 0
    not_aborted: int = 0
    expired: int = 0
    abandoned: int = 0
    unmatched_replies: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    limits_hit: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    def snapshot(self) -> dict[str, Any]:
        """The counts as they stand, by name, as a copy."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            name: dict(value) if isinstance(value, Counter) else value
            for name, value in values.items()
        }


@dataclass(frozen=True, slots=True)
class ManagerStats:
    """This process at a glance; nothing here is cluster-wide.

    Attributes:
        connections: Live connections.
        rooms: Rooms that have a member.
        users: Users that have a connection.
        topic_filters: Topic filters that a connection has subscribed to.
        connections_total: Connections since the manager was made.
        received: Messages that clients have sent to the routes of the library since then, well
            formed or not. Of a resource with an `on_websocket` of its own, those that were taken
            out of its stream.
        delivered: Messages that the manager's sends and broadcasts handed to the server or an
            outbox since then, counted per connection.
        dropped: Messages of theirs that a connection should have got and did not, those included
            that were counted as delivered and gave way in the outbox afterwards.
        coalesced: Messages that were replaced, while they waited, by a newer one with their key.
        throttled: Messages that were held back since their client sends faster than
            `messages_per_second`.
        slow_consumers: Connections that were closed because their outbox was full.
        evicted: Connections that were given up because the server did not take a frame for them,
            or their peer did not answer a close, within `send_timeout_seconds`.
        not_aborted: Those of them whose socket could not be aborted, and was left to the server.
        expired: Connections that were closed since their identity had expired.
        abandoned: Messages that had arrived and were not handled, since their connection had ended.
        unmatched_replies: Answers of clients to no request that waits for one: they came too late,
            or nobody had asked.
        forgotten: Messages for an `on_ws_*` that its resource's old `on_websocket` never came back
            for.
        refusals: Handshakes that were refused, by reason: `'origin'`, `'limit'`, `'denied'` (by
            `on_ws_connect` or a hook), `'crash'`, `'timeout'`, `'configuration'`.
        limits_hit: Name of a limit to how often it was hit.
        errors: Messages that were answered with an error, by kind: `'malformed'`, `'unknown_type'`,
            `'invalid_payload'`, `'unauthenticated'` (its client has yet to say who it is),
            `'http_error'` (raised by the app, or for a name that a client gave), `'crash'`.
        workers: The state of each worker, in the order they were added.
        backend: How what links processes stands; `None` where there is one process only.
    """

    connections: int
    rooms: int
    users: int
    topic_filters: int
    connections_total: int
    received: int
    delivered: int
    dropped: int
    coalesced: int
    throttled: int
    slow_consumers: int
    evicted: int
    not_aborted: int
    expired: int
    abandoned: int
    unmatched_replies: int
    forgotten: int
    refusals: Mapping[str, int]
    limits_hit: Mapping[str, int]
    errors: Mapping[str, int]
    workers: tuple[WorkerStats, ...]
    backend: BackendHealth | None


Outcome = Literal['handled', 'error', 'crash']
"""How a handler ended: it returned; it raised what a client is told; it raised anything else."""


class Meter(Protocol):
    """What measures handlers: set as `manager.meter` before the app serves."""

    def handled(self, resource: str, type: str, outcome: Outcome, seconds: float) -> None:
        """A handler has ended.

        Args:
            resource: The resource's class, by name.
            type: The message's type as its table has it: never what a client made up. Messages of
                other types are handled under `'*'` where the resource takes any.
            outcome: How it ended.
            seconds: How long it took.
        """
