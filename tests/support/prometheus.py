"""A Prometheus of a test's own, and an ingress exporter that does as it is told."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import ClientError, ClientSession, web

from tests.support.eventually import eventually

SCRAPE = "200ms"


class Exporter:
    """Looks like Traefik to a scraper: a process start, a permanent family, request counters."""

    def __init__(self) -> None:
        self.started_at = 1_000_000.0
        self.up = True
        self.shows_start = True
        self.counters: dict[tuple[str, str], int] = {}
        self.scrapes = 0

    def request(self, service: str, *, code: str = "200") -> None:
        """Serve one request."""
        self.counters[service, code] = self.counters.get((service, code), 0) + 1

    def restart(self) -> None:
        """Lose all counters and begin anew."""
        self.started_at += 100.0
        self.counters.clear()

    async def metrics(self, _: web.Request) -> web.Response:
        """What a scrape gets."""
        if not self.up:
            return web.Response(status=503)
        self.scrapes += 1
        lines = ["traefik_config_last_reload_success 1"]
        if self.shows_start:
            lines.append(f"process_start_time_seconds {self.started_at}")
        lines += [
            f'traefik_service_requests_total{{service="{service}",code="{code}",method="GET",'
            f'protocol="http"}} {count}'
            for (service, code), count in self.counters.items()
        ]
        return web.Response(text="\n".join(lines) + "\n")

    async def scraped(self, times: int = 2) -> None:
        """Wait until it has been scraped so many times more."""
        until = self.scrapes + times
        await eventually(lambda: self.scrapes >= until, what="scraped", every=0.05)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Its address while it serves."""
        app = web.Application()
        app.router.add_get("/metrics", self.metrics)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


class LivePrometheus:
    """A real server with a data directory of its own; it can be stopped and started again."""

    def __init__(self, directory: Path, *, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._directory = directory
        self._port = port
        self._process: asyncio.subprocess.Process | None = None

    async def scrape(self, *targets: str) -> None:
        """Scrape these addresses from now on."""
        job = {"job_name": "traefik", "static_configs": [{"targets": list(targets)}]}
        config = {
            "global": {"scrape_interval": SCRAPE, "scrape_timeout": SCRAPE},
            "scrape_configs": [job],
        }
        self._config.write_text(json.dumps(config))
        if self._process is not None:
            async with ClientSession() as session, session.post(self.url + "/-/reload") as reply:
                assert reply.status == 200, await reply.text()

    async def start(self) -> None:
        """Start it, and wait until it answers queries."""
        program = shutil.which("prometheus")
        assert program is not None, "prometheus is on the PATH inside the development cluster"
        self._process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={self._config}",
            f"--storage.tsdb.path={self._directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--web.enable-lifecycle",
            "--scrape.discovery-reload-interval=100ms",  # otherwise the first scrape takes 5 s
            "--log.level=error",
        )
        await eventually(self._ready, within=20, what="Prometheus is ready")

    async def stop(self) -> None:
        """Stop it; what it has scraped stays in its directory."""
        if self._process is not None:
            self._process.terminate()
            await self._process.wait()
            self._process = None

    def forget(self) -> None:
        """Delete everything that it has scraped; only while it is stopped."""
        assert self._process is None
        shutil.rmtree(self._directory / "data")

    @property
    def _config(self) -> Path:
        return self._directory / "prometheus.json"

    async def _ready(self) -> bool:
        try:
            async with ClientSession() as session, session.get(self.url + "/-/ready") as reply:
                return reply.status == 200
        except ClientError:
            return False
