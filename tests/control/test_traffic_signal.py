"""The traffic signal of replicas that share a database, over a Prometheus that is played."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from metrics.core.clock import EPOCH
from metrics.core.steps import TimeLine
from metrics.core.traffic import Sample, Series
from metrics.core.traffic_providers import TRAEFIK
from metrics.recorder import NullRecorder
from sleeper.control.traffic import TrafficSettings, TrafficSignal
from sleeper.core import names
from sleeper.core.objects import Namespace, SpaceObjects
from sleeper.store.engine import Database

SPACE = msgspec.convert(
    {
        "namespace": {"metadata": {"name": "team-a", "labels": {names.LABEL_TENANT: "t"}}},
        "services": [{"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}],
    },
    SpaceObjects,
)
TARGET = {"job": "traefik", "instance": "10.0.0.1:9100"}


@dataclass
class Played:
    """Prometheus, the inventory and the clock: scraped every 15 s, one visit at ``visited``."""

    now_seconds: float = 1000.0
    visited: float = 1010.0
    slow_seconds: float = 0.0
    synced: bool = True
    set_back_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.line = TimeLine(self, limit=timedelta(seconds=2))

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.now_seconds)

    def monotonic(self) -> float:
        return self.now_seconds + self.set_back_seconds

    async def scalar(self, _query: str) -> float:
        asked_at = self.now_seconds
        self.now_seconds += self.slow_seconds
        return asked_at

    async def vector(self, _query: str, *, at: float) -> tuple[Series, ...]:
        return (Series(labels=TARGET, samples=(Sample(at, 1.0),)),)

    async def matrix(self, query: str, *, at: float) -> tuple[Series, ...]:
        def value(scrape: float) -> float:
            return float(scrape >= self.visited) if query.startswith(TRAEFIK.requests) else 1.0

        samples = tuple(Sample(t, value(t)) for t in range(400, int(at) + 1, 15))
        return (Series(labels=TARGET | {"service": "team-a-web-80@kubernetes"}, samples=samples),)

    def namespaces(self) -> Iterable[Namespace]:
        return [SPACE.namespace]

    def space(self, name: str) -> SpaceObjects | None:
        return SPACE if name == "team-a" else None

    def ingress_classes(self) -> Mapping[str, str]:
        return {}

    def subscribe(self, callback: Callable[[str], None]) -> None:
        """Nothing ever changes."""


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with await Database.open(f"sqlite+aiosqlite:///{tmp_path / 'sleeper.db'}") as opened:
        yield opened


async def replica(played: Played, database: Database) -> TrafficSignal:
    signal = TrafficSignal(
        provider=TRAEFIK,
        query=played,
        spaces=played,
        database=database,
        line=played.line,
        clock=played,
        recorder=NullRecorder(),
        settings=TrafficSettings(
            poll_interval_seconds=15,
            stale_after_seconds=60,
            backfill_seconds=600,
            max_clock_offset_seconds=5,
            max_clock_step_seconds=2,
        ),
    )
    await signal.start()
    await signal.poll()
    assert signal.view(played.now()).unknown_because is None
    return signal


async def test_a_replica_whose_reading_was_overtaken_knows_the_visits_that_it_skips(
    database: Database,
) -> None:
    before, after = Played(), Played()
    slow, quick = await replica(before, database), await replica(after, database)
    after.now_seconds = 1015.4  # past the scrape that shows the visit
    await quick.poll()
    before.now_seconds, before.slow_seconds = 1014.8, 1.0  # asked before it, answered after it
    await slow.poll()
    assert slow.view(after.now()).watermark == quick.view(after.now()).watermark
    before.now_seconds = 1031.0
    await slow.poll()
    assert slow.activity("team-a") == quick.activity("team-a") is not None
