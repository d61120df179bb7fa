"""What stands between the parts of the daemon that share an API server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
import yaml
from aiohttp import web

from sleeper.config import load_config
from sleeper.daemon import Daemon
from sleeper.telemetry.clock import SystemClock
from tests.kube.scripted import ScriptedServer, hang, scripted_server
from tests.support.eventually import eventually

MORE_THAN_ANY_CONNECTION_POOL = 150


class OnlyTheLease:
    """Answers about the Lease, and lets everybody else wait."""

    def __init__(self) -> None:
        self.version = 0
        self.others = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if "/leases" not in request.path:
            self.others += 1
            return await hang(request)
        if request.method == "GET":
            return web.json_response({}, status=404)
        body = await request.json()
        self.version += 1
        spec = body["spec"] if request.method == "POST" else body[1]["value"]
        meta = {"name": "sleeper", "resourceVersion": str(self.version)}
        return web.json_response({"metadata": meta, "spec": spec}, status=201)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as running:
        yield running


@pytest.mark.fault(21)
async def test_the_lease_is_kept_while_every_other_request_waits(
    server: ScriptedServer, tmp_path: Path
) -> None:
    api = OnlyTheLease()
    server.then(api.handle)
    daemon_config = {
        "kubernetes": {"kubeconfig": str(_kubeconfig(tmp_path, server.url))},
        "database": {"url": f"sqlite+aiosqlite:///{tmp_path}/db"},
        "api_signal": {"enabled": False},
        "traffic_signal": {"prometheus_url": "http://127.0.0.1:1"},
    }
    file = tmp_path / "sleeper.yaml"
    file.write_text(json.dumps(daemon_config))
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as waiting:
        daemon = Daemon(load_config(file, {}), SystemClock(), stack)
        cluster = await daemon._start_cluster()
        tasks = [
            waiting.create_task(cluster.client.get("/api/v1/namespaces/a"))
            for _ in range(MORE_THAN_ANY_CONNECTION_POOL)
        ]
        await eventually(lambda: api.others >= 100, within=10, what="the connections are taken")
        await eventually(lambda: cluster.elector.leading, within=10, what="the Lease is taken")
        renewed = api.version
        await eventually(lambda: api.version > renewed, within=10, what="the Lease is renewed")
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()


def _kubeconfig(directory: Path, url: str) -> Path:
    path = directory / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": url}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
            }
        )
    )
    return path
