"""Open streams: exec, attach, port-forward, followed logs and proxied connections.

A stream is told by (API server, audit id, user). Its opening and its end may arrive in any order,
twice, or not at all, so records merge like activity does, and an end that comes first is kept. An
end that is lost must not pin a Space for ever: a stream holds for at most a bound (and no longer
than its Pod exists). A gap may hide an end, so a stream known to be open holds to that bound.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from metrics.core.instants import plus
from metrics.core.signals import OpenStream

StreamKey = tuple[str, str, str]
"""API server, audit id, user name."""

PodIsGone = Callable[[str, str], bool]
"""Whether the Pod of that Space and name is surely no longer there."""

POD_GRACE: Final = timedelta(minutes=1)
"""A younger stream is not asked for its Pod: our view of Pods may be the older of the two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRecord:
    """What is known of one stream.

    Attributes:
        apiserver: name of the API server that carries it.
        audit_id: the request's audit id.
        user: effective user name; empty: somebody whose streams hold nothing and are only counted.
        space_name: the Space.
        resource: ``pods/exec``, ``services/proxy``, …
        target: name of the Pod or Service.
        started_at: when it was opened, on our clock.
        closed_at: when it ended; None: no end is known.
    """

    apiserver: str
    audit_id: str
    user: str
    space_name: str
    resource: str
    target: str
    started_at: datetime
    closed_at: datetime | None = None

    @property
    def holds(self) -> bool:
        """Whether it holds its Space awake while it is open."""
        return bool(self.user)

    @property
    def key(self) -> StreamKey:
        """Identity."""
        return (self.apiserver, self.audit_id, self.user)

    def merge(self, other: StreamRecord) -> StreamRecord:
        """Both pieces of knowledge of the same stream; ``self`` where ``other`` adds nothing."""
        started_at = min(self.started_at, other.started_at)
        ends = [end for end in (self.closed_at, other.closed_at) if end is not None]
        closed_at = max(ends, default=None)
        if started_at == self.started_at and closed_at == self.closed_at:
            return self
        return replace(self, started_at=started_at, closed_at=closed_at)


class StreamTable:
    """All streams of the last hours, of every namespace, bounded in number.

    Ends are remembered as long as there is room: the oldest give way, of the namespace that has its
    share, or of all where everything is full. A namespace with more streams open than there is room
    for is held by that, as by a stream without a known end, if it is a Space.

    Args:
        bound: how long a stream without a known end holds.
        closed_kept: how long an end is remembered; None: as long as that.
        capacity: most records that are kept.
        share: most records of one namespace.
    """

    def __init__(
        self,
        *,
        bound: timedelta,
        closed_kept: timedelta | None = None,
        capacity: int = 50_000,
        share: int = 2_000,
    ) -> None:
        self._bound = bound
        self._closed_kept = bound if closed_kept is None else min(closed_kept, bound)
        self._capacity = capacity
        self._share = share
        self._overflowed: dict[str, StreamRecord] = {}
        self._records: dict[StreamKey, StreamRecord] = {}
        self._of_space: dict[str, set[StreamKey]] = {}
        # those that have ended, the first known of first: all, and by namespace
        self._ended: dict[StreamKey, None] = {}
        self._ended_in: dict[str, dict[StreamKey, None]] = {}

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: StreamRecord) -> StreamRecord | None:
        """Merge a record.

        Returns:
            What is now known of the stream. None: there is no room for a new one; what it means
            for its Space is remembered, unless there is no room for that either.
        """
        known = self._records.get(record.key)
        if known is None:
            if not self._make_room(record.space_name):
                if record.holds and record.closed_at is None:
                    latest = self._overflowed.get(record.space_name, record)
                    if record.started_at >= latest.started_at:
                        self._overflowed[record.space_name] = record
                return None
            merged = record
            self._of_space.setdefault(record.space_name, set()).add(record.key)
        else:
            merged = known.merge(record)
        self._records[record.key] = merged
        if merged.closed_at is not None:
            self._ended[record.key] = None
            self._ended_in.setdefault(record.space_name, {})[record.key] = None
        return merged

    def open_in(
        self, space_name: str, now: datetime, pod_is_gone: PodIsGone
    ) -> tuple[OpenStream, ...]:
        """Streams of a Space that are, or may still be, open; oldest first."""
        held = [
            record
            for key in self._of_space.get(space_name, ())
            if (record := self._records[key]).holds
            and record.closed_at is None
            and now < self._bound_of(record)
            and not self._lost_its_pod(record, now, pod_is_gone)
        ]
        more = self._overflowed.get(space_name)
        if more is not None and now < self._bound_of(more):
            held.append(replace(more, resource=f"more than {self._share} streams, {more.resource}"))
        held.sort(key=lambda record: (record.started_at, record.key))
        return tuple(
            OpenStream(
                apiserver=record.apiserver,
                audit_id=record.audit_id,
                user=record.user,
                space_name=record.space_name,
                resource=record.resource,
                started_at=record.started_at,
                holds_until=self._bound_of(record),
            )
            for record in held
        )

    def expire(self, now: datetime) -> None:
        """Forget streams whose bound has passed; until then their ends must be remembered."""
        old = [
            key
            for key, r in self._records.items()
            if now >= self._bound_of(r)
            or (r.closed_at is not None and now >= plus(r.closed_at, self._closed_kept))
        ]
        for key in old:
            self._drop(key)
        for name in [n for n, r in self._overflowed.items() if now >= self._bound_of(r)]:
            del self._overflowed[name]

    def get(self, key: StreamKey) -> StreamRecord | None:
        """What is known of a stream."""
        return self._records.get(key)

    def open_at(
        self,
        apiserver: str,
        *,
        since: datetime,
        began_by: datetime,
        open_until: datetime,
        pod_is_gone: PodIsGone,
    ) -> Counter[str]:
        """Streams of an API server that were open over a stretch of time, by resource.

        Args:
            apiserver: which one.
            since: none of those that began earlier is.
            began_by: begin of the stretch.
            open_until: end of the stretch.
            pod_is_gone: whether a stream's Pod is surely gone: then its end was lost.
        """
        return Counter(
            record.resource
            for record in self._records.values()
            if record.apiserver == apiserver
            and since <= record.started_at <= began_by
            and (record.closed_at is None or record.closed_at >= open_until)
            and not (
                record.closed_at is None and self._lost_its_pod(record, open_until, pod_is_gone)
            )
        )

    def _make_room(self, space_name: str) -> bool:
        """Whether there is room for one more, if need be in place of one that has ended."""
        if len(self._of_space.get(space_name, ())) >= self._share:
            ended = self._ended_in.get(space_name)
        elif len(self._records) >= self._capacity:
            ended = self._ended
        else:
            return True
        if not ended:
            return False
        self._drop(next(iter(ended)))
        return True

    def _drop(self, key: StreamKey) -> None:
        name = self._records.pop(key).space_name
        keys = self._of_space[name]
        keys.discard(key)
        if not keys:
            del self._of_space[name]
        if key in self._ended:
            del self._ended[key]
            ended = self._ended_in[name]
            del ended[key]
            if not ended:
                del self._ended_in[name]

    def set_back(self, at: datetime) -> None:
        """The clock was set back: nothing that is known began, or ended, later than ``at``."""
        for key, record in self._records.items():
            closed_at = record.closed_at
            if record.started_at > at or (closed_at is not None and closed_at > at):
                self._records[key] = replace(
                    record,
                    started_at=min(record.started_at, at),
                    closed_at=None if closed_at is None else min(closed_at, at),
                )
        for name, record in self._overflowed.items():
            self._overflowed[name] = replace(record, started_at=min(record.started_at, at))

    def extend(self, records: Iterable[StreamRecord]) -> None:
        """Merge many, as read from the store."""
        for record in records:
            self.add(record)

    def _bound_of(self, record: StreamRecord) -> datetime:
        return plus(record.started_at, self._bound)

    @staticmethod
    def _lost_its_pod(record: StreamRecord, now: datetime, pod_is_gone: PodIsGone) -> bool:
        return (
            record.resource.startswith("pods/")
            and now - record.started_at >= POD_GRACE
            and pod_is_gone(record.space_name, record.target)
        )
