"""Tables of observation, and the functions that read and write them.

Every function works on a connection whose transaction the caller owns: activity and the watermark
that rests on it must be committed together. Instants are integer microseconds since the epoch.
Writes merge as the pure folds do, so writing the same thing twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    case,
    delete,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from metrics.core.activity import SpaceActivity
from metrics.core.clock import from_micros, to_micros
from metrics.core.signals import Activity, ActorClass, SignalName
from metrics.core.streams import StreamRecord
from metrics.core.watermark import CanaryReturn
from metrics.naming import NAMING_CONVENTION

Connection = AsyncConnection
"""What every function works on."""

metadata = MetaData(naming_convention=NAMING_CONVENTION)

activity = Table(
    "activity",
    metadata,
    Column("signal", String(32), primary_key=True),
    Column("space_name", String(63), primary_key=True),
    Column("kind", String(16), primary_key=True),  # "latest" or "touch"
    Column("at_us", BigInteger, nullable=False),
    Column("source", String(255), nullable=False),
    Column("actor", String(32), nullable=False),
    Column("verb", String(64), nullable=False),
    Column("resource", String(255), nullable=False),
    Column("stored_us", BigInteger, nullable=False, index=True),
)

watermark = Table(
    "watermark",
    metadata,
    Column("signal", String(32), primary_key=True),
    Column("source", String(255), primary_key=True),
    Column("watermark_us", BigInteger, nullable=True),
    Column("gap_end_us", BigInteger, nullable=True),
    Column("state", Text, nullable=False),  # JSON of the signal's own state machine
    Column("stored_us", BigInteger, nullable=False),
)

gap = Table(
    "gap",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("signal", String(32), nullable=False),
    Column("source", String(255), nullable=False),
    Column("reason", String(64), nullable=False),
    Column("since_us", BigInteger, nullable=True),
    Column("until_us", BigInteger, nullable=False, index=True),
)

stream = Table(
    "stream",
    metadata,
    Column("apiserver", String(255), primary_key=True),
    Column("audit_id", String(64), primary_key=True),
    Column("user", String(255), primary_key=True),
    Column("space_name", String(63), nullable=False),
    Column("resource", String(255), nullable=False),
    Column("target", String(255), nullable=False),
    Column("started_us", BigInteger, nullable=False, index=True),
    Column("closed_us", BigInteger, nullable=True),
    Column("stored_us", BigInteger, nullable=False, index=True),
)

canary = Table(
    "canary",
    metadata,
    Column("audit_id", String(64), primary_key=True),
    Column("apiserver", String(255), nullable=False, index=True),
    Column("sent_us", BigInteger, nullable=False),
    Column("answered_us", BigInteger, nullable=True),
    Column("returned_us", BigInteger, nullable=True),
    Column("server_received_us", BigInteger, nullable=True),
)

sink_session = Table(
    "sink_session",
    metadata,
    Column("session_id", String(64), primary_key=True),
    Column("identity", String(255), nullable=False),
    Column("started_us", BigInteger, nullable=False),
    Column("flushed_us", BigInteger, nullable=False),
)

_LATEST: Final = "latest"
_TOUCH: Final = "touch"


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


async def merge_activity(
    connection: Connection,
    signal: SignalName,
    activities: Mapping[str, SpaceActivity],
    *,
    stored_at: datetime,
) -> None:
    """Merge activity by Space name; a row only ever moves to a later instant."""
    rows = [
        {
            "signal": signal.value,
            "space_name": space_name,
            "kind": kind,
            "at_us": to_micros(one.at),
            "source": one.source,
            "actor": one.actor.value,
            "verb": one.verb,
            "resource": one.resource,
            "stored_us": to_micros(stored_at),
        }
        for space_name, seen in activities.items()
        for kind, one in ((_LATEST, seen.latest), (_TOUCH, seen.touch))
        if one is not None
    ]
    if not rows:
        return
    statement = _insert(connection, activity)
    new = statement.excluded
    columns = ("at_us", "source", "actor", "verb", "resource", "stored_us")
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["signal", "space_name", "kind"],
            set_={name: new[name] for name in columns},
            where=new.at_us > activity.c.at_us,
        ),
        rows,
    )


async def load_activity(
    connection: Connection, signal: SignalName, *, stored_since: datetime | None = None
) -> dict[str, SpaceActivity]:
    """Activity by Space name; only what was stored from an instant on, if one is given."""
    query = select(activity).where(activity.c.signal == signal.value)
    if stored_since is not None:
        query = query.where(activity.c.stored_us >= to_micros(stored_since))
    latest: dict[str, Activity] = {}
    touches: dict[str, Activity] = {}
    for row in await connection.execute(query):
        one = Activity(
            at=from_micros(row.at_us),
            signal=signal,
            source=row.source,
            actor=ActorClass(row.actor),
            verb=row.verb,
            resource=row.resource,
        )
        (touches if row.kind == _TOUCH else latest)[row.space_name] = one
    for space_name, touch in touches.items():  # a touch is activity, whatever row was newer
        latest.setdefault(space_name, touch)
    return {
        space_name: SpaceActivity(latest=one, touch=touches.get(space_name))
        for space_name, one in latest.items()
    }


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
        "watermark_us": _micros(sight.watermark),
        "gap_end_us": _micros(sight.gap_end),
        "state": sight.state,
        "stored_us": to_micros(stored_at),
    }
    statement = _insert(connection, watermark).values(signal=signal.value, source=source, **values)
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
            watermark=_instant(row.watermark_us),
            gap_end=_instant(row.gap_end_us),
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
            "since_us": _micros(one.since),
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
            since=_instant(row.since_us),
            until=from_micros(row.until_us),
        )
        for row in await connection.execute(query)
    ]


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
            "closed_us": _micros(record.closed_at),
            "stored_us": to_micros(stored_at),
        }
        for record in records
    ]
    if not rows:
        return
    statement = _insert(connection, stream)
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
            closed_at=_instant(row.closed_us),
        )
        for row in await connection.execute(query)
    ]


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


async def renew_session(
    connection: Connection, session: SinkSession, *, started_at: datetime
) -> None:
    """Begin a session, or say how far it has flushed."""
    flushed_us = to_micros(session.flushed_until)
    statement = _insert(connection, sink_session).values(
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


async def forget_activity(connection: Connection, *, before: datetime, keep: frozenset[str]) -> int:
    """Drop activity of namespaces that are gone (not in ``keep``) and unused since ``before``."""
    old = select(activity.c.space_name).where(activity.c.at_us < to_micros(before)).distinct()
    names = {row.space_name for row in await connection.execute(old)} - keep
    dropped = 0
    for name in names:
        result = await connection.execute(
            delete(activity)
            .where(activity.c.space_name == name)
            .where(activity.c.at_us < to_micros(before))
        )
        dropped += result.rowcount
    return dropped


def _insert(connection: Connection, table: Table) -> Any:
    """INSERT of the dialect at hand, for its ``ON CONFLICT``; both spell it alike."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def _micros(at: datetime | None) -> int | None:
    return None if at is None else to_micros(at)


def _instant(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)
