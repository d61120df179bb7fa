"""StatefulSets: replicas go to 0, and claims that a scale-down would delete are kept."""

from __future__ import annotations

from typing import Final

from sleeper.core.jsonpatch import JsonObject, resolve
from sleeper.core.record import FieldValue
from sleeper.core.workloads.base import (
    Switch,
    WorkloadKind,
    is_count,
    number,
    pods_are_up,
    replicas_switch,
)

# With `Delete`, scaling to 0 deletes every claim. The switch to `Retain` must be in the same patch
# as the replicas: the controller acts on the first of two patches before the second arrives.
_WHEN_SCALED: Final = Switch(
    pointer="/spec/persistentVolumeClaimRetentionPolicy/whenScaled",
    asleep=lambda _original: "Retain",
    turns=lambda original: original == "Delete",
    plausible=lambda value, _recorded: value in {"Delete", "Retain"},
    cautious=True,
)


_INT32_MAX: Final = 2**31 - 1


def _one_beside(original: FieldValue) -> FieldValue:
    if not isinstance(original, int):
        return 1
    return original + 1 if original < _INT32_MAX else original - 1


# Unlike for a Deployment, only a change of the spec moves the generation of a StatefulSet. One
# more old revision kept for a moment changes nothing that anybody could see.
_HISTORY: Final = Switch(
    pointer="/spec/revisionHistoryLimit",
    asleep=_one_beside,
    turns=lambda _original: True,
    plausible=lambda value, _recorded: value is None or (is_count(value) and value <= _INT32_MAX),
)


def _held_back(live: JsonObject) -> str | None:
    # At zero the controller calls every roll-out complete at once, before anybody can wake it, and
    # with `OnDelete` a new Pod is always of the newest revision.
    if resolve(live, "/spec/updateStrategy/type") == "OnDelete":
        return "its Pods are replaced by hand (`OnDelete`)"
    partition = number(live, "/spec/updateStrategy/rollingUpdate/partition")
    return f"its roll-outs stop at Pod {partition} (`partition`)" if partition else None


STATEFUL_SET: Final = WorkloadKind(
    kind="StatefulSet",
    group_version="apps/v1",
    plural="statefulsets",
    replicas=replicas_switch(),
    guards=(_WHEN_SCALED,),
    fence=_HISTORY,
    select=lambda objects: objects.stateful_sets,
    ready=pods_are_up,
    held_back=_held_back,
)
