"""Everything that ends a sleep, whether it is under way or complete.

One good reason is enough: waking is always allowed, also on half an inventory, with a blind signal
or with a policy that cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from metrics.core.instants import plus
from metrics.core.signals import SignalName
from sleeper.core.awake_rules import desired_awake, excluded, kept_awake, protected, within_hours
from sleeper.core.case import Case, first_hold
from sleeper.core.durations import format_instant
from sleeper.core.policy import Mode
from sleeper.core.power import PowerState, Sleep
from sleeper.core.reasons import Reason

_DECIDED_ON_SIGHT: Final = timedelta(seconds=10)
"""A sleep whose horizon lies so far before its decision was decided on what had been seen up to
there; the horizon of one that was ordered is the decision itself."""


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


def _called_by_status(case: Case, _sleep: Sleep) -> WakeCall | None:
    """It is not (any more) a namespace that we may keep asleep."""
    verdict = protected(case) or excluded(case)
    return None if verdict is None else WakeCall(verdict.reason, verdict.message)


def _called_by_owner(case: Case, _sleep: Sleep) -> WakeCall | None:
    """``desired: awake`` or ``keep-awake-until``."""
    verdict = desired_awake(case) or kept_awake(case)
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
        hold = first_hold(case)
        if hold is None:
            return None
        return WakeCall(hold.reason, f"{hold.message}.", until=hold.until)
    new = next((hazard for hazard in case.snapshot.hazards if hazard.wakes), None)
    if new is None:
        return None
    busy = new.reason is Reason.WORKLOAD_BUSY
    return WakeCall(new.reason if busy else Reason.NEW_WORKLOAD, f"{new.message}.")


def _called_by_hours(case: Case, _sleep: Sleep) -> WakeCall | None:
    """Its awake-hours have begun."""
    verdict = within_hours(case)
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


def _called_by_visit(case: Case, sleep: Sleep) -> WakeCall | None:
    """A web visitor later than the horizon and not later than the instant of sleep.

    They came to a Space that was awake, and no decision could know of them. Whoever comes to a
    Space that sleeps does not wake it: there is nobody to answer, and an error is no use.

    A visit is dated by the scrape that shows it, which may be up to one scrape later than it came.
    So one dated up to a scrape after the instant of sleep may have come before it, and one dated
    after the decision may be of the sleep's own making: a long answer that ended with its Pod.
    In doubt it turns the sleep back, but not twice in a row without any use in between.

    A sleep that its owner, or the end of awake-hours, ordered takes no heed of visits: they may
    go on until the last Pod is gone. One at the end of awake-hours that was applied late, and so
    on what had been seen, heeds those before its decision.
    """
    visit = case.snapshot.last_visit
    if visit is None or visit.at <= sleep.horizon:
        return None
    ordered = sleep.reason is not Reason.IDLE
    if ordered and (
        sleep.reason is not Reason.AWAKE_HOURS_ENDED
        or sleep.decided_at - sleep.horizon < _DECIDED_ON_SIGHT
    ):
        return None
    if visit.at > sleep.decided_at:
        if ordered or case.snapshot.visits_doubted:
            return None
        view = case.snapshot.signals.get(SignalName.TRAFFIC)
        late_by = timedelta() if view is None else view.dated_late_by
        if sleep.sleeping_since and visit.at > plus(sleep.sleeping_since, late_by):
            return None
    message = f"Somebody visited {visit.resource} at {format_instant(visit.at)}."
    return WakeCall(Reason.VISITED, message)


def _called_by_mode(case: Case, sleep: Sleep) -> WakeCall | None:
    """`mode: observe` while it falls asleep: what has been touched is brought back."""
    if sleep.phase is not PowerState.FALLING_ASLEEP or case.policy.mode.value is not Mode.OBSERVE:
        return None
    return WakeCall(Reason.OBSERVE_MODE, "It was falling asleep, and now is only observed.")


def _called_by_deadline(case: Case, sleep: Sleep) -> WakeCall | None:
    """A sleep that should have ended long ago: whoever carried it out does so no more.

    Sleeping needs the Lease. Without a holder the Space would stay half asleep for ever.
    """
    overdue_at = sleep.overdue_at
    if sleep.phase is not PowerState.FALLING_ASLEEP or overdue_at is None or case.now < overdue_at:
        return None
    message = f"It has been falling asleep since {format_instant(sleep.decided_at)}."
    return WakeCall(Reason.FALLING_ASLEEP_TIMED_OUT, message)


WAKE_RULES: Final[tuple[Callable[[Case, Sleep], WakeCall | None], ...]] = (
    _called_by_status,
    _called_by_owner,
    _called_by_stream,
    _called_by_hazard,
    _called_by_hours,
    _called_by_hand,
    _called_by_touch,
    _called_by_visit,
    _called_by_mode,
    _called_by_deadline,
)
"""In this order only for the sake of the reason that is shown: any one of them wakes."""
