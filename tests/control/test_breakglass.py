"""``sleeper wake --all`` where not even the records can be read; the rest is in tests/cluster."""

from __future__ import annotations

from aiohttp import web

from sleeper.control.breakglass import wake_all
from sleeper.kube.client import KubeClient
from sleeper.telemetry.clock import SystemClock
from tests.kube.scripted import scripted_server


async def test_where_the_records_cannot_be_read_the_annotations_are_still_looked_for() -> None:
    said: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        if "sleeprecords" in request.path:
            return web.json_response({"message": "no"}, status=403)
        return web.json_response({"metadata": {}, "items": []})

    clock = SystemClock()
    async with scripted_server() as server:
        server.then(handler)
        connected = await KubeClient.connect_to(server.url, clock=clock, user_agent="t")
        async with connected as client:
            back = await wake_all(client, namespace="n", clock=clock, say=said.append)

    assert not back
    assert "cannot be read" in said[0]
    assert server.count("/deployments") == 1
