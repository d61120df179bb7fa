"""Who is who on the cluster: each component and each person has an identity of their own.

A component that acted as somebody else would be taken for that somebody: a KWOK that patched Pods
as the administrator would look like a person at work. What runs "in the cluster" therefore bears
the name and the groups of a ServiceAccount, carried by a client certificate.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from devcluster.pki import Authority, Credential


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A user as Kubernetes knows it."""

    name: str
    user: str
    groups: tuple[str, ...] = ()


def _service_account(name: str, namespace: str) -> Identity:
    return Identity(
        name=name,
        user=f"system:serviceaccount:{namespace}:{name}",
        groups=("system:serviceaccounts", f"system:serviceaccounts:{namespace}"),
    )


ADMIN: Final = Identity(name="admin", user="kubernetes-admin", groups=("system:masters",))
CONTROLLER_MANAGER: Final = Identity(
    name="kube-controller-manager", user="system:kube-controller-manager"
)
SCHEDULER: Final = Identity(name="kube-scheduler", user="system:kube-scheduler")
KWOK: Final = _service_account("kwok", "kube-system")
VOLUMES: Final = _service_account("volumes", "kube-system")
PROMETHEUS: Final = _service_account("prometheus", "monitoring")
TRAEFIK: Final = _service_account("traefik", "traefik")
ALICE: Final = Identity(name="alice", user="alice@example.com", groups=("devs",))
BOB: Final = Identity(name="bob", user="bob@example.com", groups=("devs",))

PERSONS: Final = (ADMIN, ALICE, BOB)
IDENTITIES: Final = (
    *PERSONS,
    CONTROLLER_MANAGER,
    SCHEDULER,
    KWOK,
    VOLUMES,
    PROMETHEUS,
    TRAEFIK,
)


def certificate_user(credential: Credential) -> Mapping[str, str]:
    """The ``user`` of a kubeconfig that authenticates by certificate."""
    return {
        "client-certificate-data": _encoded(credential.certificate),
        "client-key-data": _encoded(credential.key),
    }


def token_user(token: str) -> Mapping[str, str]:
    """The ``user`` of a kubeconfig that authenticates by bearer token."""
    return {"token": token}


def write_kubeconfig(path: Path, *, server: str, ca: Path, user: Mapping[str, str]) -> None:
    """Write a self-contained kubeconfig (JSON, which is YAML), readable by its owner only."""
    document: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "devcluster",
                "cluster": {"server": server, "certificate-authority-data": _encoded(ca)},
            }
        ],
        "users": [{"name": path.stem, "user": dict(user)}],
        "contexts": [
            {"name": "devcluster", "context": {"cluster": "devcluster", "user": path.stem}}
        ],
        "current-context": "devcluster",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps(document, indent=1))


def write_credentials(kubeconfigs: Path, *, server: str, ca: Authority) -> None:
    """A certificate and a kubeconfig for every identity."""
    for identity in IDENTITIES:
        credential = ca.issue_client(identity.name, user=identity.user, groups=identity.groups)
        write_kubeconfig(
            kubeconfigs / f"{identity.name}.yaml",
            server=server,
            ca=ca.certificate,
            user=certificate_user(credential),
        )


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
