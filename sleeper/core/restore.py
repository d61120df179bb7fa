"""Waking: the next step that brings one object back, and when its owner wants the Space up. Pure.

A wake visits every recorded object, touched or not. Where the sleep patch never arrived it may
still be on its way, so the object is *fenced*: it gets a note and a new generation, which the
sleep patch tests. From then on it is treated like any sleeping object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sleeper.core import jsonpatch
from sleeper.core.jsonpatch import JsonObject, JsonOp
from sleeper.core.managed_fields import disown_ops, owners_of
from sleeper.core.names import RESTORE
from sleeper.core.notes import NOTE_POINTER, Disbelief, RestoreNote, note_on, read_note
from sleeper.core.objects import KubeObject, SpaceObjects
from sleeper.core.plan import as_json, left_alone, note_ops, own_note, put, sleepable
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.record import Entry, FieldValue, ObjectRef, SleepRecord
from sleeper.core.steps import Left, Patch, PatchPurpose, Settled, Step, WhyLeft
from sleeper.core.workloads import KINDS, WorkloadKind


def wake_step(
    live: JsonObject,
    *,
    ref: ObjectRef,
    entry: Entry | None,
    space_uid: str,
    epoch: int,
    fenced: bool,
    untouched: bool = False,
) -> Step:
    """The next step that brings one object back.

    Args:
        live: the object as the API server just returned it.
        ref: which object it has to be.
        entry: its entry in the record; None for a note without a record.
        space_uid: uid of the namespace.
        epoch: the sleep that is over; a note of a later one is left alone.
        fenced: no sleep patch of this sleep can land on the object any more: this flight has seen
            it carry a note.
        untouched: no sleep patch of this sleep ever reached the object or can still reach it, or
            it has been brought back already. Without a note it is then as its owner wants it,
            also at zero.
    """
    if (left := left_alone(live, ref)) is not None:
        return left
    kind = KINDS[ref.kind]
    note = note_on(live, kind=kind, space_uid=space_uid, entry=entry)
    if not isinstance(note, RestoreNote):
        if untouched or _needs_nothing(live, kind, entry, fenced=fenced):
            return Settled()
        assert entry is not None
        return _fence(live, kind=kind, entry=entry, space_uid=space_uid, epoch=epoch)
    if note.epoch > epoch:
        message = f"{ref.kind}/{ref.name} belongs to sleep {note.epoch}, later than {epoch}"
        return Left(why=WhyLeft.OTHER_EPOCH, message=message)
    turned = _asleep_fields(live, kind, note.fields)
    if turned:
        before: list[JsonOp] = [*own_note(live)]
        change: list[JsonOp] = []
        for path, (current, original) in turned.items():
            before.append(jsonpatch.test(path, current))
            change.append(put(path, current=current, wanted=original))
        return Patch(purpose=PatchPurpose.RESTORE, ops=(*before, *change))
    ops = (*own_note(live), jsonpatch.remove(NOTE_POINTER), *disown_ops(live, note.owners))
    return Patch(purpose=PatchPurpose.RELEASE, ops=ops)


def owner_wake(objects: SpaceObjects, record: SleepRecord) -> tuple[Reason, str] | None:
    """What the owner did to a sleeping Space that asks for it to be up, with a sentence.

    A recorded workload that runs again, or a workload that is not in the record and runs. While
    the Space is still falling asleep its objects run because their turn has not come; there only
    one that carries this sleep's note and runs again counts.
    """
    entries = {entry.ref.uid: entry for entry in record.entries}
    for item in sleepable(objects):
        obj = _typed(objects, item.kind, item.ref)
        live = as_json(obj)
        entry = entries.get(item.ref.uid)
        name = f"{item.ref.kind}/{item.ref.name}"
        if entry is None or not entry.fields:
            return Reason.NEW_WORKLOAD, f"{name} runs and did not before{_by(obj)}"
        note = note_on(live, kind=item.kind, space_uid=record.space_uid, entry=entry)
        was_asleep = isinstance(note, RestoreNote) and note.epoch == record.epoch
        if was_asleep or record.phase is PowerState.ASLEEP:
            replicas = item.kind.replicas.read(live)
            return Reason.OWNER_SCALED_UP, f"{name} was scaled to {replicas}{_by(obj)}"
    return None


def notes_in(objects: SpaceObjects) -> tuple[tuple[ObjectRef, RestoreNote], ...]:
    """The restore notes on the objects of a Space that are believed."""
    return tuple((ref, note) for ref, note in _notes(objects) if isinstance(note, RestoreNote))


def forged_notes(objects: SpaceObjects) -> tuple[tuple[ObjectRef, Disbelief], ...]:
    """The restore notes on the objects of a Space that are not believed, with why."""
    return tuple((ref, note) for ref, note in _notes(objects) if isinstance(note, Disbelief))


def late_notes(
    objects: SpaceObjects, record: SleepRecord | None
) -> tuple[tuple[ObjectRef, RestoreNote], ...]:
    """Notes of sleeps that are over: without a record, or older than the one there is.

    A note of a record that is Waking is not among them: its wake visits the object anyway.
    """
    return tuple(
        (ref, note)
        for ref, note in notes_in(objects)
        if record is None or note.epoch < record.epoch
    )


def _notes(objects: SpaceObjects) -> Iterator[tuple[ObjectRef, RestoreNote | Disbelief]]:
    space_uid = objects.namespace.metadata.uid
    for kind in KINDS.values():
        for obj in kind.select(objects):
            meta = obj.metadata
            raw = meta.annotation(RESTORE)
            if raw is not None:
                note = read_note(raw, kind=kind, object_uid=meta.uid, space_uid=space_uid)
                yield ObjectRef(kind=kind.kind, name=meta.name, uid=meta.uid), note


def _typed(objects: SpaceObjects, kind: WorkloadKind, ref: ObjectRef) -> KubeObject:
    return next(obj for obj in kind.select(objects) if obj.metadata.uid == ref.uid)


def _by(obj: KubeObject) -> str:
    """`` (last written by …)``: the last foreign field manager of the object, for people."""
    writers = [m for m in obj.metadata.managed_fields or () if m.time and m.subresource != "status"]
    if not writers:
        return ""
    return f" (last written by {max(writers, key=lambda m: m.time or '').manager})"


def _asleep_fields(
    live: JsonObject, kind: WorkloadKind, originals: Mapping[str, FieldValue]
) -> dict[str, tuple[FieldValue, FieldValue]]:
    """Pointer → (present, original) of the fields still at their sleep value.

    A field with another value was changed by its owner in the meantime; that value wins.
    """
    found = {}
    for path, original in originals.items():
        switch = kind.switch(path)
        if switch is None:
            continue
        current = switch.read(live)
        if current == switch.asleep(original) and current != original:
            found[path] = (current, original)
    return found


def _needs_nothing(
    live: JsonObject, kind: WorkloadKind, entry: Entry | None, *, fenced: bool
) -> bool:
    """Whether an object without a note of ours is as it was, and surely stays so."""
    if entry is None or not entry.fields:
        return True
    return fenced and not _asleep_fields(live, kind, entry.fields)


def _fence(
    live: JsonObject, *, kind: WorkloadKind, entry: Entry, space_uid: str, epoch: int
) -> Patch:
    fields = dict(entry.fields)
    change: list[JsonOp] = []
    before = [jsonpatch.test("/metadata/uid", entry.ref.uid)]
    if kind.fence is not None:
        path, current = kind.fence.pointer, kind.fence.read(live)
        fields[path] = current
        before.append(jsonpatch.test(path, current))
        change.append(put(path, current=current, wanted=kind.fence.asleep(current)))
    note = RestoreNote(
        space_uid=space_uid,
        epoch=epoch,
        uid=entry.ref.uid,
        fields=fields,
        owners=owners_of(live, fields),
    )
    note_before, note_change = note_ops(live, note)
    return Patch(purpose=PatchPurpose.FENCE, ops=(*before, *note_before, *change, *note_change))
