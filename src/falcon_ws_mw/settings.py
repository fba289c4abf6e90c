"""What a resource class says about its route by `ws_…` attributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches
import inspect
import re
from typing import Any, Final, get_args

from falcon_ws_mw.envelope import CLIENT_PROTOCOL, AnyEnvelope, Envelope, MessageEnvelope
from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.options import (
    CrashPolicy,
    DisconnectPolicy,
    Limits,
    RouteSettings,
    SlowConsumer,
)
from falcon_ws_mw.origins import OriginRule
from falcon_ws_mw.rights import AUTHORIZE
from falcon_ws_mw.signatures import place

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""What can name a subprotocol: a token of HTTP (RFC 6455 §4.1, RFC 9110 §5.6.2)."""


def is_envelope(value: object) -> bool:
    """Whether something can be an envelope."""
    if isinstance(value, Envelope):
        return True
    if isinstance(value, type) or not isinstance(value, MessageEnvelope):
        return False
    try:
        inspect.signature(value.decode).bind('')
        inspect.signature(value.encode).bind('type', None, None)
    except TypeError:
        return False
    except ValueError:  # a built-in that does not tell
        pass
    return not any(map(inspect.iscoroutinefunction, (value.decode, value.encode)))


def _are_subprotocols(value: object) -> bool:
    if not isinstance(value, (Mapping, tuple, list)):
        return False
    names_are_tokens = all(isinstance(name, str) and _TOKEN.fullmatch(name) for name in value)
    if not isinstance(value, Mapping):
        return names_are_tokens and len(set(value)) == len(value)
    return names_are_tokens and all(each is None or is_envelope(each) for each in value.values())


def _by_name(value: Any) -> Mapping[str, AnyEnvelope | None]:
    return value if isinstance(value, Mapping) else dict.fromkeys(value)


def is_count(value: object) -> bool:
    """Whether something is a whole number from 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_pause(value: object) -> bool:
    """Whether something says after or before how many seconds a client is told something."""
    if value is None:
        return True
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0.1 <= value <= 86400


def _is_limits(value: object) -> bool:
    return isinstance(value, Limits)


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_type(value: object) -> bool:
    return value is None or (isinstance(value, str) and value != '')


def _one_of(choices: object) -> tuple[Callable[[object], bool], str]:
    words = get_args(choices)
    return words.__contains__, ' or '.join(map(repr, words))


_LIMITS_OF_THE_APP: Final = frozenset({'max_connections', 'max_connections_per_user'})
"""No resource can have its own."""

_SETTINGS: Final[dict[str, tuple[Callable[[object], bool], str]]] = {
    'ws_limits': (_is_limits, 'a falcon_ws_mw.Limits'),
    'ws_crash_policy': _one_of(CrashPolicy),
    'ws_slow_consumer': _one_of(SlowConsumer),
    'ws_disconnect_policy': _one_of(DisconnectPolicy),
    'ws_client_topics': (_is_bool, 'True or False'),
    'ws_envelope': (
        is_envelope,
        'a falcon_ws_mw.Envelope, or an object with `decode(raw)` and `encode(type, payload, id)`',
    ),
    'ws_subprotocols': (
        _are_subprotocols,
        'a tuple of names, or a dict from name to envelope or None; names are tokens of HTTP',
    ),
    'ws_max_parallel': (is_count, 'a whole number from 1'),
    'ws_allowed_origins': (lambda value: True, ''),  # `OriginRule` has words of its own
    'ws_heartbeat_seconds': (is_pause, 'a number of seconds from 0.1 to 86400, or None'),
    'ws_authenticate_by': (_is_type, 'the type of a message, non-empty text, or None'),
    'ws_expiry_notice_seconds': (is_pause, 'a number of seconds from 0.1 to 86400, or None'),
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
    found = _found(cls)
    limits: Limits = found.pop('limits', Limits())
    for name in sorted(limits.named & _LIMITS_OF_THE_APP):
        raise ConfigurationError(
            f'{place(cls)}: {cls.__qualname__}.ws_limits names {name}, which counts all '
            'connections of the app: give it to install(app, limits=Limits(…))'
        )
    named = limits.named | frozenset(found)
    if 'subprotocols' in found:
        found['subprotocols'] = _by_name(found['subprotocols'])
    if 'allowed_origins' in found:
        found['allowed_origins'] = _origins(cls, found['allowed_origins'])
    asks_rights = getattr(cls, AUTHORIZE, None) is not None
    settings = replace(
        app, limits=limits.over(app.limits), asks_rights=asks_rights, named=named, **found
    )
    # Any route speaks it to whom it knows nothing better; these have something to say in it.
    needs_it = (
        settings.heartbeat_seconds is not None
        or settings.authenticate_by is not None
        or found.get('expiry_notice_seconds') is not None
    )
    if not needs_it or CLIENT_PROTOCOL in settings.subprotocols:
        return settings
    return replace(settings, subprotocols={**settings.subprotocols, CLIENT_PROTOCOL: None})


def _found(cls: type) -> dict[str, Any]:
    """What a class says by attributes, without the `ws_`.

    Raises:
        ConfigurationError: For one that is no setting, or whose value is none.
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
        elif name != AUTHORIZE:
            _check_not_misspelt(cls, name)
    return found


def _check_not_misspelt(cls: type, name: str) -> None:
    """Refuse a method that is nearly called like the one that guards: nobody would ask it."""
    if get_close_matches(name, [AUTHORIZE], cutoff=0.85):
        raise ConfigurationError(
            f'{place(cls)}: {cls.__qualname__}.{name} is asked by nobody: {AUTHORIZE} is; rename '
            'it to that, or to something else if it is yours'
        )


def _origins(cls: type, value: Any) -> OriginRule:
    try:
        return OriginRule(value.__func__ if isinstance(value, staticmethod) else value)
    except ConfigurationError as error:
        raise ConfigurationError(
            f'{place(cls)}: {cls.__qualname__}.ws_allowed_origins: {error}'
        ) from None
