"""The control socket: one JSON object per line in, one per line out.

``{"component": "prometheus", "action": "restart", "flags": {"config.file": "…"}}`` is answered with
``{"pid": 123}``, or with ``{"error": "…"}``. :mod:`devcluster.client` is the other end.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devcluster.errors import ComponentError
from devcluster.process import Process


class ControlServer:
    """Serves the control socket for as long as the cluster runs."""

    def __init__(self, processes: Mapping[str, Process]) -> None:
        self._processes = processes
        self._lock = asyncio.Lock()

    async def listen(self, path: Path) -> asyncio.Server:
        """Open the socket."""
        return await asyncio.start_unix_server(self._serve, path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async for line in reader:
                try:
                    async with self._lock:
                        answer = await self._act(json.loads(line))
                except ComponentError as error:
                    answer = {"error": str(error)}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        finally:
            writer.close()

    async def _act(self, request: Mapping[str, Any]) -> dict[str, Any]:
        process = self._processes.get(request["component"])
        if process is None:
            known = ", ".join(sorted(self._processes))
            raise ComponentError(f"no component {request['component']!r}; there are {known}")
        match request["action"]:
            case "start":
                await process.start(request.get("flags"))
            case "stop":
                await process.stop()
            case "kill":
                await process.kill()
            case "restart":
                await process.stop()
                await process.start(request.get("flags"))
            case "pause":
                process.signal(signal.SIGSTOP)
            case "resume":
                process.signal(signal.SIGCONT)
            case "status":
                pass
            case action:
                raise ComponentError(f"no action {action!r}")
        return {"pid": process.pid}
