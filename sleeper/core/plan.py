"""The sleep plan: which objects, in which order, and the next step for one of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Any

import msgspec

from sleeper.core import jsonpatch
from sleeper.core.authorship import speakers, witness
from sleeper.core.jsonpatch import ABSENT, JsonObject, JsonOp, resolve
from sleeper.core.managed_fields import FieldOwner, disown_ops, owners_of
from sleeper.core.names import EPOCH, WAVE
from sleeper.core.notes import (
    MAX_EPOCH,
    NOTE_POINTER,
    RestoreNote,
    encode_note,
    note_on,
    raw_note,
)
from sleeper.core.objects import KubeObject, Namespace, SpaceObjects
from sleeper.core.owners import Owners, excludes
from sleeper.core.record import Entry, FieldValue, ObjectRef, SleepRecord
from sleeper.core.steps import Amend, Left, Patch, PatchPurpose, Settled, Step, WhyLeft
from sleeper.core.workload_warnings import read_wave
from sleeper.core.workloads import KINDS, WorkloadKind
from sleeper.core.workloads.base import ready_replicas

_ANNOTATIONS = "/metadata/annotations"

_MOST_AHEAD_MS = 24 * 60 * 60 * 1000
"""How far the epoch on a namespace may be ahead of the clock; its owner may have written it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleepable:
    """One workload of a Space that sleep would stop."""

    kind: WorkloadKind
    ref: ObjectRef
    wave: int


def as_json(obj: KubeObject) -> dict[str, Any]:
    """A sparse object as plain JSON, without the fields that it does not have."""
    value: dict[str, Any] = _without_nulls(msgspec.to_builtins(obj))
    return value


def _without_nulls(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without_nulls(item) for key, item in value.items() if item is not None}


def sleepable(objects: SpaceObjects) -> tuple[Sleepable, ...]:
    """The workloads that sleep would stop: of a known kind, running, not excluded, not going.

    One whose owner has it at zero is not among them, whoever put it there: it is never recorded,
    so no wake brings up what was not up.
    """
    found = []
    owners = Owners(objects)
    for kind in KINDS.values():
        for obj in kind.select(objects):
            meta = obj.metadata
            if owners.spared(obj) or meta.deletion_timestamp is not None:
                continue
            if not kind.replicas.turns(kind.replicas.read(as_json(obj))):
                continue
            ref = ObjectRef(kind=kind.kind, name=meta.name, uid=meta.uid)
            found.append(Sleepable(kind=kind, ref=ref, wave=wave_of(obj)))
    return tuple(sorted(found, key=lambda s: (s.wave, s.ref.kind, s.ref.name)))


def wave_of(obj: KubeObject) -> int:
    """Start order of a workload; one that cannot be read counts as 0."""
    try:
        return read_wave(obj.metadata.annotation(WAVE) or "0")
    except ValueError:
        return 0


def waves(entries: Iterable[Entry]) -> tuple[tuple[Entry, ...], ...]:
    """Entries grouped by wave in start order; sleep goes through them backwards."""
    ordered = sorted(entries, key=lambda e: (e.wave, e.ref.kind, e.ref.name))
    return tuple(tuple(group) for _, group in groupby(ordered, key=lambda e: e.wave))


def next_epoch(namespace: Namespace, records: Iterable[SleepRecord], now: datetime) -> int:
    """A number that no sleep of the Space has had, larger than that of every earlier one.

    It is the present time in milliseconds, so that it is new also where every copy of the earlier
    ones is gone or was forged, and one more than the largest copy where the clock was set back.
    """
    known = [record.epoch for record in records if record.space_uid == namespace.metadata.uid]
    present = int(now.timestamp() * 1000)
    annotated = epoch_of(namespace)
    if annotated < present + _MOST_AHEAD_MS:
        known.append(annotated)
    return max([present, *(epoch + 1 for epoch in known)])


def epoch_of(namespace: Namespace) -> int:
    """The epoch on a namespace; 0 if there is none that can be read or believed."""
    annotated = namespace.metadata.annotation(EPOCH) or ""
    if not (
        annotated.isascii() and annotated.isdecimal() and len(annotated) <= len(str(MAX_EPOCH))
    ):
        return 0
    return int(annotated)


def entry_for(live: JsonObject, *, kind: WorkloadKind, wave: int) -> Entry | None:
    """The record's entry for a live object; None if it has nothing to stop or is excluded."""
    fields = _originals(live, kind, kept={})
    if not fields or excludes(live["metadata"].get("annotations")):
        return None
    meta = live["metadata"]
    ref = ObjectRef(kind=kind.kind, name=meta["name"], uid=meta["uid"])
    return Entry(
        ref=ref,
        fields=fields,
        wave=wave,
        was_ready=ready_replicas(live),
        slept_from=generation_of(live),
    )


def generation_of(live: JsonObject) -> int:
    """``metadata.generation``; 0 where there is none."""
    found = resolve(live, "/metadata/generation")
    return found if isinstance(found, int) else 0


def sleep_step(
    live: JsonObject, *, entry: Entry, space_uid: str, epoch: int, untouched: bool
) -> Step:
    """The next step towards sleep for one recorded object.

    Args:
        live: the object as the API server just returned it.
        entry: its entry in the record.
        space_uid: uid of the namespace.
        epoch: number of this sleep.
        untouched: no sleep patch for this object has been sent since the record was created, for
            sure. Then a field at its sleep value is its owner's doing, and so it is where somebody
            holds the field. Otherwise it is ours with the annotation stripped, and its recorded
            original value is kept.
    """
    kind = KINDS[entry.ref.kind]
    if (left := left_alone(live, entry.ref)) is not None:
        return left
    note = note_on(live, kind=kind, space_uid=space_uid, entry=entry)
    if isinstance(note, RestoreNote):
        return _after_patch(live, kind=kind, note=note, entry=entry, epoch=epoch)
    if (running := left_running(live, kind)) is not None:
        return running
    generation = generation_of(live)
    kept: Mapping[str, FieldValue] = {}
    if not untouched and not never_slept(live, kind=kind, entry=entry):
        kept = {path: v for path, v in entry.fields.items() if not speakers(live, path)}
    fields = _originals(live, kind, kept=kept)
    if fields != entry.fields or (fields and generation != entry.slept_from):
        return Amend(entry=replace(entry, fields=fields, slept_from=generation))
    if not fields:
        return Settled()
    return _sleep_patch(live, kind=kind, entry=entry, space_uid=space_uid, epoch=epoch)


def never_slept(live: JsonObject, *, kind: WorkloadKind, entry: Entry) -> bool:
    """Whether a live object without a note is surely not one that this sleep has turned.

    ``kubectl scale`` leaves no field manager behind, so a zero of the owner's looks like ours with
    the note stripped. But the sleep patch moves the generation by one, and stripping the note once
    more where annotations move it; and it turns the guards, too.
    """
    once = entry.slept_from > 0 and generation_of(live) == entry.slept_from + 1
    if once and kind.fence is None and raw_note(live) is None:
        return True
    recorded = (guard for guard in kind.guards if guard.pointer in entry.fields)
    return any(guard.read(live) == entry.fields[guard.pointer] for guard in recorded)


def left_running(live: JsonObject, kind: WorkloadKind) -> Left | None:
    """Why an object must not be stopped now, or None.

    Asked of the object as the API server has it, before the record and before the patch: the patch
    tests the generation, so that no change of its owner's comes in between.
    """
    name = f"{kind.kind}/{live['metadata']['name']}"
    if excludes(live["metadata"].get("annotations")):
        return Left(why=WhyLeft.EXCLUDED, message=f"{name} was excluded by its owner")
    if (why := kind.busy(live)) is not None:
        return Left(why=WhyLeft.BUSY, message=f"{name} is busy: {why}")
    return None


def left_alone(live: JsonObject, ref: ObjectRef) -> Left | None:
    """Why a live object is not the recorded one any more, or None."""
    if resolve(live, "/metadata/uid") != ref.uid:
        message = f"{ref.kind}/{ref.name} was deleted and created again by its owner"
        return Left(why=WhyLeft.REPLACED, message=message)
    if resolve(live, "/metadata/deletionTimestamp") is not ABSENT:
        message = f"{ref.kind}/{ref.name} is being deleted by its owner"
        return Left(why=WhyLeft.GONE, message=message)
    return None


def note_ops(live: JsonObject, note: RestoreNote) -> tuple[Sequence[JsonOp], Sequence[JsonOp]]:
    """Preconditions and operations that put a note on an object in place of what is there.

    The precondition holds for the annotation that was read: absent, or (forged) that very text.
    """
    if _is_bare(live):
        before = [jsonpatch.test(_ANNOTATIONS, None)]
        change = [jsonpatch.add(_ANNOTATIONS, {})]
    else:
        before = [jsonpatch.test(NOTE_POINTER, raw_note(live))]
        change = []
    return before, [*change, jsonpatch.add(NOTE_POINTER, encode_note(note))]


def put(path: str, *, current: FieldValue, wanted: FieldValue) -> JsonOp:
    """The operation that brings one field from a known value to another; None means absent."""
    if wanted is None:
        return jsonpatch.remove(path)
    return jsonpatch.add(path, wanted) if current is None else jsonpatch.replace(path, wanted)


def _is_bare(live: JsonObject) -> bool:
    found = resolve(live, _ANNOTATIONS)
    return found is ABSENT or found is None


def _originals(
    live: JsonObject, kind: WorkloadKind, *, kept: Mapping[str, FieldValue]
) -> dict[str, FieldValue]:
    """Values of the fields that sleep turns; none if the Pods are stopped already.

    ``kept`` are recorded originals that stand where the live value is their sleep value.
    """
    found: dict[str, FieldValue] = {}
    for switch in (kind.replicas, *kind.guards):
        value, path = switch.read(live), switch.pointer
        if path in kept and value == switch.asleep(kept[path]):
            value = kept[path]
        if switch.turns(value):
            found[path] = value
        elif switch is kind.replicas:
            return {}
    return found


def _after_patch(
    live: JsonObject, *, kind: WorkloadKind, note: RestoreNote, entry: Entry, epoch: int
) -> Step:
    name = f"{entry.ref.kind}/{entry.ref.name}"
    if note.epoch != epoch:
        message = f"{name} carries the restore annotation of sleep {note.epoch}, not of {epoch}"
        return Left(why=WhyLeft.OTHER_EPOCH, message=message)
    for path, original in note.fields.items():
        switch = kind.switch(path)
        if switch is not None and switch.read(live) != switch.asleep(original):
            message = f"{name} was changed by its owner at {path} while it was falling asleep"
            return Left(why=WhyLeft.OWNER_CHANGED, message=message)
    return disown_step(live, kind=kind, note=note)


def disown_step(
    live: JsonObject, *, kind: WorkloadKind, note: RestoreNote | None
) -> Patch | Settled:
    """Our ownership goes, and nothing else.

    Nobody gets the fields that are at their sleeping value, so whoever holds one later has written
    it since (:mod:`sleeper.core.authorship`). Those that a wake has turned back already go back
    to their former owners.
    """
    ops = disown_ops(live, () if note is None else _owners_of_restored(live, kind, note))
    if not ops:
        return Settled()
    before = (jsonpatch.test("/metadata/uid", resolve(live, "/metadata/uid")),)
    return Patch(purpose=PatchPurpose.DISOWN, ops=(*before, *ops))


def _owners_of_restored(
    live: JsonObject, kind: WorkloadKind, note: RestoreNote
) -> Iterator[FieldOwner]:
    def is_back(path: str) -> bool:
        switch = kind.switch(path)
        return switch is not None and switch.read(live) != switch.asleep(note.fields[path])

    for owner in note.owners:
        yield replace(owner, pointers=tuple(path for path in owner.pointers if is_back(path)))


def own_note(live: JsonObject) -> tuple[JsonOp, ...]:
    """Preconditions: it is this object, and its note is the one that was read."""
    return (
        jsonpatch.test("/metadata/uid", resolve(live, "/metadata/uid")),
        jsonpatch.test(NOTE_POINTER, raw_note(live)),
    )


def _sleep_patch(
    live: JsonObject, *, kind: WorkloadKind, entry: Entry, space_uid: str, epoch: int
) -> Patch:
    note = RestoreNote(
        space_uid=space_uid,
        epoch=epoch,
        uid=entry.ref.uid,
        fields=entry.fields,
        owners=owners_of(live, entry.fields),
        witness=witness(live, entry.fields),
    )
    before: list[JsonOp] = [
        jsonpatch.test("/metadata/uid", entry.ref.uid),
        jsonpatch.test("/metadata/generation", entry.slept_from),
    ]
    change: list[JsonOp] = []
    for path, original in entry.fields.items():
        switch = kind.switch(path)
        assert switch is not None, path
        current, asleep = switch.read(live), switch.asleep(original)
        before.append(jsonpatch.test(path, current))
        if current != asleep:
            change.append(put(path, current=current, wanted=asleep))
    note_before, note_change = note_ops(live, note)
    return Patch(purpose=PatchPurpose.SLEEP, ops=(*before, *note_before, *change, *note_change))
