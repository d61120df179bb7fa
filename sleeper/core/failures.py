"""Sleeps that fail alike: noticed, named, and not tried again before something changes. Pure.

Every sleep that fails restarts what it had stopped. One whose cause lies in the Space itself (a Pod
that never stops in time, an object that may not be written) would do so for ever.

What is counted lives in memory. A restart begins to count anew, which costs a few more tries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from metrics.core.instants import plus
from sleeper.core.durations import format_instant
from sleeper.core.names import is_owners
from sleeper.core.objects import Deployment, KubeObject, SpaceObjects, StatefulSet
from sleeper.core.owners import Owners
from sleeper.core.reasons import Reason
from sleeper.core.snapshot import Hazard
from sleeper.core.space import tenant_of
from sleeper.core.text import some

ALIKE: Final = 3
"""So many sleeps in a row that failed for the same reason, at the same objects of the same Space,
are sure to fail again."""

TRIED_AGAIN_AFTER: Final = {
    Reason.FALLING_ASLEEP_TIMED_OUT: None,
    Reason.WRITE_DENIED: timedelta(days=1),
    Reason.OWNER_SCALED_UP: timedelta(days=1),
}
"""Failures that restart the Space → when it is tried once more though nothing about it changed.

Why Pods do not stop stands in the Space. Who denies a write, or undoes it, stands elsewhere and may
have been changed there.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Sleeps of one Space that failed alike, without another end in between.

    Attributes:
        count: how many.
        reason: why.
        objects: ``Kind/name`` of what each of them failed at.
        shape: what the Space was like each time; see :func:`shape_of`.
        at: when the last one failed.
        how: the last one's sentence.
    """

    count: int = 0
    reason: Reason | None = None
    objects: frozenset[str] = frozenset()
    shape: str = ""
    at: datetime | None = None
    how: str = ""


def failed(
    past: Failures, *, reason: Reason, objects: Iterable[str], shape: str, how: str, now: datetime
) -> Failures:
    """``past`` and one more sleep that ended in failure.

    Args:
        past: the failures before.
        reason: why it failed.
        objects: what it failed at; a failure that names nothing changed nothing, or is one of the
            API server, and does not count.
        shape: what the Space was like when the sleep was decided.
        how: the failure as a sentence.
        now: when it failed.
    """
    blamed = frozenset(objects)
    if reason not in TRIED_AGAIN_AFTER or not blamed:
        return Failures()
    alike = (past.reason, past.objects, past.shape) == (reason, blamed, shape)
    return Failures(
        count=past.count + 1 if alike else 1,
        reason=reason,
        objects=blamed,
        shape=shape,
        at=now,
        how=how,
    )


def sure_to_fail(past: Failures, objects: SpaceObjects) -> Hazard | None:
    """What holds the Space awake after too many failures alike; None: nothing."""
    if past.count < ALIKE or past.reason is None or past.at is None:
        return None
    if shape_of(objects) != past.shape:
        return None
    wait = TRIED_AGAIN_AFTER[past.reason]
    until = None if wait is None else plus(past.at, wait)
    latest = "" if until is None else f", at the latest at {format_instant(until)}"
    return Hazard(
        reason=Reason.REPEATED_FAILURE,
        subject=some(sorted(past.objects)),
        message=(
            f"Its last {past.count} sleeps failed alike ({past.reason.value}: {past.how}); it is "
            "tried again when a workload, its size, or an annotation or label of ours on the "
            f"namespace changes{latest}"
        ),
        advice=(
            "what stood in the way mended, and then a change of a workload, of its size, or of an "
            "annotation of ours on the namespace, by which it is tried again"
        ),
        until=until,
    )


def shape_of(objects: SpaceObjects) -> str:
    """What an owner can change about a Space that may let a sleep succeed, as a short text.

    The same before a sleep and after it was undone: nothing in it counts writes or names Pods.
    """
    meta = objects.namespace.metadata
    ours = {key: value for key, value in (meta.annotations or {}).items() if is_owners(key)}
    parts = [repr(sorted(ours.items())), repr(tenant_of(objects.namespace))]
    parts += sorted(map(repr, _workloads(objects)))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _workloads(objects: SpaceObjects) -> Iterator[tuple[object, ...]]:
    owners = Owners(objects)
    wanting: dict[str, list[str]] = {}
    for owned in objects.replica_sets:
        if owned.spec.replicas != 0:
            for owner in owned.metadata.owners():
                wanting.setdefault(owner.uid, []).append(owned.metadata.name)
    workloads: tuple[Deployment | StatefulSet, ...] = (*objects.deployments, *objects.stateful_sets)
    for workload in workloads:
        uid = workload.metadata.uid
        yield (
            type(workload).__name__,
            uid,
            workload.spec.replicas,
            owners.spared(workload),
            # Its template, by the name that its controller gives each one.
            workload.status.update_revision
            if isinstance(workload, StatefulSet)
            else sorted(wanting.get(uid, ())),
            workload.spec.template.spec.termination_grace_period_seconds,
            _ours(workload),
        )


def _ours(obj: KubeObject) -> list[tuple[str, str]]:
    return sorted(item for item in (obj.metadata.annotations or {}).items() if is_owners(item[0]))
