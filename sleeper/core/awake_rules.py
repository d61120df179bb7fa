"""The rules for a Space that is awake, in the design's order of precedence.

Each rule says nothing (None) or gives the verdict; the first one that says something decides. A
rule that puts a Space to sleep stands below everything that could hold it awake.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from metrics.core.instants import plus
from sleeper.core.case import Case, abstain, first_hold, soonest, stay_awake
from sleeper.core.durations import Never, format_duration, format_instant
from sleeper.core.idleness import Sight, idle_since, look
from sleeper.core.policy import Desired
from sleeper.core.reasons import Reason
from sleeper.core.verdict import Verdict, VerdictKind

ON_TIME: Final = timedelta(minutes=2)
"""How late the end of awake-hours may be applied whatever the Space's activity.

Later it is a missed instant: somebody who came since then is not to be put to sleep.
"""

_POD_CLOCK: Final = timedelta(minutes=1)
"""How far the clock by which Pods are dated may be from ours, at the most."""

_SOON: Final = timedelta(seconds=1)


def protected(case: Case) -> Verdict | None:
    """Protected: not ours to touch, for good."""
    snapshot = case.snapshot
    if snapshot.terminating:
        return stay_awake(Reason.TERMINATING, "The namespace is being deleted.")
    if snapshot.no_space_because is not None:
        return stay_awake(Reason.NOT_A_SPACE, f"No Space: {snapshot.no_space_because}.")
    if snapshot.protected_because is not None:
        return stay_awake(Reason.PROTECTED, f"Never slept: {snapshot.protected_because}.")
    return None


def excluded(case: Case) -> Verdict | None:
    """Excluded: its owner wants us to leave it alone."""
    if not case.policy.excluded.value:
        return None
    return stay_awake(Reason.EXCLUDED, "Its owner excluded it.")


def _unreadable(case: Case) -> Verdict | None:
    """Policy that cannot be read: what it says could be "not yet"."""
    if not case.reading.problems:
        return None
    return abstain(Reason.POLICY_INVALID, "; ".join(map(str, case.reading.problems)))


def _unsynced(case: Case) -> Verdict | None:
    """The sync gate: hazards are unknown until every kind has been listed."""
    if case.snapshot.inventory_synced:
        return None
    return abstain(Reason.INVENTORY_UNSYNCED, "Not all objects of the cluster are listed yet.")


def desired_awake(case: Case) -> Verdict | None:
    """``desired: awake``."""
    if case.policy.desired.value is not Desired.AWAKE:
        return None
    return stay_awake(Reason.DESIRED_AWAKE, "Its owner wants it awake (`desired: awake`).")


def kept_awake(case: Case) -> Verdict | None:
    """``keep-awake-until`` in the future."""
    until = case.policy.keep_awake_until.value
    if until is None or until <= case.now:
        return None
    message = f"Kept awake until {format_instant(until)} (`keep-awake-until`)."
    return stay_awake(Reason.KEEP_AWAKE, message, recheck_at=until)


def _streamed(case: Case) -> Verdict | None:
    """An open stream: somebody is in there, however quiet."""
    if not case.snapshot.streams:
        return None
    streams = [stream for stream in case.snapshot.streams if stream.holds_until > case.now]
    if not streams:
        return None
    last = max(streams, key=lambda stream: stream.holds_until)
    message = (
        f"{last.resource} is open since {format_instant(last.started_at)}; "
        f"held until it ends, at the latest {format_instant(last.holds_until)}."
    )
    return stay_awake(Reason.OPEN_STREAM, message, recheck_at=last.holds_until)


def _hazardous(case: Case) -> Verdict | None:
    """A hazard: something that sleeping would destroy or could not bring back."""
    hazard = first_hold(case)
    if hazard is None:
        return None
    return stay_awake(hazard.reason, f"{hazard.message}.", recheck_at=hazard.until)


def _nothing_to_sleep(case: Case) -> Verdict | None:
    """Nothing runs that could be slept; an empty sleep would help nobody."""
    if case.snapshot.sleepable > 0:
        return None
    return stay_awake(Reason.NOTHING_TO_SLEEP, "Nothing in it runs that could be slept.")


def within_hours(case: Case) -> Verdict | None:
    """Awake-hours: never slept within them. Where their end is a sleep instant, notice precedes."""
    hours = case.hours
    if hours is None or not hours.inside:
        return None
    end = hours.until
    message = "Within its awake-hours" + (f", until {format_instant(end)}." if end else ".")
    if end is None or not case.policy.sleeps_when_hours_end:
        return stay_awake(Reason.AWAKE_HOURS, message, recheck_at=end)
    notice_at = plus(end, -case.policy.notice.value)
    return stay_awake(
        Reason.AWAKE_HOURS,
        message,
        recheck_at=notice_at if case.now < notice_at else end,
        next_transition=end,
        notice=notice_at <= case.now,
        cursor=case.now if case.snapshot.cursor is None else None,
    )


def _desired_asleep(case: Case) -> Verdict | None:
    """``desired: asleep``: at once; a touch after the decision wakes it."""
    if case.policy.desired.value is not Desired.ASLEEP:
        return None
    return _fall_asleep(
        case,
        reason=Reason.DESIRED_ASLEEP,
        message="Its owner wants it asleep (`desired: asleep`).",
        sleep_horizon=case.now,
        recheck_at=case.next_edge,
    )


def _hours_ended(case: Case) -> Verdict | None:
    """The end of awake-hours as a sleep instant that has not been applied yet.

    On time it is applied whatever the activity. A missed one (nobody was there to apply it) only
    where we can see that nobody came since, and whoever came later than we can see wakes it. Of
    several missed ones only the latest counts.
    """
    hours = case.hours
    if hours is None or not case.policy.sleeps_when_hours_end:
        return None
    instant, cursor = hours.since, case.snapshot.cursor
    if cursor is None:
        return _await_hours_end(case, cursor=case.now)
    if instant is None or instant <= cursor:
        return _await_hours_end(case)
    message = f"Its awake-hours ended at {format_instant(instant)}"
    missed_at = plus(instant, ON_TIME)
    recheck_at, horizon = case.next_edge, case.now
    if case.now < missed_at:
        recheck_at = soonest(missed_at, recheck_at)
    else:
        required = case.policy.required_signals.value
        if idle_since(case.snapshot, required).at > instant:
            return _await_hours_end(case, cursor=instant)
        sight = look(case.snapshot, required, case.now)
        seen = sight.horizon is not None and sight.horizon > instant
        held = _maybe_streamed(case) if seen else _unseen_since(case, instant, sight, message)
        if held is not None or sight.horizon is None:
            return held
        horizon = sight.horizon
    return _after_notice(
        case,
        due=instant,
        waiting=Reason.AWAKE_HOURS_ENDED,
        reason=Reason.AWAKE_HOURS_ENDED,
        message=message,
        sleep_horizon=horizon,
        recheck_at=recheck_at,
        cursor=instant,
    )


def _unseen_since(case: Case, instant: datetime, sight: Sight, message: str) -> Verdict:
    """Somebody may have come since the missed instant: nobody has seen that far."""
    recheck_at = case.next_edge
    if sight.horizon is None:
        seen = f"cannot be seen: {', '.join(sight.blind)}"
    else:
        seen = f"is seen up to {format_instant(sight.horizon)} only"
        recheck_at = soonest(plus(case.now, instant - sight.horizon + _SOON), recheck_at)
    message = f"{message}; whether somebody came since {seen}."
    return abstain(Reason.SIGNALS_STALE, message, recheck_at=recheck_at)


def _never(case: Case) -> Verdict | None:
    """No rule would ever put it to sleep."""
    if case.policy.sleep_after.value is not Never.NEVER:
        return None
    message = f"No `sleep-after` applies ({case.policy.sleep_after.source.value}: never)."
    return stay_awake(Reason.NO_SLEEP_RULE, message, recheck_at=case.next_edge)


def _maybe_streamed(case: Case) -> Verdict | None:
    """A stream that was opened where nobody could hear it: it may be in any Space, so in this one.

    Not where every Pod is younger: streams end with their Pods. It holds no sleep that was
    ordered: nobody knows that it is here.
    """
    for view in case.snapshot.signals.values():
        for stream in view.unheard:
            oldest = case.snapshot.oldest_pod_at
            younger = oldest is not None and oldest > plus(stream.opened_before, _POD_CLOCK)
            if younger or stream.holds_until <= case.now:
                continue
            kinds = ", ".join(stream.kinds)
            message = (
                f"API server {stream.apiserver!r} serves {stream.count} ({kinds}) that may be in "
                f"here: opened before {format_instant(stream.opened_before)}, when nobody could "
                f"hear it. Held until they end, at the latest {format_instant(stream.holds_until)}."
            )
            recheck_at = soonest(stream.holds_until, case.next_edge)
            return stay_awake(Reason.OPEN_STREAM, message, recheck_at=recheck_at)
    return None


AWAKE_RULES: Final[tuple[Callable[[Case], Verdict | None], ...]] = (
    protected,
    excluded,
    _unreadable,
    _unsynced,
    desired_awake,
    kept_awake,
    _streamed,
    _hazardous,
    _nothing_to_sleep,
    within_hours,
    _desired_asleep,
    _hours_ended,
    _never,
    _maybe_streamed,
)
"""The precedence for a Space that is awake; :func:`idle_or_unknown` comes last."""


def idle_or_unknown(case: Case) -> Verdict:
    """Unknown, as long as a required signal cannot see; else idle for ``sleep-after``, or not yet.

    No data is not idleness: the idle time that counts ends at the horizon, and without one there
    is none.
    """
    snapshot, policy, now = case.snapshot, case.policy, case.now
    sleep_after, notice = policy.sleep_after.value, policy.notice.value
    assert sleep_after is not Never.NEVER
    sight = look(snapshot, policy.required_signals.value, now)
    horizon = sight.horizon
    if horizon is None:
        message = f"Cannot see: {', '.join(sight.blind)}."
        return abstain(Reason.SIGNALS_STALE, message, recheck_at=case.next_edge)
    since = idle_since(snapshot, policy.required_signals.value)
    idle_for = horizon - since.at
    due = plus(now, sleep_after - idle_for)
    notice_at = plus(due, -notice)
    idle_for = max(idle_for, timedelta())
    told = snapshot.noticed_at
    if told is not None and told < since.at:
        # A touch ends a notice, also one that is longer than the idle time that is asked for.
        notice_at = max(notice_at, plus(now, _SOON))
    message = (
        f"Idle for {format_duration(idle_for)} of {format_duration(sleep_after)}, seen up to "
        f"{format_instant(horizon)}; last: {since.because} at {format_instant(since.at)}"
    )
    if now < notice_at:
        return Verdict(
            kind=VerdictKind.STAY_AWAKE,
            reason=Reason.RECENT_ACTIVITY,
            message=f"{message}.",
            recheck_at=soonest(notice_at, case.next_edge),
            next_transition=due,
            idle_for=idle_for,
            horizon=horizon,
        )
    return _after_notice(
        case,
        due=due,
        waiting=Reason.IDLE_NOTICE,
        reason=Reason.IDLE,
        message=message,
        sleep_horizon=horizon,
        recheck_at=case.next_edge,
        idle_for=idle_for,
    )


def _after_notice(
    case: Case,
    *,
    due: datetime,
    waiting: Reason,
    reason: Reason,
    message: str,
    sleep_horizon: datetime,
    recheck_at: datetime | None,
    idle_for: timedelta | None = None,
    cursor: datetime | None = None,
) -> Verdict:
    """Fall asleep at ``due``, but not before the owner has been told for long enough."""
    notice, told = case.policy.notice.value, case.snapshot.noticed_at
    if notice:
        ready = max(due, plus(case.now if told is None else told, notice))
        if case.now < ready:
            return Verdict(
                kind=VerdictKind.STAY_AWAKE,
                reason=waiting,
                message=f"{message}; sleeps at {format_instant(ready)}.",
                recheck_at=recheck_at if told is None else soonest(ready, recheck_at),
                next_transition=ready,
                notice=True,
                idle_for=idle_for,
                horizon=sleep_horizon if idle_for is not None else None,
            )
    return _fall_asleep(
        case,
        reason=reason,
        message=f"{message}.",
        sleep_horizon=sleep_horizon,
        recheck_at=recheck_at,
        idle_for=idle_for,
        cursor=cursor,
    )


def _fall_asleep(
    case: Case,
    *,
    reason: Reason,
    message: str,
    sleep_horizon: datetime,
    recheck_at: datetime | None,
    idle_for: timedelta | None = None,
    cursor: datetime | None = None,
) -> Verdict:
    """Fall asleep, unless a sleep failed just now; then the notice stays given."""
    retry_at = case.snapshot.retry_sleep_at
    horizon = sleep_horizon if idle_for is not None else None
    if retry_at is not None and retry_at > case.now:
        return Verdict(
            kind=VerdictKind.STAY_AWAKE,
            reason=Reason.BACKING_OFF,
            message=f"A sleep failed; the next try is not before {format_instant(retry_at)}.",
            recheck_at=soonest(retry_at, recheck_at),
            next_transition=retry_at,
            notice=case.snapshot.noticed_at is not None,
            idle_for=idle_for,
            horizon=horizon,
        )
    return Verdict(
        kind=VerdictKind.FALL_ASLEEP,
        reason=reason,
        message=message,
        recheck_at=recheck_at,
        idle_for=idle_for,
        horizon=horizon,
        sleep_horizon=sleep_horizon,
        cursor=cursor,
    )


def _await_hours_end(case: Case, *, cursor: datetime | None = None) -> Verdict:
    """Awake outside its hours, because somebody woke it or because it is new."""
    message = "Awake outside its awake-hours; it sleeps when they next end."
    return stay_awake(Reason.AWAITING_HOURS_END, message, recheck_at=case.next_edge, cursor=cursor)
