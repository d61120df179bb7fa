"""From a person's ``kubectl`` to the first wake write, and to the first Ready Pod.

The real kubectl under a person's identity, the shipped audit policy and ``--audit-webhook-*``
flags, the real controllers. The clock starts before the kubectl process does. The first wake write
is when its request arrives at the API server's door; what the Pod itself takes to become Ready is
set on it and taken off.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from statistics import median
from typing import Final, NamedTuple

from tests.bench.figure import Figure
from tests.bench.furnished import Bench, furnished
from tests.support import manifests
from tests.support.api import kubectl
from tests.support.eventually import eventually
from tests.support.spaces import LiveSpace

ROUNDS: Final = 20
NAME: Final = "bench-wake-latency"
POD_START: Final = timedelta(seconds=1)
LOOK_EVERY_SECONDS: Final = 0.02


class Latency(NamedTuple):
    """Seconds since the person pressed return."""

    first_write: float
    first_ready: float


async def figures() -> Sequence[Figure]:
    """Measure."""
    async with furnished({}) as bench:
        made = await bench.api.create(manifests.namespace(NAME, tenant="bench"))
        space = LiveSpace(name=NAME, uid=made["metadata"]["uid"], api=bench.api)
        try:
            start_after = f"{POD_START.total_seconds():g}s"
            await space.create(manifests.deployment("web", start_after=start_after))
            await _until_ready(space)
            await bench.daemon.start()
            await _until_it_hears(bench)
            rounds = [await _one_round(bench, space) for _ in range(ROUNDS)]
        finally:
            await bench.api.delete(f"/api/v1/namespaces/{NAME}")
    writes = [found.first_write for found in rounds]
    ready = [found.first_ready - POD_START.total_seconds() for found in rounds]
    what = "From a person's kubectl to"
    return (
        Figure(
            name=f"{what} the first wake write, median of {ROUNDS}",
            value=median(writes),
            unit="s",
            at_most=1.5,
        ),
        Figure(name=f"{what} the first wake write, worst of {ROUNDS}", value=max(writes), unit="s"),
        Figure(
            name=f"{what} the first Ready Pod less the Pod's own start, median of {ROUNDS}",
            value=median(ready),
            unit="s",
        ),
        Figure(
            name=f"{what} the first Ready Pod less the Pod's own start, worst of {ROUNDS}",
            value=max(ready),
            unit="s",
        ),
    )


async def _one_round(bench: Bench, space: LiveSpace) -> Latency:
    await space.annotate(desired="asleep")

    async def asleep() -> bool:
        return await space.power_state() == "Asleep" and not await space.pods()

    await eventually(asleep, within=60, what="it sleeps")
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


async def _until_it_hears(bench: Bench) -> None:
    """Wait until the API signal has seen its first canary: from then on a touch has its time."""

    async def heard() -> bool:
        return 'signal_watermark_timestamp_seconds{signal="api"' in await bench.daemon.metrics()

    await eventually(heard, within=60, what="the daemon hears the API server")
