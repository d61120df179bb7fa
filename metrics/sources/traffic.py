"""One reading of an ingress provider: which queries, in which order, folded into sight and use."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from metrics.core.traffic import RequestFold, Series, Sight, scrape_times, sight
from metrics.core.traffic_providers import Provider
from metrics.core.traffic_stretch import Stretch
from metrics.sources import queries
from metrics.sources.prometheus import PromQuery

PIECE_SECONDS = 300.0
"""Most that one query for counters covers, so that a long back-fill never is one huge answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one reading showed, on Prometheus's clock.

    Attributes:
        sight: how far, and how well, the provider was seen.
        used: by service label, time of the newest sample that shows use.
        visited: the same without answers that end when their Pod does.
    """

    sight: Sight
    used: Mapping[str, float]
    visited: Mapping[str, float]


async def read(
    query: PromQuery,
    provider: Provider,
    stretch: Stretch,
    *,
    stale_after_seconds: float,
) -> Reading:
    """Read ``(begin, end]`` of the stretch.

    Args:
        query: Prometheus.
        provider: the ingress.
        stretch: from the watermark so far to Prometheus's present.
        stale_after_seconds: how old the newest sample of a live target may be. The reading looks
            back by as much behind ``begin``, for the values that the counters had there.

    Raises:
        PrometheusError: a query gave nothing that may be relied on.
    """
    begin, end = stretch.begin, stretch.end
    over = end - begin + stale_after_seconds
    alive = await query.matrix(queries.alive(provider, over_seconds=over), at=end)
    scrapes = scrape_times(alive)
    starts: tuple[Series, ...] = ()
    listed: tuple[Series, ...] = ()
    fold = RequestFold(
        begin=begin,
        service_labels=provider.service_labels,
        scrapes=scrapes,
        ends_with_its_pod=provider.ends_with_its_pod,
    )
    if scrapes:
        starts = await query.matrix(queries.starts(provider, scrapes, over_seconds=over), at=end)
        listed = await query.vector(queries.listed(provider, over_seconds=over), at=end)
        for since, until in _pieces(begin - stale_after_seconds, end):
            counters = queries.requests(provider, over_seconds=until - since)
            piece = await query.matrix(counters, at=until)
            await asyncio.to_thread(fold.feed, piece)
    seen = sight(
        begin=begin,
        end=end,
        stale_after_seconds=stale_after_seconds,
        alive=alive,
        starts=starts,
        listed=frozenset(series.target for series in listed),
    )
    return Reading(sight=seen, used=fold.latest, visited=fold.visits)


def _pieces(begin: float, end: float) -> Iterator[tuple[float, float]]:
    while begin < end:
        until = min(begin + PIECE_SECONDS, end)
        yield begin, until
        begin = until
