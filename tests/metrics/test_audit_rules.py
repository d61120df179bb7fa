"""Which audit events count: the table of metrics.core.audit, rule by rule."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from metrics.core.audit import AuditEvent, AuditRules, Fate, Reading, StreamEdge, User
from metrics.core.signals import ActorClass
from tests.support.audit_events import event

RULES = AuditRules(
    own_agent="sleeper", deployers=["system:serviceaccount:ci:deployer", "eks:pipeline"]
)


def read(**changes: Any) -> Reading:
    decoded = msgspec.convert(event(**changes), AuditEvent)
    (reading,) = RULES.read([decoded], {"team-a"}.__contains__).counts
    return reading


COUNTED = [
    ({}, ActorClass.HUMAN),
    ({"verb": "list"}, ActorClass.HUMAN),
    ({"verb": "create", "code": 201}, ActorClass.HUMAN),
    ({"code": 404}, ActorClass.HUMAN),
    ({"code": 409}, ActorClass.HUMAN),
    ({"code": 422}, ActorClass.HUMAN),
    ({"code": 400}, ActorClass.HUMAN),
    ({"decision": None}, ActorClass.HUMAN),
    ({"resource": "namespaces", "verb": "delete"}, ActorClass.HUMAN),
    ({"user": "masterclient"}, ActorClass.HUMAN),
    ({"user": "system:admin"}, ActorClass.HUMAN),
    ({"user": "system:serviceaccount:ci:deployer"}, ActorClass.DEPLOYER),
    ({"user": "eks:pipeline"}, ActorClass.DEPLOYER),
    ({"user": "system:serviceaccount:rancher:proxy", "impersonated": "bob"}, ActorClass.HUMAN),
    ({"agent": "headlamp/0.30", "subresource": "exec", "code": 101}, ActorClass.HUMAN),
]

DROPPED = [
    ({"namespace": "kube-system"}, Fate.NOT_A_SPACE),
    ({"namespace": ""}, Fate.NOT_A_SPACE),
    ({"stage": "RequestReceived"}, Fate.OTHER_STAGE),
    ({"stage": "ResponseStarted", "verb": "watch"}, Fate.OTHER_STAGE),
    ({"stage": "ResponseStarted", "subresource": "status"}, Fate.OTHER_STAGE),
    ({"stage": "Panic"}, Fate.OTHER_STAGE),
    ({"verb": "watch"}, Fate.WATCH),
    ({"resource": "leases", "verb": "update"}, Fate.IGNORED),
    ({"resource": "namespaces"}, Fate.IGNORED),
    ({"code": 401}, Fate.REFUSED),
    ({"code": 403}, Fate.REFUSED),
    ({"code": 429}, Fate.REFUSED),
    ({"code": 500}, Fate.REFUSED),
    ({"code": 504}, Fate.REFUSED),
    ({"decision": "forbid"}, Fate.REFUSED),
    ({"agent": "sleeper/0.1.0"}, Fate.OWN),
    ({"agent": "sleeper/0.1.0", "subresource": "exec"}, Fate.OWN),
    ({"user": "system:serviceaccount:team-a:app"}, Fate.CONTROLLER),
    ({"user": "system:node:node-1"}, Fate.CONTROLLER),
    ({"user": "system:kube-controller-manager"}, Fate.CONTROLLER),
    ({"user": "system:apiserver"}, Fate.CONTROLLER),
    ({"user": "eks:node-manager"}, Fate.CONTROLLER),
    ({"user": "aksService"}, Fate.CONTROLLER),
    ({"user": "alice", "impersonated": "system:serviceaccount:a:b"}, Fate.CONTROLLER),
    ({"user": "system:anonymous"}, Fate.ANONYMOUS),
    ({"agent": "argocd-application-controller/v3"}, Fate.DISCOUNTED),
    ({"agent": "Prometheus/3.15"}, Fate.DISCOUNTED),
    ({"agent": "headlamp/0.30", "subresource": "log"}, Fate.DISCOUNTED),
]


@pytest.mark.parametrize(("changes", "actor"), COUNTED, ids=str)
def test_use_by_people_and_deployers_counts(changes: dict[str, Any], actor: ActorClass) -> None:
    reading = read(**changes)
    assert (reading.fate, reading.actor) == (Fate.COUNTED, actor)


@pytest.mark.parametrize(("changes", "fate"), DROPPED, ids=str)
def test_what_is_nobodys_use_does_not_count(changes: dict[str, Any], fate: Fate) -> None:
    assert read(**changes).fate is fate


@pytest.mark.parametrize("verb", ["get", "create"])  # WebSocket and SPDY
@pytest.mark.parametrize("subresource", ["exec", "attach", "portforward", "log", "proxy"])
def test_a_stream_is_told_by_its_subresource_whatever_its_verb(verb: str, subresource: str) -> None:
    opened = read(verb=verb, subresource=subresource, stage="ResponseStarted", code=101)
    closed = read(verb=verb, subresource=subresource, stage="ResponseComplete", code=101)
    assert (opened.fate, opened.edge) == (Fate.COUNTED, StreamEdge.OPENS)
    assert (closed.fate, closed.edge) == (Fate.COUNTED, StreamEdge.CLOSES)


@pytest.mark.parametrize(
    "changes", [{"stage": "Panic"}, {"code": 500}, {"decision": "forbid"}], ids=str
)
def test_a_stream_that_ends_badly_is_closed_all_the_same(changes: dict[str, Any]) -> None:
    reading = read(subresource="exec", **changes)
    assert reading.edge is StreamEdge.CLOSES
    assert reading.fate is not Fate.COUNTED


def test_a_refused_stream_does_not_open() -> None:
    assert read(subresource="exec", stage="ResponseStarted", code=403).edge is None


@pytest.mark.parametrize(
    "whose",
    [
        {"user": "system:serviceaccount:tools:debugger"},
        {"user": "system:anonymous"},
        {"agent": "sleeper/0.1.0"},
        {"agent": "headlamp/1", "subresource": "log"},
    ],
)
def test_both_ends_of_a_stream_that_does_not_hold_are_followed_all_the_same(
    whose: dict[str, Any],
) -> None:
    for stage, edge in (
        ("ResponseStarted", StreamEdge.OPENS),
        ("ResponseComplete", StreamEdge.CLOSES),
        ("Panic", StreamEdge.CLOSES),
    ):
        reading = read(**{"subresource": "exec", **whose}, stage=stage)
        assert (reading.edge, reading.holds) == (edge, False)
        assert reading.fate is not Fate.COUNTED


def test_a_stream_of_a_namespace_that_is_no_space_is_followed_and_may_hold_once_it_is() -> None:
    opening = msgspec.convert(
        event(namespace="others", subresource="exec", stage="ResponseStarted"), AuditEvent
    )
    batch = RULES.read([opening], {"team-a"}.__contains__)
    ((_, _, reading),) = batch.mattering
    assert (reading.fate, reading.edge, reading.holds) == (
        Fate.NOT_A_SPACE,
        StreamEdge.OPENS,
        True,
    )


def test_who_is_refused_opens_no_stream_whoever_they_are() -> None:
    for user in ("alice", "system:serviceaccount:tools:debugger"):
        assert read(subresource="exec", stage="ResponseStarted", code=403, user=user).edge is None


def test_an_event_without_an_object_belongs_to_no_space() -> None:
    clusterwide = AuditEvent(stage="ResponseComplete", user=User(username="alice"))
    (reading,) = RULES.read([clusterwide], lambda _: True).counts
    assert reading.fate is Fate.NOT_A_SPACE


def test_a_batch_is_counted_whole_and_what_matters_in_it_keeps_its_order() -> None:
    sent: dict[str, dict[str, Any]] = {
        "first": {},
        "unused": {"verb": "watch"},
        "second": {"subresource": "exec", "stage": "ResponseStarted", "code": 101},
        "elsewhere": {"namespace": "team-b"},
        "third": {},
    }
    events = [
        msgspec.convert(event(name=name, **changes), AuditEvent) for name, changes in sent.items()
    ]
    batch = RULES.read(events, {"team-a"}.__contains__)
    assert [ref.name for _, ref, _ in batch.mattering] == ["first", "second", "third"]
    assert sum(batch.counts.values()) == len(events)
    assert batch.counts[batch.mattering[0][2]] == 2


def test_a_namespace_is_asked_about_once_a_batch() -> None:
    asked: list[str] = []

    def is_space(namespace: str) -> bool:
        asked.append(namespace)
        return False

    decoded = msgspec.convert(event(), AuditEvent)
    RULES.read([decoded, decoded], is_space)
    assert asked == ["team-a"]
