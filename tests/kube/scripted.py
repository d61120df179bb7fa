"""An API server that follows a script, for everything a real one does too rarely."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class ScriptedServer:
    """Answers each request with the next handler; the last one stays.

    Attributes:
        script: handlers still to come.
        requests: ``METHOD path?query`` of everything that arrived.
    """

    script: list[Handler] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    url: str = ""

    def then(self, *handlers: Handler) -> None:
        """Add to the script."""
        self.script.extend(handlers)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path_qs}")
        self.authorizations.append(request.headers.get("Authorization"))
        self.bodies.append(await request.read())
        handler = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return await handler(request)

    def count(self, part: str) -> int:
        """How many requests contain ``part``."""
        return sum(part in request for request in self.requests)


@asynccontextmanager
async def scripted_server() -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer()
    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    server.url = f"http://127.0.0.1:{port}"
    try:
        yield server
    finally:
        await runner.cleanup()


def answer(status: int = 200, body: Any = None, **headers: str) -> Handler:
    """A whole answer."""

    async def handler(_: web.Request) -> web.StreamResponse:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        text = body if isinstance(body, str) else json.dumps(body if body is not None else {})
        return web.Response(status=status, text=text, headers=named)

    return handler


def refusal(status: int, reason: str, message: str = "no", **headers: str) -> Handler:
    """A Kubernetes Status."""
    return answer(
        status,
        {
            "kind": "Status",
            "status": "Failure",
            "code": status,
            "reason": reason,
            "message": message,
        },
        **headers,
    )


async def hang(_: web.Request) -> web.StreamResponse:
    """Never answer."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def hang_after_headers(request: web.Request) -> web.StreamResponse:
    """Answer 200, a piece of the body, and nothing more."""
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b'{"half":')
    await asyncio.Event().wait()
    return response


async def break_connection(request: web.Request) -> web.StreamResponse:
    """Tear the connection down without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def break_inside_body(request: web.Request) -> web.StreamResponse:
    """Answer 200 and tear the connection down in the middle of the body."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"half":')
    assert request.transport is not None
    request.transport.abort()
    return response


def lines(*events: Any, stay: bool = False) -> Handler:
    """A watch that sends these events (dicts, or raw text) and ends, or stays silent."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for event in events:
            text = event if isinstance(event, str) else json.dumps(event)
            await response.write(text.encode() + b"\n")
        if stay:
            await asyncio.Event().wait()
        await response.write_eof()
        return response

    return handler
