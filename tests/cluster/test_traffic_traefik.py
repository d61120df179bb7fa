"""The real Traefik names services as we expect, and its restart is seen."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession
from devcluster.client import Cluster

from metrics import store
from metrics.core.signals import SignalName
from metrics.core.steps import TimeLine
from metrics.core.traffic_providers import TRAEFIK
from metrics.recorder import NullRecorder
from metrics.sources import queries
from metrics.sources.prometheus import Prometheus
from sleeper.control.traffic import TrafficSettings, TrafficSignal
from sleeper.core.carriers import carries, traffic_labels
from sleeper.core.objects import Ingress, Namespace, Service, SpaceObjects
from sleeper.store.engine import Database
from sleeper.telemetry.clock import SystemClock
from tests.support.api import Api
from tests.support.eventually import eventually
from tests.support.manifests import deployment, ingress, service
from tests.support.spaces import LiveSpace

pytestmark = pytest.mark.cluster

CLASSES = {"traefik": "traefik.io/ingress-controller"}


@pytest.fixture
async def prometheus(cluster: Cluster) -> AsyncIterator[Prometheus]:
    if not cluster.pod_network:
        pytest.skip("no namespaces: Pods have no addresses that answer")
    async with Prometheus(cluster.prometheus, timeout_seconds=10.0) as query:
        yield query


async def objects_of(api: Api, name: str) -> SpaceObjects:
    """What the inventory would hold of a namespace, as far as routes go."""

    async def every(path: str, kind: type[Any]) -> tuple[Any, ...]:
        return tuple(msgspec.convert(item, kind) for item in await api.items(path))

    return SpaceObjects(
        namespace=msgspec.convert(await api.get(f"/api/v1/namespaces/{name}"), Namespace),
        services=await every(f"/api/v1/namespaces/{name}/services", Service),
        ingresses=await every(f"/apis/networking.k8s.io/v1/namespaces/{name}/ingresses", Ingress),
    )


async def answers(cluster: Cluster, host: str) -> bool:
    """Whether a Pod answers one request through Traefik."""
    async with (
        ClientSession() as session,
        session.get(cluster.ingress, headers={"Host": host}) as response,
    ):
        return response.status == 200 and "pod" in json.loads(await response.text())


async def visit(cluster: Cluster, host: str) -> None:
    """One request through Traefik that a Pod answers; Traefik needs a moment to know a route."""
    await eventually(lambda: answers(cluster, host), within=30, what=f"{host} answers")


async def nothing_catches_all(cluster: Cluster) -> None:
    """Wait until no route that another test has left takes what no rule takes."""

    async def refused() -> bool:
        return not await answers(cluster, "nobody-knows.test")

    await eventually(refused, within=30, what="no catch-all is left")


def with_port(manifest: dict[str, Any], port: dict[str, Any]) -> dict[str, Any]:
    """The Ingress with another way to write its backend's port."""
    (rule,) = manifest["spec"]["rules"]
    rule["http"]["paths"][0]["backend"]["service"]["port"] = port
    return manifest


def catch_all(name: str) -> dict[str, Any]:
    """An Ingress without rules: everything that no rule takes goes to the Service."""
    manifest = ingress(name, host="unused")
    del manifest["spec"]["rules"]
    manifest["spec"]["defaultBackend"] = {"service": {"name": name, "port": {"number": 80}}}
    return manifest


async def labels_seen(prometheus: Prometheus) -> set[str]:
    """Service labels of all requests that Traefik has counted."""
    now = await prometheus.scalar(queries.SERVER_TIME)
    counters = await prometheus.matrix(queries.requests(TRAEFIK, over_seconds=60), at=now)
    return {
        next(series.labels[name] for name in TRAEFIK.service_labels if name in series.labels)
        for series in counters
    }


async def test_traefik_names_services_as_the_table_says(
    cluster: Cluster, api: Api, space: LiveSpace, prometheus: Prometheus
) -> None:
    by_name, by_number, odd = (f"{part}.{space.name}.test" for part in ("name", "number", "odd"))
    await space.create(
        deployment("web"),
        service("web"),
        ingress("web", host=by_name),
        deployment("num"),
        service("num"),
        with_port(ingress("num", host=by_number), {"number": 80}),
        deployment("odd--name"),
        service("odd--name"),
        ingress("odd--name", host=odd),
        deployment("rest"),
        service("rest"),
        catch_all("rest"),
    )
    expected = {
        f"{space.name}-web-http@kubernetes": "web",
        f"{space.name}-num-80@kubernetes": "num",
        f"{space.name}-odd-name-http@kubernetes": "odd--name",
        "default-backend@kubernetes": "rest",
    }
    objects = await objects_of(api, space.name)
    labels = traffic_labels(TRAEFIK, objects)
    assert {label: labels[label] for label in expected} == expected
    assert all(carries(TRAEFIK, one, CLASSES) for one in objects.ingresses)

    for host in (by_name, by_number, odd, "nobody-knows.test"):
        await visit(cluster, host)

    async def all_seen() -> bool:
        return expected.keys() <= await labels_seen(prometheus)

    await eventually(all_seen, within=20, what=f"{expected.keys()} are counted")
    ours = {label for label in await labels_seen(prometheus) if space.name in label}
    assert ours <= labels.keys(), "every label of the Space is one that we look up"


class OneSpace:
    """The inventory, of a single Space."""

    synced = True

    def __init__(self, objects: SpaceObjects) -> None:
        self._objects = objects

    def namespaces(self) -> Iterable[Namespace]:
        return [self._objects.namespace]

    def space(self, name: str) -> SpaceObjects | None:
        return self._objects if name == self._objects.namespace.metadata.name else None

    def ingress_classes(self) -> Mapping[str, str]:
        return CLASSES

    def subscribe(self, callback: Callable[[str], None]) -> None:
        del callback  # nothing here ever changes


async def test_a_visit_is_seen_and_a_restarted_traefik_is_a_gap(
    cluster: Cluster, api: Api, space: LiveSpace, prometheus: Prometheus, tmp_path: Path
) -> None:
    host = f"{space.name}.test"
    await nothing_catches_all(cluster)
    await space.create(deployment("web"), service("web"), ingress("web", host=host))
    clock = SystemClock()
    async with await Database.open(f"sqlite+aiosqlite:///{tmp_path / 'sleeper.db'}") as database:
        signal = TrafficSignal(
            provider=TRAEFIK,
            query=prometheus,
            spaces=OneSpace(await objects_of(api, space.name)),
            database=database,
            line=TimeLine(clock, limit=timedelta(seconds=2)),
            clock=clock,
            recorder=NullRecorder(),
            settings=TrafficSettings(
                poll_interval_seconds=0.5,
                stale_after_seconds=15.0,
                backfill_seconds=60.0,
                max_clock_offset_seconds=5.0,
                max_clock_step_seconds=2.0,
            ),
        )
        await signal.start()

        async def seen_until_now() -> None:
            now = clock.now()

            async def passed() -> bool:
                await signal.poll()
                view = signal.view(clock.now())
                assert view.unknown_because is None, view
                return view.watermark is not None and view.watermark > now

            await eventually(passed, within=30, what="the watermark passes")

        await seen_until_now()
        assert signal.activity(space.name) is None
        before = clock.now()
        await visit(cluster, host)
        await seen_until_now()
        activity = signal.activity(space.name)
        assert activity is not None
        assert activity.latest.resource == "web"
        assert before <= activity.latest.at <= clock.now()

        restarted = clock.now()
        cluster.component("traefik").restart()
        await seen_until_now()
        async with database.read() as connection:
            gap = (await store.recent_gaps(connection, SignalName.TRAFFIC))[0]
        assert gap.reason == "ExporterRestarted"
        assert gap.since is not None
        assert gap.since <= restarted + timedelta(seconds=1)
        assert restarted <= gap.until <= clock.now()
