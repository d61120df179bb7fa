"""Which Pods keep a Space from being asleep."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sleeper.core.objects import Pod, ReplicaSet, SpaceObjects
from sleeper.core.ownership import lasting_pods, live_pods
from sleeper.core.record import ObjectRef
from tests.core.test_restore import deployment, space

WEB = ObjectRef(kind="Deployment", name="web", uid="web")
DATABASE = ObjectRef(kind="StatefulSet", name="db", uid="db")


def owned_by(
    kind: str, uid: str, *, group: str = "apps", controller: bool = True
) -> dict[str, Any]:
    owner = {"apiVersion": f"{group}/v1", "kind": kind, "name": uid, "uid": uid}
    return {"ownerReferences": [owner | ({"controller": True} if controller else {})]}


def of(kind: str, uid: str, *, phase: str = "Running", **owner: Any) -> Pod:
    meta = {"name": "p", "uid": "p", **owned_by(kind, uid, **owner)}
    return msgspec.convert({"metadata": meta, "status": {"phase": phase}}, Pod)


def scene(pod: Pod) -> SpaceObjects:
    meta = {"name": "web-1", "uid": "web-1", **owned_by("Deployment", "web")}
    replica_set = msgspec.convert({"metadata": meta}, ReplicaSet)
    other_meta = {"name": "api-1", "uid": "api-1", **owned_by("Deployment", "api")}
    other = msgspec.convert({"metadata": other_meta}, ReplicaSet)
    return msgspec.structs.replace(
        space(deployment("web", 0), deployment("api", 1)),
        replica_sets=(replica_set, other),
        pods=(pod,),
    )


@pytest.mark.parametrize(
    ("pod", "counts"),
    [
        (of("ReplicaSet", "web-1"), True),
        (of("ReplicaSet", "web-1", phase="Pending"), True),
        (of("ReplicaSet", "web-1", phase="Failed"), False),
        (of("ReplicaSet", "api-1"), False),
        (of("ReplicaSet", "not-seen-yet"), True),
        (of("ReplicaSet", "not-seen-yet", group="apps.example.com"), False),
        (of("StatefulSet", "db"), True),
        (of("StatefulSet", "db", controller=False), True),
        (of("StatefulSet", "other"), False),
        (of("Job", "job"), False),
    ],
)
def test_a_pod_counts_while_it_is_or_may_be_one_of_a_sleeping_workload(
    pod: Pod, counts: bool
) -> None:
    assert bool(live_pods(scene(pod), [WEB, DATABASE])) is counts


@pytest.mark.parametrize(
    ("pod", "workload"),
    [
        (of("ReplicaSet", "web-1"), "Deployment/web"),
        (of("ReplicaSet", "not-seen-yet"), "ReplicaSet/not-seen-yet"),
    ],
)
def test_a_pod_that_lasts_is_named_with_its_workload(pod: Pod, workload: str) -> None:
    assert lasting_pods(scene(pod), [WEB, DATABASE]) == ((pod, workload),)
