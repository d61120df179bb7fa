"""Sleep and wake on the real API server and the real controllers."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio
from devcluster.client import Cluster

from sleeper.control.flight_result import FlightSettings
from sleeper.core.reasons import Reason
from tests.cluster.denial import MESSAGE, denied
from tests.cluster.flying import Deck, flying
from tests.support import manifests
from tests.support.api import kubectl
from tests.support.eventually import eventually
from tests.support.spaces import LiveSpace

pytestmark = pytest.mark.cluster

DELETES_CLAIMS = {"whenScaled": "Delete", "whenDeleted": "Retain"}
WEB = manifests.deployment("web", replicas=2)
OFF = manifests.deployment("off", replicas=0)
DATABASE = manifests.stateful_set(
    "db", replicas=2, persistentVolumeClaimRetentionPolicy=DELETES_CLAIMS
)
SHIPPED = (WEB, OFF, DATABASE)


@pytest_asyncio.fixture
async def deck(cluster: Cluster) -> AsyncIterator[Deck]:
    async with flying(cluster, settings=FlightSettings(sleep_deadline_seconds=60)) as found:
        yield found


def applied(*shipped: Mapping[str, Any]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(shipped)})


async def apply(cluster: Cluster, space: LiveSpace, *shipped: Mapping[str, Any]) -> None:
    """The owner's ``kubectl apply --server-side``."""
    await kubectl(
        cluster, "apply", "--server-side", "-n", space.name, "-f", "-", stdin=applied(*shipped)
    )


async def furnish(cluster: Cluster, space: LiveSpace) -> None:
    await apply(cluster, space, *SHIPPED)
    await kubectl(cluster, "scale", "-n", space.name, "deployment/web", "--replicas=3")

    async def up() -> bool:
        return await space.ready_pods() == 5

    await eventually(up, within=60, what="five Pods are Ready")


def essence(live: Mapping[str, Any]) -> dict[str, Any]:
    """What a wake has to bring back: all but what counts writes and what controllers report."""
    plain = copy.deepcopy(dict(live))
    del plain["status"]
    for counter in ("generation", "resourceVersion"):
        del plain["metadata"][counter]
    plain["metadata"]["managedFields"] = sorted(
        (
            {key: value for key, value in entry.items() if key != "time"}
            for entry in plain["metadata"]["managedFields"]
            if entry.get("subresource") != "status"
        ),
        key=json.dumps,
    )
    return plain


async def essences(space: LiveSpace) -> list[dict[str, Any]]:
    return [essence(await space.get(manifest)) for manifest in SHIPPED]


async def claims(space: LiveSpace) -> dict[str, str]:
    found = await space.api.items(f"/api/v1/namespaces/{space.name}/persistentvolumeclaims")
    return {claim["metadata"]["name"]: claim["metadata"]["uid"] for claim in found}


async def test_a_space_sleeps_to_its_last_pod_and_comes_back_as_it_was(
    cluster: Cluster, space: LiveSpace, deck: Deck
) -> None:
    await furnish(cluster, space)
    before, held = await essences(space), await claims(space)

    slept = await deck.sleep(space)

    assert slept.ok, slept
    assert await space.pods() == []
    assert await space.power_state() == "Asleep"
    assert await claims(space) == held

    woken = await deck.wake(space)

    assert woken.ok, woken
    assert await space.ready_pods() == 5
    assert await space.power_state() == "Awake"
    assert await essences(space) == before
    assert await claims(space) == held
    assert [r for r in (await deck.records.survey())[0] if r.space_uid == space.uid] == []


async def test_the_owners_apply_meets_no_conflict_after_a_wake(
    cluster: Cluster, space: LiveSpace, deck: Deck
) -> None:
    await apply(cluster, space, WEB, DATABASE)
    await deck.sleep(space)
    await deck.wake(space)

    await apply(cluster, space, *(other_version(manifest) for manifest in (WEB, DATABASE)))

    for manifest in (WEB, DATABASE):
        live = await space.get(manifest)
        assert live["spec"]["replicas"] == 4
        assert (
            live["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example/app:2"
        )


async def test_the_owners_apply_meets_no_conflict_while_the_space_sleeps(
    cluster: Cluster, space: LiveSpace, deck: Deck
) -> None:
    await apply(cluster, space, WEB)
    await deck.sleep(space)

    await apply(cluster, space, other_version(WEB))
    woken = await deck.wake(space)

    assert woken.ok
    assert (await space.get(WEB))["spec"]["replicas"] == 4, "the owner's word while asleep wins"
    assert_no_trace(await space.get(WEB))


async def test_a_field_that_the_owner_takes_back_from_the_manifest_is_theirs_to_take_back(
    cluster: Cluster, space: LiveSpace, deck: Deck
) -> None:
    await apply(cluster, space, WEB)
    await deck.sleep(space)
    await deck.wake(space)

    without = copy.deepcopy(WEB)
    del without["spec"]["replicas"]
    await apply(cluster, space, without)

    assert (await space.get(WEB))["spec"]["replicas"] == 1, "the API server's default again"


def assert_no_trace(live: Mapping[str, Any]) -> None:
    assert not [e for e in live["metadata"]["managedFields"] if e["manager"] == "sleeper"]
    assert not [k for k in live["metadata"].get("annotations", {}) if k.startswith("sleeper.dev/")]


def other_version(manifest: Mapping[str, Any]) -> dict[str, Any]:
    changed = copy.deepcopy(dict(manifest))
    changed["spec"]["replicas"] = 4
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.example/app:2"
    return changed


async def test_the_same_scale_down_without_our_switch_loses_the_claims(
    cluster: Cluster, space: LiveSpace
) -> None:
    await apply(cluster, space, DATABASE)

    async def bound() -> bool:
        return len(await claims(space)) == 2 and await space.ready_pods() == 2

    await eventually(bound, within=60, what="two claims")
    await kubectl(cluster, "scale", "-n", space.name, "statefulset/db", "--replicas=0")

    async def lost() -> bool:
        return await claims(space) == {}

    await eventually(lost, within=60, what="the claims are gone")


async def test_an_admission_policy_that_denies_one_write_of_a_sleep_leaves_all_as_it_was(
    cluster: Cluster, space: LiveSpace, deck: Deck
) -> None:
    await furnish(cluster, space)
    before = await essences(space)
    async with denied(
        space, DATABASE, unless="object.spec.replicas > 0", trial={"spec": {"replicas": 0}}
    ):
        result = await deck.sleep(space)

    assert not result.ok
    assert result.reason is Reason.WRITE_DENIED
    assert "StatefulSet/db" in result.message
    assert "admission" in result.message
    assert MESSAGE in result.message
    assert await essences(space) == before
    assert await space.power_state() == "Awake"
    assert [r for r in (await deck.records.survey())[0] if r.space_uid == space.uid] == []


async def test_an_admission_policy_that_denies_one_write_of_a_wake_holds_up_nothing_else(
    cluster: Cluster, space: LiveSpace, deck: Deck
) -> None:
    await furnish(cluster, space)
    before = await essences(space)
    assert (await deck.sleep(space)).ok
    async with denied(
        space, WEB, unless="object.spec.replicas == 0", trial={"spec": {"replicas": 1}}
    ):
        result = await deck.wake(space)

        assert not result.ok
        assert result.reason is Reason.WAKE_INCOMPLETE
        assert "Deployment/web" in result.message
        assert (await space.get(DATABASE))["spec"]["replicas"] == 2
        assert await space.power_state() == "Waking"

    async def woken() -> bool:
        return bool((await deck.wake(space)).ok)

    await eventually(woken, within=30, what="the wake is finished once nobody denies it")
    assert await essences(space) == before
