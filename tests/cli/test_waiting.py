"""What ``wake --wait`` says while it waits."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import msgspec
import pytest

from sleeper.cli import power
from sleeper.cli.exits import CommandError
from sleeper.core import names
from sleeper.core.objects import Namespace
from sleeper.core.power import PowerState
from sleeper.kube.client import KubeClient


async def no_sign(_client: Any) -> None:
    """Nothing is known of a daemon."""


async def test_what_stays_at_zero_is_said_once_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks: list[str] = []

    async def get_space(_client: Any, name: str) -> Namespace:
        looks.append(name)
        annotations = {names.POWER_STATE: "Awake", names.REASON: "KeepAwake"}
        return msgspec.convert(
            {"metadata": {"name": name, "uid": name, "annotations": annotations}}, Namespace
        )

    async def at_zero_by_us(_client: Any, _name: str) -> tuple[str, ...]:
        return ("Deployment/web",)

    monkeypatch.setattr(power, "get_space", get_space)
    monkeypatch.setattr(power, "at_zero_by_us", at_zero_by_us)
    monkeypatch.setattr(power, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(power, "daemon_sign", no_sign)
    wait = power._Wait(states=frozenset({PowerState.AWAKE}), timeout=timedelta(seconds=0.3))
    with pytest.raises(CommandError, match="still at zero: Deployment/web"):
        await power._wait_for(cast("KubeClient", None), ["team-a"], wait)
    assert capsys.readouterr().out == "team-a: awake, but still at zero: Deployment/web\n"
    assert len(looks) > 1
