"""``sleeper wake --all`` where something cannot be read; the rest is in tests/cluster."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from aiohttp import web

from sleeper.control import breakglass
from sleeper.control.breakglass import wake_all
from sleeper.control.flight_result import FlightResult
from sleeper.control.waking import Waking
from sleeper.core.names import POWER_STATE, REASON, RESTORE, SLEEPING_SINCE
from sleeper.core.notes import RestoreNote, encode_note
from sleeper.core.reasons import Reason
from sleeper.core.record import SleepRecord
from sleeper.kube.client import KubeClient
from sleeper.telemetry.clock import SystemClock
from tests.kube.scripted import Handler, scripted_server
from tests.kube.test_records import record, stored


async def run(handler: Handler) -> tuple[bool, list[str], list[str]]:
    """Whether everything is back, what was said, and the requests."""
    said: list[str] = []
    clock = SystemClock()
    async with scripted_server() as server:
        server.then(handler)
        connected = await KubeClient.connect_to(server.url, clock=clock, user_agent="t")
        async with connected as client:
            back = await wake_all(client, namespace="n", clock=clock, say=said.append)
        return back, said, server.requests


def listing(*items: object) -> web.Response:
    return web.Response(body=msgspec.json.encode({"metadata": {}, "items": items}))


async def test_where_the_records_cannot_be_read_the_annotations_are_still_looked_for() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if "sleeprecords" in request.path:
            return web.json_response({"message": "no"}, status=403)
        return listing()

    back, said, requests = await run(handler)

    assert not back
    assert "cannot be read" in said[0]
    assert sum("/deployments" in request for request in requests) == 1


class SleptWithoutRecord:
    """One workload that sleeps in a namespace that says so; its record and its kind are gone."""

    def __init__(self, plural: str, *, refuses: str = "\0") -> None:
        """Refuse every request whose method and path contain ``refuses``."""
        note = RestoreNote(space_uid="space-uid", epoch=1, uid="u", fields={"/spec/replicas": 3})
        self._plural = plural
        self._refuses = refuses
        self.workload: dict[str, Any] = {
            "metadata": {
                "name": "web",
                "namespace": "team-a",
                "uid": "u",
                "generation": 1,
                "annotations": {RESTORE: encode_note(note)},
            },
            "spec": {"replicas": 0},
        }
        self.namespace: dict[str, Any] = {
            "metadata": {
                "name": "team-a",
                "uid": "space-uid",
                "resourceVersion": "7",
                "annotations": {POWER_STATE: "Asleep", SLEEPING_SINCE: "2026-11-18T12:00:00Z"},
            }
        }
        self.seen_at: str | None = None

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if self._refuses in f"{request.method} {request.path}":
            return web.json_response({"message": "no"}, status=403)
        if request.path.endswith("/namespaces/team-a"):
            metadata = json.loads(await request.read())["metadata"]
            self.seen_at = metadata.get("resourceVersion")
            self.namespace["metadata"]["annotations"] |= metadata["annotations"]
            return web.json_response(self.namespace)
        if request.method == "PATCH":
            for op in json.loads(await request.read()):
                if op["path"] == "/spec/replicas" and op["op"] != "test":
                    self.workload["spec"]["replicas"] = op["value"]
                if op["op"] == "remove":
                    self.workload["metadata"]["annotations"] = {}
        if request.path.endswith(f"/{self._plural}/web"):
            return web.json_response(self.workload)
        if request.path.endswith("/namespaces"):
            return listing(self.namespace)
        if "sleeprecords" in request.path:
            return web.json_response({"message": "no such resource"}, status=404)
        return listing(self.workload) if request.path.endswith(f"/{self._plural}") else listing()


@pytest.mark.parametrize("refused", ["/deployments", "/statefulsets"])
async def test_where_one_kind_cannot_be_listed_the_others_come_back(refused: str) -> None:
    """Their annotations are all that is left."""
    plural = {"/deployments": "statefulsets", "/statefulsets": "deployments"}[refused]
    cluster = SleptWithoutRecord(plural, refuses=refused)

    back, said, _ = await run(cluster)

    assert cluster.workload["spec"] == {"replicas": 3}
    assert not back
    assert any(refused.strip("/") in line and "cannot be listed" in line for line in said)
    # What could not be listed may sleep still.
    assert cluster.namespace["metadata"]["annotations"][POWER_STATE] == "Asleep"


async def test_a_namespace_that_came_back_by_annotations_alone_says_that_it_is_awake() -> None:
    cluster = SleptWithoutRecord("deployments")

    back, said, _ = await run(cluster)

    assert back, said
    annotations = cluster.namespace["metadata"]["annotations"]
    assert annotations[POWER_STATE] == "Awake"
    assert annotations[REASON] == "BreakGlass"
    assert annotations[SLEEPING_SINCE] is None
    # Only as it was seen: a sleep may begin meanwhile.
    assert cluster.seen_at == "7"


async def test_a_namespace_whose_state_cannot_be_mended_is_named() -> None:
    cluster = SleptWithoutRecord("deployments", refuses="PATCH /api/v1/namespaces/team-a")

    back, said, _ = await run(cluster)

    assert back
    assert cluster.workload["spec"] == {"replicas": 3}
    assert any(line.startswith("team-a: everything is back, but") for line in said)


async def test_a_space_that_cannot_be_made_sense_of_does_not_end_the_wakes_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    woken: list[str] = []

    async def bring_back(_self: Waking, found: SleepRecord, reason: Reason) -> FlightResult:
        if found.space_uid == "first":
            raise ExceptionGroup("of a task group", [KeyError("a fault of ours")])
        woken.append(found.space_uid)
        return FlightResult(ok=True, reason=reason, message="everything is back")

    async def handler(request: web.Request) -> web.StreamResponse:
        spaces: Sequence[str] = ("first", "second", "third")
        chunks = [chunk for space in spaces for chunk in stored(record(space=space))]
        return listing(*chunks) if "sleeprecords" in request.path else listing()

    monkeypatch.setattr(Waking, "bring_back", bring_back)
    monkeypatch.setattr(breakglass, "SPACES_AT_A_TIME", 1)

    back, said, _ = await run(handler)

    assert not back
    assert woken == ["second", "third"]
    assert any("not back" in line and "a fault of ours" in line for line in said)


async def test_a_record_that_cannot_be_read_is_named_and_not_everything_is_back() -> None:
    """Somebody edited it, or a later version wrote it; its Space may have no annotations left."""
    [chunk] = stored(record(space="edited"))
    edited = msgspec.structs.replace(
        chunk, spec=msgspec.structs.replace(chunk.spec, reason="OfALaterVersion")
    )

    async def handler(request: web.Request) -> web.StreamResponse:
        return listing(edited) if "sleeprecords" in request.path else listing()

    back, said, _ = await run(handler)

    assert not back
    assert any(chunk.metadata.name in line and "cannot be read" in line for line in said)
