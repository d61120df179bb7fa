"""What flights need of the outside world, as small protocols.

Satisfied by :mod:`sleeper.kube`; the memory model of the tests satisfies them too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from sleeper.core.jsonpatch import JsonOp
from sleeper.core.objects import Namespace, SpaceObjects
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.record import SleepRecord


class ObjectClient(Protocol):
    """Reads and patches single objects. Raises the errors of :mod:`sleeper.kube.errors`.

    A write whose answer was lost raises ``OutcomeUnknown`` and is never sent again by itself.
    """

    @property
    def request_timeout_seconds(self) -> float:
        """Longest that one write can take to give an answer."""
        ...

    async def get(self, path: str, *, params: Mapping[str, str] | None = None) -> bytes:
        """The object at ``path``, read from storage and not from a cache."""
        ...

    async def json_patch(self, path: str, ops: Sequence[JsonOp]) -> bytes:
        """Apply all operations or none; the patched object."""
        ...

    async def merge_patch(self, path: str, body: object) -> bytes:
        """Set and remove single members; the patched object."""
        ...


class Records(Protocol):
    """The sleep records: read fresh, written with preconditions, and watched.

    Every write holds only while the record is as it was read; otherwise it raises
    ``TestFailed``, ``Conflict`` or ``NotFound``.
    """

    async def of(self, space_uid: str) -> Sequence[SleepRecord]:
        """The records of one Space, read from storage."""
        ...

    async def create(self, record: SleepRecord) -> None:
        """Store a new record; ``AlreadyExists`` if there is one of this Space and epoch."""
        ...

    async def update_entries(self, record: SleepRecord) -> None:
        """Store changed entries of a record that is still falling asleep."""
        ...

    async def mark_back(self, record: SleepRecord, back_at: Mapping[str, int]) -> SleepRecord:
        """Note of entries, by uid of their objects, at which generation they were left behind.

        Unlike every other write it holds in any phase; the record with these marks.
        """
        ...

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
        """Move a record from the phase that it was read in to another."""
        ...

    async def delete(self, record: SleepRecord) -> None:
        """Remove a record with all its chunks."""
        ...

    def all(self) -> Mapping[str, SleepRecord]:
        """The watched records by Space uid; may be a moment old."""
        ...


class SpaceView(Protocol):
    """The watched objects; may be a moment old."""

    def space(self, name: str) -> SpaceObjects | None:
        """All objects of one namespace, or None if there is none of that name."""
        ...


class Events(Protocol):
    """Who records Events."""

    async def record(
        self,
        *,
        regarding: Namespace,
        reason: str,
        note: str,
        action: str,
        type: str = "Normal",  # noqa: A002 the API's own word
    ) -> None:
        """Record one Event; never raises for what the API server says."""
        ...
