"""What owners wrote on workloads that has no effect, or not the one that they meant. Pure.

None of it holds the Space awake, as no unknown key on a namespace does: a workload whose
``exclude`` cannot be read is left alone, and a wave is only an order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, islice
from typing import Final

from sleeper.core import names
from sleeper.core.names import Target
from sleeper.core.objects import KubeObject, SpaceObjects
from sleeper.core.owners import Owners, is_excluded, is_listed
from sleeper.core.policy import (
    PolicyNote,
    bounded,
    in_vain,
    read_flag,
    read_local_data,
    unread,
    without_effect,
    written_by_owner,
)
from sleeper.core.text import shortened

MOST_OBJECTS: Final = 20
"""Objects of one Space that are named; of the others only the number is told."""

LARGEST_WAVE: Final = 1_000_000


def workload_warnings(
    objects: SpaceObjects, on: Callable[[KubeObject], tuple[PolicyNote, ...]] | None = None
) -> tuple[PolicyNote, ...]:
    """Notes on annotations of our group, each naming the object that it stands on.

    Args:
        objects: the Space's objects.
        on: what :func:`warnings_on` says of an object, or said before of the same version.
    """
    below = ((note,) for note in _excluded_in_vain(objects))
    each = (notes for obj in _workloads(objects) if (notes := (on or warnings_on)(obj)))
    found = chain(each, below)
    named = list(islice(found, MOST_OBJECTS))
    told = [note for notes in named for note in notes]
    if rest := sum(1 for _ in found):
        last = told[-1]
        advice = f"{last.advice}; {rest} more objects carry annotations in vain"
        told[-1] = replace(last, advice=advice)
    return tuple(told)


def warnings_on(obj: KubeObject) -> tuple[PolicyNote, ...]:
    """Notes on the annotations of one object; they hold as long as its version is the same."""
    annotations = obj.metadata.annotations
    if not annotations:
        return ()
    name = f"{type(obj).__name__}/{obj.metadata.name}"
    notes = in_vain(written_by_owner(annotations), Target.WORKLOAD, _warning)
    return tuple(replace(note, advice=f"on {name} {note.advice}", on=name) for note in notes)


def read_wave(text: str) -> int:
    """The wave that a workload's annotation asks for.

    Raises:
        ValueError: it is not a whole number, or a larger one than anybody means.
    """
    wave = int(text)
    if abs(wave) > LARGEST_WAVE:
        raise ValueError(f"{wave} is larger than {LARGEST_WAVE}")
    return wave


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
            # Controllers of these kinds write annotations on what they own; its owner wrote none.
            if not any(map(is_listed, obj.metadata.owners())):
                yield obj


def _excluded_in_vain(objects: SpaceObjects) -> Iterator[PolicyNote]:
    """``exclude`` below a workload that a sleep stops with all that it owns; once a workload."""
    excluded = [obj for obj in (*objects.replica_sets, *objects.pods) if is_excluded(obj)]
    if not excluded:
        return
    owners = Owners(objects)
    told: set[str] = set()
    for obj in excluded:
        workload = next(iter(owners.workloads_above(obj)), None)
        if workload is None or workload.metadata.uid in told or owners.spared(obj):
            continue
        told.add(workload.metadata.uid)
        name = f"{type(obj).__name__}/{obj.metadata.name}"
        sleeps_with = f"{type(workload).__name__}/{workload.metadata.name}"
        yield PolicyNote(
            key=names.EXCLUDE,
            value=shortened((obj.metadata.annotations or {})[names.EXCLUDE]),
            advice=f"on {name} has no effect: it sleeps with {sleeps_with}, where it belongs",
            on=name,
        )


def _warning(key: str, value: str, target: Target) -> PolicyNote | None:
    note = without_effect(key, value, target)
    if note is not None:
        return note
    reader, follows = _READ[key]
    try:
        reader(bounded(value))
    except ValueError:
        return PolicyNote(key=key, value=value, advice=f"{unread(key)}; {follows}")
    return None


_READ: Final = {
    names.EXCLUDE: (read_flag, "it is left alone until that is mended"),
    names.WAVE: (read_wave, "its wave is 0 until that is mended"),
    names.LOCAL_DATA: (read_local_data, "its data holds the Space awake until that is mended"),
}
"""Keys for workloads → how they are read, and what holds where they cannot be."""
