"""What owners wrote is read once for each version, and forgotten with what it stood on."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sleeper.control import readings as readings_module
from sleeper.control.readings import Readings
from sleeper.core.objects import KubeObject, SpaceObjects
from sleeper.core.policy import PolicyDefaults, PolicyNote, read_policy
from sleeper.core.workload_warnings import warnings_on


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Objects and namespaces whose annotations are read, as they are."""
    seen: list[str] = []

    def read(*args: Any, **options: Any) -> Any:
        seen.append("namespace")
        return read_policy(*args, **options)

    def look(obj: KubeObject) -> tuple[PolicyNote, ...]:
        seen.append(obj.metadata.name)
        return warnings_on(obj)

    monkeypatch.setattr(readings_module, "read_policy", read)
    monkeypatch.setattr(readings_module, "warnings_on", look)
    return seen


def objects(version: str, **web: str) -> SpaceObjects:
    written = {f"sleeper.dev/{key}": value for key, value in web.items()}
    crowd = {f"example.com/{number}": "" for number in range(500)}
    return msgspec.convert(
        {
            "namespace": {"metadata": {"name": "shop", "uid": "u", "resourceVersion": version}},
            "deployments": [
                {
                    "metadata": {
                        "name": "web",
                        "uid": "w",
                        "resourceVersion": version,
                        "annotations": {**crowd, **written},
                    }
                }
            ],
        },
        SpaceObjects,
    )


@pytest.mark.fault(15)
def test_annotations_are_read_once_for_each_version(looks: list[str]) -> None:
    readings = Readings(PolicyDefaults())
    for _ in range(3):
        for has_routes in (False, True):
            readings.policy(objects("1").namespace, has_routes=has_routes)
        (note,) = readings.on_workloads(objects("1", excluded="true"))
        assert note.on == "Deployment/web"
    assert looks == ["namespace", "namespace", "web"]
    looks.clear()
    readings.policy(objects("2").namespace, has_routes=True)
    assert readings.on_workloads(objects("2")) == ()
    assert readings.on_workloads(objects("2")) == ()
    assert looks == ["namespace", "web"], "nothing to say is remembered too"


def test_what_has_no_version_is_read_every_time(looks: list[str]) -> None:
    readings = Readings(PolicyDefaults())
    for key in ("excluded", "exclude"):
        readings.policy(objects("").namespace, has_routes=True)
        assert bool(readings.on_workloads(objects("", **{key: "true"}))) == (key == "excluded")
    assert looks == ["namespace", "web"] * 2


def test_a_space_that_is_gone_is_forgotten() -> None:
    readings = Readings(PolicyDefaults())
    readings.policy(objects("1").namespace, has_routes=True)
    readings.on_workloads(objects("1", excluded="true"))
    readings.forget("shop")
    assert (readings._policies, readings._warnings) == ({}, {})
