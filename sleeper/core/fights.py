"""Another writer that undoes every sleep: noticed, named, and left alone for a while.

A controller that bears no mark by which it would be a hazard scales a workload up, or creates it
anew, as soon as we have scaled it down, and both would go on for ever; py-kube-downscaler's issue
110 tells of one object that was scaled down about 600 times. Who wakes a Space in the same way
after a sleep that lasted is no such writer.

What is counted lives in memory. A restart begins to count anew, which costs a few more reversals.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from metrics.core.instants import plus
from sleeper.core.durations import format_duration, format_instant
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.record import SleepRecord
from sleeper.core.snapshot import Hazard
from sleeper.core.verdict import Verdict, VerdictKind

_UNDOING: Final = frozenset({Reason.OWNER_SCALED_UP, Reason.NEW_WORKLOAD})
"""Wakes by what was done to the workloads themselves."""

REVERSALS: Final = 3
"""So many sleeps in a row that were undone at once make a fight."""

AT_ONCE: Final = timedelta(minutes=10)
"""Undone so soon after its decision, a sleep was reversed and not ended; Flux's and Argo CD's
default intervals of reconciliation are 10 and 3 minutes."""

LEFT_ALONE: Final = timedelta(days=1)
"""How long nothing is tried after a reversal that makes a fight; then once more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reversals:
    """Sleeps of one Space that were undone at once, without a lasting one in between.

    Attributes:
        count: how many.
        slept_at: decision of the sleep that was looked at last, reversed or not.
        at: when the last one was undone.
        how: what was done, and by whom, in words.
    """

    count: int = 0
    slept_at: datetime | None = None
    at: datetime | None = None
    how: str = ""


def counted(
    past: Reversals, record: SleepRecord | None, verdict: Verdict, now: datetime
) -> Reversals:
    """``past`` and, where ``verdict`` is the first to end a sleep, how that sleep ended."""
    if record is None or verdict.kind is not VerdictKind.WAKE_UP:
        return past
    if record.decided_at == past.slept_at:
        return past
    if verdict.reason not in _UNDOING or now - record.decided_at > AT_ONCE:
        return Reversals(slept_at=record.decided_at)
    # One that another replica has begun to wake no longer shows what was done.
    seen = record.phase is not PowerState.WAKING
    return Reversals(
        count=past.count + 1,
        slept_at=record.decided_at,
        at=now,
        how=verdict.message.rstrip(".") if seen else past.how,
    )


def fight(past: Reversals) -> Hazard | None:
    """What holds the Space awake after too many reversals; None: nothing."""
    if past.count < REVERSALS or past.at is None:
        return None
    until = plus(past.at, LEFT_ALONE)
    how = past.how or "A workload was brought back"
    return Hazard(
        reason=Reason.CONFLICTING_WRITER,
        subject="Namespace",
        message=(
            f"{how}, within {format_duration(AT_ONCE)} of each of its last {past.count} sleeps; "
            f"it is left alone until {format_instant(until)}"
        ),
        advice=f"that writer stopped, and the end of the pause at {format_instant(until)}",
        until=until,
    )
