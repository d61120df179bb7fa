"""The verdict: what should be done with a Space now, why, and when to look again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sleeper.core.reasons import Reason


class VerdictKind(StrEnum):
    """What should be done."""

    STAY_AWAKE = "StayAwake"
    FALL_ASLEEP = "FallAsleep"
    STAY_ASLEEP = "StayAsleep"
    WAKE_UP = "WakeUp"
    ABSTAIN = "Abstain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One decision.

    Attributes:
        kind: what should be done.
        reason: by which rule.
        message: one sentence for people, naming the values that mattered.
        recheck_at: earliest instant at which another verdict is possible without news; None if
            only news can change it.
        next_transition: when it would sleep or wake if nothing happens; None if unknown.
        notice: True while the owner should know that sleep is near (the Space is Drowsy).
        idle_for: idle time earned so far; None where it played no part or cannot be known.
        horizon: the smallest watermark of the required signals; None if unknown.
        sleep_horizon: with FALL_ASLEEP: touches later than this wake it (kept in the record).
        cursor: with a schedule: instants up to here count as applied once this verdict is done.
    """

    kind: VerdictKind
    reason: Reason
    message: str
    recheck_at: datetime | None = None
    next_transition: datetime | None = None
    notice: bool = False
    idle_for: timedelta | None = None
    horizon: datetime | None = None
    sleep_horizon: datetime | None = None
    cursor: datetime | None = None
