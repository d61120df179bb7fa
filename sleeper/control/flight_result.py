"""How a flight ended, and the settings of flights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sleeper.control.actuator import Result
from sleeper.core.reasons import Reason

_SHORT_LOOK_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class FlightSettings:
    """Settings of flights.

    Attributes:
        sleep_deadline_seconds: longest time from the decision until all Pods are gone; then the
            sleep is undone.
        wake_deadline_seconds: longest time that a wake waits for Pods to be Ready; then the Space
            is Awake all the same, and what is not Ready is named.
        wave_patience_seconds: longest time that a wave waits for the one before it.
        poll_seconds: how often the watched objects are looked at while waiting.
    """

    sleep_deadline_seconds: float = 600.0
    wake_deadline_seconds: float = 600.0
    wave_patience_seconds: float = 60.0
    poll_seconds: float = 0.1

    def pause_after(self, look_seconds: float) -> float:
        """How long to wait after a look at the watched objects that took so long.

        A Space with many objects takes its time; it may take a tenth of everybody's, not all.
        """
        if look_seconds < _SHORT_LOOK_SECONDS:
            return self.poll_seconds
        return max(self.poll_seconds, 10 * look_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlightResult:
    """How a flight ended.

    Attributes:
        ok: whether the Space is now in the state that the flight was for.
        reason: why it ended like that.
        message: one sentence for people; names what was left and who denied it.
        left: the objects that are not where the plan wanted them.
        blamed: ``Kind/name`` of what a sleep failed at and was undone for.
        gave_way: a sleep ended for another flight of the Space, which is no failure of its own.
    """

    ok: bool
    reason: Reason
    message: str
    left: tuple[Result, ...] = ()
    blamed: tuple[str, ...] = ()
    gave_way: bool = False
