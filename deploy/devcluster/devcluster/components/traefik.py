"""Traefik: the ingress controller, with the counters that the traffic signal reads."""

from __future__ import annotations

from devcluster.identities import TRAEFIK
from devcluster.probes import http_ok
from devcluster.process import Spec
from devcluster.site import LOOPBACK, Site


def traefik(site: Site) -> Spec:
    """Serves the Ingresses of class ``traefik``; metrics and ``/ping`` have a port of their own."""
    metrics = f"{LOOPBACK}:{site.ports.ingress_metrics}"
    return Spec(
        name="traefik",
        program=[site.binaries["traefik"]],
        flags={
            "entrypoints.web.address": f"{LOOPBACK}:{site.ports.ingress}",
            "entrypoints.metrics.address": metrics,
            "ping": "true",
            "ping.entrypoint": "metrics",
            "metrics.prometheus": "true",
            "metrics.prometheus.entrypoint": "metrics",
            "metrics.prometheus.addserviceslabels": "true",
            "providers.kubernetesingress": "true",
            "providers.kubernetesingress.ingressendpoint.ip": LOOPBACK,
            "global.checknewversion": "false",
            "global.sendanonymoususage": "false",
            "log.level": "WARN",
        },
        # Its Ingress provider takes the cluster from here; endpoint and token flags are for Pods.
        environment={"KUBECONFIG": str(site.kubeconfig(TRAEFIK.name))},
        ready=lambda: http_ok(f"http://{metrics}/ping"),
    )
