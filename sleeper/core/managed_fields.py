"""Field ownership (``metadata.managedFields``): leaving no trace of ours, and giving back.

A write that changes a field makes its field manager the owner of that field and takes it from an
owner by server-side apply. Left so, the owner's next apply would meet a conflict, or forget that
the field was theirs. So after our own writes a second patch removes our entry and puts the fields
back into the entries that held them. It cannot be one patch: the server gives the fields that
change in a request to its sender after all operations have been applied.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sleeper.core.jsonpatch import (
    ABSENT,
    JsonObject,
    JsonOp,
    add,
    pointer,
    remove,
    resolve,
    test,
    tokens_of,
)
from sleeper.core.names import FIELD_MANAGER

_ROOT: Final = "/metadata/managedFields"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldOwner:
    """One entry of ``managedFields`` that held fields which sleep changes.

    Attributes:
        manager: name of the field manager.
        operation: ``Apply`` or ``Update``.
        subresource: ``scale`` for ``kubectl scale``, empty otherwise.
        api_version: version in which the entry is written.
        time: when it was last changed; ``kubectl scale`` leaves none.
        pointers: the fields among ours that it held.
    """

    manager: str
    operation: str
    subresource: str
    api_version: str
    time: str | None
    pointers: tuple[str, ...]


def owners_of(live: JsonObject, pointers: Iterable[str]) -> tuple[FieldOwner, ...]:
    """Who else holds any of ``pointers`` in a live object."""
    wanted = tuple(pointers)
    found = []
    for entry in entries_of(live):
        held = tuple(p for p in wanted if _holds(entry, p))
        if held and entry.get("manager") != FIELD_MANAGER:
            found.append(
                FieldOwner(
                    manager=entry.get("manager", ""),
                    operation=entry.get("operation", ""),
                    subresource=entry.get("subresource", ""),
                    api_version=entry.get("apiVersion", ""),
                    time=entry.get("time"),
                    pointers=held,
                )
            )
    return tuple(found)


def disown_ops(
    live: JsonObject, owners: Iterable[FieldOwner], *, vacant: Collection[str] = ()
) -> tuple[JsonOp, ...]:
    """Operations after which our field manager owns nothing in ``live``; () if there are none.

    A field goes back to its former ``owners`` only while we hold it: one that somebody else has
    changed in the meantime is theirs.

    Args:
        live: the object.
        owners: former holders.
        vacant: fields that go back to them too, because nobody holds them.
    """
    entries = entries_of(live)
    ours = [i for i, entry in enumerate(entries) if entry.get("manager") == FIELD_MANAGER]
    if not ours and not vacant:
        return ()
    preconditions = [
        test(pointer("metadata", "managedFields", i, "manager"), FIELD_MANAGER) for i in ours
    ]
    additions: list[JsonOp] = []
    appended: list[JsonOp] = []
    for owner in owners:
        held = [
            p for p in owner.pointers if p in vacant or any(_holds(entries[i], p) for i in ours)
        ]
        if not held:
            continue
        index = next((i for i, entry in enumerate(entries) if _is(entry, owner)), None)
        if index is None:
            appended.append(add(f"{_ROOT}/-", _rebuilt(owner, held)))
            continue
        root = pointer("metadata", "managedFields", index)
        preconditions.append(test(f"{root}/manager", owner.manager))
        preconditions.append(test(f"{root}/operation", owner.operation))
        additions.extend(_graft(entries[index], f"{root}/fieldsV1", held))
    removals = [remove(pointer("metadata", "managedFields", i)) for i in reversed(ours)]
    return (*preconditions, *additions, *removals, *appended)


def entries_of(live: JsonObject) -> Sequence[JsonObject]:
    """``metadata.managedFields`` of a live object."""
    found = resolve(live, _ROOT)
    return found if isinstance(found, Sequence) else ()


def _is(entry: JsonObject, owner: FieldOwner) -> bool:
    return (
        entry.get("manager") == owner.manager
        and entry.get("operation") == owner.operation
        and entry.get("subresource", "") == owner.subresource
        and entry.get("apiVersion") == owner.api_version
    )


def _field_path(path: str) -> list[str]:
    return [f"f:{token}" for token in tokens_of(path)]


def _holds(entry: JsonObject, path: str) -> bool:
    return resolve(entry.get("fieldsV1"), pointer(*_field_path(path))) is not ABSENT


def _nested(tokens: Sequence[str]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for token in reversed(tokens):
        value = {token: value}
    return value


def _graft(entry: JsonObject, root: str, held: Iterable[str]) -> Iterator[JsonOp]:
    """Add fields to an entry, with the parents that it lacks."""
    grown: set[str] = set()
    for path in held:
        tokens = _field_path(path)
        depth = 1
        while depth < len(tokens):
            parent = pointer(*tokens[:depth])
            if resolve(entry.get("fieldsV1"), parent) is ABSENT and parent not in grown:
                break
            depth += 1
        grown.update(pointer(*tokens[:d]) for d in range(depth, len(tokens) + 1))
        yield add(root + pointer(*tokens[:depth]), _nested(tokens[depth:]))


def _rebuilt(owner: FieldOwner, held: Iterable[str]) -> dict[str, Any]:
    """An entry that vanished when its last field was taken."""
    fields: dict[str, Any] = {}
    for path in held:
        here = fields
        for token in _field_path(path):
            here = here.setdefault(token, {})
    entry: dict[str, Any] = {
        "manager": owner.manager,
        "operation": owner.operation,
        "apiVersion": owner.api_version,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    if owner.subresource:
        entry["subresource"] = owner.subresource
    if owner.time:
        entry["time"] = owner.time
    return entry
