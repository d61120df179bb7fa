"""The daemon is killed at each single write of a sleep and of a wake, and nothing is lost.

A Space with Deployments and StatefulSets on the real controllers; the daemon reaches the API server
through a fault proxy that kills it before a write is forwarded, after the write took effect and
before its answer, or after the answer; or that holds the write back until the daemon has started
again and finished.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from devcluster.client import Cluster

from tests.cluster.scene import LEASES, Scene, furnished, replica
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.faultproxy import Moment
from tests.support.spaces import LiveSpace

pytestmark = pytest.mark.cluster

SLEEP_WRITES = 8
"""Record; state; two patches for each of two objects; state; phase."""

WAKE_WRITES = 9
"""Phase; state; two patches for each of two objects; what is back; state; the record's deletion."""


@pytest_asyncio.fixture
async def scene(
    cluster: Cluster, space: LiveSpace, new_daemon: Callable[..., Daemon], tmp_path: Path
) -> AsyncIterator[Scene]:
    async with furnished(cluster, space, new_daemon, tmp_path) as found:
        yield found


MOMENTS = pytest.mark.parametrize("moment", ["before", "after", "answered"])


async def test_the_number_of_writes_is_what_the_other_tests_go_through(scene: Scene) -> None:
    mark = await scene.proxy.mark()
    await scene.want("asleep")
    await scene.asleep()
    asleep = await scene.proxy.mark()
    await scene.want("awake")
    await scene.awake()

    writes = await scene.proxy.writes(after=mark, path=scene.writes["path"])
    listed = [f"{seen.method} {seen.target} {seen.status}" for seen in writes]
    assert sum(seen.seq <= asleep for seen in writes) == SLEEP_WRITES, listed
    assert sum(seen.seq > asleep for seen in writes) == WAKE_WRITES, listed


@MOMENTS
@pytest.mark.parametrize("number", range(SLEEP_WRITES))
async def test_a_kill_at_any_write_of_a_sleep_loses_nothing(
    scene: Scene, number: int, moment: Moment
) -> None:
    await scene.dies(number, moment, "asleep")
    await scene.asleep()
    await scene.want("awake")
    await scene.awake()
    await scene.owner_applies()


@MOMENTS
@pytest.mark.parametrize("number", range(WAKE_WRITES))
async def test_a_kill_at_any_write_of_a_wake_loses_nothing(
    scene: Scene, number: int, moment: Moment
) -> None:
    await scene.want("asleep")
    await scene.asleep()
    await scene.dies(number, moment, "awake")
    await scene.awake()
    await scene.owner_applies()


@pytest.mark.parametrize("number", range(SLEEP_WRITES))
async def test_a_write_of_a_sleep_that_lands_when_all_is_over_loses_nothing(
    scene: Scene, number: int
) -> None:
    late = await scene.proxy.hold(skip=number, times=1, **scene.writes)
    await scene.want("asleep")
    await late.fired()
    scene.daemon.kill()
    await scene.daemon.start()
    await scene.asleep()
    await scene.want("awake")
    await scene.awake()

    await scene.lands(late)
    await scene.awake()
    await scene.owner_applies()


@pytest.mark.parametrize("number", range(WAKE_WRITES))
async def test_a_write_of_a_wake_that_lands_in_the_next_sleep_wakes_nothing(
    scene: Scene, number: int
) -> None:
    await scene.want("asleep")
    await scene.asleep()
    late = await scene.proxy.hold(skip=number, times=1, **scene.writes)
    await scene.want("awake")
    await late.fired()
    scene.daemon.kill()
    await scene.daemon.start()
    await scene.awake()
    await scene.want("asleep")
    await scene.asleep()

    await scene.lands(late)
    await scene.asleep()
    await scene.want("awake")
    await scene.awake()
    await scene.owner_applies()


@pytest.mark.parametrize("number", [1, 3, 5])
async def test_a_second_replica_finishes_the_sleep_of_a_leader_that_was_killed(
    scene: Scene, new_daemon: Callable[..., Daemon], number: int
) -> None:
    """It goes on with that very sleep, by the same record; it does not undo and begin again."""
    lease = f"{LEASES}/{scene.daemon.config['lease']['name']}"

    async def leader() -> str:
        found = await scene.space.api.find(lease)
        return "" if found is None else str(found["spec"]["holderIdentity"])

    async def leads() -> bool:
        return await leader() == "the-one"

    await eventually(leads, within=20, what="the first replica leads")
    standby = replica("the-other", kubeconfig=scene.cluster.kubeconfig("sleeper"))
    standby["database"] = scene.daemon.config["database"]
    standby["api"] = {"port": scene.cluster.daemon_port + 1}
    second = new_daemon(standby, name="second")
    await second.start()
    rule = await scene.proxy.kill(
        pid=scene.daemon.pid, at="after", skip=number, times=1, **scene.writes
    )

    await scene.want("asleep")
    await rule.fired()
    await scene.daemon.until_ended()
    (begun,) = await scene.records()
    assert begun["status"]["phase"] == "FallingAsleep"
    assert await leader() == "the-one"

    await scene.asleep()
    (finished,) = await scene.records()
    assert finished["metadata"]["uid"] == begun["metadata"]["uid"]
    assert finished["spec"]["epoch"] == begun["spec"]["epoch"]
    assert finished["status"].get("wakeStartedAt") is None
    assert await leader() == "the-other"
    assert 'sleeper_transition_seconds_count{kind="wake"' not in await second.metrics()
    await scene.want("awake")
    await scene.awake()
    await scene.owner_applies()


async def test_an_awake_that_lands_after_a_sleep_began_does_not_turn_it_back(scene: Scene) -> None:
    said: dict[str, Any] = {"path": f"/namespaces/{scene.space.name}[?]", "body": '"Awake"'}
    late = await scene.proxy.hold(times=1, **said)
    await scene.space.annotate(**{"power-state": None})
    await late.fired()
    death = await scene.proxy.kill(
        pid=scene.daemon.pid, at="before", skip=4, times=1, **scene.writes
    )
    await scene.want("asleep")
    await death.fired()
    await scene.daemon.until_ended()
    await scene.lands(late)

    await scene.daemon.start()
    await scene.asleep()
    await scene.want("awake")
    await scene.awake()
    await scene.owner_applies()
