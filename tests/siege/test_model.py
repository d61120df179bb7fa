"""The model of the owners' last will, on objects as small as they can be."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.siege.model import (
    LAST_APPLIED,
    RESTORE,
    Json,
    Key,
    Serve,
    Sight,
    SpaceModel,
    Template,
    Word,
    template_of,
)
from tests.siege.plan import episode, furniture

DB: Key = ("StatefulSet", "db")
WEB: Key = ("Deployment", "web")
NOTE = '{"v":1,"uid":"uid-web"}'


def workload(key: Key, replicas: int, *, image: str = "1", when_scaled: str = "Retain") -> Json:
    kind, name = key
    spec: Json = {
        "replicas": replicas,
        "revisionHistoryLimit": 10,
        "template": {
            "metadata": {
                "labels": {"app": name},
                "annotations": {"devcluster.sleeper.dev/start-after": "200ms"},
            },
            "spec": {"containers": [{"name": "app", "image": image}]},
        },
    }
    if kind == "StatefulSet":
        spec["persistentVolumeClaimRetentionPolicy"] = {"whenScaled": when_scaled}
    meta: Json = {"name": name, "uid": f"uid-{name}", "annotations": {}, "managedFields": []}
    return {"kind": kind, "metadata": meta, "spec": spec}


def slept(live: Json) -> Json:
    """As sleeper leaves it."""
    down = copy.deepcopy(live)
    down["spec"]["replicas"] = 0
    if "persistentVolumeClaimRetentionPolicy" in down["spec"]:
        down["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"] = "Retain"
    down["metadata"]["annotations"][RESTORE] = NOTE
    return down


def told(live: Json, **spec: Any) -> Json:
    """As it is after an owner wrote these fields."""
    after = copy.deepcopy(live)
    after["spec"].update(spec)
    return after


def applied(live: Json, **spec: Any) -> Json:
    """The same by client-side apply."""
    after = told(live, **spec)
    after["metadata"]["annotations"][LAST_APPLIED] = json.dumps({"spec": spec})
    return after


def owned(live: Json, *path: str) -> Json:
    """The same by server-side apply: the field is theirs."""
    after = copy.deepcopy(live)
    fields: Json = {}
    for name in reversed(path):
        fields = {f"f:{name}": fields}
    entry = {"manager": "kubectl", "operation": "Apply", "fieldsV1": fields}
    after["metadata"]["managedFields"].append(entry)
    return after


def pods(key: Key, count: int, *, image: str = "1", ready: bool = True) -> list[Json]:
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    pod = {
        "metadata": {"labels": {"app": key[1]}},
        "spec": {"containers": [{"image": image}]},
        "status": {"conditions": [condition]},
    }
    return [pod] * count


def sight(
    *live: Json,
    power: str = "Awake",
    running: list[Json] | None = None,
    claims: dict[str, str] | None = None,
) -> Sight:
    """A settled Space with these workloads."""
    record = {
        "spec": {"decidedAt": "2026-11-21T12:00:00Z", "spaceUID": "uid"},
        "status": {"phase": "Asleep"},
    }
    namespace = {
        "metadata": {
            "name": "space",
            "labels": {"sleeper.dev/tenant": "a"},
            "annotations": {"sleeper.dev/power-state": power},
        }
    }
    return Sight(
        namespace=namespace,
        workloads={(one["kind"], one["metadata"]["name"]): one for one in live},
        pods=running or [],
        claims=claims or {},
        records=[record] if power == "Asleep" else [],
    )


def complaints(model: SpaceModel, seen: Sight, *, asked: bool = False) -> list[str]:
    return [str(complaint) for complaint in model.complaints(seen, asked=asked)]


def of(live: Json) -> SpaceModel:
    model = SpaceModel()
    model.created(live)
    return model


def test_what_is_as_it_was_gives_no_cause_for_complaint() -> None:
    web = workload(WEB, 2)
    model = of(web)
    assert complaints(model, sight(web, running=pods(WEB, 2))) == []
    assert complaints(model, sight(slept(web), power="Asleep")) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (sight(workload(WEB, 1), running=pods(WEB, 1)), "replicas are 1, wanted 2"),
        (sight(), "it is gone"),
        (sight(workload(WEB, 2)), "Pods are {}"),
        (sight(workload(WEB, 2), running=pods(WEB, 2, image="2")), "wanted 2 of 1"),
        (sight(workload(WEB, 2), running=pods(WEB, 2, ready=False)), "Ready {}"),
        (sight(slept(workload(WEB, 2))), "replicas are 0"),
        (sight(workload(WEB, 2), power="Waking"), "stuck"),
        (sight(workload(WEB, 2), power="Asleep"), "it runs (2) in a Space that stays asleep"),
        (sight(workload(WEB, 0), power="Asleep"), "at zero without a restore annotation"),
        (sight(slept(workload(WEB, 2)), power="Asleep", running=pods(WEB, 1)), "1 of its Pods"),
    ],
)
def test_what_is_not_is_named(wrong: Sight, said: str) -> None:
    found = complaints(of(workload(WEB, 2)), wrong)
    assert any(said in complaint for complaint in found), found


def test_a_trace_of_ours_is_named() -> None:
    web = workload(WEB, 1)
    marked = copy.deepcopy(web)
    marked["metadata"]["annotations"][RESTORE] = NOTE
    marked["metadata"]["managedFields"] = [{"manager": "sleeper", "operation": "Update"}]
    found = complaints(of(web), sight(marked, running=pods(WEB, 1)))
    assert [line.split(":")[0] for line in found] == ["left", "left"]


def test_zero_said_awake_is_zero_for_good() -> None:
    web = workload(WEB, 2)
    model = of(web)
    model.wrote(WEB, web, told(web, replicas=0), Word(replicas=0))
    assert model.wills[WEB].replicas == {0}


def test_a_second_zero_that_leaves_no_trace_may_be_either() -> None:
    web = slept(workload(WEB, 2))
    model = of(workload(WEB, 2))
    model.wrote(WEB, web, web, Word(replicas=0))
    assert model.wills[WEB].replicas == {0, 2}
    up = workload(WEB, 2)
    assert complaints(model, sight(up, running=pods(WEB, 2))) == []
    model.settle(sight(up, running=pods(WEB, 2)))
    assert model.wills[WEB].replicas == {2}
    assert model.counts == {"replicas that nothing tells: what it was": 1}


@pytest.mark.parametrize(
    "write", [lambda w: applied(w, replicas=0), lambda w: owned(w, "spec", "replicas")]
)
def test_a_second_zero_by_apply_is_a_zero(write: Any) -> None:
    web = slept(workload(WEB, 2))
    model = of(workload(WEB, 2))
    model.wrote(WEB, web, write(web), Word(replicas=0))
    assert model.wills[WEB].replicas == {0}


def test_an_apply_of_the_same_manifest_as_before_says_nothing_new() -> None:
    web = slept(applied(workload(WEB, 2), replicas=0))
    model = of(workload(WEB, 2))
    model.wrote(WEB, web, applied(web, replicas=0), Word(replicas=0))
    assert model.wills[WEB].replicas == {0, 2}


def test_retain_said_while_it_sleeps_is_kept_where_it_can_be_told() -> None:
    db = workload(DB, 2, when_scaled="Delete")
    path = ("spec", "persistentVolumeClaimRetentionPolicy", "whenScaled")
    for write, wanted in (
        (lambda live: live, {"Delete", "Retain"}),
        (lambda live: owned(live, *path), {"Retain"}),
    ):
        model = of(db)
        down = slept(db)
        model.wrote(DB, down, write(down), Word(when_scaled="Retain"))
        assert model.wills[DB].when_scaled == wanted


def test_claims_may_stay_retained_where_their_owner_wrote_the_object_asleep() -> None:
    db = workload(DB, 2, when_scaled="Delete")
    model = of(db)
    image = Template(image="2", start_after="200ms")
    model.wrote(DB, slept(db), slept(db), Word(template=image))
    assert model.wills[DB].when_scaled == {"Delete", "Retain"}
    assert model.wills[DB].replicas == {2}


def test_claims_go_only_where_their_owner_scales_down_with_delete() -> None:
    claims = {"data-db-0": "a", "data-db-1": "b"}
    for when_scaled, complains in (("Delete", False), ("Retain", True)):
        db = workload(DB, 2, when_scaled=when_scaled)
        model = of(db)
        model.settle(sight(db, claims=claims, running=pods(DB, 2)))
        fewer = told(db, replicas=1)
        model.wrote(DB, db, fewer, Word(replicas=1))
        left = sight(fewer, claims={"data-db-0": "a"}, running=pods(DB, 1))
        assert bool(complaints(model, left)) is complains
        other = sight(fewer, claims={"data-db-0": "x", "data-db-1": "b"}, running=pods(DB, 1))
        assert complaints(model, other)


def test_a_copy_of_a_sleeping_object_is_owed_what_it_was_once_somebody_asks() -> None:
    web = workload(WEB, 2)
    model = of(web)
    copied = slept(web)
    copied["metadata"]["uid"] = "another"
    will = model.deleted(WEB)
    model.copied(copied, will)
    assert complaints(model, sight(copied)) == []
    found = complaints(model, sight(copied), asked=True)
    assert any("replicas are 0, wanted 2" in line for line in found)
    assert any("restore annotation" in line for line in found)
    up = told(web)
    up["metadata"]["uid"] = "another"
    assert complaints(model, sight(up, running=pods(WEB, 2)), asked=True) == []


def bad(live: Json) -> Json:
    after = copy.deepcopy(live)
    template = after["spec"]["template"]
    template["metadata"]["annotations"]["devcluster.sleeper.dev/start-after"] = "24h"
    template["spec"]["containers"][0]["image"] = "bad"
    return after


BAD = Word(template=Template(image="bad", start_after="24h"))


def test_a_roll_out_that_cannot_go_on_keeps_what_serves() -> None:
    web = workload(WEB, 3)
    model = of(web)
    model.wrote(WEB, web, bad(web), BAD)
    both = pods(WEB, 3) + pods(WEB, 1, image="bad", ready=False)
    assert complaints(model, sight(bad(web), running=both)) == []
    gone = pods(WEB, 4, image="bad", ready=False)
    assert any("at least" in line for line in complaints(model, sight(bad(web), running=gone)))
    assert complaints(model, sight(slept(bad(web)), power="Asleep"))


def test_a_roll_out_that_is_held_keeps_exactly_what_runs() -> None:
    db = workload(DB, 3)
    model = of(db)
    model.settle(sight(db, running=pods(DB, 3)))
    after = told(db, updateStrategy={"rollingUpdate": {"partition": 2}})
    after["spec"]["template"]["spec"]["containers"][0]["image"] = "2"
    model.wrote(DB, db, after, Word(template=Template(image="2", start_after="200ms")))
    held = pods(DB, 2) + pods(DB, 1, image="2")
    assert complaints(model, sight(after, running=held)) == []
    everywhere = pods(DB, 3, image="2")
    assert any("held there" in line for line in complaints(model, sight(after, running=everywhere)))


def test_a_template_that_changes_at_zero_is_for_every_pod() -> None:
    web = workload(WEB, 3)
    model = of(web)
    model.wrote(WEB, slept(web), slept(bad(web)), BAD)
    assert model.wills[WEB].pods.serve is Serve.ANY
    assert complaints(model, sight(slept(bad(web)), power="Asleep")) == []


def test_a_partitioned_roll_out_that_begins_asleep_wakes() -> None:
    db = workload(DB, 3)
    db["spec"]["updateStrategy"] = {"rollingUpdate": {"partition": 2}}
    after = slept(db)
    after["spec"]["template"]["spec"]["containers"][0]["image"] = "2"
    word = Word(template=Template(image="2", start_after="200ms"))
    decided = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()
    for later, complains in ((1, True), (-1, False)):  # -1: a later sleep than the one it met
        model = of(db)
        model.wrote(DB, slept(db), after, word, at=decided + later)
        found = complaints(model, sight(after, power="Asleep"))
        assert any("partition" in line for line in found) is complains


def test_a_sleep_that_was_decided_under_a_hold_is_named() -> None:
    web = workload(WEB, 2)
    model = of(web)
    model.holds["an autoscaler"] = 0.0
    assert any(
        "autoscaler" in line for line in complaints(model, sight(slept(web), power="Asleep"))
    )


def test_the_same_seed_makes_the_same_choices() -> None:
    drawn = [episode("a", 3, slots=4, seconds=20) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert episode("b", 3, slots=4, seconds=20) != drawn[0]
    assert furniture("a", 1, 0) == furniture("a", 1, 0)


def test_a_deployment_that_was_created_paused_has_no_pods_whatever_image_it_gets() -> None:
    paused = told(workload(WEB, 3), paused=True)
    model = SpaceModel()
    model.created(paused)
    after = workload(WEB, 3, image="2")
    after = told(after, paused=True)
    model.wrote(WEB, paused, after, Word(template=template_of(after)))

    assert complaints(model, sight(after)) == []
    assert complaints(model, sight(after, running=pods(WEB, 3, image="2"))) != []


def test_a_paused_deployment_that_its_owner_has_at_zero_was_not_put_to_sleep() -> None:
    off = told(workload(WEB, 0), paused=True)
    model = SpaceModel()
    model.created(off)
    assert complaints(model, sight(off, power="Asleep"), asked=False) == []
