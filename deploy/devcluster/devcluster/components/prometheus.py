"""Prometheus: scrapes Traefik, the API server, the daemon under test and itself."""

from __future__ import annotations

import json
from typing import Any

from devcluster.identities import PROMETHEUS
from devcluster.probes import http_ok
from devcluster.process import Spec
from devcluster.site import LOOPBACK, Site


def prometheus(site: Site) -> Spec:
    """A real one, with its storage in the cluster's directory."""
    config = site.directory / "prometheus.yaml"
    config.write_text(json.dumps(_scrape_config(site), indent=1))
    url = f"http://{LOOPBACK}:{site.ports.prometheus}"
    return Spec(
        name="prometheus",
        program=[site.binaries["prometheus"]],
        flags={
            "config.file": str(config),
            "storage.tsdb.path": str(site.directory / "prometheus"),
            "web.listen-address": f"{LOOPBACK}:{site.ports.prometheus}",
            "log.level": "warn",
        },
        ready=lambda: http_ok(f"{url}/-/ready"),
    )


def _scrape_config(site: Site) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": site.options.scrape, "scrape_timeout": site.options.scrape},
        "scrape_configs": [
            _job("prometheus", site.ports.prometheus),
            _job("traefik", site.ports.ingress_metrics),
            _job("sleeper", site.ports.daemon),
            {
                **_job("kube-apiserver", site.ports.apiserver),
                # Megabytes per scrape; nothing here needs it by the second.
                "scrape_interval": "15s",
                "scrape_timeout": "10s",
                "scheme": "https",
                "tls_config": {
                    "ca_file": str(site.pki / "ca.crt"),
                    "cert_file": str(site.pki / f"{PROMETHEUS.name}.crt"),
                    "key_file": str(site.pki / f"{PROMETHEUS.name}.key"),
                },
            },
        ],
    }


def _job(name: str, port: int) -> dict[str, Any]:
    return {"job_name": name, "static_configs": [{"targets": [f"{LOOPBACK}:{port}"]}]}
