"""Ways for web traffic into a Space: where there is one, traffic has to be seen idle too."""

from __future__ import annotations

from sleeper.core.objects import SpaceObjects


def route_names(objects: SpaceObjects) -> tuple[str, ...]:
    """``Kind/name`` of every Ingress, Gateway API route and LoadBalancer Service of the Space.

    The routes of the Gateway API are not told apart: what matters is that one is there.
    """
    return (
        *(f"Ingress/{ingress.metadata.name}" for ingress in objects.ingresses),
        *(f"Route/{route.metadata.name}" for route in objects.gateway_routes),
        *(
            f"Service/{service.metadata.name}"
            for service in objects.services
            if service.spec.type == "LoadBalancer"
        ),
    )
