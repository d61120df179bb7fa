"""Which objects are ways for web traffic into a Space."""

import msgspec

from sleeper.core.objects import SpaceObjects
from sleeper.core.routes import route_versions


def test_ingresses_gateway_routes_and_load_balancers_are_routes_and_nothing_else_is() -> None:
    def named(name: str, **spec: str) -> dict[str, object]:
        meta = {"name": name, "uid": f"u-{name}", "generation": 2}
        return {"metadata": meta, **({"spec": spec} if spec else {})}

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
    assert route_versions(objects) == (
        "Ingress/web@u-web.2",
        "Route/grpc@u-grpc.2",
        "Service/lb@u-lb.2",
    )
