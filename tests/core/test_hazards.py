"""What holds a Space awake, what is only named, and what is none of our business."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleeper.core.hazards import emptied, find_hazards
from sleeper.core.objects import SpaceObjects
from sleeper.core.plan import sleepable
from sleeper.core.policy import LocalData
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.record import Entry, FreedRequests, ObjectRef, SleepRecord
from sleeper.core.snapshot import Hazard
from tests.core.values import NOW


def space(**groups: Any) -> SpaceObjects:
    """A Space decoded from the JSON shape that the API server sends."""
    namespace = {"metadata": {"name": "team-a-dev", "uid": "5e1f"}}
    return msgspec.convert({"namespace": namespace, **groups}, SpaceObjects)


GROUPS = {"Job": "batch/v1", "CronJob": "batch/v1", "ReplicationController": "v1"}
GROUPS |= dict.fromkeys(("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"), "apps/v1")


def reference(owner: str, *, api: str | None = None, controller: bool = True) -> dict[str, Any]:
    """An owner reference to ``Kind/name``; kinds that are not built in are of an operator's."""
    kind, name = owner.split("/")
    return {
        "apiVersion": api or GROUPS.get(kind, "example.com/v1"),
        "kind": kind,
        "name": name,
        "uid": f"uid-{name}",
        **({"controller": True} if controller else {}),
    }


def thing(
    name: str,
    *,
    owner: str | dict[str, Any] | None = None,
    annotations: dict[str, str] | None = None,
    **more: Any,
) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": name,
        "uid": f"uid-{name}",
        "annotations": annotations or {},
    }
    if owner is not None:
        metadata["ownerReferences"] = [reference(owner) if isinstance(owner, str) else owner]
    metadata.update(more.pop("metadata", {}))
    return {"metadata": metadata, **more}


def pod(name: str = "p", **more: Any) -> dict[str, Any]:
    return thing(name, status={"phase": "Running"} | more.pop("status", {}), **more)


def stateful_set(
    name: str = "db",
    *,
    replicas: int = 2,
    generation: int = 3,
    annotations: dict[str, str] | None = None,
    spec: dict[str, Any] | None = None,
    **status: Any,
) -> dict[str, Any]:
    settled = {
        "observedGeneration": 3,
        "replicas": replicas,
        "readyReplicas": replicas,
        "updatedReplicas": replicas,
        "currentRevision": "db-1",
        "updateRevision": "db-1",
    }
    return thing(
        name,
        metadata={"generation": generation},
        annotations=annotations,
        spec={"replicas": replicas} | (spec or {}),
        status=settled | status,
    )


def deployment(
    name: str = "web",
    *,
    replicas: int = 1,
    generation: int = 3,
    spec: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    settled = {"observedGeneration": 3, "replicas": replicas, "updatedReplicas": replicas}
    return thing(
        name,
        metadata={"generation": generation},
        spec={"replicas": replicas} | (spec or {}),
        status=settled | more.pop("status", {}),
        **more,
    )


EXCLUDE = {"sleeper.dev/exclude": "true"}
WEB = {
    "deployments": [deployment()],
    "replica_sets": [thing("web-5d", owner="Deployment/web", spec={"replicas": 1})],
}
DATABASE_POD = pod(
    "db-0",
    owner="StatefulSet/db",
    spec={"containers": [{"name": "sql", "image": "mysql:8.4"}]},
)


def test_deployments_and_settled_stateful_sets_with_their_pods_are_no_hazard() -> None:
    objects = space(
        **WEB,
        stateful_sets=[stateful_set()],
        pods=[pod("web-5d-1", owner="ReplicaSet/web-5d"), pod("db-0", owner="StatefulSet/db")],
    )
    assert find_hazards(objects) == ()


PARTITIONED = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}

TO_WEB = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}

HOLDING = [
    ("a bare Pod", Reason.BARE_POD, "Pod/p", {"pods": [pod()]}),
    (
        "a Pod of a custom owner",
        Reason.UNSUPPORTED_WORKLOAD,
        "Rollout/r",
        {"pods": [pod(owner="Rollout/r")]},
    ),
    (
        "a Pod of a ReplicaSet of a custom owner",
        Reason.UNSUPPORTED_WORKLOAD,
        "Rollout/r",
        {"pods": [pod(owner="ReplicaSet/rs")], "replica_sets": [thing("rs", owner="Rollout/r")]},
    ),
    (
        "a standalone ReplicaSet",
        Reason.UNSUPPORTED_WORKLOAD,
        "ReplicaSet/rs",
        {"replica_sets": [thing("rs", spec={"replicas": 2})]},
    ),
    (
        "a ReplicationController that counts on the default",
        Reason.UNSUPPORTED_WORKLOAD,
        "ReplicationController/rc",
        {"replication_controllers": [thing("rc")]},
    ),
    ("a running Job", Reason.RUNNING_JOB, "Job/j", {"jobs": [thing("j", status={"active": 1})]}),
    ("a Job about to start", Reason.RUNNING_JOB, "Job/j", {"jobs": [thing("j")]}),
    (
        "a suspended Job whose Pod is still there",
        Reason.RUNNING_JOB,
        "Job/j",
        {"jobs": [thing("j", spec={"suspend": True}, status={"active": 1})]},
    ),
    ("a CronJob", Reason.CRON_JOB, "CronJob/c", {"cron_jobs": [thing("c")]}),
    (
        "a DaemonSet",
        Reason.DAEMON_SET,
        "DaemonSet/d",
        {"daemon_sets": [thing("d", status={"desiredNumberScheduled": 3})]},
    ),
    (
        "a DaemonSet without a status",
        Reason.DAEMON_SET,
        "DaemonSet/d",
        {"daemon_sets": [thing("d")]},
    ),
    (
        "an autoscaler",
        Reason.AUTOSCALER,
        "HorizontalPodAutoscaler/a",
        {"autoscalers": [thing("a", spec={"scaleTargetRef": TO_WEB})]},
    ),
    (
        "an operator's Deployment",
        Reason.OPERATOR_MANAGED,
        "Deployment/web",
        {"deployments": [deployment(owner="Kafka/k")]},
    ),
    (
        "an operator's Deployment whose reference does not say that it manages it",
        Reason.OPERATOR_MANAGED,
        "Deployment/web",
        {"deployments": [deployment(owner=reference("Kafka/k", controller=False))]},
    ),
    (
        "a Pod whose owner does not say that it manages it",
        Reason.UNSUPPORTED_WORKLOAD,
        "Kafka/k",
        {"pods": [pod(owner=reference("Kafka/k", controller=False))]},
    ),
    (
        "a ReplicaSet of a custom owner that has no Pod yet",
        Reason.UNSUPPORTED_WORKLOAD,
        "Rollout/r",
        {"replica_sets": [thing("rs", owner="Rollout/r", spec={"replicas": 2})]},
    ),
    (
        "a Pod that must not be evicted",
        Reason.DO_NOT_EVICT,
        "Pod/p",
        {
            **WEB,
            "pods": [
                pod(
                    owner="ReplicaSet/web-5d",
                    annotations={"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
                )
            ],
        },
    ),
    (
        "a Pod that must not be disrupted",
        Reason.DO_NOT_EVICT,
        "Pod/p",
        {
            **WEB,
            "pods": [
                pod(
                    owner="ReplicaSet/web-5d",
                    annotations={"karpenter.sh/do-not-disrupt": "true"},
                )
            ],
        },
    ),
    (
        "a StatefulSet whose controller lags",
        Reason.WORKLOAD_BUSY,
        "StatefulSet/db",
        {"stateful_sets": [stateful_set(generation=4)]},
    ),
    (
        "a database without a volume",
        Reason.LOCAL_DATA,
        "StatefulSet/db",
        {"stateful_sets": [stateful_set()], "pods": [DATABASE_POD]},
    ),
    (
        "a scaling StatefulSet",
        Reason.WORKLOAD_BUSY,
        "StatefulSet/db",
        {"stateful_sets": [stateful_set(replicas=2) | {"status": {"observedGeneration": 3}}]},
    ),
    (
        "a StatefulSet between two revisions",
        Reason.WORKLOAD_BUSY,
        "StatefulSet/db",
        {"stateful_sets": [stateful_set(updateRevision="db-2", updatedReplicas=1)]},
    ),
    (
        "a StatefulSet that was rolled back and has a Pod left of the other revision",
        Reason.WORKLOAD_BUSY,
        "StatefulSet/db",
        {"stateful_sets": [stateful_set(updatedReplicas=1)]},
    ),
    (
        "a StatefulSet whose roll-outs stop at a partition",
        Reason.WORKLOAD_BUSY,
        "StatefulSet/db",
        {"stateful_sets": [stateful_set(spec={"updateStrategy": PARTITIONED})]},
    ),
    (
        "a StatefulSet whose Pods are replaced by hand",
        Reason.WORKLOAD_BUSY,
        "StatefulSet/db",
        {"stateful_sets": [stateful_set(spec={"updateStrategy": {"type": "OnDelete"}})]},
    ),
    (
        "a Deployment whose controller lags",
        Reason.WORKLOAD_BUSY,
        "Deployment/web",
        {"deployments": [deployment(generation=4)]},
    ),
    (
        "a Deployment without a status",
        Reason.WORKLOAD_BUSY,
        "Deployment/web",
        {"deployments": [thing("web")]},
    ),
    (
        "a scaling Deployment",
        Reason.WORKLOAD_BUSY,
        "Deployment/web",
        {"deployments": [deployment(replicas=4, status={"replicas": 3, "updatedReplicas": 3})]},
    ),
    (
        "a Deployment whose roll-out is stuck",
        Reason.WORKLOAD_BUSY,
        "Deployment/web",
        {"deployments": [deployment(replicas=3, status={"replicas": 4, "updatedReplicas": 1})]},
    ),
    (
        "a Deployment whose Pods are all of an older template than it asks for",
        Reason.WORKLOAD_BUSY,
        "Deployment/web",
        {"deployments": [deployment(replicas=3, status={"updatedReplicas": 0})]},
    ),
    (
        "a Deployment two of whose ReplicaSets want Pods",
        Reason.WORKLOAD_BUSY,
        "Deployment/web",
        {
            "deployments": [deployment()],
            "replica_sets": [
                thing("web-1", owner="Deployment/web", spec={"replicas": 1}),
                thing("web-2", owner="Deployment/web", spec={"replicas": 1}),
                thing("web-3", owner="Deployment/web", spec={"replicas": 0}),
            ],
        },
    ),
    (
        "a Deployment whose roll-outs are paused",
        Reason.WORKLOAD_BUSY,
        "Deployment/web",
        {"deployments": [deployment(spec={"paused": True})]},
    ),
]


@pytest.mark.parametrize(
    ("reason", "subject", "groups"), [case[1:] for case in HOLDING], ids=[c[0] for c in HOLDING]
)
def test_it_holds_the_space_awake_and_is_named(
    reason: Reason, subject: str, groups: dict[str, list[dict[str, Any]]]
) -> None:
    (found,) = find_hazards(space(**groups))
    assert (found.reason, found.subject, found.holds) == (reason, subject, True)
    assert subject in found.message


EXCLUDABLE = [c for c in HOLDING if c[1] not in {Reason.AUTOSCALER, Reason.UNSUPPORTED_WORKLOAD}]


@pytest.mark.parametrize("groups", [c[3] for c in EXCLUDABLE], ids=[c[0] for c in EXCLUDABLE])
def test_what_its_owner_excluded_is_no_hazard(groups: dict[str, list[dict[str, Any]]]) -> None:
    excluded = {
        group: [
            thing_ | {"metadata": thing_["metadata"] | {"annotations": EXCLUDE}}
            for thing_ in things
        ]
        for group, things in groups.items()
    }
    assert find_hazards(space(**excluded)) == ()


def test_what_an_excluded_workload_owns_is_no_hazard_and_nor_is_its_autoscaler() -> None:
    objects = space(
        deployments=[thing("web", annotations=EXCLUDE)],
        replica_sets=WEB["replica_sets"],
        pods=[pod(owner="ReplicaSet/web-5d", annotations={"karpenter.sh/do-not-disrupt": "true"})],
        autoscalers=[thing("a", spec={"scaleTargetRef": TO_WEB})],
    )
    assert find_hazards(objects) == ()


@pytest.mark.parametrize(
    "groups",
    [
        {"pods": [pod(status={"phase": "Succeeded"})]},
        {"pods": [pod(status={"phase": "Failed"})]},
        {"pods": [pod(metadata={"deletionTimestamp": "2026-11-18T12:00:00Z"})]},
        {"jobs": [thing("j", status={"conditions": [{"type": "Complete", "status": "True"}]})]},
        {"jobs": [thing("j", status={"conditions": [{"type": "Failed", "status": "True"}]})]},
        {"jobs": [thing("j", spec={"suspend": True})]},
        {"cron_jobs": [thing("c", spec={"suspend": True})]},
        {"daemon_sets": [thing("d", status={"desiredNumberScheduled": 0})]},
        {"replica_sets": [thing("rs", spec={"replicas": 0})]},
        {"deployments": [thing("web", owner="Kafka/k", spec={"replicas": 0})]},
        {"stateful_sets": [stateful_set(replicas=0, generation=9)]},
        {
            **WEB,
            "pods": [
                pod(
                    owner="ReplicaSet/web-5d",
                    annotations={"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"},
                )
            ],
        },
        # not all are Ready yet, so its controller calls the old revision current, but none is of it
        {"stateful_sets": [stateful_set(updateRevision="db-2")]},
        {"stateful_sets": [stateful_set(replicas=0, spec={"updateStrategy": PARTITIONED})]},
        {"stateful_sets": [stateful_set(spec={"updateStrategy": {"type": "RollingUpdate"}})]},
        {"deployments": [deployment(replicas=0, spec={"paused": True})]},
    ],
)
def test_what_has_finished_or_stands_still_is_no_hazard(
    groups: dict[str, list[dict[str, Any]]],
) -> None:
    assert find_hazards(space(**groups)) == ()


def test_the_owner_of_many_pods_is_named_once() -> None:
    objects = space(pods=[pod(f"p{i}", owner="Rollout/r") for i in range(3)])
    assert [hazard.subject for hazard in find_hazards(objects)] == ["Rollout/r"]


def test_a_listed_owner_that_has_not_arrived_yet_holds_but_does_not_wake() -> None:
    (late,) = find_hazards(space(pods=[pod(owner="ReplicaSet/late")]))
    assert (late.holds, late.wakes) == (True, False)
    (foreign,) = find_hazards(space(pods=[pod(owner="Rollout/r")]))
    assert (foreign.holds, foreign.wakes) == (True, True)


def asleep(kind: str, name: str) -> SleepRecord:
    return SleepRecord(
        space_uid="5e1f",
        space_name="team-a-dev",
        tenant="team-a",
        epoch=1,
        phase=PowerState.FALLING_ASLEEP,
        reason=Reason.IDLE,
        horizon=NOW,
        decided_at=NOW,
        entries=(Entry(ref=ObjectRef(kind=kind, name=name, uid=f"uid-{name}"), fields={}),),
        freed=FreedRequests(cpu_millis=0, memory_bytes=0, pods=0),
    )


@pytest.mark.fault(7)
@pytest.mark.parametrize("kind", ["Job", "StatefulSet", "Deployment", "DaemonSet", "ReplicaSet"])
def test_an_owner_of_another_group_is_none_that_is_only_late(kind: str) -> None:
    foreign = reference(f"{kind}/x", api="apps.kruise.io/v1beta1")
    (found,) = find_hazards(space(pods=[pod(owner=foreign)]))
    assert (found.reason, found.wakes) == (Reason.UNSUPPORTED_WORKLOAD, True)
    (late,) = find_hazards(space(pods=[pod(owner=f"{kind}/x")]))
    assert (late.reason, late.wakes) == (Reason.UNSUPPORTED_WORKLOAD, False)


@pytest.mark.fault(7)
@pytest.mark.parametrize("api", ["example.com/v1", ""])
def test_an_autoscaler_of_another_groups_namesake_is_a_hazard(api: str) -> None:
    objects = space(
        deployments=[thing("web", annotations=EXCLUDE)],
        autoscalers=[thing("a", spec={"scaleTargetRef": TO_WEB | {"apiVersion": api}})],
    )
    assert [hazard.reason for hazard in find_hazards(objects)] == [Reason.AUTOSCALER]


def excluded_at(*places: str) -> SpaceObjects:
    """A Deployment with a Pod that is not to be evicted, and ``exclude`` in these places."""
    note = {place: EXCLUDE if place in places else {} for place in ("web", "web-1", "web-1-x")}
    return space(
        deployments=[deployment(annotations=note["web"])],
        replica_sets=[thing("web-1", owner="Deployment/web", annotations=note["web-1"])],
        pods=[
            pod(
                "web-1-x",
                owner="ReplicaSet/web-1",
                annotations={"karpenter.sh/do-not-disrupt": "true"} | note["web-1-x"],
            )
        ],
    )


@pytest.mark.fault(6)
@pytest.mark.parametrize("places", [(), ("web-1",), ("web-1-x",), ("web-1", "web-1-x")])
def test_exclude_below_a_workload_that_sleeps_silences_no_hazard(places: tuple[str, ...]) -> None:
    objects = excluded_at(*places)
    assert [item.ref.name for item in sleepable(objects)] == ["web"]
    assert [hazard.reason for hazard in find_hazards(objects)] == [Reason.DO_NOT_EVICT]


@pytest.mark.fault(6)
@pytest.mark.parametrize("places", [("web",), ("web", "web-1", "web-1-x")])
def test_exclude_on_a_workload_spares_it_and_all_below_it(places: tuple[str, ...]) -> None:
    objects = excluded_at(*places)
    assert (sleepable(objects), find_hazards(objects)) == ((), ())


@given(st.sets(st.sampled_from(["web", "web-1", "web-1-x"])))
def test_hazards_and_plan_have_one_answer_to_what_sleep_touches(places: set[str]) -> None:
    objects = excluded_at(*places)
    assert bool(sleepable(objects)) is bool(find_hazards(objects))


def test_owner_references_in_a_circle_come_to_an_end() -> None:
    ring = space(
        replica_sets=[
            thing("a", owner="ReplicaSet/b", spec={"replicas": 1}),
            thing("b", owner="ReplicaSet/a", spec={"replicas": 1}),
        ],
        pods=[pod(owner="ReplicaSet/a")],
    )
    assert {hazard.reason for hazard in find_hazards(ring)} == {Reason.UNSUPPORTED_WORKLOAD}


@pytest.mark.parametrize(
    ("kind", "name", "groups"),
    [
        ("StatefulSet", "db", {"stateful_sets": [stateful_set(generation=4)]}),
        ("Deployment", "web", {"deployments": [deployment(generation=4)]}),
    ],
)
def test_what_our_own_sleep_sets_in_motion_is_not_busy(
    kind: str, name: str, groups: dict[str, list[dict[str, Any]]]
) -> None:
    assert find_hazards(space(**groups), asleep(kind, name)) == ()


@pytest.mark.fault(1)
@pytest.mark.parametrize(
    ("kind", "name", "groups"),
    [
        ("StatefulSet", "db", {"stateful_sets": [stateful_set(replicas=0, spec=strategy)]})
        for strategy in ({"updateStrategy": PARTITIONED}, {"updateStrategy": {"type": "OnDelete"}})
    ]
    + [
        ("Deployment", "web", {"deployments": [deployment(replicas=0, spec={"paused": True})]}),
    ],
)
def test_a_sleeping_workload_whose_roll_outs_are_held_back_from_now_on_wakes(
    kind: str, name: str, groups: dict[str, list[dict[str, Any]]]
) -> None:
    (found,) = find_hazards(space(**groups), asleep(kind, name))
    assert (found.reason, found.holds, found.wakes) == (Reason.WORKLOAD_BUSY, True, True)


def test_what_is_accepted_is_named_but_does_not_hold() -> None:
    objects = space(
        deployments=[
            WEB["deployments"][0],
            thing("old", spec={"replicas": 0}, annotations={"downscaler/original-replicas": "3"}),
        ],
        replica_sets=WEB["replica_sets"],
        stateful_sets=[
            stateful_set(spec={"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete"}})
        ],
        pods=[
            pod(
                owner="ReplicaSet/web-5d",
                spec={"containers": [], "volumes": [{"name": "cache", "emptyDir": {}}]},
            )
        ],
    )
    found = find_hazards(objects)
    assert [(h.reason, h.subject, h.holds) for h in found] == [
        (Reason.ASLEEP_BY_ANOTHER, "Deployment/old", False),
        (Reason.CLAIM_RETENTION, "StatefulSet/db", False),
        (Reason.EMPTY_DIR, "Deployment/web", False),
    ]
    assert "kube-downscaler" in found[0].message


@pytest.mark.fault(8)
def test_data_in_the_pod_alone_is_told_with_all_that_its_owner_needs() -> None:
    twins = [DATABASE_POD, DATABASE_POD | thing("db-1", owner="StatefulSet/db")]
    (found,) = find_hazards(space(stateful_sets=[stateful_set()], pods=twins))
    assert (found.reason, found.holds, found.wakes) == (Reason.LOCAL_DATA, True, False)
    assert found.message == (
        "StatefulSet/db keeps the data of container sql (mysql:8.4) in /var/lib/mysql, on the "
        "container's own layer: sleeping would lose it. Mount a claim there, or let it go with "
        "sleeper.dev/local-data: disposable on the workload or its namespace"
    )


@pytest.mark.parametrize(
    ("on_workload", "default", "holds"),
    [
        (None, LocalData.KEEP, True),
        (None, LocalData.DISPOSABLE, False),
        ("disposable", LocalData.KEEP, False),
        (" disposable ", LocalData.KEEP, False),
        ("keep", LocalData.DISPOSABLE, True),
        ("Disposable", LocalData.DISPOSABLE, True),
        ("", LocalData.DISPOSABLE, True),
    ],
)
def test_the_workload_lets_its_data_go_or_else_the_namespace_or_else_the_configuration(
    on_workload: str | None, default: LocalData, holds: bool
) -> None:
    annotations = {} if on_workload is None else {"sleeper.dev/local-data": on_workload}
    objects = space(stateful_sets=[stateful_set(annotations=annotations)], pods=[DATABASE_POD])
    (found,) = find_hazards(objects, local_data=default)
    assert (found.reason, found.holds) == (Reason.LOCAL_DATA, holds)
    assert found.empties == "/var/lib/mysql of StatefulSet/db"


def test_data_of_what_sleep_does_not_stop_is_not_lost_by_it() -> None:
    excluded = space(stateful_sets=[stateful_set(annotations=EXCLUDE)], pods=[DATABASE_POD])
    assert find_hazards(excluded) == ()
    going = DATABASE_POD | thing(
        "db-0", owner="StatefulSet/db", metadata={"deletionTimestamp": "2026-11-18T12:00:00Z"}
    )
    assert find_hazards(space(stateful_sets=[stateful_set()], pods=[going])) == ()


def test_what_sleeping_empties_is_told_of_what_is_let_go_alone_and_not_without_end() -> None:
    def one(number: int, holds: bool = False) -> Hazard:
        empties = f"/data of Deployment/d{number}"
        return Hazard(
            reason=Reason.LOCAL_DATA, subject="", message="", holds=holds, empties=empties
        )

    assert emptied([]) is None
    assert emptied([one(1, holds=True)]) is None
    assert emptied([one(1), one(2, holds=True), one(3)]) == (
        "sleeping empties /data of Deployment/d1; /data of Deployment/d3"
    )
    many = emptied([one(number) for number in range(40)])
    assert many is not None
    assert many.endswith("; /data of Deployment/d4; 35 more")


def graceful(seconds: int | None) -> dict[str, Any]:
    return {"terminationGracePeriodSeconds": seconds} if seconds is not None else {}


@pytest.mark.fault(9)
@pytest.mark.parametrize(
    ("of_pod", "of_template", "says"),
    [
        (600, 600, "Pod/web-5d-1 may take 600 s"),
        (540, None, "Pod/web-5d-1 may take 540 s"),
        (None, 3600, "a Pod of Deployment/web may take 3600 s"),
        (30, 30, None),
        (539, 539, None),
        (None, None, None),
    ],
)
def test_a_pod_that_may_outlast_the_time_to_fall_asleep_holds_it_awake(
    of_pod: int | None, of_template: int | None, says: str | None
) -> None:
    objects = space(
        deployments=[deployment(spec={"template": {"spec": graceful(of_template)}})],
        replica_sets=WEB["replica_sets"],
        pods=[
            pod("web-5d-0", owner="ReplicaSet/web-5d", spec=graceful(of_pod and 1)),
            pod("web-5d-1", owner="ReplicaSet/web-5d", spec=graceful(of_pod)),
        ],
    )
    found = find_hazards(objects, sleep_deadline=timedelta(minutes=10))
    if says is None:
        assert found == ()
    else:
        (hazard,) = found
        assert (hazard.reason, hazard.subject) == (Reason.SLOW_TO_STOP, "Deployment/web")
        assert hazard.message.startswith("Deployment/web has 540 s to stop, and ")
        assert says in hazard.message


@pytest.mark.fault(9)
def test_a_slow_pod_that_sleep_does_not_stop_does_not_hold_for_that() -> None:
    slow = {"template": {"spec": graceful(3600)}}
    objects = space(
        deployments=[deployment(annotations=EXCLUDE, spec=slow)],
        replica_sets=WEB["replica_sets"],
        stateful_sets=[stateful_set(replicas=0, spec=slow)],
        pods=[pod(owner="ReplicaSet/web-5d", spec=graceful(3600))],
    )
    assert find_hazards(objects, sleep_deadline=timedelta(minutes=10)) == ()
