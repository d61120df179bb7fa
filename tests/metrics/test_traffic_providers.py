"""How each provider names a Service in its metrics."""

from __future__ import annotations

import pytest

from metrics.core.traffic_providers import PROVIDERS, TRAEFIK, Backend


@pytest.mark.parametrize(
    ("namespace", "service", "port", "label"),
    [
        ("team-a", "web", "80", "team-a-web-80@kubernetes"),
        ("team-a", "web", "http", "team-a-web-http@kubernetes"),
        ("team-a", "web", "http-alt", "team-a-web-http-alt@kubernetes"),
        # runs of other characters become one dash; names may hold dots or double dashes
        ("team-a", "web--blue", "80", "team-a-web-blue-80@kubernetes"),
        ("team-a", "web.v2", "80", "team-a-web-v2-80@kubernetes"),
        ("team", "a-web", "80", "team-a-web-80@kubernetes"),
    ],
)
def test_traefik_joins_namespace_service_and_port(
    namespace: str, service: str, port: str, label: str
) -> None:
    backend = Backend(namespace=namespace, service=service, port=port)
    assert TRAEFIK.label_of(backend) == label


def test_every_provider_is_found_by_its_own_name() -> None:
    assert all(provider.name == name for name, provider in PROVIDERS.items())
