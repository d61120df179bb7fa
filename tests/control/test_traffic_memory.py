"""Progress of the traffic signal in a real database that replicas share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from metrics import store
from metrics.core.activity import SpaceActivity
from metrics.core.signals import Activity, ActorClass, SignalName
from metrics.core.traffic_stretch import Mark
from sleeper.control.traffic_memory import Progress, recall, remember
from sleeper.store.engine import Database

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def read_to(seconds: float) -> Progress:
    return Progress(mark=Mark(at=1000.125 + seconds, ahead_seconds=0.5), watermark=at(seconds))


def gap(until: float) -> store.StoredGap:
    return store.StoredGap(source="traefik", reason="ClockStep", since=None, until=at(until))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with await Database.open(f"sqlite+aiosqlite:///{tmp_path / 'sleeper.db'}") as database:
        yield database


async def save(
    database: Database, progress: Progress, *gaps: store.StoredGap, now: float
) -> Progress:
    reached = replace(progress, gap_end=max(one.until for one in gaps))
    saved, _ = await remember(database, "traefik", reached, gaps=gaps, activity={}, now=at(now))
    return saved


def used(seconds: float) -> SpaceActivity:
    return SpaceActivity.of(
        Activity(
            at=at(seconds),
            signal=SignalName.TRAFFIC,
            source="traefik",
            actor=ActorClass.WEB,
            verb="request",
            resource="web",
        )
    )


async def test_nothing_is_known_at_first(database: Database) -> None:
    assert await recall(database, "traefik") == (Progress(), {})


async def test_a_reading_is_recalled_exactly_with_its_activity(database: Database) -> None:
    saved, found = await remember(
        database,
        "traefik",
        replace(read_to(10), gap_end=at(3)),
        gaps=[gap(3)],
        activity={"team-a": used(7)},
        now=at(11),
    )
    assert found == {}
    assert saved == Progress(mark=read_to(10).mark, watermark=at(10), gap_end=at(3))
    assert await recall(database, "traefik") == (saved, {"team-a": used(7)})
    assert (await recall(database, "another"))[0] == Progress()


async def test_a_replica_that_lags_takes_over_what_another_has_read(database: Database) -> None:
    await save(database, read_to(20), gap(5), now=21)
    saved = await save(database, read_to(10), gap(4), now=22)
    assert saved == Progress(mark=read_to(20).mark, watermark=at(20), gap_end=at(5))
    assert (await recall(database, "traefik"))[0] == saved


async def test_who_goes_on_from_anothers_reading_knows_what_it_saw(database: Database) -> None:
    for seconds, activity in ((20, {"team-a": used(18)}), (10, {})):
        _, found = await remember(
            database, "traefik", read_to(seconds), gaps=[], activity=activity, now=at(22)
        )
    assert found == {"team-a": used(18)}


async def test_what_was_stored_before_the_clock_was_set_back_holds_nobody_up(
    database: Database,
) -> None:
    await save(database, read_to(3600), gap(3600), now=3600)
    saved = await save(database, read_to(10), gap(11), now=11)
    assert saved == Progress(mark=read_to(10).mark, watermark=at(10), gap_end=at(11))


async def test_a_state_that_cannot_be_read_counts_as_no_progress(database: Database) -> None:
    async with database.begin() as connection:
        sight = store.StoredSight(watermark=at(10), gap_end=at(5), state="{")
        await store.save_sight(connection, SignalName.TRAFFIC, "traefik", sight, stored_at=at(10))
    assert (await recall(database, "traefik"))[0] == Progress(gap_end=at(5))
