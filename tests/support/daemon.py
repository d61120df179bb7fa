"""The daemon as a real process: started, killed, frozen and looked at from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import aiohttp
from devcluster.client import Cluster

from tests.support.eventually import eventually

_SLEEPER: Final = Path(sys.executable).parent / "sleeper"
_STOP_SECONDS: Final = 15.0


class Daemon:
    """``sleeper run`` with a configuration of its own.

    The process may be started, ended and started again on the same configuration and database.

    Attributes:
        program: what is started; a test may set a launcher of its own.
    """

    def __init__(self, *, directory: Path, config: Mapping[str, Any]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.program: Sequence[str | Path] = (_SLEEPER,)
        self.config = config
        self.config_file = directory / "sleeper.yaml"
        self.config_file.write_text(json.dumps(config, indent=1))
        self.log_file = directory / "sleeper.log"
        self.log_file.touch()
        self.url = f"http://{config['api']['listen']}:{config['api']['port']}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """True while the process exists."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The id of the running process."""
        assert self._process is not None, "started"
        return self._process.pid

    @property
    def log(self) -> str:
        """Everything it has logged, over all its lives."""
        return self.log_file.read_text(errors="replace")

    def spawn(self) -> None:
        """Start the process and do not wait for anything."""
        assert not self.running, "one process at a time"
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.program, "run", "--config", self.config_file],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={key: value for key, value in os.environ.items() if key != "KUBECONFIG"},
            )

    async def start(self, *, within: float = 120.0) -> None:
        """Start it and wait until it says that it is ready."""
        self.spawn()
        await self.until_ready(within=within)

    async def until_ready(self, *, within: float = 120.0) -> None:
        """Wait until ``/readyz`` is answered with 200."""

        async def ready() -> bool:
            if not self.running:
                raise RuntimeError(f"the daemon has ended:\n{self.log[-4000:]}")
            return await self.get_status("/readyz") == HTTPStatus.OK

        await eventually(ready, within=within, what="the daemon is ready")

    async def get_status(self, path: str) -> int | None:
        """The status of a GET; None if nobody answers."""
        try:
            async with self._session() as session, session.get(self.url + path) as response:
                return response.status
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def get_json(self, path: str) -> Any:
        """The answer of its read API."""
        async with self._session() as session, session.get(self.url + path) as response:
            response.raise_for_status()
            return await response.json()

    async def metrics(self) -> str:
        """Its ``/metrics``."""
        async with self._session() as session, session.get(self.url + "/metrics") as response:
            response.raise_for_status()
            return await response.text()

    async def sees(self) -> None:
        """Wait until the API signal has a watermark: before, the API server's clock is not known
        and an event counts as used when it arrives."""

        async def seen() -> bool:
            return 'signal_watermark_timestamp_seconds{signal="api"' in await self.metrics()

        await eventually(seen, within=120, what="the API signal sees")

    def kill(self) -> None:
        """SIGKILL, and the process is gone."""
        assert self._process is not None, "started"
        self._process.kill()
        self._process.wait()

    async def stop(self) -> int:
        """SIGTERM; returns its exit code.

        Raises:
            NotInTimeError: it did not end in time.
        """
        assert self._process is not None, "started"
        self.resume()
        self._process.terminate()
        process = self._process
        await eventually(
            lambda: process.poll() is not None, within=_STOP_SECONDS, what="the daemon ends"
        )
        return process.wait()

    async def until_ended(self, *, within: float = 120.0) -> int:
        """Wait for its end, which somebody else brings about; returns its exit code."""
        assert self._process is not None, "started"
        process = self._process
        await eventually(lambda: process.poll() is not None, within=within, what="the daemon ends")
        return process.wait()

    async def restart(self, *, within: float = 120.0) -> None:
        """Stop and start it."""
        await self.stop()
        await self.start(within=within)

    def pause(self) -> None:
        """Freeze the process where it stands."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen process go on."""
        if self.running:
            os.kill(self.pid, signal.SIGCONT)

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))


def daemon_config(
    cluster: Cluster, directory: Path, overrides: Mapping[str, Any], *, lease: str
) -> dict[str, Any]:
    """A configuration for tests: the shipped defaults with shorter times.

    Args:
        cluster: what it runs on.
        directory: for its database.
        overrides: merged over it, mapping by mapping.
        lease: name of its Lease; of its own, so that no test waits for a dead holder of another.
    """
    config: dict[str, Any] = {
        "mode": "act",
        "database": {"url": f"sqlite+aiosqlite:///{directory / 'sleeper.db'}"},
        "kubernetes": {
            "kubeconfig": str(cluster.kubeconfig("sleeper")),
            "request_timeout_seconds": 2,
        },
        "defaults": {"sleep_after": "never", "notice": "0"},
        "api_signal": {
            "listen": "127.0.0.1",
            "port": cluster.sink_port,
            "tls_cert": str(cluster.pki("sink.crt")),
            "tls_key": str(cluster.pki("sink.key")),
            "client_ca": str(cluster.pki("sink-ca.crt")),
            "retry_horizon_seconds": 3,
            "canary_interval_seconds": 1,
            "canary_timeout_seconds": 10,
            "apiservers": [{"name": "devcluster", "url": cluster.apiserver}],
        },
        "traffic_signal": {
            "prometheus_url": cluster.prometheus,
            "poll_interval_seconds": 1,
            "stale_after_seconds": 5,
            "timeout_seconds": 3,
        },
        "lease": {
            "name": lease,
            "duration_seconds": 8,
            "renew_deadline_seconds": 6,
            "retry_period_seconds": 1,
        },
        "api": {"listen": "127.0.0.1", "port": cluster.daemon_port},
    }
    return merged(config, overrides)


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with what ``over`` sets, mapping by mapping."""
    result = dict(base)
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def end(daemon: Daemon) -> None:
    """For teardown: whatever state it is in, it is gone afterwards."""
    if daemon.running:
        daemon.resume()
        daemon.kill()
