"""A model in memory of the little of an API server that flights use.

Deployments, StatefulSets, their Pods, one namespace and the sleep records: with uid, generation,
field ownership and JSON Patch as the real server does them, which ``tests/cluster/
test_model_contract.py`` checks by running the same cases on both. Pods follow replicas at once.
Every write passes :meth:`ModelApi.write`, where a test can kill, lose an answer, deny or hold.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from sleeper.core.jsonpatch import ABSENT, JsonOp, pointer, resolve, tokens_of
from sleeper.core.names import FIELD_MANAGER
from sleeper.core.objects import (
    Deployment,
    Namespace,
    Pod,
    ReplicaSet,
    SpaceObjects,
    StatefulSet,
)
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.record import SleepRecord
from sleeper.kube.errors import AlreadyExists, NotFound, TestFailed

T = TypeVar("T")
Json = dict[str, Any]
Fault = Callable[[str, Callable[[], Any]], Any]
"""Given the name of a write and the write itself: does it, or does something else."""

_SPEC_MOVES_GENERATION = {
    "Deployment": ("/spec", "/metadata/annotations"),
    "StatefulSet": ("/spec",),
}
_OWNED = (
    "/spec/replicas",
    "/spec/revisionHistoryLimit",
    "/spec/persistentVolumeClaimRetentionPolicy/whenScaled",
    "/spec/persistentVolumeClaimRetentionPolicy/whenDeleted",
    "/metadata/annotations/sleeper.dev~1restore",
)
_PLURALS = {"deployments": "Deployment", "statefulsets": "StatefulSet"}


def apply_patch(document: Json, ops: Sequence[JsonOp]) -> Json:
    """All operations or none, as the API server does it.

    ``test`` for null also holds where the member is absent, and ``replace`` adds what is absent.
    """
    result: Json = copy.deepcopy(document)
    for op in ops:
        *parents, last = tokens_of(op.path)
        here = resolve(result, pointer(*parents))
        found = resolve(result, op.path)
        if here is ABSENT:
            raise TestFailed(f"{op.path}: no parent")
        if op.op == "test":
            if (None if found is ABSENT else found) != op.value:
                raise TestFailed(f"{op.path} is {found!r}, not {op.value!r}")
        elif op.op == "remove":
            if found is ABSENT:
                raise TestFailed(f"{op.path} is absent")
            del here[int(last) if isinstance(here, list) else last]
        elif isinstance(here, list):
            here.insert(len(here) if last == "-" else int(last), copy.deepcopy(op.value))
        else:
            here[last] = copy.deepcopy(op.value)
    return result


def _own(fields: Json, path: str) -> None:
    for token in tokens_of(path):
        fields = fields.setdefault(f"f:{token}", {})


def _disown(fields: Json, path: str) -> None:
    """Remove a field and every parent that it leaves empty."""
    trail = []
    here = fields
    for token in tokens_of(path):
        key = f"f:{token}"
        if key not in here:
            return
        trail.append((here, key))
        here = here[key]
    for parent, key in reversed(trail):
        if parent[key] and (parent, key) != trail[-1]:
            return
        del parent[key]


@dataclass
class ModelApi:
    """One Space on one API server.

    Attributes:
        namespace: the namespace object.
        objects: workloads by (kind, name).
        records: sleep records by epoch.
        fault: what happens to writes; does them by default.
        reported: by (kind, name), what controllers say of a workload; by default they have seen
            it, all its Pods are of its present template and Ready.
    """

    namespace: Json
    objects: dict[tuple[str, str], Json] = field(default_factory=dict)
    stored: dict[int, SleepRecord] = field(default_factory=dict)
    fault: Fault = lambda _name, write: write()
    writes: list[str] = field(default_factory=list)
    reported: dict[tuple[str, str], Json] = field(default_factory=dict)
    uids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    request_timeout_seconds: float = 10.0

    # -- what owners do --------------------------------------------------------------------------

    def create(self, manifest: Json, *, manager: str = "kubectl") -> Json:
        """Create a workload; its manager owns the fields of the manifest."""
        live = copy.deepcopy(manifest)
        spec = live["spec"]
        absent_replicas = "replicas" not in spec
        spec.setdefault("replicas", 1)
        spec.setdefault("revisionHistoryLimit", 10)
        if live["kind"] == "StatefulSet":
            policy = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
            policy.setdefault("whenScaled", "Retain")
            policy.setdefault("whenDeleted", "Retain")
        fields: Json = {"f:spec": {"f:template": {}}}
        for path in _OWNED:
            if resolve(manifest, path) is not ABSENT and not (
                path == "/spec/replicas" and absent_replicas
            ):
                _own(fields, path)
        live["metadata"] |= {
            "uid": f"uid-{next(self.uids)}",
            "generation": 1,
            "managedFields": [
                {
                    "manager": manager,
                    "operation": "Apply",
                    "apiVersion": "apps/v1",
                    "fieldsType": "FieldsV1",
                    "fieldsV1": fields,
                    "time": "2026-11-21T00:00:00Z",
                }
            ],
        }
        self.objects[live["kind"], live["metadata"]["name"]] = live
        return live

    def annotate(self, kind: str, name: str, key: str, value: str | None) -> None:
        """``kubectl annotate``: of some kinds it moves the generation."""
        live = self.objects[kind, name]
        annotations = live["metadata"].setdefault("annotations", {})
        if annotations.get(key) == value:
            return
        if value is None:
            del annotations[key]
        else:
            annotations[key] = value
        if "/metadata/annotations" in _SPEC_MOVES_GENERATION[kind]:
            live["metadata"]["generation"] += 1

    def scale(self, kind: str, name: str, replicas: int, *, manager: str = "kubectl") -> None:
        """``kubectl scale``: the owner's hand; to what is there already it leaves no trace.

        Scaled to 0, nobody holds the field: a Scale object does not show a 0.
        """
        live = self.objects[kind, name]
        if live["spec"]["replicas"] == replicas:
            return
        entry = {
            "manager": manager,
            "operation": "Update",
            "subresource": "scale",
            "apiVersion": "apps/v1",
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": {"f:replicas": {}}},
        }
        self._take(live, ["/spec/replicas"])
        if replicas:
            live["metadata"]["managedFields"].append(entry)
        live["spec"]["replicas"] = replicas
        live["metadata"]["generation"] += 1

    def apply(self, kind: str, name: str, path: str, value: Any, *, at: str) -> None:
        """``kubectl apply --server-side`` of one more field, by a manager of its own."""
        live = self.objects[kind, name]
        *parents, last = tokens_of(path)
        if resolve(live, path) != value:
            self._take(live, [path])
            resolve(live, pointer(*parents))[last] = value
            live["metadata"]["generation"] += 1
        fields: Json = {}
        _own(fields, path)
        live["metadata"]["managedFields"].append(
            {
                "manager": "owner",
                "operation": "Apply",
                "apiVersion": "apps/v1",
                "fieldsType": "FieldsV1",
                "fieldsV1": fields,
                "time": at,
            }
        )

    # -- ObjectClient ----------------------------------------------------------------------------

    async def get(self, path: str, *, params: Mapping[str, str] | None = None) -> bytes:
        """Read an object, the namespace, or the list of Pods."""
        if path.endswith("/pods"):
            return msgspec.json.encode({"items": self._pods()})
        if path == f"/api/v1/namespaces/{self.namespace['metadata']['name']}":
            return msgspec.json.encode(self.namespace)
        return msgspec.json.encode(self._with_status(self._find(path)))

    async def json_patch(self, path: str, ops: Sequence[JsonOp]) -> bytes:
        """Patch a workload, or the namespace, as our field manager."""
        if path == f"/api/v1/namespaces/{self.namespace['metadata']['name']}":

            def annotate() -> bytes:
                self.namespace = apply_patch(self.namespace, ops)
                return msgspec.json.encode(self.namespace)

            return self._write("annotate", annotate)

        def write() -> bytes:
            before = self._find(path)
            after = apply_patch(before, ops)
            if not after["metadata"].get("annotations", True):
                del after["metadata"]["annotations"]
            self._track(before, after)
            self.objects[after["kind"], after["metadata"]["name"]] = after
            return msgspec.json.encode(self._with_status(after))

        return self._write(f"patch {path.rsplit('/', 2)[-2]}/{path.rsplit('/', 1)[-1]}", write)

    async def merge_patch(self, path: str, body: Any) -> bytes:
        """Patch the namespace's annotations."""

        def write() -> bytes:
            annotations = self.namespace["metadata"].setdefault("annotations", {})
            for key, value in body["metadata"]["annotations"].items():
                if value is None:
                    annotations.pop(key, None)
                else:
                    annotations[key] = value
            return msgspec.json.encode(self.namespace)

        return self._write("annotate", write)

    # -- SpaceView -------------------------------------------------------------------------------

    def space(self, name: str) -> SpaceObjects | None:
        """All objects of the Space."""
        if name != self.namespace["metadata"]["name"]:
            return None
        return SpaceObjects(
            namespace=msgspec.convert(self.namespace, Namespace),
            deployments=tuple(
                msgspec.convert(self._with_status(o), Deployment)
                for (kind, _), o in self.objects.items()
                if kind == "Deployment"
            ),
            stateful_sets=tuple(
                msgspec.convert(self._with_status(o), StatefulSet)
                for (kind, _), o in self.objects.items()
                if kind == "StatefulSet"
            ),
            replica_sets=tuple(
                msgspec.convert(rs, ReplicaSet)
                for rs in (
                    _replica_set(o) for (kind, _), o in self.objects.items() if kind == "Deployment"
                )
            ),
            pods=tuple(msgspec.convert(pod, Pod) for pod in self._pods()),
        )

    # -- what happens inside ---------------------------------------------------------------------

    def _write(self, name: str, write: Callable[[], T]) -> T:
        self.writes.append(name)
        written: T = self.fault(name, write)
        return written

    def _find(self, path: str) -> Json:
        plural, name = path.rsplit("/", 2)[-2:]
        try:
            return self.objects[_PLURALS[plural], name]
        except KeyError:
            raise NotFound(path, path=path, status=404) from None

    def _pods(self) -> list[Json]:
        pods = []
        for (kind, name), live in self.objects.items():
            owner = _replica_set(live) if kind == "Deployment" else live
            reference = {
                "apiVersion": "apps/v1",
                "kind": owner["kind"],
                "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"],
                "controller": True,
            }
            for index in range(live["spec"]["replicas"]):
                metadata = {"name": f"{name}-{index}", "ownerReferences": [reference]}
                container = {"name": "app", "resources": {"requests": {"cpu": "100m"}}}
                pods.append(
                    {
                        "metadata": metadata,
                        "spec": {"containers": [container]},
                        "status": {"phase": "Running"},
                    }
                )
        return pods

    def _with_status(self, live: Json) -> Json:
        status = {
            "observedGeneration": live["metadata"]["generation"],
            "replicas": live["spec"]["replicas"],
            "readyReplicas": live["spec"]["replicas"],
            "updatedReplicas": live["spec"]["replicas"],
        }
        reported = self.reported.get((live["kind"], live["metadata"]["name"]), {})
        return {**live, "status": status | reported}

    def _track(self, before: Json, after: Json) -> None:
        """Generation and field ownership after a patch of ours."""
        moving = _SPEC_MOVES_GENERATION[after["kind"]]
        if any(resolve(before, p) != resolve(after, p) for p in moving):
            after["metadata"]["generation"] += 1
        changed = [
            path
            for path in _OWNED
            if resolve(after, path) is not ABSENT and resolve(after, path) != resolve(before, path)
        ]
        gone = [path for path in _OWNED if resolve(after, path) is ABSENT]
        self._take(after, [*changed, *gone])
        managed = after["metadata"]["managedFields"]
        if not changed:
            return
        ours = next((e for e in managed if e["manager"] == FIELD_MANAGER), None)
        if ours is None:
            ours = {
                "manager": FIELD_MANAGER,
                "operation": "Update",
                "apiVersion": "apps/v1",
                "fieldsType": "FieldsV1",
                "fieldsV1": {},
                "time": "2026-11-21T01:00:00Z",
            }
            managed.append(ours)
        for path in changed:
            _own(ours["fieldsV1"], path)

    def _take(self, live: Json, paths: Sequence[str]) -> None:
        managed = live["metadata"]["managedFields"]
        for entry in managed:
            for path in paths:
                _disown(entry["fieldsV1"], path)
        live["metadata"]["managedFields"] = [e for e in managed if e["fieldsV1"]]


def _replica_set(deployment: Json) -> Json:
    meta = deployment["metadata"]
    owner = {"kind": "Deployment", "name": meta["name"], "uid": meta["uid"], "controller": True}
    return {
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{meta['name']}-1",
            "uid": f"rs-{meta['uid']}",
            "ownerReferences": [owner],
        },
    }


class ModelRecords:
    """The sleep records of the model."""

    def __init__(self, api: ModelApi) -> None:
        self._api = api

    async def of(self, space_uid: str) -> Sequence[SleepRecord]:
        """The records of one Space."""
        return [record for record in self._api.stored.values() if record.space_uid == space_uid]

    def all(self) -> Mapping[str, SleepRecord]:
        """The newest record, by Space uid."""
        return {r.space_uid: r for r in sorted(self._api.stored.values(), key=lambda r: r.epoch)}

    async def create(self, record: SleepRecord) -> None:
        """Store a new record."""

        def write() -> None:
            if record.epoch in self._api.stored:
                raise AlreadyExists("record", status=409)
            self._api.stored[record.epoch] = record

        self._api._write("create record", write)

    async def update_entries(self, record: SleepRecord) -> None:
        """Store changed entries."""

        def write() -> None:
            stored = self._stored(record)
            self._api.stored[record.epoch] = replace(stored, entries=record.entries)

        self._api._write("update record", write)

    async def mark_back(self, record: SleepRecord, back_at: Mapping[str, int]) -> SleepRecord:
        """Note which entries were brought back, at which generation."""

        def write() -> SleepRecord:
            stored = self._api.stored.get(record.epoch)
            if stored is None:
                raise NotFound("record", status=404)
            self._api.stored[record.epoch] = stored.marked(back_at)
            return record.marked(back_at)

        return self._api._write("mark record", write)

    async def set_phase(
        self,
        record: SleepRecord,
        phase: PowerState,
        *,
        sleeping_since: datetime | None = None,
        wake_reason: Reason | None = None,
        wake_started_at: datetime | None = None,
        wary: bool = False,
    ) -> SleepRecord:
        """Move a record to another phase."""

        def write() -> SleepRecord:
            stored = self._stored(record)
            moved = replace(
                stored,
                phase=phase,
                sleeping_since=sleeping_since or stored.sleeping_since,
                wake_reason=wake_reason or stored.wake_reason,
                wake_started_at=wake_started_at or stored.wake_started_at,
                wary=wary or stored.wary,
            )
            self._api.stored[record.epoch] = moved
            return moved

        return self._api._write(f"record {phase.value}", write)

    async def delete(self, record: SleepRecord) -> None:
        """Remove a record."""
        self._api._write("delete record", lambda: self._api.stored.pop(record.epoch, None))

    def _stored(self, record: SleepRecord) -> SleepRecord:
        stored = self._api.stored.get(record.epoch)
        if stored is None:
            raise NotFound("record", status=404)
        if stored.phase is not record.phase:
            raise TestFailed("the record has another phase", status=422)
        return stored
