"""Settings from file and environment: strict, with provenance, all problems at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.core.signals import SignalName
from sleeper.config import LoadedConfig, load_config
from sleeper.core.durations import Never
from sleeper.core.policy import LocalData, Mode
from sleeper.errors import ConfigError

USABLE: Mapping[str, Any] = {
    "api_signal": {
        "tls_cert": "/certs/sink.crt",
        "tls_key": "/certs/sink.key",
        "client_ca": "/certs/ca.crt",
        "apiservers": [{"name": "main", "url": "https://10.0.0.1:6443"}],
    }
}


def load(
    tmp_path: Path, changes: Mapping[str, Any] | None = None, **environment: str
) -> LoadedConfig:
    document = {**USABLE, **(changes or {})}
    if changes and "api_signal" in changes:
        document["api_signal"] = {**USABLE["api_signal"], **changes["api_signal"]}
    path = tmp_path / "sleeper.yaml"
    path.write_text(json.dumps(document))
    return load_config(path, environment)


def problems(tmp_path: Path, changes: Mapping[str, Any], **environment: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, changes, **environment)
    return str(caught.value).splitlines()


def test_a_small_file_leaves_the_defaults_and_they_agree_with_each_other(tmp_path: Path) -> None:
    config = load(tmp_path).config
    assert config.defaults.sleep_after is Never.NEVER
    assert config.api.listen == "127.0.0.1"
    assert config.api_signal.apiservers[0].name == "main"
    assert config.api_signal.tls_cert == Path("/certs/sink.crt")


def test_policy_defaults_are_read_as_annotations_are(tmp_path: Path) -> None:
    defaults = {
        "sleep_after": "2h30m",
        "notice": 300,
        "awake_hours": "Mon-Fri 08:00-19:00",
        "timezone": "Europe/Berlin",
        "required_signals": ["api"],
        "local_data": "disposable",
    }
    policy = load(tmp_path, {"mode": "observe", "defaults": defaults}).policy_defaults
    assert policy.mode is Mode.OBSERVE
    assert policy.sleep_after == timedelta(hours=2, minutes=30)
    assert policy.notice == timedelta(minutes=5)
    assert policy.awake_hours is not None
    assert str(policy.timezone) == "Europe/Berlin"
    assert policy.required_signals == frozenset({SignalName.API})
    assert policy.local_data is LocalData.DISPOSABLE


def test_the_environment_wins_and_every_value_knows_where_it_comes_from(tmp_path: Path) -> None:
    loaded = load(tmp_path, {"api": {"port": 9000}}, SLEEPER_API__PORT="9001")
    assert loaded.config.api.port == 9001
    assert loaded.sources["api.port"] == "environment SLEEPER_API__PORT"
    assert loaded.sources["api_signal.tls_key"] == f"file {tmp_path / 'sleeper.yaml'}"
    assert loaded.sources["lease.name"] == "default"


def test_policy_defaults_name_the_settings_that_somebody_set_and_no_other(tmp_path: Path) -> None:
    assert load_config(None, {"SLEEPER_API_SIGNAL__ENABLED": "false"}).policy_defaults.set_in == ()
    changes = {"mode": "act", "defaults": {"notice": "5m", "awake_hours": "Mon 08:00-19:00"}}
    loaded = load(tmp_path, changes, SLEEPER_DEFAULTS__SLEEP_AFTER="2h")
    file = f"(file {tmp_path / 'sleeper.yaml'})"
    assert dict(loaded.policy_defaults.set_in) == {
        "sleeper.dev/mode": f"mode {file}",
        "sleeper.dev/sleep-after": (
            "defaults.sleep_after (environment SLEEPER_DEFAULTS__SLEEP_AFTER)"
        ),
        "sleeper.dev/notice": f"defaults.notice {file}",
        "sleeper.dev/awake-hours": f"defaults.awake_hours {file}",
    }


def test_a_number_in_the_environment_stays_text_where_text_is_wanted(tmp_path: Path) -> None:
    loaded = load(tmp_path, {}, SLEEPER_LEASE__IDENTITY="0123")
    assert loaded.config.lease.identity == "0123"


def test_variables_that_kubernetes_sets_for_a_service_of_our_name_are_not_settings(
    tmp_path: Path,
) -> None:
    load(tmp_path, {}, SLEEPER_PORT="tcp://10.0.0.1:80", SLEEPER_SERVICE_HOST="10.0.0.1")


def test_an_unknown_key_is_named_with_the_nearest_known_one(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, {"api": {"prot": 1}})
    assert problem.startswith("api.prot: unknown setting; did you mean port?")


def test_an_unknown_variable_is_named_with_the_nearest_known_one(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, {}, SLEEPER_API__PROT="1")
    assert problem == "SLEEPER_API__PROT: unknown setting; did you mean api.port?"


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        {
            "mod": "act",
            "mode": "dream",
            "api": {"port": 70_000},
            "defaults": {"sleep_after": "soon", "timezone": "Mars/Olympus"},
            "lease": [],
        },
        SLEEPER_API__LISTEM="x",
    )
    text = "\n".join(found)
    assert len(found) == 7
    for part in (
        "mod: unknown setting; did you mean mode?",
        "mode: 'dream': expected `act` or `observe`",
        "api.port: 70000: must be at most 65535",
        "defaults.sleep_after: 'soon': expected a duration",
        "defaults.timezone: 'Mars/Olympus': expected an IANA time zone",
        "lease: expected a mapping",
        "SLEEPER_API__LISTEM",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("port", True),
        ("port", "8080"),
        ("port", 8080.5),
        ("port", None),
        ("listen", 5),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(tmp_path: Path, setting: str, value: object) -> None:
    (problem,) = problems(tmp_path, {"api": {setting: value}})
    assert problem.startswith(f"api.{setting}: {value!r}: expected")


def test_an_item_of_a_list_is_read_as_strictly(tmp_path: Path) -> None:
    found = problems(tmp_path, {"api_signal": {"apiservers": [{"nam": "a", "url": "https://x"}]}})
    assert any("apiservers[0].nam: unknown setting; did you mean name?" in p for p in found)
    assert any("lacks name" in p for p in found)


def test_a_password_does_not_appear_in_a_problem(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, {"database": {"url": ["postgresql://u:secret@h/d"]}})
    assert "secret" not in problem


def test_a_key_that_stands_there_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "sleeper.yaml"
    path.write_text("api_signal: {enabled: false}\nlease: {name: a}\nlease: {name: b}\n")
    with pytest.raises(ConfigError, match=r"'lease' stands there twice[\s\S]*line 3"):
        load_config(path, {})


def test_a_file_that_is_missing_or_not_yaml_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "none.yaml", {})
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="is not YAML"):
        load_config(tmp_path / "broken.yaml", {})


@given(
    document=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["api", "port", "defaults", "sleep_after", "apiservers", "name"])
                | st.text(max_size=5),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_document_is_read_or_refused_with_a_config_error(
    document: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "sleeper.yaml"
    path.write_text(json.dumps(document))
    try:
        load_config(path, {})
    except ConfigError as error:
        assert str(error)  # noqa: PT017 either outcome is right
