"""An object that stands for a Falcon app: what it does not have itself is the app's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import falcon
import falcon.asgi

from falcon_ws_mw import falcon_internals
from falcon_ws_mw.errors import ConfigurationError


class PassingThrough:
    """Reads and sets what it does not have itself on an app, and says it is one.

    Args:
        app: The Falcon app.
    """

    __slots__ = ('_app',)

    def __init__(self, app: falcon_internals.App) -> None:
        self._app = app

    @property  # type: ignore[misc]  # isinstance asks for it: tools check for a falcon App
    def __class__(self) -> type:
        return type(self._app)

    def __getattr__(self, name: str) -> Any:
        if name == '_app':  # not set yet: while being copied or unpickled
            raise AttributeError(name)
        return getattr(self._app, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(type(self), name):
            object.__setattr__(self, name, value)
        else:
            setattr(self._app, name, value)

    def __dir__(self) -> Iterable[str]:
        return {*object.__dir__(self), *dir(self._app)}

    def __repr__(self) -> str:
        return f'<{type(self).__name__} around {self._app!r}>'


def check_app(app: object) -> None:
    """Check that something is an app that the library can be put around.

    Raises:
        ConfigurationError: If it is not.
    """
    if issubclass(type(app), PassingThrough):
        raise ConfigurationError('the app is wrapped already: call install once')
    if not isinstance(app, falcon.asgi.App):
        raise ConfigurationError(
            f'{app!r} is not a falcon.asgi.App: install takes the app itself, before any other '
            'ASGI middleware is put around it; WSGI (falcon.App) has no WebSockets'
        )
