"""Periods follow the clock on the wall, and every grain nests in the next."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.core.periods import MAX_PERIODS, Grain, Period, periods
from billing.errors import PeriodError


def epoch(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def hours(cut: tuple[Period, ...]) -> list[float]:
    return [period.seconds / 3600 for period in cut]


def test_the_first_and_the_last_period_may_be_partial() -> None:
    cut = periods(30, 150, Grain.MINUTE)
    assert [(period.start, period.end) for period in cut] == [(30, 60), (60, 120), (120, 150)]


def test_a_boundary_belongs_to_the_period_that_begins_there() -> None:
    assert periods(60, 120, Grain.MINUTE) == (Period(start=60, end=120),)


@pytest.mark.parametrize(
    ("zone", "since", "until", "expected"),
    [
        ("Europe/Berlin", "2026-03-28T23:00Z", "2026-03-30T22:00Z", [23, 24]),
        ("Europe/Berlin", "2026-10-24T22:00Z", "2026-10-26T23:00Z", [25, 24]),
        ("Australia/Lord_Howe", "2026-04-04T13:00Z", "2026-04-05T13:30Z", [24.5]),
        ("Australia/Lord_Howe", "2026-10-03T13:30Z", "2026-10-04T13:00Z", [23.5]),
        # the clocks skip midnight: the day begins at one o'clock
        ("Africa/Cairo", "2026-04-23T22:00Z", "2026-04-24T21:00Z", [23]),
        # midnight comes twice: the day begins with the first
        ("America/Havana", "2026-11-01T04:00Z", "2026-11-02T05:00Z", [25]),
    ],
)
def test_days_are_as_long_as_the_zone_says(
    zone: str, since: str, until: str, expected: list[float]
) -> None:
    assert hours(periods(epoch(since), epoch(until), Grain.DAY, ZoneInfo(zone))) == expected


def test_where_clocks_move_by_half_an_hour_one_hour_has_ninety_minutes() -> None:
    lord_howe = ZoneInfo("Australia/Lord_Howe")
    cut = periods(epoch("2026-04-04T13:00Z"), epoch("2026-04-05T13:30Z"), Grain.HOUR, lord_howe)
    assert sorted(hours(cut))[-2:] == [1, 1.5]
    assert all(datetime.fromtimestamp(period.start, lord_howe).minute == 0 for period in cut)


def test_a_zone_off_by_a_quarter_has_hours_of_its_own() -> None:
    cut = periods(
        epoch("2026-01-01T00:00Z"),
        epoch("2026-01-01T02:00Z"),
        Grain.HOUR,
        ZoneInfo("Asia/Kathmandu"),
    )
    assert hours(cut) == [0.25, 1, 0.75]


@pytest.mark.parametrize("until", [100, 99])
def test_an_empty_range_is_refused(until: int) -> None:
    with pytest.raises(PeriodError, match="empty"):
        periods(100, until, Grain.MINUTE)


def test_a_range_with_too_many_periods_is_refused() -> None:
    with pytest.raises(PeriodError, match="coarser grain"):
        periods(0, 60 * (MAX_PERIODS + 1), Grain.MINUTE)
    assert len(periods(0, 60 * MAX_PERIODS, Grain.MINUTE)) == MAX_PERIODS


zones = st.sampled_from(
    [
        "UTC",
        "Europe/Berlin",
        "Australia/Lord_Howe",
        "America/Havana",
        "Africa/Cairo",
        "Asia/Kolkata",
    ]
)
year_2026 = st.integers(epoch("2026-01-01T00:00Z"), epoch("2027-01-01T00:00Z"))


@settings(deadline=None)
@given(year_2026, st.integers(1, 3 * 86_400), zones)
def test_every_grain_tiles_the_range_and_nests_in_the_next(
    start: int, seconds: int, zone_name: str
) -> None:
    zone = ZoneInfo(zone_name)
    cuts = {grain: periods(start, start + seconds, grain, zone) for grain in Grain}
    for cut in cuts.values():
        assert cut[0].start == start
        assert cut[-1].end == start + seconds
        assert all(before.end == after.start for before, after in pairwise(cut))
    starts = {grain: {period.start for period in cut} for grain, cut in cuts.items()}
    assert starts[Grain.DAY] <= starts[Grain.HOUR] <= starts[Grain.MINUTE]


@settings(deadline=None)
@given(year_2026, zones)
def test_a_day_holds_the_instants_of_one_date(start: int, zone_name: str) -> None:
    zone = ZoneInfo(zone_name)

    def local_date(at: int) -> date:
        return datetime.fromtimestamp(at, UTC).astimezone(zone).date()

    for period in periods(start, start + 86_400, Grain.DAY, zone):
        assert local_date(period.start) == local_date(period.end - 1)
