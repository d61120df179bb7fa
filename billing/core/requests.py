"""What a Pod requests: the vector that its node reserves for it.

The rule is the scheduler's own (``k8s.io/component-helpers/resource``, ``PodRequests`` with
``UseStatusResources``), per resource::

    max( Σ containers + Σ sidecars ,
         max over init containers i ( i + Σ sidecars before i ) )   or the Pod-level request
    + overhead

While a container is resized in place, the largest of what is desired (spec), allocated and
actual (status) is reserved; a resize that the node calls infeasible reserves nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from billing.core.pods import Container, ContainerStatus, PodSpec, PodStatus
from metrics.core.quantity import MAX_VALUE, cpu_millis, memory_bytes

Quantities = Mapping[str, str | int | float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """Requests of one or many Pods at one moment.

    Sums stop at :data:`~metrics.core.quantity.MAX_VALUE`, as the API server's quantities do: a Pod
    may ask for more than any node has, and its row must still fit a 64-bit column.

    Attributes:
        cpu_millis: milli-cores.
        memory_bytes: bytes.
    """

    cpu_millis: int = 0
    memory_bytes: int = 0

    def __add__(self, other: Requests) -> Requests:
        return Requests(
            cpu_millis=min(MAX_VALUE, self.cpu_millis + other.cpu_millis),
            memory_bytes=min(MAX_VALUE, self.memory_bytes + other.memory_bytes),
        )

    def __or__(self, other: Requests) -> Requests:
        """The larger of the two, resource by resource."""
        return Requests(
            cpu_millis=max(self.cpu_millis, other.cpu_millis),
            memory_bytes=max(self.memory_bytes, other.memory_bytes),
        )


NOTHING: Final = Requests()

_RESOURCES: Final[tuple[tuple[str, str, Callable[[str | float], int]], ...]] = (
    ("cpu", "cpu_millis", cpu_millis),
    ("memory", "memory_bytes", memory_bytes),
)


def effective_requests(spec: PodSpec, status: PodStatus) -> Requests:
    """The requests that a Pod holds on its node, init containers and overhead included.

    A resource that nothing requests counts as 0.

    Raises:
        QuantityError: a quantity cannot be read (the API server admits none such).
    """
    reported = (*(status.container_statuses or ()), *(status.init_container_statuses or ()))
    statuses = {container.name: container for container in reported}
    infeasible = any(
        condition.type == "PodResizePending"
        and condition.status == "True"
        and condition.reason == "Infeasible"
        for condition in status.conditions or ()
    )

    running = NOTHING
    for container in spec.containers:
        running += _held(container, statuses.get(container.name), infeasible=infeasible)
    starting = NOTHING
    sidecars = NOTHING
    for container in spec.init_containers or ():
        if container.restart_policy == "Always":
            sidecars += _held(container, statuses.get(container.name), infeasible=infeasible)
            starting |= sidecars
        else:
            starting |= _desired(container) + sidecars

    total = (running + sidecars) | starting
    if spec.resources is not None:
        total = _override(total, spec.resources.requests)
    return total + _vector(spec.overhead)


def _held(container: Container, status: ContainerStatus | None, *, infeasible: bool) -> Requests:
    """What one long-running container holds, a resize in flight included."""
    if status is None:
        return _desired(container)
    allocated = _vector(status.allocated_resources)
    actual = _vector(status.resources.requests) if status.resources is not None else NOTHING
    if infeasible and (status.allocated_resources or status.resources is not None):
        return allocated | actual
    return _desired(container) | allocated | actual


def _desired(container: Container) -> Requests:
    return _vector(container.resources.requests if container.resources is not None else None)


def _vector(quantities: Quantities | None) -> Requests:
    return _override(NOTHING, quantities)


def _override(base: Requests, quantities: Quantities | None) -> Requests:
    """``base`` with every resource that ``quantities`` names replaced."""
    if not quantities:
        return base
    found = {
        field: read(quantities[resource])
        for resource, field, read in _RESOURCES
        if resource in quantities
    }
    return Requests(
        cpu_millis=found.get("cpu_millis", base.cpu_millis),
        memory_bytes=found.get("memory_bytes", base.memory_bytes),
    )
