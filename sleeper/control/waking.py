"""A wake: every recorded object gets back what sleep changed, and no trace of us is left.

Any replica may wake; nothing here asks for the Lease. Every object of the record is visited,
touched or not, in start order; each wave waits a while for the one before it to be Ready. The
record is deleted last: until then whoever finds it goes on from wherever this stopped, and leaves
alone what is marked on it as brought back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

import structlog

from metrics.core.clock import Clock
from sleeper.control.actuator import Actuator, Result
from sleeper.control.flight_result import FlightResult, FlightSettings
from sleeper.control.phases import move, publish, record_of
from sleeper.control.ports import ObjectClient, Records, SpaceView
from sleeper.core.jsonpatch import JsonObject
from sleeper.core.notes import CopiedNote, RestoreNote, note_on
from sleeper.core.objects import KubeObject, SpaceObjects
from sleeper.core.plan import as_json, generation_of, waves
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.record import Entry, ObjectRef, SleepRecord
from sleeper.core.restore import adopt_step, copied_notes, release_step, wake_step
from sleeper.core.steps import Patch, PatchPurpose, Step, WhyLeft
from sleeper.core.text import some
from sleeper.core.workloads import KINDS
from sleeper.kube.errors import KubeError

log = structlog.get_logger(__name__)

MUST_COME_BACK: Final = frozenset({WhyLeft.DENIED, WhyLeft.UNSETTLED, WhyLeft.STOPPED})
"""Why an object is not back although it should be; the other reasons are its owner's doing."""

ASKED_FOR: Final = frozenset(
    {
        Reason.TOUCHED,
        Reason.OPEN_STREAM,
        Reason.OWNER_SCALED_UP,
        Reason.NEW_WORKLOAD,
        Reason.DESIRED_AWAKE,
        Reason.KEEP_AWAKE,
        Reason.AWAKE_HOURS,
        Reason.BREAK_GLASS,
    }
)
"""Wakes that somebody asks for, now or by a schedule; the others undo a sleep of our own."""


class WakeLook:
    """Brings one object back; see :class:`sleeper.control.actuator.Look`.

    Args:
        ref: the object.
        entry: its entry in the record; None for a note without a record.
        space_uid: uid of the namespace.
        epoch: the sleep that is over.
        untouched: no sleep patch ever reached the object or can still reach it.
        wary: somebody may have set the safe value of a field without a trace.
        still_ours: asked of the API server before an object is fenced: whether the record is
            there still, and the object not marked as back. Another replica may have brought it
            back since, and what the object is now is its owner's.
    """

    def __init__(
        self,
        *,
        ref: ObjectRef,
        entry: Entry | None,
        space_uid: str,
        epoch: int,
        untouched: bool = False,
        wary: bool = False,
        still_ours: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        self._ref = ref
        self._entry = entry
        self._space_uid = space_uid
        self._epoch = epoch
        self._untouched = untouched
        self._wary = wary
        self._still_ours = still_ours
        self._is_up = False
        self.kept: tuple[str, ...] = ()
        """Sentences on what was left at its sleeping value, because that is its owner's word."""

    def step(self, live: JsonObject) -> Step:
        """The next step for the object as it is now."""
        self._is_up = self._entry is not None and generation_of(live) == self._entry.slept_from
        return wake_step(
            live,
            ref=self._ref,
            entry=self._entry,
            space_uid=self._space_uid,
            epoch=self._epoch,
            untouched=self._untouched,
            wary=self._wary,
        )

    async def amend(self, entry: Entry) -> bool:
        """A wake never changes what the record says of originals."""
        raise AssertionError(entry)

    async def may_send(self, patch: Patch) -> bool:
        """Whether the record that a fence comes from is there still, and owes the object."""
        if patch.purpose is not PatchPurpose.FENCE or self._still_ours is None:
            return True
        return await self._still_ours()

    def sent(self, patch: Patch, *, surely_refused: bool) -> None:
        """What was sent shows in the object itself; what it left to its owner is remembered."""
        if surely_refused:
            return
        self.kept += tuple(sentence for sentence in patch.kept if sentence not in self.kept)
        if patch.purpose is PatchPurpose.RELEASE:
            self._untouched = True

    def can_do_without(self, purpose: PatchPurpose) -> bool:
        """Who denies the fence of an object that is up would deny the late sleep patch too."""
        if purpose is not PatchPurpose.FENCE or not self._is_up:
            return False
        self._untouched = True
        return True


class AdoptLook(WakeLook):
    """Brings an object back by a note that was written for another one."""

    def step(self, live: JsonObject) -> Step:
        """The next step for the object as it is now."""
        return adopt_step(live, ref=self._ref, space_uid=self._space_uid, epoch=self._epoch)


class ReleaseLook(WakeLook):
    """Takes our ownership of an object away, which a dead or halted process left there."""

    def __init__(self, *, ref: ObjectRef, space_uid: str) -> None:
        super().__init__(ref=ref, entry=None, space_uid=space_uid, epoch=0)

    def step(self, live: JsonObject) -> Step:
        """The next step for the object as it is now."""
        return release_step(live, ref=self._ref, space_uid=self._space_uid)


def _look_by(note: RestoreNote | CopiedNote, ref: ObjectRef, space_uid: str) -> WakeLook:
    """What brings an object back by its note alone."""
    if isinstance(note, CopiedNote):
        return AdoptLook(ref=ref, entry=None, space_uid=space_uid, epoch=note.note.epoch)
    return WakeLook(ref=ref, entry=None, space_uid=space_uid, epoch=note.epoch)


def _is_ready(result: Result, obj: KubeObject | None, enough: int | None) -> bool:
    """Whether an object that is back has its Pods up, by a status of that generation or later.

    Args:
        result: the object as it came back.
        obj: the object as it is watched; None: its owner has deleted it in the meantime.
        enough: Pods that were Ready before the sleep, if that is known: what was not up then is
            not waited for now.
    """
    if obj is None:
        return True
    seen = obj.metadata.generation >= result.generation
    return seen and KINDS[result.ref.kind].ready(as_json(obj), enough)


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

    async def bring_back(
        self,
        record: SleepRecord,
        reason: Reason,
        *,
        surely_unwritten: Collection[str] = (),
        wary: bool = False,
    ) -> FlightResult:
        """Wake the Space of ``record``.

        Args:
            record: as it was just read.
            reason: why; a wake that is already under way keeps its own.
            surely_unwritten: uids of objects that no sleep patch has reached or can still reach;
                without a note they are as their owner wants them.
            wary: somebody wrote workloads of which fields may be left on the safe side.
        """
        not_recorded: KubeError | None = None
        try:
            moved = await move(
                self._records,
                record,
                PowerState.WAKING,
                wake_reason=reason,
                wake_started_at=self._clock.now(),
                wary=wary,
            )
        except KubeError as error:
            # The objects come back all the same; a sleep that goes on meets that and gives up.
            log.warning("wake_not_recorded", space=record.space_name, error=str(error))
            moved, not_recorded = record, error
        if moved is None:
            return FlightResult(ok=True, reason=reason, message="it is awake already")
        record, wary = moved, wary or moved.wary
        reason = record.wake_reason or reason
        await self._publish(record, PowerState.WAKING, reason)
        deadline = self._clock.monotonic() + self._settings.wake_deadline_seconds
        results: list[Result] = []
        kept: list[str] = []
        for wave in waves(record.entries):
            came, told = await self._restore(record, wave, surely_unwritten, wary=wary)
            results += came
            kept += told
            record = await self._mark(record, came)
            patience = self._clock.monotonic() + self._settings.wave_patience_seconds
            await self._ready(record, results, until=min(deadline, patience))
        came, told = await self._bring_back_copies(
            record.space_name,
            record.space_uid,
            record.epoch,
            of_epoch=None if reason in ASKED_FOR else record.epoch,
            replaced=results,
        )
        results += came
        kept += told
        missing = tuple(r for r in results if r.left and r.left.why in MUST_COME_BACK)
        if missing:
            message = some((*_sentences(missing), *kept), "; ")
            return FlightResult(
                ok=False, reason=Reason.WAKE_INCOMPLETE, message=message, left=missing
            )
        if not_recorded is not None:
            # Awake beside this epoch keeps whoever finds the record from going on with the sleep.
            await self._publish(record, PowerState.AWAKE, reason)
            message = f"everything is back, but its record could not be written: {not_recorded}"
            return FlightResult(ok=False, reason=Reason.WAKE_INCOMPLETE, message=message)
        waiting = await self._ready(record, results, until=deadline)
        await self._publish(record, PowerState.AWAKE, reason)
        await self._records.delete(record)
        left = tuple(r for r in results if r.left is not None)
        message = some((*_sentences(left), *kept), "; ") or "everything is back"
        if waiting:
            message = f"{message}; not Ready yet: {some(waiting)}"
        return FlightResult(ok=True, reason=reason, message=message, left=left)

    async def bring_back_copies(self, namespace: str, space_uid: str) -> tuple[Result, ...]:
        """Bring back what was made from the look of a sleeping object; somebody asks for it."""
        results, kept = await self._bring_back_copies(namespace, space_uid, epoch=None)
        for sentence in kept:
            log.info("left_to_its_owner", space=namespace, detail=sentence)
        return results

    async def _bring_back_copies(
        self,
        namespace: str,
        space_uid: str,
        epoch: int | None,
        *,
        of_epoch: int | None = None,
        replaced: Iterable[Result] = (),
    ) -> tuple[tuple[Result, ...], tuple[str, ...]]:
        """Bring back what was made from the look of a sleeping object, by the note copied with it.

        Args:
            namespace: its name.
            space_uid: its uid.
            epoch: the sleep that they are to count to; None: that of each note.
            of_epoch: only copies of that sleep of this Space; None: all.
            replaced: results of this wake; an object that was made again in place of a recorded
                one is read from storage, for the watch may be late.

        Returns:
            The results, and sentences on what was left to owners or stays at zero.
        """
        copies: dict[ObjectRef, RestoreNote] = {}
        objects = self._spaces.space(namespace)
        if objects is not None:
            copies.update((ref, copy.note) for ref, copy in copied_notes(objects, running=True))
        for result in replaced:
            if result.left is not None and result.left.why is WhyLeft.REPLACED:
                copies.update(await self._copy_in_place_of(namespace, space_uid, result.ref))
        looks = [
            (
                ref,
                AdoptLook(
                    ref=ref,
                    entry=None,
                    space_uid=space_uid,
                    epoch=note.epoch if epoch is None else epoch,
                ),
            )
            for ref, note in copies.items()
            if of_epoch is None or (note.space_uid, note.epoch) == (space_uid, of_epoch)
        ]
        results = await self._actuator.drive_all(namespace, looks)
        told = [sentence for _, look in looks for sentence in look.kept]
        theirs = {ref for ref, _ in looks}
        told += [
            f"{ref.kind}/{ref.name} was restored or copied while it slept and stays at zero"
            for ref, _ in (() if objects is None else copied_notes(objects))
            if ref not in theirs
        ]
        return results, tuple(told)

    async def _copy_in_place_of(
        self, namespace: str, space_uid: str, ref: ObjectRef
    ) -> Mapping[ObjectRef, RestoreNote]:
        live = await self._actuator.read(namespace, ref)
        if live is None or live["metadata"].get("ownerReferences"):
            return {}
        copy = note_on(live, kind=KINDS[ref.kind], space_uid=space_uid)
        if not isinstance(copy, CopiedNote):
            return {}
        return {replace(ref, uid=str(live["metadata"]["uid"])): copy.note}

    async def release(self, namespace: str, space_uid: str, refs: Iterable[ObjectRef]) -> None:
        """Take our ownership of objects away; what cannot be done now is tried again later."""
        looks = [(ref, ReleaseLook(ref=ref, space_uid=space_uid)) for ref in refs]
        await self._actuator.drive_all(namespace, looks)

    async def undo_notes(
        self,
        namespace: str,
        space_uid: str,
        notes: Iterable[tuple[ObjectRef, RestoreNote | CopiedNote]],
    ) -> tuple[tuple[Result, ...], tuple[str, ...]]:
        """Undo writes of sleeps that are over, and copies of them, by the notes that they carry.

        Returns:
            The results, and sentences on what was left to owners.
        """
        looks = [(ref, _look_by(note, ref, space_uid)) for ref, note in notes]
        results = await self._actuator.drive_all(namespace, looks)
        return results, tuple(sentence for _, look in looks for sentence in look.kept)

    async def _restore(
        self,
        record: SleepRecord,
        wave: Iterable[Entry],
        surely_unwritten: Collection[str],
        *,
        wary: bool,
    ) -> tuple[tuple[Result, ...], tuple[str, ...]]:
        """Results of one wave, and what was left to owners."""

        async def still_ours(uid: str) -> bool:
            found = await record_of(self._records, record.space_uid)
            if found is None or found.epoch != record.epoch:
                return False
            return all(e.back_at is None for e in found.entries if e.ref.uid == uid)

        looks = [
            (
                entry.ref,
                WakeLook(
                    ref=entry.ref,
                    entry=entry,
                    space_uid=record.space_uid,
                    epoch=record.epoch,
                    untouched=entry.ref.uid in surely_unwritten,
                    wary=wary,
                    still_ours=partial(still_ours, entry.ref.uid),
                ),
            )
            for entry in wave
        ]
        results = await self._actuator.drive_all(record.space_name, looks)
        return results, tuple(sentence for _, look in looks for sentence in look.kept)

    async def _mark(self, record: SleepRecord, results: Iterable[Result]) -> SleepRecord:
        """Note on the record what is back, so that whoever goes on with it leaves that alone.

        Best effort: what cannot be noted is told by who holds the fields.
        """
        known = {entry.ref.uid for entry in record.entries if entry.back_at is not None}
        back = {
            result.ref.uid: result.generation
            for result in results
            if result.left is None and result.ref.uid not in known
        }
        if not back or not record.complete:
            return record
        try:
            return await self._records.mark_back(record, back)
        except KubeError as error:
            log.warning("back_not_recorded", space=record.space_name, error=str(error))
            return record

    async def _ready(
        self, record: SleepRecord, results: Iterable[Result], *, until: float
    ) -> tuple[str, ...]:
        """Wait until all that is back is Ready or the time is up; ``Kind/name`` of the rest."""
        enough = {entry.ref.uid: entry.was_ready for entry in record.entries}
        waiting = [result for result in results if result.left is None]
        while True:
            looked_at = self._clock.monotonic()
            objects = self._spaces.space(record.space_name)
            found = {} if objects is None else _by_uid(objects)
            waiting = [
                r for r in waiting if not _is_ready(r, found.get(r.ref.uid), enough.get(r.ref.uid))
            ]
            now = self._clock.monotonic()
            if not waiting or now >= until:
                return tuple(f"{r.ref.kind}/{r.ref.name}" for r in waiting)
            await asyncio.sleep(self._settings.pause_after(now - looked_at))

    async def _publish(self, record: SleepRecord, power: PowerState, reason: Reason) -> None:
        """Best effort: a namespace that cannot be annotated must not hold up a wake."""
        try:
            await publish(self._client, record, power, reason)
        except KubeError as error:
            log.warning("phase_not_published", space=record.space_name, error=str(error))


def _by_uid(objects: SpaceObjects) -> dict[str, KubeObject]:
    return {obj.metadata.uid: obj for kind in KINDS.values() for obj in kind.select(objects)}


def _sentences(results: Iterable[Result]) -> Iterable[str]:
    return (r.left.message for r in results if r.left is not None)
