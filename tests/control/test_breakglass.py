"""``sleeper wake --all`` where something cannot be read; the rest is in tests/cluster."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
import pytest
from aiohttp import web

from sleeper.control import breakglass
from sleeper.control.breakglass import wake_all
from sleeper.control.flight_result import FlightResult
from sleeper.control.waking import Waking
from sleeper.core.names import RESTORE
from sleeper.core.notes import RestoreNote, encode_note
from sleeper.core.reasons import Reason
from sleeper.core.record import SleepRecord
from sleeper.kube.client import KubeClient
from sleeper.telemetry.clock import SystemClock
from tests.kube.scripted import Handler, scripted_server
from tests.kube.test_records import record, stored

NAMESPACE = {"metadata": {"name": "team-a", "uid": "space-uid"}}


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


@pytest.mark.parametrize("refused", ["/deployments", "/statefulsets"])
async def test_where_one_kind_cannot_be_listed_the_others_come_back(refused: str) -> None:
    """Their annotations are all that is left."""
    plural = {"/deployments": "statefulsets", "/statefulsets": "deployments"}[refused]
    note = RestoreNote(space_uid="space-uid", epoch=1, uid="u", fields={"/spec/replicas": 3})
    live = {
        "metadata": {
            "name": "web",
            "namespace": "team-a",
            "uid": "u",
            "generation": 1,
            "annotations": {RESTORE: encode_note(note)},
        },
        "spec": {"replicas": 0},
    }

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.method == "PATCH":
            for op in json.loads(await request.read()):
                if op["path"] == "/spec/replicas" and op["op"] != "test":
                    live["spec"]["replicas"] = op["value"]  # type: ignore[index]
                if op["op"] == "remove":
                    live["metadata"]["annotations"] = {}  # type: ignore[index]
        if request.path.endswith(f"/{plural}/web"):
            return web.json_response(live)
        if request.path.endswith(refused):
            return web.json_response({"message": "no"}, status=403)
        if request.path.endswith("/namespaces"):
            return listing(NAMESPACE)
        return listing(live) if request.path.endswith(f"/{plural}") else listing()

    back, said, _ = await run(handler)

    assert live["spec"] == {"replicas": 3}
    assert not back
    assert any(refused.strip("/") in line and "cannot be listed" in line for line in said)


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
