"""Which Pods of a Space still belong to the workloads of a sleep. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sleeper.core.objects import Pod, SpaceObjects
from sleeper.core.owners import Owners
from sleeper.core.record import ObjectRef

_FINISHED: Final = frozenset({"Succeeded", "Failed"})


def live_pods(objects: SpaceObjects, refs: Iterable[ObjectRef]) -> tuple[Pod, ...]:
    """Pods of these workloads that still run or may run.

    A Pod of a ReplicaSet that is not known (any more) counts: it may be theirs. A Pod that has
    finished does not: it holds nothing, and its controller leaves it lying.
    """
    owners = Owners(objects)
    late = owners.missing("ReplicaSet", objects.pods)
    belongs = owners.owned_by((*(ref.uid for ref in refs), *late))
    return tuple(p for p in objects.pods if p.status.phase not in _FINISHED and belongs(p))


def lasting_pods(objects: SpaceObjects, refs: Iterable[ObjectRef]) -> tuple[tuple[Pod, str], ...]:
    """The live Pods of these workloads, each with ``Kind/name`` of the one that it belongs to.

    For a Pod of a ReplicaSet that is not known it is that.
    """
    refs = tuple(refs)
    names = {ref.uid: f"{ref.kind}/{ref.name}" for ref in refs}
    owners = Owners(objects)
    found = []
    for pod in live_pods(objects, refs):
        above = (names.get(workload.metadata.uid) for workload in owners.workloads_above(pod))
        top = owners.top(pod)
        unknown = "" if top is None else f"{top.kind}/{top.name}"
        found.append((pod, next((name for name in above if name is not None), unknown)))
    return tuple(found)
