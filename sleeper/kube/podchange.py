"""News about one Pod."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sleeper.core.objects import Pod


@dataclass(frozen=True, slots=True, kw_only=True)
class PodChange:
    """One change of one Pod (of one uid), as the watch or a new list told it.

    Attributes:
        old: what it was, or its last known state where it is gone; None for a new one.
        new: what it is; None once it is gone.
        at: when the news arrived.
        relisted: the watch had lost its place and this was found by listing again, so it
            happened at some time since ``seen_until``.
        seen_until: last proof of life of the Pod watch before this news; None on the first list.
    """

    old: Pod | None
    new: Pod | None
    at: datetime
    relisted: bool = False
    seen_until: datetime | None = None
