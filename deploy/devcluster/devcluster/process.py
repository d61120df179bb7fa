"""A component as a process: started, judged ready, stopped, paused, by its own id only."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from devcluster.errors import ComponentError
from devcluster.options import Flags

_PR_SET_PDEATHSIG: Final = 1
_libc: Final = ctypes.CDLL(None, use_errno=True)
_POLL_SECONDS: Final = 0.05
_LOG_TAIL_LINES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """How a component is started.

    Attributes:
        name: as the logs, the control socket and ``DEVCLUSTER_FLAGS_…`` call it.
        program: command and fixed first arguments.
        flags: flag name without dashes to value; kept as a mapping so that a run can override one.
        environment: added to a minimal environment, never to ours: a component must not find a
            kubeconfig or a proxy that happens to be set.
        ready: True once the component can be used; asked again until then.
        start_seconds: how long that may take.
    """

    name: str
    program: Sequence[str | Path]
    flags: Flags = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], Awaitable[bool]]
    start_seconds: float = 60.0

    def command(self, overrides: Flags) -> list[str]:
        """The command line with ``overrides`` in place of the flags of the same name."""
        words = [str(word) for word in self.program]
        for name, value in {**self.flags, **overrides}.items():
            words.append(f"--{name}" if value is None else f"--{name}={value}")
        return words


class Process:
    """One component's process.

    Not safe for concurrent calls; :class:`devcluster.control.ControlServer` serialises them.
    """

    def __init__(self, spec: Spec, *, log: Path, overrides: Flags) -> None:
        self.spec = spec
        self._log = log
        self._overrides = overrides
        self._child: asyncio.subprocess.Process | None = None
        self._wanted = False

    @property
    def lost(self) -> bool:
        """True if it should be running and is not."""
        return self._wanted and not self.running

    @property
    def running(self) -> bool:
        """True while the process exists, paused or not."""
        return self._child is not None and self._child.returncode is None

    @property
    def pid(self) -> int | None:
        """The id of the running process."""
        return self._child.pid if self._child is not None and self.running else None

    async def start(self, flags: Flags | None = None) -> float:
        """Start it and wait until it is ready.

        Args:
            flags: overrides for this start, on top of those of the run.

        Returns:
            Seconds that it took.

        Raises:
            ComponentError: it ended, or was not ready in time; with the end of its log.
        """
        if self.running:
            raise ComponentError(f"{self.spec.name} is running already")
        began = time.monotonic()
        command = self.spec.command({**self._overrides, **(flags or {})})
        with self._log.open("ab") as log:
            self._child = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._log.parent,
                env={"PATH": os.environ.get("PATH", ""), "HOME": "/", **self.spec.environment},
                start_new_session=True,  # Ctrl-C is for the command, not for the cluster
                preexec_fn=_die_with_parent,
            )
        try:
            async with asyncio.timeout(self.spec.start_seconds):
                while not await self.spec.ready():
                    if self._child.returncode is not None:
                        raise ComponentError(self.post_mortem("ended before it was ready"))
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise ComponentError(
                self.post_mortem(f"was not ready within {self.spec.start_seconds:.0f} s")
            ) from None
        self._wanted = True
        return time.monotonic() - began

    async def stop(self, *, grace_seconds: float = 5.0) -> None:
        """Ask it to end; kill it when it has not done so in time. Stopped already is fine."""
        self._wanted = False
        if self._child is None or not self.running:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_seconds):
                await self._child.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """End it without asking."""
        self._wanted = False
        if self._child is None or not self.running:
            return
        self.signal(signal.SIGKILL)
        await self._child.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, for example SIGSTOP and SIGCONT to pause it and let it go on."""
        if self._child is None or not self.running:
            raise ComponentError(f"{self.spec.name} is not running")
        self._child.send_signal(number)

    def post_mortem(self, what: str) -> str:
        """A sentence about its end, with the end of its log."""
        lines = self._log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        tail = "".join(f"\n    {line[:300]}" for line in lines)
        return f"{self.spec.name} {what}; the end of its log:{tail}"


def _die_with_parent() -> None:
    """In the child: without namespaces this is what ends it when we are killed."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
