"""The loopback server: read API, health and metrics in one application."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, cast

from aiohttp import web

from metrics.core.clock import Clock
from metrics.recorder import NullRecorder, Recorder
from sleeper.api.door import Door, Guest
from sleeper.api.health import Check, add_health_routes
from sleeper.api.problems import problems_as_json
from sleeper.api.read import SpaceReader, StatementReader, add_read_routes

DRAIN_SECONDS: Final = 5.0
"""How long requests that are under way may take when the daemon ends."""

PLACES: Final = 128
"""Connections at a time; nobody is known here, and nothing ends one on which no request comes."""


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
async def serve_app(
    app: web.Application,
    listener: socket.socket,
    *,
    recorder: Recorder | None = None,
    places: int = PLACES,
) -> AsyncIterator[int]:
    """Serve ``app`` inside the context and drain it at the end; yields the port."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=DRAIN_SECONDS)
    await runner.setup()
    serve = runner.server
    assert serve is not None
    port = int(listener.getsockname()[1])
    door = Door(
        listener,
        name="api",
        welcome=lambda guest: _Counted(serve(), guest),
        places=places,
        recorder=recorder or NullRecorder(),
    )
    async with door.open():
        try:
            yield port
        finally:
            door.close()
            await runner.cleanup()


class _Counted(asyncio.Protocol):
    """Hands everything on to the protocol of aiohttp, and tells the door when it comes and goes."""

    def __init__(self, inner: asyncio.Protocol, guest: Guest) -> None:
        self._inner = inner
        self._guest = guest

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._guest.arrived(cast("asyncio.Transport", transport))
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._guest.left()
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()
