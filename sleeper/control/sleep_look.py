"""What a sleep does with one object, and what it remembers of the patches that it sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sleeper.core.jsonpatch import JsonObject
from sleeper.core.plan import sleep_step
from sleeper.core.record import Entry
from sleeper.core.steps import Patch, PatchPurpose, Step


class Attempts:
    """For which objects a sleep patch of this epoch has been sent, or may have been.

    Args:
        resumed: the record was found, so another process may have sent any number of them.
    """

    def __init__(self, *, resumed: bool) -> None:
        self._resumed = resumed
        self._sent: set[str] = set()

    def surely_none(self, uid: str) -> bool:
        """Whether no sleep patch can have reached the object, or still may."""
        return not self._resumed and uid not in self._sent

    def begin(self, uid: str) -> None:
        """A sleep patch is about to be sent."""
        self._sent.add(uid)

    def forget(self, uid: str) -> None:
        """The only sleep patch that was ever sent had and will have no effect."""
        self._sent.discard(uid)


class SleepLook:
    """Puts one object to sleep; see :class:`sleeper.control.actuator.Look`."""

    def __init__(
        self,
        *,
        entry: Entry,
        space_uid: str,
        epoch: int,
        attempts: Attempts,
        amend: Callable[[Entry], Awaitable[bool]],
    ) -> None:
        self._entry = entry
        self._space_uid = space_uid
        self._epoch = epoch
        self._attempts = attempts
        self._amend = amend
        self._an_earlier_one_may_land = not attempts.surely_none(entry.ref.uid)

    def step(self, live: JsonObject) -> Step:
        """The next step for the object as it is now."""
        uid = self._entry.ref.uid
        step = sleep_step(
            live,
            entry=self._entry,
            space_uid=self._space_uid,
            epoch=self._epoch,
            untouched=self._attempts.surely_none(uid),
        )
        if isinstance(step, Patch) and step.purpose is PatchPurpose.SLEEP:
            self._attempts.begin(uid)
        return step

    async def amend(self, entry: Entry) -> bool:
        """Bring the record's entry up to date before the object is patched."""
        if not await self._amend(entry):
            return False
        self._entry = entry
        return True

    async def may_send(self, patch: Patch) -> bool:
        """Whether a sleep goes on is asked before every write anyway."""
        return True

    def sent(self, patch: Patch, *, surely_refused: bool) -> None:
        """Remember whether a sleep patch may have landed or may still land."""
        if patch.purpose is not PatchPurpose.SLEEP:
            return
        if not surely_refused:
            self._an_earlier_one_may_land = True
        elif not self._an_earlier_one_may_land:
            self._attempts.forget(self._entry.ref.uid)

    def can_do_without(self, purpose: PatchPurpose) -> bool:
        """A denied write ends the sleep."""
        return False
