"""The owner's word beside a sleep or a wake that dies, halts or is held back, on the model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sleeper.core.names import EPOCH, RESTORE
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.kube.errors import KubeError
from tests.control.deck import (
    IDLE,
    SLEEP_WRITES,
    SPACE,
    WAKE_WRITES,
    HeardEvents,
    Killed,
    after_effect,
    before_effect,
    flights,
    mixed_space,
    replicas,
    settle,
    sleep_once,
    strike,
    until_dead,
    workload,
)
from tests.support.modelapi import ModelApi

WHEN_SCALED = "/spec/persistentVolumeClaimRetentionPolicy/whenScaled"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
LATER = "2026-11-21T03:00:00Z"
MOMENTS = pytest.mark.parametrize("moment", [before_effect, after_effect])


def speak(api: ModelApi, *, by_scale: bool = True) -> None:
    """The owner's word: web at 0, and the claims of db are kept.

    Args:
        api: where.
        by_scale: by ``kubectl scale``, which leaves nobody who holds a 0.
    """
    if by_scale:
        api.scale("Deployment", "web", 0)
    else:
        api.apply("Deployment", "web", "/spec/replicas", 0, at=LATER)
    api.apply("StatefulSet", "db", WHEN_SCALED, "Retain", at=LATER)


def assert_heard(api: ModelApi) -> None:
    assert replicas(api)["web"] == 0
    policy = api.objects["StatefulSet", "db"]["spec"]["persistentVolumeClaimRetentionPolicy"]
    assert policy["whenScaled"] == "Retain"
    for live in api.objects.values():
        assert RESTORE not in live["metadata"].get("annotations", {})
        assert all(e["manager"] != "sleeper" for e in live["metadata"]["managedFields"])
    assert api.stored == {}


def undisturbed(api: ModelApi) -> None:
    api.fault = lambda _name, write: write()


@pytest.mark.fault(3)
async def test_a_record_that_lands_after_another_sleep_brings_nothing_up() -> None:
    api = mixed_space()
    held: list[Callable[[], Any]] = []

    def hold(write: Callable[[], Any]) -> Any:
        held.append(write)
        raise Killed

    strike(api, 0, hold)
    await until_dead(flights(api).sleep(SPACE, IDLE))
    undisturbed(api)
    await settle(api, want=PowerState.ASLEEP)
    await settle(api, want=PowerState.AWAKE)
    speak(api)
    for write in held:
        write()

    assert (await flights(api).sleep(SPACE, IDLE)).reason is Reason.LATE_WRITE

    assert_heard(api)


@pytest.mark.fault(3)
@pytest.mark.parametrize("other", range(WAKE_WRITES))
@pytest.mark.parametrize("number", range(WAKE_WRITES))
async def test_a_second_wake_leaves_at_zero_what_the_first_one_left_there(
    number: int, other: int
) -> None:
    """``replicas: 0`` by client-side apply while it sleeps: nobody holds the field by that."""
    api = mixed_space()
    await sleep_once(api)
    web = api.objects["Deployment", "web"]["metadata"]
    web["annotations"][LAST_APPLIED] = '{"spec":{"replicas":0}}'
    web["generation"] += 1

    def half_woken_elsewhere(write: Callable[[], Any]) -> Any:
        strike(api, other, after_effect)
        with ThreadPoolExecutor(1) as elsewhere:
            waking = until_dead(flights(api).wake(SPACE.uid, Reason.TOUCHED))
            elsewhere.submit(asyncio.run, waking).result()
        undisturbed(api)
        return write()

    strike(api, number, half_woken_elsewhere)
    await flights(api).wake(SPACE.uid, Reason.TOUCHED)
    await settle(api, want=PowerState.AWAKE)
    assert replicas(api) == {"web": 0, "off": 0, "db": 2}
    web = api.objects["Deployment", "web"]["metadata"]
    holders = [e["manager"] for e in web["managedFields"] if "f:replicas" in str(e["fieldsV1"])]
    assert holders == ["kubectl"]


@pytest.mark.fault(3)
@MOMENTS
@pytest.mark.parametrize("number", range(WAKE_WRITES))
async def test_a_wake_that_halted_at_any_write_leaves_what_was_set_after_another_one_ended(
    number: int, moment: Callable[[Callable[[], Any]], Any]
) -> None:
    api = mixed_space()
    await sleep_once(api)

    def woken_elsewhere(write: Callable[[], Any]) -> Any:
        undisturbed(api)
        answer = write() if moment is after_effect else None
        with ThreadPoolExecutor(1) as elsewhere:
            waking = flights(api).wake(SPACE.uid, Reason.TOUCHED)
            assert elsewhere.submit(asyncio.run, waking).result().ok
        speak(api)
        return answer if moment is after_effect else write()

    strike(api, number, woken_elsewhere)
    await flights(api).wake(SPACE.uid, Reason.TOUCHED)
    await settle(api, want=PowerState.AWAKE)

    assert_heard(api)


@pytest.mark.fault(3)
@pytest.mark.parametrize("number", range(WAKE_WRITES))
async def test_a_write_of_a_wake_that_lands_after_all_is_over_changes_nothing(number: int) -> None:
    api = mixed_space()
    await sleep_once(api)
    held: list[Callable[[], Any]] = []

    def hold(write: Callable[[], Any]) -> Any:
        held.append(write)
        raise Killed

    strike(api, number, hold)
    await until_dead(flights(api).wake(SPACE.uid, Reason.TOUCHED))
    undisturbed(api)
    await settle(api, want=PowerState.AWAKE)
    speak(api)

    for write in held:
        try:
            write()
        except KubeError:
            continue
    await flights(api).undo_late(SPACE.name)

    assert_heard(api)


@pytest.mark.fault(3)
@MOMENTS
@pytest.mark.parametrize("number", range(1, SLEEP_WRITES))
async def test_what_is_set_while_a_sleep_is_dead_is_kept_whether_it_goes_on_or_is_undone(
    number: int, moment: Callable[[Callable[[], Any]], Any]
) -> None:
    api = mixed_space()
    strike(api, number, moment)
    await until_dead(flights(api).sleep(SPACE, IDLE))
    undisturbed(api)
    if replicas(api)["web"] == 0:
        return  # scaled to the 0 that is there already: it leaves no trace
    speak(api)

    await settle(api, want=PowerState.ASLEEP)
    await settle(api, want=PowerState.AWAKE)

    assert_heard(api)


@pytest.mark.fault(3)
@MOMENTS
@pytest.mark.parametrize("number", range(WAKE_WRITES))
async def test_what_is_set_while_a_wake_is_dead_is_kept_by_who_goes_on(
    number: int, moment: Callable[[Callable[[], Any]], Any]
) -> None:
    api = mixed_space()
    await sleep_once(api)
    strike(api, number, moment)
    await until_dead(flights(api).wake(SPACE.uid, Reason.TOUCHED))
    undisturbed(api)
    if replicas(api)["web"] == 0:
        return  # scaled to the 0 that is there already: it leaves no trace
    speak(api, by_scale=False)  # a scale to 0 cannot be told from what was not brought back yet

    await settle(api, want=PowerState.AWAKE)

    assert_heard(api)


@pytest.mark.fault(3)
async def test_a_fence_that_is_held_back_beyond_the_wake_finds_another_generation() -> None:
    api = mixed_space()
    strike(api, 1, before_effect)  # the record is there, and no sleep patch was sent
    await until_dead(flights(api).sleep(SPACE, IDLE))
    held: list[Callable[[], Any]] = []

    def hold_fences(name: str, write: Callable[[], Any]) -> Any:
        if name.startswith("patch") and len(held) < 2:
            held.append(write)
            raise Killed
        return write()

    for _ in range(2):
        api.fault = hold_fences
        await until_dead(flights(api).wake(SPACE.uid, Reason.TOUCHED))
    undisturbed(api)
    await settle(api, want=PowerState.AWAKE)
    speak(api)

    for write in held:
        with pytest.raises(KubeError):
            write()

    assert_heard(api)


@pytest.mark.fault(5)
async def test_an_object_that_was_put_back_with_its_note_of_an_earlier_sleep_comes_back_by_the_record() -> (  # noqa: E501
    None
):
    api = mixed_space()
    await sleep_once(api)
    early = api.objects["Deployment", "web"]["metadata"]["annotations"][RESTORE]
    await settle(api, want=PowerState.AWAKE)
    api.scale("Deployment", "web", 7)
    await sleep_once(api)

    api.annotate("Deployment", "web", RESTORE, early)
    assert not flights(api).has_late_writes(SPACE.name)
    await flights(api).undo_late(SPACE.name)
    assert replicas(api)["web"] == 0, "it sleeps on"
    await settle(api, want=PowerState.AWAKE)

    assert replicas(api)["web"] == 7


@pytest.mark.fault(3)
@pytest.mark.parametrize("number", range(2, WAKE_WRITES))
async def test_a_wake_that_is_wary_of_claims_stays_so_with_whoever_goes_on(number: int) -> None:
    """A write without a trace is heard of by one replica, and forgotten with its process."""
    api = mixed_space()
    await sleep_once(api)
    strike(api, number, before_effect)
    await until_dead(flights(api).wake(SPACE.uid, Reason.TOUCHED, wary=True))
    undisturbed(api)

    await settle(api, want=PowerState.AWAKE)

    assert replicas(api)["db"] == 2
    policy = api.objects["StatefulSet", "db"]["spec"]["persistentVolumeClaimRetentionPolicy"]
    assert policy["whenScaled"] == "Retain"


@pytest.mark.fault(2)
@pytest.mark.parametrize("asked", [True, False])
async def test_a_wake_brings_a_copy_back_if_it_is_asked_for_and_says_so_if_not(
    *, asked: bool
) -> None:
    api = mixed_space()
    await sleep_once(api)
    note = json.loads(api.objects["Deployment", "web"]["metadata"]["annotations"][RESTORE])
    copied = workload("Deployment", "copied", 0)
    elsewhere = json.dumps(note | {"space": "another-space"})
    copied["metadata"]["annotations"] = {RESTORE: elsewhere}
    api.create(copied)
    api.objects["Deployment", "copied"]["metadata"]["creationTimestamp"] = LATER

    reason = Reason.TOUCHED if asked else Reason.VISITED
    woken = await flights(api).wake(SPACE.uid, reason)

    assert woken.ok
    assert replicas(api)["copied"] == (4 if asked else 0)
    waits = "Deployment/copied was restored or copied while it slept and stays at zero"
    assert (waits in woken.message) is not asked


@pytest.mark.fault(3)
async def test_what_a_late_note_leaves_to_its_owner_is_told() -> None:
    api = mixed_space()
    await sleep_once(api)
    early = api.objects["Deployment", "web"]["metadata"]["annotations"][RESTORE]
    await settle(api, want=PowerState.AWAKE)
    api.apply("Deployment", "web", "/spec/replicas", 0, at=LATER)
    api.annotate("Deployment", "web", RESTORE, early)
    events = HeardEvents()

    await flights(api, events=events).undo_late(SPACE.name)

    assert replicas(api)["web"] == 0
    (note,) = events.notes
    assert "Deployment/web keeps replicas 0 (it was 4): owner wrote it meanwhile" in note


@pytest.mark.fault(5)
@pytest.mark.parametrize("forged", [None, "1", "999999999999999", "9" * 40, "x"])
async def test_no_epoch_is_used_twice_whatever_becomes_of_the_annotation(
    forged: str | None,
) -> None:
    api = mixed_space()
    epochs: list[int] = []
    for moment in range(3):
        await flights(api, seconds=moment).sleep(SPACE, IDLE)
        epochs += api.stored
        await settle(api, want=PowerState.AWAKE)
        annotations = api.namespace["metadata"]["annotations"]
        annotations.pop(EPOCH) if forged is None else annotations.update({EPOCH: forged})
    assert len(set(epochs)) == 3
    assert epochs == sorted(epochs)
