"""The Falcon edge: the two hooks, and which routes are ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
import logging
from typing import TYPE_CHECKING, Any

import falcon
from falcon import WebSocketPayloadType as PayloadType
import falcon.asgi
from falcon.media import MissingDependencyHandler

from falcon_ws_mw import close_codes, falcon_internals, hooks
from falcon_ws_mw.admission import Admission, Refusal
from falcon_ws_mw.adoption import AdoptedConversation
from falcon_ws_mw.conversation import Conversation
from falcon_ws_mw.decoding import DEFAULT_DECODING, Decoding
from falcon_ws_mw.envelope import DEFAULT_ENVELOPE, AnyEnvelope
from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.handshake import SCOPE_KEY, ConversationStarts, Handshake
from falcon_ws_mw.media import Media
from falcon_ws_mw.options import (
    DEFAULT_EXPIRY_NOTICE_SECONDS,
    DEFAULT_LIMITS,
    CrashPolicy,
    DisconnectPolicy,
    Limits,
    RouteSettings,
    SlowConsumer,
    UserLimitPolicy,
    check_choice,
)
from falcon_ws_mw.origins import AllowedOrigins, OriginRule
from falcon_ws_mw.proxies import Proxies, TrustedProxies
from falcon_ws_mw.resource import maker_of
from falcon_ws_mw.responders import ResponderTable
from falcon_ws_mw.routes import Routes, class_of, may_be_ours, own_on_websocket
from falcon_ws_mw.settings import is_envelope, is_pause

if TYPE_CHECKING:
    from falcon_ws_mw.falcon_internals import App
    from falcon_ws_mw.manager import WebSocketConnectionManager

logger = logging.getLogger('falcon_ws_mw')

_FORGOTTEN = (
    'falcon_ws_mw is in the middleware of this app, but not around it, so nothing would hold its '
    'conversations: serve what `install(app)` or `WebSocketLifespan(app, manager)` returns, as in '
    '`app = install(app)`'
)


class WrapperGuard:
    """Says so when the app is served without its wrapper."""

    async def process_startup(self, scope: dict[str, Any], event: dict[str, Any]) -> None:
        """Stop the start of a bare app."""
        if SCOPE_KEY not in scope:
            raise ConfigurationError(_FORGOTTEN)

    async def process_request_ws(self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
        """Stop the handshake of a bare app that was never started (`--lifespan off`)."""
        handshake: Handshake | None = req.scope.get(SCOPE_KEY)
        if handshake is None:
            raise ConfigurationError(_FORGOTTEN)
        handshake.req = req


class WebSocketDispatchMiddleware(WrapperGuard):
    """Dispatches the messages of WebSocket routes to `on_ws_<type>` methods.

    It has to be the last component with WebSocket hooks, so that all others have had their say
    before the first message; `install` sees to that.

    Attributes:
        manager: Where connections become known.
        envelope: The app's envelope.
        limits: The app's limits.
        proxies: The proxies that the app trusts.
        routes: Which routes are ours, and what their resources answer.

    Args:
        manager: Where connections become known.
        envelope: Where type, payload and id of a message stand, on routes that say nothing: an
            `Envelope`, or an object of your own that reads and makes frames (`MessageEnvelope`).
        limits: The limits of routes that name none.
        crash_policy: What an unexpected exception in a handler does: `'answer'` (default) with an
            error 500, or `'close'` the connection, as Falcon does.
        slow_consumer: What a message that others send does when a connection's outbox has no room:
            `'close'` (default) closes the connection with 1013, `'drop_oldest'` takes the place of
            the oldest, `'drop_newest'` is dropped itself.
        disconnect_policy: What becomes of messages that arrived before a client left while a
            handler was busy: `'handle'` (default) handles them, `'drop'` drops and counts them,
            `'cancel'` cancels the busy handler as well.
        allowed_origins: Of which origins pages may open a socket, on routes that say nothing: see
            `OriginRule`. By default (`None`) the server's own.
        trusted_proxies: The proxies whose `Forwarded` and `X-Forwarded-…` headers are believed,
            for who a client is and which host it asked for: see `Proxies`. By default none.
        heartbeat_seconds: After how much silence a client that negotiated `falcon-ws.v1` is asked
            for a sign of life, on routes that say nothing (default `None`: never).
        expiry_notice_seconds: How long before its identity expires such a client is told, on
            routes that say nothing (default 30; `None`: never). With less than twice as much left,
            it is told half-way.
        user_limit_policy: What one connection more than `max_connections_per_user` does:
            `'refuse'` (default) raises `TooManyConnections`, `'close_oldest'` closes the one that
            has been the user's for longest, with 3409.
        strict: Whether a route with an `on_websocket` of its own is held to all that the library
            asks of new routes (default `False`: what its old loop does is left as it was): it
            refuses with the status of its `HTTPError`, not a plain 403, and pages of a foreign
            origin too; and the limits count all that its clients send.
    """

    def __init__(
        self,
        manager: WebSocketConnectionManager,
        *,
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
        strict: bool = False,
    ) -> None:
        check_choice('crash_policy', crash_policy, CrashPolicy)
        check_choice('slow_consumer', slow_consumer, SlowConsumer)
        check_choice('disconnect_policy', disconnect_policy, DisconnectPolicy)
        check_choice('user_limit_policy', user_limit_policy, UserLimitPolicy)
        self.manager = manager
        if not is_envelope(envelope):
            raise ConfigurationError(
                f'envelope={envelope!r}: expected a falcon_ws_mw.Envelope, or an object with '
                '`decode(raw)` and `encode(type, payload, id)`'
            )
        for name, seconds in (
            ('heartbeat_seconds', heartbeat_seconds),
            ('expiry_notice_seconds', expiry_notice_seconds),
        ):
            if not is_pause(seconds):
                raise ConfigurationError(
                    f'{name}={seconds!r}: expected a number of seconds from 0.1 to 86400, or None'
                )
        self.envelope: AnyEnvelope = envelope
        if not isinstance(limits, (Limits, type(None))):
            raise ConfigurationError(f'limits={limits!r}: expected a falcon_ws_mw.Limits')
        self.limits = limits or DEFAULT_LIMITS
        if user_limit_policy != 'refuse' and self.limits.max_connections_per_user is None:
            raise ConfigurationError(
                f'user_limit_policy={user_limit_policy!r} says what one connection too many of a '
                'user does, and none is too many: name limits=Limits(max_connections_per_user=…)'
            )
        self.proxies = Proxies(trusted_proxies)
        self._admission = Admission(manager, self.limits, self.proxies)
        self.routes = Routes(
            RouteSettings(
                limits=self.limits,
                allowed_origins=OriginRule(allowed_origins),
                heartbeat_seconds=heartbeat_seconds,
                expiry_notice_seconds=expiry_notice_seconds,
                user_limit_policy=user_limit_policy,
                crash_policy=crash_policy,
                slow_consumer=slow_consumer,
                disconnect_policy=disconnect_policy,
                envelope=envelope,
            ),
            strict=strict,
        )
        self._strict = strict
        self._logged: list[ConfigurationError] = []

    # -- the hooks

    async def process_request_ws(self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
        """Refuse to serve where another component would be passed over."""
        await super().process_request_ws(req, ws)
        handshake: Handshake = req.scope[SCOPE_KEY]
        if handshake.dispatcher is self:
            self.check_order(handshake.app)

    async def process_resource_ws(
        self,
        req: falcon.asgi.Request,
        ws: falcon.asgi.WebSocket,
        resource: object,
        params: dict[str, Any],
    ) -> None:
        """Hold the handshake of a route that is ours, and leave Falcon for the conversation.

        Raises:
            ConversationStarts: On every route that is ours, whatever became of the handshake.
        """
        handshake: Handshake = req.scope[SCOPE_KEY]
        if handshake.dispatcher is not self:
            return
        route = None
        if may_be_ours(resource):
            route = falcon_internals.find_route(handshake.app, req.path, req)
        if not may_be_ours(resource) or (route is not None and route.suffixed):
            # Its refusals are Falcon's own, so nothing that it sends is our business.
            falcon_internals.send_directly(ws, handshake.send, handshake.server_send)
            return
        own = own_on_websocket(resource)
        if handshake.decided and own in {None, hooks.dispatch}:
            await self._leave_decided(handshake, ws)
        if ws.closed:
            return  # another component has refused or closed: an old loop meets it as ever
        table = await self._admit(handshake, ws, req, resource, frozenset(params))
        settings = self._settings(resource, table)
        if own is hooks.dispatch:
            handshake.converse = partial(self._converse, handshake, req, settings)
            return
        if own is not None:
            responder = own if route is None else route.method_map['WEBSOCKET']
            await self._adopt(ws, responder, handshake, req, params, settings)
        else:
            conversation = Conversation(handshake, req, params, **settings)
            if await conversation.open():
                handshake.conversation = conversation
        raise ConversationStarts

    async def _admit(
        self,
        handshake: Handshake,
        ws: falcon.asgi.WebSocket,
        req: falcon.asgi.Request,
        resource: object,
        fields: frozenset[str],
    ) -> ResponderTable:
        """The responders of a route, for whom neither limits nor the origin of his page keep out.

        Raises:
            ConversationStarts: If the handshake was refused.
        """
        try:
            table = self.routes.table(handshake.app, resource, req.uri_template, fields)
        except ConfigurationError as error:
            await self._refuse(handshake, error)
            raise ConversationStarts from None
        is_old = own_on_websocket(resource) not in {None, hooks.dispatch}
        lets_pages_in = self.routes.lets_pages_in(table, adopted=is_old)
        refusal = self._admission.refuse(
            req, class_of(resource), table, lets_pages_in=lets_pages_in
        )
        if refusal is None:
            return table
        await self._turn_away(handshake, ws, refusal)
        raise ConversationStarts

    async def _turn_away(
        self, handshake: Handshake, ws: falcon.asgi.WebSocket, refusal: Refusal
    ) -> None:
        handshake.reason = refusal.reason
        if handshake.decided:  # another component has accepted
            self.manager.counters.refusals[refusal.reason] += 1
            await ws.close(close_codes.from_http_status(refusal.error.status_code))
        await handshake.refuse(refusal.error)

    async def _adopt(
        self,
        ws: falcon.asgi.WebSocket,
        on_websocket: Callable[..., Any],
        handshake: Handshake,
        req: falcon.asgi.Request,
        params: dict[str, Any],
        settings: dict[str, Any],
    ) -> None:
        """Run an old loop inside Falcon, which handles what it raises."""
        try:
            adopted = AdoptedConversation(
                ws, on_websocket, handshake, req, params, strict=self._strict, **settings
            )
        except ConfigurationError as error:
            await self._refuse(handshake, error)
            return
        if await adopted.open():
            handshake.conversation = adopted  # cleans up when Falcon has done with it
            await adopted.run_loop()

    def _settings(self, resource: object, table: ResponderTable) -> dict[str, Any]:
        return {
            'manager': self.manager,
            'make_resource': maker_of(resource),
            'table': table,
        }

    async def _converse(
        self,
        handshake: Handshake,
        req: falcon.asgi.Request,
        settings: dict[str, Any],
        ws: falcon.asgi.WebSocket,
        params: dict[str, Any],
    ) -> None:
        """Hold a conversation from inside a responder: `falcon_ws_mw.dispatch`."""
        if handshake.decided:  # by a hook around it
            await self._leave_decided(handshake, ws)
        refusal = self._admission.one_too_many(settings['table'])  # hooks may have taken long
        conversation = Conversation(handshake, req, params, **settings)
        try:
            if refusal is not None:
                await self._turn_away(handshake, ws, refusal)
            elif await conversation.open():
                await conversation.run()
        finally:
            handshake.over = True

    async def _leave_decided(self, handshake: Handshake, ws: falcon.asgi.WebSocket) -> None:
        """Another component has accepted or refused: there is no handshake left to hold.

        Once it is accepted Falcon reads ahead, and what it has read would be lost to us.
        """
        if not ws.closed:
            logger.error(
                'another component accepted the handshake of %r before on_ws_connect could: '
                'accept there, or in none of your process_request_ws and process_resource_ws',
                handshake.scope['path'],
            )
            await ws.close(close_codes.INTERNAL_ERROR)
        raise ConversationStarts

    def longest_message_bytes(self, app: App) -> int | None:
        """The longest message that the app or one of its routes takes, `None` for any."""
        limits = [self.limits, *(table.settings.limits for _, table in self.routes.ours(app))]
        longest = [each.max_message_bytes for each in limits]
        return None if None in longest else max(filter(None, longest))

    # -- checks

    def is_ours(self, handshake: Handshake) -> bool:
        """Whether we dispatch the messages of the route that a handshake leads to."""
        app, req = handshake.app, handshake.req
        path: str = handshake.scope['path'] if req is None else req.path
        if req is None and app.req_options.strip_url_path_trailing_slash and path != '/':
            path = path.removesuffix('/')
        route = falcon_internals.find_route(app, path, req)
        return (
            route is not None
            and may_be_ours(route.resource)
            and not route.suffixed
            # What an old loop, or a hook around it, refuses is refused as ever.
            and (self._strict or own_on_websocket(route.resource) in {None, hooks.dispatch})
        )

    def check_order(self, app: App) -> None:
        """Check that no component comes after us.

        Raises:
            ConfigurationError: If one does.
        """
        components = falcon_internals.middleware_of(app)
        if not components:
            return
        if self not in components:
            raise ConfigurationError(
                'WebSocketLifespan stands around an app without WebSocketDispatchMiddleware: '
                'give the app `middleware=[…, WebSocketDispatchMiddleware(manager)]`'
            )
        later = [
            type(component).__qualname__
            for component in components[components.index(self) + 1 :]
            if hasattr(component, 'process_request_ws') or hasattr(component, 'process_resource_ws')
        ]
        if later:
            raise ConfigurationError(
                f'the WebSocket hooks of {", ".join(later)} would never run, since '
                'WebSocketDispatchMiddleware comes before: make it the last of the middleware'
            )

    async def _refuse(self, handshake: Handshake, error: ConfigurationError) -> None:
        """Refuse, and say once what a start-up would have said, had it seen the route."""
        if error not in self._logged:
            self._logged.append(error)
            logger.error('the handshake is refused: %s', error)
        handshake.reason = 'configuration'
        await handshake.refuse(falcon.HTTPInternalServerError())


def media_of(app: App, decoding: Decoding = DEFAULT_DECODING) -> Media:
    """The app's own media handlers, where it has any."""
    handlers: Mapping[PayloadType, Any] = app.ws_options.media_handlers
    text = handlers[PayloadType.TEXT]
    binary = handlers[PayloadType.BINARY]
    text_is_own = not falcon_internals.is_default_text_handler(text)
    binary_is_usable = not isinstance(binary, MissingDependencyHandler)
    return Media(
        loads=text.deserialize if text_is_own else None,
        dumps=text.serialize if text_is_own else None,
        load_binary=binary.deserialize if binary_is_usable else None,
        dump_binary=binary.serialize if binary_is_usable else None,
        decoding=decoding,
    )
