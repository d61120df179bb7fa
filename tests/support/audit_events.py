"""Audit events as a Kubernetes 1.36 API server sends them at level Metadata."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)

KUBECTL = "kubectl/v1.36.3 (linux/amd64) kubernetes/4fb1f6c"


def stamp(at: datetime) -> str:
    """``metav1.MicroTime`` on the wire."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def event(
    *,
    namespace: str = "team-a",
    user: str = "alice",
    verb: str = "get",
    resource: str = "pods",
    subresource: str | None = None,
    name: str = "web-7d4b9c6f5-x2x9k",
    stage: str = "ResponseComplete",
    code: int = 200,
    at: datetime = NOW,
    agent: str = KUBECTL,
    audit_id: str | None = None,
    decision: str | None = "allow",
    impersonated: str | None = None,
    received_at: datetime | None = None,
) -> dict[str, Any]:
    """One event."""
    ref: dict[str, Any] = {"resource": resource, "namespace": namespace, "name": name}
    ref["apiVersion"] = "v1"
    if subresource is not None:
        ref["subresource"] = subresource
    path = f"/api/v1/namespaces/{namespace}/{resource}/{name}"
    result: dict[str, Any] = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": audit_id or str(uuid.uuid4()),
        "stage": stage,
        "requestURI": path if subresource is None else f"{path}/{subresource}",
        "verb": verb,
        "user": {
            "username": user,
            "uid": "2f1a7c6e-6c0f-4e0e-9f1b-6f3a8b5a1c11",
            "groups": ["devs", "system:authenticated"],
            "extra": {
                "authentication.kubernetes.io/credential-id": [
                    "X509SHA256=6c1d7fe0c1f0d1b7d6b0e6f0e0c4a6d7b0b6d6f5e7f6a7b8c9d0e1f2a3b4c5d6"
                ]
            },
        },
        "sourceIPs": ["10.0.12.34"],
        "userAgent": agent,
        "objectRef": ref,
        "responseStatus": {"metadata": {}, "code": code},
        "requestReceivedTimestamp": stamp(received_at or at),
        "stageTimestamp": stamp(at),
    }
    if decision is not None:
        result["annotations"] = {
            "authorization.k8s.io/decision": decision,
            "authorization.k8s.io/reason": (
                'RBAC: allowed by RoleBinding "devs-edit/team-a" of ClusterRole "edit" to Group '
                '"devs"'
            ),
        }
    if impersonated is not None:
        result["impersonatedUser"] = {"username": impersonated}
    return result


def body(events: Iterable[object], **changes: object) -> bytes:
    """An EventList."""
    whole = {
        "kind": "EventList",
        "apiVersion": "audit.k8s.io/v1",
        "metadata": {},
        "items": list(events),
    }
    return json.dumps({**whole, **changes}, separators=(",", ":")).encode()
