"""What a signal can say about a Space, and how far it has surely seen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class SignalName(StrEnum):
    """The signals that can be required of a Space."""

    API = "api"
    TRAFFIC = "traffic"


class Evidence(StrEnum):
    """Three-valued evidence: no data is never idleness."""

    ACTIVE = "Active"
    IDLE = "Idle"
    UNKNOWN = "Unknown"


class ActorClass(StrEnum):
    """Who was behind an API request, as far as it matters for activity."""

    HUMAN = "human"
    DEPLOYER = "deployer"  # an allow-listed service account, such as a CI deployer
    CONTROLLER = "controller"  # service accounts, nodes, control plane, provider users
    SELF = "self"  # our own user agent or identity
    ANONYMOUS = "anonymous"
    WEB = "web"  # a request through the ingress


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """One proof that a Space was used.

    Attributes:
        at: when it happened, on our clock, never later than its arrival.
        signal: which signal saw it.
        source: which sender within the signal (API server name, traffic provider).
        actor: who, as a class; user names are not kept.
        verb: API verb, or ``request`` for traffic.
        resource: ``pods``, ``pods/exec``, …; for traffic the Service's name.
    """

    at: datetime
    signal: SignalName
    source: str
    actor: ActorClass
    verb: str
    resource: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStream:
    """An exec, attach, port-forward or followed log that is (or may be) still open."""

    apiserver: str
    audit_id: str
    user: str
    space_name: str
    resource: str
    started_at: datetime
    holds_until: datetime  # the bound: a lost completion must not pin a Space for ever


@dataclass(frozen=True, slots=True, kw_only=True)
class UnheardStreams:
    """Streams that an API server serves and whose opening we could not hear.

    Attributes:
        apiserver: which one.
        count: how many there are at most.
        kinds: ``pods/exec``, …
        opened_before: none of them was opened later.
        holds_until: the bound: what never ends must not hold for ever.
    """

    apiserver: str
    count: int
    kinds: tuple[str, ...]
    opened_before: datetime
    holds_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalView:
    """How far one signal has surely seen, for all Spaces that require it.

    Attributes:
        name: the signal.
        watermark: the instant up to which the source has surely seen everything; None: never.
        last_gap_end: end of the last stretch in which something may have been lost for ever;
            counts as activity. None: no gap known.
        unknown_because: a CamelCase reason (``CanaryMissing``, ``PrometheusDown``, …) while the
            signal cannot be trusted at all, with ``unknown_detail`` for people; None while it can.
        unheard: streams that may be open in any Space that was there when they were opened.
        dated_late_by: how much later than it happened an activity may be dated.
    """

    name: SignalName
    watermark: datetime | None
    last_gap_end: datetime | None
    unknown_because: str | None = None
    unknown_detail: str = ""
    unheard: tuple[UnheardStreams, ...] = ()
    dated_late_by: timedelta = timedelta()
