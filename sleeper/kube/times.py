"""Instants as Kubernetes writes them."""

from __future__ import annotations

from datetime import UTC, datetime


def micro_time(at: datetime) -> str:
    """``MicroTime`` of the API: RFC 3339, UTC, always six digits of fraction."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """Any RFC 3339 instant, aware and in UTC.

    Raises:
        ValueError: it is none, or has no zone.
    """
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return at.astimezone(UTC)
