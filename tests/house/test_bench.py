"""The benches' own arithmetic, and that the page of figures knows each of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.bench.__main__ import BENCHES
from tests.bench.figure import Figure, table
from tests.bench.steady import is_list, is_write
from tests.bench.wake_latency import shipped_flags
from tests.support.faultproxy import Seen

PAGE = (Path(__file__).parents[2] / "docs" / "figures.md").read_text()


def seen(method: str, target: str) -> Seen:
    return Seen(
        seq=1,
        at=0.0,
        method=method,
        target=target,
        user_agent="sleeper",
        status=200,
        fault="",
        done=True,
    )


@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/namespaces?limit=500",
        "/api/v1/pods",
        "/api/v1/namespaces/team-a/pods",
        "/apis/apps/v1/deployments?limit=500&continue=x",
        "/apis/sleeper.dev/v1alpha1/namespaces/sleeper-system/sleeprecords?limit=500",
    ],
)
def test_reading_a_collection_counts_as_a_list(target: str) -> None:
    assert is_list(seen("GET", target))
    assert not is_list(seen("GET", f"{target}{'&' if '?' in target else '?'}watch=true"))
    assert not is_list(seen("POST", target))


@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/namespaces/team-a",
        "/api/v1/namespaces/team-a/pods/web-0",
        "/apis/apps/v1/namespaces/team-a/deployments/web",
        "/apis",
        "/apis/apps/v1",
        "/metrics",
    ],
)
def test_reading_one_thing_does_not(target: str) -> None:
    assert not is_list(seen("GET", target))


def test_a_renewed_lease_is_no_write_and_everything_else_is() -> None:
    leases = "/apis/coordination.k8s.io/v1/namespaces/sleeper-system/leases"
    assert not is_write(seen("PUT", f"{leases}/sleeper"))
    assert is_write(seen("PATCH", "/api/v1/namespaces/team-a"))
    assert not is_write(seen("GET", "/api/v1/namespaces/team-a"))


def test_a_figure_short_of_its_goal_is_shown_to_be() -> None:
    low = Figure(name="a", at_least=0.6, note="in all")
    high = Figure(name="b", at_most=3, unit="s", places=0)
    shown = table([(low, 0.5), (high, 3)])
    assert "| a (in all) | 0.50 | at least 0.60: **short of it** |" in shown
    assert "| b | 3 s | at most 3 s |" in shown


def test_the_page_holds_every_figure_with_its_goal_in_the_order_of_the_benches() -> None:
    rows = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("| ")]
    shown = [(row[0].strip(), row[2].strip().removesuffix(": **short of it**")) for row in rows[2:]]
    assert shown == [(f.label, f.goal) for bench in BENCHES.values() for f in bench.figures]


def test_the_page_says_how_each_is_measured() -> None:
    assert re.findall(r"^- `make bench NAMES=(\S+)`:", PAGE, re.MULTILINE) == list(BENCHES)


def test_every_figure_has_a_name_of_its_own() -> None:
    names = [figure.name for bench in BENCHES.values() for figure in bench.figures]
    assert len(set(names)) == len(names)


def test_waking_is_timed_under_the_flags_that_are_shipped() -> None:
    assert shipped_flags() == {
        "audit-webhook-mode": "batch",
        "audit-webhook-batch-max-wait": "1s",
        "audit-webhook-initial-backoff": "2s",
    }
