"""Deployments: replicas go to 0; any annotation already moves ``metadata.generation``."""

from __future__ import annotations

from typing import Final

from sleeper.core.jsonpatch import JsonObject, resolve
from sleeper.core.workloads.base import WorkloadKind, pods_are_up, replicas_switch


def _held_back(live: JsonObject) -> str | None:
    return "its roll-outs are paused" if resolve(live, "/spec/paused") is True else None


DEPLOYMENT: Final = WorkloadKind(
    kind="Deployment",
    group_version="apps/v1",
    plural="deployments",
    replicas=replicas_switch(),
    select=lambda objects: objects.deployments,
    ready=pods_are_up,
    held_back=_held_back,
)
