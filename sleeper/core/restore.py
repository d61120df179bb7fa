"""Waking: the next step that brings one object back, and when its owner wants the Space up. Pure.

A wake visits every recorded object, touched or not. What it finds decides:

- **A note of this sleep**: what is still at its sleeping value, and not by its owner's own word
  (:mod:`sleeper.core.authorship`), goes back; then note and ownership go.
- **No note, at the generation that the sleep patch tests**: the patch never arrived and may still
  be on its way. The object is *fenced*: it gets a note and a new generation, and no field that
  anybody would notice, so the patch fails. From then on it is treated like any sleeping object.
- **No note, past that generation**: no sleep patch can land any more. A field at its sleeping value
  that somebody holds is its owner's; one that nobody holds was ours, its note was stripped, and the
  record brings it back.

A note of another sleep of the Space says nothing where there is a record: uid *and* epoch count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from sleeper.core import jsonpatch
from sleeper.core.authorship import set_since, set_since_creation, speakers, witness
from sleeper.core.jsonpatch import JsonObject, JsonOp, resolve
from sleeper.core.managed_fields import disown_ops, owners_of
from sleeper.core.names import FIELD_MANAGER, RESTORE
from sleeper.core.notes import (
    NOTE_POINTER,
    CopiedNote,
    Disbelief,
    RestoreNote,
    note_on,
    read_note,
)
from sleeper.core.objects import KubeObject, SpaceObjects
from sleeper.core.owners import Owners
from sleeper.core.plan import (
    as_json,
    disown_step,
    generation_of,
    left_alone,
    never_slept,
    note_ops,
    own_note,
    put,
    sleepable,
)
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.record import Entry, FieldValue, ObjectRef, SleepRecord
from sleeper.core.steps import Left, Patch, PatchPurpose, Settled, Step, WhyLeft
from sleeper.core.workloads import KINDS, WorkloadKind

_WRITES: Final = frozenset({"create", "update", "patch"})
_CAUTIOUS: Final = frozenset(
    kind.plural for kind in KINDS.values() if any(switch.cautious for switch in kind.switches)
)


def wake_step(
    live: JsonObject,
    *,
    ref: ObjectRef,
    entry: Entry | None,
    space_uid: str,
    epoch: int,
    untouched: bool = False,
    wary: bool = False,
) -> Step:
    """The next step that brings one object back.

    Args:
        live: the object as the API server just returned it.
        ref: which object it has to be.
        entry: its entry in the record; None for a note without a record.
        space_uid: uid of the namespace.
        epoch: the sleep that is over; a note of a later one is left alone.
        untouched: no sleep patch of this sleep ever reached the object or can still reach it.
            Without a note it is then as its owner wants it, also at zero.
        wary: somebody may have set a field of which we have to be cautious, without a trace.
    """
    if (left := left_alone(live, ref)) is not None:
        return left
    kind = KINDS[ref.kind]
    note = note_on(live, kind=kind, space_uid=space_uid, entry=entry)
    if isinstance(note, RestoreNote):
        if note.epoch > epoch:
            message = f"{ref.kind}/{ref.name} belongs to sleep {note.epoch}, later than {epoch}"
            return Left(why=WhyLeft.OTHER_EPOCH, message=message)
        if note.epoch == epoch or entry is None:
            return _undo(live, kind=kind, ref=ref, note=note, wary=wary)
    if entry is None or not entry.fields or untouched or entry.back_at is not None:
        return Settled()
    fields = _stripped(live, kind, entry)
    if not fields and generation_of(live) != entry.slept_from:
        return Settled()
    return _fence(live, kind=kind, ref=ref, fields=fields, space_uid=space_uid, epoch=epoch)


def _stripped(live: JsonObject, kind: WorkloadKind, entry: Entry) -> dict[str, FieldValue]:
    """The recorded fields that are still ours although the note was stripped."""
    if never_slept(live, kind=kind, entry=entry):
        return {}
    return {
        path: original
        for path, (_, original) in _asleep_fields(live, kind, entry.fields).items()
        if not speakers(live, path)
    }


def adopt_step(live: JsonObject, *, ref: ObjectRef, space_uid: str, epoch: int) -> Step:
    """The next step that brings an object back by a note that was written for another one.

    The note becomes the object's own first, so that a kill in between leaves a late write like any
    other.

    Args:
        live: the object as the API server just returned it.
        ref: which object it has to be.
        space_uid: uid of its namespace.
        epoch: the sleep that the note is to count to.
    """
    if (left := left_alone(live, ref)) is not None:
        return left
    kind = KINDS[ref.kind]
    found = note_on(live, kind=kind, space_uid=space_uid)
    if not isinstance(found, CopiedNote):
        return wake_step(live, ref=ref, entry=None, space_uid=space_uid, epoch=epoch)
    turned = _asleep_fields(live, kind, found.note.fields)
    kept = {
        path: f"{who} wrote it meanwhile"
        for path in turned
        if (who := set_since_creation(live, path, cautious=_is_cautious(kind, path))) is not None
    }
    if kind.replicas.pointer not in turned:
        # A guard goes back only together with replicas: what runs, runs as its owner wants it.
        guards = turned.keys() & {guard.pointer for guard in kind.guards}
        kept |= dict.fromkeys(guards - kept.keys(), "its replicas are its owner's")
    for path in kept:
        del turned[path]
    note = RestoreNote(
        space_uid=space_uid,
        epoch=epoch,
        uid=ref.uid,
        fields={path: original for path, (_, original) in turned.items()},
        owners=owners_of(live, turned),
    )
    before = [jsonpatch.test("/metadata/uid", ref.uid)]
    before += [jsonpatch.test(path, current) for path, (current, _) in turned.items()]
    note_before, note_change = note_ops(live, note)
    return Patch(
        purpose=PatchPurpose.ADOPT,
        ops=(*before, *note_before, *note_change),
        kept=_sentences(live, ref, found.note, kept),
    )


def owner_wake(objects: SpaceObjects, record: SleepRecord) -> tuple[Reason, str] | None:
    """What the owner did to a sleeping Space that asks for it to be up, with a sentence.

    A recorded workload that runs again or is to be left alone from now on, or a workload that is
    not in the record and runs. While the Space is still falling asleep its objects run because
    their turn has not come; there only one that carries this sleep's note and runs again counts.
    """
    entries = {entry.ref.uid: entry for entry in record.entries}
    typed = {obj.metadata.uid: obj for kind in KINDS.values() for obj in kind.select(objects)}
    for item in sleepable(objects):
        obj = typed[item.ref.uid]
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
    owners = Owners(objects)
    for kind in KINDS.values():
        for obj in kind.select(objects):
            entry = entries.get(obj.metadata.uid)
            if entry is not None and entry.fields and owners.spared(obj):
                return Reason.EXCLUDED, f"{kind.kind}/{obj.metadata.name} was excluded{_by(obj)}"
    return None


def notes_in(objects: SpaceObjects) -> tuple[tuple[ObjectRef, RestoreNote], ...]:
    """The restore notes on the objects of a Space that are believed."""
    return tuple((ref, note) for _, ref, note in _notes(objects) if isinstance(note, RestoreNote))


def copied_notes(
    objects: SpaceObjects, *, running: bool = False
) -> tuple[tuple[ObjectRef, CopiedNote], ...]:
    """The notes that were written for another object, on workloads at zero that nobody manages.

    Where another controller manages the workload, it copied the annotation; its replicas are that
    controller's.

    Args:
        objects: of the Space.
        running: also on workloads that run: there the note is only a trace of ours.
    """
    return tuple(
        (ref, note)
        for obj, ref, note in _notes(objects)
        if isinstance(note, CopiedNote)
        and (running or KINDS[ref.kind].is_at_zero(as_json(obj)))
        and not obj.metadata.owner_references
    )


def wrote_cautious(verb: str, resource: str) -> bool:
    """Whether such a request may have set a field of which a wake has to be cautious.

    A PUT of what was read, with the sleeping value in it, changes nothing and leaves no trace on
    the object; the audit stream alone tells of it. Helm does not even send what is in place,
    but it begins by storing its release in a Secret.
    """
    if verb == "create" and resource == "secrets":
        return True
    return verb in _WRITES and resource in _CAUTIOUS


def copies_of(objects: SpaceObjects, space_uid: str) -> tuple[ObjectRef, ...]:
    """Workloads at zero whose note was copied from a Space of that uid."""
    return tuple(ref for ref, copy in copied_notes(objects) if copy.note.space_uid == space_uid)


def owned_in(objects: SpaceObjects) -> tuple[ObjectRef, ...]:
    """Workloads of which our field manager holds something: in the middle of two writes of ours."""
    return tuple(
        ObjectRef(kind=kind.kind, name=obj.metadata.name, uid=obj.metadata.uid)
        for kind in KINDS.values()
        for obj in kind.select(objects)
        if any(entry.manager == FIELD_MANAGER for entry in obj.metadata.managed_fields or ())
    )


def release_step(live: JsonObject, *, ref: ObjectRef, space_uid: str) -> Step:
    """Our ownership of an object goes, whatever we were in the middle of; nothing else changes."""
    if (left := left_alone(live, ref)) is not None:
        return left
    kind = KINDS[ref.kind]
    note = note_on(live, kind=kind, space_uid=space_uid)
    return disown_step(live, kind=kind, note=note if isinstance(note, RestoreNote) else None)


def forged_notes(objects: SpaceObjects) -> tuple[tuple[ObjectRef, Disbelief], ...]:
    """The restore notes on the objects of a Space that are not believed, with why."""
    return tuple((ref, note) for _, ref, note in _notes(objects) if isinstance(note, Disbelief))


def late_notes(
    objects: SpaceObjects, record: SleepRecord | None
) -> tuple[tuple[ObjectRef, RestoreNote], ...]:
    """Notes of sleeps that are over: without a record, or older than the one there is.

    Not those on objects that the record speaks of, which a wake visits anyway: what an old note
    says of one that sleeps now (it was put back from a backup, or by ``kubectl rollout undo``:
    ReplicaSets keep the annotations of their time) is not what it is to come back with.
    """
    spoken_of = {entry.ref.uid for entry in record.entries if entry.fields} if record else set()
    return tuple(
        (ref, note)
        for ref, note in notes_in(objects)
        if record is None or (note.epoch < record.epoch and ref.uid not in spoken_of)
    )


def _notes(
    objects: SpaceObjects,
) -> Iterator[tuple[KubeObject, ObjectRef, RestoreNote | CopiedNote | Disbelief]]:
    space_uid = objects.namespace.metadata.uid
    for kind in KINDS.values():
        for obj in kind.select(objects):
            meta = obj.metadata
            raw = meta.annotation(RESTORE)
            if raw is not None:
                note = read_note(raw, kind=kind, object_uid=meta.uid, space_uid=space_uid)
                yield obj, ObjectRef(kind=kind.kind, name=meta.name, uid=meta.uid), note


def _by(obj: KubeObject) -> str:
    """`` (last written by …)``: the last foreign field manager of the object, for people."""
    writers = [m for m in obj.metadata.managed_fields or () if m.time and m.subresource != "status"]
    if not writers:
        return ""
    return f" (last written by {max(writers, key=lambda m: m.time or '').manager})"


def _undo(
    live: JsonObject, *, kind: WorkloadKind, ref: ObjectRef, note: RestoreNote, wary: bool
) -> Patch:
    """Turn back what is ours; where nothing is left to turn, take note and ownership away."""
    turned = _asleep_fields(live, kind, note.fields)
    kept = {
        path: f"{who} wrote it meanwhile"
        for path in turned
        if (who := _whose(live, kind, path, note, wary=wary)) is not None
    }
    for path in kept:
        del turned[path]
    if kind.replicas.pointer not in turned and kind.is_at_zero(live):
        # A guard protects what no Pod uses now; it goes back only together with replicas.
        for guard in kind.guards:
            if turned.pop(guard.pointer, None) is not None:
                kept[guard.pointer] = "it stays at zero"
    if turned:
        before: list[JsonOp] = [*own_note(live)]
        change: list[JsonOp] = []
        for path, (current, original) in turned.items():
            before.append(jsonpatch.test(path, current))
            change.append(put(path, current=current, wanted=original))
        return Patch(purpose=PatchPurpose.RESTORE, ops=(*before, *change))
    # Held again, what is left to its owner is nobody's stripped field for another replica's wake.
    vacant = {path for path in kept if not owners_of(live, (path,))}
    disown = disown_ops(live, note.owners, vacant=vacant)
    ops = (*own_note(live), jsonpatch.remove(NOTE_POINTER), *disown)
    return Patch(purpose=PatchPurpose.RELEASE, ops=ops, kept=_sentences(live, ref, note, kept))


def _sentences(
    live: JsonObject, ref: ObjectRef, note: RestoreNote, kept: Mapping[str, str]
) -> tuple[str, ...]:
    """What is left at its sleeping value, by pointer and reason, for people."""
    return tuple(
        f"{ref.kind}/{ref.name} keeps {path.rsplit('/', 1)[-1]} {resolve(live, path)} "
        f"(it was {note.fields[path]}): {why}"
        for path, why in kept.items()
    )


def _whose(
    live: JsonObject, kind: WorkloadKind, path: str, note: RestoreNote, *, wary: bool
) -> str | None:
    """Who gave a field its sleeping value, for people; None: we did."""
    if wary and _is_cautious(kind, path):
        return "somebody"
    if note.witness is None:
        return None
    return set_since(live, path, note.witness, cautious=_is_cautious(kind, path))


def _is_cautious(kind: WorkloadKind, path: str) -> bool:
    switch = kind.switch(path)
    return switch is not None and switch.cautious


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


def _fence(
    live: JsonObject,
    *,
    kind: WorkloadKind,
    ref: ObjectRef,
    fields: Mapping[str, FieldValue],
    space_uid: str,
    epoch: int,
) -> Patch:
    """A note and a new generation.

    It carries no field but those that are at their sleeping value, and tests all that it assumes:
    held back, it fails on whatever its owner does meanwhile.
    """
    noted = dict(fields)
    change: list[JsonOp] = []
    before = [
        jsonpatch.test("/metadata/uid", ref.uid),
        jsonpatch.test("/metadata/generation", generation_of(live)),
    ]
    for path in fields:
        switch = kind.switch(path)
        assert switch is not None, path
        before.append(jsonpatch.test(path, switch.read(live)))
    if kind.fence is not None:
        path, current = kind.fence.pointer, kind.fence.read(live)
        noted[path] = current
        before.append(jsonpatch.test(path, current))
        change.append(put(path, current=current, wanted=kind.fence.asleep(current)))
    note = RestoreNote(
        space_uid=space_uid,
        epoch=epoch,
        uid=ref.uid,
        fields=noted,
        owners=owners_of(live, noted),
        # What was written before the sleep is not known any more: a cautious field stays as it is.
        witness=replace(witness(live, noted), written=""),
    )
    note_before, note_change = note_ops(live, note)
    return Patch(purpose=PatchPurpose.FENCE, ops=(*before, *note_before, *change, *note_change))
