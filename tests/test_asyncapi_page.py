"""The AsyncAPI document over HTTP, and the page that is made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html.parser import HTMLParser
import json
from pathlib import Path
import re
import sys
from typing import Any

import falcon
import falcon.asgi
import falcon.testing
import pytest
import yaml

from falcon_ws_mw import ConfigurationError, WebSocket, install
from falcon_ws_mw.asyncapi.document import asyncapi_document
from falcon_ws_mw.asyncapi.markup import prose, tag
from falcon_ws_mw.asyncapi.page import asyncapi_page
from falcon_ws_mw.asyncapi.resource import AsyncAPIResource, add_asyncapi_routes
from falcon_ws_mw.asyncapi.rows import Row, Rows

from . import asyncapi_samples as samples
from .asyncapi_samples import ABOUT, RICH
from .asyncapi_tools import dom_of, find_browser
from .servers import serve

ASSETS = ('/page.css', '/page.js', '/page.svg')


@pytest.fixture(scope='module')
def rich() -> dict[str, Any]:
    return asyncapi_document(RICH, **ABOUT)


def client_of(
    document: Callable[[], Mapping[str, Any]], prefix: str = '/asyncapi'
) -> falcon.testing.TestClient:
    app = falcon.asgi.App()
    add_asyncapi_routes(app, document, prefix)
    return falcon.testing.TestClient(app)


@pytest.fixture
def client(rich: dict[str, Any]) -> falcon.testing.TestClient:
    return client_of(lambda: rich)


class Elements(HTMLParser):
    """The elements of a page: each its tag, its attributes and, once it is closed, its text."""

    VOID = frozenset({'input', 'link', 'meta', 'wbr'})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.all: list[dict[str, Any]] = []
        self._open: list[dict[str, Any]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        is_hidden = any(each['is_hidden'] for each in self._open) or 'hidden' in dict(attrs)
        element = {
            'tag': tag,
            'text': '',
            'hidden': is_hidden,
            **dict(attrs),
            'is_hidden': is_hidden,
        }
        element['hidden'] = is_hidden
        self.all.append(element)
        if tag not in self.VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()['tag'] == tag, f'</{tag}> closes something else'

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element['text'] += data

    def named(self, *tags: str) -> list[dict[str, Any]]:
        return [each for each in self.all if each['tag'] in tags]


def messages_on(elements: Elements) -> dict[str, str]:
    """Id to type, of the messages that are to be seen."""
    return {
        each['id'].removeprefix('message-'): each['data-type']
        for each in elements.named('article')
        if 'data-type' in each and not each['is_hidden']
    }


def names_of_messages(document: dict[str, Any]) -> dict[str, str]:
    messages = document['components']['messages']
    return {key: each['name'] for key, each in messages.items()}


# -- over HTTP


def test_it_is_served_as_json(client: falcon.testing.TestClient, rich: dict[str, Any]) -> None:
    result = client.simulate_get('/asyncapi.json')

    assert result.headers['content-type'] == 'application/asyncapi+json; version=3.0.0'
    assert json.loads(result.text) == rich


def test_it_is_served_as_yaml(client: falcon.testing.TestClient, rich: dict[str, Any]) -> None:
    result = client.simulate_get('/asyncapi.yaml')

    assert result.headers['content-type'] == 'application/asyncapi+yaml; version=3.0.0'
    assert yaml.safe_load(result.text) == rich
    assert not re.search(r'[&*]id\d', result.text), 'there are anchors in it'


def test_a_browser_gets_yaml_that_it_shows(client: falcon.testing.TestClient) -> None:
    result = client.simulate_get('/asyncapi.yaml', headers={'Accept': 'text/html,*/*;q=0.8'})

    assert result.headers['content-type'] == 'text/plain; charset=utf-8'
    assert result.headers['vary'] == 'Accept'


def test_without_pyyaml_its_absence_is_said(
    client: falcon.testing.TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'yaml', None)

    result = client.simulate_get('/asyncapi.yaml')

    assert result.status_code == 501
    assert "pip install 'falcon-ws-mw[yaml]'" in result.json['description']


def test_a_page_may_load_nothing_from_elsewhere(client: falcon.testing.TestClient) -> None:
    policy = client.simulate_get('/asyncapi').headers['content-security-policy']
    said = dict(each.strip().split(' ', 1) for each in policy.split(';'))

    assert said['default-src'] == "'none'"
    assert set(said.values()) == {"'none'", "'self'"}


def test_what_a_page_refers_to_is_there(client: falcon.testing.TestClient) -> None:
    page = Elements(client.simulate_get('/asyncapi').text)
    references = {each.get('href') or each.get('src') for each in page.named('link', 'script', 'a')}
    files = {each for each in references if each and not each.startswith('#')}

    assert files == {f'asyncapi{end}' for end in ('.json', '.yaml', *ASSETS)}
    for each in files:
        assert client.simulate_get(f'/{each}').status_code == 200


def test_anything_else_is_not_found(client: falcon.testing.TestClient) -> None:
    for path in ('/asyncapi/page.html', '/asyncapi/..', '/asyncapi/__init__.py'):
        assert client.simulate_get(path).status_code == 404


@pytest.mark.parametrize('path', ['', '.json', '.yaml', '/page.css'])
def test_what_has_not_changed_is_not_sent_again(
    client: falcon.testing.TestClient, path: str
) -> None:
    first = client.simulate_get(f'/asyncapi{path}')
    again = client.simulate_get(
        f'/asyncapi{path}', headers={'If-None-Match': first.headers['etag']}
    )

    assert first.headers['cache-control'] == 'no-cache'
    assert (again.status_code, again.content) == (304, b'')


def test_a_route_that_was_added_late_is_there() -> None:
    channels = [samples.CHAT]
    client = client_of(lambda: asyncapi_document(channels, title='App', version='1'))
    before = client.simulate_get('/asyncapi')
    channels.append(samples.BOOKING)

    after = client.simulate_get('/asyncapi')

    assert 'soldOut' not in before.text
    assert 'soldOut' in after.text
    assert before.headers['etag'] != after.headers['etag']


def test_a_document_that_cannot_be_made_is_a_500_each_time() -> None:
    class Odd(samples.JSONRPC):
        def describe(self, type: str, payload: Any, *, id: str) -> Any:
            raise LookupError(type)

    class Room:
        ws_envelope = Odd()

        async def on_ws_x(self, ws: WebSocket) -> None: ...

    app = install(falcon.asgi.App())
    app.add_route('/', Room())
    app.add_asyncapi_routes(title='App', version='1')
    client = falcon.testing.TestClient(app)

    for path in ('/asyncapi', '/asyncapi.json', '/asyncapi.yaml', '/asyncapi.json'):
        assert client.simulate_get(path).status_code == 500


def test_a_page_is_made_once_of_one_document(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def counted(document: Mapping[str, Any], base: str) -> str:
        made.append(base)
        return 'page'

    monkeypatch.setattr('falcon_ws_mw.asyncapi.resource.asyncapi_page', counted)
    document = asyncapi_document([], title='App', version='1')
    client = client_of(lambda: document, '/docs/ws')

    assert [client.simulate_get('/docs/ws').text for _ in range(3)] == ['page'] * 3
    assert made == ['ws']


@pytest.mark.parametrize('prefix', ['asyncapi', '/', '/asyncapi/', '', '/{x}'])
def test_a_prefix_that_is_no_path_is_an_error(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match='expected a path'):
        add_asyncapi_routes(falcon.asgi.App(), dict, prefix)


def test_the_resource_is_a_plain_one(rich: dict[str, Any]) -> None:
    app = falcon.asgi.App()
    app.add_route('/elsewhere', AsyncAPIResource(lambda: rich), suffix='json')

    assert falcon.testing.TestClient(app).simulate_get('/elsewhere').json == rich


# -- the page


def test_every_message_is_on_the_page_once(rich: dict[str, Any]) -> None:
    html = asyncapi_page(rich, 'asyncapi')

    assert messages_on(Elements(html)) == names_of_messages(rich)
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len({*ids})


def test_every_link_within_the_page_leads_somewhere(rich: dict[str, Any]) -> None:
    elements = Elements(asyncapi_page(rich, 'asyncapi'))
    ids = {each.get('id') for each in elements.all}
    links = {each['href'] for each in elements.named('a') if each['href'].startswith('#')}

    assert {link for link in links if link[1:] not in ids} == set()


def test_every_property_of_every_schema_is_on_the_page(rich: dict[str, Any]) -> None:
    elements = Elements(asyncapi_page(rich, 'asyncapi'))
    articles = {each.get('id'): each['text'] for each in elements.named('article')}

    for name, schema in rich['components']['schemas'].items():
        for inner in schema.get('properties', {}):
            assert inner in articles[f'schema-{name}']


def test_text_of_a_document_is_never_markup(rich: dict[str, Any]) -> None:
    html = asyncapi_page(rich, 'asyncapi')
    elements = Elements(html)

    assert [each['src'] for each in elements.named('script')] == ['asyncapi/page.js']
    assert elements.named('b') == []
    assert '<script>alert(2)</script>' in ''.join(each['text'] for each in elements.named('main'))
    assert not re.search(r' (on\w+|style)=', html)


def test_a_name_cannot_break_out_of_an_attribute() -> None:
    assert tag('a', '<&>', href='"><b>') == '<a href="&quot;&gt;&lt;b&gt;">&lt;&amp;&gt;</a>'


def test_docstrings_keep_their_paragraphs_lists_and_code() -> None:
    text = 'One\n  two `<x>`.\n\n- a\n  b\n- ``c`d``\n\n\n<p>'

    assert prose(text) == (
        '<p>One\ntwo <code>&lt;x&gt;</code>.</p>'
        '<ul><li>a b</li><li><code>c`d</code></li></ul>'
        '<p>&lt;p&gt;</p>'
    )


@pytest.mark.parametrize('document', [{}, {'title': 'A', 'version': '1'}], ids=['empty', 'bare'])
def test_an_app_without_routes_has_a_page(document: dict[str, Any]) -> None:
    made = asyncapi_document([], title='', version='', info=document)

    assert '<h1>' in asyncapi_page(made, 'asyncapi')


# -- rows


def rows_of(schema: Any, components: dict[str, Any] | None = None) -> list[Row]:
    named = components or {}
    return Rows(lambda reference: named[reference.rpartition('/')[2]]).of(schema)


def shown(row: Row) -> str:
    return ''.join(piece.text for piece in row.type)


def test_a_property_is_a_row() -> None:
    schema = {
        'type': 'object',
        'properties': {'n': {'type': 'integer', 'minimum': 1, 'maximum': 9, 'default': 2}},
        'required': ['n'],
    }

    _, row = rows_of(schema)

    assert (row.name, shown(row), row.depth, row.is_required) == ('n', 'integer', 1, True)
    assert row.constraints == ('1 to 9', 'default 2')


@pytest.mark.parametrize(
    ('schema', 'name'),
    [
        ({'type': ['string', 'null']}, 'string | null'),
        ({'anyOf': [{'type': 'integer'}, {'type': 'null'}]}, 'integer | null'),
        ({'oneOf': [{'type': 'integer'}, {'type': 'string'}]}, 'integer | string'),
        ({'type': 'array', 'items': {'type': 'number'}}, 'array of number'),
        ({'type': 'object', 'additionalProperties': {'type': 'boolean'}}, 'map of boolean'),
        ({'type': 'string', 'format': 'uuid'}, 'string (uuid)'),
        ({'const': 'a'}, 'string'),
        ({}, 'any'),
        (True, 'any'),
        (False, 'nothing'),
    ],
    ids=str,
)
def test_a_type_is_called_by_what_it_is(schema: Any, name: str) -> None:
    assert shown(rows_of(schema)[0]) == name


def test_the_forms_of_a_union_are_shown_one_by_one() -> None:
    one, other = ({'type': 'object', 'properties': {name: {}}} for name in 'ab')

    rows = rows_of({'anyOf': [one, other]})

    assert [(row.alternative, row.name) for row in rows[1:]] == [
        ('either', ''),
        ('', 'a'),
        ('or', ''),
        ('', 'b'),
    ]


def test_what_refers_to_itself_is_written_out_once() -> None:
    node = {
        'type': 'object',
        'properties': {
            'next': {'anyOf': [{'$ref': '#/components/schemas/Node'}, {'type': 'null'}]},
            'all': {'type': 'array', 'items': {'$ref': '#/components/schemas/Node'}},
        },
    }

    rows = rows_of({'$ref': '#/components/schemas/Node'}, {'Node': node})

    assert [(row.name, shown(row), row.is_elsewhere) for row in rows] == [
        ('', 'Node', False),
        ('next', 'Node | null', True),
        ('all', 'array of Node', False),
        ('[]', 'Node', True),
    ]


def test_what_stands_beside_a_reference_counts() -> None:
    schema = {'allOf': [{'$ref': '#/components/schemas/A'}], 'description': 'mine'}
    named = {'type': 'object', 'description': 'its own', 'properties': {'a': {}}}

    first, *others = rows_of(schema, {'A': named})

    assert (shown(first), first.description) == ('A', 'mine')
    assert [row.name for row in others] == ['a']


# -- in a browser


class SeenPaths:
    """Middleware that remembers what was asked for."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def process_request(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        self.paths.append(req.path)


@pytest.mark.timeout(120)
async def test_a_browser_shows_every_message_and_has_no_complaint(
    rich: dict[str, Any], tmp_path: Path
) -> None:
    browser = find_browser()
    seen = SeenPaths()
    app = falcon.asgi.App(middleware=[seen])
    add_asyncapi_routes(app, lambda: rich)
    async with serve(app) as served:
        dom, console = await dom_of(browser, f'{served.http}/asyncapi', tmp_path)
    elements = Elements(dom)

    assert messages_on(elements) == names_of_messages(rich)
    assert console == []
    assert {'/asyncapi', '/asyncapi/page.css', '/asyncapi/page.js'} <= {*seen.paths}
    assert {*seen.paths} <= {'/asyncapi', *(f'/asyncapi{each}' for each in ASSETS)}
    (box,) = elements.named('input')
    assert not box['is_hidden'], 'page.js has not run'


@pytest.mark.timeout(120)
async def test_a_browser_would_complain(tmp_path: Path) -> None:
    """So the test above can see what a page does wrong, and what the policy forbids it."""
    browser = find_browser()
    document = asyncapi_document([samples.CHAT], **ABOUT)

    class Injected(AsyncAPIResource):
        async def on_get_page(
            self, req: falcon.asgi.Request, resp: falcon.asgi.Response, **params: object
        ) -> None:
            await super().on_get_page(req, resp)
            assert resp.data is not None
            evil = b'<script>document.title = "taken"</script><img src="http://127.0.0.1:9/x">'
            resp.data = resp.data.replace(b'<main', evil + b'<main')

    app = falcon.asgi.App()
    app.add_route('/page', Injected(lambda: document), suffix='page')
    async with serve(app) as served:
        dom, console = await dom_of(browser, f'{served.http}/page', tmp_path)

    assert '<title>taken' not in dom
    assert len([line for line in console if 'Content Security Policy' in line]) == 2


@pytest.mark.timeout(120)
@pytest.mark.parametrize('form', ['json', 'yaml'])
async def test_a_browser_shows_the_document_itself(
    rich: dict[str, Any], tmp_path: Path, form: str
) -> None:
    browser = find_browser()
    app = falcon.asgi.App()
    add_asyncapi_routes(app, lambda: rich)
    async with serve(app) as served:
        dom, _ = await dom_of(browser, f'{served.http}/asyncapi.{form}', tmp_path)

    assert 'clientSendMessage' in dom
