"""Files and objects that must be there before the components start."""

from __future__ import annotations

import asyncio
import json
from typing import Final

from devcluster.components.kwok import node_manifests
from devcluster.errors import ComponentError
from devcluster.identities import token_user, write_credentials, write_kubeconfig
from devcluster.pki import Authority, write_key_pair
from devcluster.site import API_SERVICE_ADDRESS, DEVCLUSTER, LOOPBACK, PROJECT, Site

_MANIFEST: Final = DEVCLUSTER / "devcluster" / "manifests" / "bootstrap.yaml"
_BASE: Final = PROJECT / "deploy" / "base"
_SLEEPER: Final = ("sleeper-system", "sleeper")


def write_files(site: Site) -> None:
    """Certificates and kubeconfigs.

    The sink has an authority of its own, as on a real cluster: a certificate that opens the API
    server must not open the sink.
    """
    site.logs.mkdir()
    cluster = Authority(site.pki, "ca")
    cluster.issue_server(
        "kube-apiserver",
        hosts=[LOOPBACK, "localhost", API_SERVICE_ADDRESS, "kubernetes.default.svc"],
    )
    cluster.issue_server("kube-scheduler-server", hosts=[LOOPBACK])
    write_key_pair(site.pki, "service-accounts")
    write_credentials(site.kubeconfigs, server=site.apiserver_url, ca=cluster)
    Authority(site.pki, "front-proxy-ca")  # signs nothing, but controllers look for it
    sink = Authority(site.pki, "sink-ca")
    sink.issue_server("sink", hosts=[LOOPBACK, "localhost"])
    sink.issue_client("audit-webhook", user="devcluster")


async def apply_objects(site: Site) -> None:
    """Permissions, classes and nodes, as the administrator."""
    await kubectl(site, "apply", "--server-side", "-f", str(_MANIFEST))
    nodes = {"apiVersion": "v1", "kind": "List", "items": node_manifests(site.options.nodes)}
    await kubectl(site, "create", "-f", "-", stdin=json.dumps(nodes))


async def install_sleeper(site: Site) -> None:
    """What ``deploy/base`` ships, and a kubeconfig for the daemon's ServiceAccount."""
    await kubectl(site, "apply", "--server-side", "-k", str(_BASE))
    namespace, name = _SLEEPER
    token = await kubectl(site, "create", "token", name, "-n", namespace, "--duration=24h")
    write_kubeconfig(
        site.kubeconfig(name),
        server=site.apiserver_url,
        ca=site.pki / "ca.crt",
        user=token_user(token.strip()),
    )


async def kubectl(site: Site, *arguments: str, stdin: str | None = None) -> str:
    """Run kubectl as the administrator and return what it printed."""
    child = await asyncio.create_subprocess_exec(
        site.binaries["kubectl"],
        f"--kubeconfig={site.kubeconfig('admin')}",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"HOME": str(site.directory)},
    )
    output, errors = await child.communicate(stdin.encode() if stdin is not None else None)
    if child.returncode != 0:
        raise ComponentError(f"kubectl {arguments[0]} failed: {errors.decode().strip()}")
    return output.decode()
