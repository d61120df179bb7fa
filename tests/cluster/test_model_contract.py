"""What the model API server of the tests does, the real one does too: the same cases on both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import pytest
import pytest_asyncio
from devcluster.client import Cluster

from sleeper.core import jsonpatch
from sleeper.core.jsonpatch import JsonOp
from sleeper.kube.client import KubeClient
from sleeper.kube.errors import NotFound, TestFailed
from sleeper.telemetry.clock import SystemClock
from tests.support import manifests
from tests.support.api import path_of
from tests.support.eventually import eventually
from tests.support.modelapi import ModelApi
from tests.support.spaces import LiveSpace

Json = dict[str, Any]
REVISION = "deployment.kubernetes.io/revision"
NOTE = "/metadata/annotations/sleeper.dev~1restore"
MANAGED = "/metadata/managedFields"


class Server(Protocol):
    """What a case runs on."""

    async def create(self, manifest: Json) -> Json: ...

    async def patch(self, live: Json, *ops: JsonOp) -> Json: ...

    async def scale(self, live: Json, replicas: int) -> Json: ...


@dataclass
class Model:
    api: ModelApi = field(
        default_factory=lambda: ModelApi(namespace={"metadata": {"name": "x", "uid": "x"}})
    )

    async def create(self, manifest: Json) -> Json:
        live = self.api.create(manifest)
        if live["kind"] == "Deployment":
            live["metadata"]["annotations"] = {REVISION: "1"}
        return live

    async def patch(self, live: Json, *ops: JsonOp) -> Json:
        plural = {"Deployment": "deployments", "StatefulSet": "statefulsets"}[live["kind"]]
        path = f"/apis/apps/v1/namespaces/x/{plural}/{live['metadata']['name']}"
        patched: Json = msgspec.json.decode(await self.api.json_patch(path, ops))
        return patched

    async def scale(self, live: Json, replicas: int) -> Json:
        key = live["kind"], live["metadata"]["name"]
        self.api.scale(*key, replicas, manager="scaler")
        return self.api.objects[key]


@dataclass
class Real:
    space: LiveSpace
    client: KubeClient

    async def create(self, manifest: Json) -> Json:
        path = f"{path_of(manifest, self.space.name)}/{manifest['metadata']['name']}"
        await self.space.api.call(
            "PATCH",
            f"{path}?fieldManager=kubectl",
            content_type="application/apply-patch+yaml",
            body=manifest,
        )

        async def noticed() -> Json | None:
            """The object once its controller has written to it what it always writes."""
            live = await self.space.get(manifest)
            seen = live["status"].get("observedGeneration") == live["metadata"]["generation"]
            return live if seen else None

        return await eventually(noticed, within=20, what="its controller has seen it")

    async def patch(self, live: Json, *ops: JsonOp) -> Json:
        path = f"{path_of(live, self.space.name)}/{live['metadata']['name']}"
        patched: Json = msgspec.json.decode(await self.client.json_patch(path, ops))
        return patched

    async def scale(self, live: Json, replicas: int) -> Json:
        path = f"{path_of(live, self.space.name)}/{live['metadata']['name']}"
        body = {"spec": {"replicas": replicas}}
        await self.space.api.merge(f"{path}/scale?fieldManager=scaler", body)
        return await self.space.api.get(path)


@pytest_asyncio.fixture
async def real(cluster: Cluster, space: LiveSpace) -> AsyncIterator[Real]:
    client = await KubeClient.connect(
        kubeconfig=cluster.kubeconfig("sleeper"), clock=SystemClock(), user_agent="sleeper/test"
    )
    async with client:
        yield Real(space=space, client=client)


@pytest.fixture(params=["model", pytest.param("real", marks=pytest.mark.cluster)])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = Model() if request.param == "model" else request.getfixturevalue("real")
    return found


def deployment() -> Json:
    return manifests.deployment("web", replicas=3)


def stateful_set() -> Json:
    policy = {"whenScaled": "Delete", "whenDeleted": "Retain"}
    return manifests.stateful_set("db", replicas=2, persistentVolumeClaimRetentionPolicy=policy)


def ours(live: Json) -> list[int]:
    managed = live["metadata"]["managedFields"]
    return [i for i, entry in enumerate(managed) if entry["manager"] == "sleeper"]


def owns_replicas(live: Json, manager: str) -> bool:
    return any(
        "f:replicas" in entry["fieldsV1"].get("f:spec", {})
        for entry in live["metadata"]["managedFields"]
        if entry["manager"] == manager
    )


def asleep(live: Json, *, before: Sequence[JsonOp] = ()) -> list[JsonOp]:
    bare = "annotations" not in live["metadata"]
    return [
        *before,
        *([jsonpatch.add("/metadata/annotations", {})] if bare else ()),
        jsonpatch.replace("/spec/replicas", 0),
        jsonpatch.add(NOTE, "note"),
    ]


KINDS = pytest.mark.parametrize("make", [deployment, stateful_set])


@KINDS
async def test_who_scales_holds_the_field_but_a_zero_is_held_by_nobody(
    server: Server, make: Callable[[], Json]
) -> None:
    live = await server.scale(await server.create(make()), 5)
    assert owns_replicas(live, "scaler")
    live = await server.scale(live, 0)
    assert not any(owns_replicas(live, manager) for manager in ("scaler", "kubectl"))


@KINDS
async def test_a_test_of_null_holds_where_nothing_stands(
    server: Server, make: Callable[[], Json]
) -> None:
    live = await server.create(make())
    await server.patch(live, jsonpatch.test("/metadata/finalizers", None))
    await server.patch(live, *asleep(live))
    with pytest.raises(TestFailed):
        await server.patch(live, jsonpatch.test(NOTE, None))


@KINDS
@pytest.mark.parametrize("path", ["/metadata/uid", "/metadata/generation", "/spec/replicas"])
async def test_a_test_that_does_not_hold_stops_the_whole_patch(
    server: Server, make: Callable[[], Json], path: str
) -> None:
    live = await server.create(make())
    wrong = "other" if path.endswith("uid") else 77
    with pytest.raises(TestFailed):
        await server.patch(live, *asleep(live, before=[jsonpatch.test(path, wrong)]))
    unchanged = await server.patch(live, jsonpatch.test("/spec/replicas", live["spec"]["replicas"]))
    assert jsonpatch.resolve(unchanged, NOTE) is jsonpatch.ABSENT
    assert unchanged["metadata"]["generation"] == live["metadata"]["generation"]


@pytest.mark.parametrize(
    "op",
    [
        jsonpatch.remove("/spec/none/x"),
        jsonpatch.remove(NOTE),
        jsonpatch.test(f"{MANAGED}/9/manager", "sleeper"),
        jsonpatch.add("/spec/none/x", "x"),
    ],
)
async def test_a_path_that_is_not_there_stops_the_whole_patch(server: Server, op: JsonOp) -> None:
    live = await server.create(deployment())
    with pytest.raises(TestFailed):
        await server.patch(live, op)


async def test_replacing_what_is_not_there_adds_it(server: Server) -> None:
    live = await server.create(deployment())
    patched = await server.patch(live, jsonpatch.replace("/metadata/labels", {"a": "b"}))
    assert patched["metadata"]["labels"] == {"a": "b"}


async def test_a_patch_of_nothing_is_not_found(server: Server) -> None:
    missing = deployment()
    with pytest.raises(NotFound):
        await server.patch(missing, jsonpatch.test("/metadata/name", "web"))


@KINDS
async def test_a_changed_spec_moves_the_generation(
    server: Server, make: Callable[[], Json]
) -> None:
    live = await server.create(make())
    patched = await server.patch(live, *asleep(live))
    assert patched["metadata"]["generation"] == live["metadata"]["generation"] + 1


@pytest.mark.parametrize(("make", "moves"), [(deployment, True), (stateful_set, False)])
async def test_an_annotation_alone_moves_the_generation_of_a_deployment_only(
    server: Server, make: Callable[[], Json], moves: bool
) -> None:
    live = await server.create(make())
    annotations = live["metadata"].get("annotations", {}) | {"a": "b"}
    patched = await server.patch(live, jsonpatch.add("/metadata/annotations", annotations))
    assert (patched["metadata"]["generation"] > live["metadata"]["generation"]) is moves


async def test_the_fence_of_a_stateful_set_moves_its_generation(server: Server) -> None:
    live = await server.create(stateful_set())
    limit = live["spec"]["revisionHistoryLimit"]
    patched = await server.patch(live, jsonpatch.replace("/spec/revisionHistoryLimit", limit + 1))
    assert patched["metadata"]["generation"] > live["metadata"]["generation"]


@KINDS
async def test_whoever_changes_a_field_takes_it_from_its_owner(
    server: Server, make: Callable[[], Json]
) -> None:
    live = await server.create(make())
    assert owns_replicas(live, "kubectl")
    patched = await server.patch(live, *asleep(live))
    assert not owns_replicas(patched, "kubectl")
    assert owns_replicas(patched, "sleeper")


@KINDS
async def test_one_patch_cannot_change_a_field_and_give_it_back(
    server: Server, make: Callable[[], Json]
) -> None:
    live = await server.create(make())
    patched = await server.patch(live, *asleep(live))
    wanted = live["spec"]["replicas"]
    removal = jsonpatch.remove(f"{MANAGED}/{ours(patched)[0]}")
    both = await server.patch(patched, jsonpatch.replace("/spec/replicas", wanted), removal)
    assert owns_replicas(both, "sleeper")


@KINDS
async def test_a_second_patch_gives_everything_back(
    server: Server, make: Callable[[], Json]
) -> None:
    live = await server.create(make())
    patched = await server.patch(live, *asleep(live))
    await server.patch(patched, jsonpatch.replace("/spec/replicas", live["spec"]["replicas"]))

    async def release() -> Json | None:
        seen = await server.patch(live, jsonpatch.test("/metadata/uid", live["metadata"]["uid"]))
        managers = [entry["manager"] for entry in seen["metadata"]["managedFields"]]
        theirs, own = managers.index("kubectl"), managers.index("sleeper")
        try:
            return await server.patch(
                seen,
                jsonpatch.test(f"{MANAGED}/{theirs}/manager", "kubectl"),
                jsonpatch.test(f"{MANAGED}/{own}/manager", "sleeper"),
                jsonpatch.remove(NOTE),
                jsonpatch.add(f"{MANAGED}/{theirs}/fieldsV1/f:spec/f:replicas", {}),
                jsonpatch.remove(f"{MANAGED}/{own}"),
            )
        except TestFailed:  # its controller wrote in between, and the places have moved
            return None

    released = await eventually(release, within=20, what="everything is given back")
    assert ours(released) == []
    assert owns_replicas(released, "kubectl")
    assert released["metadata"].get("annotations") == live["metadata"].get("annotations")
    assert released["spec"] == live["spec"]
