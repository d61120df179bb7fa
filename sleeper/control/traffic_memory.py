"""What of the traffic signal outlives a process: progress, gaps and activity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from metrics import store
from metrics.core.activity import SpaceActivity
from metrics.core.signals import SignalName
from metrics.core.traffic_stretch import Mark
from sleeper.store.engine import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a provider has been read.

    Attributes:
        mark: the watermark on Prometheus's clock, where the next reading begins.
        watermark: the same instant on ours.
        gap_end: end of the last gap.
    """

    mark: Mark | None = None
    watermark: datetime | None = None
    gap_end: datetime | None = None


class _State(msgspec.Struct, frozen=True):
    """The stored form of a :class:`Mark`."""

    at: float
    ahead_seconds: float


async def set_back(database: Database, *, now: datetime, to: datetime) -> None:
    """Bring activity to ``to`` that lies in the future: it was stored before a clock was set back.

    As it is, nothing of its Space would be stored until the clock has caught up.
    """
    async with database.begin() as connection:
        await store.set_back_activity(connection, SignalName.TRAFFIC, now=now, to=to)


async def recall(database: Database, source: str) -> tuple[Progress, dict[str, SpaceActivity]]:
    """Progress of a provider, and the latest activity of each Space by name."""
    async with database.read() as connection:
        activity = await store.load_activity(connection, SignalName.TRAFFIC)
        sights = await store.load_sights(connection, SignalName.TRAFFIC)
    return _progress(sights.get(source)), activity


async def remember(
    database: Database,
    source: str,
    reached: Progress,
    *,
    gaps: Sequence[store.StoredGap],
    activity: Mapping[str, SpaceActivity],
    now: datetime,
    set_back_to: datetime | None = None,
) -> tuple[Progress, dict[str, SpaceActivity]]:
    """Commit one reading; the progress that holds afterwards, with activity that it rests on.

    Args:
        database: shared by all replicas.
        source: the provider.
        reached: how far this reading came.
        gaps: those that were not told before.
        activity: by Space name.
        now: our clock.
        set_back_to: the clock has stepped since the last commit: to when activity is set back that
            lies in the future.

    Another replica may have read further: its watermark is as true as its activity, which was
    stored with it and is returned here, because the next reading begins behind it. A watermark
    that lies in the future was stored before a clock was set back.
    """
    signal = SignalName.TRAFFIC
    async with database.begin() as connection:
        stored = _progress(
            (await store.load_sights(connection, signal, to_change=True)).get(source)
        )
        ends = [min(end, now) for end in (stored.gap_end, reached.gap_end) if end is not None]
        further = _is_further(stored, reached, now)
        progress = replace(stored if further else reached, gap_end=max(ends, default=None))
        if set_back_to is not None:
            await store.set_back_activity(connection, signal, now=now, to=set_back_to)
        await store.merge_activity(connection, signal, activity, stored_at=now)
        await store.add_gaps(connection, signal, gaps)
        await store.save_sight(connection, signal, source, _sight(progress), stored_at=now)
        found = await store.load_activity(connection, signal) if further else {}
    return progress, found


def _is_further(stored: Progress, reached: Progress, now: datetime) -> bool:
    return (
        stored.mark is not None
        and reached.mark is not None
        and stored.mark.at > reached.mark.at
        and stored.watermark is not None
        and stored.watermark <= now
    )


def _progress(sight: store.StoredSight | None) -> Progress:
    if sight is None:
        return Progress()
    try:
        state = msgspec.json.decode(sight.state, type=_State)
    except msgspec.DecodeError:
        return Progress(gap_end=sight.gap_end)
    return Progress(
        mark=Mark(at=state.at, ahead_seconds=state.ahead_seconds),
        watermark=sight.watermark,
        gap_end=sight.gap_end,
    )


def _sight(progress: Progress) -> store.StoredSight:
    mark = progress.mark
    state = b"" if mark is None else msgspec.json.encode(_State(mark.at, mark.ahead_seconds))
    return store.StoredSight(
        watermark=progress.watermark, gap_end=progress.gap_end, state=state.decode()
    )
