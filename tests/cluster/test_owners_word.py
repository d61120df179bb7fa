"""What its owner says while a Space sleeps or wakes, on the real API server and controllers.

Their value may equal ours; then only traces on the object tell whose it is.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from devcluster.client import Cluster

from sleeper.control.breakglass import wake_all
from sleeper.control.flight_result import FlightSettings
from sleeper.core.names import EPOCH, RESTORE
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.telemetry.clock import SystemClock
from tests.cluster.flying import Deck, flying
from tests.support import manifests
from tests.support.api import kubectl
from tests.support.eventually import eventually
from tests.support.spaces import LiveSpace

pytestmark = pytest.mark.cluster

SETTINGS = FlightSettings(sleep_deadline_seconds=60, wake_deadline_seconds=20)
DELETE = {"whenScaled": "Delete", "whenDeleted": "Retain"}
RETAIN = {"whenScaled": "Retain", "whenDeleted": "Retain"}
CLAIM_POLICY = "persistentVolumeClaimRetentionPolicy"


def web(name: str, replicas: int = 2) -> manifests.Manifest:
    return manifests.deployment(name, replicas=replicas)


def database(name: str, policy: Mapping[str, str] = DELETE) -> manifests.Manifest:
    spec: dict[str, Any] = {CLAIM_POLICY: policy}
    return manifests.stateful_set(name, replicas=1, claims=False, **spec)


@pytest_asyncio.fixture
async def deck(cluster: Cluster) -> AsyncIterator[Deck]:
    async with flying(cluster, settings=SETTINGS) as found:
        yield found


async def apply(
    cluster: Cluster, space: LiveSpace, *shipped: Mapping[str, Any], server_side: bool = True
) -> None:
    """The owner's ``kubectl apply``."""
    how = ["--server-side"] if server_side else []
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(shipped)})
    await kubectl(cluster, "apply", *how, "-n", space.name, "-f", "-", stdin=manifest)


async def pods_up(space: LiveSpace, count: int) -> None:
    async def up() -> bool:
        return await space.ready_pods() == count

    await eventually(up, within=60, what=f"{count} Pods are Ready")


async def replicas(space: LiveSpace, *shipped: Mapping[str, Any]) -> dict[str, int]:
    return {
        manifest["metadata"]["name"]: (await space.get(manifest))["spec"]["replicas"]
        for manifest in shipped
    }


async def when_scaled(space: LiveSpace, *shipped: Mapping[str, Any]) -> dict[str, str]:
    return {
        manifest["metadata"]["name"]: (await space.get(manifest))["spec"][CLAIM_POLICY][
            "whenScaled"
        ]
        for manifest in shipped
    }


@pytest.mark.fault(3)
async def test_what_the_owner_sets_while_it_sleeps_is_left_though_it_equals_ours(
    cluster: Cluster, space: LiveSpace, deck: Deck
) -> None:
    applied, client_side, put = database("applied"), database("client-side"), database("put")
    untouched, by_server, by_client = database("untouched"), web("by-server"), web("by-client")
    await apply(cluster, space, applied, untouched, put, by_server)
    await apply(cluster, space, client_side, by_client, server_side=False)
    await pods_up(space, 8)
    assert (await deck.sleep(space)).ok

    await apply(cluster, space, database("applied", RETAIN), web("by-server", 0))
    await apply(
        cluster, space, database("client-side", RETAIN), web("by-client", 0), server_side=False
    )
    live = await space.get(put)
    live["metadata"]["labels"] = {"edited": "true"}
    await kubectl(cluster, "replace", "-f", "-", stdin=json.dumps(live))
    woken = await deck.wake(space)

    assert woken.ok, woken
    assert await when_scaled(space, applied, client_side, put, untouched) == {
        "applied": "Retain",
        "client-side": "Retain",
        "put": "Retain",
        "untouched": "Delete",
    }
    assert await replicas(space, applied, client_side, put, untouched, by_server, by_client) == {
        **dict.fromkeys(("applied", "client-side", "put", "untouched"), 1),
        "by-server": 0,
        "by-client": 0,
    }
    for name in ("applied", "client-side", "put", "by-server", "by-client"):
        assert f"/{name} keeps" in woken.message, "it is told"
    assert "untouched" not in woken.message
    await assert_no_trace(space, applied, client_side, put, untouched, by_server, by_client)


@pytest.mark.fault(3)
async def test_what_the_owner_sets_while_it_wakes_outlasts_a_restart_of_the_daemon(
    cluster: Cluster, space: LiveSpace, deck: Deck
) -> None:
    shipped = web("web"), database("db")
    await apply(cluster, space, *shipped)
    await pods_up(space, 3)
    assert (await deck.sleep(space)).ok
    slow = manifests.deployment("web", replicas=2, start_after="1h")
    await apply(cluster, space, slow)  # keeps the record until the wake's deadline
    waking = asyncio.ensure_future(deck.wake(space))  # noqa: TID251 it is ended below

    async def back() -> bool:
        (record,) = await deck.records.of(space.uid)
        return all(entry.back_at is not None for entry in record.entries)

    await eventually(back, within=20, what="both are back, and marked so")
    waking.cancel()  # the daemon dies
    with suppress(asyncio.CancelledError):
        await waking
    await kubectl(cluster, "scale", "-n", space.name, "deployment/web", "--replicas=0")
    await apply(cluster, space, database("db", RETAIN))
    async with flying(cluster, settings=SETTINGS) as restarted:
        woken = await restarted.wake(space)

    assert woken.ok, woken
    assert await replicas(space, *shipped) == {"web": 0, "db": 1}
    assert await when_scaled(space, shipped[1]) == {"db": "Retain"}


@pytest.mark.fault(2)
async def test_what_was_made_from_sleeping_workloads_comes_back_with_a_wake_and_says_so_until_then(
    cluster: Cluster, new_space: Any, deck: Deck
) -> None:
    space, elsewhere, foreign = await new_space(), await new_space(), await new_space()
    again, forced, original = web("again"), web("forced"), database("original")
    await apply(cluster, space, again, forced, original)
    await pods_up(space, 5)
    assert (await deck.sleep(space)).ok
    backup = [await space.get(manifest) for manifest in (again, original)]

    await kubectl(cluster, "delete", "-n", space.name, "deployment/again")
    await kubectl(cluster, "create", "-f", "-", stdin=json.dumps(backup[0]))
    live = await space.get(forced)
    await kubectl(cluster, "replace", "--force", "-f", "-", stdin=json.dumps(live))
    copied = copy.deepcopy(backup[0])
    copied["metadata"]["name"] = "copied"
    await kubectl(cluster, "create", "-f", "-", stdin=json.dumps(copied))
    for other in (elsewhere, foreign):
        for item in copy.deepcopy(backup):
            item["metadata"]["namespace"] = other.name
            await kubectl(cluster, "create", "-f", "-", stdin=json.dumps(item))
    woken = await deck.wake(space)

    assert woken.ok, woken
    assert await replicas(space, again, forced, web("copied"), original) == {
        "again": 2,
        "forced": 2,
        "copied": 2,
        "original": 1,
    }
    await eventually(
        lambda: deck.flights.has_copies(elsewhere.name), within=10, what="the copies are seen"
    )
    assert await replicas(elsewhere, again, original) == {"again": 0, "original": 0}
    assert await deck.flights.bring_back_copies(elsewhere.name)
    assert await replicas(elsewhere, again, original) == {"again": 2, "original": 1}
    assert await when_scaled(elsewhere, original) == {"original": "Delete"}
    said: list[str] = []
    assert await wake_all(
        deck.client, namespace="sleeper-system", clock=SystemClock(), say=said.append
    ), said
    assert await replicas(foreign, again, original) == {"again": 2, "original": 1}
    for where in (space, elsewhere, foreign):
        await assert_no_trace(where, again, original)


@pytest.mark.fault(2)
@pytest.mark.fault(5)
async def test_what_is_put_back_as_it_looked_asleep_is_not_its_owners_word(
    cluster: Cluster, space: LiveSpace, deck: Deck
) -> None:
    put, by_client, by_server = web("put"), web("by-client"), web("by-server")
    rolled = web("rolled", 1)
    await apply(cluster, space, put, by_client, by_server, rolled)
    await pods_up(space, 7)
    assert (await deck.sleep(space)).ok
    night = [await space.get(manifest) for manifest in (put, by_client, by_server)]
    assert (await deck.wake(space)).ok
    for live in night:
        del live["metadata"]["managedFields"], live["metadata"]["resourceVersion"]
    put_back, *applied = map(json.dumps, night)

    await kubectl(cluster, "replace", "-f", "-", stdin=put_back)
    await kubectl(cluster, "apply", "-f", "-", stdin=applied[0])
    forced = ("--server-side", "--force-conflicts", "--field-manager=backup")
    await kubectl(cluster, "apply", *forced, "-f", "-", stdin=applied[1])
    assert set((await replicas(space, put, by_client, by_server)).values()) == {0}

    async def undone() -> bool:
        await deck.flights.undo_late(space.name)
        return set((await replicas(space, put, by_client, by_server)).values()) == {2}

    await eventually(undone, within=20, what="what was put back runs again")
    await assert_no_trace(space, put, by_client, by_server)

    # ReplicaSets keep the annotations of their time, and an undo puts them back.
    larger = web("rolled", 3)
    larger["spec"]["template"]["metadata"]["annotations"]["revision"] = "two"
    await apply(cluster, space, larger)
    await pods_up(space, 9)
    assert (await deck.sleep(space)).ok
    ours = (await space.get(rolled))["metadata"]["annotations"][RESTORE]
    await kubectl(cluster, "rollout", "undo", "-n", space.name, "deployment/rolled")
    earlier = (await space.get(rolled))["metadata"]["annotations"][RESTORE]
    assert json.loads(earlier)["epoch"] < json.loads(ours)["epoch"]
    await eventually(lambda: _shows(deck, space, earlier), within=10, what="the watch shows it")
    await deck.flights.undo_late(space.name)
    assert await replicas(space, rolled) == {"rolled": 0}, "it sleeps on"
    woken = await deck.wake(space)

    assert woken.ok, woken
    assert await replicas(space, rolled) == {"rolled": 3}
    await assert_no_trace(space, rolled)


def _shows(deck: Deck, space: LiveSpace, note: str) -> bool:
    objects = deck.inventory.space(space.name)
    return objects is not None and any(
        deployment.metadata.annotation(RESTORE) == note for deployment in objects.deployments
    )


@pytest.mark.fault(4)
async def test_a_restart_takes_our_ownership_away_before_it_does_anything_else(
    cluster: Cluster, space: LiveSpace, new_daemon: Any, deck: Deck
) -> None:
    shipped = web("web"), database("db")
    await apply(cluster, space, *shipped)
    await pods_up(space, 3)
    # As after a kill between the two patches of a wake: brought back, and still held by us.
    for manifest, plural in ((shipped[0], "deployments"), (shipped[1], "statefulsets")):
        live = await space.get(manifest)
        name = live["metadata"]["name"]
        path = f"/apis/apps/v1/namespaces/{space.name}/{plural}/{name}"
        await deck.client.merge_patch(path, {"spec": {"replicas": 3}})
        assert "sleeper" in managers(await space.get(manifest))
    daemon = new_daemon()
    await daemon.start()

    async def released() -> bool:
        found = [await space.get(manifest) for manifest in shipped]
        return not any("sleeper" in managers(live) for live in found)

    await eventually(released, within=10, what="nothing is held any more")
    await apply(cluster, space, web("web", 4))  # meets no conflict
    assert await replicas(space, web("web")) == {"web": 4}


@pytest.mark.fault(5)
async def test_a_note_of_an_earlier_sleep_says_nothing_and_no_epoch_comes_twice(
    cluster: Cluster, space: LiveSpace, deck: Deck
) -> None:
    app = web("web", 1)
    await apply(cluster, space, app)
    await pods_up(space, 1)
    assert (await deck.sleep(space)).ok
    early = (await space.get(app))["metadata"]["annotations"][RESTORE]
    epochs = {(await deck.records.of(space.uid))[0].epoch}
    assert (await deck.wake(space)).ok
    await apply(cluster, space, web("web", 3))
    await pods_up(space, 3)
    await kubectl(cluster, "annotate", "namespace", space.name, f"{EPOCH}-")
    assert (await deck.sleep(space)).ok
    epochs.add((await deck.records.of(space.uid))[0].epoch)

    await kubectl(
        cluster, "annotate", "-n", space.name, "deployment/web", "--overwrite", f"{RESTORE}={early}"
    )
    woken = await deck.wake(space)

    assert woken.ok, woken
    assert await replicas(space, app) == {"web": 3}
    await assert_no_trace(space, app)
    await kubectl(
        cluster, "annotate", "namespace", space.name, "--overwrite", f"{EPOCH}=999999999999999"
    )
    assert (await deck.sleep(space)).ok
    epochs.add((await deck.records.of(space.uid))[0].epoch)
    assert len(epochs) == 3
    assert (await deck.flights.wake(space.uid, Reason.TOUCHED)).ok


def managers(live: Mapping[str, Any]) -> set[str]:
    return {entry["manager"] for entry in live["metadata"]["managedFields"]}


async def assert_no_trace(space: LiveSpace, *shipped: Mapping[str, Any]) -> None:
    for manifest in shipped:
        live = await space.get(manifest)
        assert "sleeper" not in managers(live)
        assert RESTORE not in live["metadata"].get("annotations", {})


@pytest.mark.fault(3)
async def test_a_zero_by_kubectl_scale_is_told_from_a_sleep_whose_annotation_was_stripped(
    cluster: Cluster, space: LiveSpace, deck: Deck
) -> None:
    shipped = web("web"), database("db")
    await apply(cluster, space, *shipped)
    await pods_up(space, 3)
    assert (await deck.sleep(space)).ok
    (record,) = await deck.records.of(space.uid)
    for name in ("deployment/web", "statefulset/db"):
        await kubectl(cluster, "annotate", "-n", space.name, name, f"{RESTORE}-")

    woken = await deck.wake(space)

    assert woken.ok, woken
    assert await replicas(space, *shipped) == {"web": 2, "db": 1}

    # The same record again, as a daemon leaves it that died before its first patch.
    await apply(cluster, space, shipped[1])  # what was stripped keeps Retain
    fresh = [await space.get(manifest) for manifest in shipped]
    at = {live["metadata"]["uid"]: live["metadata"]["generation"] for live in fresh}
    entries = tuple(replace(e, slept_from=at[e.ref.uid], back_at=None) for e in record.entries)
    dead = replace(record, phase=PowerState.FALLING_ASLEEP, sleeping_since=None, entries=entries)
    await deck.records.create(replace(dead, epoch=record.epoch + 1))
    for name in ("deployment/web", "statefulset/db"):
        await kubectl(cluster, "scale", "-n", space.name, name, "--replicas=0")

    woken = await deck.wake(space)

    assert woken.ok, woken
    assert await replicas(space, *shipped) == {"web": 0, "db": 0}
    await assert_no_trace(space, *shipped)
