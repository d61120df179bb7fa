"""The control API: plain HTTP on loopback, JSON in and out.

=======  ==========================  ===========================================================
POST     /rules                      add a :class:`~.rules.RuleSpec`; answers its state
GET      /rules/{id}                 its state; with ``fired`` and ``timeout``: wait for it first
POST     /rules/{id}/release         let go of what a hold has held, and hold no more
DELETE   /rules/{id}, /rules         remove one, or all; held requests go on
GET      /requests?after=SEQ         journal entries
POST     /cut?path=REGEX             tear down streams under way; answers how many
=======  ==========================  ===========================================================
"""

from __future__ import annotations

import re

import msgspec
from aiohttp import web

from .proxy import Proxy
from .rules import Rule, RuleSpec


def control_app(proxy: Proxy) -> web.Application:
    """The control API of one proxy."""
    api = _ControlApi(proxy)
    app = web.Application()
    app.add_routes(
        [
            web.post("/rules", api.add_rule),
            web.delete("/rules", api.remove_all),
            web.get("/rules/{id}", api.show_rule),
            web.delete("/rules/{id}", api.remove_rule),
            web.post("/rules/{id}/release", api.release),
            web.get("/requests", api.requests),
            web.post("/cut", api.cut),
        ]
    )
    return app


class _ControlApi:
    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    async def add_rule(self, request: web.Request) -> web.Response:
        try:
            rule = self._proxy.rules.add(msgspec.json.decode(await request.read(), type=RuleSpec))
        except (msgspec.DecodeError, re.error) as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return _json(rule.state)

    async def show_rule(self, request: web.Request) -> web.Response:
        rule = self._rule(request)
        if "fired" in request.query:
            await self._proxy.rules.until_fired(
                rule,
                int(request.query["fired"]),
                timeout_seconds=float(request.query["timeout"]),
            )
        return _json(rule.state)

    async def release(self, request: web.Request) -> web.Response:
        rule = self._rule(request)
        rule.released.set()
        return _json(rule.state)

    async def remove_rule(self, request: web.Request) -> web.Response:
        self._proxy.rules.remove(self._rule(request).id)
        return web.Response(status=204)

    async def remove_all(self, _: web.Request) -> web.Response:
        for rule in self._proxy.rules:
            self._proxy.rules.remove(rule.id)
        return web.Response(status=204)

    async def requests(self, request: web.Request) -> web.Response:
        return _json(list(self._proxy.journal.since(int(request.query.get("after", "0")))))

    async def cut(self, request: web.Request) -> web.Response:
        return _json(self._proxy.cut(request.query.get("path", "")))

    def _rule(self, request: web.Request) -> Rule:
        rule = self._proxy.rules.get(int(request.match_info["id"]))
        if rule is None:
            raise web.HTTPNotFound(text="no such rule")
        return rule


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
