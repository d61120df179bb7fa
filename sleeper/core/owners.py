"""Who owns an object, up to the top, and what their owners excluded. Pure.

Every owner reference counts, also one without ``controller: true``: operators leave that out, and
revert us all the same. A kind is told by its group too: a ``Job`` of another group is no Job.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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

    def get(self, uid: str) -> KubeObject | None:
        """The object with this uid, if it is one that may own others."""
        return self._by_uid.get(uid)

    def target(self, reference: ScaleTargetRef) -> KubeObject | None:
        """The object that an autoscaler scales, if it is one of these."""
        group = _group(reference.api_version)
        for obj in self._by_uid.values():
            kind = type(obj)
            named = obj.metadata.name == reference.name and kind.__name__ == reference.kind
            if named and _GROUPS[kind] == group:
                return obj
        return None

    def chain(self, obj: KubeObject) -> Iterator[OwnerReference]:
        """All owners of an object, the nearest first, as far as known."""
        seen: set[str] = set()
        level = [obj]
        while level:
            above = []
            for owner in (owner for below in level for owner in below.metadata.owners()):
                if owner.uid in seen:
                    continue
                yield owner
                seen.add(owner.uid)
                if (known := self._by_uid.get(owner.uid)) is not None:
                    above.append(known)
            level = above

    def top(self, obj: KubeObject) -> OwnerReference | None:
        """The topmost owner, or None; going up stops at a Deployment or StatefulSet."""
        top, seen = None, set[str]()
        here: KubeObject | None = obj
        while here is not None and (owners := here.metadata.owners()):
            if owners[0].uid in seen:
                break
            top = owners[0]
            seen.add(top.uid)
            here = self._by_uid.get(top.uid)
            if isinstance(here, Deployment | StatefulSet):
                break
        return top

    def workloads_above(self, obj: KubeObject) -> tuple[KubeObject, ...]:
        """The Deployments and StatefulSets that an object belongs to."""
        return tuple(
            known
            for owner in self.chain(obj)
            if isinstance(known := self._by_uid.get(owner.uid), Deployment | StatefulSet)
        )

    def spared(self, obj: KubeObject) -> bool:
        """Whether a sleep leaves an object alone because its owner excluded it.

        The one answer for hazards and for the plan. A workload goes to zero with all that it owns,
        so what counts for a Pod or ReplicaSet of it is what stands on the workload, or above; on
        the Pod itself ``exclude`` keeps nobody from stopping it.
        """
        if not isinstance(obj, Deployment | StatefulSet):
            above = self.workloads_above(obj)
            if above:
                return all(self._excluded(workload) for workload in above)
        return self._excluded(obj)

    def _excluded(self, obj: KubeObject) -> bool:
        above = (self._by_uid.get(owner.uid) for owner in self.chain(obj))
        return is_excluded(obj) or any(o is not None and is_excluded(o) for o in above)


def is_excluded(obj: KubeObject) -> bool:
    """Whether an object carries ``exclude``; a value that cannot be read counts as ``true``."""
    return excludes(obj.metadata.annotations)


def excludes(annotations: Mapping[str, str] | None) -> bool:
    """Whether these annotations exclude the object that they stand on."""
    value = (annotations or {}).get(EXCLUDE)
    return value is not None and value.strip().lower() != "false"


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]
