"""The story, scene by scene; each scene is told, acted, and judged by the watcher."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from demo.actors import Actor, kubectl, polls, visits
from demo.daemon import Daemon
from demo.narrator import Narrator
from demo.stage import Stage
from demo.watcher import Sight, StoryError, Watcher

SLEEP_AFTER_SECONDS = 20
NOTICE_SECONDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Everybody who takes part."""

    stage: Stage
    daemon: Daemon
    watcher: Watcher
    narrator: Narrator


def tell(cast: Cast) -> None:
    """Tell the whole story.

    Raises:
        StoryError: something did not go as told.
    """
    with ExitStack() as stack:
        busy = _curtain_up(cast, stack)
        _nobody_comes(cast)
        _prometheus_goes_away(cast, busy)
        _bob_comes_back(cast)
    _the_bill(cast)


def _curtain_up(cast: Cast, stack: ExitStack) -> Mapping[str, Actor]:
    stage, narrator = cast.stage, cast.narrator
    narrator.scene(
        "Two tenants, eight Spaces",
        f"Each sleeps after {SLEEP_AFTER_SECONDS} s without use, {NOTICE_SECONDS} s after notice.",
    )
    narrator.waiting("Creating them, and waiting until the watcher has seen every Pod Ready.")
    stage.build()
    narrator.fact("All Pods are Ready.")
    busy = {
        "alice": polls(stage.kubeconfig("alice"), "atlas-workbench"),
        "controller": polls(stage.robot, "atlas-leftover"),
        "customer": visits(stage.ingress, "shop.example.com"),
        "client": visits(stage.ingress, "api.example.com"),
    }
    for actor in busy.values():
        stack.enter_context(actor)
    narrator.waiting("Starting sleeper, and waiting until it knows every object of the cluster.")
    cast.daemon.start()
    narrator.fact("sleeper is running, with the permissions and the audit policy that it ships.")
    return busy


def _nobody_comes(cast: Cast) -> None:
    watcher, narrator = cast.watcher, cast.narrator
    narrator.scene(
        "Nobody comes",
        "The unused Spaces get notice and sleep; the others are kept up, each by something else.",
    )
    narrator.waiting(f"Half a minute: {SLEEP_AFTER_SECONDS} s of idleness surely seen, and notice.")
    sleepers = ("atlas-preview", "atlas-leftover", "borealis-ledger")
    awake = tuple(name for name in cast.stage.names if name not in sleepers)
    for name, why in (
        ("atlas-preview", "nobody uses it"),
        ("atlas-leftover", "a controller's polling is not use"),
        ("borealis-ledger", "nobody uses it; its claims would go with a plain scale-down"),
    ):
        watcher.wait(f"{name} sleeps", _asleep(name), seconds=90)
        narrator.fact(f"{name} sleeps: {why}. Its Pods are really gone.")
    claims = watcher.sight("borealis-ledger").claims
    if claims != cast.stage.before["borealis-ledger"].claims or not claims:
        raise StoryError(f"borealis-ledger lost claims: {sorted(claims)} are left")
    narrator.fact(f"All {len(claims)} claims of borealis-ledger are still there.")
    watcher.insist(
        "the Spaces that are in use stay up",
        lambda w: all(w.sight(name).up and not w.slept(name) for name in awake),
        seconds=SLEEP_AFTER_SECONDS / 2,
    )
    for name in awake:
        narrator.fact(f"{name} is up: {cast.stage.space(name).story}.")
    watcher.wait(
        "borealis-typo is told by an Event",
        lambda w: w.warned("borealis-typo", "sleep-after", "soon"),
        seconds=10,
    )
    narrator.fact("borealis-typo was told by an Event which key, which value, which form.")


def _prometheus_goes_away(cast: Cast, busy: Mapping[str, Actor]) -> None:
    stage, watcher, narrator = cast.stage, cast.watcher, cast.narrator
    narrator.scene(
        "Prometheus goes away",
        "The client of borealis-api leaves, and alice goes home; but traffic cannot be seen.",
    )
    stage.component("prometheus").stop()
    busy["client"].stop()
    busy["alice"].stop()
    narrator.waiting("Half a minute again.")
    watcher.wait("atlas-workbench sleeps", _asleep("atlas-workbench"), seconds=90)
    narrator.fact("atlas-workbench needs no traffic signal: it sleeps.")
    watcher.insist(
        "borealis-api stays up while nobody can see its traffic",
        lambda w: w.sight("borealis-api").up and not w.slept("borealis-api"),
        seconds=SLEEP_AFTER_SECONDS / 2,
    )
    narrator.fact("borealis-api is up, though idle as long: no data is not idleness.")
    stage.component("prometheus").start()
    narrator.waiting("Prometheus is started again.")
    took = watcher.wait("borealis-api sleeps", _asleep("borealis-api"), seconds=120)
    narrator.fact(
        f"The counters show that nobody came meanwhile: borealis-api sleeps {took:.0f} s later."
    )


def _bob_comes_back(cast: Cast) -> None:
    stage, watcher, narrator = cast.stage, cast.watcher, cast.narrator
    name = "borealis-ledger"
    narrator.scene("Bob comes back", f"$ kubectl get pods --namespace {name}")
    kubectl(stage.kubeconfig("bob"), "--namespace", name, "get", "pods")
    watcher.wait(f"{name} wakes", lambda w: w.sight(name).wanted > 0, seconds=30)
    took = watcher.wait(f"all of {name} is Ready", lambda w: w.sight(name).up, seconds=60)
    narrator.fact(f"Every Pod is Ready again {took:.0f} s later.")
    _same(cast.stage.before[name], watcher.sight(name), name)
    narrator.fact("Every spec is what it was, every claim has the uid it had.")


def _the_bill(cast: Cast) -> None:
    cast.narrator.scene("What it was worth", "What was requested, and what sleeping freed.")
    for question in ("--by space", "--by tenant", "--by tenant --per minute"):
        command = f"usage --since 5m {question}"
        answer = cast.daemon.sleeper(*command.split())
        cast.narrator.page(f"\n$ sleeper {command}\n{answer.rstrip()}")


def _asleep(name: str) -> Callable[[Watcher], bool]:
    return lambda w: w.sight(name).asleep


def _same(before: Sight, after: Sight, name: str) -> None:
    for what, old in before.specs.items():
        if after.specs.get(what) != old:
            raise StoryError(f"{what} of {name} is not what it was: {after.specs.get(what)}")
    if before.claims != after.claims:
        raise StoryError(f"claims of {name} are not what they were: {after.claims}")
