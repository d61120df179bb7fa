"""kube-apiserver: RBAC on, audit events to the sink of the daemon under test."""

from __future__ import annotations

from typing import Final

from devcluster.identities import certificate_user, write_kubeconfig
from devcluster.pki import Credential
from devcluster.probes import admin_tls, http_ok
from devcluster.process import Spec
from devcluster.site import API_SERVICE_ADDRESS, LOOPBACK, PROJECT, SERVICE_RANGE, Site

AUDIT_POLICY: Final = PROJECT / "deploy" / "audit" / "policy.yaml"
AUDIT_NAME: Final = "devcluster"
"""The API server's name in the sink's URL: ``/audit/devcluster``."""


def apiserver(site: Site) -> Spec:
    """The flags that a cluster with sleeper ships with; only the webhook's back-off is shorter.

    The back-off decides how long an event may be late, and so how long the daemon has to wait
    before it may believe that nothing happened: 250 ms and five tries, each half as long again,
    are over after about two seconds of refused connections.
    """
    webhook = site.directory / "audit-webhook.yaml"
    write_kubeconfig(
        webhook,
        server=f"https://{LOOPBACK}:{site.ports.sink}/audit/{AUDIT_NAME}",
        ca=site.pki / "sink-ca.crt",
        user=certificate_user(
            Credential(
                certificate=site.pki / "audit-webhook.crt", key=site.pki / "audit-webhook.key"
            )
        ),
    )
    tls = admin_tls(site)
    return Spec(
        name="kube-apiserver",
        program=[site.binaries["kube-apiserver"]],
        flags={
            "etcd-servers": f"http://{LOOPBACK}:{site.ports.etcd}",
            "bind-address": LOOPBACK,
            "secure-port": str(site.ports.apiserver),
            "advertise-address": API_SERVICE_ADDRESS,
            "endpoint-reconciler-type": "none",
            "authorization-mode": "RBAC",
            "service-cluster-ip-range": SERVICE_RANGE,
            "client-ca-file": str(site.pki / "ca.crt"),
            "requestheader-client-ca-file": str(site.pki / "front-proxy-ca.crt"),
            "tls-cert-file": str(site.pki / "kube-apiserver.crt"),
            "tls-private-key-file": str(site.pki / "kube-apiserver.key"),
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": str(site.pki / "service-accounts.pub"),
            "service-account-signing-key-file": str(site.pki / "service-accounts.key"),
            "audit-policy-file": str(AUDIT_POLICY),
            "audit-webhook-config-file": str(webhook),
            "audit-webhook-batch-max-wait": "1s",
            "audit-webhook-initial-backoff": "250ms",
            "profiling": "false",
        },
        ready=lambda: http_ok(f"{site.apiserver_url}/readyz", tls=tls),
    )
