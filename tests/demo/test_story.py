"""The story of the demo breaks off where it is not true: a daemon that touches nothing fails it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo import story
from demo.daemon import Daemon
from demo.narrator import Narrator
from demo.spaces import SPACES, manifests
from demo.stage import Stage
from demo.story import Cast, nobody_comes, others_stayed_up
from demo.watcher import NOTICE_REASON, StoryError, Watcher
from devcluster.client import Cluster

from tests.demo.conftest import Item, Script

SLEEPERS = frozenset({"atlas-preview", "atlas-leftover", "borealis-ledger"})
TYPO = "sleep-after: soon: expected a duration such as 30m"


@pytest.fixture
def cast(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cast]:
    """Everybody, at the moment when every Pod is Ready."""
    monkeypatch.setattr(story, "STAYS_UP_SECONDS", 0.5)
    cluster = Cluster(
        directory=tmp_path,
        apiserver="https://127.0.0.1:1",
        prometheus="http://127.0.0.1:1",
        ingress="http://127.0.0.1:1",
        pod_network=True,
        sink_port=1,
        daemon_port=1,
    )
    watcher = Watcher("kubeconfig", tuple(space.name for space in SPACES), every_seconds=0.1)
    stage = Stage(cluster, watcher)
    script.shows(sees())
    watcher.start()
    stage.before = {name: watcher.sight(name) for name in stage.names}
    yield Cast(stage=stage, daemon=Daemon(cluster, {}), watcher=watcher, narrator=Narrator(watcher))
    watcher.stop()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not happen within 3 s does not happen."""
    monkeypatch.setattr(story, "FALLS_ASLEEP_WITHIN_SECONDS", 3.0)
    monkeypatch.setattr(story, "WAKES_WITHIN_SECONDS", 3.0)


def test_the_first_scene_is_over_when_it_went_as_told(cast: Cast, script: Script) -> None:
    script.shows(sees(noticed=True), sees(asleep=SLEEPERS, noticed=True))
    nobody_comes(cast)
    assert cast.watcher.sight("atlas-preview").asleep


@pytest.mark.usefixtures("impatient")
def test_the_first_scene_fails_when_no_space_ever_falls_asleep(cast: Cast, script: Script) -> None:
    script.shows(sees(noticed=True))
    with pytest.raises(StoryError, match="atlas-preview sleeps: not within"):
        nobody_comes(cast)


@pytest.mark.usefixtures("impatient")
def test_the_first_scene_fails_when_a_space_sleeps_without_notice(
    cast: Cast, script: Script
) -> None:
    script.shows(sees(), sees(asleep=SLEEPERS, noticed=True))
    with pytest.raises(StoryError, match=r"atlas-preview gets notice .*: not within"):
        nobody_comes(cast)


@pytest.mark.usefixtures("impatient")
def test_the_first_scene_fails_when_only_some_of_the_unused_spaces_sleep(
    cast: Cast, script: Script
) -> None:
    script.shows(sees(noticed=True), sees(asleep=SLEEPERS - {"atlas-leftover"}))
    with pytest.raises(StoryError, match="atlas-leftover sleeps: not within"):
        nobody_comes(cast)


def test_the_first_scene_fails_when_a_space_sleeps_that_is_in_use(
    cast: Cast, script: Script
) -> None:
    script.shows(sees(noticed=True), sees(asleep=SLEEPERS | {"borealis-typo"}))
    with pytest.raises(StoryError, match="the Spaces that are in use stay up: no longer so"):
        nobody_comes(cast)


def test_the_first_scene_fails_when_sleeping_costs_a_claim(cast: Cast, script: Script) -> None:
    lost = [
        item
        for item in sees(asleep=SLEEPERS)
        if item["kind"] != "PersistentVolumeClaim" or item["metadata"]["name"] != "data-db-1"
    ]
    script.shows(sees(noticed=True), lost)
    with pytest.raises(StoryError, match=r"borealis-ledger lost claims: \['data-db-0'\] are left"):
        nobody_comes(cast)


@pytest.mark.parametrize("name", story.ALWAYS_UP)
def test_a_sleep_between_two_scenes_does_not_stay_unseen(
    cast: Cast, script: Script, name: str
) -> None:
    others_stayed_up(cast)
    script.shows(sees(asleep=frozenset({name})), sees())
    cast.watcher.wait("it slept", lambda w: w.slept(name), seconds=20)
    cast.watcher.wait("it is up", lambda w: w.sight(name).up, seconds=20)
    with pytest.raises(StoryError, match="the others stayed up: no longer so"):
        others_stayed_up(cast)


@pytest.mark.usefixtures("impatient")
def test_bob_finds_it_worth_an_error_when_nothing_wakes(cast: Cast, script: Script) -> None:
    script.shows(sees(asleep=SLEEPERS))
    cast.watcher.wait("they sleep", lambda w: w.slept("borealis-ledger"), seconds=20)
    with pytest.raises(StoryError, match="borealis-ledger: It is scaled up: not within"):
        story.bob_comes_back(cast)


def test_bob_is_told_the_time_from_his_command_on(
    cast: Cast, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    script.shows(sees(asleep=SLEEPERS))
    cast.watcher.wait("they sleep", lambda w: w.slept("borealis-ledger"), seconds=20)
    script.shows(sees())
    story.bob_comes_back(cast)
    told = capsys.readouterr().out
    assert all(
        f"{what} " in told
        for what in ("It is scaled up", "The first Pod is Ready", "Every Pod is Ready")
    )


def test_bob_does_not_accept_something_else_in_place_of_what_he_had(
    cast: Cast, script: Script
) -> None:
    changed = sees()
    for item in changed:
        if item["kind"] == "StatefulSet":
            item["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"] = "Retain"
    script.shows(changed)
    cast.watcher.wait(
        "it changed",
        lambda w: w.sight("borealis-ledger") != cast.stage.before["borealis-ledger"],
        seconds=20,
    )
    with pytest.raises(StoryError, match="borealis-ledger is not what it was: StatefulSet/db"):
        story.bob_comes_back(cast)


def test_bob_who_may_not_look_ends_the_story(cast: Cast, script: Script) -> None:
    script.refuses()
    with pytest.raises(subprocess.CalledProcessError):
        story.bob_comes_back(cast)


def sees(*, asleep: frozenset[str] = frozenset(), noticed: bool = False) -> list[Item]:
    """What the API server shows of all Spaces: everything Ready, except those that sleep.

    Args:
        asleep: the Spaces that sleep.
        noticed: whether the owner of atlas-preview has been told.
    """
    items: list[Item] = []
    for space in SPACES:
        for item in manifests(space):
            if item["kind"] not in {"Deployment", "StatefulSet"}:
                continue
            if space.name in asleep:
                item["spec"]["replicas"] = 0
            items.append(item)
            items += [ready_pod(space.name)] * item["spec"]["replicas"]
        items += [claim(space.name, number) for number in range(space.claims)]
    items.append(event("borealis-typo", kind="Warning", reason="PolicyInvalid", note=TYPO))
    if noticed:
        items.append(event("atlas-preview", kind="Normal", reason=NOTICE_REASON, note="Idle"))
    return items


def ready_pod(namespace: str) -> Item:
    return {
        "kind": "Pod",
        "metadata": {"name": "pod", "namespace": namespace},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


def claim(namespace: str, number: int) -> Item:
    name = f"data-db-{number}"
    meta = {"name": name, "namespace": namespace, "uid": f"uid-{number}"}
    return {"kind": "PersistentVolumeClaim", "metadata": meta}


def event(namespace: str, *, kind: str, reason: str, note: str) -> Item:
    return {
        "kind": "Event",
        "metadata": {"name": "event", "namespace": namespace},
        "regarding": {"kind": "Namespace", "name": namespace},
        "type": kind,
        "reason": reason,
        "note": note,
    }
