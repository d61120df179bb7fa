"""A daemon that is blind sleeps nothing that needs its eyes, and gives it its full idle time after.

In each case there are Spaces that do not need the blinded signal, and these do sleep meanwhile.
What a signal only shows late (a batch that is tried again, counters of an ingress that lived on)
still counts once it is seen; what it can never show is made up for by a whole new idle time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from devcluster.client import Cluster

from sleeper.telemetry.clock import SystemClock
from tests.cluster.blinding import (
    QUICK,
    SLEEP_AFTER,
    PutUp,
    falls_asleep,
    reflagged,
    sink_proxy,
    sleep_a_full_idle_time_after,
    staged,
    stopped,
)
from tests.conftest import DaemonFactory
from tests.support.api import Api, kubectl
from tests.support.daemon import merged
from tests.support.eventually import eventually
from tests.support.steppable import WallClock

pytestmark = pytest.mark.cluster

FLOOD = 300


@pytest.fixture
def put_up(new_space: Callable[..., Any], new_daemon: DaemonFactory) -> PutUp:
    return lambda **overrides: staged(new_space, new_daemon, merged(QUICK, overrides))


def now() -> datetime:
    return SystemClock().now()


# The API signal


async def test_while_the_sink_is_unreachable_nothing_sleeps_that_needs_the_api_signal(
    cluster: Cluster, put_up: PutUp
) -> None:
    async with sink_proxy(cluster) as (proxy, port), put_up(api_signal={"port": port}) as stage:
        await stage.start_and_idle()
        blind = await proxy.drop(path="/audit/", times=None)
        await kubectl(cluster, "get", "pods", "-n", stage.by_api.name)  # nobody will ever know
        await stage.says_blind("CanaryMissing")
        await stage.let_sleep()
        await falls_asleep(stage.by_traffic)
        await stage.is_left_alone(stage.by_api, stage.by_both)

        back = now()
        await blind.remove()
        await sleep_a_full_idle_time_after(back, stage.by_api, stage.by_both)


async def test_a_touch_whose_batch_is_held_back_while_canaries_pass_keeps_its_space_awake(
    cluster: Cluster, put_up: PutUp
) -> None:
    retry_horizon = timedelta(seconds=20)
    signal = {"retry_horizon_seconds": retry_horizon.total_seconds()}
    async with (
        sink_proxy(cluster) as (proxy, port),
        put_up(api_signal={"port": port, **signal}) as stage,
    ):
        began = now()
        await stage.daemon.start()
        # The horizon has to reach the touch before it reaches the end of the idle time.
        after = now() - began + SLEEP_AFTER
        await stage.let_sleep(after=after)
        allowed = now()
        half = after / 2
        await eventually(lambda: now() - allowed >= half, within=30, what="half the time is over")
        touched = stage.by_api
        held = await proxy.hold(path="/audit/", body=f'alice.*"namespace":"{touched.name}"')
        touch = now()
        await kubectl(cluster, "get", "pods", "-n", touched.name)
        await held.fired()
        mark = await proxy.mark()

        await falls_asleep(stage.by_traffic)
        passed = await proxy.requests(after=mark, path="/audit/")
        assert len([batch for batch in passed if batch.status == 200]) >= 2, passed
        assert now() - touch < retry_horizon, "held for longer than an API server ever would"
        await held.release()

        await falls_asleep(stage.by_both)
        await sleep_a_full_idle_time_after(touch, touched, idle_time=after)
        assert '"who": "human"' in (await touched.annotations())["last-activity-info"]


async def test_an_overflow_of_the_api_servers_audit_buffer_counts_as_use_of_every_space(
    cluster: Cluster, api: Api, put_up: PutUp
) -> None:
    leaky = {
        "audit-webhook-batch-buffer-size": "10",
        "audit-webhook-batch-max-size": "1",
        "audit-webhook-batch-throttle-qps": "10",
        "audit-webhook-batch-throttle-burst": "1",
    }
    async with reflagged(cluster.component("kube-apiserver"), leaky), put_up() as stage:
        await stage.start_and_idle()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(FLOOD):
                tasks.create_task(api.get("/api/v1/namespaces/default/configmaps"))
        flooded = now()
        await stage.says_gap("api", "EventsLost")
        await stage.let_sleep()
        await falls_asleep(stage.by_traffic)
        await sleep_a_full_idle_time_after(flooded, stage.by_api, stage.by_both)


# The traffic signal


async def test_while_prometheus_is_down_nothing_sleeps_that_needs_the_traffic_signal(
    cluster: Cluster, put_up: PutUp
) -> None:
    async with put_up() as stage:
        await stage.start_and_idle()
        async with stopped(cluster.component("prometheus")):
            await stage.says_blind("PrometheusDown")
            await stage.let_sleep()
            await falls_asleep(stage.by_api)
            await stage.is_left_alone(stage.by_traffic, stage.by_both)
            back = now()
        for space in (stage.by_traffic, stage.by_both):
            assert await falls_asleep(space) >= back


async def test_while_prometheus_has_nothing_to_say_nothing_sleeps_that_needs_the_traffic_signal(
    cluster: Cluster, put_up: PutUp, tmp_path: Path
) -> None:
    without_targets = tmp_path / "prometheus.yaml"
    without_targets.write_text("{}")
    empty = {"config.file": str(without_targets), "storage.tsdb.path": str(tmp_path / "tsdb")}
    async with put_up() as stage:
        await stage.start_and_idle()
        async with reflagged(cluster.component("prometheus"), empty):
            await stage.says_blind("NoTrafficTarget")
            await stage.let_sleep()
            await falls_asleep(stage.by_api)
            await stage.is_left_alone(stage.by_traffic, stage.by_both)
            back = now()
        for space in (stage.by_traffic, stage.by_both):
            assert await falls_asleep(space) >= back


async def test_a_restart_of_traefik_counts_as_use_of_every_space_that_needs_the_traffic_signal(
    cluster: Cluster, put_up: PutUp
) -> None:
    async with put_up() as stage:
        await stage.start_and_idle()
        async with stopped(cluster.component("traefik")):
            await stage.says_blind("TrafficTargetStale")
            await stage.let_sleep()
            await falls_asleep(stage.by_api)
            await stage.is_left_alone(stage.by_traffic, stage.by_both)
            back = now()
        await sleep_a_full_idle_time_after(back, stage.by_traffic, stage.by_both)


# Both


async def test_a_step_of_the_wall_clock_is_no_idle_time(put_up: PutUp, tmp_path: Path) -> None:
    clock = WallClock(tmp_path / "offset")
    step = timedelta(seconds=60)
    async with put_up(api_signal={"max_clock_offset_seconds": 120}) as stage:
        stage.daemon.program = clock.program
        began = now()
        await stage.start()
        stepped = clock.step(step)
        # More than has passed by now, and less than the stepped clock makes of it.
        after = now() - began + SLEEP_AFTER
        assert after < step
        await stage.let_sleep(after=after)
        await falls_asleep(stage.by_hand)
        await stage.says_gap("api", "ClockStep")
        await stage.says_gap("traffic", "ClockStep")
        await sleep_a_full_idle_time_after(
            stepped, stage.by_api, stage.by_traffic, stage.by_both, idle_time=after
        )


async def test_a_daemon_that_just_started_has_seen_nothing_yet(put_up: PutUp) -> None:
    async with put_up() as stage:
        await stage.let_sleep()
        made = now()
        await eventually(lambda: now() - made >= SLEEP_AFTER, within=10, what="they are old")

        began = now()
        await stage.daemon.start()
        await falls_asleep(stage.by_hand)
        await sleep_a_full_idle_time_after(began, stage.by_api, stage.by_traffic, stage.by_both)


async def test_a_daemon_that_was_killed_does_not_know_what_it_had_heard_last(
    put_up: PutUp,
) -> None:
    after = 3 * SLEEP_AFTER
    async with put_up() as stage:
        await stage.start()
        await stage.let_sleep(after=after)
        await stage.sees_until(now() + SLEEP_AFTER)
        stage.daemon.kill()
        began = now()
        await stage.daemon.start()
        await falls_asleep(stage.by_traffic)
        await stage.says_gap("api", "SinkDied")
        await sleep_a_full_idle_time_after(began, stage.by_api, stage.by_both, idle_time=after)
