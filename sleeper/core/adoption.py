"""Workloads that another tool has put to zero, by the marks those tools leave on the object.

Such a workload is left alone: its original size is in the other tool's keeping, and recording the
zero as ours would make it permanent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sleeper.core.objects import KubeObject

MARKS: Final[Mapping[str, str]] = {
    "loft.sh/sleep-mode-replicas": "loft",
    "loft.sh/paused-replicas": "vCluster",
    "downscaler/original-replicas": "kube-downscaler",
    "idling.amazee.io/unidle-replicas": "Aergia",
    "rekuberate.io/replicas": "sleepcycles",
    "hibernator.devtron.ai/replicas": "winter-soldier",
    "kubesnooze.io/original-replicas": "KubeSnooze",
    "kube-ns-suspender/originalReplicas": "kube-ns-suspender",
    "sleepmode.kubefree.com/legacy-replicas": "kubefree",
    "dependency-watchdog.gardener.cloud/replicas": "Gardener's dependency-watchdog",
}
"""Annotation in which a tool keeps a workload's original replicas → the tool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """Another tool's mark on an object: the annotation and whose it is."""

    key: str
    tool: str


def marker(obj: KubeObject) -> Marker | None:
    """The mark of another tool on ``obj``, or None."""
    for key in obj.metadata.annotations or ():
        if key in MARKS:
            return Marker(key=key, tool=MARKS[key])
    return None
