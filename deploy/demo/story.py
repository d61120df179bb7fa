"""The story, scene by scene; each scene is told, acted, and judged by the watcher."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from demo.actors import Actor, at_work, kubectl, polls, visits
from demo.daemon import Daemon
from demo.narrator import Narrator
from demo.stage import Stage
from demo.watcher import StoryError, Watcher

SLEEP_AFTER_SECONDS = 20
NOTICE_SECONDS = 8

FALLS_ASLEEP_WITHIN_SECONDS = 90.0
"""Idleness, the lag of the signals, notice, and Pods that take their time to end, with room."""

WAKES_WITHIN_SECONDS = 60.0

STAYS_UP_SECONDS = SLEEP_AFTER_SECONDS / 2
"""How long a Space is watched that must not sleep although its neighbours do."""

ALWAYS_UP = ("atlas-shop", "borealis-office", "borealis-typo")
"""The Spaces that have a reason to be up in every scene."""


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
        busy = curtain_up(cast, stack)
        with at_work(*busy.values(), within_seconds=SLEEP_AFTER_SECONDS):
            nobody_comes(cast)
        with at_work(busy["customer"], within_seconds=SLEEP_AFTER_SECONDS):
            prometheus_goes_away(cast, busy)
            bob_comes_back(cast)
            others_stayed_up(cast)
    the_bill(cast)


def curtain_up(cast: Cast, stack: ExitStack) -> Mapping[str, Actor]:
    """Build the Spaces, let everybody begin what they do, start sleeper."""
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


def nobody_comes(cast: Cast) -> None:
    """What nobody uses gets notice and sleeps; everything else stays up.

    Raises:
        StoryError: it did not.
    """
    watcher, narrator = cast.watcher, cast.narrator
    narrator.scene(
        "Nobody comes",
        "The unused Spaces get notice and sleep; the others are kept up, each by something else.",
    )
    narrator.waiting(f"Half a minute: {SLEEP_AFTER_SECONDS} s of idleness surely seen, and notice.")
    sleepers = ("atlas-preview", "atlas-leftover", "borealis-ledger")
    awake = tuple(name for name in cast.stage.names if name not in sleepers)
    watcher.wait(
        "atlas-preview gets notice while its Pods still run",
        lambda w: w.sight("atlas-preview").noticed,
        seconds=FALLS_ASLEEP_WITHIN_SECONDS,
    )
    narrator.fact("The owner of atlas-preview is told by an Event; its Pods still run.")
    for name, why in (
        ("atlas-preview", "nobody uses it"),
        ("atlas-leftover", "a controller's polling is not use"),
        ("borealis-ledger", "nobody uses it; its claims would go with a plain scale-down"),
    ):
        watcher.wait(f"{name} sleeps", _asleep(name), seconds=FALLS_ASLEEP_WITHIN_SECONDS)
        narrator.fact(f"{name} sleeps: {why}. Its Pods are really gone.")
    claims = watcher.sight("borealis-ledger").claims
    if claims != cast.stage.before["borealis-ledger"].claims or not claims:
        raise StoryError(f"borealis-ledger lost claims: {sorted(claims)} are left")
    narrator.fact(f"All {len(claims)} claims of borealis-ledger are still there.")
    watcher.insist(
        "the Spaces that are in use stay up",
        _never_slept(*awake),
        seconds=STAYS_UP_SECONDS,
    )
    for name in awake:
        narrator.fact(f"{name} is up: {cast.stage.space(name).story}.")
    watcher.wait(
        "borealis-typo is told by an Event",
        lambda w: w.sight("borealis-typo").warned("sleep-after", "soon"),
        seconds=10,
    )
    narrator.fact("borealis-typo was told by an Event which key, which value, which form.")


def prometheus_goes_away(cast: Cast, busy: Mapping[str, Actor]) -> None:
    """What depends on Prometheus sleeps only when it is back; what does not, sleeps meanwhile.

    Raises:
        StoryError: it did not go so.
    """
    stage, watcher, narrator = cast.stage, cast.watcher, cast.narrator
    narrator.scene(
        "Prometheus goes away",
        "The client of borealis-api leaves, and alice goes home; but traffic cannot be seen.",
    )
    stage.component("prometheus").stop()
    busy["client"].stop()
    busy["alice"].stop()
    narrator.waiting("Half a minute again.")
    watcher.wait(
        "atlas-workbench sleeps", _asleep("atlas-workbench"), seconds=FALLS_ASLEEP_WITHIN_SECONDS
    )
    narrator.fact("atlas-workbench needs no traffic signal: it sleeps.")
    watcher.insist(
        "borealis-api and the others stay up while nobody can see traffic",
        _never_slept("borealis-api", *ALWAYS_UP),
        seconds=STAYS_UP_SECONDS,
    )
    narrator.fact("borealis-api is up, though idle as long: no data is not idleness.")
    stage.component("prometheus").start()
    narrator.waiting("Prometheus is started again.")
    took = watcher.wait("borealis-api sleeps", _asleep("borealis-api"), seconds=120)
    narrator.fact(
        f"The counters show that nobody came meanwhile: borealis-api sleeps {took:.0f} s later."
    )


def bob_comes_back(cast: Cast) -> None:
    """A person's look at a sleeping Space wakes it, as it was; the times count from the command.

    Raises:
        StoryError: it did not wake, or not as it was.
    """
    stage, watcher, narrator = cast.stage, cast.watcher, cast.narrator
    name = "borealis-ledger"
    before = stage.before[name]
    narrator.scene("Bob comes back", f"$ kubectl get pods --namespace {name}")
    typed_at = time.monotonic()
    kubectl(stage.kubeconfig("bob"), "--namespace", name, "get", "pods")
    for what, holds in (
        ("It is scaled up", lambda w: w.sight(name).wanted > 0),
        ("The first Pod is Ready", lambda w: w.sight(name).ready > 0),
        ("Every Pod is Ready", lambda w: w.sight(name).up and w.sight(name).pods == before.pods),
    ):
        watcher.wait(f"{name}: {what}", holds, seconds=WAKES_WITHIN_SECONDS)
        took = time.monotonic() - typed_at
        narrator.fact(f"{what} {took:.1f} s after the command (the watcher looks once a second).")
    if changed := watcher.sight(name).differences(before):
        raise StoryError(f"{name} is not what it was: {', '.join(changed)}")
    narrator.fact("Every spec is what it was, every claim has the uid it had.")


def others_stayed_up(cast: Cast) -> None:
    """Whoever had a reason to be up in every scene is up, and was never asleep.

    Raises:
        StoryError: one was, or is not up.
    """
    cast.watcher.insist("the others stayed up", _never_slept(*ALWAYS_UP), seconds=0)
    cast.narrator.fact(f"{', '.join(ALWAYS_UP)} never slept in all that time.")


def the_bill(cast: Cast) -> None:
    """Show what was requested, and what sleeping freed."""
    cast.narrator.scene("What it was worth", "What was requested, and what sleeping freed.")
    for question in ("--by space", "--by tenant", "--by tenant --per minute"):
        command = f"usage --since 5m {question}"
        answer = cast.daemon.sleeper(*command.split())
        cast.narrator.page(f"\n$ sleeper {command}\n{answer.rstrip()}")


def _asleep(name: str) -> Callable[[Watcher], bool]:
    return lambda w: w.sight(name).asleep


def _never_slept(*names: str) -> Callable[[Watcher], bool]:
    return lambda w: all(w.sight(name).up and not w.slept(name) for name in names)
