"""Ways for web traffic into a Space: where there is one, traffic has to be seen idle too."""

from __future__ import annotations

from collections.abc import Iterator

from sleeper.core.objects import Metadata, SpaceObjects


def route_versions(objects: SpaceObjects) -> tuple[str, ...]:
    """``Kind/name@uid.generation`` of each Ingress, Gateway API route and LoadBalancer Service.

    The routes of the Gateway API are not told apart: what matters is that one is there. A route
    that was edited or made anew is another one: what it led to before may not be known any more.
    """
    return tuple(
        f"{kind}/{meta.name}@{meta.uid}.{meta.generation}" for kind, meta in _routes(objects)
    )


def _routes(objects: SpaceObjects) -> Iterator[tuple[str, Metadata]]:
    for ingress in objects.ingresses:
        yield "Ingress", ingress.metadata
    for route in objects.gateway_routes:
        yield "Route", route.metadata
    for service in objects.services:
        if service.spec.type == "LoadBalancer":
            yield "Service", service.metadata
