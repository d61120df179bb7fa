"""The verdict, rule by rule."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from metrics.core.signals import SignalName, SignalView
from sleeper.core.decide import decide
from sleeper.core.policy import PolicyReading
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.verdict import Verdict, VerdictKind
from tests.core.values import (
    NOW,
    Facts,
    api,
    hazard,
    minutes,
    policy,
    sleep,
    snapshot,
    stream,
    touch,
)

IDLE_1H = policy({"sleep-after": "1h"})
NO_NOTICE = policy({"sleep-after": "1h", "notice": "0"})
HOUR = timedelta(hours=1)


def verdict(reading: PolicyReading = IDLE_1H, *, now: datetime = NOW, **facts: Any) -> Verdict:
    return decide(snapshot(**facts), reading, now)


def outcome(
    reading: PolicyReading = IDLE_1H, *, now: datetime = NOW, **facts: Any
) -> tuple[VerdictKind, Reason]:
    found = verdict(reading, now=now, **facts)
    return found.kind, found.reason


FALLS = (VerdictKind.FALL_ASLEEP, Reason.IDLE)
TOLD: Facts = {"noticed_at": NOW - minutes(10)}


def test_an_idle_space_whose_owner_was_told_falls_asleep() -> None:
    assert outcome(**TOLD) == FALLS
    assert verdict(**TOLD).sleep_horizon == NOW - minutes(5)


# Each line of the precedence, as facts and annotations that put it above everything below it.
PRECEDENCE: list[tuple[Reason, Facts, dict[str, str]]] = [
    (Reason.PROTECTED, {"protected_because": "it is ours"}, {}),
    (Reason.EXCLUDED, {}, {"exclude": "true"}),
    (Reason.POLICY_INVALID, {}, {"timezone": "Mars/Olympus"}),
    (Reason.INVENTORY_UNSYNCED, {"inventory_synced": False}, {}),
    (Reason.DESIRED_AWAKE, {}, {"desired": "awake"}),
    (Reason.KEEP_AWAKE, {}, {"keep-awake-until": "2026-11-18T13:00:00Z"}),
    (Reason.OPEN_STREAM, {"streams": (stream(NOW - HOUR, NOW + HOUR),)}, {}),
    (Reason.BARE_POD, {"hazards": (hazard(),)}, {}),
    (Reason.NOTHING_TO_SLEEP, {"sleepable": 0}, {}),
    (Reason.AWAKE_HOURS, {}, {"awake-hours": "Wed 10:00-14:00"}),
    (Reason.DESIRED_ASLEEP, {}, {"desired": "asleep"}),
    (Reason.SIGNALS_STALE, {"signals": {}}, {}),
    (Reason.IDLE, {}, {}),
]


@pytest.mark.parametrize("first", range(len(PRECEDENCE)))
def test_the_first_rule_of_the_precedence_that_applies_decides(first: int) -> None:
    facts, annotations = dict(TOLD), {"sleep-after": "1h"}
    for _, more_facts, more_annotations in reversed(PRECEDENCE[first:]):
        facts |= more_facts
        annotations |= more_annotations
    assert verdict(policy(annotations), **facts).reason is PRECEDENCE[first][0]


def test_a_namespace_that_goes_or_is_no_space_is_let_be() -> None:
    assert outcome(terminating=True) == (VerdictKind.STAY_AWAKE, Reason.TERMINATING)
    assert outcome(no_space_because="it lacks the label") == (
        VerdictKind.STAY_AWAKE,
        Reason.NOT_A_SPACE,
    )


# -- idle -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fact", "because"),
    [
        ({"last_activity": touch(NOW - minutes(30))}, "used (human get pods"),
        ({"woken_at": NOW - minutes(30)}, "woken"),
        ({"created_at": NOW - minutes(30)}, "created"),
        ({"rules_since": NOW - minutes(30)}, "rules began"),
        ({"signals": {SignalName.API: api(NOW, last_gap_end=NOW - minutes(30))}}, "gap"),
    ],
)
def test_everything_that_counts_as_use_starts_the_idle_time_anew(fact: Facts, because: str) -> None:
    found = verdict(**fact)
    assert (found.kind, found.reason) == (VerdictKind.STAY_AWAKE, Reason.RECENT_ACTIVITY)
    assert because in found.message
    horizon = NOW if "signals" in fact else NOW - minutes(5)
    assert found.idle_for == horizon - (NOW - minutes(30))
    assert found.next_transition == NOW + HOUR - found.idle_for
    assert found.recheck_at == found.next_transition - minutes(10)


@pytest.mark.parametrize(
    "latest", ["last_activity", "woken_at", "created_at", "rules_since", "gap"]
)
def test_it_is_idle_since_the_latest_of_all_that_counts_as_use(latest: str) -> None:
    old, new = NOW - minutes(50), NOW - minutes(20)
    at: Facts = dict.fromkeys(
        ["last_activity", "woken_at", "created_at", "rules_since", "gap"], old
    )
    at[latest] = new
    gap = at.pop("gap")
    at["last_activity"] = touch(at["last_activity"])
    found = verdict(**at, signals={SignalName.API: api(NOW, last_gap_end=gap)})
    assert found.idle_for == minutes(20)


def test_idle_time_accrues_only_up_to_the_horizon() -> None:
    lagging = {SignalName.API: api(NOW - minutes(45))}
    assert verdict(last_activity=touch(NOW - minutes(90)), signals=lagging).idle_for == minutes(45)


def test_a_gap_of_a_signal_that_is_not_required_does_not_count() -> None:
    signals = {
        SignalName.API: api(NOW),
        SignalName.TRAFFIC: api(None, name=SignalName.TRAFFIC, last_gap_end=NOW),
    }
    assert outcome(signals=signals, **TOLD) == FALLS


@pytest.mark.parametrize(
    "signals",
    [
        {},
        {SignalName.API: api(None)},
        {SignalName.API: api(NOW, unknown_because="CanaryMissing")},
        {SignalName.TRAFFIC: api(NOW, name=SignalName.TRAFFIC)},
    ],
)
def test_without_sight_of_a_required_signal_it_abstains(
    signals: dict[SignalName, SignalView],
) -> None:
    assert outcome(signals=signals, **TOLD) == (VerdictKind.ABSTAIN, Reason.SIGNALS_STALE)


def test_the_slowest_required_signal_sets_the_horizon() -> None:
    both = policy({"sleep-after": "1h", "required-signals": "api,traffic"})
    signals = {
        SignalName.API: api(NOW),
        SignalName.TRAFFIC: api(NOW - minutes(20), name=SignalName.TRAFFIC),
    }
    assert verdict(both, signals=signals).horizon == NOW - minutes(20)
    del signals[SignalName.TRAFFIC]
    assert outcome(both, signals=signals)[1] is Reason.SIGNALS_STALE


def test_activity_from_the_future_is_not_negative_idle_time() -> None:
    found = verdict(last_activity=touch(NOW + HOUR))
    assert found.idle_for == timedelta()
    assert found.reason is Reason.RECENT_ACTIVITY


def test_a_route_that_nothing_carries_holds_unless_its_traffic_need_not_be_seen() -> None:
    route: Facts = {"hazards": (hazard(reason=Reason.NO_TRAFFIC_PROVIDER),)}
    by_route = policy({"sleep-after": "1h"}, routes=True)
    assert outcome(by_route, **route)[1] is Reason.NO_TRAFFIC_PROVIDER
    waived = policy({"sleep-after": "1h", "required-signals": "api"}, routes=True)
    assert outcome(waived, **route, **TOLD) == FALLS


def test_without_any_rule_it_stays_awake() -> None:
    assert outcome(policy()) == (VerdictKind.STAY_AWAKE, Reason.NO_SLEEP_RULE)


# -- notice ---------------------------------------------------------------------------------------


def test_notice_is_given_before_the_idle_time_is_full_and_then_waited_for() -> None:
    found = verdict(last_activity=touch(NOW - minutes(57)))  # 52 of 60 minutes are seen
    assert (found.reason, found.notice) == (Reason.IDLE_NOTICE, True)
    assert found.next_transition == NOW + minutes(10)
    told: Facts = {"last_activity": touch(NOW - minutes(57)), "noticed_at": NOW - minutes(1)}
    found = verdict(**told)
    assert (found.reason, found.recheck_at) == (Reason.IDLE_NOTICE, NOW + minutes(9))


def test_no_notice_no_sleep_however_long_it_is_idle() -> None:
    found = verdict(noticed_at=None)
    assert (found.kind, found.notice) == (VerdictKind.STAY_AWAKE, True)
    assert outcome(noticed_at=NOW - minutes(9.9))[0] is VerdictKind.STAY_AWAKE


def test_without_notice_it_sleeps_at_once() -> None:
    assert outcome(NO_NOTICE) == FALLS


def test_a_touch_ends_the_notice_even_one_longer_than_the_idle_time() -> None:
    found = verdict(last_activity=touch(NOW - minutes(6)), **TOLD)
    assert (found.reason, found.notice) == (Reason.RECENT_ACTIVITY, False)
    long = policy({"sleep-after": "1m", "notice": "2h"})
    found = verdict(long, last_activity=touch(NOW - HOUR), noticed_at=NOW - 3 * HOUR)
    assert (found.reason, found.notice) == (Reason.RECENT_ACTIVITY, False)


def test_after_a_failed_sleep_the_next_try_waits_and_the_notice_stays() -> None:
    found = verdict(retry_sleep_at=NOW + minutes(5), **TOLD)
    assert (found.reason, found.notice) == (Reason.BACKING_OFF, True)
    assert found.recheck_at == NOW + minutes(5)


# -- awake-hours ----------------------------------------------------------------------------------

UNTIL_11 = policy({"awake-hours": "Wed 08:00-11:00", "notice": "0"})
ENDED = NOW - HOUR
THIS_MORNING: Facts = {"cursor": NOW - timedelta(days=1)}


def test_within_awake_hours_it_stays_awake_and_is_told_before_they_end() -> None:
    hours = policy({"awake-hours": "Wed 08:00-19:00"})
    found = verdict(hours, **THIS_MORNING)
    assert (found.reason, found.notice) == (Reason.AWAKE_HOURS, False)
    notice_begins = datetime(2026, 11, 18, 18, 50, tzinfo=UTC)
    assert found.recheck_at == notice_begins
    found = verdict(hours, now=notice_begins, **THIS_MORNING)
    assert (found.reason, found.notice) == (Reason.AWAKE_HOURS, True)
    end = datetime(2026, 11, 18, 19, tzinfo=UTC)
    assert found.recheck_at == found.next_transition == end
    found = verdict(hours, now=end, noticed_at=NOW + 6 * HOUR, **THIS_MORNING)
    assert (found.kind, found.reason) == (VerdictKind.FALL_ASLEEP, Reason.AWAKE_HOURS_ENDED)


def test_where_idle_time_rules_the_end_of_awake_hours_gives_no_notice() -> None:
    hours = policy({"awake-hours": "Wed 08:00-12:01", "sleep-after": "1h"})
    assert not verdict(hours).notice


@pytest.mark.parametrize(
    ("annotations", "facts"),
    [
        ({"sleep-after": "1d"}, {"last_activity": touch(NOW)}),  # recent
        ({"sleep-after": "1d"}, {"signals": {}}),  # blind
        ({"sleep-after": "1h"}, TOLD | {"retry_sleep_at": NOW + 2 * HOUR}),  # backing off
        ({"sleep-after": "1h", "notice": "2h"}, {"noticed_at": NOW}),  # notice
        ({"sleep-after": "never"}, {}),
        ({"awake-hours": "Wed 08:00-11:00; Wed 13:00-14:00"}, THIS_MORNING),  # missed their end
        ({}, {"cursor": NOW}),  # slept at their last end, and woken since
    ],
)
def test_when_the_hours_begin_before_anything_else_it_is_looked_at_again_then(
    annotations: dict[str, str], facts: Facts
) -> None:
    found = verdict(policy({"awake-hours": "Wed 13:00-14:00"} | annotations), **facts)
    assert found.recheck_at == NOW + HOUR


def test_on_time_it_sleeps_when_the_hours_end_whatever_its_activity_and_without_any_signal() -> (
    None
):
    found = verdict(UNTIL_11, now=ENDED, last_activity=touch(ENDED), signals={}, **THIS_MORNING)
    assert (found.kind, found.reason) == (VerdictKind.FALL_ASLEEP, Reason.AWAKE_HOURS_ENDED)
    assert (found.sleep_horizon, found.cursor) == (ENDED, ENDED)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"streams": (stream(ENDED, NOW + HOUR),)}, Reason.OPEN_STREAM),
        ({"hazards": (hazard(),)}, Reason.BARE_POD),
    ],
)
def test_a_schedule_never_sleeps_a_space_that_is_held(facts: Facts, reason: Reason) -> None:
    assert outcome(UNTIL_11, now=ENDED, **facts, **THIS_MORNING)[1] is reason


def test_a_missed_end_is_applied_late_only_if_nobody_came_since() -> None:
    fell = (VerdictKind.FALL_ASLEEP, Reason.AWAKE_HOURS_ENDED)
    before = touch(ENDED - minutes(1))
    assert outcome(UNTIL_11, last_activity=before, **THIS_MORNING) == fell
    came = verdict(UNTIL_11, last_activity=touch(ENDED + minutes(1)), **THIS_MORNING)
    assert (came.reason, came.cursor) == (Reason.AWAITING_HOURS_END, ENDED)
    gap = {SignalName.API: api(NOW, last_gap_end=NOW - minutes(1))}
    assert outcome(UNTIL_11, signals=gap, **THIS_MORNING)[1] is Reason.AWAITING_HOURS_END
    assert outcome(UNTIL_11, signals={}, **THIS_MORNING)[0] is VerdictKind.ABSTAIN


def test_a_missed_end_waits_until_the_time_since_has_been_seen() -> None:
    lagging = {SignalName.API: api(ENDED - minutes(3))}
    found = verdict(UNTIL_11, signals=lagging, **THIS_MORNING)
    assert (found.kind, found.reason) == (VerdictKind.ABSTAIN, Reason.SIGNALS_STALE)
    assert found.recheck_at == NOW + minutes(3) + timedelta(seconds=1)


def test_who_came_after_the_horizon_of_a_missed_end_is_not_lost() -> None:
    assert verdict(UNTIL_11, **THIS_MORNING).sleep_horizon == NOW - minutes(5)


def test_a_missed_end_is_applied_only_after_notice() -> None:
    late = policy({"awake-hours": "Wed 08:00-11:00"})
    found = verdict(late, **THIS_MORNING)
    assert (found.kind, found.notice) == (VerdictKind.STAY_AWAKE, True)
    assert outcome(late, **TOLD, **THIS_MORNING)[0] is VerdictKind.FALL_ASLEEP


def test_an_end_that_was_applied_is_not_applied_again() -> None:
    assert outcome(UNTIL_11, cursor=ENDED) == (VerdictKind.STAY_AWAKE, Reason.AWAITING_HOURS_END)


def test_without_a_cursor_time_begins_now() -> None:
    found = verdict(UNTIL_11)
    assert (found.reason, found.cursor) == (Reason.AWAITING_HOURS_END, NOW)
    within = verdict(policy({"awake-hours": "Wed 08:00-19:00"}))
    assert (within.reason, within.cursor) == (Reason.AWAKE_HOURS, NOW)


# -- asleep ---------------------------------------------------------------------------------------

HORIZON = sleep().horizon


def asleep(
    reading: PolicyReading = IDLE_1H, phase: PowerState = PowerState.ASLEEP, **facts: Any
) -> tuple[VerdictKind, Reason]:
    found = verdict(reading, sleep=sleep(phase=phase), **facts)
    return found.kind, found.reason


@pytest.mark.parametrize("phase", [PowerState.ASLEEP, PowerState.FALLING_ASLEEP])
@pytest.mark.parametrize(
    ("annotations", "facts", "reason"),
    [
        ({}, {"no_space_because": "it lacks the label"}, Reason.NOT_A_SPACE),
        ({}, {"protected_because": "it is ours"}, Reason.PROTECTED),
        ({"exclude": "true"}, {}, Reason.EXCLUDED),
        ({"desired": "awake"}, {}, Reason.DESIRED_AWAKE),
        ({"keep-awake-until": "2026-11-18T13:00:00Z"}, {}, Reason.KEEP_AWAKE),
        ({}, {"streams": (stream(NOW - minutes(2), NOW + HOUR),)}, Reason.OPEN_STREAM),
        ({"awake-hours": "Wed 10:00-14:00"}, {}, Reason.AWAKE_HOURS),
        ({"awake-hours": "Wed 10:00-14:00", "desired": "asleep"}, {}, Reason.AWAKE_HOURS),
        ({}, {"owner_wake": (Reason.OWNER_SCALED_UP, "web runs")}, Reason.OWNER_SCALED_UP),
        ({}, {"last_touch": touch(HORIZON + minutes(1))}, Reason.TOUCHED),
        ({"timezone": "Mars"}, {"last_touch": touch(NOW)}, Reason.TOUCHED),
        ({}, {"last_touch": touch(NOW), "inventory_synced": False}, Reason.TOUCHED),
        ({}, {"last_touch": touch(NOW), "signals": {}}, Reason.TOUCHED),
    ],
)
def test_every_good_reason_ends_a_sleep(
    phase: PowerState, annotations: dict[str, str], facts: Facts, reason: Reason
) -> None:
    assert asleep(policy(annotations), phase, **facts) == (VerdictKind.WAKE_UP, reason)


def test_a_touch_up_to_the_horizon_is_a_replay_and_does_not_wake() -> None:
    assert asleep(last_touch=touch(HORIZON)) == (VerdictKind.STAY_ASLEEP, Reason.ASLEEP)


def test_a_stream_that_was_open_before_the_horizon_does_not_wake() -> None:
    old = (stream(HORIZON - minutes(1), NOW + HOUR),)
    assert asleep(streams=old) == (VerdictKind.STAY_ASLEEP, Reason.ASLEEP)


def test_something_new_that_runs_wakes_but_not_from_half_an_inventory() -> None:
    new: Facts = {"hazards": (hazard(wakes=True),)}
    assert asleep(**new) == (VerdictKind.WAKE_UP, Reason.NEW_WORKLOAD)
    assert asleep(inventory_synced=False, **new)[0] is VerdictKind.STAY_ASLEEP
    assert asleep(hazards=(hazard(),))[0] is VerdictKind.STAY_ASLEEP


def test_a_hazard_that_appears_while_falling_asleep_undoes_it() -> None:
    falling = PowerState.FALLING_ASLEEP
    assert asleep(phase=falling, hazards=(hazard(),)) == (VerdictKind.WAKE_UP, Reason.BARE_POD)
    named = (hazard(holds=False),)
    assert asleep(phase=falling, hazards=named)[0] is VerdictKind.FALL_ASLEEP


def test_a_sleep_under_way_is_carried_on_although_nothing_can_be_seen_now() -> None:
    found = verdict(
        policy({"timezone": "Mars"}),
        sleep=sleep(phase=PowerState.FALLING_ASLEEP),
        signals={},
        inventory_synced=False,
    )
    assert (found.kind, found.reason) == (VerdictKind.FALL_ASLEEP, Reason.IDLE)
    assert found.sleep_horizon == HORIZON


def test_a_sleep_under_way_ends_where_it_is_only_observed_from_now_on() -> None:
    observed = policy({"mode": "observe"})
    assert asleep(observed, PowerState.FALLING_ASLEEP) == (
        VerdictKind.WAKE_UP,
        Reason.OBSERVE_MODE,
    )
    assert asleep(observed)[0] is VerdictKind.STAY_ASLEEP


def test_a_sleep_that_nobody_ends_is_overdue_and_woken() -> None:
    def falling(overdue_at: datetime) -> Verdict:
        present = sleep(phase=PowerState.FALLING_ASLEEP, overdue_at=overdue_at)
        return verdict(sleep=present)

    early = falling(NOW + minutes(1))
    assert (early.kind, early.recheck_at) == (VerdictKind.FALL_ASLEEP, NOW + minutes(1))
    late = falling(NOW)
    assert (late.kind, late.reason) == (VerdictKind.WAKE_UP, Reason.FALLING_ASLEEP_TIMED_OUT)
    assert verdict(sleep=sleep(overdue_at=NOW)).kind is VerdictKind.STAY_ASLEEP


def test_a_wake_under_way_is_carried_on_with_its_reason() -> None:
    waking = sleep(phase=PowerState.WAKING, wake_reason=Reason.TOUCHED)
    found = verdict(sleep=waking, signals={})
    assert (found.kind, found.reason) == (VerdictKind.WAKE_UP, Reason.TOUCHED)


def test_asleep_with_unreadable_policy_it_sleeps_on_and_says_so() -> None:
    kind, reason = asleep(policy({"sleep-after": "soon"}))
    assert (kind, reason) == (VerdictKind.STAY_ASLEEP, Reason.POLICY_INVALID)


def test_asleep_it_is_looked_at_again_when_its_hours_begin() -> None:
    found = verdict(policy({"awake-hours": "Thu 08:00-19:00"}), sleep=sleep())
    begin = datetime(2026, 11, 19, 8, tzinfo=UTC)
    assert (found.recheck_at, found.next_transition) == (begin, begin)


def test_a_sleep_at_the_end_of_hours_moves_the_cursor_also_if_nobody_did_so_at_once() -> None:
    slept = sleep(reason=Reason.AWAKE_HOURS_ENDED)
    assert verdict(UNTIL_11, sleep=slept).cursor == slept.decided_at
    assert verdict(UNTIL_11, sleep=slept, cursor=slept.decided_at).cursor is None
