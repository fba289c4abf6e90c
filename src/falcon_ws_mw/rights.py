"""Who may do what: the one method of a resource that decides, `ws_authorize`.

`async def ws_authorize(self, ws, action, name) -> bool` is asked when something is done through a
`ws`, which acts for its client: `'join'` a room, `'subscribe'` to a topic filter, `'publish'` on a
topic. What is done through the manager is the server's own doing, and nobody is asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
import inspect
from typing import Any, Final, TypeAlias

from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.signatures import place

Authorize: TypeAlias = Callable[[Any, Any, str, str], Awaitable[bool]]
"""Called with the resource, the `ws`, the action and the name."""

AUTHORIZE: Final = 'ws_authorize'
"""What that method is called."""

JOIN: Final = 'join'
SUBSCRIBE: Final = 'subscribe'
PUBLISH: Final = 'publish'

DENIALS: Final = {
    JOIN: 'you may not join this room',
    SUBSCRIBE: 'you may not subscribe to this topic filter',
    PUBLISH: 'you may not publish on this topic',
}
"""What a client is told whom it does not allow something."""

DECLARATION: Final = '`async def ws_authorize(self, ws, action, name) -> bool`'


class Question:
    """A right that is being asked for. The answer may come too late.

    Args:
        name: What it is about.

    Attributes:
        name: The same.
        is_stale: Whether the connection has become somebody else's meanwhile, has ended, or was
            taken out of just this.
    """

    __slots__ = ('is_stale', 'name')

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_stale = False


def authorizer_of(cls: type) -> Authorize | None:
    """What decides about the clients of a class; `None` if nothing does.

    Raises:
        ConfigurationError: If it cannot be called, or not awaited.
    """
    authorize: Any = getattr(cls, AUTHORIZE, None)
    if authorize is None:
        return None
    where = f'{place(authorize, cls)}: {cls.__qualname__}.{AUTHORIZE}'
    static = inspect.getattr_static(cls, AUTHORIZE)
    if isinstance(static, (staticmethod, classmethod)) or not inspect.iscoroutinefunction(
        authorize
    ):
        raise ConfigurationError(f'{where} is no coroutine method: declare {DECLARATION}')
    try:
        inspect.signature(authorize).bind(None, None, JOIN, 'name')
    except TypeError:
        raise ConfigurationError(
            f'{where} is called with (ws, action, name) by position: declare {DECLARATION}'
        ) from None
    return authorize  # type: ignore[no-any-return]
