"""The main job end to end: a real daemon, the shipped permissions and audit policy, real people.

The tests look at Pods cluster-wide: to look into a Space as a person would be to use it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from devcluster.client import Cluster

from tests.conftest import DaemonFactory
from tests.support import manifests
from tests.support.api import Api, kubectl
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.spaces import LiveSpace

pytestmark = pytest.mark.cluster

WEB = manifests.deployment("web", replicas=2)
RECORDS = "/apis/sleeper.dev/v1alpha1/namespaces/sleeper-system/sleeprecords"


async def pods(space: LiveSpace) -> int:
    selector = f"fieldSelector=metadata.namespace%3D{space.name}"
    return len(await space.api.items(f"/api/v1/pods?{selector}"))


async def runs(space: LiveSpace, number: int = 2) -> None:
    selector = f"fieldSelector=metadata.namespace%3D{space.name}"

    async def up() -> bool:
        found = await space.api.items(f"/api/v1/pods?{selector}")
        return [pod["status"]["phase"] for pod in found] == ["Running"] * number

    await eventually(up, within=30, what=f"{number} Pods run in {space.name}")


async def becomes(space: LiveSpace, state: str, *, number: int, within: float = 45) -> None:
    async def there() -> bool:
        return await space.power_state() == state and await pods(space) == number

    await eventually(there, within=within, what=f"{space.name} is {state} with {number} Pods")


async def command(
    cluster: Cluster, daemon: Daemon, *arguments: str, online: bool = True
) -> subprocess.CompletedProcess[str]:
    where = (
        ("--kubeconfig", str(cluster.kubeconfig("admin"))) if online else ("--server", daemon.url)
    )
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "sleeper", *arguments, *where],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )


async def explained(daemon: Daemon, space: LiveSpace) -> dict[str, Any]:
    found = await daemon.get_json(f"/api/v1/spaces/{space.name}")
    assert isinstance(found, dict)
    return found


async def test_an_unused_space_sleeps_and_a_persons_kubectl_brings_it_back_as_it_was(
    cluster: Cluster, api: Api, new_space: Callable[..., Any], new_daemon: DaemonFactory
) -> None:
    space: LiveSpace = await new_space(sleep_after="8s")
    database = manifests.stateful_set("db", replicas=2)
    await space.create(WEB, database)
    before = [(await space.get(m))["spec"] for m in (WEB, database)]
    daemon = new_daemon()
    await daemon.start()

    await becomes(space, "Asleep", number=0, within=60)
    await kubectl(cluster, "get", "pods", "-n", space.name)
    await becomes(space, "Awake", number=4)

    assert [(await space.get(m))["spec"] for m in (WEB, database)] == before

    async def shown() -> bool:
        return '"who": "human"' in (await space.annotations()).get("last-activity-info", "")

    await eventually(shown, within=10, what="who used it last is shown")
    assert not [r for r in await api.items(RECORDS) if r["spec"]["spaceName"] == space.name]


async def test_a_touch_takes_desired_asleep_back(
    cluster: Cluster, space: LiveSpace, daemon: Daemon
) -> None:
    await daemon.sees()
    await space.create(WEB)
    await runs(space)
    ran = await command(cluster, daemon, "sleep", space.name, "--wait")
    assert ran.returncode == 0, ran.stderr
    await becomes(space, "Asleep", number=0)
    await kubectl(cluster, "get", "deployments", "-n", space.name)
    await becomes(space, "Awake", number=2)

    async def auto() -> bool:
        return "desired" not in await space.annotations()

    await eventually(auto, within=10, what="desired: asleep is taken back")
    assert await pods(space) == 2


async def test_sleep_and_wake_by_command_wait_until_it_is_done(
    cluster: Cluster, space: LiveSpace, daemon: Daemon
) -> None:
    await daemon.sees()
    await space.create(WEB)
    await runs(space)
    slept = await command(cluster, daemon, "sleep", space.name, "--wait")
    assert slept.returncode == 0, slept.stderr
    assert await pods(space) == 0
    woken = await command(cluster, daemon, "wake", space.name, "--for", "1h", "--wait")
    assert woken.returncode == 0, woken.stderr
    assert await space.power_state() == "Awake"
    assert await pods(space) == 2


async def test_what_cannot_be_brought_back_yet_holds_the_space_and_explain_says_so(
    cluster: Cluster, new_space: Callable[..., Any], daemon: Daemon
) -> None:
    await daemon.sees()
    held: LiveSpace = await new_space()
    job = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "report"},
        "spec": {
            "schedule": "0 4 1 1 *",
            "jobTemplate": {
                "spec": {
                    "template": {
                        "spec": {
                            "restartPolicy": "Never",
                            "containers": [{"name": "c", "image": "registry.example/c:1"}],
                        }
                    }
                }
            },
        },
    }
    control: LiveSpace = await new_space()
    await held.create(job, WEB)
    await control.create(WEB)
    for one in (held, control):
        await runs(one)
        await one.annotate(desired="asleep")
    await becomes(control, "Asleep", number=0)
    assert await held.power_state() == "Awake"
    assert (await held.annotations())["reason"] == "CronJob"
    told = await explained(daemon, held)
    assert "CronJob/report" in json.dumps(told)
    (advice,) = told["would_change"]
    assert advice == (
        'CronJob/report suspended or gone, or sleeper.dev/exclude: "true" on CronJob/report'
    )
    wide = ("spaces", held.name, "-o", "wide", "--server", daemon.url)
    assert "never (configuration)" in (await command(cluster, daemon, *wide)).stdout


UNREADABLE = {
    "sleep-after": ("soon", "expected a duration such as `90m`"),
    "timezone": ("Mars/Olympus", "expected an IANA time zone"),
    "awake-hours": ("Mon-Fry", "expected `Mon-Fri 08:00-19:00; Sat 10:00-14:00`"),
}


async def test_an_annotation_that_cannot_be_read_is_named_in_an_event_and_nothing_sleeps(
    api: Api, new_space: Callable[..., Any], new_daemon: DaemonFactory
) -> None:
    """Neither at once, though it is asked for, nor by the short idle time of the configuration."""
    daemon = new_daemon({"defaults": {"sleep_after": "6s"}})
    await daemon.start()
    await daemon.sees()
    control: LiveSpace = await new_space()
    spaces: dict[str, LiveSpace] = {}
    for key, (value, _) in UNREADABLE.items():
        spaces[key] = await new_space(**{key.replace("-", "_"): value})
    for one in (*spaces.values(), control):
        await one.create(WEB)
    await spaces["timezone"].annotate(desired="asleep")
    await becomes(control, "Asleep", number=0)

    async def notes(space: LiveSpace) -> list[str]:
        found = await api.items(f"/apis/events.k8s.io/v1/namespaces/{space.name}/events")
        return [event["note"] for event in found if event.get("type") == "Warning"]

    for key, (value, form) in UNREADABLE.items():
        space = spaces[key]

        async def told(key: str = key, value: str = value, form: str = form) -> bool:
            said = await notes(spaces[key])
            return any(f"sleeper.dev/{key}" in s and repr(value) in s and form in s for s in said)

        await eventually(told, within=10, what=f"an Event names {key}, {value} and what it expects")
        counted = f'sleeper_policy_problems_total{{key="sleeper.dev/{key}"}} 1.0'
        assert counted in await daemon.metrics()
        assert (await space.annotations())["reason"] == "PolicyInvalid"
        assert await pods(space) == 2


async def test_mode_observe_decides_and_touches_nothing(
    api: Api, new_space: Callable[..., Any], new_daemon: DaemonFactory
) -> None:
    watched: LiveSpace = await new_space(mode="observe")
    control: LiveSpace = await new_space()
    await watched.create(WEB)
    await control.create(WEB)
    daemon = new_daemon()
    await daemon.start()
    await daemon.sees()
    for one in (watched, control):
        await runs(one)
        await one.annotate(desired="asleep")
    before = await api.get(f"/api/v1/namespaces/{watched.name}")
    await becomes(control, "Asleep", number=0)
    assert (await explained(daemon, watched))["verdict"] == "FallAsleep"
    assert await api.get(f"/api/v1/namespaces/{watched.name}") == before
    assert await pods(watched) == 2
    assert (await watched.get(WEB))["spec"]["replicas"] == 2


async def test_break_glass_brings_everything_back_with_daemon_and_database_gone(
    cluster: Cluster, new_space: Callable[..., Any], new_daemon: DaemonFactory
) -> None:
    space: LiveSpace = await new_space()
    await space.create(WEB)
    daemon = new_daemon()
    await daemon.start()
    await daemon.sees()
    await runs(space)
    await space.annotate(desired="asleep")
    await becomes(space, "Asleep", number=0)
    daemon.kill()
    ran = await command(cluster, daemon, "wake", "--all")
    assert ran.returncode == 0, ran.stdout + ran.stderr

    async def up() -> bool:
        return await pods(space) == 2

    await eventually(up, within=30, what="the Pods are back")


async def test_a_forged_restore_annotation_is_not_believed(
    api: Api, space: LiveSpace, daemon: Daemon
) -> None:
    await daemon.sees()
    await space.create(WEB)
    before = await space.get(WEB)
    await runs(space)
    await space.annotate(desired="asleep")
    await becomes(space, "Asleep", number=0)
    forged = {
        "v": 1,
        "space": space.uid,
        "epoch": 1,
        "uid": before["metadata"]["uid"],
        "fields": {"/spec/replicas": 1_000_000},
    }
    await api.merge(
        f"/apis/apps/v1/namespaces/{space.name}/deployments/web",
        {"metadata": {"annotations": {"sleeper.dev/restore": json.dumps(forged)}}},
    )
    await space.annotate(desired="awake")
    await becomes(space, "Awake", number=2)
    assert (await space.get(WEB))["spec"] == before["spec"]


async def test_usage_counts_what_sleeping_freed(
    cluster: Cluster, new_space: Callable[..., Any], new_daemon: DaemonFactory
) -> None:
    space: LiveSpace = await new_space(tenant="payer")
    await space.create(WEB)
    daemon = new_daemon()
    await daemon.start()
    await daemon.sees()
    await runs(space)
    await space.annotate(desired="asleep")
    await becomes(space, "Asleep", number=0)

    async def freed() -> bool:
        ran = await command(cluster, daemon, "usage", "--by", "tenant", "-o", "json", online=False)
        assert ran.returncode == 0, ran.stderr
        lines = [line for line in json.loads(ran.stdout)["lines"] if line["tenant"] == "payer"]
        assert any(line["freed_cpu_milli_seconds"] > 0 for line in lines), ran.stdout
        return True

    # A quiet Pod watch proves that it lives once a minute, and what is not proven is not counted.
    await eventually(freed, within=100, every=1, what="freed requests are counted")
