"""An API server that refuses, fails or hangs in the middle of a sleep or a wake."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from devcluster.client import Cluster

from tests.cluster.scene import WEB, Scene, furnished
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.faultproxy import Rule
from tests.support.spaces import LiveSpace

pytestmark = pytest.mark.cluster

REFUSALS = {
    403: '{"kind": "Status", "reason": "Forbidden", "code": 403, "message": "User \\"x\\" cannot"}',
    409: '{"kind": "Status", "reason": "Conflict", "code": 409}',
    429: '{"kind": "Status", "reason": "TooManyRequests", "code": 429}',
    500: '{"kind": "Status", "reason": "InternalError", "code": 500}',
    503: "<html>no such thing</html>",
}


@pytest_asyncio.fixture
async def scene(
    cluster: Cluster, space: LiveSpace, new_daemon: Callable[..., Daemon], tmp_path: Path
) -> AsyncIterator[Scene]:
    retries = {"sleep": {"retry_backoff_seconds": 1}}
    async with furnished(cluster, space, new_daemon, tmp_path, overrides=retries) as found:
        yield found


async def hang(scene: Scene, **match: Any) -> Rule:
    return await scene.proxy.hold(**match)


async def cut(scene: Scene, **match: Any) -> Rule:
    return await scene.proxy.drop(at="after", **match)


def refuse(status: int) -> Callable[..., Any]:
    async def order(scene: Scene, **match: Any) -> Rule:
        return await scene.proxy.respond(status=status, answer=REFUSALS[status], **match)

    order.__name__ = str(status)
    return order


FAULTS = pytest.mark.parametrize("fault", [hang, cut, *map(refuse, REFUSALS)])
NUMBERS = pytest.mark.parametrize("number", [0, 2, 7])


@FAULTS
@NUMBERS
async def test_a_space_sleeps_and_wakes_although_one_write_of_each_goes_wrong(
    scene: Scene, fault: Callable[..., Any], number: int
) -> None:
    rule = await fault(scene, skip=number, times=1, **scene.writes)
    await scene.want("asleep")
    await rule.fired()
    await scene.asleep()

    rule = await fault(scene, skip=number, times=1, **scene.writes)
    await scene.want("awake")
    await rule.fired()
    await scene.awake()


@pytest.mark.parametrize("status", [403, 500])
async def test_a_write_that_is_refused_for_ever_leaves_no_space_half_asleep(
    scene: Scene, status: int
) -> None:
    match = {"methods": ["PATCH"], "path": "/statefulsets/", "times": None}
    rule = await refuse(status)(scene, **match)
    await scene.want("asleep")
    await rule.fired()

    async def back() -> bool:
        web = await scene.space.get(WEB)
        return web["spec"]["replicas"] == 2 and await rule.seen() > 0

    await eventually(back, within=30, what="the Deployment is back although nothing else works")
    await scene.want("awake")
    await rule.remove()
    await scene.awake()
