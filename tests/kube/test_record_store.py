"""The record store against a server that keeps objects: what is written when, and read anew."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from metrics.recorder import NullRecorder
from sleeper.core.jsonpatch import JsonOp
from sleeper.core.power import PowerState
from sleeper.core.record import SleepRecord
from sleeper.kube.client import KubeClient
from sleeper.kube.errors import NotFound, TestFailed
from sleeper.kube.record_wire import ENTRIES_PER_CHUNK
from sleeper.kube.records import RecordStore
from sleeper.telemetry.clock import SystemClock
from tests.kube.scripted import Handler, ScriptedServer, answer, hang, refusal
from tests.kube.test_records import record
from tests.support.eventually import eventually
from tests.support.modelapi import apply_patch

MISFIT = "the server rejected our request due to an error in our request"
LONG = record(entries=ENTRIES_PER_CHUNK + 1)
HEAD, SECOND = "space-uid-3-0", "space-uid-3-1"


@dataclass
class RecordServer:
    """SleepRecords with resource versions, label selectors and JSON Patch."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    served: bool = True
    version: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if not self.served:
            return web.json_response({"reason": "NotFound"}, status=404)
        name = request.path.rsplit("/", 1)[1]
        if request.method == "GET":
            return web.json_response({"metadata": {}, "items": self._selected(request)})
        if request.method == "DELETE":
            self.objects.pop(name)
            self.writes.append(f"delete {name}")
            return web.json_response({})
        body = json.loads(await request.read())
        if request.method == "POST":
            name = body["metadata"]["name"]
            body["metadata"]["uid"] = f"uid of {name}"
        else:
            ops = [JsonOp(op=o["op"], path=o["path"], value=o.get("value")) for o in body]
            try:
                body = apply_patch(self.objects[name], ops)
            except TestFailed:
                return web.json_response({"message": MISFIT}, status=422)
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        self.objects[name] = body
        self.writes.append(f"{request.method.lower()} {name}")
        return web.json_response(body)

    def _selected(self, request: web.Request) -> list[dict[str, Any]]:
        selector = request.query.get("labelSelector", "")
        wanted = dict(pair.split("=") for pair in selector.split(",") if pair)
        return [
            o for o in self.objects.values() if wanted.items() <= o["metadata"]["labels"].items()
        ]


@pytest.fixture
def kept(server: ScriptedServer) -> RecordServer:
    state = RecordServer()
    server.then(state.handle)
    return state


@pytest_asyncio.fixture
async def store(server: ScriptedServer) -> AsyncIterator[RecordStore]:
    clock = SystemClock()
    async with await KubeClient.connect_to(server.url, clock=clock, user_agent="t") as client:
        yield RecordStore(client, namespace="n", clock=clock, recorder=NullRecorder())


def changed(value: SleepRecord, replicas: int) -> SleepRecord:
    entries = (replace(e, fields={"/spec/replicas": replicas}) for e in value.entries)
    return replace(value, entries=tuple(entries))


@pytest.mark.parametrize("value", [record(), LONG])
async def test_whoever_moves_a_record_gets_its_entries_as_they_are_by_then(
    kept: RecordServer, store: RecordStore, value: SleepRecord
) -> None:
    await store.create(value)
    await store.update_entries(changed(value, 0))

    waking = await store.set_phase(value, PowerState.WAKING)

    assert waking == replace(changed(value, 0), phase=PowerState.WAKING)
    assert await store.of("space-uid") == [waking]


async def test_a_record_in_the_making_is_not_taken_for_one_that_has_to_be_woken(
    kept: RecordServer, store: RecordStore
) -> None:
    seen: list[PowerState] = []
    store.subscribe(lambda uid: seen.append(store.all()[uid].phase))

    await store.create(LONG)

    assert kept.writes == [f"post {HEAD}", f"post {SECOND}"]
    assert seen == [PowerState.FALLING_ASLEEP] * 2
    assert store.all()["space-uid"].complete


async def test_no_entry_counts_as_changed_once_the_record_has_moved_on(
    kept: RecordServer, store: RecordStore
) -> None:
    await store.create(LONG)
    await store.update_entries(changed(LONG, 7))
    assert kept.writes[-2:] == [f"patch {SECOND}", f"patch {HEAD}"]
    await store.set_phase(LONG, PowerState.WAKING)
    with pytest.raises(TestFailed):
        await store.update_entries(changed(LONG, 8))


async def test_the_records_of_one_space_are_all_that_is_read_for_it(
    kept: RecordServer, store: RecordStore, server: ScriptedServer
) -> None:
    await store.create(record(space="x"))
    await store.create(record(space="y"))
    assert [found.space_uid for found in await store.of("x")] == ["x"]
    assert "labelSelector=sleeper.dev/space-uid%3Dx" in server.requests[-1]


async def test_where_the_custom_resource_is_gone_there_are_no_records(
    kept: RecordServer, store: RecordStore
) -> None:
    kept.served = False
    assert await store.of("space-uid") == []
    with pytest.raises(NotFound):
        await store.survey()


@pytest.mark.parametrize(
    "then",
    [answer(body={"metadata": {"resourceVersion": "5"}, "items": []}), refusal(404, "NotFound")],
)
async def test_what_sleeps_is_known_once_the_records_were_listed_or_are_not_served(
    server: ScriptedServer, store: RecordStore, then: Handler
) -> None:
    server.then(refusal(403, "Forbidden"), refusal(403, "Forbidden"), then, hang)
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(store.run())
        known = tasks.create_task(store.known())
        await eventually(lambda: len(server.requests) >= 2, within=10)
        assert not known.done()
        why = store.unknown_because()
        assert why is not None
        assert why.startswith("the sleep records are not listed yet (")
        async with asyncio.timeout(10):
            await known
        assert store.unknown_because() is None
        assert len(server.requests) >= 3
        following.cancel()
