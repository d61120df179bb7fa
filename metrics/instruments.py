"""Every Prometheus metric that we expose, declared once.

:data:`METRICS` is the declaration (name, labels, help, buckets); ``docs/reference/metrics.md`` is
generated from it. The rest of the program speaks through :class:`metrics.recorder.Recorder`.
Labels have few values by construction: no Space, no user, no address.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.aiohttp import make_aiohttp_handler

from metrics.core.clock import EPOCH, Clock
from metrics.recorder import NullRecorder, Recorder

__all__ = [
    "METRICS",
    "Metric",
    "MetricType",
    "NullRecorder",
    "PrometheusRecorder",
    "Recorder",
    "metrics_reference",
]


class MetricType(StrEnum):
    """Prometheus' metric types that we use."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """Declaration of one metric.

    Attributes:
        name: full name as scraped, base units, ``_total`` on counters.
        type: counter, gauge or histogram.
        help: one sentence.
        labels: label names.
        buckets: upper bounds, for histograms alone.
    """

    name: str
    type: MetricType
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(name=name, type=MetricType.COUNTER, help=text, labels=labels)


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(name=name, type=MetricType.GAUGE, help=text, labels=labels)


def _histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...]) -> Metric:
    return Metric(name=name, type=MetricType.HISTOGRAM, help=text, labels=labels, buckets=buckets)


_REQUEST_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_TRANSITION_BUCKETS: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_DECIDE_BUCKETS: Final = (5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 1e-2)

SPACES: Final = _gauge("sleeper_spaces", "Spaces by power state.", "state")
RESTORED_ASLEEP: Final = _gauge(
    "sleeper_restored_asleep_workloads",
    "Workloads of Spaces that were restored or copied while they slept and stay at zero.",
)
VERDICTS: Final = _counter(
    "sleeper_verdicts_total", "Verdicts by kind and reason.", "kind", "reason"
)
DECIDE_SECONDS: Final = _histogram(
    "sleeper_decide_seconds", "Time to compute one verdict.", buckets=_DECIDE_BUCKETS
)
WATERMARK: Final = _gauge(
    "sleeper_signal_watermark_timestamp_seconds",
    "Instant up to which a signal's source has surely seen everything.",
    "signal",
    "source",
)
WATERMARK_AGE: Final = _gauge(
    "sleeper_signal_watermark_age_seconds",
    "How far that instant lies back at the time of the scrape.",
    "signal",
    "source",
)
UNKNOWN: Final = _gauge(
    "sleeper_signal_unknown",
    "1 while a source cannot be trusted, by reason; no Space that requires it sleeps.",
    "signal",
    "source",
    "reason",
)
GAPS: Final = _counter(
    "sleeper_signal_gaps_total",
    "Stretches in which activity may have been lost for ever; each counts as activity at its end.",
    "signal",
    "source",
    "reason",
)
AUDIT_BATCHES: Final = _counter(
    "sleeper_audit_batches_total",
    "Requests to the audit sink by API server and fate.",
    "apiserver",
    "fate",
)
AUDIT_BATCH_EVENTS: Final = _counter(
    "sleeper_audit_batch_events_total",
    "Audit events received, by API server and fate of their batch.",
    "apiserver",
    "fate",
)
AUDIT_SECONDS: Final = _histogram(
    "sleeper_audit_batch_seconds",
    "Time from the first byte of a batch to our answer.",
    "apiserver",
    buckets=_REQUEST_BUCKETS,
)
AUDIT_EVENTS: Final = _counter(
    "sleeper_audit_events_total",
    "Audit events by class of actor and fate.",
    "actor_class",
    "fate",
)
AUDIT_STAMPS_DISBELIEVED: Final = _counter(
    "sleeper_audit_stamps_disbelieved_total",
    "Audit events whose time stamp makes no sense; each counts at its arrival.",
)
TRANSITION_SECONDS: Final = _histogram(
    "sleeper_transition_seconds",
    "Duration of sleeps and wakes, from the first write to the verified end, by outcome.",
    "kind",
    "outcome",
    buckets=_TRANSITION_BUCKETS,
)
WRITES: Final = _counter(
    "sleeper_writes_total",
    "Writes to the API server for sleeps and wakes, by kind of object, verb and outcome.",
    "kind",
    "verb",
    "outcome",
)
POLICY_PROBLEMS: Final = _counter(
    "sleeper_policy_problems_total",
    "Annotations that cannot be read or have no effect, by key; `unknown` for keys not ours.",
    "key",
)
LEADING: Final = _gauge("sleeper_lease_leading", "1 while this replica holds the Lease.")
REFLECTOR: Final = _counter(
    "sleeper_reflector_events_total",
    "Lists, watches, re-lists and errors of the inventory, by resource.",
    "resource",
    "event",
)
CLOCK_STEPS: Final = _counter(
    "sleeper_clock_steps_total", "Steps of the wall clock against the monotonic one."
)
CLOCK_STEP_SECONDS: Final = _gauge(
    "sleeper_clock_last_step_seconds", "Size of the last such step; negative: backwards."
)
EVENTS_DROPPED: Final = _counter(
    "sleeper_kubernetes_events_dropped_total",
    "Kubernetes Events left out because of the rate limit or an error.",
)
STRANGERS_TURNED_OUT: Final = _counter(
    "sleeper_strangers_turned_out_total",
    "Connections of unknown peers that were ended to make room for another one, by listener.",
    "listener",
)
TRAFFIC_SECONDS: Final = _histogram(
    "sleeper_traffic_query_seconds",
    "Time of queries to Prometheus, by outcome.",
    "outcome",
    buckets=_REQUEST_BUCKETS,
)
METER_GAPS: Final = _counter("sleeper_meter_gaps_total", "Stretches that the meter did not see.")
METER_GAP_SECONDS: Final = _counter(
    "sleeper_meter_gap_seconds_total", "Seconds that the meter did not see."
)

METRICS: Final[tuple[Metric, ...]] = (
    SPACES,
    RESTORED_ASLEEP,
    VERDICTS,
    DECIDE_SECONDS,
    WATERMARK,
    WATERMARK_AGE,
    UNKNOWN,
    GAPS,
    AUDIT_BATCHES,
    AUDIT_BATCH_EVENTS,
    AUDIT_SECONDS,
    AUDIT_EVENTS,
    AUDIT_STAMPS_DISBELIEVED,
    TRANSITION_SECONDS,
    WRITES,
    POLICY_PROBLEMS,
    LEADING,
    REFLECTOR,
    CLOCK_STEPS,
    CLOCK_STEP_SECONDS,
    EVENTS_DROPPED,
    STRANGERS_TURNED_OUT,
    TRAFFIC_SECONDS,
    METER_GAPS,
    METER_GAP_SECONDS,
)


class PrometheusRecorder:
    """A :class:`Recorder` that keeps Prometheus metrics in a registry of its own."""

    def __init__(self, clock: Clock) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._clock = clock
        self._spaces = self._gauge(SPACES)
        self._restored_asleep = self._gauge(RESTORED_ASLEEP)
        self._verdicts = self._counter(VERDICTS)
        self._decide_seconds = self._histogram(DECIDE_SECONDS)
        self._watermark = self._gauge(WATERMARK)
        self._watermark_age = self._gauge(WATERMARK_AGE)
        self._unknown = self._gauge(UNKNOWN)
        self._gaps = self._counter(GAPS)
        self._audit_batches = self._counter(AUDIT_BATCHES)
        self._audit_batch_events = self._counter(AUDIT_BATCH_EVENTS)
        self._audit_seconds = self._histogram(AUDIT_SECONDS)
        self._audit_events = self._counter(AUDIT_EVENTS)
        self._audit_stamps_disbelieved = self._counter(AUDIT_STAMPS_DISBELIEVED)
        self._transition_seconds = self._histogram(TRANSITION_SECONDS)
        self._writes = self._counter(WRITES)
        self._policy_problems = self._counter(POLICY_PROBLEMS)
        self._leading = self._gauge(LEADING)
        self._reflector = self._counter(REFLECTOR)
        self._clock_steps = self._counter(CLOCK_STEPS)
        self._clock_step_seconds = self._gauge(CLOCK_STEP_SECONDS)
        self._events_dropped = self._counter(EVENTS_DROPPED)
        self._strangers_turned_out = self._counter(STRANGERS_TURNED_OUT)
        self._traffic_seconds = self._histogram(TRAFFIC_SECONDS)
        self._meter_gaps = self._counter(METER_GAPS)
        self._meter_gap_seconds = self._counter(METER_GAP_SECONDS)
        self._states: frozenset[str] = frozenset()
        self._why_unknown: dict[tuple[str, str], str] = {}
        self._watermark_at: dict[tuple[str, str], datetime] = {}

    def aiohttp_handler(self) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The handler of ``GET /metrics``, in whichever format the scraper asks for."""
        return make_aiohttp_handler(self.registry)

    def spaces(self, by_state: Mapping[str, int]) -> None:
        """See :class:`Recorder`; a state once seen stays visible as 0."""
        for state in self._states - by_state.keys():
            self._spaces.labels(state).set(0)
        for state, count in by_state.items():
            self._spaces.labels(state).set(count)
        self._states |= by_state.keys()

    def restored_asleep(self, workloads: int) -> None:
        """See :class:`Recorder`."""
        self._restored_asleep.set(workloads)

    def verdict(self, reason: str, kind: str) -> None:
        """See :class:`Recorder`."""
        self._verdicts.labels(kind, reason).inc()

    def signal_watermark(self, signal: str, source: str, at: datetime) -> None:
        """See :class:`Recorder`; the age is reckoned anew at every scrape."""
        key = (signal, source)
        if key not in self._watermark_at:
            self._watermark_age.labels(signal, source).set_function(lambda: self._age(key))
        self._watermark_at[key] = at
        self._watermark.labels(signal, source).set((at - EPOCH).total_seconds())

    def _age(self, key: tuple[str, str]) -> float:
        return (self._clock.now() - self._watermark_at[key]).total_seconds()

    def signal_unknown(self, signal: str, source: str, reason: str | None) -> None:
        """See :class:`Recorder`; at most one reason per source is 1."""
        before = self._why_unknown.pop((signal, source), None)
        if before is not None and before != reason:
            self._unknown.remove(signal, source, before)
        if reason is not None:
            self._why_unknown[signal, source] = reason
            self._unknown.labels(signal, source, reason).set(1)

    def signal_gap(self, signal: str, source: str, reason: str) -> None:
        """See :class:`Recorder`."""
        self._gaps.labels(signal, source, reason).inc()

    def audit_batch(self, apiserver: str, fate: str, events: int, seconds: float) -> None:
        """See :class:`Recorder`."""
        self._audit_batches.labels(apiserver, fate).inc()
        self._audit_batch_events.labels(apiserver, fate).inc(events)
        self._audit_seconds.labels(apiserver).observe(seconds)

    def audit_event(self, actor_class: str, fate: str, count: int = 1) -> None:
        """See :class:`Recorder`."""
        self._audit_events.labels(actor_class, fate).inc(count)

    def audit_stamps_disbelieved(self, count: int) -> None:
        """See :class:`Recorder`."""
        self._audit_stamps_disbelieved.inc(count)

    def transition(self, kind: str, outcome: str, seconds: float) -> None:
        """See :class:`Recorder`."""
        self._transition_seconds.labels(kind, outcome).observe(seconds)

    def write(self, kind: str, verb: str, outcome: str) -> None:
        """See :class:`Recorder`."""
        self._writes.labels(kind, verb, outcome).inc()

    def policy_problem(self, key: str) -> None:
        """See :class:`Recorder`."""
        self._policy_problems.labels(key).inc()

    def lease(self, *, leading: bool) -> None:
        """See :class:`Recorder`."""
        self._leading.set(int(leading))

    def reflector(self, resource: str, event: str) -> None:
        """See :class:`Recorder`."""
        self._reflector.labels(resource, event).inc()

    def clock_step(self, seconds: float) -> None:
        """See :class:`Recorder`."""
        self._clock_steps.inc()
        self._clock_step_seconds.set(seconds)

    def event_dropped(self) -> None:
        """See :class:`Recorder`."""
        self._events_dropped.inc()

    def stranger_turned_out(self, door: str) -> None:
        """See :class:`Recorder`."""
        self._strangers_turned_out.labels(door).inc()

    def traffic_query(self, outcome: str, seconds: float) -> None:
        """See :class:`Recorder`."""
        self._traffic_seconds.labels(outcome).observe(seconds)

    def meter_gap(self, seconds: float) -> None:
        """See :class:`Recorder`."""
        self._meter_gaps.inc()
        self._meter_gap_seconds.inc(seconds)

    def decide_seconds(self, seconds: float) -> None:
        """See :class:`Recorder`."""
        self._decide_seconds.observe(seconds)

    def _counter(self, metric: Metric) -> Counter:
        return Counter(metric.name, metric.help, metric.labels, registry=self.registry)

    def _gauge(self, metric: Metric) -> Gauge:
        return Gauge(metric.name, metric.help, metric.labels, registry=self.registry)

    def _histogram(self, metric: Metric) -> Histogram:
        return Histogram(
            metric.name,
            metric.help,
            metric.labels,
            buckets=metric.buckets,
            registry=self.registry,
        )


def metrics_reference() -> str:
    """The page ``docs/reference/metrics.md``, in Markdown."""
    lines = [
        "# Metrics",
        "",
        "Generated from `metrics/instruments.py`; do not edit.",
        "",
        "`GET /metrics` serves them, with the usual `process_*` metrics beside them.",
        "No label carries a Space, a user or an address: their number stays small.",
        "",
        "| metric | type | labels | meaning |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{metric.name}` | {metric.type} "
        f"| {', '.join(f'`{label}`' for label in metric.labels) or '–'} | {metric.help} |"
        for metric in METRICS
    ]
    lines += ["", "Buckets, as upper bounds in seconds:", ""]
    lines += [
        f"- `{metric.name}`: {', '.join(f'{bound:g}' for bound in metric.buckets)}"
        for metric in METRICS
        if metric.buckets
    ]
    return "\n".join(lines) + "\n"
