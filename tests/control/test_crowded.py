"""Flights in a namespace with many objects: a share of everybody's loop and requests, not all."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from metrics.instruments import NullRecorder
from sleeper.control.actuator import Actuator, Result
from sleeper.control.flight_result import FlightSettings
from sleeper.control.waking import Waking
from sleeper.core.objects import SpaceObjects
from sleeper.core.record import ObjectRef, SleepRecord
from tests.control.deck import FixedClock
from tests.core.test_bounds import crowded, falling_asleep
from tests.support.effort import effort


class Crowd:
    """Knows one namespace."""

    def __init__(self, objects: SpaceObjects) -> None:
        self._objects = objects

    def space(self, _name: str) -> SpaceObjects:
        return self._objects


async def wait_for_ready(objects: SpaceObjects, record: SleepRecord) -> tuple[str, ...]:
    waking = Waking(
        client=None,  # type: ignore[arg-type]  # nothing is read or written
        records=None,  # type: ignore[arg-type]
        spaces=Crowd(objects),
        actuator=None,  # type: ignore[arg-type]
        clock=FixedClock(),
        settings=FlightSettings(poll_seconds=0),
    )
    results = [Result(ref=entry.ref, left=None, generation=0) for entry in record.entries]
    return await waking._ready(record, results, until=0.0)


@pytest.mark.fault(15)
def test_to_wait_for_many_workloads_costs_as_much_as_there_are() -> None:
    few, many = crowded(25), crowded(100)
    short, long = falling_asleep(few), falling_asleep(many)
    assert effort(lambda: asyncio.run(wait_for_ready(many, long))) < 5 * effort(
        lambda: asyncio.run(wait_for_ready(few, short))
    )
    assert asyncio.run(wait_for_ready(many, long)), "they are waited for"


def test_after_a_look_that_took_long_a_flight_looks_again_later() -> None:
    settings = FlightSettings(poll_seconds=0.1)
    assert settings.pause_after(0.001) == 0.1
    assert settings.pause_after(0.5) == 5.0


class SlowReads:
    """Counts reads under way, by namespace."""

    def __init__(self) -> None:
        self.under_way: dict[str, int] = {}
        self.most: dict[str, int] = {}

    async def get(self, path: str, **_: Any) -> bytes:
        namespace = path.split("/")[5]
        self.under_way[namespace] = self.under_way.get(namespace, 0) + 1
        self.most[namespace] = max(self.most.get(namespace, 0), self.under_way[namespace])
        await asyncio.sleep(0)
        self.under_way[namespace] -= 1
        return json.dumps({"metadata": {"generation": 1}}).encode()


@pytest.mark.fault(15)
async def test_a_space_with_many_workloads_does_not_take_every_request() -> None:
    reads = SlowReads()
    actuator = Actuator(client=reads, recorder=NullRecorder())  # type: ignore[arg-type]
    refs = [ObjectRef(kind="Deployment", name=f"web-{n}", uid=f"u-{n}") for n in range(500)]
    found = await actuator.read_all("crowded", refs)
    assert len(found) == len(refs)
    assert reads.most["crowded"] == 8
