"""What Prometheus is told: what is measured for it, and how the numbers are served.

The counts are read from `manager.stats()` at each scrape, so counting costs what it costs without
Prometheus. Only how long handlers take is measured here. No label says what a client made up: the
number of series follows from the app's own tables. Needs the extra `prometheus`.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
import math
import re
from typing import Final

import falcon.asgi

from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.manager import WebSocketConnectionManager
from falcon_ws_mw.metric_names import (
    BACKEND_COUNTERS,
    BACKEND_GAUGES,
    BACKEND_STATE,
    COUNTERS,
    GAUGES,
    HANDLERS,
    LABELLED_COUNTERS,
    NAMESPACE,
    WORKER_RESTARTS,
    WORKERS,
    Exported,
    Labelled,
)
from falcon_ws_mw.reports import BackendHealth, ManagerStats, Outcome, WorkerStats

try:
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.metrics_core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
    from prometheus_client.registry import Collector, CollectorRegistry
except ImportError as error:
    raise ConfigurationError(
        "metrics need prometheus-client: pip install 'falcon-ws-mw[prometheus]', or read "
        'manager.stats() yourself'
    ) from error

__all__ = [
    'BACKEND_COUNTERS',
    'BACKEND_GAUGES',
    'BACKEND_STATE',
    'BUCKETS',
    'COUNTERS',
    'GAUGES',
    'LABELLED_COUNTERS',
    'NAMESPACE',
    'OTHER_TYPES',
    'HandlerMeter',
    'ManagerCollector',
    'MetricsResource',
]

BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Upper bounds in seconds. Handlers that touch only memory take less than the first; most servers
and clients have given up after the last."""

OTHER_TYPES: Final = '*other*'
"""The `type` of what is counted together, once there are too many label sets."""


def _check_namespace(namespace: str) -> str:
    if not re.fullmatch('[a-zA-Z_][a-zA-Z0-9_]*', namespace):
        raise ConfigurationError(
            f'namespace={namespace!r}: expected letters, digits and underscores, and no digit at '
            f"its beginning, for example '{NAMESPACE}'"
        )
    return namespace


def _check_buckets(buckets: Sequence[float]) -> list[float]:
    bounds = [float(each) for each in buckets if each != math.inf]
    if not bounds or not bounds[0] > 0 or not all(a < b for a, b in pairwise(bounds)):
        raise ConfigurationError(
            f'buckets={buckets!r}: expected upper bounds in seconds above 0, each greater than the '
            'one before, for example [0.001, 0.01, 0.1, 1]'
        )
    return bounds


class ManagerCollector(Collector):
    """What `manager.stats()` says, as metrics: `registry.register(ManagerCollector(manager))`.

    Args:
        manager: The connection manager.
        namespace: What the name of each metric begins with (default `'falcon_ws'`).

    Raises:
        ConfigurationError: If the namespace cannot be part of a name.
    """

    def __init__(self, manager: WebSocketConnectionManager, *, namespace: str = NAMESPACE) -> None:
        self._manager = manager
        self._prefix = _check_namespace(namespace) + '_'

    def describe(self) -> Iterable[Metric]:
        """The names, which registries ask for: two collectors may not have one in common."""
        return self.collect()

    def collect(self) -> Iterable[Metric]:
        """The metrics as they stand."""
        stats = self._manager.stats()
        return [
            *self._gauges(GAUGES, stats),
            *self._counters(COUNTERS, stats),
            *self._labelled_counters(stats),
            *self._workers(stats.workers),
            *self._backend(stats.backend),
        ]

    def _gauges(self, exported: Mapping[str, Exported], values: object) -> Iterable[Metric]:
        for field, (name, text) in exported.items():
            yield GaugeMetricFamily(self._prefix + name, text, getattr(values, field))

    def _counters(self, exported: Mapping[str, Exported], values: object) -> Iterable[Metric]:
        for field, (name, text) in exported.items():
            yield CounterMetricFamily(self._prefix + name, text, getattr(values, field))

    def _labelled_counters(self, stats: ManagerStats) -> Iterable[Metric]:
        for field, exported in LABELLED_COUNTERS.items():
            yield self._labelled(CounterMetricFamily, exported, getattr(stats, field))

    def _workers(self, workers: Sequence[WorkerStats]) -> Iterable[Metric]:
        states: Counter[str] = Counter(worker.state for worker in workers)
        yield self._labelled(GaugeMetricFamily, WORKERS, states)
        # Workers may have one name, series may not: one given twice fails the whole scrape.
        restarts: Counter[str] = Counter()
        for worker in workers:
            restarts[worker.name] += worker.restarts
        yield self._labelled(CounterMetricFamily, WORKER_RESTARTS, restarts)

    def _backend(self, health: BackendHealth | None) -> Iterable[Metric]:
        if health is None:  # zeros would say that there is a backend, and that it is not connected
            return
        yield self._labelled(GaugeMetricFamily, BACKEND_STATE, {health.state: 1})
        yield from self._gauges(BACKEND_GAUGES, health)
        yield from self._counters(BACKEND_COUNTERS, health)

    def _labelled(
        self,
        family: type[GaugeMetricFamily | CounterMetricFamily],
        exported: Labelled,
        counts: Mapping[str, int],
    ) -> Metric:
        name, label, known, text = exported
        metric = family(self._prefix + name, text, labels=[label])
        for value, count in {**dict.fromkeys(known, 0), **counts}.items():
            metric.add_metric([value], count)
        return metric


class _Series:
    """The handlers that had the same labels."""

    __slots__ = ('counts', 'seconds')

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.seconds = 0.0


class HandlerMeter(Collector):
    """How long handlers take, as a histogram: a `Meter` that a registry can collect.

    `MetricsResource` makes one. It is only told types of the app's tables; for the case that these
    are without end too, the number of label sets is bounded.

    Args:
        namespace: What the name of the metric begins with (default `'falcon_ws'`).
        buckets: The upper bounds in seconds (default: 14 of them, from 0.5 ms to 10 s).
        max_series: How many sets of labels are told apart (default 1000); each is one line for each
            bucket. What comes beyond it is counted under the type `'*other*'`, for each resource
            and outcome.

    Raises:
        ConfigurationError: If the namespace cannot be part of a name, or the buckets do not rise.
    """

    # PERF: counts of its own instead of `prometheus_client.Histogram`, which looks for the bucket
    # one by one and takes two locks: this takes a quarter of its time for each message. No lock
    # is needed, as only the event loop counts.

    def __init__(
        self,
        *,
        namespace: str = NAMESPACE,
        buckets: Sequence[float] = BUCKETS,
        max_series: int = 1000,
    ) -> None:
        self._name = f'{_check_namespace(namespace)}_{HANDLERS.name}'
        self._bounds = _check_buckets(buckets)
        self._max_series = max_series
        self._series: dict[tuple[str, str, Outcome], _Series] = {}

    def handled(self, resource: str, type: str, outcome: Outcome, seconds: float) -> None:
        """A handler has ended: see `Meter`."""
        series = self._series.get((resource, type, outcome))
        if series is None:
            series = self._new_series(resource, type, outcome)
        series.counts[bisect_left(self._bounds, seconds)] += 1
        series.seconds += seconds

    def _new_series(self, resource: str, type: str, outcome: Outcome) -> _Series:
        is_full = len(self._series) >= self._max_series
        labels = resource, OTHER_TYPES if is_full else type, outcome
        return self._series.setdefault(labels, _Series(len(self._bounds) + 1))

    def describe(self) -> Iterable[Metric]:
        """The name, which registries ask for."""
        return [self._metric()]

    def collect(self) -> Iterable[Metric]:
        """The histogram as it stands."""
        metric = self._metric()
        bounds = [*map(repr, self._bounds), '+Inf']
        for labels, series in list(self._series.items()):
            buckets = list(zip(bounds, accumulate(series.counts), strict=True))
            metric.add_metric(labels, buckets, series.seconds)
        return [metric]

    def _metric(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(
            self._name,
            HANDLERS.help,
            labels=['resource', 'type', 'outcome'],
            unit='seconds',
        )


class MetricsResource:
    """Serves the metrics of a manager: `app.add_route('/metrics', MetricsResource(manager))`.

    It is a resource as any other, and anybody may read it who reaches its route: who may is
    decided by the app, by a hook or its middleware. Numbers are those of the process that answers.
    Under a server's `--workers` each process has its own, and a scrape reaches any of them: let
    each process have a port of its own that Prometheus can scrape.

    Args:
        manager: The connection manager. Its `meter` is set, so make the resource before the app
            serves.
        namespace: What the name of each metric begins with (default `'falcon_ws'`).
        buckets: The upper bounds of the histogram in seconds (default: 14, from 0.5 ms to 10 s).
        max_series: How many sets of labels the histogram tells apart; see `HandlerMeter`.
        registry: Where the metrics are registered, and what is served (default: a new one, with
            nothing else in it). With `prometheus_client.REGISTRY` they stand beside what the app
            exports already, and are in each other place that it is served at.

    Attributes:
        registry: What is served.

    Raises:
        ConfigurationError: If the registry has metrics of these names, the manager has a meter, the
            namespace cannot be part of a name, or the buckets do not rise.
    """

    def __init__(
        self,
        manager: WebSocketConnectionManager,
        *,
        namespace: str = NAMESPACE,
        buckets: Sequence[float] = BUCKETS,
        max_series: int = 1000,
        registry: CollectorRegistry | None = None,
    ) -> None:
        if manager.meter is not None:
            raise ConfigurationError(
                f'the manager has a meter already, {type(manager.meter).__name__}: make one '
                'MetricsResource for a manager, which may have several routes; beside a meter of '
                'your own, register a ManagerCollector'
            )
        self.registry = CollectorRegistry() if registry is None else registry
        meter = HandlerMeter(namespace=namespace, buckets=buckets, max_series=max_series)
        _register(self.registry, ManagerCollector(manager, namespace=namespace), meter)
        manager.meter = meter

    async def on_get(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, **params: object
    ) -> None:
        """The metrics, as text or as OpenMetrics, by the `Accept` header."""
        encode = self._agree(req, resp)
        # What collects is not asked from elsewhere than the event loop. To write it down takes ten
        # times as long (with 100 label sets 20 ms), in which the loop goes on.
        collected = _Collected(self.registry.collect())
        resp.data = await asyncio.to_thread(encode, collected)

    async def on_head(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, **params: object
    ) -> None:
        """What `on_get` would send them as."""
        self._agree(req, resp)

    def _agree(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response
    ) -> Callable[[Collector], bytes]:
        """Choose the format, and name it."""
        try:
            encode, content_type = choose_encoder(req.get_header('Accept') or '')
        except TypeError:  # it compares versions, also with those that are no numbers
            encode, content_type = choose_encoder('')
        resp.content_type = content_type
        resp.cache_control = ['no-store']
        resp.append_header('Vary', 'Accept')
        return encode


class _Collected(Collector):
    """What a registry has collected: all that is asked of a registry to write it down."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _register(registry: CollectorRegistry, *collectors: Collector) -> None:
    """Register all of them or none."""
    for index, collector in enumerate(collectors):
        try:
            registry.register(collector)
        except ValueError as error:
            for each in collectors[:index]:
                registry.unregister(each)
            raise ConfigurationError(
                f'the registry has such metrics already ({error}): make one MetricsResource for '
                'each registry, name another namespace, or leave the registry out to get a new one'
            ) from error
