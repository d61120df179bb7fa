"""What is too old to matter."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete

from metrics.core.clock import to_micros
from metrics.store.tables import Connection, canary, gap, stream


async def forget_before(
    connection: Connection,
    *,
    canaries: datetime,
    streams: datetime,
    gaps: datetime,
) -> int:
    """Drop canaries sent, streams begun and gaps ended before the given instants.

    Returns:
        Number of rows that were dropped.
    """
    dropped = 0
    for column, before in (
        (canary.c.sent_us, canaries),
        (stream.c.started_us, streams),
        (gap.c.until_us, gaps),
    ):
        table = column.table
        result = await connection.execute(delete(table).where(column < to_micros(before)))
        dropped += result.rowcount
    return dropped
