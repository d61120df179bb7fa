"""etcd: the API server's store."""

from __future__ import annotations

from devcluster.probes import http_ok
from devcluster.process import Spec
from devcluster.site import LOOPBACK, Site


def etcd(site: Site) -> Spec:
    """A single member; nothing that it writes needs to outlive the run, so it never syncs."""
    client = f"http://{LOOPBACK}:{site.ports.etcd}"
    peer = f"http://{LOOPBACK}:{site.ports.etcd_peer}"
    return Spec(
        name="etcd",
        program=[site.binaries["etcd"]],
        flags={
            "name": "devcluster",
            "data-dir": str(site.directory / "etcd"),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"devcluster={peer}",
            "unsafe-no-fsync": None,
            "log-level": "warn",
        },
        ready=lambda: http_ok(f"{client}/readyz"),
    )
