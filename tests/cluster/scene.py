"""A furnished Space, a daemon, and a fault proxy between the daemon and the API server."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster.client import Cluster

from tests.support import manifests
from tests.support.api import kubectl
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.faultproxy import FaultProxy, Moment, Rule
from tests.support.spaces import LiveSpace

WEB = manifests.deployment("web", replicas=2)
OFF = manifests.deployment("off", replicas=0)
DATABASE = manifests.stateful_set(
    "db",
    replicas=2,
    persistentVolumeClaimRetentionPolicy={"whenScaled": "Delete", "whenDeleted": "Retain"},
)
SHIPPED = (WEB, OFF, DATABASE)
LEASES = "/apis/coordination.k8s.io/v1/namespaces/sleeper-system/leases"
RECORDS = "/apis/sleeper.dev/v1alpha1/namespaces/sleeper-system/sleeprecords"


def essence(live: Mapping[str, Any]) -> dict[str, Any]:
    """What has to come back: the whole spec, and metadata but for what counts writes."""
    meta = copy.deepcopy(live["metadata"])
    for counter in ("generation", "resourceVersion"):
        del meta[counter]
    meta["managedFields"] = sorted(
        (
            {key: value for key, value in entry.items() if key != "time"}
            for entry in meta["managedFields"]
            if entry.get("subresource") != "status"
        ),
        key=json.dumps,
    )
    return {"metadata": meta, "spec": live["spec"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A furnished Space, a daemon and the proxy between it and the API server."""

    cluster: Cluster
    space: LiveSpace
    daemon: Daemon
    proxy: FaultProxy
    before: list[dict[str, Any]]
    claims: Mapping[str, str]

    @property
    def writes(self) -> dict[str, Any]:
        """Matches the writes of a flight of this Space."""
        return {
            "methods": ["POST", "PATCH", "DELETE"],
            "path": f"/sleeprecords|/namespaces/{self.space.name}/(deployments|statefulsets)/"
            f"|/namespaces/{self.space.name}[?]",
            "without": "last-activity|next-transition",
        }

    async def want(self, desired: str) -> None:
        await self.space.annotate(desired=desired)

    async def asleep(self, *, within: float = 40) -> None:
        """Wait until it sleeps, and see that it really does."""
        await self._state("Asleep", within=within)
        assert await self.space.pods() == []
        assert [(await self.space.get(m))["spec"]["replicas"] for m in SHIPPED] == [0, 0, 0]

    async def awake(self, *, within: float = 40) -> None:
        """Wait until it is awake, and see that everything is as it was."""
        await self._state("Awake", records=0, within=within)
        assert [essence(await self.space.get(m)) for m in SHIPPED] == self.before
        assert await claims_of(self.space) == self.claims
        await eventually(self._up, within=30, what="four Pods are Ready")

    async def records(self) -> list[dict[str, Any]]:
        """The sleep records of this Space."""
        found = await self.space.api.items(RECORDS)
        return [r for r in found if r["spec"]["spaceName"] == self.space.name]

    async def owner_applies(self) -> None:
        """Another image and other replicas from the owner; kubectl fails if it meets a conflict."""
        changed = copy.deepcopy(SHIPPED)
        for manifest in changed:
            manifest["spec"]["replicas"] += 1
            manifest["spec"]["template"]["spec"]["containers"][0]["image"] = (
                "registry.example/app:2"
            )
        await apply(self.cluster, self.space, *changed)

    async def _up(self) -> bool:
        return await self.space.ready_pods() == 4

    async def phases(self) -> set[str]:
        """What the Space's records say: none of them, or one phase."""
        return {record["status"]["phase"] for record in await self.records()}

    async def _state(self, state: str, *, within: float, records: int = 1) -> None:
        async def there() -> bool:
            phases = await self.phases()
            settled = not phases if records == 0 else phases == {state}
            return settled and await self.space.power_state() == state

        await eventually(there, within=within, what=f"the Space is {state}")

    async def dies(self, number: int, moment: Moment, desired: str) -> None:
        """Kill the daemon at a write of what ``desired`` brings about, and start it again."""
        rule = await self.proxy.kill(
            pid=self.daemon.pid, at=moment, skip=number, times=1, **self.writes
        )
        await self.want(desired)
        await rule.fired()
        await self.daemon.until_ended()
        await rule.remove()
        await self.daemon.start()

    async def lands(self, late: Rule) -> None:
        """Let a held write go on, and wait until the API server has answered it."""
        await late.release()

        async def answered() -> bool:
            held = [seen for seen in await self.proxy.writes() if seen.fault.startswith("hold")]
            return bool(held) and all(seen.done for seen in held)

        await eventually(answered, within=20, what="the late write has had its answer")


async def apply(cluster: Cluster, space: LiveSpace, *shipped: Mapping[str, Any]) -> None:
    """The owner's ``kubectl apply --server-side``."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": shipped})
    await kubectl(cluster, "apply", "--server-side", "-n", space.name, "-f", "-", stdin=text)


async def claims_of(space: LiveSpace) -> dict[str, str]:
    found = await space.api.items(f"/api/v1/namespaces/{space.name}/persistentvolumeclaims")
    return {claim["metadata"]["name"]: claim["metadata"]["uid"] for claim in found}


def replica(identity: str, *, kubeconfig: Path) -> dict[str, Any]:
    """The configuration of one replica: no signals, and a Lease that is soon free again."""
    return {
        "kubernetes": {"kubeconfig": str(kubeconfig), "request_timeout_seconds": 1},
        "api_signal": {"enabled": False},
        "lease": {
            "identity": identity,
            "duration_seconds": 4,
            "renew_deadline_seconds": 3,
            "retry_period_seconds": 0.5,
        },
    }


@asynccontextmanager
async def behind_proxy(cluster: Cluster, directory: Path) -> AsyncIterator[tuple[FaultProxy, Path]]:
    """A proxy in front of the API server, and sleeper's kubeconfig through it."""
    async with FaultProxy.started(
        upstream=cluster.apiserver,
        upstream_ca=cluster.pki("ca.crt"),
        cert=cluster.pki("kube-apiserver.crt"),
        key=cluster.pki("kube-apiserver.key"),
    ) as proxy:
        proxied = directory / "proxied.yaml"
        text = cluster.kubeconfig("sleeper").read_text()
        proxied.write_text(text.replace(cluster.apiserver, proxy.url))
        yield proxy, proxied


@asynccontextmanager
async def furnished(
    cluster: Cluster,
    space: LiveSpace,
    new_daemon: Callable[..., Daemon],
    tmp_path: Path,
    *,
    overrides: Mapping[str, Any] | None = None,
) -> AsyncIterator[Scene]:
    """Furnish a Space and start a daemon behind a proxy of its own."""
    await apply(cluster, space, *SHIPPED)
    async with behind_proxy(cluster, tmp_path) as (proxy, proxied):
        daemon = new_daemon(replica("the-one", kubeconfig=proxied) | dict(overrides or {}))
        await daemon.start()

        async def up() -> bool:
            return await space.ready_pods() == 4

        await eventually(up, within=60, what="four Pods are Ready")
        yield Scene(
            cluster=cluster,
            space=space,
            daemon=daemon,
            proxy=proxy,
            before=[essence(await space.get(m)) for m in SHIPPED],
            claims=await claims_of(space),
        )
