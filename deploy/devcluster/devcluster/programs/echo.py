"""One HTTP server for all Pods.

Every address of the Pod range is local in the cluster's network namespace, so a server on
``0.0.0.0`` answers for each of them, and its own end of the connection says which Pod it is.

- any path: ``{"pod": "<address>", "path": "…"}``;
- ``?seconds=N``: the same after N seconds, as a slow application would;
- ``?stream=N``: N lines, one a second, as a server that sends events would.
"""

from __future__ import annotations

import argparse
import asyncio
import json

from aiohttp import web


async def _answer(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None, "connected"
    address = request.transport.get_extra_info("sockname")[0]
    body = json.dumps({"pod": address, "path": request.path}) + "\n"
    if lines := float(request.query.get("stream", 0)):
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        for _ in range(round(lines)):
            await response.write(body.encode())
            await asyncio.sleep(1)
        return response
    await asyncio.sleep(float(request.query.get("seconds", 0)))
    return web.Response(text=body, content_type="application/json")


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    port: int = parser.parse_args().port
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", _answer)
    web.run_app(application, host="0.0.0.0", port=port, print=lambda _: None)


if __name__ == "__main__":
    main()
