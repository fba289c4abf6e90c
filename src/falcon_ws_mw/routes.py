"""Which routes are ours, and what their resources answer: each table is built once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
import logging
from typing import TYPE_CHECKING, Any

from falcon_ws_mw import falcon_internals, hooks
from falcon_ws_mw.authentication import (
    check_authentication,
    with_authentication,
    with_expiry_notice,
)
from falcon_ws_mw.client_topics import with_client_topics
from falcon_ws_mw.contract import ChannelContract, contract_of
from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.guards import check_loop, is_dispatch
from falcon_ws_mw.heartbeat import with_heartbeat
from falcon_ws_mw.options import RouteSettings
from falcon_ws_mw.resource import PerConnectionResource, WebSocketResource, check_resource
from falcon_ws_mw.responders import ResponderTable, build_table, has_responders
from falcon_ws_mw.signatures import place
from falcon_ws_mw.tokens import cookie_readers

if TYPE_CHECKING:
    from falcon_ws_mw.falcon_internals import App, Route

logger = logging.getLogger('falcon_ws_mw')


class Routes:
    """The routes of an app that are ours.

    Args:
        settings: What applies where a resource says nothing.
        strict: Whether it does so beside an old `on_websocket` too.
    """

    def __init__(self, settings: RouteSettings, *, strict: bool = False) -> None:
        self._strict = strict
        self._settings = settings
        self._settings_of_adopted = settings
        if not strict:  # else a client of an old loop would be asked for what it never heard of
            limits = replace(settings.limits, idle_timeout_seconds=None)
            self._settings_of_adopted = replace(settings, heartbeat_seconds=None, limits=limits)
        self._tables: dict[tuple[type, object], ResponderTable | ConfigurationError] = {}
        self._contracts: dict[int, ChannelContract] = {}

    def check(self, app: App) -> None:
        """Build the table of every route, where the router shows its routes.

        Raises:
            ConfigurationError: For the first route that cannot work.
        """
        for problem in self.problems(app):
            raise problem
        for route, table in self.ours(app):
            if _is_adopted(route.resource):
                logger.info(
                    '%s at %s keeps its on_websocket; taken out of its stream: %s',
                    table.name,
                    route.uri_template,
                    ', '.join(table.messages) or 'nothing',
                )

        self._warn_of_cookies(app)

    def _warn_of_cookies(self, app: App) -> None:
        """Say which sockets that are not ours know clients by a cookie, whatever page asks."""
        readers = cookie_readers(falcon_internals.middleware_of(app))
        for route in falcon_internals.all_routes(app) or () if readers else ():
            if own_on_websocket(route.resource) and not may_be_ours(route.resource):
                logger.warning(
                    '%s at %s has a plain on_websocket, and %s knows clients by a cookie: pages of '
                    'any origin reach it in the name of their visitors, unless it looks at the '
                    'header Origin itself',
                    type(route.resource).__qualname__,
                    route.uri_template,
                    ', '.join(readers),
                )

    def problems(self, app: App) -> Iterator[ConfigurationError]:
        """What is wrong with each route that cannot work, where the router shows its routes."""
        for route in falcon_internals.all_routes(app) or ():
            try:
                check_resource(route.resource, route.uri_template)
                if may_be_ours(route.resource) and not route.suffixed:
                    self.table(app, route.resource, route.uri_template, route.fields)
            except ConfigurationError as error:
                yield error

    def ours(self, app: App) -> Iterator[tuple[Route, ResponderTable]]:
        """The routes whose messages we dispatch, where the router shows its routes.

        Raises:
            ConfigurationError: For the first that cannot work.
        """
        for route in falcon_internals.all_routes(app) or ():
            if may_be_ours(route.resource) and not route.suffixed:
                yield route, self.table(app, route.resource, route.uri_template, route.fields)

    def contracts(self, app: App) -> list[ChannelContract]:
        """What each of our routes promises its clients.

        Raises:
            ConfigurationError: If one cannot work, or the router does not show its routes.
        """
        if falcon_internals.all_routes(app) is None:
            raise ConfigurationError(
                "the app's router does not show its routes, so they cannot be listed: use Falcon's "
                'own (CompiledRouter) where they are to be'
            )
        return [self._contract(route, table) for route, table in self.ours(app)]

    def _contract(self, route: Route, table: ResponderTable) -> ChannelContract:
        key = id(table)  # each table is kept, so its id stays its own
        known = self._contracts.get(key)
        if known is None:
            known = self._contracts[key] = contract_of(
                class_of(route.resource),
                table,
                route.uri_template or '',
                is_adopted=_is_adopted(route.resource),
            )
        return known

    def table(
        self, app: App, resource: object, uri_template: str | None, fields: frozenset[str]
    ) -> ResponderTable:
        """What a resource answers on a URI template.

        Raises:
            ConfigurationError: If it cannot work; the same one each time.
        """
        cls = class_of(resource)
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

    def _build(
        self, app: App, resource: object, uri_template: str | None, fields: frozenset[str]
    ) -> ResponderTable:
        cls = class_of(resource)
        if 'on_websocket' in getattr(resource, '__dict__', ()):
            raise ConfigurationError(
                f'{cls.__qualname__} sets on_websocket on its instances, where no hook on the '
                'class reaches it: define it in the class'
            )
        if uri_template is not None:
            fields = falcon_internals.template_fields(uri_template)
        adopted = _is_adopted(resource)
        routes = falcon_internals.all_routes(app) or ()
        same_class = [route.fields for route in routes if class_of(route.resource) is cls]
        settings = self._settings_of_adopted if adopted else self._settings
        table = build_table(
            cls,
            fields,
            frozenset().union(*same_class) - fields,
            settings=settings,
            short_names=issubclass(cls, WebSocketResource),
        )
        self._check_origins(
            cls, table, cookie_readers(falcon_internals.middleware_of(app)), adopted=adopted
        )
        if adopted:
            check_loop(cls, table.connect)
        if adopted and table.unhandled is not None:
            raise ConfigurationError(
                f'{table.unhandled.name} would never be called: what no on_ws_<type> takes goes to '
                'on_websocket on this resource; remove one of the two'
            )
        if adopted and table.settings.authenticate_by is not None:
            raise ConfigurationError(
                f'{cls.__qualname__} has ws_authenticate_by and an on_websocket of its own, which '
                'gets what strangers say: authenticate in that loop, or end it by '
                '`on_websocket = falcon_ws_mw.dispatch`'
            )
        check_authentication(cls, table)
        if table.settings.client_topics:
            table = with_client_topics(cls, table)
        if table.settings.heartbeat_seconds is not None:
            table = with_heartbeat(cls, table)
        return with_authentication(with_expiry_notice(cls, table))

    def lets_pages_in(self, table: ResponderTable, *, adopted: bool) -> bool:
        """Whether pages of any origin are let in, and only logged.

        What an old loop has let in so far it goes on to let in, until it is told not to.
        """
        return adopted and not self._strict and 'allowed_origins' not in table.settings.named

    def _check_origins(
        self, cls: type, table: ResponderTable, readers: list[str], *, adopted: bool
    ) -> None:
        """Check that no foreign page can use a cookie, which browsers send along for any page.

        Raises:
            ConfigurationError: Naming the cure.
        """
        if not readers:
            return
        if table.settings.allowed_origins.allows_any:
            found = "lets pages of any origin in (allowed_origins '*')"
        elif self.lets_pages_in(table, adopted=adopted):
            found = 'keeps its on_websocket, which lets pages of any origin in'
        else:
            return
        raise ConfigurationError(
            f'{place(cls)}: {cls.__qualname__} {found}, and {", ".join(readers)} knows clients by '
            'a cookie, which browsers send along for any page: any page could speak for its '
            'visitor. Say `ws_allowed_origins = None` for pages of the own origin, or list the '
            'origins; if nothing is done here in the name of a user, let a function of yours '
            'allow them all'
        )


def may_be_ours(resource: object) -> bool:
    """Whether a resource has anything for us; a suffixed route of it has not."""
    return isinstance(resource, PerConnectionResource) or has_responders(type(resource))


def class_of(resource: object) -> type:
    """The class whose methods answer."""
    return resource.cls if isinstance(resource, PerConnectionResource) else type(resource)


def own_on_websocket(resource: object) -> Any:
    """The resource's own `on_websocket`; `hooks.dispatch` if it is that; `None` without one."""
    own = getattr(resource, 'on_websocket', None)
    if not callable(own):
        return None
    return hooks.dispatch if is_dispatch(own) else own


def _is_adopted(resource: object) -> bool:
    return own_on_websocket(resource) not in {None, hooks.dispatch}
