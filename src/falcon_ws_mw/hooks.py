"""Falcon's hooks, extended to `on_ws_*`.

Falcon's own `before` and `after` reach HTTP responders and `on_websocket` only. Around an `on_ws_*`
method, or a class that has nothing else, they would do nothing and leave no trace; so ours stand
beside them, and what can be recognised as lost stops the start-up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
import inspect
import re
from typing import Any, TypeVar

import falcon
import falcon.asgi

from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.guards import (
    AFTER_ATTRIBUTE,
    BEFORE_ATTRIBUTE,
    Hook,
    mark_alone,
    mark_dispatch,
)
from falcon_ws_mw.handshake import SCOPE_KEY, Handshake
from falcon_ws_mw.resource import WebSocketResource
from falcon_ws_mw.signatures import place

Target = TypeVar('Target', bound=Callable[..., Any])

Action = Callable[..., Awaitable[None]]

_FALCONS = re.compile(
    rf'(?!on_connect$)on_({"|".join(falcon.COMBINED_METHODS).lower()}|request)(_\w+)?'
)
"""Names of ordinary responders, for which Falcon's own hooks do. `on_connect` may also be the short
name of a `WebSocketResource`, so ours have to do for both."""


def before(action: Action, *args: Any, **kwargs: Any) -> Callable[[Target], Target]:
    """Run an action before a responder, like `falcon.before`, which it extends to `on_ws_*`.

    On an `on_ws_*` method it runs before each message; on a class, before each HTTP responder and
    before `on_websocket`, as Falcon's does, and where there is no `on_websocket`, once at the
    handshake, before `on_ws_connect`.

    Args:
        action: A coroutine function `action(req, resp, resource, params, *args, **kwargs)`, or an
            object that can be called like one. For a WebSocket `resp` is the `ws`, as with Falcon's
            own hooks. It may raise `HTTPError`, which refuses the handshake or answers the message,
            and change values in `params`.
        args: Further arguments for it.
        kwargs: Further keyword arguments for it.

    Raises:
        ConfigurationError: If calling the action gives no coroutine.
    """
    return _decorator(Hook(action, args, kwargs), falcon.before, BEFORE_ATTRIBUTE, _run_before)


def after(action: Action, *args: Any, **kwargs: Any) -> Callable[[Target], Target]:
    """Run an action after a responder, like `falcon.after`, which it extends to `on_ws_*`.

    On an `on_ws_*` method it runs after each message that was handled without an error; on a class,
    after each HTTP responder and `on_websocket`, as Falcon's does, and where there is no
    `on_websocket`, once after `on_ws_disconnect`.

    Args:
        action: A coroutine function `action(req, resp, resource, *args, **kwargs)`, or an object
            that can be called like one. For a WebSocket `resp` is the `ws`.
        args: Further arguments for it.
        kwargs: Further keyword arguments for it.

    Raises:
        ConfigurationError: If calling the action gives no coroutine.
    """
    return _decorator(Hook(action, args, kwargs), falcon.after, AFTER_ATTRIBUTE, _run_after)


@mark_dispatch
async def dispatch(
    self: object,
    req: falcon.asgi.Request,
    ws: falcon.asgi.WebSocket,
    **params: Any,
) -> None:
    """The dispatched conversation as an ordinary responder.

    `on_websocket = dispatch` in a class body makes it one, on which Falcon's own hooks work, those
    of the whole class included.
    """
    handshake: Handshake | None = req.scope.get(SCOPE_KEY)
    if handshake is None or handshake.converse is None:
        raise ConfigurationError(
            f'nothing prepared the conversation that {type(self).__qualname__} should dispatch: '
            'say `on_websocket = falcon_ws_mw.dispatch` in the class, do not call it, and serve '
            'what install(app) returns'
        )
    await handshake.converse(ws, params)


def _decorator(
    hook: Hook,
    falcons: Callable[..., Callable[[Any], Any]],
    attribute: str,
    run: Callable[[Hook, Callable[..., Awaitable[Any]]], Callable[..., Awaitable[Any]]],
) -> Callable[[Target], Target]:
    if not (
        inspect.iscoroutinefunction(hook.action)
        or inspect.iscoroutinefunction(getattr(type(hook.action), '__call__', None))  # noqa: B004
    ):
        raise ConfigurationError(f'{hook.action!r} is not a coroutine function: write `async def`')

    def decorate(target: Target) -> Target:
        if isinstance(target, type):
            decorated: Any = target
            if not issubclass(target, WebSocketResource):  # that one has no HTTP responders
                decorated = falcons(hook.action, *hook.args, **hook.kwargs)(target)
            if getattr(target, 'on_websocket', None) is None:
                _record(target, attribute, hook)
            return decorated  # type: ignore[no-any-return]
        if _FALCONS.fullmatch(target.__name__):
            responder: Any = falcons(hook.action, *hook.args, **hook.kwargs)(target)
            mark_alone(responder)
            return responder  # type: ignore[no-any-return]
        if not inspect.iscoroutinefunction(target):
            raise ConfigurationError(
                f'{place(target)}: {target.__qualname__} is not a coroutine function: write '
                f'`async def {target.__name__}`'
            )
        return wraps(target)(run(hook, target))  # type: ignore[return-value]

    return decorate


def _record(cls: type, attribute: str, hook: Hook) -> None:
    earlier = vars(cls).get(attribute, ())
    # The outermost decorator comes last: it is the first to run before, and the last to run after.
    hooks = (hook, *earlier) if attribute == BEFORE_ATTRIBUTE else (*earlier, hook)
    setattr(cls, attribute, hooks)


def _run_before(
    hook: Hook, function: Callable[..., Awaitable[Any]]
) -> Callable[..., Awaitable[Any]]:
    async def hooked(self: object, *positional: Any, **named: Any) -> Any:
        req, resp, params = _request_of(positional, named)
        await hook(req, resp, self, params)
        changed = {name: params[name] for name in named if name in params}
        return await function(self, *positional, **{**named, **changed})

    return hooked


def _run_after(
    hook: Hook, function: Callable[..., Awaitable[Any]]
) -> Callable[..., Awaitable[Any]]:
    async def hooked(self: object, *positional: Any, **named: Any) -> Any:
        result = await function(self, *positional, **named)
        req, resp, _ = _request_of(positional, named)
        await hook(req, resp, self)
        return result

    return hooked


def _request_of(
    positional: tuple[Any, ...], named: dict[str, Any]
) -> tuple[Any, Any, dict[str, Any]]:
    """The request, the `ws` and the URI fields that a method of ours was called with."""
    for value in positional:
        if isinstance(value, falcon.asgi.WebSocket):
            ws: Any = value
            return ws.req, ws, dict(ws.uri_params)
    req, resp = positional[:2]  # HTTP CONNECT
    return req, resp, dict(named)
