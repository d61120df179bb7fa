"""What there is: the Spaces as the API server has them, in a few lists for all of them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from tests.siege.acts import RECORDS
from tests.siege.model import Json, Key, Sight
from tests.support.api import Api

_PATHS: Final = {
    "Namespace": "/api/v1/namespaces",
    "Pod": "/api/v1/pods",
    "PersistentVolumeClaim": "/api/v1/persistentvolumeclaims",
    "Deployment": "/apis/apps/v1/deployments",
    "StatefulSet": "/apis/apps/v1/statefulsets",
    "SleepRecord": RECORDS,
}


async def look(api: Api) -> Mapping[str, Sight]:
    """Every namespace, by name."""
    async with asyncio.TaskGroup() as group:
        lists = {kind: group.create_task(api.items(path)) for kind, path in _PATHS.items()}
    found = {kind: task.result() for kind, task in lists.items()}
    workloads: defaultdict[str, dict[Key, Json]] = defaultdict(dict)
    for kind in ("Deployment", "StatefulSet"):
        for live in found[kind]:
            live["kind"] = kind
            workloads[live["metadata"]["namespace"]][kind, live["metadata"]["name"]] = live
    pods: defaultdict[str, list[Json]] = defaultdict(list)
    for pod in found["Pod"]:
        pods[pod["metadata"]["namespace"]].append(pod)
    claims: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for claim in found["PersistentVolumeClaim"]:
        meta = claim["metadata"]
        if "deletionTimestamp" not in meta:
            claims[meta["namespace"]][meta["name"]] = meta["uid"]
    records: defaultdict[str, list[Json]] = defaultdict(list)
    for record in found["SleepRecord"]:
        records[record["spec"]["spaceUID"]].append(record)
    return {
        space["metadata"]["name"]: Sight(
            namespace=space,
            workloads=workloads[space["metadata"]["name"]],
            pods=pods[space["metadata"]["name"]],
            claims=claims[space["metadata"]["name"]],
            records=records[space["metadata"]["uid"]],
        )
        for space in found["Namespace"]
    }
