"""A watch stream for the meter: wire bodies in, the inventory's news out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from sleeper.control.shift import PodChange
from sleeper.core.names import LABEL_TENANT
from sleeper.core.objects import Namespace, Pod, SpaceObjects

Body = dict[str, Any]


class HandClock:
    """A clock that a test moves."""

    def __init__(self, at: int) -> None:
        self.at = float(at)
        self.monotonic_at = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)

    def monotonic(self) -> float:
        return self.monotonic_at

    def move_to(self, at: float) -> None:
        self.monotonic_at += at - self.at
        self.at = at

    def step(self, seconds: float) -> None:
        """Move the wall clock alone."""
        self.at += seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A PodChange."""

    old: Pod | None
    new: Pod | None
    at: datetime
    relisted: bool = False


class WatchedInventory:
    """An inventory fed with wire bodies, in place of the one that watches an API server."""

    def __init__(self, clock: HandClock) -> None:
        self._clock = clock
        self._namespaces: dict[str, Namespace] = {}
        self._pods: dict[str, Pod] = {}
        self._on_space: list[Callable[[str], None]] = []
        self._on_pod: list[Callable[[PodChange], None]] = []
        self.synced = True
        self.pods_seen_until: datetime | None = clock.now()

    def namespaces(self) -> list[Namespace]:
        return list(self._namespaces.values())

    def space(self, name: str) -> SpaceObjects | None:
        if name not in self._namespaces:
            return None
        pods = tuple(pod for pod in self._pods.values() if pod.metadata.namespace == name)
        return SpaceObjects(namespace=self._namespaces[name], pods=pods)

    def subscribe(self, callback: Callable[[str], None]) -> None:
        self._on_space.append(callback)

    def subscribe_pods(self, callback: Callable[[PodChange], None]) -> None:
        self._on_pod.append(callback)

    def alive(self) -> None:
        """The Pod watch gave a sign of life."""
        self.pods_seen_until = self._clock.now()

    def namespace(self, body: Body, *, deleted: bool = False) -> None:
        namespace = msgspec.convert(body, Namespace)
        name = namespace.metadata.name
        if deleted:
            del self._namespaces[name]
        else:
            self._namespaces[name] = namespace
        for callback in self._on_space:
            callback(name)

    def pod(self, body: Body, *, deleted: bool = False, relisted: bool = False) -> None:
        pod = msgspec.convert(body, Pod)
        key = f"{pod.metadata.namespace}/{pod.metadata.name}"
        old = self._pods.pop(key, None)
        if not deleted:
            self._pods[key] = pod
        change = Change(
            old=old, new=None if deleted else pod, at=self._clock.now(), relisted=relisted
        )
        if not relisted:
            self.alive()
        for callback in self._on_pod:
            callback(change)
        for on_space in self._on_space:
            on_space(pod.metadata.namespace)


def stamp(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def namespace_body(name: str, tenant: str | None, uid: str | None = None) -> Body:
    labels = {} if tenant is None else {LABEL_TENANT: tenant}
    return {"metadata": {"name": name, "uid": uid or f"uid-{name}", "labels": labels}}


def pod_body(
    namespace: str,
    name: str,
    *,
    cpu: str = "100m",
    memory: str = "64Mi",
    scheduled: int | None = None,
    phase: str = "Running",
    finished: int | None = None,
) -> Body:
    conditions = []
    if scheduled is not None:
        conditions.append(
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp(scheduled)}
        )
    state = {} if finished is None else {"terminated": {"finishedAt": stamp(finished)}}
    requests = {"cpu": cpu, "memory": memory}
    return {
        "metadata": {"namespace": namespace, "name": name, "uid": f"uid-{name}"},
        "spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]},
        "status": {
            "phase": phase,
            "conditions": conditions,
            "containerStatuses": [{"name": "c", "state": state}],
        },
    }
