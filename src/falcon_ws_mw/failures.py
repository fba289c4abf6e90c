"""What a client is told of an exception that a method of the app raised, and what the log is.

What names somebody at fault is answered with a status of its own, without a traceback: the app's
own `HTTPError`, a name that a client may have given, a client that is not known (401), one that
wants more rooms or connections than it may have (429), a backend that is away (503), and the client
itself, where it answered a request of the server with an error (502) or not at all (504).
Everything else is a crash (500), `TooManyRequests` included: how much is asked at once is the app's
doing. So is an exception group, whatever it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import inspect
import logging
from typing import TYPE_CHECKING, Final

import falcon
from falcon import HTTPError, HTTPStatus, WebSocketDisconnected

from falcon_ws_mw import falcon_internals
from falcon_ws_mw.errors import (
    BackendUnavailable,
    ConnectionNotFound,
    IdentityExpired,
    InvalidName,
    InvalidTopic,
    NotIdentified,
    ReplyError,
    ReplyTimeout,
    TooManyConnections,
    TooManyRooms,
    UnhandledMessage,
)

if TYPE_CHECKING:
    from falcon_ws_mw.websocket import WebSocket

logger = logging.getLogger('falcon_ws_mw')


_ANSWERS: Final[Mapping[type[Exception], tuple[Callable[..., HTTPError], str]]] = {
    InvalidName: (falcon.HTTPBadRequest, 'Invalid name'),
    InvalidTopic: (falcon.HTTPBadRequest, 'Invalid topic'),
    ConnectionNotFound: (falcon.HTTPNotFound, 'Connection not found'),
    NotIdentified: (falcon.HTTPUnauthorized, 'Not identified'),
    IdentityExpired: (falcon.HTTPUnauthorized, 'Identity expired'),
    BackendUnavailable: (falcon.HTTPServiceUnavailable, 'Backend unavailable'),
    TooManyRooms: (falcon.HTTPTooManyRequests, 'Too many rooms'),
    TooManyConnections: (falcon.HTTPTooManyRequests, 'Too many connections'),
}
"""What is no bug, and names somebody at fault."""


class Crash(falcon.HTTPInternalServerError):
    """What a client is told of an exception that nobody expected: nothing."""


def is_disconnect(error: BaseException) -> bool:
    """Whether an error only says that a peer has gone, also out of a `TaskGroup`."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(WebSocketDisconnected)[1] is None
    return isinstance(error, WebSocketDisconnected)


def is_expected(error: BaseException) -> bool:
    """Whether an error is no crash: it tells a client what is wrong, or that one has gone."""
    return (
        isinstance(error, (HTTPError, HTTPStatus, UnhandledMessage, *_ANSWERS))
        or is_disconnect(error)
        or _only_unanswered(error) is not None
    )


def log_crash(error: BaseException, where: str) -> None:
    """Log an exception that nobody expected, with its traceback."""
    logger.error('%s raised %s', where, type(error).__name__, exc_info=error)


async def answer_to(
    error: Exception, app: falcon_internals.App, ws: WebSocket, where: str
) -> HTTPError | HTTPStatus | None:
    """What the client is told of an exception.

    A handler that the app registered for it is called first, as Falcon would.

    Args:
        error: The exception.
        app: The Falcon app.
        ws: The connection that it concerns.
        where: The method that raised it, for the log.

    Returns:
        The answer; `None` if the app's handler took care of it.
    """
    if is_disconnect(error):  # this one's, whose end is about to be read, or another one's
        return None
    falcon_internals.report_error(app, ws.req, error, ws.uri_params)
    handler = falcon_internals.own_error_handler(app, error)
    if handler is None:
        return _http_error(error, where)
    try:
        named = {'ws': ws} if 'ws' in inspect.signature(handler).parameters else {}
        await handler(ws.req, None, error, ws.uri_params, **named)
    except Exception as derived:  # noqa: BLE001  # it replaces the error
        if is_disconnect(derived):
            return None
        if derived is not error:
            falcon_internals.report_error(app, ws.req, derived, ws.uri_params)
        return _http_error(derived, where)
    return None


def _http_error(error: Exception, where: str) -> HTTPError | HTTPStatus:
    if isinstance(error, (HTTPError, HTTPStatus)):
        return error
    if isinstance(error, UnhandledMessage):
        return error.to_http_error()
    for kind, (answer, title) in _ANSWERS.items():
        if isinstance(error, kind):
            return answer(title=title, description=str(error))
    unanswered = _only_unanswered(error)
    if unanswered is not None:
        return _unanswered(unanswered, where)
    log_crash(error, where)
    return Crash()


def _only_unanswered(error: BaseException) -> ReplyError | ReplyTimeout | None:
    """Whether an error, or a group of them, only says that a client did not do as asked."""
    while isinstance(error, BaseExceptionGroup):
        if error.split((ReplyError, ReplyTimeout))[1] is not None:
            return None
        error = error.exceptions[0]
    return error if isinstance(error, (ReplyError, ReplyTimeout)) else None


def _unanswered(error: ReplyError | ReplyTimeout, where: str) -> HTTPError:
    """What is told of a request of ours. Neither log nor answer quotes what a client said."""
    if isinstance(error, ReplyTimeout):
        logger.info('%s: %s', where, error)
        return falcon.HTTPGatewayTimeout(title='No answer to a request', description=str(error))
    said = f'the client answered the request {error.type!r:.80} with an error'
    logger.info('%s: %s', where, said)
    return falcon.HTTPBadGateway(title='Error in answer to a request', description=said)
