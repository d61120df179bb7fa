"""Clears away sleep records that nothing needs any more.

A record is needed until its Space is awake, and then its flight deletes it. Left over are those of
namespaces that are gone, and those that a late write created beside a newer one. That of a
namespace that is gone is kept as long as anything that was made from its sleeping workloads
(restored from a backup, copied) stays at zero. Only the Lease holder clears.

Whether a namespace is gone, and whether a record has a newer one, is asked of the
API server itself: the watch may be late, and a record is the last thing to throw away on hearsay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

import structlog

from sleeper.control.phases import read_namespace
from sleeper.control.ports import ObjectClient
from sleeper.core.objects import Namespace, SpaceObjects
from sleeper.core.record import SleepRecord
from sleeper.core.restore import copies_of
from sleeper.kube.errors import KubeError, NotFound

log = structlog.get_logger(__name__)

EVERY_SECONDS: Final = 30.0


class RecordShelf(Protocol):
    """What is cleared; implemented by :class:`sleeper.kube.records.RecordStore`."""

    def all(self) -> Mapping[str, SleepRecord]:
        """The present record of each sleeping Space, by namespace uid."""
        ...

    def superseded(self) -> tuple[SleepRecord, ...]:
        """Records of Spaces that have a newer one."""
        ...

    async def of(self, space_uid: str) -> Sequence[SleepRecord]:
        """The records of one Space, read from storage."""
        ...

    async def delete(self, record: SleepRecord) -> None:
        """Delete a record, all chunks of it."""
        ...


class NamespaceIndex(Protocol):
    """Who knows which namespaces there are."""

    @property
    def synced(self) -> bool:
        """Every kind has been listed and its watch lives."""
        ...

    def by_uid(self, uid: str) -> Namespace | None:
        """The namespace of that uid, or None."""
        ...

    def namespaces(self) -> Iterable[Namespace]:
        """All namespaces."""
        ...

    def space(self, name: str) -> SpaceObjects | None:
        """All objects of a namespace, or None if there is no such namespace."""
        ...


class Janitor:
    """Deletes records that nothing needs."""

    def __init__(
        self,
        *,
        client: ObjectClient,
        records: RecordShelf,
        namespaces: NamespaceIndex,
        leading: Callable[[], bool],
    ) -> None:
        self._client = client
        self._records = records
        self._namespaces = namespaces
        self._leading = leading

    async def run(self) -> None:
        """Clear every half minute until cancelled."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            await self.clear()

    async def clear(self) -> None:
        """Clear once; what cannot be deleted now is tried again the next time."""
        if not (self._leading() and self._namespaces.synced):
            return
        unknown = [
            record
            for uid, record in self._records.all().items()
            if self._namespaces.by_uid(uid) is None
        ]
        superseded = self._records.superseded()
        for record in (*unknown, *superseded):
            try:
                if await (self._is_newest if record in superseded else self._exists)(record):
                    continue
                await self._records.delete(record)
            except KubeError as error:
                log.warning("record_not_deleted", space=record.space_name, error=str(error))
            else:
                log.info("record_deleted", space=record.space_name, epoch=record.epoch)

    async def _is_newest(self, record: SleepRecord) -> bool:
        """Whether the record is the present one of its Space, as the API server has them now."""
        found = await self._records.of(record.space_uid)
        return all(other.epoch <= record.epoch for other in found)

    async def _exists(self, record: SleepRecord) -> bool:
        """Whether the record's namespace, as the API server has it now, or a copy is there."""
        try:
            namespace = await read_namespace(self._client, record.space_name)
        except NotFound:
            return self._has_copies(record)
        return namespace.metadata.uid == record.space_uid or self._has_copies(record)

    def _has_copies(self, record: SleepRecord) -> bool:
        """Whether something made from the Space's sleeping workloads stays at zero anywhere."""
        spaces = (self._namespaces.space(n.metadata.name) for n in self._namespaces.namespaces())
        return any(
            objects is not None and copies_of(objects, record.space_uid) for objects in spaces
        )
