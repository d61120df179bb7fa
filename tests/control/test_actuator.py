"""The actuator: what one Space's requests do to another's."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from metrics.instruments import NullRecorder
from sleeper.control.actuator import Actuator, Look
from sleeper.core.jsonpatch import JsonObject, JsonOp
from sleeper.core.record import Entry, ObjectRef
from sleeper.core.steps import Patch, PatchPurpose, Settled, Step


class HalfDeaf:
    """An API server that never answers for the namespace ``hangs``."""

    request_timeout_seconds = 10.0

    async def get(self, path: str, *, params: Mapping[str, str] | None = None) -> bytes:
        if "/hangs/" in path:
            await asyncio.Event().wait()
        return b'{"metadata": {"generation": 1}}'

    async def json_patch(self, path: str, ops: Sequence[JsonOp]) -> bytes:
        raise AssertionError(path)

    async def merge_patch(self, path: str, body: object) -> bytes:
        raise AssertionError(path)


class Content:
    """Wants nothing of an object."""

    def step(self, live: JsonObject) -> Step:
        return Settled()

    async def amend(self, entry: Entry) -> bool:
        raise AssertionError(entry)

    async def may_send(self, patch: Patch) -> bool:
        raise AssertionError(patch)

    def sent(self, patch: Patch, *, surely_refused: bool) -> None:
        raise AssertionError(patch)

    def can_do_without(self, purpose: PatchPurpose) -> bool:
        raise AssertionError(purpose)


def looks(count: int) -> list[tuple[ObjectRef, Look]]:
    return [
        (ObjectRef(kind="Deployment", name=f"d{number}", uid=f"u{number}"), Content())
        for number in range(count)
    ]


async def test_a_space_whose_requests_hang_does_not_hold_up_another() -> None:
    actuator = Actuator(client=HalfDeaf(), recorder=NullRecorder())
    async with asyncio.TaskGroup() as tasks:
        hanging = tasks.create_task(actuator.drive_all("hangs", looks(100)))
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            results = await actuator.drive_all("answers", looks(100))
        assert [result.left for result in results] == [None] * 100
        hanging.cancel()
