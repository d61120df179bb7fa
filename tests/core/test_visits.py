"""A web visitor between the horizon of a sleep and the sleep itself turns it back."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.core.signals import Activity, ActorClass, SignalName, SignalView
from sleeper.core.decide import decide
from sleeper.core.power import PowerState, Sleep
from sleeper.core.reasons import Reason
from sleeper.core.verdict import Verdict, VerdictKind
from tests.core.values import NOW, minutes, policy, sleep, snapshot

pytestmark = pytest.mark.fault(11)

SCRAPE = timedelta(seconds=30)
SECOND = timedelta(seconds=1)
SLEPT = sleep()
assert SLEPT.sleeping_since is not None
ASLEEP_AT: datetime = SLEPT.sleeping_since
FALLING = replace(SLEPT, phase=PowerState.FALLING_ASLEEP, sleeping_since=None)


def visit(at: datetime) -> Activity:
    return Activity(
        at=at,
        signal=SignalName.TRAFFIC,
        source="traefik",
        actor=ActorClass.WEB,
        verb="request",
        resource="web",
    )


def decided(
    present: Sleep, at: datetime, *, doubted: bool = False, required: str = "api,traffic"
) -> Verdict:
    seen = SignalView(
        name=SignalName.TRAFFIC, watermark=NOW, last_gap_end=None, dated_late_by=SCRAPE
    )
    given_ = snapshot(
        sleep=present,
        signals={SignalName.TRAFFIC: seen},
        last_activity=visit(at),
        last_visit=visit(at),
        visits_doubted=doubted,
    )
    return decide(given_, policy({"required-signals": required}), NOW)


def turns_back(present: Sleep, at: datetime, *, doubted: bool = False) -> bool:
    verdict = decided(present, at, doubted=doubted)
    if verdict.kind is VerdictKind.WAKE_UP:
        assert verdict.reason is Reason.VISITED
        return True
    return False


@pytest.mark.parametrize("present", [SLEPT, FALLING])
@pytest.mark.parametrize("doubted", [False, True])
def test_a_visit_between_horizon_and_decision_turns_the_sleep_back(
    present: Sleep, doubted: bool
) -> None:
    assert turns_back(present, SLEPT.horizon + SECOND, doubted=doubted)
    assert turns_back(present, SLEPT.decided_at, doubted=doubted)


def test_a_visit_while_it_falls_asleep_turns_the_sleep_back() -> None:
    assert turns_back(FALLING, FALLING.decided_at + minutes(5))


def test_a_visit_that_the_sleep_was_decided_on_does_not() -> None:
    assert not turns_back(SLEPT, SLEPT.horizon)
    assert not turns_back(FALLING, SLEPT.horizon - minutes(1))


def test_a_visit_dated_by_the_scrape_after_the_sleep_may_have_come_before_it() -> None:
    assert turns_back(SLEPT, ASLEEP_AT + SCRAPE)
    assert not turns_back(SLEPT, ASLEEP_AT + SCRAPE + SECOND)


def test_a_visit_that_may_have_come_after_the_sleep_does_not_turn_it_back_twice_in_a_row() -> None:
    assert not turns_back(SLEPT, SLEPT.decided_at + SECOND, doubted=True)
    assert not turns_back(FALLING, SLEPT.decided_at + SECOND, doubted=True)


@given(st.integers(-10_000, 10_000))
def test_a_sleep_that_was_ordered_takes_no_heed_of_visits(seconds: int) -> None:
    """Visitors may go on until its last Pod is gone."""
    at = SLEPT.decided_at + timedelta(seconds=seconds)
    for reason in (Reason.DESIRED_ASLEEP, Reason.AWAKE_HOURS_ENDED):
        for present in (SLEPT, FALLING):
            ordered = replace(present, reason=reason, horizon=SLEPT.decided_at - SECOND)
            assert not turns_back(ordered, at)


def test_a_late_sleep_at_the_end_of_awake_hours_heeds_visits_before_its_decision() -> None:
    late = replace(SLEPT, reason=Reason.AWAKE_HOURS_ENDED)
    assert turns_back(late, SLEPT.decided_at)
    assert not turns_back(late, SLEPT.decided_at + SECOND)


def test_it_does_so_whatever_signals_its_owner_requires() -> None:
    """Traffic is use although nobody has to see it."""
    verdict = decided(SLEPT, SLEPT.decided_at, required="api")
    assert (verdict.kind, verdict.reason) == (VerdictKind.WAKE_UP, Reason.VISITED)
