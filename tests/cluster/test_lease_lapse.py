"""A Lease that lapses for a moment, on the real cluster: what it stopped is gone on with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from devcluster.client import Cluster

from tests.cluster.scene import LEASES, RECORDS, behind_proxy, replica
from tests.support import manifests
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.spaces import LiveSpace

pytestmark = pytest.mark.cluster

STOPPED = "the Lease does not outlast another write"
SLOW_TO_STOP = "devcluster.sleeper.dev/stop-after"


def lease_that_lapses() -> dict[str, Any]:
    """Renewals so seldom that a slow one comes after the deadline, though its answer is good."""
    return {
        "duration_seconds": 8,
        "renew_deadline_seconds": 5,
        "retry_period_seconds": 4.5,
    }


@pytest.mark.fault(21)
async def test_a_sleep_that_a_short_lapse_of_the_lease_stopped_is_gone_on_with_soon(
    cluster: Cluster, space: LiveSpace, new_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    web = manifests.deployment("web")
    web["spec"]["template"]["metadata"]["annotations"][SLOW_TO_STOP] = "10m"
    await space.create(web)
    async with behind_proxy(cluster, tmp_path) as (proxy, proxied):
        settings = replica("the-one", kubeconfig=proxied)
        settings["kubernetes"]["request_timeout_seconds"] = 2
        settings["lease"] |= lease_that_lapses()
        daemon = new_daemon(settings)
        await daemon.start()

        async def up() -> bool:
            return await space.ready_pods() == 1

        await eventually(up, within=30, what="the Pod is Ready")
        [pod] = await space.pods()
        slow = await proxy.delay(seconds=1.7, methods=["PATCH"], path=LEASES, times=None)
        await space.annotate(desired="asleep")
        await eventually(lambda: STOPPED in daemon.log, within=30, what="the sleep is stopped")
        # From now on nothing happens in the Space that would bring it up again.
        path = f"/api/v1/namespaces/{space.name}/pods/{pod['metadata']['name']}"
        await space.api.delete(f"{path}?gracePeriodSeconds=0")
        await slow.remove()

        async def asleep() -> bool:
            records = await space.api.items(RECORDS)
            phases = [r["status"]["phase"] for r in records if r["spec"]["spaceName"] == space.name]
            return phases == ["Asleep"] and await space.power_state() == "Asleep"

        await eventually(asleep, within=15, what="the sleep is gone on with")
        assert (await space.get(web))["spec"]["replicas"] == 0
