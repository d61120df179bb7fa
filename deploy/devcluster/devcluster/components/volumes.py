"""The provisioner of the storage class ``standard``."""

from __future__ import annotations

import sys

from devcluster.identities import VOLUMES
from devcluster.process import Spec
from devcluster.site import DEVCLUSTER, Site


def volumes(site: Site) -> Spec:
    """See :mod:`devcluster.programs.volumes`; what it is asked for early it finds in its list."""

    async def ready() -> bool:
        return True

    return Spec(
        name="volumes",
        program=[sys.executable, "-m", "devcluster.programs.volumes"],
        flags={
            "server": site.apiserver_url,
            "ca": str(site.pki / "ca.crt"),
            "certificate": str(site.pki / f"{VOLUMES.name}.crt"),
            "key": str(site.pki / f"{VOLUMES.name}.key"),
        },
        environment={"PYTHONPATH": str(DEVCLUSTER)},
        ready=ready,
    )
