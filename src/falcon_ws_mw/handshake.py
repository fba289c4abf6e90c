"""One opening handshake: accepted or refused, once, and refused with its real HTTP status.

The wrapper makes one for every WebSocket scope and puts it into the scope, where the middleware
finds it: that is how the two know of each other. Falcon gets `handshake.send` in place of the
server's, so that an `HTTPError` which another component raised before the accept reaches the
client as more than the plain 403 that Falcon makes of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
import logging
import sys
from typing import TYPE_CHECKING, Any, Final, Protocol

import falcon
import falcon.asgi

from falcon_ws_mw.asgi import Event, Receive, Scope, Send
from falcon_ws_mw.close_codes import from_http_status

if TYPE_CHECKING:
    from falcon_ws_mw.falcon_internals import App
    from falcon_ws_mw.options import Refusals

logger = logging.getLogger('falcon_ws_mw')

SCOPE_KEY: Final = 'falcon_ws_mw'
"""Under this name the scope tells that our wrapper stands around the app."""

DENIAL_EXTENSION: Final = 'websocket.http.response'
"""ASGI: "Websocket Denial Response", by which a server lets an app answer a handshake."""

DENIED: Final = 'denied'
"""Why a handshake is refused where nothing else is said: the app did not want it."""

_LEFT_ALONE = (falcon.HTTPRouteNotFound, falcon.HTTPMethodNotAllowed)
"""No such socket: Falcon closes 3404 or 3405, and clients of today see 403."""


class ConversationStarts(BaseException):  # no error: it says what happens next
    """Leaves Falcon's call stack from inside a hook, for the wrapper to go on.

    A `BaseException`, so that no log line is written and no error handler or reporter is called
    on the way. It never reaches the server.
    """


class Conversation(Protocol):
    """What the middleware leaves for the wrapper to do."""

    async def run(self) -> None:
        """Handle messages until the connection has ended."""


class Handshake:
    """What a WebSocket scope becomes.

    Args:
        app: The Falcon app inside the wrapper.
        scope: The ASGI scope.
        receive: The server's receive.
        send: The server's send.
        refusals: How to refuse.
        dispatches: Tells whether the route that it leads to is dispatched by us.

    Attributes:
        decided: Whether it has been accepted or refused, by us or by another component.
        refused: Whether it has been refused.
        req: Falcon's request, once one of our hooks has seen it.
        dispatcher: The middleware whose turn it is; there may be older ones in the app.
        converse: Holds the conversation, where that is an ordinary responder's business.
        reason: Why it was refused, as it is counted; `None` if it was not by us.
        over: Whether that responder has returned: what Falcon says afterwards is left out.
        conversation: What goes on once Falcon is unwound; set by the middleware.
    """

    __slots__ = (
        '_dispatches',
        '_refusals',
        '_task',
        'app',
        'conversation',
        'converse',
        'decided',
        'dispatcher',
        'over',
        'reason',
        'receive',
        'refused',
        'req',
        'scope',
        'server_send',
    )

    def __init__(
        self,
        app: App,
        scope: Scope,
        receive: Receive,
        send: Send,
        refusals: Refusals,
        dispatches: Callable[[Handshake], bool],
    ) -> None:
        self.app = app
        self.scope = scope
        self.receive = receive
        self.server_send = send
        self.decided = False
        self.refused = False
        self.req: falcon.asgi.Request | None = None
        self.dispatcher: object = None
        self.converse: Callable[[falcon.asgi.WebSocket, dict[str, Any]], Awaitable[None]] | None = (
            None
        )
        self.over = False
        self.reason: str | None = None
        self._task = _current_task()
        self.conversation: Conversation | None = None
        self._refusals = refusals
        self._dispatches = dispatches

    @property
    def server_sides(self) -> tuple[Send, Receive, asyncio.Task[Any] | None]:
        """What the server gave, and the task in which it runs the app: where its own things are."""
        return self.server_send, self.receive, self._task

    @property
    def counted_reason(self) -> str | None:
        """Why it was refused; `None` if it was not, or on a route that is not ours."""
        if not self.refused or (self.reason is None and not self._dispatches(self)):
            return None
        return self.reason or DENIED

    def send(self, event: Event) -> Awaitable[None]:
        """The ASGI send that Falcon gets. After the decision it is the server's own."""
        if self.over:  # Falcon closes what it never saw accepted
            return _nothing()
        return self.server_send(event) if self.decided else self._decide(event)

    async def _decide(self, event: Event) -> None:
        error = sys.exc_info()[1]  # Falcon closes while it handles what was raised
        if (
            event['type'] == 'websocket.close'
            and isinstance(error, falcon.HTTPError)
            and not isinstance(error, _LEFT_ALONE)
            and event.get('code') == from_http_status(error.status_code)
            and self._dispatches(self)
        ):
            await self.refuse(error)
        else:
            self.decided = True
            self.refused = event['type'] != 'websocket.accept'
            await self.server_send(event)

    async def refuse(self, error: falcon.HTTPError | falcon.HTTPStatus) -> None:
        """Refuse with the status, headers and body of an error.

        Where the server cannot say that (or `refusals='close'`), the client sees a plain 403. An
        error that cannot be rendered is logged and becomes a 500. Does nothing on a handshake that
        is decided, and nothing to a client that has gone.
        """
        if self.decided:
            return
        extensions = self.scope.get('extensions') or {}
        if self._refusals == 'close' or DENIAL_EXTENSION not in extensions:
            await self.refuse_plainly(from_http_status(error.status_code))
            return
        status = error.status_code
        try:
            body, headers = _response_of(error)
        except Exception:
            logger.exception('%r cannot be rendered, the handshake is refused with 500', error)
            status = 500
            body, headers = _response_of(falcon.HTTPInternalServerError())
        await self._refuse_by(
            {'type': 'websocket.http.response.start', 'status': status, 'headers': headers},
            {'type': 'websocket.http.response.body', 'body': body},
        )

    async def refuse_plainly(self, code: int) -> None:
        """Refuse without a status of ours: clients see 403."""
        await self._refuse_by({'type': 'websocket.close', 'code': code})

    async def _refuse_by(self, *events: Event) -> None:
        self.decided = self.refused = True
        try:
            for event in events:
                await self.server_send(event)
        except Exception:  # servers name a lost peer in many ways
            logger.debug('nobody was left to be refused', exc_info=True)


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no asyncio
        return None


async def _nothing() -> None:
    pass


def _response_of(
    error: falcon.HTTPError | falcon.HTTPStatus,
) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The body and headers of the response that Falcon would make of an error."""
    if isinstance(error, falcon.HTTPError):
        body, media_type = error.to_json(), falcon.MEDIA_JSON
    else:
        body, media_type = (error.text or '').encode(), falcon.MEDIA_TEXT
    given = error.headers or ()
    items = given.items() if isinstance(given, Mapping) else given
    pairs = [(name.lower(), value) for name, value in items]
    names = {name for name, _ in pairs}
    for name, value in (('content-type', media_type), ('content-length', str(len(body)))):
        if name not in names:
            pairs.append((name, value))
    return body, [(name.encode('latin-1'), value.encode('latin-1')) for name, value in pairs]


def encoded_headers(
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
) -> list[tuple[bytes, bytes]]:
    """The headers of an accept, as ASGI wants them.

    Raises:
        ValueError: If the subprotocol is among them.
    """
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    encoded = [(name.lower().encode('ascii'), value.encode('ascii')) for name, value in pairs]
    if any(name == b'sec-websocket-protocol' for name, _ in encoded):
        raise ValueError(
            'headers contain sec-websocket-protocol: name it as `subprotocol` instead (ASGI spec)'
        )
    return encoded
