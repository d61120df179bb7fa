"""What owners wrote on workloads in vain is said, with object, key, value and expected form."""

from __future__ import annotations

from typing import Any

import pytest

from sleeper.core.names import ANNOTATIONS
from sleeper.core.objects import SpaceObjects
from sleeper.core.owners import is_excluded
from sleeper.core.plan import sleepable, wave_of
from sleeper.core.workload_warnings import workload_warnings
from tests.core.test_hazards import reference, space, thing


def workloads(**annotations: str) -> SpaceObjects:
    """A running Deployment ``web`` with these annotations of our group, and a Pod of it."""
    ours = {f"sleeper.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return space(
        deployments=[thing("web", annotations=ours, spec={"replicas": 1})],
        replica_sets=[thing("web-1", owner="Deployment/web", annotations=ours)],
        pods=[thing("web-1-x", owner="ReplicaSet/web-1", annotations=ours)],
    )


def said(objects: SpaceObjects) -> list[str]:
    return [str(note) for note in workload_warnings(objects)]


def test_an_unknown_key_is_named_once_with_its_workload_and_what_was_meant() -> None:
    objects = workloads(excluded="true")
    assert said(objects) == [
        "sleeper.dev/excluded: 'true' on Deployment/web has no effect: the key is not known; "
        "did you mean sleeper.dev/exclude (`true` or `false`)?"
    ]
    assert len(sleepable(objects)) == 1


def test_an_exclude_that_cannot_be_read_is_named_and_leaves_the_workload_alone() -> None:
    objects = workloads(exclude="maybe")
    (sentence,) = said(objects)
    assert sentence.startswith("sleeper.dev/exclude: 'maybe' on Deployment/web cannot be read")
    assert "expected `true` or `false`; it is left alone" in sentence
    assert is_excluded(objects.deployments[0])


@pytest.mark.parametrize("value", ["first", "", "1.5"])
def test_a_wave_that_cannot_be_read_is_named_and_counts_as_zero(value: str) -> None:
    objects = workloads(wave=value)
    (sentence,) = said(objects)
    assert sentence.startswith(f"sleeper.dev/wave: {value!r} on Deployment/web cannot be read")
    assert "expected a whole number" in sentence
    assert wave_of(objects.deployments[0]) == 0


def test_a_key_for_namespaces_is_named_on_a_workload() -> None:
    (sentence,) = said(workloads(sleep_after="1h"))
    assert "on Deployment/web has no effect on a workload; it belongs on the namespace" in sentence


def test_what_can_be_read_and_what_we_write_and_what_is_none_of_ours_is_passed_over() -> None:
    assert said(workloads(exclude="False", wave="-3")) == []
    assert said(workloads(exclude=" true ", wave="7")) == []
    others: dict[str, Any] = {spec.key: "anything" for spec in ANNOTATIONS if spec.by_us}
    others["example.com/wave"] = "first"
    assert said(space(deployments=[thing("web", annotations=others)])) == []


@pytest.mark.parametrize(
    "group",
    [
        "deployments",
        "stateful_sets",
        "replica_sets",
        "replication_controllers",
        "daemon_sets",
        "cron_jobs",
        "jobs",
        "pods",
    ],
)
def test_every_kind_of_workload_is_looked_at_also_where_an_operator_manages_it(group: str) -> None:
    written = {"sleeper.dev/exclude": "maybe"}
    objects = space(
        **{
            group: [
                thing("alone", annotations=written),
                thing("run", owner="Kafka/main", annotations=written),
            ]
        }
    )
    assert len(said(objects)) == 2


@pytest.mark.fault(6)
@pytest.mark.parametrize("place", ["replica_sets", "pods"])
def test_an_exclude_below_a_workload_is_named_once_with_the_place_where_it_has_an_effect(
    place: str,
) -> None:
    below = {
        "replica_sets": [thing("web-1", owner=reference("Deployment/web", controller=False))],
        "pods": [thing(f"web-1-{i}", owner="ReplicaSet/web-1") for i in range(3)],
    }
    for obj in below[place]:
        obj["metadata"]["annotations"] = {"sleeper.dev/exclude": "true"}
    objects = space(deployments=[thing("web", spec={"replicas": 1})], **below)
    (sentence,) = said(objects)
    name = {"replica_sets": "ReplicaSet/web-1", "pods": "Pod/web-1-0"}[place]
    assert sentence == (
        f"sleeper.dev/exclude: 'true' on {name} has no effect: "
        "it sleeps with Deployment/web, where it belongs"
    )


def test_what_a_deployments_controller_copied_to_its_replica_sets_is_no_word_of_the_owner() -> None:
    """It leaves an ``exclude`` there also after the owner has taken it off the Deployment."""
    copied = {"sleeper.dev/exclude": "true"}
    objects = space(
        deployments=[thing("web", spec={"replicas": 1})],
        replica_sets=[
            thing(f"web-{n}", owner="Deployment/web", annotations=copied) for n in range(2)
        ],
    )
    assert said(objects) == []


@pytest.mark.fault(7)
def test_what_another_groups_job_owns_has_its_annotations_from_its_owner() -> None:
    foreign = reference("Job/j", api="batch.volcano.sh/v1alpha1")
    theirs = {"sleeper.dev/wave": "first"}
    assert len(said(space(pods=[thing("p", owner=foreign, annotations=theirs)]))) == 1
    assert said(space(pods=[thing("p", owner="Job/j", annotations=theirs)])) == []


def test_a_local_data_that_cannot_be_read_is_named_and_holds() -> None:
    (sentence,) = said(workloads(local_data="gone"))
    assert sentence == (
        "sleeper.dev/local-data: 'gone' on Deployment/web cannot be read; expected `keep` or "
        "`disposable`; its data holds the Space awake until that is mended"
    )


@pytest.mark.fault(19)
@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("autoscalers", "HorizontalPodAutoscaler/x"),
        ("services", "Service/x"),
        ("ingresses", "Ingress/x"),
        ("gateway_routes", "Route/x"),
    ],
)
def test_an_annotation_on_what_never_sleeps_is_named_with_the_place_where_it_has_an_effect(
    group: str, name: str
) -> None:
    written = {
        "sleeper.dev/exclude": "true",
        "sleeper.dev/sleep-after": "8h",
        "sleeper.dev/exclud": "true",
        "example.com/other": "true",
    }
    assert said(space(**{group: [thing("x", annotations=written)]})) == [
        f"sleeper.dev/exclude: 'true' on {name} has no effect here; it belongs on a workload or "
        "the namespace",
        f"sleeper.dev/sleep-after: '8h' on {name} has no effect here; it belongs on the namespace",
        f"sleeper.dev/exclud: 'true' on {name} has no effect: the key is not known; did you mean "
        "sleeper.dev/exclude (`true` or `false`)?",
    ]


@pytest.mark.fault(19)
def test_what_stands_in_a_pod_template_is_named_once_with_the_place_where_it_belongs() -> None:
    written = {
        "sleeper.dev/local-data": "disposable",
        "sleeper.dev/wave": "1",
        "sleeper.dev/sleep-after": "8h",
    }
    pods = [thing(f"web-1-{n}", owner="ReplicaSet/web-1", annotations=written) for n in range(3)]
    below = {"replica_sets": [thing("web-1", owner="Deployment/web")], "pods": pods}
    web = thing("web", annotations={"sleeper.dev/wave": "1"}, spec={"replicas": 1})
    assert said(space(deployments=[web], **below)) == [
        "sleeper.dev/local-data: 'disposable' on Pod/web-1-0 has no effect; it belongs on "
        "Deployment/web",
        "sleeper.dev/sleep-after: '8h' on Pod/web-1-0 has no effect; it belongs on the namespace",
    ]


@pytest.mark.fault(19)
@pytest.mark.parametrize("key", ["wave", "local-data"])
def test_what_only_sleepers_have_a_use_for_is_named_on_others(key: str) -> None:
    written = {f"sleeper.dev/{key}": "1"}
    assert said(space(daemon_sets=[thing("logs", annotations=written)])) == [
        f"sleeper.dev/{key}: '1' on DaemonSet/logs has no effect on a DaemonSet: only Deployments "
        "and StatefulSets sleep"
    ]


def labelled(name: str, **labels: str) -> dict[str, Any]:
    ours = {f"sleeper.dev/{key.replace('_', '-')}": value for key, value in labels.items()}
    return thing(name, metadata={"labels": {"app": name, **ours}})


def test_a_label_that_should_be_an_annotation_is_named_with_where_it_belongs() -> None:
    web = labelled("web", exclude="true", sleep_after="8h", wavee="1", tenant="acme")
    objects = space(deployments=[web], services=[labelled("web", exclude="true")])
    assert said(objects) == [
        "sleeper.dev/exclude: 'true' on Deployment/web is a label and has no effect; it belongs in "
        "the annotations",
        "sleeper.dev/sleep-after: '8h' on Deployment/web is a label and has no effect; it belongs "
        "in the annotations of the namespace",
        "sleeper.dev/wavee: '1' on Deployment/web is a label and has no effect: the key is not "
        "known; did you mean sleeper.dev/wave (a whole number, default `0`)?",
        "sleeper.dev/exclude: 'true' on Service/web is a label and has no effect; it belongs in "
        "the annotations of a workload or the namespace",
    ]
    assert all(note.ignored for note in workload_warnings(objects))
    assert not is_excluded(objects.deployments[0])


def test_a_label_that_repeats_an_annotation_is_left_in_peace() -> None:
    web = labelled("web", exclude="true")
    web["metadata"]["annotations"] = {"sleeper.dev/exclude": "true"}
    assert said(space(deployments=[web])) == []


def test_of_many_labels_a_few_are_named_and_the_others_counted() -> None:
    web = labelled("web", **{f"nap_{number}": "x" for number in range(100)})
    notes = said(space(deployments=[web]))
    assert len(notes) == 3
    assert notes[-1].endswith("97 more keys are not known and were not looked at")
