"""What no snapshot, however strange, may bring the verdict to do."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from metrics.core.signals import SignalName
from sleeper.core.decide import decide
from sleeper.core.policy import PolicyNote, PolicyReading
from sleeper.core.reasons import MEANING, Reason
from sleeper.core.snapshot import Snapshot
from sleeper.core.verdict import VerdictKind
from tests.core.values import (
    NOW,
    Facts,
    api,
    earning_readings,
    hazard,
    hourly_readings,
    policy,
    readings,
    snapshot,
    snapshots,
    stream,
    touch,
)

AWAKE_KINDS = {VerdictKind.STAY_AWAKE, VerdictKind.FALL_ASLEEP, VerdictKind.ABSTAIN}
ASLEEP_KINDS = {VerdictKind.STAY_ASLEEP, VerdictKind.WAKE_UP, VerdictKind.FALL_ASLEEP}


def falls(facts: Snapshot, reading: PolicyReading, now: datetime = NOW) -> bool:
    return decide(facts, reading, now).kind is VerdictKind.FALL_ASLEEP


@given(snapshots(), readings)
def test_there_is_a_verdict_on_everything(snapshot: Snapshot, reading: PolicyReading) -> None:
    verdict = decide(snapshot, reading, NOW)
    assert verdict.kind in (AWAKE_KINDS if snapshot.sleep is None else ASLEEP_KINDS)
    assert verdict.reason in MEANING
    assert verdict.message
    assert verdict.recheck_at is None or verdict.recheck_at > NOW
    if verdict.kind is VerdictKind.FALL_ASLEEP:
        assert verdict.sleep_horizon is not None
        assert snapshot.sleep is not None or verdict.sleep_horizon <= NOW
    assert not (verdict.notice and verdict.kind is not VerdictKind.STAY_AWAKE)


HOUR = timedelta(hours=1)

Worsening = Callable[[Snapshot, PolicyReading], tuple[Snapshot, PolicyReading]]

# Each of these takes evidence away or adds a reason to stay awake.
WORSENINGS: dict[str, Worsening] = {
    "a signal is gone": lambda s, r: (replace(s, signals={}), r),
    "a signal is blind": lambda s, r: (
        replace(s, signals={SignalName.API: api(NOW, unknown_because="CanaryMissing")}),
        r,
    ),
    "the horizon is earlier": lambda s, r: (
        replace(
            s,
            signals={
                name: replace(view, watermark=view.watermark and view.watermark - HOUR)
                for name, view in s.signals.items()
            },
        ),
        r,
    ),
    "a gap ended just now": lambda s, r: (
        replace(s, signals={n: replace(v, last_gap_end=NOW) for n, v in s.signals.items()}),
        r,
    ),
    "somebody came": lambda s, r: (replace(s, last_activity=touch(NOW)), r),
    "a stream is open": lambda s, r: (replace(s, streams=(stream(NOW, NOW + HOUR),)), r),
    "a hazard holds": lambda s, r: (replace(s, hazards=(hazard(), *s.hazards)), r),
    "it is younger": lambda s, r: (replace(s, created_at=NOW), r),
    "its rules are newer": lambda s, r: (replace(s, rules_since=NOW), r),
    "it was woken": lambda s, r: (replace(s, woken_at=NOW), r),
    "the owner was not told": lambda s, r: (replace(s, noticed_at=None), r),
    "a sleep failed": lambda s, r: (replace(s, retry_sleep_at=NOW + HOUR), r),
    "the inventory is not complete": lambda s, r: (replace(s, inventory_synced=False), r),
    "nothing runs": lambda s, r: (replace(s, sleepable=0), r),
    "it is protected": lambda s, r: (replace(s, protected_because="it is ours"), r),
    "its cursor is gone": lambda s, r: (replace(s, cursor=None), r),
    "something cannot be read": lambda s, r: (
        s,
        replace(r, problems=(PolicyNote(key="k", value="v", advice="is nothing"),)),
    ),
    "it is excluded": lambda s, r: (
        s,
        replace(r, policy=replace(r.policy, excluded=policy({"exclude": "true"}).policy.excluded)),
    ),
}


@given(snapshots(asleep=False), readings | earning_readings, st.sampled_from(sorted(WORSENINGS)))
def test_less_evidence_or_one_more_hold_never_puts_it_to_sleep(
    snapshot: Snapshot, reading: PolicyReading, worsening: str
) -> None:
    assume(not falls(snapshot, reading))
    assert not falls(*WORSENINGS[worsening](snapshot, reading)), worsening


BLINDING = ("a signal is gone", "a signal is blind")


HOLDS = (
    "a stream is open",
    "a hazard holds",
    "a sleep failed",
    "the inventory is not complete",
    "nothing runs",
    "it is protected",
    "something cannot be read",
    "it is excluded",
)


@given(snapshots(asleep=False), readings | earning_readings, st.sampled_from(HOLDS))
def test_a_hold_holds_whatever_else_is_so(
    snapshot: Snapshot, reading: PolicyReading, hold: str
) -> None:
    assert not falls(*WORSENINGS[hold](snapshot, reading)), hold


@given(snapshots(asleep=False), st.sampled_from(BLINDING))
def test_where_idle_time_rules_no_sight_means_no_sleep(snapshot: Snapshot, worsening: str) -> None:
    reading = policy({"sleep-after": "1s", "notice": "0"})
    assert not falls(*WORSENINGS[worsening](snapshot, reading))


@given(snapshots(asleep=False), earning_readings, st.integers(0, 3 * 86_400))
def test_what_does_not_sleep_now_did_not_sleep_earlier_on_the_same_facts(
    snapshot: Snapshot, reading: PolicyReading, ago: int
) -> None:
    assume(reading.policy.awake_hours.value is None)
    assume(not falls(snapshot, reading))
    assert not falls(snapshot, reading, NOW - timedelta(seconds=ago))


@given(snapshots(asleep=False), earning_readings, st.integers(0, 86_400))
def test_nobody_is_put_to_sleep_by_a_clock_without_full_notice(
    snapshot: Snapshot, reading: PolicyReading, told_ago: int
) -> None:
    assume(reading.policy.notice.value)
    snapshot = replace(snapshot, noticed_at=NOW - timedelta(seconds=told_ago))
    verdict = decide(snapshot, reading, NOW)
    if verdict.kind is VerdictKind.FALL_ASLEEP and verdict.reason is not Reason.DESIRED_ASLEEP:
        assert timedelta(seconds=told_ago) >= reading.policy.notice.value


@settings(max_examples=500)
@given(snapshots(), readings | hourly_readings, st.integers(1, 14 * 86_400))
def test_before_recheck_at_time_alone_changes_nothing(
    snapshot: Snapshot, reading: PolicyReading, seconds: int
) -> None:
    first = decide(snapshot, reading, NOW)
    wait = timedelta(seconds=seconds)
    if first.recheck_at is not None and wait >= first.recheck_at - NOW:
        wait = first.recheck_at - NOW - timedelta(microseconds=1)
    later = decide(advanced(snapshot, wait), reading, NOW + wait)
    assert (later.kind, later.reason, later.notice) == (first.kind, first.reason, first.notice)


def advanced(snapshot: Snapshot, by: timedelta) -> Snapshot:
    """The same facts, seen ``by`` later by signals that see as far behind as before."""
    return replace(
        snapshot,
        signals={
            name: replace(view, watermark=view.watermark and view.watermark + by)
            for name, view in snapshot.signals.items()
        },
    )


@given(snapshots(asleep=True), readings, st.sampled_from(["touch", "hand", "label"]))
def test_one_good_reason_always_wakes(
    snapshot: Snapshot, reading: PolicyReading, call: str
) -> None:
    assume(not snapshot.terminating)
    assert snapshot.sleep is not None
    horizon = snapshot.sleep.horizon
    calls: dict[str, Facts] = {
        "touch": {"last_touch": touch(horizon + timedelta(microseconds=1))},
        "hand": {"owner_wake": (Reason.OWNER_SCALED_UP, "web runs")},
        "label": {"no_space_because": "it lacks the label"},
    }
    assert decide(replace(snapshot, **calls[call]), reading, NOW).kind is VerdictKind.WAKE_UP


def test_looking_again_at_recheck_at_alone_brings_an_idle_space_to_sleep() -> None:
    reading = policy({"sleep-after": "1h", "notice": "10m"})
    now = datetime(2026, 11, 18, 12, tzinfo=UTC)
    behind = {SignalName.API: api(now - timedelta(seconds=250))}
    facts = snapshot(last_activity=touch(now), signals=behind)
    told: datetime | None = None
    looks = 0
    verdict = decide(facts, reading, now)
    while verdict.kind is not VerdictKind.FALL_ASLEEP:
        looks += 1
        assert looks < 5
        if verdict.notice and told is None:
            told = now  # what the loop does on this verdict; it is news
        else:
            assert verdict.recheck_at is not None
            facts = advanced(facts, verdict.recheck_at - now)
            now = verdict.recheck_at
        verdict = decide(replace(facts, noticed_at=told), reading, now)
    assert now == datetime(2026, 11, 18, 13, 4, 10, tzinfo=UTC)
    assert verdict.idle_for == HOUR
