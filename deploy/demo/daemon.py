"""The real daemon, run as a user would run it: ``sleeper run`` with a configuration file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devcluster.client import Cluster

from demo.watcher import StoryError

READY_WITHIN_SECONDS = 60


def configuration(cluster: Cluster, *, sleep_after: str, notice: str) -> Mapping[str, Any]:
    """The configuration file of the demo (JSON, which is YAML).

    Everything is faster than on a real cluster: idle times of seconds, and a retry horizon that
    matches the API server's audit flags here.
    """
    return {
        "database": {"url": f"sqlite+aiosqlite:///{cluster.directory}/sleeper.sqlite3"},
        "kubernetes": {"kubeconfig": str(cluster.kubeconfig("sleeper"))},
        "defaults": {"sleep_after": sleep_after, "notice": notice},
        "api_signal": {
            "listen": "127.0.0.1",
            "port": cluster.sink_port,
            "tls_cert": str(cluster.pki("sink.crt")),
            "tls_key": str(cluster.pki("sink.key")),
            "client_ca": str(cluster.pki("sink-ca.crt")),
            "apiservers": [{"name": "devcluster", "url": cluster.apiserver}],
            "retry_horizon_seconds": 4,
            "canary_interval_seconds": 1,
            "canary_timeout_seconds": 10,
        },
        "traffic_signal": {
            "prometheus_url": cluster.prometheus,
            "poll_interval_seconds": 1,
            "stale_after_seconds": 6,
        },
        "api": {"listen": "127.0.0.1", "port": cluster.daemon_port},
    }


class Daemon:
    """One ``sleeper run`` as a process of its own."""

    def __init__(self, cluster: Cluster, config: Mapping[str, Any]) -> None:
        self._cluster = cluster
        self._file = cluster.directory / "sleeper.yaml"
        self._file.write_text(json.dumps(config, indent=1))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """Where its log goes."""
        return self._cluster.directory / "logs" / "sleeper.log"

    def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            StoryError: it ended, or did not become ready in time.
        """
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "run", "--config", str(self._file)], stdout=log, stderr=log
            )
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = "\n".join(self.log.read_text().splitlines()[-15:])
                raise StoryError(f"sleeper did not become ready:\n{tail}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Ask it to end, and wait."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def sleeper(self, *arguments: str) -> str:
        """What the command line prints."""
        environment = {**os.environ, "SLEEPER_SERVER": self._url, "COLUMNS": "110"}
        return subprocess.run(
            [self._program, *arguments],
            check=True,
            capture_output=True,
            text=True,
            timeout=30,
            env=environment,
        ).stdout

    @property
    def _program(self) -> str:
        return str(Path(sys.executable).with_name("sleeper"))

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self._cluster.daemon_port}"

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._url}/readyz", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            return False
