"""Annotations over defaults, each value with its source; what cannot be read is said."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.core.signals import SignalName
from sleeper.core.durations import Never
from sleeper.core.names import ANNOTATIONS, Target
from sleeper.core.policy import (
    Desired,
    Mode,
    PolicyDefaults,
    SleepPolicy,
    Source,
    read_policy,
)
from sleeper.core.schedule import parse_awake_hours
from tests.core.values import policy

OWNERS_KEYS = [
    spec.key for spec in ANNOTATIONS if Target.NAMESPACE in spec.targets and not spec.by_us
]


def test_an_annotation_wins_over_the_configuration_and_each_value_knows_its_source() -> None:
    defaults = PolicyDefaults(
        sleep_after=timedelta(hours=8),
        notice=timedelta(minutes=5),
        set_in=(("sleeper.dev/notice", "defaults.notice (file sleeper.yaml)"),),
    )
    read = read_policy({"sleeper.dev/sleep-after": "2h30m"}, defaults, has_routes=False).policy
    assert read.sleep_after.value == timedelta(hours=2, minutes=30)
    assert (read.sleep_after.source, read.sleep_after.where) == (Source.ANNOTATION, None)
    assert read.notice.value == timedelta(minutes=5)
    assert read.notice.source is Source.CONFIGURATION
    assert read.notice.where == "defaults.notice (file sleeper.yaml)"
    assert read.desired.source is Source.BUILT_IN


def test_a_default_that_nobody_set_is_built_in() -> None:
    effective = policy().policy
    for name in SleepPolicy.__dataclass_fields__:
        setting = getattr(effective, name)
        assert (setting.source, setting.where) == (Source.BUILT_IN, None), name


def test_every_annotation_of_the_owner_is_read() -> None:
    read = policy(
        {
            "mode": "observe",
            "sleep-after": "never",
            "awake-hours": "Mon 08:00-09:00",
            "timezone": "Europe/Berlin",
            "keep-awake-until": "2026-11-21T18:00:00Z",
            "desired": "asleep",
            "required-signals": "api, traffic",
            "notice": "0",
            "exclude": "true",
        }
    )
    assert (read.problems, read.warnings) == ((), ())
    effective = read.policy
    assert effective.mode.value is Mode.OBSERVE
    assert effective.sleep_after.value is Never.NEVER
    assert effective.awake_hours.value == parse_awake_hours("Mon 08:00-09:00")
    assert effective.timezone.value == ZoneInfo("Europe/Berlin")
    assert effective.keep_awake_until.value == datetime(2026, 11, 21, 18, tzinfo=UTC)
    assert effective.desired.value is Desired.ASLEEP
    assert effective.required_signals.value == set(SignalName)
    assert effective.notice.value == timedelta()
    assert effective.excluded.value is True


@pytest.mark.parametrize(
    ("key", "value", "form"),
    [
        ("sleep-after", "soon", "`90m`"),
        ("sleep-after", "0", "`0` is not allowed; `sleeper sleep` puts it to sleep now"),
        ("sleep-after", "99999d", "at most ten years"),
        ("timezone", "Mars/Olympus", "IANA"),
        ("timezone", "Europe", "IANA"),
        ("timezone", "../../etc/passwd", "IANA"),
        ("timezone", "", "IANA"),
        ("awake-hours", "Mon-Fry 08:00-19:00", "'Fry' in 'Mon-Fry' is not a day"),
        ("keep-awake-until", "2026-11-21T18:00:00", "RFC 3339"),
        ("desired", "sleeping", "`auto`, `asleep` or `awake`"),
        ("required-signals", "api,", "`api`, `traffic`"),
        ("required-signals", "", "`api`, `traffic`"),
        ("notice", "-5m", "`10m`"),
        ("exclude", "yes", "`true` or `false`"),
        ("mode", "Act", "`act` or `observe`"),
    ],
)
def test_a_value_that_cannot_be_read_is_a_problem_that_names_key_value_and_form(
    key: str, value: str, form: str
) -> None:
    (problem,) = policy({key: value}).problems
    sentence = str(problem)
    assert f"sleeper.dev/{key}" in sentence
    assert repr(value) in sentence
    assert form in sentence


@given(st.sampled_from(OWNERS_KEYS), st.text(max_size=200))
def test_any_text_in_any_annotation_is_read_or_named_and_never_raises(key: str, value: str) -> None:
    read = read_policy({key: value}, PolicyDefaults(), has_routes=True)
    for problem in read.problems:
        assert problem.key == key
        assert len(str(problem)) < 500


def test_an_unknown_key_of_ours_warns_and_guesses_what_was_meant() -> None:
    (warning,) = policy({"slep-after": "1h"}).warnings
    assert "did you mean sleeper.dev/sleep-after" in str(warning)
    (warning,) = policy({"xyzzy": "1"}).warnings
    assert "did you mean" not in str(warning)


def test_a_key_for_workloads_warns_on_a_namespace() -> None:
    (warning,) = policy({"wave": "3"}).warnings
    assert "belongs on a workload" in str(warning)


def test_what_we_wrote_ourselves_and_what_is_none_of_ours_is_passed_over() -> None:
    ours = {spec.key: "anything" for spec in ANNOTATIONS if spec.by_us}
    read = read_policy({**ours, "example.com/sleep-after": "x"}, PolicyDefaults(), has_routes=False)
    assert (read.problems, read.warnings) == ((), ())


def test_traffic_is_required_where_there_is_a_route_unless_somebody_says_otherwise() -> None:
    assert policy().policy.required_signals.value == {SignalName.API}
    assert policy(routes=True).policy.required_signals.value == set(SignalName)
    only_api = PolicyDefaults(required_signals=frozenset({SignalName.API}))
    assert read_policy({}, only_api, has_routes=True).policy.required_signals.value == {
        SignalName.API
    }
    said = policy({"required-signals": "api"}, routes=True).policy.required_signals
    assert (said.value, said.source) == (frozenset({SignalName.API}), Source.ANNOTATION)


def test_the_end_of_awake_hours_is_a_sleep_instant_only_without_any_sleep_after() -> None:
    hours = {"awake-hours": "Mon 08:00-09:00"}
    assert policy(hours).policy.sleeps_when_hours_end
    assert not policy({**hours, "sleep-after": "1h"}).policy.sleeps_when_hours_end
    assert not policy({**hours, "sleep-after": "never"}).policy.sleeps_when_hours_end
    assert not policy().policy.sleeps_when_hours_end
