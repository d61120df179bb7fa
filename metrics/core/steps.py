"""Steps of the wall clock, seen against the monotonic one."""

from __future__ import annotations

from datetime import datetime, timedelta

from metrics.core.clock import Clock


class StepWatch:
    """Compares how far both clocks went since the last look.

    Slewing moves the wall clock by at most half a millisecond a second and stays unnoticed; a
    step, a suspended machine, or a wall clock set by hand does not.

    Args:
        clock: both clocks.
        limit: how far they may part between two looks.
    """

    def __init__(self, clock: Clock, *, limit: timedelta) -> None:
        self._clock = clock
        self._limit = limit
        self._wall = clock.now()
        self._monotonic = clock.monotonic()

    def look(self) -> datetime | None:
        """What the wall clock would show now had it not stepped; None: it did not."""
        wall, monotonic = self._clock.now(), self._clock.monotonic()
        expected = self._wall + timedelta(seconds=monotonic - self._monotonic)
        self._wall, self._monotonic = wall, monotonic
        return expected if abs(wall - expected) > self._limit else None
