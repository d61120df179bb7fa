"""Whatever is posted to a running daemon's sink: it is answered, counted, and stops nothing."""

from __future__ import annotations

import asyncio
import io
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from devcluster.client import Cluster

from tests.support import manifests
from tests.support.audit_events import body, event
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.spaces import LiveSpace

pytestmark = pytest.mark.cluster

WEB = manifests.deployment("web", replicas=1)
MIB = 1 << 20


class Sender:
    """A client of the sink, with the certificate that API servers have, or without any."""

    def __init__(self, cluster: Cluster, *, known: bool) -> None:
        self._port = cluster.sink_port
        self._tls = ssl.create_default_context(cafile=cluster.pki("sink-ca.crt"))
        if known:
            pair = (cluster.pki("audit-webhook.crt"), cluster.pki("audit-webhook.key"))
            self._tls.load_cert_chain(*pair)

    async def post(self, text: bytes) -> int:
        """The status that a body is answered with."""
        connector = aiohttp.TCPConnector(ssl=self._tls)
        url = f"https://127.0.0.1:{self._port}/audit/devcluster"
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post(url, data=io.BytesIO(text)) as response,
        ):
            return response.status

    @asynccontextmanager
    async def stuck(self) -> AsyncIterator[asyncio.StreamReader]:
        """A request whose body stops coming."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._tls)
        head = b"POST /audit/devcluster HTTP/1.1\r\nHost: sink\r\nContent-Length: 100\r\n\r\nabc"
        writer.write(head)
        await writer.drain()
        try:
            yield reader
        finally:
            writer.close()


async def counted(daemon: Daemon, metric: str, **labels: str) -> float:
    """Value of one sample; 0 if there is none."""
    for line in (await daemon.metrics()).splitlines():
        name, _, rest = line.partition("{")
        if name == metric and all(f'{key}="{value}"' in rest for key, value in labels.items()):
            return float(re.split(r"\s+", line)[-1])
    return 0.0


async def batches(daemon: Daemon, fate: str) -> float:
    return await counted(daemon, "sleeper_audit_batches_total", apiserver="devcluster", fate=fate)


async def gaps(daemon: Daemon) -> float:
    return await counted(daemon, "sleeper_signal_gaps_total", signal="api", reason="Undecodable")


def large(events: int) -> bytes:
    """Events of nobody's namespace, filled up to 12 MiB."""
    padding = "x" * (12 * MIB // events)
    return body([{**event(namespace="nowhere"), "padding": padding} for _ in range(events)])


async def test_bad_batches_are_answered_and_counted_and_nothing_else_stops(
    cluster: Cluster, new_space: Callable[..., Any], daemon: Daemon
) -> None:
    known, stranger = Sender(cluster, known=True), Sender(cluster, known=False)
    pid = daemon.pid

    async def seeing() -> bool:
        return "signal_watermark_timestamp_seconds{" in await daemon.metrics()

    await eventually(seeing, within=30, what="the API signal sees")
    async with known.stuck() as reader:
        for number, broken in enumerate(
            [
                body([event(namespace="nowhere"), {"stage": 7}]),
                b'{"kind": "PodList", "apiVersion": "v1", "items": []}',
                json.dumps([1, 2, 3]).encode(),
                b"\xff not even text",
            ],
            start=1,
        ):
            before = await gaps(daemon)
            assert await known.post(broken) == 200

            async def is_a_gap(before: float = before) -> bool:
                return await gaps(daemon) > before

            await eventually(is_a_gap, within=10, what=f"broken batch {number} is a gap")

        before = await counted(daemon, "sleeper_audit_batch_events_total", fate="Taken")
        text = large(events=400)
        assert len(text) > 12 * MIB
        assert await known.post(text) == 200
        assert await counted(daemon, "sleeper_audit_batch_events_total") >= before + 400

        assert await stranger.post(body([event()])) == 401
        assert await batches(daemon, "Stranger") == 1

        space: LiveSpace = await new_space(sleep_after="6s")
        await space.create(WEB)

        async def asleep() -> bool:
            return await space.power_state() == "Asleep"

        await eventually(asleep, within=60, what="a Space sleeps all the same")

        async def given_up() -> bool:
            return await batches(daemon, "Slow") == 1

        await eventually(given_up, within=40, what="the slow client is given up")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
    assert daemon.pid == pid
    assert await daemon.get_status("/readyz") == 200
