"""A stream that nobody heard being opened holds every Space that could have it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from metrics.core.signals import OpenStream, SignalName, UnheardStreams
from sleeper.core.decide import decide
from sleeper.core.explain import explain
from sleeper.core.reasons import Reason
from sleeper.core.verdict import Verdict, VerdictKind
from tests.core.values import NOW, api, minutes, policy, sleep, snapshot

pytestmark = pytest.mark.fault(10)

OPENED_BEFORE = NOW - timedelta(hours=2)
HELD_UNTIL = OPENED_BEFORE + timedelta(hours=4)
UNHEARD = UnheardStreams(
    apiserver="main",
    count=2,
    kinds=("pods/exec", "pods/log"),
    opened_before=OPENED_BEFORE,
    holds_until=HELD_UNTIL,
)
IDLE = {"sleep-after": "1h", "notice": "0"}


def decided(annotations: dict[str, str], **more: Any) -> Verdict:
    view = api(NOW - minutes(5), unheard=(UNHEARD,))
    return decide(snapshot(signals={SignalName.API: view}, **more), policy(annotations), NOW)


def test_an_idle_space_is_held_and_told_how_long() -> None:
    verdict = decided(IDLE)
    assert (verdict.kind, verdict.reason) == (VerdictKind.STAY_AWAKE, Reason.OPEN_STREAM)
    assert "'main' serves 2 (pods/exec, pods/log)" in verdict.message
    assert "at the latest 2026-11-18T14:00:00Z" in verdict.message
    assert verdict.recheck_at == HELD_UNTIL
    assert not verdict.notice


def test_without_it_the_same_space_sleeps() -> None:
    view = api(NOW - minutes(5))
    asleep = decide(snapshot(signals={SignalName.API: view}), policy(IDLE), NOW)
    assert asleep.kind is VerdictKind.FALL_ASLEEP


@pytest.mark.parametrize(
    ("after", "kind"),
    [
        (timedelta(hours=-5), VerdictKind.STAY_AWAKE),
        (timedelta(seconds=30), VerdictKind.STAY_AWAKE),  # by another clock it may be older
        (minutes(2), VerdictKind.FALL_ASLEEP),
    ],
)
def test_a_space_whose_pods_are_all_younger_cannot_have_it(
    after: timedelta, kind: VerdictKind
) -> None:
    assert decided(IDLE, oldest_pod_at=OPENED_BEFORE + after).kind is kind


@pytest.mark.fault(19)
def test_its_owner_is_told_that_a_sleep_may_be_asked_for_and_the_owner_of_a_known_one_is_not() -> (
    None
):
    view = api(NOW - minutes(5), unheard=(UNHEARD,))
    known = OpenStream(
        apiserver="main",
        audit_id="1",
        user="alice",
        space_name="team-a",
        resource="pods/exec",
        started_at=NOW - minutes(9),
        holds_until=NOW + minutes(9),
    )
    for streams, asked in (((), VerdictKind.FALL_ASLEEP), ((known,), VerdictKind.STAY_AWAKE)):
        given = snapshot(signals={SignalName.API: view}, streams=streams)
        verdict = decide(given, policy(IDLE), NOW)
        said = explain(given, policy(IDLE), verdict, NOW).would_change
        assert any("`sleeper sleep`" in one for one in said) is (asked is VerdictKind.FALL_ASLEEP)
        assert decide(given, policy({**IDLE, "desired": "asleep"}), NOW).kind is asked


def test_a_sleep_that_was_ordered_is_not_held_by_what_may_be_elsewhere() -> None:
    assert decided({"desired": "asleep"}).kind is VerdictKind.FALL_ASLEEP


def test_an_end_of_hours_that_is_applied_late_is_held() -> None:
    hours = {"awake-hours": "Wed 08:00-11:00", "notice": "0"}
    verdict = decided(hours, cursor=NOW - timedelta(days=1))
    assert (verdict.kind, verdict.reason) == (VerdictKind.STAY_AWAKE, Reason.OPEN_STREAM)


def test_it_wakes_nobody() -> None:
    assert decided(IDLE, sleep=sleep()).kind is VerdictKind.STAY_ASLEEP
