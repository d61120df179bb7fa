"""What a Pod's spec says of data, as it stands on the wire.

It is worked out while a Pod is decoded (:class:`sleeper.core.objects.PodSpec`) and then dropped:
there are many Pods, each is looked at often, and mounts, environments and command lines are long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec

from billing.core import pods as metered


class Fate(StrEnum):
    """What becomes of a volume's content when its Pod goes."""

    STAYS = "stays"
    NODE = "stays on its node"
    EMPTY_DIR = "emptyDir"
    GOES = "goes with the Pod"


_CONFIGURATION: Final = frozenset({"configMap", "secret", "projected", "downwardAPI", "image"})
"""Kinds of volumes that hold nothing of the application's own."""

_STAYING: Final = frozenset(
    {
        "awsElasticBlockStore",
        "azureDisk",
        "azureFile",
        "cephfs",
        "cinder",
        "fc",
        "flexVolume",
        "flocker",
        "gcePersistentDisk",
        "glusterfs",
        "iscsi",
        "nfs",
        "persistentVolumeClaim",
        "photonPersistentDisk",
        "portworxVolume",
        "quobyte",
        "rbd",
        "scaleIO",
        "storageos",
        "vsphereVolume",
    }
)
"""Kinds that outlive their Pod. Not ``csi`` and ``ephemeral``: inside a Pod those end with it."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume that may hold data."""

    name: str
    fate: Fate


class VolumeMount(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where a container sees a volume."""

    name: str = ""
    mount_path: str = ""


class EnvVar(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An environment variable; without a value here it comes from somewhere else."""

    name: str = ""
    value: str | None = None


class Container(metered.Container, frozen=True, kw_only=True, rename="camel"):
    """A container."""

    image: str = ""
    command: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    env: tuple[EnvVar, ...] | None = None
    volume_mounts: tuple[VolumeMount, ...] | None = None


WIRE_FIELDS: Final = ("image", "command", "args", "env", "volume_mounts")
"""Fields of a container that are not kept."""


def read_volume(wire: Mapping[str, Any]) -> Volume | None:
    """A volume as it stands on the wire; None: it can hold no data of the application's own.

    One of a kind that is not known goes with the Pod.
    """
    kind = next((key for key in wire if key != "name"), "emptyDir")  # the API server's default
    if kind in _CONFIGURATION:
        return None
    fates = {"hostPath": Fate.NODE, "emptyDir": Fate.EMPTY_DIR}
    fate = Fate.STAYS if kind in _STAYING else fates.get(kind, Fate.GOES)
    return Volume(str(wire.get("name", "")), fate)
