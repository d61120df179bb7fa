"""One meter's shift: what it folds from taking over until it loses the Lease. No I/O.

News comes in as the inventory tells it; what must be stored comes out of the two books.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import structlog

from billing.core.power import PowerBook
from billing.core.requests import NOTHING, Requests
from billing.core.reservation import ReservationBook, occupancy
from billing.store import MeterState
from metrics.core.clock import EPOCH
from metrics.core.refs import SpaceRef
from metrics.errors import QuantityError
from sleeper.core.objects import Namespace, Pod, SpaceObjects
from sleeper.core.power import PowerState
from sleeper.core.space import tenant_of
from sleeper.kube.podchange import PodChange

log = structlog.get_logger(__name__)


class MeteredInventory(Protocol):
    """What the meter reads of the inventory."""

    @property
    def synced(self) -> bool:
        """Every kind has been listed and its watch lives."""
        ...

    @property
    def pods_seen_until(self) -> datetime | None:
        """Last proof of life of the Pod watch."""
        ...

    @property
    def pods_lost_sight(self) -> tuple[datetime, datetime] | None:
        """The last stretch from proof of life to re-list; what was brief left no trace in it."""
        ...

    async def catch_up_on_pods(self) -> None:
        """Return once every change of Pods up to now has surely been seen."""
        ...

    def namespaces(self) -> Iterable[Namespace]:
        """All namespaces."""
        ...

    def space(self, name: str) -> SpaceObjects | None:
        """All objects of a namespace, or None if there is no such namespace."""
        ...

    def by_uid(self, uid: str) -> Namespace | None:
        """The namespace with this uid; cheap."""
        ...

    def subscribe(self, callback: Callable[[str], None]) -> object:
        """Call back with the name of each namespace in which something changed."""
        ...

    def subscribe_pods(self, callback: Callable[[PodChange], None]) -> object:
        """Call back with each change of a Pod."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerNews:
    """What the verdict loop said last about a Space's power.

    Attributes:
        space: the Space.
        state: its power state.
        since: epoch second.
        freed: requests that its sleep frees; nothing unless Asleep.
    """

    space: SpaceRef
    state: PowerState
    since: int
    freed: Requests = NOTHING


class Shift:
    """The meter's fold.

    Attributes:
        reservations: rows of Pods.
        power: stretches of power states.
        blind: from and to which epoch second nobody saw what happened, until that is stored.
        alive_until: last stored proof of life, epoch second.
    """

    def __init__(
        self,
        before: MeterState,
        inventory: MeteredInventory,
        powers: Mapping[str, PowerNews],
        *,
        start: int,
    ) -> None:
        """Take over: bring the rows of the last shift in line with what is there now.

        Args:
            before: where the last shift left off.
            inventory: synced.
            powers: what is known of power states, by namespace uid.
            start: now, epoch second; no earlier than the last proof of life.
        """
        self.reservations = ReservationBook(before.reservations)
        self.power = PowerBook(before.power)
        self.blind: tuple[int, int] | None = None
        self.alive_until = start
        self._inventory = inventory
        # Nothing is claimed from before the first meter ran.
        self._seen_until = start if before.seen_until is None else before.seen_until
        # Every namespace by name; None for one that is no Space.
        self._spaces: dict[str, SpaceRef | None] = {}
        # Since when the Pods of a Space that joined during the shift count, by name.
        self._metered_since: dict[str, int] = {}
        self._reconcile(powers, now=start)

    def pod_changed(self, change: PodChange) -> None:
        """A Pod came, changed or went."""
        at = seconds(change.at)
        old, new = change.old, change.new
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            was_there = change.seen_until if change.relisted else None
            gone_at = at if was_there is None else seconds(was_there)
            self.reservations.removed(old.metadata.uid, at=gone_at)
        if new is None:
            return
        name = new.metadata.namespace
        space = self._spaces.get(name)
        if space is not None:
            self._observe(space, new, at=at, since=self._metered_since.get(name, 0))

    def namespace_changed(self, name: str, *, now: int) -> str | None:
        """Something in a namespace changed: perhaps whether it is a Space, or who pays.

        Returns:
            The namespace uid of the Space that is no more, if one went.
        """
        if self._is_as_known(name):
            return None
        objects = self._inventory.space(name)
        space = None if objects is None else _space_ref(objects.namespace)
        is_new = name not in self._spaces
        known = self._spaces.get(name)
        gone = None
        if known is not None and (space is None or space.uid != known.uid):
            gone = known.uid
            self.reservations.left(gone, at=now)
            self.power.left(gone, at=now)
        if objects is None:
            self._spaces.pop(name, None)
            self._metered_since.pop(name, None)
        elif is_new or space != known:
            self._spaces[name] = space
            if space is not None:
                self._joined_or_moved(space, known, objects, is_new=is_new, now=now)
        return gone

    def lost_sight(self, since: int, until: int) -> None:
        """Nobody saw what happened in ``[since, until)``."""
        if self.blind is not None:
            since, until = min(since, self.blind[0]), max(until, self.blind[1])
        self.blind = (since, until)

    def power_changed(self, news: PowerNews) -> None:
        """A Space is in a power state; saying so again changes nothing.

        A stretch that began before the last shift ended goes on from there without a seam.
        """
        since = max(news.since, self._seen_until)
        self.power.entered(news.space, news.state.value, at=since, freed=news.freed)

    def _is_as_known(self, name: str) -> bool:
        """The usual case, without building the view of all the namespace's objects."""
        known = self._spaces.get(name)
        namespace = None if known is None else self._inventory.by_uid(known.uid)
        return namespace is not None and _space_ref(namespace) == known

    def _joined_or_moved(
        self,
        space: SpaceRef,
        known: SpaceRef | None,
        objects: SpaceObjects,
        *,
        is_new: bool,
        now: int,
    ) -> None:
        if known is not None and known.uid == space.uid:
            self.reservations.moved(space, at=now)
            self.power.moved(space, at=now)
            return
        # A namespace that is new counts from its first Pod; one that was labelled, from now on.
        since = 0 if is_new or known is not None else now
        self._metered_since[space.name] = since
        for pod in objects.pods:
            self._observe(space, pod, at=now, since=since)

    def _reconcile(self, powers: Mapping[str, PowerNews], *, now: int) -> None:
        living: set[str] = set()
        for namespace in tuple(self._inventory.namespaces()):
            name = namespace.metadata.name
            space = self._spaces[name] = _space_ref(namespace)
            objects = self._inventory.space(name)
            if space is None or objects is None:
                continue
            for pod in objects.pods:
                living.add(pod.metadata.uid)
                self._observe(space, pod, at=now, since=self._seen_until)
        for uid in self.reservations.open_rows.keys() - living:
            self.reservations.removed(uid, at=self._seen_until)
        # Pods that are the same prove that they stayed; a power state must be said again.
        for uid in self.power.space_uids():
            self.power.left(uid, at=self._seen_until)
        for space in self._spaces.values():
            if space is not None and space.uid in powers:
                # The news may be older than the Space's present payer.
                self.power_changed(replace(powers[space.uid], space=space))

    def _observe(self, space: SpaceRef, pod: Pod, *, at: int, since: int) -> None:
        """Fold one look at a Pod.

        A Pod without a row that was scheduled before ``since`` belonged to no Space then; when
        that changed is not known, so it counts from now on.
        """
        try:
            seen = occupancy(pod.spec, pod.status, at=at)
        except QuantityError as error:
            log.warning(
                "pod not metered", space=space.name, pod=pod.metadata.name, error=str(error)
            )
            return
        if seen is not None:
            not_before = since if seen.start >= since else at
            self.reservations.observe(pod.metadata.uid, space, seen, at=at, not_before=not_before)


def seconds(at: datetime) -> int:
    """Whole epoch seconds, rounded down."""
    since_epoch = at - EPOCH
    return since_epoch.days * 86_400 + since_epoch.seconds


def _space_ref(namespace: Namespace) -> SpaceRef | None:
    tenant = tenant_of(namespace)
    if tenant is None:
        return None
    return SpaceRef(uid=namespace.metadata.uid, name=namespace.metadata.name, tenant=tenant)
