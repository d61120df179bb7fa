"""Waiting longer after each failure, never in step with others."""

from __future__ import annotations

from sleeper.telemetry.clock import jittered


class Backoff:
    """Doubling delays with jitter.

    Args:
        initial_seconds: first delay.
        maximum_seconds: no delay is longer (before jitter).
    """

    def __init__(self, *, initial_seconds: float, maximum_seconds: float) -> None:
        self._initial = initial_seconds
        self._maximum = maximum_seconds
        self._next = initial_seconds

    def next_delay(self) -> float:
        """Seconds to wait now; the next answer is about twice as long."""
        delay = self._next
        self._next = min(self._next * 2, self._maximum)
        return jittered(delay)

    def reset(self) -> None:
        """Begin again with the first delay: something worked."""
        self._next = self._initial
