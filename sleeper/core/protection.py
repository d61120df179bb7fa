"""Namespaces that are never slept, whatever is written on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SYSTEM_PREFIX: Final = "kube-"
ANY_ENDING: Final = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """Who is protected: the cluster's own namespaces, ours, and what waking depends on.

    Attributes:
        own_namespace: the one that we run in and keep our records in.
        listed: from the configuration; a ``*`` at the end stands for any ending.
    """

    own_namespace: str
    listed: tuple[str, ...] = ()

    def because(self, name: str) -> str | None:
        """Why the namespace never sleeps, as half a sentence; None if it may."""
        if name.startswith(SYSTEM_PREFIX):
            return f"{SYSTEM_PREFIX}* belongs to the cluster itself"
        if name == self.own_namespace:
            return "sleeper itself lives in it"
        for entry in self.listed:
            if name == entry or (
                entry.endswith(ANY_ENDING) and name.startswith(entry.removesuffix(ANY_ENDING))
            ):
                return f"`protected_namespaces` lists {entry}"
        return None
