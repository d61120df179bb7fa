"""A sleep: record, then each object in reverse start order, then proof that no Pod is left.

Only the Lease holder sleeps, and asks before every write whether the Lease outlasts it and whether
the Space is more than observed. Whatever stops a sleep in the middle (a denied write, an owner who
scales, a deadline, mode ``observe``) ends with everything restored; only a lost Lease and a wake
leave the rest to whoever goes on with the record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import msgspec

from billing.core.requests import Requests, effective_requests
from metrics.core.clock import Clock
from metrics.core.refs import SpaceRef
from sleeper.control.actuator import Actuator, Result
from sleeper.control.flight_result import FlightResult, FlightSettings
from sleeper.control.phases import move, publish, read_namespace, record_of
from sleeper.control.ports import ObjectClient, Records, SpaceView
from sleeper.control.sleep_look import Attempts, SleepLook
from sleeper.control.waking import Waking
from sleeper.core.jsonpatch import JsonObject
from sleeper.core.names import POWER_STATE
from sleeper.core.objects import Pod, SpaceObjects
from sleeper.core.ownership import lasting_pods, live_pods
from sleeper.core.plan import (
    Sleepable,
    entry_for,
    epoch_of,
    left_running,
    next_epoch,
    sleepable,
    waves,
)
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.record import Entry, FreedRequests, SleepRecord
from sleeper.core.restore import notes_in
from sleeper.core.steps import WhyLeft
from sleeper.core.text import some
from sleeper.core.verdict import Verdict
from sleeper.kube.errors import (
    Conflict,
    Forbidden,
    Invalid,
    KubeError,
    NotFound,
    TestFailed,
    Undecodable,
)

_RECORD_MOVED_ON = (TestFailed, Conflict, NotFound)

_UNDO_BECAUSE = {
    WhyLeft.DENIED: Reason.WRITE_DENIED,
    WhyLeft.UNSETTLED: Reason.WRITE_FAILED,
    WhyLeft.OWNER_CHANGED: Reason.OWNER_SCALED_UP,
    WhyLeft.OTHER_EPOCH: Reason.LATE_WRITE,
    WhyLeft.BUSY: Reason.WORKLOAD_BUSY,
    WhyLeft.EXCLUDED: Reason.EXCLUDED,
}
"""Why an object that is left undoes the whole sleep. One that its owner deleted does not."""


class Sleep:
    """One sleep of one Space, from decision or record to its end. Used once."""

    def __init__(
        self,
        *,
        space: SpaceRef,
        client: ObjectClient,
        records: Records,
        spaces: SpaceView,
        actuator: Actuator,
        waking: Waking,
        clock: Clock,
        settings: FlightSettings,
        withheld: Callable[[], Reason | None],
    ) -> None:
        self._space = space
        self._client = client
        self._records = records
        self._spaces = spaces
        self._actuator = actuator
        self._waking = waking
        self._clock = clock
        self._settings = settings
        self._withheld = withheld
        self._record: SleepRecord | None = None
        self._amending = asyncio.Lock()
        self._attempts = Attempts(resumed=False)
        self._turned_back_by: Reason | None = None
        self._seen_on_record = False
        self._moved_on = False

    # -- from outside ---------------------------------------------------------------------------

    def turn_back(self, reason: Reason) -> None:
        """A wake wants the Space: stop before the next write."""
        self._turned_back_by = reason

    async def fly(self, verdict: Verdict) -> FlightResult:
        """Carry it out, or go on with what is on record."""
        try:
            record = await record_of(self._records, self._space.uid)
            return await (self._begin(verdict) if record is None else self._resume(record))
        except KubeError as error:
            return _nothing_done(error)

    async def _resume(self, record: SleepRecord) -> FlightResult:
        if record.phase is PowerState.ASLEEP:
            return FlightResult(ok=True, reason=record.reason, message="it is asleep already")
        if record.phase is PowerState.WAKING:
            return self._superseded(record)
        self._record, self._attempts = record, Attempts(resumed=True)
        if not record.complete:
            return await self._undo(Reason.WRITE_FAILED, "its record was not stored as a whole")
        if await self._is_over(record):
            # Its sleep never got beyond the record, or a wake has brought all of it back.
            self._attempts = Attempts(resumed=False)
            return await self._undo(Reason.LATE_WRITE, "its record was written late")
        return await self._carry_out(record)

    async def _is_over(self, record: SleepRecord) -> bool:
        """Whether the record of a sleep that has been woken since was created late.

        The last wake wrote Awake beside that very epoch; a sleep of that epoch that is going on
        would have written FallingAsleep.
        """
        namespace = await read_namespace(self._client, self._space.name)
        state = namespace.metadata.annotation(POWER_STATE)
        awake = state in {PowerState.AWAKE, PowerState.DROWSY}
        return awake and epoch_of(namespace) >= record.epoch

    async def _begin(self, verdict: Verdict) -> FlightResult:
        objects = self._spaces.space(self._space.name)
        if objects is None or objects.namespace.metadata.uid != self._space.uid:
            return FlightResult(
                ok=False, reason=Reason.NOTHING_TO_SLEEP, message="the namespace is gone"
            )
        notes = notes_in(objects)
        if notes:
            await self._waking.undo_notes(self._space.name, self._space.uid, notes)
            message = "writes of a sleep that is over were found and undone first"
            return FlightResult(ok=False, reason=Reason.LATE_WRITE, message=message)
        found = await self._read(sleepable(objects))
        for item, live in found:
            left = left_running(live, item.kind)
            if left is not None and left.why is WhyLeft.BUSY:
                message = f"nothing was changed: {left.message}"
                return FlightResult(ok=False, reason=Reason.WORKLOAD_BUSY, message=message)
        entries = _entries(found)
        if not entries:
            return FlightResult(
                ok=False, reason=Reason.NOTHING_TO_SLEEP, message="nothing runs that could sleep"
            )
        now = self._clock.now()
        record = SleepRecord(
            space_uid=self._space.uid,
            space_name=self._space.name,
            tenant=self._space.tenant,
            epoch=next_epoch(objects.namespace, await self._records.of(self._space.uid), now),
            phase=PowerState.FALLING_ASLEEP,
            reason=verdict.reason,
            horizon=verdict.sleep_horizon or verdict.horizon or now,
            decided_at=now,
            entries=entries,
            freed=_freed(live_pods(objects, (entry.ref for entry in entries))),
        )
        if (reason := self._withheld()) is not None:
            return _stopped_by(reason)
        await self._records.create(record)
        return await self._carry_out(record)

    async def _read(self, wanted: Sequence[Sleepable]) -> list[tuple[Sleepable, JsonObject]]:
        """Objects as they are in storage; the watched ones may be a moment old."""
        read = await self._actuator.read_all(self._space.name, [item.ref for item in wanted])
        return [(item, live) for item, live in zip(wanted, read, strict=True) if live is not None]

    # -- the plan -------------------------------------------------------------------------------

    async def _carry_out(self, record: SleepRecord) -> FlightResult:
        self._record = record
        if not self._may_go_on():
            return await self._stop(())
        elapsed = (self._clock.now() - record.decided_at).total_seconds()
        # One that was decided in the future was so before the clock was set back.
        remaining = max(0.0, self._settings.sleep_deadline_seconds - max(0.0, elapsed))
        try:
            async with asyncio.timeout(remaining):
                await publish(self._client, record, PowerState.FALLING_ASLEEP, record.reason)
                for wave in reversed(waves(record.entries)):
                    if (end := await self._put_down(wave)) is not None:
                        return await self._stop(end)
                if (end := await self._verify()) is not None:
                    return await self._stop(end)
            return await self._settle()
        except TimeoutError:
            message, blamed = self._still_there()
            return await self._undo(Reason.FALLING_ASLEEP_TIMED_OUT, message, blamed)
        except KubeError as error:
            blamed = (f"Namespace/{self._space.name}",)  # the workloads' own errors end elsewhere
            return await self._undo(_blame(error), str(error), blamed)

    async def _put_down(self, wave: Iterable[Entry]) -> tuple[Result, ...] | None:
        """Take each object of a wave to sleep; None if the plan may go on."""
        assert self._record is not None
        looks = [
            (
                entry.ref,
                SleepLook(
                    entry=entry,
                    space_uid=self._space.uid,
                    epoch=self._record.epoch,
                    attempts=self._attempts,
                    amend=self._amend,
                ),
            )
            for entry in wave
        ]
        results = await self._actuator.drive_all(self._space.name, looks, may_go_on=self._may_go_on)
        stops = any(
            r.left and (r.left.why is WhyLeft.STOPPED or r.left.why in _UNDO_BECAUSE)
            for r in results
        )
        return results if stops or not self._may_go_on() else None

    async def _verify(self) -> tuple[Result, ...] | None:
        """Wait until no Pod of the recorded objects exists and all are still at zero."""
        assert self._record is not None
        while True:
            if not self._may_go_on():
                return ()
            looked_at = self._clock.monotonic()
            objects = self._spaces.space(self._space.name)
            at_rest = objects is None or self._at_rest(objects)
            look_seconds = self._clock.monotonic() - looked_at
            if at_rest:
                end = await self._put_down(self._record.entries)
                if end is not None or objects is None:
                    return end
                pods = await self._read_pods()
                if self._at_rest(msgspec.structs.replace(objects, pods=pods)):
                    return None
            await asyncio.sleep(self._settings.pause_after(look_seconds))

    def _at_rest(self, objects: SpaceObjects) -> bool:
        assert self._record is not None
        refs = [entry.ref for entry in self._record.entries]
        running = {item.ref.uid for item in sleepable(objects)}
        return not live_pods(objects, refs) and running.isdisjoint(ref.uid for ref in refs)

    async def _read_pods(self) -> tuple[Pod, ...]:
        path = f"/api/v1/namespaces/{self._space.name}/pods"
        try:
            return _POD_LIST.decode(await self._client.get(path)).items
        except msgspec.MsgspecError as error:
            raise Undecodable(f"not a list of Pods: {error}", path=path) from error

    async def _settle(self) -> FlightResult:
        assert self._record is not None
        if not self._may_go_on():
            return await self._stop(())
        now = self._clock.now()
        record = self._record
        await publish(self._client, record, PowerState.ASLEEP, record.reason, sleeping_since=now)
        moved = await move(self._records, record, PowerState.ASLEEP, sleeping_since=now)
        if moved is None:
            return self._superseded(record)
        count = len(self._record.entries)
        message = "1 workload sleeps" if count == 1 else f"{count} workloads sleep"
        return FlightResult(ok=True, reason=record.reason, message=message)

    # -- endings --------------------------------------------------------------------------------

    def _may_go_on(self) -> bool:
        """No wake wants the Space, the Lease outlasts the next write, and we may act here."""
        assert self._record is not None
        if self._turned_back_by is not None or self._moved_on:
            return False
        self._moved_on = self._has_moved_on(self._records.all().get(self._space.uid))
        return not self._moved_on and self._withheld() is None

    def _has_moved_on(self, seen: SleepRecord | None) -> bool:
        """Whether the watched record is that of another sleep, or of a wake that began or ended."""
        assert self._record is not None
        if seen is None:  # a wake deletes it last; before it was ever seen, the watch is late
            return self._seen_on_record
        self._seen_on_record = True
        is_over = seen.epoch == self._record.epoch and seen.phase is PowerState.WAKING
        return is_over or seen.epoch > self._record.epoch

    async def _stop(self, results: tuple[Result, ...]) -> FlightResult:
        assert self._record is not None
        if self._turned_back_by is not None:
            return FlightResult(
                ok=False,
                reason=self._turned_back_by,
                message="it does not fall asleep: it is wanted again",
                gave_way=True,
            )
        if self._moved_on:
            return self._superseded(self._record)
        for result in results:
            if result.left is not None and result.left.why in _UNDO_BECAUSE:
                blamed = (f"{result.ref.kind}/{result.ref.name}",)
                reason = _UNDO_BECAUSE[result.left.why]
                return await self._undo(reason, result.left.message, blamed)
        if self._withheld() is Reason.OBSERVE_MODE:
            return await self._undo(Reason.OBSERVE_MODE, "it is only observed now")
        return _stopped_by(Reason.NOT_LEADER)

    def _still_there(self) -> tuple[str, tuple[str, ...]]:
        """What has not stopped, as a sentence, and the workloads that it belongs to."""
        assert self._record is not None
        message = f"not asleep after {self._settings.sleep_deadline_seconds:g} s"
        objects = self._spaces.space(self._space.name)
        refs = (entry.ref for entry in self._record.entries)
        there = () if objects is None else lasting_pods(objects, refs)
        if there:
            message += f", still there: {some([_named(*found) for found in there], '; ')}"
        return message, tuple(sorted({workload for _, workload in there}))

    async def _undo(
        self, reason: Reason, message: str, blamed: tuple[str, ...] = ()
    ) -> FlightResult:
        assert self._record is not None
        if self._withheld() is Reason.NOT_LEADER:  # whoever leads by now goes on
            return _stopped_by(Reason.NOT_LEADER)
        uids = (entry.ref.uid for entry in self._record.entries)
        unwritten = {uid for uid in uids if self._attempts.surely_none(uid)}
        try:
            result = await self._waking.bring_back(self._record, reason, surely_unwritten=unwritten)
        except KubeError as error:
            message = f"{message}; undoing it failed and will be tried again: {error}"
            return FlightResult(ok=False, reason=reason, message=message, blamed=blamed)
        return FlightResult(
            ok=False,
            reason=reason,
            message=f"{message}; {result.message}",
            left=result.left,
            blamed=blamed,
        )

    def _superseded(self, record: SleepRecord) -> FlightResult:
        reason = record.wake_reason or Reason.TOUCHED
        message = "a wake has overtaken it"
        return FlightResult(ok=False, reason=reason, message=message, gave_way=True)

    # -- the record ------------------------------------------------------------------------------

    async def _amend(self, changed: Entry) -> bool:
        """Replace one entry of the record; False if the record has moved on."""
        async with self._amending:
            assert self._record is not None
            entries = tuple(
                changed if entry.ref.uid == changed.ref.uid else entry
                for entry in self._record.entries
            )
            record = replace(self._record, entries=entries)
            try:
                await self._records.update_entries(record)
            except _RECORD_MOVED_ON:
                self._moved_on = True
                return False
            self._record = record
            return True


def _entries(found: Iterable[tuple[Sleepable, JsonObject]]) -> tuple[Entry, ...]:
    entries = (entry_for(live, kind=item.kind, wave=item.wave) for item, live in found)
    return tuple(entry for entry in entries if entry is not None)


def _named(pod: Pod, workload: str) -> str:
    grace = pod.spec.termination_grace_period_seconds
    allowed = "" if grace is None else f", which may take {grace} s to stop"
    return f"Pod/{pod.metadata.name} of {workload}{allowed}"


class _PodList(msgspec.Struct, frozen=True):
    items: tuple[Pod, ...] = ()


_POD_LIST = msgspec.json.Decoder(_PodList)


def _freed(pods: Iterable[Pod]) -> FreedRequests:
    requests = [effective_requests(pod.spec, pod.status) for pod in pods]
    total = sum(requests, Requests())
    return FreedRequests(
        cpu_millis=total.cpu_millis, memory_bytes=total.memory_bytes, pods=len(requests)
    )


def _blame(error: KubeError) -> Reason:
    return Reason.WRITE_DENIED if isinstance(error, (Forbidden, Invalid)) else Reason.WRITE_FAILED


def _nothing_done(error: KubeError) -> FlightResult:
    return FlightResult(ok=False, reason=_blame(error), message=f"nothing was changed: {error}")


def _stopped_by(withheld: Reason) -> FlightResult:
    """The end of a sleep that may not write now."""
    message = {
        Reason.NOT_LEADER: "the Lease does not outlast another write; whoever holds it goes on",
        Reason.OBSERVE_MODE: "the Space is only observed",
    }[withheld]
    return FlightResult(ok=False, reason=withheld, message=message)
