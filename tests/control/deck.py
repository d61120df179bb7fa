"""Flights over the model API server, and the ways in which a write can go wrong."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from metrics.core.refs import SpaceRef
from metrics.instruments import NullRecorder
from sleeper.control.flight_result import FlightResult, FlightSettings
from sleeper.control.flights import Flights
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.verdict import Verdict, VerdictKind
from tests.support.modelapi import Json, ModelApi, ModelRecords

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SPACE = SpaceRef(uid="space-uid", name="team-a", tenant="tenant-a")
IDLE = Verdict(kind=VerdictKind.FALL_ASLEEP, reason=Reason.IDLE, message="idle", sleep_horizon=NOW)


class Killed(BaseException):
    """The process ends here."""


class FixedClock:
    """Wall time stands; monotonic time moves when asked, so deadlines end waits."""

    def __init__(self, seconds: float = 0) -> None:
        self._ticks = 0.0
        self._now = NOW + timedelta(seconds=seconds)

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        self._ticks += 0.001
        return self._ticks


class HeardEvents:
    """Keeps what was said."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.notes: list[str] = []
        self.types: list[str] = []

    async def record(
        self,
        *,
        reason: str,
        note: str,
        type: str = "Normal",  # noqa: A002 Kubernetes calls it so
        **_: object,
    ) -> None:
        self.reasons.append(reason)
        self.notes.append(note)
        self.types.append(type)


def model() -> ModelApi:
    return ModelApi(
        namespace={
            "metadata": {
                "name": SPACE.name,
                "uid": SPACE.uid,
                "labels": {"sleeper.dev/tenant": SPACE.tenant},
            }
        }
    )


def workload(kind: str, name: str, replicas: int = 2, **spec: Any) -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "template": {}, **spec},
    }


def mixed_space() -> ModelApi:
    api = model()
    api.create(workload("Deployment", "web", 3))
    api.create(workload("Deployment", "off", 0))
    api.create(
        workload(
            "StatefulSet", "db", 2, persistentVolumeClaimRetentionPolicy={"whenScaled": "Delete"}
        )
    )
    api.objects["Deployment", "web"]["metadata"]["annotations"] = {"owner": "team-a"}
    api.scale("Deployment", "web", 4)
    return api


def flights(
    api: ModelApi,
    *,
    may_write: Callable[[float], bool] = lambda _s: True,
    observes: Callable[[str], bool] = lambda _name: False,
    events: HeardEvents | None = None,
    seconds: float = 0,
) -> Flights:
    return Flights(
        client=api,
        records=ModelRecords(api),
        spaces=api,
        clock=FixedClock(seconds),
        recorder=NullRecorder(),
        events=events or HeardEvents(),
        may_write=may_write,
        observes=observes,
        settings=FlightSettings(
            poll_seconds=0,
            sleep_deadline_seconds=5,
            wake_deadline_seconds=5,
            wave_patience_seconds=1,
        ),
    )


def essence(api: ModelApi) -> dict[tuple[str, str], Json]:
    """Everything of the objects that a wake has to bring back; generation and order move on."""
    found = {}
    for key, live in api.objects.items():
        plain = copy.deepcopy(live)
        plain["metadata"].pop("generation")
        plain["metadata"]["managedFields"].sort(key=json.dumps)
        found[key] = plain
    return found


def replicas(api: ModelApi) -> dict[str, int]:
    return {name: live["spec"]["replicas"] for (_, name), live in api.objects.items()}


async def until_dead(work: Any) -> None:
    """A process that may die on the way."""
    try:
        await work
    except* Killed:
        pass


async def settle(api: ModelApi, *, want: PowerState) -> FlightResult:
    """What the verdict loop does: go on with what is on record until the Space is as wanted."""
    for _ in range(10):
        deck = flights(api)
        record = ModelRecords(api).all().get(SPACE.uid)
        if want is PowerState.ASLEEP and (record is None or record.phase is not PowerState.WAKING):
            result = await deck.sleep(SPACE, IDLE)
        else:
            result = await deck.wake(SPACE.uid, Reason.TOUCHED)
        record = ModelRecords(api).all().get(SPACE.uid)
        if (record.phase if record else PowerState.AWAKE) is want:
            return result
    raise AssertionError(f"not {want}: {result}")


def strike(api: ModelApi, number: int, how: Callable[[Callable[[], Any]], Any]) -> None:
    """From now on, the write of that number goes wrong."""
    counter = iter(range(10_000))
    api.fault = lambda _name, write: how(write) if next(counter) == number else write()


def before_effect(_write: Callable[[], Any]) -> Any:
    raise Killed


def after_effect(write: Callable[[], Any]) -> Any:
    write()
    raise Killed


def count_writes(run: Callable[[ModelApi], Any]) -> int:
    api = mixed_space()
    asyncio.run(run(api))
    return len(api.writes)


async def sleep_once(api: ModelApi) -> None:
    assert (await flights(api).sleep(SPACE, IDLE)).ok


async def wake_once(api: ModelApi) -> None:
    await sleep_once(api)
    api.writes.clear()
    assert (await flights(api).wake(SPACE.uid, Reason.TOUCHED)).ok


SLEEP_WRITES = count_writes(sleep_once)
WAKE_WRITES = count_writes(wake_once)
