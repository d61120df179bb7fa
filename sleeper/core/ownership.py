"""Which Pods belong to which workload, by owner uid. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sleeper.core.objects import Pod, SpaceObjects
from sleeper.core.record import ObjectRef

_FINISHED: Final = frozenset({"Succeeded", "Failed"})


def live_pods(objects: SpaceObjects, refs: Iterable[ObjectRef]) -> tuple[Pod, ...]:
    """Pods of these workloads that still run or may run.

    A Pod of a ReplicaSet that is not known (any more) counts: it may be theirs. A Pod that has
    finished does not: it holds nothing, and its controller leaves it lying.
    """
    uids = {ref.uid for ref in refs}
    replica_sets = {rs.metadata.uid: rs.metadata.controller() for rs in objects.replica_sets}

    def belongs(pod: Pod) -> bool:
        owner = pod.metadata.controller()
        if owner is None:
            return False
        if owner.kind == "ReplicaSet" and owner.uid not in replica_sets:
            return True
        if owner.kind == "ReplicaSet":
            owner = replica_sets[owner.uid]
        return owner is not None and owner.uid in uids

    return tuple(p for p in objects.pods if p.status.phase not in _FINISHED and belongs(p))
