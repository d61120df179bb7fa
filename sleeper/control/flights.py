"""Flights: at most one sleep or wake of a Space at a time in this process.

Whoever asks for a wake while one is under way waits for that one and gets its result. A wake ends
a sleep flight before its next write. Between processes nothing has to be agreed: every patch has
its preconditions and the record says which way the Space goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from metrics.core.clock import Clock
from metrics.core.refs import SpaceRef
from metrics.instruments import Recorder
from sleeper.control.actuator import Actuator
from sleeper.control.falling_asleep import Sleep
from sleeper.control.flight_result import FlightResult, FlightSettings
from sleeper.control.phases import record_of
from sleeper.control.ports import Events, ObjectClient, Records, SpaceView
from sleeper.control.waking import MUST_COME_BACK, Waking
from sleeper.core.objects import Namespace
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.record import SleepRecord
from sleeper.core.restore import copied_notes, late_notes, owned_in
from sleeper.core.text import some
from sleeper.core.verdict import Verdict
from sleeper.kube.errors import KubeError

log = structlog.get_logger(__name__)


class Flights:
    """Starts, joins and turns back flights. Every method runs in its caller's task."""

    def __init__(
        self,
        *,
        client: ObjectClient,
        records: Records,
        spaces: SpaceView,
        clock: Clock,
        recorder: Recorder,
        events: Events,
        may_write: Callable[[float], bool],
        observes: Callable[[str], bool],
        settings: FlightSettings,
    ) -> None:
        """See the class.

        Args:
            client: reads and patches objects.
            records: the sleep records.
            spaces: the watched objects.
            clock: wall time for records, monotonic time for deadlines.
            recorder: our metrics.
            events: tells the owner how a flight ended.
            may_write: whether the Lease is ours for longer than that many seconds.
            observes: whether a namespace is in mode ``observe``, by name.
            settings: deadlines.
        """
        self._client = client
        self._records = records
        self._spaces = spaces
        self._clock = clock
        self._recorder = recorder
        self._events = events
        self._may_write = may_write
        self._observes = observes
        self._settings = settings
        self._actuator = Actuator(client=client, recorder=recorder)
        self._waking = Waking(
            client=client,
            records=records,
            spaces=spaces,
            actuator=Actuator(client=client, recorder=recorder),  # no sleep holds up a wake
            clock=clock,
            settings=settings,
        )
        self._sleeps: dict[str, tuple[Sleep, asyncio.Event]] = {}
        self._wakes: dict[str, asyncio.Future[FlightResult]] = {}

    def airborne(self, space_uid: str) -> PowerState | None:
        """FALLING_ASLEEP or WAKING while a flight of this process is under way, else None."""
        if space_uid in self._wakes:
            return PowerState.WAKING
        return PowerState.FALLING_ASLEEP if space_uid in self._sleeps else None

    async def sleep(self, space: SpaceRef, verdict: Verdict) -> FlightResult:
        """Put the Space to sleep, or go on with a sleep that is on record."""
        if self.airborne(space.uid) is not None:
            return FlightResult(
                ok=False,
                reason=Reason.BACKING_OFF,
                message="a flight is under way already",
                gave_way=True,
            )
        flight = Sleep(
            space=space,
            client=self._client,
            records=self._records,
            spaces=self._spaces,
            actuator=self._actuator,
            waking=self._waking,
            clock=self._clock,
            settings=self._settings,
            withheld=lambda: self._withheld_from_sleep(space.name),
        )
        landed = asyncio.Event()
        self._sleeps[space.uid] = flight, landed
        began = self._clock.monotonic()
        try:
            result = await flight.fly(verdict)
        finally:
            del self._sleeps[space.uid]
            landed.set()
        await self._report(space.name, "sleep", result, self._clock.monotonic() - began)
        return result

    async def wake(self, space_uid: str, reason: Reason, *, wary: bool = False) -> FlightResult:
        """Bring the Space back; turns back a sleep flight, joins a wake that is under way.

        Args:
            space_uid: uid of the namespace.
            reason: why.
            wary: somebody wrote workloads of which fields may be left on the safe side.
        """
        under_way = self._wakes.get(space_uid)
        if under_way is not None:
            return await asyncio.shield(under_way)
        future = asyncio.get_running_loop().create_future()
        self._wakes[space_uid] = future
        began = self._clock.monotonic()
        try:
            name, result = await self._wake(space_uid, reason, wary=wary)
            future.set_result(result)
        finally:
            del self._wakes[space_uid]
            if not future.done():
                future.cancel()
        await self._report(name, "wake", result, self._clock.monotonic() - began)
        return result

    def has_copies(self, space_name: str) -> bool:
        """Whether a workload carries the note of a sleeping one from which it was made."""
        objects = self._spaces.space(space_name)
        return objects is not None and bool(copied_notes(objects, running=True))

    async def bring_back_copies(self, space_name: str) -> bool:
        """Bring back what was made from sleeping workloads; whether all of it is back."""
        objects = self._spaces.space(space_name)
        if objects is None:
            return True
        space_uid = objects.namespace.metadata.uid
        results = await self._waking.bring_back_copies(space_name, space_uid)
        left = [r.left.message for r in results if r.left and r.left.why in MUST_COME_BACK]
        named = ", ".join(f"{r.ref.kind}/{r.ref.name}" for r in results if r.left is None)
        if named:
            note = f"restored or copied while it slept, and brought back now: {named}"
            await self._tell(objects.namespace, Reason.RESTORED_WHILE_ASLEEP, note)
        if left:
            await self._tell(objects.namespace, Reason.WAKE_INCOMPLETE, "; ".join(left))
        return not left

    async def _tell(self, namespace: Namespace, reason: Reason, note: str) -> None:
        await self._events.record(
            regarding=namespace,
            reason=reason.value,
            note=note,
            action="WakeUp",
            type="Warning" if reason is Reason.WAKE_INCOMPLETE else "Normal",
        )

    def holds_fields(self, space_name: str) -> bool:
        """Whether our field manager seems to hold something of a workload of the namespace."""
        objects = self._spaces.space(space_name)
        return objects is not None and bool(owned_in(objects))

    async def release_fields(self, space_name: str) -> None:
        """Take away the ownership that a dead or halted process left.

        Until then the owner's server-side apply meets a conflict with us.
        """
        objects = self._spaces.space(space_name)
        if objects is not None:
            space_uid = objects.namespace.metadata.uid
            await self._waking.release(space_name, space_uid, owned_in(objects))

    def has_late_writes(self, space_name: str) -> bool:
        """Whether an object of the namespace seems to carry a write of a sleep that is over."""
        objects = self._spaces.space(space_name)
        if objects is None:
            return False
        record = self._records.all().get(objects.namespace.metadata.uid)
        return bool(late_notes(objects, record))

    async def undo_late(self, space_name: str) -> None:
        """Undo writes of sleeps that are over.

        The records are read from storage first: a watched record may be younger than the note
        that it belongs to.
        """
        objects = self._spaces.space(space_name)
        if objects is None:
            return
        try:
            record = await record_of(self._records, objects.namespace.metadata.uid)
            late = late_notes(objects, record)
        except KubeError:
            return  # the note stays and is found again
        if not late:
            return
        undone = []
        space_uid = objects.namespace.metadata.uid
        results, kept = await self._waking.undo_notes(space_name, space_uid, late)
        for result in results:
            if result.left is None:
                undone.append(f"{result.ref.kind}/{result.ref.name}")
            else:
                log.warning("late_write_left", space=space_name, detail=result.left.message)
        if not undone:
            return
        said = f"a write of a sleep that is over was found and undone: {some(undone)}"
        await self._events.record(
            regarding=objects.namespace,
            reason=Reason.LATE_WRITE.value,
            note=some((said, *kept), "; "),
            action="UndoLateWrite",
            type="Warning",
        )

    def _withheld_from_sleep(self, space_name: str) -> Reason | None:
        """Why no sleep may write to the Space now; asked before each of its writes."""
        if self._observes(space_name):
            return Reason.OBSERVE_MODE
        if not self._may_write(self._client.request_timeout_seconds):
            return Reason.NOT_LEADER
        return None

    async def _wake(
        self, space_uid: str, reason: Reason, *, wary: bool
    ) -> tuple[str, FlightResult]:
        while (flying := self._sleeps.get(space_uid)) is not None:
            flight, landed = flying
            flight.turn_back(reason)
            await landed.wait()
        watched = self._records.all().get(space_uid)
        name = "" if watched is None else watched.space_name
        try:
            record = await self._record_or(watched, space_uid)
            if record is None:
                await self.undo_late(name)
                return name, FlightResult(ok=True, reason=reason, message="it is awake already")
            name = record.space_name
            return name, await self._waking.bring_back(record, reason, wary=wary)
        except KubeError as error:
            return name, FlightResult(
                ok=False, reason=Reason.WAKE_INCOMPLETE, message=f"it will be tried again: {error}"
            )

    async def _record_or(self, watched: SleepRecord | None, space_uid: str) -> SleepRecord | None:
        """The record as it is stored; where that cannot be read, as it was when last heard of."""
        try:
            return await record_of(self._records, space_uid)
        except KubeError as error:
            if watched is None:
                raise
            log.warning("record_not_read", space=watched.space_name, error=str(error))
            return watched

    async def _report(self, name: str, kind: str, result: FlightResult, seconds: float) -> None:
        self._recorder.transition(kind, "ok" if result.ok else result.reason.value, seconds)
        objects = self._spaces.space(name)
        if objects is None:
            return
        done = {"sleep": "Asleep", "wake": "Awake"}[kind]
        await self._events.record(
            regarding=objects.namespace,
            reason=done if result.ok else result.reason.value,
            # Elsewhere the Event's own reason says it already.
            note=f"{result.reason.value}: {result.message}" if result.ok else result.message,
            action="FallAsleep" if kind == "sleep" else "WakeUp",
            type="Normal" if result.ok or result.gave_way else "Warning",
        )
