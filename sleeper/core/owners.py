"""Who owns an object, up to the top, and what their owners excluded. Pure.

Every owner reference counts, also one without ``controller: true``: operators leave that out, and
revert us all the same. A kind is told by its group too: a ``Job`` of another group is no Job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Final

from sleeper.core.names import EXCLUDE
from sleeper.core.objects import (
    CronJob,
    DaemonSet,
    Deployment,
    Job,
    KubeObject,
    OwnerReference,
    ReplicaSet,
    ReplicationController,
    ScaleTargetRef,
    SpaceObjects,
    StatefulSet,
)

_GROUPS: Final[Mapping[type[KubeObject], str]] = {
    Deployment: "apps",
    StatefulSet: "apps",
    ReplicaSet: "apps",
    DaemonSet: "apps",
    ReplicationController: "",
    Job: "batch",
    CronJob: "batch",
}
"""Kinds that may own others and that the inventory lists → their API group."""

_MOST_OWNERS: Final = 16

_LISTED: Final = frozenset((group, kind.__name__) for kind, group in _GROUPS.items())


def is_listed(reference: OwnerReference) -> bool:
    """Whether the inventory lists the kind of an owner: one that is missing is only late."""
    return (_group(reference.api_version), reference.kind) in _LISTED


class Owners:
    """Every object of one Space that may own others."""

    def __init__(self, objects: SpaceObjects) -> None:
        groups: tuple[tuple[KubeObject, ...], ...] = (
            objects.deployments,
            objects.stateful_sets,
            objects.replica_sets,
            objects.replication_controllers,
            objects.daemon_sets,
            objects.jobs,
            objects.cron_jobs,
        )
        self._by_uid: Mapping[str, KubeObject] = {
            obj.metadata.uid: obj for group in groups for obj in group
        }
        self._top: dict[str, OwnerReference] = {}

    def get(self, uid: str) -> KubeObject | None:
        """The object with this uid, if it is one that may own others."""
        return self._by_uid.get(uid)

    def target(self, reference: ScaleTargetRef) -> KubeObject | None:
        """The object that an autoscaler scales, if it is one of these."""
        return self._named.get((_group(reference.api_version), reference.kind, reference.name))

    def top(self, obj: KubeObject) -> OwnerReference | None:
        """The topmost owner, or None; going up stops at a Deployment or StatefulSet."""
        top, way = None, set[str]()
        here: KubeObject | None = obj
        while here is not None and (owners := here.metadata.owners()):
            if owners[0].uid in way:
                break
            top = owners[0]
            if (known := self._top.get(top.uid)) is not None:
                top = known
                break
            way.add(top.uid)
            here = self._by_uid.get(top.uid)
            if isinstance(here, Deployment | StatefulSet):
                break
        if top is not None:
            self._top.update(dict.fromkeys(way, top))
        return top

    def workloads_above(self, obj: KubeObject) -> tuple[KubeObject, ...]:
        """The Deployments and StatefulSets that an object belongs to, the nearest first.

        Of its first few owners, and the topmost: nobody has more but to make us look.
        """
        found: dict[str, KubeObject] = {}
        seen: dict[str, None] = {}
        level = [obj]
        while level and len(seen) < _MOST_OWNERS:
            above = []
            for owner in (owner for below in level for owner in below.metadata.owners()):
                if owner.uid in seen:
                    continue
                seen[owner.uid] = None
                if (known := self._by_uid.get(owner.uid)) is not None:
                    above.append(known)
                if len(seen) == _MOST_OWNERS:
                    break
            level = above
        top = self.top(obj)
        for uid in (*seen, *(() if top is None else (top.uid,))):
            known = self._by_uid.get(uid)
            if isinstance(known, Deployment | StatefulSet):
                found[uid] = known
        return tuple(found.values())

    def owned_by(self, uids: Iterable[str]) -> Callable[[KubeObject], bool]:
        """Tells of an object whether one of these owns it, or owns an owner of it, and so on.

        What they own is looked up once, from the top: owners can be many and chains of them long,
        and to go up from each object would cost the product of both.
        """
        reached = set(uids)
        ahead = list(reached)
        while ahead:
            for uid in self._owned.get(ahead.pop(), ()):
                if uid not in reached:
                    reached.add(uid)
                    ahead.append(uid)
        return lambda obj: any(owner.uid in reached for owner in obj.metadata.owners())

    def missing(self, kind: str, objects: Iterable[KubeObject]) -> frozenset[str]:
        """Uids of owners of these or of known objects that are of a listed kind and not known."""
        return frozenset(
            owner.uid
            for group in (self._by_uid.values(), objects)
            for obj in group
            for owner in obj.metadata.owners()
            if owner.kind == kind and owner.uid not in self._by_uid and is_listed(owner)
        )

    def spared(self, obj: KubeObject) -> bool:
        """Whether a sleep leaves an object alone because its owner excluded it.

        The one answer for hazards and for the plan. A workload goes to zero with all that it owns,
        so what counts for a Pod or ReplicaSet of it is what stands on the workload, or above; on
        the Pod itself ``exclude`` keeps nobody from stopping it.
        """
        if not isinstance(obj, Deployment | StatefulSet) and self._has_workload_above(obj):
            return not self._has_sleeping_workload_above(obj)
        return self._excluded(obj)

    def _excluded(self, obj: KubeObject) -> bool:
        return is_excluded(obj) or self._has_excluded_above(obj)

    @cached_property
    def _named(self) -> Mapping[tuple[str, str, str], KubeObject]:
        return {
            (_GROUPS[type(obj)], type(obj).__name__, obj.metadata.name): obj
            for obj in self._by_uid.values()
        }

    @cached_property
    def _owned(self) -> Mapping[str, list[str]]:
        """Uid of an owner → those of the known objects that it owns."""
        owned: dict[str, list[str]] = {}
        for uid, obj in self._by_uid.items():
            for owner in obj.metadata.owners():
                owned.setdefault(owner.uid, []).append(uid)
        return owned

    @cached_property
    def _has_excluded_above(self) -> Callable[[KubeObject], bool]:
        return self.owned_by(uid for uid, obj in self._by_uid.items() if is_excluded(obj))

    @cached_property
    def _has_workload_above(self) -> Callable[[KubeObject], bool]:
        return self.owned_by(
            uid for uid, obj in self._by_uid.items() if isinstance(obj, Deployment | StatefulSet)
        )

    @cached_property
    def _has_sleeping_workload_above(self) -> Callable[[KubeObject], bool]:
        return self.owned_by(
            uid
            for uid, obj in self._by_uid.items()
            if isinstance(obj, Deployment | StatefulSet) and not self._excluded(obj)
        )


def is_excluded(obj: KubeObject) -> bool:
    """Whether an object carries ``exclude``; a value that cannot be read counts as ``true``."""
    return excludes(obj.metadata.annotations)


def excludes(annotations: Mapping[str, str] | None) -> bool:
    """Whether these annotations exclude the object that they stand on."""
    value = (annotations or {}).get(EXCLUDE)
    return value is not None and value.strip().lower() != "false"


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]
