"""Writes and wall time of one sleep and one wake of a Space with 20 workloads.

On the real API server and controllers, through a proxy that counts. As a share within the run it
stands against the same 20 workloads scaled to zero and back by bare merge patches, eight at a time,
without records, preconditions, inverse, verification or readiness gates.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from sleeper.control.flight_result import FlightSettings
from tests.bench.figure import Figure
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


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """Seconds that it took."""
    began = time.perf_counter()
    await work()
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


async def measure(deck: Deck, space: LiveSpace, proxy: FaultProxy) -> Iterator[Figure]:
    """Sleep, wake, and the bare way, so and so often."""
    seconds: dict[str, list[float]] = {"sleep": [], "wake": [], "bare down": [], "bare up": []}
    writes: dict[str, int] = {}
    for _ in range(ROUNDS):
        for name, work in (("sleep", deck.sleep), ("wake", deck.wake)):
            mark = await proxy.mark()
            seconds[name].append(await timed(lambda work=work: work(space)))
            writes[name] = len(await proxy.writes(after=mark))
        await until(space, ready=WORKLOADS)
        seconds["bare down"].append(await timed(lambda: scale_bare(deck, space, 0)))
        seconds["bare up"].append(await timed(lambda: scale_bare(deck, space, 1)))
    middle = {name: median(values) for name, values in seconds.items()}
    return _told(middle, writes)


def _told(middle: Mapping[str, float], writes: Mapping[str, int]) -> Iterator[Figure]:
    for name, bare in (("sleep", "bare down"), ("wake", "bare up")):
        what = f"{name.capitalize()} of a Space with {WORKLOADS} workloads"
        yield Figure(name=f"{what}: writes", value=writes[name], places=0)
        yield Figure(name=f"{what}: wall time, median of {ROUNDS}", value=middle[name], unit="s")
        yield Figure(name=f"{what} ÷ bare scaling", value=middle[name] / middle[bare])


async def figures() -> Sequence[Figure]:
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
                    return tuple(await measure(deck, space, proxy))
            finally:
                await api.delete(f"/api/v1/namespaces/{NAME}")
