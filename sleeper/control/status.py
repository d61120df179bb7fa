"""What the owner of a Space can see: our annotations on the namespace, and Events.

Annotations are written when state or reason changes; while nothing but ``last-activity`` moves, at
most every five minutes. A write that fails is tried again with the next verdict: it is never worth
holding up a wake.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol

from metrics.core.instants import in_utc, parse
from metrics.core.signals import Activity
from sleeper.core import names
from sleeper.core.objects import Namespace
from sleeper.core.power import PowerState
from sleeper.core.verdict import Verdict

ACTIVITY_EVERY = timedelta(minutes=5)
TRANSITION_SLACK = timedelta(minutes=1)


class NamespacePatcher(Protocol):
    """The one call that this module needs of the Kubernetes client."""

    async def merge_patch(self, path: str, body: object) -> bytes:
        """Merge-patch the object at ``path``."""
        ...


def rfc3339(at: datetime) -> str:
    """Whole seconds in UTC with a ``Z``, as Kubernetes writes instants."""
    return in_utc(at).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def activity_info(activity: Activity) -> str:
    """The JSON of ``last-activity-info``: classes and resources, never a user's name."""
    return json.dumps(
        {
            "who": activity.actor.value,
            "verb": activity.verb,
            "resource": activity.resource,
            "source": f"{activity.signal.value}/{activity.source}",
        }
    )


def wanted_annotations(
    *,
    namespace: Namespace,
    power: PowerState,
    verdict: Verdict,
    last_activity: Activity | None,
) -> dict[str, str | None]:
    """The merge patch's annotations; empty if what stands there is good enough.

    While a Space falls asleep or wakes, its flight writes the state. What rests is kept right
    here: Awake, Drowsy, and Asleep should a late write have shown something else.
    """
    present = namespace.metadata.annotations or {}
    changes: dict[str, str | None] = {}

    def want(key: str, value: str | None) -> None:
        if present.get(key) != value:
            changes[key] = value

    if power in (PowerState.AWAKE, PowerState.DROWSY):
        want(names.POWER_STATE, power.value)
        want(names.REASON, verdict.reason.value)
        want(names.SLEEPING_SINCE, None)
    elif power is PowerState.ASLEEP:
        want(names.POWER_STATE, power.value)
    if _moved(present.get(names.NEXT_TRANSITION), verdict.next_transition):
        at = verdict.next_transition
        want(names.NEXT_TRANSITION, None if at is None else rfc3339(at))
    if verdict.cursor is not None:
        want(names.SCHEDULE_CURSOR, rfc3339(verdict.cursor))
    if last_activity is not None:
        shown = _parse(present.get(names.LAST_ACTIVITY))
        patience = timedelta(seconds=1) if changes else ACTIVITY_EVERY
        if shown is None or last_activity.at - shown >= patience:
            want(names.LAST_ACTIVITY, rfc3339(last_activity.at))
            want(names.LAST_ACTIVITY_INFO, activity_info(last_activity))
    return changes


async def write_annotations(
    client: NamespacePatcher,
    name: str,
    changes: Mapping[str, str | None],
    *,
    only_at: str | None = None,
) -> None:
    """Merge-patch annotations of a namespace; None removes one.

    Args:
        client: who writes.
        name: the namespace.
        changes: annotations by key.
        only_at: the ``resourceVersion`` at which the changes are true; at any other one the API
            server refuses them with a Conflict.

    Raises:
        KubeError: it could not be written.
    """
    metadata: dict[str, object] = {"annotations": dict(changes)}
    if only_at is not None:
        metadata["resourceVersion"] = only_at
    await client.merge_patch(f"/api/v1/namespaces/{name}", {"metadata": metadata})


def _parse(value: str | None) -> datetime | None:
    return None if value is None else parse(value)


def _moved(shown: str | None, wanted: datetime | None) -> bool:
    """Whether the shown instant differs from the wanted one by more than a reader would forgive."""
    at = _parse(shown)
    if at is None or wanted is None:
        return (shown is None) != (wanted is None) or (at is None and wanted is not None)
    return abs(at - wanted) > TRANSITION_SLACK
