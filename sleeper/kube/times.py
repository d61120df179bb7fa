"""Instants as Kubernetes writes them."""

from __future__ import annotations

from datetime import datetime

from metrics.core.instants import in_utc, parse


def micro_time(at: datetime) -> str:
    """``MicroTime`` of the API: RFC 3339, UTC, always six digits of fraction."""
    return in_utc(at).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """Any RFC 3339 instant, aware and in UTC.

    Raises:
        ValueError: it is none, or has no zone.
    """
    at = parse(text)
    if at is None:
        raise ValueError(f"{text!r} is no RFC 3339 instant")
    return at
