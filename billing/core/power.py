"""Power states of Spaces, as intervals, with the requests that sleeping frees."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from billing.core.requests import NOTHING, Requests
from metrics.core.refs import SpaceRef

ASLEEP: Final = "Asleep"
"""The one power state in which something is freed (``sleeper.core.power.PowerState.ASLEEP``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerInterval:
    """One stretch in one power state; at most one of a Space is open at a time.

    Attributes:
        space: the Space; its uid with ``start`` is the key.
        state: the power state.
        freed: requests of the Pods alive when the sleep was decided; nothing unless asleep.
        start: epoch second.
        end: epoch second, exclusive; None while it lasts.
    """

    space: SpaceRef
    state: str
    freed: Requests
    start: int
    end: int | None = None


class PowerBook:
    """The open stretch of every Space, and the stretches changed since they were last stored."""

    def __init__(self, open_rows: Iterable[PowerInterval] = ()) -> None:
        self._open = {row.space.uid: row for row in open_rows}
        self._changed: dict[tuple[str, int], PowerInterval] = {}

    def entered(self, space: SpaceRef, state: str, *, at: int, freed: Requests = NOTHING) -> None:
        """A Space is in ``state`` since ``at``; saying so again changes nothing."""
        if state != ASLEEP:
            freed = NOTHING
        row = self._open.get(space.uid)
        if row is not None:
            if (row.space, row.state, row.freed) == (space, state, freed):
                return
            at = max(at, row.start)
            self._close(row, at)
        opened = PowerInterval(space=space, state=state, freed=freed, start=at)
        self._open[space.uid] = opened
        self._changed[space.uid, at] = opened

    def moved(self, space: SpaceRef, *, at: int) -> None:
        """A Space has a new payer from now on."""
        row = self._open.get(space.uid)
        if row is not None:
            self.entered(space, row.state, at=at, freed=row.freed)

    def left(self, space_uid: str, *, at: int) -> None:
        """A namespace is gone or no Space any more."""
        row = self._open.get(space_uid)
        if row is not None:
            self._close(row, at)

    def space_uids(self) -> frozenset[str]:
        """Spaces with an open stretch."""
        return frozenset(self._open)

    def changed(self) -> tuple[PowerInterval, ...]:
        """Rows to store: insert, or replace the one with the same Space and start."""
        return tuple(self._changed.values())

    def stored(self, rows: Iterable[PowerInterval]) -> None:
        """``rows``, as :meth:`changed` gave them, are safe now."""
        for row in rows:
            if self._changed.get((row.space.uid, row.start)) is row:
                del self._changed[row.space.uid, row.start]

    def _close(self, row: PowerInterval, end: int) -> None:
        del self._open[row.space.uid]
        self._changed[row.space.uid, row.start] = replace(row, end=max(end, row.start))
