"""Calendar jobs: what must be done at certain times of the day, by APScheduler.

The scheduler only says when: jobs run one after the other in :meth:`Jobs.run`, whose cancellation
ends them. It keeps nothing: every job looks at the tables for what is due, so that a missed or
doubled run changes nothing. Times are UTC.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger

from billing import store as billing_store
from metrics import store as metrics_store
from metrics.core.clock import Clock
from sleeper.control.shift import seconds
from sleeper.errors import StoreError
from sleeper.store.engine import Database

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long history is kept.

    Attributes:
        meter: rows of the meter.
        activity: last activity of namespaces that are gone.
        gaps: gaps of signals, kept for those who ask why a Space did not sleep.
        streams: streams, counted from their beginning; must outlast the longest that may hold.
        canaries: canaries that never came back.
    """

    meter: timedelta
    activity: timedelta
    gaps: timedelta
    streams: timedelta
    canaries: timedelta = timedelta(hours=6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job.

    Attributes:
        name: for the log.
        when: fields of APScheduler's ``CronTrigger``, such as ``{"hour": 3, "minute": 17}``.
        run: the work; idempotent.
    """

    name: str
    when: Mapping[str, int | str]
    run: Callable[[], Awaitable[object]]


class Jobs:
    """Runs jobs when they are due, each at most once at a time, however many times were missed."""

    def __init__(self, jobs: tuple[Job, ...]) -> None:
        self._jobs = {job.name: job for job in jobs}
        self._due: dict[str, None] = {}
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Run for ever; a job that fails is logged and comes again at its next time."""
        scheduler = AsyncIOScheduler(timezone=UTC)
        for job in self._jobs.values():
            scheduler.add_job(
                self._fall_due,
                CronTrigger(timezone=UTC, **job.when),
                args=(job.name,),
                id=job.name,
                coalesce=True,
                misfire_grace_time=None,
            )
        scheduler.start()
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                while self._due:
                    name = next(iter(self._due))
                    await self._run(self._jobs[name])
                    del self._due[name]
        finally:
            scheduler.shutdown(wait=False)

    async def _fall_due(self, name: str) -> None:
        self._due[name] = None
        self._news.set()

    async def _run(self, job: Job) -> None:
        try:
            result = await job.run()
        except StoreError as error:
            log.warning("job failed", job=job.name, error=str(error))
        else:
            log.info("job done", job=job.name, result=result)


def checkpoint_job(database: Database) -> Job:
    """Hourly: keep SQLite's write-ahead log from growing while readers come and go."""
    return Job(name="checkpoint", when={"minute": 7}, run=database.checkpoint)


def retention_job(
    database: Database,
    clock: Clock,
    *,
    namespaces: Callable[[], frozenset[str] | None],
    keep: Retention,
) -> Job:
    """Daily: forget what ended longer ago than ``keep`` says.

    Args:
        database: the tables.
        clock: now.
        namespaces: names of all namespaces; None while they are not surely known, and then no
            activity is forgotten.
        keep: how long.
    """

    async def forget() -> int:
        now = clock.now()
        living = namespaces()
        async with database.begin() as connection:
            dropped = await billing_store.forget_before(connection, seconds(now - keep.meter))
            dropped += await metrics_store.forget_before(
                connection,
                canaries=now - keep.canaries,
                streams=now - keep.streams,
                gaps=now - keep.gaps,
            )
            if living is not None:
                dropped += await metrics_store.forget_activity(
                    connection, before=now - keep.activity, keep=living
                )
        return dropped

    return Job(name="retention", when={"hour": 3, "minute": 17}, run=forget)
