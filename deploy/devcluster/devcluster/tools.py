"""The programs that are compiled, in groups that share a ``go.mod``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from devcluster.site import DEVCLUSTER

_TOOLS: Final = DEVCLUSTER / "tools"
_KEY_LENGTH: Final = 16
_KUBERNETES_VERSION: Final = ("1", "36", "v1.36.3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Programs of one dependency graph.

    Attributes:
        packages: program name to Go package.
        variables: link-time strings; without them the programs do not know their version.
        tags: build tags.
        disk_mib: an estimate of what compiling from nothing takes in modules, build cache and
            programs. Measured were the sums over all groups (2 + 4 GiB, and programs of 650 MiB);
            each has a share by its size.
    """

    name: str
    packages: Mapping[str, str]
    variables: Mapping[str, str]
    tags: tuple[str, ...] = ()
    disk_mib: int

    @property
    def directory(self) -> Path:
        """Where the group's ``go.mod`` and ``go.sum`` are."""
        return _TOOLS / self.name

    def arguments(self, output: Path) -> list[str]:
        """Arguments of ``go`` that compile the programs into the directory ``output``."""
        strings = [f"-X {name}={value}" for name, value in self.variables.items()]
        # A directory takes each program by the last part of its package; a lone one gets its name.
        target = output / next(iter(self.packages)) if len(self.packages) == 1 else f"{output}/"
        return [
            "build",
            "-v",
            "-trimpath",
            "-mod=readonly",
            "-buildvcs=false",
            *([f"-tags={','.join(self.tags)}"] if self.tags else []),
            f"-ldflags={' '.join(['-s', '-w', *strings])}",
            "-o",
            str(target),
            *self.packages.values(),
        ]

    def key(self, go_version: str) -> str:
        """Names exactly what would be built: another pin, flag or compiler is another key."""
        digest = hashlib.sha256()
        for part in (
            (self.directory / "go.mod").read_bytes(),
            (self.directory / "go.sum").read_bytes(),
            " ".join(self.arguments(Path())).encode(),
            go_version.encode(),
        ):
            digest.update(hashlib.sha256(part).digest())
        return digest.hexdigest()[:_KEY_LENGTH]


def _kubernetes_version() -> dict[str, str]:
    major, minor, version = _KUBERNETES_VERSION
    return {
        f"{package}.{name}": value
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
        for name, value in {
            "gitVersion": version,
            "gitMajor": major,
            "gitMinor": minor,
        }.items()
    }


GROUPS: Final = (
    Group(
        name="etcd",
        packages={"etcd": "go.etcd.io/etcd/server/v3"},
        variables={},
        disk_mib=700,
    ),
    Group(
        name="kubernetes",
        packages={
            name: f"k8s.io/kubernetes/cmd/{name}"
            for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
        },
        variables=_kubernetes_version(),
        disk_mib=2500,
    ),
    Group(
        name="kwok",
        packages={"kwok": "sigs.k8s.io/kwok/cmd/kwok"},
        variables={"sigs.k8s.io/kwok/pkg/consts.Version": "v0.8.0"},
        disk_mib=700,
    ),
    Group(
        name="prometheus",
        packages={"prometheus": "github.com/prometheus/prometheus/cmd/prometheus"},
        variables={"github.com/prometheus/common/version.Version": "3.15.0"},
        tags=("remove_all_sd", "enable_kubernetes_sd"),
        disk_mib=1200,
    ),
    Group(
        name="traefik",
        packages={"traefik": "github.com/traefik/traefik/v3/cmd/traefik"},
        variables={},
        disk_mib=2200,
    ),
)
