"""Which Pods of a Space still belong to the workloads of a sleep. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sleeper.core.objects import Pod, SpaceObjects
from sleeper.core.owners import Owners, is_listed
from sleeper.core.record import ObjectRef

_FINISHED: Final = frozenset({"Succeeded", "Failed"})


def live_pods(objects: SpaceObjects, refs: Iterable[ObjectRef]) -> tuple[Pod, ...]:
    """Pods of these workloads that still run or may run.

    A Pod of a ReplicaSet that is not known (any more) counts: it may be theirs. A Pod that has
    finished does not: it holds nothing, and its controller leaves it lying.
    """
    uids = {ref.uid for ref in refs}
    owners = Owners(objects)

    def belongs(pod: Pod) -> bool:
        return any(
            owner.uid in uids
            or (owner.kind == "ReplicaSet" and is_listed(owner) and owners.get(owner.uid) is None)
            for owner in owners.chain(pod)
        )

    return tuple(p for p in objects.pods if p.status.phase not in _FINISHED and belongs(p))
