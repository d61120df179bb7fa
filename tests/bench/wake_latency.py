"""From a person's ``kubectl`` to the first wake write, and to the first Ready Pod.

The real kubectl under a person's identity, the shipped audit policy and ``--audit-webhook-*``
flags, the real controllers. The clock starts before the kubectl process does. The first wake write
is when its request arrives at the API server's door; what the Pod itself takes to become Ready is
set on it and taken off.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from devcluster.client import Cluster

from tests.bench.figure import Bench, Figure
from tests.bench.furnished import Furnished, cluster_here, furnished
from tests.support import manifests
from tests.support.api import kubectl
from tests.support.eventually import eventually
from tests.support.spaces import LiveSpace

ROUNDS: Final = 20
NAME: Final = "bench-wake-latency"
POD_START: Final = timedelta(seconds=1)
LOOK_EVERY_SECONDS: Final = 0.02
AUDIT: Final = Path(__file__).parents[2] / "deploy" / "audit" / "README.md"

_WRITE: Final = "From a person's kubectl to the first wake write"
_READY: Final = "From a person's kubectl to the first Ready Pod less the Pod's own start"
WRITE_MEDIAN: Final = Figure(name=f"{_WRITE}, median of {ROUNDS}", unit="s", at_most=1.5)
WRITE_WORST: Final = Figure(name=f"{_WRITE}, worst of {ROUNDS}", unit="s", at_most=1.5)
READY_MEDIAN: Final = Figure(name=f"{_READY}, median of {ROUNDS}", unit="s")
READY_WORST: Final = Figure(name=f"{_READY}, worst of {ROUNDS}", unit="s")


class Latency(NamedTuple):
    """Seconds since the person pressed return."""

    first_write: float
    first_ready: float


def shipped_flags() -> Mapping[str, str]:
    """What ``deploy/audit`` tells to set on an API server, as far as it is about timing."""
    found = dict(re.findall(r"^--(audit-webhook-[a-z-]+)=(\S+)$", AUDIT.read_text(), re.MULTILINE))
    del found["audit-webhook-config-file"]
    return found


@asynccontextmanager
async def shipped_audit(cluster: Cluster) -> AsyncIterator[None]:
    """The API server with exactly those flags; the development cluster's back-off is shorter."""
    apiserver = cluster.component("kube-apiserver")
    apiserver.restart(shipped_flags())
    try:
        yield
    finally:
        apiserver.restart()


async def measure() -> Mapping[Figure, float]:
    """Let one Space be woken again and again."""
    async with shipped_audit(cluster_here()), furnished({}) as bench:
        made = await bench.api.create(manifests.namespace(NAME, tenant="bench"))
        space = LiveSpace(name=NAME, uid=made["metadata"]["uid"], api=bench.api)
        try:
            start_after = f"{POD_START.total_seconds():g}s"
            await space.create(manifests.deployment("web", start_after=start_after))
            await _until_ready(space)
            await bench.daemon.start()
            await _until_it_hears(bench)
            # Batches leave once a second, and each round begins with the last one's: without a
            # different pause in each round all would press return at the same moment of it.
            pauses = [number / ROUNDS for number in range(ROUNDS)]
            rounds = [await _one_round(bench, space, pause) for pause in pauses]
        finally:
            await bench.api.delete(f"/api/v1/namespaces/{NAME}")
    writes = [found.first_write for found in rounds]
    ready = [found.first_ready - POD_START.total_seconds() for found in rounds]
    return {
        WRITE_MEDIAN: median(writes),
        WRITE_WORST: max(writes),
        READY_MEDIAN: median(ready),
        READY_WORST: max(ready),
    }


async def _one_round(bench: Furnished, space: LiveSpace, pause_seconds: float) -> Latency:
    await space.annotate(desired="asleep")

    async def asleep() -> bool:
        return await space.power_state() == "Asleep" and not await space.pods()

    await eventually(asleep, within=60, what="it sleeps")
    await asyncio.sleep(pause_seconds)
    mark = await bench.proxy.mark()
    began = time.time()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(kubectl(bench.cluster, "get", "pods", "-n", space.name))
        ready = tasks.create_task(_until_ready(space))
    writes = await bench.proxy.writes(after=mark, path="/sleeprecords/|/deployments/")
    assert writes, "the wake wrote"

    async def awake() -> bool:
        annotations = await space.annotations()
        return annotations.get("power-state") == "Awake" and "desired" not in annotations

    await eventually(awake, within=60, what="it is awake, and its desire is taken back")
    return Latency(first_write=writes[0].at - began, first_ready=ready.result() - began)


async def _until_ready(space: LiveSpace) -> float:
    """Wait for the first Ready Pod; returns the wall time."""
    await eventually(space.ready_pods, within=60, every=LOOK_EVERY_SECONDS, what="a Pod is Ready")
    return time.time()


async def _until_it_hears(bench: Furnished) -> None:
    """Wait until the API signal has seen its first canary: from then on a touch has its time."""

    async def heard() -> bool:
        return 'signal_watermark_timestamp_seconds{signal="api"' in await bench.daemon.metrics()

    await eventually(heard, within=60, what="the daemon hears the API server")


BENCH: Final = Bench(
    figures=(WRITE_MEDIAN, WRITE_WORST, READY_MEDIAN, READY_WORST), measure=measure
)
