"""Which number has which name in Prometheus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, get_args

from falcon_ws_mw.options import Limits
from falcon_ws_mw.reports import ConnectionState, WorkerState

NAMESPACE: Final = 'falcon_ws'
"""What the name of each metric begins with."""


class Exported(NamedTuple):
    """How a number is exported."""

    name: str
    help: str


class Labelled(NamedTuple):
    """How what is counted by something is exported."""

    name: str
    label: str
    known: Sequence[str]
    """The labels that are there from the start, at 0: what appears with its first event has no
    increase that an alert could see."""
    help: str


GAUGES: Final[Mapping[str, Exported]] = {
    'connections': Exported('connections', 'Live connections.'),
    'rooms': Exported('rooms', 'Rooms that have a member.'),
    'users': Exported('users', 'Users that have a connection.'),
    'topic_filters': Exported(
        'topic_filters', 'Topic filters that a connection has subscribed to.'
    ),
}
"""By field of `ManagerStats`, as those below."""

COUNTERS: Final[Mapping[str, Exported]] = {
    # Not `connections`: OpenMetrics calls a counter by its name without `_total`, and that is taken
    # by the gauge.
    'connections_total': Exported(
        'connections_opened', 'Connections since the start, also if on_ws_connect refused them.'
    ),
    'received': Exported('messages_received', 'Messages that clients have sent.'),
    'delivered': Exported(
        'messages_delivered',
        'Messages that sends and broadcasts of the manager handed to the server or an outbox, '
        'counted per connection.',
    ),
    'dropped': Exported(
        'messages_dropped', 'Messages that a connection should have got and did not.'
    ),
    'coalesced': Exported(
        'messages_coalesced', 'Messages that a newer one with their key replaced while they waited.'
    ),
    'throttled': Exported(
        'messages_throttled', 'Messages that were held back since their client sends too fast.'
    ),
    'slow_consumers': Exported(
        'slow_consumers', 'Connections that were closed because their outbox was full.'
    ),
    'evicted': Exported(
        'connections_evicted', 'Connections that were given up because their client hung.'
    ),
    'not_aborted': Exported(
        'connections_not_aborted', 'Evicted connections whose socket was left to the server.'
    ),
    'expired': Exported(
        'connections_expired', 'Connections that were closed since their identity had expired.'
    ),
    'abandoned': Exported(
        'messages_abandoned',
        'Messages that had arrived and were not handled, since their connection had ended.',
    ),
    'unmatched_replies': Exported(
        'unmatched_replies', 'Answers of clients to no request that waits for one.'
    ),
    'forgotten': Exported(
        'messages_forgotten', 'Messages that an old on_websocket never came back for.'
    ),
}

LABELLED_COUNTERS: Final[Mapping[str, Labelled]] = {
    'refusals': Labelled(
        'refusals',
        'reason',
        ('origin', 'limit', 'denied', 'crash', 'timeout', 'configuration'),
        'Handshakes that were refused.',
    ),
    'limits_hit': Labelled('limit_hits', 'limit', Limits.names(), 'How often a limit was hit.'),
    'errors': Labelled(
        'errors',
        'kind',
        ('malformed', 'unknown_type', 'invalid_payload', 'unauthenticated', 'http_error', 'crash'),
        'Messages that were answered with an error.',
    ),
}

WORKERS: Final = Labelled(
    'workers', 'state', get_args(WorkerState), 'Workers, by what they are doing.'
)

WORKER_RESTARTS: Final = Labelled(
    'worker_restarts', 'worker', (), 'How often workers were started again since the app started.'
)

BACKEND_STATE: Final = Labelled(
    'backend_state',
    'state',
    get_args(ConnectionState),
    'What the backend is doing: 1 for the state that it is in, 0 for the others.',
)

# No name for `state_seconds`: Prometheus knows by itself for how long a state lasts (`for: 1m`),
# and advises against exporting ages. None for `last_error`, which is text.
BACKEND_GAUGES: Final[Mapping[str, Exported]] = {
    'channels': Exported('backend_channels', 'Channels of the backend that this process holds.'),
    'waiting': Exported(
        'backend_messages_waiting', 'Messages that wait to be taken by the engine of the backend.'
    ),
}
"""By field of `BackendHealth`, as those below."""

BACKEND_COUNTERS: Final[Mapping[str, Exported]] = {
    'connects': Exported(
        'backend_connects', 'How often the backend has got in touch with its engine.'
    ),
    'sent': Exported('backend_messages_sent', 'Messages that the engine of the backend took.'),
    'unsent': Exported(
        'backend_messages_unsent', 'Messages that it did not take in time; their senders were told.'
    ),
    'received': Exported(
        'backend_messages_received', 'Messages that came from the backend, own ones included.'
    ),
    'gaps': Exported('backend_gaps', 'Gaps in what came from the backend.'),
    'lost': Exported(
        'backend_messages_lost',
        'Messages that were lost between processes, as far as they could be counted.',
    ),
    'undecodable': Exported(
        'backend_messages_undecodable',
        'What came from the backend and was no message, and was ignored.',
    ),
}

HANDLERS: Final = Exported('handler_seconds', 'How long handlers took, by how they ended.')
