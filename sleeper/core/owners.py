"""Who manages an object, up to the top, and what their owners excluded. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sleeper.core.names import EXCLUDE
from sleeper.core.objects import Deployment, KubeObject, OwnerReference, SpaceObjects, StatefulSet


class Owners:
    """Every object of one Space that may manage others."""

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
        """The object with this uid, if it is one that may manage others."""
        return self._by_uid.get(uid)

    def named(self, kind: str, name: str) -> KubeObject | None:
        """The object of this kind and name."""
        for obj in self._by_uid.values():
            if obj.metadata.name == name and type(obj).__name__ == kind:
                return obj
        return None

    def chain(self, obj: KubeObject) -> Iterator[OwnerReference]:
        """The managing owners of an object, from the nearest to the top, as far as known."""
        seen: set[str] = set()
        owner = obj.metadata.controller()
        while owner is not None and owner.uid not in seen:
            yield owner
            seen.add(owner.uid)
            known = self._by_uid.get(owner.uid)
            owner = None if known is None else known.metadata.controller()

    def top(self, obj: KubeObject) -> OwnerReference | None:
        """The topmost owner, or None; going up stops at a Deployment or StatefulSet."""
        top = None
        for owner in self.chain(obj):
            top = owner
            if isinstance(self._by_uid.get(owner.uid), Deployment | StatefulSet):
                break
        return top

    def excluded(self, obj: KubeObject) -> bool:
        """Whether its owner excluded an object or anything that manages it."""
        if is_excluded(obj):
            return True
        managers = (self._by_uid.get(owner.uid) for owner in self.chain(obj))
        return any(manager is not None and is_excluded(manager) for manager in managers)


def is_excluded(obj: KubeObject) -> bool:
    """Whether an object carries ``exclude``; a value that cannot be read counts as ``true``."""
    value = obj.metadata.annotation(EXCLUDE)
    return value is not None and value.strip().lower() != "false"
