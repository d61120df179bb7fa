"""Latest activity and latest touch of each Space, by signal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import delete, select, update

from metrics.core.activity import SpaceActivity
from metrics.core.clock import from_micros, to_micros
from metrics.core.signals import Activity, ActorClass, SignalName
from metrics.store.tables import Connection, activity, insert

_LATEST: Final = "latest"
_TOUCH: Final = "touch"


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
    statement = insert(connection, activity)
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


async def set_back_activity(
    connection: Connection, signal: SignalName, *, now: datetime, to: datetime
) -> None:
    """Bring what lies in the future to an earlier instant: the clock was set back.

    Such a row would keep all that comes from being stored until the clock has caught up.
    """
    await connection.execute(
        update(activity)
        .where(activity.c.signal == signal.value)
        .where(activity.c.at_us > to_micros(now))
        .values(at_us=to_micros(to))
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
