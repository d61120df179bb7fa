"""The clock protocol. Real time is read in :mod:`sleeper.telemetry.clock` and nowhere else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Two clocks in one hand: wall time for meaning, monotonic time for waiting and leases."""

    def now(self) -> datetime:
        """Wall time, aware, UTC, microseconds."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never steps; only differences mean anything."""
        ...


def to_micros(at: datetime) -> int:
    """Microseconds since the Unix epoch of an aware instant, exactly."""
    delta = at - EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def from_micros(micros: int) -> datetime:
    """Inverse of :func:`to_micros`."""
    return EPOCH + timedelta(microseconds=micros)
