"""Commands say whether a daemon runs, where its Lease tells."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result

from sleeper.cli import power
from sleeper.cli import spaces as spaces_command
from sleeper.cli.exits import CommandError
from sleeper.cli.kubernetes import DaemonSign, daemon_sign, sign_of
from sleeper.control import breakglass
from sleeper.core import names
from sleeper.core.objects import Metadata, Namespace
from sleeper.core.power import PowerState
from sleeper.kube.client import KubeClient
from sleeper.kube.errors import Forbidden, KubeError, NotFound
from sleeper.kube.lease import Hold
from sleeper.telemetry.clock import SystemClock

NOW = datetime(2026, 11, 28, 4, tzinfo=UTC)


def runs_at(
    seconds_ago: float, *, holder: str = "host-1", now: datetime = NOW
) -> DaemonSign | None:
    hold = Hold(
        holder=holder,
        renewed_at=now - timedelta(seconds=seconds_ago),
        promised=timedelta(seconds=15),
    )
    return sign_of(hold, now, "sleeper-system/sleeper")


@pytest.mark.parametrize("seconds_ago", [-3600, 0, 15])
def test_a_lease_that_is_kept_tells_of_a_daemon(seconds_ago: float) -> None:
    sign = runs_at(seconds_ago)
    assert sign is not None
    assert sign.runs
    assert "host-1 renewed the Lease sleeper-system/sleeper at 2026-11-28T0" in sign.told


def test_a_lease_that_is_given_back_or_long_over_tells_of_none() -> None:
    assert runs_at(0, holder="") == DaemonSign(
        runs=False, told="nobody holds the Lease sleeper-system/sleeper"
    )
    assert runs_at(3600) == DaemonSign(
        runs=False,
        told="nobody has renewed the Lease sleeper-system/sleeper since 2026-11-28T03:00:00Z",
    )


def test_where_clocks_may_differ_by_as_much_nothing_is_said() -> None:
    assert runs_at(16) is None
    assert runs_at(75) is None
    hold = Hold(holder="host-1", renewed_at=None, promised=timedelta(seconds=15))
    assert sign_of(hold, NOW, "n/l") is None


@dataclass
class Server:
    """What a client finds: one Space, and a Lease."""

    seconds_ago: float | None = 0
    refusal: KubeError | None = None
    asked: list[str] = field(default_factory=list)

    async def get(self, path: str, **_: Any) -> bytes:
        self.asked.append(path)
        if self.refusal is not None:
            raise self.refusal
        renewed = SystemClock().now() - timedelta(seconds=self.seconds_ago or 0)
        spec: Mapping[str, Any] = {
            "holderIdentity": "" if self.seconds_ago is None else "host-1",
            "leaseDurationSeconds": 15,
            "renewTime": renewed.isoformat().replace("+00:00", "Z"),
        }
        return json.dumps({"metadata": {"name": "sleeper"}, "spec": spec}).encode()

    async def pages(self, _path: str, **_: Any) -> AsyncIterator[bytes]:
        labels = {names.LABEL_TENANT: "acme"}
        annotations = {names.POWER_STATE: "Asleep", names.REASON: "Asleep"}
        meta = {"name": "shop", "uid": "u", "labels": labels, "annotations": annotations}
        yield json.dumps({"items": [{"metadata": meta}]}).encode()


Connect = Callable[[Server], None]


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Commands find that server."""

    def connect_to(server: Server) -> None:
        @asynccontextmanager
        async def connect(_target: Any) -> AsyncIterator[Server]:
            yield server

        for command in (power, spaces_command):
            monkeypatch.setattr(command, "connect", connect)

    return connect_to


@pytest.mark.parametrize("refusal", [NotFound("no"), Forbidden("no")])
async def test_what_cannot_be_looked_up_is_not_known(refusal: KubeError) -> None:
    server = Server(refusal=refusal)
    assert await daemon_sign(cast("KubeClient", server)) is None
    assert server.asked == ["/apis/coordination.k8s.io/v1/namespaces/sleeper-system/leases/sleeper"]


@pytest.mark.parametrize(("seconds_ago", "runs"), [(0, True), (None, False), (3600, False)])
def test_wake_all_says_that_a_daemon_still_runs(
    monkeypatch: pytest.MonkeyPatch, connected: Connect, seconds_ago: float | None, runs: bool
) -> None:
    async def wake_all(_client: Any, **_: Any) -> bool:
        return True

    server = Server(seconds_ago=seconds_ago)
    connected(server)
    monkeypatch.setattr(breakglass, "wake_all", wake_all)
    ran = CliRunner().invoke(power.wake, ["--all", "--namespace", "ours"])
    assert ran.exit_code == 0, ran.output
    assert "/namespaces/ours/" in server.asked[0]
    assert ("A daemon still runs: host-1 renewed the Lease ours/sleeper" in ran.stderr) is runs
    assert ("end it or set `mode: observe`" in ran.stderr) is runs


def listed(*arguments: str) -> Result:
    ran = CliRunner().invoke(spaces_command.spaces, arguments)
    assert ran.exit_code == 0, ran.output
    return ran


@pytest.mark.parametrize("output", ["table", "wide"])
def test_the_list_of_spaces_says_that_no_daemon_runs(connected: Connect, output: str) -> None:
    unheard = ("--server", "http://127.0.0.1:1")
    connected(Server(seconds_ago=3600))
    assert "No daemon runs: nobody has renewed" in listed("-o", output, *unheard).stderr
    connected(Server(seconds_ago=0))
    assert "No daemon runs" not in listed("-o", output, *unheard).stderr


def test_programs_are_told_nothing_beside_what_they_asked_for(connected: Connect) -> None:
    server = Server(seconds_ago=3600)
    connected(server)
    assert listed("-o", "json", "--server", "http://127.0.0.1:1").stderr == ""
    assert server.asked == []


@pytest.mark.parametrize(
    ("seconds_ago", "state", "said", "unsaid"),
    [
        (0, PowerState.AWAKE, "`sleeper explain shop` says more", "wake --all"),
        (3600, PowerState.AWAKE, "no daemon runs to do it (nobody has renewed", "explain"),
        (3600, PowerState.AWAKE, "`sleeper wake --all` brings everything back", "explain"),
        (
            40,
            PowerState.AWAKE,
            "if no daemon answers there, `sleeper wake --all`",
            "no daemon runs",
        ),
        (3600, PowerState.ASLEEP, "no daemon runs to do it", "wake --all"),
        (40, PowerState.ASLEEP, "`sleeper explain shop` says more", "wake --all"),
    ],
)
async def test_who_waits_in_vain_is_sent_where_somebody_answers(
    seconds_ago: float, state: PowerState, said: str, unsaid: str
) -> None:
    sign = await daemon_sign(cast("KubeClient", Server(seconds_ago=seconds_ago)))
    wait = power._Wait(states=frozenset({state}), timeout=timedelta(seconds=1))
    told = power._says_more("shop", sign, wait)
    assert said in told
    assert unsaid not in told


async def test_a_wait_for_a_daemon_that_does_not_run_ends_with_what_helps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def get_space(_client: Any, _name: str) -> Any:
        asleep = {names.POWER_STATE: "Asleep"}
        return Namespace(metadata=Metadata(name="shop", uid="u", annotations=asleep))

    monkeypatch.setattr(power, "get_space", get_space)
    wait = power._Wait(states=frozenset({PowerState.AWAKE}), timeout=timedelta(seconds=0.05))
    with pytest.raises(CommandError, match="no daemon runs to do it") as raised:
        await power._wait_for(cast("KubeClient", Server(seconds_ago=None)), ["shop"], wait)
    assert "sleeper explain" not in str(raised.value)
