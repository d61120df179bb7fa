"""The sleep records: stored as custom resources in our namespace, and watched.

They are what waking needs when the daemon, the database and every memory of them is gone, so
they are read from here alone (``sleeper wake --all``). Writes hold only while the record is in
the phase that it was read in; who loses a race gets ``TestFailed`` and looks again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import datetime
from typing import Final
from urllib.parse import quote

import msgspec
import structlog

from metrics.core.clock import Clock
from metrics.recorder import Recorder
from sleeper.core.jsonpatch import JsonOp, add, test
from sleeper.core.names import GROUP, LABEL_SPACE_UID, VERSION
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.record import SleepRecord
from sleeper.kube.client import KubeClient
from sleeper.kube.errors import NotFound, Undecodable
from sleeper.kube.record_cache import RecordCache, assemble
from sleeper.kube.record_wire import (
    LABEL_EPOCH,
    PLURAL,
    WireRecord,
    chunk_count,
    chunk_entries,
    chunk_name,
    entries_of_chunk,
    to_objects,
    to_record,
    to_status,
)
from sleeper.kube.watch import RELIST_SECONDS, WATCH_SECONDS, Reflector


class _List(msgspec.Struct, frozen=True):
    items: list[WireRecord]


_LIST: Final = msgspec.json.Decoder(_List)
_OBJECT: Final = msgspec.json.Decoder(WireRecord)

_log = structlog.get_logger(__name__)


class RecordStore:
    """Reads, writes and watches the sleep records.

    Args:
        client: the API server.
        namespace: our own namespace.
        clock: for the watch.
        recorder: counts what the watch does.
        watch_seconds: length of one watch.
        relist_seconds: time between forced lists.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        namespace: str,
        clock: Clock,
        recorder: Recorder,
        watch_seconds: float = WATCH_SECONDS,
        relist_seconds: float = RELIST_SECONDS,
    ) -> None:
        self._client = client
        self._path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}"
        self._cache = RecordCache()
        self._reflector = Reflector(
            client,
            resource=PLURAL,
            path=self._path,
            kind=WireRecord,
            store=self._cache,
            clock=clock,
            recorder=recorder,
            watch_seconds=watch_seconds,
            relist_seconds=relist_seconds,
        )

    async def run(self) -> None:
        """Follow the records until cancelled."""
        await self._reflector.run()

    # the watched view

    async def known(self) -> None:
        """Wait until it is known which Spaces sleep, were it only once.

        Where the custom resource is not served there are no records, and what still sleeps is
        found by its restore annotations.
        """
        await self._reflector.known.wait()

    def unknown_because(self) -> str | None:
        """Why it was never known yet which Spaces sleep, as a sentence; None: it was."""
        if self._reflector.known.is_set():
            return None
        return f"the sleep records are {self._reflector.unsynced_because()}"

    @property
    def synced(self) -> bool:
        """The records have been listed and their watch is alive."""
        return self._reflector.synced

    def unsynced_because(self) -> str | None:
        """Why the watched records cannot be trusted now; None while they can."""
        return self._reflector.unsynced_because()

    def all(self) -> Mapping[str, SleepRecord]:
        """The newest record of each Space, by Space uid; own writes show at once."""
        return self._cache.newest

    def superseded(self) -> tuple[SleepRecord, ...]:
        """Records of Spaces that have a newer one: a late write created them; delete them."""
        return self._cache.superseded

    def unreadable(self) -> tuple[str, ...]:
        """Names of objects that are no valid records; somebody edited them."""
        return self._cache.unreadable

    def subscribe(self, callback: Callable[[str], None]) -> None:
        """Call back with the uid of each Space whose record changed; only take a note."""
        self._cache.subscribe(callback)

    # reads and writes

    async def survey(self) -> tuple[list[SleepRecord], tuple[str, ...]]:
        """All records, read from storage, oldest epoch first; and what makes up none, by name.

        Raises:
            NotFound: the custom resource itself is not there.
        """
        return assemble(await self._read())

    async def of(self, space_uid: str) -> Sequence[SleepRecord]:
        """The records of one Space, read from storage, oldest epoch first.

        There are none where the custom resource is gone: what still sleeps has its restore
        annotations.
        """
        try:
            found = await self._read({"labelSelector": f"{LABEL_SPACE_UID}={space_uid}"})
        except NotFound:
            _log.error("records_not_served", path=self._path)
            return []
        return _assembled(found)

    async def create(self, record: SleepRecord) -> None:
        """Store a new record; once this returns, all of it is stored.

        The head comes first: a record that lacks other chunks is one that was never finished, so
        nothing was changed for it yet, or one that is damaged. Both are good for waking only.

        Raises:
            AlreadyExists: there is one of this Space and epoch, perhaps in part.
        """
        for body in to_objects(record):
            self._cache.learn(_decode(await self._client.create(self._path, body)))

    async def update_entries(self, record: SleepRecord) -> None:
        """Store the entries of a record anew; their number and order stay as they were.

        The head comes last: once it is stored, whoever moves the record to another phase
        afterwards finds all of them.

        Raises:
            TestFailed: it is no longer in the phase that it was read in.
            NotFound: it is gone.
        """
        for chunk in reversed(range(chunk_count(record))):
            ops = [add("/spec/entries", chunk_entries(record, chunk))]
            if chunk == 0:
                ops.insert(0, test("/status/phase", record.phase))
            self._cache.learn(await self._patch(record, chunk, ops))

    async def mark_back(self, record: SleepRecord, back_at: Mapping[str, int]) -> SleepRecord:
        """Note of entries, by uid of their objects, at which generation they were left behind.

        Only these members are written, so replicas that wake the same Space lose none of each
        other's marks.

        Raises:
            TestFailed: an entry is not where it was when the record was read.
            NotFound: it is gone.
        """
        for chunk in range(chunk_count(record)):
            ops: list[JsonOp] = []
            for place, entry in enumerate(entries_of_chunk(record, chunk)):
                if entry.ref.uid in back_at:
                    root = f"/spec/entries/{place}"
                    ops.append(test(f"{root}/uid", entry.ref.uid))
                    ops.append(add(f"{root}/backAt", back_at[entry.ref.uid]))
            if ops:
                self._cache.learn(await self._patch(record, chunk, ops))
        return record.marked(back_at)

    async def set_phase(
        self,
        record: SleepRecord,
        phase: PowerState,
        *,
        sleeping_since: datetime | None = None,
        wake_reason: Reason | None = None,
        wake_started_at: datetime | None = None,
        wary: bool = False,
    ) -> SleepRecord:
        """Move a record from the phase that it was read in to another; the record as it is now.

        What is not given stays as it was. The entries are read anew: whoever was falling asleep
        may have changed them since.

        Raises:
            TestFailed: it is no longer in the phase that it was read in.
            NotFound: it is gone, or never had a head.
        """
        moved = replace(
            record,
            phase=phase,
            sleeping_since=sleeping_since or record.sleeping_since,
            wake_reason=wake_reason or record.wake_reason,
            wake_started_at=wake_started_at or record.wake_started_at,
            wary=wary or record.wary,
        )
        ops = [test("/status/phase", record.phase), add("/status", to_status(moved))]
        head = await self._patch(record, 0, ops)
        self._cache.learn(head)
        chunks = [head] if head.spec.chunks == 1 else await self._chunks_of(record)
        return to_record(chunks)

    async def delete(self, record: SleepRecord) -> None:
        """Remove a record with all its chunks, the head last. Gone already is fine."""
        chunks = await self._chunks_of(record)
        for wire in sorted(chunks, key=lambda wire: -wire.spec.chunk):
            with suppress(NotFound):
                await self._client.delete(
                    self._object_path(wire.metadata.name), uid=wire.metadata.uid
                )
            self._cache.bury(wire)

    async def _chunks_of(self, record: SleepRecord) -> Sequence[WireRecord]:
        selector = f"{LABEL_SPACE_UID}={record.space_uid},{LABEL_EPOCH}={record.epoch}"
        return await self._read({"labelSelector": selector})

    async def _patch(self, record: SleepRecord, chunk: int, ops: Sequence[JsonOp]) -> WireRecord:
        name = chunk_name(record.space_uid, record.epoch, chunk)
        return _decode(await self._client.json_patch(self._object_path(name), ops))

    def _object_path(self, name: str) -> str:
        return f"{self._path}/{quote(name, safe='')}"

    async def _read(self, params: Mapping[str, str] | None = None) -> Sequence[WireRecord]:
        found: list[WireRecord] = []
        async with aclosing(self._client.pages(self._path, params=params)) as pages:
            async for body in pages:
                try:
                    found.extend(_LIST.decode(body).items)
                except msgspec.MsgspecError as error:
                    raise Undecodable(f"list: {error}", path=self._path) from error
        return found


def _assembled(chunks: Iterable[WireRecord]) -> list[SleepRecord]:
    records, unreadable = assemble(chunks)
    if unreadable:
        _log.error("record_unreadable", records=unreadable)
    return records


def _decode(body: bytes) -> WireRecord:
    try:
        return _OBJECT.decode(body)
    except msgspec.MsgspecError as error:
        raise Undecodable(f"sleep record: {error}") from error
