"""Writes and wall time of one sleep and one wake of a Space with 20 workloads, and how long our
field manager holds what it changed.

On the real API server and controllers, through a proxy that counts. As a share within the run it
stands against the same 20 workloads scaled to zero and back by bare merge patches, eight at a time,
without records, preconditions, inverse, verification or readiness gates.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import defaultdict
from collections.abc import Coroutine, Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

from devcluster.client import Cluster

from sleeper.control.flight_result import FlightSettings
from tests.bench.figure import Bench, Figure
from tests.bench.furnished import cluster_here
from tests.cluster.flying import Deck, flying
from tests.cluster.scene import behind_proxy
from tests.support import manifests
from tests.support.api import Api, path_of
from tests.support.daemon import Daemon, daemon_config
from tests.support.eventually import eventually
from tests.support.faultproxy import FaultProxy, Seen
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

_HELD = "From the patch that changes an object to the one that gives up our field ownership"
HELD_USUALLY = Figure(name=f"{_HELD}, median", unit="ms", places=0)
HELD_AT_MOST = Figure(name=f"{_HELD}, longest", unit="ms", places=0)
"""Of a daemon that dies in between: until then an owner's server-side apply meets a conflict."""

_HELD_AFTER_A_KILL = "The same, left by a killed daemon: from the start of the next one"
RELEASED = Figure(name=_HELD_AFTER_A_KILL, unit="s")


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


def held(writes: Iterable[Seen]) -> list[float]:
    """Seconds between the first and the last patch of each workload, by when they came by."""
    at: defaultdict[str, list[float]] = defaultdict(list)
    for seen in writes:
        if "/apis/apps/" in seen.target and seen.method == "PATCH":
            at[seen.target].append(seen.at)
    return [max(times) - min(times) for times in at.values() if len(times) > 1]


async def until_released(cluster: Cluster, deck: Deck, space: LiveSpace) -> float:
    """Seconds from the start of a daemon until nothing is held that a dead one left."""
    shipped = SHIPPED[0]
    path = f"{path_of(shipped, space.name)}/{shipped['metadata']['name']}"
    await deck.client.merge_patch(path, {"spec": {"minReadySeconds": 1}})
    with tempfile.TemporaryDirectory() as name:
        config = daemon_config(cluster, Path(name), {}, lease="bench-released")
        daemon = Daemon(directory=Path(name), config=config)

        async def released() -> bool:
            live = await space.get(shipped)
            return all(entry["manager"] != "sleeper" for entry in live["metadata"]["managedFields"])

        assert not await released()
        began = time.perf_counter()
        try:
            await daemon.start()
            await eventually(released, within=60, every=0.05, what="nothing is held")
            return time.perf_counter() - began
        finally:
            await daemon.stop()


async def compare(
    cluster: Cluster, deck: Deck, space: LiveSpace, proxy: FaultProxy
) -> Mapping[Figure, float]:
    """Sleep and wake, and scale down and up the bare way, in turn."""
    seconds: dict[Way, list[float]] = {SLEEP: [], WAKE: []}
    bare: dict[Way, list[float]] = {SLEEP: [], WAKE: []}
    writes: dict[Way, int] = {}
    windows: list[float] = []
    for _ in range(ROUNDS):
        for way, work in ((SLEEP, deck.sleep), (WAKE, deck.wake)):
            mark = await proxy.mark()
            seconds[way].append(await timed(work(space)))
            written = await proxy.writes(after=mark)
            writes[way] = len(written)
            windows += held(written)
        await until(space, ready=WORKLOADS)
        for way, replicas in ((SLEEP, 0), (WAKE, 1)):
            bare[way].append(await timed(scale_bare(deck, space, replicas)))
    values: dict[Figure, float] = {}
    for way in (SLEEP, WAKE):
        middle = median(seconds[way])
        values[way.writes] = writes[way]
        values[way.seconds] = middle
        values[way.share] = middle / median(bare[way])
    values[HELD_USUALLY] = median(windows) * 1000
    values[HELD_AT_MOST] = max(windows) * 1000
    values[RELEASED] = await until_released(cluster, deck, space)
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
                    return await compare(cluster, deck, space, proxy)
            finally:
                await api.delete(f"/api/v1/namespaces/{NAME}")


BENCH = Bench(figures=(*SLEEP, *WAKE, HELD_USUALLY, HELD_AT_MOST, RELEASED), measure=measure)
