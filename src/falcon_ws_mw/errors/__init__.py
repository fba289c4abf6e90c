"""What can go wrong, split by who must act.

FalconWebSocketError
├── ConfigurationError (ValueError)   the developer, before the app serves
├── InvalidName (ValueError)          the caller: not a room or user name
├── InvalidTopic (ValueError)         the caller: not a topic, or not a topic filter
├── InvalidCloseCode (ValueError)     the caller: not a code that may be sent
├── ConnectionNotFound (LookupError)  the caller: nobody has that id any more
├── OutboxFull                        the caller: more was said than may wait
├── TooManyRequests                   the caller: more was asked than may be waited for
├── TooManyRooms                      the caller: a connection is in as many rooms as it may be
├── TooManyConnections                the caller: a user has as many connections as he may have
├── NotIdentified                     the caller: a room is for who is known
├── IdentityExpired (ValueError)      the caller: too late for that identity
├── MessageTooBig (ValueError)        the caller: one message is longer than may wait
├── WireFormatMismatch (ValueError)   the caller: a room speaks one envelope
├── BackendUnavailable (ConnectionError)  the operator: processes are not linked now
├── RemoteCallError                   the developer: another process failed at what it was asked
├── UndeclaredMessage (ValueError)    the developer: `@sends` says something else
├── ReplyError                        the client, which answered a request with an error
├── ReplyTimeout (TimeoutError)       the client, which did not answer a request
└── UnhandledMessage                  the client; what `on_ws_unhandled` receives
    ├── MalformedMessage              no message could be read from the frame
    ├── UnknownMessageType            nobody handles that type
    └── InvalidPayload                the payload is not what the handler declares

Errors carry facts as attributes; their text is built here, and says what was found, what was
expected and the cure.
"""

from __future__ import annotations

from falcon_ws_mw.errors.base import (
    ConfigurationError,
    FalconWebSocketError,
    without_password,
)
from falcon_ws_mw.errors.callers import (
    MAX_NAME_BYTES,
    BackendUnavailable,
    ConnectionNotFound,
    IdentityExpired,
    InvalidCloseCode,
    InvalidName,
    InvalidTopic,
    MessageTooBig,
    NotIdentified,
    OutboxFull,
    RemoteCallError,
    TooManyConnections,
    TooManyRequests,
    TooManyRooms,
    UndeclaredMessage,
    WireFormatMismatch,
)
from falcon_ws_mw.errors.clients import (
    InvalidPayload,
    MalformedMessage,
    ReplyError,
    ReplyTimeout,
    UnhandledMessage,
    UnknownMessageType,
)

__all__ = (
    'MAX_NAME_BYTES',
    'BackendUnavailable',
    'ConfigurationError',
    'ConnectionNotFound',
    'FalconWebSocketError',
    'IdentityExpired',
    'InvalidCloseCode',
    'InvalidName',
    'InvalidPayload',
    'InvalidTopic',
    'MalformedMessage',
    'MessageTooBig',
    'NotIdentified',
    'OutboxFull',
    'RemoteCallError',
    'ReplyError',
    'ReplyTimeout',
    'TooManyConnections',
    'TooManyRequests',
    'TooManyRooms',
    'UndeclaredMessage',
    'UnhandledMessage',
    'UnknownMessageType',
    'WireFormatMismatch',
    'without_password',
)
