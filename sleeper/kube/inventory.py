"""What is in the cluster, as far as decisions and metering need it, held in memory.

One reflector per kind; in a steady minute nothing is listed. Views are immutable and are built
only when somebody asks after a change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec
import structlog

from metrics.core.clock import Clock
from metrics.recorder import Recorder
from sleeper.core.objects import Namespace, SpaceObjects
from sleeper.kube.client import KubeClient
from sleeper.kube.errors import KubeError, NotFound, Undecodable
from sleeper.kube.index import (
    IngressClassStore,
    NamespaceIndex,
    NamespaceStore,
    ObjectStore,
    PodStore,
)
from sleeper.kube.kinds import (
    BUILT_IN,
    GATEWAY_GROUP,
    GATEWAY_ROUTES,
    INGRESS_CLASSES,
    NAMESPACES,
    PODS,
    FollowedKind,
    gateway_route,
)
from sleeper.kube.podchange import PodChange
from sleeper.kube.watch import RELIST_SECONDS, WATCH_SECONDS, Reflector, Store

DISCOVERY_SECONDS: Final = 60.0
"""How often we look whether the cluster serves Gateway API routes by now: one or two GETs."""

DecodedT = TypeVar("DecodedT")

_log = structlog.get_logger(__name__)


class Inventory:
    """Follows namespaces and everything in them that a decision may depend on.

    Args:
        client: the API server.
        clock: wall and monotonic time.
        recorder: counts what the reflectors do.
        watch_seconds: length of one watch; also bounds how long silence goes unnoticed.
        relist_seconds: time between forced lists.
        discovery_seconds: time between looks for optional resources.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        clock: Clock,
        recorder: Recorder,
        watch_seconds: float = WATCH_SECONDS,
        relist_seconds: float = RELIST_SECONDS,
        discovery_seconds: float = DISCOVERY_SECONDS,
    ) -> None:
        self._client = client
        self._clock = clock
        self._recorder = recorder
        self._watch_seconds = watch_seconds
        self._relist_seconds = relist_seconds
        self._discovery_seconds = discovery_seconds
        self._listeners: list[Callable[[str], None]] = []
        self._pod_listeners: list[Callable[[PodChange], None]] = []
        self._index = NamespaceIndex(self._tell)
        self._classes = IngressClassStore(self._tell_all)
        pods = PodStore(
            self._index,
            source=PODS.resource,
            listener=self._tell_pod,
            seen_until=lambda: self.pods_seen_until,
        )
        self._pods = self._reflector(PODS, pods)
        self._reflectors: dict[str, Reflector[Any]] = {
            NAMESPACES.path: self._reflector(NAMESPACES, NamespaceStore(self._index)),
            PODS.path: self._pods,
            INGRESS_CLASSES.path: self._reflector(INGRESS_CLASSES, self._classes),
        }
        for kind in BUILT_IN:
            if kind is not PODS:
                self._reflectors[kind.path] = self._reflector(kind, self._object_store(kind))
        self._gateway_trouble: str | None = "not looked for yet"

    async def run(self) -> None:
        """Follow the cluster until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for reflector in self._reflectors.values():
                tasks.create_task(reflector.run(), name=f"reflect {reflector.resource}")
            tasks.create_task(self._follow_gateway_routes(tasks), name="discover routes")

    # what is there

    @property
    def synced(self) -> bool:
        """Every kind has been listed and its watch is alive."""
        return self._gateway_trouble is None and all(
            reflector.synced for reflector in self._reflectors.values()
        )

    def unsynced(self) -> tuple[str, ...]:
        """``resource: why`` of everything that cannot be trusted now."""
        troubles = [
            f"{reflector.resource}: {why}"
            for reflector in self._reflectors.values()
            if (why := reflector.unsynced_because()) is not None
        ]
        if self._gateway_trouble is not None:
            troubles.append(f"Gateway API routes: {self._gateway_trouble}")
        return tuple(troubles)

    def unknown_because(self) -> str | None:
        """Why it was never known yet which namespaces there are, as a sentence; None: it was."""
        namespaces = self._reflectors[NAMESPACES.path]
        if namespaces.known.is_set():
            return None
        return f"the namespaces are {namespaces.unsynced_because()}"

    def namespaces(self) -> Iterable[Namespace]:
        """All namespaces, in no particular order; copy before awaiting."""
        return self._index.namespaces()

    def space(self, name: str) -> SpaceObjects | None:
        """All objects of a namespace at this moment; None if there is no such namespace."""
        return self._index.space(name)

    def has_pod(self, namespace: str, name: str) -> bool:
        """Whether there is a Pod of this name; asked of each open stream with each look."""
        return self._index.has_object(PODS.resource, namespace, name)

    def by_uid(self, uid: str) -> Namespace | None:
        """The namespace with this uid."""
        return self._index.by_uid(uid)

    def ingress_classes(self) -> Mapping[str, str]:
        """IngressClass name → controller; the cluster's default class under ``""``."""
        return self._classes.controllers

    @property
    def pods_seen_until(self) -> datetime | None:
        """Last proof of life of the Pod watch; None before the first list."""
        return self._pods.last_seen

    @property
    def pods_lost_sight(self) -> tuple[datetime, datetime] | None:
        """The last stretch from proof of life to re-list of the Pods; None: never re-listed."""
        return self._pods.lost_sight

    async def catch_up_on_pods(self) -> None:
        """Return once every change of Pods up to now has surely been seen."""
        await self._pods.catch_up()

    # who wants to know

    def subscribe(self, callback: Callable[[str], None]) -> None:
        """Call back with the name of each namespace in which something changed.

        In the loop's thread, at once, perhaps many times in a row: only take a note.
        """
        self._listeners.append(callback)

    def subscribe_pods(self, callback: Callable[[PodChange], None]) -> None:
        """Call back with each change of one Pod, under the same rules."""
        self._pod_listeners.append(callback)

    def _tell(self, namespace: str) -> None:
        for listener in self._listeners:
            listener(namespace)

    def _tell_all(self) -> None:
        for namespace in tuple(self._index.namespaces()):
            self._tell(namespace.metadata.name)

    def _tell_pod(self, change: PodChange) -> None:
        for listener in self._pod_listeners:
            listener(change)

    # how it is kept

    def _object_store(self, kind: FollowedKind) -> ObjectStore[Any]:
        assert kind.field is not None
        return ObjectStore(self._index, source=kind.resource, field=kind.field)

    def _reflector(self, kind: FollowedKind, store: Store[Any]) -> Reflector[Any]:
        return Reflector(
            self._client,
            resource=kind.resource,
            path=kind.path,
            kind=kind.kind,
            store=store,
            clock=self._clock,
            recorder=self._recorder,
            watch_seconds=self._watch_seconds,
            relist_seconds=self._relist_seconds,
        )

    async def _follow_gateway_routes(self, tasks: asyncio.TaskGroup) -> None:
        """Follow the route kinds that the cluster serves; begin and end as CRDs come and go."""
        following: dict[str, tuple[asyncio.Task[None], ObjectStore[Any]]] = {}
        while True:
            try:
                served = {kind.path: kind for kind in await _served_routes(self._client)}
            except KubeError as error:
                # what we follow goes on; what may be new is unknown only before the first look
                if self._gateway_trouble is not None:
                    self._gateway_trouble = str(error)
                _log.warning("discovery_failed", group=GATEWAY_GROUP, error=str(error))
            else:
                for path in following.keys() - served.keys():
                    task, store = following.pop(path)
                    task.cancel()
                    del self._reflectors[path]
                    store.replace([], self._clock.now())
                for path in served.keys() - following.keys():
                    store = self._object_store(served[path])
                    reflector = self._reflector(served[path], store)
                    self._reflectors[path] = reflector
                    task = tasks.create_task(reflector.run(), name=f"reflect {reflector.resource}")
                    following[path] = (task, store)
                self._gateway_trouble = None
            await asyncio.sleep(self._discovery_seconds if self._gateway_trouble is None else 1.0)


class _GroupVersion(msgspec.Struct, frozen=True):
    version: str


class _Group(msgspec.Struct, frozen=True):
    versions: list[_GroupVersion]


class _Resource(msgspec.Struct, frozen=True):
    name: str


class _Resources(msgspec.Struct, frozen=True):
    resources: list[_Resource]


async def _served_routes(client: KubeClient) -> list[FollowedKind]:
    """The Gateway API route resources of the cluster, each in the version it prefers."""
    group_path = f"/apis/{GATEWAY_GROUP}"
    try:
        group = _decode(_Group, await client.get(group_path), group_path)
    except NotFound:
        return []
    found: dict[str, FollowedKind] = {}
    for version in group.versions:  # the server lists the preferred one first
        path = f"{group_path}/{version.version}"
        for resource in _decode(_Resources, await client.get(path), path).resources:
            if resource.name in GATEWAY_ROUTES and resource.name not in found:
                found[resource.name] = gateway_route(version.version, resource.name)
    return list(found.values())


def _decode(kind: type[DecodedT], body: bytes, path: str) -> DecodedT:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise Undecodable(f"discovery: {error}", path=path) from error
