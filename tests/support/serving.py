"""The read API's server on any free port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from sleeper.api.app import serve_app
from sleeper.api.listening import listening


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[int]:
    """Serve ``app`` as the daemon does; yields the port."""
    with listening("127.0.0.1", 0, section="api") as listener:
        async with serve_app(app, listener) as port:
            yield port
