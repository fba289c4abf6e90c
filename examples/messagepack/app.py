"""The app: sensors at `/sites/{site}`, and nothing else."""

import falcon.asgi

from falcon_ws_mw import WebSocketLifespan, install

from .sensors import Sensors


def create_app() -> WebSocketLifespan:
    """Return the app, with no reading yet."""
    app = install(falcon.asgi.App())
    app.add_route('/sites/{site}', Sensors())
    return app


app = create_app()
