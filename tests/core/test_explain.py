"""The explanation of a verdict makes sense to a stranger, whatever the verdict."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
from hypothesis import given

from metrics.core.signals import SignalName
from sleeper.core.decide import decide
from sleeper.core.explain import Explanation, explain
from sleeper.core.policy import PolicyDefaults, PolicyReading, SleepPolicy
from sleeper.core.power import PowerState
from sleeper.core.reasons import MEANING, Reason
from sleeper.core.snapshot import Snapshot
from sleeper.core.verdict import VerdictKind
from tests.core.values import (
    NOW,
    api,
    earning_readings,
    hazard,
    minutes,
    policy,
    readings,
    sleep,
    snapshot,
    snapshots,
    touch,
)


def explained(reading: PolicyReading, **facts: Any) -> Explanation:
    seen = snapshot(**facts)
    return explain(seen, reading, decide(seen, reading, NOW), NOW)


@given(snapshots(), readings | earning_readings)
def test_every_verdict_can_be_explained_and_sent(seen: Snapshot, reading: PolicyReading) -> None:
    told = explain(seen, reading, decide(seen, reading, NOW), NOW)
    assert told.rule == MEANING[told.reason]
    assert told.saw
    if told.verdict in {VerdictKind.STAY_AWAKE, VerdictKind.ABSTAIN, VerdictKind.STAY_ASLEEP}:
        assert told.would_change or told.reason is Reason.TERMINATING
    sent = msgspec.json.decode(msgspec.json.encode(told))
    assert sent["space"] == "team-a-dev"
    assert len(sent["settings"]) == len(SleepPolicy.__dataclass_fields__)


def test_it_says_what_was_seen_by_which_rule_and_from_where() -> None:
    told = explained(
        policy({"sleep-after": "1h"}),
        last_activity=touch(NOW - minutes(30)),
        signals={SignalName.API: api(NOW - minutes(5))},
    )
    saw = {fact.about: fact.what for fact in told.saw}
    assert "up to 2026-11-18T11:55:00Z (5m ago)" in saw["signal api"]
    assert "used (human get pods, seen by api) at 2026-11-18T11:30:00Z; idle for 25m" in saw["use"]
    decisive = [s for s in told.settings if s.decided]
    assert [(s.key, s.value, s.source) for s in decisive] == [
        ("sleep-after", "1h", "annotation"),
        ("required-signals", "api", "built in"),
    ]
    assert told.looks_again_at == NOW + minutes(25)
    assert told.acts


def test_a_hazard_says_how_to_get_rid_of_it() -> None:
    told = explained(policy({"sleep-after": "1h"}), hazards=(hazard(),))
    assert any("Pod/x gone" in change for change in told.would_change)


def test_a_sleeping_space_says_since_when_and_what_wakes_it() -> None:
    told = explained(policy({"sleep-after": "1h"}), sleep=sleep())
    assert told.state is PowerState.ASLEEP
    assert "number 1, Asleep" in told.saw[0].what
    assert any("touch" in change for change in told.would_change)


def test_in_mode_observe_it_says_that_nothing_is_put_to_sleep() -> None:
    told = explained(policy({"sleep-after": "1h", "mode": "observe"}))
    assert not told.acts
    assert any("observe nothing is put to sleep" in change for change in told.would_change)


def test_a_sleeping_space_whose_annotations_cannot_be_read_is_woken_by_a_touch_too() -> None:
    told = explained(policy({"sleep-after": "soon"}), sleep=sleep())
    assert (told.verdict, told.reason) == (VerdictKind.STAY_ASLEEP, Reason.POLICY_INVALID)
    mending, waking = told.would_change
    assert mending.startswith("mending the annotations")
    assert "a touch" in waking
    assert "`sleeper wake`" in waking


def test_what_cannot_be_read_stands_in_the_explanation() -> None:
    told = explained(policy({"sleep-after": "soon", "slep-after": "1h"}))
    assert told.reason is Reason.POLICY_INVALID
    assert "'soon'" in told.problems[0]
    assert "did you mean" in told.warnings[0]


def test_a_route_hazard_that_was_waived_is_not_offered_as_the_reason() -> None:
    waived = policy({"sleep-after": "1h", "required-signals": "api"}, routes=True)
    told = explained(waived, hazards=(replace(hazard(), reason=Reason.NO_TRAFFIC_PROVIDER),))
    assert told.reason is Reason.IDLE_NOTICE


def test_beside_a_default_it_says_which_annotation_was_refused_and_what_follows() -> None:
    defaults = PolicyDefaults(
        sleep_after=timedelta(hours=8),
        set_in=(("sleeper.dev/sleep-after", "defaults.sleep_after (file sleeper.yaml)"),),
    )
    unreadable = {"sleep-after": "soon", "keep-awake-until": "x" * 1000}
    told = explained(policy(unreadable, defaults=defaults))
    settings = {setting.key: setting for setting in told.settings}
    held = settings["sleep-after"]
    assert held.source == "configuration"
    assert held.where == "defaults.sleep_after (file sleeper.yaml)"
    assert (settings["mode"].source, settings["mode"].where) == ("built in", None)
    assert held.refused == (
        f"the annotation 'soon' cannot be read: {held.value!r} holds instead, "
        "and no sleep begins until it is mended"
    )
    assert "nothing holds instead" in (settings["keep-awake-until"].refused or "")
    assert len(settings["keep-awake-until"].refused or "") < 200
    assert settings["notice"].refused is None
    assert {key for key, setting in settings.items() if setting.decided} == {
        "sleep-after",
        "keep-awake-until",
    }


def test_a_signal_that_cannot_vouch_for_any_time_yet_may_have_seen_use_all_the_same() -> None:
    told = explained(
        policy({"sleep-after": "1h"}),
        last_activity=touch(NOW - minutes(1)),
        signals={SignalName.API: api(None)},
    )
    saw = {fact.about: fact.what for fact in told.saw}
    assert saw["signal api"] == "cannot say yet up to when it has seen everything"
    assert "seen by api" in saw["use"]
    assert told.message.count(saw["signal api"]) == 1


def test_where_no_use_was_seen_it_says_so_beside_what_counts_in_its_place() -> None:
    told = explained(policy({"sleep-after": "1h"}), last_activity=None)
    saw = {fact.about: fact.what for fact in told.saw}
    assert saw["use"].startswith("none was seen; it was created at ")
