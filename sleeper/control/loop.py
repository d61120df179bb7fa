"""The verdict loop: whose turn it is, what is decided, and which flight that starts.

Event-driven: a Space is considered when it changed, when somebody used it, when a signal lost or
regained its sight, or when its ``recheck_at`` comes. Decisions are pure
(:mod:`sleeper.core.decide`), writes happen in flights (:mod:`sleeper.control.flights`); this module
only connects the two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from metrics.core.clock import Clock
from metrics.core.refs import SpaceRef
from metrics.core.signals import Activity, SignalName, SignalView
from metrics.instruments import Recorder
from sleeper.control.agenda import Agenda
from sleeper.control.assess import Assessment, Assessor
from sleeper.control.book import SpaceBook
from sleeper.control.signals import SignalBoard
from sleeper.control.sleep_queue import SleepQueue
from sleeper.core.case import soonest
from sleeper.core.policy import Desired, Mode
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.record import FreedRequests, SleepRecord
from sleeper.core.verdict import Verdict, VerdictKind

log = structlog.get_logger(__name__)

LONGEST_WAIT_SECONDS = 1.0
"""How long the loop waits at most: the wall clock may step while it waits on the monotonic one."""

STUCK_SECONDS = 60.0
"""Without a turn for so long the process is better restarted."""

_BY_HAND = frozenset(
    {Reason.TOUCHED, Reason.OPEN_STREAM, Reason.OWNER_SCALED_UP, Reason.NEW_WORKLOAD}
)
"""Wakes in which a person's hand shows: they turn ``desired: asleep`` back to ``auto``."""


class FlightOutcome(Protocol):
    """How a flight ended."""

    @property
    def ok(self) -> bool:
        """Whether the Space is now in the state that the flight was for."""
        ...

    @property
    def reason(self) -> Reason:
        """Why it ended like that."""
        ...

    @property
    def message(self) -> str:
        """One sentence for people."""
        ...

    @property
    def gave_way(self) -> bool:
        """Whether a sleep ended for another flight of the Space: no failure of its own."""
        ...


class FlightDeck(Protocol):
    """The flights, as the loop starts them; implemented by :mod:`sleeper.control.flights`."""

    def airborne(self, space_uid: str) -> PowerState | None:
        """FALLING_ASLEEP or WAKING while a flight of this process is under way, else None."""
        ...

    async def sleep(self, space: SpaceRef, verdict: Verdict) -> FlightOutcome:
        """Put the Space to sleep, or go on with a sleep that is on record."""
        ...

    async def wake(self, space_uid: str, reason: Reason) -> FlightOutcome:
        """Bring the Space back; ends a sleep flight that is under way."""
        ...

    def has_late_writes(self, space_name: str) -> bool:
        """Whether an object of the namespace carries a write of a sleep that is over."""
        ...

    async def undo_late(self, space_name: str) -> None:
        """Undo writes of sleeps that are over."""
        ...


class Herald(Protocol):
    """Who tells the owner; implemented by :mod:`sleeper.control.herald`."""

    async def give_notice(self, assessment: Assessment) -> bool:
        """Tell the owner that sleep is near; True once that has surely been written."""
        ...

    async def publish(self, assessment: Assessment) -> None:
        """Bring the namespace's annotations up to date and warn of what cannot be read."""
        ...

    async def release(self, assessment: Assessment) -> None:
        """Turn ``desired: asleep`` back to ``auto``; asked again until the watch shows it."""
        ...


class PowerListener(Protocol):
    """Who is told of power states; implemented by :class:`sleeper.control.metering.Meter`."""

    def __call__(
        self, space: SpaceRef, state: PowerState, at: datetime, freed: FreedRequests | None = None
    ) -> None:
        """The Space is in ``state`` since ``at``; saying so again changes nothing."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """Settings of the loop.

    Attributes:
        retry_backoff: first wait after a sleep that failed; doubled with each further failure,
            up to 32 times as long.
        wake_retry: wait after a wake that could not bring everything back, and before a flight
            on record that failed is gone on with.
        most_sleeps: how many Spaces begin to fall asleep at a time. The others wait and are
            decided anew when it is their turn; a sleep on record never waits.
    """

    retry_backoff: timedelta
    wake_retry: timedelta = timedelta(seconds=5)
    most_sleeps: int = 20


class VerdictLoop:
    """Considers Spaces one after the other; flights run beside it."""

    def __init__(
        self,
        *,
        assessor: Assessor,
        board: SignalBoard,
        book: SpaceBook,
        flights: FlightDeck,
        herald: Herald,
        names_of_all: Callable[[], Iterable[str]],
        leading: Callable[[], bool],
        power_changed: PowerListener,
        clock: Clock,
        recorder: Recorder,
        settings: LoopSettings,
    ) -> None:
        self._assessor = assessor
        self._board = board
        self._book = book
        self._flights = flights
        self._herald = herald
        self._names_of_all = names_of_all
        self._leading = leading
        self._power_changed = power_changed
        self._clock = clock
        self._recorder = recorder
        self._settings = settings
        self._agenda = Agenda()
        self._news = asyncio.Event()
        self._busy: set[str] = set()
        self._queue = SleepQueue(settings.most_sleeps)
        self._states: dict[str, PowerState] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._last_turn: float | None = None

    # -- news -----------------------------------------------------------------------------------

    def tell(self, name: str) -> None:
        """Something about namespace ``name`` changed."""
        self._agenda.tell((name,))
        self._news.set()

    def tell_all(self) -> None:
        """Something changed that every decision depends on (sight, leadership, sync)."""
        self._agenda.tell(self._names_of_all())
        self._news.set()

    def on_activity(self, name: str, _activity: Activity) -> None:
        """Somebody used a Space."""
        self.tell(name)

    # -- the loop -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Consider Spaces until cancelled; flights that are under way are cancelled with it."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            while True:
                self.consider_due()
                await self._wait()

    def consider_due(self) -> int:
        """Decide on every Space that is due; returns how many that were."""
        self._last_turn = self._clock.monotonic()
        now = self._clock.now()
        views = self._board.views(now)
        if self._board.trust_changed(views):
            self._agenda.tell(self._names_of_all())
        self._agenda.tell(self._queue.called_up())
        due = self._agenda.take_due(now)
        for name in due:
            try:
                self._consider(name, now, views)
            except Exception:
                # One Space that we cannot make sense of must not end the wakes of all others.
                log.exception("not_decided", space=name)
                self._agenda.set(name, now + self._settings.retry_backoff)
        if due:
            self._count_states()
        return len(due)

    def _consider(self, name: str, now: datetime, views: Mapping[SignalName, SignalView]) -> None:
        began = self._clock.monotonic()
        assessment = self._assessor.assess(name, now, views=views)
        if assessment is None:
            self._states.pop(name, None)
            return
        self._recorder.decide_seconds(self._clock.monotonic() - began)
        self._note(name, assessment, now)
        self._agenda.set(name, assessment.verdict.recheck_at)
        self._act(name, assessment, now)

    async def _wait(self) -> None:
        if self._agenda.has_news:
            await asyncio.sleep(0)
            return
        self._news.clear()
        seconds = LONGEST_WAIT_SECONDS
        if (at := self._agenda.next_at()) is not None:
            seconds = min(seconds, max(0.0, (at - self._clock.now()).total_seconds()))
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return

    # -- acting ---------------------------------------------------------------------------------

    def _act(self, name: str, assessment: Assessment, now: datetime) -> None:
        verdict = assessment.verdict
        uid = assessment.snapshot.space.uid
        airborne = self._flights.airborne(uid)
        if assessment.reading.policy.mode.value is Mode.OBSERVE and assessment.record is None:
            self._observe(name, assessment, now)
            return
        if not verdict.notice and verdict.kind is not VerdictKind.FALL_ASLEEP:
            # Also where another replica leads: what ended the notice may be over when we do.
            assessment.page.noticed_at = None
        if assessment.page.release_pending and assessment.record is None:
            # Until the watch shows it: what was written a moment ago may not have come back yet.
            if assessment.reading.policy.desired.value is Desired.ASLEEP:
                self._start(f"release/{uid}", name, self._release(name, assessment))
                return
            assessment.page.release_pending = False
        if verdict.kind is VerdictKind.WAKE_UP:
            if airborne is not PowerState.WAKING and not self._holds_off(name, assessment, now):
                self._start(f"wake/{uid}", name, self._wake(name, assessment))
        elif verdict.kind is VerdictKind.FALL_ASLEEP:
            if self._leading() and airborne is None and self._has_its_turn(name, assessment, now):
                self._queue.begin(name)
                self._start(f"sleep/{uid}", name, self._take_turn(name, assessment))
        elif self._flights.has_late_writes(name) and airborne is None:
            self._start(f"late/{uid}", name, self._undo_late(name))
        elif self._leading():
            if verdict.notice and assessment.page.noticed_at is None:
                self._start(f"notice/{uid}", name, self._give_notice(name, assessment))
            else:
                self._start(f"publish/{uid}", name, self._herald.publish(assessment))

    def _holds_off(self, name: str, assessment: Assessment, now: datetime) -> bool:
        """Whether the last flight failed a moment ago.

        Its own writes are news, which would begin the next one at once.
        """
        at = assessment.page.no_flight_before
        # An instant further ahead was noted before the wall clock was set back.
        if at is None or not now < at <= now + self._settings.wake_retry:
            return False
        self._agenda.set(name, soonest(at, assessment.verdict.recheck_at))
        return True

    def _has_its_turn(self, name: str, assessment: Assessment, now: datetime) -> bool:
        """Whether the Space may fall asleep now: what is on record goes on, the others queue."""
        if assessment.record is not None:
            return not self._holds_off(name, assessment, now)
        return self._queue.has_turn(name)

    def _observe(self, name: str, assessment: Assessment, now: datetime) -> None:
        """Mode ``observe``: the notice runs in our memory alone, nothing is touched.

        Only what a sleep that is over did late is undone here too.
        """
        if not assessment.verdict.notice:
            if assessment.verdict.kind is not VerdictKind.FALL_ASLEEP:
                assessment.page.noticed_at = None
        elif assessment.page.noticed_at is None:
            assessment.page.noticed_at = now
        if self._flights.has_late_writes(name):
            uid = assessment.snapshot.space.uid
            self._start(f"late/{uid}", name, self._undo_late(name))

    def _start(self, key: str, name: str, work: Coroutine[object, object, None]) -> None:
        """Run ``work`` beside the loop, unless the same is under way already."""
        if key in self._busy or self._tasks is None:
            work.close()
            return
        self._busy.add(key)
        self._tasks.create_task(self._run(key, name, work), name=key)

    async def _run(self, key: str, name: str, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except Exception:
            # A flight that breaks must not take the other Spaces with it: what it wrote is on
            # record, and the next verdict finds it there.
            log.exception("work_failed", work=key)
            self._look_again(name)
        finally:
            self._busy.discard(key)

    async def _take_turn(self, name: str, seen: Assessment) -> None:
        try:
            await self._sleep(name, seen)
        finally:
            self._queue.end(name)
            self._news.set()

    async def _sleep(self, name: str, seen: Assessment) -> None:
        # Decided anew on the freshest view: between the verdict and this line somebody may have
        # come, and a notice or publish may have taken its time.
        now = self._clock.now()
        fresh = self._assessor.assess(name, now)
        if fresh is None or fresh.verdict.kind is not VerdictKind.FALL_ASLEEP:
            self.tell(name)
            return
        space = fresh.snapshot.space
        log.info("falling_asleep", space=name, reason=fresh.verdict.reason.value)
        outcome = await self._flights.sleep(space, fresh.verdict)
        page = seen.page
        page.noticed_at = None
        if outcome.ok:
            page.retry_sleep_at, page.failures = None, 0
        elif not outcome.gave_way:
            page.no_flight_before = self._clock.now() + self._settings.wake_retry
            page.failures += 1
            doublings = min(page.failures - 1, 5)
            page.retry_sleep_at = self._clock.now() + self._settings.retry_backoff * 2**doublings
            log.warning(
                "sleep_failed", space=name, reason=outcome.reason.value, detail=outcome.message
            )
        self.tell(name)

    async def _wake(self, name: str, seen: Assessment) -> None:
        verdict = seen.verdict
        log.info("waking", space=name, reason=verdict.reason.value, detail=verdict.message)
        uid = seen.snapshot.space.uid
        if verdict.reason in _BY_HAND and seen.reading.policy.desired.value is Desired.ASLEEP:
            # Noted before the wake: it must not fall asleep again for a word that was taken back.
            seen.page.release_pending = True
        outcome = await self._flights.wake(uid, verdict.reason)
        now = self._clock.now()
        self._book.woken(uid, now)
        if not outcome.ok:
            log.warning(
                "wake_incomplete", space=name, reason=outcome.reason.value, detail=outcome.message
            )
            seen.page.no_flight_before = now + self._settings.wake_retry
        self.tell(name)

    async def _release(self, name: str, seen: Assessment) -> None:
        await self._herald.release(seen)
        self._look_again(name)

    async def _undo_late(self, name: str) -> None:
        await self._flights.undo_late(name)
        self.tell(name)

    async def _give_notice(self, name: str, seen: Assessment) -> None:
        if await self._herald.give_notice(seen):
            seen.page.noticed_at = self._clock.now()
            self.tell(name)
        else:
            self._look_again(name)

    def _look_again(self, name: str) -> None:
        """Consider the Space again in a moment."""
        self._agenda.set(name, self._clock.now() + self._settings.wake_retry)
        self._news.set()

    # -- seeing ---------------------------------------------------------------------------------

    def stuck_because(self) -> str | None:
        """Why the loop counts as stuck, or None: it takes a turn every second when all is well."""
        if self._last_turn is None:
            return None
        silent = self._clock.monotonic() - self._last_turn
        return None if silent < STUCK_SECONDS else f"no turn for {silent:.0f} s"

    def states(self) -> dict[str, PowerState]:
        """The power state of every Space considered so far, by name."""
        return dict(self._states)

    def _note(self, name: str, assessment: Assessment, now: datetime) -> None:
        verdict, last = assessment.verdict, assessment.page.verdict
        power, record = assessment.power, assessment.record
        if self._states.get(name) is not power:
            self._states[name] = power
            self._power_changed(
                assessment.snapshot.space,
                power,
                _since(power, record) or now,
                None if record is None else record.freed,
            )
        if last is None or (last.kind, last.reason) != (verdict.kind, verdict.reason):
            self._recorder.verdict(verdict.reason.value, verdict.kind.value)
            log.info(
                "verdict",
                space=name,
                verdict=verdict.kind.value,
                reason=verdict.reason.value,
                detail=verdict.message,
            )
        assessment.page.verdict = verdict
        assessment.page.policy = assessment.reading

    def _count_states(self) -> None:
        counts = dict.fromkeys((state.value for state in PowerState), 0)
        for state in self._states.values():
            counts[state.value] += 1
        self._recorder.spaces(counts)


def _since(power: PowerState, record: SleepRecord | None) -> datetime | None:
    """Since when the Space is in this state, as its record tells; None: it does not."""
    if record is None:
        return None
    return {
        PowerState.FALLING_ASLEEP: record.decided_at,
        PowerState.ASLEEP: record.sleeping_since,
        PowerState.WAKING: record.wake_started_at,
    }.get(power)
