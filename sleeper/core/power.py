"""Power states and the facts about a Space's present sleep."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sleeper.core.reasons import Reason


class PowerState(StrEnum):
    """Power state of a Space. Drowsy is Awake with notice given."""

    AWAKE = "Awake"
    DROWSY = "Drowsy"
    FALLING_ASLEEP = "FallingAsleep"
    ASLEEP = "Asleep"
    WAKING = "Waking"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleep:
    """The present sleep of a Space, as its SleepRecord tells it.

    Attributes:
        epoch: number of this sleep; only grows.
        phase: FALLING_ASLEEP, ASLEEP or WAKING.
        horizon: human touches later than this wake it.
        decided_at: when the sleep was decided.
        reason: why it was put to sleep.
        sleeping_since: when it was verified asleep; None before.
        wake_reason: why it is being woken; None unless WAKING.
        overdue_at: from then on a sleep that is still under way has failed, also where nobody
            holds the Lease; None: never.
    """

    epoch: int
    phase: PowerState
    horizon: datetime
    decided_at: datetime
    reason: Reason
    sleeping_since: datetime | None = None
    wake_reason: Reason | None = None
    overdue_at: datetime | None = None
