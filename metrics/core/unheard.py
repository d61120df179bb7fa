"""Streams that were opened where we could not hear: told by the API server's own gauge. Pure.

A gap counts as use at its end, which is right for a request and wrong for a stream: it outlives
the gap. But an API server counts the long requests that it serves at present
(``apiserver_longrunning_requests``, by resource and sub-resource, in the text that is read for
losses anyway). What it counts beyond the streams that we know to be open is *excess*:

- excess that was not there before a gap and is there after it may be streams that were opened in
  the gap. Nobody can say in which Space, so it holds every one that could have them: a *cohort*;
- excess that appears while we hear everything cannot be a Space's, or we had heard of it: it is of
  a namespace, or of somebody, that the audit policy keeps from us, or a request that has not been
  answered yet. It holds nobody.

A cohort ends when the excess has fallen to nothing, with the process of the API server, or when
its bound has passed, the same that a known stream has whose end was lost. The streams themselves
may be older than the bound, or never end (a controller's, opened before the first start): then
the bound is all that ends it.

The comparison is made for the instant of a reading once the watermark has passed it, so that no
event is still on its way. Whether what opens or ends within the clocks' uncertainty was counted
cannot be told, so excess has two bounds: the upper one for what may be unheard, beyond what was
surely open; the lower one for what was there before a gap, beyond all that may have been open.

A stream that ended in a gap, unheard, is still known as open. So many as are known beyond what is
counted have ended; in later gaps they excuse nobody.

What this cannot tell: a stream that ended in a gap, unheard, and another of its kind that was
opened in the same gap, or in an earlier one and is open still. The sum is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from metrics.core.instants import plus

Counts = Mapping[str, int]
"""Number of streams by resource and sub-resource: ``pods/exec``, ``services/proxy``, …"""

MAX_COHORTS: Final = 20
"""Gaps whose streams are told apart; of more the two oldest count as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Of the streams that we know, how many of each kind were open at a reading.

    Attributes:
        surely: at the least.
        maybe: at the most.
    """

    surely: Counts
    maybe: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """Streams that may be open, and were opened before we heard.

    Attributes:
        opened_before: none of them was opened later.
        counts: how many of each kind there are at most.
        ended: how many of those that we know had surely ended before, unheard.
    """

    opened_before: datetime
    counts: dict[str, int]
    ended: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unheard:
    """What the gauge of one API server has told.

    Attributes:
        cohorts: oldest first.
        excess: what it surely counted beyond what we know, at the last comparison.
        ended: what we surely knew beyond what it counted then.
        compared_at: the instant of that; None: it was never compared.
    """

    cohorts: tuple[Cohort, ...] = ()
    excess: dict[str, int] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    compared_at: datetime | None = None

    def set_back(self, at: datetime) -> Unheard:
        """The clock was set back: nothing was opened later than ``at``."""
        return Unheard(
            cohorts=tuple(
                replace(one, opened_before=min(one.opened_before, at)) for one in self.cohorts
            ),
            excess=self.excess,
            ended=self.ended,
            compared_at=None if self.compared_at is None else min(self.compared_at, at),
        )


def is_compared(unheard: Unheard, gap_end: datetime | None) -> bool:
    """Whether the gauge was compared after the last gap."""
    at = unheard.compared_at
    return at is not None and (gap_end is None or at >= gap_end)


def compared(
    before: Unheard,
    *,
    gauge: Counts,
    known: Known,
    at: datetime,
    gap_end: datetime | None,
    bound: timedelta,
) -> Unheard:
    """The state after a comparison.

    Args:
        before: the state.
        gauge: what the API server counted at ``at``.
        known: of the streams that we know, those that were open then.
        at: the instant of the reading, behind the watermark and not before ``gap_end``.
        gap_end: end of the last gap.
        bound: how long a cohort holds.
    """
    cohorts = list(before.cohorts)
    if not is_compared(before, gap_end):
        most = _most_excess(gauge, known.surely, before.ended)
        counts = _beyond(most, before.excess)
        cohorts.append(Cohort(opened_before=at, counts=counts, ended=before.ended))
    left: list[Cohort] = []
    for cohort in cohorts:
        most = _most_excess(gauge, known.surely, cohort.ended)
        counts = {
            kind: still
            for kind, count in cohort.counts.items()
            if (still := min(count, most.get(kind, 0))) > 0
        }
        if counts and at < plus(cohort.opened_before, bound):
            left.append(replace(cohort, counts=counts))
    while len(left) > MAX_COHORTS:
        left[:2] = [_both(*left[:2])]
    return Unheard(
        cohorts=tuple(left),
        excess=_beyond(gauge, known.maybe),
        ended=_beyond(known.surely, gauge),
        compared_at=at,
    )


def _most_excess(gauge: Counts, known: Counts, ended: Counts) -> dict[str, int]:
    """What may be unheard, where of the known so many had ended before."""
    return {
        kind: more
        for kind, count in gauge.items()
        if (more := min(count, count - known.get(kind, 0) + ended.get(kind, 0))) > 0
    }


def _beyond(counts: Counts, less: Counts) -> dict[str, int]:
    """What of each kind is more."""
    return {kind: more for kind, n in counts.items() if (more := n - less.get(kind, 0)) > 0}


def _both(older: Cohort, newer: Cohort) -> Cohort:
    kinds, ended = older.counts | newer.counts, older.ended | newer.ended
    return Cohort(
        opened_before=newer.opened_before,
        counts={k: older.counts.get(k, 0) + newer.counts.get(k, 0) for k in kinds},
        ended={k: max(older.ended.get(k, 0), newer.ended.get(k, 0)) for k in ended},
    )
