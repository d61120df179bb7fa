"""SleepRecord and restore annotation as values: what was changed, so that it can be undone.

Two copies exist of every original value: the record in our namespace (written before the first
change) and the restore annotation on the object (written in the same patch as the change). Where
they disagree, an annotation with matching uid and epoch wins; only whitelisted fields of the
right type and a plausible size are ever believed (tenants can forge annotations).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason

FieldValue = int | str | bool | None
"""Original value of one field; None: the field was absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRef:
    """One workload object. ``kind`` is a key of :data:`sleeper.core.workloads.KINDS`."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One object of a record.

    Attributes:
        ref: the object.
        fields: JSON pointer → original value, only of the fields that sleep changes.
        wave: its start order.
        was_ready: how many of its Pods were Ready before the sleep; None: not known.
        slept_from: ``metadata.generation`` at which these values were read. A sleep patch tests
            it, and it is on record before such a patch is sent: once the object is past it, none
            can land any more. 0: not known.
        back_at: generation at which a wake left the object behind as it was; None: not yet. From
            then on it is its owner's alone.
    """

    ref: ObjectRef
    fields: Mapping[str, FieldValue]
    wave: int = 0
    was_ready: int | None = None
    slept_from: int = 0
    back_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FreedRequests:
    """Requests of the Pods alive at the decision: what sleeping frees.

    Attributes:
        cpu_millis: milli-cores.
        memory_bytes: bytes.
        pods: number of Pods.
    """

    cpu_millis: int
    memory_bytes: int
    pods: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SleepRecord:
    """The intent and snapshot of one sleep of one Space (all chunks together).

    Attributes:
        complete: False where a chunk is missing: then entries may be missing too, and it is
            good for waking only, through what is there and the objects' restore annotations.
        wary: its wake began after somebody had written workloads of which fields may be left on
            the safe side; whoever goes on with it may not have heard of that.
    """

    space_uid: str
    space_name: str
    tenant: str
    epoch: int
    phase: PowerState
    reason: Reason
    horizon: datetime
    decided_at: datetime
    entries: tuple[Entry, ...]
    freed: FreedRequests
    sleeping_since: datetime | None = None
    wake_reason: Reason | None = None
    wake_started_at: datetime | None = None
    wary: bool = False
    complete: bool = True

    def marked(self, back_at: Mapping[str, int]) -> SleepRecord:
        """The record with entries marked as brought back: uid → generation."""
        entries = tuple(
            replace(entry, back_at=back_at[entry.ref.uid]) if entry.ref.uid in back_at else entry
            for entry in self.entries
        )
        return replace(self, entries=entries)
