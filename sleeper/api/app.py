"""The loopback server: read API, health and metrics in one application."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from metrics.core.clock import Clock
from sleeper.api.health import Check, add_health_routes
from sleeper.api.problems import problems_as_json
from sleeper.api.read import SpaceReader, StatementReader, add_read_routes

DRAIN_SECONDS: Final = 5.0
"""How long requests that are under way may take when the daemon ends."""


def build_app(
    *,
    spaces: SpaceReader,
    statements: StatementReader,
    live: Mapping[str, Check],
    ready: Mapping[str, Check],
    metrics: Callable[[web.Request], Awaitable[web.StreamResponse]],
    clock: Clock,
) -> web.Application:
    """Everything that the daemon shows of itself.

    Args:
        spaces: answers about Spaces.
        statements: answers about usage.
        live: checks of ``/livez``.
        ready: checks of ``/readyz``.
        metrics: handler of ``/metrics``.
        clock: for ranges that end now.
    """
    app = web.Application(middlewares=[problems_as_json])
    add_health_routes(app, live=live, ready=ready)
    add_read_routes(app, spaces=spaces, statements=statements, clock=clock)
    app.router.add_get("/metrics", metrics)
    return app


@asynccontextmanager
async def serve_app(app: web.Application, listener: socket.socket) -> AsyncIterator[int]:
    """Serve ``app`` inside the context and drain it at the end; yields the port."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=DRAIN_SECONDS)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield int(listener.getsockname()[1])
    finally:
        await runner.cleanup()
