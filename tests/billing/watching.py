"""A watch stream for the meter: wire bodies in, the inventory's news out."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from sleeper.core.names import LABEL_TENANT
from sleeper.core.objects import Namespace, Pod, SpaceObjects
from sleeper.kube.index import NamespaceIndex, NamespaceStore, PodStore
from sleeper.kube.podchange import PodChange

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


class WatchedInventory:
    """The real index and stores, fed with wire bodies by a test in place of an API server."""

    def __init__(self, clock: HandClock) -> None:
        self._clock = clock
        self._on_space: list[Callable[[str], None]] = []
        self._on_pod: list[Callable[[PodChange], None]] = []
        self._index = NamespaceIndex(self._tell)
        self._namespaces = NamespaceStore(self._index)
        self._pods = PodStore(
            self._index,
            source="pods",
            listener=self._tell_pod,
            seen_until=lambda: self.pods_seen_until,
        )
        self.synced = True
        self.answers = True
        self.pods_seen_until: datetime | None = clock.now()
        self.pods_lost_sight: tuple[datetime, datetime] | None = None

    def namespaces(self) -> Iterable[Namespace]:
        return self._index.namespaces()

    def space(self, name: str) -> SpaceObjects | None:
        return self._index.space(name)

    def by_uid(self, uid: str) -> Namespace | None:
        return self._index.by_uid(uid)

    def subscribe(self, callback: Callable[[str], None]) -> None:
        self._on_space.append(callback)

    def subscribe_pods(self, callback: Callable[[PodChange], None]) -> None:
        self._on_pod.append(callback)

    async def catch_up_on_pods(self) -> None:
        if not self.answers:
            await asyncio.Event().wait()
        self.alive()

    def alive(self) -> None:
        """The Pod watch gave a sign of life."""
        self.pods_seen_until = self._clock.now()

    def namespace(self, body: Body, *, deleted: bool = False) -> None:
        store = self._namespaces
        namespace = msgspec.convert(versioned(body), Namespace)
        (store.discard if deleted else store.put)(namespace, self._clock.now())

    def pod(self, body: Body, *, deleted: bool = False) -> None:
        pod = msgspec.convert(versioned(body), Pod)
        (self._pods.discard if deleted else self._pods.put)(pod, self._clock.now())
        self.alive()

    def relist(self, bodies: Iterable[Body]) -> None:
        """The Pod watch had lost its place; this is what a new list says."""
        assert self.pods_seen_until is not None
        self.pods_lost_sight = (self.pods_seen_until, self._clock.now())
        pods = [msgspec.convert(versioned(body), Pod) for body in bodies]
        self._pods.replace(pods, self._clock.now())
        self.alive()

    def _tell(self, name: str) -> None:
        for callback in self._on_space:
            callback(name)

    def _tell_pod(self, change: PodChange) -> None:
        for callback in self._on_pod:
            callback(change)


def versioned(body: Body) -> Body:
    """The body with a resourceVersion that differs where the body does."""
    version = str(zlib.crc32(msgspec.json.encode(body)))
    return {**body, "metadata": {**body["metadata"], "resourceVersion": version}}


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
