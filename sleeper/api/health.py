"""``/livez`` and ``/readyz``: named checks, each silent or with a sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiohttp import web

from sleeper.api.problems import Handler

Check = Callable[[], str | None]
"""None if all is well, else one sentence about what is not. Must return at once."""


def add_health_routes(
    app: web.Application, *, live: Mapping[str, Check], ready: Mapping[str, Check]
) -> None:
    """Serve both; ``?verbose`` lists every check, as the API server's own endpoints do.

    Args:
        app: to which the routes are added.
        live: a failure here can only be healed by a restart.
        ready: a failure here means that decisions wait.
    """
    app.router.add_get("/livez", _handler("livez", live))
    app.router.add_get("/readyz", _handler("readyz", ready))


def _handler(name: str, checks: Mapping[str, Check]) -> Handler:

    async def handle(request: web.Request) -> web.Response:
        failures = {check: said for check, run in checks.items() if (said := run()) is not None}
        lines = [
            f"[-]{check}: {failures[check]}" if check in failures else f"[+]{check} ok"
            for check in checks
        ]
        verdict = f"{name} check {'failed' if failures else 'passed'}"
        if failures or "verbose" in request.query:
            text = "\n".join([*lines, verdict]) + "\n"
        else:
            text = "ok\n"
        return web.Response(text=text, status=503 if failures else 200)

    return handle
