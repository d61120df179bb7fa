"""What the command finds in its environment.

KUBECONFIG                    the administrator's
DEVCLUSTER_KUBECONFIG_<WHO>   ALICE, BOB (engineers), SLEEPER (the daemon, with the permissions
                              that deploy/base gives it)
DEVCLUSTER_DIR                the cluster's directory: logs, pki, kubeconfigs
DEVCLUSTER_APISERVER          URL; DEVCLUSTER_CA is the certificate of its authority
DEVCLUSTER_PROMETHEUS_URL     Prometheus
DEVCLUSTER_INGRESS_URL        Traefik; the Host header chooses the Ingress
DEVCLUSTER_SINK_PORT          where audit events are sent to, under /audit/devcluster by HTTPS;
                              in pki: sink.crt and sink.key for the server, sink-ca.crt for its
                              authority
DEVCLUSTER_DAEMON_PORT        where Prometheus looks for the daemon's /metrics
DEVCLUSTER_POD_NETWORK        1 if Pod addresses answer
PATH                          begins with the cluster's programs (kubectl among them) and those
                              of the checkout's .venv (sleeper)
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from devcluster.errors import DevclusterError
from devcluster.site import LOOPBACK, PROJECT, Site

_SLEEPER: Final = PROJECT / ".venv" / "bin" / "sleeper"


def facts(site: Site, environ: Mapping[str, str]) -> dict[str, str]:
    """The command's environment: ours with the facts added."""
    programs = dict.fromkeys(str(path.parent) for path in (*site.binaries.values(), _SLEEPER))
    return {
        **environ,
        "PATH": os.pathsep.join([*programs, environ.get("PATH", os.defpath)]),
        "KUBECONFIG": str(site.kubeconfig("admin")),
        **{
            f"DEVCLUSTER_KUBECONFIG_{who.upper()}": str(site.kubeconfig(who))
            for who in ("alice", "bob", "sleeper")
        },
        "DEVCLUSTER_DIR": str(site.directory),
        "DEVCLUSTER_APISERVER": site.apiserver_url,
        "DEVCLUSTER_CA": str(site.pki / "ca.crt"),
        "DEVCLUSTER_PROMETHEUS_URL": f"http://{LOOPBACK}:{site.ports.prometheus}",
        "DEVCLUSTER_INGRESS_URL": f"http://{LOOPBACK}:{site.ports.ingress}",
        "DEVCLUSTER_SINK_PORT": str(site.ports.sink),
        "DEVCLUSTER_DAEMON_PORT": str(site.ports.daemon),
        "DEVCLUSTER_POD_NETWORK": "1" if site.isolated else "0",
    }


def existing_cluster(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a cluster that somebody else runs: only what holds there, too.

    Raises:
        DevclusterError: there is no KUBECONFIG.
    """
    if "KUBECONFIG" not in environ:
        raise DevclusterError(
            "DEVCLUSTER_USE_KUBECONFIG is 1 but KUBECONFIG is not set: set it to the kubeconfig of "
            "a cluster that may be used for development"
        )
    return {**environ, "DEVCLUSTER_POD_NETWORK": "0"}
