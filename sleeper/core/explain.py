"""A verdict explained: what was seen, what was decided by which rule, what would change it. Pure.

The explanation is data; the read API serialises it and the command line lays it out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final
from zoneinfo import ZoneInfo

from metrics.core.signals import SignalName
from sleeper.core import names
from sleeper.core.case import holds
from sleeper.core.durations import format_duration, format_instant
from sleeper.core.idleness import NOT_SEEING_YET, idle_since, look
from sleeper.core.policy import Mode, PolicyNote, PolicyReading, Setting, SleepPolicy
from sleeper.core.power import PowerState
from sleeper.core.reasons import MEANING, Reason
from sleeper.core.schedule import AwakeHours, window
from sleeper.core.snapshot import Snapshot
from sleeper.core.verdict import Verdict, VerdictKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that was seen: what about, and half a sentence."""

    about: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveSetting:
    """One effective value.

    Attributes:
        key: the setting, as its annotation is called within our group.
        value: what holds, as its owner would write it.
        source: where that came from.
        where: the configuration's setting and what set it; None for other sources.
        decided: whether the deciding rule read it.
        refused: the annotation that asks for something else and cannot be read, as a sentence
            with what follows from that; None where nothing was refused.
    """

    key: str
    value: str
    source: str
    decided: bool
    where: str | None = None
    refused: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a Space is as it is.

    Attributes:
        space, tenant: whom it is about.
        at: instant of the decision.
        state: power state as the record tells it.
        verdict: what should be done.
        reason: the rule that decided.
        rule: that rule's meaning.
        message: the same with the values that mattered.
        saw: what was known.
        settings: the effective policy.
        problems, warnings: annotations that cannot be read, and those that have no effect.
        would_change: what would lead to another verdict, one half sentence each.
        looks_again_at: when time alone may change it; None: only news can.
        next_transition: when it would sleep or wake if nothing happens; None: not foreseen.
        acts: False in mode ``observe``: nothing is put to sleep.
    """

    space: str
    tenant: str
    at: datetime
    state: PowerState
    verdict: VerdictKind
    reason: Reason
    rule: str
    message: str
    saw: tuple[Fact, ...]
    settings: tuple[EffectiveSetting, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    would_change: tuple[str, ...]
    looks_again_at: datetime | None
    next_transition: datetime | None
    acts: bool


_READ_BY: dict[Reason, tuple[str, ...]] = {
    Reason.EXCLUDED: (names.EXCLUDE,),
    Reason.LOCAL_DATA: (names.LOCAL_DATA,),
    Reason.DESIRED_AWAKE: (names.DESIRED,),
    Reason.DESIRED_ASLEEP: (names.DESIRED,),
    Reason.KEEP_AWAKE: (names.KEEP_AWAKE_UNTIL,),
    Reason.AWAKE_HOURS: (names.AWAKE_HOURS, names.TIMEZONE),
    Reason.AWAKE_HOURS_ENDED: (names.AWAKE_HOURS, names.TIMEZONE, names.NOTICE),
    Reason.AWAITING_HOURS_END: (names.AWAKE_HOURS, names.TIMEZONE),
    Reason.NO_SLEEP_RULE: (names.SLEEP_AFTER,),
    Reason.SIGNALS_STALE: (names.REQUIRED_SIGNALS,),
    Reason.NO_TRAFFIC_PROVIDER: (names.REQUIRED_SIGNALS,),
    Reason.RECENT_ACTIVITY: (names.SLEEP_AFTER, names.REQUIRED_SIGNALS),
    Reason.IDLE_NOTICE: (names.SLEEP_AFTER, names.NOTICE, names.REQUIRED_SIGNALS),
    Reason.IDLE: (names.SLEEP_AFTER, names.REQUIRED_SIGNALS),
}
"""The settings that the rule behind a reason reads."""


def explain(
    snapshot: Snapshot, reading: PolicyReading, verdict: Verdict, now: datetime
) -> Explanation:
    """Explain ``verdict``, which :func:`sleeper.core.decide.decide` gave on the same values."""
    return Explanation(
        space=snapshot.space.name,
        tenant=snapshot.space.tenant,
        at=now,
        state=_state(snapshot, verdict),
        verdict=verdict.kind,
        reason=verdict.reason,
        rule=MEANING[verdict.reason],
        message=verdict.message,
        saw=tuple(_saw(snapshot, reading.policy, now)),
        settings=tuple(effective(reading, verdict.reason)),
        problems=tuple(map(str, reading.problems)),
        warnings=tuple(map(str, reading.warnings)),
        would_change=tuple(_would_change(snapshot, reading, verdict, now)),
        looks_again_at=verdict.recheck_at,
        next_transition=verdict.next_transition,
        acts=reading.policy.mode.value is Mode.ACT,
    )


def _state(snapshot: Snapshot, verdict: Verdict) -> PowerState:
    if snapshot.sleep is not None:
        return snapshot.sleep.phase
    return PowerState.DROWSY if verdict.notice else PowerState.AWAKE


def _saw(snapshot: Snapshot, policy: SleepPolicy, now: datetime) -> Iterator[Fact]:
    sleep = snapshot.sleep
    if sleep is not None:
        yield Fact(
            about="sleep",
            what=f"number {sleep.epoch}, {sleep.phase.value}, decided at "
            f"{format_instant(sleep.decided_at)} ({sleep.reason.value}); "
            f"a touch later than {format_instant(sleep.horizon)} wakes it",
        )
    yield from _saw_signals(snapshot, policy, now)
    required = policy.required_signals.value
    since = idle_since(snapshot, required)
    what = f"{since.because} at {format_instant(since.at)}"
    if snapshot.last_activity is None:
        what = f"none was seen; {what}"
    horizon = look(snapshot, required, now).horizon
    if horizon is not None:
        what += f"; idle for {format_duration(max(horizon - since.at, timedelta()))}"
    yield Fact(about="use", what=what)
    for stream in snapshot.streams:
        opened = format_instant(stream.started_at)
        yield Fact(about="stream", what=f"{stream.resource} open since {opened}")
    holding = {id(hazard) for hazard in holds(snapshot, policy, now)}
    for hazard in snapshot.hazards:
        effect = "holds it awake" if id(hazard) in holding else "does not hold it"
        yield Fact(about=hazard.subject, what=f"{hazard.message} ({effect})")
    hours = policy.awake_hours.value
    if hours is not None:
        where = window(hours, policy.timezone.value, now)
        what = "inside" if where.inside else "outside"
        if where.until is not None:
            what += f" until {format_instant(where.until)}"
        yield Fact(about="awake-hours", what=what)
    if snapshot.noticed_at is not None:
        yield Fact(about="notice", what=f"given at {format_instant(snapshot.noticed_at)}")
    if not snapshot.inventory_synced:
        yield Fact(about="inventory", what="not complete")


def _saw_signals(snapshot: Snapshot, policy: SleepPolicy, now: datetime) -> Iterator[Fact]:
    for name in sorted(policy.required_signals.value):
        view = snapshot.signals.get(name)
        if view is None:
            what = "not switched on"
        elif view.unknown_because is not None:
            what = f"cannot be trusted: {view.unknown_because} {view.unknown_detail}".rstrip()
        elif view.watermark is None:
            what = NOT_SEEING_YET
        else:
            lag = format_duration(max(now - view.watermark, timedelta()))
            what = f"has seen everything up to {format_instant(view.watermark)} ({lag} ago)"
        if view is not None and view.last_gap_end is not None:
            what += f"; was blind until {format_instant(view.last_gap_end)}"
        yield Fact(about=f"signal {name.value}", what=what)


def short(key: str) -> str:
    """A key of our group as settings are called."""
    return key.removeprefix(f"{names.GROUP}/")


def effective(reading: PolicyReading, reason: Reason) -> Iterator[EffectiveSetting]:
    """Every effective value of a policy.

    Args:
        reading: the policy and what could not be understood of it.
        reason: the rule that decided.
    """
    policy = reading.policy
    refused = {problem.key: problem for problem in reading.problems}
    read = refused if reason is Reason.POLICY_INVALID else _READ_BY.get(reason, ())
    values: tuple[tuple[str, Setting[object]], ...] = (
        (names.MODE, policy.mode),
        (names.SLEEP_AFTER, policy.sleep_after),
        (names.NOTICE, policy.notice),
        (names.AWAKE_HOURS, policy.awake_hours),
        (names.TIMEZONE, policy.timezone),
        (names.KEEP_AWAKE_UNTIL, policy.keep_awake_until),
        (names.DESIRED, policy.desired),
        (names.REQUIRED_SIGNALS, policy.required_signals),
        (names.EXCLUDE, policy.excluded),
        (names.LOCAL_DATA, policy.local_data),
    )
    for key, setting in values:
        value = _show(setting.value)
        yield EffectiveSetting(
            key=short(key),
            value=value,
            source=setting.source.value,
            decided=key in read,
            where=setting.where,
            refused=_refused(refused[key], value) if key in refused else None,
        )


def _refused(problem: PolicyNote, value: str) -> str:
    holds = "nothing" if value == _NOTHING else f"{value!r}"
    return (
        f"the annotation {problem.quoted} cannot be read: {holds} holds instead, "
        "and no sleep begins until it is mended"
    )


_NOTHING: Final = "-"


def _show(value: object) -> str:  # noqa: PLR0911 one per type
    """A value as its owner would write it."""
    match value:
        case None:
            return _NOTHING
        case Enum():
            return str(value.value)
        case bool():
            return "true" if value else "false"
        case timedelta():
            return format_duration(value)
        case datetime():
            return format_instant(value)
        case AwakeHours():
            return value.text
        case ZoneInfo():
            return value.key
        case frozenset():
            return ",".join(sorted(value))
        case _:
            return str(value)


_CHANGED_BY: dict[Reason, str] = {
    Reason.PROTECTED: "nothing that its owner can write: the platform's configuration protects it",
    Reason.EXCLUDED: f"taking {names.EXCLUDE} off",
    Reason.NOT_A_SPACE: f"the label {names.LABEL_TENANT} with {names.TENANT_FORM}",
    Reason.POLICY_INVALID: "mending the annotations that cannot be read",
    Reason.INVENTORY_UNSYNCED: "the API server answering every list",
    Reason.SIGNALS_STALE: "sight of every required signal, and then the full idle time",
    Reason.DESIRED_AWAKE: f"taking {names.DESIRED} off",
    Reason.KEEP_AWAKE: f"the end of {names.KEEP_AWAKE_UNTIL}, or taking it off",
    Reason.AWAKE_HOURS: "the end of its awake-hours",
    Reason.AWAITING_HOURS_END: "the end of its next awake-hours, or `sleeper sleep`",
    Reason.NO_SLEEP_RULE: f"{names.SLEEP_AFTER} with a duration, or `sleeper sleep`",
    Reason.OPEN_STREAM: "the end of the stream",
    Reason.RECENT_ACTIVITY: "more idle time, or `sleeper sleep`",
    Reason.IDLE_NOTICE: "a touch, a hold or `sleeper wake` before the notice ends",
    Reason.BACKING_OFF: "the end of the wait",
    Reason.NOTHING_TO_SLEEP: "a running Deployment or StatefulSet",
    Reason.ASLEEP: "a touch by a person, `sleeper wake`, its awake-hours, or scaling a workload up",
}
"""What ends the rule behind a reason; hazards tell it themselves."""

_STREAM_ELSEWHERE: Final = "the end of the streams that may be in it, or `sleeper sleep`"
"""Where it is not known that one is in this Space: then a sleep that is asked for is not held."""

_MOST_ADVICE: Final = 20
"""Hazards of which is told what would end them; of the others only the number."""


def _would_change(
    snapshot: Snapshot, reading: PolicyReading, verdict: Verdict, at: datetime
) -> Iterator[str]:
    if verdict.kind in {VerdictKind.FALL_ASLEEP, VerdictKind.WAKE_UP}:
        return
    change = _CHANGED_BY.get(verdict.reason)
    if verdict.reason is Reason.OPEN_STREAM and not snapshot.streams:
        change = _STREAM_ELSEWHERE
    if change is not None:
        yield change
        if verdict.kind is VerdictKind.STAY_ASLEEP and verdict.reason is Reason.POLICY_INVALID:
            yield _CHANGED_BY[Reason.ASLEEP]
    elif verdict.kind is VerdictKind.STAY_AWAKE:
        holding = holds(snapshot, reading.policy, at)
        yield from (hazard.advice or f"{hazard.subject} gone" for hazard in holding[:_MOST_ADVICE])
        if len(holding) > _MOST_ADVICE:
            yield f"and the same of {len(holding) - _MOST_ADVICE} more that hold it"
    if verdict.reason is Reason.SIGNALS_STALE and _traffic_alone_is_blind(snapshot, reading, at):
        yield (
            f"{names.REQUIRED_SIGNALS}: api on the namespace, where use of the API alone tells: "
            "only the traffic cannot be seen"
        )
    if snapshot.sleep is None and verdict.notice and verdict.reason is not Reason.IDLE_NOTICE:
        yield f"a hold such as {names.KEEP_AWAKE_UNTIL} before {_when(verdict)}"
    if reading.policy.mode.value is Mode.OBSERVE:
        yield f"{names.MODE} act: in mode observe nothing is put to sleep"


def _traffic_alone_is_blind(snapshot: Snapshot, reading: PolicyReading, at: datetime) -> bool:
    required = reading.policy.required_signals.value
    if required != {SignalName.API, SignalName.TRAFFIC}:
        return False
    return look(snapshot, frozenset({SignalName.API}), at).horizon is not None


def _when(verdict: Verdict) -> str:
    at = verdict.next_transition
    return "it sleeps" if at is None else format_instant(at)
