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
from zoneinfo import ZoneInfo

from billing.core.periods import Grain, Period, periods
from billing.core.power import ASLEEP, PowerInterval
from billing.core.requests import Requests
from billing.core.reservation import Reservation

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


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True)
class _Key:
    tenant: str
    space_name: str
    space_uid: str


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
    """Sums by period and key, mutable while a statement is made."""

    def __init__(self, cut: Sequence[Period], by: GroupBy) -> None:
        self._cut = cut
        self._starts = [period.start for period in cut]
        self._by = by
        # milli-core·s, byte·s, the same two freed, awake s, asleep s
        self._sums: dict[tuple[int, _Key], list[int]] = {}

    def add_requests(self, row: Reservation, *, until: int | None) -> None:
        for index, seconds in self._overlaps(row.start, until):
            sums = self._at(index, row.space.tenant, row.space.name, row.space.uid)
            self._add(sums, 0, row.requests, seconds)

    def add_power(self, row: PowerInterval, *, until: int | None) -> None:
        asleep = row.state == ASLEEP
        for index, seconds in self._overlaps(row.start, until):
            sums = self._at(index, row.space.tenant, row.space.name, row.space.uid)
            self._add(sums, 2, row.freed, seconds)
            sums[5 if asleep else 4] += seconds

    @staticmethod
    def _add(sums: list[int], column: int, requests: Requests, seconds: int) -> None:
        sums[column] += requests.cpu_millis * seconds
        sums[column + 1] += requests.memory_bytes * seconds

    def _at(self, index: int, tenant: str, name: str, uid: str) -> list[int]:
        key = _Key(tenant, name, uid) if self._by is GroupBy.SPACE else _Key(tenant, "", "")
        return self._sums.setdefault((index, key), [0] * 6)

    def _overlaps(self, start: int, end: int | None) -> Iterator[tuple[int, int]]:
        """Index of each period that ``[start, end)`` touches, and for how many seconds."""
        if end is None:
            return
        index = max(0, bisect_right(self._starts, start) - 1)
        while index < len(self._cut) and self._cut[index].start < end:
            period = self._cut[index]
            seconds = min(end, period.end) - max(start, period.start)
            if seconds > 0:
                yield index, seconds
            index += 1

    def lines(self, spans: Sequence[Span]) -> tuple[Line, ...]:
        covered: dict[int, int] = {}
        lines = []
        for (index, key), sums in sorted(self._sums.items(), key=_line_order):
            if index not in covered:
                covered[index] = _covered(self._cut[index], spans)
            lines.append(
                Line(
                    period=self._cut[index],
                    tenant=key.tenant,
                    space_uid=key.space_uid or None,
                    space_name=key.space_name or None,
                    amounts=Amounts(
                        cpu_milli_seconds=sums[0],
                        memory_byte_seconds=sums[1],
                        freed_cpu_milli_seconds=sums[2],
                        freed_memory_byte_seconds=sums[3],
                        awake_seconds=sums[4],
                        asleep_seconds=sums[5],
                    ),
                    covered_seconds=covered[index],
                )
            )
        return tuple(lines)


def _line_order(item: tuple[tuple[int, _Key], list[int]]) -> tuple[int, str, str, str]:
    (index, key), _ = item
    return (index, key.tenant, key.space_name, key.space_uid)


def _covered(period: Period, spans: Sequence[Span]) -> int:
    return sum(max(0, min(period.end, span.end) - max(period.start, span.start)) for span in spans)


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
