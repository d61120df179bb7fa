"""Arithmetic on instants that somebody else wrote: total, from the year 1 to the year 9999.

API servers, exporters, owners and clients name instants; a clock that was never set, a mistake or
malice makes some of them nonsense. Nothing may break by it, so whatever is reckoned from such an
instant stays within the calendar, at its nearest end.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from metrics.core.clock import EPOCH

EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
"""The first instant of the calendar."""

LATEST: Final = datetime.max.replace(tzinfo=UTC)
"""The last instant of the calendar."""

_ZERO: Final = timedelta()


def plus(at: datetime, by: timedelta) -> datetime:
    """``at + by``, as far as the calendar goes."""
    try:
        return at + by
    except OverflowError:
        return EARLIEST if by < _ZERO else LATEST


def in_utc(at: datetime) -> datetime:
    """The same instant in UTC, as far as the calendar goes."""
    if at.tzinfo is UTC:
        return at
    try:
        return at.astimezone(UTC)
    except OverflowError:  # an offset at one of its ends leads beyond it
        return EARLIEST if at.year == EARLIEST.year else LATEST


def parse(text: str) -> datetime | None:
    """An RFC 3339 time stamp in UTC; None if it is none, or has no zone."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if at.tzinfo is None else in_utc(at)


def from_epoch(seconds: float) -> datetime:
    """Seconds since the Unix epoch as an instant, as far as the calendar goes.

    Raises:
        ValueError: it is no number.
    """
    try:
        return EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return EARLIEST if seconds < 0 else LATEST
