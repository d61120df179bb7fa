"""The watched view of the sleep records, by Space.

Follows a watch as a :class:`~sleeper.kube.watch.Store`, and our own writes, which show at once.
The watch repeats those later, perhaps after something older; what is older than what is known is
ignored, by resource version and, for the dead, by uid.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

import msgspec
import structlog

from sleeper.core.record import SleepRecord
from sleeper.kube.record_wire import WireRecord, to_record

_log = structlog.get_logger(__name__)


class RecordCache:
    """Chunks as they become known, assembled to the records of each Space."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[str], None]] = []
        self._chunks: defaultdict[str, dict[str, WireRecord]] = defaultdict(dict)
        self._dead: set[str] = set()
        self._newest: dict[str, SleepRecord] = {}
        self._superseded: dict[str, tuple[SleepRecord, ...]] = {}
        self._unreadable: dict[str, tuple[str, ...]] = {}

    @property
    def newest(self) -> Mapping[str, SleepRecord]:
        """The record of the largest epoch of each Space, by Space uid; a live view."""
        return MappingProxyType(self._newest)

    @property
    def superseded(self) -> tuple[SleepRecord, ...]:
        """Records of Spaces that have a newer one."""
        return tuple(record for records in self._superseded.values() for record in records)

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Names of chunks that make up no record."""
        return tuple(name for names in self._unreadable.values() for name in names)

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """Call back with the uid of each Space whose records changed."""
        self._listeners.append(listener)

    # Store: what the watch tells

    def replace(self, objects: Sequence[WireRecord], at: datetime) -> None:
        """These are all chunks."""
        present = {wire.metadata.uid for wire in objects}
        self._dead &= present
        for known in [wire for chunks in self._chunks.values() for wire in chunks.values()]:
            if known.metadata.uid not in present:
                self._drop(known)
        for wire in objects:
            self.put(wire, at)

    def put(self, item: WireRecord, _at: datetime) -> None:
        """A chunk was added or changed."""
        self.learn(item)

    def discard(self, item: WireRecord, _at: datetime) -> None:
        """A chunk is gone."""
        self._dead.discard(item.metadata.uid)
        self._drop(item)

    # what we did ourselves

    def learn(self, item: WireRecord) -> None:
        """This is a state that the chunk has had; keep it if it is the latest known."""
        meta = item.metadata
        known = self._chunks[item.spec.space_uid].get(meta.name)
        older = (
            known is not None
            and known.metadata.uid == meta.uid
            and _version(known) >= _version(item)
        )
        if older or meta.uid in self._dead:
            return
        self._chunks[item.spec.space_uid][meta.name] = item
        self._assemble(item.spec.space_uid)

    def bury(self, item: WireRecord) -> None:
        """We deleted this chunk; what the watch still has to say about its life is old."""
        if self._drop(item):
            self._dead.add(item.metadata.uid)

    def _drop(self, item: WireRecord) -> bool:
        chunks = self._chunks[item.spec.space_uid]
        known = chunks.get(item.metadata.name)
        if known is None or known.metadata.uid != item.metadata.uid:
            return False
        del chunks[item.metadata.name]
        self._assemble(item.spec.space_uid)
        return True

    def _assemble(self, space_uid: str) -> None:
        records, unreadable = assemble(self._chunks[space_uid].values())
        for forget in (self._newest, self._superseded, self._unreadable):
            forget.pop(space_uid, None)
        if records:
            *older, self._newest[space_uid] = records
            if older:
                self._superseded[space_uid] = tuple(older)
        if unreadable:
            self._unreadable[space_uid] = unreadable
            _log.error("record_unreadable", records=unreadable)
        if not self._chunks[space_uid]:
            del self._chunks[space_uid]
        for listener in self._listeners:
            listener(space_uid)


def assemble(chunks: Iterable[WireRecord]) -> tuple[list[SleepRecord], tuple[str, ...]]:
    """Records by rising epoch, and the names of chunks that make up none."""
    grouped: defaultdict[tuple[str, int], list[WireRecord]] = defaultdict(list)
    for wire in chunks:
        grouped[wire.spec.space_uid, wire.spec.epoch].append(wire)
    records: list[SleepRecord] = []
    unreadable: list[str] = []
    for group in grouped.values():
        try:
            records.append(to_record(group))
        except (ValueError, msgspec.MsgspecError):
            unreadable.extend(wire.metadata.name for wire in group)
    return sorted(records, key=lambda record: record.epoch), tuple(sorted(unreadable))


def _version(wire: WireRecord) -> int:
    """Resource version as a number; comparable within one resource since Kubernetes 1.35."""
    return int(wire.metadata.resource_version)
