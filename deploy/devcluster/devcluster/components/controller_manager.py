"""kube-controller-manager: each of its controllers under a service account of its own."""

from __future__ import annotations

from devcluster.identities import CONTROLLER_MANAGER
from devcluster.probes import admin_tls, http_ok
from devcluster.process import Spec
from devcluster.site import LOOPBACK, POD_RANGE, Site


def controller_manager(site: Site) -> Spec:
    """Ready when the ``default`` service account exists: Pods can be created from then on."""
    tls = admin_tls(site)
    account = f"{site.apiserver_url}/api/v1/namespaces/default/serviceaccounts/default"
    return Spec(
        name="kube-controller-manager",
        program=[site.binaries["kube-controller-manager"]],
        flags={
            "kubeconfig": str(site.kubeconfig(CONTROLLER_MANAGER.name)),
            "authentication-kubeconfig": str(site.kubeconfig(CONTROLLER_MANAGER.name)),
            "authorization-kubeconfig": str(site.kubeconfig(CONTROLLER_MANAGER.name)),
            "bind-address": LOOPBACK,
            "secure-port": str(site.ports.controller_manager),
            "use-service-account-credentials": None,
            "service-account-private-key-file": str(site.pki / "service-accounts.key"),
            "root-ca-file": str(site.pki / "ca.crt"),
            "allocate-node-cidrs": None,
            "cluster-cidr": POD_RANGE,
            "node-cidr-mask-size": "20",
            "leader-elect": "false",
            "kube-api-qps": "200",
            "kube-api-burst": "400",
        },
        ready=lambda: http_ok(account, tls=tls),
    )
