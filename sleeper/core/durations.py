"""Durations and instants as people write them in annotations, settings and commands."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import lru_cache
from typing import Final

from metrics.core.instants import in_utc

DURATION_FORM: Final = "a duration such as `90m`, `2h30m`, `1d`, or a number of seconds"
INSTANT_FORM: Final = "an RFC 3339 instant such as `2026-11-21T18:00:00Z`"
LONGEST: Final = timedelta(days=3650)
"""Longest duration that is taken for meant; longer ones are typing errors."""

_ZERO: Final = timedelta()
_DURATION: Final = re.compile(
    r"(?:(?P<days>\d+)d)?(?:(?P<hours>\d+)h)?(?:(?P<minutes>\d+)m)?(?:(?P<seconds>\d+)s)?",
    re.ASCII,
)
_SECONDS: Final = re.compile(r"\d+", re.ASCII)
_INSTANT: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d{1,6})?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
_MOST_DIGITS: Final = 12
_TO_SECONDS: Final = len("2026-11-21T18:00:00")


class Never(Enum):
    """The value ``never`` of a duration that may also be switched off."""

    NEVER = "never"


@lru_cache(maxsize=4096)
def parse_duration(text: str) -> timedelta:
    """``90m``, ``2h30m``, ``1d``, ``1d2h3m4s`` (each unit once, in this order), or whole seconds.

    Raises:
        ValueError: it is none of these, or longer than :data:`LONGEST`.
    """
    value = text.strip()
    if len(value) <= _MOST_DIGITS and _SECONDS.fullmatch(value):
        duration = timedelta(seconds=int(value))
    else:
        parts = _DURATION.fullmatch(value)
        if parts is None or not value or any(len(n or "") > _MOST_DIGITS for n in parts.groups()):
            raise ValueError(f"{text!r} is not {DURATION_FORM}")
        units = {unit: int(number) for unit, number in parts.groupdict().items() if number}
        try:
            duration = timedelta(**units)
        except OverflowError:
            raise ValueError(f"{text!r} is longer than ten years") from None
    if duration > LONGEST:
        raise ValueError(f"{text!r} is longer than ten years")
    return duration


def format_duration(duration: timedelta) -> str:
    """``2h30m``: whole seconds, rounded down, at least 0; the inverse of :func:`parse_duration`."""
    if duration < _ZERO:
        return "0s"
    text = f"{duration.days}d" if duration.days else ""
    minutes, seconds = divmod(duration.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        text += f"{hours}h"
    if minutes:
        text += f"{minutes}m"
    return f"{text}{seconds}s" if seconds or not text else text


def parse_instant(text: str) -> datetime:
    """An RFC 3339 instant, in UTC.

    Raises:
        ValueError: it is none; an instant without an offset is none.
    """
    value = text.strip()
    if not _INSTANT.fullmatch(value):
        raise ValueError(f"{text!r} is not {INSTANT_FORM}")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not {INSTANT_FORM}") from None


def format_instant(at: datetime) -> str:
    """RFC 3339 in UTC, whole seconds, as Kubernetes writes instants."""
    return f"{in_utc(at).isoformat()[:_TO_SECONDS]}Z"
