"""The traffic signal on a real Prometheus: what it sees, what blinds it, what it calls a gap."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from metrics import store
from metrics.core.signals import Activity, ActorClass, SignalName
from metrics.core.steps import TimeLine
from metrics.core.traffic_providers import TRAEFIK
from metrics.errors import PrometheusPartialError, PrometheusRefusedError
from metrics.recorder import NullRecorder
from metrics.sources.prometheus import Prometheus
from sleeper.control.traffic import TrafficSettings, TrafficSignal
from sleeper.core import names
from sleeper.core.objects import (
    Ingress,
    IngressSpec,
    Metadata,
    Namespace,
    Service,
    ServicePort,
    ServiceSpec,
    SpaceObjects,
)
from sleeper.store.engine import Database
from sleeper.telemetry.clock import SystemClock
from tests.support.eventually import eventually
from tests.support.faultproxy import FaultProxy
from tests.support.prometheus import Exporter, LivePrometheus

pytestmark = pytest.mark.cluster

SETTINGS = TrafficSettings(
    poll_interval_seconds=0.2,
    stale_after_seconds=2.0,
    backfill_seconds=60.0,
    max_clock_offset_seconds=5.0,
    max_clock_step_seconds=2.0,
)
WEB = "team-a-web-80@kubernetes"


Start = Callable[..., AbstractAsyncContextManager[TrafficSignal]]


class ShiftedClock(SystemClock):
    """Real time, with a wall clock that the test sets."""

    def __init__(self) -> None:
        self.shift = timedelta()

    def now(self) -> datetime:
        return super().now() + self.shift


class Spaces:
    """Two Spaces with a Service each; the part of the inventory that the signal reads."""

    def __init__(self) -> None:
        self.synced = True
        self.objects = {
            name: SpaceObjects(
                namespace=Namespace(metadata=Metadata(name=name, labels={names.LABEL_TENANT: "t"})),
                services=(
                    Service(
                        metadata=Metadata(name="web"),
                        spec=ServiceSpec(ports=(ServicePort(port=80, name="http"),)),
                    ),
                ),
            )
            for name in ("team-a", "team-b")
        }

    def namespaces(self) -> Iterable[Namespace]:
        return [objects.namespace for objects in self.objects.values()]

    def space(self, name: str) -> SpaceObjects | None:
        return self.objects.get(name)

    def ingress_classes(self) -> Mapping[str, str]:
        return {"traefik": "traefik.io/ingress-controller", "other": "example.com/other"}

    def subscribe(self, callback: Callable[[str], None]) -> None:
        del callback  # nothing here ever changes


@pytest.fixture
def exporter() -> Exporter:
    return Exporter()


@pytest.fixture
async def prometheus(tmp_path: Path, exporter: Exporter) -> AsyncIterator[LivePrometheus]:
    """Scrapes the exporter."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = LivePrometheus(tmp_path, port=free.getsockname()[1])
    async with exporter.serving() as address:
        await server.scrape(address)
        await server.start()
        try:
            yield server
        finally:
            await server.stop()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with await Database.open(f"sqlite+aiosqlite:///{tmp_path / 'sleeper.db'}") as database:
        yield database


@pytest.fixture
def clock() -> ShiftedClock:
    return ShiftedClock()


@pytest.fixture
def spaces() -> Spaces:
    return Spaces()


@pytest.fixture
def start(
    prometheus: LivePrometheus, spaces: Spaces, database: Database, clock: ShiftedClock
) -> Start:
    """Starts a daemon's traffic signal on the same database as the one before."""

    @asynccontextmanager
    async def start(url: str = prometheus.url) -> AsyncIterator[TrafficSignal]:
        async with Prometheus(url, timeout_seconds=5.0) as query:
            signal = TrafficSignal(
                provider=TRAEFIK,
                query=query,
                spaces=spaces,
                database=database,
                line=TimeLine(clock, limit=timedelta(seconds=2)),
                clock=clock,
                recorder=NullRecorder(),
                settings=SETTINGS,
            )
            await signal.start()
            yield signal

    return start


@pytest.fixture
async def signal(
    start: Start, exporter: Exporter, clock: ShiftedClock
) -> AsyncIterator[TrafficSignal]:
    """A signal that sees, with its first gap behind it."""
    async with start() as signal:
        await exporter.scraped()
        await sees(signal, clock, since=clock.now())
        yield signal


async def sees(signal: TrafficSignal, clock: ShiftedClock, *, since: datetime) -> None:
    """Read until the watermark has passed an instant."""

    async def passed() -> bool:
        await signal.poll()
        view = signal.view(clock.now())
        assert view.unknown_because is None, view
        assert view.watermark is not None
        assert view.watermark <= clock.now()
        return view.watermark > since

    await eventually(passed, within=15, what="sees")


async def blind(signal: TrafficSignal, clock: ShiftedClock, reason: str) -> None:
    """Read until the signal is blind for that reason."""

    async def told() -> bool:
        await signal.poll()
        return signal.view(clock.now()).unknown_because == reason

    await eventually(told, within=15, what=f"blind because of {reason}")


def used_at(signal: TrafficSignal, space: str = "team-a") -> datetime | None:
    activity = signal.activity(space)
    return None if activity is None else activity.latest.at


async def gap_reasons(database: Database) -> list[str]:
    """Oldest first, without those of the start: first Prometheus's, then ours."""
    async with database.read() as connection:
        gaps = await store.recent_gaps(connection, SignalName.TRAFFIC)
    return [gap.reason for gap in reversed(gaps) if gap.reason not in {"FirstStart", "HistoryLost"}]


async def test_the_first_request_of_a_service_is_seen_and_credited_to_its_space_alone(
    signal: TrafficSignal, exporter: Exporter, clock: ShiftedClock
) -> None:
    told: list[tuple[str, Activity]] = []
    signal.subscribe(lambda space, activity: told.append((space, activity)))
    before = clock.now()
    exporter.request(WEB)
    await exporter.scraped()
    await sees(signal, clock, since=clock.now())

    ((space, activity),) = told
    assert space == "team-a"
    assert before <= activity.at <= clock.now()
    assert (activity.signal, activity.source) == (SignalName.TRAFFIC, "traefik")
    assert (activity.actor, activity.resource) == (ActorClass.WEB, "web")
    assert used_at(signal, "team-a") == activity.at
    assert used_at(signal, "team-b") is None


async def test_errors_prove_nothing_and_every_further_success_does(
    signal: TrafficSignal, exporter: Exporter, clock: ShiftedClock
) -> None:
    exporter.request(WEB, code="502")
    exporter.request(WEB, code="404")
    await exporter.scraped()
    await sees(signal, clock, since=clock.now())
    assert used_at(signal) is None
    previous = clock.now()
    for code in ("200", "200", "101", "302", "0"):
        exporter.request(WEB, code=code)
        await exporter.scraped()
        await sees(signal, clock, since=clock.now())
        used = used_at(signal)
        assert used is not None
        assert used > previous, code
        previous = used
    await sees(signal, clock, since=clock.now())
    assert used_at(signal) == previous, "nothing happened since"


async def test_a_scrape_hole_is_lag_and_what_was_served_in_it_is_seen_afterwards(
    signal: TrafficSignal, exporter: Exporter, clock: ShiftedClock, database: Database
) -> None:
    exporter.request(WEB)
    await exporter.scraped()
    await sees(signal, clock, since=clock.now())
    exporter.up = False
    before = signal.view(clock.now()).watermark
    await blind(signal, clock, "TrafficTargetStale")
    held = signal.view(clock.now()).watermark
    assert held is not None
    assert before is not None
    assert held - before < timedelta(seconds=1)

    in_the_hole = clock.now()
    exporter.request(WEB)
    exporter.up = True
    await exporter.scraped()
    await sees(signal, clock, since=in_the_hole)
    used = used_at(signal)
    assert used is not None
    assert used > in_the_hole
    assert await gap_reasons(database) == []


async def test_a_hole_in_which_nothing_was_served_is_no_activity(
    signal: TrafficSignal, exporter: Exporter, clock: ShiftedClock
) -> None:
    exporter.request(WEB)
    await exporter.scraped()
    await sees(signal, clock, since=clock.now())
    used = used_at(signal)
    exporter.up = False
    await blind(signal, clock, "TrafficTargetStale")
    exporter.up = True
    await exporter.scraped()
    await sees(signal, clock, since=clock.now())
    assert used_at(signal) == used


async def test_an_exporter_that_restarted_in_a_hole_is_a_gap(
    signal: TrafficSignal, exporter: Exporter, clock: ShiftedClock, database: Database
) -> None:
    exporter.up = False
    await blind(signal, clock, "TrafficTargetStale")
    exporter.request(WEB)  # nobody will ever know
    exporter.restart()
    exporter.up = True
    back = clock.now()
    await exporter.scraped()
    await sees(signal, clock, since=clock.now())
    assert await gap_reasons(database) == ["ExporterRestarted"]
    gap_end = signal.view(clock.now()).last_gap_end
    assert gap_end is not None
    assert timedelta() <= gap_end - back < timedelta(seconds=2)
    await sees(signal, clock, since=clock.now())
    assert await gap_reasons(database) == ["ExporterRestarted"], "told once"


async def test_a_stopped_prometheus_blinds_at_once_and_nothing_is_lost_when_it_is_back(
    signal: TrafficSignal,
    exporter: Exporter,
    prometheus: LivePrometheus,
    clock: ShiftedClock,
    database: Database,
) -> None:
    await prometheus.stop()
    await signal.poll()
    view = signal.view(clock.now())
    assert view.unknown_because == "PrometheusDown"
    assert view.watermark is not None
    stopped = clock.now()
    exporter.request(WEB)
    await prometheus.start()
    await exporter.scraped()
    await sees(signal, clock, since=stopped)
    used = used_at(signal)
    assert used is not None
    assert used > stopped
    assert await gap_reasons(database) == []


async def test_a_prometheus_that_has_forgotten_everything_leaves_a_gap(
    signal: TrafficSignal,
    exporter: Exporter,
    prometheus: LivePrometheus,
    clock: ShiftedClock,
    database: Database,
) -> None:
    await exporter.scraped(10)  # so that the watermark is behind what will be remembered
    await prometheus.stop()
    prometheus.forget()
    exporter.up = False
    await prometheus.start()
    await blind(signal, clock, "NoTrafficTarget")
    exporter.up = True
    back = clock.now()
    await exporter.scraped()
    await sees(signal, clock, since=back)
    async with database.read() as connection:
        last = (await store.recent_gaps(connection, SignalName.TRAFFIC))[0]
    assert last.reason == "HistoryLost"
    assert last.until >= back


async def test_a_prometheus_that_answers_with_nothing_blinds(
    start: Start, prometheus: LivePrometheus, exporter: Exporter, clock: ShiftedClock
) -> None:
    nothing = '{"status": "success", "data": {"resultType": "matrix", "result": []}}'
    async with (
        FaultProxy.started(upstream=prometheus.url) as proxy,
        start(proxy.url) as signal,
    ):
        await exporter.scraped()
        await sees(signal, clock, since=clock.now())
        rule = await proxy.respond(status=200, answer=nothing, path="query=traefik_", times=None)
        held = signal.view(clock.now()).watermark
        await blind(signal, clock, "NoTrafficTarget")
        assert signal.view(clock.now()).watermark == held
        await rule.remove()
        await sees(signal, clock, since=clock.now())


async def test_a_target_that_prometheus_no_longer_scrapes_leaves_a_gap(
    signal: TrafficSignal,
    prometheus: LivePrometheus,
    clock: ShiftedClock,
    database: Database,
) -> None:
    successor = Exporter()
    async with successor.serving() as address:
        await prometheus.scrape(address)
        await successor.scraped()
        await sees(signal, clock, since=clock.now())
        assert "ExporterGone" in await gap_reasons(database)


async def test_an_exporter_without_a_start_time_is_not_trusted(
    signal: TrafficSignal, exporter: Exporter, clock: ShiftedClock
) -> None:
    exporter.shows_start = False
    await exporter.scraped(12)  # until no start time is left in what a reading looks at
    await blind(signal, clock, "NoProcessStartTime")


async def test_a_restart_of_ours_is_lag_while_prometheus_has_the_samples(
    start: Start,
    exporter: Exporter,
    clock: ShiftedClock,
    database: Database,
) -> None:
    async with start() as first:
        exporter.request(WEB)
        await exporter.scraped()
        await sees(first, clock, since=clock.now())
        known = used_at(first)
    while_away = clock.now()
    exporter.request(WEB)
    await exporter.scraped()
    async with start() as second:
        assert used_at(second) == known
        assert second.view(clock.now()).unknown_because == "TrafficNotReadYet"
        await sees(second, clock, since=while_away)
        used = used_at(second)
        assert used is not None
        assert used > while_away
    assert await gap_reasons(database) == []


async def test_a_clock_of_prometheus_that_is_slightly_off_is_reckoned_with(
    start: Start, exporter: Exporter, clock: ShiftedClock
) -> None:
    clock.shift = timedelta(seconds=3)
    async with start() as signal:
        await exporter.scraped()
        await sees(signal, clock, since=clock.now())
        exporter.request(WEB)
        before = clock.now()
        await exporter.scraped()
        await sees(signal, clock, since=clock.now())
        used = used_at(signal)
        assert used is not None
        assert before - timedelta(seconds=0.5) <= used <= clock.now()


async def test_a_clock_that_is_far_off_blinds(
    start: Start, exporter: Exporter, clock: ShiftedClock
) -> None:
    clock.shift = timedelta(seconds=-40)
    async with start() as signal:
        await exporter.scraped()
        await blind(signal, clock, "PrometheusClockOffset")
        assert "+40" in signal.view(clock.now()).unknown_detail


@pytest.mark.parametrize("step", [-4.0, +4.0])
async def test_a_step_of_our_clock_is_a_gap_and_hides_no_request(
    signal: TrafficSignal,
    exporter: Exporter,
    clock: ShiftedClock,
    database: Database,
    step: float,
) -> None:
    exporter.request(WEB)
    await exporter.scraped()
    clock.shift += timedelta(seconds=step)
    before = clock.now()
    exporter.request(WEB)
    await exporter.scraped()
    await sees(signal, clock, since=before)
    used = used_at(signal)
    assert used is not None
    assert used > before - timedelta(seconds=0.5)
    assert await gap_reasons(database) == ["ClockStep"]
    gap_end = signal.view(clock.now()).last_gap_end
    assert gap_end is not None
    assert gap_end >= before


async def test_without_a_complete_inventory_nothing_is_credited_and_nothing_is_trusted(
    start: Start, spaces: Spaces, exporter: Exporter, clock: ShiftedClock
) -> None:
    async with start() as signal:
        spaces.synced = False
        exporter.request(WEB)
        await exporter.scraped()
        await blind(signal, clock, "InventoryUnsynced")
        spaces.synced = True
        await sees(signal, clock, since=clock.now())
        assert used_at(signal) is not None, "what came meanwhile is read afterwards"


async def test_a_reading_that_is_not_repeated_loses_its_worth(
    signal: TrafficSignal, clock: ShiftedClock
) -> None:
    later = clock.now() + timedelta(seconds=SETTINGS.stale_after_seconds + 1)
    assert signal.view(later).unknown_because == "TrafficNotRead"


async def test_routes_of_other_ingress_classes_are_named(signal: TrafficSignal) -> None:
    objects = SpaceObjects(
        namespace=Namespace(metadata=Metadata(name="team-a")),
        ingresses=(
            Ingress(metadata=Metadata(name="ours"), spec=IngressSpec(ingress_class_name="traefik")),
            Ingress(metadata=Metadata(name="theirs"), spec=IngressSpec(ingress_class_name="other")),
        ),
    )
    assert signal.uncarried(objects) == ("Ingress/theirs",)


async def test_the_adapter_tells_a_warning_and_a_refusal_of_the_real_server(
    prometheus: LivePrometheus, exporter: Exporter, clock: ShiftedClock
) -> None:
    await exporter.scraped()
    async with Prometheus(prometheus.url, timeout_seconds=5.0) as query:
        now = await query.scalar("time()")
        assert abs(now - clock.now().timestamp()) < 5
        with pytest.raises(PrometheusPartialError, match="quantile"):
            await query.vector("quantile(2, up)", at=now)
        with pytest.raises(PrometheusRefusedError, match="parse error"):
            await query.vector("up{", at=now)
        (series,) = await query.matrix("up[10s]", at=now)
        assert len(series.samples) > 1
