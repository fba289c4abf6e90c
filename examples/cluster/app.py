"""The chat, for several processes: what is added to it is what belongs to a cluster."""

from contextlib import suppress

from examples.chat.app import create_app as create_chat
from examples.chat.messages import Missed
from falcon_ws_mw import ConnectionNotFound, Gap, Message, WebSocketLifespan

from .health import Health
from .sessions import RedisSessions, close_ended
from .settings import backend_url, require_redis_url


def create_app(redis_url: str | None = None) -> WebSocketLifespan:
    """Return the app: `uvicorn --factory examples.cluster.app:create_app`.

    Args:
        redis_url: The Redis that links its processes (default: `REDIS_URL`).
    """
    redis_url = redis_url or require_redis_url()
    sessions = RedisSessions(redis_url)
    chat = create_chat(
        backend=backend_url(redis_url),
        sessions=sessions,
        # A worker runs in each process: three would tell the time three times.
        announces_time=False,
    )
    manager = chat.ws_connection_manager
    chat.add_middleware(sessions)
    chat.add_route('/health', Health(manager))
    chat.add_websocket_worker(close_ended, sessions, manager)

    @manager.on_gap
    async def tell_of_gap(gap: Gap) -> None:
        """Tell those of this process who missed something; with a history, they reload it now."""
        if gap.kind != 'room':  # the chat says nothing but to rooms
            return
        message = Message('serverMissed', Missed(gap.lost))
        for ws in manager.get_connections_in_room(gap.name):
            with suppress(ConnectionNotFound):  # it may be leaving
                await manager.send_to_connection(ws.id, message)

    return chat
