"""What can be configured, with its defaults: per app, and per resource by `ws_…` attributes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self, get_args

from falcon_ws_mw.envelope import DEFAULT_ENVELOPE, AnyEnvelope
from falcon_ws_mw.errors import ConfigurationError

CrashPolicy = Literal['answer', 'close']
"""What a handler's unexpected exception does: answer with an error 500, or close 1011."""

Refusals = Literal['http', 'close']
"""How a handshake is refused: with its HTTP status where the server can, or by the plain 403."""

SlowConsumer = Literal['close', 'drop_oldest', 'drop_newest']
"""What a message does for which there is no room in a connection's outbox: close the connection
(1013), take the place of the oldest that wait, or not be sent."""

DisconnectPolicy = Literal['handle', 'drop', 'cancel']
"""What becomes of messages that arrived before a client left while a handler was busy: they are
handled; they are dropped and counted; or the busy handler is cancelled as well."""

RestartPolicy = Literal['always', 'on_failure', 'never']
"""When a worker that has ended is started again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a connection may use. `None` switches a limit off.

    An app has one for all its routes; a resource's `ws_limits` overrides the limits that it names.

    Args:
        connect_timeout_seconds: The longest that `on_ws_connect` may take (default 10). Beyond
            it the handshake is refused with 503.
        max_inbox_messages: The most messages that are read ahead of a busy handler (default 256).
            Beyond it reading pauses.
        max_inbox_bytes: The same in bytes (default 256 KiB).
        max_outbox_messages: The most messages that may wait for the peer (default 1000). What
            others send beyond it follows the slow-consumer policy; a handler's own sends wait.
        max_outbox_bytes: The same in bytes (default 1 MiB). No single message may be longer.
        max_pending_requests: The most requests of the server to a client that may wait for their
            answers (default 128).
        max_topic_filters: The most topic filters that a client may subscribe to by message
            (default 128).
        request_timeout_seconds: How long a client may take to answer a request of the server
            (default 30), where the request itself does not say.
        send_timeout_seconds: How long the server may take over one frame, or over everything that
            waits once the connection is being closed (default 5). Beyond it the peer is evicted.

    Raises:
        ConfigurationError: If a limit is not a positive number.
    """

    connect_timeout_seconds: float | None = 10.0
    max_inbox_messages: int | None = 256
    max_inbox_bytes: int | None = 262_144
    max_outbox_messages: int | None = 1000
    max_outbox_bytes: int | None = 1_048_576
    max_pending_requests: int | None = 128
    max_topic_filters: int | None = 128
    request_timeout_seconds: float | None = 30.0
    send_timeout_seconds: float | None = 5.0
    _named: frozenset[str] = field(init=False, repr=False, compare=False)

    def __new__(cls, **named: Any) -> Self:
        """Remember which limits were named."""
        self = object.__new__(cls)
        object.__setattr__(self, '_named', frozenset(named))
        return self

    def __post_init__(self) -> None:
        for knob in fields(self):
            value = getattr(self, knob.name)
            if value is None or knob.name == '_named':
                continue
            kinds = (int, float) if knob.name.endswith('_seconds') else (int,)
            if isinstance(value, bool) or not isinstance(value, kinds) or not value > 0:
                expected = ' or '.join(kind.__name__ for kind in kinds)
                raise ConfigurationError(
                    f'Limits.{knob.name}={value!r}: expected {expected} above 0, '
                    'or None for no limit'
                )

    def over(self, base: Limits) -> Limits:
        """The limits of `base`, with those replaced that were named when this object was made."""
        return replace(base, **{name: getattr(self, name) for name in self._named})


DEFAULT_LIMITS = Limits()
"""The limits of an app that names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSettings:
    """How the messages of a route are handled. An app has one, from which its routes deviate.

    Args:
        limits: How much a connection may use.
        crash_policy: What an unexpected exception in a handler does.
        slow_consumer: What a message does for which an outbox has no room.
        disconnect_policy: What becomes of messages that arrived before a client left.
        client_topics: Whether clients may subscribe to topics by message.
        envelope: Where type, payload and id of a message stand.
        subprotocols: The subprotocols that are spoken, in the order in which they are preferred,
            each with its envelope; `None` is the route's.
        max_parallel: How many messages of one connection are handled at once.
    """

    limits: Limits = DEFAULT_LIMITS
    crash_policy: CrashPolicy = 'answer'
    slow_consumer: SlowConsumer = 'close'
    disconnect_policy: DisconnectPolicy = 'handle'
    client_topics: bool = False
    envelope: AnyEnvelope = DEFAULT_ENVELOPE
    subprotocols: Mapping[str, AnyEnvelope | None] = field(default_factory=dict)
    max_parallel: int = 1

    def negotiate(self, offered: Iterable[str]) -> str | None:
        """The first of our subprotocols that a client offers, `None` if there is none."""
        among = frozenset(offered)
        return next((name for name in self.subprotocols if name in among), None)

    def envelope_for(self, subprotocol: str | None) -> AnyEnvelope:
        """The envelope that a connection speaks by its subprotocol."""
        named = None if subprotocol is None else self.subprotocols.get(subprotocol)
        return self.envelope if named is None else named

    @property
    def envelopes(self) -> tuple[AnyEnvelope, ...]:
        """All envelopes that the route may speak."""
        named = (each for each in self.subprotocols.values() if each is not None)
        return (self.envelope, *named)


DEFAULT_SETTINGS = RouteSettings()
"""The settings of an app that says nothing."""


def check_choice(name: str, value: object, choices: object) -> None:
    """Check an option that is one word of a `Literal`.

    Raises:
        ConfigurationError: If `value` is none of the choices.
    """
    words = get_args(choices)
    if value not in words:
        expected = ', '.join(map(repr, words))
        raise ConfigurationError(f'{name}={value!r}: expected one of {expected}')
