"""The phase of a sleep: on its record, and shown on the namespace."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from sleeper.control.ports import ObjectClient, Records
from sleeper.control.status import rfc3339, write_annotations
from sleeper.core import jsonpatch, names
from sleeper.core.jsonpatch import JsonOp
from sleeper.core.objects import Namespace
from sleeper.core.plan import epoch_of
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.record import SleepRecord
from sleeper.kube.errors import Conflict, NotFound, OutcomeUnknown, TestFailed, Undecodable

_ATTEMPTS: Final = 3

_NAMESPACE: Final = msgspec.json.Decoder(Namespace)


async def read_namespace(client: ObjectClient, name: str) -> Namespace:
    """One namespace, read from storage.

    Raises:
        KubeError: it could not be read.
    """
    path = _path(name)
    body = await client.get(path)
    try:
        return _NAMESPACE.decode(body)
    except msgspec.MsgspecError as error:
        raise Undecodable(f"not a namespace: {error}", path=path) from error


async def record_of(records: Records, space_uid: str) -> SleepRecord | None:
    """The record of a Space, read from storage; the newest, should there be two."""
    found = await records.of(space_uid)
    return max(found, key=lambda record: record.epoch, default=None)


async def move(
    records: Records,
    record: SleepRecord,
    phase: PowerState,
    *,
    sleeping_since: datetime | None = None,
    wake_reason: Reason | None = None,
    wake_started_at: datetime | None = None,
    wary: bool = False,
) -> SleepRecord | None:
    """Bring a record to a phase; None if it is over or has gone another way.

    Any phase can turn to Waking; to Asleep only FallingAsleep, so a wake is never undone.

    Raises:
        KubeError: it could not be written.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        if record.phase is phase:
            return record
        if phase is PowerState.ASLEEP and record.phase is not PowerState.FALLING_ASLEEP:
            return None
        try:
            return await records.set_phase(
                record,
                phase,
                sleeping_since=sleeping_since,
                wake_reason=wake_reason,
                wake_started_at=wake_started_at,
                wary=wary,
            )
        except (TestFailed, Conflict, NotFound, OutcomeUnknown):
            if attempt == _ATTEMPTS:
                raise
        found = await record_of(records, record.space_uid)
        if found is None or found.epoch != record.epoch:
            return None
        record = found
    return None


async def publish(
    client: ObjectClient,
    record: SleepRecord,
    power: PowerState,
    reason: Reason,
    *,
    sleeping_since: datetime | None = None,
) -> None:
    """Show state, reason and epoch on the namespace; the epoch stays when the sleep is over.

    Only the beginning of a sleep brings a new epoch; whatever follows is written only beside its
    own, so that it cannot land in a later sleep. A namespace that is gone is nobody's business.

    Raises:
        KubeError: it could not be written.
    """
    changes = {
        names.POWER_STATE: power.value,
        names.REASON: reason.value,
        names.EPOCH: str(record.epoch),
        names.SLEEPING_SINCE: None if sleeping_since is None else rfc3339(sleeping_since),
    }
    path = _path(record.space_name)
    begins = power is PowerState.FALLING_ASLEEP
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            if begins:
                await write_annotations(client, record.space_name, changes)
            else:
                await client.json_patch(path, _beside(record.epoch, changes))
            return
        except NotFound:
            return
        except TestFailed:
            if epoch_of(await read_namespace(client, record.space_name)) > record.epoch:
                return
            begins = True  # its owner removed our annotations
        except OutcomeUnknown:  # the same values again do no harm
            if attempt == _ATTEMPTS:
                raise


def _beside(epoch: int, changes: Mapping[str, str | None]) -> list[JsonOp]:
    ops = [jsonpatch.test(_annotation(names.EPOCH), str(epoch))]
    for key, value in changes.items():
        ops.append(jsonpatch.add(_annotation(key), value or ""))
        if value is None:  # added first, because only what is there can be removed
            ops.append(jsonpatch.remove(_annotation(key)))
    return ops


def _path(name: str) -> str:
    return f"/api/v1/namespaces/{name}"


def _annotation(key: str) -> str:
    return jsonpatch.pointer("metadata", "annotations", key)
