"""An API server that refuses, fails, hangs or cuts watches in the middle of a sleep or a wake.

Each test goes through a running daemon and sees the Space wholly asleep or wholly awake again
within one pass.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from devcluster.client import Cluster

from sleeper.core.names import RESTORE
from tests.cluster.denial import MESSAGE, denied
from tests.cluster.scene import DATABASE, SHIPPED, WEB, Scene, furnished
from tests.support.api import path_of
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.faultproxy import Rule
from tests.support.spaces import LiveSpace

pytestmark = pytest.mark.cluster

PASS_SECONDS = 40
"""One pass: a request given up after 1 s, the wait before the next try (1 s after a sleep, 5 s
after a wake), a flight, and patience with a busy machine."""

REFUSALS = {
    403: '{"kind": "Status", "reason": "Forbidden", "code": 403, "message": "User \\"x\\" cannot"}',
    409: '{"kind": "Status", "reason": "Conflict", "code": 409}',
    429: '{"kind": "Status", "reason": "TooManyRequests", "code": 429}',
    500: '{"kind": "Status", "reason": "InternalError", "code": 500}',
}

WATCHES = {"methods": ["GET"], "path": "[?&]watch=true"}


@pytest_asyncio.fixture
async def scene(
    cluster: Cluster, space: LiveSpace, new_daemon: Callable[..., Daemon], tmp_path: Path
) -> AsyncIterator[Scene]:
    retries = {"sleep": {"retry_backoff_seconds": 1}}
    async with furnished(cluster, space, new_daemon, tmp_path, overrides=retries) as found:
        yield found


Fault = Callable[..., Any]


async def hang(scene: Scene, **match: Any) -> Rule:
    return await scene.proxy.hold(**match)


async def lose_answer(scene: Scene, **match: Any) -> Rule:
    return await scene.proxy.drop(at="after", **match)


def refuse(status: int) -> Fault:
    async def order(scene: Scene, **match: Any) -> Rule:
        return await scene.proxy.respond(status=status, answer=REFUSALS[status], **match)

    order.__name__ = str(status)
    return order


WRITE_FAULTS = (hang, lose_answer, *map(refuse, REFUSALS))
LASTING_FAULTS = (hang, *map(refuse, (403, 409, 429, 500)))
WRITES = (0, 2, 7)
"""The record; the first patch of a workload; the last write."""


async def replicas(scene: Scene) -> list[int]:
    return [(await scene.space.get(manifest))["spec"]["replicas"] for manifest in SHIPPED]


async def runs_again(scene: Scene) -> None:
    """Wait until the sleep is given up and nothing is stopped, whatever stands on the namespace.

    That everything runs alone does not say so: it still does when the first write is refused.
    """

    async def back() -> bool:
        given_up = "FallingAsleep" not in await scene.phases()
        return (
            given_up and await replicas(scene) == [2, 0, 2] and await scene.space.ready_pods() == 4
        )

    await eventually(back, within=PASS_SECONDS, what="everything runs again")


@pytest.mark.parametrize("fault", WRITE_FAULTS)
async def test_a_space_sleeps_and_wakes_although_one_write_of_each_goes_wrong(
    scene: Scene, fault: Fault
) -> None:
    for number in WRITES:
        rule = await fault(scene, skip=number, times=1, **scene.writes)
        await scene.want("asleep")
        await rule.fired()
        await scene.asleep(within=PASS_SECONDS)

        rule = await fault(scene, skip=number, times=1, **scene.writes)
        await scene.want("awake")
        await rule.fired()
        await scene.awake(within=PASS_SECONDS)
    await scene.owner_applies()


async def test_a_workload_that_can_never_be_written_leaves_no_space_half_asleep(
    scene: Scene,
) -> None:
    """A sleep that cannot be finished gives everything back; a wake brings back all others."""
    for fault in LASTING_FAULTS:
        rule = await fault(scene, methods=["PATCH"], path="/statefulsets/", times=None)
        await scene.want("asleep")
        await rule.fired()
        await scene.want("auto")
        await runs_again(scene)
        await rule.remove()
        await scene.awake(within=PASS_SECONDS)

        await scene.want("asleep")
        await scene.asleep(within=PASS_SECONDS)
        rule = await fault(scene, methods=["PATCH"], path="/deployments/web", times=None)
        await scene.want("awake")
        await rule.fired()

        async def others_run() -> bool:
            return await replicas(scene) == [0, 0, 2]

        await eventually(others_run, within=PASS_SECONDS, what="the StatefulSet is back")
        await rule.remove()
        await scene.awake(within=PASS_SECONDS)


async def test_an_admission_policy_that_denies_one_write_of_a_sleep_gives_everything_back(
    scene: Scene,
) -> None:
    async with denied(
        scene.space,
        DATABASE,
        unless="object.spec.replicas > 0",
        trial={"spec": {"replicas": 0}},
    ):
        mark = await scene.proxy.mark()
        await scene.want("asleep")

        async def undone() -> bool:
            reached = await scene.proxy.writes(after=mark, path="/deployments/web")
            annotations = await scene.space.annotations()
            return bool(reached) and annotations.get("reason") == "BackingOff"

        await eventually(undone, within=PASS_SECONDS, what="the sleep is given up")
        await scene.want("auto")
        await scene.awake(within=PASS_SECONDS)
    told = await scene.space.api.items(
        f"/apis/events.k8s.io/v1/namespaces/{scene.space.name}/events"
    )
    assert any("StatefulSet/db" in event["note"] and MESSAGE in event["note"] for event in told)
    await scene.owner_applies()
    await scene.want("asleep")
    await scene.asleep()


async def test_an_admission_policy_that_denies_one_write_of_a_wake_is_outlived(
    scene: Scene,
) -> None:
    await scene.want("asleep")
    await scene.asleep()
    async with denied(
        scene.space, WEB, unless="object.spec.replicas == 0", trial={"spec": {"replicas": 1}}
    ):
        await scene.want("awake")

        async def others_run() -> bool:
            return (
                await replicas(scene) == [0, 0, 2] and await scene.space.power_state() == "Waking"
            )

        await eventually(others_run, within=PASS_SECONDS, what="the StatefulSet is back")
    await scene.awake(within=PASS_SECONDS)
    await scene.owner_applies()


async def test_a_sleep_and_a_wake_end_right_though_every_watch_is_cut_in_the_middle(
    scene: Scene,
) -> None:
    for fault in (hang, refuse(500)):
        for desired, arrived in (("asleep", scene.asleep), ("awake", scene.awake)):
            late = await scene.proxy.delay(seconds=0.5, skip=2, times=1, **scene.writes)
            await scene.want(desired)
            await late.fired()
            blind = await fault(scene, times=None, **WATCHES)
            watches = await scene.proxy.cut(path="watch=true")
            assert watches > 1
            await blind.fired(watches + 1)
            await blind.remove()
            await arrived(within=PASS_SECONDS)


async def test_no_space_is_called_awake_before_it_is_known_what_sleeps(scene: Scene) -> None:
    """A daemon begins while the records cannot be read, and nothing but them tells of a sleep."""
    await scene.want("asleep")
    await scene.asleep(within=PASS_SECONDS)
    await scene.daemon.stop()
    for manifest in (WEB, DATABASE):
        path = f"{path_of(manifest, scene.space.name)}/{manifest['metadata']['name']}"
        await scene.space.api.merge(path, {"metadata": {"annotations": {RESTORE: None}}})
    leads = scene.daemon.log.count("lease_taken")
    blind = await refuse(500)(scene, methods=["GET"], path="/sleeprecords", times=None)
    awake = await scene.proxy.hold(
        methods=["PATCH"], path=f"/namespaces/{scene.space.name}[?]", body="Awake"
    )

    scene.daemon.spawn()
    await eventually(
        lambda: scene.daemon.log.count("lease_taken") > leads, within=30, what="it leads"
    )
    await blind.fired(await blind.seen() + 5)

    assert await awake.seen() == 0
    await awake.remove()
    await blind.remove()
    await scene.daemon.until_ready()
    await scene.want("awake")
    await eventually(
        lambda: is_awake(scene), within=PASS_SECONDS, what="all that ran is up by the record alone"
    )


async def is_awake(scene: Scene) -> bool:
    """Awake with what ran before; without the annotations nobody knows who held which field."""
    wanted = [before["spec"]["replicas"] for before in scene.before]
    present = [(await scene.space.get(m))["spec"]["replicas"] for m in SHIPPED]
    return present == wanted and not await scene.records()
