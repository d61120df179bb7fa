"""The meter: Pod changes and power states in, interval rows and statements out.

Only the Lease holder meters. Its fold (:mod:`sleeper.control.shift`) is stored every few seconds
in one transaction together with the instant up to which the Pod watch has surely delivered
everything. Whoever takes over goes on from there: Pods that are still the same go on, Pods that
are gone ended at that instant, and the time between is a gap that every statement shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from billing import store
from billing.core.requests import NOTHING, Requests
from billing.core.statement import Statement, StatementQuery, make_statement
from metrics.core.clock import Clock
from metrics.core.refs import SpaceRef
from metrics.recorder import Recorder
from sleeper.control.shift import MeteredInventory, PowerNews, Shift, seconds
from sleeper.core.power import PowerState
from sleeper.core.record import FreedRequests
from sleeper.errors import StoreError
from sleeper.kube.podchange import PodChange
from sleeper.store.engine import Database

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterSettings:
    """Settings of the meter.

    Attributes:
        flush_interval_seconds: how often rows and the proof of life are stored; a crash loses
            sight of at most this much, plus the time until somebody takes over.
        max_clock_step_seconds: a larger step of the wall clock ends the span that was seen.
        last_look_seconds: how long the end may wait for proof that all changes have been seen.
    """

    flush_interval_seconds: float = 2.0
    max_clock_step_seconds: float = 2.0
    last_look_seconds: float = 3.0


_POLL_SECONDS: Final = 0.1
"""How often is looked whether the meter may take over: all that time is a gap."""


class Meter:
    """Counts what Spaces reserve and what sleeping frees."""

    def __init__(
        self,
        *,
        inventory: MeteredInventory,
        database: Database,
        leading: Callable[[], bool],
        clock: Clock,
        recorder: Recorder,
        settings: MeterSettings | None = None,
    ) -> None:
        self._inventory = inventory
        self._database = database
        self._leading = leading
        self._clock = clock
        self._recorder = recorder
        self._settings = settings or MeterSettings()
        self._shift: Shift | None = None
        self._span_id = 0
        self._powers: dict[str, PowerNews] = {}
        self._storing = asyncio.Lock()
        self._clocks = (clock.now(), clock.monotonic())
        self._known_loss: tuple[datetime, datetime] | None = None
        inventory.subscribe(self._namespace_changed)
        inventory.subscribe_pods(self._pod_changed)

    async def run(self) -> None:
        """Meter for as long as the Lease is held; stores what is left when it is cancelled.

        Cancel this before the inventory: its end looks once more at what happened to Pods.
        """
        try:
            while True:
                await self.tick()
                busy = self._shift is not None or self._may_take_over()
                await asyncio.sleep(
                    self._settings.flush_interval_seconds if busy else _POLL_SECONDS
                )
        finally:
            await self._look_once_more()
            await self._or_warn(self._store)

    async def tick(self) -> None:
        """Take over, store, or stand back, as the Lease says."""
        if not self._leading():
            self._shift = None
        elif self._shift is not None:
            self._watch_the_clock(self._shift)
            await self._or_warn(self._store)
        elif self._may_take_over():
            await self._or_warn(self._take_over)

    def power_changed(
        self, space: SpaceRef, state: PowerState, at: datetime, freed: FreedRequests | None = None
    ) -> None:
        """A Space is in ``state`` since ``at``; saying so again changes nothing.

        Args:
            space: the Space.
            state: its power state.
            at: since when; after a restart the true instant, where it is on record, closes the
                gap that the restart left.
            freed: what its sleep frees; counted while it is Asleep.
        """
        requests = NOTHING
        if freed is not None and state is PowerState.ASLEEP:
            requests = Requests(cpu_millis=freed.cpu_millis, memory_bytes=freed.memory_bytes)
        news = PowerNews(space=space, state=state, since=seconds(at), freed=requests)
        # Kept without the Lease too: whoever takes over knows every Space's state at once.
        self._powers[space.uid] = news
        if self._shift is not None:
            self._shift.power_changed(news)

    async def statement(self, query: StatementQuery) -> Statement:
        """What was reserved and freed over a range of time, up to the last proof of life.

        Raises:
            PeriodError: the range is empty or has too many periods.
            StoreError: the database cannot be read or written.
        """
        if self._shift is not None:
            await self._store()
        async with self._database.read() as connection:
            reservations = await store.select_reservations(connection, query.since, query.until)
            power = await store.select_power(connection, query.since, query.until)
            spans = await store.select_spans(connection)
        # A statement by the minute over weeks takes a while; the loop must not wait for it.
        return await asyncio.to_thread(
            make_statement, query, reservations=reservations, power=power, spans=spans
        )

    def _pod_changed(self, change: PodChange) -> None:
        if self._shift is not None:
            self._shift.pod_changed(change)

    def _namespace_changed(self, name: str) -> None:
        if self._shift is not None:
            gone = self._shift.namespace_changed(name, now=seconds(self._clock.now()))
            if gone is not None:
                self._powers.pop(gone, None)

    def _watch_the_clock(self, shift: Shift) -> None:
        """End the span that was seen where wall time and monotonic time disagree."""
        wall, monotonic = self._clocks
        self._clocks = (self._clock.now(), self._clock.monotonic())
        step = (self._clocks[0] - wall).total_seconds() - (self._clocks[1] - monotonic)
        if abs(step) > self._settings.max_clock_step_seconds:
            shift.lost_sight(shift.alive_until, seconds(self._clocks[0]))

    def _may_take_over(self) -> bool:
        return self._leading() and self._inventory.synced

    async def _look_once_more(self) -> None:
        """The gap of a clean restart begins here, not at the last sign of life before."""
        if self._shift is None:
            return
        try:
            async with asyncio.timeout(self._settings.last_look_seconds):
                await self._inventory.catch_up_on_pods()
        except TimeoutError:
            log.info("meter ends without a last look at the pods")

    async def _or_warn(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except StoreError as error:
            # Nothing is lost: rows and proof of life are stored with the next success.
            log.warning("meter could not store", error=str(error))

    async def _take_over(self) -> None:
        async with self._storing:
            async with self._database.begin() as connection:
                before = await store.load_state(connection)
                start = seconds(self._clock.now())
                gap_seconds = 0
                if before.seen_until is not None:
                    start = max(start, before.seen_until)
                    gap_seconds = start - before.seen_until
                self._span_id = await store.begin_span(connection, start)
            # From here on without waiting: no change slips in between the look and the news.
            self._shift = Shift(before, self._inventory, self._powers, start=start)
            self._clocks = (self._clock.now(), self._clock.monotonic())
            self._known_loss = self._inventory.pods_lost_sight
        if gap_seconds:
            self._recorder.meter_gap(gap_seconds)
        log.info("meter took over", open_rows=len(before.reservations), gap_seconds=gap_seconds)

    async def _store(self) -> None:
        """Store changed rows and the proof of life in one transaction."""
        async with self._storing:
            shift = self._shift
            if shift is None:
                return
            self._note_lost_sight(shift)
            blind = shift.blind
            alive_until = shift.alive_until
            if self._inventory.pods_seen_until is not None:
                alive_until = max(alive_until, seconds(self._inventory.pods_seen_until))
            seen_end = alive_until if blind is None else max(shift.alive_until, blind[0])
            resumes_at = None if blind is None else max(seen_end, blind[1])
            reservations, power = shift.reservations.changed(), shift.power.changed()
            async with self._database.begin() as connection:
                span_id = self._span_id
                if not await store.extend_span(connection, span_id, seen_end):
                    log.warning("another meter took over")
                    self._shift = None
                    return
                if resumes_at is not None:
                    span_id = await store.begin_span(connection, resumes_at)
                    await store.extend_span(connection, span_id, alive_until)
                await store.save_reservations(connection, reservations)
                await store.save_power(connection, power)
            self._span_id = span_id
            if resumes_at is not None:
                self._recorder.meter_gap(resumes_at - seen_end)
                if shift.blind == blind:
                    shift.blind = None
            shift.alive_until = max(alive_until, resumes_at or 0)
            shift.reservations.stored(reservations)
            shift.power.stored(power)

    def _note_lost_sight(self, shift: Shift) -> None:
        loss = self._inventory.pods_lost_sight
        if loss is not None and loss != self._known_loss:
            shift.lost_sight(seconds(loss[0]), seconds(loss[1]))
        self._known_loss = loss
