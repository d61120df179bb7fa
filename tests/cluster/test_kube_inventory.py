"""The inventory, the records, the Lease and Events on the real API server, under our own role."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from devcluster.client import Cluster

from metrics.recorder import NullRecorder
from sleeper.core.objects import Metadata, Namespace
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.kube.client import KubeClient
from sleeper.kube.errors import AlreadyExists, NotFound, TestFailed
from sleeper.kube.events import EventRecorder
from sleeper.kube.inventory import Inventory
from sleeper.kube.lease import Elector, LeaseTiming
from sleeper.kube.podchange import PodChange
from sleeper.kube.records import RecordStore
from sleeper.telemetry.clock import SystemClock
from tests.kube.test_index import told
from tests.kube.test_records import record
from tests.support import manifests
from tests.support.api import Api
from tests.support.eventually import eventually
from tests.support.spaces import LiveSpace

pytestmark = pytest.mark.cluster

OURS = "sleeper-system"


class CountingRecorder(NullRecorder):
    """Counts what the reflectors do."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], int] = {}

    def reflector(self, resource: str, event: str) -> None:
        self.counts[resource, event] = self.counts.get((resource, event), 0) + 1

    def total(self, event: str) -> int:
        return sum(count for (_, kind), count in self.counts.items() if kind == event)


@pytest_asyncio.fixture
async def client(cluster: Cluster) -> AsyncIterator[KubeClient]:
    async with await KubeClient.connect(
        kubeconfig=Path(cluster.kubeconfig("sleeper")),
        clock=SystemClock(),
        user_agent="sleeper/test",
        request_timeout_seconds=4,
    ) as connected:
        yield connected


@asynccontextmanager
async def running(*loops: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(_run(loop)) for loop in loops]
        try:
            yield
        finally:
            for task in started:
                task.cancel()


async def _run(loop: Callable[[], Awaitable[None]]) -> None:
    await loop()


@pytest_asyncio.fixture
async def recorder() -> CountingRecorder:
    return CountingRecorder()


@pytest_asyncio.fixture
async def inventory(client: KubeClient, recorder: CountingRecorder) -> AsyncIterator[Inventory]:
    followed = Inventory(
        client, clock=SystemClock(), recorder=recorder, watch_seconds=20, discovery_seconds=0.5
    )
    assert not followed.synced
    async with running(followed.run):
        await eventually(lambda: followed.synced, what="in sync")
        yield followed


async def test_the_shipped_role_is_enough_to_follow_everything(inventory: Inventory) -> None:
    assert inventory.unsynced() == ()
    assert {item.metadata.name for item in inventory.namespaces()} >= {"default", OURS}
    assert inventory.ingress_classes()["traefik"] == "traefik.io/ingress-controller"
    assert inventory.pods_seen_until is not None


async def test_a_space_is_seen_with_all_it_holds_and_every_pod_is_told(
    inventory: Inventory, space: LiveSpace
) -> None:
    news: list[PodChange] = []
    changed: set[str] = set()
    inventory.subscribe_pods(news.append)
    inventory.subscribe(changed.add)
    web = manifests.deployment("web", replicas=2)
    await space.create(
        web,
        manifests.stateful_set("db"),
        manifests.service("web"),
        manifests.ingress("web", host="web.example"),
    )

    def complete() -> bool:
        view = inventory.space(space.name)
        return view is not None and (
            len(view.deployments),
            len(view.stateful_sets),
            len(view.replica_sets),
            len(view.services),
            len(view.ingresses),
            len(view.pods),
        ) == (1, 1, 1, 1, 1, 3)

    await eventually(complete, within=60)
    found = inventory.by_uid(space.uid)
    assert found is not None
    assert found.metadata.name == space.name
    assert space.name in changed
    await space.api.merge(
        f"/apis/apps/v1/namespaces/{space.name}/deployments/web", {"spec": {"replicas": 0}}
    )
    await eventually(
        lambda: sum(c.new is None and told(c).metadata.namespace == space.name for c in news) == 2,
        within=60,
    )
    alive: set[str] = set()
    for change in (c for c in news if told(c).metadata.namespace == space.name):
        assert not change.relisted
        uid = told(change).metadata.uid
        assert (change.old is not None) == (uid in alive)
        (alive.discard if change.new is None else alive.add)(uid)
    assert len(alive) == 1


async def test_a_restarted_api_server_is_caught_up_with_and_nothing_is_missed(
    cluster: Cluster, inventory: Inventory, space: LiveSpace, recorder: CountingRecorder
) -> None:
    await space.create(manifests.deployment("before"))
    await eventually(lambda: len(_deployments(inventory, space)) == 1)
    apiserver = cluster.component("kube-apiserver")
    await asyncio.to_thread(apiserver.restart)
    await space.create(manifests.deployment("after"))
    await space.api.delete(f"/apis/apps/v1/namespaces/{space.name}/deployments/before")
    await eventually(lambda: _deployments(inventory, space) == ["after"], within=60)
    await eventually(lambda: inventory.synced, within=60)
    assert recorder.total("error") > 0


async def test_nothing_is_listed_while_nothing_is_wrong(
    inventory: Inventory, recorder: CountingRecorder, space: LiveSpace
) -> None:
    lists = recorder.total("list")
    await space.create(manifests.deployment("web", replicas=3))
    await eventually(lambda: len(getattr(inventory.space(space.name), "pods", ())) == 3, within=60)
    await asyncio.sleep(3)
    assert recorder.total("list") == lists
    assert recorder.total("relist") == 0


async def test_gateway_routes_are_followed_once_the_cluster_serves_them(
    api: Api, inventory: Inventory, space: LiveSpace
) -> None:
    crd = _route_definition()
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    await api.call("POST", path, body=crd)
    try:
        routes = f"/apis/gateway.networking.k8s.io/v1/namespaces/{space.name}/httproutes"
        route = {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": "r"},
        }

        async def created() -> bool:
            try:
                await api.call("POST", routes, body=route)
            except AssertionError as error:
                return "AlreadyExists" in str(error)
            return True

        await eventually(created, within=60)
        await eventually(lambda: _routes(inventory, space) == ["r"], within=60)
    finally:
        await api.delete(f"{path}/{crd['metadata']['name']}")
    await eventually(lambda: _routes(inventory, space) == [], within=30)
    await eventually(lambda: inventory.synced, within=30)


@pytest_asyncio.fixture
async def records(client: KubeClient) -> AsyncIterator[RecordStore]:
    store = RecordStore(client, namespace=OURS, clock=SystemClock(), recorder=NullRecorder())
    async with running(store.run):
        await eventually(lambda: store.synced)
        yield store


async def test_a_record_lives_through_its_phases_and_every_replica_sees_it(
    client: KubeClient, records: RecordStore
) -> None:
    other = RecordStore(client, namespace=OURS, clock=SystemClock(), recorder=NullRecorder())
    uid = f"uid-{secrets.token_hex(4)}"
    heard: list[str] = []
    async with running(other.run):
        await eventually(lambda: other.synced)  # it hears of what other tests left, too
        other.subscribe(heard.append)
        falling = record(space=uid)
        await records.create(falling)
        assert records.all()[uid] == falling
        with pytest.raises(AlreadyExists):
            await records.create(falling)
        await eventually(lambda: other.all().get(uid) == falling)

        changed = replace(
            falling,
            entries=tuple(replace(e, fields={"/spec/replicas": 9}) for e in falling.entries),
        )
        await records.update_entries(changed)
        now = datetime.now(tz=UTC)  # noqa: TID251
        asleep = await records.set_phase(changed, PowerState.ASLEEP, sleeping_since=now)
        assert records.all()[uid] == asleep
        await eventually(lambda: other.all().get(uid) == asleep)

        with pytest.raises(TestFailed):
            await other.set_phase(falling, PowerState.ASLEEP)
        with pytest.raises(TestFailed):
            await other.update_entries(falling)
        waking = await other.set_phase(
            asleep, PowerState.WAKING, wake_reason=Reason.TOUCHED, wake_started_at=now
        )
        assert [found for found in (await records.survey())[0] if found.space_uid == uid] == [
            waking
        ]

        await records.delete(waking)
        assert uid not in records.all()
        await eventually(lambda: uid not in other.all())
        await records.delete(waking)
        with pytest.raises(NotFound):
            await records.set_phase(waking, PowerState.WAKING)
    assert set(heard) == {uid}


async def test_a_record_of_many_workloads_is_stored_in_chunks_and_a_lost_one_is_said(
    api: Api, records: RecordStore
) -> None:
    long = record(entries=1200, space=f"uid-{secrets.token_hex(4)}")
    await records.create(long)
    assert [found for found in (await records.survey())[0] if found == long]
    path = f"/apis/sleeper.dev/v1alpha1/namespaces/{OURS}/sleeprecords"
    await api.delete(f"{path}/{long.space_uid}-{long.epoch}-1")
    await eventually(lambda: not records.all()[long.space_uid].complete)
    await records.delete(long)
    left = [item["metadata"]["name"] for item in await api.items(path)]
    assert not [name for name in left if name.startswith(long.space_uid)]


async def test_a_second_candidate_takes_over_when_the_first_is_gone(client: KubeClient) -> None:
    timing = LeaseTiming(
        duration_seconds=3,
        renew_deadline_seconds=2.5,
        retry_period_seconds=0.5,
        request_timeout_seconds=1,
    )

    def candidate(name: str) -> Elector:
        return Elector(
            client,
            namespace=OURS,
            name="sleeper",
            identity=name,
            timing=timing,
            clock=SystemClock(),
            recorder=NullRecorder(),
        )

    first, second = candidate("first"), candidate("second")
    async with running(second.run):
        async with running(first.run):
            await eventually(lambda: first.leading or second.leading)
            assert not (first.leading and second.leading)
        await eventually(lambda: second.leading, within=10)
        assert not first.leading


async def test_an_event_is_found_where_its_owner_looks_and_repeats_as_a_series(
    client: KubeClient, space: LiveSpace
) -> None:
    clock = SystemClock()
    events = EventRecorder(client, instance="sleeper-test", clock=clock, recorder=NullRecorder())
    namespace = Namespace(metadata=Metadata(name=space.name, uid=space.uid))

    async def tell(note: str) -> None:
        await events.record(
            regarding=namespace, reason="IdleNotice", note=note, action="Notice", type="Warning"
        )

    await tell("sleeps soon")
    for _ in range(5):
        await tell("sleeps soon")
    await tell("n" * 5000)
    path = f"/apis/events.k8s.io/v1/namespaces/{space.name}/events"
    found = [item for item in await space.api.items(path) if item["reason"] == "IdleNotice"]
    assert len(found) == 2
    first = next(item for item in found if item["note"] == "sleeps soon")
    assert first["regarding"]["uid"] == space.uid
    assert first["type"] == "Warning"
    core = await space.api.items(f"/api/v1/namespaces/{space.name}/events")
    assert "IdleNotice" in {item["reason"] for item in core}


def _deployments(inventory: Inventory, space: LiveSpace) -> list[str]:
    view = inventory.space(space.name)
    return [item.metadata.name for item in view.deployments] if view else []


def _routes(inventory: Inventory, space: LiveSpace) -> list[str]:
    view = inventory.space(space.name)
    return [item.metadata.name for item in view.gateway_routes] if view else []


def _route_definition() -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "httproutes.gateway.networking.k8s.io",
            # the API server guards the k8s.io groups; test objects say so
            "annotations": {"api-approved.kubernetes.io": "unapproved, test only"},
        },
        "spec": {
            "group": "gateway.networking.k8s.io",
            "scope": "Namespaced",
            "names": {"kind": "HTTPRoute", "plural": "httproutes"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }
