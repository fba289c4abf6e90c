"""A fresh resource for each connection, for handlers that want `self` to be the connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable
import inspect
from typing import TYPE_CHECKING, Any, ClassVar

import falcon
import falcon.asgi

from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.responders import has_responders, mark_default
from falcon_ws_mw.signatures import place

if TYPE_CHECKING:
    from falcon_ws_mw.envelope import Sendable
    from falcon_ws_mw.reports import DeliveryReport
    from falcon_ws_mw.websocket import WebSocket


class WebSocketResource:
    """An optional base for classes given to `add_websocket_route`.

    Its subclasses may declare `on_ws_<type>` methods like any resource, and have shorter names
    for the life-cycle. Each connection gets an instance of its own.

    Attributes:
        ws: The connection. Set before `on_connect`, not yet in `__init__`.
    """

    ws: WebSocket

    @property
    def connection_id(self) -> str:
        """The connection's id."""
        return self.ws.id

    @mark_default
    async def on_connect(self, req: falcon.asgi.Request, ws: WebSocket, **params: Any) -> bool:
        """Decide about the handshake. URI fields are passed by name.

        Returns:
            `True` to accept; anything else refuses with 403.

        Raises:
            HTTPError: To refuse with its status.
        """
        return True

    @mark_default
    async def on_disconnect(self, ws: WebSocket, close_code: int) -> None:
        """The connection has ended. Nothing can be sent to it any more."""

    @mark_default
    async def on_message(self, ws: WebSocket, message: dict[str, Any]) -> Any:
        """Take a message whose type no `on_ws_<type>` handles: the whole decoded object.

        Returns:
            The answer, if the message is a request.
        """

    async def join_room(self, room: str) -> None:
        """Enter a room."""
        await self.ws.join_room(room)

    async def leave_room(self, room: str) -> None:
        """Leave a room."""
        await self.ws.leave_room(room)

    async def broadcast_to_room(
        self,
        room: str | Iterable[str],
        msg: Sendable,
        exclude_self: bool = False,  # the name that the field knows
    ) -> DeliveryReport:
        """Send to everybody in a room, to itself too unless it is excluded."""
        return await self.ws.broadcast_to_room(room, msg, exclude_self)


class PerConnectionResource:
    """What Falcon's router holds for a class per connection: it makes the instances.

    Other components' `process_resource_ws` get this object; it reads like the class, responders
    aside, so that an attribute which they look for is found.

    Args:
        cls: The class.
        args: Its positional arguments.
        kwargs: Its keyword arguments.

    Raises:
        ConfigurationError: If the class cannot be called with the arguments, or has HTTP
            responders, which nothing would ever call.
    """

    __slots__ = ('args', 'cls', 'kwargs')

    _http_responders: ClassVar[frozenset[str]] = frozenset(
        f'on_{method.lower()}' for method in (*falcon.COMBINED_METHODS, 'websocket', 'request')
    )

    def __init__(self, cls: type, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None):
        self.cls = cls
        self.args = args
        self.kwargs = kwargs or {}
        try:
            inspect.signature(cls).bind(*self.args, **self.kwargs)
        except TypeError as error:
            raise ConfigurationError(
                f'{place(cls)}: {cls.__qualname__} cannot be made with the arguments given to '
                f'add_websocket_route: {error}'
            ) from None
        short_names = {'on_connect'} if issubclass(cls, WebSocketResource) else set()
        for name in sorted(self._http_responders - short_names):
            if hasattr(cls, name):
                where = place(getattr(cls, name), cls)
                raise ConfigurationError(
                    f'{where}: {cls.__qualname__}.{name} would never be called: an instance is '
                    'made for each WebSocket connection only; serve HTTP from a resource of its '
                    'own, by add_route on another template'
                )

    def make(self) -> object:
        """An instance for one connection."""
        return self.cls(*self.args, **self.kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith(('on_', '__')):
            raise AttributeError(name)
        return getattr(self.cls, name)

    def __repr__(self) -> str:
        return f'<{self.cls.__qualname__} per connection>'


def maker_of(resource: object) -> Callable[[WebSocket], object]:
    """What gives a conversation its resource: the shared one, or a fresh one."""
    if not isinstance(resource, PerConnectionResource):
        return lambda ws: resource

    def make(ws: WebSocket) -> object:
        fresh = resource.make()
        if isinstance(fresh, WebSocketResource):
            fresh.ws = ws
        return fresh

    return make


def check_resource(resource: object, uri_template: str | None) -> None:
    """Check what Falcon accepts as a resource, and we know to be a mistake.

    Raises:
        ConfigurationError: If it is one.
    """
    if isinstance(resource, WebSocketResource):
        raise ConfigurationError(
            f'{type(resource).__qualname__} at {uri_template!r} is a WebSocketResource, one '
            'for each connection: give the class to app.add_websocket_route, not an instance to '
            'app.add_route'
        )
    if not resource and has_responders(type(resource)):
        raise ConfigurationError(
            f'the {type(resource).__qualname__} at {uri_template!r} is false, so Falcon '
            'would call no hook for it: give it a `__bool__` that is true'
        )
    if isinstance(resource, type) and has_responders(resource):
        raise ConfigurationError(
            f'the resource at {uri_template!r} is the class {resource.__qualname__} itself: '
            'give app.add_route an instance, or the class to app.add_websocket_route'
        )
