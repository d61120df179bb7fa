"""How the real API server answers, and that we understand it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from aiohttp import ClientSession
from devcluster.client import Cluster
from devcluster.site import LOOPBACK, Ports

from sleeper.core import jsonpatch
from sleeper.core.jsonpatch import JsonOp, add, remove, replace
from sleeper.kube.client import KubeClient
from sleeper.kube.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    KubeError,
    NotFound,
    TestFailed,
    Unavailable,
)
from sleeper.telemetry.clock import SystemClock
from tests.support import manifests
from tests.support.api import Api
from tests.support.eventually import eventually
from tests.support.spaces import LiveSpace

pytestmark = pytest.mark.cluster

ADMISSION = "/apis/admissionregistration.k8s.io/v1"


@pytest_asyncio.fixture
async def admin(cluster: Cluster) -> AsyncIterator[KubeClient]:
    async with await connect(cluster, "admin") as client:
        yield client


@pytest_asyncio.fixture
async def sleeper(cluster: Cluster) -> AsyncIterator[KubeClient]:
    async with await connect(cluster, "sleeper") as client:
        yield client


async def connect(cluster: Cluster, identity: str) -> KubeClient:
    return await KubeClient.connect(
        kubeconfig=Path(cluster.kubeconfig(identity)),
        clock=SystemClock(),
        user_agent="sleeper/test",
        request_timeout_seconds=10,
    )


@pytest_asyncio.fixture
async def target(space: LiveSpace) -> str:
    """Path of a Deployment with one annotation."""
    manifest = manifests.deployment("web")
    manifest["metadata"]["annotations"] = {"kept": "1"}
    await space.create(manifest)
    return f"/apis/apps/v1/namespaces/{space.name}/deployments/web"


MISFITS: dict[str, list[JsonOp]] = {
    "another value": [jsonpatch.test("/spec/replicas", 7), replace("/spec/replicas", 0)],
    "a member that is absent": [jsonpatch.test("/metadata/annotations/absent", "1")],
    "a parent that is absent": [jsonpatch.test("/spec/absent/x", None)],
    "removing what is absent": [remove("/metadata/annotations/absent")],
    "adding below what is absent": [add("/spec/absent/x", 1)],
    "an index beyond the list": [jsonpatch.test("/metadata/managedFields/99/manager", "x")],
}


@pytest.mark.parametrize("ops", MISFITS.values(), ids=MISFITS.keys())
async def test_a_patch_that_does_not_fit_the_object_is_a_failed_test(
    sleeper: KubeClient, target: str, ops: list[JsonOp]
) -> None:
    with pytest.raises(TestFailed) as caught:
        await sleeper.json_patch(target, ops)
    assert caught.value.status == 422


async def test_null_holds_for_an_absent_member_of_a_present_parent(
    sleeper: KubeClient, target: str
) -> None:
    await sleeper.json_patch(
        target,
        [
            jsonpatch.test("/metadata/annotations/absent", None),
            add(jsonpatch.pointer("metadata", "annotations", "sleeper.dev/restore"), "{}"),
        ],
    )


async def test_a_value_that_validation_refuses_is_invalid_and_no_failed_test(
    sleeper: KubeClient, target: str
) -> None:
    with pytest.raises(Invalid, match="must be greater than or equal to 0"):
        await sleeper.json_patch(target, [replace("/spec/replicas", -1)])


async def test_a_value_of_the_wrong_type_is_invalid_and_its_message_is_cut(
    sleeper: KubeClient, target: str
) -> None:
    with pytest.raises(Invalid) as caught:
        await sleeper.json_patch(target, [replace("/spec/replicas", "many")])
    assert len(caught.value.message) <= 500


@pytest.mark.parametrize("reason", [None, "Forbidden", "RequestEntityTooLarge"])
async def test_an_admission_policy_is_told_from_rbac_whatever_status_it_answers(
    api: Api, sleeper: KubeClient, space: LiveSpace, target: str, reason: str | None
) -> None:
    name = f"no-zero-{secrets.token_hex(4)}"
    validation: dict[str, Any] = {"expression": "object.spec.replicas > 0", "message": "no zero"}
    if reason:
        validation["reason"] = reason
    rule = {
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "operations": ["UPDATE"],
        "resources": ["deployments"],
    }
    selector = {"matchLabels": {"kubernetes.io/metadata.name": space.name}}
    policy = {
        "metadata": {"name": name},
        "spec": {"matchConstraints": {"resourceRules": [rule]}, "validations": [validation]},
    }
    binding = {
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": selector},
        },
    }
    policies = f"{ADMISSION}/validatingadmissionpolicies"
    bindings = f"{ADMISSION}/validatingadmissionpolicybindings"
    await api.call("POST", policies, body=policy)
    await api.call("POST", bindings, body=binding)
    try:

        async def denied() -> Forbidden | None:
            try:
                await sleeper.json_patch(target, [replace("/spec/replicas", 0)])
            except Forbidden as error:
                return error
            await sleeper.json_patch(target, [replace("/spec/replicas", 1)])
            return None

        error = await eventually(denied, within=20, what="the policy takes effect")
        assert error.admission
        assert "no zero" in error.message
    finally:
        await api.delete(f"{bindings}/{name}")
        await api.delete(f"{policies}/{name}")


async def test_rbac_is_told_from_admission(sleeper: KubeClient) -> None:
    with pytest.raises(Forbidden, match="cannot get resource") as caught:
        await sleeper.get("/api/v1/namespaces/default/secrets/x")
    assert not caught.value.admission


async def test_a_quota_that_is_exceeded_counts_as_admission(
    api: Api, admin: KubeClient, space: LiveSpace
) -> None:
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "0"}}}
    await api.call("POST", f"/api/v1/namespaces/{space.name}/resourcequotas", body=quota)

    async def refused() -> Forbidden | None:
        try:
            await admin.create(
                f"/api/v1/namespaces/{space.name}/configmaps",
                {"metadata": {"generateName": "c-"}},
            )
        except Forbidden as error:
            return error
        return None

    error = await eventually(refused, within=20)
    assert "exceeded quota" in error.message
    assert error.admission


async def test_a_webhook_that_cannot_be_called_surely_stopped_the_write(
    api: Api, sleeper: KubeClient, space: LiveSpace, target: str
) -> None:
    name = f"away-{secrets.token_hex(4)}"
    webhook = {
        "name": "away.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "failurePolicy": "Fail",
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space.name}},
        "rules": [
            {
                "apiGroups": ["apps"],
                "apiVersions": ["v1"],
                "operations": ["UPDATE"],
                "resources": ["deployments"],
            }
        ],
    }
    path = f"{ADMISSION}/validatingwebhookconfigurations"
    await api.call("POST", path, body={"metadata": {"name": name}, "webhooks": [webhook]})
    try:

        async def stopped() -> KubeError | None:
            try:
                await sleeper.merge_patch(target, {"metadata": {"annotations": {"x": "1"}}})
                await sleeper.merge_patch(target, {"metadata": {"annotations": {"x": None}}})
            except KubeError as error:
                return error
            return None

        error = await eventually(stopped, within=30)
        assert isinstance(error, Unavailable)
        assert "failed calling webhook" in error.message
    finally:
        await api.delete(f"{path}/{name}")


async def test_refusals_have_their_own_classes(admin: KubeClient, space: LiveSpace) -> None:
    with pytest.raises(AlreadyExists):
        await admin.create("/api/v1/namespaces", {"metadata": {"name": space.name}})
    with pytest.raises(NotFound):
        await admin.get(f"/api/v1/namespaces/{space.name}/pods/none")
    with pytest.raises(NotFound):
        await admin.get("/apis/example.com/v1/nothings")
    with pytest.raises(Conflict):
        await admin.delete(f"/api/v1/namespaces/{space.name}", uid="another")


async def test_what_the_server_no_longer_keeps_is_gone_for_pages_and_watches(
    cluster: Cluster, admin: KubeClient, space: LiveSpace
) -> None:
    configmaps = f"/api/v1/namespaces/{space.name}/configmaps"
    for number in range(3):
        await admin.create(configmaps, {"metadata": {"name": f"c{number}"}})
    async with aclosing(admin.pages(configmaps, page_size=1)) as pages:
        listed = _version(await anext(pages))
        later = await admin.create(configmaps, {"metadata": {"generateName": "later-"}})
        await _compact(int(_version(later)))
        # the server also answers from snapshots in its memory, until it is a new one
        await asyncio.to_thread(cluster.component("kube-apiserver").restart)
        with pytest.raises(Gone):
            await anext(pages)
    stream = admin.watch(configmaps, resource_version=listed, timeout_seconds=5)
    async with aclosing(stream):
        assert await anext(stream) == b""  # accepted, and only then refused
        refusal = msgspec.json.decode(await anext(stream))
    assert (refusal["type"], refusal["object"]["code"]) == ("ERROR", 410)


def _version(body: bytes) -> str:
    version: str = msgspec.json.decode(body)["metadata"]["resourceVersion"]
    return version


async def _compact(revision: int) -> None:
    """Let etcd forget everything before ``revision``, as a busy cluster does after minutes."""
    async with (
        ClientSession() as session,
        session.post(
            f"http://{LOOPBACK}:{Ports().etcd}/v3/kv/compaction",
            json={"revision": revision, "physical": True},
        ) as response,
    ):
        assert response.status == 200, await response.text()


async def test_a_list_is_paged_by_the_real_server(admin: KubeClient) -> None:
    path = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    whole = msgspec.json.decode(await admin.get(path))["items"]
    paged: list[Any] = []
    pages = 0
    async for body in admin.pages(path, page_size=10):
        pages += 1
        paged.extend(msgspec.json.decode(body)["items"])
    assert pages > 1
    assert {item["metadata"]["name"] for item in paged} == {
        item["metadata"]["name"] for item in whole
    }


async def test_the_shipped_role_reads_the_canarys_target_and_the_loss_counters(
    sleeper: KubeClient,
) -> None:
    await sleeper.get("/api/v1/namespaces/sleeper-system/serviceaccounts/sleeper")
    assert b"process_start_time_seconds" in await sleeper.get("/metrics")


async def test_many_requests_at_once_are_all_answered(admin: KubeClient) -> None:
    async with asyncio.TaskGroup() as tasks:
        answers = [tasks.create_task(admin.get("/api/v1/namespaces/default")) for _ in range(150)]
    assert all(b'"default"' in answer.result() for answer in answers)
