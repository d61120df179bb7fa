"""Values and strategies for the tests of the pure decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from metrics.core.refs import SpaceRef
from metrics.core.signals import (
    Activity,
    ActorClass,
    OpenStream,
    SignalName,
    SignalView,
)
from sleeper.core.durations import format_duration
from sleeper.core.policy import PolicyDefaults, PolicyReading, read_policy
from sleeper.core.power import PowerState, Sleep
from sleeper.core.reasons import Reason
from sleeper.core.snapshot import Hazard, Snapshot

NOW = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)
"""A Wednesday."""

SPACE = SpaceRef(uid="5e1f", name="team-a-dev", tenant="team-a")

Facts = dict[str, Any]
"""Fields of a snapshot by name, each of its own type."""


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def api(watermark: datetime | None, **more: Any) -> SignalView:
    view = SignalView(name=SignalName.API, watermark=watermark, last_gap_end=None)
    return replace(view, **more)


def touch(at: datetime) -> Activity:
    return Activity(
        at=at,
        signal=SignalName.API,
        source="kube-apiserver",
        actor=ActorClass.HUMAN,
        verb="get",
        resource="pods",
    )


def stream(started_at: datetime, holds_until: datetime) -> OpenStream:
    return OpenStream(
        apiserver="kube-apiserver",
        audit_id="a-1",
        user="jane",
        space_name=SPACE.name,
        resource="pods/exec",
        started_at=started_at,
        holds_until=holds_until,
    )


def hazard(**more: Any) -> Hazard:
    found = Hazard(reason=Reason.BARE_POD, subject="Pod/x", message="Pod/x has no owner")
    return replace(found, **more)


def sleep(**more: Any) -> Sleep:
    present = Sleep(
        epoch=1,
        phase=PowerState.ASLEEP,
        horizon=NOW - minutes(65),
        decided_at=NOW - minutes(60),
        reason=Reason.IDLE,
        sleeping_since=NOW - minutes(59),
    )
    return replace(present, **more)


def snapshot(**more: Any) -> Snapshot:
    """Awake, three days old, seen by the API signal up to five minutes ago, never used."""
    base = Snapshot(
        space=SPACE,
        created_at=NOW - timedelta(days=3),
        signals={SignalName.API: api(NOW - minutes(5))},
    )
    return replace(base, **more)


def policy(
    annotations: Mapping[str, str] | None = None,
    *,
    routes: bool = False,
    defaults: PolicyDefaults = PolicyDefaults(),  # noqa: B008 frozen
) -> PolicyReading:
    """Read short keys (without the group) over the defaults, with a notice of ten minutes."""
    full = {f"sleeper.dev/{key}": value for key, value in (annotations or {}).items()}
    return read_policy(full, defaults, has_routes=routes)


# -- strategies -----------------------------------------------------------------------------------

_near = st.integers(-3 * 86_400, 3600).map(lambda seconds: NOW + timedelta(seconds=seconds))
_ahead = st.integers(-3600, 3 * 86_400).map(lambda seconds: NOW + timedelta(seconds=seconds))
_maybe_near = st.none() | _near

views = st.builds(
    SignalView,
    name=st.just(SignalName.API),
    watermark=_maybe_near,
    last_gap_end=_maybe_near,
    unknown_because=st.none() | st.none() | st.just("CanaryMissing"),
)

seeing_views = st.builds(
    SignalView,
    name=st.just(SignalName.API),
    watermark=st.integers(0, 600).map(lambda seconds: NOW - timedelta(seconds=seconds)),
    last_gap_end=_maybe_near,
)

signal_maps = st.dictionaries(st.sampled_from(SignalName), views | seeing_views)

hazards = st.builds(
    Hazard,
    until=st.none() | _ahead,
    reason=st.sampled_from([Reason.BARE_POD, Reason.NO_TRAFFIC_PROVIDER, Reason.EMPTY_DIR]),
    subject=st.just("Pod/x"),
    message=st.just("Pod/x is there"),
    holds=st.booleans(),
    wakes=st.booleans(),
)

sleeps = st.builds(
    Sleep,
    epoch=st.integers(1, 9),
    phase=st.sampled_from([PowerState.FALLING_ASLEEP, PowerState.ASLEEP, PowerState.WAKING]),
    horizon=_near,
    decided_at=_near,
    reason=st.sampled_from([Reason.IDLE, Reason.AWAKE_HOURS_ENDED, Reason.DESIRED_ASLEEP]),
    sleeping_since=_maybe_near,
    wake_reason=st.none() | st.just(Reason.TOUCHED),
)

_facts: dict[str, st.SearchStrategy[object]] = {
    "created_at": _near,
    "no_space_because": st.just("it lacks the label"),
    "terminating": st.just(True),
    "protected_because": st.just("it is ours"),
    "inventory_synced": st.just(False),
    "has_routes": st.just(True),
    "sleepable": st.integers(0, 3),
    "hazards": st.lists(hazards, min_size=1, max_size=2).map(tuple),
    "streams": st.lists(st.builds(stream, _near, _ahead), min_size=1, max_size=2).map(tuple),
    "signals": signal_maps | st.fixed_dictionaries({SignalName.API: seeing_views}),
    "last_activity": _near.map(touch),
    "last_touch": _near.map(touch),
    "rules_since": _near,
    "woken_at": _near,
    "noticed_at": _maybe_near,
    "cursor": _maybe_near,
    "retry_sleep_at": _ahead,
    "owner_wake": st.just((Reason.OWNER_SCALED_UP, "web runs")),
}


def snapshots(*, asleep: bool | None = None) -> st.SearchStrategy[Snapshot]:
    """Snapshots around one that sleeps by most policies: up to four facts of it are otherwise.

    Facts drawn freely would nearly always hold the Space awake several times over, and no
    property would be put to the test.

    Args:
        asleep: only those with a present sleep, only those without, or both.
    """
    facts = st.sets(st.sampled_from(sorted(_facts)), max_size=4).flatmap(
        lambda keys: st.fixed_dictionaries({key: _facts[key] for key in sorted(keys)})
    )
    present = {True: sleeps, False: st.none(), None: st.none() | sleeps}[asleep]
    return st.builds(
        lambda found, sleep: replace(
            snapshot(noticed_at=NOW - timedelta(hours=3), cursor=NOW - timedelta(days=7)),
            **{**found, "sleep": sleep},
        ),
        facts,
        present,
    )


_durations = st.integers(1, 2 * 86_400).map(lambda s: format_duration(timedelta(seconds=s)))
_annotation_sets = st.fixed_dictionaries(
    {},
    optional={
        "sleep-after": _durations | st.sampled_from(["never", "soon"]),
        "notice": _durations | st.just("0"),
        "awake-hours": st.sampled_from(
            ["Mon-Fri 08:00-12:00", "Wed 12:00-13:00", "Mon-Sun 00:00-24:00", "Tue 22:00-02:00"]
        ),
        "timezone": st.sampled_from(["Europe/Berlin", "Asia/Kolkata", "Mars/Olympus"]),
        "keep-awake-until": st.sampled_from(["2026-11-18T13:00:00Z", "2026-11-18T11:00:00Z"]),
        "desired": st.sampled_from(["auto", "asleep", "awake"]),
        "required-signals": st.sampled_from(["api", "traffic", "api,traffic"]),
        "exclude": st.sampled_from(["false", "false", "true"]),
        "mode": st.sampled_from(["act", "observe"]),
    },
)
readings = _annotation_sets.map(policy)

earning_readings = st.fixed_dictionaries(
    {},
    optional={
        "sleep-after": st.sampled_from(["1s", "10m", "1h", "1d"]),
        "notice": st.sampled_from(["0", "5m", "2h"]),
        "awake-hours": st.sampled_from(["Mon-Fri 08:00-11:59", "Wed 10:00-11:00"]),
        "desired": st.sampled_from(["auto", "asleep"]),
    },
).map(policy)
"""Policies by which a Space may well sleep at :data:`NOW`."""

hourly_readings = st.fixed_dictionaries(
    {"awake-hours": st.sampled_from(["Mon-Fri 08:00-11:59", "Wed 13:00-14:00", "Thu 00:00-01:00"])},
    optional={
        "sleep-after": st.sampled_from(["1h", "1d", "2d", "never"]),
        "notice": st.sampled_from(["0", "1m", "2h"]),
    },
).map(policy)
"""Policies with awake-hours that begin or end near :data:`NOW`."""
