"""What is known of each ingress implementation: its metrics, and how it names a Service in them.

A provider that is added here is read like the others. Labels are only ever built from known
objects and looked up, never taken apart: ``team-a-web`` may be ``web`` of ``team-a`` or ``a-web``
of ``team``, and then both are credited.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A Service port that a route may lead to.

    Attributes:
        namespace: of the Service (and of the Ingress, which cannot point elsewhere).
        service: its name.
        port: name or number, as the route writes it.
    """

    namespace: str
    service: str
    port: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One ingress implementation.

    Attributes:
        name: as configured.
        requests: counter of answered requests, one series for each service, code and so on.
        used: label matchers for the answers that prove use.
        ends_with_its_pod: labels of those answers that end, and are counted, when their Pod does.
        permanent: a family that every target shows from its first scrape on, requests or none.
        start_time: gauge with the start of the process, Unix seconds.
        service_labels: labels that name the service, best first.
        label_of: the service's name in that label.
        catch_all_label: the name that an Ingress without rules gets for its default backend.
        controllers: ``spec.controller`` of the IngressClasses that it carries.
        legacy_class: the value of the old class annotation that it takes for its own.
        uncounted: annotations with the value by which an Ingress switches its metrics off.
    """

    name: str
    requests: str
    used: str
    permanent: str
    start_time: str
    service_labels: tuple[str, ...]
    label_of: Callable[[Backend], str]
    catch_all_label: str | None = None
    controllers: frozenset[str] = frozenset()
    legacy_class: str | None = None
    uncounted: Mapping[str, str] = field(default_factory=dict)
    ends_with_its_pod: Mapping[str, str] = field(default_factory=dict)


_SEPARATORS: Final = re.compile(r"[\W_]+")


def _traefik_label(backend: Backend) -> str:
    """Traefik joins the runs of letters and digits with one dash each (``provider.Normalize``)."""
    raw = f"{backend.namespace}-{backend.service}-{backend.port}"
    return "-".join(part for part in _SEPARATORS.split(raw) if part) + "@kubernetes"


TRAEFIK: Final = Provider(
    name="traefik",
    requests="traefik_service_requests_total",
    # Answers below 400: an error proves a probe or a bot as well as a person. For gRPC the code is
    # gRPC's own, where 0 is success. A WebSocket is counted as 101 when it closes.
    used='code=~"[123]..|0"',
    permanent="traefik_config_last_reload_success",
    start_time="process_start_time_seconds",
    # Scraped through service discovery, ``service`` is already the name of Traefik's own Service.
    service_labels=("exported_service", "service"),
    label_of=_traefik_label,
    catch_all_label="default-backend@kubernetes",
    controllers=frozenset({"traefik.io/ingress-controller"}),
    legacy_class="traefik",
    uncounted={"traefik.ingress.kubernetes.io/router.observability.metrics": "false"},
    ends_with_its_pod={"code": "101"},
)
"""Traefik 3 with its Ingress provider.

Checked against the source of v3.6.12: ``pkg/provider/kubernetes/ingress/kubernetes.go``,
``pkg/provider/configuration.go``, ``pkg/observability/metrics/prometheus.go``,
``pkg/middlewares/metrics/metrics.go``. Service labels (``addServicesLabels``) must be on, as they
are by default. A request is counted when its answer ends, so a WebSocket shows only then.
"""

PROVIDERS: Final[Mapping[str, Provider]] = {provider.name: provider for provider in (TRAEFIK,)}
