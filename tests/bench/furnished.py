"""What the benches on the real cluster share: the cluster, a proxy that counts, a daemon."""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster.client import Cluster

from tests.cluster.scene import behind_proxy
from tests.support.api import Api
from tests.support.daemon import Daemon, daemon_config, merged
from tests.support.faultproxy import FaultProxy


@dataclass(frozen=True, slots=True, kw_only=True)
class Furnished:
    """A cluster with a daemon whose requests to the API server are counted.

    Attributes:
        daemon: not started yet.
    """

    cluster: Cluster
    api: Api
    daemon: Daemon
    proxy: FaultProxy


def cluster_here() -> Cluster:
    """The cluster that this runs in.

    Raises:
        SystemExit: there is none.
    """
    found = Cluster.from_environment(os.environ)
    if found is None:
        raise SystemExit("no cluster: run this by `make bench`")
    return found


@asynccontextmanager
async def furnished(overrides: Mapping[str, Any]) -> AsyncIterator[Furnished]:
    """A daemon behind a proxy; it is stopped when the context ends.

    Args:
        overrides: of its configuration.
    """
    cluster = cluster_here()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        async with Api(cluster) as api, behind_proxy(cluster, directory) as (proxy, kubeconfig):
            through_proxy = {
                "kubernetes": {"kubeconfig": str(kubeconfig)},
                "api_signal": {"apiservers": [{"name": "devcluster", "url": proxy.url}]},
            }
            config = daemon_config(
                cluster,
                directory / "daemon",
                merged(overrides, through_proxy),
                lease=f"sleeper-{secrets.token_hex(4)}",
            )
            daemon = Daemon(directory=directory / "daemon", config=config)
            try:
                yield Furnished(cluster=cluster, api=api, daemon=daemon, proxy=proxy)
            finally:
                if daemon.running:
                    await asyncio.shield(daemon.stop())
