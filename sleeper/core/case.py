"""One decision's input, and the words in which its rules answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from metrics.core.signals import SignalName
from sleeper.core.policy import PolicyReading, SleepPolicy
from sleeper.core.reasons import Reason
from sleeper.core.schedule import Window
from sleeper.core.snapshot import Hazard, Snapshot
from sleeper.core.verdict import Verdict, VerdictKind


@dataclass(frozen=True, slots=True)
class Case:
    """One decision's input, with what several rules read worked out once.

    Attributes:
        snapshot: what is known.
        reading: the policy and what could not be understood of it.
        policy: the policy alone.
        now: the instant of the decision.
        hours: where ``now`` stands in the Space's awake-hours; None without any.
    """

    snapshot: Snapshot
    reading: PolicyReading
    policy: SleepPolicy
    now: datetime
    hours: Window | None

    @property
    def next_edge(self) -> datetime | None:
        """When awake-hours begin or end next."""
        return None if self.hours is None else self.hours.until


def first_hold(case: Case) -> Hazard | None:
    """The most important hazard that holds the Space awake.

    A route whose traffic cannot be seen holds only while that traffic has to be seen: an owner
    may say that the API alone tells of use.
    """
    return next(iter(holds(case.snapshot, case.policy, case.now)), None)


def holds(snapshot: Snapshot, policy: SleepPolicy, at: datetime) -> tuple[Hazard, ...]:
    """Every hazard that holds the Space awake at an instant; see :func:`first_hold`."""
    watched = SignalName.TRAFFIC in policy.required_signals.value
    return tuple(
        hazard
        for hazard in snapshot.hazards
        if hazard.holds
        and (hazard.until is None or hazard.until > at)
        and (watched or hazard.reason is not Reason.NO_TRAFFIC_PROVIDER)
    )


def stay_awake(
    reason: Reason,
    message: str,
    *,
    recheck_at: datetime | None = None,
    next_transition: datetime | None = None,
    notice: bool = False,
    cursor: datetime | None = None,
) -> Verdict:
    """A verdict that leaves it awake."""
    return Verdict(
        kind=VerdictKind.STAY_AWAKE,
        reason=reason,
        message=message,
        recheck_at=recheck_at,
        next_transition=next_transition,
        notice=notice,
        cursor=cursor,
    )


def abstain(reason: Reason, message: str, *, recheck_at: datetime | None = None) -> Verdict:
    """A verdict that cannot tell."""
    return Verdict(kind=VerdictKind.ABSTAIN, reason=reason, message=message, recheck_at=recheck_at)


def soonest(at: datetime, other: datetime | None) -> datetime:
    """The earlier of two instants; None never comes."""
    return at if other is None or at < other else other
