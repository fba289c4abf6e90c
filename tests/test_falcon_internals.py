"""Every touch of a private name of Falcon, with that name and without it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
import json
from types import FunctionType
from typing import Any, cast

import falcon
import falcon.asgi
from falcon.asgi import Request, Response
from falcon.media import JSONHandlerWS
from falcon.routing import CompiledRouter
import falcon.testing
import pytest

import falcon_ws_mw
from falcon_ws_mw import falcon_internals
from falcon_ws_mw.falcon_internals import App, Route


class Changed:
    """What a Falcon would look like to us that had renamed all its private names."""


CHANGED = cast('App', Changed())


def app_with(*routes: tuple[str, object] | tuple[str, object, str], **options: Any) -> App:
    """An app with routes: template, resource, and suffix if there is one."""
    app: App = falcon.asgi.App(**options)
    for template, resource, *suffix in routes:
        app.add_route(template, resource, **({'suffix': suffix[0]} if suffix else {}))
    return app


class Thing:
    async def on_get(self, req: Request, resp: Response) -> None: ...

    async def on_get_list(self, req: Request, resp: Response) -> None: ...

    async def on_websocket_list(self, req: Request, ws: falcon.asgi.WebSocket) -> None: ...


class Silent:
    """A resource that only we know to have a responder."""

    async def on_ws_x(self, ws: Any) -> None: ...


# -- fields of a template


@pytest.mark.parametrize(
    ('template', 'fields'),
    [
        ('/', set()),
        ('/a/b', set()),
        ('/{room}', {'room'}),
        ('/{room}/{seat}', {'room', 'seat'}),
        ('/{room}-{seat}.json', {'room', 'seat'}),
        ('/{room:int}', {'room'}),
        ('/{room:int(min=1, max=9)}/{seat}', {'room', 'seat'}),
        ('/{when:dt("%Y-%m-%d")}', {'when'}),
        ('/files/{path:path}', {'path'}),
        ('/{ room }', {'room'}),
        ('/{_room1}', {'_room1'}),
    ],
)
def test_the_fields_of_a_template_are_those_that_falcon_fills(
    template: str, fields: set[str]
) -> None:
    assert falcon_internals.template_fields(template) == fields


def test_a_route_without_a_template_has_no_fields_that_are_known() -> None:
    assert Route(None, Thing(), {}).fields == frozenset()


# -- routes


def test_all_routes_are_found_with_their_resources() -> None:
    one, two, three = Thing(), Thing(), Silent()
    app = app_with(('/', one), ('/a/{b}', two), ('/a/{b}/c', three))

    routes = falcon_internals.all_routes(app)

    assert routes is not None
    assert {(route.uri_template, route.resource) for route in routes} == {
        ('/', one),
        ('/a/{b}', two),
        ('/a/{b}/c', three),
    }


def test_an_app_without_routes_has_none() -> None:
    assert falcon_internals.all_routes(app_with()) == []


class SubclassedRouter(CompiledRouter):
    pass


def test_a_router_that_extends_falcons_shows_its_routes() -> None:
    app = app_with(('/a', Thing()), router=SubclassedRouter())

    routes = falcon_internals.all_routes(app)

    assert routes is not None
    assert [route.uri_template for route in routes] == ['/a']


class OwnRouter:
    """A router of an app's own, with one resource for every path but `/none`.

    Args:
        row: What `find` returns for other paths.
    """

    def __init__(self, *row: Any) -> None:
        self.row = row

    def add_route(self, uri_template: str, resource: object, **kwargs: Any) -> None: ...

    def find(self, uri: str, req: Any = None) -> tuple[Any, ...] | None:
        return None if uri == '/none' else self.row


class AskingRouter(OwnRouter):
    """A router that cannot do without the request."""

    def find(self, uri: str, req: Any = None) -> tuple[Any, ...] | None:
        return self.row if req.method else None


def with_router(router: object) -> App:
    untyped: Any = router
    return falcon.asgi.App(router=untyped)


def test_the_routes_of_an_own_router_are_not_known() -> None:
    assert falcon_internals.all_routes(with_router(OwnRouter())) is None


def test_the_routes_are_not_known_where_the_router_is_hidden() -> None:
    assert falcon_internals.all_routes(CHANGED) is None


def test_the_routes_are_not_known_where_the_router_hides_its_nodes() -> None:
    app = app_with(('/a', Thing()))
    untyped: Any = app
    del untyped._router._roots

    assert falcon_internals.all_routes(app) is None


# -- the route of a path


def test_a_path_leads_to_its_route() -> None:
    thing = Thing()
    route = falcon_internals.find_route(app_with(('/a/{b}', thing)), '/a/1')

    assert route is not None
    assert (route.uri_template, route.resource) == ('/a/{b}', thing)


def test_a_path_without_a_route_leads_nowhere() -> None:
    assert falcon_internals.find_route(app_with(('/a', Thing())), '/b') is None


@pytest.mark.parametrize(
    ('row', 'template'),
    [(({}, {}, '/a'), '/a'), (({}, {}), None)],
    ids=['with its template', 'without'],
)
def test_an_own_router_may_leave_the_template_out(
    row: tuple[Any, ...], template: str | None
) -> None:
    thing = Thing()

    route = falcon_internals.find_route(with_router(OwnRouter(thing, *row)), '/a')

    assert route is not None
    assert (route.resource, route.uri_template) == (thing, template)


@pytest.mark.parametrize('router', [OwnRouter(), OwnRouter(None, {}, {}, None)])
def test_an_own_router_may_say_in_its_way_that_there_is_no_route(router: OwnRouter) -> None:
    assert falcon_internals.find_route(with_router(router), '/none') is None


def test_a_resource_of_none_is_no_route() -> None:
    assert falcon_internals.find_route(with_router(OwnRouter(None, {}, {}, None)), '/a') is None


def test_an_own_router_gets_the_request_where_there_is_one() -> None:
    thing = Thing()
    req = falcon.testing.create_asgi_req()
    app = with_router(AskingRouter(thing, {}, {}, '/a'))

    route = falcon_internals.find_route(app, '/a', req)

    assert route is not None
    assert route.resource is thing


def test_a_router_that_raises_knows_no_route() -> None:
    app = with_router(AskingRouter(Thing(), {}, {}, '/a'))

    assert falcon_internals.find_route(app, '/a') is None


def test_no_path_leads_anywhere_where_the_router_is_hidden() -> None:
    assert falcon_internals.find_route(CHANGED, '/a') is None


# -- suffixes


async def check(*args: Any) -> None: ...


@falcon.before(check)
class Hooked(Thing):
    async def on_post(self, req: Request, resp: Response) -> None: ...

    async def on_post_list(self, req: Request, resp: Response) -> None: ...


class Inherited(Thing):
    pass


class OnlySuffixed:
    async def on_get_list(self, req: Request, resp: Response) -> None: ...


class SameForBoth:
    async def on_get(self, req: Request, resp: Response) -> None: ...

    on_get_list = on_get


class Decorated(Thing):
    @falcon.after(check)
    async def on_get_list(self, req: Request, resp: Response) -> None: ...


class CatchAll:
    async def on_request(self, req: Request, resp: Response) -> None: ...

    async def on_request_list(self, req: Request, resp: Response) -> None: ...


class OnlySuffixedCatchAll(Silent):
    async def on_request_list(self, req: Request, resp: Response) -> None: ...


class Static:
    @staticmethod
    async def on_get(req: Request, resp: Response) -> None: ...


SUFFIXED = [Thing, Hooked, Inherited, OnlySuffixed, Decorated]


def only_route(app: App) -> Route:
    routes = falcon_internals.all_routes(app)
    assert routes is not None
    (route,) = routes
    return route


knows_catch_all = pytest.mark.skipif(
    not hasattr(app_with().router_options, 'default_to_on_request'),
    reason='this Falcon has no default_to_on_request',
)


def catching_all(app: App) -> App:
    app.router_options.default_to_on_request = True
    return app


@pytest.mark.parametrize('cls', SUFFIXED)
def test_a_route_with_a_suffix_is_recognised(cls: type) -> None:
    assert only_route(app_with(('/a', cls(), 'list'))).suffixed


@pytest.mark.parametrize('cls', [*SUFFIXED, Silent, CatchAll, Static, SameForBoth])
def test_a_route_without_a_suffix_is_recognised(cls: type) -> None:
    assert not only_route(app_with(('/a', cls()))).suffixed


@knows_catch_all
@pytest.mark.parametrize('cls', [*SUFFIXED, CatchAll, OnlySuffixedCatchAll])
def test_a_suffix_is_recognised_where_one_method_answers_all_others(cls: type) -> None:
    app = catching_all(app_with())
    app.add_route('/a', cls(), suffix='list')

    assert only_route(app).suffixed


@knows_catch_all
@pytest.mark.parametrize('cls', [*SUFFIXED, Silent, CatchAll, OnlySuffixedCatchAll, Static])
def test_no_suffix_is_recognised_where_one_method_answers_all_others(cls: type) -> None:
    app = catching_all(app_with())
    app.add_route('/a', cls())

    assert not only_route(app).suffixed


def test_one_resource_may_have_a_route_with_a_suffix_and_one_without() -> None:
    thing = Thing()
    app = app_with(('/a', thing), ('/b', thing, 'list'))

    found = {path: falcon_internals.find_route(app, path) for path in ('/a', '/b')}

    assert {path: route and route.suffixed for path, route in found.items()} == {
        '/a': False,
        '/b': True,
    }


# -- middleware


class First:
    async def process_request(self, req: Request, resp: Response) -> None: ...


class Second(First):
    pass


def test_the_middleware_comes_in_the_order_in_which_it_runs() -> None:
    first, second = First(), Second()
    app: App = falcon.asgi.App(middleware=[first])
    app.add_middleware(second)

    own = [c for c in falcon_internals.middleware_of(app) if isinstance(c, First)]

    assert own == [first, second]


def test_the_list_of_middleware_is_a_copy() -> None:
    app: App = falcon.asgi.App(middleware=[First()])
    before = len(falcon_internals.middleware_of(app))

    falcon_internals.middleware_of(app).clear()

    assert len(falcon_internals.middleware_of(app)) == before


def test_there_is_no_middleware_where_it_is_hidden() -> None:
    assert falcon_internals.middleware_of(CHANGED) == []


# -- error handlers


async def handle(*args: Any, **kwargs: Any) -> None: ...


FALCONS_FOUR = [
    falcon.HTTPForbidden(),
    falcon.HTTPStatus(204),
    falcon.WebSocketDisconnected(),
    RuntimeError(),
]


@pytest.mark.parametrize('error', FALCONS_FOUR, ids=lambda error: type(error).__name__)
def test_falcons_own_four_error_handlers_do_not_count(error: Exception) -> None:
    assert falcon_internals.own_error_handler(app_with(), error) is None


@pytest.mark.parametrize('error', FALCONS_FOUR, ids=lambda error: type(error).__name__)
def test_a_handler_that_replaces_one_of_them_counts(error: Exception) -> None:
    app = app_with()
    app.add_error_handler(type(error), handle)

    assert falcon_internals.own_error_handler(app, error) is handle


def test_the_handler_for_the_nearest_base_counts() -> None:
    async def handle_lookup(*args: Any, **kwargs: Any) -> None: ...

    app = app_with()
    app.add_error_handler(Exception, handle)
    app.add_error_handler(LookupError, handle_lookup)

    assert falcon_internals.own_error_handler(app, KeyError()) is handle_lookup


class Handlers:
    async def handle(self, *args: Any, **kwargs: Any) -> None: ...


def test_a_method_counts() -> None:
    app = app_with()
    handler: Callable[..., Awaitable[None]] = Handlers().handle
    app.add_error_handler(KeyError, handler)

    assert falcon_internals.own_error_handler(app, KeyError()) == handler


def test_no_handler_is_found_where_they_are_hidden() -> None:
    assert falcon_internals.own_error_handler(CHANGED, KeyError()) is None


# -- the error reporter (Falcon 4.4)


class Reporting:
    """An app with a reporter, as Falcon has kept it since 4.4."""

    def __init__(self) -> None:
        self.reports: list[tuple[Any, ...]] = []

    def _report_error(self, *report: Any) -> None:
        self.reports.append(report)


def test_an_error_that_was_answered_is_reported_as_handled() -> None:
    app = Reporting()
    req, error = falcon.testing.create_asgi_req(), KeyError()

    falcon_internals.report_error(cast('App', app), req, error, {'room': 'r'})

    assert app.reports == [(req, error, {'room': 'r'}, True)]


@pytest.mark.skipif(
    not hasattr(falcon.asgi.App, 'set_error_reporter'), reason='this Falcon has no error reporter'
)
def test_a_reporter_that_the_app_has_set_is_told() -> None:
    reports: list[tuple[Any, ...]] = []
    app: Any = app_with()
    app.set_error_reporter(lambda *report: reports.append(report))
    error = KeyError()

    falcon_internals.report_error(app, falcon.testing.create_asgi_req(), error, {})

    assert [report[1] for report in reports] == [error]


@pytest.mark.parametrize('app', [app_with(), CHANGED], ids=['none set', 'hidden'])
def test_nothing_is_reported_where_there_is_no_reporter(app: App) -> None:
    falcon_internals.report_error(app, falcon.testing.create_asgi_req(), KeyError(), {})


# -- the TEXT media handler


class OwnHandler(JSONHandlerWS):
    pass


def default_text_handler() -> object:
    return app_with().ws_options.media_handlers[falcon.WebSocketPayloadType.TEXT]


@pytest.mark.parametrize(
    'handler', [default_text_handler(), JSONHandlerWS()], ids=['of an app', 'made anew']
)
def test_the_untouched_text_handler_is_recognised(handler: object) -> None:
    assert falcon_internals.is_default_text_handler(handler)


@pytest.mark.parametrize(
    'handler',
    [
        JSONHandlerWS(loads=lambda text: json.loads(text, parse_float=str)),
        JSONHandlerWS(loads=partial(json.loads, parse_float=str)),
        JSONHandlerWS(dumps=json.dumps),
        JSONHandlerWS(dumps=partial(json.dumps)),
        JSONHandlerWS(dumps=partial(json.dumps, ensure_ascii=True)),
        JSONHandlerWS(dumps=partial(json.dumps, ensure_ascii=False, indent=1)),
        OwnHandler(),
        Changed(),
        None,
    ],
)
def test_a_handler_of_the_apps_own_is_not_taken_for_it(handler: object) -> None:
    assert not falcon_internals.is_default_text_handler(handler)


@pytest.mark.parametrize('name', ['_loads', '_dumps'])
def test_a_handler_that_cannot_be_looked_into_is_the_apps_own(name: str) -> None:
    handler = JSONHandlerWS()
    delattr(handler, name)

    assert not falcon_internals.is_default_text_handler(handler)


# -- sending past our function


class Slots:
    """The slot of Falcon's socket that a server's send is in."""

    def __init__(self, send: object) -> None:
        self._asgi_send = send


async def ours(event: Any) -> None: ...


async def servers(event: Any) -> None: ...


async def another(event: Any) -> None: ...


def test_a_socket_that_sends_through_ours_can_send_directly() -> None:
    socket = Slots(ours)
    falcon_internals.send_directly(cast('Any', socket), ours, servers)
    assert socket._asgi_send is servers


def test_a_socket_that_sends_through_somebody_elses_function_is_left_alone() -> None:
    socket = Slots(another)
    falcon_internals.send_directly(cast('Any', socket), ours, servers)
    assert socket._asgi_send is another


def test_a_socket_that_hides_its_slot_is_left_alone() -> None:
    socket = Changed()
    falcon_internals.send_directly(cast('Any', socket), ours, servers)
    assert vars(socket) == {}


async def test_a_route_that_is_not_ours_sends_by_the_servers_own_function() -> None:
    seen: list[object] = []

    class Old:
        async def on_websocket(self, req: Request, ws: falcon.asgi.WebSocket) -> None:
            await ws.accept()
            seen.append(ws._asgi_send)
            await ws.close()

    async def receive() -> dict[str, Any]:
        return {'type': 'websocket.connect'}

    sent: list[Any] = []

    async def send(event: Any) -> None:
        sent.append(event['type'])

    app = falcon_ws_mw.install(app_with(('/old', Old())))
    scope = falcon.testing.create_scope_ws(path='/old')
    await app(scope, receive, send)
    assert seen == [send]
    assert sent == ['websocket.accept', 'websocket.close']


# -- Falcon's hooks


async def action(
    req: Any, resp: Any, resource: Any, params: Any, *args: Any, **kw: Any
) -> None: ...


def hooked(*args: Any, **kwargs: Any) -> Any:
    async def on_get(self: object, req: Request, resp: Response) -> None: ...

    return falcon.before(action, *args, **kwargs)(on_get)


def test_a_hook_is_known_by_its_kind_its_action_and_its_arguments() -> None:
    [hook] = falcon_internals.falcon_hooks(hooked(1, word='x'))
    assert (hook.kind, hook.action) == ('before', action)
    assert (hook.args, hook.kwargs) == ((1,), {'word': 'x'})
    assert [hook] == falcon_internals.falcon_hooks(hooked(1, word='x'))
    assert [hook] != falcon_internals.falcon_hooks(hooked(2, word='x'))
    assert [hook] != falcon_internals.falcon_hooks(hooked(1, word='y'))


def test_a_sync_action_that_falcon_wraps_is_the_same_action(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv('FALCON_ASGI_WRAP_NON_COROUTINES', 'Y')

    def sync(req: Any, resp: Any, resource: Any, params: Any) -> None: ...

    async def on_get(self: object, req: Request, resp: Response) -> None: ...

    first, second = (falcon_internals.falcon_hooks(falcon.before(sync)(on_get)) for _ in range(2))
    assert first == second
    assert first[0].action is sync


def test_a_hook_that_hides_what_it_runs_is_still_seen() -> None:
    bare = FunctionType(hooked().__code__.replace(co_freevars=()), {'__name__': 'falcon.hooks'})
    [hook] = falcon_internals.falcon_hooks(bare)
    assert (hook.kind, hook.action, hook.args, hook.kwargs) == ('before', None, None, None)


# -- the reader that runs ahead


def test_without_the_private_names_nothing_is_put_under_the_reader_and_nobody_else_may_read() -> (
    None
):
    changed = cast('falcon.asgi.WebSocket', Changed())
    assert falcon_internals.read_through(changed, lambda receive: receive) is None
    assert falcon_internals.reads_ahead(changed)
