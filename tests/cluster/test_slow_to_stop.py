"""A sleep that is sure to fail is not tried for ever, and no wake waits for what was never up."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from devcluster.client import Cluster

from tests.cluster.scene import RECORDS, replica
from tests.support import manifests
from tests.support.api import kubectl
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.spaces import LiveSpace

pytestmark = [pytest.mark.cluster, pytest.mark.fault(9)]

NewSpace = Callable[..., Awaitable[LiveSpace]]
DEADLINE_SECONDS = 2


def deployment(*, grace: int = 1, **times: str) -> dict[str, Any]:
    manifest = manifests.deployment("web")
    template = manifest["spec"]["template"]
    template["spec"]["terminationGracePeriodSeconds"] = grace
    for moment, after in times.items():
        template["metadata"]["annotations"][f"devcluster.sleeper.dev/{moment}-after"] = after
    return manifest


async def test_what_cannot_stop_in_time_is_named_and_left_alone_and_wakes_wait_for_no_wreck(
    cluster: Cluster, new_space: NewSpace, new_daemon: Callable[..., Daemon]
) -> None:
    graceful, stubborn, wrecked = [await new_space() for _ in range(3)]
    await graceful.create(deployment(grace=DEADLINE_SECONDS))
    await stubborn.create(deployment(stop="3s"))
    await wrecked.create(deployment(start="1h"))

    async def up() -> bool:
        counted = [(len(await s.pods()), await s.ready_pods()) for s in (graceful, stubborn)]
        return counted == [(1, 1)] * 2 and len(await wrecked.pods()) == 1

    await eventually(up, within=20, what="the Pods are there")
    config = replica("the-one", kubeconfig=cluster.kubeconfig("sleeper"))
    config["sleep"] = {"deadline_seconds": DEADLINE_SECONDS, "retry_backoff_seconds": 0.2}
    await new_daemon(config).start()
    for space in (graceful, stubborn, wrecked):
        await space.annotate(desired="asleep")

    async def shows(space: LiveSpace, reason: str, *, within: float = 15) -> None:
        async def shown() -> bool:
            found = await space.annotations()
            return (found.get("power-state"), found.get("reason")) == ("Awake", reason)

        await eventually(shown, within=within, what=f"{space.name} is awake and shows {reason}")

    await shows(graceful, "SlowToStop")
    await eventually(lambda: _asleep(wrecked), within=15, what="what was never up sleeps")
    await wrecked.annotate(desired="awake")
    await shows(wrecked, "DesiredAwake")
    assert wrecked.name not in {r["spec"]["spaceName"] for r in await wrecked.api.items(RECORDS)}
    await shows(stubborn, "RepeatedFailure", within=60)
    events = await stubborn.api.items(f"/apis/events.k8s.io/v1/namespaces/{stubborn.name}/events")
    failures = [e["note"] for e in events if e["reason"] == "FallingAsleepTimedOut"]
    assert failures
    assert all("Pod/web-" in note and "of Deployment/web" in note for note in failures)

    quick = {"metadata": {"annotations": {"devcluster.sleeper.dev/stop-after": "0s"}}}
    patch = json.dumps({"spec": {"template": quick}})
    await kubectl(cluster, "patch", "deploy/web", "-n", stubborn.name, "-p", patch)
    await eventually(lambda: _asleep(stubborn), within=30, what="it sleeps once it was mended")


async def _asleep(space: LiveSpace) -> bool:
    return await space.power_state() == "Asleep"
