"""An old echo loop, alone and in an app that has the library installed."""

from __future__ import annotations

import falcon
import falcon.asgi

from falcon_ws_mw import install


class Echo:
    """An old loop as Falcon documents it."""

    async def on_websocket(self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
        """Send back what comes."""
        await ws.accept()
        while True:
            try:
                await ws.send_text(await ws.receive_text())
            except falcon.WebSocketDisconnected:
                return


def make_app() -> falcon.asgi.App:  # type: ignore[type-arg]
    """The app as it was."""
    app: falcon.asgi.App = falcon.asgi.App()  # type: ignore[type-arg]
    app.add_route('/echo', Echo())
    return app


without = make_app()
with_library = install(make_app())
