"""Streams that were opened where nobody could hear: found by the API server's own count."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.core.unheard import MAX_COHORTS, Counts, Known, Unheard, compared, is_compared

pytestmark = pytest.mark.fault(10)

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
BOUND = timedelta(hours=4)
EXEC, LOG = "pods/exec", "pods/log"


class Server:
    """An API server that is compared every ten seconds."""

    def __init__(self) -> None:
        self.at = START
        self.gap_end: datetime | None = None
        self.unheard = Unheard()

    def gap(self) -> None:
        self.at += SECOND
        self.gap_end = self.at

    def look(
        self, gauge: Counts, known: Counts | None = None, *, maybe: Counts | None = None
    ) -> dict[str, int]:
        """Compare; what may be open unheard, by kind."""
        self.at += 10 * SECOND
        surely = known or {}
        self.unheard = compared(
            self.unheard,
            gauge=gauge,
            known=Known(surely=surely, maybe=surely if maybe is None else maybe),
            at=self.at,
            gap_end=self.gap_end,
            bound=BOUND,
        )
        found: dict[str, int] = {}
        for cohort in self.unheard.cohorts:
            for kind, count in cohort.counts.items():
                found[kind] = found.get(kind, 0) + count
        return found


def test_what_is_open_at_the_first_look_may_be_anywhere() -> None:
    server = Server()
    assert server.look({EXEC: 2, LOG: 1}, {EXEC: 1}) == {EXEC: 1, LOG: 1}
    assert server.look({EXEC: 2, LOG: 0}, {EXEC: 1}) == {EXEC: 1}
    assert server.look({EXEC: 1}, {EXEC: 1}) == {}
    assert server.look({EXEC: 2}, {EXEC: 1}) == {}, "what appears while we hear is no Space's"


def test_what_is_more_after_a_gap_than_before_may_have_been_opened_in_it() -> None:
    server = Server()
    server.look({})
    server.look({EXEC: 1})  # of somebody that the audit policy keeps from us
    server.gap()
    assert server.look({EXEC: 2}) == {EXEC: 1}
    assert server.look({EXEC: 1}) == {EXEC: 1}, "which of the two has ended nobody knows"
    assert server.look({}) == {}


def test_as_many_after_a_gap_as_before_hold_nobody() -> None:
    server = Server()
    server.look({})
    server.look({EXEC: 1}, {EXEC: 1})
    server.gap()
    assert server.look({EXEC: 1}, {EXEC: 1}) == {}


def test_another_kind_does_not_make_up_for_one_that_is_missing() -> None:
    server = Server()
    server.look({})
    server.gap()
    assert server.look({EXEC: 0, LOG: 1}, {EXEC: 1}) == {LOG: 1}


def test_what_comes_and_goes_around_a_reading_excuses_nothing_that_a_gap_hides() -> None:
    """Short logs that may have been counted before the gap, and a followed one that is after it."""
    server = Server()
    server.look({})
    assert server.look({LOG: 2}, {}, maybe={LOG: 2}) == {}
    server.gap()
    assert server.look({LOG: 1}) == {LOG: 1}


def test_a_stream_that_never_ends_holds_to_the_bound() -> None:
    server = Server()
    assert server.look({EXEC: 1}) == {EXEC: 1}
    server.at += BOUND - 20 * SECOND
    assert server.look({EXEC: 1}) == {EXEC: 1}
    assert server.look({EXEC: 1}) == {}
    server.gap()
    assert server.look({EXEC: 1}) == {}, "nor anew after another gap"


counts_heard = st.integers(0, 2)
counts = st.dictionaries(st.sampled_from([EXEC, LOG]), st.integers(0, 5))


@given(st.lists(st.tuples(counts, counts, st.booleans()), max_size=60))
def test_no_more_hold_than_are_counted_beyond_what_is_known(
    looks: list[tuple[dict[str, int], dict[str, int], bool]],
) -> None:
    server = Server()
    for gauge, known, gap in looks:
        if gap:
            server.gap()
        server.look(gauge, known)
        assert is_compared(server.unheard, server.gap_end)
        assert len(server.unheard.cohorts) <= MAX_COHORTS
        for cohort in server.unheard.cohorts:
            for kind, count in cohort.counts.items():
                assert count > 0
                if len(server.unheard.cohorts) < MAX_COHORTS:
                    beyond = gauge.get(kind, 0) - known.get(kind, 0)
                    assert count <= gauge.get(kind, 0)
                    assert count <= beyond + cohort.ended.get(kind, 0)


def test_a_stream_that_ended_unheard_excuses_none_in_a_later_gap() -> None:
    """It stays known as open for hours: nothing told of its end."""
    server = Server()
    server.look({EXEC: 1}, {EXEC: 1})
    server.gap()
    assert server.look({EXEC: 0}, {EXEC: 1}) == {}, "it ended in the gap"
    server.look({EXEC: 1}, {EXEC: 2})  # somebody else, heard
    server.gap()
    assert server.look({EXEC: 2}, {EXEC: 2}) == {EXEC: 1}
    assert server.look({EXEC: 2}, {EXEC: 2}) == {EXEC: 1}
    assert server.look({EXEC: 1}, {EXEC: 2}) == {}
    server.gap()
    assert server.look({EXEC: 1}, {EXEC: 2}) == {}


@given(st.integers(0, 5), st.integers(0, 5), st.lists(st.tuples(st.integers(0, 3), counts_heard)))
def test_however_many_ended_unheard_what_later_gaps_hide_holds(
    known: int, ended: int, gaps: list[tuple[int, int]]
) -> None:
    """In one gap known streams end, in the next ones others are opened."""
    server, alive, hidden = Server(), max(0, known - ended), 0
    server.look({EXEC: known}, {EXEC: known})
    server.gap()
    server.look({EXEC: alive}, {EXEC: known})
    for opened, heard in gaps:
        known, alive = known + heard, alive + heard
        assert server.look({EXEC: alive + hidden}, {EXEC: known}).get(EXEC, 0) == hidden
        server.gap()
        hidden += opened
        assert server.look({EXEC: alive + hidden}, {EXEC: known}).get(EXEC, 0) == hidden


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=40))
def test_every_stream_that_a_gap_hides_holds_until_it_ends(
    steps: list[tuple[int, bool]],
) -> None:
    """Streams open in gaps, hear nobody, and end one after the other: never fewer hold."""
    server, hidden = Server(), 0
    server.look({})
    for opened, gap in steps:
        if gap:
            server.gap()
            hidden += opened
        else:
            hidden = max(0, hidden - opened)
        found = server.look({EXEC: hidden})
        assert found.get(EXEC, 0) >= hidden
