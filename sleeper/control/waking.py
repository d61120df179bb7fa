"""A wake: every recorded object gets back what sleep changed, and no trace of us is left.

Any replica may wake; nothing here asks for the Lease. Every object of the record is visited,
touched or not, in start order; each wave waits a while for the one before it to be Ready. The
record is deleted last: until then whoever finds it goes on from wherever this stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from datetime import datetime

import structlog

from metrics.core.clock import Clock
from sleeper.control.actuator import Actuator, Result
from sleeper.control.flight_result import FlightResult, FlightSettings
from sleeper.control.phases import move, publish
from sleeper.control.ports import ObjectClient, Records, SpaceView
from sleeper.core.jsonpatch import JsonObject
from sleeper.core.notes import RestoreNote, note_on
from sleeper.core.objects import SpaceObjects
from sleeper.core.plan import as_json, waves
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.record import Entry, ObjectRef, SleepRecord
from sleeper.core.restore import wake_step
from sleeper.core.steps import Patch, PatchPurpose, Step, WhyLeft
from sleeper.core.workloads import KINDS
from sleeper.kube.errors import KubeError

log = structlog.get_logger(__name__)

MUST_COME_BACK = frozenset({WhyLeft.DENIED, WhyLeft.UNSETTLED, WhyLeft.STOPPED})
"""Why an object is not back although it should be; the other reasons are its owner's doing."""


class WakeLook:
    """Brings one object back; see :class:`sleeper.control.actuator.Look`."""

    def __init__(
        self,
        *,
        ref: ObjectRef,
        entry: Entry | None,
        space_uid: str,
        epoch: int,
        untouched: bool = False,
    ) -> None:
        self._ref = ref
        self._entry = entry
        self._space_uid = space_uid
        self._epoch = epoch
        self._untouched = untouched
        self._fenced = False

    def step(self, live: JsonObject) -> Step:
        """The next step for the object as it is now."""
        kind = KINDS[self._ref.kind]
        note = note_on(live, kind=kind, space_uid=self._space_uid, entry=self._entry)
        if isinstance(note, RestoreNote) and note.epoch == self._epoch:
            self._fenced, self._untouched = True, False
        return wake_step(
            live,
            ref=self._ref,
            entry=self._entry,
            space_uid=self._space_uid,
            epoch=self._epoch,
            fenced=self._fenced,
            untouched=self._untouched,
        )

    async def amend(self, entry: Entry) -> bool:
        """A wake never changes the record."""
        raise AssertionError(entry)

    def sent(self, patch: Patch, *, surely_refused: bool) -> None:
        """What was sent shows in the object itself."""

    def can_do_without(self, purpose: PatchPurpose) -> bool:
        """Who denies the fence of an object that is up would deny the late sleep patch too."""
        if purpose is not PatchPurpose.FENCE or self._fenced:
            return False
        self._fenced = True
        return True


def _is_ready(result: Result, objects: SpaceObjects, enough: int | None) -> bool:
    """Whether an object that is back has its Pods up, by a status of that generation or later.

    Args:
        result: the object as it came back.
        objects: the watched objects.
        enough: Pods that were Ready before the sleep, if that is known: what was not up then is
            not waited for now.
    """
    kind = KINDS[result.ref.kind]
    for obj in kind.select(objects):
        if obj.metadata.uid == result.ref.uid:
            seen = obj.metadata.generation >= result.generation
            return seen and kind.ready(as_json(obj), enough)
    return True  # deleted by its owner in the meantime


class Waking:
    """Carries out wakes, one Space per call."""

    def __init__(
        self,
        *,
        client: ObjectClient,
        records: Records,
        spaces: SpaceView,
        actuator: Actuator,
        clock: Clock,
        settings: FlightSettings,
    ) -> None:
        self._client = client
        self._records = records
        self._spaces = spaces
        self._actuator = actuator
        self._clock = clock
        self._settings = settings
        self._back: dict[str, tuple[datetime, set[str]]] = {}
        """By Space, of which sleep (when it was decided) which uids are done: a wake that is tried
        again leaves them alone."""

    async def bring_back(
        self, record: SleepRecord, reason: Reason, *, surely_unwritten: Collection[str] = ()
    ) -> FlightResult:
        """Wake the Space of ``record``.

        Args:
            record: as it was just read.
            reason: why; a wake that is already under way keeps its own.
            surely_unwritten: uids of objects that no sleep patch has reached or can still reach;
                without a note they are as their owner wants them.
        """
        not_recorded: KubeError | None = None
        try:
            moved = await move(
                self._records,
                record,
                PowerState.WAKING,
                wake_reason=reason,
                wake_started_at=self._clock.now(),
            )
        except KubeError as error:
            # The objects come back all the same; a sleep that goes on meets that and gives up.
            log.warning("wake_not_recorded", space=record.space_name, error=str(error))
            moved, not_recorded = record, error
        if moved is None:
            return FlightResult(ok=True, reason=reason, message="it is awake already")
        record = moved
        reason = record.wake_reason or reason
        await self._publish(record, PowerState.WAKING, reason)
        deadline = self._clock.monotonic() + self._settings.wake_deadline_seconds
        done = self._done_of(record)
        done.update(surely_unwritten)
        results: list[Result] = []
        for wave in waves(record.entries):
            results += await self._restore(record, wave, done)
            done.update(r.ref.uid for r in results if r.left is None)
            patience = self._clock.monotonic() + self._settings.wave_patience_seconds
            await self._ready(record, results, until=min(deadline, patience))
        missing = tuple(r for r in results if r.left and r.left.why in MUST_COME_BACK)
        if missing:
            return FlightResult(
                ok=False, reason=Reason.WAKE_INCOMPLETE, message=_sentence(missing), left=missing
            )
        if not_recorded is not None:
            # Awake beside this epoch keeps whoever finds the record from going on with the sleep.
            await self._publish(record, PowerState.AWAKE, reason)
            message = f"everything is back, but its record could not be written: {not_recorded}"
            return FlightResult(ok=False, reason=Reason.WAKE_INCOMPLETE, message=message)
        waiting = await self._ready(record, results, until=deadline)
        await self._publish(record, PowerState.AWAKE, reason)
        await self._records.delete(record)
        self._back.pop(record.space_uid, None)
        left = tuple(r for r in results if r.left is not None)
        message = _sentence(left) or "everything is back"
        if waiting:
            message = f"{message}; not Ready yet: {', '.join(waiting)}"
        return FlightResult(ok=True, reason=reason, message=message, left=left)

    async def undo_notes(
        self, namespace: str, notes: Iterable[tuple[ObjectRef, RestoreNote]]
    ) -> tuple[Result, ...]:
        """Undo writes of sleeps that are over, by the notes that they carry."""
        looks = [
            (
                ref,
                WakeLook(ref=ref, entry=None, space_uid=note.space_uid, epoch=note.epoch),
            )
            for ref, note in notes
        ]
        return await self._actuator.drive_all(namespace, looks)

    def _done_of(self, record: SleepRecord) -> set[str]:
        decided_at, done = self._back.get(record.space_uid, (record.decided_at, set()))
        if decided_at != record.decided_at:
            done = set()
        self._back[record.space_uid] = record.decided_at, done
        return done

    async def _restore(
        self, record: SleepRecord, wave: Iterable[Entry], done: Collection[str]
    ) -> tuple[Result, ...]:
        looks = [
            (
                entry.ref,
                WakeLook(
                    ref=entry.ref,
                    entry=entry,
                    space_uid=record.space_uid,
                    epoch=record.epoch,
                    untouched=entry.ref.uid in done,
                ),
            )
            for entry in wave
        ]
        return await self._actuator.drive_all(record.space_name, looks)

    async def _ready(
        self, record: SleepRecord, results: Iterable[Result], *, until: float
    ) -> tuple[str, ...]:
        """Wait until all that is back is Ready or the time is up; ``Kind/name`` of the rest."""
        enough = {entry.ref.uid: entry.was_ready for entry in record.entries}
        waiting = [result for result in results if result.left is None]
        while True:
            objects = self._spaces.space(record.space_name)
            waiting = [
                r
                for r in waiting
                if objects is not None and not _is_ready(r, objects, enough.get(r.ref.uid))
            ]
            if not waiting or self._clock.monotonic() >= until:
                return tuple(f"{r.ref.kind}/{r.ref.name}" for r in waiting)
            await asyncio.sleep(self._settings.poll_seconds)

    async def _publish(self, record: SleepRecord, power: PowerState, reason: Reason) -> None:
        """Best effort: a namespace that cannot be annotated must not hold up a wake."""
        try:
            await publish(self._client, record, power, reason)
        except KubeError as error:
            log.warning("phase_not_published", space=record.space_name, error=str(error))


def _sentence(results: Iterable[Result]) -> str:
    return "; ".join(r.left.message for r in results if r.left is not None)
