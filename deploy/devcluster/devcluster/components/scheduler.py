"""kube-scheduler."""

from __future__ import annotations

import ssl

from devcluster.identities import SCHEDULER
from devcluster.probes import http_ok
from devcluster.process import Spec
from devcluster.site import LOOPBACK, Site


def scheduler(site: Site) -> Spec:
    """The default profile."""
    tls = ssl.create_default_context(cafile=site.pki / "ca.crt")
    return Spec(
        name="kube-scheduler",
        program=[site.binaries["kube-scheduler"]],
        flags={
            "kubeconfig": str(site.kubeconfig(SCHEDULER.name)),
            "authentication-kubeconfig": str(site.kubeconfig(SCHEDULER.name)),
            "authorization-kubeconfig": str(site.kubeconfig(SCHEDULER.name)),
            "bind-address": LOOPBACK,
            "secure-port": str(site.ports.scheduler),
            "tls-cert-file": str(site.pki / "kube-scheduler-server.crt"),
            "tls-private-key-file": str(site.pki / "kube-scheduler-server.key"),
            "leader-elect": "false",
            "kube-api-qps": "200",
            "kube-api-burst": "400",
        },
        ready=lambda: http_ok(f"https://{LOOPBACK}:{site.ports.scheduler}/healthz", tls=tls),
    )
