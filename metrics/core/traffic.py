"""The traffic signal's arithmetic: raw samples of an ingress in, use and sight out.

Everything here works on *raw* samples, as a range selector returns them: each with the time of its
scrape on Prometheus's clock, in seconds since the Unix epoch. Nothing is interpolated, so the first
request of a new series counts, a counter reset is what it is, and no request is credited to a time
at which it cannot have been.

One reading covers ``(begin, end]``, where ``begin`` is the watermark of the reading before it. The
samples reach back further, by an overlap of at least one scrape interval, so that every counter has
the value to which its first new sample is compared. What is read twice gives the same answer twice.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import isfinite
from typing import NamedTuple

SAME_PROCESS_SECONDS = 2.0
"""A start time that moved by less is that of the same process: exporters derive it from the boot
time of their machine, which follows every correction of its clock."""


class Target(NamedTuple):
    """One scraped process; Prometheus lets no two targets share both labels."""

    job: str
    instance: str


class Sample(NamedTuple):
    """One raw sample: ``at`` in seconds since the epoch on Prometheus's clock."""

    at: float
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One time series with its raw samples, oldest first."""

    labels: Mapping[str, str]
    samples: Sequence[Sample]

    @property
    def target(self) -> Target:
        """The process it was scraped from."""
        return Target(self.labels.get("job", ""), self.labels.get("instance", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """A stretch in which requests may have gone by that no counter will ever show.

    Attributes:
        begin: last instant before it that was surely seen.
        end: from here on everything shows again.
        reason: a CamelCase reason.
    """

    begin: float
    end: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Blindness:
    """Why the signal cannot be trusted now: a CamelCase reason, and a sentence for people."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """How far, and how well, a provider was seen.

    Attributes:
        watermark: the oldest live target's newest sample; None: no target is alive.
        holes: what was lost for ever, oldest first.
        blindness: None while the provider can be trusted.
    """

    watermark: float | None
    holes: tuple[Hole, ...]
    blindness: Blindness | None


def sight(
    *,
    begin: float,
    end: float,
    stale_after_seconds: float,
    alive: Iterable[Series],
    starts: Iterable[Series],
    listed: frozenset[Target],
) -> Sight:
    """Judge one reading by the scrapes that it rests on.

    The watermark never passes a target that is down, because its counters may still show what it
    serves meanwhile: that is lag. Lost for ever is what a process counted between its last scrape
    and its end, so a restart and a departure are holes, however short; and so is a stretch that
    Prometheus itself has forgotten.

    Args:
        begin: the watermark so far.
        end: instant of the queries.
        stale_after_seconds: how old the newest sample of a live target may be.
        alive: the provider's permanent family: one sample for each scrape that succeeded.
        starts: start time of each target's process, sampled by the same scrapes.
        listed: targets that Prometheus still intends to scrape, up or down.
    """
    scrapes = scrape_times(alive)
    processes = _by_target(
        replace(series, samples=[sample for sample in series.samples if isfinite(sample.value)])
        for series in starts
    )
    if not scrapes:
        return _blind(None, (), "NoTrafficTarget", "Prometheus has no sample of the provider")

    holes = list(_restarts(begin, processes))
    if all(times[0] > begin for times in scrapes.values()):
        first = max(times[0] for times in scrapes.values())
        holes.append(Hole(begin=begin, end=first, reason="HistoryLost"))
    live = {target: times[-1] for target, times in scrapes.items() if target in listed}
    if not live:
        # Its hole is found when there is a target again: the watermark waits until then.
        return _blind(None, (), "NoTrafficTarget", "every target of the provider is gone")
    holes += [
        Hole(begin=times[-1], end=end, reason="ExporterGone")
        for target, times in scrapes.items()
        if target not in listed and times[-1] >= begin
    ]
    found = tuple(sorted(holes, key=lambda hole: hole.end))
    oldest = min(live, key=lambda target: live[target])
    watermark = max(begin, min(live[oldest], end))
    uncertain = next((target for target in live if not processes.get(target)), None)
    if uncertain is not None:
        return _blind(
            None,
            found,
            "NoProcessStartTime",
            f"target {uncertain.job}/{uncertain.instance} shows no process start time, so that "
            "its restarts cannot be seen",
        )
    if end - live[oldest] > stale_after_seconds:
        return _blind(
            watermark,
            found,
            "TrafficTargetStale",
            f"target {oldest.job}/{oldest.instance} was last scraped "
            f"{end - live[oldest]:.0f} s ago; allowed are {stale_after_seconds:.0f} s",
        )
    return Sight(watermark=watermark, holes=found, blindness=None)


def scrape_times(alive: Iterable[Series]) -> dict[Target, list[float]]:
    """When each target was scraped with success, ascending."""
    return {target: [at for at, _ in samples] for target, samples in _by_target(alive).items()}


def _by_target(many: Iterable[Series]) -> dict[Target, list[Sample]]:
    """Samples by target, ascending: a replaced Pod may go on as the same target."""
    found: dict[Target, list[Sample]] = {}
    for series in many:
        found.setdefault(series.target, []).extend(series.samples)
    return {target: sorted(samples) for target, samples in found.items()}


def _blind(watermark: float | None, holes: tuple[Hole, ...], reason: str, detail: str) -> Sight:
    return Sight(
        watermark=watermark, holes=holes, blindness=Blindness(reason=reason, detail=detail)
    )


def _restarts(begin: float, processes: Mapping[Target, Sequence[Sample]]) -> Iterable[Hole]:
    for samples in processes.values():
        for before, after in pairwise(samples):
            another = abs(after.value - before.value) > SAME_PROCESS_SECONDS
            if another and after.at > begin:
                yield Hole(begin=before.at, end=after.at, reason="ExporterRestarted")


@dataclass(slots=True)
class RequestFold:
    """When each service was last used, from its request counters.

    A counter that differs from its last sample was counted on; so was one that appears with a
    value after ``begin``, because the reading before would have shown it, and one that was absent
    from a scrape and is back. Feed the pieces of a long stretch in their order: the last value of
    every counter is carried over.

    Attributes:
        begin: samples up to here have been read before.
        service_labels: labels that may name the service; the first present one does.
        scrapes: when each target was scraped with success, ascending, over the whole stretch.
        ends_with_its_pod: labels of answers that say nothing of when somebody came: a Pod that
            goes away ends them.
        latest: by service, time of the newest sample that shows use.
        visits: the same without those answers.
    """

    begin: float
    service_labels: tuple[str, ...]
    scrapes: Mapping[Target, Sequence[float]]
    ends_with_its_pod: Mapping[str, str] = field(default_factory=dict)
    latest: dict[str, float] = field(default_factory=dict)
    visits: dict[str, float] = field(default_factory=dict)
    _last: dict[frozenset[tuple[str, str]], Sample] = field(default_factory=dict)

    def feed(self, piece: Iterable[Series]) -> None:
        """Fold one piece in."""
        for series in piece:
            service = self._service(series.labels)
            if service is None:
                continue
            key = frozenset(series.labels.items())
            scrapes = self.scrapes.get(series.target, ())
            used = self._last_use(self._last.get(key), series.samples, scrapes)
            if series.samples:
                self._last[key] = series.samples[-1]
            if used is None:
                continue
            ended = self.ends_with_its_pod
            is_visit = not ended or any(series.labels.get(k) != v for k, v in ended.items())
            for fold in (self.latest, self.visits) if is_visit else (self.latest,):
                fold[service] = max(used, fold.get(service, used))

    def _service(self, labels: Mapping[str, str]) -> str | None:
        return next((labels[name] for name in self.service_labels if name in labels), None)

    def _last_use(
        self, previous: Sample | None, samples: Sequence[Sample], scrapes: Sequence[float]
    ) -> float | None:
        used = None
        for sample in samples:
            changed = (
                previous is None
                or sample.value != previous.value
                or _scraped_between(scrapes, previous.at, sample.at)
            )
            # Whatever came before, zero means that nothing was counted since; and what the
            # overlap shows has been told before.
            if changed and sample.value > 0 and sample.at > self.begin:
                used = sample.at
            previous = sample
        return used


def _scraped_between(scrapes: Sequence[float], after: float, before: float) -> bool:
    """Whether the target was scraped strictly between two instants."""
    position = bisect_right(scrapes, after)
    return position < len(scrapes) and scrapes[position] < before
