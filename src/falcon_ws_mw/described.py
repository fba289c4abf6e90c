"""An app that can be looked at: checked, described, and documented, without being served."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from falcon_ws_mw import falcon_internals
from falcon_ws_mw.asyncapi.document import asyncapi_document
from falcon_ws_mw.asyncapi.resource import add_asyncapi_routes
from falcon_ws_mw.contract import ChannelContract
from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.passing_through import PassingThrough

if TYPE_CHECKING:
    from falcon_ws_mw.middleware import WebSocketDispatchMiddleware


class Described(PassingThrough):
    """What a Falcon app says of its WebSocket routes.

    Args:
        app: The Falcon app.
    """

    __slots__ = ('_asyncapi',)

    def __init__(self, app: falcon_internals.App) -> None:
        super().__init__(app)
        self._asyncapi: dict[str, Any] = {}

    @abstractmethod
    def _checked_dispatcher(self) -> WebSocketDispatchMiddleware:
        """The middleware that dispatches, once it is known to be in its place."""

    def check_websockets(self) -> None:
        """Check everything that can be known to be wrong before the first connection.

        The start of the app does so; `falcon-ws-mw check` does it without a server.

        Raises:
            ConfigurationError: For the first thing that is.
        """
        self._checked_dispatcher().routes.check(self._app)

    def find_websocket_problems(self) -> list[ConfigurationError]:
        """Everything that `check_websockets` would raise, route by route."""
        try:
            return list(self._checked_dispatcher().routes.problems(self._app))
        except ConfigurationError as error:
            return [error]

    def describe_websockets(self) -> list[ChannelContract]:
        """What each WebSocket route takes, answers and sends: what documents are made of.

        Raises:
            ConfigurationError: If a route cannot work, or the router does not show its routes.
        """
        return self._checked_dispatcher().routes.contracts(self._app)

    def asyncapi_document(self, **facts: Any) -> dict[str, Any]:
        """Describe the WebSocket routes by an AsyncAPI 3.0 document.

        Args:
            facts: As for `add_asyncapi_routes`; what is not given is as it was given there.

        Raises:
            ConfigurationError: If a route cannot work, or a fact cannot stand in a document.
        """
        known = {'title': 'WebSocket API', 'version': '0.0.0', **self._asyncapi, **facts}
        return asyncapi_document(self.describe_websockets(), **known)

    def add_asyncapi_routes(
        self,
        prefix: str = '/asyncapi',
        *,
        title: str,
        version: str,
        description: str = '',
        info: Mapping[str, Any] | None = None,
        servers: Mapping[str, Mapping[str, Any]] | None = None,
        security_schemes: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Serve a page of the WebSocket routes, and their AsyncAPI 3.0 document.

        The page is at `prefix`, the document at `prefix` with `.json` and with `.yaml`, which needs
        the extra `yaml`. They are public, as any route: guard them by a middleware if need be.

        Args:
            prefix: Where.
            title: The name of the app.
            version: The version of what it promises its clients.
            description: What it is for, in CommonMark.
            info: Further fields of AsyncAPI's Info Object: `contact`, `license`.
            servers: Name to AsyncAPI Server Object: `{'host': 'chat.example.com', 'protocol':
                'wss'}`.
            security_schemes: Name to AsyncAPI Security Scheme Object.
        """
        self._asyncapi = {
            'title': title,
            'version': version,
            'description': description,
            'info': info,
            'servers': servers,
            'security_schemes': security_schemes,
        }
        known: tuple[list[ChannelContract], dict[str, Any]] | None = None

        def current() -> dict[str, Any]:
            nonlocal known
            channels = self.describe_websockets()
            if known is None or known[0] != channels:  # a route was added
                known = channels, self.asyncapi_document()
            return known[1]

        add_asyncapi_routes(self._app, current, prefix)
