"""What a daemon asks of the API server in a minute in which nothing happens, with 500 Spaces.

On the real API server under the shipped permissions, every request counted by a proxy. Watches that
end and begin again count as watches, not as lists.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from sleeper.config.settings import ApiSignalConfig, LeaseConfig
from tests.bench.figure import Bench, Figure
from tests.bench.furnished import Furnished, furnished
from tests.support import manifests
from tests.support.api import Api
from tests.support.eventually import eventually
from tests.support.faultproxy import Seen

SPACES: Final = 500
MINUTE_SECONDS: Final = 60.0
QUIET_SECONDS: Final = 10.0
AT_A_TIME: Final = 16

LISTS: Final = Figure(
    name=f"List calls in a steady minute with {SPACES} Spaces", at_most=0, places=0
)
WRITES: Final = Figure(name="Writes in that minute, other than of our Lease", places=0)
REQUESTS: Final = Figure(
    name="All requests in that minute",
    places=0,
    note="renewals of our Lease, canaries, readings of the loss counters, watches that begin anew",
)

_LEASE: Final = re.compile(r"/leases/")


def shipped_intervals() -> Mapping[str, Any]:
    """The defaults of what asks the API server by the clock; tests are more impatient."""
    lease, signal = LeaseConfig(), ApiSignalConfig()
    return {
        "lease": {
            "duration_seconds": lease.duration_seconds,
            "renew_deadline_seconds": lease.renew_deadline_seconds,
            "retry_period_seconds": lease.retry_period_seconds,
        },
        "api_signal": {
            "canary_interval_seconds": signal.canary_interval_seconds,
            "canary_timeout_seconds": signal.canary_timeout_seconds,
        },
    }


def is_list(seen: Seen) -> bool:
    """Whether it asks for a whole collection, and does not watch it."""
    path, _, query = seen.target.partition("?")
    steps = path.strip("/").split("/")
    resource = steps[{"api": 2, "apis": 3}.get(steps[0], len(steps)) :]
    if resource[:1] == ["namespaces"] and len(resource) > 2:
        resource = resource[2:]
    return seen.method == "GET" and len(resource) == 1 and "watch=" not in query


def is_write(seen: Seen) -> bool:
    """Whether it may change anything but our own Lease."""
    return seen.method != "GET" and not _LEASE.search(seen.target)


async def measure() -> Mapping[Figure, float]:
    """Make the Spaces, wait until all is quiet, and count."""
    names = [f"bench-steady-{number}" for number in range(SPACES)]
    settings = {"defaults": {"sleep_after": "8h"}, **shipped_intervals()}
    async with furnished(settings) as bench:
        try:
            await _for_each(bench.api, names, _make)
            await bench.daemon.start(within=120)
            await eventually(lambda: _all_decided(bench), within=120, what="all are decided")
            assert any(map(is_list, await bench.proxy.requests())), "the first lists are seen"
            await _until_quiet(bench)
            mark = await bench.proxy.mark()
            await asyncio.sleep(MINUTE_SECONDS)
            minute = await bench.proxy.requests(after=mark)
        finally:
            await _for_each(bench.api, names, _remove)
    return {
        LISTS: sum(map(is_list, minute)),
        WRITES: sum(map(is_write, minute)),
        REQUESTS: len(minute),
    }


async def _make(api: Api, name: str) -> None:
    await api.create(manifests.namespace(name, tenant="bench"))
    await api.create(manifests.deployment("web", start_after="0s"), namespace=name)


async def _remove(api: Api, name: str) -> None:
    await api.delete(f"/api/v1/namespaces/{name}")


async def _for_each(
    api: Api, names: Sequence[str], work: Callable[[Api, str], Awaitable[None]]
) -> None:
    slots = asyncio.Semaphore(AT_A_TIME)

    async def one(name: str) -> None:
        async with slots:
            await work(api, name)

    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(one(name))


async def _all_decided(bench: Furnished) -> bool:
    spaces = (await bench.daemon.get_json("/api/v1/spaces"))["spaces"]
    return len(spaces) >= SPACES


async def _until_quiet(bench: Furnished) -> None:
    """Wait until nothing was written for a while: annotations are told, Pods are up."""
    last = 0
    quiet_since = asyncio.get_running_loop().time()

    async def quiet() -> bool:
        nonlocal last, quiet_since
        writes = [seen.seq for seen in await bench.proxy.requests() if is_write(seen)]
        newest = max(writes, default=0)
        now = asyncio.get_running_loop().time()
        if newest != last:
            last, quiet_since = newest, now
        return now - quiet_since >= QUIET_SECONDS

    assert await bench.daemon.get_status("/readyz") == HTTPStatus.OK
    await eventually(quiet, within=300, every=1.0, what="nothing is written any more")


BENCH: Final = Bench(figures=(LISTS, WRITES, REQUESTS), measure=measure)
