"""Which objects are ways for web traffic into a Space."""

import msgspec

from sleeper.core.objects import SpaceObjects
from sleeper.core.routes import route_names


def test_ingresses_gateway_routes_and_load_balancers_are_routes_and_nothing_else_is():
    def named(name, **spec):
        return {"metadata": {"name": name}, **({"spec": spec} if spec else {})}

    objects = msgspec.convert(
        {
            "namespace": named("team-a-dev"),
            "ingresses": [named("web")],
            "gateway_routes": [named("grpc")],
            "services": [
                named("lb", type="LoadBalancer"),
                named("plain"),
                named("node", type="NodePort"),
            ],
        },
        SpaceObjects,
    )
    assert route_names(objects) == ("Ingress/web", "Route/grpc", "Service/lb")
