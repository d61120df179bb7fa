"""The judge: sees the cluster through the API server alone and knows nothing of the daemon.

It asks only cluster-wide (a question inside a namespace would itself be use of that namespace),
and it looks at what cannot lie: Pods, ``spec`` of the workloads, claims. Our annotations, metrics
and read API are not evidence. Events are, but only of what the owner was told.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

PATIENCE_SECONDS = 10.0
"""A watcher that has not seen the cluster for that long judges no more."""

NOTICE_REASON = "IdleNotice"
"""The reason of the Event by which an owner is told that sleep is near."""


class StoryError(Exception):
    """A scene did not go as told; the message says which, and what was seen instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What an Event about a namespace told its owner.

    Attributes:
        kind: ``Normal`` or ``Warning``.
        reason: CamelCase.
        text: a sentence for people.
    """

    kind: str
    reason: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One namespace at one moment.

    Attributes:
        pods: number of Pods that exist, terminating ones included.
        ready: how many of them are Ready.
        wanted: ``spec.replicas`` summed over the workloads.
        specs: ``Kind/name`` → whole spec.
        claims: name → uid of each claim.
        notes: what its owner had been told before the Pods were looked at.
    """

    pods: int = 0
    ready: int = 0
    wanted: int = 0
    specs: Mapping[str, Any] = field(default_factory=dict)
    claims: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()

    @property
    def asleep(self) -> bool:
        """There is something that could run, but nothing does and nothing is meant to."""
        return bool(self.specs) and self.pods == 0 and self.wanted == 0

    @property
    def up(self) -> bool:
        """Everything that is meant to run is Ready."""
        return self.wanted > 0 and self.ready == self.wanted == self.pods

    @property
    def noticed(self) -> bool:
        """Its owner was told that sleep is near, and everything still runs."""
        return self.up and any(note.reason == NOTICE_REASON for note in self.notes)

    def warned(self, *words: str) -> bool:
        """Whether one warning holds all of ``words``."""
        return any(
            note.kind == "Warning" and all(word in note.text for word in words)
            for note in self.notes
        )

    def differences(self, before: Sight) -> tuple[str, ...]:
        """Workloads and claims that are not what they were, came, or went."""
        return tuple(
            sorted(
                name
                for mine, old in ((self.specs, before.specs), (self.claims, before.claims))
                for name in mine.keys() | old.keys()
                if mine.get(name) != old.get(name)
            )
        )


class Watcher:
    """Looks at the cluster once a second, in a thread of its own, and keeps what it saw."""

    def __init__(
        self,
        kubeconfig: str,
        namespaces: tuple[str, ...],
        *,
        patience: float = PATIENCE_SECONDS,
        every_seconds: float = 1.0,
    ) -> None:
        self._kubeconfig = kubeconfig
        self._patience = patience
        self._every = every_seconds
        self._looked_at = time.monotonic()
        self._blinded_by = ""
        self._namespaces = namespaces
        self._sights: dict[str, Sight] = {name: Sight() for name in namespaces}
        self._slept: set[str] = set()
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._look()
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def sight(self, namespace: str) -> Sight:
        """What was seen last."""
        return self._sights[namespace]

    def slept(self, namespace: str) -> bool:
        """Whether the namespace has ever been seen asleep."""
        return namespace in self._slept

    def wait(self, what: str, holds: Callable[[Watcher], bool], *, seconds: float) -> float:
        """Wait until ``holds``; returns the seconds it took.

        Raises:
            StoryError: it did not within ``seconds``.
        """
        began = time.monotonic()
        with self._changed:
            while not self._judges(holds):
                left = began + seconds - time.monotonic()
                if left <= 0:
                    raise StoryError(f"{what}: not within {seconds:.0f} s. {self._report()}")
                self._changed.wait(min(left, 1.0))
        return time.monotonic() - began

    def insist(self, what: str, holds: Callable[[Watcher], bool], *, seconds: float) -> None:
        """``holds`` must be true now and stay true for ``seconds``.

        Raises:
            StoryError: it was not.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                if not self._judges(holds):
                    raise StoryError(f"{what}: no longer so. {self._report()}")
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                self._changed.wait(min(left, 1.0))

    def _judges(self, holds: Callable[[Watcher], bool]) -> bool:
        """What ``holds`` says, unless what it judges by is old: not seeing a change is no proof."""
        blind = time.monotonic() - self._looked_at
        if blind > self._patience:
            raise StoryError(f"the watcher is blind since {blind:.0f} s: {self._blinded_by}")
        return holds(self)

    def _report(self) -> str:
        return "Seen: " + ", ".join(
            f"{name} {sight.ready} ready of {sight.wanted} wanted"
            for name, sight in self._sights.items()
        )

    def _watch(self) -> None:
        while not self._stop.wait(self._every):
            try:
                self._look()
            except subprocess.SubprocessError as error:
                self._blinded_by = str(getattr(error, "stderr", None) or error).strip()

    def _look(self) -> None:
        began = time.monotonic()
        sights = self._sights_now()
        with self._changed:
            self._sights = sights
            self._looked_at = began
            self._slept |= {name for name, sight in sights.items() if sight.asleep}
            self._changed.notify_all()

    def _sights_now(self) -> dict[str, Sight]:
        # In this order: an Event that is seen beside running Pods was there before they ended.
        found = self._get(
            "events.events.k8s.io,pods,deployments,statefulsets,persistentvolumeclaims"
        )
        return {name: _sight(name, found) for name in self._namespaces}

    def _get(self, resources: str) -> list[dict[str, Any]]:
        answer = subprocess.run(
            [
                "kubectl",
                f"--kubeconfig={self._kubeconfig}",
                "get",
                resources,
                "--all-namespaces",
                "--output=json",
            ],
            check=True,
            capture_output=True,
            text=True,
            timeout=30,
        )
        items: list[dict[str, Any]] = json.loads(answer.stdout)["items"]
        return items


def _sight(namespace: str, items: list[dict[str, Any]]) -> Sight:
    mine = [item for item in items if item["metadata"]["namespace"] == namespace]
    pods = [item for item in mine if item["kind"] == "Pod"]
    workloads = [item for item in mine if item["kind"] in {"Deployment", "StatefulSet"}]
    return Sight(
        pods=len(pods),
        ready=sum(map(_is_ready, pods)),
        wanted=sum(item["spec"]["replicas"] for item in workloads),
        specs={f"{item['kind']}/{item['metadata']['name']}": item["spec"] for item in workloads},
        claims={
            item["metadata"]["name"]: item["metadata"]["uid"]
            for item in mine
            if item["kind"] == "PersistentVolumeClaim"
        },
        notes=tuple(
            Note(
                kind=item.get("type", ""),
                reason=item.get("reason", ""),
                text=item.get("note", ""),
            )
            for item in mine
            if item["kind"] == "Event" and item.get("regarding", {}).get("kind") == "Namespace"
        ),
    )


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
