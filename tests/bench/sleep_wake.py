"""Writes and wall time of one sleep and one wake of a Space with 20 workloads.

On the real API server and controllers, through a proxy that counts. As a share within the run it
stands against the same 20 workloads scaled to zero and back by bare merge patches, eight at a time,
without records, preconditions, inverse, verification or readiness gates.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

from sleeper.control.flight_result import FlightSettings
from tests.bench.figure import Bench, Figure
from tests.bench.furnished import cluster_here
from tests.cluster.flying import Deck, flying
from tests.cluster.scene import behind_proxy
from tests.support import manifests
from tests.support.api import Api, path_of
from tests.support.eventually import eventually
from tests.support.faultproxy import FaultProxy
from tests.support.spaces import LiveSpace

WORKLOADS = 20
ROUNDS = 5
NAME = "bench-sleep-wake"
SHIPPED = [
    manifests.stateful_set(f"w{number}", claims=False, start_after="0s")
    if number % 4 == 0
    else manifests.deployment(f"w{number}", start_after="0s")
    for number in range(WORKLOADS)
]


class Way(NamedTuple):
    """The figures of one of the two ways, in the order in which they are shown."""

    writes: Figure
    seconds: Figure
    share: Figure

    @classmethod
    def named(cls, name: str) -> Way:
        """Declare them."""
        what = f"{name} of a Space with {WORKLOADS} workloads"
        return cls(
            writes=Figure(name=f"{what}: writes", places=0),
            seconds=Figure(name=f"{what}: wall time, median of {ROUNDS}", unit="s"),
            share=Figure(name=f"{what} ÷ bare scaling"),
        )


SLEEP = Way.named("Sleep")
WAKE = Way.named("Wake")


async def timed(work: Coroutine[None, None, object]) -> float:
    """Seconds that it took."""
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


async def until(space: LiveSpace, *, ready: int) -> None:
    """Wait until exactly so many Pods are there and Ready."""

    async def there() -> bool:
        return await space.ready_pods() == ready == len(await space.pods())

    await eventually(there, within=120, every=0.05, what=f"{ready} Pods")


async def scale_bare(deck: Deck, space: LiveSpace, replicas: int) -> None:
    """What the least careful tool would do."""
    slots = asyncio.Semaphore(8)

    async def scale(path: str) -> None:
        async with slots:
            await deck.client.merge_patch(path, {"spec": {"replicas": replicas}})

    async with asyncio.TaskGroup() as group:
        for manifest in SHIPPED:
            name = manifest["metadata"]["name"]
            group.create_task(scale(f"{path_of(manifest, space.name)}/{name}"))
    await until(space, ready=WORKLOADS * replicas)


async def compare(deck: Deck, space: LiveSpace, proxy: FaultProxy) -> Mapping[Figure, float]:
    """Sleep and wake, and scale down and up the bare way, in turn."""
    seconds: dict[Way, list[float]] = {SLEEP: [], WAKE: []}
    bare: dict[Way, list[float]] = {SLEEP: [], WAKE: []}
    writes: dict[Way, int] = {}
    for _ in range(ROUNDS):
        for way, work in ((SLEEP, deck.sleep), (WAKE, deck.wake)):
            mark = await proxy.mark()
            seconds[way].append(await timed(work(space)))
            writes[way] = len(await proxy.writes(after=mark))
        await until(space, ready=WORKLOADS)
        for way, replicas in ((SLEEP, 0), (WAKE, 1)):
            bare[way].append(await timed(scale_bare(deck, space, replicas)))
    values: dict[Figure, float] = {}
    for way in (SLEEP, WAKE):
        middle = median(seconds[way])
        values[way.writes] = writes[way]
        values[way.seconds] = middle
        values[way.share] = middle / median(bare[way])
    return values


async def measure() -> Mapping[Figure, float]:
    """Furnish a Space, measure, clear away."""
    cluster = cluster_here()
    with tempfile.TemporaryDirectory() as directory:
        async with Api(cluster) as api, behind_proxy(cluster, Path(directory)) as (proxy, proxied):
            made = await api.create(manifests.namespace(NAME, tenant="bench"))
            space = LiveSpace(name=NAME, uid=made["metadata"]["uid"], api=api)
            try:
                await space.create(*SHIPPED)
                await until(space, ready=WORKLOADS)
                async with flying(cluster, settings=FlightSettings(), kubeconfig=proxied) as deck:
                    return await compare(deck, space, proxy)
            finally:
                await api.delete(f"/api/v1/namespaces/{NAME}")


BENCH = Bench(figures=(*SLEEP, *WAKE), measure=measure)
