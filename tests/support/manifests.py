"""Objects for tests, as small as the API server takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Manifest = dict[str, Any]


def namespace(name: str, *, tenant: str, annotations: Mapping[str, str] | None = None) -> Manifest:
    """A Space."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {"sleeper.dev/tenant": tenant},
            "annotations": dict(annotations or {}),
        },
    }


def deployment(
    name: str, *, replicas: int = 1, start_after: str = "200ms", **spec: Any
) -> Manifest:
    """A Deployment whose Pods listen on 8080 and are Ready after ``start_after``."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": pod_template(name, start_after=start_after),
            **spec,
        },
    }


def stateful_set(
    name: str, *, replicas: int = 1, start_after: str = "200ms", claims: bool = True, **spec: Any
) -> Manifest:
    """A StatefulSet, by default with one claim per Pod."""
    templates = [
        {
            "metadata": {"name": "data"},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }
    ]
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name},
        "spec": {
            "serviceName": name,
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": pod_template(name, start_after=start_after),
            **({"volumeClaimTemplates": templates} if claims else {}),
            **spec,
        },
    }


def pod_template(app: str, *, start_after: str) -> Manifest:
    """A Pod template of one container."""
    return {
        "metadata": {
            "labels": {"app": app},
            "annotations": {"devcluster.sleeper.dev/start-after": start_after},
        },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "app",
                    "image": "registry.example/app:1",
                    "ports": [{"containerPort": 8080}],
                    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                }
            ],
        },
    }


def service(name: str) -> Manifest:
    """A Service in front of the Pods of ``name``; its port is called ``http``."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "selector": {"app": name},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        },
    }


def ingress(name: str, *, host: str) -> Manifest:
    """An Ingress of class ``traefik`` that sends a host's requests to the Service ``name``."""
    backend = {"service": {"name": name, "port": {"name": "http"}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name},
        "spec": {
            "ingressClassName": "traefik",
            "rules": [{"host": host, "http": {"paths": [path]}}],
        },
    }
