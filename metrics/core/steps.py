"""Steps of the wall clock, seen against the monotonic one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from metrics.core.clock import Clock

_ZERO = timedelta()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the wall clock. Instants before and after it are of two time lines.

    Attributes:
        expected: what the clock would show had it not stepped.
        now: what it shows.
        began: the first instant of the new time line: whatever happens from the step on is later,
            and it lies behind the step by no more than the time between two looks.
    """

    expected: datetime
    now: datetime
    began: datetime

    @property
    def by(self) -> timedelta:
        """How far; negative if the clock was set back."""
        return self.now - self.expected

    @property
    def back(self) -> bool:
        """Whether the clock was set back, so that what was noted before may lie in the future."""
        return self.by < _ZERO


StepListener = Callable[[Step], None]
"""Called in the loop's thread, at once; must be cheap."""


class TimeLine:
    """The stretch of wall time in which instants can be compared; it ends with every step.

    Compares how far both clocks went since the last look. Slewing moves the wall clock by at most
    half a millisecond a second and stays unnoticed; a step, a suspended machine, or a wall clock
    set by hand does not. Whoever is about to compare an instant that it was just told looks first,
    so that all have learned of a step before anything that came after it is judged.

    Args:
        clock: both clocks.
        limit: how far they may part between two looks.
    """

    def __init__(self, clock: Clock, *, limit: timedelta) -> None:
        self._clock = clock
        self._limit = limit
        self._wall = self.began = clock.now()
        self._monotonic = clock.monotonic()
        self._listeners: list[StepListener] = []

    def subscribe(self, listener: StepListener) -> None:
        """Be told of each step."""
        self._listeners.append(listener)

    def look(self) -> None:
        """Tell everybody if the wall clock has stepped since the last look."""
        wall, monotonic = self._clock.now(), self._clock.monotonic()
        elapsed = timedelta(seconds=monotonic - self._monotonic)
        expected = self._wall + elapsed
        self._wall, self._monotonic = wall, monotonic
        if abs(wall - expected) <= self._limit:
            return
        self.began = wall - elapsed
        step = Step(expected=expected, now=wall, began=self.began)
        for listener in self._listeners:
            listener(step)
