"""Open streams: known by their ends, whatever the order in which these arrive."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.core.streams import StreamRecord, StreamTable

SECOND = timedelta(seconds=1)
START = datetime(2026, 11, 21, tzinfo=UTC)
BOUND = timedelta(hours=4)
OPENED = StreamRecord(
    apiserver="one",
    audit_id="id-1",
    user="alice",
    space_name="team-a",
    resource="pods/exec",
    target="web-0",
    started_at=START,
)
ENDED = replace(OPENED, started_at=START + timedelta(hours=1), closed_at=START + timedelta(hours=1))


def held(table: StreamTable, after: timedelta, gone: frozenset[str] = frozenset()) -> list[str]:
    streams = table.open_in("team-a", START + after, lambda _, pod: pod in gone)
    return [stream.audit_id for stream in streams]


def test_a_stream_holds_from_its_opening_to_its_end() -> None:
    table = StreamTable(bound=BOUND)
    table.add(OPENED)
    assert held(table, timedelta(minutes=59)) == ["id-1"]
    table.add(ENDED)
    assert held(table, timedelta(hours=1)) == []


def test_an_end_that_comes_before_the_opening_is_kept() -> None:
    table = StreamTable(bound=BOUND)
    table.add(ENDED)
    table.add(OPENED)
    assert held(table, timedelta(hours=1)) == []


def test_a_stream_whose_end_is_lost_holds_to_the_bound_and_no_longer() -> None:
    table = StreamTable(bound=BOUND)
    table.add(OPENED)
    assert held(table, BOUND - timedelta(seconds=1)) == ["id-1"]
    assert held(table, BOUND) == []


def test_a_stream_ends_with_its_pod() -> None:
    table = StreamTable(bound=BOUND)
    table.add(OPENED)
    assert held(table, timedelta(minutes=2), frozenset({"web-0"})) == []


def test_a_young_stream_is_not_asked_for_its_pod() -> None:
    table = StreamTable(bound=BOUND)
    table.add(OPENED)
    assert held(table, timedelta(seconds=10), frozenset({"web-0"})) == ["id-1"]


def test_streams_of_other_servers_users_and_spaces_are_others() -> None:
    table = StreamTable(bound=BOUND)
    table.add(OPENED)
    for other in (
        replace(ENDED, apiserver="two"),
        replace(ENDED, user="bob"),
        replace(ENDED, audit_id="id-2"),
    ):
        table.add(other)
    assert held(table, timedelta(hours=2)) == ["id-1"]
    assert table.open_in("team-b", START, lambda *_: False) == ()


def test_a_full_table_says_so_but_still_takes_ends_of_what_it_knows() -> None:
    table = StreamTable(bound=BOUND, capacity=1)
    table.add(OPENED)
    assert table.add(replace(OPENED, audit_id="id-2")) is None
    assert table.add(ENDED) is not None
    assert held(table, timedelta(hours=1)) == ["id-2"], "what there is no room for holds"
    assert held(table, BOUND) == []


def test_a_namespace_that_opens_more_than_its_share_holds_itself_alone() -> None:
    table = StreamTable(bound=BOUND, share=2)
    for number in range(9):
        table.add(replace(OPENED, audit_id=f"id-{number}"))
    assert len(table) == 2
    assert len(held(table, timedelta(hours=1))) == 3
    assert table.add(replace(OPENED, space_name="team-b", audit_id="id-b")) is not None
    machines = replace(OPENED, space_name="team-c", user="")
    for number in range(9):
        table.add(replace(machines, audit_id=f"id-{number}"))
    assert table.open_in("team-c", START, lambda *_: False) == ()


@pytest.mark.fault(10)
@pytest.mark.parametrize(("share", "capacity"), [(3, 99), (99, 3)])
def test_streams_that_have_ended_make_room_for_one_that_is_open(share: int, capacity: int) -> None:
    """A machine that asks through the API server's proxy all day, and a person beside it."""
    table = StreamTable(bound=BOUND, share=share, capacity=capacity)
    poll = replace(OPENED, user="", resource="services/proxy")
    for number in range(9):
        table.add(replace(poll, audit_id=f"poll-{number}"))
        table.add(replace(poll, audit_id=f"poll-{number}", closed_at=START + SECOND))
    assert table.add(OPENED) is not None
    for number in range(9):
        table.add(replace(poll, audit_id=f"more-{number}", closed_at=START + SECOND))
    assert len(table) == 3
    assert held(table, timedelta(minutes=1)) == ["id-1"]
    table.add(replace(ENDED, closed_at=START + timedelta(minutes=1)))
    assert held(table, timedelta(minutes=2)) == []
    table.expire(START + BOUND)
    assert len(table) == 0
    assert table.add(OPENED) is not None


def test_an_end_is_remembered_as_long_as_its_opening_may_come_and_no_longer() -> None:
    """Log windows that poll would fill the table."""
    table = StreamTable(bound=BOUND, closed_kept=timedelta(minutes=10))
    table.add(ENDED)
    table.expire(START + timedelta(minutes=69))
    assert len(table) == 1
    table.expire(START + timedelta(minutes=70))
    assert len(table) == 0
    table.add(OPENED)
    table.expire(START + timedelta(minutes=70))
    assert held(table, timedelta(hours=2)) == ["id-1"]


def surely_open(table: StreamTable, **more: Any) -> dict[str, int]:
    asked = {"since": START - BOUND, "began_by": START, "open_until": START + SECOND, **more}
    return dict(table.open_at("one", pod_is_gone=lambda _, pod: pod == "gone", **asked))


@pytest.mark.fault(10)
def test_only_what_was_surely_open_at_a_reading_is_taken_for_known() -> None:
    table = StreamTable(bound=BOUND)
    table.add(OPENED)
    assert surely_open(table) == {"pods/exec": 1}
    assert surely_open(table, since=START + SECOND) == {}, "of an earlier process"
    assert surely_open(table, began_by=START - SECOND) == {}, "opened after the reading"
    table.add(ENDED)
    assert surely_open(table) == {"pods/exec": 1}
    assert surely_open(table, open_until=START + timedelta(hours=2)) == {}, "ended before it"
    table.add(replace(OPENED, audit_id="id-2", target="gone"))
    assert surely_open(table, open_until=START + timedelta(hours=1)) == {"pods/exec": 1}
    table.add(replace(OPENED, audit_id="id-3", user="", resource="pods/log"))
    assert surely_open(table) == {"pods/exec": 2, "pods/log": 1}


def test_streams_beyond_their_bound_make_room() -> None:
    table = StreamTable(bound=BOUND, capacity=1)
    table.add(OPENED)
    table.expire(START + BOUND)
    assert len(table) == 0
    assert table.add(replace(OPENED, audit_id="id-2", started_at=START + BOUND)) is not None


RECORDS = st.builds(
    replace,
    st.just(OPENED),
    started_at=st.integers(0, 9).map(lambda n: START + timedelta(minutes=n)),
    closed_at=st.none() | st.integers(9, 12).map(lambda n: START + timedelta(minutes=n)),
)


@given(RECORDS, RECORDS, RECORDS)
def test_merging_is_commutative_associative_and_idempotent(
    a: StreamRecord, b: StreamRecord, c: StreamRecord
) -> None:
    assert a.merge(b) == b.merge(a)
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert a.merge(a) is a
