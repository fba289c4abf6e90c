"""What a resource class says about its route by `ws_…` attributes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import inspect
from typing import Any, Final, get_args

from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.options import (
    CrashPolicy,
    DisconnectPolicy,
    Limits,
    RouteSettings,
    SlowConsumer,
)
from falcon_ws_mw.signatures import place


def _is_limits(value: object) -> bool:
    return isinstance(value, Limits)


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _one_of(choices: object) -> tuple[Callable[[object], bool], str]:
    words = get_args(choices)
    return words.__contains__, ' or '.join(map(repr, words))


_SETTINGS: Final[dict[str, tuple[Callable[[object], bool], str]]] = {
    'ws_limits': (_is_limits, 'a falcon_ws_mw.Limits'),
    'ws_crash_policy': _one_of(CrashPolicy),
    'ws_slow_consumer': _one_of(SlowConsumer),
    'ws_disconnect_policy': _one_of(DisconnectPolicy),
    'ws_client_topics': (_is_bool, 'True or False'),
}
"""The `ws_…` attributes that configure a route: how each is checked, and what it should be."""


def has_client_topics(cls: type) -> bool:
    """Whether a class lets clients subscribe, which makes its routes ours."""
    return inspect.getattr_static(cls, 'ws_client_topics', False) is True


def read_settings(cls: type, app: RouteSettings) -> RouteSettings:
    """The settings of a route.

    Args:
        cls: The resource's class.
        app: What applies where it says nothing.

    Raises:
        ConfigurationError: For an attribute that is no setting, or whose value is none.
    """
    found: dict[str, Any] = {}
    for name in dir(cls):
        if not name.startswith('ws_'):
            continue
        value = inspect.getattr_static(cls, name)
        if name in _SETTINGS:
            is_valid, expected = _SETTINGS[name]
            if not is_valid(value):
                raise ConfigurationError(
                    f'{place(cls)}: {cls.__qualname__}.{name}={value!r}: expected {expected}'
                )
            found[name.removeprefix('ws_')] = value
        elif not (callable(value) or hasattr(value, '__get__')):
            raise ConfigurationError(
                f'{place(cls)}: {cls.__qualname__}.{name} is no setting of the library: '
                f'there are {", ".join(_SETTINGS)}; rename it if it is yours'
            )
    limits: Limits = found.pop('limits', Limits())
    return replace(app, limits=limits.over(app.limits), **found)
