"""Sleep and wake against the model API server, with every way of dying in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleeper.core.jsonpatch import JsonOp
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.kube.errors import KubeError, OutcomeUnknown
from tests.control.deck import (
    IDLE,
    SLEEP_WRITES,
    SPACE,
    WAKE_WRITES,
    Killed,
    after_effect,
    before_effect,
    essence,
    flights,
    mixed_space,
    model,
    replicas,
    settle,
    sleep_once,
    strike,
    until_dead,
    wake_once,
    workload,
)
from tests.support.modelapi import ModelRecords

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


@MOMENTS
@pytest.mark.parametrize("number", range(1, SLEEP_WRITES))
async def test_a_wake_by_another_process_at_any_write_of_a_sleep_is_the_last_word(
    number: int, moment: Callable[[Callable[[], Any]], Any]
) -> None:
    api = mixed_space()
    before = essence(api)

    def wake_elsewhere(write: Callable[[], Any]) -> Any:
        api.fault = lambda _name, write: write()
        answer = write() if moment is after_effect else None
        with ThreadPoolExecutor(1) as elsewhere:
            woken = elsewhere.submit(
                asyncio.run, flights(api).wake(SPACE.uid, Reason.BREAK_GLASS)
            ).result()
        assert woken.ok
        assert essence(api) == before
        return answer if moment is after_effect else write()

    strike(api, number, wake_elsewhere)
    slept = await flights(api).sleep(SPACE, IDLE)

    assert not slept.ok or api.stored == {}
    assert essence(api) == before


@MOMENTS
@pytest.mark.parametrize("number", range(WAKE_WRITES))
async def test_two_processes_that_wake_a_space_at_the_same_time_do_each_other_no_harm(
    number: int, moment: Callable[[Callable[[], Any]], Any]
) -> None:
    api = mixed_space()
    before = essence(api)
    await sleep_once(api)

    def wake_elsewhere(write: Callable[[], Any]) -> Any:
        api.fault = lambda _name, write: write()
        answer = write() if moment is after_effect else None
        with ThreadPoolExecutor(1) as elsewhere:
            waking = flights(api).wake(SPACE.uid, Reason.BREAK_GLASS)
            assert elsewhere.submit(asyncio.run, waking).result().ok
        return answer if moment is after_effect else write()

    strike(api, number, wake_elsewhere)
    assert (await flights(api).wake(SPACE.uid, Reason.BREAK_GLASS)).ok

    assert (essence(api), api.stored) == (before, {})


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
