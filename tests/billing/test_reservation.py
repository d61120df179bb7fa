"""When a reservation begins and ends, and how its rows follow one another."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.core.pods import PodSpec, PodStatus
from billing.core.requests import Requests
from billing.core.reservation import Occupancy, Reservation, ReservationBook, occupancy
from metrics.core.refs import SpaceRef

NOW = 1_000_000
SHOP = SpaceRef(uid="u1", name="shop", tenant="red")
SMALL = Requests(cpu_millis=100, memory_bytes=1000)
LARGE = Requests(cpu_millis=200, memory_bytes=1000)


def stamp(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def look(status: dict[str, Any], spec: dict[str, Any] | None = None) -> Occupancy | None:
    return occupancy(
        msgspec.convert(spec or {}, PodSpec), msgspec.convert(status, PodStatus), at=NOW
    )


def scheduled(at: int, status: str = "True") -> dict[str, Any]:
    return {"type": "PodScheduled", "status": status, "lastTransitionTime": stamp(at)}


def finished(*ats: int) -> list[dict[str, Any]]:
    return [{"name": "c", "state": {"terminated": {"finishedAt": stamp(at)}}} for at in ats]


def test_it_begins_when_the_pod_gets_its_node() -> None:
    assert look({"phase": "Pending", "conditions": [scheduled(NOW - 5)]}) == Occupancy(
        requests=Requests(), start=NOW - 5, end=None
    )


@pytest.mark.parametrize("status", [{}, {"conditions": [scheduled(NOW - 5, "False")]}])
def test_a_pod_without_a_node_reserves_nothing(status: dict[str, Any]) -> None:
    assert look(status) is None


def test_a_pod_bound_without_a_scheduler_begins_when_its_kubelet_took_it() -> None:
    seen = look({"startTime": stamp(NOW - 9)}, {"nodeName": "n1"})
    assert seen is not None
    assert seen.start == NOW - 9


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_it_ends_when_the_last_container_of_a_finished_pod_did(phase: str) -> None:
    seen = look(
        {
            "phase": phase,
            "conditions": [scheduled(NOW - 100)],
            "containerStatuses": finished(NOW - 60, NOW - 20, NOW - 40),
        }
    )
    assert seen is not None
    assert seen.end == NOW - 20


def test_a_container_that_restarts_does_not_end_it() -> None:
    seen = look(
        {
            "phase": "Running",
            "conditions": [scheduled(NOW - 100)],
            "containerStatuses": finished(NOW - 60),
        }
    )
    assert seen is not None
    assert seen.end is None


def test_a_finished_pod_that_tells_no_time_ended_when_it_was_seen() -> None:
    seen = look({"phase": "Failed", "conditions": [scheduled(NOW - 100)]})
    assert seen is not None
    assert seen.end == NOW


@pytest.mark.parametrize("text", ["1970-01-01T00:00:00Z", "yesterday", "2026-01-01T00:00:00", ""])
def test_a_time_that_cannot_be_is_replaced_by_the_time_of_the_look(text: str) -> None:
    condition = {**scheduled(NOW), "lastTransitionTime": text}
    seen = look({"conditions": [condition]})
    assert seen is not None
    assert seen.start == NOW


def test_a_clock_ahead_of_ours_does_not_reach_into_the_future() -> None:
    seen = look({"conditions": [scheduled(NOW + 30)]})
    assert seen is not None
    assert seen.start == NOW


def occupied(requests: Requests = SMALL, start: int = 100, end: int | None = None) -> Occupancy:
    return Occupancy(requests=requests, start=start, end=end)


def rows(book: ReservationBook) -> list[tuple[str, int, int, int | None]]:
    return [
        (row.space.tenant, row.requests.cpu_millis, row.start, row.end) for row in book.changed()
    ]


def test_a_resize_and_a_new_payer_each_begin_a_new_row() -> None:
    book = ReservationBook()
    book.observe("p", SHOP, occupied(), at=101, not_before=0)
    book.observe("p", SHOP, occupied(LARGE), at=150, not_before=0)
    book.moved(SpaceRef(uid="u1", name="shop", tenant="blue"), at=170)
    book.removed("p", at=200)
    assert rows(book) == [
        ("red", 100, 100, 150),
        ("red", 200, 150, 170),
        ("blue", 200, 170, 200),
    ]
    assert not book.open_rows


def test_two_changes_within_a_second_leave_one_row() -> None:
    book = ReservationBook()
    book.observe("p", SHOP, occupied(), at=100, not_before=0)
    book.observe("p", SHOP, occupied(LARGE), at=100, not_before=0)
    assert rows(book) == [("red", 200, 100, None)]


def test_a_finished_pod_is_counted_once_however_often_it_is_seen() -> None:
    book = ReservationBook()
    book.observe("p", SHOP, occupied(end=160), at=161, not_before=0)
    book.stored(book.changed())
    book.observe("p", SHOP, occupied(end=160), at=170, not_before=0)
    book.removed("p", at=900)
    assert rows(book) == []


def test_nothing_is_counted_from_before_it_may_be() -> None:
    book = ReservationBook()
    book.observe("old", SHOP, occupied(start=100), at=500, not_before=400)
    book.observe("over", SHOP, occupied(start=100, end=300), at=500, not_before=400)
    assert rows(book) == [("red", 100, 400, None)]


def test_a_namespace_that_is_no_space_any_more_stops_counting() -> None:
    book = ReservationBook()
    book.observe("p", SHOP, occupied(), at=100, not_before=0)
    book.left("u1", at=130)
    assert rows(book) == [("red", 100, 100, 130)]


def test_a_row_that_changes_while_it_is_stored_is_stored_again() -> None:
    book = ReservationBook()
    book.observe("p", SHOP, occupied(), at=100, not_before=0)
    storing = book.changed()
    book.removed("p", at=120)
    book.stored(storing)
    assert rows(book) == [("red", 100, 100, 120)]


steps = st.lists(
    st.tuples(
        st.sampled_from(["small", "large", "finished", "red", "blue", "removed", "left"]),
        st.integers(-5, 40),
    ),
    max_size=25,
)


@settings(deadline=None)
@given(steps)
def test_whatever_comes_in_rows_never_overlap_nor_run_backwards(
    script: list[tuple[str, int]],
) -> None:
    """Also with a clock that steps back, and each step said twice."""
    book = ReservationBook()
    at = 100
    for step, seconds in script:
        at += seconds
        for _ in range(2):
            space = SpaceRef(uid="u1", name="shop", tenant=step if step == "blue" else "red")
            match step:
                case "removed":
                    book.removed("p", at=at)
                case "left":
                    book.left("u1", at=at)
                case "red" | "blue":
                    book.moved(space, at=at)
                case _:
                    requests = LARGE if step == "large" else SMALL
                    end = at if step == "finished" else None
                    seen = Occupancy(requests=requests, start=min(100, at), end=end)
                    book.observe("p", SHOP, seen, at=at, not_before=at - 3)
    last_by_key: dict[tuple[str, int], Reservation] = {
        (row.pod_uid, row.start): row for row in book.changed()
    }
    assert len(last_by_key) == len(book.changed())
    assert all(row.end is None or row.end >= row.start for row in book.changed())
    assert sum(row.end is None for row in book.changed()) == len(book.open_rows) <= 1
