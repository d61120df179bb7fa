"""What owners are told about what they wrote."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
from prometheus_client import generate_latest
from structlog.testing import capture_logs

from metrics.core.signals import SignalName
from metrics.instruments import NullRecorder, PrometheusRecorder
from sleeper.control.assess import Assessment
from sleeper.control.book import SpacePage
from sleeper.control.herald import Herald
from sleeper.core.decide import decide
from sleeper.core.fights import REVERSALS, Reversals, fight
from sleeper.core.objects import Metadata, Namespace, SpaceObjects
from sleeper.core.policy import PolicyDefaults, read_policy
from sleeper.core.reasons import Reason
from sleeper.core.snapshot import Hazard
from sleeper.core.verdict import VerdictKind
from sleeper.core.workload_warnings import MOST_OBJECTS, workload_warnings
from sleeper.kube.errors import Conflict, Forbidden, KubeError, OutcomeUnknown
from sleeper.store.spaces import SpaceState
from sleeper.telemetry.clock import SystemClock
from tests.core.values import NOW, api, minutes, policy, snapshot, touch


@dataclass
class Patches:
    """Merge patches as they arrive; refused while ``refusal`` says so."""

    refusal: KubeError | None = None
    seen: list[tuple[str, Any]] = field(default_factory=list)

    async def merge_patch(self, path: str, body: object) -> bytes:
        self.seen.append((path, body))
        if self.refusal is not None:
            raise self.refusal
        return b"{}"


class Events:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.reasons: list[str] = []

    async def record(self, *, note: str, reason: str, **_: Any) -> None:
        self.notes.append(note)
        self.reasons.append(reason)


async def test_keys_that_owners_invent_are_named_in_events_and_add_no_label_to_the_metric() -> None:
    events, recorder = Events(), PrometheusRecorder(SystemClock())
    herald = Herald(client=Patches(), events=events, recorder=recorder)
    namespace = Namespace(metadata=Metadata(name="shop", uid="u"))
    for number in range(3):
        written = policy({f"nap-{number}": "1h", "sleep-after": f"soon-{number}"})
        seen = snapshot()
        assessment = Assessment(
            objects=SpaceObjects(namespace=namespace),
            snapshot=seen,
            reading=written,
            verdict=decide(seen, written, NOW),
            page=SpacePage(state=SpaceState(rules="r", rules_since=NOW, woken_at=None)),
            record=None,
        )
        await herald.publish(assessment)
    assert sum("sleeper.dev/nap-2" in note for note in events.notes) == 1
    exposed = generate_latest(recorder.registry).decode().splitlines()
    assert {line for line in exposed if line.startswith("sleeper_policy_problems_total")} == {
        'sleeper_policy_problems_total{key="sleeper.dev/sleep-after"} 3.0',
        'sleeper_policy_problems_total{key="unknown"} 3.0',
    }


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ({"slep-after": "1h"}, Reason.ANNOTATION_IGNORED),
        ({"wave": "1"}, Reason.ANNOTATION_IGNORED),
        ({"sleep-after": "soon"}, Reason.POLICY_INVALID),
        ({"sleep-after": "soon", "slep-after": "1h"}, Reason.POLICY_INVALID),
    ],
)
async def test_what_holds_nothing_is_told_by_a_reason_of_its_own(
    written: dict[str, str], reason: Reason
) -> None:
    events = Events()
    herald = Herald(client=Patches(), events=events, recorder=NullRecorder())
    seen, reading = snapshot(), policy(written)
    verdict = decide(seen, reading, NOW)
    await herald.publish(
        Assessment(
            objects=SpaceObjects(namespace=Namespace(metadata=Metadata(name="shop", uid="u"))),
            snapshot=seen,
            reading=reading,
            verdict=verdict,
            page=SpacePage(state=SpaceState(rules="r", rules_since=NOW, woken_at=None)),
            record=None,
        )
    )
    assert events.reasons == [reason]
    assert (verdict.reason is Reason.POLICY_INVALID) is (reason is Reason.POLICY_INVALID)


async def test_a_fight_is_told_once_with_the_other_writers_name() -> None:
    events = Events()
    herald = Herald(client=Patches(), events=events, recorder=NullRecorder())
    how = "Deployment/web was scaled to 1 (last written by flux)"
    fought = fight(Reversals(count=REVERSALS, at=NOW, how=how))
    assert fought is not None

    async def publish(*hazards: Hazard) -> None:
        seen, written = snapshot(hazards=hazards), policy()
        assessment = Assessment(
            objects=SpaceObjects(namespace=Namespace(metadata=Metadata(name="shop", uid="u"))),
            snapshot=seen,
            reading=written,
            verdict=decide(seen, written, NOW),
            page=SpacePage(state=SpaceState(rules="r", rules_since=NOW, woken_at=None)),
            record=None,
        )
        await herald.publish(assessment)

    await publish(fought)
    await publish(fought)
    assert len(events.notes) == 1
    assert "flux" in events.notes[0]
    await publish()
    await publish(fought)
    assert len(events.notes) == 2


# Notice


def soon_asleep(present: dict[str, str] | None = None) -> Assessment:
    """A Space that was last used 55 minutes ago and may sleep after an hour."""
    seen = snapshot(signals={SignalName.API: api(NOW)}, last_activity=touch(NOW - minutes(55)))
    reading = policy({"sleep-after": "1h"})
    verdict = decide(seen, reading, NOW)
    assert (verdict.kind, verdict.notice) == (VerdictKind.STAY_AWAKE, True)
    metadata = Metadata(name="shop", uid="u", resource_version="41", annotations=present or {})
    return Assessment(
        objects=SpaceObjects(namespace=Namespace(metadata=metadata)),
        snapshot=seen,
        reading=reading,
        verdict=verdict,
        page=SpacePage(state=SpaceState(rules="r", rules_since=NOW, woken_at=None)),
        record=None,
    )


async def test_notice_is_one_patch_beside_what_was_seen_and_one_event_that_says_when() -> None:
    patches, events = Patches(), Events()
    herald = Herald(client=patches, events=events, recorder=NullRecorder())
    assert await herald.give_notice(soon_asleep()) is True
    ((path, body),) = patches.seen
    assert path == "/api/v1/namespaces/shop"
    assert body["metadata"]["resourceVersion"] == "41"
    assert body["metadata"]["annotations"] | {"sleeper.dev/last-activity-info": ""} == {
        "sleeper.dev/power-state": "Drowsy",
        "sleeper.dev/reason": "IdleNotice",
        "sleeper.dev/next-transition": "2026-11-18T12:10:00Z",
        "sleeper.dev/last-activity": "2026-11-18T11:05:00Z",
        "sleeper.dev/last-activity-info": "",
    }
    (note,) = events.notes
    assert note.endswith("; sleeps at 2026-11-18T12:10:00Z")
    assert note.count("2026-11-18T12:10:00Z") == 1
    assert ".;" not in note


@pytest.mark.fault(8)
async def test_notice_names_what_sleeping_will_empty() -> None:
    patches, events = Patches(), Events()
    herald = Herald(client=patches, events=events, recorder=NullRecorder())
    cache = Hazard(
        reason=Reason.EMPTY_DIR, subject="", message="", holds=False, empties="emptyDir tmp of X"
    )
    seen = soon_asleep()
    await herald.give_notice(replace(seen, snapshot=replace(seen.snapshot, hazards=(cache,))))
    (note,) = events.notes
    assert note.endswith("sleeps at 2026-11-18T12:10:00Z; sleeping empties emptyDir tmp of X")


@pytest.mark.parametrize("refusal", [Conflict, Forbidden, OutcomeUnknown])
async def test_notice_that_is_not_surely_written_is_no_notice_and_is_given_again(
    refusal: type[KubeError],
) -> None:
    """Nor does an Event tell of it: the owner would count from the wrong one."""
    patches, events = Patches(refusal=refusal("no")), Events()
    herald = Herald(client=patches, events=events, recorder=NullRecorder())
    assert await herald.give_notice(soon_asleep()) is False
    assert events.notes == []
    patches.refusal = None
    assert await herald.give_notice(soon_asleep()) is True
    assert len(events.notes) == 1
    first, second = patches.seen
    assert first == second


async def test_a_notice_that_stands_there_already_is_not_written_again() -> None:
    """Its answer was lost: by now the watch shows that it took effect."""
    patches, events = Patches(), Events()
    herald = Herald(client=patches, events=events, recorder=NullRecorder())
    await herald.give_notice(soon_asleep())
    ((_, body),) = patches.seen
    assert await herald.give_notice(soon_asleep(body["metadata"]["annotations"])) is True
    assert len(patches.seen) == 1
    assert len(events.notes) == 2


@dataclass
class SlowPatches:
    """Answers when it is let; counts what waits for it."""

    let: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0
    most: int = 0
    done: int = 0

    async def merge_patch(self, path: str, body: object) -> bytes:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        await self.let.wait()
        self.waiting -= 1
        self.done += 1
        return b"{}"


@pytest.mark.fault(21)
async def test_however_many_spaces_there_are_few_annotations_are_written_at_a_time() -> None:
    patches = SlowPatches()
    herald = Herald(client=patches, events=Events(), recorder=NullRecorder())
    seen = snapshot()
    written = policy({})
    async with asyncio.TaskGroup() as tasks:
        for number in range(200):
            namespace = Namespace(metadata=Metadata(name=f"shop-{number}", uid=f"u-{number}"))
            assessment = Assessment(
                objects=SpaceObjects(namespace=namespace),
                snapshot=seen,
                reading=written,
                verdict=decide(seen, written, NOW),
                page=SpacePage(state=SpaceState(rules="r", rules_since=NOW, woken_at=None)),
                record=None,
            )
            tasks.create_task(herald.publish(assessment))
        for _ in range(5):
            await asyncio.sleep(0)
        patches.let.set()
    assert (patches.most, patches.done) == (16, 200)


@pytest.mark.fault(15)
async def test_however_much_is_misspelt_there_is_one_event_and_one_line_for_an_object() -> None:
    events = Events()
    herald = Herald(client=Patches(), events=events, recorder=NullRecorder())
    keys = {f"sleeper.dev/excluded-{number}": "x" * 10_000 for number in range(100)}
    webs = [{"metadata": {"name": f"web-{n}", "annotations": keys}} for n in range(100)]
    objects = msgspec.convert(
        {
            "namespace": {"metadata": {"name": "shop", "uid": "u", "annotations": keys}},
            "deployments": webs,
        },
        SpaceObjects,
    )
    seen = snapshot()
    written = read_policy(keys, PolicyDefaults(), has_routes=False)
    written = replace(written, warnings=(*written.warnings, *workload_warnings(objects)))
    assessment = Assessment(
        objects=objects,
        snapshot=seen,
        reading=written,
        verdict=decide(seen, written, NOW),
        page=SpacePage(state=SpaceState(rules="r", rules_since=NOW, woken_at=None)),
        record=None,
    )
    with capture_logs() as lines:
        for _ in range(2):
            await herald.publish(assessment)
    assert len(events.notes) == len(lines) == 1 + MOST_OBJECTS
    assert max(map(len, events.notes)) < 2000


@pytest.mark.fault(15)
async def test_of_many_forged_notes_a_few_are_told_shortly_and_the_others_counted() -> None:
    events = Events()
    herald = Herald(client=Patches(), events=events, recorder=NullRecorder())
    forged = {"sleeper.dev/restore": "x" * 250_000}
    webs = [{"metadata": {"name": f"web-{n}", "annotations": forged}} for n in range(100)]
    objects = msgspec.convert(
        {"namespace": {"metadata": {"name": "shop", "uid": "u"}}, "deployments": webs},
        SpaceObjects,
    )
    seen, written = snapshot(), policy({})
    await herald.publish(
        Assessment(
            objects=objects,
            snapshot=seen,
            reading=written,
            verdict=decide(seen, written, NOW),
            page=SpacePage(state=SpaceState(rules="r", rules_since=NOW, woken_at=None)),
            record=None,
        )
    )
    assert len(events.notes) == MOST_OBJECTS
    assert max(map(len, events.notes)) < 500
    assert sum("80 more objects carry one that is not" in note for note in events.notes) == 1
