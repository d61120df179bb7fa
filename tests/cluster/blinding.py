"""Spaces that differ in what they need to see, a daemon that watches them, and ways to blind it.

All Spaces are idle from the beginning and may not sleep. A test lets their idle time pass, blinds
the daemon, and then lets them sleep: whoever does not need the blinded signal sleeps at once, so
that whoever does need it would have, too.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from devcluster.client import Cluster, Component
from devcluster.options import Flags
from prometheus_client.parser import text_string_to_metric_families

from sleeper.telemetry.clock import SystemClock
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.faultproxy import FaultProxy
from tests.support.manifests import deployment, ingress, service
from tests.support.spaces import LiveSpace

SLEEP_AFTER = timedelta(seconds=6)

AFTER_ONE_SLEEP = 2
"""Generation of a workload that was made and scaled to zero; a wake and another sleep add to it."""

QUICK: Mapping[str, Any] = {
    "api_signal": {
        "canary_interval_seconds": 0.5,
        "canary_timeout_seconds": 4,
        "flush_interval_seconds": 0.2,
    },
    "traffic_signal": {"poll_interval_seconds": 0.5, "stale_after_seconds": 4},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A daemon and four Spaces, each with one running Pod.

    Attributes:
        daemon: not started yet.
        by_api: requires the API signal, as any Space does.
        by_traffic: requires the traffic signal alone.
        by_both: has a route, and so requires both.
        by_hand: sleeps when its owner says so, whatever can be seen.
    """

    daemon: Daemon
    by_api: LiveSpace
    by_traffic: LiveSpace
    by_both: LiveSpace
    by_hand: LiveSpace

    async def start(self) -> datetime:
        """Start the daemon; returns when, at the latest, idle time began."""
        await self.daemon.start()
        ready_at = SystemClock().now()
        await self.sees_until(ready_at)
        return ready_at

    async def start_and_idle(self) -> None:
        """Start the daemon, and let it see every Space idle for as long as is asked for."""
        await self.sees_until(await self.start() + SLEEP_AFTER)

    async def sees_until(self, instant: datetime) -> None:
        """Wait until both signals have surely seen everything up to ``instant``."""

        async def seen() -> bool:
            marks = await self.samples("sleeper_signal_watermark_timestamp_seconds")
            assert len(marks) == 2, f"watermarks: {marks}"
            return min(marks.values()) >= instant.timestamp()

        await eventually(seen, within=60, what=f"both signals have seen {instant:%T}")

    async def says_blind(self, reason: str) -> None:
        """Wait until the daemon shows that it does not trust a signal, and why."""
        await self._shows("sleeper_signal_unknown", reason)

    async def says_gap(self, signal: str, reason: str) -> None:
        """Wait until the daemon shows that it may have missed something for ever, and why."""
        await self._shows("sleeper_signal_gaps_total", reason, signal=signal)

    async def samples(self, name: str) -> dict[tuple[tuple[str, str], ...], float]:
        """The daemon's samples of a metric, by their labels."""
        return {
            tuple(sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(await self.daemon.metrics())
            for sample in family.samples
            if sample.name == name
        }

    async def let_sleep(self, *, after: timedelta = SLEEP_AFTER) -> None:
        """From now on every Space may sleep, and the owner of one says that it shall."""
        for space in (self.by_traffic, self.by_api, self.by_both):
            await space.annotate(sleep_after=f"{after.total_seconds():.0f}s")
        await self.by_hand.annotate(desired="asleep")

    async def is_left_alone(self, *spaces: LiveSpace) -> None:
        """Each of them is awake because the daemon cannot see what is going on."""
        for space in spaces:
            explained = await self.daemon.get_json(f"/api/v1/spaces/{space.name}")
            assert explained["verdict"] == "Abstain", explained
            assert explained["reason"] == "SignalsStale", explained
            assert await space.ready_pods() == 1

    async def _shows(self, name: str, reason: str, **labels: str) -> None:
        wanted = {*labels.items(), ("reason", reason)}

        async def shown() -> bool:
            samples = await self.samples(name)
            return any(value > 0 and wanted <= set(key) for key, value in samples.items())

        await eventually(shown, within=60, what=f"the daemon shows {name} {wanted}")


async def falls_asleep(space: LiveSpace) -> datetime:
    """Wait until the Space sleeps, for the first time; returns since when."""

    async def asleep() -> Mapping[str, str]:
        annotations = await space.annotations()
        return annotations if annotations.get("power-state") == "Asleep" else {}

    annotations = await eventually(asleep, within=90, what=f"{space.name} sleeps")
    # Listed from outside: a request in the namespace would be a person's touch.
    selector = f"fieldSelector=metadata.namespace%3D{space.name}"
    (web,) = await space.api.items(f"/apis/apps/v1/deployments?{selector}")
    assert web["metadata"]["generation"] == AFTER_ONE_SLEEP, "it slept before"
    assert await space.pods() == []
    return datetime.fromisoformat(annotations["sleeping-since"])


async def sleep_a_full_idle_time_after(
    instant: datetime, *spaces: LiveSpace, idle_time: timedelta = SLEEP_AFTER
) -> None:
    """Wait until the Spaces sleep; what was seen of them before ``instant`` must not count."""
    for space in spaces:
        since = await falls_asleep(space)
        assert since - instant >= idle_time, f"{space.name} slept too early"


@asynccontextmanager
async def staged(
    new_space: Callable[..., Any],
    new_daemon: Callable[..., Daemon],
    overrides: Mapping[str, Any],
) -> AsyncIterator[Stage]:
    """Put a stage up; the daemon is stopped when it is left."""
    made: dict[str, LiveSpace] = {
        "by_api": await new_space(sleep_after="never"),
        "by_traffic": await new_space(sleep_after="never", required_signals="traffic"),
        "by_both": await new_space(sleep_after="never"),
        "by_hand": await new_space(sleep_after="never"),
    }
    for space in made.values():
        await space.create(deployment("web"))
    routed = made["by_both"]
    await routed.create(service("web"), ingress("web", host=f"{routed.name}.test"))
    for space in made.values():
        await eventually(space.ready_pods, within=60, what="its Pod is Ready")
    stage = Stage(daemon=new_daemon(overrides), **made)
    yield stage
    if stage.daemon.running:
        await stage.daemon.stop()


@asynccontextmanager
async def sink_proxy(cluster: Cluster) -> AsyncIterator[tuple[FaultProxy, int]]:
    """A proxy between the API server and the sink; and the port on which the sink listens then."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with FaultProxy.started(
        upstream=f"https://127.0.0.1:{port}",
        upstream_ca=cluster.pki("sink-ca.crt"),
        cert=cluster.pki("sink.crt"),
        key=cluster.pki("sink.key"),
        client_cert=cluster.pki("audit-webhook.crt"),
        client_key=cluster.pki("audit-webhook.key"),
        port=cluster.sink_port,
    ) as proxy:
        yield proxy, port


@asynccontextmanager
async def stopped(component: Component) -> AsyncIterator[None]:
    """The component is down."""
    await asyncio.to_thread(component.stop)
    try:
        yield
    finally:
        await asyncio.to_thread(component.start)


@asynccontextmanager
async def reflagged(component: Component, flags: Flags) -> AsyncIterator[None]:
    """The component runs with other flags."""
    await asyncio.to_thread(component.restart, flags)
    try:
        yield
    finally:
        await asyncio.to_thread(component.restart)


PutUp = Callable[..., AbstractAsyncContextManager[Stage]]
"""``put_up(**overrides)``: a stage whose daemon has :data:`QUICK` and these settings."""
