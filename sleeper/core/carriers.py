"""Which ingress carries a Space's routes, and by which names its traffic is counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from metrics.core.traffic_providers import Backend, Provider
from sleeper.core.objects import Ingress, IngressBackend, Service, SpaceObjects

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
"""The class of an Ingress before ``spec.ingressClassName``; still read where that is absent."""

DEFAULT_CLASS = ""
"""Key of the cluster's default class among the ingress classes."""


def carries(provider: Provider, ingress: Ingress, classes: Mapping[str, str]) -> bool:
    """Whether the provider serves this Ingress and counts what goes through it.

    Args:
        provider: the provider that we read.
        ingress: the route.
        classes: controller by name of the IngressClass; the default class under "".
    """
    for key, value in provider.uncounted.items():
        if ingress.metadata.annotation(key) == value:
            return False
    name = ingress.spec.ingress_class_name
    if name is None:
        name = ingress.metadata.annotation(CLASS_ANNOTATION)
        if name is not None and name == provider.legacy_class:
            return True
    return classes.get(DEFAULT_CLASS if name is None else name) in provider.controllers


def uncarried(
    provider: Provider, objects: SpaceObjects, classes: Mapping[str, str]
) -> tuple[str, ...]:
    """``Kind/name`` of each route of the Space whose traffic the provider would not show."""
    ingresses = (
        f"Ingress/{ingress.metadata.name}"
        for ingress in objects.ingresses
        if not carries(provider, ingress, classes)
    )
    routes = (f"Route/{route.metadata.name}" for route in objects.gateway_routes)
    balancers = (
        f"Service/{service.metadata.name}"
        for service in objects.services
        if service.spec.type == "LoadBalancer"
    )
    return (*ingresses, *routes, *balancers)


def traffic_labels(provider: Provider, objects: SpaceObjects) -> dict[str, str]:
    """Service label in the provider's metrics → Service, for everything that could be routed to.

    Built from the routes as they are written, and from the ports of every Service, so that a route
    that we have not seen yet, or that has just gone, is credited all the same.
    """
    namespace = objects.namespace.metadata.name
    routed = dict.fromkeys((*_ports(objects), *_backends(objects)))  # once, however many paths
    labels = {
        provider.label_of(Backend(namespace=namespace, service=service, port=port)): service
        for service, port in routed
    }
    catch_all = provider.catch_all_label
    for ingress in objects.ingresses if catch_all is not None else ():
        backend = ingress.spec.default_backend
        if not ingress.spec.rules and backend is not None and backend.service is not None:
            # One such Ingress of the whole cluster wins; every Space that has one is credited.
            labels[str(catch_all)] = backend.service.name
    return labels


def _ports(objects: SpaceObjects) -> Iterator[tuple[str, str]]:
    """Each Service with the number and the name of each of its ports."""
    for service in objects.services:
        for port in _names_of_ports(service):
            yield service.metadata.name, port


def _names_of_ports(service: Service) -> Iterator[str]:
    for port in service.spec.ports or ():
        yield str(port.port)
        if port.name:
            yield port.name


def _backends(objects: SpaceObjects) -> Iterator[tuple[str, str]]:
    for ingress in objects.ingresses:
        for rule in ingress.spec.rules or ():
            for path in rule.http.paths if rule.http is not None else ():
                if (found := _backend(path.backend)) is not None:
                    yield found


def _backend(backend: IngressBackend) -> tuple[str, str] | None:
    service = backend.service
    if service is None or service.port is None:
        return None
    return service.name, service.port.name or str(service.port.number or "")
