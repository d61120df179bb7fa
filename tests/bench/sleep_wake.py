"""Writes and wall time of one sleep and one wake of a Space with 20 workloads.

On the real API server and controllers, through a proxy that counts. As a share within the run it
stands against the same 20 workloads scaled to zero and back by bare merge patches, eight at a time,
without records, preconditions, inverse, verification or readiness gates.

Run, with ``deploy/devcluster`` on the Python path:
``deploy/devcluster/run .venv/bin/python -m tests.bench.sleep_wake [ROUNDS]``
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

from devcluster.client import Cluster

from sleeper.control.flight_result import FlightSettings
from tests.cluster.flying import Deck, flying
from tests.cluster.scene import behind_proxy
from tests.support import manifests
from tests.support.api import Api, path_of
from tests.support.eventually import eventually
from tests.support.faultproxy import FaultProxy
from tests.support.spaces import LiveSpace

WORKLOADS = 20
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


async def measure(deck: Deck, space: LiveSpace, proxy: FaultProxy, rounds: int) -> None:
    """Print what was measured."""
    seconds: dict[str, list[float]] = {"sleep": [], "wake": [], "bare down": [], "bare up": []}
    writes: dict[str, int] = {}
    for _ in range(rounds):
        for name, work in (("sleep", deck.sleep), ("wake", deck.wake)):
            mark = await proxy.mark()
            seconds[name].append(await timed(lambda work=work: work(space)))
            writes[name] = len(await proxy.writes(after=mark))
        await until(space, ready=WORKLOADS)
        seconds["bare down"].append(await timed(lambda: scale_bare(deck, space, 0)))
        seconds["bare up"].append(await timed(lambda: scale_bare(deck, space, 1)))
    middle = {name: median(values) for name, values in seconds.items()}
    print(f"sleep and wake of {WORKLOADS} workloads, median of {rounds}")
    for name, bare in (("sleep", "bare down"), ("wake", "bare up")):
        print(
            f"  {name:5} {writes[name]:3} writes  {middle[name]:5.2f} s"
            f"  ÷ {bare} {middle[bare]:5.2f} s = {middle[name] / middle[bare]:.2f}"
        )


async def main(rounds: int) -> None:
    """Furnish a Space, measure, clear away."""
    cluster = Cluster.from_environment(os.environ)
    if cluster is None:
        raise SystemExit("run this through deploy/devcluster/run")
    with tempfile.TemporaryDirectory() as directory:
        async with Api(cluster) as api, behind_proxy(cluster, Path(directory)) as (proxy, proxied):
            made = await api.create(manifests.namespace(NAME, tenant="bench"))
            space = LiveSpace(name=NAME, uid=made["metadata"]["uid"], api=api)
            try:
                await space.create(*SHIPPED)
                await until(space, ready=WORKLOADS)
                async with flying(cluster, settings=FlightSettings(), kubeconfig=proxied) as deck:
                    await measure(deck, space, proxy, rounds)
            finally:
                await api.delete(f"/api/v1/namespaces/{NAME}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
