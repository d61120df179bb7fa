"""What must outlive a restart about a Space and stands nowhere in Kubernetes.

Losing this table only makes Spaces sleep later: a Space without a row starts its clock now. One
that is asleep has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, Column, MetaData, String, Table, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from metrics.core.clock import from_micros, to_micros
from metrics.store.tables import insert

metadata = MetaData()

space_state = Table(
    "space_state",
    metadata,
    Column("space_uid", String(64), primary_key=True),
    Column("rules", String(255), nullable=False),
    Column("rules_since_us", BigInteger, nullable=False),
    Column("woken_at_us", BigInteger, nullable=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceState:
    """One row.

    Attributes:
        rules: fingerprint of what idleness is measured by (label, routes, required signals).
        rules_since: since when they have been so.
        woken_at: end of the last sleep, or None.
    """

    rules: str
    rules_since: datetime
    woken_at: datetime | None = None


async def load(connection: AsyncConnection) -> Mapping[str, SpaceState]:
    """All rows, by namespace uid."""
    rows = (await connection.execute(select(space_state))).all()
    return {
        row.space_uid: SpaceState(
            rules=row.rules,
            rules_since=from_micros(row.rules_since_us),
            woken_at=None if row.woken_at_us is None else from_micros(row.woken_at_us),
        )
        for row in rows
    }


async def save(connection: AsyncConnection, states: Mapping[str, SpaceState | None]) -> None:
    """Insert, replace or (None) delete the given rows."""
    for uid, state in states.items():
        if state is None:
            await connection.execute(delete(space_state).where(space_state.c.space_uid == uid))
            continue
        values = {
            "rules": state.rules,
            "rules_since_us": to_micros(state.rules_since),
            "woken_at_us": None if state.woken_at is None else to_micros(state.woken_at),
        }
        statement = insert(connection, space_state).values(space_uid=uid, **values)
        await connection.execute(
            statement.on_conflict_do_update(index_elements=["space_uid"], set_=values)
        )
