"""What Prometheus is told: every number, by a name of its rules, and nothing a client says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import fields, replace
import importlib
import itertools
import re
import subprocess
import sys
from typing import Any, cast, get_args, get_type_hints

import falcon
import falcon.asgi
import falcon.testing
import httpx
import prometheus_client
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text
import pytest
from websockets.exceptions import InvalidStatus
import yaml

from falcon_ws_mw import (
    BackendHealth,
    ConfigurationError,
    Limits,
    ManagerStats,
    WebSocket,
    WebSocketConnectionManager,
    WebSocketLifespan,
    WebSocketResource,
    WorkerStats,
    install,
)
from falcon_ws_mw.prometheus import (
    BACKEND_COUNTERS,
    BACKEND_GAUGES,
    BACKEND_STATE,
    BUCKETS,
    COUNTERS,
    GAUGES,
    LABELLED_COUNTERS,
    HandlerMeter,
    ManagerCollector,
    MetricsResource,
)
from falcon_ws_mw.reports import ConnectionState, Meter, Outcome, WorkerState

from .servers import PATIENCE_SECONDS, Client, Served, serve
from .test_docs import DOCS, Page, blocks_of

PAGE = DOCS / 'metrics.md'

OPENMETRICS = 'application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5'

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def named(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    """The key of a series."""
    return name, frozenset(labels.items())


def series_of(families: Iterable[Metric]) -> Series:
    """Each series once, or Prometheus rejects all of them."""
    samples = [sample for family in families for sample in family.samples]
    found = {named(sample.name, **sample.labels): sample.value for sample in samples}
    assert len(found) == len(samples)
    return found


def read(registry: CollectorRegistry) -> Series:
    return series_of(parse_text(generate_latest(registry).decode()))


# -- an app


class Room:
    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket, room: str) -> None:
        if req.get_header('X-Stranger'):
            raise falcon.HTTPForbidden
        await ws.identify(req.get_header('X-User', default='somebody'))
        await ws.join_room(room)
        await ws.subscribe(f'{room}/#')

    async def on_ws_say(self, ws: WebSocket, payload: dict[str, Any], room: str) -> str:
        await ws.broadcast_to_room(room, payload)
        return 'said'

    async def on_ws_deny(self, ws: WebSocket) -> None:
        raise falcon.HTTPForbidden

    async def on_ws_crash(self, ws: WebSocket) -> None:
        raise RuntimeError('boom')


class AnyMessage(WebSocketResource):
    async def on_message(self, ws: WebSocket, message: Any) -> str:
        return 'taken'


LINKED = 'memory://metrics'
"""A backend as that of several processes, within one."""


def app_with_metrics(backend: str = 'memory://', **options: Any) -> WebSocketLifespan:
    app = install(falcon.asgi.App(), limits=Limits(messages_per_second=None), backend=backend)
    app.add_route('/rooms/{room}', Room())
    app.add_websocket_route('/any', AnyMessage)
    app.add_route('/metrics', MetricsResource(app.ws_connection_manager, **options))
    return app


async def scrape(served: Served, accept: str = OPENMETRICS) -> Series:
    async with httpx.AsyncClient() as client:
        response = await client.get(f'{served.http}/metrics', headers={'Accept': accept})
    assert response.status_code == 200
    if 'openmetrics' in response.headers['Content-Type']:
        return series_of(parse_openmetrics(response.text))  # type: ignore[no-untyped-call]
    return series_of(parse_text(response.text))


@asynccontextmanager
async def talking(path: str = '/rooms/a') -> AsyncIterator[tuple[Served, Client]]:
    async with serve(app_with_metrics()) as served, served.client(path) as client:
        yield served, client


async def say(client: Client, type: str, payload: Any = None) -> None:
    """Send a request, and wait until it is answered."""
    await client.send({'type': type, 'payload': payload or {}, 'id': 1})
    while (await client.receive()).get('id') != 1:
        pass


# -- what is exported


@pytest.mark.parametrize(
    ('accept', 'content_type'),
    [
        (OPENMETRICS, 'application/openmetrics-text; version=1.0.0'),
        ('text/plain;version=1.0.0', 'text/plain; version='),  # an early client knows 0.0.4 only
        ('text/plain;version=0.0.4', 'text/plain; version=0.0.4'),
        ('*/*', 'text/plain; version=0.0.4'),
        ('application/json', 'text/plain; version=0.0.4'),
    ],
)
async def test_the_format_is_the_one_that_was_asked_for(accept: str, content_type: str) -> None:
    async with talking() as (served, _), httpx.AsyncClient() as client:
        response = await client.get(f'{served.http}/metrics', headers={'Accept': accept})
        head = await client.head(f'{served.http}/metrics', headers={'Accept': accept})
        series = await scrape(served, accept)

    assert response.headers['Content-Type'].startswith(content_type)
    assert head.headers['Content-Type'] == response.headers['Content-Type']
    assert (head.status_code, head.content) == (200, b'')
    assert series[named('falcon_ws_connections')] == 1


async def test_a_scrape_tells_what_has_happened() -> None:
    async with talking() as (served, client):
        for message_type in ('say', 'deny', 'crash', 'unheard-of'):
            await say(client, message_type)
        with pytest.raises(InvalidStatus):
            async with served.client('/rooms/a', additional_headers={'X-Stranger': 'yes'}):
                pass
        series = await scrape(served)

    assert series[named('falcon_ws_connections')] == 1
    assert series[named('falcon_ws_connections_opened_total')] == 2  # one was refused
    assert series[named('falcon_ws_rooms')] == 1
    assert series[named('falcon_ws_users')] == 1
    assert series[named('falcon_ws_topic_filters')] == 1
    assert series[named('falcon_ws_messages_received_total')] == 4
    assert series[named('falcon_ws_messages_delivered_total')] == 1
    assert series[named('falcon_ws_refusals_total', reason='denied')] == 1
    for kind in ('http_error', 'crash', 'unknown_type'):
        assert series[named('falcon_ws_errors_total', kind=kind)] == 1


def distinct_stats() -> ManagerStats:
    """A value of its own for each field, whatever fields there are."""
    values: dict[str, Any] = {}
    for number, (name, kind) in enumerate(get_type_hints(ManagerStats).items(), start=1001):
        if kind is int:
            values[name] = number
        elif kind == Mapping[str, int]:
            values[name] = {f'of_{name}': number}
        elif name == 'backend':
            values[name] = distinct_health()
        else:
            assert name == 'workers', f'how is {name} exported?'
            values[name] = (WorkerStats('clock', 'failed', number, 'boom'),)
    return ManagerStats(**values)


def distinct_health() -> BackendHealth:
    """The same for the fields of a backend."""
    others = {'state': 'connecting', 'state_seconds': 3001.0, 'last_error': 'boom'}
    values: dict[str, Any] = {}
    for number, (name, kind) in enumerate(get_type_hints(BackendHealth).items(), start=2001):
        assert kind is int or name in others, f'how is {name} exported?'
        values[name] = number if kind is int else others[name]
    return BackendHealth(**values)


class Told:
    """A manager that is at the numbers it is told."""

    def __init__(self, stats: ManagerStats) -> None:
        self._stats = stats
        self.meter = None

    def stats(self) -> ManagerStats:
        return self._stats


def manager_at(stats: ManagerStats) -> WebSocketConnectionManager:
    return cast('WebSocketConnectionManager', Told(stats))


def test_every_field_of_the_stats_is_exported() -> None:
    stats = distinct_stats()
    registry = CollectorRegistry()
    registry.register(ManagerCollector(manager_at(stats)))
    series = read(registry)

    expected = {1001 + place: each.name for place, each in enumerate(fields(ManagerStats))}
    expected |= {2001 + place: each.name for place, each in enumerate(fields(BackendHealth))}
    exported = {int(value) for value in series.values()}

    # Of these there is no number: that of `backend` are its fields, `state` is a label.
    assert {name for value, name in expected.items() if value not in exported} == {
        'backend',
        'state',
        'state_seconds',
        'last_error',
    }
    assert 3001 not in exported
    assert 'boom' not in str(series)


def test_each_field_is_exported_under_its_own_name() -> None:
    """No two are mixed up."""
    stats = distinct_stats()
    registry = CollectorRegistry()
    registry.register(ManagerCollector(manager_at(stats)))
    series = read(registry)

    for field, gauge in GAUGES.items():
        assert series[named(f'falcon_ws_{gauge.name}')] == getattr(stats, field)
    for field, counter in COUNTERS.items():
        assert series[named(f'falcon_ws_{counter.name}_total')] == getattr(stats, field)
    for field, labelled in LABELLED_COUNTERS.items():
        for value, count in getattr(stats, field).items():
            key = named(f'falcon_ws_{labelled.name}_total', **{labelled.label: value})
            assert series[key] == count
    assert series[named('falcon_ws_workers', state='failed')] == 1
    assert series[named('falcon_ws_worker_restarts_total', worker='clock')] > 1000


def test_each_field_of_a_backend_is_exported_under_its_own_name() -> None:
    health = distinct_health()
    registry = CollectorRegistry()
    registry.register(ManagerCollector(manager_at(distinct_stats())))
    series = read(registry)

    for field, gauge in BACKEND_GAUGES.items():
        assert series[named(f'falcon_ws_{gauge.name}')] == getattr(health, field)
    for field, counter in BACKEND_COUNTERS.items():
        assert series[named(f'falcon_ws_{counter.name}_total')] == getattr(health, field)


@pytest.mark.parametrize('state', get_args(ConnectionState))
def test_a_backend_is_in_one_of_its_states(state: ConnectionState) -> None:
    stats = replace(distinct_stats(), backend=BackendHealth(state))
    registry = CollectorRegistry()
    registry.register(ManagerCollector(manager_at(stats)))
    found = {key: value for key, value in read(registry).items() if 'backend_state' in key[0]}

    assert found == {
        named('falcon_ws_backend_state', state=each): each == state
        for each in get_args(ConnectionState)
    }


def test_what_has_not_happened_yet_is_0_and_not_missing() -> None:
    registry = CollectorRegistry()
    registry.register(ManagerCollector(WebSocketConnectionManager()))
    series = read(registry)

    assert set(series.values()) == {0}
    for labelled in LABELLED_COUNTERS.values():
        for value in labelled.known:
            assert named(f'falcon_ws_{labelled.name}_total', **{labelled.label: value}) in series
    for state in get_args(WorkerState):
        assert named('falcon_ws_workers', state=state) in series


def test_what_a_backend_has_not_done_yet_is_0_and_not_missing() -> None:
    registry = CollectorRegistry()
    registry.register(ManagerCollector(WebSocketConnectionManager(LINKED)))
    series = read(registry)

    assert series.pop(named('falcon_ws_backend_state', state='stopped')) == 1
    assert set(series.values()) == {0}
    for gauge in BACKEND_GAUGES.values():
        assert named(f'falcon_ws_{gauge.name}') in series
    for counter in BACKEND_COUNTERS.values():
        assert named(f'falcon_ws_{counter.name}_total') in series


def test_one_process_by_itself_has_no_numbers_of_a_backend() -> None:
    registry = CollectorRegistry()
    registry.register(ManagerCollector(WebSocketConnectionManager('memory://')))

    assert [key for key in read(registry) if 'backend' in key[0]] == []


async def test_a_scrape_tells_how_the_backend_stands() -> None:
    other = WebSocketConnectionManager(LINKED)
    async with serve(app_with_metrics(LINKED)) as served, served.client('/rooms/a') as client:
        await say(client, 'say')
        before = await scrape(served)
        await other.start()
        await other.broadcast_to_room('a', {'type': 'said'})
        await client.receive()
        after = await scrape(served)
        await other.stop()

    assert after[named('falcon_ws_backend_state', state='connected')] == 1
    assert after[named('falcon_ws_backend_channels')] >= 1
    assert before[named('falcon_ws_backend_messages_sent_total')] == 1
    name = named('falcon_ws_backend_messages_received_total')
    assert after[name] == before[name] + 1


@pytest.mark.parametrize('field', ['refusals', 'errors'])
def test_the_known_labels_are_those_that_the_stats_name(field: str) -> None:
    found = re.search(rf'\n +{field}: (.*?)(?=\n +\w+: )', ManagerStats.__doc__ or '', re.DOTALL)

    assert found
    assert re.findall(r"`'(\w+)'`", found[1]) == list(LABELLED_COUNTERS[field].known)


def test_the_known_limits_are_all_limits() -> None:
    assert list(LABELLED_COUNTERS['limits_hit'].known) == Limits.names()


def test_workers_of_one_name_are_one_series() -> None:
    twins = tuple(WorkerStats('clock', 'running', restarts, None) for restarts in (1, 2))
    stats = ManagerStats(**{**vars_of(distinct_stats()), 'workers': twins})
    registry = CollectorRegistry()
    registry.register(ManagerCollector(manager_at(stats)))
    series = read(registry)

    assert series[named('falcon_ws_workers', state='running')] == 2
    assert series[named('falcon_ws_worker_restarts_total', worker='clock')] == 3


def vars_of(stats: ManagerStats) -> dict[str, Any]:
    return {each.name: getattr(stats, each.name) for each in fields(stats)}


@pytest.mark.parametrize('backend', ['memory://', LINKED])
async def test_counters_never_go_down(backend: str) -> None:
    app = app_with_metrics(backend)
    rounds: list[Series] = []
    async with serve(app) as served:
        rounds.append(await scrape(served))
        for _ in range(2):
            async with served.client('/rooms/a') as client:
                for message_type in ('say', 'deny', 'crash', 'unheard-of', 'say'):
                    await say(client, message_type)
                await client.send('not json')
                await client.receive()
                rounds.append(await scrape(served))
            async with asyncio.timeout(PATIENCE_SECONDS):
                while app.ws_connection_manager.connections:
                    await asyncio.sleep(0.01)
            rounds.append(await scrape(served))

    names = [each.name for each in (*GAUGES.values(), *BACKEND_GAUGES.values())]
    gauges = {f'falcon_ws_{name}' for name in (*names, BACKEND_STATE.name, 'workers')}
    for before, after in itertools.pairwise(rounds):
        counted = {key for key in before if key[0] not in gauges}
        assert counted
        assert [key for key in counted if after[key] < before[key]] == []
    assert rounds[-1][named('falcon_ws_connections')] == 0
    assert rounds[-1][named('falcon_ws_connections_opened_total')] == 2


# -- clients do not make series


@pytest.mark.parametrize('path', ['/rooms/a', '/any'])
async def test_types_that_a_client_makes_up_are_no_series(path: str) -> None:
    async with talking(path) as (served, client):
        await say(client, 'made-up')
        before = await scrape(served)
        for number in range(1000):
            await client.send({'type': f'made-up-{number}'})
        await say(client, 'made-up')
        after = await scrape(served)

    assert after.keys() == before.keys()
    assert 'made-up' not in str(after)


@pytest.mark.parametrize('backend', ['memory://', LINKED])
async def test_nothing_that_a_client_says_is_in_a_scrape(backend: str) -> None:
    async with (
        serve(app_with_metrics(backend)) as served,
        served.client(
            '/rooms/zebra?zebra=zebra',
            additional_headers={'X-User': 'zebra', 'User-Agent': 'zebra'},
        ) as client,
        httpx.AsyncClient() as http,
    ):
        with pytest.raises(InvalidStatus):
            async with served.client('/rooms/zebra', origin='https://zebra.example'):
                pass
        await say(client, 'say', {'zebra': 'zebra'})
        await say(client, 'zebra', {'zebra': 'zebra'})
        response = await http.get(f'{served.http}/metrics', headers={'X-Zebra': 'zebra'})

    assert named('falcon_ws_users') in series_of(parse_text(response.text))
    assert 'zebra' not in response.text


# -- how long handlers take


def metered(*handled: tuple[str, str, Outcome, float], **options: Any) -> Series:
    meter = HandlerMeter(**options)
    for each in handled:
        meter.handled(*each)
    registry = CollectorRegistry()
    registry.register(meter)
    return read(registry)


def test_a_handler_counts_in_each_bucket_that_it_fits() -> None:
    labels = {'resource': 'Room', 'type': 'say', 'outcome': 'handled'}
    times = [0.05, 0.1, 0.5, 7.0]
    series = metered(*[('Room', 'say', 'handled', each) for each in times], buckets=[0.1, 1])

    name = 'falcon_ws_handler_seconds'
    buckets = [series[named(f'{name}_bucket', le=le, **labels)] for le in ('0.1', '1.0', '+Inf')]

    assert buckets == [2, 3, 4]
    assert series[named(f'{name}_count', **labels)] == 4
    assert series[named(f'{name}_sum', **labels)] == pytest.approx(7.65)


def test_it_is_the_histogram_that_prometheus_client_would_make() -> None:
    """Which is not used, as it takes four times as long for each message."""
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    [described] = HandlerMeter().describe()
    histogram = prometheus_client.Histogram(
        'falcon_ws_handler_seconds',
        described.documentation,
        ['resource', 'type', 'outcome'],
        registry=theirs,
        buckets=BUCKETS,
        unit='seconds',
    )
    meter = HandlerMeter()
    ours.register(meter)
    outcomes: list[Outcome] = ['handled', 'error', 'crash']
    for seconds in (0.0, 0.0005, 0.00051, 0.3, 10.0, 11.5, *BUCKETS):
        for outcome in outcomes:
            histogram.labels('Room', '"quoted"\n', outcome).observe(seconds)
            meter.handled('Room', '"quoted"\n', outcome, seconds)

    def without_creation(registry: CollectorRegistry) -> Series:
        found = series_of(list(registry.collect()))
        return {key: value for key, value in found.items() if not key[0].endswith('_created')}

    assert without_creation(ours) == without_creation(theirs)
    assert read(ours) == {
        key: value for key, value in read(theirs).items() if not key[0].endswith('_created')
    }


def test_beyond_the_most_series_types_are_counted_together() -> None:
    types = [f'type-{number}' for number in range(50)] * 2
    series = metered(*[('Room', each, 'handled', 0.1) for each in types], max_series=3)
    counts = {
        dict(labels)['type']: value for (name, labels), value in series.items() if 'count' in name
    }

    assert counts == {'type-0': 2, 'type-1': 2, 'type-2': 2, '*other*': 94}


async def test_each_handled_message_is_timed_by_how_it_ended() -> None:
    async with talking() as (served, client):
        for message_type in ('say', 'say', 'deny', 'crash', 'unheard-of'):
            await say(client, message_type)
        series = await scrape(served)

    name = 'falcon_ws_handler_seconds_count'
    assert {key: value for key, value in series.items() if key[0] == name} == {
        named(name, resource='Room', type='say', outcome='handled'): 2,
        named(name, resource='Room', type='deny', outcome='error'): 1,
        named(name, resource='Room', type='crash', outcome='crash'): 1,
    }


async def test_what_takes_any_message_is_timed_as_one_type() -> None:
    async with talking('/any') as (served, client):
        for message_type in ('one', 'two'):
            await say(client, message_type)
        series = await scrape(served)

    name = 'falcon_ws_handler_seconds_count'
    assert {key: value for key, value in series.items() if key[0] == name} == {
        named(name, resource='AnyMessage', type='*', outcome='handled'): 2
    }


# -- names


def all_families() -> list[Metric]:
    registry = CollectorRegistry()
    resource = MetricsResource(manager_at(distinct_stats()), registry=registry)
    meter = HandlerMeter(namespace='other')
    meter.handled('Room', 'say', 'handled', 0.1)
    resource.registry.register(meter)
    return list(registry.collect())


def test_names_follow_the_conventions() -> None:
    units = {'milliseconds', 'ms', 'minutes', 'kilobytes', 'kib', 'percent', 'count'}
    for family in all_families():
        assert re.fullmatch('(falcon_ws|other)_[a-z]+(_[a-z]+)*', family.name)
        assert family.documentation.endswith('.')
        assert not units & set(family.name.split('_'))
        assert family.type in {'gauge', 'counter', 'histogram'}
        assert ('seconds' in family.name) == (family.unit == 'seconds')
        for sample in family.samples:
            assert (family.type == 'counter') == sample.name.endswith('_total')
            assert all(re.fullmatch('[a-z]+', label) for label in sample.labels)
            assert not set(sample.labels) & {'instance', 'job'}, 'these are set by the scrape'


def test_each_metric_has_its_help_and_type() -> None:
    registry = CollectorRegistry()
    registry.register(ManagerCollector(WebSocketConnectionManager(LINKED)))
    text = generate_latest(registry).decode()
    names = {line.split('{')[0].split()[0] for line in text.splitlines() if line[0] != '#'}

    assert set(re.findall(r'^# HELP (\w+) .+$', text, re.MULTILINE)) >= names
    assert set(re.findall(r'^# TYPE (\w+) \w+$', text, re.MULTILINE)) >= names


def test_no_two_metrics_have_one_name_in_openmetrics() -> None:
    """Which names a counter without its `_total`."""
    names = [family.name for family in all_families()]

    assert len(set(names)) == len(names)


def test_another_namespace_names_all_of_them() -> None:
    registry = CollectorRegistry()
    MetricsResource(WebSocketConnectionManager(LINKED), namespace='chat', registry=registry)

    assert {family.name.split('_')[0] for family in registry.collect()} == {'chat'}


def test_the_page_names_every_metric_and_no_other() -> None:
    rows = re.findall(r'^\| `(falcon_ws_\w+)(?:\{\w+(?:, \w+)*\})?` \|', PAGE.read_text(), re.M)
    described = {
        f'{family.name}_total' if family.type == 'counter' else family.name
        for family in all_families()
        if family.name.startswith('falcon_ws')
    }

    assert sorted(rows) == sorted(described)


def test_what_the_page_asks_prometheus_for_is_exported() -> None:
    asked = set(re.findall(r'falcon_ws_\w+', PAGE.read_text()))
    histogram = {f'falcon_ws_handler_seconds{end}' for end in ('', '_bucket', '_sum', '_count')}
    described = {
        f'{family.name}_total' if family.type == 'counter' else family.name
        for family in all_families()
    }

    assert asked - {'falcon_ws_mw'} <= described | histogram


def test_the_page_names_each_state_of_a_backend() -> None:
    _, _, rest = PAGE.read_text().partition('| `state` of the backend ')
    rows, _, _ = rest.partition('| `outcome` |')

    assert re.findall(r'\| `(\w+)` \|', rows) == [*get_args(ConnectionState)]


def rules_of_the_page() -> list[dict[str, Any]]:
    for block in blocks_of(PAGE, 'yaml'):
        (group,) = yaml.safe_load(block.text).get('groups', [None])
        if group is not None:
            rules: list[dict[str, Any]] = group['rules']
            return rules
    raise LookupError('the page has no alerts')


def test_the_alerts_of_the_page_ask_for_labels_that_there_are() -> None:
    registry = CollectorRegistry()
    registry.register(ManagerCollector(WebSocketConnectionManager(LINKED)))
    series = read(registry)
    labels = {'le', 'instance', 'resource', 'type', 'outcome', 'state', 'worker'}
    labels |= {each.label for each in LABELLED_COUNTERS.values()}
    for rule in rules_of_the_page():
        by = re.findall(r'by \(([^)]+)\)', rule['expr'])
        selected = re.findall(r'(\w+)\{(\w+)=~?"([^"]+)"\}', rule['expr'])

        assert {name for each in by for name in each.split(', ')} <= labels
        assert len(selected) == rule['expr'].count('{')
        for metric, label, values in selected:
            for value in values.split('|'):
                assert named(metric, **{label: value}) in series


def test_the_protected_metrics_of_the_page_are(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Page(PAGE, monkeypatch).names['app']
    client = falcon.testing.TestClient(app)
    statuses = {
        token: client.simulate_get('/metrics', headers={'Authorization': token}).status_code
        for token in ('Bearer change me', 'Bearer', 'Bearer ä', '')
    }

    assert statuses == {'Bearer change me': 200, 'Bearer': 401, 'Bearer ä': 401, '': 401}


# -- putting it together


def test_it_stands_beside_what_the_app_exports_already() -> None:
    registry = CollectorRegistry(auto_describe=True)  # as `prometheus_client.REGISTRY`
    prometheus_client.Counter('orders', 'Orders.', registry=registry).inc()
    MetricsResource(WebSocketConnectionManager(), registry=registry)

    assert {named('orders_total'), named('falcon_ws_connections')} <= read(registry).keys()


def test_a_registry_gets_the_metrics_once() -> None:
    registry = CollectorRegistry()
    first, second = WebSocketConnectionManager(), WebSocketConnectionManager()
    MetricsResource(first, registry=registry)

    with pytest.raises(ConfigurationError, match='name another namespace, or leave the registry'):
        MetricsResource(second, registry=registry)

    assert second.meter is None
    MetricsResource(second, registry=registry, namespace='second')


def test_what_cannot_be_registered_whole_is_not_registered_at_all() -> None:
    registry = CollectorRegistry()
    prometheus_client.Gauge('falcon_ws_handler_seconds', 'Taken.', registry=registry)
    manager = WebSocketConnectionManager()

    with pytest.raises(ConfigurationError, match='falcon_ws_handler_seconds'):
        MetricsResource(manager, registry=registry)

    assert [family.name for family in registry.collect()] == ['falcon_ws_handler_seconds']
    assert manager.meter is None


def test_a_meter_is_not_replaced() -> None:
    manager = WebSocketConnectionManager()
    MetricsResource(manager)
    meter = manager.meter

    with pytest.raises(ConfigurationError, match='register a ManagerCollector'):
        MetricsResource(manager)

    assert manager.meter is meter


def test_the_meter_is_one() -> None:
    meter: Meter = HandlerMeter()

    assert isinstance(meter, HandlerMeter)


@pytest.mark.parametrize('namespace', ['', 'a-b', '1a', 'ä', 'a b', 'a\n'])
def test_a_namespace_that_is_none_is_said(namespace: str) -> None:
    with pytest.raises(ConfigurationError, match='namespace='):
        MetricsResource(WebSocketConnectionManager(), namespace=namespace)


@pytest.mark.parametrize(
    'buckets', [[], [1, 1], [2, 1], [0, 1], [-1, 1], [float('inf')], [float('nan'), 1]]
)
def test_buckets_that_are_none_are_said(buckets: list[float]) -> None:
    with pytest.raises(ConfigurationError, match='buckets='):
        MetricsResource(WebSocketConnectionManager(), buckets=buckets)


@pytest.mark.parametrize('version', ['1.5.x', '999', '', 'x', '1', '1..', '1.1.\xe9', '"1.0.0"'])
@pytest.mark.parametrize('media_type', ['application/openmetrics-text', 'text/plain', ''])
def test_no_accept_header_is_a_crash(media_type: str, version: str) -> None:
    client = falcon.testing.TestClient(app_with_metrics())
    result = client.simulate_get('/metrics', headers={'Accept': f'{media_type}; version={version}'})

    assert result.status_code == 200
    assert 'falcon_ws_connections' in result.text


# -- an extra


def test_without_the_package_its_absence_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition('.')[0] == 'prometheus_client']:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, 'falcon_ws_mw.prometheus')

    with pytest.raises(ConfigurationError, match=re.escape("'falcon-ws-mw[prometheus]'")):
        importlib.import_module('falcon_ws_mw.prometheus')


def test_the_library_does_not_import_it() -> None:
    code = 'import sys, falcon_ws_mw, falcon_ws_mw.cli; print("prometheus_client" in sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == 'False'
