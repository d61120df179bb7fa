"""The outcomes of looking at one live object: what to do next with it.

Sleep and wake are level-based: an object is read, :func:`sleeper.core.plan.sleep_step` or
:func:`sleeper.core.restore.wake_step` says the next step, and after the step the object is read
again. Nothing has to be remembered between two steps, so a kill between any two converges.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sleeper.core.jsonpatch import JsonOp
from sleeper.core.record import Entry


class PatchPurpose(StrEnum):
    """What a patch is for; a metric label and log key."""

    SLEEP = "sleep"  # the change together with its inverse
    FENCE = "fence"  # a new generation, so that a late sleep patch fails
    RESTORE = "restore"  # the original values
    RELEASE = "release"  # the restore annotation and our ownership
    ADOPT = "adopt"  # a copied restore annotation becomes the object's own
    DISOWN = "disown"  # our ownership alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """Send this patch. It begins with its preconditions.

    Attributes:
        purpose: what it is for.
        ops: preconditions and operations.
        kept: sentences on what it leaves at its sleeping value, because that is its owner's word.
    """

    purpose: PatchPurpose
    ops: tuple[JsonOp, ...]
    kept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Amend:
    """Change the record's entry first, then look again.

    An entry without fields stands for an object that its owner stopped meanwhile; it stays in
    the record and is left alone.
    """

    entry: Entry


@dataclass(frozen=True, slots=True)
class Settled:
    """Nothing is left to do."""


class WhyLeft(StrEnum):
    """Why an object is left as it is."""

    GONE = "Gone"  # deleted by its owner
    REPLACED = "Replaced"  # deleted and created again by its owner
    OWNER_CHANGED = "OwnerChanged"  # the owner scaled it while it was asleep
    EXCLUDED = "Excluded"  # its owner excluded it before its turn came
    BUSY = "Busy"  # between two revisions, or its owner holds roll-outs back
    OTHER_EPOCH = "OtherEpoch"  # it carries a note of another sleep
    DENIED = "Denied"  # a write was refused
    UNSETTLED = "Unsettled"  # it kept changing, or the server kept failing
    STOPPED = "Stopped"  # the flight ended before it was done


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """The object is left as it is."""

    why: WhyLeft
    message: str


Step = Patch | Amend | Settled | Left
