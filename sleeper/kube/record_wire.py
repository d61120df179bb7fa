"""SleepRecord as a custom resource: chunks on the wire ⇄ one :class:`SleepRecord`. Pure.

A record of many workloads is split into chunks of :data:`ENTRIES_PER_CHUNK`, each an object of
its own that repeats the header, so that what is left of a damaged record can still be used for
waking. Chunk 0, the head, alone carries the phase. It is created first and deleted last, and
nothing is changed in the Space before all chunks are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

import msgspec

from sleeper.core.names import GROUP, LABEL_SPACE_UID, VERSION
from sleeper.core.objects import KubeObject
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.record import Entry, FieldValue, FreedRequests, ObjectRef, SleepRecord
from sleeper.kube.times import micro_time, parse_time

ENTRIES_PER_CHUNK: Final = 500
"""An entry is at most about 800 bytes (names are limited to 253), so a chunk stays below 400 KiB;
the API server takes 1.5 MiB."""

LABEL_EPOCH: Final = f"{GROUP}/epoch"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "SleepRecord"
PLURAL: Final = "sleeprecords"


class WireEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One workload; ``fields`` maps JSON pointers to the original values as JSON texts."""

    kind: str
    name: str
    uid: str
    fields: dict[str, str]
    wave: int = 0
    was_ready: int | None = None
    slept_from: int = 0
    back_at: int | None = None


class WireFreed(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Requests that the sleep frees."""

    cpu_millis: int = 0
    memory_bytes: int = 0
    pods: int = 0


class WireSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """``spec``: intent and snapshot; only entries ever change."""

    space_uid: str = msgspec.field(name="spaceUID")
    space_name: str
    tenant: str
    epoch: int
    chunk: int
    chunks: int
    reason: str
    horizon: str
    decided_at: str
    freed: WireFreed = msgspec.field(default_factory=WireFreed)
    entries: list[WireEntry] = []


class WireStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """``status``: how far the sleep is; on the head only."""

    phase: str
    sleeping_since: str | None = None
    wake_reason: str | None = None
    wake_started_at: str | None = None
    wary: bool = False


class WireRecord(KubeObject, frozen=True, kw_only=True):
    """One chunk as it is stored."""

    spec: WireSpec
    status: WireStatus | None = None


def chunk_name(space_uid: str, epoch: int, chunk: int) -> str:
    """Name of the object that holds one chunk."""
    return f"{space_uid}-{epoch}-{chunk}"


def chunk_count(record: SleepRecord) -> int:
    """Number of chunks of a record; at least the head."""
    return max(1, -(-len(record.entries) // ENTRIES_PER_CHUNK))


def entries_of_chunk(record: SleepRecord, chunk: int) -> tuple[Entry, ...]:
    """The entries of one chunk, in their order."""
    begin = chunk * ENTRIES_PER_CHUNK
    return record.entries[begin : begin + ENTRIES_PER_CHUNK]


def chunk_entries(record: SleepRecord, chunk: int) -> list[WireEntry]:
    """The entries of one chunk as they are stored."""
    return [
        WireEntry(
            kind=entry.ref.kind,
            name=entry.ref.name,
            uid=entry.ref.uid,
            fields={path: _json(value) for path, value in entry.fields.items()},
            wave=entry.wave,
            was_ready=entry.was_ready,
            slept_from=entry.slept_from,
            back_at=entry.back_at,
        )
        for entry in entries_of_chunk(record, chunk)
    ]


def to_objects(record: SleepRecord) -> list[dict[str, object]]:
    """The objects to create, head first."""
    chunks = chunk_count(record)
    return [_to_object(record, chunk, chunks) for chunk in range(chunks)]


def _to_object(record: SleepRecord, chunk: int, chunks: int) -> dict[str, object]:
    spec = WireSpec(
        space_uid=record.space_uid,
        space_name=record.space_name,
        tenant=record.tenant,
        epoch=record.epoch,
        chunk=chunk,
        chunks=chunks,
        reason=record.reason,
        horizon=micro_time(record.horizon),
        decided_at=micro_time(record.decided_at),
        freed=WireFreed(
            cpu_millis=record.freed.cpu_millis,
            memory_bytes=record.freed.memory_bytes,
            pods=record.freed.pods,
        ),
        entries=chunk_entries(record, chunk),
    )
    body: dict[str, object] = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": chunk_name(record.space_uid, record.epoch, chunk),
            "labels": {LABEL_SPACE_UID: record.space_uid, LABEL_EPOCH: str(record.epoch)},
        },
        "spec": spec,
    }
    if chunk == 0:
        body["status"] = to_status(record)
    return body


def to_status(record: SleepRecord) -> WireStatus:
    """The head's status."""
    return WireStatus(
        phase=record.phase,
        sleeping_since=_time_or_none(record.sleeping_since),
        wake_reason=record.wake_reason,
        wake_started_at=_time_or_none(record.wake_started_at),
        wary=record.wary,
    )


def to_record(chunks: Iterable[WireRecord]) -> SleepRecord:
    """The record that these chunks of one Space and epoch make up, as far as they are there.

    Without its head the phase is Waking: either a chunk of a sleep that is over was created late,
    or somebody removed the head; waking is right for both.

    Raises:
        ValueError: a value cannot be read.
    """
    ordered = sorted(chunks, key=lambda wire: wire.spec.chunk)
    first = ordered[0]
    spec = first.spec
    status = first.status if spec.chunk == 0 else None
    return SleepRecord(
        space_uid=spec.space_uid,
        space_name=spec.space_name,
        tenant=spec.tenant,
        epoch=spec.epoch,
        phase=PowerState(status.phase) if status else PowerState.WAKING,
        reason=Reason(spec.reason),
        horizon=parse_time(spec.horizon),
        decided_at=parse_time(spec.decided_at),
        entries=tuple(_entry(entry) for wire in ordered for entry in wire.spec.entries),
        freed=FreedRequests(
            cpu_millis=spec.freed.cpu_millis,
            memory_bytes=spec.freed.memory_bytes,
            pods=spec.freed.pods,
        ),
        sleeping_since=_parsed_or_none(status.sleeping_since) if status else None,
        wake_reason=Reason(status.wake_reason) if status and status.wake_reason else None,
        wake_started_at=_parsed_or_none(status.wake_started_at) if status else None,
        wary=status is not None and status.wary,
        complete=status is not None and len(ordered) == spec.chunks,
    )


def _entry(wire: WireEntry) -> Entry:
    fields: Mapping[str, FieldValue] = {
        path: msgspec.json.decode(text, type=int | str | bool | None)
        for path, text in wire.fields.items()
    }
    return Entry(
        ref=ObjectRef(kind=wire.kind, name=wire.name, uid=wire.uid),
        fields=fields,
        wave=wire.wave,
        was_ready=wire.was_ready,
        slept_from=wire.slept_from,
        back_at=wire.back_at,
    )


def _json(value: FieldValue) -> str:
    return msgspec.json.encode(value).decode()


def _time_or_none(at: datetime | None) -> str | None:
    return None if at is None else micro_time(at)


def _parsed_or_none(text: str | None) -> datetime | None:
    return None if text is None else parse_time(text)
