"""Another writer that undoes every sleep is named and left alone."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from sleeper.core.decide import decide
from sleeper.core.fights import AT_ONCE, LEFT_ALONE, REVERSALS, Reversals, counted, fight
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.record import FreedRequests, SleepRecord
from sleeper.core.verdict import Verdict, VerdictKind
from tests.core.values import NOW, minutes, policy, snapshot

FLUX = "Deployment/web was scaled to 1 (last written by kustomize-controller)."


def record(decided_at: datetime, phase: PowerState = PowerState.ASLEEP) -> SleepRecord:
    return SleepRecord(
        space_uid="5e1f",
        space_name="team-a-dev",
        tenant="team-a",
        epoch=1,
        phase=phase,
        reason=Reason.IDLE,
        horizon=decided_at,
        decided_at=decided_at,
        entries=(),
        freed=FreedRequests(cpu_millis=1, memory_bytes=1, pods=1),
    )


def wake(reason: Reason = Reason.OWNER_SCALED_UP, message: str = FLUX) -> Verdict:
    return Verdict(kind=VerdictKind.WAKE_UP, reason=reason, message=message)


def after(*lasted: timedelta, reason: Reason = Reason.OWNER_SCALED_UP) -> Reversals:
    """An hour apart, sleeps that each lasted so long."""
    past = Reversals()
    for index, duration in enumerate(lasted):
        decided_at = NOW + timedelta(hours=index)
        past = counted(past, record(decided_at), wake(reason), decided_at + duration)
    return past


@pytest.mark.parametrize("reason", [Reason.OWNER_SCALED_UP, Reason.NEW_WORKLOAD])
def test_three_sleeps_undone_at_once_are_a_fight_that_names_the_other_writer(
    reason: Reason,
) -> None:
    past = after(minutes(1), minutes(9), AT_ONCE, reason=reason)
    found = fight(past)
    assert found is not None
    assert found.reason is Reason.CONFLICTING_WRITER
    assert "kustomize-controller), within 10m of each of its last 3 sleeps" in found.message
    assert found.until == NOW + timedelta(hours=2) + AT_ONCE + LEFT_ALONE


@pytest.mark.parametrize(
    "past",
    [
        after(*[minutes(1)] * (REVERSALS - 1)),
        after(minutes(1), minutes(1), AT_ONCE + minutes(1)),
        after(minutes(1), minutes(1), minutes(60), minutes(1), minutes(1)),
        after(*[minutes(1)] * REVERSALS, reason=Reason.TOUCHED),
    ],
    ids=["too few", "the last one lasted", "one between lasted", "woken by use"],
)
def test_less_than_that_is_none(past: Reversals) -> None:
    assert fight(past) is None


def test_one_sleep_counts_once_however_often_its_end_is_decided() -> None:
    past = Reversals()
    for second in range(10):
        past = counted(past, record(NOW), wake(), NOW + timedelta(seconds=second))
    assert past.count == 1


def test_a_wake_that_another_replica_began_counts_and_what_was_done_is_remembered() -> None:
    past = counted(after(minutes(1), minutes(1)), None, wake(), NOW)
    carried_on = wake(message="A wake has begun and is carried on.")
    third = NOW + timedelta(hours=3)
    past = counted(past, record(third, PowerState.WAKING), carried_on, third + minutes(1))
    found = fight(past)
    assert found is not None
    assert "kustomize-controller" in found.message


def test_a_fight_holds_the_space_awake_for_a_day_and_not_longer() -> None:
    found = fight(after(*[minutes(1)] * REVERSALS))
    assert found is not None
    assert found.until is not None
    idle = snapshot(noticed_at=NOW - minutes(60), hazards=(found,))
    reading = policy({"sleep-after": "1h", "required-signals": "api"})
    held = decide(idle, reading, NOW)
    assert (held.kind, held.reason) == (VerdictKind.STAY_AWAKE, Reason.CONFLICTING_WRITER)
    assert held.recheck_at == found.until
    assert decide(idle, reading, found.until).reason is not Reason.CONFLICTING_WRITER
