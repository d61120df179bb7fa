"""What whoever may edit a namespace can make long or many costs little, and is still told.

Costs are counted and not timed. What must be looked at as a whole may cost as much as there is of
it, and no more: four times as much for four times as many.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from metrics.core.traffic_providers import TRAEFIK
from sleeper.core import policy as policy_module
from sleeper.core.authorship import witness
from sleeper.core.carriers import traffic_labels, uncarried
from sleeper.core.hazards import find_hazards
from sleeper.core.managed_fields import FieldOwner, disown_ops, owners_of
from sleeper.core.names import ANNOTATIONS, Target
from sleeper.core.notes import LONGEST_NOTE, MOST_OWNERS, RestoreNote, encode_note, read_note
from sleeper.core.objects import Pod, SpaceObjects
from sleeper.core.ownership import live_pods
from sleeper.core.plan import sleepable, waves
from sleeper.core.policy import LONGEST_READ, MOST_UNKNOWN, PolicyDefaults, read_policy
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.record import Entry, FreedRequests, SleepRecord
from sleeper.core.restore import copied_notes, forged_notes, late_notes, notes_in, owner_wake
from sleeper.core.routes import route_versions
from sleeper.core.schedule import parse_awake_hours
from sleeper.core.text import some
from sleeper.core.workload_warnings import MOST_OBJECTS, workload_warnings
from sleeper.core.workloads import KINDS
from tests.core.test_hazards import pod, reference, space, stateful_set, thing
from tests.core.values import NOW, policy
from tests.support.effort import effort

MANY = 12_000
HUGE = "9" * 250_000
"""Nearly all that the API server lets stand in the annotations of one object."""

OWNERS_KEYS = [
    spec.key.removeprefix("sleeper.dev/")
    for spec in ANNOTATIONS
    if not spec.by_us and Target.NAMESPACE in spec.targets and spec.form != "any text"
]


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is compared with the keys that are known, as it is."""
    searched: list[str] = []

    def search(word: str, *args: Any, **options: Any) -> list[str]:
        searched.append(word)
        return difflib.get_close_matches(word, *args, **options)

    monkeypatch.setattr(policy_module, "get_close_matches", search)
    return searched


def misspelt(many: int) -> dict[str, str]:
    return {f"sleeper.dev/excluded-{number:05}": "true" for number in range(many)}


def deployments(many: int, annotations: dict[str, str]) -> SpaceObjects:
    return space(
        deployments=[thing(f"web-{number}", annotations=annotations) for number in range(many)]
    )


@pytest.mark.fault(15)
def test_of_many_keys_that_are_not_known_a_few_are_looked_at_and_the_others_counted(
    searches: list[str],
) -> None:
    notes = workload_warnings(deployments(1, misspelt(MANY)))
    assert len(searches) == len(notes) == MOST_UNKNOWN
    assert str(notes[-1]).endswith(
        f"; {MANY - MOST_UNKNOWN} more keys are not known and were not looked at"
    )
    searches.clear()
    warnings = read_policy(misspelt(MANY), PolicyDefaults(), has_routes=False).warnings
    assert len(searches) == len(warnings) == MOST_UNKNOWN
    assert f"{MANY - MOST_UNKNOWN} more keys" in str(warnings[-1])


def test_a_known_key_is_read_however_many_stand_beside_it() -> None:
    crowd = {key.removeprefix("sleeper.dev/"): value for key, value in misspelt(MANY).items()}
    assert policy({**crowd, "keep-awake-until": "never"}).problems
    objects = deployments(1, {**misspelt(MANY), "sleeper.dev/wave": "first"})
    assert "sleeper.dev/wave: 'first'" in str(workload_warnings(objects)[0])


@pytest.mark.fault(15)
def test_of_many_objects_with_such_keys_a_few_are_named_and_the_others_counted() -> None:
    notes = workload_warnings(deployments(500, misspelt(1)))
    assert len({note.on for note in notes}) == MOST_OBJECTS
    assert str(notes[-1]).endswith(f"; {500 - MOST_OBJECTS} more objects carry annotations in vain")


@pytest.mark.fault(15)
@pytest.mark.parametrize("key", OWNERS_KEYS)
def test_a_value_that_is_longer_than_any_is_not_read_and_holds(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    for name in ("parse_duration", "parse_instant", "_hours", "ZoneInfo", "read_flag"):
        monkeypatch.setattr(policy_module, name, read.append)
    (problem,) = policy({key: HUGE}).problems
    assert read == []
    assert f"it is longer than {LONGEST_READ} characters" in str(problem)
    assert len(str(problem)) < 500


@pytest.mark.parametrize("key", ["exclude", "wave"])
def test_a_value_on_a_workload_that_is_longer_than_any_is_told_shortly(key: str) -> None:
    (note,) = workload_warnings(deployments(1, {f"sleeper.dev/{key}": HUGE}))
    assert "cannot be read" in str(note)
    assert len(str(note)) < 500


@pytest.mark.fault(15)
def test_awake_hours_of_the_longest_text_that_is_read_cost_little() -> None:
    ordinary = effort(lambda: parse_awake_hours("Mon-Fri 08:00-19:00; Sat 10:00-14:00"))
    days = ",".join(["Mon-Sun"] * 126)
    longest = f"{days} 00:01-24:00"
    assert LONGEST_READ - 10 < len(longest) <= LONGEST_READ
    assert effort(lambda: parse_awake_hours(longest)) < 3 * ordinary


@pytest.mark.fault(15)
@pytest.mark.parametrize(
    "raw",
    [
        HUGE,
        json.dumps({"v": 1, "space": "5e1f", "epoch": 1, "uid": "u", "fields": {HUGE: 1}}),
        encode_note(
            RestoreNote(
                space_uid="5e1f",
                epoch=1,
                uid="uid-web-0",
                fields={"/spec/replicas": 2, "/spec/" + "x" * 20_000: 1},
            )
        ),
    ],
    ids=["digits", "path", "path that is read"],
)
def test_a_forged_note_is_refused_shortly_however_long_it_is(raw: str) -> None:
    ((_, doubt),) = forged_notes(deployments(1, {"sleeper.dev/restore": raw}))
    assert len(doubt.why) < 300


def test_a_note_of_ours_can_always_be_read_however_many_managers_somebody_makes_up() -> None:
    owners = tuple(
        FieldOwner(
            manager='"' * 128,
            operation="Apply",
            subresource="scale",
            api_version="apps/v1",
            time="2026-11-28T00:00:00Z",
            pointers=("/spec/replicas",),
        )
        for _ in range(2000)
    )
    raw = encode_note(
        RestoreNote(
            space_uid="5e1f", epoch=1, uid="uid-web-0", fields={"/spec/replicas": 2}, owners=owners
        )
    )
    assert len(raw) < LONGEST_NOTE
    ((_, note),) = notes_in(deployments(1, {"sleeper.dev/restore": raw}))
    assert note.owners == owners[:MOST_OWNERS]


@pytest.mark.parametrize("applied", [10**4000, "x" * 100_000, "Retain", 3, None])
def test_what_an_owner_claims_to_have_applied_makes_no_note_long(applied: object) -> None:
    manifest = json.dumps({"spec": {"replicas": applied}})
    live = {
        "metadata": {
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": manifest},
            "managedFields": [],
        }
    }
    assert len(str(witness(live, ("/spec/replicas",)).applied)) < 200


def crowded(many: int) -> SpaceObjects:
    """A namespace in which everything that can be looked for is there, as often as ``many``.

    Its ReplicaSets are one long chain, and each belongs to a Deployment too.
    """
    numbers = range(many)
    volumes = [{"name": f"v{volume}", "emptyDir": {}} for volume in range(3)]

    def chained(number: int) -> dict[str, Any]:
        above = [reference(f"Deployment/web-{number}")]
        if number:
            above.append(reference(f"ReplicaSet/set-{number - 1}", controller=False))
        return thing(
            f"set-{number}", metadata={"ownerReferences": above[::-1]}, spec={"replicas": 1}
        )

    return space(
        deployments=[
            thing(f"web-{n}", annotations={"sleeper.dev/wave": str(n)}, spec={"replicas": 1})
            for n in numbers
        ],
        stateful_sets=[stateful_set(f"db-{n}") for n in numbers],
        replica_sets=[chained(n) for n in numbers],
        replication_controllers=[thing(f"old-{n}", spec={"replicas": 1}) for n in numbers],
        pods=[
            pod(
                f"pod-{n}",
                owner=f"ReplicaSet/set-{n}",
                annotations={
                    "sleeper.dev/exclude": "true",
                    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
                },
                spec={"volumes": volumes, "containers": [{"name": "db", "image": "postgres:17"}]},
            )
            for n in numbers
        ],
        autoscalers=[
            thing(
                f"hpa-{n}",
                spec={
                    "scaleTargetRef": {
                        "apiVersion": "apps/v1",
                        "kind": "Deployment",
                        "name": f"web-{many - 1}",
                    }
                },
            )
            for n in numbers
        ],
        jobs=[thing(f"job-{n}", owner=f"CronJob/cron-{n}") for n in numbers],
        cron_jobs=[thing(f"cron-{n}", spec={"schedule": "* * * * *"}) for n in numbers],
        services=[
            thing(f"svc-{n}", spec={"type": "LoadBalancer", "ports": [{"port": 80}]})
            for n in numbers
        ],
        ingresses=[thing(f"ing-{n}", spec={"rules": []}) for n in numbers],
    )


def falling_asleep(objects: SpaceObjects) -> SleepRecord:
    """A sleep of which every workload is on record and none has had its turn."""
    return SleepRecord(
        space_uid="5e1f",
        space_name="team-a-dev",
        tenant="t",
        epoch=1,
        phase=PowerState.FALLING_ASLEEP,
        reason=Reason.IDLE,
        horizon=NOW,
        decided_at=NOW,
        entries=tuple(
            Entry(ref=item.ref, fields={"/spec/replicas": 1}) for item in sleepable(objects)
        ),
        freed=FreedRequests(cpu_millis=0, memory_bytes=0, pods=0),
    )


LOOKS: dict[str, Callable[[SpaceObjects, SleepRecord], object]] = {
    "hazards": lambda objects, record: find_hazards(objects),
    "hazards asleep": find_hazards,
    "plan": lambda objects, record: sleepable(objects),
    "owner's hand": owner_wake,
    "Pods": lambda objects, record: live_pods(objects, [entry.ref for entry in record.entries]),
    "warnings": lambda objects, record: workload_warnings(objects),
    "late notes": late_notes,
    "forged notes": lambda objects, record: forged_notes(objects),
    "copied notes": lambda objects, record: copied_notes(objects),
    "waves": lambda objects, record: waves(record.entries),
    "routes": lambda objects, record: route_versions(objects),
    "carriers": lambda objects, record: uncarried(TRAEFIK, objects, {}),
    "labels": lambda objects, record: traffic_labels(TRAEFIK, objects),
}


@pytest.mark.fault(15)
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_look_costs_as_much_as_there_is_and_not_its_square(
    look: Callable[[SpaceObjects, SleepRecord], object],
) -> None:
    few, many = crowded(50), crowded(200)
    short, long = falling_asleep(few), falling_asleep(many)
    assert effort(lambda: look(many, long)) < 5 * effort(lambda: look(few, short))


@pytest.mark.fault(15)
def test_owners_that_are_named_many_times_over_cost_as_much_as_there_are() -> None:
    def shared(many: int) -> SpaceObjects:
        webs = [thing(f"web-{n}", spec={"replicas": 1}) for n in range(many)]
        above = [reference(f"Deployment/web-{n}") for n in range(many)]
        middle = thing("set", metadata={"ownerReferences": above}, spec={"replicas": 1})
        pods = [pod(f"pod-{n}", owner="ReplicaSet/set") for n in range(many)]
        return space(deployments=webs, replica_sets=[middle], pods=pods)

    few, many = shared(100), shared(400)
    assert effort(lambda: find_hazards(many)) < 5 * effort(lambda: find_hazards(few))


@pytest.mark.parametrize("part", ["containers", "volumes", "mounts"])
def test_a_pod_costs_as_much_as_stands_in_it(part: str) -> None:
    def made(many: int) -> dict[str, Any]:
        mounts = [{"name": f"v{n}", "mountPath": f"/m{n}"} for n in range(many)]
        containers = [
            {
                "name": f"c{n}",
                "image": "postgres:17",
                "volumeMounts": mounts if part == "mounts" else mounts[:1],
            }
            for n in range(many if part == "containers" else 1)
        ]
        volumes = [{"name": f"v{n}", "emptyDir": {}} for n in range(many)]
        return pod("p", spec={"containers": containers, "volumes": volumes})

    def cost(many: int) -> int:
        wire = made(many)
        return effort(lambda: msgspec.convert(wire, Pod))

    assert cost(200) < 5 * cost(50)


def test_managers_that_somebody_makes_up_cost_as_much_as_there_are() -> None:
    def live(managers: int) -> dict[str, Any]:
        entries = [
            {
                "manager": f"m{number}",
                "operation": "Apply",
                "apiVersion": "apps/v1",
                "fieldsType": "FieldsV1",
                "fieldsV1": {"f:spec": {"f:replicas": {}}},
            }
            for number in range(managers)
        ]
        ours = {**entries[0], "manager": "sleeper", "operation": "Update"}
        return {"metadata": {"managedFields": [*entries, ours]}}

    def disown(managers: int) -> object:
        found = owners_of(live(managers), ("/spec/replicas",))
        kept = encode_note(
            RestoreNote(space_uid="s", epoch=1, uid="u", fields={"/spec/replicas": 1}, owners=found)
        )
        note = read_note(kept, kind=KINDS["Deployment"], object_uid="u", space_uid="s")
        assert isinstance(note, RestoreNote)
        return disown_ops(live(managers), note.owners)

    assert effort(lambda: disown(400)) < 5 * effort(lambda: disown(100))


def test_names_that_are_told_are_few_and_the_others_counted() -> None:
    assert some(["a", "b"]) == "a, b"
    assert some([f"w{n}" for n in range(9)]) == "w0, w1, w2, w3, w4, 4 more"
    volumes = [{"name": f"v{n}", "emptyDir": {}} for n in range(3000)]
    sets = [thing(f"set-{n}", owner="Deployment/web", spec={"replicas": 1}) for n in range(3000)]
    objects = space(
        deployments=[thing("web", spec={"replicas": 1})],
        replica_sets=sets,
        pods=[
            pod("p", owner="ReplicaSet/set-0", spec={"volumes": volumes}),
            pod("q", annotations={"karpenter.sh/do-not-disrupt": HUGE}),
        ],
    )
    assert max(len(hazard.message) for hazard in find_hazards(objects)) < 500
