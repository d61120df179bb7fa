"""One flush of the API signal: what arrived is stored, and each API server's state moves on.

Everything here happens inside the flush's transaction, so that a watermark and the events that it
rests on become visible together. The rules themselves are pure (:mod:`metrics.core.watermark`);
this module brings them what is stored, in their order. Called by
:class:`sleeper.control.audit.ApiSignal` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import msgspec

from metrics import store
from metrics.core import watermark
from metrics.core.signals import SignalName
from metrics.core.unheard import Known
from metrics.core.watermark import Gap, GapReason, LossReading, ServerSight, SightLimits
from sleeper.control.intake import Pending
from sleeper.control.sink_session import Roll

KnownStreams = Callable[[str, LossReading], Known]
"""Of an API server, at a reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """What one flush has to fold.

    Attributes:
        pending: what the sink's requests left in memory.
        readings: loss counters that were read, with their API server.
        stepped_from: where the wall clock would stand had it not been stepped; None: it was not.
        began_at: our first flush; None: this is it.
        known_streams: of the streams that we know, those that were open at a reading.
    """

    pending: Pending
    readings: tuple[tuple[str, LossReading], ...]
    stepped_from: datetime | None
    began_at: datetime | None
    known_streams: KnownStreams


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """Where the API servers stand after a flush.

    Attributes:
        sights: state of each API server.
        gaps: those that this flush found, with their API server.
    """

    sights: Mapping[str, ServerSight]
    gaps: tuple[tuple[str, Gap], ...]


async def store_pending(connection: store.Connection, pending: Pending, now: datetime) -> None:
    """Store activity, streams and the canaries that came back."""
    await store.merge_activity(connection, SignalName.API, pending.activities, stored_at=now)
    await store.merge_streams(connection, pending.streams.values(), stored_at=now)
    for seen in pending.canaries:
        await store.canary_came_back(
            connection,
            audit_id=seen.audit_id,
            apiserver=seen.apiserver,
            returned_at=seen.returned_at,
            server_received_at=seen.server_received_at,
        )


async def advance(
    connection: store.Connection,
    apiservers: Iterable[str],
    arrivals: Arrivals,
    *,
    roll: Roll,
    limits: SightLimits,
    stream_bound: timedelta,
    now: datetime,
) -> Advance:
    """Fold everything that is new into each API server's state, and store what changed."""
    stored = await store.load_sights(connection, SignalName.API, to_change=True)
    sights: dict[str, ServerSight] = {}
    found: list[tuple[str, Gap]] = []
    for name in apiservers:
        before = _decode(stored.get(name))
        sight, gaps = _fold(name, before or watermark.first_sight(now), arrivals, roll, limits, now)
        for canary in await store.take_returned_canaries(connection, name):
            sight, more = watermark.canary_returned(sight, canary, now, limits)
            gaps.extend(more)
        sight = watermark.settle(sight, roll.flushed_until, limits)
        sight = watermark.streams_compared(
            sight, partial(arrivals.known_streams, name), stream_bound
        )
        if before is not None and sight.watermark != before.watermark:
            sight, more = await _look_for_lost_canaries(
                connection, name, sight, began_at=arrivals.began_at, limits=limits
            )
            gaps.extend(more)
        if sight != before:
            row = store.StoredSight(
                watermark=sight.watermark,
                gap_end=sight.gap_end,
                state=msgspec.json.encode(sight).decode(),
            )
            await store.save_sight(connection, SignalName.API, name, row, stored_at=now)
        sights[name] = sight
        found.extend((name, gap) for gap in gaps)
    rows = [
        store.StoredGap(source=name, reason=gap.reason, since=gap.since, until=gap.until)
        for name, gap in found
    ]
    await store.add_gaps(connection, SignalName.API, rows)
    return Advance(sights=sights, gaps=tuple(found))


def _fold(
    name: str,
    sight: ServerSight,
    arrivals: Arrivals,
    roll: Roll,
    limits: SightLimits,
    now: datetime,
) -> tuple[ServerSight, list[Gap]]:
    """What is known of losses comes first: a canary then proves only what lies behind them."""
    gaps: list[Gap] = []
    stepped = arrivals.stepped_from or watermark.ahead_of(sight, now, limits)
    if stepped is not None:
        sight, more = watermark.clock_stepped(sight, before=stepped, now=now)
        gaps.extend(more)
    if roll.died:
        sight = watermark.sink_died(sight, now)
    for (source, reason), until in arrivals.pending.missing.items():
        if source == name:
            sight, more = watermark.events_missing(sight, reason, since=None, until=until)
            gaps.extend(more)
    for source, reading in arrivals.readings:
        if source == name:
            sight, more = watermark.loss_read(sight, reading, limits)
            gaps.extend(more)
    return sight, gaps


async def _look_for_lost_canaries(
    connection: store.Connection,
    name: str,
    sight: ServerSight,
    *,
    began_at: datetime | None,
    limits: SightLimits,
) -> watermark.Change:
    """Canaries of our time that should be back by the watermark and are not.

    Those of an earlier life may have come back before we knew our own user name.
    """
    if began_at is None or sight.watermark is None:
        return sight, ()
    lost = await store.take_lost_canaries(
        connection, name, sent_since=began_at, answered_before=sight.watermark
    )
    if not lost:
        return sight, ()
    # What went missing later than the watermark is nothing that anybody relies on yet.
    since, until = min(lost) - limits.retry_horizon, sight.watermark
    return watermark.events_missing(sight, GapReason.CANARY_LOST, since=since, until=until)


def _decode(stored: store.StoredSight | None) -> ServerSight | None:
    """A stored state; one that another version wrote and we cannot read is as good as none."""
    if stored is None:
        return None
    try:
        return msgspec.json.decode(stored.state, type=ServerSight)
    except msgspec.MsgspecError:
        return None
