"""A daemon whose sight of the ingress is lost sleeps nothing that needs it, and says why.

Each case has a control Space without a route, which does sleep; and when sight returns, the Space
with the route sleeps too, after its full idle time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from devcluster.client import Cluster

from sleeper.telemetry.clock import SystemClock
from tests.conftest import DaemonFactory
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.faultproxy import FaultProxy
from tests.support.manifests import deployment, ingress, service
from tests.support.spaces import LiveSpace

pytestmark = pytest.mark.cluster

SLEEP_AFTER = timedelta(seconds=12)
NOTHING = '{"status": "success", "data": {"resultType": "matrix", "result": []}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A daemon, a Space whose route needs the traffic signal, and one without a route."""

    daemon: Daemon
    routed: LiveSpace
    control: LiveSpace
    proxy: FaultProxy

    async def control_sleeps(self) -> None:
        """The control Space falls asleep while the routed one stays awake, and longer."""
        await eventually(lambda: is_asleep(self.control), within=90, what="the control sleeps")
        assert await self.routed.ready_pods() == 1

    async def routed_sleeps_a_full_idle_time_after(self, sight: datetime) -> None:
        """The routed Space falls asleep, but no sooner than its idle time after ``sight``."""
        await eventually(lambda: is_asleep(self.routed), within=90, what="the routed one sleeps")
        since = datetime.fromisoformat((await self.routed.annotations())["sleeping-since"])
        assert since - sight >= SLEEP_AFTER - timedelta(seconds=1)


async def is_asleep(space: LiveSpace) -> bool:
    return await space.power_state() == "Asleep" and not await space.pods()


@pytest.fixture
def scene(
    cluster: Cluster, new_space: Callable[..., Any], new_daemon: DaemonFactory
) -> Callable[[], Any]:
    """Puts the scene up: Pods run, and nothing may sleep yet."""

    @asynccontextmanager
    async def put_up() -> AsyncIterator[Scene]:
        routed: LiveSpace = await new_space(sleep_after="never")
        control: LiveSpace = await new_space(sleep_after="never")
        await routed.create(
            deployment("web"), service("web"), ingress("web", host=f"{routed.name}.test")
        )
        await control.create(deployment("web"))
        for space in (routed, control):
            await eventually(space.ready_pods, within=30, what="its Pod is Ready")
        async with FaultProxy.started(upstream=cluster.prometheus) as proxy:
            daemon = new_daemon({"traffic_signal": {"prometheus_url": proxy.url}})
            await daemon.start()
            await sees(daemon)
            yield Scene(daemon=daemon, routed=routed, control=control, proxy=proxy)
            await daemon.stop()

    return put_up


async def let_sleep(scene: Scene) -> None:
    """From now on both may sleep."""
    for space in (scene.control, scene.routed):
        await space.annotate(sleep_after=f"{SLEEP_AFTER.total_seconds():.0f}s")


async def sees(daemon: Daemon) -> None:
    """Wait until the daemon has seen the ingress: a young Prometheus has not scraped it yet."""

    async def seen() -> bool:
        return 'signal_watermark_timestamp_seconds{signal="traffic"' in await daemon.metrics()

    await eventually(seen, within=30, what="the daemon sees the ingress")


async def says_blind(scene: Scene, reason: str) -> None:
    """The daemon shows why it does not trust the signal."""

    async def shown() -> bool:
        lines = (await scene.daemon.metrics()).splitlines()
        return any(
            line.startswith("sleeper_signal_unknown{") and f'reason="{reason}"' in line
            for line in lines
        )

    await eventually(shown, within=30, what=f"the daemon says {reason}")


async def test_prometheus_stopped(cluster: Cluster, scene: Callable[[], Any]) -> None:
    async with scene() as stage:
        cluster.component("prometheus").stop()
        try:
            await says_blind(stage, "PrometheusDown")
            await let_sleep(stage)
            await stage.control_sleeps()
        finally:
            cluster.component("prometheus").start()
        await eventually(lambda: is_asleep(stage.routed), within=90, what="the routed one sleeps")


async def test_prometheus_answering_with_nothing(scene: Callable[[], Any]) -> None:
    async with scene() as stage:
        rule = await stage.proxy.respond(
            status=200, answer=NOTHING, path="query=traefik_", times=None
        )
        await says_blind(stage, "NoTrafficTarget")
        await let_sleep(stage)
        await stage.control_sleeps()
        await rule.remove()
        await eventually(lambda: is_asleep(stage.routed), within=90, what="the routed one sleeps")


async def test_traefik_restarted(cluster: Cluster, scene: Callable[[], Any]) -> None:
    async with scene() as stage:
        await let_sleep(stage)
        traefik = cluster.component("traefik")
        traefik.stop()
        try:
            await says_blind(stage, "TrafficTargetStale")
            await stage.control_sleeps()
            back = SystemClock().now()
        finally:
            traefik.start()
        await stage.routed_sleeps_a_full_idle_time_after(back)
