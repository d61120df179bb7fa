"""The janitor: what is thrown away, and on whose word."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec
import pytest

from sleeper.control.janitor import Janitor
from sleeper.core.names import RESTORE
from sleeper.core.notes import RestoreNote, encode_note
from sleeper.core.objects import Namespace, SpaceObjects
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.record import FreedRequests, SleepRecord
from sleeper.kube.errors import NotFound, Unavailable
from tests.control.deck import NOW, SPACE, model, workload
from tests.support.modelapi import ModelApi

RECORD = SleepRecord(
    space_uid=SPACE.uid,
    space_name=SPACE.name,
    tenant=SPACE.tenant,
    epoch=2,
    phase=PowerState.ASLEEP,
    reason=Reason.IDLE,
    horizon=NOW,
    decided_at=NOW,
    entries=(),
    freed=FreedRequests(cpu_millis=0, memory_bytes=0, pods=0),
)


@dataclass
class Shelf:
    """The records, in memory."""

    newest: SleepRecord | None = RECORD
    older: tuple[SleepRecord, ...] = ()
    stored: tuple[SleepRecord, ...] = (RECORD,)
    deleted: list[int] = field(default_factory=list)

    def all(self) -> Mapping[str, SleepRecord]:
        return {} if self.newest is None else {self.newest.space_uid: self.newest}

    def superseded(self) -> tuple[SleepRecord, ...]:
        return self.older

    async def of(self, _space_uid: str) -> Sequence[SleepRecord]:
        return self.stored

    async def delete(self, record: SleepRecord) -> None:
        self.deleted.append(record.epoch)


@dataclass
class Watched:
    """A namespace watch that knows of none, or of ours."""

    known: Namespace | None = None
    synced: bool = True
    elsewhere: tuple[SpaceObjects, ...] = ()

    def by_uid(self, _uid: str) -> Namespace | None:
        return self.known

    def namespaces(self) -> Iterable[Namespace]:
        return [objects.namespace for objects in self.elsewhere]

    def space(self, name: str) -> SpaceObjects | None:
        found = (o for o in self.elsewhere if o.namespace.metadata.name == name)
        return next(found, None)


def janitor(api: ModelApi, shelf: Shelf, watched: Watched, *, leading: bool = True) -> Janitor:
    return Janitor(client=api, records=shelf, namespaces=watched, leading=lambda: leading)


def answering(error: Exception) -> ModelApi:
    api = model()

    async def get(_path: str, **_: object) -> bytes:
        raise error

    api.get = get  # type: ignore[assignment,method-assign]
    return api


async def test_the_record_of_a_namespace_that_is_gone_is_deleted() -> None:
    shelf = Shelf()
    await janitor(answering(NotFound("gone", status=404)), shelf, Watched()).clear()
    assert shelf.deleted == [2]


async def test_the_record_of_a_namespace_made_again_under_its_name_is_deleted() -> None:
    api, shelf = model(), Shelf()
    api.namespace["metadata"]["uid"] = "another"
    await janitor(api, shelf, Watched()).clear()
    assert shelf.deleted == [2]


async def test_no_record_is_deleted_on_the_word_of_the_watch_alone() -> None:
    shelf = Shelf()
    await janitor(model(), shelf, Watched()).clear()
    await janitor(answering(Unavailable("down", status=503)), shelf, Watched()).clear()
    assert shelf.deleted == []


async def test_a_record_that_a_late_write_created_beside_a_newer_one_is_deleted() -> None:
    shelf = Shelf(older=(replace(RECORD, epoch=1),))
    api = model()
    known = msgspec.convert(api.namespace, Namespace)
    await janitor(api, shelf, Watched(known=known)).clear()
    assert shelf.deleted == [1]


async def test_no_record_is_deleted_beside_a_newer_one_that_only_a_late_watch_still_shows() -> None:
    """Its Space lost the epoch on its namespace, was slept anew and counts from the beginning."""
    present = replace(RECORD, epoch=1)
    shelf = Shelf(older=(present,), stored=(present,))
    api = model()
    known = msgspec.convert(api.namespace, Namespace)
    await janitor(api, shelf, Watched(known=known)).clear()
    assert shelf.deleted == []


@pytest.mark.parametrize(("leading", "synced"), [(False, True), (True, False)])
async def test_only_the_leader_clears_and_only_with_the_whole_inventory(
    leading: bool, synced: bool
) -> None:
    shelf = Shelf()
    gone = answering(NotFound("gone", status=404))
    await janitor(gone, shelf, Watched(synced=synced), leading=leading).clear()
    assert shelf.deleted == []


def holding(note_space_uid: str, *, replicas: int = 0) -> SpaceObjects:
    """A namespace with a workload made from a sleeping one of a Space of that uid."""
    copy = ModelApi(
        namespace={"metadata": {"name": "restored", "uid": "another", "labels": {}}},
    )
    live = copy.create(workload("Deployment", "web", replicas))
    note = RestoreNote(
        space_uid=note_space_uid, epoch=2, uid="the-original", fields={"/spec/replicas": 2}
    )
    live["metadata"]["annotations"] = {RESTORE: encode_note(note)}
    found = copy.space("restored")
    assert found is not None
    return found


@pytest.mark.fault(2)
@pytest.mark.parametrize(
    ("elsewhere", "deleted"),
    [
        (holding(SPACE.uid), []),
        (holding(SPACE.uid, replicas=2), [2]),
        (holding("a third Space"), [2]),
    ],
)
async def test_the_record_of_a_namespace_that_is_gone_is_kept_while_a_copy_stays_at_zero(
    elsewhere: SpaceObjects, deleted: list[int]
) -> None:
    shelf = Shelf()
    gone = answering(NotFound("gone", status=404))
    await janitor(gone, shelf, Watched(elsewhere=(elsewhere,))).clear()
    assert shelf.deleted == deleted
