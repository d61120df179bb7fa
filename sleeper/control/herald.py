"""Tells the owner of a Space what is about to happen and what could not be understood.

By annotations on the namespace and by Events; both are best effort, except notice: sleep waits
until the notice has surely been written.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final, Protocol, TypeVar

import structlog

from metrics.instruments import Recorder
from sleeper.control.assess import Assessment
from sleeper.control.status import NamespacePatcher, wanted_annotations, write_annotations
from sleeper.core import names
from sleeper.core.hazards import emptied
from sleeper.core.objects import Namespace, SpaceObjects
from sleeper.core.policy import PolicyNote
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.restore import forged_notes
from sleeper.core.snapshot import Hazard
from sleeper.core.space import misnamed
from sleeper.core.text import LONGEST_SHOWN
from sleeper.core.verdict import Verdict
from sleeper.core.workload_warnings import MOST_OBJECTS
from sleeper.kube.errors import Conflict, KubeError

log = structlog.get_logger(__name__)

_KEYS: Final = frozenset((names.LABEL_TENANT, *(spec.key for spec in names.ANNOTATIONS)))
MOST_WRITES: Final = 16
"""Annotations are written for so many Spaces at a time; the others wait before their deadline runs.

All at once they would time out together in front of the connections, and again with every retry.
"""

_UNKNOWN_KEY: Final = "unknown"
"""Label of every key that is not ours: owners can invent keys without end, metrics must not."""


_MOST_TOLD: Final = 16_384
"""Spaces of which it is remembered what they were told; those told longest ago are told again."""

T = TypeVar("T")


class Events(Protocol):
    """Who records Events."""

    async def record(
        self,
        *,
        regarding: Namespace,
        reason: str,
        note: str,
        action: str,
        type: str = "Normal",  # noqa: A002 Kubernetes calls it so
    ) -> None:
        """Record one Event; never raises for what the API server says."""
        ...


class Herald:
    """Writes annotations and Events for the verdict loop."""

    def __init__(self, *, client: NamespacePatcher, events: Events, recorder: Recorder) -> None:
        self._client = client
        self._events = events
        self._recorder = recorder
        self._turns = asyncio.Semaphore(MOST_WRITES)
        self._warned: _Told[frozenset[PolicyNote]] = _Told()
        self._fights: _Told[str] = _Told()
        self._copies: _Told[str] = _Told()

    async def give_notice(self, assessment: Assessment) -> bool:
        """Write Drowsy and the Event; True once the annotation has surely been written."""
        verdict = assessment.verdict
        namespace = assessment.objects.namespace
        changes = wanted_annotations(
            namespace=namespace,
            power=PowerState.DROWSY,
            verdict=verdict,
            last_activity=assessment.snapshot.last_activity,
        )
        if not await self._write_beside(namespace, changes):
            return False
        said = (
            verdict.message.removesuffix("."),  # which says when it sleeps
            emptied(assessment.snapshot.hazards),
        )
        await self._events.record(
            regarding=namespace,
            reason=Reason.IDLE_NOTICE.value,
            note="; ".join(filter(None, said)),
            action="Notice",
        )
        return True

    async def release(self, assessment: Assessment) -> None:
        """Turn ``desired: asleep`` back to ``auto``; asked again until the watch shows it."""
        name = assessment.objects.namespace.metadata.name
        await self._write(name, {names.DESIRED: None})

    async def publish(self, assessment: Assessment) -> None:
        """Bring annotations up to date; warn once of each thing that cannot be read, or fight."""
        namespace = assessment.objects.namespace
        changes = wanted_annotations(
            namespace=namespace,
            power=assessment.power,
            verdict=assessment.verdict,
            last_activity=assessment.snapshot.last_activity,
        )
        await self._write_beside(namespace, changes)
        await self._warn(namespace, assessment)
        await self._warn_of_fight(namespace, assessment.verdict)
        await self._warn_of_copies(namespace, assessment.snapshot.hazards)

    async def _warn_of_copies(self, namespace: Namespace, hazards: Iterable[Hazard]) -> None:
        """Tell once of workloads that were restored or copied while they slept: one Event."""
        uid = namespace.metadata.uid
        found = [h for h in hazards if h.reason is Reason.RESTORED_WHILE_ASLEEP]
        if not found:
            self._copies.pop(uid, None)
            return
        note = found[0].message
        if len(found) > 1:
            note += f"; {len(found) - 1} more were, too"
        if self._copies.get(uid) == note:
            return
        self._copies.keep(uid, note)
        log.warning("restored_while_asleep", space=namespace.metadata.name, detail=note)
        await self._events.record(
            regarding=namespace,
            reason=Reason.RESTORED_WHILE_ASLEEP.value,
            note=note,
            action="WakeUp",
            type="Warning",
        )

    async def _warn_of_fight(self, namespace: Namespace, verdict: Verdict) -> None:
        uid = namespace.metadata.uid
        if verdict.reason is not Reason.CONFLICTING_WRITER:
            self._fights.pop(uid, None)
        elif self._fights.get(uid) != verdict.message:
            self._fights.keep(uid, verdict.message)
            log.warning("fight", space=namespace.metadata.name, detail=verdict.message)
            await self._events.record(
                regarding=namespace,
                reason=Reason.CONFLICTING_WRITER.value,
                note=verdict.message,
                action="Sleep",
                type="Warning",
            )

    async def warn_of_label(self, namespace: Namespace) -> None:
        """Warn once of a tenant label that makes no Space; it was meant to."""
        note = misnamed(namespace)
        notes = frozenset(() if note is None else (note,))
        await self._warn_of(namespace, notes, Reason.NOT_A_SPACE)

    async def _warn(self, namespace: Namespace, assessment: Assessment) -> None:
        reading = assessment.reading
        forged = _forged(assessment.objects)
        notes = frozenset((*reading.problems, *reading.warnings, *forged))
        await self._warn_of(namespace, notes, Reason.POLICY_INVALID)

    async def _warn_of(
        self, namespace: Namespace, notes: frozenset[PolicyNote], reason: Reason
    ) -> None:
        uid = namespace.metadata.uid
        before = self._warned.get(uid, frozenset())
        if notes:
            self._warned.keep(uid, notes)
        else:
            self._warned.pop(uid, None)
        fresh = sorted(notes - before, key=lambda note: (note.on, str(note)))
        for _, group in groupby(fresh, key=lambda note: note.on):  # one line and Event an object
            about = tuple(group)
            ignored = all(note.ignored for note in about)
            for note in about:
                self._recorder.policy_problem(note.key if note.key in _KEYS else _UNKNOWN_KEY)
            told = "; ".join(map(str, about))
            log.warning("annotation_unreadable", space=namespace.metadata.name, detail=told)
            await self._events.record(
                regarding=namespace,
                reason=(Reason.ANNOTATION_IGNORED if ignored else reason).value,
                note=told,
                action="ReadPolicy",
                type="Warning",
            )

    async def _write_beside(self, seen: Namespace, changes: dict[str, str | None]) -> bool:
        """Write beside the state that was seen only.

        A sleep may have begun since: "Awake" next to its epoch would tell whoever goes on with it
        that it is over.
        """
        meta = seen.metadata
        return await self._write(meta.name, changes, only_at=meta.resource_version)

    async def _write(
        self, name: str, changes: dict[str, str | None], *, only_at: str | None = None
    ) -> bool:
        if not changes:
            return True
        try:
            async with self._turns:
                await write_annotations(self._client, name, changes, only_at=only_at)
        except Conflict:
            return False  # the change that it met brings the next verdict, and this again
        except KubeError as error:
            log.warning("annotations_not_written", space=name, error=str(error))
            return False
        return True


class _Told(OrderedDict[str, T]):
    """What Spaces were told, by uid; a Space that is gone is forgotten in time."""

    def keep(self, uid: str, what: T) -> None:
        self[uid] = what
        self.move_to_end(uid)
        if len(self) > _MOST_TOLD:
            self.popitem(last=False)


def _forged(objects: SpaceObjects) -> Iterator[PolicyNote]:
    """Restore annotations that are not believed; nothing of them is ever applied."""
    forged = forged_notes(objects)
    for number, (ref, doubt) in enumerate(forged[:MOST_OBJECTS], start=1):
        name = f"{ref.kind}/{ref.name}"
        advice = f"on {name} is not believed: {doubt.why}"
        if number == MOST_OBJECTS < len(forged):
            advice += f"; {len(forged) - number} more objects carry one that is not"
        yield PolicyNote(
            key=names.RESTORE, value=doubt.raw[: LONGEST_SHOWN + 1], advice=advice, on=name
        )
