"""The verdict loop: whose turn it is, and what is decided.

Event-driven: a Space is considered when it changed, when somebody used it, when a signal lost or
regained its sight, or when its ``recheck_at`` comes. Decisions are pure
(:mod:`sleeper.core.decide`), writes happen in flights (:mod:`sleeper.control.flights`), which
:mod:`sleeper.control.dispatch` starts; this module only says whose turn it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from metrics.core.clock import Clock
from metrics.core.refs import SpaceRef
from metrics.core.signals import Activity, SignalName, SignalView
from metrics.core.steps import Step, TimeLine
from metrics.instruments import Recorder
from sleeper.control.agenda import Agenda
from sleeper.control.assess import Assessment, Assessor
from sleeper.control.book import SpaceBook
from sleeper.control.dispatch import Dispatcher, FlightDeck, Herald, Pacing
from sleeper.control.signals import SignalBoard
from sleeper.core.fights import counted
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.record import FreedRequests, SleepRecord

log = structlog.get_logger(__name__)

LONGEST_WAIT_SECONDS = 1.0
"""How long the loop waits at most: the wall clock may step while it waits on the monotonic one."""

LONG_LOOK_SECONDS = 0.005
"""What a look at a Space of any usual size stays far below."""

REST_FACTOR = 20
"""After a look that was longer the Space rests for so many times as long."""

LONGEST_REST = timedelta(seconds=5)

STUCK_SECONDS = 60.0
"""Without a turn for so long the process is better restarted."""


class PowerListener(Protocol):
    """Who is told of power states; implemented by :class:`sleeper.control.metering.Meter`."""

    def __call__(
        self, space: SpaceRef, state: PowerState, at: datetime, freed: FreedRequests | None = None
    ) -> None:
        """The Space is in ``state`` since ``at``; saying so again changes nothing."""
        ...


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
        line: TimeLine,
        clock: Clock,
        recorder: Recorder,
        pacing: Pacing,
    ) -> None:
        self._assessor = assessor
        self._board = board
        self._book = book
        self._names_of_all = names_of_all
        self._line = line
        line.subscribe(self._clock_stepped)
        self._power_changed = power_changed
        self._clock = clock
        self._recorder = recorder
        self._pacing = pacing
        self._agenda = Agenda()
        self._news = asyncio.Event()
        self._dispatcher = Dispatcher(
            assessor=assessor,
            book=book,
            flights=flights,
            herald=herald,
            leading=leading,
            tell=self.tell,
            look_at=self._look_at,
            clock=clock,
            pacing=pacing,
        )
        self._long_looks: dict[str, float] = {}
        self._resting: dict[str, datetime] = {}
        self._states: dict[str, PowerState] = {}
        self._restored_asleep: dict[str, int] = {}
        """By Space, workloads that were restored or copied while they slept."""
        self._metered: dict[str, PowerState] = {}
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

    def on_activity(self, name: str, activity: Activity) -> None:
        """Somebody used a Space."""
        self._dispatcher.heard(name, activity)
        self.tell(name)

    def _clock_stepped(self, step: Step) -> None:
        seconds = step.by.total_seconds()
        log.warning("clock_stepped", seconds=seconds)
        self._recorder.clock_step(seconds)
        self._book.step(step)
        self.tell_all()  # what was to be looked at in five seconds may be hours ahead now

    def _look_at(self, name: str, at: datetime | None) -> None:
        self._agenda.set(name, at)
        self._news.set()

    # -- the loop -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Consider Spaces until cancelled; flights that are under way are cancelled with it."""
        async with asyncio.TaskGroup() as tasks:
            self._dispatcher.work_in(tasks)
            while True:
                self.consider_due()
                await self._wait()

    def consider_due(self) -> int:
        """Decide on every Space that is due; returns how many that were."""
        self._last_turn = self._clock.monotonic()
        self._line.look()
        now = self._clock.now()
        views = self._board.views(now)
        if self._board.trust_changed(views):
            self._agenda.tell(self._names_of_all())
        self._agenda.tell(self._dispatcher.call_up())
        due = self._agenda.take_due(now)
        for name in due:
            if self._rests(name, now):
                continue
            try:
                self._consider(name, now, views)
            except Exception:
                # One Space that we cannot make sense of must not end the wakes of all others.
                log.exception("not_decided", space=name)
                self._agenda.set(name, now + self._pacing.retry_backoff)
        if due:
            self._count_states()
        return len(due)

    def _rests(self, name: str, now: datetime) -> bool:
        """Whether the Space was looked at a moment ago, and that took long.

        A look costs as much as there is in a namespace, and each change in it asks for one: with
        thousands of objects that change it would take the loop from all others. So it takes a
        twentieth of it at most; its own news waits for a moment.
        """
        until = self._resting.get(name)
        if until is None:
            return False
        if not now < until <= now + LONGEST_REST:  # over, or the wall clock was set back
            del self._resting[name]
            return False
        self._agenda.set(name, until)
        return True

    def _consider(self, name: str, now: datetime, views: Mapping[SignalName, SignalView]) -> None:
        began = self._clock.monotonic()
        try:
            self._look(name, now, views)
        finally:
            self._rest_after(name, self._clock.monotonic() - began)

    def _rest_after(self, name: str, seconds: float) -> None:
        if seconds <= LONG_LOOK_SECONDS:
            self._long_looks.pop(name, None)
            return
        before = self._long_looks.get(name)
        self._long_looks[name] = seconds
        if before is not None:  # one alone is as likely to have been the machine
            rest = min(timedelta(seconds=REST_FACTOR * min(seconds, before)), LONGEST_REST)
            self._resting[name] = self._clock.now() + rest

    def _look(self, name: str, now: datetime, views: Mapping[SignalName, SignalView]) -> None:
        began = self._clock.monotonic()
        assessment = self._assessor.observe(name, now, views=views)
        if assessment is None:
            self._states.pop(name, None)
            self._restored_asleep.pop(name, None)
            self._metered.pop(name, None)
            self._long_looks.pop(name, None)
            self._resting.pop(name, None)
            self._dispatcher.act_outside(name)
            return
        self._recorder.decide_seconds(self._clock.monotonic() - began)
        self._note(name, assessment, now)
        self._agenda.set(name, assessment.verdict.recheck_at)
        self._dispatcher.act(name, assessment, now)

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
        self._states[name] = power
        copies = sum(
            hazard.reason is Reason.RESTORED_WHILE_ASLEEP for hazard in assessment.snapshot.hazards
        )
        self._restored_asleep[name] = copies
        if assessment.snapshot.no_space_because is not None:
            self._metered.pop(name, None)  # nobody pays for what still has to come back
        elif self._metered.get(name) is not power:
            self._metered[name] = power
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
        page = assessment.page
        page.reversals = counted(page.reversals, record, verdict, now)
        visit, sleep = assessment.snapshot.last_visit, assessment.snapshot.sleep
        if verdict.reason is Reason.VISITED and visit and sleep and visit.at > sleep.decided_at:
            page.turned_back_at = visit.at
        page.verdict = verdict
        page.policy = assessment.reading

    def _count_states(self) -> None:
        counts = dict.fromkeys((state.value for state in PowerState), 0)
        for state in self._states.values():
            counts[state.value] += 1
        self._recorder.spaces(counts)
        self._recorder.restored_asleep(sum(self._restored_asleep.values()))


def _since(power: PowerState, record: SleepRecord | None) -> datetime | None:
    """Since when the Space is in this state, as its record tells; None: it does not."""
    if record is None:
        return None
    return {
        PowerState.FALLING_ASLEEP: record.decided_at,
        PowerState.ASLEEP: record.sleeping_since,
        PowerState.WAKING: record.wake_started_at,
    }.get(power)
