"""Arithmetic on instants that somebody else wrote: total over the whole calendar."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.core.periods import Grain, periods
from billing.core.pods import PodSpec, PodStatus
from billing.core.reservation import occupancy
from billing.errors import PeriodError
from metrics.core.clock import from_micros, to_micros
from metrics.core.instants import EARLIEST, LATEST, from_epoch, in_utc, parse, plus
from metrics.core.streams import StreamRecord, StreamTable
from metrics.core.traffic import Sample, Series, Sight, sight
from metrics.core.watermark import (
    CanaryReturn,
    LossReading,
    Offset,
    SightLimits,
    blindness,
    canary_returned,
    first_sight,
    loss_read,
    settle,
)

pytestmark = pytest.mark.fault(17)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
BOUND = timedelta(hours=4)
LIMITS = SightLimits(
    retry_horizon=timedelta(minutes=1),
    canary_timeout=timedelta(minutes=3),
    max_clock_offset=timedelta(seconds=5),
    max_clock_step=timedelta(seconds=2),
)

any_zone = st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m)))
edges = st.sampled_from([EARLIEST, LATEST]).map(lambda at: at.replace(tzinfo=None))
any_instant = st.builds(
    lambda at, zone: at.replace(tzinfo=zone), st.datetimes() | edges, any_zone | st.just(UTC)
)
"""From the year 1 to the year 9999, in any zone, also where UTC lies beyond the calendar."""

durations = st.timedeltas() | st.timedeltas(timedelta(days=-9), timedelta(days=9))


@given(any_instant, durations)
def test_a_sum_stays_within_the_calendar_and_is_exact_inside_it(
    at: datetime, by: timedelta
) -> None:
    found = plus(at, by)
    assert EARLIEST <= in_utc(found) <= LATEST
    if 2 < at.year < 9998 and abs(by) < timedelta(days=300):
        assert found - at == by
    assert (found >= at) is (by >= timedelta()) or found == at or found in (EARLIEST, LATEST)


@given(any_instant)
def test_a_time_stamp_is_read_as_the_same_instant_in_utc(at: datetime) -> None:
    found = parse(at.isoformat())
    assert found is not None
    assert found.tzinfo is UTC
    assert found == at or found in (EARLIEST, LATEST)
    assert from_micros(to_micros(found)) == found


@given(st.text())
def test_any_other_text_is_none(text: str) -> None:
    found = parse(text)
    assert found is None or found.tzinfo is UTC


def test_time_stamps_are_read_with_their_zone_or_not_at_all() -> None:
    expected = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
    assert parse("2026-11-21T12:00:00.123456Z") == expected
    assert parse("2026-11-21T13:00:00.123456+01:00") == expected
    assert parse("2026-11-21T12:00:00") is None
    assert parse("yesterday") is None
    assert parse("9999-12-31T23:59:59-12:00") == LATEST
    assert parse("0001-01-01T00:00:00+12:00") == EARLIEST


@given(st.floats(allow_nan=False))
def test_any_number_of_seconds_is_an_instant_of_the_calendar(seconds: float) -> None:
    assert EARLIEST <= from_epoch(seconds) <= LATEST


@given(any_instant, any_instant | st.none(), any_instant)
def test_streams_take_any_instant(
    started_at: datetime, closed_at: datetime | None, now: datetime
) -> None:
    table = StreamTable(bound=BOUND)
    table.add(
        StreamRecord(
            apiserver="one",
            audit_id="id",
            user="alice",
            space_name="team-a",
            resource="pods/exec",
            target="web-0",
            started_at=started_at,
            closed_at=closed_at,
        )
    )
    for stream in table.open_in("team-a", now, lambda *_: True):
        assert stream.holds_until > now
    table.expire(now)


@given(any_instant, durations)
def test_a_servers_time_stamp_is_brought_to_our_clock_whatever_it_is(
    stamp: datetime, low: timedelta
) -> None:
    assert EARLIEST <= in_utc(Offset(low=low, high=low).latest(stamp)) <= LATEST


@given(any_instant)
def test_a_canary_of_any_time_leaves_a_state_that_can_be_asked(received: datetime) -> None:
    loss = LossReading(sent_at=NOW, received_at=NOW, lost=0, process_started=0)
    seen, _ = loss_read(first_sight(NOW), loss, LIMITS)
    back = CanaryReturn(sent_at=NOW, answered_at=NOW, returned_at=NOW, server_received_at=received)
    seen, _ = canary_returned(seen, back, NOW, LIMITS)
    blind = blindness(settle(seen, NOW, LIMITS), NOW, LIMITS)
    assert (blind is None) is (abs(received - NOW) <= LIMITS.max_clock_offset)


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1),
    st.lists(st.floats(), min_size=1),
)
def test_a_target_scraped_at_any_time_is_never_seen_beyond_the_present(
    scrapes: list[float], starts: list[float]
) -> None:
    def series(values: list[float]) -> Series:
        samples = [Sample(at, value) for at, value in zip(sorted(scrapes), values, strict=False)]
        return Series(labels={"job": "j", "instance": "i"}, samples=samples)

    seen: Sight = sight(
        begin=0.0,
        end=100.0,
        stale_after_seconds=60.0,
        alive=[series([1.0] * len(scrapes))],
        starts=[series(starts)],
        listed=frozenset({series([]).target}),
    )
    assert seen.watermark is None or 0.0 <= seen.watermark <= 100.0
    if not any(map(math.isfinite, starts[: len(scrapes)])):
        assert seen.blindness is not None, "its restarts cannot be seen"


@given(
    any_instant,
    st.timedeltas(timedelta(), timedelta(hours=30)),
    st.sampled_from(Grain),
    st.sampled_from(["UTC", "Asia/Tokyo", "America/New_York"]),
)
def test_any_range_has_its_periods_or_a_sentence(
    start: datetime, length: timedelta, grain: Grain, zone: str
) -> None:
    begin, end = (to_micros(at) // 1_000_000 for at in (start, plus(start, length)))
    with suppress(PeriodError):
        cut = periods(begin, end, grain, ZoneInfo(zone))
        assert (cut[0].start, cut[-1].end) == (begin, end)


@given(any_instant)
def test_a_pod_of_any_time_is_taken(at: datetime) -> None:
    now = int(NOW.timestamp())
    spec, status = PodSpec(node_name="n"), PodStatus(start_time=at.isoformat())
    found = occupancy(spec, status, at=now)
    assert found is not None
    assert 0 < found.start <= now
