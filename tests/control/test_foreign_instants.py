"""What owners, clients and API servers call the time: from the year 1 to the year 9999."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from metrics.core.steps import TimeLine
from metrics.core.watermark import GapReason
from metrics.instruments import PrometheusRecorder
from sleeper.control.assess import Assessor
from sleeper.control.book import SpaceBook
from sleeper.control.canary import CounterError, parse_counters
from sleeper.control.intake import AuditIntake
from sleeper.control.signals import SignalBoard
from sleeper.control.status import wanted_annotations
from sleeper.core.explain import explain
from sleeper.core.objects import SpaceObjects
from sleeper.core.policy import PolicyDefaults
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.record import FreedRequests, SleepRecord
from sleeper.kube.record_wire import WireRecord, to_objects, to_record
from sleeper.store.engine import Database
from sleeper.telemetry.clock import SystemClock
from tests.control.test_api_signal import HandClock, Stage
from tests.control.test_loop import Cluster
from tests.core.values import NOW
from tests.metrics.test_instants import any_instant
from tests.support.audit_events import body, event

pytestmark = pytest.mark.fault(17)

EDGES = ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999-12:00")


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest_asyncio.fixture
async def stage(tmp_path: Path, clock: HandClock) -> AsyncIterator[Stage]:
    """A replica that sees an API server whose clock is a second behind."""
    async with await Database.open(f"sqlite+aiosqlite:///{tmp_path}/sleeper.db") as database:
        made = Stage(database, clock)
        made.server.offset = timedelta(seconds=-1)
        await made.signal.start()
        await made.probe(times=10)
        assert made.unknown() is None
        yield made


def odd(stamp: str, **more: Any) -> dict[str, Any]:
    return {**event(**more), "stageTimestamp": stamp, "requestReceivedTimestamp": stamp}


@pytest.mark.parametrize("stamp", [*EDGES, "", "9999", "10000-01-01T00:00:00Z"])
async def test_an_event_of_another_age_counts_at_its_arrival_beside_the_good_ones(
    stage: Stage, clock: HandClock, stamp: str
) -> None:
    before = stage.gap_end
    clock.tick(30)
    good = event(namespace="team-b", at=clock.now() - timedelta(seconds=20))
    assert stage.signal.intake.receive("main", body([odd(stamp), good])) == 2
    seen = {name: stage.signal.activity(name) for name in ("team-a", "team-b")}
    assert all(seen.values())
    assert seen["team-a"] is not None
    assert seen["team-a"].latest.at == clock.now()
    assert seen["team-b"] is not None
    assert timedelta(seconds=15) < clock.now() - seen["team-b"].latest.at < timedelta(seconds=25)
    await stage.signal.flush()
    assert stage.gap_end == before, "nothing was lost"


@pytest.mark.parametrize("stamp", EDGES)
async def test_a_stream_that_was_opened_in_another_age_holds_from_its_arrival(
    stage: Stage, clock: HandClock, stamp: str
) -> None:
    opening = odd(stamp, subresource="exec", stage="ResponseStarted", code=101)
    stage.receive(body([opening]))
    (held,) = stage.signal.streams("team-a", clock.now())
    assert held.started_at == clock.now()
    await stage.signal.flush()


@pytest.mark.parametrize("stamp", EDGES)
async def test_a_canary_of_another_age_blinds_and_breaks_nothing(
    stage: Stage, clock: HandClock, stamp: str
) -> None:
    deliver = stage.server.deliver

    def aged(text: bytes) -> None:
        whole = msgspec.json.decode(text)
        for item in whole["items"]:
            item["requestReceivedTimestamp"] = stamp
        deliver(msgspec.json.encode(whole))

    stage.server.deliver = aged
    await stage.probe(times=2)
    assert stage.unknown() == "ClockOffset"
    stage.server.deliver = deliver
    await stage.probe(times=2)
    assert stage.unknown() is None


def test_what_nobody_thought_of_costs_a_gap_and_not_the_connection() -> None:
    class Odd(dict[str, Any]):
        """Rules that break."""

        def read(self, *_: object) -> None:
            raise RuntimeError("a fault of ours")

    recorder = PrometheusRecorder(SystemClock())
    intake = AuditIntake(
        apiservers=frozenset({"main"}),
        rules=Odd(),  # type: ignore[arg-type]
        is_space=lambda _name: True,
        streams=None,  # type: ignore[arg-type]
        line=TimeLine(HandClock(), limit=timedelta(seconds=2)),
        clock=HandClock(),
        recorder=recorder,
    )
    assert intake.receive("main", body([event()])) == 0
    assert set(intake.take().missing) == {("main", GapReason.UNDECODABLE)}


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf"])
@pytest.mark.parametrize("family", ["apiserver_audit_error_total", "process_start_time_seconds"])
def test_a_loss_counter_that_is_no_number_is_not_read(family: str, value: str) -> None:
    """A start time that is NaN would never again differ from another."""
    lines = {"apiserver_audit_error_total": "0", "process_start_time_seconds": "1.7e9"}
    text = "".join(f"{name} {number}\n" for name, number in {**lines, family: value}.items())
    with pytest.raises(CounterError, match="without a number"):
        parse_counters(f"apiserver_audit_event_total 7\n{text}".encode())


def record(at: datetime) -> SleepRecord:
    return SleepRecord(
        space_uid="u",
        space_name="shop",
        tenant="acme",
        epoch=1,
        phase=PowerState.FALLING_ASLEEP,
        reason=Reason.IDLE,
        horizon=at,
        decided_at=at,
        sleeping_since=at,
        wake_started_at=at,
        entries=(),
        freed=FreedRequests(cpu_millis=0, memory_bytes=0, pods=0),
    )


@given(any_instant, any_instant, any_instant, any_instant, st.booleans())
def test_a_space_of_any_age_is_decided_explained_and_shown(
    created: datetime, until: datetime, cursor: datetime, slept: datetime, sleeps: bool
) -> None:
    annotations = {
        "sleeper.dev/keep-awake-until": until.isoformat(),
        "sleeper.dev/schedule-cursor": cursor.isoformat(),
        "sleeper.dev/next-transition": until.isoformat(),
        "sleeper.dev/last-activity": cursor.isoformat(),
        "sleeper.dev/sleep-after": "1h",
        "sleeper.dev/awake-hours": "Mon-Fri 08:00-19:00",
    }
    metadata = {
        "name": "shop",
        "uid": "u",
        "labels": {"sleeper.dev/tenant": "acme"},
        "annotations": annotations,
        "creationTimestamp": created.isoformat(),
    }
    assessor = Assessor(
        inventory=Cluster(
            objects={"shop": msgspec.convert({"namespace": {"metadata": metadata}}, SpaceObjects)}
        ),
        records=Cluster(records={"u": record(slept)} if sleeps else {}),
        board=SignalBoard({}, None),
        book=SpaceBook({}),
        routes=None,
        defaults=PolicyDefaults(),
        protected_because=lambda _name: None,
        sleep_deadline=timedelta(minutes=10),
    )
    seen = assessor.observe("shop", NOW)
    assert seen is not None
    assert explain(seen.snapshot, seen.reading, seen.verdict, NOW).message
    wanted_annotations(
        namespace=seen.objects.namespace,
        power=seen.power,
        verdict=seen.verdict,
        last_activity=seen.snapshot.last_activity,
    )


@pytest.mark.parametrize("stamp", EDGES)
def test_a_record_that_somebody_dated_into_another_age_is_read_or_named(stamp: str) -> None:
    """Anything but a ValueError, which its reader expects, would end the watch of all records."""
    (whole,) = to_objects(record(NOW))
    wire = msgspec.convert(whole, WireRecord)
    spec = msgspec.structs.replace(wire.spec, decided_at=stamp, horizon=stamp)
    found = to_record([msgspec.structs.replace(wire, spec=spec)])
    assert found.decided_at.tzinfo is UTC
