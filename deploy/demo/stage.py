"""The stage: the development cluster with the demo's Spaces on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property

from devcluster.client import Cluster, Component
from devcluster.identities import token_user, write_kubeconfig

from demo.actors import kubectl
from demo.spaces import SPACES, DemoSpace, manifests
from demo.watcher import Sight, Watcher

ROBOT = ("robots", "poller")
"""Namespace and name of the ServiceAccount of a controller that polls for ever."""


class Stage:
    """Builds the Spaces and knows everybody's kubeconfig."""

    def __init__(self, cluster: Cluster, watcher: Watcher) -> None:
        self._cluster = cluster
        self._watcher = watcher
        self.before: Mapping[str, Sight] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The Spaces' names."""
        return tuple(space.name for space in SPACES)

    @property
    def ingress(self) -> str:
        """The ingress controller's URL."""
        return self._cluster.ingress

    def space(self, name: str) -> DemoSpace:
        """One Space by its name."""
        return next(space for space in SPACES if space.name == name)

    def kubeconfig(self, who: str) -> str:
        """Path of somebody's kubeconfig."""
        return str(self._cluster.kubeconfig(who))

    def component(self, name: str) -> Component:
        """A hand on one component of the cluster."""
        return self._cluster.component(name)

    def build(self) -> None:
        """Create everything and wait until it has been seen running; remember how it looked."""
        items = [item for space in SPACES for item in manifests(space)]
        self._apply(items)
        self._watcher.wait(
            "every Pod becomes Ready",
            lambda w: all(w.sight(name).up for name in self.names),
            seconds=90,
        )
        self.before = {name: self._watcher.sight(name) for name in self.names}

    @cached_property
    def robot(self) -> str:
        """Path of the kubeconfig of a controller's ServiceAccount that may look at Pods."""
        namespace, name = ROBOT
        account = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
        self._apply(
            [
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
                {
                    "apiVersion": "v1",
                    "kind": "ServiceAccount",
                    "metadata": {"name": name, "namespace": namespace},
                },
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "ClusterRoleBinding",
                    "metadata": {"name": "robots-poller"},
                    "roleRef": {
                        "apiGroup": "rbac.authorization.k8s.io",
                        "kind": "ClusterRole",
                        "name": "view",
                    },
                    "subjects": [account],
                },
            ]
        )
        token = kubectl(
            self.kubeconfig("admin"), "create", "token", name, f"--namespace={namespace}"
        )
        path = self._cluster.kubeconfig("poller")
        write_kubeconfig(
            path,
            server=self._cluster.apiserver,
            ca=self._cluster.pki("ca.crt"),
            user=token_user(token.strip()),
        )
        return str(path)

    def _apply(self, items: list[dict[str, object]]) -> None:
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        kubectl(self.kubeconfig("admin"), "apply", "--server-side", "--filename=-", stdin=document)
