"""Every touch of a private name of Falcon, each with what happens where it is gone.

Nothing else in the library reaches behind Falcon's public API. Each function says its public
fall-back; `tests/test_falcon_internals.py` runs them with and without the private names.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
import inspect
import json
import re
from typing import Any, NamedTuple, TypeAlias, TypeVar

import falcon
import falcon.asgi
from falcon.media import JSONHandlerWS
from falcon.routing import CompiledRouter, map_http_methods

from falcon_ws_mw.asgi import Receive, Send
from falcon_ws_mw.errors import ConfigurationError

App: TypeAlias = 'falcon.asgi.App[Any, Any]'

_FIELD = re.compile(r'\{\s*([A-Za-z_]\w*)')


class Route(NamedTuple):
    """One route of an app.

    Attributes:
        uri_template: The template, or `None` where a router does not tell.
        resource: The resource object.
        method_map: HTTP method, or `'WEBSOCKET'`, to responder.
    """

    uri_template: str | None
    resource: object
    method_map: dict[str, Any]

    @property
    def fields(self) -> frozenset[str]:
        """The names of the fields in the template."""
        return template_fields(self.uri_template or '')

    @property
    def suffixed(self) -> bool:
        """Whether it was added with a `suffix`, so that `on_get_<suffix>` answers GET.

        Falcon keeps no suffix, but refuses one that maps no responder. So a suffixed route has a
        method of its resource that would not be mapped without a suffix.
        """
        plain = map_http_methods(self.resource)
        default = getattr(self.resource, 'on_request', None)
        return any(
            getattr(responder, '__self__', None) is self.resource
            and responder not in (plain.get(method), default)
            for method, responder in self.method_map.items()
        )


def template_fields(uri_template: str) -> frozenset[str]:
    """The names of the fields in a URI template."""
    return frozenset(_FIELD.findall(uri_template))


def all_routes(app: App) -> list[Route] | None:
    """Every route of the app.

    Fall-back: `None` where the router is not Falcon's own or hides its nodes; the caller then
    checks each route at its first handshake.
    """
    router = getattr(app, '_router', None)
    roots = getattr(router, '_roots', None)
    if not isinstance(router, CompiledRouter) or not isinstance(roots, list):
        return None
    return list(_walk(roots))


def _walk(nodes: list[Any]) -> Iterator[Route]:
    for node in nodes:
        if node.resource is not None:
            yield Route(node.uri_template, node.resource, node.method_map or {})
        yield from _walk(node.children)


def find_route(app: App, path: str, req: falcon.asgi.Request | None = None) -> Route | None:
    """The route that a path leads to.

    Fall-back: `None` where the router cannot be asked, as for a path without a route.
    """
    router = getattr(app, '_router', None)
    if router is None:
        return None
    try:
        found = router.find(path, req=req)
    except Exception:  # noqa: BLE001  # an app's own router may want a request, and may raise
        return None
    if found is None or found[0] is None:
        return None
    return Route(found[3] if len(found) > 3 else None, found[0], found[1])


def middleware_of(app: App) -> list[object]:
    """The app's middleware components in the order they run.

    Fall-back: none, so that checks of their order pass.
    """
    return list(getattr(app, '_unprepared_middleware', ()))


ErrorHandler: TypeAlias = Callable[..., Awaitable[None]]


def own_error_handler(app: App, error: Exception) -> ErrorHandler | None:
    """The handler that the app registered for an error by `add_error_handler`.

    Falcon's own default handlers do not count.

    Fall-back: `None`, as if the app had registered none.
    """
    find = getattr(app, '_find_error_handler', None)
    handler: ErrorHandler | None = find(error) if find is not None else None
    if handler is None or getattr(handler, '__module__', '').startswith('falcon.'):
        return None
    return handler


def report_error(
    app: App, req: falcon.asgi.Request, error: Exception, params: dict[str, Any]
) -> None:
    """Tell the reporter set by `app.set_error_reporter` (Falcon 4.4) of an error we answered.

    Fall-back: nothing is reported.
    """
    reporter = getattr(app, '_report_error', None)
    if reporter is not None:
        reporter(req, error, params, True)


def redirect(ws: falcon.asgi.WebSocket, receive: Receive, send: Send) -> Receive:
    """Make Falcon's socket receive and send by other functions.

    Filtering has to happen here and not below, at the ASGI level: Falcon reads ahead.

    Fall-back: none. A Falcon without these slots raises, so that the handshake is refused.

    Returns:
        What it received by until now.

    Raises:
        ConfigurationError: If this Falcon hides its slots.
    """
    original: Receive | None = getattr(ws, '_asgi_receive', None)
    if original is None or not hasattr(ws, '_asgi_send'):
        raise ConfigurationError(
            f'Falcon {falcon.__version__} does not let its sockets be filtered, so on_websocket '
            'and on_ws_* cannot share a resource: keep one of them, or another version of Falcon'
        )
    ws._asgi_receive = receive
    ws._asgi_send = send
    return original


ReadThrough = TypeVar('ReadThrough', bound=Receive)


def read_through(
    ws: falcon.asgi.WebSocket, through: Callable[[Receive], ReadThrough]
) -> ReadThrough | None:
    """Put something between the server's receive and Falcon's socket with its reader.

    Fall-back: `None`, and nothing is put there.
    """
    receiver: Any = getattr(ws, '_buffered_receiver', None)
    receive: Receive | None = getattr(receiver, '_asgi_receive', None)
    if receiver is None or receive is None:
        return None
    between = through(receive)
    receiver._asgi_receive = between
    if getattr(ws, '_asgi_receive', None) == receive:  # nothing reads ahead
        ws._asgi_receive = between
    return between


def reads_ahead(ws: falcon.asgi.WebSocket) -> bool:
    """Whether Falcon's reader still runs, so that nobody else may read.

    Fall-back: `True`.
    """
    receiver: Any = getattr(ws, '_buffered_receiver', None)
    if not hasattr(receiver, '_pump_task'):
        return True
    return receiver._pump_task is not None and not receiver._pump_task.done()


def send_directly(ws: falcon.asgi.WebSocket, through: Send, send: Send) -> None:
    """Make Falcon's socket send by the server's function, where it sends through one of ours.

    Fall-back: it goes on sending through ours, which costs a call a message.
    """
    if getattr(ws, '_asgi_send', None) == through:
        ws._asgi_send = send


def close_code_of(ws: falcon.asgi.WebSocket) -> int | None:
    """The close code that Falcon's socket has seen or sent.

    Fall-back: `None`.
    """
    receiver = getattr(ws, '_buffered_receiver', None)
    code = getattr(receiver, 'client_disconnected_code', None)
    if code is None:
        code = getattr(ws, '_close_code', None)
    return None if code is None else int(code)


def unread_events(ws: falcon.asgi.WebSocket) -> list[Any]:
    """The ASGI events that Falcon has read ahead and nobody has received.

    Fall-back: none.
    """
    return list(getattr(getattr(ws, '_buffered_receiver', None), '_messages', ()))


@dataclass(frozen=True, slots=True)
class FalconHook:
    """One of Falcon's own hooks, or what has to be like one. Equal where it does the same.

    Attributes:
        kind: `'before'` or `'after'`.
        action: What it runs, `None` where Falcon hides it.
        args: The action's further arguments, `None` where Falcon hides them.
        kwargs: Its further keyword arguments, likewise.
        function: What Falcon made of the function that the hook stands around.
    """

    kind: str
    action: object
    args: tuple[Any, ...] | None
    kwargs: dict[str, Any] | None
    function: object = field(default=None, compare=False)


def falcon_hooks(function: object) -> list[FalconHook]:
    """Falcon's own hooks (`falcon.before`, `falcon.after`) around a function, outermost first.

    Fall-back: none are seen; where only what they run is hidden, that is `None`.
    """
    found: list[FalconHook] = []
    while inspect.isroutine(function):  # nothing else is asked: it may answer anything
        if getattr(function, '__globals__', {}).get('__name__') == 'falcon.hooks':
            found.append(_falcon_hook(function))
        function = getattr(function, '__wrapped__', None)
    return found


def _falcon_hook(function: object) -> FalconHook:
    code = getattr(function, '__code__', None)
    names = getattr(code, 'co_freevars', ())
    contents = [cell.cell_contents for cell in getattr(function, '__closure__', None) or ()]
    held = dict(zip(names, contents, strict=False))
    action = held.get('async_action', held.get('sync_action'))
    if getattr(action, '__globals__', {}).get('__name__') == 'falcon.util.sync':
        action = getattr(action, '__wrapped__', action)  # Falcon wraps a sync one anew each time
    kind = getattr(code, 'co_name', '').removeprefix('do_')
    return FalconHook(kind, action, held.get('action_args'), held.get('action_kwargs'), function)


def is_default_text_handler(handler: object) -> bool:
    """Whether this is Falcon's untouched TEXT media handler, which orjson may stand in for.

    A customised `JSONHandlerWS` has the same type; only its functions tell.

    Fall-back: `False`, so that a handler we cannot look into is the app's own and is used.
    """
    if type(handler) is not JSONHandlerWS:
        return False
    dumps = getattr(handler, '_dumps', None)
    return (
        getattr(handler, '_loads', None) is json.loads
        and isinstance(dumps, partial)
        and dumps.func is json.dumps
        and dumps.keywords == {'ensure_ascii': False}
    )
