"""Which routes the provider carries, and the labels by which a Space's traffic is found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from metrics.core.traffic_providers import TRAEFIK, Backend
from sleeper.core.carriers import CLASS_ANNOTATION, carries, traffic_labels, uncarried
from sleeper.core.objects import (
    GatewayRoute,
    Ingress,
    IngressBackend,
    IngressBackendPort,
    IngressBackendService,
    IngressHttp,
    IngressPath,
    IngressRule,
    IngressSpec,
    Metadata,
    Namespace,
    Service,
    ServicePort,
    ServiceSpec,
    SpaceObjects,
)

CONTROLLER = "traefik.io/ingress-controller"
CLASSES = {"traefik": CONTROLLER, "edge": CONTROLLER, "nginx": "k8s.io/ingress-nginx"}
NO_METRICS = "traefik.ingress.kubernetes.io/router.observability.metrics"


def ingress(
    name: str = "web",
    *,
    class_name: str | None = None,
    annotations: dict[str, str] | None = None,
    rules: tuple[IngressRule, ...] | None = None,
    default: IngressBackend | None = None,
) -> Ingress:
    return Ingress(
        metadata=Metadata(name=name, annotations=annotations),
        spec=IngressSpec(ingress_class_name=class_name, rules=rules, default_backend=default),
    )


def backend(service: str, *, name: str | None = None, number: int | None = None) -> IngressBackend:
    port = IngressBackendPort(name=name, number=number)
    return IngressBackend(service=IngressBackendService(name=service, port=port))


def rule(*backends: IngressBackend) -> IngressRule:
    return IngressRule(http=IngressHttp(paths=tuple(IngressPath(backend=one) for one in backends)))


def service(name: str, *ports: ServicePort, kind: str = "ClusterIP") -> Service:
    return Service(metadata=Metadata(name=name), spec=ServiceSpec(type=kind, ports=ports))


def space(
    *ingresses: Ingress,
    services: tuple[Service, ...] = (),
    routes: tuple[GatewayRoute, ...] = (),
) -> SpaceObjects:
    return SpaceObjects(
        namespace=Namespace(metadata=Metadata(name="team-a")),
        ingresses=ingresses,
        services=services,
        gateway_routes=routes,
    )


@pytest.mark.parametrize(
    ("route", "carried"),
    [
        (ingress(class_name="traefik"), True),
        (ingress(class_name="edge"), True),
        (ingress(class_name="nginx"), False),
        (ingress(class_name="gone"), False),
        (ingress(), False),
        (ingress(annotations={CLASS_ANNOTATION: "traefik"}), True),
        (ingress(annotations={CLASS_ANNOTATION: "edge"}), True),
        (ingress(annotations={CLASS_ANNOTATION: "nginx"}), False),
        (ingress(class_name="nginx", annotations={CLASS_ANNOTATION: "traefik"}), False),
        (ingress(class_name="traefik", annotations={NO_METRICS: "false"}), False),
        (ingress(class_name="traefik", annotations={NO_METRICS: "true"}), True),
    ],
)
def test_an_ingress_is_carried_if_its_class_is_the_providers_and_its_metrics_are_on(
    route: Ingress, carried: bool
) -> None:
    assert carries(TRAEFIK, route, CLASSES) is carried


def test_an_ingress_without_a_class_goes_to_the_clusters_default() -> None:
    assert carries(TRAEFIK, ingress(), CLASSES | {"": CONTROLLER})
    assert not carries(TRAEFIK, ingress(), CLASSES | {"": "k8s.io/ingress-nginx"})


def test_every_route_that_the_provider_would_not_show_is_named() -> None:
    objects = space(
        ingress("ours", class_name="traefik"),
        ingress("theirs", class_name="nginx"),
        services=(service("db"), service("edge", kind="LoadBalancer")),
        routes=(GatewayRoute(metadata=Metadata(name="grpc")),),
    )
    assert uncarried(TRAEFIK, objects, CLASSES) == ("Ingress/theirs", "Route/grpc", "Service/edge")


def test_labels_cover_every_port_by_number_and_by_name() -> None:
    ports = (ServicePort(name="http", port=80), ServicePort(port=9090))
    assert traffic_labels(TRAEFIK, space(services=(service("web", *ports),))) == {
        "team-a-web-80@kubernetes": "web",
        "team-a-web-http@kubernetes": "web",
        "team-a-web-9090@kubernetes": "web",
    }


def test_labels_cover_backends_as_the_routes_write_them_even_without_their_service() -> None:
    resource = IngressBackend(service=None)
    route = ingress(rules=(rule(backend("web", name="http"), backend("api", number=81), resource),))
    assert traffic_labels(TRAEFIK, space(route, ingress(rules=(IngressRule(host="x"),)))) == {
        "team-a-web-http@kubernetes": "web",
        "team-a-api-81@kubernetes": "api",
    }


def test_a_default_backend_has_a_label_of_its_own_only_where_there_are_no_rules() -> None:
    default = backend("rest", number=80)
    assert traffic_labels(TRAEFIK, space(ingress(default=default))) == {
        "default-backend@kubernetes": "rest"
    }
    ruled = ingress(default=default, rules=(rule(backend("web", number=80)),))
    assert traffic_labels(TRAEFIK, space(ruled)) == {"team-a-web-80@kubernetes": "web"}


@pytest.mark.fault(15)
def test_a_backend_is_named_once_however_many_paths_lead_to_it() -> None:
    named: list[Backend] = []

    def label_of(one: Backend) -> str:
        named.append(one)
        return TRAEFIK.label_of(one)

    crowd = rule(*(backend("web", number=80) for _ in range(10_000)))
    found = traffic_labels(replace(TRAEFIK, label_of=label_of), space(ingress(rules=(crowd,))))
    assert found == {"team-a-web-80@kubernetes": "web"}
    assert named == [Backend(namespace="team-a", service="web", port="80")]
