"""For whoever runs inside the cluster: its facts, and a hand on each component."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster.errors import ComponentError
from devcluster.options import Flags


@dataclass(frozen=True, slots=True)
class Component:
    """One component; every call returns when the thing is done (a start: when it is ready)."""

    name: str
    control_socket: Path

    @property
    def pid(self) -> int | None:
        """Its process id; None while it is stopped."""
        return self._ask("status")

    def start(self, flags: Flags | None = None) -> None:
        """Start it, with ``flags`` in place of its own of the same name."""
        self._ask("start", flags)

    def stop(self) -> None:
        """Ask it to end, and kill it if it does not."""
        self._ask("stop")

    def kill(self) -> None:
        """End it without asking."""
        self._ask("kill")

    def restart(self, flags: Flags | None = None) -> None:
        """Stop and start it; without ``flags`` it is itself again."""
        self._ask("restart", flags)

    def pause(self) -> None:
        """Freeze the process: its connections stay open and nothing answers."""
        self._ask("pause")

    def resume(self) -> None:
        """Let a paused process go on."""
        self._ask("resume")

    def _ask(self, action: str, flags: Flags | None = None) -> int | None:
        request = {"component": self.name, "action": action, "flags": dict(flags or {})}
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.control_socket))
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile() as answers:
                line = answers.readline()
        if not line:
            raise ComponentError(f"the cluster hung up while it was to {action} {self.name}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ComponentError(answer["error"])
        pid: int | None = answer["pid"]
        return pid


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The cluster that this process runs in.

    Attributes:
        directory: its logs, certificates and kubeconfigs.
        pod_network: True if Pod addresses answer.
        sink_port: where the API server sends its audit events (loopback, TLS).
        daemon_port: where Prometheus looks for the daemon's metrics (loopback).
    """

    directory: Path
    apiserver: str
    prometheus: str
    ingress: str
    pod_network: bool
    sink_port: int
    daemon_port: int

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Cluster | None:
        """The cluster of ``deploy/devcluster/run``; None outside of it."""
        if "DEVCLUSTER_DIR" not in environ:
            return None
        return cls(
            directory=Path(environ["DEVCLUSTER_DIR"]),
            apiserver=environ["DEVCLUSTER_APISERVER"],
            prometheus=environ["DEVCLUSTER_PROMETHEUS_URL"],
            ingress=environ["DEVCLUSTER_INGRESS_URL"],
            pod_network=environ["DEVCLUSTER_POD_NETWORK"] == "1",
            sink_port=int(environ["DEVCLUSTER_SINK_PORT"]),
            daemon_port=int(environ["DEVCLUSTER_DAEMON_PORT"]),
        )

    def component(self, name: str) -> Component:
        """A component by its name, for example ``prometheus`` or ``kube-apiserver``."""
        return Component(name, self.directory / "control.sock")

    def kubeconfig(self, identity: str) -> Path:
        """The kubeconfig of ``admin``, ``alice``, ``bob``, ``sleeper`` or a component."""
        return self.directory / "kubeconfigs" / f"{identity}.yaml"

    def pki(self, name: str) -> Path:
        """A file of the cluster's certificates, for example ``ca.crt`` or ``sink.key``."""
        return self.directory / "pki" / name
