"""The stage: two tenants and their Spaces, as the manifests a team would have written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Manifest = dict[str, Any]

TENANT = "sleeper.dev/tenant"

REQUESTS = {
    "web": {"cpu": "250m", "memory": "512Mi"},
    "db": {"cpu": "500m", "memory": "1280Mi"},
}
"""What one Pod of each workload requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSpace:
    """One Space of the demo.

    Attributes:
        story: what happens to it, in a few words, for the table.
        annotations: without the ``sleeper.dev/`` prefix.
        replicas: of its Deployment.
        claims: a StatefulSet with this many replicas and claims beside it.
        host: the host name under which it is reachable through the ingress; None: not at all.
    """

    name: str
    tenant: str
    story: str
    annotations: Mapping[str, str] = field(default_factory=dict)
    replicas: int = 2
    claims: int = 0
    host: str | None = None


SPACES = (
    DemoSpace(name="atlas-preview", tenant="atlas", story="nobody uses it", replicas=3),
    DemoSpace(
        name="atlas-shop", tenant="atlas", story="a customer clicks", host="shop.example.com"
    ),
    DemoSpace(name="atlas-workbench", tenant="atlas", story="alice runs kubectl"),
    DemoSpace(name="atlas-leftover", tenant="atlas", story="only a controller polls it"),
    DemoSpace(
        name="borealis-office",
        tenant="borealis",
        story="in its awake-hours",
        annotations={"awake-hours": "Mon-Sun 00:00-24:00", "timezone": "Europe/Berlin"},
    ),
    DemoSpace(
        name="borealis-typo",
        tenant="borealis",
        story="annotation cannot be read",
        annotations={"sleep-after": "soon"},
    ),
    DemoSpace(
        name="borealis-ledger",
        tenant="borealis",
        story="bob comes back to it",
        replicas=1,
        claims=2,
    ),
    DemoSpace(
        name="borealis-api",
        tenant="borealis",
        story="a client calls it, as Prometheus shows",
        host="api.example.com",
    ),
)


def manifests(space: DemoSpace) -> list[Manifest]:
    """Everything of one Space, the namespace first."""
    items = [_namespace(space), _workload(space, "Deployment", "web", space.replicas)]
    if space.claims:
        items.append(_stateful(space))
    if space.host is not None:
        items += [_service(space), _ingress(space, space.host)]
    return items


def _namespace(space: DemoSpace) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": space.name,
            "labels": {TENANT: space.tenant},
            "annotations": {f"sleeper.dev/{k}": v for k, v in space.annotations.items()},
        },
    }


def _workload(space: DemoSpace, kind: str, name: str, replicas: int) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": space.name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "containers": [
                        {
                            "name": name,
                            "image": f"registry.example.com/{space.tenant}/{name}:1.4",
                            "ports": [{"name": "http", "containerPort": 8080}],
                            "resources": {"requests": REQUESTS[name]},
                        }
                    ]
                },
            },
        },
    }


def _stateful(space: DemoSpace) -> Manifest:
    manifest = _workload(space, "StatefulSet", "db", space.claims)
    manifest["spec"] |= {
        "serviceName": "db",
        "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete", "whenDeleted": "Retain"},
        "volumeClaimTemplates": [
            {
                "metadata": {"name": "data"},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1Gi"}},
                },
            }
        ],
    }
    return manifest


def _service(space: DemoSpace) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": space.name},
        "spec": {
            "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
        },
    }


def _ingress(space: DemoSpace, host: str) -> Manifest:
    backend = {"service": {"name": "web", "port": {"name": "http"}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "web", "namespace": space.name},
        "spec": {
            "ingressClassName": "traefik",
            "rules": [
                {
                    "host": host,
                    "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]},
                }
            ],
        },
    }
