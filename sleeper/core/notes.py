"""The restore note: the annotation on a sleeping object that says what its fields were.

It is written in the same patch as the change that it undoes, so there is no moment in which an
object is changed and its original values are not beside it. Whoever may edit the object may edit
the note; so a note is data to be checked, never a patch to be applied. It is believed only if its
shape is ours, it names this object and this Space, and every field in it is one that sleep turns
and holds a plausible value.

One that is all this but names another object or Space is a *copy*: the object was made from what a
sleeping one looked like (deleted and created again, restored from a backup, copied). It can ask
for nothing that whoever wrote it could not set themselves, so a wake that somebody asks for
believes it, and only such a wake.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from sleeper.core.authorship import Witness
from sleeper.core.jsonpatch import ABSENT, JsonObject, pointer, resolve
from sleeper.core.managed_fields import FieldOwner
from sleeper.core.names import FIELD_MANAGER, RESTORE
from sleeper.core.record import Entry, FieldValue
from sleeper.core.text import shortened
from sleeper.core.workloads import WorkloadKind

NOTE_POINTER: Final = pointer("metadata", "annotations", RESTORE)
_FORMAT: Final = 1

MAX_EPOCH: Final = 10**15 - 1
"""Largest epoch that is believed: milliseconds of more than thirty thousand years, and few enough
digits for every reader of JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreNote:
    """What one sleep changed on one object.

    Attributes:
        space_uid: uid of the namespace.
        epoch: number of the sleep.
        uid: uid of the object.
        fields: JSON pointer → original value.
        owners: who held these fields before.
        witness: what the object told of its owner's word before the change; None: nothing that a
            later look could be compared with, so every sleeping value counts as ours.
    """

    space_uid: str
    epoch: int
    uid: str
    fields: Mapping[str, FieldValue]
    owners: tuple[FieldOwner, ...] = ()
    witness: Witness | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedNote:
    """A plausible note that was written for another object or another Space.

    Attributes:
        note: what it says.
        why: whose it is, as one sentence for people.
    """

    note: RestoreNote
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Disbelief:
    """A note that is not believed.

    Attributes:
        raw: what stands on the object.
        why: why not, as one sentence for people.
    """

    raw: str
    why: str


class _Owner(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    manager: str
    operation: str
    api: str
    fields: tuple[str, ...]
    subresource: str = ""
    time: str | None = None


class _Witness(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    applied: dict[str, int | str | bool | None] = {}
    written: str = ""


class _Note(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    v: int
    space: str
    epoch: int
    uid: str
    fields: dict[str, int | str | bool | None]
    owners: tuple[_Owner, ...] = ()
    witness: _Witness | None = None


_decoder: Final = msgspec.json.Decoder(_Note)

LONGEST_NOTE: Final = 32 << 10
"""Characters of a note that is read; none of ours comes near. Each look at a Space reads them."""

MOST_OWNERS: Final = 40
"""Former holders of a field that are kept: there are more only where somebody makes them up."""


def encode_note(note: RestoreNote) -> str:
    """The annotation's value."""
    wire = _Note(
        v=_FORMAT,
        space=note.space_uid,
        epoch=note.epoch,
        uid=note.uid,
        fields=dict(note.fields),
        owners=tuple(
            _Owner(
                manager=o.manager,
                operation=o.operation,
                api=o.api_version,
                fields=o.pointers,
                subresource=o.subresource,
                time=o.time,
            )
            for o in note.owners[:MOST_OWNERS]
        ),
        witness=None
        if note.witness is None
        else _Witness(applied=dict(note.witness.applied), written=note.witness.written),
    )
    return msgspec.json.encode(wire).decode()


def raw_note(live: JsonObject) -> str | None:
    """The annotation as it stands on a live object, believed or not."""
    found = resolve(live, NOTE_POINTER)
    return None if found is ABSENT else found


def read_note(
    raw: str,
    *,
    kind: WorkloadKind,
    object_uid: str,
    space_uid: str,
    recorded: Mapping[str, FieldValue] | None = None,
) -> RestoreNote | CopiedNote | Disbelief:
    """Parse and check a note.

    Args:
        raw: the annotation's value.
        kind: kind of the object that it stands on.
        object_uid: uid of that object.
        space_uid: uid of its namespace.
        recorded: the record's fields for this object, if there is a record.
    """
    if len(raw) > LONGEST_NOTE:
        return Disbelief(raw=raw, why=f"the restore annotation is longer than {LONGEST_NOTE}")
    try:
        wire = _decoder.decode(raw)
    except msgspec.DecodeError as error:
        return Disbelief(raw=raw, why=f"the restore annotation cannot be read: {error}")
    doubt = _malformed(wire) or _implausible(wire, kind, recorded or {})
    if doubt is not None:
        return Disbelief(raw=raw, why=doubt)
    note = _note_of(wire)
    foreign = _misplaced(wire, object_uid, space_uid)
    return note if foreign is None else CopiedNote(note=note, why=foreign)


def _note_of(wire: _Note) -> RestoreNote:
    return RestoreNote(
        space_uid=wire.space,
        epoch=wire.epoch,
        uid=wire.uid,
        fields=wire.fields,
        owners=tuple(
            FieldOwner(
                manager=o.manager,
                operation=o.operation,
                subresource=o.subresource,
                api_version=o.api,
                time=o.time,
                pointers=o.fields,
            )
            for o in wire.owners
        ),
        witness=None
        if wire.witness is None
        else Witness(applied=wire.witness.applied, written=wire.witness.written),
    )


def note_on(
    live: JsonObject, *, kind: WorkloadKind, space_uid: str, entry: Entry | None = None
) -> RestoreNote | CopiedNote | Disbelief | None:
    """The note on a live object, checked; None where there is none."""
    raw = raw_note(live)
    if raw is None:
        return None
    return read_note(
        raw,
        kind=kind,
        object_uid=str(resolve(live, "/metadata/uid")),
        space_uid=space_uid,
        recorded=entry.fields if entry else None,
    )


def _malformed(wire: _Note) -> str | None:
    """Why a note cannot be one of ours, or None."""
    if wire.v != _FORMAT:
        return f"the restore annotation has format {shortened(str(wire.v))}, expected {_FORMAT}"
    if not 1 <= wire.epoch <= MAX_EPOCH:
        return f"the restore annotation has epoch {shortened(str(wire.epoch))}"
    return None


def _misplaced(wire: _Note, object_uid: str, space_uid: str) -> str | None:
    """Whose note it is, if not this very object's, or None."""
    if wire.uid != object_uid:
        return f"the restore annotation belongs to an object with uid {shortened(wire.uid)}"
    if wire.space != space_uid:
        return f"the restore annotation belongs to a Space with uid {shortened(wire.space)}"
    return None


def _implausible(wire: _Note, kind: WorkloadKind, recorded: Mapping[str, FieldValue]) -> str | None:
    """Why the fields or owners of a note are not to be believed, or None."""
    for path, value in wire.fields.items():
        switch = kind.switch(path)
        if switch is None:
            named = shortened(path)
            return f"the restore annotation names {named}, which sleeping never changes"
        if not switch.plausible(value, recorded.get(path)):
            asked = shortened(repr(value))
            return f"the restore annotation asks for {path} = {asked}, which is not plausible"
    for owner in wire.owners:
        if owner.operation not in {"Apply", "Update"} or owner.manager in {"", FIELD_MANAGER}:
            named = shortened(repr(owner.manager))
            return f"the restore annotation names an impossible owner {named}"
        if not set(owner.fields) <= wire.fields.keys():
            return "the restore annotation names an owner of a field that it does not restore"
    return None
