"""Who is told of connections that begin, end, or have a handler that failed; of users; of gaps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
import inspect
import logging
from typing import Any, Final, Literal, TypeAlias, TypeVar

from falcon_ws_mw import cancellation
from falcon_ws_mw.errors import ConfigurationError

logger = logging.getLogger('falcon_ws_mw')

Listener: TypeAlias = Callable[..., Awaitable[None] | None]
AnyListener = TypeVar('AnyListener', bound=Listener)

Occasion = Literal[
    'connect',
    'disconnect',
    'error',
    'gap',
    'user_online',
    'user_offline',
    'user_joined',
    'user_left',
]

_TOLD: Final[Mapping[Occasion, tuple[str, ...]]] = {
    'connect': ('ws',),
    'disconnect': ('ws', 'close_code'),
    'error': ('ws', 'error'),
    'gap': ('gap',),
    'user_online': ('user_id',),
    'user_offline': ('user_id',),
    'user_joined': ('room', 'user_id'),
    'user_left': ('room', 'user_id'),
}


class Listeners:
    """The functions that an app wants called, in the order in which they were added."""

    __slots__ = ('_by_occasion',)

    def __init__(self) -> None:
        self._by_occasion: dict[str, tuple[Listener, ...]] = {}

    def add(self, occasion: Occasion, listener: AnyListener) -> AnyListener:
        """Have a function called.

        Raises:
            ConfigurationError: If it cannot be called with what it is told.
        """
        told = _TOLD[occasion]
        try:
            inspect.signature(listener).bind(*told)
        except (TypeError, ValueError):
            raise ConfigurationError(
                f'on_{occasion}({listener!r}): expected a function, or a coroutine function, of '
                f'({", ".join(told)})'
            ) from None
        self._by_occasion[occasion] = (*self._by_occasion.get(occasion, ()), listener)
        return listener

    def are_there(self, occasion: Occasion) -> bool:
        """Whether anybody is told of an occasion."""
        return occasion in self._by_occasion

    async def tell(self, occasion: Occasion, *told: Any) -> None:
        """Call those of an occasion. What one raises is logged, and costs nobody else anything."""
        for listener in self._by_occasion.get(occasion, ()):
            try:
                waiting = listener(*told)
                if inspect.isawaitable(waiting):
                    await waiting
            except (Exception, asyncio.CancelledError) as error:
                if not isinstance(error, Exception) and cancellation.is_for_this_task():
                    raise
                logger.exception('a listener of on_%s failed: %r', occasion, listener)
