"""Distances in time as people read them."""

from __future__ import annotations

import pytest

from sleeper.cli.output import columns, relative

NOW = "2026-11-21T12:00:00Z"


@pytest.mark.parametrize(
    ("instant", "shown"),
    [
        ("2026-11-21T12:00:22Z", "in 22s"),
        ("2026-11-21T11:56:59Z", "3m1s ago"),
        ("2026-11-21T09:29:31Z", "2h30m ago"),
        ("2026-11-24T15:59:59Z", "in 3d3h"),
        ("2026-11-21T12:00:00Z", "0s ago"),
        ("whenever", "whenever"),
    ],
)
def test_an_instant_is_shown_as_a_distance_of_two_units_at_most(instant: str, shown: str) -> None:
    assert relative(instant, now=NOW) == shown


def test_the_instant_itself_is_shown_where_it_matters() -> None:
    shown = relative("2026-11-21T13:00:00.748100Z", now=NOW, exact=True)
    assert shown == "2026-11-21T13:00:00Z (in 1h)"


def test_columns_are_as_wide_as_their_widest_cell_and_end_without_blanks() -> None:
    assert columns((("a", "bcd", ""), ("ef", "g", ""))) == ["a   bcd", "ef  g"]
    assert columns(()) == []
