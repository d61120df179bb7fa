"""Canaries under way, by their audit id."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, select, update

from metrics.core.clock import from_micros, to_micros
from metrics.core.watermark import CanaryReturn
from metrics.store.tables import Connection, canary


async def register_canary(
    connection: Connection, *, audit_id: str, apiserver: str, sent_at: datetime
) -> None:
    """Remember a canary before it is sent, so that any sink may recognise it."""
    await connection.execute(
        canary.insert().values(audit_id=audit_id, apiserver=apiserver, sent_us=to_micros(sent_at))
    )


async def canary_answered(connection: Connection, *, audit_id: str, answered_at: datetime) -> None:
    """The canary's response was read."""
    await connection.execute(
        update(canary)
        .where(canary.c.audit_id == audit_id)
        .values(answered_us=to_micros(answered_at))
    )


async def canary_came_back(
    connection: Connection,
    *,
    audit_id: str,
    apiserver: str,
    returned_at: datetime,
    server_received_at: datetime,
) -> None:
    """The canary's event reached a sink; one that is not registered, or not there, is ignored."""
    await connection.execute(
        update(canary)
        .where(canary.c.audit_id == audit_id)
        .where(canary.c.apiserver == apiserver)
        .where(canary.c.returned_us.is_(None))
        .values(
            returned_us=to_micros(returned_at), server_received_us=to_micros(server_received_at)
        )
    )


async def take_returned_canaries(connection: Connection, apiserver: str) -> list[CanaryReturn]:
    """Canaries of an API server that are back, in the order of sending; they are forgotten."""
    query = (
        select(canary)
        .where(canary.c.apiserver == apiserver)
        .where(canary.c.returned_us.is_not(None))
        .order_by(canary.c.sent_us)
    )
    rows = (await connection.execute(query)).all()
    if rows:
        taken = [row.audit_id for row in rows]
        await connection.execute(delete(canary).where(canary.c.audit_id.in_(taken)))
    return [
        CanaryReturn(
            sent_at=from_micros(row.sent_us),
            # The event itself proves that the request had been received by then.
            answered_at=from_micros(min(row.answered_us or row.returned_us, row.returned_us)),
            returned_at=from_micros(row.returned_us),
            server_received_at=from_micros(row.server_received_us),
        )
        for row in rows
    ]


async def take_lost_canaries(
    connection: Connection, apiserver: str, *, sent_since: datetime, answered_before: datetime
) -> list[datetime]:
    """When canaries were sent that were answered but are not back; they are forgotten."""
    lost = (
        (canary.c.apiserver == apiserver)
        & canary.c.returned_us.is_(None)
        & (canary.c.sent_us >= to_micros(sent_since))
        & (canary.c.answered_us < to_micros(answered_before))
    )
    rows = (await connection.execute(select(canary.c.sent_us).where(lost))).all()
    if rows:
        await connection.execute(delete(canary).where(lost))
    return [from_micros(row.sent_us) for row in rows]
