"""What a reading of the traffic signal covers, and whose clock says so.

Readings are reckoned on Prometheus's clock, by which samples are dated, so that each begins exactly
where the one before it ended. Only results are brought to our clock, by the offset measured then.
"""

from __future__ import annotations

from dataclasses import dataclass

from metrics.core.traffic import Hole


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockOffset:
    """Prometheus's clock against ours, from one question that was sent and answered.

    Attributes:
        ahead_seconds: how far Prometheus is ahead of us.
        uncertain_seconds: by how much that may be wrong, either way: half the round trip.
    """

    ahead_seconds: float
    uncertain_seconds: float

    @classmethod
    def measured(cls, *, sent: float, received: float, theirs: float) -> ClockOffset:
        """From our time of sending and receiving, and the time that came back."""
        return cls(
            ahead_seconds=theirs - (sent + received) / 2,
            uncertain_seconds=(received - sent) / 2,
        )

    def earliest(self, theirs: float) -> float:
        """The earliest instant of our clock that it can have been: for watermarks."""
        return theirs - self.ahead_seconds - self.uncertain_seconds

    def latest(self, theirs: float) -> float:
        """The latest instant of our clock that it can have been: for activity and gaps."""
        return theirs - self.ahead_seconds + self.uncertain_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A watermark as the next reading needs it.

    Attributes:
        at: on Prometheus's clock, to the millisecond of the sample.
        ahead_seconds: how far that clock was ahead of ours then; when it differs later, one of the
            two has stepped.
    """

    at: float
    ahead_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What one reading covers, in seconds on Prometheus's clock.

    Attributes:
        begin: the watermark so far, or as far back as a reading may reach.
        end: Prometheus's present.
        blind_until: what happened before this instant can never be known; None: all of it can.
        because: the CamelCase reason for that.
    """

    begin: float
    end: float
    blind_until: float | None = None
    because: str = ""

    @property
    def holes(self) -> tuple[Hole, ...]:
        """What the reading can never cover."""
        if self.blind_until is None:
            return ()
        return (Hole(begin=self.begin, end=self.blind_until, reason=self.because),)


def stretch(
    mark: Mark | None,
    *,
    end: float,
    ahead_seconds: float,
    stepped: bool,
    max_step_seconds: float,
    reach_seconds: float,
) -> Stretch:
    """What to read next.

    Args:
        mark: where the last reading ended; None: there was none.
        end: Prometheus's present.
        ahead_seconds: how far its clock is ahead of ours now.
        stepped: our wall clock stepped against the monotonic one since the last reading.
        max_step_seconds: by how much the clocks may part between two readings.
        reach_seconds: most that one reading may cover.
    """
    floor = end - reach_seconds
    if mark is None:
        return Stretch(begin=floor, end=end, blind_until=floor, because="FirstStart")
    parted = abs(ahead_seconds - mark.ahead_seconds) > max_step_seconds
    if mark.at > end:  # Prometheus's clock was set back: what it has is dated before the mark
        return Stretch(begin=floor, end=end, blind_until=end, because="ClockStep")
    if stepped or parted:
        return Stretch(begin=max(mark.at, floor), end=end, blind_until=end, because="ClockStep")
    if mark.at < floor:
        return Stretch(begin=floor, end=end, blind_until=floor, because="TooFarBehind")
    return Stretch(begin=mark.at, end=end)
