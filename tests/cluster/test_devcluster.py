"""The development cluster does what the tests and the demo take for granted."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from devcluster.client import Cluster

from tests.support.api import Api, ApiError, kubectl, service_account_kubeconfig
from tests.support.eventually import eventually
from tests.support.manifests import deployment, ingress, service, stateful_set
from tests.support.spaces import LiveSpace

pytestmark = pytest.mark.cluster


async def _get(url: str, **headers: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        return response.status, await response.text()


async def test_a_deployment_becomes_pods_that_answer_through_the_ingress_controller(
    cluster: Cluster, space: LiveSpace
) -> None:
    if not cluster.pod_network:
        pytest.skip("no namespaces: Pods have no addresses that answer")
    host = f"{space.name}.example.com"
    await space.create(deployment("web"), service("web"), ingress("web", host=host))

    async def answered_by() -> str:
        status, text = await _get(f"{cluster.ingress}/hello", Host=host)
        assert status == 200, text
        address: str = json.loads(text)["pod"]
        return address

    address = await eventually(answered_by, within=20)
    (pod,) = await space.pods()
    assert address == pod["status"]["podIP"]


async def test_a_pod_takes_the_time_to_become_ready_that_it_asks_for(space: LiveSpace) -> None:
    await space.create(deployment("slow", start_after="1h"), deployment("quick", start_after="1s"))
    await eventually(space.ready_pods, what="the quick Pod is Ready")
    ready = {
        pod["metadata"]["labels"]["app"]
        for pod in await space.pods()
        if pod["status"]["phase"] == "Running"
    }
    assert ready == {"quick"}


async def test_a_claim_is_bound_when_a_pod_needs_it_and_its_volume_goes_with_it(
    space: LiveSpace,
) -> None:
    await space.create(stateful_set("db"))
    claim = f"/api/v1/namespaces/{space.name}/persistentvolumeclaims/data-db-0"

    async def volume() -> str:
        found = await space.api.get(claim)
        assert found["status"]["phase"] == "Bound", found["status"]
        name: str = found["spec"]["volumeName"]
        return name

    name = await eventually(volume)
    await space.api.delete(f"/apis/apps/v1/namespaces/{space.name}/statefulsets/db")
    await space.api.delete(claim)

    async def gone() -> bool:
        return await space.api.find(f"/api/v1/persistentvolumes/{name}") is None

    await eventually(gone, within=20)


async def test_every_component_and_person_acts_under_a_name_of_their_own(
    cluster: Cluster, space: LiveSpace
) -> None:
    received = await _audit_events_during(cluster, space)
    users = {event["user"]["username"] for event in received}
    assert {"alice@example.com", "bob@example.com", "kubernetes-admin"} <= users
    assert all(
        user.startswith("system:")
        for user in users - {"alice@example.com", "bob@example.com"}
        if user != "kubernetes-admin"
    ), users


async def _audit_events_during(cluster: Cluster, space: LiveSpace) -> list[Mapping[str, Any]]:
    """Listen where the daemon would, let two persons and the controllers act, and collect."""
    events: list[Mapping[str, Any]] = []

    async def take(request: web.Request) -> web.Response:
        events.extend((await request.json())["items"])
        return web.Response()

    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=cluster.pki("sink-ca.crt"))
    tls.load_cert_chain(cluster.pki("sink.crt"), cluster.pki("sink.key"))
    tls.verify_mode = ssl.CERT_REQUIRED
    application = web.Application(client_max_size=2**26)
    application.router.add_post("/audit/devcluster", take)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", cluster.sink_port, ssl_context=tls).start()
        await space.create(deployment("web"))
        await eventually(space.ready_pods)
        await kubectl(cluster, "get", "pods", "-n", space.name, identity="alice")
        await kubectl(cluster, "get", "deployments", "-n", space.name, identity="bob")
        await eventually(
            lambda: (
                {"alice@example.com", "bob@example.com", "kubernetes-admin"}
                <= {event["user"]["username"] for event in events}
            ),
            what="the audit events of alice, bob and the administrator have arrived",
        )
    finally:
        await runner.cleanup()
    return events


async def test_engineers_may_not_do_what_only_an_administrator_may(
    cluster: Cluster, space: LiveSpace
) -> None:
    await kubectl(cluster, "auth", "can-i", "delete", "deployments", "-n", space.name)
    with pytest.raises(ApiError, match="no"):
        await kubectl(cluster, "auth", "can-i", "delete", "nodes")


async def test_a_service_account_of_a_space_acts_under_its_own_name(
    cluster: Cluster, space: LiveSpace, tmp_path: Path
) -> None:
    await kubectl(cluster, "create", "serviceaccount", "deployer", "-n", space.name)
    kubeconfig = await service_account_kubeconfig(
        cluster, "deployer", namespace=space.name, directory=tmp_path
    )
    told = await kubectl(cluster, "auth", "whoami", kubeconfig=kubeconfig)
    assert f"system:serviceaccount:{space.name}:deployer" in told


async def test_prometheus_scrapes_the_ingress_controller(cluster: Cluster) -> None:
    async def up() -> bool:
        query = 'up{job="traefik"}'
        _, text = await _get(f"{cluster.prometheus}/api/v1/query?query={query}")
        return [series["value"][1] for series in json.loads(text)["data"]["result"]] == ["1"]

    await eventually(up)


async def test_a_component_is_stopped_and_comes_back(cluster: Cluster) -> None:
    prometheus = cluster.component("prometheus")
    prometheus.stop()
    assert prometheus.pid is None
    with pytest.raises(aiohttp.ClientConnectorError):
        await _get(f"{cluster.prometheus}/-/ready")
    prometheus.start()
    status, _ = await _get(f"{cluster.prometheus}/-/ready")
    assert status == 200


async def test_prometheus_can_be_made_to_answer_with_nothing(cluster: Cluster) -> None:
    prometheus = cluster.component("prometheus")
    empty = cluster.directory / "empty.yaml"
    empty.write_text("{}")
    prometheus.restart(
        {"config.file": str(empty), "storage.tsdb.path": str(cluster.directory / "empty")}
    )
    try:
        _, text = await _get(f"{cluster.prometheus}/api/v1/query?query=up")
        assert json.loads(text)["data"]["result"] == []
    finally:
        prometheus.restart()


async def test_the_api_server_takes_other_flags_and_keeps_its_objects(
    cluster: Cluster, api: Api, space: LiveSpace
) -> None:
    apiserver = cluster.component("kube-apiserver")
    apiserver.restart({"audit-webhook-batch-buffer-size": "10"})
    try:
        found = await api.get(f"/api/v1/namespaces/{space.name}")
        assert found["metadata"]["uid"] == space.uid
    finally:
        apiserver.restart()
