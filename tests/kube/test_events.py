"""Events inform; they never flood, fail or hold anybody up."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest
from aiohttp import web

from metrics.recorder import NullRecorder
from sleeper.core.objects import Metadata, Namespace
from sleeper.kube.client import KubeClient
from sleeper.kube.events import (
    BURST,
    MOST_WRITES,
    NAMESPACE_BURST,
    SERIES_UPDATE_SECONDS,
    SERIES_WINDOW_SECONDS,
    EventRecorder,
)
from sleeper.telemetry.clock import SystemClock
from tests.kube.scripted import ScriptedServer, answer, refusal


class MovableClock:
    """Monotonic time that a test moves."""

    def __init__(self) -> None:
        self.skipped_seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 11, 21, tzinfo=UTC)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self.skipped_seconds


class Dropped(NullRecorder):
    """Counts dropped Events."""

    count = 0

    def event_dropped(self) -> None:
        self.count += 1


async def tell(events: EventRecorder, note: str = "sleeps soon", space: str = "a") -> None:
    regarding = Namespace(metadata=Metadata(name=space, uid=f"uid-{space}"))
    await events.record(regarding=regarding, reason="IdleNotice", note=note, action="Notice")


async def test_a_repetition_becomes_a_series_that_is_written_now_and_then(
    server: ScriptedServer, client: KubeClient
) -> None:
    clock = MovableClock()
    events = EventRecorder(client, instance="t", clock=clock, recorder=NullRecorder())
    server.then(answer(201))
    for _ in range(10):
        await tell(events)
    assert len(server.requests) == 1
    clock.skipped_seconds += SERIES_UPDATE_SECONDS
    await tell(events)
    assert server.requests[1].startswith("PATCH /apis/events.k8s.io/v1/namespaces/a/events/a.")
    assert json.loads(server.bodies[1])["series"]["count"] == 11


async def test_after_a_long_pause_the_same_event_is_a_new_one(
    server: ScriptedServer, client: KubeClient
) -> None:
    clock = MovableClock()
    events = EventRecorder(client, instance="t", clock=clock, recorder=NullRecorder())
    server.then(answer(201))
    await tell(events)
    clock.skipped_seconds += SERIES_WINDOW_SECONDS
    await tell(events)
    assert server.count("POST") == 2


async def test_a_flood_is_cut_and_counted(server: ScriptedServer, client: KubeClient) -> None:
    dropped = Dropped()
    events = EventRecorder(client, instance="t", clock=_Frozen(), recorder=dropped)
    server.then(answer(201))
    for number in range(BURST + 20):
        await tell(events, space=f"space-{number}")
    assert server.count("POST") == BURST
    assert dropped.count == 20


@pytest.mark.fault(15)
async def test_no_namespace_takes_the_events_of_another(
    server: ScriptedServer, client: KubeClient
) -> None:
    dropped = Dropped()
    events = EventRecorder(client, instance="t", clock=_Frozen(), recorder=dropped)
    server.then(answer(201))
    for number in range(BURST):
        await tell(events, f"note {number}", space="loud")
    assert server.count("/loud/") == NAMESPACE_BURST
    await tell(events, space="quiet")
    assert server.count("/quiet/") == 1


async def test_a_note_that_is_longer_than_the_server_takes_is_cut_and_still_a_repetition(
    server: ScriptedServer, client: KubeClient
) -> None:
    events = EventRecorder(client, instance="t", clock=MovableClock(), recorder=NullRecorder())
    server.then(answer(201))
    for end in ("one", "two"):
        await tell(events, "x" * 300_000 + end)
    assert [len(json.loads(body)["note"]) for body in server.bodies] == [1024]


class _Frozen(MovableClock):
    def monotonic(self) -> float:
        return 0.0


async def test_a_refused_event_is_counted_and_nobody_fails_for_it(
    server: ScriptedServer, client: KubeClient
) -> None:
    dropped = Dropped()
    events = EventRecorder(client, instance="t", clock=MovableClock(), recorder=dropped)
    server.then(refusal(403, "Forbidden", "namespace is being terminated"))
    await tell(events)
    assert dropped.count == 1


async def test_a_series_whose_event_has_expired_begins_anew(
    server: ScriptedServer, client: KubeClient
) -> None:
    clock = MovableClock()
    events = EventRecorder(client, instance="t", clock=clock, recorder=NullRecorder())
    server.then(answer(201), refusal(404, "NotFound"), answer(201))
    await tell(events)
    clock.skipped_seconds += SERIES_UPDATE_SECONDS
    await tell(events)
    await tell(events)
    assert [request.split()[0] for request in server.requests] == ["POST", "PATCH", "POST"]


@pytest.mark.fault(21)
async def test_few_events_are_written_at_a_time(server: ScriptedServer) -> None:
    waiting = most = 0

    async def slow(_: web.Request) -> web.StreamResponse:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        await asyncio.sleep(0.02)
        waiting -= 1
        return web.json_response({}, status=201)

    server.then(slow)
    patient = await KubeClient.connect_to(
        server.url, clock=SystemClock(), user_agent="t", request_timeout_seconds=60
    )
    async with patient as client, asyncio.TaskGroup() as tasks:
        events = EventRecorder(client, instance="t", clock=_Frozen(), recorder=NullRecorder())
        for number in range(BURST):
            tasks.create_task(tell(events, space=f"space-{number}"))
    assert 1 < most <= MOST_WRITES
