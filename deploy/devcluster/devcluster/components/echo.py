"""The echo server that stands behind every Pod address."""

from __future__ import annotations

import sys

from devcluster.probes import http_ok
from devcluster.process import Spec
from devcluster.site import DEVCLUSTER, LOOPBACK, Site


def echo(site: Site) -> Spec:
    """See :mod:`devcluster.programs.echo`."""
    return Spec(
        name="echo",
        program=[sys.executable, "-m", "devcluster.programs.echo"],
        flags={"port": str(site.ports.echo)},
        environment={"PYTHONPATH": str(DEVCLUSTER)},
        ready=lambda: http_ok(f"http://{LOOPBACK}:{site.ports.echo}/"),
    )
