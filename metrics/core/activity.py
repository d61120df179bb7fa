"""The fold of activity: per Space, the latest proof of use and the latest touch.

Merging is commutative, associative, idempotent and monotone, so the order of events, duplicates
and replays do not matter, and two processes may fold the same events apart and merge later.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from metrics.core.signals import Activity, ActorClass

TOUCHERS = frozenset({ActorClass.HUMAN, ActorClass.DEPLOYER})
"""Who can touch a Space: their requests through the API wake it and take back its sleep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceActivity:
    """What is known of one Space's use.

    Attributes:
        latest: the latest activity of any kind.
        touch: the latest activity of a person or deployer through the API; of the traffic signal,
            the latest visit: a request that surely came when it is dated. None: none known.
    """

    latest: Activity
    touch: Activity | None = None

    @classmethod
    def of(cls, activity: Activity) -> SpaceActivity:
        """The fold of a single activity."""
        return cls(latest=activity, touch=activity if activity.actor in TOUCHERS else None)

    def merge(self, other: SpaceActivity) -> SpaceActivity:
        """Whatever is later of both: ``self`` if ``other`` adds nothing, ``other`` if it is all."""
        latest = later(self.latest, other.latest)
        touch = self.touch
        if other.touch is not None:
            touch = other.touch if touch is None else later(touch, other.touch)
        if latest is self.latest and touch is self.touch:
            return self
        if latest is other.latest and touch is other.touch:
            return other
        return SpaceActivity(latest=latest, touch=touch)

    def not_after(self, at: datetime) -> SpaceActivity:
        """The same, but nothing later than ``at``: for what was noted on another time line.

        No activity is later than its arrival, so one that lies in the future was noted before the
        clock was set back. As it is, it would outweigh all that comes until the clock catches up.
        """
        touch = self.touch
        if self.latest.at <= at and (touch is None or touch.at <= at):
            return self
        return SpaceActivity(
            latest=replace(self.latest, at=min(self.latest.at, at)),
            touch=None if touch is None else replace(touch, at=min(touch.at, at)),
        )


def later(one: Activity, other: Activity) -> Activity:
    """The later of two; at the same instant a fixed order of their contents decides."""
    if one.at != other.at:
        return other if other.at > one.at else one
    return other if _order(other) > _order(one) else one


def _order(activity: Activity) -> tuple[object, ...]:
    return (
        activity.signal,
        activity.source,
        activity.actor,
        activity.verb,
        activity.resource,
    )
