"""Awake-hours: weekly intervals in local time, and where an instant stands in them.

The rule at daylight-saving changes: an instant is inside iff the label that a wall clock in the
zone shows then is inside. So an hour that is shown twice counts twice, one that is never shown
does not count, and an interval whose edge is never shown begins or ends at the change.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES: Final = 1440
_WEEK_MINUTES: Final = 7 * _DAY_MINUTES
_LOOK_AROUND: Final = timedelta(days=9)
_STEP: Final = timedelta(hours=12)
"""No zone changes its offset twice within a step."""

_TIME: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)", re.ASCII)
_END_OF_DAY: Final = "24:00"
_PART: Final = re.compile(r"(\S+)\s+(\S+)")


class ScheduleError(ValueError):
    """Awake-hours that cannot be read; the sentence names the part and what was expected."""


@dataclass(frozen=True, slots=True)
class AwakeHours:
    """A week of awake time.

    Attributes:
        edges: minutes of the week (Monday 00:00 is 0) at which inside and outside take turns,
            ascending; the first one begins an interval. Always an even number; an interval that
            crosses the end of the week is split there.
        text: as the owner wrote it.
    """

    edges: tuple[int, ...]
    text: str

    def has(self, label: datetime) -> bool:
        """Whether the wall-clock label (a naive datetime) is inside."""
        minute = label.weekday() * _DAY_MINUTES + label.hour * 60 + label.minute
        return bisect_right(self.edges, minute) % 2 == 1

    def minutes_to_edge(self, label: datetime) -> timedelta | None:
        """From a label to the next edge after it, on a clock that never changes; None: no edge."""
        if not self.edges:
            return None
        start_of_week = label.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(
            days=label.weekday()
        )
        minute = label.weekday() * _DAY_MINUTES + label.hour * 60 + label.minute
        index = bisect_right(self.edges, minute)
        edge = self.edges[index] if index < len(self.edges) else self.edges[0] + _WEEK_MINUTES
        return start_of_week + timedelta(minutes=edge) - label


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Where an instant stands.

    Attributes:
        inside: within the awake-hours.
        since: since when it has been so; None: for more than a week.
        until: when it changes next; None: not within the coming week.
    """

    inside: bool
    since: datetime | None
    until: datetime | None


def parse_awake_hours(text: str) -> AwakeHours:
    """Read ``Mon-Fri 08:00-19:00; Sat 10:00-14:00``.

    Days are three-letter English names, ranges (also across the end of the week) and lists;
    an interval that ends before it begins goes on to the next day.

    Raises:
        ScheduleError: some part cannot be read.
    """
    inside = bytearray(_WEEK_MINUTES)
    parts = [part.strip() for part in text.split(";")]
    if not any(parts):
        raise ScheduleError("no interval given")
    for part in filter(None, parts):
        words = _PART.fullmatch(part)
        if words is None:
            raise ScheduleError(f"{part!r} is not of the form 'DAYS HH:MM-HH:MM'")
        begin, end = _times(words[2])
        for day in sorted(set(_days(words[1]))):
            first, last = day * _DAY_MINUTES + begin, day * _DAY_MINUTES + end
            inside[first : min(last, _WEEK_MINUTES)] = b"\1" * (min(last, _WEEK_MINUTES) - first)
            if last > _WEEK_MINUTES:  # from Sunday into Monday
                inside[: last - _WEEK_MINUTES] = b"\1" * (last - _WEEK_MINUTES)
    return AwakeHours(edges=tuple(_edges(inside)), text=text)


def _edges(inside: bytearray) -> Iterator[int]:
    before = 0
    for minute, now in enumerate(inside):
        if now != before:
            yield minute
        before = now
    if before:
        yield _WEEK_MINUTES


def _days(text: str) -> Iterator[int]:
    for piece in text.split(","):
        first, dash, last = piece.partition("-")
        start = _day(first, text)
        stop = _day(last, text) if dash else start
        for offset in range((stop - start) % 7 + 1):
            yield (start + offset) % 7


def _day(name: str, text: str) -> int:
    try:
        return _DAYS.index(name.strip().lower())
    except ValueError:
        raise ScheduleError(
            f"{name.strip()!r} in {text!r} is not a day; expected Mon, Tue, Wed, Thu, Fri, Sat, Sun"
        ) from None


def _times(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not dash:
        raise ScheduleError(f"{text!r} is not of the form HH:MM-HH:MM")
    begin, end = _minute(first, text), _minute(last, text)
    if begin in {_DAY_MINUTES, end}:
        raise ScheduleError(f"{text!r} is an empty interval")
    return begin, end if end > begin else end + _DAY_MINUTES


def _minute(clock: str, text: str) -> int:
    if clock == _END_OF_DAY:
        return _DAY_MINUTES
    match = _TIME.fullmatch(clock)
    if match is None:
        raise ScheduleError(
            f"{clock!r} in {text!r} is not a time of day; expected 00:00 to {_END_OF_DAY}"
        )
    return int(match[1]) * 60 + int(match[2])


def window(hours: AwakeHours, zone: ZoneInfo, now: datetime) -> Window:
    """Where ``now`` stands in the awake-hours of ``zone``."""
    starts_inside, flips = _flips_around(hours, zone, now.astimezone(UTC).date())
    index = bisect_right(flips, now)
    return Window(
        inside=starts_inside if index % 2 == 0 else not starts_inside,
        since=flips[index - 1] if index else None,
        until=flips[index] if index < len(flips) else None,
    )


@lru_cache(maxsize=1024)
def _flips_around(
    hours: AwakeHours, zone: ZoneInfo, day: date
) -> tuple[bool, tuple[datetime, ...]]:
    """Whether nine days before a UTC day is inside, and every flip until nine days after it.

    Cached: Spaces share their hours, and the loop asks many times a day.
    """
    midnight = datetime.combine(day, time(), UTC)
    start, end = midnight - _LOOK_AROUND, midnight + _LOOK_AROUND
    return hours.has(_label(start, zone)), tuple(_flips(hours, zone, start, end))


def _flips(hours: AwakeHours, zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[datetime]:
    """Instants after ``start`` at which inside becomes outside or the other way round."""
    at, was = start, hours.has(_label(start, zone))
    while at < end:
        to_edge = hours.minutes_to_edge(_label(at, zone))
        ahead = _STEP if to_edge is None else min(to_edge, _STEP)
        at = _first_other_offset(zone, at, at + ahead)
        inside = hours.has(_label(at, zone))
        if inside != was:
            yield at
            was = inside


def _first_other_offset(zone: ZoneInfo, start: datetime, end: datetime) -> datetime:
    """The first second after ``start`` with another UTC offset than ``start``, or ``end``."""
    offset = _offset(zone, start)
    if _offset(zone, end) == offset:
        return end
    low, high = start, end
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2)
        low, high = (middle, high) if _offset(zone, middle) == offset else (low, middle)
    return high


def _offset(zone: ZoneInfo, at: datetime) -> timedelta | None:
    return at.astimezone(zone).utcoffset()


def _label(at: datetime, zone: ZoneInfo) -> datetime:
    return at.astimezone(UTC).astimezone(zone).replace(tzinfo=None)
