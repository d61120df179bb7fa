"""Tables of the meter: reservations, power intervals, and the spans that it saw.

Functions work on the connection of a transaction that the caller began. Vectors fit 64-bit
columns (the API server caps quantities there); their integrals do not, so nothing here sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.core.power import PowerInterval
from billing.core.requests import Requests
from billing.core.reservation import Reservation
from billing.core.statement import Span
from metrics.core.refs import SpaceRef
from metrics.naming import NAMING_CONVENTION

metadata = MetaData(naming_convention=NAMING_CONVENTION)

reservation = Table(
    "reservation",
    metadata,
    Column("pod_uid", String(64), primary_key=True),
    Column("start_s", BigInteger, primary_key=True),
    Column("end_s", BigInteger, nullable=True),
    Column("space_uid", String(64), nullable=False),
    Column("space_name", String(63), nullable=False),
    Column("tenant", String(63), nullable=False),
    Column("cpu_millis", BigInteger, nullable=False),
    Column("memory_bytes", BigInteger, nullable=False),
    Index(None, "end_s"),
)

power_interval = Table(
    "power_interval",
    metadata,
    Column("space_uid", String(64), primary_key=True),
    Column("start_s", BigInteger, primary_key=True),
    Column("end_s", BigInteger, nullable=True),
    Column("space_name", String(63), nullable=False),
    Column("tenant", String(63), nullable=False),
    Column("state", String(32), nullable=False),
    Column("freed_cpu_millis", BigInteger, nullable=False),
    Column("freed_memory_bytes", BigInteger, nullable=False),
    Index(None, "end_s"),
)

meter_span = Table(
    "meter_span",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("start_s", BigInteger, nullable=False),
    Column("end_s", BigInteger, nullable=False),
    sqlite_autoincrement=True,  # ids only grow, so the newest span is the one with the largest
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterState:
    """Where the meter that ran last left off.

    Attributes:
        reservations: open rows.
        power: open stretches.
        seen_until: its last proof of life, epoch second; None: no meter ever ran.
    """

    reservations: tuple[Reservation, ...]
    power: tuple[PowerInterval, ...]
    seen_until: int | None


async def load_state(connection: AsyncConnection) -> MeterState:
    """The state to go on from."""
    open_rows = await connection.execute(select(reservation).where(reservation.c.end_s.is_(None)))
    open_power = await connection.execute(
        select(power_interval).where(power_interval.c.end_s.is_(None))
    )
    seen_until = await connection.scalar(select(func.max(meter_span.c.end_s)))
    return MeterState(
        reservations=tuple(_reservation(row) for row in open_rows),
        power=tuple(_power(row) for row in open_power),
        seen_until=seen_until,
    )


async def begin_span(connection: AsyncConnection, start: int) -> int:
    """Begin a span at ``start`` and return its id; the meter that had the last one is out."""
    result = await connection.execute(insert(meter_span).values(start_s=start, end_s=start))
    (span_id,) = result.inserted_primary_key or (None,)
    assert isinstance(span_id, int)
    return span_id


async def extend_span(connection: AsyncConnection, span_id: int, end: int) -> bool:
    """Move the end of our span; False if another meter has begun a newer one."""
    newest = await connection.scalar(select(func.max(meter_span.c.id)))
    if newest != span_id:
        return False
    await connection.execute(
        update(meter_span)
        .where(meter_span.c.id == span_id, meter_span.c.end_s < end)
        .values(end_s=end)
    )
    return True


async def save_reservations(connection: AsyncConnection, rows: Sequence[Reservation]) -> None:
    """Insert or replace rows by Pod and start."""
    values = [
        {
            "pod_uid": row.pod_uid,
            "start_s": row.start,
            "end_s": row.end,
            "space_uid": row.space.uid,
            "space_name": row.space.name,
            "tenant": row.space.tenant,
            "cpu_millis": row.requests.cpu_millis,
            "memory_bytes": row.requests.memory_bytes,
        }
        for row in rows
    ]
    await _replace(connection, reservation, values)


async def save_power(connection: AsyncConnection, rows: Sequence[PowerInterval]) -> None:
    """Insert or replace stretches by Space and start."""
    values = [
        {
            "space_uid": row.space.uid,
            "start_s": row.start,
            "end_s": row.end,
            "space_name": row.space.name,
            "tenant": row.space.tenant,
            "state": row.state,
            "freed_cpu_millis": row.freed.cpu_millis,
            "freed_memory_bytes": row.freed.memory_bytes,
        }
        for row in rows
    ]
    await _replace(connection, power_interval, values)


async def select_reservations(
    connection: AsyncConnection, since: int, until: int
) -> tuple[Reservation, ...]:
    """Rows that touch ``[since, until)``."""
    rows = await connection.execute(select(reservation).where(_touches(reservation, since, until)))
    return tuple(_reservation(row) for row in rows)


async def select_power(
    connection: AsyncConnection, since: int, until: int
) -> tuple[PowerInterval, ...]:
    """Stretches that touch ``[since, until)``."""
    rows = await connection.execute(
        select(power_interval).where(_touches(power_interval, since, until))
    )
    return tuple(_power(row) for row in rows)


async def select_spans(connection: AsyncConnection) -> tuple[Span, ...]:
    """Every span, in order."""
    rows = await connection.execute(select(meter_span).order_by(meter_span.c.id))
    return tuple(Span(start=row.start_s, end=row.end_s) for row in rows)


async def forget_before(connection: AsyncConnection, cutoff: int) -> int:
    """Delete what ended before ``cutoff``; the coverage before it goes too.

    Returns:
        The number of rows deleted.
    """
    deleted = 0
    for table in (reservation, power_interval):
        result = await connection.execute(delete(table).where(table.c.end_s <= cutoff))
        deleted += result.rowcount
    newest = select(func.max(meter_span.c.id)).scalar_subquery()
    result = await connection.execute(
        delete(meter_span).where(meter_span.c.end_s <= cutoff, meter_span.c.id != newest)
    )
    deleted += result.rowcount
    await connection.execute(
        update(meter_span)
        .where(meter_span.c.start_s < cutoff, meter_span.c.end_s > cutoff)
        .values(start_s=cutoff)
    )
    return deleted


async def _replace(
    connection: AsyncConnection, table: Table, values: Sequence[Mapping[str, object]]
) -> None:
    """Insert rows, each in place of the one with its primary key; on any database."""
    if not values:
        return
    same_key = and_(*(column == bindparam(f"key_{column.name}") for column in table.primary_key))
    keys = [
        {f"key_{column.name}": value[column.name] for column in table.primary_key}
        for value in values
    ]
    await connection.execute(delete(table).where(same_key), keys)
    await connection.execute(insert(table), values)


def _touches(table: Table, since: int, until: int) -> ColumnElement[bool]:
    return and_(table.c.start_s < until, or_(table.c.end_s.is_(None), table.c.end_s > since))


def _space(row: Row[tuple[object, ...]]) -> SpaceRef:
    return SpaceRef(uid=row.space_uid, name=row.space_name, tenant=row.tenant)


def _reservation(row: Row[tuple[object, ...]]) -> Reservation:
    return Reservation(
        pod_uid=row.pod_uid,
        space=_space(row),
        requests=Requests(cpu_millis=row.cpu_millis, memory_bytes=row.memory_bytes),
        start=row.start_s,
        end=row.end_s,
    )


def _power(row: Row[tuple[object, ...]]) -> PowerInterval:
    return PowerInterval(
        space=_space(row),
        state=row.state,
        freed=Requests(cpu_millis=row.freed_cpu_millis, memory_bytes=row.freed_memory_bytes),
        start=row.start_s,
        end=row.end_s,
    )
