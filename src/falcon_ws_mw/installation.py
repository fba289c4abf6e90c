"""`app = install(app)`: the one line that puts the library around a Falcon app."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from falcon_ws_mw import falcon_internals
from falcon_ws_mw.backends import Backend
from falcon_ws_mw.decoding import DEFAULT_DECODING, Decoding
from falcon_ws_mw.envelope import DEFAULT_ENVELOPE, AnyEnvelope
from falcon_ws_mw.errors import ConfigurationError, without_password
from falcon_ws_mw.lifespan import WebSocketLifespan
from falcon_ws_mw.manager import WebSocketConnectionManager
from falcon_ws_mw.middleware import WebSocketDispatchMiddleware, WrapperGuard
from falcon_ws_mw.options import (
    DEFAULT_EXPIRY_NOTICE_SECONDS,
    CrashPolicy,
    DisconnectPolicy,
    Limits,
    OutagePolicy,
    Refusals,
    SlowConsumer,
    UserLimitPolicy,
)
from falcon_ws_mw.origins import AllowedOrigins
from falcon_ws_mw.passing_through import check_app
from falcon_ws_mw.proxies import TrustedProxies


def install(
    app: falcon_internals.App,
    *,
    manager: WebSocketConnectionManager | None = None,
    backend: str | Backend = 'memory://',
    outage_policy: OutagePolicy = 'wait',
    envelope: AnyEnvelope = DEFAULT_ENVELOPE,
    limits: Limits | None = None,
    crash_policy: CrashPolicy = 'answer',
    slow_consumer: SlowConsumer = 'close',
    disconnect_policy: DisconnectPolicy = 'handle',
    allowed_origins: AllowedOrigins = None,
    trusted_proxies: TrustedProxies = (),
    heartbeat_seconds: float | None = None,
    expiry_notice_seconds: float | None = DEFAULT_EXPIRY_NOTICE_SECONDS,
    user_limit_policy: UserLimitPolicy = 'refuse',
    decoding: Decoding = DEFAULT_DECODING,
    refusals: Refusals = 'http',
    check_sends: bool | None = None,
    strict: bool = False,
) -> WebSocketLifespan:
    """Put the library around a Falcon app.

    Serve what it returns, as in `app = install(app)`; the app alone refuses to start from then on.

    Args:
        app: A `falcon.asgi.App`.
        manager: The connection manager, for apps that make it first and give it to their HTTP
            resources (default: a new one).
        backend: The backend of a new manager, by URL or as it is (default `'memory://'`: this
            process).
        outage_policy: See `WebSocketConnectionManager`.
        envelope: See `WebSocketDispatchMiddleware`.
        limits: The limits of routes that name none.
        crash_policy: See `WebSocketDispatchMiddleware`.
        slow_consumer: See `WebSocketDispatchMiddleware`.
        disconnect_policy: See `WebSocketDispatchMiddleware`.
        allowed_origins: See `WebSocketDispatchMiddleware`.
        trusted_proxies: See `WebSocketDispatchMiddleware`.
        heartbeat_seconds: See `WebSocketDispatchMiddleware`.
        expiry_notice_seconds: See `WebSocketDispatchMiddleware`.
        user_limit_policy: See `WebSocketDispatchMiddleware`.
        decoding: See `WebSocketLifespan`.
        refusals: See `WebSocketLifespan`.
        check_sends: See `WebSocketLifespan`.
        strict: See `WebSocketDispatchMiddleware`.

    Returns:
        The ASGI app to serve, in every other way the app itself.

    Raises:
        ConfigurationError: If the app is none for this, or has the library already.
    """
    check_app(app)
    components = falcon_internals.middleware_of(app)
    if any(isinstance(component, WrapperGuard) for component in components):
        raise ConfigurationError(
            'the app has falcon_ws_mw already: call install once, and not beside '
            'WebSocketDispatchMiddleware'
        )
    if manager is None:
        manager = WebSocketConnectionManager(backend, outage_policy=outage_policy)
    elif (backend, outage_policy) != ('memory://', 'wait'):
        raise ConfigurationError(
            f'install got a manager, and backend={without_password(backend)!r} with '
            f'{outage_policy=}: a manager has its backend already, give both there'
        )
    if isinstance(allowed_origins, Iterator):
        allowed_origins = tuple(allowed_origins)
    if isinstance(trusted_proxies, Iterator):
        trusted_proxies = tuple(trusted_proxies)
    settings: dict[str, Any] = {
        'envelope': envelope,
        'limits': limits,
        'crash_policy': crash_policy,
        'slow_consumer': slow_consumer,
        'disconnect_policy': disconnect_policy,
        'allowed_origins': allowed_origins,
        'trusted_proxies': trusted_proxies,
        'heartbeat_seconds': heartbeat_seconds,
        'expiry_notice_seconds': expiry_notice_seconds,
        'user_limit_policy': user_limit_policy,
        'strict': strict,
    }
    WebSocketDispatchMiddleware(manager, **settings)  # a wrong setting is said here and now
    wrapper = WebSocketLifespan(
        app,
        manager,
        decoding=decoding,
        refusals=refusals,
        check_sends=check_sends,
        make_dispatcher=lambda: WebSocketDispatchMiddleware(manager, **settings),
    )
    app.add_middleware(WrapperGuard())
    return wrapper
