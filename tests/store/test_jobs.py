"""Calendar jobs run one after the other, when they are due, whatever became of the last one."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from metrics import store
from metrics.core.activity import SpaceActivity
from metrics.core.signals import Activity, ActorClass, SignalName
from sleeper.config import Config
from sleeper.config.settings import ApiSignalConfig
from sleeper.control.jobs import Job, Jobs, checkpoint_job, retention_job
from sleeper.daemon import retention
from sleeper.errors import StoreError
from sleeper.store.engine import Database
from sleeper.telemetry.clock import SystemClock

EVERY_SECOND = {"second": "*"}
NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)


async def test_a_job_that_fails_comes_again_and_keeps_no_other_from_running() -> None:
    runs: list[str] = []
    done = asyncio.Event()

    async def fails() -> None:
        runs.append("fails")
        raise StoreError("the database is locked")

    async def works() -> None:
        runs.append("works")
        if runs.count("works") >= 2:
            done.set()

    jobs = Jobs(
        (
            Job(name="fails", when=EVERY_SECOND, run=fails),
            Job(name="works", when=EVERY_SECOND, run=works),
        )
    )
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(jobs.run())
        await done.wait()
        running.cancel()
    assert runs.count("fails") >= 2


async def test_a_job_that_is_due_twice_while_it_runs_runs_once_more_at_most() -> None:
    begun = 0
    parallel = 0
    enough = asyncio.Event()

    async def slow() -> None:
        nonlocal begun, parallel
        begun += 1
        parallel += 1
        assert parallel == 1
        if begun == 2:
            enough.set()
        await asyncio.sleep(2.5)
        parallel -= 1

    jobs = Jobs((Job(name="slow", when=EVERY_SECOND, run=slow),))
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(jobs.run())
        await enough.wait()
        running.cancel()
    assert asyncio.get_running_loop().time() - began >= 2.5


class FixedClock:
    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


async def test_activity_of_namespaces_that_may_still_be_there_is_never_forgotten(
    tmp_path: Path,
) -> None:
    """Forgetting it would let a Space with a long ``sleep-after`` sleep too soon."""

    def used(days_ago: int) -> SpaceActivity:
        return SpaceActivity(
            latest=Activity(
                at=NOW - timedelta(days=days_ago),
                signal=SignalName.API,
                source="one",
                actor=ActorClass.HUMAN,
                verb="get",
                resource="pods",
            )
        )

    async def remembered(living: frozenset[str] | None) -> set[str]:
        await retention_job(
            database, FixedClock(), namespaces=lambda: living, keep=retention(Config())
        ).run()
        async with database.read() as connection:
            return set(await store.load_activity(connection, SignalName.API))

    async with await Database.open(f"sqlite+aiosqlite:///{tmp_path}/sleeper.db") as database:
        activities = {"there": used(90), "gone": used(90), "just-gone": used(3)}
        async with database.begin() as connection:
            await store.merge_activity(connection, SignalName.API, activities, stored_at=NOW)
        assert await remembered(None) == {"there", "gone", "just-gone"}
        assert await remembered(frozenset({"there"})) == {"there", "just-gone"}


async def test_the_jobs_that_we_ship_run_on_a_real_database(tmp_path: Path) -> None:
    async with await Database.open(f"sqlite+aiosqlite:///{tmp_path}/sleeper.db") as database:
        await checkpoint_job(database).run()
        job = retention_job(database, SystemClock(), namespaces=frozenset, keep=retention(Config()))
        assert await job.run() == 0


def test_a_stream_is_remembered_for_longer_than_it_may_hold() -> None:
    """Forgotten earlier, its Space would sleep after a restart while somebody is at work in it."""
    week = timedelta(days=7)
    config = Config(api_signal=ApiSignalConfig(stream_max_seconds=week.total_seconds()))
    assert retention(config).streams > week
