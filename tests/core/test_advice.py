"""Advice is followed to the letter, and what it promised is seen."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from metrics.core.signals import SignalName
from sleeper.control.assess import _unseen
from sleeper.core.decide import decide
from sleeper.core.explain import explain
from sleeper.core.failures import ALIKE, Failures, failed, shape_of, sure_to_fail
from sleeper.core.fights import LEFT_ALONE, REVERSALS, Reversals, fight
from sleeper.core.hazards import FINDERS, find_hazards
from sleeper.core.objects import SpaceObjects
from sleeper.core.policy import LocalData
from sleeper.core.reasons import Reason
from sleeper.core.snapshot import Hazard
from sleeper.core.verdict import VerdictKind
from tests.core.test_hazards import (
    DATABASE_POD,
    HOLDING,
    WEB,
    deployment,
    pod,
    space,
    stateful_set,
    thing,
)
from tests.core.values import NOW, api, minutes, policy, snapshot

Groups = dict[str, list[dict[str, Any]]]

_ADVISED = re.compile(
    r"(sleeper\.dev/[a-z-]+): \"?([a-z]+)\"? on "
    r"(the namespace|[A-Z]\w+/[\w.-]+(?: and [A-Z]\w+/[\w.-]+)*)"
)
_GROUP = {
    "Pod": "pods",
    "Deployment": "deployments",
    "StatefulSet": "stateful_sets",
    "ReplicaSet": "replica_sets",
    "ReplicationController": "replication_controllers",
    "DaemonSet": "daemon_sets",
    "Job": "jobs",
    "CronJob": "cron_jobs",
    "HorizontalPodAutoscaler": "autoscalers",
}
SAFE = "cluster-autoscaler.kubernetes.io/safe-to-evict"
UNSAFE = {SAFE: "false"}
HPA = thing(
    "a",
    spec={"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
)

SCENES: list[tuple[str, Groups]] = [(case[0], case[3]) for case in HOLDING] + [
    ("an autoscaler of a Deployment", {**WEB, "autoscalers": [HPA]}),
    (
        "two ReplicaSets of a custom owner",
        {
            "replica_sets": [
                thing("a", owner="Rollout/r", spec={"replicas": 1}),
                thing("b", owner="Rollout/r", spec={"replicas": 1}),
            ],
            "pods": [pod("a-1", owner="ReplicaSet/a")],
        },
    ),
    (
        "Pods of a custom owner",
        {"pods": [pod("p-1", owner="Rollout/r"), pod("p-2", owner="Rollout/r")]},
    ),
    (
        "a DaemonSet's Pod that must not be evicted",
        {
            "daemon_sets": [thing("d", status={"desiredNumberScheduled": 0})],
            "pods": [pod(owner="DaemonSet/d", annotations=UNSAFE)],
        },
    ),
    (
        "a CronJob's Job and its Pod that must not be evicted",
        {
            "cron_jobs": [thing("c", spec={"suspend": True})],
            "jobs": [thing("j", owner="CronJob/c", status={"active": 1})],
            "pods": [pod(owner="Job/j", annotations=UNSAFE)],
        },
    ),
    (
        "a Deployment that is slow to stop",
        {
            "deployments": [
                deployment(spec={"template": {"spec": {"terminationGracePeriodSeconds": 900}}})
            ]
        },
    ),
    ("a bare Pod that must not be evicted", {"pods": [pod(annotations=UNSAFE)]}),
    (
        "two containers of one database",
        {"stateful_sets": [stateful_set()], "pods": [DATABASE_POD]},
    ),
]
scenes = pytest.mark.parametrize("groups", [s[1] for s in SCENES], ids=[s[0] for s in SCENES])


def holding(groups: Groups, **more: Any) -> dict[tuple[Reason, str], Hazard]:
    found = find_hazards(space(**groups), sleep_deadline=timedelta(minutes=10), **more)
    return {(hazard.reason, hazard.subject): hazard for hazard in found if hazard.holds}


def annotated(groups: Groups, places: str, key: str, value: str) -> Groups:
    """The scene after an annotation on objects that are there."""
    changed = copy.deepcopy(groups)
    for place in places.split(" and "):
        kind, name = place.split("/")
        (obj,) = (o for o in changed[_GROUP[kind]] if o["metadata"]["name"] == name)
        obj["metadata"]["annotations"] = {**(obj["metadata"]["annotations"] or {}), key: value}
    return changed


def after(groups: Groups, places: str, key: str, value: str) -> dict[tuple[Reason, str], Hazard]:
    if places == "the namespace":
        assert key == "sleeper.dev/local-data"
        return holding(groups, local_data=policy({"local-data": value}).policy.local_data.value)
    return holding(annotated(groups, places, key, value))


def without(groups: Groups, subject: str) -> Groups:
    """The scene without an object and what it owns."""
    gone = {f"uid-{subject.split('/')[1]}"}
    left = copy.deepcopy(groups)
    for _ in range(3):
        for group, things in left.items():
            stay = []
            for obj in things:
                owners = {one["uid"] for one in obj["metadata"].get("ownerReferences", ())}
                here = group == _GROUP.get(subject.split("/", maxsplit=1)[0])
                is_it = here and obj["metadata"]["name"] == subject.split("/")[1]
                if is_it or owners & gone:
                    gone.add(obj["metadata"]["uid"])
                else:
                    stay.append(obj)
            left[group] = stay
    return left


@pytest.mark.fault(19)
@scenes
def test_each_annotation_that_is_advised_has_the_effect_on_the_object_that_it_names(
    groups: Groups,
) -> None:
    before = holding(groups)
    assert before
    for found, hazard in before.items():
        advised = _ADVISED.findall(hazard.advice)
        assert advised or hazard.advice == f"{hazard.subject} gone", hazard.advice
        for key, value, places in advised:
            assert found not in after(groups, places, key, value), (hazard.advice, key, places)


@pytest.mark.fault(19)
@pytest.mark.parametrize(
    ("subject", "groups"),
    [
        ("HorizontalPodAutoscaler/a", {**WEB, "autoscalers": [HPA]}),
        ("Pod/p", {**WEB, "pods": [pod(owner="ReplicaSet/web-5d", annotations=UNSAFE)]}),
    ],
)
def test_exclude_is_not_advised_where_it_has_no_effect(subject: str, groups: Groups) -> None:
    ((found, hazard),) = holding(groups).items()
    assert hazard.subject == subject
    assert found in after(groups, subject, "sleeper.dev/exclude", "true")
    ((_, _, places),) = _ADVISED.findall(hazard.advice)
    assert places == "Deployment/web"


@scenes
def test_what_is_said_to_help_when_gone_helps_when_gone(groups: Groups) -> None:
    for found, hazard in holding(groups).items():
        if f"{hazard.subject} gone" in hazard.advice:
            assert found not in holding(without(groups, hazard.subject))


def test_every_finder_that_holds_is_put_to_the_test() -> None:
    reasons = {reason for _, groups in SCENES for reason, _ in holding(groups)}
    assert len(FINDERS) - 4 == len(reasons), "one reason for each finder that does not only tell"


def told(*hazards: Hazard, at: Any = NOW, **annotations: str) -> tuple[VerdictKind, str]:
    seen = snapshot(
        hazards=hazards,
        signals={name: replace(api(at), name=name) for name in SignalName},
        noticed_at=NOW - timedelta(hours=3),
    )
    reading = policy(
        {"sleep-after": "1h"} | {k.replace("_", "-"): v for k, v in annotations.items()},
        routes=True,
    )
    verdict = decide(seen, reading, at)
    return verdict.kind, "; ".join(explain(seen, reading, verdict, at).would_change)


@pytest.mark.fault(19)
def test_a_route_that_nobody_sees_is_waived_by_requiring_the_api_alone() -> None:
    kind, advice = told(_unseen("Ingress/web"))
    assert kind is VerdictKind.STAY_AWAKE
    assert "exclude" not in advice
    ((key, value, place),) = _ADVISED.findall(advice)
    assert (key, value, place) == ("sleeper.dev/required-signals", "api", "the namespace")
    assert told(_unseen("Ingress/web"), required_signals=value)[0] is VerdictKind.FALL_ASLEEP


@pytest.mark.fault(19)
def test_traffic_alone_that_cannot_be_seen_is_waived_in_the_same_way() -> None:
    def kind_of(**annotations: str) -> tuple[VerdictKind, str]:
        seen = snapshot(noticed_at=NOW - timedelta(hours=3))
        written = {"sleep-after": "1h"} | {k.replace("_", "-"): v for k, v in annotations.items()}
        reading = policy(written, routes=True)
        verdict = decide(seen, reading, NOW)
        return verdict.kind, "; ".join(explain(seen, reading, verdict, NOW).would_change)

    kind, advice = kind_of()
    assert kind is VerdictKind.ABSTAIN
    ((key, value, _),) = _ADVISED.findall(advice)
    assert key == "sleeper.dev/required-signals"
    assert kind_of(required_signals=value)[0] is VerdictKind.FALL_ASLEEP
    blind = snapshot(signals={SignalName.API: api(None)})
    reading = policy({"sleep-after": "1h"}, routes=True)
    said = explain(blind, reading, decide(blind, reading, NOW), NOW).would_change
    assert "required-signals" not in "".join(said), "the API cannot be seen either"


@pytest.mark.fault(19)
def test_failures_alike_are_forgotten_when_what_is_advised_has_changed() -> None:
    def with_notice(*given: str) -> SpaceObjects:
        annotations = dict.fromkeys(("sleeper.dev/notice",)[: len(given)], *given)
        namespace = {"metadata": {"name": "team-a-dev", "uid": "5e1f", "annotations": annotations}}
        return msgspec.convert({"namespace": namespace}, SpaceObjects)

    past = Failures()
    for _ in range(ALIKE):
        past = failed(
            past,
            reason=Reason.WRITE_DENIED,
            objects=["Deployment/web"],
            shape=shape_of(with_notice()),
            how="denied",
            now=NOW,
        )
    found = sure_to_fail(past, with_notice())
    assert found is not None
    assert "a change of a workload, of its size, or of an annotation of ours" in found.advice
    assert sure_to_fail(past, with_notice("5m")) is None


@pytest.mark.fault(19)
def test_a_fight_ends_when_it_is_said_to() -> None:
    found = fight(Reversals(count=REVERSALS, at=NOW - minutes(1), how="web was scaled to 1"))
    assert found is not None
    kind, advice = told(found)
    assert kind is VerdictKind.STAY_AWAKE
    assert "the end of the pause at 2026-11-19T11:59:00Z" in advice
    assert "exclude" not in advice
    assert told(found, at=NOW - minutes(1) + LEFT_ALONE)[0] is VerdictKind.FALL_ASLEEP


def test_what_holds_many_times_over_is_advised_upon_a_few_times() -> None:
    pods = [pod(f"p{number}") for number in range(100)]
    hazards = find_hazards(space(pods=pods))
    _, advice = told(*hazards)
    assert advice.count("Pod/p") == 40
    assert advice.endswith("and the same of 80 more that hold it")


def test_what_a_custom_owner_runs_is_named_a_few_times() -> None:
    pods = [pod(f"p{number}", owner="Rollout/r") for number in range(100)]
    (hazard,) = find_hazards(space(pods=pods))
    assert hazard.advice.count("Pod/p") == 5
    assert "95 more" in hazard.advice


def test_what_is_let_go_needs_no_advice_to_be_told() -> None:
    groups = {"stateful_sets": [stateful_set()], "pods": [DATABASE_POD]}
    (hazard,) = find_hazards(space(**groups), local_data=LocalData.DISPOSABLE)
    kind, _ = told(hazard)
    assert kind is VerdictKind.FALL_ASLEEP
