"""Calendar periods: minutes, hours and days of an IANA zone as half-open ranges of epoch seconds.

Boundaries are instants at which a clock on the wall shows a whole minute, hour or midnight, so a
day has 23 to 25 hours and, where the clocks move by half an hour, one hour has 90 minutes. Every
boundary of a coarser grain is one of the finer grains: sums over them agree by construction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from billing.errors import PeriodError
from metrics.core.instants import from_epoch

MAX_PERIODS: Final = 50_000
"""About 34 days of minutes; more is a mistake or a denial of service."""

_UTC: Final = ZoneInfo("UTC")


class Grain(StrEnum):
    """Length of a statement's periods."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A half-open range of epoch seconds, ``[start, end)``."""

    start: int
    end: int

    @property
    def seconds(self) -> int:
        """Its length."""
        return self.end - self.start


def periods(start: int, end: int, grain: Grain, zone: ZoneInfo = _UTC) -> tuple[Period, ...]:
    """``[start, end)`` cut at the boundaries of ``grain``; the first and last may be partial.

    Raises:
        PeriodError: the range is empty, would have more than :data:`MAX_PERIODS` periods, or
            touches an end of the calendar, where the zone's clocks show no time.
    """
    if end <= start:
        raise PeriodError(
            f"the range is empty: it begins at {_shown(start)} and ends at {_shown(end)}"
        )
    try:
        return _cut(start, end, grain, zone)
    except (OverflowError, ValueError):  # what datetime raises for the years 0 and 10000
        raise PeriodError(
            f"{_shown(start)} to {_shown(end)} per {grain} in {zone} leads beyond the calendar, "
            "which has the years 1 to 9999"
        ) from None


def _cut(start: int, end: int, grain: Grain, zone: ZoneInfo) -> tuple[Period, ...]:
    cut: list[Period] = []
    at = start
    for boundary in _boundaries(start, grain, zone):
        if len(cut) == MAX_PERIODS:
            raise PeriodError(
                f"{_shown(start)} to {_shown(end)} per {grain} is more than {MAX_PERIODS} "
                "periods: ask for a shorter range or a coarser grain"
            )
        cut.append(Period(start=at, end=min(boundary, end)))
        at = boundary
        if at >= end:
            break
    return tuple(cut)


def _boundaries(after: int, grain: Grain, zone: ZoneInfo) -> Iterator[int]:
    """Every boundary later than ``after``, for ever."""
    at = after
    while True:
        if grain is Grain.DAY:
            at = _next_midnight(at, zone)
        else:
            at = _next_whole(at, 60 if grain is Grain.MINUTE else 3600, zone)
        yield at


def _next_whole(at: int, seconds: int, zone: ZoneInfo) -> int:
    """The next instant at which local time is a multiple of ``seconds``."""
    while True:
        at += seconds - (at + _offset(at, zone)) % seconds
        if (at + _offset(at, zone)) % seconds == 0:
            return at


def _next_midnight(at: int, zone: ZoneInfo) -> int:
    """The beginning of the next local day.

    Where clocks skip midnight, the fold rules of :mod:`datetime` give the instant of the change,
    which is when that day begins; where they repeat it, its first occurrence.
    """
    day = datetime.fromtimestamp(at, zone).date()
    while True:
        day += timedelta(days=1)
        midnight = int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())
        if midnight > at:
            return midnight


def _offset(at: int, zone: ZoneInfo) -> int:
    if zone is _UTC:
        return 0
    offset = datetime.fromtimestamp(at, zone).utcoffset()
    assert offset is not None, "a ZoneInfo always knows its offset"
    return int(offset.total_seconds())


def _shown(at: int) -> str:
    return from_epoch(at).isoformat()
