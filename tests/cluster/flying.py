"""Flights of the test's own process against the cluster, under sleeper's ServiceAccount."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster.client import Cluster

from metrics.core.refs import SpaceRef
from metrics.instruments import NullRecorder
from sleeper.control.flight_result import FlightSettings
from sleeper.control.flights import Flights
from sleeper.core.reasons import Reason
from sleeper.core.verdict import Verdict, VerdictKind
from sleeper.kube.client import KubeClient
from sleeper.kube.inventory import Inventory
from sleeper.kube.records import RecordStore
from sleeper.telemetry.clock import SystemClock
from tests.support.eventually import eventually
from tests.support.spaces import LiveSpace


class SilentEvents:
    """Flights tell nobody."""

    async def record(self, **_: object) -> None:
        """Nothing is recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deck:
    """Flights with what they stand on."""

    client: KubeClient
    inventory: Inventory
    records: RecordStore
    flights: Flights

    async def sleep(self, space: LiveSpace) -> Any:
        """Sleep once the watched objects are up to date and their controllers at rest."""

        async def at_rest() -> bool:
            return all(map(_at_rest, await self._workloads(space)))

        await eventually(at_rest, within=30, what="no workload is between two revisions or sizes")
        live = await self._workloads(space)

        def watched() -> bool:
            seen = self.inventory.space(space.name)
            if seen is None:
                return False
            generations = {
                obj.metadata.uid: obj.metadata.generation
                for obj in (*seen.deployments, *seen.stateful_sets)
            }
            return generations == {
                obj["metadata"]["uid"]: obj["metadata"]["generation"] for obj in live
            }

        await eventually(watched, within=10, what="the watch has seen the objects")
        verdict = Verdict(
            kind=VerdictKind.FALL_ASLEEP,
            reason=Reason.IDLE,
            message="idle",
            sleep_horizon=SystemClock().now(),
        )
        ref = SpaceRef(uid=space.uid, name=space.name, tenant="tenant-a")
        return await self.flights.sleep(ref, verdict)

    async def _workloads(self, space: LiveSpace) -> list[dict[str, Any]]:
        path = f"/apis/apps/v1/namespaces/{space.name}"
        found = [await space.api.items(f"{path}/{kind}s") for kind in ("deployment", "statefulset")]
        return found[0] + found[1]

    async def wake(self, space: LiveSpace) -> Any:
        """Wake."""
        return await self.flights.wake(space.uid, Reason.TOUCHED)


def _at_rest(live: dict[str, Any]) -> bool:
    wanted, status = live["spec"]["replicas"], live["status"]
    counted = (status.get("replicas", 0), status.get("updatedReplicas", 0))
    seen = status.get("observedGeneration") == live["metadata"]["generation"]
    return seen and counted == (wanted, wanted)


@asynccontextmanager
async def flying(
    cluster: Cluster, *, settings: FlightSettings, kubeconfig: Path | None = None
) -> AsyncIterator[Deck]:
    """A deck whose inventory and records are followed.

    Args:
        cluster: the cluster.
        settings: of the flights.
        kubeconfig: by default sleeper's own.
    """
    clock = SystemClock()
    recorder = NullRecorder()
    client = await KubeClient.connect(
        kubeconfig=kubeconfig or cluster.kubeconfig("sleeper"),
        clock=clock,
        user_agent="sleeper/test",
        request_timeout_seconds=5.0,
    )
    async with client, asyncio.TaskGroup() as tasks:
        inventory = Inventory(client, clock=clock, recorder=recorder)
        records = RecordStore(client, namespace="sleeper-system", clock=clock, recorder=recorder)
        running = [tasks.create_task(inventory.run()), tasks.create_task(records.run())]
        await eventually(lambda: inventory.synced and records.synced, within=20, what="synced")
        yield Deck(
            client=client,
            inventory=inventory,
            records=records,
            flights=Flights(
                client=client,
                records=records,
                spaces=inventory,
                clock=clock,
                recorder=recorder,
                events=SilentEvents(),
                may_write=lambda _seconds: True,
                observes=lambda _name: False,
                settings=settings,
            ),
        )
        for task in running:
            task.cancel()
    await asyncio.sleep(0.25)  # TLS connections of cancelled watches end a moment later
