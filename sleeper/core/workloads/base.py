"""What a kind of workload has to say about itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from sleeper.core.jsonpatch import ABSENT, JsonObject, resolve
from sleeper.core.objects import KubeObject, SpaceObjects
from sleeper.core.record import FieldValue

MAX_BELIEVED_REPLICAS: Final = 1000
"""Most replicas that a restore annotation alone may ask for.

A tenant can forge the annotation, and a number is all that a forger could gain. A thousand Pods
are more than one workload of a Space that was idle has, and fewer than hurt a cluster; the
record, which no tenant can write, may exceed it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """One field that sleep turns and waking turns back.

    Attributes:
        pointer: JSON pointer of the field.
        asleep: value while asleep, from the original value.
        turns: whether sleep has to change this original value at all.
        plausible: whether a value found in a record or annotation may be written back;
            its second argument is the recorded value, None without a record.
        cautious: its sleeping value is the safe one, its original may destroy data: waking turns
            it back only where surely nobody but us has written the object since.
    """

    pointer: str
    asleep: Callable[[FieldValue], FieldValue]
    turns: Callable[[FieldValue], bool]
    plausible: Callable[[FieldValue, FieldValue], bool]
    cautious: bool = False

    def read(self, live: JsonObject) -> FieldValue:
        """The field's value in ``live``; None where it is absent."""
        found: Any = resolve(live, self.pointer)
        return None if found is ABSENT else found


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadKind:
    """One kind.

    Attributes:
        kind: ``kind`` of the object.
        group_version: ``apps/v1``.
        plural: resource name in paths.
        replicas: the switch that stops the Pods.
        guards: further switches, turned in the same patch, only together with ``replicas``.
        fence: a field that can be moved by one and back without any effect beyond a new
            ``metadata.generation``; None where an annotation alone already gives one. It is how
            a wake makes a late sleep write fail that tests the generation.
        select: the objects of this kind in a Space.
        ready: whether the wanted Pods of a live object are up, or as many of them as the second
            argument says, and its controller has seen its present generation.
        held_back: how the owner keeps a roll-out of a live object from going its way by itself, as
            half a sentence; None: they do not.
    """

    kind: str
    group_version: str
    plural: str
    replicas: Switch
    guards: tuple[Switch, ...] = ()
    fence: Switch | None = None
    select: Callable[[SpaceObjects], Iterable[KubeObject]]
    ready: Callable[[JsonObject, int | None], bool]
    held_back: Callable[[JsonObject], str | None]

    def path(self, namespace: str, name: str) -> str:
        """Absolute path of one object on the API server."""
        return f"/apis/{self.group_version}/namespaces/{namespace}/{self.plural}/{name}"

    def is_at_zero(self, live: JsonObject) -> bool:
        """Whether a live object wants no Pods."""
        return not self.replicas.turns(self.replicas.read(live))

    @property
    def switches(self) -> tuple[Switch, ...]:
        """Every field that may stand in a record or restore annotation of this kind."""
        return (self.replicas, *self.guards, *((self.fence,) if self.fence else ()))

    def busy(self, live: JsonObject) -> str | None:
        """Why stopping a live object now could bring back another one, as half a sentence.

        At zero no controller knows which Pods it had: one that is between two revisions comes
        back whole at the newer one, and so does one whose template changes while it is at zero,
        however its owner would have had that change held back.
        """
        if not wanted_replicas(live):
            return None
        return out_of_step(live) or self.held_back(live)

    def switch(self, pointer: str) -> Switch | None:
        """The switch of one field, or None: the field is none of our business."""
        return next((s for s in self.switches if s.pointer == pointer), None)


def is_count(value: FieldValue) -> TypeGuard[int]:
    """Whether a value is a whole number from 0 up; True and False are not numbers here."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def replicas_switch(pointer: str = "/spec/replicas") -> Switch:
    """The usual switch: a number of replicas (absent means 1) that goes to 0."""

    def plausible(value: FieldValue, recorded: FieldValue) -> bool:
        if value is None:
            return True
        if not is_count(value):
            return False
        most = recorded if isinstance(recorded, int) else 0
        return value <= max(most, MAX_BELIEVED_REPLICAS)

    return Switch(
        pointer=pointer,
        asleep=lambda _original: 0,
        turns=lambda original: original != 0,
        plausible=plausible,
    )


def number(live: JsonObject, path: str, default: int = 0) -> int:
    """A count in a live object; ``default`` where it is absent."""
    found = resolve(live, path)
    return found if isinstance(found, int) else default


def wanted_replicas(live: JsonObject) -> int:
    """``spec.replicas``; absent means 1, as the API server defaults it."""
    return number(live, "/spec/replicas", 1)


def ready_replicas(live: JsonObject) -> int:
    """``status.readyReplicas``."""
    return number(live, "/status/readyReplicas")


def is_observed(live: JsonObject) -> bool:
    """Whether the controller has seen the present generation."""
    return number(live, "/status/observedGeneration") >= number(live, "/metadata/generation")


def out_of_step(live: JsonObject) -> str | None:
    """How the Pods of a live object differ from what it asks for, by its controller's word."""
    if not is_observed(live):
        return "its controller has not seen its last change yet"
    wanted, present = wanted_replicas(live), number(live, "/status/replicas")
    updated = number(live, "/status/updatedReplicas")
    if updated != present:
        return f"{updated} of {present} Pods are at its newest revision"
    return None if present == wanted else f"it is scaling from {present} to {wanted}"


def pods_are_up(live: JsonObject, enough: int | None = None) -> bool:
    """``status.readyReplicas`` has reached ``spec.replicas`` of the present generation.

    Args:
        live: the object.
        enough: a smaller number that will do: so many were Ready before.
    """
    wanted = wanted_replicas(live)
    return is_observed(live) and ready_replicas(live) >= min(
        wanted, wanted if enough is None else enough
    )
