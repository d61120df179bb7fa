"""The actuator: takes one object to the end of its plan, one patch at a time.

It knows nothing of sleep and wake. It reads the object, asks for the next step, sends it and looks
again; a precondition that failed and a write whose answer was lost both mean: look again. How often
is bounded, so an object that never settles is named and left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

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
    """Drives objects; shared by all flights."""

    def __init__(
        self,
        *,
        client: ObjectClient,
        recorder: Recorder,
        concurrency: int = 8,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._slots = asyncio.Semaphore(concurrency)
        self._pause = pause

    async def read(self, namespace: str, ref: ObjectRef) -> JsonObject | None:
        """One object from storage, or None if it is gone."""
        async with self._slots:
            try:
                return _decode(await self._client.get(KINDS[ref.kind].path(namespace, ref.name)))
            except NotFound:
                return None

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
        path = KINDS[ref.kind].path(namespace, ref.name)
        errand = _Errand(
            client=self._client,
            recorder=self._recorder,
            path=path,
            ref=ref,
            look=look,
            may_go_on=may_go_on,
        )
        async with self._slots:
            for _ in range(MOST_LOOKS):
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
                self._live = _decode(await self._client.get(self._path))
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
        try:
            self._live = _decode(await self._client.json_patch(self._path, patch.ops))
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


def _decode(body: bytes) -> JsonObject:
    live: JsonObject = msgspec.json.decode(body)
    return live
