"""``sleeper wake --all``: no daemon, no database, only what stands on the API server."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from devcluster.client import Cluster

from sleeper.control.flight_result import FlightSettings
from sleeper.core.names import RESTORE
from tests.cluster.flying import flying
from tests.cluster.scene import furnished
from tests.support import manifests
from tests.support.api import kubectl
from tests.support.daemon import Daemon
from tests.support.spaces import LiveSpace

pytestmark = pytest.mark.cluster

WEB = manifests.deployment("web", replicas=2)
DATABASE = manifests.stateful_set(
    "db", replicas=1, persistentVolumeClaimRetentionPolicy={"whenScaled": "Delete"}
)
INSTALL = Path(__file__).parents[2] / "docs" / "install.md"
ROLE = "sleeper-wake-all"
CRDS = f"--filename={Path(__file__).parents[2] / 'deploy' / 'base' / 'crds.yaml'}"
RECORDS = "/apis/sleeper.dev/v1alpha1/namespaces/sleeper-system/sleeprecords"


async def put_to_sleep(cluster: Cluster, space: LiveSpace) -> list[Any]:
    """Let a process sleep the Space and end; the specs as they were."""
    await space.create(WEB, DATABASE)
    before = [(await space.get(manifest))["spec"] for manifest in (WEB, DATABASE)]
    async with flying(cluster, settings=FlightSettings(sleep_deadline_seconds=60)) as deck:
        result = await deck.sleep(space)
        assert result.ok, result
    return before


async def on_call(cluster: Cluster, directory: Path) -> Path:
    """A kubeconfig of somebody with the rights that the page on installing names, and no others."""
    (role,) = re.findall(rf"```yaml\n([^`]*\n  name: {ROLE}\n[^`]*)```", INSTALL.read_text())
    bound = [f"--clusterrole={ROLE}", "--serviceaccount=default:on-call"]
    await kubectl(cluster, "apply", "--filename=-", identity="admin", stdin=role)
    for made in (["serviceaccount", "on-call"], ["clusterrolebinding", "on-call", *bound]):
        manifest = await kubectl(cluster, "create", *made, "--dry-run=client", "--output=yaml")
        await kubectl(cluster, "apply", "--filename=-", identity="admin", stdin=manifest)
    token = await kubectl(cluster, "create", "token", "on-call", identity="admin")
    config = yaml.safe_load(cluster.kubeconfig("admin").read_text())
    for user in config["users"]:
        user["user"] = {"token": token.strip()}
    written = directory / "on-call.yaml"
    written.write_text(yaml.safe_dump(config))
    return written


async def wake_everything(cluster: Cluster, kubeconfig: Path | None = None) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).parent / "sleeper",
        "wake",
        "--all",
        f"--kubeconfig={kubeconfig or cluster.kubeconfig('admin')}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def specs(space: LiveSpace) -> list[Any]:
    return [(await space.get(manifest))["spec"] for manifest in (WEB, DATABASE)]


async def test_everything_comes_back_from_the_records_alone(
    cluster: Cluster, space: LiveSpace, tmp_path: Path
) -> None:
    """With the rights that the page on installing names, and no others."""
    before = await put_to_sleep(cluster, space)

    code, output = await wake_everything(cluster, await on_call(cluster, tmp_path))

    assert code == 0, output
    assert space.name in output
    assert await specs(space) == before
    assert await space.power_state() == "Awake"
    assert await space.api.items(RECORDS) == []


async def test_without_records_everything_comes_back_from_the_annotations(
    cluster: Cluster, space: LiveSpace
) -> None:
    before = await put_to_sleep(cluster, space)
    for record in await space.api.items(RECORDS):
        await space.api.delete(f"{RECORDS}/{record['metadata']['name']}")

    code, output = await wake_everything(cluster)

    assert code == 0, output
    assert "Deployment/web" in output
    assert await specs(space) == before


async def test_with_the_custom_resource_gone_everything_comes_back_from_the_annotations(
    cluster: Cluster, space: LiveSpace
) -> None:
    """Uninstalled in the wrong order: ``kubectl delete -k deploy/base`` came first."""
    before = await put_to_sleep(cluster, space)
    await kubectl(cluster, "delete", CRDS, identity="admin")
    try:
        code, output = await wake_everything(cluster)
    finally:
        await kubectl(cluster, "apply", "--server-side", CRDS, identity="admin")
        await kubectl(cluster, "wait", "--for=condition=Established", CRDS, identity="admin")

    assert code == 0, output
    assert "not even their custom resource" in output
    assert "Deployment/web" in output
    assert await specs(space) == before
    assert await space.power_state() == "Awake"


async def test_a_forged_annotation_is_named_and_left(cluster: Cluster, space: LiveSpace) -> None:
    forged = json.dumps({"v": 1, "fields": {"/spec/replicas": 1_000_000}})
    await space.create(manifests.deployment("web", replicas=0))
    path = f"/apis/apps/v1/namespaces/{space.name}/deployments/web"
    await space.api.merge(path, {"metadata": {"annotations": {RESTORE: forged}}})

    code, output = await wake_everything(cluster)

    assert "Deployment/web was left at zero: the restore annotation" in output
    assert code != 0, "something stays at zero under our annotation"
    assert (await space.api.get(path))["spec"]["replicas"] == 0


async def test_in_the_middle_of_a_sleep_of_a_running_daemon_it_has_the_last_word(
    cluster: Cluster, space: LiveSpace, new_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """Whatever write is held up meanwhile, and lands when all is over."""
    async with furnished(cluster, space, new_daemon, tmp_path) as scene:
        await scene.awake()  # what the daemon has to write of that is written
        for number in (1, 2, 4, 7):
            late = await scene.proxy.hold(skip=number, times=1, **scene.writes)
            await scene.want("asleep")
            await late.fired()
            await scene.want("auto")

            code, output = await wake_everything(cluster)

            assert code == 0, output
            assert space.name in output
            await scene.lands(late)
            await late.remove()
            await scene.awake()
