"""The immutable input of one decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from metrics.core.refs import SpaceRef
from metrics.core.signals import Activity, OpenStream, SignalName, SignalView
from sleeper.core.power import Sleep
from sleeper.core.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Hazard:
    """Something in the Space that sleeping would destroy or could not bring back.

    Attributes:
        reason: the CamelCase reason.
        subject: ``Kind/name`` of the object.
        message: one sentence for people.
        advice: what would end it, as half a sentence; an annotation of ours in it has that effect
            on the object that it names.
        holds: True if it holds the Space awake; False if it is only named by ``explain``.
        wakes: True if its appearance in a sleeping Space wakes it.
        until: when it ceases to hold; None: with what it is about.
        empties: what of it sleeping empties, as a noun phrase; "" if nothing.
    """

    reason: Reason
    subject: str
    message: str
    advice: str = ""
    holds: bool = True
    wakes: bool = False
    until: datetime | None = None
    empties: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that a verdict may depend on, beside policy and ``now``.

    Attributes:
        space: identity.
        created_at: creation of the namespace.
        no_space_because: why it is no Space (any more), while something is still asleep; else None.
        terminating: the namespace has a deletion timestamp.
        protected_because: why it must never sleep, or None.
        inventory_synced: every kind has been listed and its watch is alive.
        has_routes: it has an Ingress, a Gateway API route or a LoadBalancer Service.
        sleepable: number of workloads that run something we could sleep.
        hazards: what sleeping would destroy, most important first.
        streams: open streams.
        oldest_pod_at: creation of its oldest Pod; None: not known, so older than anything.
        signals: what each known signal can say; a signal that is missing here is Unknown.
        last_activity: latest proof of use over all signals.
        last_touch: latest activity by a person or deployer through the API.
        last_visit: latest web visit, dated by the scrape that showed it.
        visits_doubted: the last sleep was turned back by a visit that may have come after it, and
            nobody has used the Space since.
        rules_since: start of the present rules (label, routes, required signals).
        woken_at: end of the last sleep, or None.
        noticed_at: since when the owner has been told; None if not told.
        cursor: instants of the schedule up to here have been applied; None: time begins now.
        sleep: the present sleep, or None while awake.
        retry_sleep_at: no sleep is tried before this instant (after a failed one).
        owner_wake: a change by the owner to a sleeping Space that wakes it, with its sentence.
    """

    space: SpaceRef
    created_at: datetime
    no_space_because: str | None = None
    terminating: bool = False
    protected_because: str | None = None
    inventory_synced: bool = True
    has_routes: bool = False
    sleepable: int = 1
    hazards: tuple[Hazard, ...] = ()
    streams: tuple[OpenStream, ...] = ()
    oldest_pod_at: datetime | None = None
    signals: Mapping[SignalName, SignalView] = field(default_factory=dict)
    last_activity: Activity | None = None
    last_touch: Activity | None = None
    last_visit: Activity | None = None
    visits_doubted: bool = False
    rules_since: datetime | None = None
    woken_at: datetime | None = None
    noticed_at: datetime | None = None
    cursor: datetime | None = None
    sleep: Sleep | None = None
    retry_sleep_at: datetime | None = None
    owner_wake: tuple[Reason, str] | None = None
