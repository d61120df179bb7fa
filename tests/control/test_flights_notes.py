"""Late and forged restore notes, against the model API server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from metrics.instruments import NullRecorder
from sleeper.control.flight_result import FlightSettings
from sleeper.control.flights import Flights
from sleeper.core.names import RESTORE
from sleeper.core.reasons import Reason
from sleeper.kube.errors import Forbidden
from tests.control.deck import (
    SPACE,
    FixedClock,
    HeardEvents,
    essence,
    flights,
    mixed_space,
    replicas,
    sleep_once,
)
from tests.support.modelapi import Json, ModelRecords


async def test_a_write_that_lands_after_its_sleep_is_over_is_undone_without_a_record() -> None:
    api = mixed_space()
    before = essence(api)
    await sleep_once(api)
    api.stored.clear()  # as if the sleep were long over
    deck = flights(api)

    assert deck.has_late_writes(SPACE.name)
    await deck.undo_late(SPACE.name)

    assert not deck.has_late_writes(SPACE.name)
    assert essence(api) == before


async def test_only_what_was_undone_is_said_to_be() -> None:
    api = mixed_space()
    await sleep_once(api)
    api.stored.clear()

    def deny_web(name: str, write: Callable[[], Any]) -> Any:
        if name == "patch deployments/web":
            raise Forbidden('admission webhook "no.example" denied the request', status=403)
        return write()

    api.fault = deny_web
    events = HeardEvents()
    deck = flights(api, events=events)
    await deck.undo_late(SPACE.name)
    assert ["StatefulSet/db" in note and "web" not in note for note in events.notes] == [True]

    await deck.undo_late(SPACE.name)
    assert len(events.notes) == 1
    assert deck.has_late_writes(SPACE.name)


async def test_a_watch_that_lags_behind_the_record_undoes_nothing() -> None:
    api = mixed_space()
    await sleep_once(api)

    class Lagging(ModelRecords):
        def all(self) -> dict[str, Any]:
            return {}

    deck = Flights(
        client=api,
        records=Lagging(api),
        spaces=api,
        clock=FixedClock(),
        recorder=NullRecorder(),
        events=HeardEvents(),
        may_write=lambda _s: True,
        observes=lambda _name: False,
        settings=FlightSettings(),
    )
    assert deck.has_late_writes(SPACE.name)
    await deck.undo_late(SPACE.name)
    assert set(replicas(api).values()) == {0}


@pytest.mark.parametrize(
    "change",
    [
        {"fields": {"/spec/replicas": 1_000_000}},
        {"fields": {"/spec/replicas": "4"}},
        {"fields": {"/spec/replicas": True}},
        {"fields": {"/spec/template/spec/hostNetwork": True}},
        {"uid": "another"},
        {"space": "another"},
        {"epoch": -1},
        {"v": 2},
        {"extra": 1},
    ],
)
async def test_a_forged_note_is_not_believed_and_the_record_brings_the_object_back(
    change: Json,
) -> None:
    api = mixed_space()
    before = essence(api)
    await sleep_once(api)
    annotations = api.objects["Deployment", "web"]["metadata"]["annotations"]
    forged = json.dumps(json.loads(annotations[RESTORE]) | change)
    api.annotate("Deployment", "web", RESTORE, forged)

    assert (await flights(api).wake(SPACE.uid, Reason.TOUCHED)).ok

    assert {k: v["spec"] for k, v in essence(api).items()} == {
        k: v["spec"] for k, v in before.items()
    }
    assert RESTORE not in api.objects["Deployment", "web"]["metadata"]["annotations"]
