"""The actuator: takes one object to the end of its plan, one patch at a time.

It knows nothing of sleep and wake. It reads the object, asks for the next step, sends it and looks
again; a precondition that failed and a write whose answer was lost both mean: look again. How often
is bounded, so an object that never settles is named and left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from metrics.instruments import Recorder
from sleeper.control.ports import ObjectClient
from sleeper.core.jsonpatch import JsonObject
from sleeper.core.record import Entry, ObjectRef
from sleeper.core.steps import Amend, Left, Patch, PatchPurpose, Settled, Step, WhyLeft
from sleeper.core.workloads import KINDS
from sleeper.kube.errors import (
    Conflict,
    Forbidden,
    Invalid,
    KubeError,
    NotFound,
    OutcomeUnknown,
    TestFailed,
    Undecodable,
)

MOST_LOOKS: Final = 12
"""Looks that one object may cost; a plan without setbacks needs four."""

MOST_SETBACKS: Final = 5
"""Failed preconditions, lost answers and failures of the server among them."""

_LONGEST_PAUSE_SECONDS: Final = 2.0


class Look(Protocol):
    """What a flight does with one object; one instance per object and flight."""

    def step(self, live: JsonObject) -> Step:
        """The next step for the object as it is now."""
        ...

    async def amend(self, entry: Entry) -> bool:
        """Bring the record's entry up to date first; False if the record has moved on."""
        ...

    async def may_send(self, patch: Patch) -> bool:
        """Asked before each patch is sent; False: what it assumes is over, so stop here."""
        ...

    def sent(self, patch: Patch, *, surely_refused: bool) -> None:
        """A patch was sent; ``surely_refused`` if it certainly had and will have no effect."""
        ...

    def can_do_without(self, purpose: PatchPurpose) -> bool:
        """Whether to go on although a patch for this purpose was denied."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one object ended.

    Attributes:
        ref: which object.
        left: why it is not where the plan wanted it, or None.
        generation: its generation when it was last seen.
    """

    ref: ObjectRef
    left: Left | None
    generation: int


class Actuator:
    """Drives objects; shared by all flights of one direction.

    Requests at a time are limited twice: over all flights, and for each of them, so that a Space
    whose requests hang (an admission webhook that is down) does not hold up the others.
    """

    def __init__(
        self,
        *,
        client: ObjectClient,
        recorder: Recorder,
        concurrency: int = 32,
        concurrency_per_flight: int = 8,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._slots = asyncio.Semaphore(concurrency)
        self._per_flight = concurrency_per_flight
        self._pause = pause

    async def read_all(
        self, namespace: str, refs: Iterable[ObjectRef]
    ) -> tuple[JsonObject | None, ...]:
        """Several objects of one namespace from storage; None in place of one that is gone.

        Raises:
            KubeError: one could not be read.
        """
        mine = asyncio.Semaphore(self._per_flight)

        async def read(ref: ObjectRef) -> JsonObject | None:
            async with mine:
                return await self.read(namespace, ref)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(read(ref)) for ref in refs]
        except ExceptionGroup as failed:
            first = failed.exceptions[0]
            if not isinstance(first, KubeError):
                raise
            raise first from failed
        return tuple(task.result() for task in tasks)

    async def read(self, namespace: str, ref: ObjectRef) -> JsonObject | None:
        """One object from storage, or None if it is gone."""
        path = KINDS[ref.kind].path(namespace, ref.name)
        async with self._slots:
            try:
                return _decode(await self._client.get(path), path)
            except NotFound:
                return None

    async def drive_all(
        self,
        namespace: str,
        looks: Iterable[tuple[ObjectRef, Look]],
        *,
        may_go_on: Callable[[], bool] = lambda: True,
    ) -> tuple[Result, ...]:
        """Take several objects of one namespace to the end of their plans, side by side."""
        mine = asyncio.Semaphore(self._per_flight)

        async def drive(ref: ObjectRef, look: Look) -> Result:
            async with mine:
                return await self.drive(namespace, ref, look, may_go_on=may_go_on)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(drive(ref, look)) for ref, look in looks]
        return tuple(task.result() for task in tasks)

    async def drive(
        self,
        namespace: str,
        ref: ObjectRef,
        look: Look,
        *,
        may_go_on: Callable[[], bool] = lambda: True,
    ) -> Result:
        """Take one object to the end of its plan.

        Args:
            namespace: name of its namespace.
            ref: the object.
            look: what to do with it.
            may_go_on: asked before every write; False stops here.
        """
        if ref.kind not in KINDS:  # on the record of a later version
            why = f"{ref.kind}/{ref.name} was left: this version does not know its kind"
            return Result(ref=ref, left=Left(why=WhyLeft.UNSETTLED, message=why), generation=0)
        path = KINDS[ref.kind].path(namespace, ref.name)
        errand = _Errand(
            client=self._client,
            recorder=self._recorder,
            path=path,
            ref=ref,
            look=look,
            may_go_on=may_go_on,
        )
        for _ in range(MOST_LOOKS):
            async with self._slots:
                result = await errand.advance()
            if result is not None:
                return result
            await self._pause(errand.pause_seconds)
        return errand.left(WhyLeft.UNSETTLED, "did not settle: it kept changing")


class _Errand:
    """One object on its way to the end of its plan."""

    def __init__(
        self,
        *,
        client: ObjectClient,
        recorder: Recorder,
        path: str,
        ref: ObjectRef,
        look: Look,
        may_go_on: Callable[[], bool],
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._path = path
        self._ref = ref
        self._look = look
        self._may_go_on = may_go_on
        self._live: JsonObject | None = None
        self._generation = 0
        self._setbacks = 0
        self.pause_seconds = 0.0

    async def advance(self) -> Result | None:
        """Look at the object and take one step; None if another look is due."""
        self.pause_seconds = 0.0
        try:
            if self._live is None:
                self._live = _decode(await self._client.get(self._path), self._path)
            self._generation = self._live["metadata"]["generation"]
            step = self._look.step(self._live)
            if isinstance(step, Settled | Left):
                return self._result(step if isinstance(step, Left) else None)
            if not self._may_go_on():
                return self.left(WhyLeft.STOPPED, "was left because the flight ended")
            return await (self._send(step) if isinstance(step, Patch) else self._amend(step))
        except NotFound:
            return self.left(WhyLeft.GONE, "was deleted by its owner")
        except KubeError as error:
            return self._set_back(error)

    def left(self, why: WhyLeft, message: str) -> Result:
        """The result of an object that is left as it is."""
        return self._result(Left(why=why, message=f"{self._ref.kind}/{self._ref.name} {message}"))

    def _result(self, left: Left | None) -> Result:
        return Result(ref=self._ref, left=left, generation=self._generation)

    async def _amend(self, step: Amend) -> Result | None:
        if not await self._look.amend(step.entry):
            return self.left(WhyLeft.STOPPED, "was left because its record moved on")
        return None

    async def _send(self, patch: Patch) -> Result | None:
        kind, purpose = self._ref.kind, patch.purpose
        if not await self._look.may_send(patch):
            return self.left(WhyLeft.STOPPED, "was left because its record moved on")
        try:
            body = await self._client.json_patch(self._path, patch.ops)
        except KubeError as error:
            self._look.sent(patch, surely_refused=not isinstance(error, OutcomeUnknown))
            self._recorder.write(kind, purpose.value, type(error).__name__)
            if not isinstance(error, Forbidden | Invalid):
                raise
            if self._look.can_do_without(purpose):
                return None
            return self.left(WhyLeft.DENIED, f"was left: {_who_denied(error)}: {error.message}")
        self._look.sent(patch, surely_refused=False)
        self._recorder.write(kind, purpose.value, "ok")
        self._live = _decode(body, self._path)
        return None

    def _set_back(self, error: KubeError) -> Result | None:
        self._live = None
        self._setbacks += 1
        if self._setbacks > MOST_SETBACKS:
            return self.left(WhyLeft.UNSETTLED, f"did not settle: {error}")
        if not isinstance(error, TestFailed | Conflict):
            self.pause_seconds = min(0.1 * 2**self._setbacks, _LONGEST_PAUSE_SECONDS)
        return None


def _who_denied(error: Forbidden | Invalid) -> str:
    if isinstance(error, Invalid):
        return "the server refused the write as invalid"
    return "admission denied the write" if error.admission else "RBAC denied the write"


def _decode(body: bytes, path: str) -> JsonObject:
    """The object in an answer.

    Raises:
        Undecodable: it is none; something between us and the API server may have answered.
    """
    try:
        live: JsonObject = msgspec.json.decode(body, type=dict[str, Any])
        generation = live["metadata"]["generation"]
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise Undecodable(f"not an object: {error}", path=path) from error
    if not isinstance(generation, int):
        raise Undecodable("an object without a generation", path=path)
    return live
