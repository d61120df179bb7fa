"""What a sleep touches and what it leaves alone is one question, whoever asks it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from devcluster.client import Cluster

from tests.cluster.scene import replica
from tests.support import manifests
from tests.support.api import kubectl
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.spaces import LiveSpace

pytestmark = pytest.mark.cluster

NewSpace = Callable[..., Awaitable[LiveSpace]]


async def started(cluster: Cluster, new_daemon: Callable[..., Daemon]) -> None:
    await new_daemon(replica("the-one", kubeconfig=cluster.kubeconfig("sleeper"))).start()


async def shows(space: LiveSpace, **expected: str) -> None:
    """Wait until the namespace shows these annotations of ours."""

    async def shown() -> bool:
        found = await space.annotations()
        return all(found.get(key.replace("_", "-")) == value for key, value in expected.items())

    await eventually(shown, within=20, what=f"{space.name} shows {expected}")


async def settled(space: LiveSpace, pods: int) -> None:
    async def up() -> bool:
        return await space.ready_pods() == pods

    await eventually(up, within=20, what=f"{pods} Pods are Ready")


async def replicas(space: LiveSpace, *shipped: dict[str, Any]) -> list[int]:
    return [(await space.get(manifest))["spec"]["replicas"] for manifest in shipped]


@pytest.mark.fault(6)
async def test_exclude_on_a_pod_hides_nothing_and_on_a_sleeping_workload_it_wakes(
    cluster: Cluster, new_space: NewSpace, new_daemon: Callable[..., Daemon]
) -> None:
    held = manifests.deployment("web")
    held["spec"]["template"]["metadata"]["annotations"] |= {
        "karpenter.sh/do-not-disrupt": "true",
        "sleeper.dev/exclude": "true",
    }
    holding, sleeping = await new_space(), await new_space()
    web, tool = manifests.deployment("web"), manifests.deployment("tool")
    await holding.create(held)
    await sleeping.create(web, tool)
    await settled(holding, 1)
    await settled(sleeping, 2)
    await started(cluster, new_daemon)
    for space in (holding, sleeping):
        await space.annotate(desired="asleep")

    await shows(holding, power_state="Awake", reason="DoNotEvict")
    await shows(sleeping, power_state="Asleep")
    await kubectl(
        cluster, "annotate", "deploy/tool", "sleeper.dev/exclude=true", "-n", sleeping.name
    )

    async def spared() -> bool:
        asleep = await sleeping.power_state() == "Asleep"
        return asleep and await replicas(sleeping, web, tool) == [0, 1]

    await eventually(spared, within=20, what="it is up again, and sleeps without the excluded one")
    assert await replicas(holding, held) == [1]


@pytest.mark.fault(7)
async def test_owners_that_do_not_say_so_and_kinds_of_other_groups_are_told_apart(
    cluster: Cluster, new_space: NewSpace, new_daemon: Callable[..., Daemon]
) -> None:
    managed, sleeping = await new_space(), await new_space()
    cluster_of = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kafka"}}
    await managed.create(cluster_of)
    uid = (await managed.get(cluster_of))["metadata"]["uid"]
    operand = manifests.deployment("web")
    operand["metadata"]["ownerReferences"] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "kafka", "uid": uid, "controller": False}
    ]
    await managed.create(operand)
    await sleeping.create(manifests.deployment("web"))
    for space in (managed, sleeping):
        await settled(space, 1)
    await started(cluster, new_daemon)
    for space in (managed, sleeping):
        await space.annotate(desired="asleep")

    await shows(managed, power_state="Awake", reason="OperatorManaged")
    await shows(sleeping, power_state="Asleep")
    job = {"apiVersion": "batch.volcano.sh/v1alpha1", "kind": "Job", "name": "train", "uid": uid}
    pod = manifests.pod_template("train", start_after="200ms")
    pod["metadata"] |= {"name": "train-0", "ownerReferences": [job | {"controller": True}]}
    await kubectl(
        cluster,
        "create",
        "-n",
        sleeping.name,
        "-f",
        "-",
        stdin=json.dumps({"apiVersion": "v1", "kind": "Pod", **pod}),
    )

    await shows(sleeping, power_state="Awake")
    await settled(sleeping, 2)
