"""What owners are told about what they wrote."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from prometheus_client import generate_latest

from metrics.instruments import PrometheusRecorder
from sleeper.control.herald import Herald
from sleeper.core.objects import Metadata, Namespace, SpaceObjects
from sleeper.telemetry.clock import SystemClock
from tests.core.values import policy


class Events:
    def __init__(self) -> None:
        self.notes: list[str] = []

    async def record(self, *, note: str, **_: Any) -> None:
        self.notes.append(note)


async def test_keys_that_owners_invent_are_named_in_events_and_add_no_label_to_the_metric() -> None:
    events, recorder = Events(), PrometheusRecorder(SystemClock())
    herald = Herald(client=None, events=events, recorder=recorder)
    namespace = Namespace(metadata=Metadata(name="shop", uid="u"))
    for number in range(3):
        written = policy({f"nap-{number}": "1h", "sleep-after": f"soon-{number}"})
        assessment = SimpleNamespace(reading=written, objects=SpaceObjects(namespace=namespace))
        await herald._warn(namespace, assessment)
    assert sum("sleeper.dev/nap-2" in note for note in events.notes) == 1
    exposed = generate_latest(recorder.registry).decode().splitlines()
    assert {line for line in exposed if line.startswith("sleeper_policy_problems_total")} == {
        'sleeper_policy_problems_total{key="sleeper.dev/sleep-after"} 3.0',
        'sleeper_policy_problems_total{key="unknown"} 3.0',
    }
