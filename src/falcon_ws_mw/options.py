"""What can be configured, with its defaults: per app, and per resource by `ws_…` attributes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
import os
from typing import Any, Final, Literal, NamedTuple, Self, get_args

from falcon_ws_mw.envelope import CLIENT_PROTOCOL, DEFAULT_ENVELOPE, AnyEnvelope
from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.origins import OriginRule

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

UserLimitPolicy = Literal['refuse', 'close_oldest']
"""What one connection too many of a user does: it is refused (429), or the one that has been the
user's for longest is closed (3409)."""

OutagePolicy = Literal['wait', 'local']
"""What a broadcast does while the backend has lost its engine: wait for it, for a bounded time, or
reach the connections of this process at once, and no others."""

RestartPolicy = Literal['always', 'on_failure', 'never']
"""When a worker that has ended is started again."""


class _Range(NamedTuple):
    """What a limit may be."""

    kind: type[int | float]
    least: float
    most: float

    def admits(self, value: object) -> bool:
        kinds = (int,) if self.kind is int else (int, float)
        is_number = isinstance(value, kinds) and not isinstance(value, bool)
        return is_number and self.least <= value <= self.most  # type: ignore[operator]

    def read(self, text: str) -> object:
        """The number that a text says, or the text itself."""
        try:
            return self.kind(text)
        except ValueError:
            return text

    def __str__(self) -> str:
        kind = 'a whole number' if self.kind is int else 'a number'
        return f'{kind} from {self.least:g} to {self.most:.0f}'


_COUNT: Final = _Range(int, 1, 2**31 - 1)

_RANGES: Final[Mapping[str, _Range]] = {
    'seconds': _Range(float, 0.001, 365 * 86_400),
    'second': _Range(float, 0.001, 1_000_000),
    **dict.fromkeys(
        (
            *('attempts', 'burst', 'bytes', 'connection', 'connections', 'filters', 'messages'),
            *('requests', 'user'),
        ),
        _COUNT,
    ),
}
"""By the last word of a limit's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a connection may use. `None` switches a limit off.

    An app has one for all its routes; a resource's `ws_limits` overrides the limits that it names.
    Sizes are in bytes of a whole message, numbers are per process.

    Args:
        auth_timeout_seconds: How long a client may take to say who it is, on a route with
            `ws_authenticate_by` (default 10). Beyond it the connection is closed with 3408.
        connect_timeout_seconds: The longest that `on_ws_connect` may take (default 10). Beyond
            it the handshake is refused with 503.
        handshake_burst: How many handshakes of one client address may come at once, where
            `handshakes_per_second` is set (default: as many as in a second).
        handshakes_per_second: The most handshakes of one client address (default none: behind a
            proxy that is not trusted all clients have one). Beyond it they are refused with 429.
            Named by a resource, it counts that resource's handshakes.
        idle_timeout_seconds: How long a client may say nothing (default none). Beyond it the
            connection is closed with 1001.
        max_auth_attempts: How often a client may fail to say who it is, on a route with
            `ws_authenticate_by` (default 3). With the last failure the connection is closed with
            3401.
        max_connections: The most connections (default none). Further ones are refused with 503.
            The app's alone.
        max_connections_per_user: The most connections of one user (default none). Beyond it
            `identify` raises `TooManyConnections`, which refuses a handshake with 429; or closes
            the oldest, see `user_limit_policy`. The app's alone.
        max_inbox_bytes: The most bytes that are read ahead of a busy handler (default 256 KiB).
            Beyond it reading pauses.
        max_inbox_messages: The same in messages (default 256).
        max_message_bytes: The longest message that a client may send (default 64 KiB). Beyond it
            the connection is closed with 1009.
        max_outbox_bytes: The most bytes that may wait for the peer (default 1 MiB). What others
            send beyond it follows the slow-consumer policy; a handler's own sends wait. No single
            message may be longer.
        max_outbox_messages: The same in messages (default 1000).
        max_pending_requests: The most requests of the server to a client that may wait for their
            answers (default 128).
        max_rooms_per_connection: The most rooms that a connection may be in (default 128). Beyond
            it `join_room` raises `TooManyRooms`.
        max_topic_filters: The most topic filters that a client may subscribe to by message
            (default 128).
        message_burst: How many messages of a connection may come at once (default 200; `None` is as
            many as in a second).
        messages_per_second: The most messages of a connection (default 100). Reading slows down to
            that rate. When messages have been held back for 10 s without a pause of 1 s (at less
            than one in five seconds: for the time of two), the client gets an error 429 and the
            connection is closed with 3429.
        request_timeout_seconds: How long a client may take to answer a request of the server
            (default 30), where the request itself does not say.
        send_timeout_seconds: How long the server may take over one frame, or over everything that
            waits once the connection is being closed, and the peer over its answer to a close
            (default 5). Beyond it the peer is evicted.

    Raises:
        ConfigurationError: If a limit is outside its range: counts and sizes are whole numbers from
            1 to 2,147,483,647, seconds go from 0.001 to a year, rates from 0.001 to 1,000,000.
    """

    auth_timeout_seconds: float | None = 10.0
    connect_timeout_seconds: float | None = 10.0
    handshake_burst: int | None = None
    handshakes_per_second: float | None = None
    idle_timeout_seconds: float | None = None
    max_auth_attempts: int | None = 3
    max_connections: int | None = None
    max_connections_per_user: int | None = None
    max_inbox_bytes: int | None = 262_144
    max_inbox_messages: int | None = 256
    max_message_bytes: int | None = 65_536
    max_outbox_bytes: int | None = 1_048_576
    max_outbox_messages: int | None = 1000
    max_pending_requests: int | None = 128
    max_rooms_per_connection: int | None = 128
    max_topic_filters: int | None = 128
    message_burst: int | None = 200
    messages_per_second: float | None = 100.0
    request_timeout_seconds: float | None = 30.0
    send_timeout_seconds: float | None = 5.0
    _named: frozenset[str] = field(init=False, repr=False, compare=False)

    def __new__(cls, **named: Any) -> Self:
        """Remember which limits were named."""
        self = object.__new__(cls)
        object.__setattr__(self, '_named', frozenset(named))
        return self

    def __post_init__(self) -> None:
        for name in self.names():
            value = getattr(self, name)
            expected = _RANGES[name.rpartition('_')[2]]
            if value is not None and not expected.admits(value):
                raise ConfigurationError(
                    f'Limits.{name}={value!r}: expected {expected}, or None for no limit'
                )

    @classmethod
    def names(cls) -> list[str]:
        """The names of all limits."""
        return [each.name for each in fields(cls) if each.init]

    @classmethod
    def from_env(
        cls, prefix: str = 'FALCON_WS_', environ: Mapping[str, str] | None = None
    ) -> Limits:
        """The limits that environment variables name: `FALCON_WS_MAX_MESSAGE_BYTES=131072`.

        Args:
            prefix: What the variables begin with, and nothing else of the app's.
            environ: The variables (default `os.environ`). The text `none` switches a limit off.

        Returns:
            Limits that name those of the variables, the others at their defaults.

        Raises:
            ConfigurationError: If a variable with the prefix is no limit, or its text is outside
                the limit's range.
        """
        environ = os.environ if environ is None else environ
        named: dict[str, Any] = {}
        for variable in sorted(name for name in environ if name.startswith(prefix)):
            name = variable.removeprefix(prefix).lower()
            if name not in cls.names():
                raise ConfigurationError(
                    f'{variable}: there is no limit {name!r}; there are {", ".join(cls.names())}'
                )
            expected = _RANGES[name.rpartition('_')[2]]
            text = environ[variable].strip()
            named[name] = None if text.lower() == 'none' else expected.read(text)
            if named[name] is not None and not expected.admits(named[name]):
                raise ConfigurationError(
                    f"{variable}={text!r}: expected {expected}, or 'none' for no limit"
                )
        return cls(**named)

    @property
    def named(self) -> frozenset[str]:
        """The limits that were named when this object was made."""
        return self._named

    def over(self, base: Limits) -> Limits:
        """The limits of `base`, with those replaced that were named when this object was made."""
        named = {name: getattr(base, name) for name in base.names()}
        named |= {name: getattr(self, name) for name in self._named}
        result = type(self)(**named)
        object.__setattr__(result, '_named', self._named | base._named)
        return result


DEFAULT_EXPIRY_NOTICE_SECONDS: Final = 30.0
"""How long before its identity expires a client is told, where nobody says."""

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
        allowed_origins: Of which origins pages may open a socket.
        heartbeat_seconds: After how much silence a client is asked for a sign of life.
        authenticate_by: The type of the message by which a client says who it is; until then no
            other is handled. `None` where nobody has to.
        expiry_notice_seconds: How long before its identity expires a client is told, `None` for
            never.
        user_limit_policy: What one connection too many of a user does.
        asks_rights: Whether the resource has a `ws_authorize`.
        named: What the resource says itself, of settings and of limits.
    """

    limits: Limits = DEFAULT_LIMITS
    crash_policy: CrashPolicy = 'answer'
    slow_consumer: SlowConsumer = 'close'
    disconnect_policy: DisconnectPolicy = 'handle'
    client_topics: bool = False
    envelope: AnyEnvelope = DEFAULT_ENVELOPE
    subprotocols: Mapping[str, AnyEnvelope | None] = field(default_factory=dict)
    max_parallel: int = 1
    allowed_origins: OriginRule = field(default_factory=OriginRule)
    heartbeat_seconds: float | None = None
    authenticate_by: str | None = None
    expiry_notice_seconds: float | None = DEFAULT_EXPIRY_NOTICE_SECONDS
    user_limit_policy: UserLimitPolicy = 'refuse'
    asks_rights: bool = field(default=False, compare=False)
    named: frozenset[str] = field(default=frozenset(), compare=False)

    def negotiate(self, offered: Iterable[str]) -> str | None:
        """The first of the route's subprotocols that a client offers, `None` if there is none.

        Behind them any route knows that of the library's own clients.
        """
        among = frozenset(offered)
        return next((name for name in (*self.subprotocols, CLIENT_PROTOCOL) if name in among), None)

    def envelope_for(self, subprotocol: str | None) -> AnyEnvelope:
        """The envelope that a connection speaks by its subprotocol."""
        named = None if subprotocol is None else self.subprotocols.get(subprotocol)
        return self.envelope if named is None else named

    @property
    def is_personal(self) -> bool:
        """Whether what a connection is in depends on whose it is."""
        return self.authenticate_by is not None or self.asks_rights

    @property
    def envelopes(self) -> tuple[AnyEnvelope, ...]:
        """All envelopes that the route may speak."""
        named = (each for each in self.subprotocols.values() if each is not None)
        return (self.envelope, *named)


DEFAULT_SETTINGS = RouteSettings()
"""The settings of an app that says nothing."""


def check_timeout(timeout: object) -> float:
    """Return a time-out if it is one.

    Raises:
        ValueError: If it is no number of seconds above 0.
    """
    if isinstance(timeout, (int, float)) and timeout > 0:
        return timeout
    raise ValueError(f'timeout={timeout!r}: expected a number of seconds above 0')


def check_choice(name: str, value: object, choices: object) -> None:
    """Check an option that is one word of a `Literal`.

    Raises:
        ConfigurationError: If `value` is none of the choices.
    """
    words = get_args(choices)
    if value not in words:
        expected = ', '.join(map(repr, words))
        raise ConfigurationError(f'{name}={value!r}: expected one of {expected}')
