"""The verdict on one Space: a pure function of snapshot, policy and ``now``. Total.

It is two tables of rules, read from the top; the first rule that has something to say decides:
:data:`~sleeper.core.awake_rules.AWAKE_RULES` is the precedence of the design, line by line, and
:data:`~sleeper.core.wake_rules.WAKE_RULES` is everything that ends a sleep. Waking is always
allowed, sleeping must be earned.

``recheck_at`` of a verdict is the first instant at which another one is possible although nothing
new became known, where the horizon is taken to advance as time does.
"""

from __future__ import annotations

from datetime import datetime

from sleeper.core.awake_rules import AWAKE_RULES, idle_or_unknown
from sleeper.core.case import Case, soonest
from sleeper.core.durations import format_instant
from sleeper.core.policy import PolicyReading
from sleeper.core.power import PowerState, Sleep
from sleeper.core.reasons import Reason
from sleeper.core.schedule import window
from sleeper.core.snapshot import Snapshot
from sleeper.core.verdict import Verdict, VerdictKind
from sleeper.core.wake_rules import WAKE_RULES


def decide(snapshot: Snapshot, reading: PolicyReading, now: datetime) -> Verdict:
    """What should be done with the Space now."""
    policy = reading.policy
    awake_hours = policy.awake_hours.value
    hours = None if awake_hours is None else window(awake_hours, policy.timezone.value, now)
    case = Case(snapshot, reading, policy, now, hours)
    if snapshot.sleep is not None:
        return _of_sleeping(case, snapshot.sleep)
    for rule in AWAKE_RULES:
        verdict = rule(case)
        if verdict is not None:
            return verdict
    return idle_or_unknown(case)


def _of_sleeping(case: Case, sleep: Sleep) -> Verdict:
    """The verdict on a Space that falls asleep, sleeps or wakes."""
    if case.snapshot.terminating:
        message = "The namespace is being deleted."
        return Verdict(kind=VerdictKind.STAY_ASLEEP, reason=Reason.TERMINATING, message=message)
    if sleep.phase is PowerState.WAKING:
        # A wake that has begun is finished, whatever became of its reason.
        reason = sleep.wake_reason or Reason.WAKE_INCOMPLETE
        message = "A wake has begun and is carried on."
        return Verdict(kind=VerdictKind.WAKE_UP, reason=reason, message=message)
    for rule in WAKE_RULES:
        call = rule(case, sleep)
        if call is not None:
            # At the next edge of awake-hours they may be the reason that is given.
            edge = case.next_edge
            return Verdict(
                kind=VerdictKind.WAKE_UP,
                reason=call.reason,
                message=call.message,
                recheck_at=edge if call.until is None else soonest(call.until, edge),
            )
    if sleep.phase is PowerState.FALLING_ASLEEP:
        # It was earned when it was decided; what cannot be seen now does not take that back.
        edge, overdue_at = case.next_edge, sleep.overdue_at
        return Verdict(
            kind=VerdictKind.FALL_ASLEEP,
            reason=sleep.reason,
            message=f"Decided at {format_instant(sleep.decided_at)} and carried on.",
            recheck_at=edge if overdue_at is None else soonest(overdue_at, edge),
            sleep_horizon=sleep.horizon,
            cursor=_applied(case, sleep),
        )
    if case.reading.problems:
        reason, message = Reason.POLICY_INVALID, "; ".join(map(str, case.reading.problems))
    else:
        reason, message = Reason.ASLEEP, "Asleep, and nothing asks for it."
    return Verdict(
        kind=VerdictKind.STAY_ASLEEP,
        reason=reason,
        message=message,
        recheck_at=case.next_edge,
        next_transition=case.next_edge,
        cursor=_applied(case, sleep),
    )


def _applied(case: Case, sleep: Sleep) -> datetime | None:
    """The cursor after a sleep at the end of awake-hours, where it has not been moved yet."""
    if sleep.reason is not Reason.AWAKE_HOURS_ENDED:
        return None
    cursor = case.snapshot.cursor
    decided_at = sleep.decided_at.replace(microsecond=0)  # the cursor is kept in whole seconds
    return decided_at if cursor is None or cursor < decided_at else None
