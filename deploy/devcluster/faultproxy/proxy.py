"""The exchange itself: receive, strike, forward, stream back."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from contextlib import suppress
from pathlib import Path

from aiohttp import ClientError, ClientResponse, ClientSession, web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from .journal import Entry, Journal
from .rules import Delay, Drop, Fault, Hold, Kill, Moment, Respond, Rule, RuleBook

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that belong to one connection (RFC 9110 §7.6.1)."""

CALLER_CHECK_SECONDS = 0.25
"""How often a silent stream looks whether its caller is still there."""

ANSWER_SETTLES_SECONDS = 0.05
"""Time for a caller to read an answer from its socket before it is killed for having read it."""

DEATH_SECONDS = 5.0
"""How long a killed process may take to be gone; it needs milliseconds."""


class Proxy:
    """Forwards requests to one upstream, struck by the rules of one book."""

    def __init__(self, *, upstream: URL, session: ClientSession) -> None:
        self.rules = RuleBook()
        self.journal = Journal()
        self._upstream = str(upstream).rstrip("/")
        self._session = session
        self._streaming: dict[int, web.Request] = {}
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one request."""
        body = await request.read()
        entry = self.journal.open(
            request.method, request.raw_path, request.headers.get("User-Agent", "")
        )
        try:
            await self._flowing.wait()
            if _caller_is_gone(request):
                return _tear_down(request)
            rule = await self.rules.claim(request.method, request.raw_path, body)
            if rule is not None:
                entry.fault = _label(rule.spec.fault)
            return await self._exchange(request, body, rule, entry)
        finally:
            entry.done = True

    def cut(self, path: str) -> int:
        """Tear down every exchange whose answer has begun; the number of them.

        Args:
            path: regular expression searched in path and query.
        """
        chosen = [r for r in self._streaming.values() if re.search(path, r.raw_path)]
        for request in chosen:
            _tear_down(request)
        return len(chosen)

    async def _exchange(
        self, request: web.Request, body: bytes, rule: Rule | None, entry: Entry
    ) -> web.StreamResponse:
        fault = None if rule is None else rule.spec.fault
        if isinstance(fault, Respond):
            entry.status = fault.status
            return web.Response(status=fault.status, text=fault.body, headers=fault.headers)
        if rule is not None and not await _survives(rule, Moment.BEFORE):
            return _tear_down(request)
        try:
            async with self._session.request(
                request.method,
                URL(self._upstream + request.raw_path, encoded=True),
                headers=_end_to_end(request.headers, without="host"),
                data=body or None,
                allow_redirects=False,
            ) as answer:
                entry.status = answer.status
                whole = b""
                if rule is not None and _strikes_at(rule.spec.fault, Moment.AFTER):
                    whole = await answer.read()
                    if not await _survives(rule, Moment.AFTER):
                        return _tear_down(request)
                if isinstance(fault, Kill) and fault.at is Moment.ANSWERED:
                    return await self._answer_then_kill(request, answer, entry, fault.pid)
                return await self._stream(request, answer, entry, whole)
        except (ClientError, ConnectionError, TimeoutError):
            # The caller sees what it would see without us: a connection that ends.
            return _tear_down(request)

    async def _stream(
        self, request: web.Request, answer: ClientResponse, entry: Entry, head: bytes = b""
    ) -> web.StreamResponse:
        """Pass the answer on as it comes; ``head`` is what has been read of it already."""
        response = web.StreamResponse(status=answer.status, reason=answer.reason)
        response.headers.extend(_end_to_end(answer.headers))
        if "Transfer-Encoding" in answer.headers:
            response.enable_chunked_encoding()
        await response.prepare(request)
        self._streaming[entry.seq] = request
        try:
            if head:
                await response.write(head)
            while not _caller_is_gone(request):
                try:
                    async with asyncio.timeout(CALLER_CHECK_SECONDS):
                        chunk = await answer.content.readany()
                except TimeoutError:
                    continue
                if not chunk:
                    break
                await response.write(chunk)
            await response.write_eof()
        finally:
            del self._streaming[entry.seq]
        return response

    async def _answer_then_kill(
        self, request: web.Request, answer: ClientResponse, entry: Entry, pid: int
    ) -> web.StreamResponse:
        self._flowing.clear()
        try:
            await self._stream(request, answer, entry)
            await asyncio.sleep(ANSWER_SETTLES_SECONDS)
            await _kill(pid)
            return _tear_down(request)
        finally:
            self._flowing.set()


async def _survives(rule: Rule, moment: Moment) -> bool:
    """Apply the rule's fault if this is its moment; False when the connection must go down."""
    fault = rule.spec.fault
    if not _strikes_at(fault, moment):
        return True
    match fault:
        case Delay(seconds=seconds):
            await asyncio.sleep(seconds)
        case Hold():
            await rule.released.wait()
        case Kill(pid=pid):
            await _kill(pid)
    return not isinstance(fault, Drop | Kill)


def _strikes_at(fault: Fault, moment: Moment) -> bool:
    return not isinstance(fault, Respond) and fault.at is moment


def _label(fault: Fault) -> str:
    kind = type(fault).__name__.lower()
    return kind if isinstance(fault, Respond) else f"{kind}:{fault.at}"


def _caller_is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _tear_down(request: web.Request) -> web.Response:
    """End the caller's connection at once; the response returned can reach nobody."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=502)


def _end_to_end(headers: CIMultiDictProxy[str], *, without: str = "") -> CIMultiDict[str]:
    """A copy without what belongs to one connection."""
    return CIMultiDict(
        (name, value)
        for name, value in headers.items()
        if name.lower() not in HOP_BY_HOP and name.lower() != without
    )


async def _kill(pid: int) -> None:
    """SIGKILL, and wait until the process runs no more, so that it can send nothing afterwards."""
    with suppress(ProcessLookupError):  # whatever killed it before, it sends nothing
        os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(DEATH_SECONDS):
        while _runs(pid):  # noqa: ASYNC110 not our child: nobody tells us
            await asyncio.sleep(0.005)


def _runs(pid: int) -> bool:
    """Whether the process exists and is not a zombie (state follows the name in ``stat``)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}
