"""What a verdict sets in motion: a flight, a notice, the namespace's annotations, or nothing.

Each runs beside the loop, one of a kind at a time for each Space. What its outcome means for the
next turn (a pause after a failure, a word taken back by hand) is kept on the Space's page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog

from metrics.core.clock import Clock
from metrics.core.instants import plus
from metrics.core.refs import SpaceRef
from metrics.core.signals import Activity
from sleeper.control.assess import Assessment, Assessor
from sleeper.control.book import SpaceBook
from sleeper.control.sleep_queue import SleepQueue
from sleeper.core.case import soonest
from sleeper.core.failures import Failures, failed, shape_of
from sleeper.core.objects import Namespace
from sleeper.core.policy import Desired, Mode
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.restore import wrote_cautious
from sleeper.core.space import misnamed
from sleeper.core.verdict import Verdict, VerdictKind

log = structlog.get_logger(__name__)

_BY_HAND = frozenset(
    {Reason.TOUCHED, Reason.OPEN_STREAM, Reason.OWNER_SCALED_UP, Reason.NEW_WORKLOAD}
)
"""Wakes in which a person's hand shows: they turn ``desired: asleep`` back to ``auto``."""


FIELDS_GRACE: Final = timedelta(seconds=2)
"""How long our ownership of an object is left to the process that seems to be between two writes;
they are milliseconds apart."""


class FlightOutcome(Protocol):
    """How a flight ended; a sleep that the Lease stopped has the reason ``NotLeader``."""

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
    def blamed(self) -> tuple[str, ...]:
        """``Kind/name`` of what a sleep failed at and was undone for."""
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

    async def wake(self, space_uid: str, reason: Reason, *, wary: bool = False) -> FlightOutcome:
        """Bring the Space back; ends a sleep flight that is under way.

        ``wary``: somebody wrote workloads whose fields may be left on the safe side.
        """
        ...

    def has_copies(self, space_name: str) -> bool:
        """Whether a workload carries the note of a sleeping one from which it was made."""
        ...

    async def bring_back_copies(self, space_name: str) -> bool:
        """Bring back what was made from sleeping workloads; whether all of it is back."""
        ...

    def holds_fields(self, space_name: str) -> bool:
        """Whether our field manager seems to hold something of a workload of the namespace."""
        ...

    async def release_fields(self, space_name: str) -> None:
        """Take away the ownership that a dead or halted process left."""
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

    async def warn_of_label(self, namespace: Namespace) -> None:
        """Warn once of a tenant label that makes no Space; it was meant to."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """How soon, and how many at a time.

    Attributes:
        retry_backoff: first wait after a sleep that failed; doubled with each further failure,
            up to 32 times as long.
        wake_retry: wait after a wake that could not bring everything back, and before a flight
            that failed, or whose end is not seen yet, is begun again.
        most_sleeps: how many Spaces begin to fall asleep at a time. The others wait and are
            decided anew when it is their turn; a sleep on record never waits.
    """

    retry_backoff: timedelta
    wake_retry: timedelta = timedelta(seconds=5)
    most_sleeps: int = 20


class Dispatcher:
    """Starts what verdicts ask for.

    Args:
        flights: who sleeps and wakes Spaces.
        herald: who tells owners.
        leading: whether this replica holds the Lease for long enough to write; without it nothing
            falls asleep, and what would have is looked at again when it does.
        tell: consider a Space at once.
        look_at: consider a Space at an instant, or when there is news of it.
    """

    def __init__(
        self,
        *,
        assessor: Assessor,
        book: SpaceBook,
        flights: FlightDeck,
        herald: Herald,
        leading: Callable[[], bool],
        tell: Callable[[str], None],
        look_at: Callable[[str, datetime | None], None],
        clock: Clock,
        pacing: Pacing,
    ) -> None:
        self._assessor = assessor
        self._book = book
        self._flights = flights
        self._herald = herald
        self._leading = leading
        self._tell = tell
        self._look_at = look_at
        self._clock = clock
        self._pacing = pacing
        self._queue = SleepQueue(pacing.most_sleeps)
        self._busy: set[str] = set()
        self._unled: set[str] = set()
        """Spaces of which something was left undone for want of the Lease."""
        self._looked_at: set[str] = set()
        self._held_since: dict[str, datetime] = {}
        """Since when our field manager has held something of a Space that nobody here flies."""
        self._wrote: dict[str, datetime] = {}
        """When somebody last wrote of a Space what may be left on the safe side."""
        self._tasks: asyncio.TaskGroup | None = None

    def work_in(self, tasks: asyncio.TaskGroup) -> None:
        """From now on run what is started among ``tasks``."""
        self._tasks = tasks

    def call_up(self) -> tuple[str, ...]:
        """Spaces that waited, for their turn or for the Lease, and may now be acted upon.

        If that is still decided of them. Asked with every turn of the loop and not only when the
        Lease was taken: it may have been lost and taken between two turns.
        """
        called = self._queue.called_up()
        if self._unled and self._leading():
            called += tuple(self._unled)
            self._unled.clear()
        return called

    def heard(self, name: str, activity: Activity) -> None:
        """Somebody used a Space; a write may leave no other trace, and not be the last use."""
        if wrote_cautious(activity.verb, activity.resource):
            self._wrote[name] = max(activity.at, self._wrote.get(name, activity.at))

    def act(self, name: str, assessment: Assessment, now: datetime) -> None:
        """Start what the verdict on Space ``name`` asks for, unless it is under way already."""
        verdict = assessment.verdict
        uid = assessment.snapshot.space.uid
        airborne = self._flights.airborne(uid)
        self._mend(name, assessment, airborne, now)
        if assessment.reading.policy.mode.value is Mode.OBSERVE and assessment.record is None:
            self._observe(name, assessment, now)
            return
        if not verdict.notice and verdict.kind is not VerdictKind.FALL_ASLEEP:
            # Also where another replica leads: what ended the notice may be over when we do.
            assessment.page.noticed_at = None
        _take_back(assessment, now)
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
            if self._leads(name) and airborne is None and self._has_its_turn(name, assessment, now):
                self._queue.begin(name)
                self._start(f"sleep/{uid}", name, self._take_turn(name, assessment))
        elif self._flights.has_late_writes(name) and airborne is None:
            self._start(f"late/{uid}", name, self._undo_late(name))
        elif self._leads(name):
            if verdict.notice and assessment.page.noticed_at is None:
                self._start(f"notice/{uid}", name, self._give_notice(name, assessment))
            else:
                self._start(f"publish/{uid}", name, self._herald.publish(assessment))

    def act_outside(self, name: str) -> None:
        """Undo what sleeps that are over did late in a namespace that is no Space (any more).

        One whose label was meant to make it a Space is told why it does not.
        """
        self._unled.discard(name)
        self._wrote.pop(name, None)
        self._release_fields(name, self._clock.now())
        if self._flights.has_late_writes(name):
            self._start(f"late/{name}", name, self._undo_late(name))
        namespace = self._assessor.namespace(name)
        if namespace is None:
            self._looked_at.discard(name)  # gone; another of that name is looked at as a new one
            return
        if misnamed(namespace) is None:
            return
        if self._leads(name) and not self._assessor.observes(name):
            self._start(f"label/{name}", name, self._herald.warn_of_label(namespace))

    def _mend(
        self, name: str, assessment: Assessment, airborne: PowerState | None, now: datetime
    ) -> None:
        """What is done beside the verdict: our ownership goes, and copies come back if asked for.

        A Space that sleeps brings its copies back with its wake.
        """
        if airborne is not None:
            return
        self._release_fields(name, now)
        if (
            assessment.record is None
            and _is_asked_for(assessment, now)
            and self._flights.has_copies(name)
            and not self._holds_off(name, assessment, now)
        ):
            uid = assessment.snapshot.space.uid
            self._start(f"copies/{uid}", name, self._bring_back_copies(name, assessment))

    def _release_fields(self, name: str, now: datetime) -> None:
        """Take away what a dead or halted process holds of objects, before anything else is done.

        At the first look at a Space, which is what a restart begins with, at once; later only
        after a moment, in which the process that is between two writes takes it away itself.
        """
        is_first = name not in self._looked_at
        self._looked_at.add(name)
        if not self._flights.holds_fields(name):
            self._held_since.pop(name, None)
            return
        due = now if is_first else plus(self._held_since.setdefault(name, now), FIELDS_GRACE)
        if due <= now:
            self._held_since.pop(name, None)
            self._start(f"fields/{name}", name, self._flights.release_fields(name))
        else:
            self._look_at(name, due)

    async def _bring_back_copies(self, name: str, seen: Assessment) -> None:
        if not await self._flights.bring_back_copies(name):
            seen.page.no_flight_before = self._clock.now() + self._pacing.wake_retry
            self._look_again(name)

    def _leads(self, name: str) -> bool:
        """Whether we may act on the Space; if not, it is looked at again when we may."""
        leads = self._leading()
        if not leads:
            self._unled.add(name)
        return leads

    def _holds_off(self, name: str, assessment: Assessment, now: datetime) -> bool:
        """Whether the last flight failed a moment ago, or its end has not been seen since.

        Its own writes are news, which would begin the next one at once.
        """
        at = assessment.page.no_flight_before
        # An instant further ahead was noted before the wall clock was set back.
        if at is None or not now < at <= now + self._pacing.wake_retry:
            return False
        self._look_at(name, soonest(at, assessment.verdict.recheck_at))
        return True

    def _has_its_turn(self, name: str, assessment: Assessment, now: datetime) -> bool:
        """Whether the Space may fall asleep now: what is on record goes on, the others queue."""
        if self._holds_off(name, assessment, now):
            return False
        return assessment.record is not None or self._queue.has_turn(name)

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

    async def _sleep(self, name: str, seen: Assessment) -> None:
        # Decided anew on the freshest view: between the verdict and this line somebody may have
        # come, and a notice or publish may have taken its time.
        now = self._clock.now()
        fresh = self._assessor.observe(name, now)
        if fresh is None or fresh.verdict.kind is not VerdictKind.FALL_ASLEEP:
            self._tell(name)
            return
        space = fresh.snapshot.space
        log.info("falling_asleep", space=name, reason=fresh.verdict.reason.value)
        outcome = await self._flights.sleep(space, fresh.verdict)
        if not outcome.ok and outcome.reason is Reason.NOT_LEADER:
            # No failure of its own: gone on with, or begun, as soon as the Lease is ours again.
            log.info("sleep_interrupted", space=name, detail=outcome.message)
            self._unled.add(name)
            return
        page = seen.page
        page.noticed_at = None
        if outcome.ok:
            page.retry_sleep_at, page.failures, page.alike = None, 0, Failures()
        elif outcome.gave_way:
            # Who woke it may be another process, and leave no other trace that is seen here.
            self._book.woken(space.uid, self._clock.now())
        else:
            page.no_flight_before = self._clock.now() + self._pacing.wake_retry
            page.failures += 1
            page.alike = failed(
                page.alike,
                reason=outcome.reason,
                objects=outcome.blamed,
                shape=shape_of(fresh.objects),
                how=outcome.message,
                now=self._clock.now(),
            )
            doublings = min(page.failures - 1, 5)
            page.retry_sleep_at = self._clock.now() + self._pacing.retry_backoff * 2**doublings
            log.warning(
                "sleep_failed", space=name, reason=outcome.reason.value, detail=outcome.message
            )
        self._await_sight(name, fresh)
        self._tell(name)

    async def _wake(self, name: str, seen: Assessment) -> None:
        verdict = seen.verdict
        log.info("waking", space=name, reason=verdict.reason.value, detail=verdict.message)
        uid = seen.snapshot.space.uid
        if verdict.reason in _BY_HAND and seen.reading.policy.desired.value is Desired.ASLEEP:
            # Noted before the wake: it must not fall asleep again for a word that was taken back.
            seen.page.release_pending = True
        outcome = await self._flights.wake(uid, verdict.reason, wary=self._is_wary(name, seen))
        now = self._clock.now()
        self._book.woken(uid, now)
        if not outcome.ok:
            log.warning(
                "wake_incomplete", space=name, reason=outcome.reason.value, detail=outcome.message
            )
            seen.page.no_flight_before = now + self._pacing.wake_retry
        self._await_sight(name, seen)
        self._tell(name)

    def _is_wary(self, name: str, seen: Assessment) -> bool:
        """Whether somebody wrote since the horizon what may be left on the safe side."""
        touch, sleep = seen.snapshot.last_touch, seen.snapshot.sleep
        if sleep is None:
            return False
        wrote = self._wrote.get(name)
        if wrote is not None and wrote > sleep.horizon:
            return True
        if touch is None or touch.at <= sleep.horizon:
            return False
        return wrote_cautious(touch.verb, touch.resource)

    def _await_sight(self, name: str, flown: Assessment) -> None:
        """Hold off the same flight again, as long as the watch does not show that it has ended.

        Another replica may have done it, and our watch be late.
        """
        now = self._clock.now()
        fresh = self._assessor.observe(name, now)
        if fresh is not None and fresh.verdict.kind is flown.verdict.kind:
            fresh.page.no_flight_before = now + self._pacing.wake_retry

    async def _release(self, name: str, seen: Assessment) -> None:
        await self._herald.release(seen)
        self._look_again(name)

    async def _undo_late(self, name: str) -> None:
        # What was undone is news. What could not be, or is of a record that the watch does not
        # show yet, is looked at again in a moment.
        await self._flights.undo_late(name)
        self._look_again(name)

    async def _give_notice(self, name: str, seen: Assessment) -> None:
        if await self._herald.give_notice(seen):
            seen.page.noticed_at = self._clock.now()
            self._tell(name)
        else:
            self._look_again(name)

    def _look_again(self, name: str) -> None:
        """Consider the Space again in a moment."""
        self._look_at(name, self._clock.now() + self._pacing.wake_retry)


def _is_asked_for(assessment: Assessment, now: datetime) -> bool:
    """Whether somebody asks for the Space, whatever else holds it awake already."""
    policy = assessment.reading.policy
    until = policy.keep_awake_until.value
    return policy.desired.value is Desired.AWAKE or (until is not None and until > now)


def _take_back(assessment: Assessment, now: datetime) -> None:
    """A touch later than ``desired: asleep`` takes it back, also where something holds the Space.

    Else the order would outlast any use, and be followed at once when the hold ends.
    """
    page, touch = assessment.page, assessment.snapshot.last_touch
    if assessment.record is not None or (
        assessment.reading.policy.desired.value is not Desired.ASLEEP
    ):
        page.asked_at = None
        return
    if page.asked_at is None:
        page.asked_at = now
    if touch is not None and touch.at > page.asked_at:
        page.release_pending = True
