"""From everything we know to one verdict about one Space: snapshot, policy, decision.

The verdict loop, the re-decision just before acting and ``explain`` all come through here, so they
can never differ in what they looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from metrics.core.instants import EARLIEST, LATEST, parse, plus
from metrics.core.refs import SpaceRef
from metrics.core.signals import SignalName, SignalView
from sleeper.control.book import SpaceBook, SpacePage
from sleeper.control.readings import Readings
from sleeper.control.signals import SignalBoard
from sleeper.core import names
from sleeper.core.decide import decide
from sleeper.core.failures import sure_to_fail
from sleeper.core.fights import fight
from sleeper.core.hazards import find_hazards
from sleeper.core.objects import Namespace, SpaceObjects
from sleeper.core.plan import sleepable
from sleeper.core.policy import Mode, PolicyDefaults, PolicyReading
from sleeper.core.power import PowerState, Sleep
from sleeper.core.reasons import Reason
from sleeper.core.record import SleepRecord
from sleeper.core.restore import owner_wake
from sleeper.core.routes import route_versions
from sleeper.core.snapshot import Hazard, Snapshot
from sleeper.core.space import misnamed, no_space_because, tenant_of
from sleeper.core.verdict import Verdict

OVERDUE_GRACE: Final = timedelta(seconds=60)
"""How long after its deadline a sleep that nobody has ended is ended by any replica.

Its own flight comes first, because it knows why it failed and backs off.
"""


class InventoryView(Protocol):
    """What a decision reads of the inventory."""

    @property
    def synced(self) -> bool:
        """Every kind has been listed and its watch lives."""
        ...

    def space(self, name: str) -> SpaceObjects | None:
        """All objects of a namespace, or None if there is no such namespace."""
        ...


class RecordsView(Protocol):
    """What a decision reads of the sleep records."""

    def all(self) -> Mapping[str, SleepRecord]:
        """The present record of each sleeping Space, by namespace uid."""
        ...


class RoutesView(Protocol):
    """Who knows which routes no provider of the traffic signal carries."""

    def uncarried(self, objects: SpaceObjects) -> tuple[str, ...]:
        """``Kind/name`` of each route of the Space whose traffic nothing we read would show."""
        ...


class PageOf(Protocol):
    """Where an assessment gets the Space's page from: the book's own, or a copy of it."""

    def __call__(
        self,
        uid: str,
        *,
        rules: str | None,
        record: SleepRecord | None,
        used_at: datetime | None,
        now: datetime,
    ) -> SpacePage:
        """See :meth:`sleeper.control.book.SpaceBook.page`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """One decision with everything it was made from."""

    objects: SpaceObjects
    snapshot: Snapshot
    reading: PolicyReading
    verdict: Verdict
    page: SpacePage
    record: SleepRecord | None

    @property
    def power(self) -> PowerState:
        """The Space's power state as this assessment sees it."""
        if self.record is not None:
            return self.record.phase
        return PowerState.DROWSY if self.page.noticed_at is not None else PowerState.AWAKE


def space_ref(namespace: Namespace, record: SleepRecord | None) -> SpaceRef:
    """Identity of a Space; a namespace that is none any more keeps the tenant of its record."""
    meta = namespace.metadata
    tenant = tenant_of(namespace)
    if tenant is None:
        tenant = record.tenant if record is not None else ""
    return SpaceRef(uid=meta.uid, name=meta.name, tenant=tenant)


def rules_fingerprint(
    routes: Iterable[str], uncarried: Iterable[str], required: Iterable[SignalName]
) -> str:
    """What idleness is measured by: when it changes, the idle clock starts anew.

    A route that nothing we read carried has traffic that nobody saw, so becoming carried counts.
    """
    text = "|".join(",".join(sorted(part)) for part in (routes, uncarried, required))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Assessor:
    """Builds snapshots and asks :func:`sleeper.core.decide.decide`."""

    def __init__(
        self,
        *,
        inventory: InventoryView,
        records: RecordsView,
        board: SignalBoard,
        book: SpaceBook,
        routes: RoutesView | None,
        defaults: PolicyDefaults,
        protected_because: Callable[[str], str | None],
        sleep_deadline: timedelta,
    ) -> None:
        self._inventory = inventory
        self._records = records
        self._board = board
        self._book = book
        self._routes = routes
        self._readings = Readings(defaults)
        self._protected_because = protected_because
        self._sleep_deadline = sleep_deadline

    def namespace(self, name: str) -> Namespace | None:
        """The namespace of this name, whether it is a Space or not."""
        objects = self._inventory.space(name)
        return None if objects is None else objects.namespace

    def observes(self, name: str) -> bool:
        """Whether namespace ``name`` is in mode ``observe``: then no sleep may touch it."""
        objects = self._inventory.space(name)
        if objects is None:
            return True
        reading = self._readings.policy(objects.namespace, has_routes=False)
        return reading.policy.mode.value is Mode.OBSERVE

    def observe(
        self, name: str, now: datetime, *, views: Mapping[SignalName, SignalView] | None = None
    ) -> Assessment | None:
        """The verdict, and the Space's page brought up to what was seen: for the loop alone.

        As :meth:`assess` otherwise; the assessment's page is the book's own.
        """
        seen = self._assess(name, now, views, self._book.page)
        if seen is None:
            self._readings.forget(name)
            if (objects := self._inventory.space(name)) is not None:
                # Its use is not followed until it is a Space again.
                self._book.forget(objects.namespace.metadata.uid)
        return seen

    def assess(self, name: str, now: datetime) -> Assessment | None:
        """The verdict on namespace ``name`` at ``now``; None if there is nothing to decide.

        There is something to decide for every Space, and for any other namespace as long as a
        sleep of ours is on record there. Nothing is changed by asking: the assessment's page is
        a copy.
        """
        return self._assess(name, now, None, self._book.copy)

    def _assess(
        self,
        name: str,
        now: datetime,
        views: Mapping[SignalName, SignalView] | None,
        page_of: PageOf,
    ) -> Assessment | None:
        objects = self._inventory.space(name)
        if objects is None:
            return None
        meta = objects.namespace.metadata
        record = self._records.all().get(meta.uid)
        no_space = no_space_because(objects.namespace)
        if no_space is not None and record is None:
            return None
        space = space_ref(objects.namespace, record)
        routes = route_versions(objects)
        uncarried = self._routes.uncarried(objects) if self._routes is not None else ()
        reading = self._readings.policy(objects.namespace, has_routes=bool(routes))
        if (note := misnamed(objects.namespace)) is not None:
            reading = replace(reading, problems=(note, *reading.problems))
        if misread := self._readings.on_workloads(objects):
            reading = replace(reading, warnings=(*reading.warnings, *misread))
        required = reading.policy.required_signals.value
        synced = self._inventory.synced  # half an inventory lacks routes
        activity = self._board.activity(name)
        page = page_of(
            meta.uid,
            rules=rules_fingerprint(routes, uncarried, required) if synced else None,
            record=record,
            used_at=None if activity is None else activity.latest.at,
            now=now,
        )
        snapshot = Snapshot(
            space=space,
            created_at=_created_at(objects.namespace, now),
            no_space_because=no_space,
            terminating=meta.deletion_timestamp is not None,
            protected_because=self._protected_because(name),
            inventory_synced=synced,
            has_routes=bool(routes),
            sleepable=len(sleepable(objects)),
            hazards=(
                *find_hazards(
                    objects,
                    record,
                    local_data=reading.policy.local_data.value,
                    sleep_deadline=self._sleep_deadline,
                ),
                *map(_unseen, uncarried),
                *_past(page, objects, record),
            ),
            streams=self._board.streams(name, now),
            oldest_pod_at=_oldest_pod_at(objects, now),
            signals=self._board.views(now) if views is None else views,
            last_activity=activity.latest if activity is not None else None,
            last_touch=activity.touch if activity is not None else None,
            last_visit=self._board.visit(name),
            visits_doubted=page.visits_doubted,
            rules_since=page.state.rules_since,
            woken_at=page.state.woken_at,
            noticed_at=page.noticed_at,
            cursor=_cursor(meta.annotation(names.SCHEDULE_CURSOR), now),
            sleep=_sleep(record, page.ceiling, self._sleep_deadline),
            retry_sleep_at=page.retry_sleep_at,
            owner_wake=owner_wake(objects, record) if record is not None else None,
        )
        verdict = decide(snapshot, reading, now)
        return Assessment(
            objects=objects,
            snapshot=snapshot,
            reading=reading,
            verdict=verdict,
            page=page,
            record=record,
        )


def _past(page: SpacePage, objects: SpaceObjects, record: SleepRecord | None) -> tuple[Hazard, ...]:
    """How earlier sleeps ended holds the awake; it is no reason to end one that has begun."""
    if record is not None:
        return ()
    found = (fight(page.reversals), sure_to_fail(page.alike, objects))
    return tuple(hazard for hazard in found if hazard is not None)


def _unseen(route: str) -> Hazard:
    return Hazard(
        reason=Reason.NO_TRAFFIC_PROVIDER,
        subject=route,
        message=f"{route} is carried by nothing whose traffic we can read",
        advice=(
            f"{route} gone or carried by what we read, or {names.REQUIRED_SIGNALS}: api on the "
            "namespace, where use of the API alone tells"
        ),
    )


def _sleep(
    record: SleepRecord | None, ceiling: datetime | None, deadline: timedelta
) -> Sleep | None:
    """The sleep on record; a horizon in the future counts as the instant of the clock's step."""
    if record is None:
        return None
    latest = ceiling or LATEST
    decided_at, since = min(record.decided_at, latest), record.sleeping_since
    return Sleep(
        epoch=record.epoch,
        phase=record.phase,
        horizon=min(record.horizon, latest),
        decided_at=decided_at,
        reason=record.reason,
        sleeping_since=None if since is None else min(since, latest),
        wake_reason=record.wake_reason,
        overdue_at=plus(decided_at, deadline + OVERDUE_GRACE),
    )


def _instant(value: str | None) -> datetime | None:
    """An instant that we wrote; what somebody else made of it counts as absent."""
    return None if value is None else parse(value)


def _oldest_pod_at(objects: SpaceObjects, now: datetime) -> datetime:
    """Creation of the oldest Pod; one that cannot be read is older than any, none is not yet."""
    created = (_instant(pod.metadata.creation_timestamp) or EARLIEST for pod in objects.pods)
    return min(created, default=now)


def _cursor(value: str | None, now: datetime) -> datetime | None:
    """Up to when the schedule is applied; in the future only where the clock was set back since.

    Then time begins now: what the old time line had applied comes again on this one.
    """
    cursor = _instant(value)
    return None if cursor is None or cursor > now else cursor


def _created_at(namespace: Namespace, now: datetime) -> datetime:
    """Creation of the namespace; unreadable counts as just now, the side of staying awake."""
    return _instant(namespace.metadata.creation_timestamp) or now
