"""Every metric is declared, documented, well named, and moves when it should."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from metrics.instruments import METRICS, MetricType, PrometheusRecorder, metrics_reference
from metrics.recorder import NullRecorder, Recorder

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)


class FixedClock:
    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


@pytest.fixture
def recorder() -> PrometheusRecorder:
    return PrometheusRecorder(FixedClock())


def use_everything(recorder: Recorder) -> None:
    recorder.spaces({"Awake": 3})
    recorder.verdict("Idle", "FallAsleep")
    recorder.signal_watermark("api", "one", NOW)
    recorder.signal_unknown("api", "one", "CanaryMissing")
    recorder.signal_gap("api", "one", "EventsLost")
    recorder.audit_batch("one", "accepted", 400, 0.01)
    recorder.audit_event("human", "activity", 3)
    recorder.transition("sleep", "ok", 3.5)
    recorder.write("Deployment", "patch", "ok")
    recorder.policy_problem("sleeper.dev/sleep-after")
    recorder.lease(leading=True)
    recorder.reflector("pods", "list")
    recorder.clock_step(-3.0)
    recorder.event_dropped()
    recorder.stranger_turned_out("api")
    recorder.traffic_query("ok", 0.1)
    recorder.meter_gap(12)
    recorder.decide_seconds(1e-5)


def test_every_declared_metric_is_recorded_by_some_call(recorder: PrometheusRecorder) -> None:
    use_everything(recorder)
    exposed = {
        sample.name: sample.labels
        for family in recorder.registry.collect()
        for sample in family.samples
    }
    for metric in METRICS:
        name = f"{metric.name}_count" if metric.type is MetricType.HISTOGRAM else metric.name
        assert set(exposed[name]) == set(metric.labels), metric.name


def test_nothing_is_exposed_that_is_not_declared(recorder: PrometheusRecorder) -> None:
    use_everything(recorder)
    declared = {metric.name.removesuffix("_total") for metric in METRICS}
    families = {family.name for family in recorder.registry.collect()}
    assert {name for name in families if not name.startswith("process_")} == declared


def test_the_null_recorder_takes_every_call() -> None:
    use_everything(NullRecorder())
    calls = {name for name, _ in inspect.getmembers(Recorder, inspect.isfunction) if name[0] != "_"}
    assert calls <= set(dir(NullRecorder))


def test_names_follow_prometheus_conventions() -> None:
    for metric in METRICS:
        assert metric.name.startswith("sleeper_")
        assert metric.name.endswith("_total") == (metric.type is MetricType.COUNTER)
        assert metric.name.endswith("_seconds") >= (metric.type is MetricType.HISTOGRAM)
        assert metric.help.endswith(".")
        assert bool(metric.buckets) == (metric.type is MetricType.HISTOGRAM)
        assert list(metric.buckets) == sorted(metric.buckets)


def test_no_label_can_grow_with_the_cluster() -> None:
    labels = {label for metric in METRICS for label in metric.labels}
    assert labels.isdisjoint({"namespace", "space", "tenant", "pod", "user", "uid", "name"})


def test_the_age_of_a_watermark_grows_by_itself(recorder: PrometheusRecorder) -> None:
    recorder.signal_watermark("api", "one", NOW - timedelta(seconds=40))
    labels = {"signal": "api", "source": "one"}
    value = recorder.registry.get_sample_value
    assert value("sleeper_signal_watermark_age_seconds", labels) == 40
    assert value("sleeper_signal_watermark_timestamp_seconds", labels) == NOW.timestamp() - 40
    recorder.signal_watermark("api", "one", NOW)
    assert value("sleeper_signal_watermark_age_seconds", labels) == 0


def test_a_source_is_unknown_for_one_reason_at_a_time(recorder: PrometheusRecorder) -> None:
    def reasons() -> set[str]:
        return {
            sample.labels["reason"]
            for family in recorder.registry.collect()
            if family.name == "sleeper_signal_unknown"
            for sample in family.samples
        }

    recorder.signal_unknown("api", "one", "CanaryMissing")
    recorder.signal_unknown("api", "one", "ClockOffset")
    assert reasons() == {"ClockOffset"}
    recorder.signal_unknown("api", "one", "ClockOffset")
    assert reasons() == {"ClockOffset"}
    recorder.signal_unknown("api", "one", None)
    assert reasons() == set()


def test_a_state_without_spaces_falls_to_zero(recorder: PrometheusRecorder) -> None:
    recorder.spaces({"Awake": 2, "Asleep": 1})
    recorder.spaces({"Awake": 3})
    assert recorder.registry.get_sample_value("sleeper_spaces", {"state": "Asleep"}) == 0
    assert recorder.registry.get_sample_value("sleeper_spaces", {"state": "Awake"}) == 3


async def test_a_scraper_gets_them_over_http(recorder: PrometheusRecorder) -> None:
    recorder.lease(leading=True)
    app = web.Application()
    app.router.add_get("/metrics", recorder.aiohttp_handler())
    async with TestClient(TestServer(app)) as client:
        answer = await client.get("/metrics")
        assert answer.status == 200
        assert "sleeper_lease_leading 1.0" in await answer.text()


def test_the_reference_page_is_the_declaration() -> None:
    assert PAGE.read_text(encoding="utf-8") == metrics_reference()
