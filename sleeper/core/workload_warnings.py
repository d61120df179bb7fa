"""What owners wrote on objects that has no effect, or not the one that they meant. Pure.

None of it holds the Space awake, as no unknown key on a namespace does: a workload whose
``exclude`` cannot be read is left alone, and a wave is only an order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from typing import Final

from sleeper.core import names
from sleeper.core.names import Target
from sleeper.core.objects import (
    Deployment,
    GatewayRoute,
    HorizontalPodAutoscaler,
    Ingress,
    KubeObject,
    ReplicaSet,
    Service,
    SpaceObjects,
    StatefulSet,
)
from sleeper.core.owners import Owners, is_excluded, is_listed
from sleeper.core.policy import (
    PolicyNote,
    bounded,
    in_vain,
    labels_in_vain,
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
    """Notes on annotations and labels of our group, each naming the object that it stands on.

    Args:
        objects: the Space's objects.
        on: what :func:`warnings_on` says of an object, or said before of the same version.
    """
    below = ((note,) for note in _below_in_vain(objects))
    looked_at = chain(_workloads(objects), _others(objects))
    each = (notes for obj in looked_at if (notes := (on or warnings_on)(obj)))
    found = chain(each, below)
    named = list(islice(found, MOST_OBJECTS))
    told = [note for notes in named for note in notes]
    if rest := sum(1 for _ in found):
        last = told[-1]
        advice = f"{last.advice}; {rest} more objects carry annotations in vain"
        told[-1] = replace(last, advice=advice)
    return tuple(told)


def warnings_on(obj: KubeObject) -> tuple[PolicyNote, ...]:
    """Notes on what one object carries; they hold as long as its version is the same."""
    meta = obj.metadata
    if not meta.annotations and not meta.labels:
        return ()
    kind = type(obj)
    name = f"{_SHOWN.get(kind, kind.__name__)}/{obj.metadata.name}"
    if kind in _OTHERS:
        on, warning = Target.OTHER, without_effect
    else:
        on, warning = Target.WORKLOAD, partial(_warning, kind)
    notes = (
        *in_vain(written_by_owner(meta.annotations or {}), on, warning),
        *labels_in_vain(meta.labels, meta.annotations, on),
    )
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


def _others(objects: SpaceObjects) -> Iterator[KubeObject]:
    """Objects on which no annotation of ours has an effect."""
    yield from objects.autoscalers
    yield from objects.services
    yield from objects.ingresses
    yield from objects.gateway_routes


_OTHERS: Final = frozenset({HorizontalPodAutoscaler, Service, Ingress, GatewayRoute})

_SHOWN: Final[Mapping[type[KubeObject], str]] = {GatewayRoute: "Route"}


def _below_in_vain(objects: SpaceObjects) -> Iterator[PolicyNote]:
    """What stands below a workload, which a sleep stops with all that it owns; once a workload.

    It comes from the Pod template. ReplicaSets are only looked at for ``exclude``, and not where
    a Deployment controls them: its controller copies there what stands on the Deployment, and
    leaves it there when the owner takes it off.
    """
    written = [
        (obj, key, annotations[key])
        for group, keys in ((objects.replica_sets, _EXCLUDE), (objects.pods, _BELOW))
        for obj in group
        if (annotations := obj.metadata.annotations)
        for key in sorted(annotations.keys() & keys)
        if key != names.EXCLUDE or (is_excluded(obj) and not _is_copied_to(obj))
    ]
    if not written:
        return
    owners = Owners(objects)
    told: set[tuple[str, str]] = set()
    for obj, key, value in written:
        workload = next(iter(owners.workloads_above(obj)), None)
        if workload is None or (workload.metadata.uid, key) in told:
            continue
        told.add((workload.metadata.uid, key))
        said_above = workload.metadata.annotation(key) is not None
        if owners.spared(obj) if key == names.EXCLUDE else said_above:
            continue
        name = f"{type(obj).__name__}/{obj.metadata.name}"
        place = f"{type(workload).__name__}/{workload.metadata.name}"
        if key == names.EXCLUDE:
            advice = f"has no effect: it sleeps with {place}, where it belongs"
        elif key in _READ:
            advice = f"has no effect; it belongs on {place}"
        else:
            advice = "has no effect; it belongs on the namespace"
        yield PolicyNote(
            key=key, value=shortened(value), advice=f"on {name} {advice}", on=name, ignored=True
        )


def _is_copied_to(obj: KubeObject) -> bool:
    """Whether a Deployment's controller writes the annotations of an object, and not its owner."""
    return isinstance(obj, ReplicaSet) and any(
        owner.controller and owner.kind == Deployment.__name__ and is_listed(owner)
        for owner in obj.metadata.owners()
    )


_EXCLUDE: Final = frozenset({names.EXCLUDE})
_BELOW: Final = frozenset(spec.key for spec in names.ANNOTATIONS if not spec.by_us)


def _warning(kind: type[KubeObject], key: str, value: str, target: Target) -> PolicyNote | None:
    note = without_effect(key, value, target)
    if note is not None:
        return note
    if key in _OF_SLEEPERS and kind not in _SLEEPERS:
        advice = f"has no effect on a {kind.__name__}: only Deployments and StatefulSets sleep"
        return PolicyNote(key=key, value=value, advice=advice, ignored=True)
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

_OF_SLEEPERS: Final = frozenset({names.WAVE, names.LOCAL_DATA})
"""Of these, those that have an effect on what goes to zero alone."""

_SLEEPERS: Final[frozenset[type[KubeObject]]] = frozenset({Deployment, StatefulSet})
