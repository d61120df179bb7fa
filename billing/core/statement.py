"""Statements: exact integrals of the intervals over calendar periods.

Every figure is an integer: milli-core·seconds, byte·seconds, seconds. A period's figure is the
integral over that period and nothing is rounded, so minutes add up to hours and days, Spaces to
tenants and to the total, to the unit. Byte·seconds of a cluster outgrow 64 bits within weeks;
Python's integers do not.

An interval that is still open counts up to the last proof of life, not further. What the meter
did not see is not filled in: it lowers ``covered_seconds``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from billing.core.periods import Grain, Period, periods
from billing.core.power import ASLEEP, PowerInterval
from billing.core.reservation import Reservation
from metrics.core.refs import SpaceRef

_UTC = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch over which the meter saw every change, ``[start, end)`` in epoch seconds."""

    start: int
    end: int


class GroupBy(StrEnum):
    """What one line of a statement stands for."""

    SPACE = "space"
    TENANT = "tenant"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementQuery:
    """What is asked for.

    Attributes:
        since: epoch second, inclusive.
        until: epoch second, exclusive.
        grain: length of the periods.
        by: what a line stands for.
        zone: whose hours and days; minutes are the same everywhere.
    """

    since: int
    until: int
    grain: Grain = Grain.DAY
    by: GroupBy = GroupBy.SPACE
    zone: ZoneInfo = _UTC


@dataclass(frozen=True, slots=True)
class Amounts:
    """Integrals over a period.

    Attributes:
        cpu_milli_seconds: requested CPU, milli-core·seconds.
        memory_byte_seconds: requested memory, byte·seconds.
        freed_cpu_milli_seconds: CPU requests that sleeping freed.
        freed_memory_byte_seconds: memory requests that sleeping freed.
        awake_seconds: Space·seconds in any power state but Asleep.
        asleep_seconds: Space·seconds Asleep.
    """

    cpu_milli_seconds: int = 0
    memory_byte_seconds: int = 0
    freed_cpu_milli_seconds: int = 0
    freed_memory_byte_seconds: int = 0
    awake_seconds: int = 0
    asleep_seconds: int = 0

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(
            cpu_milli_seconds=self.cpu_milli_seconds + other.cpu_milli_seconds,
            memory_byte_seconds=self.memory_byte_seconds + other.memory_byte_seconds,
            freed_cpu_milli_seconds=self.freed_cpu_milli_seconds + other.freed_cpu_milli_seconds,
            freed_memory_byte_seconds=(
                self.freed_memory_byte_seconds + other.freed_memory_byte_seconds
            ),
            awake_seconds=self.awake_seconds + other.awake_seconds,
            asleep_seconds=self.asleep_seconds + other.asleep_seconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One Space or tenant over one period.

    A Space whose payer changed within the period has a line for each payer.

    Attributes:
        period: the period.
        tenant: who pays.
        space_uid: the Space; None on a tenant's line.
        space_name: its name; None on a tenant's line.
        amounts: the figures.
        covered_seconds: how much of the period the meter saw; the rest is unknown, not zero.
    """

    period: Period
    tenant: str
    space_uid: str | None
    space_name: str | None
    amounts: Amounts
    covered_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """The answer to a :class:`StatementQuery`.

    Attributes:
        query: the question.
        lines: by period, then tenant, then Space; where there was neither a Pod nor a power
            state, there is no line.
        total: sum of all lines.
        covered_seconds: how much of the whole range the meter saw.
        seen_until: last proof of life; None: nothing was ever metered.
        gaps: stretches within the range that the meter did not see, the future left out.
    """

    query: StatementQuery
    lines: tuple[Line, ...]
    total: Amounts
    covered_seconds: int
    seen_until: int | None
    gaps: tuple[Period, ...]


class _Key(NamedTuple):
    tenant: str
    space_name: str
    space_uid: str


_Rates = tuple[int, int, int, int, int, int]
"""What one second adds, in the order of :class:`Amounts`."""

_NO_RATES: Final[_Rates] = (0, 0, 0, 0, 0, 0)


def make_statement(
    query: StatementQuery,
    *,
    reservations: Iterable[Reservation],
    power: Iterable[PowerInterval],
    spans: Iterable[Span],
) -> Statement:
    """Integrate the intervals over the periods of ``query``.

    Args:
        query: what is asked for.
        reservations: every row that touches the range; others do no harm.
        power: likewise.
        spans: every stretch that the meter saw, disjoint and in order.

    Raises:
        PeriodError: the range is empty or has too many periods.
    """
    spans = tuple(spans)
    seen_until = max((span.end for span in spans), default=None)
    table = _Table(periods(query.since, query.until, query.grain, query.zone), query.by)
    for row in reservations:
        table.add_requests(row, until=row.end if row.end is not None else seen_until)
    for stretch in power:
        table.add_power(stretch, until=stretch.end if stretch.end is not None else seen_until)
    lines = table.lines(spans)
    return Statement(
        query=query,
        lines=lines,
        total=sum((line.amounts for line in lines), Amounts()),
        covered_seconds=_covered(Period(start=query.since, end=query.until), spans),
        seen_until=seen_until,
        gaps=_gaps(query, spans),
    )


class _Table:
    """Sums by period and key, mutable while a statement is made.

    A row costs two partial periods and two changes of a rate, however long it is; what lies
    between is added up once per key and period.
    """

    def __init__(self, cut: Sequence[Period], by: GroupBy) -> None:
        self._cut = cut
        self._starts = [period.start for period in cut]
        self._by = by
        self._columns: dict[_Key, _Column] = {}

    def add_requests(self, row: Reservation, *, until: int | None) -> None:
        rates = (row.requests.cpu_millis, row.requests.memory_bytes, 0, 0, 0, 0)
        self._add(row.space, rates, row.start, until)

    def add_power(self, row: PowerInterval, *, until: int | None) -> None:
        asleep = row.state == ASLEEP
        rates = (0, 0, row.freed.cpu_millis, row.freed.memory_bytes, int(not asleep), int(asleep))
        self._add(row.space, rates, row.start, until)

    def _add(self, space: SpaceRef, rates: _Rates, start: int, until: int | None) -> None:
        start = max(start, self._cut[0].start)
        end = start if until is None else min(until, self._cut[-1].end)
        if end <= start:
            return
        by_space = self._by is GroupBy.SPACE
        key = _Key(space.tenant, space.name, space.uid) if by_space else _Key(space.tenant, "", "")
        column = self._columns.setdefault(key, _Column())
        first = bisect_right(self._starts, start) - 1
        last = bisect_right(self._starts, end - 1) - 1
        if first == last:
            column.add_partial(first, rates, end - start)
            return
        column.add_partial(first, rates, self._cut[first].end - start)
        column.add_partial(last, rates, end - self._cut[last].start)
        if last > first + 1:
            column.change_rate(first + 1, rates, +1)
            column.change_rate(last, rates, -1)

    def lines(self, spans: Sequence[Span]) -> tuple[Line, ...]:
        covered = [_covered(period, spans) for period in self._cut]
        cells = [
            (index, key, amounts)
            for key, column in self._columns.items()
            for index, amounts in column.amounts(self._cut)
        ]
        cells.sort(key=lambda cell: cell[:2])
        return tuple(
            Line(
                period=self._cut[index],
                tenant=key.tenant,
                space_uid=key.space_uid or None,
                space_name=key.space_name or None,
                amounts=amounts,
                covered_seconds=covered[index],
            )
            for index, key, amounts in cells
        )


class _Column:
    """The figures of one key over all periods."""

    def __init__(self) -> None:
        self._partial: dict[int, list[int]] = {}
        # By index of the period where it changes: rates of the whole periods, and how many rows.
        self._changes: dict[int, list[int]] = {}

    def add_partial(self, index: int, rates: _Rates, seconds: int) -> None:
        sums = self._partial.setdefault(index, [0] * len(rates))
        for column, rate in enumerate(rates):
            sums[column] += rate * seconds

    def change_rate(self, index: int, rates: _Rates, sign: int) -> None:
        change = self._changes.setdefault(index, [0] * (len(rates) + 1))
        for column, rate in enumerate((*rates, 1)):
            change[column] += sign * rate

    def amounts(self, cut: Sequence[Period]) -> Iterator[tuple[int, Amounts]]:
        """Index and figures of each period that any row touches."""
        marks = sorted({*self._partial, *self._changes})
        running = [0] * (len(_NO_RATES) + 1)
        for position, mark in enumerate(marks):
            for column, change in enumerate(self._changes.get(mark, ())):
                running[column] += change
            *rates, rows = running
            ahead = marks[position + 1] if position + 1 < len(marks) else mark + 1
            for index in range(mark, ahead if rows else mark + 1):
                partial = self._partial.get(index, _NO_RATES)
                if rows or index in self._partial:
                    seconds = cut[index].seconds
                    sums = [p + rate * seconds for p, rate in zip(partial, rates, strict=True)]
                    yield index, Amounts(*sums)


def _covered(period: Period, spans: Sequence[Span]) -> int:
    """Seconds of a period within the spans, which are disjoint and in order."""
    covered = 0
    for span in spans[bisect_right(spans, period.start, key=lambda span: span.end) :]:
        if span.start >= period.end:
            break
        covered += min(period.end, span.end) - max(period.start, span.start)
    return covered


def _gaps(query: StatementQuery, spans: Sequence[Span]) -> tuple[Period, ...]:
    """What lies before and between the spans; all of the range if there are none."""
    edges = spans or (Span(start=query.until, end=query.until),)
    gaps = []
    at = query.since
    for span in edges:
        end = min(span.start, query.until)
        if at < end:
            gaps.append(Period(start=at, end=end))
        at = max(at, span.end)
    return tuple(gaps)
