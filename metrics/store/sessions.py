"""Lives of audit sinks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select

from metrics.core.clock import from_micros, to_micros
from metrics.store.tables import Connection, insert, sink_session


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkSession:
    """One life of one sink.

    A row exists from the sink's start until its clean end; a row that is no longer renewed is a
    sink that died with whatever it had not flushed.

    Attributes:
        session_id: random.
        identity: the replica; it has one living session at most.
        flushed_until: everything that it received before is stored.
    """

    session_id: str
    identity: str
    flushed_until: datetime


async def renew_session(
    connection: Connection, session: SinkSession, *, started_at: datetime
) -> None:
    """Begin a session, or say how far it has flushed."""
    flushed_us = to_micros(session.flushed_until)
    statement = insert(connection, sink_session).values(
        session_id=session.session_id,
        identity=session.identity,
        started_us=to_micros(started_at),
        flushed_us=flushed_us,
    )
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["session_id"], set_={"flushed_us": flushed_us}
        )
    )


async def load_sessions(connection: Connection) -> list[SinkSession]:
    """Sessions that have not ended cleanly."""
    return [
        SinkSession(
            session_id=row.session_id,
            identity=row.identity,
            flushed_until=from_micros(row.flushed_us),
        )
        for row in await connection.execute(select(sink_session))
    ]


async def end_session(connection: Connection, session_id: str) -> None:
    """The session ended cleanly, or its death has been accounted for."""
    await connection.execute(delete(sink_session).where(sink_session.c.session_id == session_id))
