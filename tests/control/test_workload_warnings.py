"""A misspelt annotation on a workload goes the whole way: read, told in an Event, explained."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from metrics.instruments import PrometheusRecorder
from sleeper.control.assess import Assessor
from sleeper.control.book import SpaceBook
from sleeper.control.herald import Herald
from sleeper.control.signals import SignalBoard
from sleeper.core.explain import explain
from sleeper.core.objects import SpaceObjects
from sleeper.core.policy import PolicyDefaults
from sleeper.core.reasons import Reason
from sleeper.telemetry.clock import SystemClock
from tests.control.test_herald import Events, Patches
from tests.control.test_loop import Cluster
from tests.core.values import NOW


async def test_what_is_misspelt_on_a_workload_is_told_once_and_holds_nothing() -> None:
    events, recorder = Events(), PrometheusRecorder(SystemClock())
    herald = Herald(client=Patches(), events=events, recorder=recorder)
    labels = {"sleeper.dev/tenant": "acme"}
    written = {"sleeper.dev/excluded": "true", "sleeper.dev/wave": "first"}
    objects = msgspec.convert(
        {
            "namespace": {"metadata": {"name": "shop", "uid": "u", "labels": labels}},
            "deployments": [{"metadata": {"name": "web", "uid": "w", "annotations": written}}],
        },
        SpaceObjects,
    )
    assessor = Assessor(
        inventory=Cluster(objects={"shop": objects}),
        records=Cluster(),
        board=SignalBoard({}, None),
        book=SpaceBook({}),
        routes=None,
        defaults=PolicyDefaults(),
        protected_because=lambda _name: None,
        sleep_deadline=timedelta(minutes=10),
    )
    for _ in range(2):
        assessment = assessor.assess("shop", NOW)
        assert assessment is not None
        await herald.publish(assessment)
    (note,) = events.notes
    assert "sleeper.dev/excluded: 'true' on Deployment/web has no effect" in note
    assert "sleeper.dev/wave: 'first' on Deployment/web cannot be read" in note
    assert assessment is not None
    told = explain(assessment.snapshot, assessment.reading, assessment.verdict, NOW)
    assert "; ".join(sorted(told.warnings)) == note
    assert told.problems == ()
    assert told.reason is not Reason.POLICY_INVALID
