"""Sleep and wake against the model API server, with every way of dying in between."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.core.refs import SpaceRef
from metrics.instruments import NullRecorder
from sleeper.control.flight_result import FlightResult, FlightSettings
from sleeper.control.flights import Flights
from sleeper.core.jsonpatch import JsonOp
from sleeper.core.names import EPOCH, POWER_STATE, RESTORE
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.verdict import Verdict, VerdictKind
from sleeper.kube.errors import Forbidden, KubeError, OutcomeUnknown
from tests.support.modelapi import Json, ModelApi, ModelRecords

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SPACE = SpaceRef(uid="space-uid", name="team-a", tenant="tenant-a")
IDLE = Verdict(kind=VerdictKind.FALL_ASLEEP, reason=Reason.IDLE, message="idle", sleep_horizon=NOW)


class Killed(BaseException):
    """The process ends here."""


class FixedClock:
    """Wall time stands; monotonic time moves when asked, so deadlines end waits."""

    def __init__(self) -> None:
        self._ticks = 0.0

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        self._ticks += 0.001
        return self._ticks


class HeardEvents:
    """Keeps what was said."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    async def record(self, *, reason: str, **_: object) -> None:
        self.reasons.append(reason)


def model() -> ModelApi:
    return ModelApi(
        namespace={
            "metadata": {
                "name": SPACE.name,
                "uid": SPACE.uid,
                "labels": {"sleeper.dev/tenant": SPACE.tenant},
            }
        }
    )


def workload(kind: str, name: str, replicas: int = 2, **spec: Any) -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "template": {}, **spec},
    }


def mixed_space() -> ModelApi:
    api = model()
    api.create(workload("Deployment", "web", 3))
    api.create(workload("Deployment", "off", 0))
    api.create(
        workload(
            "StatefulSet", "db", 2, persistentVolumeClaimRetentionPolicy={"whenScaled": "Delete"}
        )
    )
    api.objects["Deployment", "web"]["metadata"]["annotations"] = {"owner": "team-a"}
    api.scale("Deployment", "web", 4)
    return api


def flights(api: ModelApi, *, may_write: Callable[[float], bool] = lambda _s: True) -> Flights:
    return Flights(
        client=api,
        records=ModelRecords(api),
        spaces=api,
        clock=FixedClock(),
        recorder=NullRecorder(),
        events=HeardEvents(),
        may_write=may_write,
        settings=FlightSettings(poll_seconds=0, sleep_deadline_seconds=5),
    )


def essence(api: ModelApi) -> dict[tuple[str, str], Json]:
    """Everything of the objects that a wake has to bring back; generation and order move on."""
    found = {}
    for key, live in api.objects.items():
        plain = copy.deepcopy(live)
        plain["metadata"].pop("generation")
        plain["metadata"]["managedFields"].sort(key=json.dumps)
        found[key] = plain
    return found


def replicas(api: ModelApi) -> dict[str, int]:
    return {name: live["spec"]["replicas"] for (_, name), live in api.objects.items()}


async def until_dead(work: Any) -> None:
    """A process that may die on the way."""
    try:
        await work
    except* Killed:
        pass


async def settle(api: ModelApi, *, want: PowerState) -> FlightResult:
    """What the verdict loop does: go on with what is on record until the Space is as wanted."""
    for _ in range(10):
        deck = flights(api)
        record = ModelRecords(api).all().get(SPACE.uid)
        if want is PowerState.ASLEEP and (record is None or record.phase is not PowerState.WAKING):
            result = await deck.sleep(SPACE, IDLE)
        else:
            result = await deck.wake(SPACE.uid, Reason.TOUCHED)
        record = ModelRecords(api).all().get(SPACE.uid)
        if (record.phase if record else PowerState.AWAKE) is want:
            return result
    raise AssertionError(f"not {want}: {result}")


# -- the plain way --------------------------------------------------------------------------------


async def test_a_sleep_stops_every_pod_and_a_wake_leaves_no_trace() -> None:
    api = mixed_space()
    before = essence(api)

    slept = await flights(api).sleep(SPACE, IDLE)

    assert slept.ok, slept
    assert set(replicas(api).values()) == {0}
    database = api.objects["StatefulSet", "db"]["spec"]
    assert database["persistentVolumeClaimRetentionPolicy"]["whenScaled"] == "Retain"
    assert RESTORE not in api.objects["Deployment", "off"]["metadata"].get("annotations", {})
    record = api.stored[1]
    assert record.phase is PowerState.ASLEEP
    assert {entry.ref.name for entry in record.entries} == {"web", "db"}
    assert (record.freed.pods, record.freed.cpu_millis) == (6, 600)

    woken = await flights(api).wake(SPACE.uid, Reason.TOUCHED)

    assert woken.ok, woken
    assert essence(api) == before
    assert api.stored == {}
    annotations = api.namespace["metadata"]["annotations"]
    assert annotations[POWER_STATE] == "Awake"
    assert annotations[EPOCH] == "1"


async def test_the_owners_of_a_field_have_it_back_while_the_space_sleeps() -> None:
    api = mixed_space()

    await flights(api).sleep(SPACE, IDLE)

    managers = {
        entry["manager"]: entry["fieldsV1"]
        for entry in api.objects["Deployment", "web"]["metadata"]["managedFields"]
        if entry.get("subresource") == "scale"
    }
    assert managers == {"kubectl": {"f:spec": {"f:replicas": {}}}}
    assert all(
        entry["manager"] != "sleeper"
        for live in api.objects.values()
        for entry in live["metadata"]["managedFields"]
    )


async def test_each_sleep_has_an_epoch_of_its_own() -> None:
    api = mixed_space()
    for epoch in (1, 2, 3):
        await flights(api).sleep(SPACE, IDLE)
        assert list(api.stored) == [epoch]
        await flights(api).wake(SPACE.uid, Reason.TOUCHED)


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


# -- dying ----------------------------------------------------------------------------------------


def count_writes(run: Callable[[ModelApi], Any]) -> int:
    api = mixed_space()
    asyncio.run(run(api))
    return len(api.writes)


async def sleep_once(api: ModelApi) -> None:
    assert (await flights(api).sleep(SPACE, IDLE)).ok


async def wake_once(api: ModelApi) -> None:
    await sleep_once(api)
    api.writes.clear()
    assert (await flights(api).wake(SPACE.uid, Reason.TOUCHED)).ok


def strike(api: ModelApi, number: int, how: Callable[[Callable[[], Any]], Any]) -> None:
    """From now on, the write of that number goes wrong."""
    counter = iter(range(10_000))
    api.fault = lambda _name, write: how(write) if next(counter) == number else write()


def before_effect(_write: Callable[[], Any]) -> Any:
    raise Killed


def after_effect(write: Callable[[], Any]) -> Any:
    write()
    raise Killed


SLEEP_WRITES = count_writes(sleep_once)
WAKE_WRITES = count_writes(wake_once)
MOMENTS = pytest.mark.parametrize("moment", [before_effect, after_effect])


@MOMENTS
@pytest.mark.parametrize("then", [PowerState.ASLEEP, PowerState.AWAKE])
@pytest.mark.parametrize("number", range(SLEEP_WRITES))
async def test_a_sleep_that_dies_at_any_write_converges_and_everything_comes_back(
    number: int, then: PowerState, moment: Callable[[Callable[[], Any]], Any]
) -> None:
    api = mixed_space()
    before = essence(api)
    strike(api, number, moment)
    await until_dead(flights(api).sleep(SPACE, IDLE))
    api.fault = lambda _name, write: write()

    await settle(api, want=then)

    if then is PowerState.ASLEEP:
        assert set(replicas(api).values()) == {0}
        assert len(api.stored) == 1
        await settle(api, want=PowerState.AWAKE)
    assert essence(api) == before
    assert api.stored == {}


@MOMENTS
@pytest.mark.parametrize("number", range(WAKE_WRITES))
async def test_a_wake_that_dies_at_any_write_is_finished_by_the_next_process(
    number: int, moment: Callable[[Callable[[], Any]], Any]
) -> None:
    api = mixed_space()
    before = essence(api)
    await sleep_once(api)
    strike(api, number, moment)
    await until_dead(flights(api).wake(SPACE.uid, Reason.TOUCHED))
    api.fault = lambda _name, write: write()

    await settle(api, want=PowerState.AWAKE)

    assert essence(api) == before
    assert api.stored == {}


@pytest.mark.parametrize("landed", [True, False])
@pytest.mark.parametrize("number", range(1, SLEEP_WRITES))
async def test_a_lost_answer_of_any_write_of_a_sleep_is_looked_into(
    number: int, landed: bool
) -> None:
    api = mixed_space()
    before = essence(api)

    def lose(write: Callable[[], Any]) -> Any:
        if landed:
            write()
        raise OutcomeUnknown("the connection was lost")

    strike(api, number, lose)
    await flights(api).sleep(SPACE, IDLE)
    api.fault = lambda _name, write: write()
    await settle(api, want=PowerState.ASLEEP)
    assert set(replicas(api).values()) == {0}
    await settle(api, want=PowerState.AWAKE)
    assert essence(api) == before


@pytest.mark.parametrize(
    ("number", "then"),
    [
        *((number, PowerState.ASLEEP) for number in range(SLEEP_WRITES)),
        *((number, PowerState.AWAKE) for number in range(1, SLEEP_WRITES)),
    ],
)
async def test_a_write_held_back_beyond_a_wake_does_no_harm(number: int, then: PowerState) -> None:
    api = mixed_space()
    before = essence(api)
    held: list[Callable[[], Any]] = []

    def hold(write: Callable[[], Any]) -> Any:
        held.append(write)
        raise Killed

    strike(api, number, hold)
    await until_dead(flights(api).sleep(SPACE, IDLE))
    api.fault = lambda _name, write: write()
    await settle(api, want=then)
    await settle(api, want=PowerState.AWAKE)

    for write in held:
        try:
            write()
        except KubeError:
            continue
    if ModelRecords(api).all():  # it was the record itself
        assert (await flights(api).sleep(SPACE, IDLE)).reason is Reason.LATE_WRITE
        assert api.stored == {}
    deck = flights(api)
    assert not deck.has_late_writes(SPACE.name)
    assert essence(api) == before


# -- the owner's hand, denied writes, the Lease ---------------------------------------------------


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
    assert api.stored[1].phase is PowerState.WAKING
    settled = len(api.writes)
    await deck.wake(SPACE.uid, Reason.TOUCHED)
    again = api.writes[settled:]
    assert "patch statefulsets/db" not in again, "what is back is left alone"

    api.fault = lambda _name, write: write()
    assert (await deck.wake(SPACE.uid, Reason.TOUCHED)).ok
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


async def test_a_stripped_annotation_loses_nothing() -> None:
    api = mixed_space()
    before = essence(api)
    await sleep_once(api)
    for key in (("Deployment", "web"), ("StatefulSet", "db")):
        annotations = api.objects[key]["metadata"]["annotations"]
        del annotations[RESTORE]

    assert (await flights(api).wake(SPACE.uid, Reason.TOUCHED)).ok

    for key, live in essence(api).items():
        assert live["spec"] == before[key]["spec"]


async def test_an_annotation_stripped_in_the_middle_of_a_sleep_loses_nothing() -> None:
    api = mixed_space()
    before = essence(api)
    strike(api, SLEEP_WRITES - 3, after_effect)
    await until_dead(flights(api).sleep(SPACE, IDLE))
    api.fault = lambda _name, write: write()
    for live in api.objects.values():
        live["metadata"].get("annotations", {}).pop(RESTORE, None)

    await settle(api, want=PowerState.ASLEEP)
    await settle(api, want=PowerState.AWAKE)

    assert {k: v["spec"] for k, v in essence(api).items()} == {
        k: v["spec"] for k, v in before.items()
    }


async def test_without_the_lease_a_sleep_stops_and_the_next_leader_finishes_it() -> None:
    api = mixed_space()
    before = essence(api)
    answers: Iterator[bool] = iter([True, True, True])
    stopped = await flights(api, may_write=lambda _s: next(answers, False)).sleep(SPACE, IDLE)
    assert stopped.reason is Reason.NOT_LEADER
    assert api.stored[1].phase is PowerState.FALLING_ASLEEP

    assert (await flights(api).sleep(SPACE, IDLE)).ok
    assert set(replicas(api).values()) == {0}
    await settle(api, want=PowerState.AWAKE)
    assert essence(api) == before


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
        settings=FlightSettings(poll_seconds=0, sleep_deadline_seconds=0.2),
    )

    paused = await deck.sleep(SPACE, IDLE)

    assert paused.reason is Reason.NOT_LEADER
    assert api.stored[1].phase is PowerState.FALLING_ASLEEP
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
        settings=FlightSettings(poll_seconds=0, sleep_deadline_seconds=0.05),
    )

    result = await deck.sleep(SPACE, IDLE)

    assert result.reason is Reason.FALLING_ASLEEP_TIMED_OUT
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
    deck = flights(api)
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


# -- late and forged notes ------------------------------------------------------------------------


async def test_a_write_that_lands_after_its_sleep_is_over_is_undone_without_a_record() -> None:
    api = mixed_space()
    before = essence(api)
    await sleep_once(api)
    api.stored.clear()  # as if the sleep were long over
    deck = flights(api)

    assert deck.has_late_writes(SPACE.name)
    await deck.undo_late(SPACE.name)

    assert not deck.has_late_writes(SPACE.name)
    assert essence(api) == before


async def test_a_watch_that_lags_behind_the_record_undoes_nothing() -> None:
    api = mixed_space()
    await sleep_once(api)

    class Lagging(ModelRecords):
        def all(self) -> dict[str, Any]:
            return {}

    deck = Flights(
        client=api,
        records=Lagging(api),
        spaces=api,
        clock=FixedClock(),
        recorder=NullRecorder(),
        events=HeardEvents(),
        may_write=lambda _s: True,
        settings=FlightSettings(),
    )
    assert deck.has_late_writes(SPACE.name)
    await deck.undo_late(SPACE.name)
    assert set(replicas(api).values()) == {0}


@pytest.mark.parametrize(
    "change",
    [
        {"fields": {"/spec/replicas": 1_000_000}},
        {"fields": {"/spec/replicas": "4"}},
        {"fields": {"/spec/replicas": True}},
        {"fields": {"/spec/template/spec/hostNetwork": True}},
        {"uid": "another"},
        {"space": "another"},
        {"epoch": -1},
        {"v": 2},
        {"extra": 1},
    ],
)
async def test_a_forged_note_is_not_believed_and_the_record_brings_the_object_back(
    change: Json,
) -> None:
    api = mixed_space()
    before = essence(api)
    await sleep_once(api)
    annotations = api.objects["Deployment", "web"]["metadata"]["annotations"]
    annotations[RESTORE] = json.dumps(json.loads(annotations[RESTORE]) | change)

    assert (await flights(api).wake(SPACE.uid, Reason.TOUCHED)).ok

    assert {k: v["spec"] for k, v in essence(api).items()} == {
        k: v["spec"] for k, v in before.items()
    }
    assert RESTORE not in api.objects["Deployment", "web"]["metadata"]["annotations"]


# -- any Space, any death -------------------------------------------------------------------------

_WORKLOADS = st.lists(
    st.tuples(
        st.sampled_from(["Deployment", "StatefulSet"]),
        st.integers(0, 3),
        st.sampled_from(["Delete", "Retain"]),
        st.booleans(),
        st.integers(-1, 1),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


@settings(deadline=None, max_examples=150)
@given(
    workloads=_WORKLOADS,
    deaths=st.lists(
        st.tuples(
            st.integers(0, 25),
            st.sampled_from([before_effect, after_effect]),
            st.sampled_from([PowerState.ASLEEP, PowerState.AWAKE]),
        ),
        max_size=4,
    ),
)
def test_whatever_dies_and_however_often_the_space_comes_back_as_it_was(
    workloads: list[tuple[str, int, str, bool, int, bool]],
    deaths: list[tuple[int, Callable[[Callable[[], Any]], Any], PowerState]],
) -> None:
    api = model()
    for i, (kind, count, when_scaled, annotated, wave, scaled) in enumerate(workloads):
        policy = {"whenScaled": when_scaled}
        spec = {"persistentVolumeClaimRetentionPolicy": policy} if kind == "StatefulSet" else {}
        live = api.create(workload(kind, f"w{i}", count, **spec))
        if annotated or wave:
            live["metadata"]["annotations"] = {"sleeper.dev/wave": str(wave)}
        if scaled:
            api.scale(kind, f"w{i}", count)
    before = essence(api)

    async def live_through() -> None:
        for number, moment, then in deaths:
            strike(api, number, moment)
            deck = flights(api)
            if then is PowerState.ASLEEP:
                await until_dead(deck.sleep(SPACE, IDLE))
            else:
                await until_dead(deck.wake(SPACE.uid, Reason.TOUCHED))
        api.fault = lambda _name, write: write()
        await settle(api, want=PowerState.AWAKE)

    asyncio.run(live_through())
    assert essence(api) == before
    assert api.stored == {}


def test_operations_of_a_patch_begin_with_their_preconditions() -> None:
    api = mixed_space()
    seen: list[tuple[JsonOp, ...]] = []
    original = api.json_patch

    async def spy(path: str, ops: Any) -> bytes:
        if path.startswith("/apis/"):
            seen.append(tuple(ops))
        return await original(path, ops)

    api.json_patch = spy  # type: ignore[method-assign]
    asyncio.run(wake_once(api))
    assert seen
    for ops in seen:
        kinds = [op.op for op in ops]
        tests = kinds.count("test")
        assert kinds[:2] == ["test", "test"]
        assert all(kind == "test" for kind in kinds[: min(tests, 2)])
        assert not [op for op in ops if "resourceVersion" in op.path]
