"""A stream that is open before the daemon is there: nobody told of it, and its Space stays awake.

There is no kubelet, so it is a connection through the API server's proxy to a Pod.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from devcluster.client import Cluster

from sleeper.telemetry.clock import SystemClock
from tests.cluster.blinding import QUICK, SLEEP_AFTER
from tests.support.eventually import eventually
from tests.support.manifests import deployment
from tests.support.spaces import LiveSpace

pytestmark = pytest.mark.cluster

GIVEN_UP_SECONDS = 4.0
"""The API server sends a batch after a second at most, and tries five times within 2.5 s."""


@asynccontextmanager
async def streaming(cluster: Cluster, space: LiveSpace) -> AsyncIterator[None]:
    """A person follows what a Pod of the Space has to say."""
    pod = (await space.pods())[0]["metadata"]["name"]
    path = f"/api/v1/namespaces/{space.name}/pods/{pod}:8080/proxy/?stream=300"
    process = await asyncio.create_subprocess_exec(
        "kubectl",
        f"--kubeconfig={cluster.kubeconfig('alice')}",
        "get",
        f"--raw={path}",
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            assert await process.stdout.readline(), "it has begun"
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


@pytest.mark.fault(10)
async def test_a_stream_that_was_open_before_the_daemon_started_holds_its_space(
    cluster: Cluster, new_space: Callable[..., Any], new_daemon: Callable[..., Any]
) -> None:
    space = await new_space(sleep_after=f"{SLEEP_AFTER.total_seconds():.0f}s", notice="0s")
    await space.create(deployment("web"))
    await eventually(space.ready_pods, within=60, what="its Pod is Ready")
    daemon = new_daemon(QUICK)

    async def decided(reason: str) -> dict[str, Any] | None:
        found: dict[str, Any] = await daemon.get_json(f"/api/v1/spaces/{space.name}")
        return found if found["reason"] == reason else None

    async with streaming(cluster, space):
        clock = SystemClock()
        opened = clock.monotonic()
        await eventually(  # else the daemon may be there in time to be told of it
            lambda: clock.monotonic() - opened > GIVEN_UP_SECONDS, what="nobody was told"
        )
        await daemon.start()
        held = await eventually(
            lambda: decided("OpenStream"), within=30, what="it is held for being idle"
        )
        assert "serves 1 (pods/proxy) that may be in here" in held["message"]
        assert await space.ready_pods() == 1

    async def asleep() -> bool:
        return bool(await space.power_state() == "Asleep")

    await eventually(asleep, within=30, what="the stream has ended, and it sleeps")
