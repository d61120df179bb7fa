"""The demo's judge says what it sees, and does not take not seeing for seeing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from demo.watcher import NOTICE_REASON, Note, Sight, StoryError, Watcher

from sleeper.core.reasons import Reason
from tests.demo.conftest import Item, Script

UP = Sight(
    pods=2,
    ready=2,
    wanted=2,
    specs={"Deployment/web": {"replicas": 2}},
    claims={"data-db-0": "uid-1"},
)
ASLEEP = replace(UP, pods=0, ready=0, wanted=0)
NOTICE = Note(kind="Normal", reason=NOTICE_REASON, text="Idle for 20s")


@pytest.fixture
def watcher(script: Script) -> Iterator[Watcher]:
    watcher = Watcher("kubeconfig", ("space",), patience=2.5, every_seconds=0.1)
    watcher.start()
    yield watcher
    watcher.stop()


def test_a_watcher_that_went_blind_does_not_say_that_nothing_changed(
    watcher: Watcher, script: Script
) -> None:
    script.refuses()
    with pytest.raises(StoryError, match=r"the watcher is blind since .* s: connection refused"):
        watcher.insist("it stays up", lambda _: True, seconds=20)


def test_a_look_that_fails_is_tried_again(watcher: Watcher, script: Script) -> None:
    script.refuses()
    watcher.insist("it stays up", lambda _: True, seconds=1.5)
    script.shows([])
    watcher.insist("it stays up", lambda _: True, seconds=3)


def test_a_sleep_in_between_is_remembered(watcher: Watcher, script: Script) -> None:
    script.shows(items(replicas=1), items(replicas=0), items(replicas=1))
    watcher.wait("it sleeps", lambda w: w.slept("space"), seconds=20)
    watcher.wait("it is up", lambda w: w.sight("space").up, seconds=20)
    assert watcher.slept("space")


def test_what_was_up_all_the_time_did_not_sleep(watcher: Watcher, script: Script) -> None:
    script.shows(items(replicas=1))
    watcher.wait("it is up", lambda w: w.sight("space").up, seconds=20)
    assert not watcher.slept("space")


def test_only_events_about_the_namespace_itself_are_notes_to_its_owner(
    watcher: Watcher, script: Script
) -> None:
    script.shows(
        [
            *items(replicas=1),
            event("Namespace", "space", reason="PolicyInvalid", note="sleep-after: soon"),
            event("Pod", "space", reason="BackOff", note="a Pod's own trouble"),
            event("Namespace", "elsewhere", reason=NOTICE_REASON, note="another's notice"),
        ]
    )
    watcher.wait("it is up", lambda w: w.sight("space").up, seconds=20)
    assert watcher.sight("space").notes == (
        Note(kind="Warning", reason="PolicyInvalid", text="sleep-after: soon"),
    )


@pytest.mark.parametrize(
    "sight",
    [
        pytest.param(UP, id="everything runs"),
        pytest.param(replace(ASLEEP, pods=1), id="a Pod is still ending"),
        pytest.param(replace(ASLEEP, wanted=1), id="a workload is still meant to run"),
        pytest.param(Sight(), id="there is nothing that could run"),
    ],
)
def test_nothing_but_the_end_of_all_pods_is_sleep(sight: Sight) -> None:
    assert ASLEEP.asleep
    assert not sight.asleep


@pytest.mark.parametrize(
    "sight",
    [
        pytest.param(ASLEEP, id="asleep"),
        pytest.param(replace(UP, ready=1), id="a Pod is not Ready"),
        pytest.param(replace(UP, pods=1, ready=1), id="a Pod is missing"),
        pytest.param(replace(UP, pods=3), id="a Pod too many"),
        pytest.param(Sight(), id="there is nothing that could run"),
    ],
)
def test_nothing_but_every_pod_ready_is_up(sight: Sight) -> None:
    assert UP.up
    assert not sight.up


@pytest.mark.parametrize(
    "sight",
    [
        pytest.param(UP, id="nobody was told"),
        pytest.param(replace(ASLEEP, notes=(NOTICE,)), id="it sleeps already"),
        pytest.param(replace(UP, wanted=0, notes=(NOTICE,)), id="its Pods are about to end"),
        pytest.param(
            replace(UP, notes=(replace(NOTICE, reason="Idle"),)), id="something else was told"
        ),
    ],
)
def test_notice_counts_only_while_the_pods_run(sight: Sight) -> None:
    assert replace(UP, notes=(NOTICE,)).noticed
    assert not sight.noticed


def test_the_watcher_knows_notice_by_the_reason_that_the_daemon_gives() -> None:
    assert Reason.IDLE_NOTICE.value == NOTICE_REASON


def test_a_warning_counts_only_with_all_that_it_has_to_say() -> None:
    note = Note(kind="Warning", reason="PolicyInvalid", text="sleep-after: soon: expected 30m")
    assert replace(UP, notes=(note,)).warned("sleep-after", "soon")
    assert not UP.warned("sleep-after")
    assert not replace(UP, notes=(note,)).warned("sleep-after", "later")
    assert not replace(UP, notes=(replace(note, kind="Normal"),)).warned("sleep-after")
    halves = (replace(note, text="sleep-after"), replace(note, text="soon"))
    assert not replace(UP, notes=halves).warned("sleep-after", "soon")


@pytest.mark.parametrize(
    ("after", "names"),
    [
        pytest.param(UP, (), id="nothing"),
        pytest.param(replace(UP, ready=0, notes=(NOTICE,)), (), id="only how it runs"),
        pytest.param(
            replace(UP, specs={"Deployment/web": {"replicas": 1}}),
            ("Deployment/web",),
            id="a spec",
        ),
        pytest.param(replace(UP, specs={}), ("Deployment/web",), id="a workload that went"),
        pytest.param(
            replace(UP, specs={**UP.specs, "Deployment/new": {}}),
            ("Deployment/new",),
            id="a workload that came",
        ),
        pytest.param(
            replace(UP, claims={"data-db-0": "uid-2"}), ("data-db-0",), id="a claim made anew"
        ),
        pytest.param(replace(UP, claims={}), ("data-db-0",), id="a claim that went"),
    ],
)
def test_what_is_not_as_it_was_is_named(after: Sight, names: tuple[str, ...]) -> None:
    assert after.differences(UP) == names


def items(*, replicas: int) -> list[Item]:
    """A Deployment in ``space`` and its Ready Pods."""
    meta = {"name": "web", "namespace": "space"}
    pod: Item = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    return [
        {"kind": "Deployment", "metadata": meta, "spec": {"replicas": replicas}},
        *[{"kind": "Pod", "metadata": meta, **pod}] * replicas,
    ]


def event(kind: str, namespace: str, *, reason: str, note: str) -> Item:
    """An Event about something in ``namespace``."""
    return {
        "kind": "Event",
        "metadata": {"name": "event", "namespace": namespace},
        "regarding": {"kind": kind, "name": namespace},
        "type": "Warning",
        "reason": reason,
        "note": note,
    }
