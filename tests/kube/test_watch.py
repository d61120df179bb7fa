"""A store that follows the cluster, whatever happens to the stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import pytest
from aiohttp import web

from metrics.recorder import NullRecorder
from sleeper.core.objects import Namespace
from sleeper.kube.client import KubeClient
from sleeper.kube.inventory import Inventory
from sleeper.kube.kinds import NAMESPACES
from sleeper.kube.watch import RELIST_SECONDS, WATCH_SECONDS, Reflector
from sleeper.telemetry.clock import SystemClock
from tests.kube.scripted import Handler, ScriptedServer, answer, hang, lines, refusal
from tests.support.eventually import eventually

PATH = "/api/v1/namespaces"


class Names:
    """A store that keeps name → resource version."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def replace(self, objects: Sequence[Namespace], at: datetime) -> None:
        self.known = {item.metadata.name: item.metadata.resource_version for item in objects}

    def put(self, item: Namespace, at: datetime) -> None:
        self.known[item.metadata.name] = item.metadata.resource_version

    def discard(self, item: Namespace, at: datetime) -> None:
        self.known.pop(item.metadata.name, None)


def item(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": name, "resourceVersion": str(version)}}


def listing(version: int, *items: dict[str, Any]) -> Handler:
    return answer(200, {"metadata": {"resourceVersion": str(version)}, "items": list(items)})


def event(kind: str, obj: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "object": obj}


BOOKMARK_9 = event("BOOKMARK", {"metadata": {"resourceVersion": "9"}})
GONE_EVENT = event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "old"})


@asynccontextmanager
async def following(
    client: KubeClient,
    *,
    watch_seconds: float = WATCH_SECONDS,
    relist_seconds: float = RELIST_SECONDS,
) -> AsyncIterator[tuple[Reflector[Namespace], dict[str, str], Names]]:
    store = Names()
    reflector = Reflector(
        client,
        resource="namespaces",
        path=PATH,
        kind=Namespace,
        store=store,
        clock=SystemClock(),
        recorder=NullRecorder(),
        watch_seconds=watch_seconds,
        relist_seconds=relist_seconds,
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(reflector.run())
        try:
            yield reflector, store.known, store
        finally:
            running.cancel()


async def test_it_lists_watches_and_follows(server: ScriptedServer, client: KubeClient) -> None:
    server.then(
        listing(5, item("a", 1), item("b", 2)),
        lines(
            event("ADDED", item("c", 6)),
            event("MODIFIED", item("a", 7)),
            event("DELETED", item("b", 8)),
            stay=True,
        ),
    )
    async with following(client) as (reflector, _, store):
        await eventually(lambda: store.known == {"a": "7", "c": "6"})
        assert reflector.synced
        assert reflector.last_seen is not None
    assert "resourceVersion=5" in server.requests[1]


async def test_it_is_not_in_sync_before_the_list_and_says_why(
    server: ScriptedServer, client: KubeClient
) -> None:
    server.then(refusal(403, "Forbidden", "User x cannot list"))
    async with following(client) as (reflector, _, _store):
        await eventually(lambda: "cannot list" in (reflector.unsynced_because() or ""))
        assert not reflector.synced


async def test_a_watch_that_ends_is_resumed_from_the_last_bookmark_without_a_list(
    server: ScriptedServer, client: KubeClient
) -> None:
    server.then(listing(5), lines(BOOKMARK_9), hang)
    async with following(client):
        await eventually(lambda: len(server.requests) >= 3)
    assert "resourceVersion=9" in server.requests[2]
    assert "watch=true" in server.requests[2]


@pytest.mark.parametrize(
    "expired", [lines(GONE_EVENT), refusal(410, "Expired")], ids=["error event", "status"]
)
async def test_a_version_that_is_no_longer_kept_leads_to_a_new_list(
    server: ScriptedServer, client: KubeClient, expired: Any
) -> None:
    server.then(listing(5, item("a", 1)), expired, listing(20, item("b", 19)), hang)
    async with following(client) as (_, _, store):
        await eventually(lambda: store.known == {"b": "19"})
        await eventually(lambda: len(server.requests) >= 4)
    assert "resourceVersion=20" in server.requests[3]


async def test_an_error_event_of_another_kind_leads_to_a_new_watch_without_a_list(
    server: ScriptedServer, client: KubeClient
) -> None:
    trouble = event("ERROR", {"kind": "Status", "code": 500, "message": "etcd"})
    server.then(listing(5), lines(event("ADDED", item("a", 6)), trouble), hang)
    async with following(client):
        await eventually(lambda: len(server.requests) >= 3)
    assert "resourceVersion=6" in server.requests[2]


async def test_a_proxys_page_instead_of_events_is_no_event_and_is_not_hammered(
    server: ScriptedServer, client: KubeClient
) -> None:
    server.then(listing(5, item("a", 1)), lines("<html>", "<body>bad gateway</body>"))
    async with following(client) as (reflector, _, store):
        await asyncio.sleep(1.2)
        assert store.known == {"a": "1"}
        assert "watch" in (reflector._trouble)
    assert server.count("watch=true") <= 3
    assert server.count("limit=") == 1


async def test_a_server_that_hangs_up_at_once_is_not_hammered(
    server: ScriptedServer, client: KubeClient
) -> None:
    server.then(listing(5), lines())
    async with following(client):
        await asyncio.sleep(1.2)
    assert server.count("watch=true") <= 3


async def test_a_stream_that_falls_silent_is_replaced_without_a_list(
    server: ScriptedServer, client: KubeClient
) -> None:
    server.then(listing(5), lines(BOOKMARK_9, stay=True))
    async with following(client, watch_seconds=0.3):
        await eventually(lambda: server.count("resourceVersion=9") >= 1, within=10)
    assert server.count("limit=") == 1


async def test_silence_for_two_watches_is_out_of_sync(
    server: ScriptedServer, client: KubeClient
) -> None:
    server.then(listing(5), refusal(500, "InternalError", "etcd is away"))
    async with following(client, watch_seconds=0.3) as (reflector, _, _store):

        def silence() -> str | None:
            why = reflector.unsynced_because() or ""
            return why if "nothing heard" in why else None

        assert "etcd is away" in await eventually(silence)


async def test_whoever_catches_up_on_a_silent_watch_waits_for_the_end_of_a_short_one(
    server: ScriptedServer, client: KubeClient
) -> None:
    silent = lines(stay=True)
    server.then(listing(5, item("a", 1)), silent, lines(event("MODIFIED", item("a", 6))), silent)
    async with following(client) as (reflector, _, store):
        await eventually(lambda: len(server.requests) == 2, what="it watches")
        listed_at = reflector.last_seen
        assert listed_at is not None

        async with asyncio.timeout(5):
            await reflector.catch_up()

        assert store.known == {"a": "6"}
        assert reflector.last_seen is not None
        assert reflector.last_seen > listed_at
        await eventually(lambda: len(server.requests) == 4, what="it watches as before")
    first, short, next_one = server.requests[1:]
    assert "resourceVersion=5" in short
    assert "timeoutSeconds=1" in short.split("&")
    assert "timeoutSeconds=1" not in first.split("&") + next_one.split("&")


async def test_nobody_catches_up_while_the_api_server_is_out_of_reach(
    server: ScriptedServer, client: KubeClient
) -> None:
    server.then(listing(5), lines(stay=True), refusal(503, "ServiceUnavailable", "down"))
    async with following(client) as (reflector, _, _store):
        await eventually(lambda: len(server.requests) == 2, what="it watches")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await reflector.catch_up()


async def test_a_list_is_forced_after_its_time(server: ScriptedServer, client: KubeClient) -> None:
    quiet, listed = lines(BOOKMARK_9, stay=True), listing(5)

    async def respond(request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await quiet(request)
        return await listed(request)

    server.then(respond)
    async with following(client, watch_seconds=1, relist_seconds=0.5):
        await eventually(lambda: server.count("limit=") >= 2, within=10)


async def test_an_object_that_cannot_be_read_keeps_it_from_being_in_sync(
    server: ScriptedServer, client: KubeClient
) -> None:
    server.then(listing(5, {"metadata": {"name": 7}}))
    async with following(client) as (reflector, _, _store):
        await eventually(lambda: "list" in (reflector.unsynced_because() or ""))
        assert not reflector.synced


@pytest.mark.fault(13)
async def test_which_namespaces_there_are_is_said_to_be_unknown_until_they_were_listed(
    client: KubeClient,
) -> None:
    inventory = Inventory(client, clock=SystemClock(), recorder=NullRecorder())
    assert inventory.unknown_because() == "the namespaces are not listed yet"
    inventory._reflectors[NAMESPACES.path].known.set()
    assert inventory.unknown_because() is None
