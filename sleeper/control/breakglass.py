"""Break-glass: everything that sleeps is brought back, without the daemon and its database.

First from the sleep records; then from restore annotations that no record explains, wherever they
stand. Both are on the API server, and nothing else is needed.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

import msgspec

from metrics.core.clock import Clock
from metrics.instruments import NullRecorder
from sleeper.control.actuator import Actuator
from sleeper.control.flight_result import FlightSettings
from sleeper.control.status import write_annotations
from sleeper.control.waking import MUST_COME_BACK, Waking
from sleeper.core.names import POWER_STATE, REASON, RESTORE, SLEEPING_SINCE
from sleeper.core.notes import CopiedNote, Disbelief, RestoreNote, read_note
from sleeper.core.objects import Metadata, SpaceObjects
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.record import ObjectRef, SleepRecord
from sleeper.core.workloads import KINDS
from sleeper.kube.client import KubeClient
from sleeper.kube.errors import KubeError, NotFound
from sleeper.kube.records import RecordStore

Say = Callable[[str], None]

SPACES_AT_A_TIME: Final = 16
"""A Space whose requests hang (an admission webhook that is down) must not hold up all others."""


class _Page(msgspec.Struct, frozen=True):
    items: tuple[dict[str, Any], ...] = ()


_PAGE = msgspec.json.Decoder(_Page)


class _Unwatched:
    """There is no watch here, so nobody waits for Pods to be Ready."""

    def space(self, _name: str) -> SpaceObjects | None:
        """Nothing is known."""
        return None


async def wake_all(client: KubeClient, *, namespace: str, clock: Clock, say: Say) -> bool:
    """Bring back everything that sleeps.

    Args:
        client: with the rights of whoever runs this.
        namespace: where the sleep records are.
        clock: for what is written to the records.
        say: called with one line per Space or object.

    Returns:
        Whether everything is back. Pods may still be starting.
    """
    recorder = NullRecorder()
    records = RecordStore(client, namespace=namespace, clock=clock, recorder=recorder)
    waking = Waking(
        client=client,
        records=records,
        spaces=_Unwatched(),
        actuator=Actuator(client=client, recorder=recorder),
        clock=clock,
        settings=FlightSettings(),
    )
    by_record = await _wake_records(records, waking, say)
    by_note = await _undo_notes(client, waking, say)
    return by_record and by_note


async def _wake_records(records: RecordStore, waking: Waking, say: Say) -> bool:
    try:
        found, unreadable = await records.survey()
    except NotFound:
        say("there are no sleep records, not even their custom resource: by annotations alone")
        return True
    except KubeError as error:
        say(f"the sleep records cannot be read: by annotations alone: {error}")
        return False
    for name in unreadable:
        say(f"the sleep record {name} cannot be read: its Space by annotations alone")
    turns = asyncio.Semaphore(SPACES_AT_A_TIME)

    async def wake(record: SleepRecord) -> bool:
        async with turns:
            try:
                result = await waking.bring_back(record, Reason.BREAK_GLASS)
            except KubeError as error:
                say(f"{record.space_name}: not back: {error}")
                return False
            except Exception as error:  # noqa: BLE001 one Space must not end the wakes of all others
                say(f"{record.space_name}: not back: {error!r}")
                return False
        say(f"{record.space_name}: {result.message}")
        return result.ok

    async with asyncio.TaskGroup() as group:
        wakes = [group.create_task(wake(record)) for record in found]
    return all(task.result() for task in wakes) and not unreadable


async def _undo_notes(client: KubeClient, waking: Waking, say: Say) -> bool:
    namespaces = {meta.name: meta async for _, meta in _all(client, "/api/v1/namespaces")}
    found, everything = await _notes_by_namespace(client, namespaces, say)
    complete = everything
    for name, notes in found.items():
        space_uid = namespaces[name].uid if name in namespaces else ""
        results, kept = await waking.undo_notes(name, space_uid, notes)
        for sentence in kept:
            say(f"{name}: {sentence}")
        for result in results:
            if result.left is None:
                say(f"{name}: {result.ref.kind}/{result.ref.name}: brought back by its annotation")
            else:
                say(f"{name}: {result.left.message}")
                everything = everything and result.left.why not in MUST_COME_BACK
        if complete and all(result.left is None for result in results) and name in namespaces:
            await _show_awake(client, namespaces[name], say)
    return everything


async def _show_awake(client: KubeClient, seen: Metadata, say: Say) -> None:
    """Take back what the namespace says of a sleep that no record will end; best effort.

    Beside the state that was seen only: a sleep may have begun since.
    """
    if seen.annotation(POWER_STATE) in {None, PowerState.AWAKE, PowerState.DROWSY}:
        return
    changes = {
        POWER_STATE: PowerState.AWAKE.value,
        REASON: Reason.BREAK_GLASS.value,
        SLEEPING_SINCE: None,
    }
    try:
        await write_annotations(client, seen.name, changes, only_at=seen.resource_version)
    except KubeError as error:
        say(f"{seen.name}: everything is back, but its {POWER_STATE} was not mended: {error}")


async def _notes_by_namespace(
    client: KubeClient, namespaces: Mapping[str, Metadata], say: Say
) -> tuple[Mapping[str, Sequence[tuple[ObjectRef, RestoreNote | CopiedNote]]], bool]:
    """The notes that are believed, and whether nothing has to be left at zero.

    Whoever runs this asks for everything, so notes that were copied with their objects count too,
    but where another controller manages the object and copies annotations to it.
    """
    everything = True
    notes: defaultdict[str, list[tuple[ObjectRef, RestoreNote | CopiedNote]]] = defaultdict(list)
    for kind in KINDS.values():
        try:
            async for live, meta in _all(client, f"/apis/{kind.group_version}/{kind.plural}"):
                raw = meta.annotation(RESTORE)
                if raw is None:
                    continue
                ref = ObjectRef(kind=kind.kind, name=meta.name, uid=meta.uid)
                space = namespaces.get(meta.namespace)
                space_uid = "" if space is None else space.uid
                note = read_note(raw, kind=kind, object_uid=meta.uid, space_uid=space_uid)
                if not isinstance(note, Disbelief) and (
                    isinstance(note, RestoreNote) or not meta.owner_references
                ):
                    notes[meta.namespace].append((ref, note))
                    continue
                where = "at zero" if kind.is_at_zero(live) else "as it runs"
                say(f"{meta.namespace}: {kind.kind}/{meta.name} was left {where}: {note.why}")
                ends = meta.deletion_timestamp or (space and space.deletion_timestamp)
                everything = everything and bool(ends or not kind.is_at_zero(live))
        except KubeError as error:
            say(f"{kind.plural} cannot be listed: {error}")
            everything = False
    return notes, everything


async def _all(client: KubeClient, path: str) -> AsyncIterator[tuple[dict[str, Any], Metadata]]:
    """Every object at a path, with its metadata."""
    async with aclosing(client.pages(path)) as pages:
        async for body in pages:
            for item in _PAGE.decode(body).items:
                yield item, msgspec.convert(item["metadata"], Metadata)
