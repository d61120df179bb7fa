"""KWOK: plays the kubelet of every node; Pods start, stop and complete after a while."""

from __future__ import annotations

from typing import Final

from devcluster.identities import KWOK
from devcluster.probes import admin_tls, get_json
from devcluster.process import Spec
from devcluster.site import DEVCLUSTER, NODE_ADDRESS, POD_RANGE, Site

_STAGES: Final = DEVCLUSTER / "devcluster" / "manifests" / "kwok-stages.yaml"


def kwok(site: Site) -> Spec:
    """Ready when every node is."""
    config = site.directory / "kwok-stages.yaml"
    config.write_text(_STAGES.read_text().replace("POD_START", site.options.pod_start))
    tls = admin_tls(site)

    async def nodes_ready() -> bool:
        nodes = await get_json(f"{site.apiserver_url}/api/v1/nodes", tls=tls)
        return nodes is not None and all(
            any(
                condition["type"] == "Ready" and condition["status"] == "True"
                for condition in node["status"].get("conditions", ())
            )
            for node in nodes["items"]
        )

    return Spec(
        name="kwok",
        program=[site.binaries["kwok"]],
        flags={
            "kubeconfig": str(site.kubeconfig(KWOK.name)),
            "config": str(config),
            "manage-all-nodes": "true",
            "node-lease-duration-seconds": "40",
            "cidr": POD_RANGE,
            "node-ip": NODE_ADDRESS,
        },
        ready=nodes_ready,
    )


def node_manifests(count: int) -> list[dict[str, object]]:
    """The nodes, each with a /20 of the Pod range."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": f"node-{index}",
                "annotations": {"kwok.x-k8s.io/node": "fake"},
                "labels": {
                    "kubernetes.io/hostname": f"node-{index}",
                    "kubernetes.io/os": "linux",
                    "kubernetes.io/arch": "amd64",
                    "topology.kubernetes.io/zone": f"zone-{index % 2}",
                    "node.kubernetes.io/instance-type": "standard-16",
                },
            },
            "spec": {
                "podCIDR": f"10.244.{16 * index}.0/20",
                "podCIDRs": [f"10.244.{16 * index}.0/20"],
            },
        }
        for index in range(count)
    ]
