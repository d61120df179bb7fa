"""The benches' own arithmetic, and that the page of figures knows each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.__main__ import BENCHES
from tests.bench.figure import Figure, table
from tests.bench.steady import is_list, is_write
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
    shown = table([Figure(name="a", value=0.5, at_least=0.6), Figure(name="b", value=3, at_most=3)])
    assert "| a | 0.50 | at least 0.60: **short of it** |" in shown
    assert "| b | 3.00 | at most 3.00 |" in shown


@pytest.mark.parametrize("name", BENCHES)
def test_the_page_of_figures_says_how_each_is_measured(name: str) -> None:
    assert f"`make bench NAMES={name}`" in PAGE
