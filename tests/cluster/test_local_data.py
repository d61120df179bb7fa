"""A database whose data lies in its Pod alone, on real controllers."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from devcluster.client import Cluster

from tests.cluster.scene import replica
from tests.conftest import DaemonFactory
from tests.support import manifests
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.manifests import Manifest
from tests.support.spaces import LiveSpace

pytestmark = pytest.mark.cluster

DATA = "/var/lib/postgresql/data"


def database(*, mounted: str | None, claims: bool = False) -> Manifest:
    made = copy.deepcopy(manifests.stateful_set("db", claims=claims))
    pod = made["spec"]["template"]["spec"]
    pod["containers"][0]["image"] = "mirror.example:5000/library/postgres:16.4"
    if mounted is not None:
        pod["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": mounted}]
        if not claims:
            pod["volumes"] = [{"name": "data", "emptyDir": {}}]
    return made


async def runs(space: LiveSpace) -> None:
    async def up() -> bool:
        return await space.ready_pods() == 1

    await eventually(up, within=40, what=f"the database of {space.name} runs")


async def settles(space: LiveSpace, state: str, reason: str) -> None:
    async def there() -> bool:
        shown = await space.annotations()
        return (shown.get("power-state"), shown.get("reason")) == (state, reason)

    await eventually(there, within=40, what=f"{space.name} is {state} ({reason})")


async def said_of(daemon: Daemon, space: LiveSpace) -> str:
    return json.dumps(await daemon.get_json(f"/api/v1/spaces/{space.name}"), ensure_ascii=False)


@pytest.mark.fault(8)
async def test_data_in_the_pod_alone_holds_its_space_until_its_owner_lets_it_go(
    cluster: Cluster, new_space: Callable[..., Any], new_daemon: DaemonFactory
) -> None:
    in_layer: LiveSpace = await new_space()
    in_empty_dir: LiveSpace = await new_space()
    on_claim: LiveSpace = await new_space()
    layered = database(mounted=None)
    await in_layer.create(layered)
    await in_empty_dir.create(database(mounted=DATA))
    await on_claim.create(database(mounted=DATA, claims=True))
    daemon = new_daemon(replica("the-one", kubeconfig=cluster.kubeconfig("sleeper")))
    await daemon.start()
    spaces = (in_layer, in_empty_dir, on_claim)
    for space in spaces:
        await runs(space)
    for space in spaces:
        await space.annotate(desired="asleep")

    await settles(on_claim, "Asleep", "DesiredAsleep")
    for space, holder in ((in_layer, "the container's own layer"), (in_empty_dir, "the emptyDir")):
        await settles(space, "Awake", "LocalData")
        assert await space.ready_pods() == 1
        said = await said_of(daemon, space)
        for part in ("StatefulSet/db", "container app", "postgres:16.4", DATA, holder):
            assert part in said

    await in_empty_dir.annotate(local_data="maybe")
    await settles(in_empty_dir, "Awake", "PolicyInvalid")
    await in_empty_dir.annotate(local_data="disposable")
    await in_layer.api.merge(
        f"/apis/apps/v1/namespaces/{in_layer.name}/statefulsets/db",
        {"metadata": {"annotations": {"sleeper.dev/local-data": "disposable"}}},
    )
    for space in (in_empty_dir, in_layer):
        await settles(space, "Asleep", "DesiredAsleep")
