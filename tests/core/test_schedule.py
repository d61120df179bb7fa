"""Awake-hours against an oracle that looks at every minute of two years."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleeper.core.schedule import ScheduleError, parse_awake_hours, window

MINUTE = timedelta(minutes=1)
START = datetime(2025, 1, 1, tzinfo=UTC)
END = datetime(2027, 1, 1, tzinfo=UTC)

# The oracle's own reading of the awake-hours below: what the wall clock shows, as a predicate over
# weekday (Monday is 0) and minutes since local midnight.
HOURS: dict[str, Callable[[int, int], bool]] = {
    "Mon-Fri 08:00-19:00; Sat 10:00-14:00": lambda day, minute: (
        (day < 5 and 480 <= minute < 1140) or (day == 5 and 600 <= minute < 840)
    ),
    "Mon-Thu 20:00-02:00": lambda day, minute: (
        (day < 4 and minute >= 1200) or (1 <= day <= 4 and minute < 120)
    ),
    "Sat-Mon 01:30-02:30": lambda day, minute: day in {5, 6, 0} and 90 <= minute < 150,
    "Sun 02:15-02:45": lambda day, minute: day == 6 and 135 <= minute < 165,
    "Sun 22:00-06:00; Wed 00:00-24:00": lambda day, minute: (
        (day == 6 and minute >= 1320) or (day == 0 and minute < 360) or day == 2
    ),
}
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # half an hour of daylight saving
    "Asia/Kolkata",  # none
    "Pacific/Chatham",  # 12:45, changes at 02:45
)


def labels(zone: ZoneInfo) -> list[int]:
    """Every minute of the two years as the minute of the week that the zone's wall clock shows."""
    shown, at = [], START
    while at < END:
        local = at.astimezone(zone)
        shown.append(local.weekday() * 1440 + local.hour * 60 + local.minute)
        at += MINUTE
    return shown


@pytest.mark.parametrize("zone_name", ZONES)
def test_every_minute_of_two_years_stands_where_the_wall_clock_says(zone_name: str) -> None:
    zone = ZoneInfo(zone_name)
    shown = labels(zone)
    changes = sum((b - a) % 10_080 != 1 for a, b in pairwise(shown))
    assert changes == (0 if zone_name == "Asia/Kolkata" else 4), "the zone does not bite"
    for text, inside in HOURS.items():
        hours = parse_awake_hours(text)
        week = [inside(*divmod(minute, 1440)) for minute in range(10_080)]
        wanted = [week[label] for label in shown]
        flips = [i for i in range(1, len(wanted)) if wanted[i] != wanted[i - 1]]
        found, at = [], START
        assert window(hours, zone, at).inside is wanted[0]
        while (until := window(hours, zone, at).until or at + timedelta(days=1)) < END:
            where = window(hours, zone, until)
            if where.inside != window(hours, zone, at).inside:
                assert where.since == until
                found.append((until - START) // MINUTE)
            at = until
        assert found == flips, text


@given(
    st.sampled_from(sorted(HOURS)),
    st.sampled_from(ZONES),
    st.integers(0, (END - START) // timedelta(seconds=1)),
)
def test_any_instant_lies_between_the_edges_of_its_window(
    text: str, zone_name: str, seconds: int
) -> None:
    zone, at = ZoneInfo(zone_name), START + timedelta(seconds=seconds)
    where = window(parse_awake_hours(text), zone, at)
    local = at.astimezone(zone)
    assert where.inside == HOURS[text](local.weekday(), local.hour * 60 + local.minute)
    assert where.since is None or where.since <= at
    assert where.until is None or where.until > at


def test_an_hour_shown_twice_counts_twice_and_one_never_shown_not_at_all() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    hours = parse_awake_hours("Sun 02:15-02:45")
    autumn = [
        window(hours, berlin, datetime(2026, 10, 25, hour, 30, tzinfo=UTC)).inside
        for hour in (0, 1)
    ]
    assert autumn == [True, True]
    spring = datetime(2026, 3, 29, tzinfo=UTC)
    assert not any(window(hours, berlin, spring + MINUTE * minute).inside for minute in range(240))


def test_hours_that_cover_the_week_never_end() -> None:
    always = window(parse_awake_hours("Mon-Sun 00:00-24:00"), ZoneInfo("UTC"), START)
    assert (always.inside, always.since, always.until) == (True, None, None)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Mon-Fry 08:00-19:00", "'Fry' in 'Mon-Fry' is not a day"),
        ("", "no interval"),
        (" ; ", "no interval"),
        ("Mon", "'Mon' is not of the form"),
        ("08:00-19:00", "is not of the form"),
        ("Mon 8-19", "'8' in '8-19' is not a time of day"),
        ("Mon 08:00-25:00", "'25:00' in '08:00-25:00'"),
        ("Mon 08:00-08:00", "empty interval"),
        ("Mon 24:00-08:00", "empty interval"),
        ("Mon 08:00", "'08:00' is not of the form HH:MM-HH:MM"),
        ("Mon 08:60-09:00", "'08:60'"),
        ("Mon 08:00-19:00 CET", "is not of the form"),
        ("Mon,, 08:00-19:00", "'' in 'Mon,,' is not a day"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, named: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse_awake_hours(text)
    assert named in str(caught.value)
