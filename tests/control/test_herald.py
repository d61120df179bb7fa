"""What owners are told about what they wrote."""

from __future__ import annotations

from typing import Any

from prometheus_client import generate_latest

from metrics.instruments import NullRecorder, PrometheusRecorder
from sleeper.control.assess import Assessment
from sleeper.control.book import SpacePage
from sleeper.control.herald import Herald
from sleeper.core.decide import decide
from sleeper.core.fights import REVERSALS, Reversals, fight
from sleeper.core.objects import Metadata, Namespace, SpaceObjects
from sleeper.core.snapshot import Hazard
from sleeper.store.spaces import SpaceState
from sleeper.telemetry.clock import SystemClock
from tests.core.values import NOW, policy, snapshot


class Patches:
    async def merge_patch(self, path: str, body: object) -> bytes:
        return b"{}"


class Events:
    def __init__(self) -> None:
        self.notes: list[str] = []

    async def record(self, *, note: str, **_: Any) -> None:
        self.notes.append(note)


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
