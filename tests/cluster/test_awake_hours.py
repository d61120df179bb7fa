"""Awake-hours with the real daemon: woken when they begin, awake in them, asleep when they end.

The daemon's clock is set to just before each edge; what schedules decide needs no signal, so that
it may be blind after such a step does not matter here.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sleeper.telemetry.clock import SystemClock
from tests.conftest import DaemonFactory
from tests.support.eventually import eventually
from tests.support.manifests import deployment
from tests.support.spaces import LiveSpace
from tests.support.steppable import WallClock

pytestmark = pytest.mark.cluster

NOTICE = timedelta(seconds=10)


async def becomes(space: LiveSpace, **wanted: str) -> dict[str, str]:
    """Wait until the Space's annotations say so; returns them all."""

    async def told() -> dict[str, str]:
        found = await space.annotations()
        shown = {key: found.get(key.replace("_", "-")) for key in wanted}
        assert shown == wanted
        return found

    return await eventually(told, within=45, what=f"{space.name} shows {wanted}")


def instant(annotations: dict[str, str], key: str) -> datetime:
    return datetime.fromisoformat(annotations[key])


async def test_a_space_is_woken_when_its_hours_begin_and_sleeps_when_they_end(
    new_space: Callable[..., Any], new_daemon: DaemonFactory, tmp_path: Path
) -> None:
    clock, real = WallClock(tmp_path / "offset"), SystemClock()
    started = real.now()
    begin = started.replace(minute=0, second=0, microsecond=0) + timedelta(hours=2)
    end = begin + timedelta(hours=1)
    space: LiveSpace = await new_space(
        awake_hours=f"Mon-Sun {begin:%H:%M}-{end:%H:%M}",
        timezone="UTC",
        notice=f"{NOTICE.total_seconds():.0f}s",
    )
    without: LiveSpace = await new_space()
    for each in (space, without):
        await each.create(deployment("web"))
        await eventually(each.ready_pods, within=60, what="its Pod is Ready")
    daemon = new_daemon()
    daemon.program = clock.program
    await daemon.start()
    await daemon.sees()

    new = await becomes(space, power_state="Awake", reason="AwaitingHoursEnd")
    assert started - timedelta(seconds=1) < instant(new, "schedule-cursor") <= real.now()
    await space.annotate(desired="asleep")
    await becomes(space, power_state="Asleep", desired="asleep")
    await space.annotate(desired=None)

    clock.step(begin - timedelta(seconds=6) - real.now())
    await becomes(space, power_state="Asleep", next_transition=f"{begin:%FT%TZ}")
    # Whoever woke it early would have been seen by now.
    woken = await becomes(
        space, power_state="Awake", reason="AwakeHours", next_transition=f"{end:%FT%TZ}"
    )
    await eventually(space.ready_pods, within=60, what="its Pod is back")

    for each in (space, without):
        await each.annotate(desired="asleep")
    await becomes(without, power_state="Asleep")
    held = await becomes(space, power_state="Awake", reason="AwakeHours", epoch=woken["epoch"])
    assert instant(held, "schedule-cursor") < begin
    await space.annotate(desired=None)

    clock.step(end - NOTICE - timedelta(seconds=3) - real.now())
    await becomes(space, power_state="Drowsy", reason="AwakeHours", next_transition=f"{end:%FT%TZ}")
    slept = await becomes(space, power_state="Asleep", reason="AwakeHoursEnded")
    assert instant(slept, "sleeping-since") >= end
    assert await space.pods() == []

    async def applied() -> bool:
        return instant(await space.annotations(), "schedule-cursor") >= end

    await eventually(applied, within=20, what="the end of the hours counts as applied")
