"""`/health`: whether a load balancer should send clients here."""

import falcon
from falcon.asgi import Request, Response

from falcon_ws_mw import WebSocketConnectionManager


class Health:
    """`/health`: 200 while this process is in touch with Redis, else 503.

    A process that lost Redis should get no new clients: nobody can log in at it or enter a room,
    and at another one they may. Those whom it has keep their sockets, and go on when Redis is back.

    So this is for what sends clients ("readiness"), and not for what restarts processes
    ("liveness"): a restart would not bring Redis back, and throw all clients out. If Redis itself
    is gone, all processes say 503, and a balancer that then sends nobody anywhere is right: nobody
    could do anything there. Let it ask a few times before it believes, since a connection that was
    cut is back within a second, and messages wait for it meanwhile.
    """

    def __init__(self, manager: WebSocketConnectionManager) -> None:
        self._manager = manager

    async def on_get(self, req: Request, resp: Response) -> None:
        """Say how this process stands. It asks nobody, so it may be asked often."""
        stats = self._manager.stats()
        backend = stats.backend
        if backend is None or backend.state != 'connected':
            resp.status = falcon.HTTP_503
        resp.media = {
            'backend': None if backend is None else backend.state,
            'connections': stats.connections,
        }
        resp.cache_control = ['no-store']
