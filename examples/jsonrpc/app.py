"""The app: to-do lists at `/rpc`, and nothing else."""

import falcon.asgi

from falcon_ws_mw import WebSocketLifespan, install

from .lists import TodoLists


def create_app() -> WebSocketLifespan:
    """Return the app, with no list yet."""
    app = install(falcon.asgi.App())
    app.add_route('/rpc', TodoLists())
    return app


app = create_app()
