"""The tables of observation merge as the pure folds do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from metrics import store
from metrics.core.activity import SpaceActivity
from metrics.core.signals import Activity, ActorClass, SignalName
from metrics.core.streams import StreamRecord

NOW = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
TOUCH = Activity(
    at=NOW,
    signal=SignalName.API,
    source="main",
    actor=ActorClass.HUMAN,
    verb="get",
    resource="pods",
)
STREAM = StreamRecord(
    apiserver="main",
    audit_id="id-1",
    user="alice",
    space_name="team-a",
    resource="pods/exec",
    target="web-0",
    started_at=NOW,
)


@pytest_asyncio.fixture
async def connection(tmp_path: Path) -> AsyncIterator[AsyncConnection]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/store.db")
    try:
        async with engine.begin() as connection:
            await connection.run_sync(store.metadata.create_all)
            yield connection
    finally:
        await engine.dispose()


async def test_activity_moves_only_forward(connection: AsyncConnection) -> None:
    newer = SpaceActivity.of(replace(TOUCH, at=NOW + timedelta(seconds=1), verb="create"))
    older = SpaceActivity.of(TOUCH)
    for seen in (older, newer, older):
        await store.merge_activity(connection, SignalName.API, {"team-a": seen}, stored_at=NOW)
    assert await store.load_activity(connection, SignalName.API) == {"team-a": newer}
    assert await store.load_activity(connection, SignalName.TRAFFIC) == {}


async def test_the_last_touch_is_kept_beside_later_activity(connection: AsyncConnection) -> None:
    seen = SpaceActivity(
        latest=replace(TOUCH, at=NOW + timedelta(hours=1), actor=ActorClass.WEB), touch=TOUCH
    )
    await store.merge_activity(connection, SignalName.API, {"team-a": seen}, stored_at=NOW)
    assert await store.load_activity(connection, SignalName.API) == {"team-a": seen}


async def test_only_what_was_stored_lately_can_be_asked_for(connection: AsyncConnection) -> None:
    seen = SpaceActivity.of(TOUCH)
    later = NOW + timedelta(minutes=1)
    await store.merge_activity(connection, SignalName.API, {"a": seen}, stored_at=NOW)
    await store.merge_activity(connection, SignalName.API, {"b": seen}, stored_at=later)
    found = await store.load_activity(connection, SignalName.API, stored_since=later)
    assert set(found) == {"b"}


async def test_streams_merge_whatever_comes_first(connection: AsyncConnection) -> None:
    ended = replace(
        STREAM, started_at=NOW + timedelta(minutes=5), closed_at=NOW + timedelta(minutes=5)
    )
    for records in ([ended], [STREAM], [ended]):
        await store.merge_streams(connection, records, stored_at=NOW)
    (stored,) = await store.load_streams(connection, started_since=NOW)
    assert stored == STREAM.merge(ended)


async def test_a_canary_must_be_registered_and_back_through_its_own_api_server(
    connection: AsyncConnection,
) -> None:
    await store.register_canary(connection, audit_id="c-1", apiserver="main", sent_at=NOW)
    for audit_id, apiserver in [("c-2", "main"), ("c-1", "other")]:
        await store.canary_came_back(
            connection,
            audit_id=audit_id,
            apiserver=apiserver,
            returned_at=NOW + timedelta(seconds=1),
            server_received_at=NOW,
        )
        assert await store.take_returned_canaries(connection, apiserver) == []


async def test_a_returned_canary_is_taken_once(connection: AsyncConnection) -> None:
    later = NOW + timedelta(seconds=1)
    await store.register_canary(connection, audit_id="c-1", apiserver="main", sent_at=NOW)
    await store.canary_came_back(
        connection, audit_id="c-1", apiserver="main", returned_at=later, server_received_at=NOW
    )
    (taken,) = await store.take_returned_canaries(connection, "main")
    assert (taken.sent_at, taken.answered_at, taken.returned_at) == (NOW, later, later)
    assert await store.take_returned_canaries(connection, "main") == []


async def test_a_source_keeps_its_watermark_gap_and_state(connection: AsyncConnection) -> None:
    first = store.StoredSight(watermark=None, gap_end=NOW, state="{}")
    second = store.StoredSight(watermark=NOW, gap_end=None, state='{"a":1}')
    for sight in (first, second):
        await store.save_sight(connection, SignalName.TRAFFIC, "traefik", sight, stored_at=NOW)
    found = await store.load_sights(connection, SignalName.TRAFFIC, to_change=True)
    assert found == {"traefik": second}


async def test_gaps_are_told_newest_first(connection: AsyncConnection) -> None:
    gaps = [
        store.StoredGap(
            source="main", reason="EventsLost", since=None, until=NOW + timedelta(hours=n)
        )
        for n in range(3)
    ]
    await store.add_gaps(connection, SignalName.API, gaps)
    assert await store.recent_gaps(connection, SignalName.API, limit=2) == gaps[:0:-1]


async def test_what_is_old_is_forgotten_and_what_is_young_is_kept(
    connection: AsyncConnection,
) -> None:
    young = replace(STREAM, audit_id="id-2", started_at=NOW + timedelta(days=1))
    await store.merge_streams(connection, [STREAM, young], stored_at=NOW)
    await store.register_canary(connection, audit_id="c-1", apiserver="main", sent_at=NOW)
    before = NOW + timedelta(hours=1)
    dropped = await store.forget_before(connection, canaries=before, streams=before, gaps=before)
    assert dropped == 2
    assert await store.load_streams(connection, started_since=NOW) == [young]


async def test_activity_of_namespaces_that_are_gone_is_forgotten(
    connection: AsyncConnection,
) -> None:
    seen = SpaceActivity.of(TOUCH)
    activities = {"gone": seen, "here": seen}
    await store.merge_activity(connection, SignalName.API, activities, stored_at=NOW)
    await store.forget_activity(
        connection, before=NOW + timedelta(seconds=1), keep=frozenset({"here"})
    )
    assert set(await store.load_activity(connection, SignalName.API)) == {"here"}
