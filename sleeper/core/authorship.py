"""Whose word a field is while its object sleeps. Pure.

The value that sleep gives a field (0 replicas, claims retained) may also be its owner's own word,
set while the object sleeps; a wake must not overrule that. The value alone cannot tell. These can:

- **Field ownership.** After a sleep patch nobody holds the fields that it turned: our claim goes in
  the next patch, and the former holders are kept in the restore annotation and get their fields
  back on waking only. Whoever holds one meanwhile has written it since.
- **Client-side apply** writes nothing where the value is there already, but it keeps what it was
  given in an annotation. Whoever finds other words there than at the sleep knows of an apply.
- **Our annotation beside the value**: whoever wrote both put a copy of the sleeping object back
  (from a backup, a file that was read at night); its value is ours.
- **Times of writes** tell that somebody wrote the object at all. For a field whose loss destroys
  data that is enough to leave it on the safe side.

What leaves no trace cannot be told: ``kubectl scale`` to the 0 that is there already, and a PUT of
what was read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeGuard

import msgspec

from sleeper.core.jsonpatch import ABSENT, JsonObject, pointer, resolve
from sleeper.core.managed_fields import FieldOwner, entries_of, owners_of
from sleeper.core.names import FIELD_MANAGER, RESTORE
from sleeper.core.record import FieldValue

_LAST_APPLIED: Final = pointer(
    "metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration"
)

_OUR_NOTE: Final = pointer("metadata", "annotations", RESTORE)

_LONGEST_VALUE: Final = 100
_LARGEST_VALUE: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """What an object told of its owner's word in the moment before a sleep patch.

    Attributes:
        applied: JSON pointer → value, as the last client-side apply had it; a field that it did
            not mention is missing.
        written: RFC 3339 instant of the last write by anybody but us and controllers that report
            status; empty: none is known. By the API server's clock, in whole seconds.
    """

    applied: Mapping[str, FieldValue] = field(default_factory=dict)
    written: str = ""


def witness(live: JsonObject, pointers: Iterable[str]) -> Witness:
    """What the object tells now about these fields."""
    return Witness(applied=_applied(live, pointers), written=_last_write(live))


def set_since(live: JsonObject, path: str, then: Witness, *, cautious: bool) -> str | None:
    """Who gave a field that is at its sleeping value this very value since the sleep, for people.

    Args:
        live: the object as it is now.
        path: JSON pointer of the field.
        then: what the object told before the sleep patch.
        cautious: any foreign write since counts; for fields whose loss destroys data.

    Returns:
        A name such as ``kubectl``; None: nobody did, as far as anything tells.
    """
    holders = owners_of(live, (path,)) if cautious else speakers(live, path)
    if holders:
        return max(holders, key=lambda holder: holder.time or "").manager or "somebody"
    now = _applied(live, (path,)).get(path, ABSENT)
    said = now == resolve(live, path) and resolve(_manifest(live), _OUR_NOTE) is ABSENT
    if now != then.applied.get(path, ABSENT) and (cautious or said):
        return "kubectl apply"
    if cautious and _last_write(live) > then.written:
        latest = max(_foreign(live), key=lambda entry: entry.get("time") or "")
        return str(latest.get("manager") or "somebody")
    return None


def speakers(live: JsonObject, path: str) -> tuple[FieldOwner, ...]:
    """Who holds a field by a word of their own: not together with our annotation.

    Who holds both wrote a copy of the object as it looked asleep.
    """
    holders = owners_of(live, (path, _OUR_NOTE))
    return tuple(h for h in holders if path in h.pointers and _OUR_NOTE not in h.pointers)


def set_since_creation(live: JsonObject, path: str, *, cautious: bool) -> str | None:
    """Who gave a field of a copy its sleeping value after the copy was made, for people.

    Whoever made it copied the value with everything else; only what was written later, in whole
    seconds, is somebody's word. Where it has to be cautious, so is what another manager wrote in
    that second.

    Args:
        live: an object that was made from the look of a sleeping one.
        path: JSON pointer of the field.
        cautious: any later write counts; for fields whose loss destroys data.
    """
    made_at = str(resolve(live, "/metadata/creationTimestamp"))
    if cautious:
        later = [(str(e.get("time") or ""), str(e.get("manager"))) for e in _foreign(live)]
    else:
        later = [(holder.time or "", holder.manager) for holder in speakers(live, path)]
    at, manager = max(later, default=("", ""))
    others = cautious and len({name for _, name in later}) > 1
    return manager if at > made_at or others else None


def _manifest(live: JsonObject) -> Any:
    """What the last client-side apply was given; {} if that cannot be read."""
    raw = resolve(live, _LAST_APPLIED)
    if not isinstance(raw, str):
        return {}
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return {}


def _applied(live: JsonObject, pointers: Iterable[str]) -> dict[str, FieldValue]:
    manifest = _manifest(live)
    found = ((path, resolve(manifest, path)) for path in pointers)
    return {path: value for path, value in found if _can_be_meant(value)}


def _can_be_meant(value: object) -> TypeGuard[FieldValue]:
    """Whether it could be a value of a field that sleep turns; anybody can write the annotation."""
    if isinstance(value, str):
        return len(value) <= _LONGEST_VALUE
    if isinstance(value, int):
        return abs(value) <= _LARGEST_VALUE
    return value is None


def _foreign(live: JsonObject) -> list[JsonObject]:
    """Entries of those who write the object itself: not we, and not who reports status."""
    return [
        entry
        for entry in entries_of(live)
        if entry.get("manager") != FIELD_MANAGER and entry.get("subresource") != "status"
    ]


def _last_write(live: JsonObject) -> str:
    return max((str(entry.get("time") or "") for entry in _foreign(live)), default="")
