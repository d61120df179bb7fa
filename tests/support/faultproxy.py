"""The test's hand on a fault proxy (``deploy/devcluster/faultproxy``)."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from aiohttp import ClientSession, ClientTimeout

DEVCLUSTER = Path(__file__).parents[2] / "deploy" / "devcluster"

At = Literal["before", "after"]
Moment = Literal["before", "after", "answered"]
"""Before the request is forwarded; or after it took effect and before its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request that came by; ``status`` is the answer's, whether or not it got through."""

    seq: int
    at: float
    method: str
    target: str
    user_agent: str
    status: int | None
    fault: str
    done: bool


class Rule:
    """A fault that has been ordered."""

    def __init__(self, proxy: FaultProxy, rule_id: int) -> None:
        self._proxy = proxy
        self._path = f"/rules/{rule_id}"

    async def seen(self) -> int:
        """How many requests matched, struck or not."""
        state = await self._proxy.call("GET", self._path)
        return int(state["seen"])

    async def fired(self, times: int = 1, *, timeout_seconds: float = 30.0) -> None:
        """Wait until it has struck so many times.

        Raises:
            TimeoutError: it did not in time.
        """
        params = {"fired": str(times), "timeout": str(timeout_seconds)}
        state = await self._proxy.call("GET", self._path, params=params)
        if state["fired"] < times:
            raise TimeoutError(f"the fault struck {state['fired']} times, not {times}: {state}")

    async def release(self) -> None:
        """Let go of what a hold holds; it holds nothing afterwards."""
        await self._proxy.call("POST", f"{self._path}/release")

    async def remove(self) -> None:
        """Take it back; what it holds goes on."""
        await self._proxy.call("DELETE", self._path)


class FaultProxy:
    """A running fault proxy.

    Every fault takes what it is about: ``methods`` (empty: any), ``path`` (a regular expression
    searched in path and query), ``body`` and ``without`` (expressions that the body must and must
    not contain), ``skip`` (matching requests that pass first) and ``times`` (how many are struck
    then; None: all).

    Attributes:
        url: where the callers connect.
    """

    def __init__(self, *, url: str, control_url: str, session: ClientSession) -> None:
        self.url = url
        self._control_url = control_url
        self._session = session

    @classmethod
    @asynccontextmanager
    async def connected(cls, *, url: str, control_url: str) -> AsyncIterator[Self]:
        """The hand on a proxy that runs already; its rules are taken back at the end."""
        async with ClientSession(timeout=ClientTimeout(total=120)) as session:
            proxy = cls(url=url, control_url=control_url, session=session)
            await proxy.clear()
            try:
                yield proxy
            finally:
                await proxy.clear()

    @classmethod
    @asynccontextmanager
    async def started(
        cls,
        *,
        upstream: str,
        upstream_ca: Path | None = None,
        cert: Path | None = None,
        key: Path | None = None,
        client_cert: Path | None = None,
        client_key: Path | None = None,
        port: int = 0,
    ) -> AsyncIterator[Self]:
        """Start a proxy of our own.

        Args:
            upstream: URL of the server behind it.
            upstream_ca: CA bundle for that server's certificate.
            cert: certificate that callers are shown; without one they come by plain HTTP.
            key: its private key.
            client_cert: certificate that the upstream is shown, in place of the callers' own.
            client_key: its private key.
            port: where it listens on loopback; 0: on any free one.
        """
        options = {
            "upstream": upstream,
            "upstream-ca": upstream_ca,
            "upstream-cert": client_cert,
            "upstream-key": client_key,
            "cert": cert,
            "key": key,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "faultproxy",
            f"--port={port}",
            *(f"--{name}={value}" for name, value in options.items() if value is not None),
            env={**os.environ, "PYTHONPATH": str(DEVCLUSTER)},
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(30):
                ports = json.loads(await process.stdout.readline())
            scheme = "http" if cert is None else "https"
            async with cls.connected(
                url=f"{scheme}://127.0.0.1:{ports['listen']}",
                control_url=f"http://127.0.0.1:{ports['control']}",
            ) as proxy:
                yield proxy
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()

    async def delay(self, *, seconds: float, at: At = "before", **match: Any) -> Rule:
        """Be late."""
        return await self._add({"type": "delay", "seconds": seconds, "at": at}, match)

    async def hold(self, *, at: At = "before", **match: Any) -> Rule:
        """Hold back until released; a held request goes on even if its caller has died."""
        return await self._add({"type": "hold", "at": at}, match)

    async def drop(self, *, at: At = "before", **match: Any) -> Rule:
        """Tear the connection down."""
        return await self._add({"type": "drop", "at": at}, match)

    async def respond(
        self,
        *,
        status: int,
        answer: str = "",
        headers: Mapping[str, str] | None = None,
        **match: Any,
    ) -> Rule:
        """Answer in the upstream's place."""
        fault = {"type": "respond", "status": status, "body": answer, "headers": headers or {}}
        return await self._add(fault, match)

    async def kill(self, *, pid: int, at: Moment, **match: Any) -> Rule:
        """SIGKILL the process at that moment; ``answered``: it has the answer, and did no more."""
        return await self._add({"type": "kill", "pid": pid, "at": at}, match)

    async def clear(self) -> None:
        """Take all faults back."""
        await self.call("DELETE", "/rules")

    async def cut(self, *, path: str = "") -> int:
        """Tear down the watches (any answer under way) on matching paths; how many there were."""
        return int(await self.call("POST", "/cut", params={"path": path}))

    async def mark(self) -> int:
        """Number of the last request so far, for ``requests(after=…)``."""
        seen = await self.requests()
        return seen[-1].seq if seen else 0

    async def requests(
        self, *, after: int = 0, methods: Sequence[str] = (), path: str = ""
    ) -> list[Seen]:
        """Requests that came by, oldest first."""
        entries = await self.call("GET", "/requests", params={"after": str(after)})
        return [
            Seen(**entry)
            for entry in entries
            if (not methods or entry["method"] in methods) and re.search(path, entry["target"])
        ]

    async def writes(self, *, after: int = 0, path: str = "") -> list[Seen]:
        """Requests that may change something."""
        return await self.requests(
            after=after, methods=("POST", "PUT", "PATCH", "DELETE"), path=path
        )

    async def call(self, method: str, path: str, **options: Any) -> Any:
        """One call of the control API; its JSON answer.

        Raises:
            AssertionError: the proxy refused it, with its sentence.
        """
        async with self._session.request(method, self._control_url + path, **options) as response:
            text = await response.text()
            assert response.status < 400, f"fault proxy: {response.status} {text}"
            return json.loads(text) if text else None

    async def _add(self, fault: Mapping[str, object], match: Mapping[str, object]) -> Rule:
        state = await self.call("POST", "/rules", json={"match": dict(match), "fault": dict(fault)})
        return Rule(self, state["id"])
