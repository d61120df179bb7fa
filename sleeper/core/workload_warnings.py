"""What owners wrote on workloads that has no effect, or not the one that they meant. Pure.

None of it holds the Space awake, as no unknown key on a namespace does: a workload whose
``exclude`` cannot be read is left alone, and a wave is only an order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sleeper.core import names
from sleeper.core.names import Target
from sleeper.core.objects import KubeObject, SpaceObjects
from sleeper.core.policy import PolicyNote, read_flag, unread, without_effect

_COPIES_ITS_ANNOTATIONS: Final = frozenset(
    {
        "CronJob",
        "DaemonSet",
        "Deployment",
        "Job",
        "ReplicaSet",
        "ReplicationController",
        "StatefulSet",
    }
)
"""Kinds whose controllers write annotations on what they manage; its owner wrote none there."""


def workload_warnings(objects: SpaceObjects) -> tuple[PolicyNote, ...]:
    """Notes on annotations of our group, each naming the object that it stands on."""
    return tuple(
        note
        for obj in _workloads(objects)
        for key, value in sorted((obj.metadata.annotations or {}).items())
        if names.is_owners(key) and (note := _warning(obj, key, value)) is not None
    )


def read_wave(text: str) -> int:
    """The wave that a workload's annotation asks for.

    Raises:
        ValueError: it is not a whole number.
    """
    return int(text)


def _workloads(objects: SpaceObjects) -> Iterator[KubeObject]:
    groups: tuple[tuple[KubeObject, ...], ...] = (
        objects.deployments,
        objects.stateful_sets,
        objects.replica_sets,
        objects.replication_controllers,
        objects.daemon_sets,
        objects.cron_jobs,
        objects.jobs,
        objects.pods,
    )
    for group in groups:
        for obj in group:
            manager = obj.metadata.controller()
            if manager is None or manager.kind not in _COPIES_ITS_ANNOTATIONS:
                yield obj


def _warning(obj: KubeObject, key: str, value: str) -> PolicyNote | None:
    where = f"on {type(obj).__name__}/{obj.metadata.name} "
    note = without_effect(key, value, Target.WORKLOAD)
    if note is not None:
        return PolicyNote(key=key, value=value, advice=where + note.advice)
    reader, follows = _READ[key]
    try:
        reader(value)
    except ValueError:
        return PolicyNote(key=key, value=value, advice=f"{where}{unread(key)}; {follows}")
    return None


_READ: Final = {
    names.EXCLUDE: (read_flag, "it is left alone until that is mended"),
    names.WAVE: (read_wave, "its wave is 0 until that is mended"),
}
"""Keys for workloads → how they are read, and what holds where they cannot be."""
