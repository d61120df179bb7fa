"""What Pods reserved, as intervals: one row for each stretch with one vector of requests.

A Pod reserves from the moment it gets a node until its last container finished or it is gone
(a Pod that is Succeeded or Failed holds nothing, though its object may stay for days). A row ends
and another begins when the requests change (in-place resize) or the payer does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from billing.core.pods import PodSpec, PodStatus
from billing.core.requests import Requests, effective_requests
from metrics.core.clock import EPOCH
from metrics.core.refs import SpaceRef

_FINISHED: Final = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """One row; at most one of a Pod is open at a time.

    Attributes:
        pod_uid: the Pod, with ``start`` the key.
        space: whose it is; the tenant is the one that paid during this stretch.
        requests: what was reserved, constant over the stretch.
        start: epoch second.
        end: epoch second, exclusive; None while it lasts.
    """

    pod_uid: str
    space: SpaceRef
    requests: Requests
    start: int
    end: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupancy:
    """What one look at a Pod says about its reservation.

    Attributes:
        requests: its effective requests now.
        start: epoch second at which it got its node.
        end: epoch second at which its last container finished; None while it holds its requests.
    """

    requests: Requests
    start: int
    end: int | None


def occupancy(spec: PodSpec, status: PodStatus, *, at: int) -> Occupancy | None:
    """The reservation that a Pod shows, or None while it has no node.

    Args:
        spec: as on the wire.
        status: as on the wire.
        at: epoch second of the look; no start or end is later, and it stands in for an instant
            that the Pod does not tell.

    Raises:
        QuantityError: a quantity cannot be read.
    """
    start = _scheduled_at(spec, status, at=at)
    if start is None:
        return None
    end = _finished_at(status, at=at) if status.phase in _FINISHED else None
    return Occupancy(
        requests=effective_requests(spec, status),
        start=min(start, at),
        end=end if end is None else max(min(start, at), min(end, at)),
    )


def _scheduled_at(spec: PodSpec, status: PodStatus, *, at: int) -> int | None:
    for condition in status.conditions or ():
        if condition.type == "PodScheduled":
            if condition.status != "True":
                return None
            return _seconds(condition.last_transition_time) or at
    if spec.node_name:  # bound without a scheduler; its kubelet has not reported yet
        return _seconds(status.start_time) or at
    return None


def _finished_at(status: PodStatus, *, at: int) -> int:
    finished = [
        _seconds(container.state.terminated.finished_at)
        for container in (
            *(status.container_statuses or ()),
            *(status.init_container_statuses or ()),
        )
        if container.state is not None and container.state.terminated is not None
    ]
    return max((second for second in finished if second), default=at)


def _seconds(timestamp: str | None) -> int | None:
    """Epoch seconds of an RFC 3339 timestamp; None if there is none or it is the zero time."""
    if not timestamp:
        return None
    try:
        since_epoch = datetime.fromisoformat(timestamp) - EPOCH
    except (ValueError, TypeError):  # no timestamp, or one without a zone
        return None
    seconds = since_epoch.days * 86_400 + since_epoch.seconds
    return seconds if seconds > 0 else None


class ReservationBook:
    """The open rows, and the rows changed since they were last stored.

    Every method takes epoch seconds. Repeating a call changes nothing.
    """

    def __init__(self, open_rows: Iterable[Reservation] = ()) -> None:
        self._open = {row.pod_uid: row for row in open_rows}
        self._done: dict[str, int] = {}
        self._changed: dict[tuple[str, int], Reservation] = {}

    @property
    def open_rows(self) -> Mapping[str, Reservation]:
        """Rows that still last, by Pod uid."""
        return self._open

    def observe(
        self, pod_uid: str, space: SpaceRef, seen: Occupancy, *, at: int, not_before: int
    ) -> None:
        """A Pod was seen with a node.

        Args:
            pod_uid: its uid.
            space: whose it is now.
            seen: what it shows.
            at: when it was seen; a change of its requests or payer happened now.
            not_before: a row that begins with this look begins no earlier.
        """
        row = self._open.get(pod_uid)
        if row is None:
            if pod_uid in self._done:
                return
            start = max(seen.start, not_before)
            if seen.end is not None and seen.end <= start:
                self._done[pod_uid] = at
                return
            row = Reservation(pod_uid=pod_uid, space=space, requests=seen.requests, start=start)
            self._put(row)
        if seen.end is not None:
            self._close(row, seen.end)
            self._done[pod_uid] = at
        elif row.requests != seen.requests or row.space != space:
            self._split(replace(row, requests=seen.requests, space=space), at=at)

    def removed(self, pod_uid: str, *, at: int) -> None:
        """A Pod is gone, or was last known to be there at ``at``."""
        self._done.pop(pod_uid, None)
        row = self._open.get(pod_uid)
        if row is not None:
            self._close(row, at)

    def moved(self, space: SpaceRef, *, at: int) -> None:
        """A Space has a new payer from now on."""
        for row in list(self._open.values()):
            if row.space.uid == space.uid and row.space != space:
                self._split(replace(row, space=space), at=at)

    def left(self, space_uid: str, *, at: int) -> None:
        """A namespace is no Space any more: nobody pays for its Pods from now on."""
        for row in list(self._open.values()):
            if row.space.uid == space_uid:
                self._close(row, at)

    def changed(self) -> tuple[Reservation, ...]:
        """Rows to store: insert, or replace the one with the same Pod and start."""
        return tuple(self._changed.values())

    def stored(self, rows: Iterable[Reservation]) -> None:
        """``rows``, as :meth:`changed` gave them, are safe now."""
        for row in rows:
            if self._changed.get((row.pod_uid, row.start)) is row:
                del self._changed[row.pod_uid, row.start]

    def _split(self, row: Reservation, *, at: int) -> None:
        """End the open row of this Pod and go on with ``row``."""
        before = self._open[row.pod_uid]
        start = max(at, before.start)
        self._close(before, start)
        self._put(replace(row, start=start))  # replaces a row that lasted no second

    def _close(self, row: Reservation, end: int) -> None:
        del self._open[row.pod_uid]
        ended = replace(row, end=max(end, row.start))
        self._changed[row.pod_uid, row.start] = ended

    def _put(self, row: Reservation) -> None:
        self._open[row.pod_uid] = row
        self._changed[row.pod_uid, row.start] = row
