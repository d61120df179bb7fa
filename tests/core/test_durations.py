"""Durations and instants as people write them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleeper.core.durations import LONGEST, format_duration, format_instant, parse_duration
from sleeper.core.durations import parse_instant as parse


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90m", 5400), ("2h30m", 9000), ("1d", 86_400), ("45", 45), (" 0 ", 0), ("1d2h3m4s", 93_784)],
)
def test_a_duration_is_units_in_order_or_seconds(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    ["", "soon", "-1m", "1.5h", "30m2h", "1h1h", "1w", "٣m", "9" * 40, "9" * 40 + "d", "11y"],
)
def test_anything_else_is_no_duration_and_the_sentence_shows_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration|longer than ten years"):
        parse_duration(text)


@given(st.integers(0, LONGEST // timedelta(seconds=1)))
def test_formatting_and_parsing_a_duration_are_inverse(seconds: int) -> None:
    duration = timedelta(seconds=seconds)
    assert parse_duration(format_duration(duration)) == duration


def test_an_instant_without_an_offset_is_none() -> None:
    assert parse("2026-11-21T18:00:00+02:00") == datetime(2026, 11, 21, 16, tzinfo=UTC)
    for text in ("2026-11-21T18:00:00", "2026-11-21", "tomorrow", "2026-13-01T00:00:00Z", ""):
        with pytest.raises(ValueError, match="RFC 3339"):
            parse(text)


@given(st.datetimes(timezones=st.just(UTC)))
def test_formatting_and_parsing_an_instant_are_inverse_up_to_the_second(at: datetime) -> None:
    assert parse(format_instant(at)) == at.replace(microsecond=0)
