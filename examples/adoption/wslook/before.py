"""What Falcon's WebSocket tutorial builds, told in our own words.

Two loops that talk plain text, and a middleware that accepts every handshake and reads a token
from the first frame on the routes that are protected.
"""

from __future__ import annotations

from datetime import UTC, datetime
import hmac
import logging
from pathlib import Path
from typing import Any

import falcon
import falcon.asgi
from falcon.asgi import Request, Response, WebSocket

TOKEN = 'very secure token'  # noqa: S105  # the tutorial's

REPORTS = {f'report{number}': f'Report {number}' for number in range(1, 5)}

logger = logging.getLogger(__name__)


class LogMiddleware:
    """Says in the log who has come."""

    async def process_resource_ws(
        self, req: Request, ws: WebSocket, resource: object, params: dict[str, str]
    ) -> None:
        """Log a handshake whose route was found."""
        logger.info('a WebSocket at %s', req.path)


class TokenMiddleware:
    """Accepts every handshake; on a protected route, the first frame has to be the token.

    Args:
        protected: The paths of those routes.
    """

    def __init__(self, *protected: str) -> None:
        self._protected = protected

    async def process_request_ws(self, req: Request, ws: WebSocket) -> None:
        """Accept, and close with 1008 if the token is wrong."""
        await ws.accept()
        if req.path in self._protected:
            token = await ws.receive_text()
            if not hmac.compare_digest(token.encode(), TOKEN.encode()):
                await ws.close(1008)


class Hello:
    """`/hello`: HTTP only."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Greet."""
        resp.media = {'hello': 'world'}


class Echo:
    """`/echo`: says what it was told, and when."""

    async def on_websocket(self, req: Request, ws: WebSocket) -> None:
        """Answer each text."""
        while True:
            text = await ws.receive_text()
            await ws.send_media({'message': text, 'date': datetime.now(UTC).isoformat()})


class Reports:
    """`/reports`: the title of a report, for its name."""

    def __init__(self) -> None:
        self._reports = dict(REPORTS)

    async def on_websocket(self, req: Request, ws: WebSocket) -> None:
        """Answer each name."""
        while True:
            name = await ws.receive_text()
            if name in self._reports:
                await ws.send_media({'report': self._reports[name]})
            else:
                await ws.send_media({'error': 'report not found'})


def create_app() -> falcon.asgi.App[Any, Any]:
    """Return the app."""
    middleware: list[Any] = [LogMiddleware(), TokenMiddleware('/reports')]
    app: falcon.asgi.App[Any, Any] = falcon.asgi.App(middleware=middleware)
    app.add_route('/hello', Hello())
    app.add_route('/echo', Echo())
    app.add_route('/reports', Reports())
    static = Path(__file__).parent / 'static'
    app.add_static_route('/', static, fallback_filename='index.html')
    return app
