"""Kubernetes objects as sparse, frozen structs: only the fields that we read.

They are decoded straight from the wire by msgspec (unknown fields are skipped) and then passed
around as values. Adding a field that a decision needs means adding it here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import force_setattr

from billing.core import pods as metered
from billing.core.pods import PodStatus
from sleeper.core.local_data import Perishable, perishables
from sleeper.core.pods import WIRE_FIELDS, Container, Fate, read_volume


class _Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base: frozen, camelCase on the wire."""


class OwnerReference(_Wire, frozen=True, kw_only=True):
    """Who owns an object; ``controller`` marks the one that manages it."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None


class ManagedFields(_Wire, frozen=True, kw_only=True):
    """One entry of ``metadata.managedFields``, without the fields themselves."""

    manager: str = ""
    operation: str = ""
    subresource: str = ""
    time: str | None = None


class Metadata(_Wire, frozen=True, kw_only=True):
    """``metadata`` of every object."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None
    owner_references: tuple[OwnerReference, ...] | None = None
    managed_fields: tuple[ManagedFields, ...] | None = None

    def annotation(self, key: str) -> str | None:
        """Value of an annotation, or None."""
        return (self.annotations or {}).get(key)

    def label(self, key: str) -> str | None:
        """Value of a label, or None."""
        return (self.labels or {}).get(key)

    def owners(self) -> tuple[OwnerReference, ...]:
        """Who owns this object: the one that says that it manages it first."""
        owners = self.owner_references or ()
        if len(owners) > 1:
            return tuple(sorted(owners, key=lambda owner: not owner.controller))
        return owners


class KubeObject(_Wire, frozen=True, kw_only=True):
    """Any object, by its metadata alone."""

    metadata: Metadata


class Namespace(KubeObject, frozen=True, kw_only=True):
    """A namespace."""


class PodSpec(metered.PodSpec, frozen=True, kw_only=True, rename="camel"):
    """``spec`` of a Pod: what is metered, and what of its data goes with it.

    Attributes:
        perishables: data of databases that is gone once the Pod is.
        empty_dirs: names of its ``emptyDir`` volumes.
    """

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] | None = None
    node_selector: Mapping[str, str] | None = None
    volumes: tuple[Mapping[str, Any], ...] | None = None
    perishables: tuple[Perishable, ...] = msgspec.field(default=(), name="-perishables")
    empty_dirs: tuple[str, ...] = msgspec.field(default=(), name="-empty-dirs")

    def __post_init__(self) -> None:
        volumes = [one for wire in self.volumes or () if (one := read_volume(wire)) is not None]
        init_containers = self.init_containers or ()
        # A changed copy has nothing left to read: it is given what was found.
        found = perishables(self.containers, init_containers, volumes, self.node_selector or {})
        empty_dirs = tuple(one.name for one in volumes if one.fate is Fate.EMPTY_DIR)
        force_setattr(self, "perishables", self.perishables or found)
        force_setattr(self, "empty_dirs", self.empty_dirs or empty_dirs)
        for field in ("volumes", "node_selector"):
            force_setattr(self, field, None)
        for container in (*self.containers, *init_containers):
            for field in WIRE_FIELDS:
                force_setattr(container, field, _NO_CONTAINER[field])


_NO_CONTAINER: Final = {field: getattr(Container(name=""), field) for field in WIRE_FIELDS}


class Pod(KubeObject, frozen=True, kw_only=True):
    """A Pod."""

    spec: PodSpec = msgspec.field(default_factory=PodSpec)
    status: PodStatus = msgspec.field(default_factory=PodStatus)


class ScalableSpec(_Wire, frozen=True, kw_only=True):
    """``spec`` of ReplicaSet and ReplicationController."""

    replicas: int | None = None


class TemplateSpec(_Wire, frozen=True, kw_only=True):
    """``spec`` of a Pod template."""

    termination_grace_period_seconds: int | None = None


class PodTemplate(_Wire, frozen=True, kw_only=True):
    """A Pod template."""

    spec: TemplateSpec = msgspec.field(default_factory=TemplateSpec)


class DeploymentSpec(_Wire, frozen=True, kw_only=True):
    """``spec`` of a Deployment."""

    replicas: int | None = None
    paused: bool | None = None
    template: PodTemplate = msgspec.field(default_factory=PodTemplate)


class ScalableStatus(_Wire, frozen=True, kw_only=True):
    """``status`` of Deployment and ReplicaSet."""

    observed_generation: int | None = None
    replicas: int | None = None
    ready_replicas: int | None = None
    updated_replicas: int | None = None
    available_replicas: int | None = None


class Deployment(KubeObject, frozen=True, kw_only=True):
    """A Deployment."""

    spec: DeploymentSpec = msgspec.field(default_factory=DeploymentSpec)
    status: ScalableStatus = msgspec.field(default_factory=ScalableStatus)


class ReplicaSet(KubeObject, frozen=True, kw_only=True):
    """A ReplicaSet."""

    spec: ScalableSpec = msgspec.field(default_factory=ScalableSpec)
    status: ScalableStatus = msgspec.field(default_factory=ScalableStatus)


class ReplicationController(KubeObject, frozen=True, kw_only=True):
    """A ReplicationController."""

    spec: ScalableSpec = msgspec.field(default_factory=ScalableSpec)
    status: ScalableStatus = msgspec.field(default_factory=ScalableStatus)


class ClaimRetention(_Wire, frozen=True, kw_only=True):
    """``persistentVolumeClaimRetentionPolicy`` of a StatefulSet."""

    when_scaled: str | None = None
    when_deleted: str | None = None


class RollingUpdate(_Wire, frozen=True, kw_only=True):
    """``rollingUpdate`` of a StatefulSet's ``updateStrategy``."""

    partition: int | None = None


class UpdateStrategy(_Wire, frozen=True, kw_only=True):
    """``updateStrategy`` of a StatefulSet."""

    type: str | None = None
    rolling_update: RollingUpdate | None = None


class StatefulSetSpec(_Wire, frozen=True, kw_only=True):
    """``spec`` of a StatefulSet."""

    replicas: int | None = None
    persistent_volume_claim_retention_policy: ClaimRetention | None = None
    update_strategy: UpdateStrategy | None = None
    template: PodTemplate = msgspec.field(default_factory=PodTemplate)


class StatefulSetStatus(_Wire, frozen=True, kw_only=True):
    """``status`` of a StatefulSet."""

    observed_generation: int | None = None
    replicas: int | None = None
    ready_replicas: int | None = None
    current_replicas: int | None = None
    updated_replicas: int | None = None
    current_revision: str | None = None
    update_revision: str | None = None


class StatefulSet(KubeObject, frozen=True, kw_only=True):
    """A StatefulSet."""

    spec: StatefulSetSpec = msgspec.field(default_factory=StatefulSetSpec)
    status: StatefulSetStatus = msgspec.field(default_factory=StatefulSetStatus)


class DaemonSetStatus(_Wire, frozen=True, kw_only=True):
    """``status`` of a DaemonSet."""

    desired_number_scheduled: int | None = None


class DaemonSet(KubeObject, frozen=True, kw_only=True):
    """A DaemonSet."""

    status: DaemonSetStatus = msgspec.field(default_factory=DaemonSetStatus)


class JobSpec(_Wire, frozen=True, kw_only=True):
    """``spec`` of a Job."""

    suspend: bool | None = None


class JobCondition(_Wire, frozen=True, kw_only=True):
    """One Job condition; ``Complete`` or ``Failed`` means that it has finished."""

    type: str = ""
    status: str = ""


class JobStatus(_Wire, frozen=True, kw_only=True):
    """``status`` of a Job."""

    active: int | None = None
    completion_time: str | None = None
    conditions: tuple[JobCondition, ...] | None = None


class Job(KubeObject, frozen=True, kw_only=True):
    """A Job."""

    spec: JobSpec = msgspec.field(default_factory=JobSpec)
    status: JobStatus = msgspec.field(default_factory=JobStatus)


class CronJobSpec(_Wire, frozen=True, kw_only=True):
    """``spec`` of a CronJob."""

    suspend: bool | None = None
    schedule: str = ""


class CronJob(KubeObject, frozen=True, kw_only=True):
    """A CronJob."""

    spec: CronJobSpec = msgspec.field(default_factory=CronJobSpec)


class ScaleTargetRef(_Wire, frozen=True, kw_only=True):
    """What an autoscaler scales."""

    api_version: str = ""
    kind: str = ""
    name: str = ""


class HorizontalPodAutoscalerSpec(_Wire, frozen=True, kw_only=True):
    """``spec`` of a HorizontalPodAutoscaler."""

    scale_target_ref: ScaleTargetRef = msgspec.field(default_factory=ScaleTargetRef)
    min_replicas: int | None = None


class HorizontalPodAutoscaler(KubeObject, frozen=True, kw_only=True):
    """A HorizontalPodAutoscaler."""

    spec: HorizontalPodAutoscalerSpec = msgspec.field(default_factory=HorizontalPodAutoscalerSpec)


class ServicePort(_Wire, frozen=True, kw_only=True):
    """One port of a Service."""

    name: str | None = None
    port: int = 0


class ServiceSpec(_Wire, frozen=True, kw_only=True):
    """``spec`` of a Service."""

    type: str = "ClusterIP"
    ports: tuple[ServicePort, ...] | None = None
    load_balancer_class: str | None = None


class Service(KubeObject, frozen=True, kw_only=True):
    """A Service."""

    spec: ServiceSpec = msgspec.field(default_factory=ServiceSpec)


class IngressBackendPort(_Wire, frozen=True, kw_only=True):
    """Port of an Ingress backend: by name or by number."""

    name: str | None = None
    number: int | None = None


class IngressBackendService(_Wire, frozen=True, kw_only=True):
    """Service of an Ingress backend."""

    name: str = ""
    port: IngressBackendPort | None = None


class IngressBackend(_Wire, frozen=True, kw_only=True):
    """An Ingress backend; a resource backend has no service."""

    service: IngressBackendService | None = None


class IngressPath(_Wire, frozen=True, kw_only=True):
    """One path of a rule."""

    backend: IngressBackend = msgspec.field(default_factory=IngressBackend)


class IngressHttp(_Wire, frozen=True, kw_only=True):
    """``http`` of a rule."""

    paths: tuple[IngressPath, ...] = ()


class IngressRule(_Wire, frozen=True, kw_only=True):
    """One rule of an Ingress."""

    host: str | None = None
    http: IngressHttp | None = None


class IngressSpec(_Wire, frozen=True, kw_only=True):
    """``spec`` of an Ingress."""

    ingress_class_name: str | None = None
    default_backend: IngressBackend | None = None
    rules: tuple[IngressRule, ...] | None = None


class Ingress(KubeObject, frozen=True, kw_only=True):
    """An Ingress."""

    spec: IngressSpec = msgspec.field(default_factory=IngressSpec)


class IngressClassSpec(_Wire, frozen=True, kw_only=True):
    """``spec`` of an IngressClass."""

    controller: str = ""


class IngressClass(KubeObject, frozen=True, kw_only=True):
    """An IngressClass (cluster-scoped)."""

    spec: IngressClassSpec = msgspec.field(default_factory=IngressClassSpec)


class GatewayRoute(KubeObject, frozen=True, kw_only=True):
    """An HTTPRoute, GRPCRoute or TLSRoute; only its existence matters for now."""


class SpaceObjects(msgspec.Struct, frozen=True, kw_only=True):
    """All objects of one namespace that a decision may depend on, at one moment."""

    namespace: Namespace
    pods: tuple[Pod, ...] = ()
    deployments: tuple[Deployment, ...] = ()
    stateful_sets: tuple[StatefulSet, ...] = ()
    replica_sets: tuple[ReplicaSet, ...] = ()
    replication_controllers: tuple[ReplicationController, ...] = ()
    daemon_sets: tuple[DaemonSet, ...] = ()
    jobs: tuple[Job, ...] = ()
    cron_jobs: tuple[CronJob, ...] = ()
    autoscalers: tuple[HorizontalPodAutoscaler, ...] = ()
    services: tuple[Service, ...] = ()
    ingresses: tuple[Ingress, ...] = ()
    gateway_routes: tuple[GatewayRoute, ...] = ()
