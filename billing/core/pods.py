"""The fields of a Pod that metering reads, as they stand on the wire.

Frozen msgspec structs in Kubernetes' own camelCase; unknown fields are skipped by the decoder.
Quantities stay strings here and are parsed by :mod:`metrics.core.quantity`.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Resources(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """``resources`` of a container or of the Pod, or those that a status reports."""

    requests: Mapping[str, str | int | float] | None = None
    limits: Mapping[str, str | int | float] | None = None


class Container(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A container; ``restart_policy == "Always"`` on an init container marks a sidecar."""

    name: str
    resources: Resources | None = None
    restart_policy: str | None = None


class ContainerTerminated(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """``state.terminated`` of a container."""

    finished_at: str | None = None


class ContainerState(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """``state`` of a container; only the terminated branch is read."""

    terminated: ContainerTerminated | None = None


class ContainerStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Status of one container, with what the node has allocated and set (in-place resize)."""

    name: str
    state: ContainerState | None = None
    allocated_resources: Mapping[str, str | int | float] | None = None
    resources: Resources | None = None


class PodCondition(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One Pod condition."""

    type: str
    status: str
    reason: str | None = None
    last_transition_time: str | None = None


class PodSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The part of ``spec`` that metering reads."""

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] | None = None
    overhead: Mapping[str, str | int | float] | None = None
    resources: Resources | None = None
    node_name: str | None = None
    termination_grace_period_seconds: int | None = None


class PodStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The part of ``status`` that metering and waking read."""

    phase: str | None = None
    pod_ip: str | None = msgspec.field(default=None, name="podIP")
    start_time: str | None = None
    conditions: tuple[PodCondition, ...] | None = None
    container_statuses: tuple[ContainerStatus, ...] | None = None
    init_container_statuses: tuple[ContainerStatus, ...] | None = None
