"""The AsyncAPI document of an app over HTTP: as JSON, as YAML, and as a page to read.

Everything is served from the app itself, and the page may load nothing from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
import hashlib
from importlib import resources
from typing import Any, Final, NamedTuple, Protocol

import falcon
import falcon.asgi
import orjson

from falcon_ws_mw.asyncapi.document import VERSION
from falcon_ws_mw.asyncapi.page import asyncapi_page
from falcon_ws_mw.errors import ConfigurationError

MEDIA_TYPE: Final = 'application/asyncapi+json; version=' + VERSION
"""As it is registered: https://www.iana.org/assignments/media-types/application/asyncapi+json."""

YAML_MEDIA_TYPE: Final = 'application/asyncapi+yaml; version=' + VERSION

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)

_ASSETS: Final[Mapping[str, str]] = {
    'page.css': 'text/css; charset=utf-8',
    'page.js': 'text/javascript; charset=utf-8',
    'page.svg': 'image/svg+xml',
}


class Routing(Protocol):
    """What routes can be added to: a `falcon.asgi.App`, or the wrapper around one."""

    def add_route(self, uri_template: str, resource: object, **kwargs: Any) -> object:
        """Add a route."""


class _Body(NamedTuple):
    content: bytes
    etag: str


class AsyncAPIResource:
    """Serves a document; `add_asyncapi_routes` gives it its routes.

    Args:
        document: Gives the document, asked at each request, so that routes may be added late. It is
            cheap for it to give the same object again as long as nothing has changed: what was made
            of that is kept.
    """

    def __init__(self, document: Callable[[], Mapping[str, Any]]) -> None:
        self._document = document
        self._known: Mapping[str, Any] | None = None
        self._bodies: dict[str, _Body] = {}

    async def on_get_json(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, **params: object
    ) -> None:
        """The document as JSON."""
        self._serve(req, resp, 'json', self._json, MEDIA_TYPE)

    async def on_get_yaml(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, **params: object
    ) -> None:
        """The document as YAML.

        Raises:
            falcon.HTTPNotImplemented: If PyYAML is not installed.
        """
        # Browsers show JSON of any name, but save YAML to a file, unless it is called plain text.
        is_browser = 'text/html' in req.accept
        content_type = 'text/plain; charset=utf-8' if is_browser else YAML_MEDIA_TYPE
        resp.append_header('Vary', 'Accept')
        self._serve(req, resp, 'yaml', self._yaml, content_type)

    async def on_get_page(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, **params: object
    ) -> None:
        """The document as a page.

        It refers to what belongs to it relative to itself, so it works below any mount and proxy.
        """
        base = req.path.rstrip('/').rpartition('/')[2]
        resp.set_header('Content-Security-Policy', CONTENT_SECURITY_POLICY)
        resp.set_header('Referrer-Policy', 'no-referrer')

        def render(document: Mapping[str, Any]) -> bytes:
            return asyncapi_page(document, base).encode()

        self._serve(req, resp, f'page of {base}', render, falcon.MEDIA_HTML)

    async def on_get_asset(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, asset: str, **params: object
    ) -> None:
        """What the page is made of.

        Raises:
            falcon.HTTPNotFound: If there is no such asset.
        """
        if asset not in _ASSETS:
            raise falcon.HTTPNotFound
        _respond(req, resp, _asset(asset), _ASSETS[asset])

    def _serve(
        self,
        req: falcon.asgi.Request,
        resp: falcon.asgi.Response,
        form: str,
        render: Callable[[Mapping[str, Any]], bytes],
        content_type: str,
    ) -> None:
        document = self._document()
        if document is not self._known:
            self._known = document
            self._bodies.clear()
        body = self._bodies.get(form)
        if body is None:
            body = self._bodies[form] = _body(render(document))
        _respond(req, resp, body, content_type)

    def _json(self, document: Mapping[str, Any]) -> bytes:
        return orjson.dumps(document, option=orjson.OPT_INDENT_2)

    def _yaml(self, document: Mapping[str, Any]) -> bytes:
        try:
            return to_yaml(document).encode()
        except ConfigurationError:
            raise falcon.HTTPNotImplemented(
                title='YAML is not available',
                description='The server has no PyYAML; its operators can: '
                "pip install 'falcon-ws-mw[yaml]'. The same document is there as JSON.",
            ) from None


def to_yaml(document: Mapping[str, Any]) -> str:
    """A document as YAML.

    Raises:
        ConfigurationError: If PyYAML is not installed.
    """
    try:
        import yaml  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise ConfigurationError(
            "YAML needs PyYAML: pip install 'falcon-ws-mw[yaml]', or take the document as JSON"
        ) from error
    # By way of JSON, so that both say the same, and nothing is shared, which would be anchors.
    plain = orjson.loads(orjson.dumps(document))
    text: str = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)
    return text


def add_asyncapi_routes(
    app: Routing, document: Callable[[], Mapping[str, Any]], prefix: str = '/asyncapi'
) -> AsyncAPIResource:
    """Serve the document of an app by the app itself.

    Args:
        app: The app, or the wrapper around it.
        document: Gives the document, asked at each request; see `AsyncAPIResource`.
        prefix: Where the page is (default `'/asyncapi'`). The document is at `{prefix}.json` and
            `{prefix}.yaml`, and what the page is made of at `{prefix}/…`.

    Returns:
        The resource that serves it.

    Raises:
        ConfigurationError: If the prefix is no path.
    """
    if not prefix.startswith('/') or prefix.endswith('/') or '{' in prefix:
        raise ConfigurationError(
            f'prefix={prefix!r}: expected a path without fields that begins with a slash and does '
            "not end with one, for example '/asyncapi'"
        )
    resource = AsyncAPIResource(document)
    app.add_route(prefix, resource, suffix='page')
    app.add_route(f'{prefix}.json', resource, suffix='json')
    app.add_route(f'{prefix}.yaml', resource, suffix='yaml')
    app.add_route(f'{prefix}/{{asset}}', resource, suffix='asset')
    return resource


@cache
def _asset(name: str) -> _Body:
    return _body(resources.files('falcon_ws_mw.asyncapi').joinpath('assets', name).read_bytes())


def _body(content: bytes) -> _Body:
    return _Body(content, hashlib.sha256(content).hexdigest()[:32])


def _respond(
    req: falcon.asgi.Request, resp: falcon.asgi.Response, body: _Body, content_type: str
) -> None:
    resp.etag = body.etag
    # To be asked for again each time, which costs a 304: a page must not be older than its app.
    resp.cache_control = ['no-cache']
    resp.set_header('X-Content-Type-Options', 'nosniff')
    if any(each in {'*', body.etag} for each in req.if_none_match or ()):
        resp.status = falcon.HTTP_304
        return
    resp.content_type = content_type
    resp.data = body.content
