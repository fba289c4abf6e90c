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
from falcon_ws_mw.adoption import AdoptedConversation
from falcon_ws_mw.client_topics import with_client_topics
from falcon_ws_mw.conversation import Conversation
from falcon_ws_mw.envelope import Codec
from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.guards import check_loop
from falcon_ws_mw.handshake import SCOPE_KEY, ConversationStarts, Handshake
from falcon_ws_mw.options import (
    DEFAULT_LIMITS,
    CrashPolicy,
    DisconnectPolicy,
    Limits,
    RouteSettings,
    SlowConsumer,
    check_choice,
)
from falcon_ws_mw.resource import PerConnectionResource, WebSocketResource, check_resource
from falcon_ws_mw.responders import ResponderTable, build_table, has_responders, is_dispatch

if TYPE_CHECKING:
    from falcon_ws_mw.falcon_internals import App
    from falcon_ws_mw.manager import WebSocketConnectionManager
    from falcon_ws_mw.websocket import WebSocket

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

    Args:
        manager: Where connections become known.
        limits: The limits of routes that name none.
        crash_policy: What an unexpected exception in a handler does: `'answer'` (default) with an
            error 500, or `'close'` the connection, as Falcon does.
        slow_consumer: What a message that others send does when a connection's outbox has no room:
            `'close'` (default) closes the connection with 1013, `'drop_oldest'` takes the place of
            the oldest, `'drop_newest'` is dropped itself.
        disconnect_policy: What becomes of messages that arrived before a client left while a
            handler was busy: `'handle'` (default) handles them, `'drop'` drops and counts them,
            `'cancel'` cancels the busy handler as well.
        strict: Whether a route with an `on_websocket` of its own is held to all that the library
            asks of new routes (default `False`: what its old loop does is left as it was). So far
            that is how it refuses a handshake: with the status of its `HTTPError`, not a plain 403.
    """

    def __init__(
        self,
        manager: WebSocketConnectionManager,
        *,
        limits: Limits | None = None,
        crash_policy: CrashPolicy = 'answer',
        slow_consumer: SlowConsumer = 'close',
        disconnect_policy: DisconnectPolicy = 'handle',
        strict: bool = False,
    ) -> None:
        check_choice('crash_policy', crash_policy, CrashPolicy)
        check_choice('slow_consumer', slow_consumer, SlowConsumer)
        check_choice('disconnect_policy', disconnect_policy, DisconnectPolicy)
        self.manager = manager
        self._app_settings = RouteSettings(
            limits=limits or DEFAULT_LIMITS,
            crash_policy=crash_policy,
            slow_consumer=slow_consumer,
            disconnect_policy=disconnect_policy,
        )
        self._strict = strict
        self._tables: dict[tuple[type, object], ResponderTable | ConfigurationError] = {}
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
        if self._may_be_ours(resource):
            route = falcon_internals.find_route(handshake.app, req.path, req)
        if not self._may_be_ours(resource) or (route is not None and route.suffixed):
            # Its refusals are Falcon's own, so nothing that it sends is our business.
            falcon_internals.send_directly(ws, handshake.send, handshake.server_send)
            return
        own = _own_on_websocket(resource)
        if handshake.decided and own in {None, hooks.dispatch}:
            await self._leave_decided(handshake, ws)
        if ws.closed:
            return  # another component has refused or closed: an old loop meets it as ever
        try:
            table = self._table(handshake.app, resource, req.uri_template, frozenset(params))
        except ConfigurationError as error:
            await self._refuse(handshake, error)
            raise ConversationStarts from None
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
            adopted = AdoptedConversation(ws, on_websocket, handshake, req, params, **settings)
        except ConfigurationError as error:
            await self._refuse(handshake, error)
            return
        if await adopted.open():
            handshake.conversation = adopted  # cleans up when Falcon has done with it
            await adopted.run_loop()

    def _settings(self, resource: object, table: ResponderTable) -> dict[str, Any]:
        return {
            'manager': self.manager,
            'make_resource': _maker(resource),
            'table': table,
            'codec': self.manager.codec,
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
        conversation = Conversation(handshake, req, params, **settings)
        try:
            if await conversation.open():
                await conversation.run()
        finally:
            handshake.over = True

    async def _leave_decided(self, handshake: Handshake, ws: falcon.asgi.WebSocket) -> None:
        """Another component has accepted or refused: there is no handshake left to hold.

        Once it is accepted Falcon reads ahead, and what it has read would be lost to us.
        """
        if not ws.closed:
            logger.error(
                'another component accepted the handshake of %s before on_ws_connect could: '
                'accept there, or in none of your process_request_ws and process_resource_ws',
                handshake.scope['path'],
            )
            await ws.close(close_codes.INTERNAL_ERROR)
        raise ConversationStarts

    # -- which routes are ours

    def is_ours(self, handshake: Handshake) -> bool:
        """Whether we dispatch the messages of the route that a handshake leads to."""
        app, req = handshake.app, handshake.req
        path: str = handshake.scope['path'] if req is None else req.path
        if req is None and app.req_options.strip_url_path_trailing_slash and path != '/':
            path = path.removesuffix('/')
        route = falcon_internals.find_route(app, path, req)
        return (
            route is not None
            and self._may_be_ours(route.resource)
            and not route.suffixed
            # What an old loop, or a hook around it, refuses is refused as ever.
            and (self._strict or _own_on_websocket(route.resource) in {None, hooks.dispatch})
        )

    def _may_be_ours(self, resource: object) -> bool:
        return isinstance(resource, PerConnectionResource) or has_responders(type(resource))

    # -- checks

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

    def check_routes(self, app: App) -> None:
        """Build the table of every route, where the router shows its routes.

        Raises:
            ConfigurationError: For the first route that cannot work.
        """
        for route in falcon_internals.all_routes(app) or ():
            check_resource(route.resource, route.uri_template)
            if self._may_be_ours(route.resource) and not route.suffixed:
                table = self._table(app, route.resource, route.uri_template, route.fields)
                if _own_on_websocket(route.resource) not in {None, hooks.dispatch}:
                    logger.info(
                        '%s at %s keeps its on_websocket; taken out of its stream: %s',
                        table.name,
                        route.uri_template,
                        ', '.join(table.messages) or 'nothing',
                    )

    def _table(
        self, app: App, resource: object, uri_template: str | None, fields: frozenset[str]
    ) -> ResponderTable:
        cls = _class_of(resource)
        key = (cls, uri_template or fields)
        table = self._tables.get(key)
        if table is None:
            try:
                table = self._build(app, resource, uri_template, fields)
            except ConfigurationError as error:
                table = error
            self._tables[key] = table
        if isinstance(table, ConfigurationError):
            raise table
        return table

    async def _refuse(self, handshake: Handshake, error: ConfigurationError) -> None:
        """Refuse, and say once what a start-up would have said, had it seen the route."""
        if error not in self._logged:
            self._logged.append(error)
            logger.error('the handshake is refused: %s', error)
        await handshake.refuse(falcon.HTTPInternalServerError())

    def _build(
        self, app: App, resource: object, uri_template: str | None, fields: frozenset[str]
    ) -> ResponderTable:
        cls = _class_of(resource)
        if 'on_websocket' in getattr(resource, '__dict__', ()):
            raise ConfigurationError(
                f'{cls.__qualname__} sets on_websocket on its instances, where no hook on the '
                'class reaches it: define it in the class'
            )
        if uri_template is not None:
            fields = falcon_internals.template_fields(uri_template)
        routes = falcon_internals.all_routes(app) or ()
        same_class = [route.fields for route in routes if _class_of(route.resource) is cls]
        table = build_table(
            cls,
            fields,
            frozenset().union(*same_class) - fields,
            settings=self._app_settings,
            short_names=issubclass(cls, WebSocketResource),
        )
        adopted = _own_on_websocket(resource) not in {None, hooks.dispatch}
        if adopted:
            check_loop(cls, table.connect)
        if adopted and table.unhandled is not None:
            raise ConfigurationError(
                f'{table.unhandled.name} would never be called: what no on_ws_<type> takes goes to '
                'on_websocket on this resource; remove one of the two'
            )
        return with_client_topics(cls, table) if table.settings.client_topics else table


def codec_of(app: App) -> Codec:
    """How the app's own media handlers, where it has any, read and make frames."""
    handlers: Mapping[PayloadType, Any] = app.ws_options.media_handlers
    text = handlers[PayloadType.TEXT]
    binary = handlers[PayloadType.BINARY]
    text_is_own = not falcon_internals.is_default_text_handler(text)
    binary_is_usable = not isinstance(binary, MissingDependencyHandler)
    return Codec(
        loads=text.deserialize if text_is_own else None,
        dumps=text.serialize if text_is_own else None,
        load_binary=binary.deserialize if binary_is_usable else None,
        dump_binary=binary.serialize if binary_is_usable else None,
    )


def _class_of(resource: object) -> type:
    return resource.cls if isinstance(resource, PerConnectionResource) else type(resource)


def _own_on_websocket(resource: object) -> Any:
    """The resource's own `on_websocket`; `hooks.dispatch` if it is that; `None` without one."""
    own = getattr(resource, 'on_websocket', None)
    if not callable(own):
        return None
    return hooks.dispatch if is_dispatch(own) else own


def _maker(resource: object) -> Callable[[WebSocket], object]:
    """What gives a conversation its resource: the shared one, or a fresh one."""
    if not isinstance(resource, PerConnectionResource):
        return lambda ws: resource

    def make(ws: WebSocket) -> object:
        fresh = resource.make()
        if isinstance(fresh, WebSocketResource):
            fresh.ws = ws
        return fresh

    return make
