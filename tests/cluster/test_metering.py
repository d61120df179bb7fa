"""The meter on real controllers: its requests are the scheduler's, its times the API server's."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from devcluster.client import Cluster

from billing import store
from billing.core.periods import Grain
from billing.core.reservation import Reservation
from billing.core.statement import GroupBy, Span, StatementQuery
from metrics.recorder import NullRecorder
from sleeper.control.metering import Meter, MeterSettings
from sleeper.control.shift import seconds
from sleeper.kube.client import KubeClient
from sleeper.kube.inventory import Inventory
from sleeper.store.engine import Database
from sleeper.telemetry.clock import SystemClock
from tests.support import manifests
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.spaces import LiveSpace

pytestmark = pytest.mark.cluster

_POD_REQUEST = re.compile(
    r"^kube_pod_resource_request\{(?P<labels>.*)\} (?P<value>\S+)$", re.MULTILINE
)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with await Database.open(f"sqlite+aiosqlite:///{tmp_path}/sleeper.db") as database:
        yield database


@pytest.fixture
async def meter(cluster: Cluster, database: Database) -> AsyncIterator[Meter]:
    """A meter that follows the cluster under sleeper's own identity."""
    clock = SystemClock()
    recorder = NullRecorder()
    client = await KubeClient.connect(
        kubeconfig=cluster.kubeconfig("sleeper"), clock=clock, user_agent="sleeper/test"
    )
    async with client, asyncio.TaskGroup() as tasks:
        inventory = Inventory(client, clock=clock, recorder=recorder)
        meter = Meter(
            inventory=inventory,
            database=database,
            leading=lambda: True,
            clock=clock,
            recorder=recorder,
            settings=MeterSettings(flush_interval_seconds=0.2),
        )
        following = tasks.create_task(inventory.run())
        metering = tasks.create_task(meter.run())

        async def took_over() -> bool:
            async with database.read() as connection:
                return bool(await store.select_spans(connection))

        await eventually(took_over, within=20, what="the meter took over")
        yield meter
        metering.cancel()
        await asyncio.wait((metering,))
        following.cancel()


async def rows_of(database: Database, space: LiveSpace) -> list[Reservation]:
    async with database.read() as connection:
        rows = await store.select_reservations(connection, 0, 2**40)
    return sorted(
        (row for row in rows if row.space.uid == space.uid),
        key=lambda row: (row.start, row.pod_uid),
    )


async def scheduler_requests(cluster: Cluster, namespace: str) -> Counter[str]:
    """The scheduler's own view: requests of a namespace's Pods by resource, in cores and bytes."""
    tls = ssl.create_default_context(cafile=cluster.pki("ca.crt"))
    tls.load_cert_chain(cluster.pki("admin.crt"), cluster.pki("admin.key"))
    async with (
        aiohttp.ClientSession() as session,
        session.get("https://127.0.0.1:10259/metrics/resources", ssl=tls) as response,
    ):
        assert response.status == 200
        text = await response.text()
    sums: Counter[str] = Counter()
    for match in _POD_REQUEST.finditer(text):
        labels = dict(_LABEL.findall(match["labels"]))
        if labels["namespace"] == namespace and labels["node"]:
            sums[labels["resource"]] += float(match["value"])  # type: ignore[assignment]
    return sums


def container(name: str, cpu: str, memory: str, **more: Any) -> dict[str, Any]:
    requests = {"cpu": cpu, "memory": memory}
    return {
        "name": name,
        "image": "registry.example/app:1",
        "resources": {"requests": requests},
    } | more


async def test_requests_are_those_that_the_scheduler_reserves(
    cluster: Cluster, meter: Meter, database: Database, space: LiveSpace
) -> None:
    plain = manifests.deployment("plain", replicas=2)
    sidecars = manifests.deployment("sidecars")
    sidecars["spec"]["template"]["spec"]["initContainers"] = [
        container("first", "700m", "1Mi"),
        container("proxy", "150m", "96Mi", restartPolicy="Always"),
        container("second", "400m", "1Gi"),
    ]
    whole = manifests.deployment("whole")
    whole["spec"]["template"]["spec"]["resources"] = {"requests": {"cpu": "1300m"}}
    await space.create(plain, sidecars, whole)
    await eventually(space.ready_pods, within=30, what="Pods are ready")

    async def metered() -> bool:
        return len([row for row in await rows_of(database, space) if row.end is None]) == 4

    await eventually(metered, within=20, what="four Pods are metered")
    rows = await rows_of(database, space)
    scheduled = await scheduler_requests(cluster, space.name)
    assert sum(row.requests.cpu_millis for row in rows) == round(scheduled["cpu"] * 1000) == 2200
    assert sum(row.requests.memory_bytes for row in rows) == scheduled["memory"]


async def test_rows_begin_with_the_node_and_end_with_the_pod(
    meter: Meter, database: Database, space: LiveSpace
) -> None:
    deployment = manifests.deployment("web", replicas=2)
    await space.create(deployment)
    path = f"/apis/apps/v1/namespaces/{space.name}/deployments/web"

    async def ready() -> bool:
        return await space.ready_pods() == 2

    await eventually(ready, within=30, what="both Pods are ready")
    scheduled = {
        pod["metadata"]["uid"]: condition["lastTransitionTime"]
        for pod in await space.pods()
        for condition in pod["status"]["conditions"]
        if condition["type"] == "PodScheduled"
    }
    began = await eventually(lambda: rows_of(database, space), within=10, what="rows")
    assert {row.pod_uid for row in began} <= scheduled.keys()
    before = int(time.time())  # noqa: TID251 - beside the API server's own clock
    await space.api.merge(path, {"spec": {"replicas": 0}})

    async def ended() -> bool:
        rows = await rows_of(database, space)
        return len(rows) == 2 and all(row.end is not None for row in rows)

    await eventually(ended, within=30, what="both rows have ended")
    rows = await rows_of(database, space)
    for row in rows:
        assert scheduled[row.pod_uid].startswith(
            time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(row.start))
        )
        assert row.end is not None
        assert before <= row.end <= seconds(SystemClock().now())

    query = StatementQuery(
        since=min(row.start for row in rows) - 60,
        until=max(row.end or 0 for row in rows) + 60,
        grain=Grain.MINUTE,
        by=GroupBy.SPACE,
    )
    statement = await meter.statement(query)
    ours = [line.amounts for line in statement.lines if line.space_uid == space.uid]
    assert sum(amounts.cpu_milli_seconds for amounts in ours) == sum(
        100 * ((row.end or 0) - row.start) for row in rows
    )


async def test_a_gap_begins_with_a_clean_stop_and_ends_with_the_new_process(
    daemon: Daemon,
) -> None:
    clock = SystemClock()

    async def spans() -> Sequence[Span]:
        async with (
            await Database.open(daemon.config["database"]["url"]) as database,
            database.read() as connection,
        ):
            return await store.select_spans(connection)

    async def nothing_seen_lately() -> bool:
        found = await spans()
        return bool(found) and seconds(clock.now()) - found[0].end > 5

    async def two_spans() -> Sequence[Span]:
        found = await spans()
        assert len(found) == 2
        return found

    await eventually(nothing_seen_lately, within=60, what="no Pod has changed for a while")
    stopped_at = seconds(clock.now())
    await daemon.restart()
    ready_at = seconds(clock.now())
    before, after = await eventually(two_spans, within=10, what="the meter took over")

    assert before.end >= stopped_at
    assert after.start <= ready_at
