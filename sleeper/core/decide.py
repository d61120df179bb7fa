"""The verdict on one Space: a pure function of snapshot, policy and ``now``. Total.

It is two tables of rules, read from the top; the first rule that has something to say decides.
:data:`AWAKE_RULES` is the precedence of the design, line by line; :data:`WAKE_RULES` is everything
that ends a sleep, whatever its phase. Waking is always allowed, sleeping must be earned: a rule
that puts a Space to sleep needs all that it knows, a rule that wakes needs one good reason.

``recheck_at`` is the first instant at which another verdict is possible although nothing new
became known, where the horizon is taken to advance as time does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from metrics.core.signals import SignalName
from sleeper.core.durations import Never, format_duration, format_instant
from sleeper.core.idleness import idle_since, look
from sleeper.core.policy import Desired, PolicyReading, SleepPolicy
from sleeper.core.power import PowerState, Sleep
from sleeper.core.reasons import Reason
from sleeper.core.schedule import Window, window
from sleeper.core.snapshot import Hazard, Snapshot
from sleeper.core.verdict import Verdict, VerdictKind

ON_TIME: Final = timedelta(minutes=2)
"""How late the end of awake-hours may be applied whatever the Space's activity.

Later it is a missed instant: somebody who came since then is not to be put to sleep.
"""

_SOON: Final = timedelta(seconds=1)
_END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Case:
    """One decision's input, with what several rules read worked out once.

    Attributes:
        snapshot: what is known.
        reading: the policy and what could not be understood of it.
        now: the instant of the decision.
        hours: where ``now`` stands in the Space's awake-hours; None without any.
    """

    snapshot: Snapshot
    reading: PolicyReading
    now: datetime
    hours: Window | None

    @property
    def policy(self) -> SleepPolicy:
        """The effective policy."""
        return self.reading.policy

    @property
    def next_edge(self) -> datetime | None:
        """When awake-hours begin or end next."""
        return None if self.hours is None else self.hours.until


@dataclass(frozen=True, slots=True)
class WakeCall:
    """One reason to wake a Space.

    Attributes:
        reason: why.
        message: one sentence.
        until: when it stops being one; None: only news ends it.
    """

    reason: Reason
    message: str
    until: datetime | None = None


def decide(snapshot: Snapshot, reading: PolicyReading, now: datetime) -> Verdict:
    """What should be done with the Space now."""
    policy = reading.policy
    awake_hours = policy.awake_hours.value
    hours = None if awake_hours is None else window(awake_hours, policy.timezone.value, now)
    case = Case(snapshot, reading, now, hours)
    if snapshot.sleep is not None:
        return _of_sleeping(case, snapshot.sleep)
    for rule in AWAKE_RULES:
        verdict = rule(case)
        if verdict is not None:
            return verdict
    return _idle(case)


# -- awake ----------------------------------------------------------------------------------------


def _protected(case: Case) -> Verdict | None:
    """Protected: not ours to touch, for good."""
    snapshot = case.snapshot
    if snapshot.terminating:
        return _stay_awake(Reason.TERMINATING, "The namespace is being deleted.")
    if not snapshot.is_space:
        return _stay_awake(Reason.NOT_A_SPACE, "The namespace does not carry the tenant label.")
    if snapshot.protected_because is not None:
        return _stay_awake(Reason.PROTECTED, f"Never slept: {snapshot.protected_because}.")
    return None


def _excluded(case: Case) -> Verdict | None:
    """Excluded: its owner wants us to leave it alone."""
    if not case.policy.excluded.value:
        return None
    return _stay_awake(Reason.EXCLUDED, "Its owner excluded it.")


def _unreadable(case: Case) -> Verdict | None:
    """Policy that cannot be read: what it says could be "not yet"."""
    if not case.reading.problems:
        return None
    return _abstain(Reason.POLICY_INVALID, "; ".join(map(str, case.reading.problems)))


def _unsynced(case: Case) -> Verdict | None:
    """The sync gate: hazards are unknown until every kind has been listed."""
    if case.snapshot.inventory_synced:
        return None
    return _abstain(Reason.INVENTORY_UNSYNCED, "Not all objects of the cluster are listed yet.")


def _desired_awake(case: Case) -> Verdict | None:
    """``desired: awake``."""
    if case.policy.desired.value is not Desired.AWAKE:
        return None
    return _stay_awake(Reason.DESIRED_AWAKE, "Its owner wants it awake (`desired: awake`).")


def _kept_awake(case: Case) -> Verdict | None:
    """``keep-awake-until`` in the future."""
    until = case.policy.keep_awake_until.value
    if until is None or until <= case.now:
        return None
    message = f"Kept awake until {format_instant(until)} (`keep-awake-until`)."
    return _stay_awake(Reason.KEEP_AWAKE, message, recheck_at=until)


def _streamed(case: Case) -> Verdict | None:
    """An open stream: somebody is in there, however quiet."""
    streams = [stream for stream in case.snapshot.streams if stream.holds_until > case.now]
    if not streams:
        return None
    last = max(streams, key=lambda stream: stream.holds_until)
    message = (
        f"{last.resource} is open since {format_instant(last.started_at)}; "
        f"held until it ends, at the latest {format_instant(last.holds_until)}."
    )
    return _stay_awake(Reason.OPEN_STREAM, message, recheck_at=last.holds_until)


def _hazardous(case: Case) -> Verdict | None:
    """A hazard: something that sleeping would destroy or could not bring back."""
    hazard = _first_hold(case)
    return None if hazard is None else _stay_awake(hazard.reason, f"{hazard.message}.")


def _nothing_to_sleep(case: Case) -> Verdict | None:
    """Nothing runs that could be slept; an empty sleep would help nobody."""
    if case.snapshot.sleepable > 0:
        return None
    return _stay_awake(Reason.NOTHING_TO_SLEEP, "Nothing in it runs that could be slept.")


def _within_hours(case: Case) -> Verdict | None:
    """Awake-hours: never slept within them. Where their end is a sleep instant, notice precedes."""
    hours = case.hours
    if hours is None or not hours.inside:
        return None
    end = hours.until
    message = "Within its awake-hours" + (f", until {format_instant(end)}." if end else ".")
    if end is None or not case.policy.sleeps_when_hours_end:
        return _stay_awake(Reason.AWAKE_HOURS, message, recheck_at=end)
    notice_at = _later(end, -case.policy.notice.value)
    return _stay_awake(
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
    where we can see that nobody came since. Of several missed ones only the latest counts.
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
    missed_at = _later(instant, ON_TIME)
    recheck_at = case.next_edge
    if case.now < missed_at:
        recheck_at = _soonest(missed_at, recheck_at)
    else:
        required = case.policy.required_signals.value
        if blind := look(case.snapshot, required, case.now).blind:
            message += "; whether somebody came since cannot be seen: " + ", ".join(blind)
            return _abstain(Reason.SIGNALS_STALE, f"{message}.", recheck_at=recheck_at)
        if idle_since(case.snapshot, required).at > instant:
            return _await_hours_end(case, cursor=instant)
    return _after_notice(
        case,
        due=instant,
        waiting=Reason.AWAKE_HOURS_ENDED,
        reason=Reason.AWAKE_HOURS_ENDED,
        message=message,
        sleep_horizon=case.now,
        recheck_at=recheck_at,
        cursor=instant,
    )


def _never(case: Case) -> Verdict | None:
    """No rule would ever put it to sleep."""
    if case.policy.sleep_after.value is not Never.NEVER:
        return None
    message = f"No `sleep-after` applies ({case.policy.sleep_after.source.value}: never)."
    return _stay_awake(Reason.NO_SLEEP_RULE, message, recheck_at=case.next_edge)


def _blind(case: Case) -> Verdict | None:
    """Unknown is not idle: a required signal that cannot see abstains."""
    sight = look(case.snapshot, case.policy.required_signals.value, case.now)
    if not sight.blind:
        return None
    message = f"Cannot see: {', '.join(sight.blind)}."
    return _abstain(Reason.SIGNALS_STALE, message, recheck_at=case.next_edge)


AWAKE_RULES: Final[tuple[Callable[[Case], Verdict | None], ...]] = (
    _protected,
    _excluded,
    _unreadable,
    _unsynced,
    _desired_awake,
    _kept_awake,
    _streamed,
    _hazardous,
    _nothing_to_sleep,
    _within_hours,
    _desired_asleep,
    _hours_ended,
    _never,
    _blind,
)
"""The precedence for a Space that is awake; idle time (:func:`_idle`) comes last."""


def _idle(case: Case) -> Verdict:
    """Idle for ``sleep-after``, seen by every required signal, and the owner was told."""
    snapshot, policy, now = case.snapshot, case.policy, case.now
    sleep_after, notice = policy.sleep_after.value, policy.notice.value
    horizon = look(snapshot, policy.required_signals.value, now).horizon
    assert horizon is not None
    assert sleep_after is not Never.NEVER
    since = idle_since(snapshot, policy.required_signals.value)
    idle_for = horizon - since.at
    due = _later(now, sleep_after - idle_for)
    notice_at = _later(due, -notice)
    idle_for = max(idle_for, timedelta())
    told = snapshot.noticed_at
    if told is not None and told < since.at:
        # A touch ends a notice, also one that is longer than the idle time that is asked for.
        notice_at = max(notice_at, _later(now, _SOON))
    message = (
        f"Idle for {format_duration(idle_for)} of {format_duration(sleep_after)}, seen up to "
        f"{format_instant(horizon)}; last: {since.because} at {format_instant(since.at)}"
    )
    if now < notice_at:
        return Verdict(
            kind=VerdictKind.STAY_AWAKE,
            reason=Reason.RECENT_ACTIVITY,
            message=f"{message}.",
            recheck_at=_soonest(notice_at, case.next_edge),
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
        ready = max(due, _later(case.now if told is None else told, notice))
        if case.now < ready:
            return Verdict(
                kind=VerdictKind.STAY_AWAKE,
                reason=waiting,
                message=f"{message}; notice runs until {format_instant(ready)}.",
                recheck_at=recheck_at if told is None else _soonest(ready, recheck_at),
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
            recheck_at=_soonest(retry_at, recheck_at),
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
    return _stay_awake(Reason.AWAITING_HOURS_END, message, recheck_at=case.next_edge, cursor=cursor)


# -- asleep ---------------------------------------------------------------------------------------


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
            return Verdict(
                kind=VerdictKind.WAKE_UP,
                reason=call.reason,
                message=call.message,
                recheck_at=call.until,
            )
    if sleep.phase is PowerState.FALLING_ASLEEP:
        # It was earned when it was decided; what cannot be seen now does not take that back.
        return Verdict(
            kind=VerdictKind.FALL_ASLEEP,
            reason=sleep.reason,
            message=f"Decided at {format_instant(sleep.decided_at)} and carried on.",
            recheck_at=case.next_edge,
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


def _called_by_status(case: Case, _sleep: Sleep) -> WakeCall | None:
    """It is not (any more) a namespace that we may keep asleep."""
    verdict = _protected(case) or _excluded(case)
    return None if verdict is None else WakeCall(verdict.reason, verdict.message)


def _called_by_owner(case: Case, _sleep: Sleep) -> WakeCall | None:
    """``desired: awake`` or ``keep-awake-until``."""
    verdict = _desired_awake(case) or _kept_awake(case)
    if verdict is None:
        return None
    return WakeCall(verdict.reason, verdict.message, until=verdict.recheck_at)


def _called_by_stream(case: Case, sleep: Sleep) -> WakeCall | None:
    """Somebody opened a stream after the horizon of the sleep."""
    for stream in case.snapshot.streams:
        if stream.started_at > sleep.horizon and stream.holds_until > case.now:
            message = f"{stream.resource} was opened at {format_instant(stream.started_at)}."
            return WakeCall(Reason.OPEN_STREAM, message, until=stream.holds_until)
    return None


def _called_by_hazard(case: Case, sleep: Sleep) -> WakeCall | None:
    """Falling asleep would now destroy something, or something new runs in a sleeping Space."""
    if not case.snapshot.inventory_synced:
        return None  # half an inventory shows Pods without their owners
    if sleep.phase is PowerState.FALLING_ASLEEP:
        hold = _first_hold(case)
        return None if hold is None else WakeCall(hold.reason, f"{hold.message}.")
    new = next((hazard for hazard in case.snapshot.hazards if hazard.wakes), None)
    return None if new is None else WakeCall(Reason.NEW_WORKLOAD, f"{new.message}.")


def _called_by_hours(case: Case, _sleep: Sleep) -> WakeCall | None:
    """Its awake-hours have begun."""
    verdict = _within_hours(case)
    if verdict is None:
        return None
    return WakeCall(verdict.reason, verdict.message, until=case.next_edge)


def _called_by_hand(case: Case, _sleep: Sleep) -> WakeCall | None:
    """The owner's hand: a sleeping workload scaled up, or a new one."""
    if case.snapshot.owner_wake is None:
        return None
    reason, message = case.snapshot.owner_wake
    return WakeCall(reason, f"{message}.")


def _called_by_touch(case: Case, sleep: Sleep) -> WakeCall | None:
    """A touch later than the horizon on which the sleep was decided; so replays do not wake."""
    touch = case.snapshot.last_touch
    if touch is None or touch.at <= sleep.horizon:
        return None
    what = f"{touch.verb} {touch.resource}"
    message = f"A {touch.actor.value} used it at {format_instant(touch.at)} ({what})."
    return WakeCall(Reason.TOUCHED, message)


WAKE_RULES: Final[tuple[Callable[[Case, Sleep], WakeCall | None], ...]] = (
    _called_by_status,
    _called_by_owner,
    _called_by_stream,
    _called_by_hazard,
    _called_by_hours,
    _called_by_hand,
    _called_by_touch,
)
"""Everything that ends a sleep, be it under way or complete."""


# -- shared ---------------------------------------------------------------------------------------


def _first_hold(case: Case) -> Hazard | None:
    """The most important hazard that holds the Space awake.

    A route whose traffic cannot be seen holds only while that traffic has to be seen: an owner
    may say that the API alone tells of use.
    """
    watched = SignalName.TRAFFIC in case.policy.required_signals.value
    for hazard in case.snapshot.hazards:
        if hazard.holds and (watched or hazard.reason is not Reason.NO_TRAFFIC_PROVIDER):
            return hazard
    return None


def _applied(case: Case, sleep: Sleep) -> datetime | None:
    """The cursor after a sleep at the end of awake-hours, where it has not been moved yet."""
    if sleep.reason is not Reason.AWAKE_HOURS_ENDED:
        return None
    cursor = case.snapshot.cursor
    decided_at = sleep.decided_at.replace(microsecond=0)  # the cursor is kept in whole seconds
    return decided_at if cursor is None or cursor < decided_at else None


def _stay_awake(
    reason: Reason,
    message: str,
    *,
    recheck_at: datetime | None = None,
    next_transition: datetime | None = None,
    notice: bool = False,
    cursor: datetime | None = None,
) -> Verdict:
    return Verdict(
        kind=VerdictKind.STAY_AWAKE,
        reason=reason,
        message=message,
        recheck_at=recheck_at,
        next_transition=next_transition,
        notice=notice,
        cursor=cursor,
    )


def _abstain(reason: Reason, message: str, *, recheck_at: datetime | None = None) -> Verdict:
    return Verdict(kind=VerdictKind.ABSTAIN, reason=reason, message=message, recheck_at=recheck_at)


def _later(at: datetime, by: timedelta) -> datetime:
    """``at + by``, where the calendar goes that far."""
    try:
        return at + by
    except OverflowError:
        return _END_OF_TIME


def _soonest(at: datetime, other: datetime | None) -> datetime:
    return at if other is None or at < other else other
