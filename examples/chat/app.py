"""The app: an ordinary Falcon app, and one line that teaches it sockets."""

import os

import falcon.asgi

from falcon_ws_mw import WebSocketConnectionManager, WebSocketLifespan, install

from .announcements import Announcements, announce_periodically
from .login import SessionResource
from .page import Page
from .rooms import ChatRoom
from .sessions import SESSION_COOKIE, MemorySessions, SessionMiddleware, SessionStore


def create_app(
    *,
    backend: str = 'memory://',
    sessions: SessionStore | None = None,
    announces_time: bool = True,
    check_sends: bool | None = None,
) -> WebSocketLifespan:
    """Return the app, configured by the environment.

    `CHAT_ANNOUNCE_SECONDS` is the time between two announcements, 60 by default.

    Args:
        backend: What links the processes that serve it; by default there is one.
        sessions: Where it is kept who is logged in (default: in the memory of this process).
        announces_time: Whether this process announces the time. Of several each would.
        check_sends: Whether what is sent is checked against what is declared: for tests.

    Raises:
        ValueError: `CHAT_ANNOUNCE_SECONDS` is no positive number.
    """
    interval_seconds = float(os.environ.get('CHAT_ANNOUNCE_SECONDS', '60'))
    if not interval_seconds > 0:
        raise ValueError(f'CHAT_ANNOUNCE_SECONDS must be above 0, not {interval_seconds:g}')

    # HTTP resources get at the sockets by being given the manager; so it is made first.
    manager = WebSocketConnectionManager(backend)
    sessions = MemorySessions() if sessions is None else sessions

    app = falcon.asgi.App(middleware=[SessionMiddleware(sessions)])
    app.add_route('/', Page())
    app.add_route('/session', SessionResource(sessions, manager))
    app.add_route('/announcements', Announcements(manager))
    app.add_route('/ws/chat/{room_name}', ChatRoom())

    chat = install(app, manager=manager, check_sends=check_sends)
    if announces_time:
        chat.add_websocket_worker(announce_periodically, manager, interval_seconds)
    # What clients may say and hear, to read at /asyncapi and to generate from at /asyncapi.json.
    chat.add_asyncapi_routes(
        title='Chat',
        version='1.0.0',
        description='Rooms to talk in. Log in by `POST /session` first.',
        servers={'demo': {'host': '127.0.0.1:8000', 'protocol': 'ws'}},
        security_schemes={
            'cookie': {'type': 'httpApiKey', 'in': 'cookie', 'name': SESSION_COOKIE},
            'token': {'type': 'http', 'scheme': 'bearer'},
        },
    )
    return chat


app = create_app()
