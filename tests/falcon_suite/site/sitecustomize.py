"""Put a wrapper around every `falcon.asgi.App` that this process builds, if `run.py` asks for it.

Python imports a module of this name at start-up, also in the server processes that Falcon's tests
start, which no pytest plug-in reaches. Each wrapped app adds a line to a log, the name of the
process that built it: `run.py` trusts no run without them.
"""

from __future__ import annotations

from collections.abc import Callable
import os
import pathlib
import sys
from typing import Any

# NOTE: pytest comes first, because Falcon's tests import a server before they start it.
PROCESSES = ('pytest', 'daphne', 'granian', 'hypercorn', 'uvicorn')


class PassThrough:
    """The empty wrapper: what fails inside it fails by the harness, not by the library."""

    __slots__ = ('_app',)

    def __init__(self, app: Any) -> None:
        object.__setattr__(self, '_app', app)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._app, name, value)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._app)


def load_wrapper(name: str) -> Callable[[Any], Any]:
    if name == 'passthrough':
        return PassThrough

    from falcon_ws_mw import install

    return install


def wrap_every_app(wrap: Callable[[Any], Any], log_path: pathlib.Path) -> None:
    """Make `App(...)`, of subclasses too, return a complete app inside its wrapper."""
    import falcon.asgi

    def build(cls: type, *args: Any, **kwargs: Any) -> Any:
        app: Any = object.__new__(cls)
        app.__init__(*args, **kwargs)
        wrapped = wrap(app)
        if issubclass(type(wrapped), falcon.asgi.App):  # Python would call __init__ once more
            raise TypeError(f'{wrap!r} returned {wrapped!r}, which is no wrapper but an app')
        with log_path.open('a') as log:
            log.write(next((name for name in PROCESSES if name in sys.modules), 'other') + '\n')
        return wrapped

    falcon.asgi.App.__new__ = build  # type: ignore[method-assign]


if 'FALCON_SUITE_WRAPPER' in os.environ:
    try:
        wrap_every_app(
            load_wrapper(os.environ['FALCON_SUITE_WRAPPER']),
            pathlib.Path(os.environ['FALCON_SUITE_LOG']),
        )
    except Exception as error:
        # NOTE: site reports an Exception in one line and goes on, with nothing wrapped.
        raise SystemExit(f'falcon suite: no wrapper: {error!r}') from error
