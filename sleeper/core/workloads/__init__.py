"""The kinds of workload that sleeper can put to sleep, one small module each.

To add a kind: write its module (which fields sleep turns, when it is ready again) and list it in
:data:`KINDS`. Plan, restore, flights and break-glass read this table and know no kind by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sleeper.core.workloads.base import Switch, WorkloadKind
from sleeper.core.workloads.deployment import DEPLOYMENT
from sleeper.core.workloads.stateful_set import STATEFUL_SET

KINDS: Final[Mapping[str, WorkloadKind]] = {kind.kind: kind for kind in (DEPLOYMENT, STATEFUL_SET)}

__all__ = ["KINDS", "Switch", "WorkloadKind"]
