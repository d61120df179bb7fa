"""Answers about Spaces for the read API: decided anew for whoever asks, nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from metrics.core.clock import Clock
from sleeper.control.assess import Assessment, Assessor
from sleeper.core import names
from sleeper.core.explain import EffectiveSetting, Explanation, effective, explain, short
from sleeper.core.objects import Namespace
from sleeper.core.space import no_space_because, tenant_of
from sleeper.errors import NotReadyError


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceOverview:
    """One line about a Space.

    Attributes:
        space: its name.
        tenant: who pays.
        power_state: Awake, Drowsy, FallingAsleep, Asleep or Waking.
        verdict: what would be done now, and ``reason`` and ``message`` why.
        uid: of its namespace.
        sleep_after, awake_hours: what holds of its policy.
        last_activity: last proof of use; None: none is known.
        next_transition: when it would sleep or wake if nothing happens; None: not foreseeable.
    """

    space: str
    tenant: str
    power_state: str
    verdict: str
    reason: str
    message: str
    last_activity: datetime | None
    next_transition: datetime | None
    uid: str
    sleep_after: EffectiveSetting
    awake_hours: EffectiveSetting


class Namespaces(Protocol):
    """Who knows all namespaces."""

    def namespaces(self) -> Iterable[Namespace]:
        """All of them."""
        ...


class Inquiry:
    """Implements :class:`sleeper.api.read.SpaceReader`.

    Args:
        assessor: who decides.
        namespaces: the inventory.
        unknown: what a decision must know and nobody knows yet, as a sentence; None: all of it.
            Before the sleep records are known, a Space that sleeps looks like one that does not.
        clock: our clock.
    """

    def __init__(
        self,
        assessor: Assessor,
        namespaces: Namespaces,
        *,
        unknown: Callable[[], str | None],
        clock: Clock,
    ) -> None:
        self._assessor = assessor
        self._namespaces = namespaces
        self._unknown = unknown
        self._clock = clock

    def overview(self) -> Sequence[SpaceOverview]:
        """Every Space, by name.

        Raises:
            NotReadyError: it is not known yet what sleeps.
        """
        self._check()
        now = self._clock.now()
        found = (
            self._assessor.assess(namespace.metadata.name, now)
            for namespace in self._namespaces.namespaces()
            if tenant_of(namespace) is not None
        )
        return sorted((_line(seen) for seen in found if seen is not None), key=lambda o: o.space)

    def explanation(self, name: str) -> Explanation | None:
        """Why the Space is as it is; None: no Space of that name.

        Raises:
            NotReadyError: it is not known yet what sleeps.
        """
        self._check()
        now = self._clock.now()
        seen = self._assessor.assess(name, now)
        if seen is None:
            return None
        return explain(seen.snapshot, seen.reading, seen.verdict, now)

    def missing(self, name: str) -> str:
        """Why there is no explanation of ``name``, as a sentence."""
        namespace = self._assessor.namespace(name)
        because = None if namespace is None else no_space_because(namespace)
        return (
            f"there is no Space named {name!r}"
            if because is None
            else f"{name} is no Space: {because}"
        )

    def _check(self) -> None:
        if (unknown := self._unknown()) is not None:
            raise NotReadyError(f"nothing can be said of Spaces yet: {unknown}")


def _line(seen: Assessment) -> SpaceOverview:
    verdict, snapshot = seen.verdict, seen.snapshot
    held = {one.key: one for one in effective(seen.reading, verdict.reason)}
    return SpaceOverview(
        space=snapshot.space.name,
        tenant=snapshot.space.tenant,
        power_state=seen.power.value,
        verdict=verdict.kind.value,
        reason=verdict.reason.value,
        message=verdict.message,
        last_activity=None if snapshot.last_activity is None else snapshot.last_activity.at,
        next_transition=verdict.next_transition,
        uid=snapshot.space.uid,
        sleep_after=held[short(names.SLEEP_AFTER)],
        awake_hours=held[short(names.AWAKE_HOURS)],
    )
