"""Which annotations the owner finds on the namespace, and how often they are written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from metrics.core.signals import Activity
from sleeper.control.status import ACTIVITY_EVERY, rfc3339, wanted_annotations
from sleeper.core import names
from sleeper.core.decide import decide
from sleeper.core.objects import Metadata, Namespace
from sleeper.core.policy import PolicyReading
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.verdict import Verdict, VerdictKind
from tests.core.values import NOW, minutes, policy, sleep, snapshot, touch

STAYS = Verdict(kind=VerdictKind.STAY_AWAKE, reason=Reason.RECENT_ACTIVITY, message="Used.")
BEGIN, END = NOW.replace(hour=8), NOW.replace(hour=16)
HOURS = {"awake-hours": "Mon-Fri 08:00-16:00", "notice": "0"}


def wanted(
    present: Mapping[str, str] | None = None,
    *,
    power: PowerState = PowerState.AWAKE,
    verdict: Verdict = STAYS,
    last_activity: Activity | None = None,
) -> dict[str, str | None]:
    """What would be written beside what stands there already."""
    metadata = Metadata(name="shop", uid="u", annotations=dict(present or {}))
    return wanted_annotations(
        namespace=Namespace(metadata=metadata),
        power=power,
        verdict=verdict,
        last_activity=last_activity,
    )


def after(present: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """The annotations once the changes have been merged in."""
    merged = {**present, **changes}
    return {key: value for key, value in merged.items() if value is not None}


def settled(**more: Any) -> dict[str, str]:
    """The annotations once everything that :func:`wanted` asks for has been written."""
    return after({}, wanted(**more))


@pytest.mark.parametrize("power", [PowerState.AWAKE, PowerState.DROWSY])
def test_who_is_awake_shows_its_state_and_why_and_no_sleep(power: PowerState) -> None:
    slept = {names.POWER_STATE: "Asleep", names.SLEEPING_SINCE: "2026-11-18T09:00:00Z"}
    assert wanted(slept, power=power) == {
        names.POWER_STATE: power.value,
        names.REASON: "RecentActivity",
        names.SLEEPING_SINCE: None,
    }


def test_what_stands_there_is_not_written_again() -> None:
    told: dict[str, Any] = {
        "verdict": Verdict(
            kind=VerdictKind.STAY_AWAKE,
            reason=Reason.RECENT_ACTIVITY,
            message="Used.",
            next_transition=NOW + minutes(40),
            cursor=NOW,
        ),
        "last_activity": touch(NOW - minutes(20)),
    }
    present = settled(**told)
    assert set(present) == {
        names.POWER_STATE,
        names.REASON,
        names.NEXT_TRANSITION,
        names.SCHEDULE_CURSOR,
        names.LAST_ACTIVITY,
        names.LAST_ACTIVITY_INFO,
    }
    assert wanted(present, **told) == {}


@pytest.mark.parametrize("power", [PowerState.FALLING_ASLEEP, PowerState.WAKING])
def test_while_a_flight_is_under_way_the_state_is_left_to_it(power: PowerState) -> None:
    assert wanted({names.POWER_STATE: "Awake"}, power=power) == {}


def test_asleep_is_put_right_and_the_flights_reason_and_instant_stay() -> None:
    late = {
        names.POWER_STATE: "Awake",
        names.REASON: "Idle",
        names.SLEEPING_SINCE: "2026-11-18T09:00:00Z",
    }
    assert wanted(late, power=PowerState.ASLEEP) == {names.POWER_STATE: "Asleep"}


def test_the_next_transition_is_written_when_it_moves_by_more_than_a_minute_or_is_gone() -> None:
    def going(at: datetime | None) -> Verdict:
        return Verdict(
            kind=VerdictKind.STAY_AWAKE,
            reason=Reason.RECENT_ACTIVITY,
            message="Used.",
            next_transition=at,
        )

    at = NOW + minutes(30)
    present = settled(verdict=going(at))
    assert present[names.NEXT_TRANSITION] == "2026-11-18T12:30:00Z"
    assert wanted(present, verdict=going(at + minutes(1))) == {}
    moved = at + minutes(1) + timedelta(seconds=1)
    assert wanted(present, verdict=going(moved)) == {names.NEXT_TRANSITION: rfc3339(moved)}
    assert wanted(present, verdict=going(None)) == {names.NEXT_TRANSITION: None}
    scribbled = present | {names.NEXT_TRANSITION: "soon"}
    assert wanted(scribbled, verdict=going(at)) == {names.NEXT_TRANSITION: rfc3339(at)}


def test_last_activity_alone_is_written_every_five_minutes_at_most() -> None:
    present = settled(last_activity=touch(NOW))
    assert timedelta(minutes=5) == ACTIVITY_EVERY
    soon = touch(NOW + ACTIVITY_EVERY - timedelta(seconds=1))
    assert wanted(present, last_activity=soon) == {}
    changes = wanted(present, last_activity=touch(NOW + ACTIVITY_EVERY))
    assert changes == {names.LAST_ACTIVITY: "2026-11-18T12:05:00Z"}


def test_a_thousand_touches_in_an_hour_are_thirteen_writes() -> None:
    present = settled()
    writes = 0
    for second in range(0, 3601, 3):
        changes = wanted(present, last_activity=touch(NOW + timedelta(seconds=second)))
        present = after(present, changes)
        writes += bool(changes)
    assert writes == 13
    assert present[names.LAST_ACTIVITY] == "2026-11-18T13:00:00Z"


def test_last_activity_goes_along_with_a_change_of_state_at_once() -> None:
    present = settled(last_activity=touch(NOW))
    recent = touch(NOW + timedelta(seconds=1))
    changes = wanted(present, power=PowerState.DROWSY, last_activity=recent)
    assert changes[names.POWER_STATE] == "Drowsy"
    assert changes[names.LAST_ACTIVITY] == "2026-11-18T12:00:01Z"


def test_last_activity_never_goes_back() -> None:
    """After a restart the daemon may know less than it wrote."""
    present = settled(last_activity=touch(NOW))
    changes = wanted(present, power=PowerState.DROWSY, last_activity=touch(NOW - minutes(90)))
    assert changes == {names.POWER_STATE: "Drowsy"}


def test_the_last_activity_is_told_by_class_and_resource_and_names_nobody() -> None:
    told = settled(last_activity=touch(NOW))[names.LAST_ACTIVITY_INFO]
    assert json.loads(told) == {
        "who": "human",
        "verb": "get",
        "resource": "pods",
        "source": "api/kube-apiserver",
    }


# The cursor of applied instants, by what is really decided


def cursor_at(now: datetime, reading: PolicyReading, **facts: Any) -> str | None:
    """The cursor that is written for what is decided ``now``; None: it stays as it is."""
    seen = snapshot(**facts)
    verdict = decide(seen, reading, now)
    power = PowerState.AWAKE if seen.sleep is None else seen.sleep.phase
    return wanted(power=power, verdict=verdict).get(names.SCHEDULE_CURSOR)


@pytest.mark.parametrize("now", [BEGIN - minutes(30), BEGIN + minutes(30)])
def test_a_space_that_has_no_cursor_gets_one_whether_its_hours_have_begun_or_not(
    now: datetime,
) -> None:
    assert cursor_at(now, policy(HOURS)) == rfc3339(now)
    assert cursor_at(now, policy(HOURS), cursor=now) is None


def test_a_space_without_hours_gets_no_cursor() -> None:
    assert cursor_at(NOW, policy()) is None


def test_the_cursor_passes_the_end_of_the_hours_once_the_space_sleeps_for_it() -> None:
    asleep = sleep(
        decided_at=END + timedelta(seconds=2), horizon=END, reason=Reason.AWAKE_HOURS_ENDED
    )
    at = cursor_at(END + minutes(1), policy(HOURS), cursor=BEGIN, sleep=asleep)
    assert at == rfc3339(asleep.decided_at)


def test_the_cursor_stands_before_an_end_that_is_only_decided() -> None:
    """A sleep that does not come about is decided again."""
    verdict = decide(snapshot(cursor=BEGIN), policy(HOURS), END)
    assert (verdict.kind, verdict.reason) == (VerdictKind.FALL_ASLEEP, Reason.AWAKE_HOURS_ENDED)
    noticed = decide(snapshot(cursor=BEGIN), policy(HOURS | {"notice": "10m"}), END)
    assert (noticed.kind, noticed.notice) == (VerdictKind.STAY_AWAKE, True)
    assert names.SCHEDULE_CURSOR not in wanted(verdict=noticed)


def test_the_cursor_passes_a_missed_end_that_somebody_has_outstayed() -> None:
    later = END + minutes(30)
    came = touch(END + minutes(10))
    assert cursor_at(later, policy(HOURS), cursor=BEGIN, last_activity=came) == rfc3339(END)
