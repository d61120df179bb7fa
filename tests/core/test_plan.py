"""What is put to sleep, in which order, under which epoch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from sleeper.core.names import EPOCH
from sleeper.core.objects import Namespace, SpaceObjects, StatefulSet
from sleeper.core.plan import entry_for, next_epoch, sleepable, waves
from sleeper.core.record import Entry, ObjectRef
from sleeper.core.workloads import KINDS
from tests.core.test_restore import NOW, deployment, record, space


def namespace(**annotations: str) -> Namespace:
    meta = {"name": "team-a", "uid": "space", "annotations": annotations}
    return msgspec.convert({"metadata": meta}, Namespace)


def names(objects: SpaceObjects) -> list[str]:
    return [item.ref.name for item in sleepable(objects)]


def test_what_the_owner_has_at_zero_is_not_put_to_sleep() -> None:
    assert names(space(deployment("on", 1), deployment("off", 0))) == ["on"]


def test_what_is_excluded_or_being_deleted_is_not_put_to_sleep() -> None:
    objects = space(
        deployment("kept", 1, annotations={"sleeper.dev/exclude": "true"}),
        deployment("unreadable", 1, annotations={"sleeper.dev/exclude": "ture"}),
        deployment("going", 1, deletionTimestamp="2026-11-21T00:00:00Z"),
        deployment("included", 1, annotations={"sleeper.dev/exclude": "false"}),
    )
    assert names(objects) == ["included"]


def test_a_workload_that_does_not_say_its_replicas_runs_one() -> None:
    live: dict[str, Any] = {"metadata": {"name": "web", "uid": "web"}, "spec": {}}
    entry = entry_for(live, kind=KINDS["Deployment"], wave=0)
    assert entry is not None
    assert entry.fields == {"/spec/replicas": None}


@pytest.mark.parametrize(
    ("policy", "recorded"), [("Delete", {"whenScaled": "Delete"}), ("Retain", {})]
)
def test_claims_that_a_scale_down_would_delete_are_part_of_the_entry(
    policy: str, recorded: dict[str, str]
) -> None:
    spec = {"replicas": 2, "persistentVolumeClaimRetentionPolicy": {"whenScaled": policy}}
    live = {"metadata": {"name": "db", "uid": "db"}, "spec": spec}
    entry = entry_for(live, kind=KINDS["StatefulSet"], wave=0)
    assert entry is not None
    assert dict(entry.fields) == {
        "/spec/replicas": 2,
        **{
            f"/spec/persistentVolumeClaimRetentionPolicy/{key}": value
            for key, value in recorded.items()
        },
    }


def test_waves_are_in_start_order_and_an_unreadable_one_counts_as_zero() -> None:
    entries = [
        Entry(ref=ObjectRef(kind="Deployment", name=name, uid=name), fields={}, wave=wave)
        for name, wave in (("c", 2), ("a", -1), ("b2", 0), ("b1", 0))
    ]
    assert [[e.ref.name for e in wave] for wave in waves(entries)] == [["a"], ["b1", "b2"], ["c"]]
    odd = space(deployment("odd", 1, annotations={"sleeper.dev/wave": "first"}))
    assert sleepable(odd)[0].wave == 0


PRESENT = 1_795_262_400_000
"""Milliseconds of NOW."""
A_DAY = 24 * 60 * 60 * 1000


@pytest.mark.parametrize(
    ("annotated", "epoch"),
    [
        (None, PRESENT),
        ("5", PRESENT),
        ("x", PRESENT),
        ("-1", PRESENT),
        ("\N{SUPERSCRIPT TWO}", PRESENT),
        (str(PRESENT + 60_000), PRESENT + 60_001),  # the clock was set back
        (str(PRESENT + A_DAY), PRESENT),
        ("9" * 15, PRESENT),
        ("9" * 400, PRESENT),
    ],
)
def test_an_epoch_is_new_whatever_became_of_the_copies_of_earlier_ones(
    annotated: str | None, epoch: int
) -> None:
    found = namespace() if annotated is None else namespace(**{EPOCH: annotated})
    assert next_epoch(found, (), NOW) == epoch


def test_an_epoch_is_larger_than_that_of_every_record_of_the_space() -> None:
    ahead = record(epoch=PRESENT + 3 * A_DAY)
    assert next_epoch(namespace(), (ahead,), NOW) == PRESENT + 3 * A_DAY + 1
    assert next_epoch(namespace(), (replace(ahead, space_uid="another"),), NOW) == PRESENT


def test_a_stateful_set_is_found_beside_deployments() -> None:
    meta = {"name": "db", "uid": "db"}
    database = msgspec.convert({"metadata": meta, "spec": {"replicas": 1}}, StatefulSet)
    objects = space(deployment("web", 1), stateful_sets=(database,))
    assert [(i.ref.kind, i.ref.name) for i in sleepable(objects)] == [
        ("Deployment", "web"),
        ("StatefulSet", "db"),
    ]
