"""When the owner's hand wakes a sleeping Space, and which notes are late."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from sleeper.core.names import RESTORE
from sleeper.core.notes import RestoreNote, encode_note
from sleeper.core.objects import Deployment, Namespace, SpaceObjects, StatefulSet
from sleeper.core.plan import sleep_step
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.record import Entry, FreedRequests, ObjectRef, SleepRecord
from sleeper.core.restore import (
    adopt_step,
    copied_notes,
    forged_notes,
    late_notes,
    owner_wake,
    wake_step,
)
from sleeper.core.steps import Amend, Patch, Settled, Step
from tests.support.modelapi import apply_patch

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def deployment(name: str, replicas: int, *, note_epoch: int | None = None, **meta: Any) -> Any:
    annotations = dict(meta.pop("annotations", {}))
    if note_epoch is not None:
        annotations[RESTORE] = encode_note(
            RestoreNote(space_uid="space", epoch=note_epoch, uid=name, fields={"/spec/replicas": 2})
        )
    metadata = {"name": name, "uid": name, "generation": 3, "annotations": annotations, **meta}
    return msgspec.convert({"metadata": metadata, "spec": {"replicas": replicas}}, Deployment)


def space(*deployments: Deployment, stateful_sets: tuple[StatefulSet, ...] = ()) -> SpaceObjects:
    namespace = msgspec.convert({"metadata": {"name": "team-a", "uid": "space"}}, Namespace)
    return SpaceObjects(namespace=namespace, deployments=deployments, stateful_sets=stateful_sets)


def record(*names: str, phase: PowerState = PowerState.ASLEEP, epoch: int = 4) -> SleepRecord:
    return SleepRecord(
        space_uid="space",
        space_name="team-a",
        tenant="tenant-a",
        epoch=epoch,
        phase=phase,
        reason=Reason.IDLE,
        horizon=NOW,
        decided_at=NOW,
        entries=tuple(
            Entry(
                ref=ObjectRef(kind="Deployment", name=name, uid=name),
                fields={"/spec/replicas": 2},
            )
            for name in names
        ),
        freed=FreedRequests(cpu_millis=0, memory_bytes=0, pods=0),
    )


def test_a_space_that_sleeps_undisturbed_is_left_asleep() -> None:
    asleep = space(deployment("web", 0, note_epoch=4), deployment("off", 0))
    assert owner_wake(asleep, record("web")) is None


def test_a_sleeping_workload_that_was_scaled_up_wakes_and_names_the_writer() -> None:
    writers = [
        {"manager": "helm", "operation": "Apply", "time": "2026-11-20T00:00:00Z"},
        {"manager": "argocd", "operation": "Update", "time": "2026-11-21T00:00:00Z"},
        {
            "manager": "kube-controller-manager",
            "operation": "Update",
            "subresource": "status",
            "time": "2026-11-22T00:00:00Z",
        },
    ]
    scaled = deployment("web", 3, note_epoch=4, managedFields=writers)
    found = owner_wake(space(scaled), record("web"))
    assert found is not None
    assert found[0] is Reason.OWNER_SCALED_UP
    assert found[1] == "Deployment/web was scaled to 3 (last written by argocd)"


def test_a_sleeping_workload_whose_manifest_replaced_our_note_wakes_too() -> None:
    found = owner_wake(space(deployment("web", 3)), record("web"))
    assert found is not None
    assert found[0] is Reason.OWNER_SCALED_UP


def test_a_new_workload_wakes() -> None:
    new = space(deployment("web", 0, note_epoch=4), deployment("new", 1))
    found = owner_wake(new, record("web"))
    assert found is not None
    assert found[0] is Reason.NEW_WORKLOAD
    assert "Deployment/new" in found[1]


@pytest.mark.parametrize(
    "annotations", [{"sleeper.dev/exclude": "true"}, {"sleeper.dev/exclude": "perhaps"}]
)
def test_an_excluded_workload_is_none_of_our_business(annotations: dict[str, str]) -> None:
    excluded = deployment("tool", 1, annotations=annotations)
    assert owner_wake(space(excluded), record()) is None


@pytest.mark.fault(6)
@pytest.mark.parametrize("phase", [PowerState.ASLEEP, PowerState.FALLING_ASLEEP])
def test_a_recorded_workload_that_is_excluded_wakes(phase: PowerState) -> None:
    excluded = deployment("web", 0, note_epoch=4, annotations={"sleeper.dev/exclude": "true"})
    found = owner_wake(space(excluded), record("web", phase=phase))
    assert found == (Reason.EXCLUDED, "Deployment/web was excluded")


def test_while_falling_asleep_a_workload_whose_turn_has_not_come_wakes_nothing() -> None:
    falling = record("web", phase=PowerState.FALLING_ASLEEP)
    assert owner_wake(space(deployment("web", 2)), falling) is None
    found = owner_wake(space(deployment("web", 2, note_epoch=4)), falling)
    assert found is not None
    assert found[0] is Reason.OWNER_SCALED_UP


def test_a_workload_that_its_owner_stopped_while_we_looked_wakes_when_it_runs_again() -> None:
    emptied = record("web")
    emptied = replace(emptied, entries=(replace(emptied.entries[0], fields={}),))
    assert owner_wake(space(deployment("web", 0)), emptied) is None
    found = owner_wake(space(deployment("web", 1)), emptied)
    assert found is not None
    assert found[0] is Reason.NEW_WORKLOAD


@pytest.mark.parametrize(
    ("note_epoch", "present", "late"),
    [
        (4, record("web"), False),
        (4, record("web", phase=PowerState.WAKING), False),
        (3, record("other"), True),
        (3, record("web"), False),  # its wake brings it back by the record
        (5, record("web"), False),
        (4, None, True),
    ],
)
def test_a_note_is_late_when_no_record_explains_it(
    note_epoch: int, present: SleepRecord | None, late: bool
) -> None:
    objects = space(deployment("web", 0, note_epoch=note_epoch))
    assert bool(late_notes(objects, present)) is late


def test_a_forged_note_is_never_late_but_shown() -> None:
    forged = space(deployment("web", 0, annotations={RESTORE: "{}"}))
    assert late_notes(forged, None) == ()
    assert [ref.name for ref, _ in forged_notes(forged)] == ["web"]


@pytest.mark.fault(3)
def test_what_is_marked_as_brought_back_is_its_owners_though_nothing_else_tells_it() -> None:
    ref = ObjectRef(kind="Deployment", name="web", uid="web")
    entry = Entry(ref=ref, fields={"/spec/replicas": 2}, slept_from=3)
    live = {"metadata": {"name": "web", "uid": "web", "generation": 6}, "spec": {"replicas": 0}}

    def step(entry: Entry) -> Step:
        return wake_step(live, ref=ref, entry=entry, space_uid="space", epoch=4)

    assert isinstance(step(entry), Patch), "nobody holds it: it is ours, and its note was stripped"
    assert step(replace(entry, back_at=5)) == Settled()


COPY = ObjectRef(kind="StatefulSet", name="db", uid="copy")
MADE = "2026-11-21T02:00:00Z"
WHEN_SCALED = "/spec/persistentVolumeClaimRetentionPolicy/whenScaled"


def copied(replicas: int = 0, *, wrote: str | None = None, at: str = MADE) -> dict[str, Any]:
    """A StatefulSet that was made from the look of a sleeping one."""
    note = RestoreNote(
        space_uid="space", epoch=4, uid="db", fields={"/spec/replicas": 2, WHEN_SCALED: "Delete"}
    )
    writers: list[tuple[str, str, dict[str, Any]]] = [("velero", MADE, {"f:replicas": {}})]
    if wrote is not None:
        writers.append((wrote, at, {"f:template": {}}))
    return {
        "metadata": {
            "name": "db",
            "uid": "copy",
            "generation": 1,
            "creationTimestamp": MADE,
            "annotations": {RESTORE: encode_note(note)},
            "managedFields": [
                {
                    "manager": manager,
                    "operation": "Update",
                    "apiVersion": "apps/v1",
                    "time": time,
                    "fieldsType": "FieldsV1",
                    "fieldsV1": {"f:spec": fields},
                }
                for manager, time, fields in writers
            ],
        },
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 10,
            "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Retain"},
        },
    }


def brought_back(live: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The copy when nothing is left to do, and what was said of it."""
    said: list[str] = []
    for _ in range(5):
        step = adopt_step(live, ref=COPY, space_uid="elsewhere", epoch=7)
        if not isinstance(step, Patch):
            return live, said
        said += step.kept
        live = apply_patch(live, step.ops)
    raise AssertionError("it does not settle")


def test_a_copy_that_nobody_wrote_comes_back_as_the_original_was() -> None:
    live, said = brought_back(copied())
    assert live["spec"]["replicas"] == 2
    assert live["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"] == "Delete"
    assert RESTORE not in live["metadata"]["annotations"]
    assert said == []


@pytest.mark.parametrize(("wrote", "at"), [("kubectl", MADE), ("kubectl", "2026-11-21T02:00:01Z")])
def test_a_copy_that_somebody_wrote_keeps_its_claims_and_that_is_told(wrote: str, at: str) -> None:
    live, said = brought_back(copied(wrote=wrote, at=at))
    assert live["spec"]["replicas"] == 2
    assert live["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"] == "Retain"
    assert RESTORE not in live["metadata"]["annotations"]
    (sentence,) = said
    assert sentence.startswith("StatefulSet/db keeps whenScaled Retain (it was Delete): ")
    assert sentence.endswith(" wrote it meanwhile")


def test_a_copy_that_runs_loses_our_trace_and_nothing_else() -> None:
    before = copied(3)
    live, said = brought_back(before)
    assert live["spec"] == before["spec"]
    assert RESTORE not in live["metadata"]["annotations"]
    assert said == [
        "StatefulSet/db keeps whenScaled Retain (it was Delete): its replicas are its owner's"
    ]


def test_a_copy_that_runs_waits_for_nobody_but_carries_a_trace_of_ours() -> None:
    running = msgspec.convert(copied(3), StatefulSet)
    assert copied_notes(space(stateful_sets=(running,))) == ()
    assert [ref for ref, _ in copied_notes(space(stateful_sets=(running,)), running=True)] == [COPY]


@pytest.mark.fault(3)
@pytest.mark.parametrize(
    ("kind", "generation", "when_scaled", "ours"),
    [
        ("Deployment", 4, None, False),  # stripping the note would have moved it once more
        ("Deployment", 5, None, True),
        ("StatefulSet", 4, "Delete", False),  # asleep it would be Retain
        ("StatefulSet", 4, "Retain", True),
    ],
)
def test_a_zero_by_kubectl_scale_leaves_nobody_behind_and_is_still_the_owners(
    kind: str, generation: int, when_scaled: str | None, *, ours: bool
) -> None:
    ref = ObjectRef(kind=kind, name="web", uid="web")
    fields: dict[str, Any] = {"/spec/replicas": 2}
    spec: dict[str, Any] = {"replicas": 0, "revisionHistoryLimit": 10}
    if when_scaled is not None:
        fields[WHEN_SCALED] = "Delete"
        spec["persistentVolumeClaimRetentionPolicy"] = {"whenScaled": when_scaled}
    entry = Entry(ref=ref, fields=fields, slept_from=3)
    meta = {"name": "web", "uid": "web", "generation": generation, "managedFields": []}
    live = {"metadata": meta, "spec": spec}

    woken = wake_step(live, ref=ref, entry=entry, space_uid="space", epoch=4)
    slept = sleep_step(live, entry=entry, space_uid="space", epoch=4, untouched=False)

    assert isinstance(woken, Patch if ours else Settled)
    assert isinstance(slept, Amend)
    assert bool(slept.entry.fields) is ours
