"""A scripted API server and a client of it with short patience."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from sleeper.kube.client import KubeClient
from sleeper.telemetry.clock import SystemClock
from tests.kube.scripted import ScriptedServer, scripted_server

PATIENCE_SECONDS = 0.3


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as running:
        yield running


@pytest_asyncio.fixture
async def client(server: ScriptedServer) -> AsyncIterator[KubeClient]:
    connected = await KubeClient.connect_to(
        server.url,
        clock=SystemClock(),
        user_agent="sleeper/test",
        request_timeout_seconds=PATIENCE_SECONDS,
    )
    async with connected:
        yield connected
