"""Sleep records: nothing is lost on the wire, damage is said, own writes show at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.record import Entry, FreedRequests, ObjectRef, SleepRecord
from sleeper.kube.record_cache import RecordCache, assemble
from sleeper.kube.record_wire import (
    ENTRIES_PER_CHUNK,
    WireRecord,
    to_objects,
    to_record,
)

T0 = datetime(2026, 11, 21, 5, 0, 0, 123456, tzinfo=UTC)


def record(*, entries: int = 2, epoch: int = 3, space: str = "space-uid") -> SleepRecord:
    return SleepRecord(
        space_uid=space,
        space_name="a",
        tenant="t",
        epoch=epoch,
        phase=PowerState.FALLING_ASLEEP,
        reason=Reason.IDLE,
        horizon=T0 - timedelta(minutes=5),
        decided_at=T0,
        entries=tuple(
            Entry(
                ref=ObjectRef(kind="Deployment", name=f"d{number}", uid=f"u{number}"),
                fields={"/spec/replicas": number},
            )
            for number in range(entries)
        ),
        freed=FreedRequests(cpu_millis=1500, memory_bytes=2**40, pods=7),
    )


def stored(value: SleepRecord, *, version: int = 1, generation: str = "") -> list[WireRecord]:
    """The record's chunks as the API server would give them back."""
    chunks = []
    for body in to_objects(value):
        wire = msgspec.json.decode(msgspec.json.encode(body), type=WireRecord)
        meta = msgspec.structs.replace(
            wire.metadata,
            uid=f"{wire.metadata.name}{generation}",
            resource_version=str(version),
        )
        chunks.append(msgspec.structs.replace(wire, metadata=meta))
    return chunks


INSTANTS = st.timedeltas(timedelta(days=-9000), timedelta(days=9000)).map(lambda delta: T0 + delta)
VALUES = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text(max_size=20)
ENTRIES = st.builds(
    Entry,
    ref=st.builds(ObjectRef, kind=st.text(max_size=9), name=st.text(max_size=9), uid=st.text()),
    fields=st.dictionaries(st.text(max_size=20), VALUES, max_size=3),
    wave=st.integers(-9, 9),
    was_ready=st.none() | st.integers(0, 9),
)
RECORDS = st.builds(
    SleepRecord,
    space_uid=st.text(max_size=9),
    space_name=st.text(max_size=9),
    tenant=st.text(max_size=9),
    epoch=st.integers(1, 2**53),
    phase=st.sampled_from([PowerState.FALLING_ASLEEP, PowerState.ASLEEP, PowerState.WAKING]),
    reason=st.sampled_from(Reason),
    horizon=INSTANTS,
    decided_at=INSTANTS,
    entries=st.lists(ENTRIES, max_size=3).map(tuple),
    freed=st.builds(
        FreedRequests,
        cpu_millis=st.integers(0, 2**53),
        memory_bytes=st.integers(0, 2**60),
        pods=st.integers(0, 10**6),
    ),
    sleeping_since=st.none() | INSTANTS,
    wake_reason=st.none() | st.sampled_from(Reason),
    wake_started_at=st.none() | INSTANTS,
    wary=st.booleans(),
    complete=st.just(True),
)


@given(RECORDS)
@settings(max_examples=100)
def test_a_record_comes_back_from_the_wire_as_it_was(value: SleepRecord) -> None:
    assert to_record(stored(value)) == value


@pytest.mark.parametrize("entries", [0, 1, ENTRIES_PER_CHUNK, ENTRIES_PER_CHUNK + 1, 1700])
def test_a_long_record_is_split_and_put_together_again(entries: int) -> None:
    value = record(entries=entries)
    chunks = stored(value)
    assert len(chunks) == max(1, -(-entries // ENTRIES_PER_CHUNK))
    assert to_record(reversed(chunks)) == value


def test_a_chunk_of_the_longest_names_stays_below_the_limit_of_an_object() -> None:
    value = record(entries=ENTRIES_PER_CHUNK)
    longest = tuple(
        Entry(
            ref=ObjectRef(kind="StatefulSet", name="n" * 253, uid="u" * 36),
            fields={
                "/spec/replicas": 2**31 - 1,
                "/spec/persistentVolumeClaimRetentionPolicy/whenScaled": "Delete",
            },
        )
        for _ in value.entries
    )
    (body,) = to_objects(replace(value, entries=longest))
    assert len(msgspec.json.encode(body)) < 500 * 1024


def test_without_a_chunk_a_record_is_incomplete_and_keeps_its_phase() -> None:
    head, *_others = stored(record(entries=1200))
    left = to_record([head])
    assert not left.complete
    assert left.phase is PowerState.FALLING_ASLEEP
    assert len(left.entries) == ENTRIES_PER_CHUNK


def test_without_its_head_a_record_is_good_for_waking_only() -> None:
    _head, *others = stored(record(entries=1200))
    left = to_record(others)
    assert not left.complete
    assert left.phase is PowerState.WAKING
    assert left.space_uid == "space-uid"
    assert len(left.entries) == 700


def test_a_record_that_somebody_edited_beyond_reading_is_named_and_no_record() -> None:
    (head,) = stored(record())
    broken = msgspec.structs.replace(
        head, spec=msgspec.structs.replace(head.spec, reason="Because")
    )
    records, unreadable = assemble([broken])
    assert records == []
    assert unreadable == (head.metadata.name,)


def test_the_newest_epoch_of_a_space_counts_and_older_ones_are_superseded() -> None:
    cache = RecordCache()
    told: list[str] = []
    cache.subscribe(told.append)
    for epoch in (4, 3, 5):
        cache.put(stored(record(epoch=epoch))[0], T0)
    assert cache.newest["space-uid"].epoch == 5
    assert [old.epoch for old in cache.superseded] == [3, 4]
    assert told == ["space-uid"] * 3


def test_an_own_write_shows_at_once_and_the_watch_cannot_take_it_back() -> None:
    cache = RecordCache()

    def phase() -> PowerState:
        return cache.newest["space-uid"].phase

    before = record()
    asleep = replace(before, phase=PowerState.ASLEEP, sleeping_since=T0)
    cache.learn(stored(before, version=10)[0])
    cache.learn(stored(asleep, version=12)[0])
    cache.put(stored(before, version=10)[0], T0)
    assert phase() is PowerState.ASLEEP
    cache.put(stored(replace(before, phase=PowerState.WAKING), version=13)[0], T0)
    assert phase() is PowerState.WAKING


def test_a_record_that_we_deleted_does_not_come_back_with_old_news() -> None:
    cache = RecordCache()
    head = stored(record(), version=10)[0]
    cache.learn(head)
    cache.bury(head)
    cache.put(stored(record(), version=11)[0], T0)
    assert not cache.newest
    cache.discard(stored(record(), version=12)[0], T0)
    cache.put(stored(record(), version=13, generation="-again")[0], T0)
    assert cache.newest["space-uid"].epoch == 3


def test_a_new_list_drops_what_is_no_longer_there() -> None:
    cache = RecordCache()
    cache.replace([*stored(record(space="x")), *stored(record(space="y"))], T0)
    assert set(cache.newest) == {"x", "y"}
    cache.replace(stored(record(space="y")), T0)
    assert set(cache.newest) == {"y"}
