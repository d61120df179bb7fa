"""How far a Space's required signals have seen, and since when it is idle. Pure.

The horizon H of a Space is the smallest watermark of its required signals; it is idle for H less
the latest thing that counts as use. So idleness accrues only while we can see.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from metrics.core.signals import SignalName
from sleeper.core.snapshot import Snapshot

NOT_SEEING_YET: Final = "cannot say yet up to when it has seen everything"
"""Of a signal without a watermark. It may have reported use already: that counts at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What the required signals can say together.

    Attributes:
        horizon: up to here everything has surely been seen; None: it cannot be known.
        blind: half a sentence for each signal that cannot be trusted now; empty iff there is a
            horizon.
    """

    horizon: datetime | None
    blind: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleSince:
    """The start of the present idle time.

    Attributes:
        at: the latest instant that counts as use.
        because: what was then, as half a sentence.
    """

    at: datetime
    because: str


def look(snapshot: Snapshot, required: Collection[SignalName], now: datetime) -> Sight:
    """The horizon of the required signals at ``now``; never later than ``now``."""
    horizon = now
    blind: list[str] = []
    for name in sorted(required):
        view = snapshot.signals.get(name)
        if view is None:
            blind.append(f"{name.value} is not switched on")
        elif view.unknown_because is not None:
            detail = f" ({view.unknown_detail})" if view.unknown_detail else ""
            blind.append(f"{name.value} cannot be trusted: {view.unknown_because}{detail}")
        elif view.watermark is None:
            blind.append(f"{name.value} {NOT_SEEING_YET}")
        elif view.watermark < horizon:
            horizon = view.watermark
    if blind:
        return Sight(horizon=None, blind=tuple(blind))
    return Sight(horizon=horizon)


def idle_since(snapshot: Snapshot, required: Collection[SignalName]) -> IdleSince:
    """The latest of everything that counts as use: activity, waking, creation, rules, gaps."""
    at, because = snapshot.created_at, "it was created"
    if snapshot.rules_since is not None and snapshot.rules_since > at:
        at, because = snapshot.rules_since, "its present rules began"
    if snapshot.woken_at is not None and snapshot.woken_at > at:
        at, because = snapshot.woken_at, "it was woken"
    for name in required:
        view = snapshot.signals.get(name)
        if view is not None and view.last_gap_end is not None and view.last_gap_end > at:
            at, because = view.last_gap_end, f"a gap in the {name.value} signal ended"
    activity = snapshot.last_activity
    if activity is not None and activity.at >= at:
        who = f"{activity.actor.value} {activity.verb} {activity.resource}"
        at, because = activity.at, f"it was used ({who}, seen by {activity.signal.value})"
    return IdleSince(at=at, because=because)
