"""The API signal on a real database, with an API server that is played."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from metrics import store
from metrics.core.audit import AuditRules
from metrics.core.signals import Activity, ActorClass, SignalName
from metrics.core.steps import TimeLine
from metrics.core.watermark import Blindness, GapReason, SightLimits
from metrics.recorder import NullRecorder
from sleeper.control.audit import ApiSignal, ApiSignalSettings
from sleeper.kube.errors import KubeTimeout
from sleeper.store.engine import Database
from tests.support.audit_events import body, event

START = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
OWN_USER = "system:serviceaccount:sleeper-system:sleeper"
HORIZON = timedelta(seconds=60)


@dataclass
class HandClock:
    """A clock that is moved by hand."""

    wall: datetime = START
    seconds: float = 0.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.seconds

    def tick(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.seconds += seconds


@dataclass
class PlayedApiServer:
    """Answers like one API server and sends its canaries' events on to a sink."""

    clock: HandClock
    deliver: Callable[[bytes], object] = lambda _: None
    lost: int = 0
    started: float = 1.7e9
    offset: timedelta = timedelta()
    down: bool = False
    held: list[bytes] = field(default_factory=list)
    hold: bool = False
    open: Mapping[tuple[str, str], int] | None = None

    async def get(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> bytes:
        if self.down:
            raise KubeTimeout("it does not answer", path=path)
        if path == "/metrics":
            return (
                "# TYPE apiserver_audit_error_total counter\n"
                f'apiserver_audit_error_total{{plugin="webhook"}} {self.lost}\n'
                'apiserver_audit_error_total{plugin="log"} 77\n'
                "apiserver_audit_event_total 1000\n"
                f"process_start_time_seconds {self.started}\n" + self.long_requests()
            ).encode()
        assert headers is not None
        at = self.clock.now() + self.offset
        canary = event(
            namespace="sleeper-system",
            resource="serviceaccounts",
            name="sleeper",
            user=OWN_USER,
            agent="sleeper/0.1.0",
            audit_id=headers["Audit-ID"],
            at=at,
        )
        self.send(body([canary]))
        return b"{}"

    def long_requests(self) -> str:
        """Its count of streams, beside one watch; nothing if it does not count."""
        if self.open is None:
            return ""
        family = "apiserver_longrunning_requests"
        counts = {("pods", ""): 1, **self.open}
        return "".join(
            f'{family}{{group="",resource="{resource}",subresource="{subresource}"}} {count}\n'
            for (resource, subresource), count in counts.items()
        )

    async def create(
        self, path: str, body: object, *, params: Mapping[str, str] | None = None
    ) -> bytes:
        assert path == "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        return msgspec.json.encode({"status": {"userInfo": {"username": OWN_USER}}})

    def send(self, text: bytes) -> None:
        if self.hold:
            self.held.append(text)
        else:
            self.deliver(text)


class Stage:
    """One replica with one API server."""

    def __init__(self, database: Database, clock: HandClock, identity: str = "one") -> None:
        self.clock = clock
        self.server = PlayedApiServer(clock)
        self.line = TimeLine(clock, limit=timedelta(seconds=2))
        self.signal = ApiSignal(
            ApiSignalSettings(
                limits=SightLimits(
                    retry_horizon=HORIZON,
                    canary_timeout=timedelta(seconds=180),
                    max_clock_offset=timedelta(seconds=5),
                    max_clock_step=timedelta(seconds=2),
                ),
                flush_interval=timedelta(seconds=1),
                canary_interval=timedelta(seconds=10),
                request_timeout_seconds=5.0,
                stream_bound=timedelta(hours=4),
                identity=identity,
                namespace="sleeper-system",
            ),
            apiservers={"main": self.server},
            rules=AuditRules(own_agent="sleeper"),
            is_space={"team-a", "team-b"}.__contains__,
            pod_is_gone=lambda *_: False,
            database=database,
            line=self.line,
            clock=clock,
            recorder=NullRecorder(),
        )
        self.server.deliver = self.receive

    def receive(self, text: bytes) -> None:
        self.signal.intake.receive("main", text)

    async def probe(self, *, times: int = 1) -> None:
        """``times`` rounds of ten seconds: loss reading, canary, flush."""
        for _ in range(times):
            await self.signal.probe(self.signal.probes[0])
            await self.signal.flush()
            self.clock.tick(10)

    def unknown(self) -> str | None:
        return self.signal.view(self.clock.now()).unknown_because

    @property
    def gap_end(self) -> datetime | None:
        return self.signal.view(self.clock.now()).last_gap_end

    @property
    def watermark(self) -> datetime | None:
        return self.signal.view(self.clock.now()).watermark


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with await Database.open(f"sqlite+aiosqlite:///{tmp_path}/sleeper.db") as opened:
        yield opened


@pytest_asyncio.fixture
async def stage(database: Database, clock: HandClock) -> Stage:
    """A replica that has started and sees."""
    made = Stage(database, clock)
    await made.signal.start()
    await made.probe(times=10)
    assert made.unknown() is None
    return made


async def test_it_is_unknown_until_the_first_canary_is_back(
    database: Database, clock: HandClock
) -> None:
    stage = Stage(database, clock)
    assert stage.unknown() == Blindness.NOT_STARTED
    await stage.signal.start()
    assert stage.unknown() == Blindness.FIRST_START
    clock.tick(5)
    await stage.probe()
    assert stage.unknown() is None
    assert stage.gap_end == START + timedelta(seconds=5)


async def test_the_watermark_follows_one_horizon_behind(stage: Stage) -> None:
    assert stage.watermark is not None
    behind = stage.clock.now() - stage.watermark
    assert HORIZON <= behind <= HORIZON + timedelta(seconds=20)


async def test_a_touch_is_told_at_once_and_stored_with_the_next_flush(
    stage: Stage, database: Database
) -> None:
    told: list[tuple[str, Activity]] = []
    stage.signal.subscribe(lambda space, activity: told.append((space, activity)))
    stage.receive(body([event(at=stage.clock.now())]))
    ((space, activity),) = told
    assert (space, activity.actor, activity.resource) == ("team-a", ActorClass.HUMAN, "pods")
    seen = stage.signal.activity("team-a")
    assert seen is not None
    assert seen.touch == activity
    await stage.signal.flush()
    async with database.read() as connection:
        assert await store.load_activity(connection, SignalName.API) == {"team-a": seen}


async def test_an_activity_is_never_later_than_its_arrival(stage: Stage) -> None:
    stage.receive(body([event(at=stage.clock.now() + timedelta(hours=1))]))
    seen = stage.signal.activity("team-a")
    assert seen is not None
    assert seen.latest.at == stage.clock.now()


async def test_a_late_batch_counts_at_its_events_time_and_not_at_its_arrival(
    stage: Stage,
) -> None:
    happened = stage.clock.now()
    stage.clock.tick(30)
    stage.receive(body([event(at=happened)]))
    seen = stage.signal.activity("team-a")
    assert seen is not None
    assert happened <= seen.latest.at < happened + timedelta(seconds=1)


@pytest.mark.parametrize("order", [(0, 20, 10), (20, 10, 0)])
async def test_the_latest_event_of_a_batch_counts_in_whatever_order_they_stand(
    stage: Stage, order: tuple[int, ...]
) -> None:
    await stage.probe()
    began = stage.clock.now()
    stage.clock.tick(30)
    verbs = {0: "get", 10: "list", 20: "delete"}
    stage.receive(
        body(event(at=began + timedelta(seconds=after), verb=verbs[after]) for after in order)
    )
    seen = stage.signal.activity("team-a")
    assert seen is not None
    assert seen.touch is not None
    assert seen.latest.verb == seen.touch.verb == "delete"


@pytest.mark.fault(3)
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_a_write_that_may_leave_no_trace_is_passed_on_although_something_came_after_it(
    stage: Stage, order: tuple[int, ...]
) -> None:
    await stage.probe()
    began = stage.clock.now()
    stage.clock.tick(30)
    heard: list[str] = []
    stage.signal.subscribe(lambda _name, activity: heard.append(activity.verb))
    events = [
        event(at=began, verb="update", resource="statefulsets"),
        event(at=began + timedelta(seconds=10)),
    ]
    stage.receive(body(events[number] for number in order))
    assert heard == ["update", "get"]


async def test_lost_events_are_a_gap_that_ends_at_the_reading(stage: Stage) -> None:
    stage.server.lost = 12
    now = stage.clock.now()
    await stage.probe()
    assert stage.gap_end == now
    assert stage.unknown() is None


async def test_a_batch_that_something_else_took_is_a_gap_although_nobody_counts_it(
    stage: Stage, clock: HandClock
) -> None:
    before = stage.gap_end
    deliver, stage.server.deliver = stage.server.deliver, lambda _: None
    await stage.probe()
    taken_until = clock.now()
    stage.server.deliver = deliver
    await stage.probe(times=5)
    assert stage.gap_end == before, "until the horizon has passed it may only be late"
    await stage.probe(times=5)
    assert stage.gap_end is not None
    assert stage.gap_end >= taken_until
    told = stage.gap_end
    await stage.probe(times=10)
    assert stage.gap_end == told, "it is told once"


async def test_two_replicas_that_do_not_share_a_database_see_that_they_miss_something(
    stage: Stage, clock: HandClock
) -> None:
    """Each gets every other batch and its canaries come back: nothing else would show it."""
    before = stage.gap_end
    deliver, count = stage.server.deliver, iter(range(10_000))

    def alternate(text: bytes) -> None:
        if next(count) % 2:
            deliver(text)

    stage.server.deliver = alternate
    await stage.probe(times=20)
    assert stage.unknown() is None
    assert stage.gap_end != before
    assert stage.gap_end is not None
    assert stage.watermark is not None
    assert stage.watermark - stage.gap_end <= timedelta(seconds=20)


async def test_a_restarted_api_server_is_a_gap(stage: Stage) -> None:
    stage.server.started += 100
    now = stage.clock.now()
    await stage.probe()
    assert stage.gap_end == now


async def test_without_canaries_the_watermark_stops_and_the_signal_becomes_unknown(
    stage: Stage,
) -> None:
    stage.server.hold = True
    before = stage.watermark
    await stage.probe(times=19)
    assert stage.unknown() == Blindness.CANARY_MISSING
    assert stage.watermark == before
    stage.server.hold = False
    for text in stage.server.held:
        stage.receive(text)
    await stage.probe()
    assert stage.unknown() is None
    assert before is not None
    assert stage.watermark is not None
    assert stage.watermark > before


async def test_unreadable_loss_counters_stop_the_watermark(stage: Stage) -> None:
    stage.server.down = True
    before = stage.watermark
    stage.clock.tick(200)
    with pytest.raises(KubeTimeout):
        await stage.probe()
    await stage.signal.flush()
    assert stage.unknown() is not None
    assert stage.watermark == before


async def test_a_clean_restart_is_no_gap(
    stage: Stage, database: Database, clock: HandClock
) -> None:
    gap_end, watermark = stage.gap_end, stage.watermark
    await stage.signal.close()
    clock.tick(300)
    again = Stage(database, clock)
    await again.signal.start()
    assert again.watermark == watermark
    await again.probe(times=10)
    assert again.gap_end == gap_end
    assert again.unknown() is None


async def test_losses_during_a_clean_restart_are_a_gap(
    stage: Stage, database: Database, clock: HandClock
) -> None:
    await stage.signal.close()
    clock.tick(300)
    again = Stage(database, clock)
    again.server.lost = 3
    await again.signal.start()
    now = clock.now()
    await again.probe()
    assert again.gap_end == now


async def test_a_sink_that_was_killed_is_a_gap_up_to_the_first_new_canary(
    stage: Stage, database: Database, clock: HandClock
) -> None:
    stage.receive(body([event(at=clock.now())]))  # acknowledged, and lost with the process
    clock.tick(2)
    again = Stage(database, clock)
    await again.signal.start()
    assert again.unknown() == Blindness.SINK_DIED
    clock.tick(3)
    first_canary = clock.now()
    await again.probe()
    assert again.unknown() is None
    assert again.gap_end == first_canary


async def test_a_canary_of_the_killed_sink_does_not_end_its_gap(
    stage: Stage, database: Database, clock: HandClock
) -> None:
    stage.server.hold = True
    await stage.signal.probe(stage.signal.probes[0])
    again = Stage(database, clock)
    clock.tick(1)
    again.signal.intake.own_user = OWN_USER
    await again.signal.start()
    for text in stage.server.held:
        again.receive(text)
    await again.signal.flush()
    assert again.unknown() == Blindness.SINK_DIED


async def test_activity_and_streams_outlive_a_kill(
    stage: Stage, database: Database, clock: HandClock
) -> None:
    opened = event(subresource="exec", stage="ResponseStarted", code=101, at=clock.now())
    stage.receive(body([opened]))
    await stage.signal.flush()
    again = Stage(database, clock)
    await again.signal.start()
    assert again.signal.activity("team-a") == stage.signal.activity("team-a")
    (stream,) = again.signal.streams("team-a", clock.now())
    assert (stream.user, stream.resource) == ("alice", "pods/exec")
    ended = {**opened, "stage": "ResponseComplete"}
    again.receive(body([ended]))
    assert again.signal.streams("team-a", clock.now()) == ()


async def test_two_replicas_share_what_they_see(
    stage: Stage, database: Database, clock: HandClock
) -> None:
    other = Stage(database, clock, identity="two")
    other.signal.intake.own_user = OWN_USER
    await other.signal.start()
    assert other.unknown() is None
    assert other.watermark == stage.watermark
    other.receive(body([event(at=clock.now(), namespace="team-b")]))
    stage.server.deliver = other.receive  # the load balancer turns to the other replica
    await stage.signal.probe(stage.signal.probes[0])
    await other.signal.flush()
    await stage.signal.flush()
    assert stage.signal.activity("team-b") == other.signal.activity("team-b")
    assert stage.unknown() is None


async def test_what_a_replica_saw_in_its_last_second_is_read_after_its_clean_end(
    stage: Stage, database: Database, clock: HandClock
) -> None:
    other = Stage(database, clock, identity="two")
    await other.signal.start()
    await stage.signal.flush()
    clock.tick(1)
    other.receive(body([event(at=clock.now(), namespace="team-b")]))
    await other.signal.close()
    clock.tick(1)
    await stage.signal.flush()
    assert stage.signal.activity("team-b") == other.signal.activity("team-b")


async def test_the_watermark_waits_for_a_replica_that_does_not_flush(
    stage: Stage, database: Database, clock: HandClock
) -> None:
    other = Stage(database, clock, identity="two")
    await other.signal.start()
    joined = clock.now()
    clock.tick(10)
    await stage.probe()
    assert stage.watermark is not None
    assert stage.watermark <= joined - HORIZON
    await stage.probe(times=2)  # by now the other is taken for dead
    assert stage.gap_end is not None
    assert stage.gap_end > joined


async def test_a_paused_replica_that_was_taken_for_dead_owns_up_to_it(
    stage: Stage, database: Database, clock: HandClock
) -> None:
    other = Stage(database, clock, identity="two")
    await other.signal.start()
    await stage.probe(times=3)
    assert stage.unknown() is None
    await other.signal.flush()
    await stage.signal.flush()
    assert stage.unknown() == Blindness.SINK_DIED


@pytest.mark.parametrize("step_seconds", [3600.0, -3600.0])
async def test_a_step_of_our_clock_is_a_gap_that_ends_on_the_later_side(
    stage: Stage, clock: HandClock, step_seconds: float
) -> None:
    before = clock.now()
    clock.wall += timedelta(seconds=step_seconds)
    await stage.signal.flush()
    assert stage.gap_end == max(before, clock.now())
    assert stage.unknown() is not None
    clock.tick(1)
    await stage.probe()
    assert stage.unknown() is None


async def test_a_clock_set_back_while_we_were_down_is_a_gap(
    stage: Stage, database: Database, clock: HandClock
) -> None:
    before = clock.now()
    await stage.signal.close()
    clock.wall -= timedelta(hours=1)
    again = Stage(database, clock)
    again.server.hold = True
    await again.signal.start()
    await again.probe(times=2)
    assert again.unknown() == Blindness.CANARY_MISSING
    assert again.gap_end is not None
    assert again.gap_end >= before - timedelta(seconds=10)  # the last proof of the old time line
    again.server.hold = False
    await again.probe(times=10)
    assert again.unknown() is None


async def test_an_api_server_whose_clock_is_off_is_unknown(stage: Stage) -> None:
    stage.server.offset = timedelta(seconds=30)
    await stage.probe()
    assert stage.unknown() == Blindness.CLOCK_OFFSET


@pytest.mark.parametrize(
    ("text", "kept"),
    [(b"{", 0), (body([{"stage": 1}, event(at=START)]), 1), (body([], kind="PodList"), 0)],
    ids=["no-json", "one-bad-item", "other-kind"],
)
async def test_what_cannot_be_decoded_is_a_gap(
    stage: Stage, database: Database, text: bytes, kept: int
) -> None:
    assert stage.signal.intake.receive("main", text) == kept
    await stage.signal.flush()
    assert stage.gap_end == stage.clock.now()
    async with database.read() as connection:
        (newest, *_) = await store.recent_gaps(connection, SignalName.API)
    assert newest.reason == GapReason.UNDECODABLE


async def test_a_sender_that_is_not_configured_is_heard_but_makes_the_signal_unknown(
    stage: Stage,
) -> None:
    stage.signal.intake.receive("stranger", body([event(at=stage.clock.now())]))
    assert stage.signal.activity("team-a") is not None
    assert stage.unknown() == Blindness.UNKNOWN_SENDER
    assert stage.gap_end == stage.clock.now()


async def test_a_canary_is_only_believed_from_ourselves(stage: Stage) -> None:
    stage.server.hold = True
    await stage.probe(times=19)
    for text in stage.server.held:
        stage.receive(text.replace(OWN_USER.encode(), b"mallory"))
    await stage.signal.flush()
    assert stage.unknown() == Blindness.CANARY_MISSING


async def test_a_flush_that_fails_loses_nothing(
    stage: Stage, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise OSError("the disk is full")

    stage.receive(body([event(at=stage.clock.now())]))
    before = stage.watermark
    with monkeypatch.context() as broken:
        broken.setattr(store, "add_gaps", fail)
        with pytest.raises(OSError, match="full"):
            await stage.signal.flush()
    assert stage.watermark == before
    stage.receive(body([event(at=stage.clock.now(), namespace="team-b")]))
    await stage.signal.flush()
    async with database.read() as connection:
        stored = await store.load_activity(connection, SignalName.API)
    assert set(stored) == {"team-a", "team-b"}
