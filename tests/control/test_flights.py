"""Sleep and wake against the model API server: the plain way, and the owner's hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from metrics.instruments import NullRecorder
from sleeper.control.flight_result import FlightResult, FlightSettings
from sleeper.control.flights import Flights
from sleeper.core.names import EPOCH, EXCLUDE, POWER_STATE, RESTORE, WAVE
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.record import Entry, ObjectRef, SleepRecord
from sleeper.kube.errors import Forbidden, Unavailable
from tests.control.deck import (
    IDLE,
    SLEEP_WRITES,
    SPACE,
    FixedClock,
    HeardEvents,
    Killed,
    after_effect,
    essence,
    flights,
    mixed_space,
    model,
    replicas,
    settle,
    sleep_once,
    strike,
    until_dead,
    workload,
)
from tests.support.modelapi import Json, ModelApi, ModelRecords


def stored(api: ModelApi) -> SleepRecord:
    """The one record."""
    (record,) = api.stored.values()
    return record


async def test_a_sleep_stops_every_pod_and_a_wake_leaves_no_trace() -> None:
    api = mixed_space()
    before = essence(api)

    slept = await flights(api).sleep(SPACE, IDLE)

    assert slept.ok, slept
    assert set(replicas(api).values()) == {0}
    database = api.objects["StatefulSet", "db"]["spec"]
    assert database["persistentVolumeClaimRetentionPolicy"]["whenScaled"] == "Retain"
    assert RESTORE not in api.objects["Deployment", "off"]["metadata"].get("annotations", {})
    record = stored(api)
    assert record.phase is PowerState.ASLEEP
    assert {entry.ref.name for entry in record.entries} == {"web", "db"}
    assert (record.freed.pods, record.freed.cpu_millis) == (6, 600)

    woken = await flights(api).wake(SPACE.uid, Reason.TOUCHED)

    assert woken.ok, woken
    assert essence(api) == before
    assert api.stored == {}
    annotations = api.namespace["metadata"]["annotations"]
    assert annotations[POWER_STATE] == "Awake"
    assert annotations[EPOCH] == str(record.epoch)


async def test_nobody_holds_the_turned_fields_while_the_space_sleeps() -> None:
    api = mixed_space()

    await flights(api).sleep(SPACE, IDLE)

    for live in (api.objects["Deployment", "web"], api.objects["StatefulSet", "db"]):
        for entry in live["metadata"]["managedFields"]:
            assert entry["manager"] != "sleeper"
            assert "f:replicas" not in entry["fieldsV1"].get("f:spec", {})


async def test_each_sleep_has_an_epoch_of_its_own_though_the_clock_stands() -> None:
    api = mixed_space()
    epochs: list[int] = []
    for _ in range(3):
        await flights(api).sleep(SPACE, IDLE)
        epochs += api.stored
        await flights(api).wake(SPACE.uid, Reason.TOUCHED)
    assert epochs == sorted(set(epochs))
    assert len(epochs) == 3


async def test_objects_stop_in_reverse_start_order_and_start_in_order() -> None:
    api = model()
    for name, wave in (("first", "-1"), ("second", "0"), ("third", "5")):
        live = api.create(workload("Deployment", name))
        live["metadata"]["annotations"] = {"sleeper.dev/wave": wave}

    await flights(api).sleep(SPACE, IDLE)
    stopped = list(dict.fromkeys(w for w in api.writes if w.startswith("patch")))
    api.writes.clear()
    await flights(api).wake(SPACE.uid, Reason.TOUCHED)
    started = list(dict.fromkeys(w for w in api.writes if w.startswith("patch")))

    order = ["patch deployments/first", "patch deployments/second", "patch deployments/third"]
    assert started == order
    assert stopped == order[::-1]


def deny(name: str, *, times: int = 1000) -> Callable[[str, Callable[[], Any]], Any]:
    left = iter(range(times))

    def fault(write_name: str, write: Callable[[], Any]) -> Any:
        if write_name == name and next(left, None) is not None:
            raise Forbidden('admission webhook "no.example" denied the request', status=403)
        return write()

    return fault


@pytest.mark.parametrize("name", ["patch deployments/web", "patch statefulsets/db"])
async def test_a_denied_write_of_a_sleep_restores_the_whole_space_and_names_the_object(
    name: str,
) -> None:
    api = mixed_space()
    before = essence(api)
    api.fault = deny(name)

    result = await flights(api).sleep(SPACE, IDLE)

    assert not result.ok
    assert result.reason is Reason.WRITE_DENIED
    assert name.rsplit("/", 1)[1] in result.message
    assert "admission denied" in result.message
    assert essence(api) == before
    assert api.stored == {}


async def test_a_denied_write_of_a_wake_brings_back_the_rest_and_is_tried_again() -> None:
    api = mixed_space()
    before = essence(api)
    await sleep_once(api)
    api.fault = deny("patch deployments/web")
    deck = flights(api)

    result = await deck.wake(SPACE.uid, Reason.TOUCHED)

    assert not result.ok
    assert result.reason is Reason.WAKE_INCOMPLETE
    assert replicas(api) == {"web": 0, "off": 0, "db": 2}
    assert stored(api).phase is PowerState.WAKING
    settled = len(api.writes)
    await deck.wake(SPACE.uid, Reason.TOUCHED)
    again = api.writes[settled:]
    assert "patch statefulsets/db" not in again, "what is back is left alone"

    api.fault = lambda _name, write: write()
    assert (await deck.wake(SPACE.uid, Reason.TOUCHED)).ok
    assert essence(api) == before


def forbid_records(name: str, write: Callable[[], Any]) -> Any:
    if "record" in name and not name.startswith("create"):
        raise Forbidden('User "sleeper" cannot patch resource "sleeprecords"', status=403)
    return write()


async def test_a_wake_brings_everything_back_although_its_record_cannot_be_written() -> None:
    api = mixed_space()
    before = essence(api)
    await sleep_once(api)
    api.fault = forbid_records
    deck = flights(api)

    result = await deck.wake(SPACE.uid, Reason.TOUCHED)

    assert result.reason is Reason.WAKE_INCOMPLETE
    assert "could not be written" in result.message
    assert essence(api) == before
    api.fault = lambda _name, write: write()
    assert (await deck.wake(SPACE.uid, Reason.TOUCHED)).ok
    assert essence(api) == before
    assert api.stored == {}


async def test_a_sleep_whose_record_cannot_be_written_is_undone_and_not_gone_on_with() -> None:
    api = mixed_space()
    before = essence(api)
    api.fault = forbid_records
    assert (await flights(api).sleep(SPACE, IDLE)).reason is Reason.WRITE_DENIED
    assert essence(api) == before
    seen: set[int] = set()

    def watch_web(name: str, write: Callable[[], Any]) -> Any:
        try:
            return forbid_records(name, write)
        finally:
            seen.add(replicas(api)["web"])

    api.fault = watch_web
    assert (await flights(api).sleep(SPACE, IDLE)).reason is Reason.LATE_WRITE

    assert seen == {4}
    assert essence(api) == before


async def test_a_sleep_that_cannot_read_the_objects_ends_with_nothing_changed() -> None:
    api = mixed_space()
    before = essence(api)

    async def unavailable(_path: str, **_: object) -> bytes:
        raise Unavailable("etcdserver: no leader", status=500)

    api.get = unavailable  # type: ignore[assignment,method-assign]

    result = await flights(api).sleep(SPACE, IDLE)

    assert result.reason is Reason.WRITE_FAILED
    assert "nothing was changed" in result.message
    assert (essence(api), api.stored) == (before, {})


async def test_a_wake_brings_back_what_it_knows_and_keeps_the_record_of_what_it_does_not() -> None:
    api = mixed_space()
    before = essence(api)
    await sleep_once(api)
    newer = Entry(ref=ObjectRef(kind="CronJob", name="nightly", uid="u"), fields={"/spec": False})
    record = stored(api)
    api.stored[record.epoch] = replace(record, entries=(newer, *record.entries))

    result = await flights(api).wake(SPACE.uid, Reason.TOUCHED)

    assert result.reason is Reason.WAKE_INCOMPLETE
    assert "CronJob/nightly" in result.message
    assert essence(api) == before
    assert newer in stored(api).entries


async def test_a_wake_needs_no_list_of_records_where_it_has_heard_of_the_record() -> None:
    api = mixed_space()
    before = essence(api)
    await sleep_once(api)

    async def unavailable(_self: ModelRecords, _space_uid: str) -> Any:
        raise Unavailable("etcdserver: no leader", status=500)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ModelRecords, "of", unavailable)
        assert (await flights(api).wake(SPACE.uid, Reason.TOUCHED)).ok
    assert essence(api) == before


async def test_a_wake_whose_record_is_gone_goes_by_the_annotations() -> None:
    api = mixed_space()
    before = essence(api)
    await sleep_once(api)

    async def nothing(_self: ModelRecords, _space_uid: str) -> Any:
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ModelRecords, "of", nothing)
        await flights(api).wake(SPACE.uid, Reason.TOUCHED)
    assert essence(api) == before


async def test_an_answer_that_is_no_object_is_one_more_setback() -> None:
    api = mixed_space()
    before = essence(api)
    answers = iter([b"<html>proxy</html>", b'{"metadata": {}}', b"[]"])
    sound_get, sound_patch = api.get, api.json_patch

    async def get(path: str, **options: Any) -> bytes:
        return next(answers, None) or await sound_get(path, **options)

    async def json_patch(path: str, ops: Any) -> bytes:
        body = await sound_patch(path, ops)
        return body if "namespaces/team-a/" not in path else next(answers, None) or body

    await sleep_once(api)
    api.get, api.json_patch = get, json_patch  # type: ignore[method-assign]
    assert (await flights(api).wake(SPACE.uid, Reason.TOUCHED)).ok
    assert essence(api) == before


async def test_a_patch_whose_answer_is_no_object_may_have_taken_effect() -> None:
    api = mixed_space()
    sound = api.json_patch
    spoiled: list[str] = []

    async def json_patch(path: str, ops: Any) -> bytes:
        body = await sound(path, ops)
        if path.endswith("/db") and len(spoiled) < 20:
            spoiled.append(path)
            return b"<html>proxy</html>"
        return body

    before = essence(api)
    api.json_patch = json_patch  # type: ignore[method-assign]
    await flights(api).sleep(SPACE, IDLE)
    api.json_patch = sound  # type: ignore[method-assign]
    await settle(api, want=PowerState.ASLEEP)
    await settle(api, want=PowerState.AWAKE)
    assert essence(api) == before


async def test_what_the_owner_changed_in_a_sleeping_space_stays_as_the_owner_wants() -> None:
    api = mixed_space()
    await sleep_once(api)
    api.scale("Deployment", "web", 7, manager="argocd")

    await flights(api).wake(SPACE.uid, Reason.OWNER_SCALED_UP)

    assert replicas(api) == {"web": 7, "off": 0, "db": 2}
    assert not [
        entry
        for entry in api.objects["Deployment", "web"]["metadata"]["managedFields"]
        if entry["manager"] == "sleeper"
    ]


async def test_an_object_that_its_owner_created_again_is_left_alone() -> None:
    api = mixed_space()
    await sleep_once(api)
    del api.objects["Deployment", "web"]
    api.create(workload("Deployment", "web", 0))

    result = await flights(api).wake(SPACE.uid, Reason.TOUCHED)

    assert result.ok
    assert "created again by its owner" in result.message
    assert replicas(api)["web"] == 0


async def test_a_deleted_object_does_not_hold_up_a_wake() -> None:
    api = mixed_space()
    await sleep_once(api)
    del api.objects["StatefulSet", "db"]

    result = await flights(api).wake(SPACE.uid, Reason.TOUCHED)

    assert result.ok
    assert "StatefulSet/db was deleted by its owner" in result.message
    assert api.stored == {}


async def test_an_owner_who_scales_while_the_record_is_written_is_recorded_as_they_want() -> None:
    api = mixed_space()

    def scale_after_record(name: str, write: Callable[[], Any]) -> Any:
        result = write()
        if name == "create record":
            api.scale("Deployment", "web", 9)
            api.scale("StatefulSet", "db", 0)
        return result

    api.fault = scale_after_record
    assert (await flights(api).sleep(SPACE, IDLE)).ok
    api.fault = lambda _name, write: write()
    assert set(replicas(api).values()) == {0}

    await flights(api).wake(SPACE.uid, Reason.TOUCHED)

    assert replicas(api) == {"web": 9, "off": 0, "db": 0}


async def test_what_its_owner_stopped_before_a_sleep_reached_it_stays_stopped() -> None:
    api = mixed_space()
    api.objects["StatefulSet", "db"]["metadata"]["annotations"] = {WAVE: "1"}

    def stop_web_and_deny_db(name: str, write: Callable[[], Any]) -> Any:
        if name == "patch statefulsets/db":
            api.scale("Deployment", "web", 0)
            raise Forbidden('admission webhook "no.example" denied the request', status=403)
        return write()

    api.fault = stop_web_and_deny_db
    result = await flights(api).sleep(SPACE, IDLE)

    assert result.reason is Reason.WRITE_DENIED
    assert replicas(api) == {"web": 0, "off": 0, "db": 2}


async def test_what_its_owner_stopped_after_it_was_brought_back_stays_stopped() -> None:
    api = mixed_space()
    await sleep_once(api)
    api.fault = deny("patch statefulsets/db")
    deck = flights(api)
    assert not (await deck.wake(SPACE.uid, Reason.TOUCHED)).ok
    assert replicas(api)["web"] == 4
    api.scale("Deployment", "web", 0)
    api.fault = lambda _name, write: write()

    assert (await deck.wake(SPACE.uid, Reason.TOUCHED)).ok

    assert replicas(api) == {"web": 0, "off": 0, "db": 2}


@pytest.mark.parametrize("forged", ["9" * 5000, "9" * 30, "-1", "many", "٣"])
async def test_a_forged_epoch_on_the_namespace_holds_up_no_wake_and_no_sleep(forged: str) -> None:
    api = mixed_space()
    before = essence(api)
    for _ in range(2):
        api.namespace["metadata"].setdefault("annotations", {})[EPOCH] = forged
        assert (await flights(api).sleep(SPACE, IDLE)).ok
        api.namespace["metadata"]["annotations"][EPOCH] = forged
        assert (await flights(api).wake(SPACE.uid, Reason.TOUCHED)).ok
        assert essence(api) == before
        assert api.stored == {}


async def test_a_stripped_annotation_loses_no_workload_and_leaves_claims_on_the_safe_side() -> None:
    api = mixed_space()
    before = essence(api)
    await sleep_once(api)
    for key in (("Deployment", "web"), ("StatefulSet", "db")):
        api.annotate(*key, RESTORE, None)

    woken = await flights(api).wake(SPACE.uid, Reason.TOUCHED)

    assert woken.ok
    assert "whenScaled Retain" in woken.message
    for key, live in essence(api).items():
        assert live["spec"] == before[key]["spec"] | retained(live)


def retained(live: Json) -> Json:
    """The part of a spec that keeps claims."""
    key = "persistentVolumeClaimRetentionPolicy"
    return {key: live["spec"][key] | {"whenScaled": "Retain"}} if key in live["spec"] else {}


async def test_an_annotation_stripped_in_the_middle_of_a_sleep_loses_nothing() -> None:
    api = mixed_space()
    before = essence(api)
    strike(api, SLEEP_WRITES - 3, after_effect)
    await until_dead(flights(api).sleep(SPACE, IDLE))
    api.fault = lambda _name, write: write()
    for kind, name in api.objects:
        api.annotate(kind, name, RESTORE, None)

    await settle(api, want=PowerState.ASLEEP)
    await settle(api, want=PowerState.AWAKE)

    for key, live in essence(api).items():
        assert live["spec"] | retained(live) == before[key]["spec"] | retained(live)


async def test_without_the_lease_a_sleep_stops_and_the_next_leader_finishes_it() -> None:
    api = mixed_space()
    before = essence(api)
    answers: Iterator[bool] = iter([True, True, True])
    stopped = await flights(api, may_write=lambda _s: next(answers, False)).sleep(SPACE, IDLE)
    assert stopped.reason is Reason.NOT_LEADER
    assert stored(api).phase is PowerState.FALLING_ASLEEP

    assert (await flights(api).sleep(SPACE, IDLE)).ok
    assert set(replicas(api).values()) == {0}
    await settle(api, want=PowerState.AWAKE)
    assert essence(api) == before


async def test_a_sleep_of_an_observed_space_writes_nothing_whoever_asks_for_it() -> None:
    api = mixed_space()

    result = await flights(api, observes=lambda _name: True).sleep(SPACE, IDLE)

    assert result.reason is Reason.OBSERVE_MODE
    assert api.writes == []


@pytest.mark.parametrize("number", range(SLEEP_WRITES))
async def test_a_space_that_becomes_observed_while_it_falls_asleep_is_brought_back(
    number: int,
) -> None:
    api = mixed_space()
    before = essence(api)
    observed: list[str] = []

    def becomes_observed(name: str, write: Callable[[], Any]) -> Any:
        if len(api.writes) > number:
            observed.append(name)
        return write()

    api.fault = becomes_observed
    await flights(api, observes=lambda _name: bool(observed)).sleep(SPACE, IDLE)
    record = next(iter(api.stored.values()), None)

    if record is not None:
        assert record.phase is PowerState.ASLEEP, "its last write was on its way already"
        await settle(api, want=PowerState.AWAKE)
    assert essence(api) == before


async def test_a_sleep_whose_record_was_not_stored_as_a_whole_is_undone() -> None:
    api = mixed_space()
    before = essence(api)
    strike(api, SLEEP_WRITES - 3, after_effect)
    await until_dead(flights(api).sleep(SPACE, IDLE))
    api.fault = lambda _name, write: write()
    record = stored(api)
    api.stored[record.epoch] = replace(record, complete=False)

    result = await flights(api).sleep(SPACE, IDLE)

    assert result.reason is Reason.WRITE_FAILED
    assert essence(api) == before
    assert api.stored == {}


async def test_a_leader_that_was_paused_does_not_undo_what_the_next_one_goes_on_with() -> None:
    api = mixed_space()
    leading = True
    read = api.get

    async def paused_at_the_pods(path: str, **options: Any) -> bytes:
        nonlocal leading
        if path.endswith("/pods"):
            leading = False
            await asyncio.Event().wait()
        return await read(path, **options)

    api.get = paused_at_the_pods  # type: ignore[method-assign]
    deck = Flights(
        client=api,
        records=ModelRecords(api),
        spaces=api,
        clock=FixedClock(),
        recorder=NullRecorder(),
        events=HeardEvents(),
        may_write=lambda _s: leading,
        observes=lambda _name: False,
        settings=FlightSettings(poll_seconds=0, sleep_deadline_seconds=0.2),
    )

    paused = await deck.sleep(SPACE, IDLE)

    assert paused.reason is Reason.NOT_LEADER
    assert stored(api).phase is PowerState.FALLING_ASLEEP
    assert set(replicas(api).values()) == {0}


async def test_pods_that_do_not_go_away_in_time_undo_the_sleep() -> None:
    api = mixed_space()
    before = essence(api)
    stuck = api.space(SPACE.name)
    assert stuck is not None
    deck = Flights(
        client=api,
        records=ModelRecords(api),
        spaces=_Stuck(api),
        clock=FixedClock(),
        recorder=NullRecorder(),
        events=HeardEvents(),
        may_write=lambda _s: True,
        observes=lambda _name: False,
        settings=FlightSettings(poll_seconds=0, sleep_deadline_seconds=0.05),
    )

    result = await deck.sleep(SPACE, IDLE)

    assert result.reason is Reason.FALLING_ASLEEP_TIMED_OUT
    assert result.blamed == ("Deployment/web", "StatefulSet/db")
    assert result.message.startswith("not asleep after 0.05 s, still there: Pod/")
    assert "Pod/web-3 of Deployment/web" in result.message
    assert "; 1 more; everything is back" in result.message
    assert essence(api) == before
    assert api.stored == {}


class _Stuck:
    """A view of the Space in which the Pods of its beginning never go."""

    def __init__(self, api: ModelApi) -> None:
        self._api = api
        first = api.space(SPACE.name)
        assert first is not None
        self._pods = first.pods

    def space(self, name: str) -> Any:
        found = self._api.space(name)
        return found and msgspec.structs.replace(found, pods=self._pods)


async def test_a_wake_ends_a_sleep_that_is_under_way() -> None:
    api = mixed_space()
    before = essence(api)
    events = HeardEvents()
    deck = flights(api, events=events)
    woken: list[asyncio.Task[FlightResult]] = []

    async with asyncio.TaskGroup() as group:

        def somebody_comes(name: str, write: Callable[[], Any]) -> Any:
            if name.startswith("patch") and not woken:
                woken.append(group.create_task(deck.wake(SPACE.uid, Reason.TOUCHED)))
                woken.append(group.create_task(deck.wake(SPACE.uid, Reason.KEEP_AWAKE)))
            return write()

        api.fault = somebody_comes
        slept = await deck.sleep(SPACE, IDLE)

    assert not slept.ok
    assert woken[0].result() == woken[1].result(), "the second joined the first"
    assert woken[0].result().ok
    assert essence(api) == before
    told = dict(zip(events.notes, zip(events.reasons, events.types, strict=True), strict=True))
    # It gave way to its owner, which is no failure.
    assert told["it does not fall asleep: it is wanted again"] == ("Touched", "Normal")


@pytest.mark.fault(9)
async def test_a_wake_does_not_wait_for_what_was_not_ready_before_the_sleep() -> None:
    api = mixed_space()
    api.reported["Deployment", "web"] = {"readyReplicas": 1}
    deck = flights(api)
    assert (await deck.sleep(SPACE, IDLE)).ok

    result = await deck.wake(SPACE.uid, Reason.TOUCHED)

    assert (result.ok, result.message) == (True, "everything is back")
    assert api.stored == {}


async def test_a_wake_waits_for_as_many_pods_as_were_ready_and_names_who_lacks_them() -> None:
    api = mixed_space()
    deck = flights(api)
    assert (await deck.sleep(SPACE, IDLE)).ok
    api.reported["Deployment", "web"] = {"readyReplicas": 1}

    result = await deck.wake(SPACE.uid, Reason.TOUCHED)

    assert (result.ok, result.message) == (
        True,
        "everything is back; not Ready yet: Deployment/web",
    )


MOVING: Json = {"replicas": 4, "updatedReplicas": 1}
"""What the controller says of a Deployment in the middle of a roll-out."""


@pytest.mark.fault(1)
async def test_a_workload_between_two_revisions_in_storage_is_not_put_to_sleep() -> None:
    api = mixed_space()
    before = essence(api)
    api.reported["Deployment", "web"] = MOVING

    result = await flights(api).sleep(SPACE, IDLE)

    assert result.reason is Reason.WORKLOAD_BUSY
    assert "Deployment/web is busy: 1 of 4 Pods are at its newest revision" in result.message
    assert (essence(api), api.writes) == (before, [])


@pytest.mark.fault(1)
@pytest.mark.parametrize("resumed", [False, True])
async def test_a_roll_out_that_begins_between_record_and_patch_undoes_the_sleep(
    *, resumed: bool
) -> None:
    api = mixed_space()
    before = essence(api)

    def begins(name: str, write: Callable[[], Any]) -> Any:
        done = write()
        if name == "create record":
            api.reported["Deployment", "web"] = MOVING
            if resumed:
                raise Killed
        return done

    api.fault = begins
    if resumed:
        await until_dead(flights(api).sleep(SPACE, IDLE))
        assert api.stored
    result = await flights(api).sleep(SPACE, IDLE)

    assert result.reason is Reason.WORKLOAD_BUSY, result
    assert "Deployment/web is busy" in result.message
    assert essence(api) == before
    assert api.stored == {}


@pytest.mark.fault(6)
@pytest.mark.parametrize("resumed", [False, True])
async def test_a_workload_that_is_excluded_before_its_turn_undoes_the_sleep(
    *, resumed: bool
) -> None:
    api = mixed_space()

    def excludes(name: str, write: Callable[[], Any]) -> Any:
        done = write()
        if name == "create record":
            api.objects["Deployment", "web"]["metadata"]["annotations"][EXCLUDE] = "true"
            if resumed:
                raise Killed
        return done

    api.fault = excludes
    if resumed:
        await until_dead(flights(api).sleep(SPACE, IDLE))
    result = await flights(api).sleep(SPACE, IDLE)

    assert result.reason is Reason.EXCLUDED, result
    assert "Deployment/web was excluded by its owner" in result.message
    assert replicas(api) == {"web": 4, "off": 0, "db": 2}
    assert api.stored == {}

    api.fault = lambda _name, write: write()
    assert (await flights(api).sleep(SPACE, IDLE)).ok
    assert replicas(api) == {"web": 4, "off": 0, "db": 0}
