"""Commands that speak to the API server alone; no daemon runs."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import datetime, timedelta
from typing import Any

import pytest
from devcluster.client import Cluster

from billing.core.statement import Statement, StatementQuery
from metrics.core.refs import SpaceRef
from metrics.instruments import PrometheusRecorder
from sleeper.api.app import build_app
from sleeper.cli.exits import ExitCode
from sleeper.control.inquiry import SpaceOverview
from sleeper.core import names
from sleeper.core.decide import decide
from sleeper.core.explain import effective
from sleeper.core.policy import PolicyDefaults
from sleeper.core.reasons import Reason
from sleeper.telemetry.clock import SystemClock
from tests.core.values import NOW, policy, snapshot
from tests.support.api import Api
from tests.support.serving import served
from tests.support.spaces import LiveSpace

pytestmark = pytest.mark.cluster


class Cli:
    def __init__(self, cluster: Cluster) -> None:
        self._kubeconfig = str(cluster.kubeconfig("admin"))

    async def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sleeper", *arguments, "--kubeconfig", self._kubeconfig]
        return await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, check=False, timeout=60
        )


@pytest.fixture
def cli(cluster: Cluster) -> Cli:
    return Cli(cluster)


async def annotations_of(api: Api, space: LiveSpace) -> dict[str, str]:
    found: Any = await api.get(f"/api/v1/namespaces/{space.name}")
    return dict(found["metadata"].get("annotations", {}))


async def test_spaces_shows_what_stands_on_the_namespace(cli: Cli, new_space: Any) -> None:
    space = await new_space(tenant="acme", power_state="Asleep", reason="Idle")
    ran = await cli("spaces", space.name, "-o", "json")
    assert ran.returncode == ExitCode.OK, ran.stderr
    shown = json.loads(ran.stdout)
    assert (shown["tenant"], shown["state"], shown["reason"]) == ("acme", "Asleep", "Idle")
    assert space.name in (await cli("spaces", "-o", "wide")).stdout


async def test_sleep_asks_and_wake_takes_it_back_and_holds(
    cli: Cli, api: Api, space: LiveSpace
) -> None:
    assert (await cli("sleep", space.name, "--reason", "holiday")).returncode == ExitCode.OK
    asked = await annotations_of(api, space)
    assert asked[names.DESIRED] == "asleep"
    assert asked[names.DESIRED_REASON] == "holiday"

    assert (await cli("wake", space.name, "--for", "2h")).returncode == ExitCode.OK
    woken = await annotations_of(api, space)
    assert names.DESIRED not in woken
    assert names.DESIRED_REASON not in woken
    held = datetime.fromisoformat(woken[names.KEEP_AWAKE_UNTIL])

    assert (await cli("wake", space.name)).returncode == ExitCode.OK
    again = datetime.fromisoformat((await annotations_of(api, space))[names.KEEP_AWAKE_UNTIL])
    assert again == held, "a shorter hold does not shorten a longer one"
    assert held - SystemClock().now() > timedelta(minutes=110)


async def test_waiting_gives_up_in_time_and_says_so(cli: Cli, space: LiveSpace) -> None:
    ran = await cli("sleep", space.name, "--wait", "--timeout", "2s")
    assert ran.returncode == ExitCode.TIMED_OUT
    assert "It stays asked for" in ran.stderr


async def test_waiting_ends_when_the_state_is_there(cli: Cli, new_space: Any) -> None:
    space = await new_space(power_state="Asleep")
    assert (await cli("sleep", space.name, "--wait")).returncode == ExitCode.OK


async def test_one_name_that_is_no_space_leaves_all_of_them_alone(
    cli: Cli, api: Api, space: LiveSpace
) -> None:
    ran = await cli("sleep", space.name, "default")
    assert ran.returncode == ExitCode.NOT_FOUND
    assert "default is no Space" in ran.stderr
    assert names.DESIRED not in await annotations_of(api, space)
    assert (await cli("wake", "nowhere-at-all")).returncode == ExitCode.NOT_FOUND


@pytest.mark.fault(18)
async def test_a_tenant_label_that_names_nobody_is_told_by_every_command(
    cli: Cli, api: Api, new_space: Any
) -> None:
    space = await new_space(tenant="", power_state="Awake", reason="Idle")
    because = f"{space.name} is no Space: its label sleeper.dev/tenant: '' cannot be read; expected"
    listed = await cli("spaces")
    assert listed.returncode == ExitCode.OK
    (row,) = (line for line in listed.stdout.splitlines() if space.name in line)
    assert "NotASpace" in row
    assert "Idle" not in row
    assert because in listed.stderr
    for command in ("spaces", "wake"):
        ran = await cli(command, space.name)
        assert ran.returncode == ExitCode.NOT_FOUND
        assert because in ran.stderr
    asked = {names.DESIRED, names.KEEP_AWAKE_UNTIL}
    assert not asked & (await annotations_of(api, space)).keys()


class Overview:
    """The daemon's read API, with one Space in it."""

    def __init__(self, space: LiveSpace, **annotations: str) -> None:
        defaults = PolicyDefaults(
            sleep_after=timedelta(hours=8),
            set_in=((names.SLEEP_AFTER, "defaults.sleep_after (file sleeper.yaml)"),),
        )
        reading = policy(annotations, defaults=defaults)
        seen = snapshot(space=SpaceRef(uid=space.uid, name=space.name, tenant="tenant-a"))
        held = {one.key: one for one in effective(reading, Reason.IDLE)}
        self._line = SpaceOverview(
            space=space.name,
            tenant="tenant-a",
            power_state="Awake",
            verdict=decide(seen, reading, NOW).kind.value,
            reason="Idle",
            message="",
            last_activity=None,
            next_transition=None,
            uid=space.uid,
            sleep_after=held["sleep-after"],
            awake_hours=held["awake-hours"],
        )

    def overview(self) -> list[SpaceOverview]:
        return [self._line]

    def explanation(self, name: str) -> None:
        return None

    def missing(self, name: str) -> str:
        return name


class NoStatements:
    async def statement(self, query: StatementQuery) -> Statement:
        raise NotImplementedError


@pytest.mark.fault(19)
async def test_wide_shows_the_policy_that_holds_and_says_what_it_cannot_know(
    cli: Cli, new_space: Any
) -> None:
    space = await new_space(awake_hours="Mon-Fri 08:00-19:00")
    unheard = "http://127.0.0.1:1"
    alone = await cli("spaces", space.name, "-o", "wide", "--server", unheard)
    assert alone.returncode == ExitCode.OK, alone.stderr
    assert "Mon-Fri 08:00-19:00 (annotation)" in alone.stdout
    assert "  ?  " in alone.stdout
    assert "?: no annotation says it; what the configuration says only the daemon" in alone.stderr

    app = build_app(
        spaces=Overview(space, **{"awake-hours": "Mon-Fri 08:00-19:00"}),
        statements=NoStatements(),
        live={},
        ready={},
        metrics=PrometheusRecorder(SystemClock()).aiohttp_handler(),
        clock=SystemClock(),
    )
    async with served(app) as port:
        asked = ("--server", f"http://127.0.0.1:{port}")
        shown = await cli("spaces", space.name, "-o", "wide", *asked)
        assert "8h (configuration)" in shown.stdout
        assert "Mon-Fri 08:00-19:00 (annotation)" in shown.stdout
        assert "?" not in shown.stdout + shown.stderr
