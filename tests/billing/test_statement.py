"""Statements add up exactly, whatever the rows, the grain and the zone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from billing.core.periods import Grain, Period
from billing.core.power import ASLEEP, PowerInterval
from billing.core.requests import Requests
from billing.core.reservation import Reservation
from billing.core.statement import (
    Amounts,
    GroupBy,
    Span,
    Statement,
    StatementQuery,
    make_statement,
)
from metrics.core.refs import SpaceRef

MIDNIGHT = int(datetime.fromisoformat("2026-10-25T00:00Z").timestamp())
"""Within the night in which Berlin's clocks go back."""

SPACES = (
    SpaceRef(uid="u1", name="shop", tenant="red"),
    SpaceRef(uid="u2", name="docs", tenant="red"),
    SpaceRef(uid="u3", name="ci", tenant="blue"),
    SpaceRef(uid="u3", name="ci", tenant="red"),  # the same Space under its next payer
)

instants = st.integers(MIDNIGHT - 5000, MIDNIGHT + 5000)
ends = st.one_of(st.none(), st.integers(0, 9000))
vectors = st.builds(
    Requests, cpu_millis=st.integers(0, 2**40), memory_bytes=st.integers(0, 2**63 - 1)
)


@st.composite
def reservation_rows(draw: st.DrawFn) -> list[Reservation]:
    rows = []
    for number in range(draw(st.integers(0, 6))):
        start, length = draw(instants), draw(ends)
        rows.append(
            Reservation(
                pod_uid=f"p{number}",
                space=draw(st.sampled_from(SPACES)),
                requests=draw(vectors),
                start=start,
                end=None if length is None else start + length,
            )
        )
    return rows


@st.composite
def power_rows(draw: st.DrawFn) -> list[PowerInterval]:
    rows = []
    for space in SPACES[:3]:
        state = draw(st.sampled_from(["Awake", "Waking", ASLEEP]))
        start, length = draw(instants), draw(ends)
        freed = draw(vectors) if state == ASLEEP else Requests()
        end = None if length is None else start + length
        rows.append(PowerInterval(space=space, state=state, freed=freed, start=start, end=end))
    return rows


def second_by_second(
    second: int, rows: Sequence[Reservation], power: Sequence[PowerInterval], seen_until: int
) -> Counter[tuple[str, str, int]]:
    """What one second adds, by tenant, Space and column."""
    sums: Counter[tuple[str, str, int]] = Counter()
    for row in rows:
        if row.start <= second < (row.end if row.end is not None else seen_until):
            sums[row.space.tenant, row.space.uid, 0] += row.requests.cpu_millis
            sums[row.space.tenant, row.space.uid, 1] += row.requests.memory_bytes
    for stretch in power:
        if stretch.start <= second < (stretch.end if stretch.end is not None else seen_until):
            sums[stretch.space.tenant, stretch.space.uid, 2] += stretch.freed.cpu_millis
            sums[stretch.space.tenant, stretch.space.uid, 3] += stretch.freed.memory_bytes
            sums[stretch.space.tenant, stretch.space.uid, 5 if stretch.state == ASLEEP else 4] += 1
    return sums


def added_up(statement: Statement, *, by_period: bool = False) -> Counter[tuple[object, ...]]:
    """A statement's lines as sums by (period,) tenant, Space and column; zeros left out."""
    sums: Counter[tuple[object, ...]] = Counter()
    for line in statement.lines:
        for column, value in enumerate(astuple(line.amounts)):
            key = (line.tenant, line.space_uid, column)
            sums[(line.period.start, *key) if by_period else key] += value
    return +sums


@settings(max_examples=25, deadline=None)
@given(
    reservation_rows(),
    power_rows(),
    st.integers(MIDNIGHT - 600, MIDNIGHT),
    st.integers(1, 1500),
    st.integers(MIDNIGHT - 100, MIDNIGHT + 2000),
)
def test_a_statement_is_the_sum_of_its_seconds(
    rows: list[Reservation], power: list[PowerInterval], since: int, length: int, seen_until: int
) -> None:
    spans = [Span(start=MIDNIGHT - 5000, end=seen_until)]
    query = StatementQuery(since=since, until=since + length, grain=Grain.MINUTE)
    statement = make_statement(query, reservations=rows, power=power, spans=spans)
    expected: Counter[tuple[object, ...]] = Counter()
    for second in range(since, since + length):
        period = max(since, second - second % 60)
        for key, value in second_by_second(second, rows, power, seen_until).items():
            expected[period, *key] += value
    assert added_up(statement, by_period=True) == +expected


@settings(deadline=None)
@given(reservation_rows(), power_rows(), instants, st.integers(1, 9000))
def test_minutes_hours_days_spaces_and_tenants_all_add_up_to_the_same(
    rows: list[Reservation], power: list[PowerInterval], since: int, length: int
) -> None:
    spans = [
        Span(start=MIDNIGHT - 5000, end=MIDNIGHT - 10),
        Span(start=MIDNIGHT, end=MIDNIGHT + 99),
    ]
    query = StatementQuery(since=since, until=since + length)
    zones = [ZoneInfo("UTC"), ZoneInfo("Europe/Berlin"), ZoneInfo("Australia/Lord_Howe")]
    by_space = [
        make_statement(
            replace(query, grain=grain, zone=zone), reservations=rows, power=power, spans=spans
        )
        for grain in Grain
        for zone in zones
    ]
    first = by_space[0]
    for statement in by_space:
        assert added_up(statement) == added_up(first)
        assert (statement.total, statement.covered_seconds) == (first.total, first.covered_seconds)
        by_tenant = make_statement(
            replace(statement.query, by=GroupBy.TENANT),
            reservations=rows,
            power=power,
            spans=spans,
        )
        assert by_tenant.total == first.total
        per_tenant: Counter[tuple[object, ...]] = Counter()
        for (period, tenant, _, column), value in added_up(statement, by_period=True).items():
            per_tenant[period, tenant, None, column] += value
        assert added_up(by_tenant, by_period=True) == per_tenant


def test_byte_seconds_outgrow_64_bits_without_losing_one() -> None:
    row = Reservation(
        pod_uid="p",
        space=SPACES[0],
        requests=Requests(memory_bytes=2**63 - 1),
        start=0,
        end=86_400 * 30,
    )
    statement = make_statement(
        StatementQuery(since=0, until=86_400 * 30),
        reservations=[row],
        power=[],
        spans=[Span(start=0, end=86_400 * 30)],
    )
    assert statement.total == Amounts(memory_byte_seconds=(2**63 - 1) * 86_400 * 30)


def test_a_gap_is_marked_and_not_filled_in() -> None:
    statement = make_statement(
        StatementQuery(since=0, until=7200, grain=Grain.HOUR),
        reservations=[
            Reservation(pod_uid="p", space=SPACES[0], requests=Requests(cpu_millis=1), start=600)
        ],
        power=[],
        spans=[Span(start=600, end=3000), Span(start=4000, end=6000)],
    )
    assert [line.covered_seconds for line in statement.lines] == [2400, 2000]
    assert statement.covered_seconds == 4400
    assert statement.gaps == (Period(start=0, end=600), Period(start=3000, end=4000))
    assert statement.seen_until == 6000
    assert statement.total.cpu_milli_seconds == 6000 - 600


def test_without_any_proof_of_life_nothing_open_counts() -> None:
    statement = make_statement(
        StatementQuery(since=0, until=60),
        reservations=[
            Reservation(pod_uid="p", space=SPACES[0], requests=Requests(cpu_millis=1), start=0)
        ],
        power=[],
        spans=[],
    )
    assert statement.lines == ()
    assert statement.seen_until is None
    assert statement.gaps == (Period(start=0, end=60),)
