"""The choice of a backend by the scheme of a URL; its driver is imported only then."""

from __future__ import annotations

from collections.abc import Callable
import importlib
from typing import Final

from falcon_ws_mw.backends.base import Backend
from falcon_ws_mw.backends.memory import MemoryBackend
from falcon_ws_mw.errors import ConfigurationError, without_password

Opener = Callable[[str], Backend]
"""Makes a backend of a URL."""


def _open_redis(url: str) -> Backend:
    module = importlib.import_module('falcon_ws_mw.backends.redis')
    opened: Backend = module.RedisBackend(url)
    return opened


_OPENERS: Final[dict[str, Opener]] = {
    'memory': MemoryBackend,
    **{
        f'{scheme}{topology}': _open_redis
        for scheme in ('redis', 'rediss')
        for topology in ('', '+sentinel', '+cluster')
    },
}


def register_backend(scheme: str, opener: Opener) -> None:
    """Make a backend known by the scheme of its URLs.

    Args:
        scheme: The scheme, as `'nats'`.
        opener: A subclass of `Backend`, or a function of the URL that returns an instance of one.

    Raises:
        ConfigurationError: If the scheme is taken.
    """
    if scheme in _OPENERS:
        raise ConfigurationError(f'there is a backend for {scheme}:// already')
    _OPENERS[scheme] = opener


def open_backend(backend: str | Backend) -> Backend:
    """The backend that a URL names; one that is made already, as it is.

    Raises:
        ConfigurationError: If it names none, or its driver is not installed.
    """
    if isinstance(backend, Backend):
        return backend
    given: object = backend
    scheme = backend.partition('://')[0] if isinstance(given, str) else ''
    opener = _OPENERS.get(scheme)
    if opener is None:
        known = ', '.join(f'{each}://' for each in _OPENERS)
        raise ConfigurationError(
            f'backend={without_password(backend)!r}: expected a URL that begins with {known}'
        )
    return opener(backend)
