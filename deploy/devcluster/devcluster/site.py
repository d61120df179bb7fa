"""Where everything is: directories, ports, address ranges, programs."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from devcluster.errors import DevclusterError
from devcluster.options import Options

LOOPBACK: Final = "127.0.0.1"
POD_RANGE: Final = "10.244.0.0/16"
SERVICE_RANGE: Final = "10.96.0.0/16"
API_SERVICE_ADDRESS: Final = "10.96.0.1"
NODE_ADDRESS: Final = "10.244.255.1"
"""Every node has it: the last /20 of the Pod range is given to no node."""

DEVCLUSTER: Final = Path(__file__).resolve().parents[1]
"""``deploy/devcluster``, the directory that Python imports this package from."""
PROJECT: Final = DEVCLUSTER.parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """One port per listener; all but ``echo`` are on loopback.

    ``sink`` and ``daemon`` are not listened on by the cluster: it delivers audit events to the
    one and scrapes the other, which the daemon under test opens.
    """

    etcd: int = 2379
    etcd_peer: int = 2380
    apiserver: int = 6443
    controller_manager: int = 10257
    scheduler: int = 10259
    prometheus: int = 9090
    ingress: int = 8000
    ingress_metrics: int = 8082
    echo: int = 8080
    sink: int = 9443
    daemon: int = 9180


PORT_NAMES: Final = tuple(field.name for field in fields(Ports))
_OPENED_BY_OTHERS: Final = frozenset({"sink", "daemon"})


def choose_ports(pinned: Mapping[str, int], *, isolated: bool) -> Ports:
    """The ports of this run: the usual ones in a network of our own, else free ones of the host.

    Raises:
        DevclusterError: a pinned name does not exist, or a port is taken.
    """
    names = set(PORT_NAMES)
    if unknown := sorted(set(pinned) - names):
        raise DevclusterError(
            f"DEVCLUSTER_PORT_{unknown[0].upper()} is not known; "
            f"the ports are {', '.join(sorted(names))}"
        )
    ports = Ports(**({} if isolated else _free_ports(names - set(pinned))), **pinned)
    for name in sorted(names - _OPENED_BY_OTHERS):
        _check_free(name, getattr(ports, name))
    return ports


def _free_ports(names: set[str]) -> dict[str, int]:
    """One free loopback port per name; all held at once, so that no two are the same."""
    sockets = {name: socket.create_server((LOOPBACK, 0)) for name in names}
    try:
        return {name: opened.getsockname()[1] for name, opened in sockets.items()}
    finally:
        for opened in sockets.values():
            opened.close()


def _check_free(name: str, port: int) -> None:
    try:
        socket.create_server((LOOPBACK, port)).close()
    except OSError as error:
        raise DevclusterError(
            f"port {port}, which {name} wants, cannot be had ({error.strerror}): stop what listens "
            f"there, or set DEVCLUSTER_PORT_{name.upper()} to another port"
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One running cluster's places.

    Attributes:
        directory: everything the cluster writes; gone with it.
        binaries: program name to path.
        isolated: True in a network namespace of our own, where Pod addresses answer.
    """

    directory: Path
    binaries: Mapping[str, Path]
    options: Options
    ports: Ports
    isolated: bool

    @property
    def pki(self) -> Path:
        """Certificates and keys."""
        return self.directory / "pki"

    @property
    def logs(self) -> Path:
        """One log file per component."""
        return self.directory / "logs"

    @property
    def kubeconfigs(self) -> Path:
        """One kubeconfig per identity."""
        return self.directory / "kubeconfigs"

    @property
    def control_socket(self) -> Path:
        """Unix socket of :mod:`devcluster.control`."""
        return self.directory / "control.sock"

    @property
    def apiserver_url(self) -> str:
        """The API server's address."""
        return f"https://{LOOPBACK}:{self.ports.apiserver}"

    def kubeconfig(self, identity: str) -> Path:
        """The kubeconfig of an identity of :mod:`devcluster.identities`."""
        return self.kubeconfigs / f"{identity}.yaml"
