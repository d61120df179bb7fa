"""The traffic signal: reads an ingress's counters in Prometheus and says how far it has seen.

Each reading goes from the stored watermark to Prometheus's present, in pieces if that is long, so a
restart of ours, or of Prometheus, is lag and not a gap as long as the samples are still there.
Activity and the watermark that rests on it are committed together.

::

    Prometheus ──samples──► metrics.core.traffic (sight, use) ──► watermark, gaps ──► metrics.store
                                                             └──► activity of Spaces ──► listeners

A reading that fails, for whatever reason, blinds the signal until one succeeds. The watermark
stands meanwhile, and the next reading begins at it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from metrics import store
from metrics.core.activity import SpaceActivity
from metrics.core.clock import EPOCH, Clock
from metrics.core.instants import from_epoch
from metrics.core.signals import Activity, ActorClass, SignalName, SignalView
from metrics.core.steps import Step, TimeLine
from metrics.core.traffic import Blindness, Hole
from metrics.core.traffic_providers import Provider
from metrics.core.traffic_stretch import ClockOffset, Mark, Stretch, stretch
from metrics.errors import PrometheusError
from metrics.recorder import Recorder
from metrics.sources import queries
from metrics.sources.prometheus import PromQuery
from metrics.sources.traffic import Reading, read
from sleeper.control import traffic_memory
from sleeper.control.traffic_index import LabelIndex, Spaces
from sleeper.control.traffic_memory import Progress
from sleeper.core.carriers import uncarried
from sleeper.core.objects import SpaceObjects
from sleeper.errors import StoreError
from sleeper.store.engine import Database

ActivityListener = Callable[[str, Activity], None]
"""Called with the Space's name, in the loop's thread; must be cheap."""

SAME_GAP = timedelta(seconds=1)
"""The end of the same gap differs by a little at each reading, as the offset is measured anew."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficSettings:
    """How to read.

    Attributes:
        poll_interval_seconds: time between readings.
        stale_after_seconds: how old the newest sample of a target may be, and how far a reading
            looks back behind the watermark; at least two scrape intervals.
        backfill_seconds: most that a reading covers; what lies before it counts as not seen.
        max_clock_offset_seconds: how far Prometheus's clock may be from ours.
        max_clock_step_seconds: how far our wall clock may step between two readings.
    """

    poll_interval_seconds: float
    stale_after_seconds: float
    backfill_seconds: float
    max_clock_offset_seconds: float
    max_clock_step_seconds: float


class TrafficSignal:
    """Use through one ingress provider.

    Args:
        provider: the ingress that is read.
        query: Prometheus.
        spaces: the inventory.
        database: where watermark, gaps and activity are kept.
        line: who watches our wall clock.
        clock: our clock.
        recorder: metrics.
        settings: how to read.
    """

    def __init__(
        self,
        *,
        provider: Provider,
        query: PromQuery,
        spaces: Spaces,
        database: Database,
        line: TimeLine,
        clock: Clock,
        recorder: Recorder,
        settings: TrafficSettings,
    ) -> None:
        self._provider = provider
        self._query = query
        self._spaces = spaces
        self._database = database
        self._clock = clock
        self._recorder = recorder
        self._settings = settings
        self._index = LabelIndex(provider, spaces)
        self._line = line
        line.subscribe(self._clock_stepped)
        self._listeners: list[ActivityListener] = []
        self._activity: dict[str, SpaceActivity] = {}
        self._progress = Progress()
        self._blindness: Blindness | None = Blindness(
            reason="TrafficNotReadYet", detail="the first reading is not done"
        )
        self._read_at: datetime | None = None
        self._stepped = False
        self._told: dict[str, datetime] = {}

    # What the verdict loop asks

    def view(self, now: datetime) -> SignalView:
        """How far the provider has surely been seen."""
        blindness = self._blindness
        if blindness is None and self._stepped:
            # A watermark of the other time line may lie in the future, and so would the horizon.
            blindness = Blindness(
                reason="ClockStep", detail="the wall clock was stepped since the last reading"
            )
        if blindness is None and self._read_at is not None:
            age = (now - self._read_at).total_seconds()
            if age > self._settings.stale_after_seconds:
                blindness = Blindness(
                    reason="TrafficNotRead", detail=f"the last reading was {age:.0f} s ago"
                )
        return SignalView(
            name=SignalName.TRAFFIC,
            watermark=self._progress.watermark,
            last_gap_end=self._progress.gap_end,
            unknown_because=None if blindness is None else blindness.reason,
            unknown_detail="" if blindness is None else blindness.detail,
            # Two scrapes fit into it; a request is dated by the one that shows it.
            dated_late_by=timedelta(seconds=self._settings.stale_after_seconds / 2),
        )

    def activity(self, space_name: str) -> SpaceActivity | None:
        """Latest proof of use through the ingress; None: none known."""
        return self._activity.get(space_name)

    def subscribe(self, listener: ActivityListener) -> None:
        """Be told of activity as it is read, before it is stored."""
        self._listeners.append(listener)

    def uncarried(self, objects: SpaceObjects) -> tuple[str, ...]:
        """``Kind/name`` of each route of a Space whose traffic the provider would not show."""
        return uncarried(self._provider, objects, self._spaces.ingress_classes())

    # Its life

    async def start(self) -> None:
        """Read what is stored."""
        await traffic_memory.set_back(self._database, now=self._clock.now(), to=self._line.began)
        self._progress, self._activity = await traffic_memory.recall(
            self._database, self._provider.name
        )

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            await self.poll()
            await asyncio.sleep(self._settings.poll_interval_seconds)

    async def poll(self) -> None:
        """One reading; what prevents it blinds the signal and is not raised."""
        began = self._clock.monotonic()
        try:
            blindness = await self._read()
        except PrometheusError as error:
            blindness = Blindness(reason=error.reason, detail=str(error))
        except StoreError as error:
            blindness = Blindness(reason="TrafficNotStored", detail=str(error))
        outcome = "ok" if blindness is None else blindness.reason
        self._recorder.traffic_query(outcome, self._clock.monotonic() - began)
        self._settle(blindness)

    # One reading

    async def _read(self) -> Blindness | None:
        if not self._spaces.synced:
            return Blindness(
                reason="InventoryUnsynced", detail="the Services are not known completely"
            )
        sent = _seconds(self._clock.now())
        theirs = await self._query.scalar(queries.SERVER_TIME)
        offset = ClockOffset.measured(
            sent=sent, received=_seconds(self._clock.now()), theirs=theirs
        )
        if abs(offset.ahead_seconds) > self._settings.max_clock_offset_seconds:
            return Blindness(
                reason="PrometheusClockOffset",
                detail=f"Prometheus's clock is {offset.ahead_seconds:+.1f} s from ours; allowed "
                f"are {self._settings.max_clock_offset_seconds:g} s",
            )
        self._line.look()
        covered = stretch(
            self._progress.mark,
            end=theirs,
            ahead_seconds=offset.ahead_seconds,
            stepped=self._stepped,
            max_step_seconds=self._settings.max_clock_step_seconds + offset.uncertain_seconds,
            reach_seconds=self._settings.backfill_seconds,
        )
        reading = await read(
            self._query,
            self._provider,
            covered,
            stale_after_seconds=self._settings.stale_after_seconds,
        )
        await self._take(covered, reading, offset)
        return reading.sight.blindness

    async def _take(self, covered: Stretch, reading: Reading, offset: ClockOffset) -> None:
        now = self._clock.now()
        activity = self._credit(reading, offset, now)
        self._announce(activity, now)
        seen = reading.sight
        if seen.watermark is None:
            return  # the next reading covers the same stretch again
        gaps = [self._gap(hole, offset, now) for hole in covered.holes]
        again = [self._gap(hole, offset, now) for hole in seen.holes]
        await self._remember(
            Progress(
                mark=Mark(at=seen.watermark, ahead_seconds=offset.ahead_seconds),
                watermark=from_epoch(offset.earliest(seen.watermark)),
                gap_end=max((gap.until for gap in (*gaps, *again)), default=None),
            ),
            [*gaps, *(gap for gap in again if not self._is_known(gap))],
            activity,
            now,
        )

    async def _remember(
        self,
        progress: Progress,
        gaps: Sequence[store.StoredGap],
        activity: Mapping[str, SpaceActivity],
        now: datetime,
    ) -> None:
        """Commit a reading, and only then rely on it."""
        source = self._provider.name
        reached, found = await traffic_memory.remember(
            self._database,
            source,
            progress,
            gaps=gaps,
            activity=activity,
            now=now,
            set_back_to=self._line.began if self._stepped else None,
        )
        self._announce(found, now)
        self._progress = reached
        self._stepped = False
        for gap in gaps:
            self._told[gap.reason] = gap.until
            self._recorder.signal_gap(SignalName.TRAFFIC, source, gap.reason)
            _log.warning(
                "traffic_gap", source=source, reason=gap.reason, since=gap.since, until=gap.until
            )

    def _credit(
        self, reading: Reading, offset: ClockOffset, now: datetime
    ) -> dict[str, SpaceActivity]:
        """Activity by Space name; where a label may mean several Spaces, all of them."""
        credited: dict[str, SpaceActivity] = {}
        for label, at in reading.used.items():
            visited = reading.visited.get(label)
            for name, service in self._index.meant_by(label).items():
                one = SpaceActivity(
                    latest=self._activity_of(service, at, offset, now),
                    touch=None
                    if visited is None
                    else self._activity_of(service, visited, offset, now),
                )
                credited[name] = credited[name].merge(one) if name in credited else one
        return credited

    def _activity_of(self, service: str, at: float, offset: ClockOffset, now: datetime) -> Activity:
        return Activity(
            at=min(from_epoch(offset.latest(at)), now),
            signal=SignalName.TRAFFIC,
            source=self._provider.name,
            actor=ActorClass.WEB,
            verb="request",
            resource=service,
        )

    def _clock_stepped(self, step: Step) -> None:
        """What was known of the other time line is brought to this one."""
        self._stepped = True
        self._told.clear()
        if not step.back:
            return
        if self._read_at is not None:
            self._read_at = min(self._read_at, step.now)
        for name, activity in self._activity.items():
            self._activity[name] = activity.not_after(step.began)

    def _announce(self, activity: Mapping[str, SpaceActivity], now: datetime) -> None:
        for name, one in activity.items():
            known = self._activity.get(name)
            merged = one if known is None else known.not_after(now).merge(one)
            if merged is not known:
                self._activity[name] = merged
                for listener in self._listeners:
                    listener(name, merged.latest)

    def _gap(self, hole: Hole, offset: ClockOffset, now: datetime) -> store.StoredGap:
        return store.StoredGap(
            source=self._provider.name,
            reason=hole.reason,
            since=from_epoch(offset.earliest(hole.begin)),
            until=min(from_epoch(offset.latest(hole.end)), now),
        )

    def _is_known(self, gap: store.StoredGap) -> bool:
        """Whether the gap was told before: until the watermark has passed it, it is seen again."""
        told = self._told.get(gap.reason)
        return told is not None and gap.until <= told + SAME_GAP

    def _settle(self, blindness: Blindness | None) -> None:
        """Show how the reading ended."""
        source = self._provider.name
        before, self._blindness = self._blindness, blindness
        if blindness is None:
            self._read_at = self._clock.now()
        if self._progress.watermark is not None:
            self._recorder.signal_watermark(SignalName.TRAFFIC, source, self._progress.watermark)
        reason = None if blindness is None else blindness.reason
        self._recorder.signal_unknown(SignalName.TRAFFIC, source, reason)
        if reason != (None if before is None else before.reason):
            detail = "" if blindness is None else blindness.detail
            _log.info("traffic_sight", source=source, unknown=reason, detail=detail)


def _seconds(at: datetime) -> float:
    return (at - EPOCH).total_seconds()
