"""What is between two revisions does not sleep: at zero no controller knows which Pods it had."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from devcluster.client import Cluster

from metrics.core.refs import SpaceRef
from sleeper.control.flight_result import FlightSettings
from sleeper.core.reasons import Reason
from sleeper.core.verdict import Verdict, VerdictKind
from sleeper.telemetry.clock import SystemClock
from tests.cluster.flying import flying
from tests.cluster.scene import replica
from tests.support import manifests
from tests.support.api import kubectl
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.spaces import LiveSpace

pytestmark = [pytest.mark.cluster, pytest.mark.fault(1)]

NewSpace = Callable[..., Awaitable[LiveSpace]]
OLD, NEW = "registry.example/app:1", "registry.example/app:2"


class Stage:
    """A Space with one Deployment ``web`` and what its owner does to it."""

    def __init__(self, cluster: Cluster, space: LiveSpace) -> None:
        self._cluster = cluster
        self.space = space

    async def kubectl(self, *words: str) -> None:
        await kubectl(self._cluster, *words, "-n", self.space.name)

    async def runs(self, manifest: dict[str, Any]) -> None:
        await self.space.create(manifest)
        await self.settled(manifest["spec"]["replicas"])

    async def edit(
        self, image: str, *, start_after: str = "200ms", kind: str = "deploy/web"
    ) -> None:
        note = f'"annotations":{{"devcluster.sleeper.dev/start-after":"{start_after}"}}'
        spec = f'"spec":{{"containers":[{{"name":"app","image":"{image}"}}]}}'
        patch = f'{{"spec":{{"template":{{"metadata":{{{note}}},{spec}}}}}}}'
        await self.kubectl("patch", kind, "-p", patch)

    async def settled(self, ready: int, **images: int) -> None:
        """Wait until so many Pods are Ready, and so many are there of each image."""

        async def there() -> bool:
            counted = await self.images()
            seen = all(counted[image] == count for image, count in images.items())
            return seen and await self.space.ready_pods() == ready

        await eventually(there, within=30, what=f"{ready} Pods are Ready, of images {images}")

    async def images(self) -> Counter[str]:
        """How many Pods there are of each image."""
        return Counter(
            "old" if pod["spec"]["containers"][0]["image"] == OLD else "new"
            for pod in await self.space.pods()
        )


def web(replicas: int, **spec: Any) -> dict[str, Any]:
    surge = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    return manifests.deployment("web", replicas=replicas, strategy=surge, **spec)


async def stuck_roll_out(stage: Stage) -> None:
    await stage.runs(web(3))
    await stage.edit(NEW, start_after="1h")
    await stage.settled(3, old=3, new=1)


async def stuck_roll_out_without_history(stage: Stage) -> None:
    await stage.runs(web(3, revisionHistoryLimit=0))
    await stage.edit(NEW, start_after="1h")
    await stage.settled(3, old=3, new=1)


async def paused_canary(stage: Stage) -> None:
    await stage.runs(web(4))
    await stage.edit(NEW, start_after="3s")
    await stage.settled(4, old=4, new=1)
    await stage.kubectl("rollout", "pause", "deploy/web")
    await stage.settled(5, old=4, new=1)


async def paused_after_undo(stage: Stage) -> None:
    await stage.runs(web(2))
    await stage.edit(NEW)
    await stage.settled(2, new=2, old=0)
    await stage.kubectl("rollout", "undo", "deploy/web")
    await stage.settled(2, old=2, new=0)
    await stage.kubectl("rollout", "pause", "deploy/web")
    await stage.edit("registry.example/app:3")


async def paused_without_history(stage: Stage) -> None:
    await stage.runs(web(3, revisionHistoryLimit=0))
    await stage.kubectl("rollout", "pause", "deploy/web")
    await stage.edit(NEW)


async def partitioned(stage: Stage) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    await stage.runs(
        manifests.stateful_set("db", replicas=3, claims=False, updateStrategy=strategy)
    )
    await stage.edit(NEW, kind="sts/db")
    await stage.settled(3, old=2, new=1)


CASES = (
    stuck_roll_out,
    stuck_roll_out_without_history,
    paused_canary,
    paused_after_undo,
    paused_without_history,
    partitioned,
)


async def test_what_is_between_two_revisions_stays_as_it_is_and_is_named(
    cluster: Cluster, new_space: NewSpace, new_daemon: Callable[..., Daemon]
) -> None:
    stages = [Stage(cluster, await new_space()) for _ in CASES]
    async with asyncio.TaskGroup() as group:
        for case, stage in zip(CASES, stages, strict=True):
            group.create_task(case(stage))
    before = [await stage.images() for stage in stages]

    async with flying(cluster, settings=FlightSettings(sleep_deadline_seconds=20)) as deck:
        verdict = Verdict(
            kind=VerdictKind.FALL_ASLEEP,
            reason=Reason.IDLE,
            message="idle",
            sleep_horizon=SystemClock().now(),
        )
        for stage in stages:  # as if the decision had been made a moment before
            ref = SpaceRef(uid=stage.space.uid, name=stage.space.name, tenant="tenant-a")
            result = await deck.flights.sleep(ref, verdict)
            assert result.reason is Reason.WORKLOAD_BUSY, result

    daemon = new_daemon(replica("the-one", kubeconfig=cluster.kubeconfig("sleeper")))
    await daemon.start()
    for stage in stages:
        await stage.space.annotate(desired="asleep")

    async def named() -> bool:
        shown = [await stage.space.annotations() for stage in stages]
        return all(found.get("reason") == "WorkloadBusy" for found in shown)

    await eventually(named, within=20, what="each Space is held, with the reason WorkloadBusy")
    assert [await stage.images() for stage in stages] == before


async def test_roll_outs_that_are_held_back_while_it_sleeps_wake_it_before_one_begins(
    cluster: Cluster, space: LiveSpace, new_daemon: Callable[..., Daemon]
) -> None:
    stage = Stage(cluster, space)
    await stage.runs(manifests.stateful_set("db", replicas=3, claims=False))
    daemon = new_daemon(replica("the-one", kubeconfig=cluster.kubeconfig("sleeper")))
    await daemon.start()
    await space.annotate(desired="asleep")

    async def state(wanted: str) -> bool:
        return await space.power_state() == wanted

    await eventually(lambda: state("Asleep"), within=20, what="it sleeps")
    patch = '{"spec":{"updateStrategy":{"rollingUpdate":{"partition":2}}}}'
    await stage.kubectl("patch", "sts/db", "-p", patch)
    await eventually(lambda: state("Awake"), within=20, what="it is awake")

    await stage.edit(NEW, kind="sts/db")

    await stage.settled(3, old=2, new=1)
