"""A sleep that is sure to fail again is not tried again before something changes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleeper.core.failures import ALIKE, Failures, failed, shape_of, sure_to_fail
from sleeper.core.objects import SpaceObjects
from sleeper.core.reasons import Reason
from tests.core.test_hazards import deployment, stateful_set, thing
from tests.core.values import NOW

TIMED_OUT = Reason.FALLING_ASLEEP_TIMED_OUT
DAY = timedelta(days=1)

pytestmark = pytest.mark.fault(9)


def space(
    *,
    annotations: dict[str, str] | None = None,
    web: dict[str, Any] | None = None,
    db: dict[str, Any] | None = None,
    replica_set: str = "web-1",
    **groups: Any,
) -> SpaceObjects:
    meta = {"name": "team-a-dev", "uid": "5e1f", "annotations": annotations or {}}
    shipped = {
        "deployments": [web or deployment(replicas=2)],
        "replica_sets": [
            thing(replica_set, owner="Deployment/web", spec={"replicas": 2}),
            thing("web-0", owner="Deployment/web", spec={"replicas": 0}),
        ],
        "stateful_sets": [db or stateful_set()],
    }
    return msgspec.convert({"namespace": {"metadata": meta}, **shipped, **groups}, SpaceObjects)


def after(
    times: int,
    *,
    past: Failures | None = None,
    reason: Reason = TIMED_OUT,
    objects: tuple[str, ...] = ("Deployment/web",),
    shape: str | None = None,
) -> Failures:
    past = past or Failures()
    for _ in range(times):
        past = failed(
            past,
            reason=reason,
            objects=objects,
            shape=shape_of(space()) if shape is None else shape,
            how="Pod/web-1-x was still there",
            now=NOW,
        )
    return past


def test_three_failures_alike_hold_and_name_what_they_failed_at() -> None:
    assert sure_to_fail(after(ALIKE - 1), space()) is None
    found = sure_to_fail(after(ALIKE), space())
    assert found is not None
    assert (found.reason, found.holds, found.until) == (Reason.REPEATED_FAILURE, True, None)
    assert found.subject == "Deployment/web"
    assert "3 sleeps failed alike (FallingAsleepTimedOut: Pod/web-1-x was still" in found.message


@pytest.mark.parametrize("reason", [Reason.WRITE_DENIED, Reason.OWNER_SCALED_UP])
def test_what_others_deny_or_undo_is_tried_once_more_after_a_day(reason: Reason) -> None:
    found = sure_to_fail(after(ALIKE, reason=reason), space())
    assert found is not None
    assert found.until == NOW + DAY
    assert "at the latest at" in found.message


@pytest.mark.parametrize(
    "other",
    [
        {"reason": Reason.WRITE_DENIED},
        {"objects": ("StatefulSet/db",)},
        {"objects": ("Deployment/web", "StatefulSet/db")},
        {"shape": "another"},
    ],
)
def test_failures_that_differ_are_not_alike(other: dict[str, Any]) -> None:
    past = after(1, past=after(ALIKE - 1), **other)
    assert past.count == 1
    assert sure_to_fail(past, space()) is None


@pytest.mark.parametrize(
    "other",
    [
        {"objects": ()},
        {"reason": Reason.WRITE_FAILED},
        {"reason": Reason.WORKLOAD_BUSY},
        {"reason": Reason.NOTHING_TO_SLEEP},
    ],
)
def test_failures_that_changed_nothing_or_pass_by_themselves_do_not_count(
    other: dict[str, Any],
) -> None:
    assert after(ALIKE, **other) == Failures()


@pytest.mark.parametrize(
    "changed",
    [
        {"annotations": {"sleeper.dev/desired": "asleep"}},
        {"web": deployment(replicas=3)},
        {"web": deployment(replicas=2, annotations={"sleeper.dev/exclude": "true"})},
        {"web": deployment(replicas=2, annotations={"sleeper.dev/wave": "1"})},
        {
            "web": deployment(
                replicas=2, spec={"template": {"spec": {"terminationGracePeriodSeconds": 5}}}
            )
        },
        {"replica_set": "web-2"},
        {"db": stateful_set(updateRevision="db-2")},
        {"stateful_sets": []},
    ],
)
def test_whatever_its_owner_changes_lets_it_be_tried_again(changed: dict[str, Any]) -> None:
    assert sure_to_fail(after(ALIKE), space(**changed)) is None


@given(st.integers(1, 99), st.sampled_from(["last-activity", "power-state", "epoch", "reason"]))
def test_what_our_own_sleeps_leave_behind_changes_nothing(generation: int, key: str) -> None:
    written = space(
        annotations={f"sleeper.dev/{key}": str(generation), "example.com/note": str(generation)},
        web=deployment(
            replicas=2,
            generation=generation,
            annotations={"sleeper.dev/restore": "{}"},
            status={"observedGeneration": generation, "readyReplicas": 0},
        ),
        db=stateful_set(generation=generation, readyReplicas=1),
        pods=[thing(f"web-1-{generation}", owner="ReplicaSet/web-1")],
    )
    assert shape_of(written) == shape_of(space())
