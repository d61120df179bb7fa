"""Which kinds the inventory follows: resource, path and place in :class:`SpaceObjects`.

To follow another kind, add its struct to :mod:`sleeper.core.objects` and a line here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sleeper.core.objects import (
    CronJob,
    DaemonSet,
    Deployment,
    GatewayRoute,
    HorizontalPodAutoscaler,
    Ingress,
    IngressClass,
    Job,
    KubeObject,
    Namespace,
    Pod,
    ReplicaSet,
    ReplicationController,
    Service,
    StatefulSet,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedKind:
    """One resource that the inventory follows.

    Attributes:
        resource: plural name, unique in the inventory.
        path: its list over all namespaces.
        kind: the struct its objects are decoded as.
        field: the field of :class:`~sleeper.core.objects.SpaceObjects` it goes to; None for
            kinds that are not part of a Space.
    """

    resource: str
    path: str
    kind: type[KubeObject]
    field: str | None


NAMESPACES: Final = FollowedKind(
    resource="namespaces", path="/api/v1/namespaces", kind=Namespace, field=None
)
PODS: Final = FollowedKind(resource="pods", path="/api/v1/pods", kind=Pod, field="pods")
INGRESS_CLASSES: Final = FollowedKind(
    resource="ingressclasses",
    path="/apis/networking.k8s.io/v1/ingressclasses",
    kind=IngressClass,
    field=None,
)


def _kind(group_version: str, resource: str, kind: type[KubeObject], field: str) -> FollowedKind:
    prefix = "/apis" if "/" in group_version else "/api"
    return FollowedKind(
        resource=resource, path=f"{prefix}/{group_version}/{resource}", kind=kind, field=field
    )


BUILT_IN: Final[tuple[FollowedKind, ...]] = (
    PODS,
    _kind("apps/v1", "deployments", Deployment, "deployments"),
    _kind("apps/v1", "statefulsets", StatefulSet, "stateful_sets"),
    _kind("apps/v1", "replicasets", ReplicaSet, "replica_sets"),
    _kind("apps/v1", "daemonsets", DaemonSet, "daemon_sets"),
    _kind("v1", "replicationcontrollers", ReplicationController, "replication_controllers"),
    _kind("batch/v1", "jobs", Job, "jobs"),
    _kind("batch/v1", "cronjobs", CronJob, "cron_jobs"),
    _kind("autoscaling/v2", "horizontalpodautoscalers", HorizontalPodAutoscaler, "autoscalers"),
    _kind("v1", "services", Service, "services"),
    _kind("networking.k8s.io/v1", "ingresses", Ingress, "ingresses"),
)
"""Namespaced kinds that every cluster serves."""

GATEWAY_GROUP: Final = "gateway.networking.k8s.io"
GATEWAY_ROUTES: Final = ("httproutes", "grpcroutes", "tlsroutes")
"""Optional resources; which of them exist, and in which version, is found by discovery."""


def gateway_route(version: str, resource: str) -> FollowedKind:
    """The kind to follow for one served Gateway API route resource."""
    return _kind(f"{GATEWAY_GROUP}/{version}", resource, GatewayRoute, "gateway_routes")
