"""Which close codes exist, what they mean, and which may be sent.

Three ranges (RFC 6455 §7.4.2): 1000-2999 belong to the protocol; 3000-3999 to frameworks, where
Falcon uses 3000 + HTTP status; 4000-4999 to the application, and this library never sends one.
A received 1000, 1005 or 1006 proves nothing about how a peer left: servers disagree.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, NamedTuple

from falcon_ws_mw.errors import InvalidCloseCode

MAX_REASON_BYTES: Final = 123
"""A control frame carries 125 bytes, two of which are the code (RFC 6455 §5.5)."""

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
NO_STATUS: Final = 1005
ABNORMAL: Final = 1006
TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011
SERVICE_RESTART: Final = 1012
TRY_AGAIN_LATER: Final = 1013
UNAUTHORIZED: Final = 3401
FORBIDDEN: Final = 3403
REQUEST_TIMEOUT: Final = 3408
CONFLICT: Final = 3409


_STATUSES: Final = frozenset(map(int, HTTPStatus))
"""Those that are registered: `websockets` cannot say any other."""


class CloseCode(NamedTuple):
    """One row of the table.

    Attributes:
        code: The number on the wire.
        name: Its registered name.
        meaning: When it is seen, in a sentence.
        retry: Whether a client should come back, after a jittered pause.
        sendable: Whether an endpoint may put it into a close frame.
    """

    code: int
    name: str
    meaning: str
    retry: bool
    sendable: bool = True


CLOSE_CODES: Final[dict[int, CloseCode]] = {
    row.code: row
    for row in (
        CloseCode(NORMAL, 'Normal Closure', 'the conversation is over', False),
        CloseCode(GOING_AWAY, 'Going Away', 'the page was left, or the connection idled', True),
        CloseCode(1002, 'Protocol Error', 'a peer broke the WebSocket protocol', False),
        CloseCode(1003, 'Unsupported Data', 'a kind of frame that is not taken', False),
        CloseCode(NO_STATUS, 'No Status Received', 'a close frame without a code', True, False),
        CloseCode(ABNORMAL, 'Abnormal Closure', 'the link broke, no close frame', True, False),
        CloseCode(1007, 'Invalid Payload', 'text that is no UTF-8', False),
        CloseCode(1008, 'Policy Violation', 'refused, no better code fits', False),
        CloseCode(TOO_BIG, 'Message Too Big', 'one message is over the limit', False),
        CloseCode(1010, 'Mandatory Extension', 'a client misses an extension', False),
        CloseCode(INTERNAL_ERROR, 'Internal Error', 'the server has a bug', True),
        CloseCode(SERVICE_RESTART, 'Service Restart', 'the server restarts', True),
        CloseCode(TRY_AGAIN_LATER, 'Try Again Later', 'too slow a reader, or overload', True),
        CloseCode(1014, 'Bad Gateway', 'a proxy got no valid answer', True),
        CloseCode(1015, 'TLS Handshake', 'TLS failed; never in a frame', True, False),
        CloseCode(UNAUTHORIZED, 'Unauthorized', 'no identity, or it has expired', False),
        CloseCode(FORBIDDEN, 'Forbidden', 'this user may not be here, or was removed', False),
        CloseCode(
            REQUEST_TIMEOUT, 'Request Timeout', 'the client did not authenticate in time', False
        ),
        CloseCode(CONFLICT, 'Conflict', 'a newer connection of the user took its place', False),
        CloseCode(3429, 'Too Many Requests', 'the client sends too fast', True),
        CloseCode(3500, 'Internal Server Error', 'on_ws_connect failed after accepting', True),
        CloseCode(3503, 'Service Unavailable', 'on_ws_connect took too long', True),
    )
}
"""The standard codes and those of this library. Any other 3xxx is Falcon's 3000 + HTTP status."""


def from_http_status(status: int) -> int:
    """Falcon's close code for an HTTP status: 3000 + status."""
    return 3000 + status


def http_status(code: int) -> int | None:
    """The HTTP status that a close code of Falcon's stands for, if it is one of an error."""
    status = code - 3000
    return status if status >= 400 and status in _STATUSES else None


def check_code(code: object) -> int:
    """Return `code` if an endpoint may send it.

    Checked before sending, since servers fail in different ways on a bad one: uvicorn's
    implementations raise, stay silent, or put it on the wire.

    Raises:
        InvalidCloseCode: If it is no such number.
    """
    if not isinstance(code, int) or isinstance(code, bool):
        raise InvalidCloseCode(code)
    row = CLOSE_CODES.get(code)
    if row.sendable if row else 3000 <= code <= 4999:
        return int(code)
    raise InvalidCloseCode(code)


def fit_reason(reason: str) -> str:
    """The reason, cut at a character boundary to the 123 bytes that a close frame holds."""
    encoded = reason.encode('utf-8', 'replace')
    if len(encoded) <= MAX_REASON_BYTES:
        return encoded.decode()
    return encoded[:MAX_REASON_BYTES].decode('utf-8', 'ignore')
