"""How far each source of a signal has been seen, and its gaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from metrics.core.clock import from_micros, to_micros
from metrics.core.signals import SignalName
from metrics.store.tables import Connection, gap, insert, instant, micros, watermark


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSight:
    """One row of ``watermark``: how far one source of a signal has been seen.

    Attributes:
        watermark: the instant up to which it has surely seen everything; None: never.
        gap_end: end of its last gap.
        state: JSON of the signal's own state machine; "" if it needs none.
    """

    watermark: datetime | None
    gap_end: datetime | None
    state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredGap:
    """One gap of one source; see :class:`metrics.core.watermark.Gap`."""

    source: str
    reason: str
    since: datetime | None
    until: datetime


async def save_sight(
    connection: Connection,
    signal: SignalName,
    source: str,
    sight: StoredSight,
    *,
    stored_at: datetime,
) -> None:
    """Insert or replace what is known of one source."""
    values = {
        "watermark_us": micros(sight.watermark),
        "gap_end_us": micros(sight.gap_end),
        "state": sight.state,
        "stored_us": to_micros(stored_at),
    }
    statement = insert(connection, watermark).values(signal=signal.value, source=source, **values)
    await connection.execute(
        statement.on_conflict_do_update(index_elements=["signal", "source"], set_=values)
    )


async def load_sights(
    connection: Connection, signal: SignalName, *, to_change: bool = False
) -> dict[str, StoredSight]:
    """What is known of each source of a signal.

    Args:
        connection: the transaction.
        signal: the signal.
        to_change: lock the rows until the transaction ends, because they will be saved again.
    """
    query = select(watermark).where(watermark.c.signal == signal.value)
    if to_change:
        query = query.with_for_update()
    return {
        row.source: StoredSight(
            watermark=instant(row.watermark_us),
            gap_end=instant(row.gap_end_us),
            state=row.state,
        )
        for row in await connection.execute(query)
    }


async def add_gaps(connection: Connection, signal: SignalName, gaps: Sequence[StoredGap]) -> None:
    """Remember gaps for those who ask later why a Space did not sleep."""
    rows = [
        {
            "signal": signal.value,
            "source": one.source,
            "reason": one.reason,
            "since_us": micros(one.since),
            "until_us": to_micros(one.until),
        }
        for one in gaps
    ]
    if rows:
        await connection.execute(gap.insert(), rows)


async def recent_gaps(
    connection: Connection, signal: SignalName, *, limit: int = 20
) -> list[StoredGap]:
    """The last gaps of a signal, newest first."""
    query = select(gap).where(gap.c.signal == signal.value)
    query = query.order_by(gap.c.until_us.desc(), gap.c.id.desc()).limit(limit)
    return [
        StoredGap(
            source=row.source,
            reason=row.reason,
            since=instant(row.since_us),
            until=from_micros(row.until_us),
        )
        for row in await connection.execute(query)
    ]
