"""Until when a connection may stay: to say who it is, and to be who it said.

Each has one deadline at most. Whoever identifies it takes that away, or puts another in its place.
"""

from __future__ import annotations

from datetime import datetime
import math
import time
from typing import Final

from falcon_ws_mw import close_codes
from falcon_ws_mw.alarms import Alarm
from falcon_ws_mw.connection import Connection
from falcon_ws_mw.envelope import EXPIRING
from falcon_ws_mw.errors import IdentityExpired
from falcon_ws_mw.errors.base import shortened
from falcon_ws_mw.sides import State

_CENTURY_SECONDS: Final = 100 * 365 * 86_400


def posix_time(expires_at: float | datetime | None) -> float | None:
    """When an identity expires, as seconds since 1970.

    Args:
        expires_at: The same, or a `datetime` that knows its time zone; `None` or infinity for
            never.

    Raises:
        IdentityExpired: If that is past.
        ValueError: If it is no such time, or more than a hundred years ahead: then it is probably
            in milliseconds.
    """
    if expires_at is None or expires_at == math.inf:
        return None
    seconds = _seconds_of(expires_at)
    if not math.isfinite(seconds):
        raise ValueError(
            f'expires_at={shortened(expires_at)}: expected seconds since 1970, as in the claim '
            '`exp` of a JWT, or a datetime with a time zone, or math.inf for never'
        )
    now = time.time()
    if seconds <= now:
        raise IdentityExpired(seconds)
    if seconds - now > _CENTURY_SECONDS:
        raise ValueError(
            f'expires_at={shortened(expires_at)} is over a hundred years ahead: expected seconds '
            'since 1970, not milliseconds'
        )
    return seconds


def _seconds_of(given: object) -> float:
    """What is given, as seconds since 1970; NaN if it is no such time."""
    if isinstance(given, datetime) and given.tzinfo is not None:
        return given.timestamp()
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        try:
            return float(given)
        except OverflowError:  # more digits than a float holds
            pass
    return math.nan


def release(connection: Connection) -> None:
    """Take the deadline of a connection away."""
    if connection.deadline is not None:
        connection.deadline.cancel()
        connection.deadline = None


def await_identity(connection: Connection) -> None:
    """Close a connection unless somebody says whose it is, within `auth_timeout_seconds`."""
    release(connection)
    seconds = connection.limits.auth_timeout_seconds
    if seconds is not None:
        _remind(connection, Alarm(lambda: _too_late(connection, seconds), _in(seconds)))


def expire(connection: Connection, expires_at: float | None) -> None:
    """Close a connection when its identity expires, and tell its client before.

    Args:
        connection: The connection.
        expires_at: When, in POSIX time; `None` for never.
    """
    release(connection)
    connection.expires_at = expires_at
    if expires_at is None:
        return
    left = expires_at - time.time()
    ends = Alarm(lambda: _expired(connection), _in(left), expires_at)
    notice = connection.settings.expiry_notice_seconds
    if notice is None:
        _remind(connection, ends)
        return
    # Not before half of the time has passed: a client that answers by a token which is as short
    # would be told at once again.
    notice = min(notice, left / 2)

    def tell() -> None:
        _remind(connection, ends)
        _tell(connection, min(ends.at - time.monotonic(), expires_at - time.time()))

    _remind(connection, Alarm(tell, _in(left - notice), expires_at - notice))


def _in(seconds: float) -> float:
    return time.monotonic() + seconds


def _remind(connection: Connection, alarm: Alarm) -> None:
    connection.deadline = alarm
    connection.keeper.remind(alarm)


def _tell(connection: Connection, seconds: float) -> None:
    if connection.state is State.OPEN and connection.hears_expiring:
        # RFC 6749 §5.1 has the name for the time that is left of a token.
        left = {'expires_in': round(max(0.0, seconds), 3)}
        frame = connection.codec.encode_message(EXPIRING, left)
        connection.post(frame)


def _expired(connection: Connection) -> None:
    connection.keeper.counters.expired += 1
    _end(connection, close_codes.UNAUTHORIZED, 'the identity has expired')


def _too_late(connection: Connection, seconds: float) -> None:
    keeper = connection.keeper
    keeper.counters.limits_hit['auth_timeout_seconds'] += 1
    keeper.faults.warn(
        'auth_timeout_seconds',
        'connection %s did not say who it is within %s s: it is closed (%d)',
        connection.id,
        seconds,
        close_codes.REQUEST_TIMEOUT,
        connection_id=connection.id,
        limit='auth_timeout_seconds',
        close_code=close_codes.REQUEST_TIMEOUT,
    )
    reason = f'nobody authenticated within {seconds:g} s'
    _end(connection, close_codes.REQUEST_TIMEOUT, reason)


def _end(connection: Connection, code: int, reason: str) -> None:
    connection.deadline = None
    connection.keeper.lost(connection)
    connection.close(code, reason)
