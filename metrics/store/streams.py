"""Streams, open and ended."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import case, select

from metrics.core.clock import from_micros, to_micros
from metrics.core.streams import StreamRecord
from metrics.store.tables import Connection, insert, instant, micros, stream


async def merge_streams(
    connection: Connection, records: Iterable[StreamRecord], *, stored_at: datetime
) -> None:
    """Merge streams as :meth:`metrics.core.streams.StreamRecord.merge` does."""
    rows = [
        {
            "apiserver": record.apiserver,
            "audit_id": record.audit_id,
            "user": record.user,
            "space_name": record.space_name,
            "resource": record.resource,
            "target": record.target,
            "started_us": to_micros(record.started_at),
            "closed_us": micros(record.closed_at),
            "stored_us": to_micros(stored_at),
        }
        for record in records
    ]
    if not rows:
        return
    statement = insert(connection, stream)
    new, old = statement.excluded, stream.c
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["apiserver", "audit_id", "user"],
            set_={
                "started_us": case(
                    (new.started_us < old.started_us, new.started_us), else_=old.started_us
                ),
                "closed_us": case(
                    (old.closed_us.is_(None), new.closed_us),
                    (new.closed_us > old.closed_us, new.closed_us),
                    else_=old.closed_us,
                ),
                "stored_us": new.stored_us,
            },
        ),
        rows,
    )


async def load_streams(
    connection: Connection, *, started_since: datetime, stored_since: datetime | None = None
) -> list[StreamRecord]:
    """Streams that began after an instant, open and ended alike."""
    query = select(stream).where(stream.c.started_us >= to_micros(started_since))
    if stored_since is not None:
        query = query.where(stream.c.stored_us >= to_micros(stored_since))
    return [
        StreamRecord(
            apiserver=row.apiserver,
            audit_id=row.audit_id,
            user=row.user,
            space_name=row.space_name,
            resource=row.resource,
            target=row.target,
            started_at=from_micros(row.started_us),
            closed_at=instant(row.closed_us),
        )
        for row in await connection.execute(query)
    ]
