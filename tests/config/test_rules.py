"""Contradictory settings are refused with the numbers in the sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.config.test_reading import load, problems

CONTRADICTIONS: list[tuple[Mapping[str, Any], str]] = [
    (
        {"lease": {"duration_seconds": 10}},
        "lease.duration_seconds (10) must be more than lease.renew_deadline_seconds (10)",
    ),
    (
        {"kubernetes": {"request_timeout_seconds": 5}},
        "lease.renew_deadline_seconds (10) must be more than twice "
        "kubernetes.request_timeout_seconds (2 × 5 = 10)",
    ),
    (
        {"lease": {"retry_period_seconds": 10}},
        "lease.retry_period_seconds (10) must be less than lease.renew_deadline_seconds (10)",
    ),
    (
        {"defaults": {"sleep_after": "41s", "notice": "0"}},
        "defaults.sleep_after (41 s) must be more than "
        "2 × traffic_signal.poll_interval_seconds + api_signal.canary_interval_seconds + "
        "api_signal.flush_interval_seconds (2 × 15 + 10 + 1 = 41 s)",
    ),
    (
        {"defaults": {"sleep_after": "10m"}},
        "defaults.notice (600 s) must be less than defaults.sleep_after (600 s)",
    ),
    (
        {"api_signal": {"canary_timeout_seconds": 20}},
        "api_signal.canary_timeout_seconds (20) must be more than twice "
        "api_signal.canary_interval_seconds (2 × 10 = 20)",
    ),
    (
        {"traffic_signal": {"stale_after_seconds": 30}},
        "traffic_signal.stale_after_seconds (30) must be more than twice "
        "traffic_signal.poll_interval_seconds (2 × 15 = 30)",
    ),
    (
        {"retention": {"gaps": "12h"}},
        "retention.gaps (43200 s) must be at least a day (86400 s)",
    ),
    (
        {"api_signal": {"tls_key": None}},
        "api_signal.tls_cert and api_signal.tls_key must both be set",
    ),
    (
        {"api_signal": {"client_ca": None}},
        "api_signal.client_ca or api_signal.token_file must be set",
    ),
    ({"api_signal": {"apiservers": []}}, "api_signal.apiservers must name every API server"),
    (
        {"api_signal": {"apiservers": [{"name": "a", "url": "https://1"}] * 2}},
        "api_signal.apiservers: the name 'a' is given to 2 of them",
    ),
    (
        {"api_signal": {"apiservers": [{"name": "a/b", "url": "https://1"}]}},
        "api_signal.apiservers: 'a/b' is not a name",
    ),
    (
        {"api_signal": {"apiservers": [{"name": "a", "url": "http://1"}]}},
        "api_signal.apiservers: a: expected an https:// URL",
    ),
    (
        {"api_signal": {"enabled": False}, "defaults": {"required_signals": ["api"]}},
        "defaults.required_signals names api, but api_signal.enabled is false",
    ),
    (
        {"defaults": {"required_signals": ["traffic"]}},
        "defaults.required_signals names traffic, but traffic_signal.prometheus_url is not set",
    ),
    (
        {"defaults": {"required_signals": []}},
        "defaults.required_signals is empty (0 signals): no data is not idleness",
    ),
    (
        {"traffic_signal": {"prometheus_url": "prometheus:9090"}},
        "traffic_signal.prometheus_url: expected an http:// or https:// URL",
    ),
    (
        {"traffic_signal": {"provider": "nginy"}},
        "traffic_signal.provider (nginy) is not known; expected one of",
    ),
    ({"api": {"listen": "0.0.0.0"}}, "api.listen (0.0.0.0) must be a loopback address"),
    ({"api": {"port": 8443}}, "api.port and api_signal.port are both 8443"),
]


@pytest.mark.parametrize(("changes", "sentence"), CONTRADICTIONS)
def test_a_contradiction_is_refused_with_its_numbers(
    tmp_path: Path, changes: Mapping[str, Any], sentence: str
) -> None:
    (problem,) = problems(tmp_path, changes)
    assert problem.startswith(sentence)


def test_several_contradictions_are_reported_together(tmp_path: Path) -> None:
    found = problems(tmp_path, {"api": {"listen": "::"}, "lease": {"duration_seconds": 5}})
    assert len(found) == 2


def test_without_the_api_signal_nothing_of_it_has_to_be_set(tmp_path: Path) -> None:
    loaded = load(tmp_path, {"api_signal": {"enabled": False, "tls_cert": None, "apiservers": []}})
    assert not loaded.config.api_signal.enabled
