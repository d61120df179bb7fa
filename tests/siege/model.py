"""What the owners of a Space last said, and what must therefore be true of it. Pure.

Written from the two promises and the safety rules alone, not from sleeper's plan: it imports
nothing of sleeper, so that it cannot share a mistake with it. An owner's act is told by what they
said and by the object before and after their write, which was conditional on the former; so there
is never a doubt about what a word met. Where nothing in the cluster tells an owner's word from
sleeper's own (a second zero by ``kubectl scale``), both outcomes are allowed, and counted.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Final

Json = dict[str, Any]
Key = tuple[str, str]
"""Kind and name."""

GROUP: Final = "sleeper.dev/"
RESTORE: Final = f"{GROUP}restore"
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
RETAIN: Final = "Retain"
DELETE: Final = "Delete"
NEVER_READY: Final = "24h"
LATE_SIGHT_SECONDS: Final = 15
"""A replica that was stalled may decide on what it saw so long ago."""
UNTOLD: Final = frozenset({None, "DesiredAsleep", "Idle", "IdleNotice", "Asleep"})
"""Reasons that say nothing of why a Space that is wanted asleep is awake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """What of a Pod template matters here.

    Attributes:
        image: the container's image.
        start_after: when the simulated Pods are Ready; :data:`NEVER_READY`: they never are.
    """

    image: str
    start_after: str

    @property
    def starts(self) -> bool:
        """Whether its Pods become Ready."""
        return self.start_after != NEVER_READY


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What an owner says in one write; None: they do not speak of it."""

    replicas: int | None = None
    when_scaled: str | None = None
    template: Template | None = None


class Serve(Enum):
    """Which Pods are to run."""

    CURRENT = "all of the template"
    HELD = "exactly so many of each image"
    STUCK = "at least so many Ready of what served"
    ANY = "some, of whatever image"
    UNASKED = "whatever there is"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pods:
    """Which Pods are to run.

    Attributes:
        serve: how that is told.
        images: how many of which, where they are held.
        least: how many Ready ones that are not of the template, where it is stuck.
    """

    serve: Serve = Serve.CURRENT
    images: Mapping[str, int] = field(default_factory=dict)
    least: int = 0


class Exclusion(Enum):
    """Since when a workload is excluded."""

    BEFORE = "while it ran and nothing was under way: no sleep touches it"
    ASLEEP = "while it slept: that wakes the Space"
    DURING = "while a flight was under way: it may run or sleep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """Something that is not as it has to be.

    Attributes:
        what: ``lost``, ``left``, ``stuck`` or ``told``.
        subject: the workload, or empty for the Space.
        message: one sentence.
    """

    what: str
    subject: str
    message: str

    def __str__(self) -> str:
        return f"{self.what}: {self.subject or 'the Space'}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One look at a Space."""

    namespace: Json
    workloads: Mapping[Key, Json]
    pods: Sequence[Json]
    claims: Mapping[str, str]
    records: Sequence[Json]

    @property
    def annotations(self) -> Mapping[str, str]:
        """Of the namespace."""
        found: Mapping[str, str] = self.namespace["metadata"].get("annotations", {})
        return found

    @property
    def is_space(self) -> bool:
        """Whether it carries the tenant label."""
        return f"{GROUP}tenant" in self.namespace["metadata"].get("labels", {})

    @property
    def power(self) -> str | None:
        """The power state that is shown."""
        return self.annotations.get(f"{GROUP}power-state")

    @property
    def phases(self) -> list[str]:
        """The phases of its sleep records."""
        return sorted(r.get("status", {}).get("phase", "none") for r in self.records)

    @property
    def awake(self) -> bool:
        """Settled and awake."""
        return not self.records and (self.power in {"Awake", "Drowsy"} or not self.is_space)

    @property
    def asleep(self) -> bool:
        """Settled and asleep."""
        return self.phases == ["Asleep"] and self.power == "Asleep"

    def pods_of(self, key: Key) -> list[Json]:
        """The Pods of a workload that are not on their way out."""
        return [
            pod
            for pod in self.pods
            if pod["metadata"].get("labels", {}).get("app") == key[1]
            and "deletionTimestamp" not in pod["metadata"]
        ]


@dataclass(slots=True, kw_only=True)
class Will:
    """What the owner of one workload wants it to be.

    Attributes:
        uid: of the object that there is now.
        replicas: how many; more than one value where nothing tells which.
        when_scaled: what becomes of the claims on scaling down; empty for a Deployment.
        template: the Pod template.
        rest: the spec without what has a rule of its own here.
        notes: the annotations of the object but for those of machines.
        history: ``revisionHistoryLimit``.
        recent: every number that was wanted since it was last seen awake.
        pods: which Pods are to run.
        excluded: whether it is to be left alone, since when.
        copied: it was created from a copy that carries sleeper's note: up only after a wake that
            somebody asked for.
        forged: restore annotations that a tenant has written.
        tampered: sleeper's annotation was changed or taken away by a tenant.
        retained_asleep: ``when_scaled`` was spoken of while it slept.
        steady: since it was last seen with all its Pods nobody changed which they are.
        quiet: ownership of fields when it was last seen awake; None: its owner has written since.
    """

    uid: str
    replicas: frozenset[int]
    when_scaled: frozenset[str] = frozenset()
    template: Template
    rest: Json
    notes: Mapping[str, str]
    history: int
    recent: frozenset[int] = frozenset()
    pods: Pods = field(default_factory=Pods)
    excluded: Exclusion | None = None
    copied: bool = False
    forged: frozenset[str] = frozenset()
    tampered: bool = False
    retained_asleep: bool = False
    steady: bool = False
    quiet: str | None = None

    @property
    def between(self) -> bool:
        """It holds Pods of more than one revision, or is not allowed to go on to the next."""
        return self.pods.serve in {Serve.HELD, Serve.STUCK}

    def copy(self, uid: str, *, copied: bool) -> Will:
        """The same will for an object made from a copy of this one."""
        pods = self.pods if self.pods.serve is Serve.CURRENT else Pods(serve=Serve.ANY)
        return Will(
            uid=uid,
            replicas=self.replicas,
            when_scaled=self.when_scaled,
            template=self.template,
            rest=self.rest,
            notes=self.notes,
            history=self.history,
            recent=self.recent | self.replicas,
            pods=pods,
            excluded=None if self.excluded is None else Exclusion.DURING,
            copied=copied,
            forged=self.forged,
            tampered=self.tampered,
        )


def _at_creation(live: Json) -> Pods:
    """Which Pods a new workload is to run; one that is created paused has no revision, so none."""
    if live["spec"].get("paused"):
        return Pods(serve=Serve.HELD)
    return Pods() if template_of(live).starts else Pods(serve=Serve.ANY)


def template_of(live: Json) -> Template:
    """The template of a live workload."""
    template = live["spec"]["template"]
    annotations = template["metadata"].get("annotations", {})
    return Template(
        image=template["spec"]["containers"][0]["image"],
        start_after=annotations["devcluster.sleeper.dev/start-after"],
    )


def replicas_of(live: Json) -> int:
    """What its spec wants."""
    return int(live["spec"].get("replicas", 1))


def when_scaled_of(live: Json) -> str:
    """What becomes of its claims when it is scaled down."""
    policy = live["spec"].get("persistentVolumeClaimRetentionPolicy", {})
    return str(policy.get("whenScaled", RETAIN))


def restore_of(live: Json) -> str | None:
    """The restore annotation."""
    found: str | None = live["metadata"].get("annotations", {}).get(RESTORE)
    return found


def is_copy(live: Json) -> bool:
    """Whether its restore annotation was written for another object."""
    raw = restore_of(live)
    try:
        note = json.loads(raw or "")
    except ValueError:
        return False
    return isinstance(note, dict) and note.get("uid") != live["metadata"]["uid"]


def rest_of(live: Json) -> Json:
    """The spec without replicas, template identity, ``whenScaled`` and the history limit."""
    plain: Json = json.loads(json.dumps(live["spec"]))
    plain.pop("replicas", None)
    plain.pop("revisionHistoryLimit", None)
    plain.get("persistentVolumeClaimRetentionPolicy", {}).pop("whenScaled", None)
    return plain


def notes_of(live: Json) -> dict[str, str]:
    """Annotations that people wrote."""
    return {
        key: value
        for key, value in live["metadata"].get("annotations", {}).items()
        if key not in {RESTORE, LAST_APPLIED} and not key.startswith("deployment.kubernetes.io/")
    }


def ownership_of(live: Json) -> str:
    """Who owns which field, without times and without what controllers report.

    Nor who forged or stripped the restore annotation: it is sleeper's to write and to take away.
    """
    entries = [
        {name: value for name, value in entry.items() if name != "time"}
        for entry in json.loads(json.dumps(live["metadata"].get("managedFields", ())))
        if entry.get("subresource") != "status" and entry["manager"] != "kube-controller-manager"
    ]
    for entry in entries:
        annotations = entry["fieldsV1"].get("f:metadata", {}).get("f:annotations", {})
        if annotations.pop(f"f:{RESTORE}", None) is not None and not annotations.keys() - {"."}:
            entry["fieldsV1"].pop("f:metadata")
    held = [entry for entry in entries if entry["fieldsV1"]]
    return json.dumps(sorted(held, key=json.dumps), sort_keys=True)


def is_ready(pod: Json) -> bool:
    """Whether a Pod is Ready."""
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in pod.get("status", {}).get("conditions", ())
    )


def leaves_a_trace(before: Json, after: Json, *path: str) -> bool:
    """Whether a write that left a field's value as it was can be told from no write at all.

    By the owner's last applied manifest, or by a manager who owns the field only since.
    """
    said, said_before = _applied(after, path), _applied(before, path)
    if said is not None and said != said_before:
        return True
    return bool(_owners(after, path) - _owners(before, path))


def _applied(live: Json, path: Sequence[str]) -> Any:
    raw = live["metadata"].get("annotations", {}).get(LAST_APPLIED)
    found: Any = json.loads(raw) if raw else {}
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _owners(live: Json, path: Sequence[str]) -> set[tuple[str, str, str]]:
    owners = set()
    for entry in live["metadata"].get("managedFields", ()):
        found: Any = entry.get("fieldsV1", {})
        for name in path:
            found = found.get(f"f:{name}") if isinstance(found, dict) else None
        if found is not None and entry["manager"] != "sleeper":
            owners.add((entry["manager"], entry["operation"], entry.get("subresource", "")))
    return owners


class SpaceModel:
    """The last will of the owners of one Space.

    Attributes:
        wills: by kind and name; what is not in it does not exist.
        wanted: ``asleep`` or ``awake``, as last asked for by command.
        holds: what keeps it awake by its owner's doing, and since when in epoch seconds.
        counts: outcomes that were allowed although more than one was.
    """

    def __init__(self) -> None:
        self.wills: dict[Key, Will] = {}
        self.wanted: str | None = None
        self.holds: dict[str, float] = {}
        self.counts: Counter[str] = Counter()
        self._claims: dict[str, str] = {}
        self._may_go: set[str] = set()
        self._wakes: tuple[float, str] | None = None
        """When something was done that wakes it, and what."""

    # -- what owners do --------------------------------------------------------------------------

    def created(self, live: Json) -> None:
        """A workload was created by its owner."""
        key = live["kind"], live["metadata"]["name"]
        stateful = live["kind"] == "StatefulSet"
        self.wills[key] = Will(
            uid=live["metadata"]["uid"],
            replicas=frozenset({replicas_of(live)}),
            when_scaled=frozenset({when_scaled_of(live)}) if stateful else frozenset(),
            template=template_of(live),
            rest=rest_of(live),
            notes=notes_of(live),
            history=live["spec"]["revisionHistoryLimit"],
            recent=frozenset({replicas_of(live)}),
            pods=_at_creation(live),
        )

    def deleted(self, key: Key) -> Will:
        """A workload was deleted by its owner."""
        return self.wills.pop(key)

    def copied(self, live: Json, will: Will) -> None:
        """A workload was created from a copy of one whose owner's will was ``will`` then."""
        key = live["kind"], live["metadata"]["name"]
        noted = restore_of(live) is not None
        made = will.copy(live["metadata"]["uid"], copied=noted)
        made.rest, made.notes = rest_of(live), notes_of(live)
        if live["spec"].get("paused"):  # made paused, it has no revision, so no Pods
            made.pods = Pods(serve=Serve.UNASKED)
        if not noted:
            made.replicas = frozenset({replicas_of(live)})
            made.when_scaled = frozenset({when_scaled_of(live)} if will.when_scaled else ())
        elif replicas_of(live):
            self._doubts(made)
        elif will.tampered:
            made.replicas |= {replicas_of(live)}
            made.when_scaled |= frozenset({when_scaled_of(live)} if will.when_scaled else ())
        self.wills[key] = made

    def wrote(
        self,
        key: Key,
        before: Json,
        after: Json,
        word: Word,
        *,
        at: float = 0,
        owed: bool = False,
    ) -> None:
        """An owner wrote.

        Args:
            key: which workload.
            before: what the write met.
            after: what it left.
            word: what it said.
            at: when, in epoch seconds.
            owed: a sleep that was complete is on record, and this workload not noted as back.
        """
        will = self.wills[key]
        template = will.template
        slept = replicas_of(before) == 0 and max(will.replicas) > 0
        will.rest, will.notes, will.quiet = rest_of(after), notes_of(after), None
        if word.when_scaled is not None:
            self._said_when_scaled(will, before, after, word.when_scaled, slept=slept)
        elif slept:
            self._doubts(will)
        self._said_pods(will, before, word, slept=slept)
        if word.replicas is not None:
            path = ("spec", "replicas")
            hidden = word.replicas == 0 and not (
                _owners(after, path) or leaves_a_trace(before, after, *path)
            )
            if hidden and (owed or restore_of(before) is not None):
                # ``kubectl scale`` to 0 leaves nobody who holds the field, as our sleep does.
                will.replicas |= will.recent | {0}
                self._doubts(will)
                self._release(key, will, 0)
            else:
                self._said_replicas(key, will, before, after, word.replicas, slept=slept)
        will.recent |= will.replicas
        wakes = slept and will.template != template and brakes(will.rest)[1] > 0
        if wakes and max(will.replicas) > 0 and not (will.excluded or will.copied):
            self._wakes = at, "a roll-out with a partition began while it slept"

    def lost_sight(self, key: Key) -> None:
        """Nothing is known of which Pods are to run."""
        self.wills[key].pods = Pods(serve=Serve.ANY)

    def held(self, key: Key, images: Mapping[str, int]) -> None:
        """A roll-out was stopped where it stood: with so many Pods of each image."""
        will = self.wills[key]
        if not images:
            will.pods = Pods(serve=Serve.UNASKED)
        elif images.keys() == {will.template.image}:
            will.pods = Pods()
        elif images.get(will.template.image, 0) >= max(will.replicas):
            will.pods = Pods(serve=Serve.ANY)  # a new revision that is whole ends the old one
        else:
            will.pods = Pods(serve=Serve.HELD, images=images)

    def annotated(self, key: Key, after: Json) -> None:
        """An owner changed annotations, none of them sleeper's note."""
        will = self.wills[key]
        will.notes, will.quiet = notes_of(after), None
        if replicas_of(after) == 0:
            self._doubts(will)

    def excluded(self, key: Key, after: Json, *, on: bool, calm: bool) -> None:
        """An owner said that a workload is to be left alone, or is not any more.

        Args:
            key: which.
            after: as it is now.
            on: the former.
            calm: the Space is awake, and no sleep is under way or wanted.
        """
        self.annotated(key, after)
        will = self.wills[key]
        if not on:
            will.excluded = None
        elif replicas_of(after) == 0 and min(will.replicas) > 0 and not will.copied:
            will.excluded = Exclusion.ASLEEP
        else:
            will.excluded = Exclusion.BEFORE if calm else Exclusion.DURING

    def forged(self, key: Key, before: Json, after: Json, asks: int | None = None) -> None:
        """A tenant wrote a restore annotation of their own, or took ours away.

        Args:
            key: which workload.
            before: as it was.
            after: as it is.
            asks: the replicas that the annotation plausibly asks for.
        """
        will = self.wills[key]
        will.tampered, will.quiet = True, None
        if replicas_of(after) == 0:
            self._doubts(will)
        raw = restore_of(after)
        if raw is not None:
            will.forged |= {raw}
        if asks is not None and replicas_of(before) == 0:
            will.replicas |= {asks}

    def put_back(self, key: Key, before: Json, after: Json, will_then: Will) -> None:
        """An object was overwritten by what it was in an earlier sleep, note and all.

        In the present sleep the present record counts. Else the old note is all that there is.
        """
        will = self.wills[key]
        will.rest, will.notes, will.quiet = rest_of(after), notes_of(after), None
        will.template, will.tampered, will.retained_asleep = template_of(after), True, True
        will.pods = Pods(serve=Serve.ANY)
        if replicas_of(before) != 0 or max(will.replicas) == 0:
            self._release(key, will, 0)
            # A zero of their own, which the writing did not change, may stand.
            own = will.replicas if replicas_of(before) == 0 else frozenset()
            will.replicas = will_then.replicas | own
            will.when_scaled = will_then.when_scaled
        elif restore_of(before) is None:
            will.replicas |= will_then.replicas
            will.when_scaled |= will_then.when_scaled
        self._doubts(will)

    def claims_go(self, key: Key) -> None:
        """Its claims go with it, because its owner wants that."""
        self._release(key, self.wills[key], 0, anyway=True)

    # -- the rules -------------------------------------------------------------------------------

    def _said_replicas(
        self, key: Key, will: Will, before: Json, after: Json, said: int, *, slept: bool
    ) -> None:
        told = said != replicas_of(before) or leaves_a_trace(before, after, "spec", "replicas")
        if slept and said == 0 and (will.copied or not told):
            will.replicas |= {said}  # a copy's zero is held by whoever created it
        else:
            will.replicas = frozenset({said})
            will.copied = False
        if slept and said == 0:
            self._doubts(will)
        self._release(key, will, said)

    def _said_when_scaled(
        self, will: Will, before: Json, after: Json, said: str, *, slept: bool
    ) -> None:
        path = ("spec", "persistentVolumeClaimRetentionPolicy", "whenScaled")
        told = said != when_scaled_of(before) or leaves_a_trace(before, after, *path)
        if told or will.when_scaled == {said} or DELETE not in will.when_scaled:
            will.when_scaled = frozenset({said})
        else:
            will.when_scaled |= {said}
        will.retained_asleep = will.retained_asleep or slept

    @staticmethod
    def _doubts(will: Will) -> None:
        """Claims are turned back to ``Delete`` only where surely nobody wrote the object."""
        if will.when_scaled:
            will.when_scaled |= {RETAIN}

    def _said_pods(self, will: Will, before: Json, word: Word, *, slept: bool) -> None:
        """Which Pods are to run after a change of template, pause, partition or number."""
        present = replicas_of(before)
        paused, partition = brakes(will.rest)
        old, new = will.template, word.template or will.template
        if new != old:
            will.template = new
            if not paused or will.pods not in (Pods(serve=Serve.HELD), Pods(serve=Serve.UNASKED)):
                # Else it was created paused, and has no revision still, so no Pods.
                will.pods = self._rolled(
                    will, old, present=present, paused=paused, partition=partition, slept=slept
                )
        elif any(brakes(before["spec"])) and not (paused or partition):
            will.pods = Pods() if new.starts else Pods(serve=Serve.ANY)
        elif partition != brakes(before["spec"])[1] and will.pods.images:
            will.pods = Pods(serve=Serve.ANY)  # a roll-out that was held goes on by some Pods
        wanted = present if word.replicas is None else word.replicas
        if wanted != present and not slept and will.between:
            stays = min(wanted, present) > 0 and (
                will.pods.least or will.pods.images.keys() - {will.template.image}
            )
            will.pods = Pods(serve=Serve.STUCK, least=1) if stays else Pods(serve=Serve.ANY)
        if new != old or wanted != present:
            will.steady = False

    @staticmethod
    def _rolled(
        will: Will, old: Template, *, present: int, paused: bool, partition: int, slept: bool
    ) -> Pods:
        """Which Pods run after a change of the template from ``old``."""
        new, braked = will.template, paused or partition > 0
        if slept or present == 0:
            return Pods(serve=Serve.ANY) if braked or not new.starts else Pods()
        if not braked and new.starts:
            return Pods()
        known = will.pods.serve is Serve.CURRENT and old.image != new.image
        if not known or (braked and not will.steady):
            return Pods(serve=Serve.ANY)
        if not braked:
            return Pods(serve=Serve.STUCK, least=present - present // 4)
        if paused:
            return Pods(serve=Serve.HELD, images={old.image: present})
        held = {new.image: present - partition, old.image: min(partition, present)}
        images = {image: count for image, count in held.items() if count > 0}
        return Pods(serve=Serve.HELD, images=images)

    def _release(self, key: Key, will: Will, said: int, *, anyway: bool = False) -> None:
        """Claims that a scale-down by the owner to ``said`` may delete."""
        if anyway or DELETE in will.when_scaled:
            for name in self._claims:
                found = re.fullmatch(rf"data-{re.escape(key[1])}-(\d+)", name)
                if found is not None and int(found[1]) >= said:
                    self._may_go.add(name)

    # -- what has to be true ---------------------------------------------------------------------

    def complaints(self, sight: Sight, *, asked: bool) -> list[Complaint]:
        """What is not as it has to be, of a Space that had the time to settle.

        Args:
            sight: how it is.
            asked: somebody has asked for it to be awake, after the last thing that was done.
        """
        found = list(self._of_power(sight, asked=asked))
        if not (sight.awake or sight.asleep):
            return found
        for key, will in self.wills.items():
            live = sight.workloads.get(key)
            subject = "/".join(key)
            if live is None:
                found.append(Complaint(what="lost", subject=subject, message="it is gone"))
            elif live["metadata"]["uid"] != will.uid:
                found.append(Complaint(what="lost", subject=subject, message="it is another one"))
            else:
                rules = self._of_awake if sight.awake else self._of_asleep
                found += [
                    Complaint(what=what, subject=subject, message=message)
                    for what, message in rules(key, will, live, sight, asked)
                ]
        for key in sight.workloads.keys() - self.wills.keys():
            found.append(
                Complaint(what="left", subject="/".join(key), message="its owner deleted it")
            )
        for name, uid in self._claims.items():
            if name not in self._may_go and sight.claims.get(name) != uid:
                message = f"the claim {name} of uid {uid} is {sight.claims.get(name, 'gone')}"
                found.append(Complaint(what="lost", subject="", message=message))
        return found

    def settle(self, sight: Sight) -> None:
        """Take what is there for what its owner wants, where more than one thing was allowed."""
        for name in [n for n in self._claims if sight.claims.get(n) != self._claims[n]]:
            del self._claims[name]
        self._claims.update(sight.claims)
        self._may_go.clear()
        self._wakes = None
        if not sight.awake:
            for key, will in self.wills.items():
                if DELETE in will.when_scaled and 0 in will.replicas:
                    self._release(key, will, 0)
                will.copied = will.copied and is_copy(sight.workloads[key])
            return
        for key, will in self.wills.items():
            live = sight.workloads[key]
            if len(will.replicas) > 1:
                zero = "zero" if replicas_of(live) == 0 else "what it was"
                self.counts[f"replicas that nothing tells: {zero}"] += 1
            if len(will.when_scaled) > 1:
                self.counts[f"whenScaled in doubt: {when_scaled_of(live)}"] += 1
            if not will.copied or replicas_of(live):
                will.replicas = frozenset({replicas_of(live)})
                will.copied = False
            if will.when_scaled:
                will.when_scaled = frozenset({when_scaled_of(live)})
            will.tampered = will.retained_asleep = False
            will.steady, will.recent = True, will.replicas
            if will.excluded is Exclusion.ASLEEP:
                will.excluded = Exclusion.DURING
            will.quiet = ownership_of(live)

    def _of_power(self, sight: Sight, *, asked: bool) -> Iterator[Complaint]:
        shown = f"shown as {sight.power}, sleep records: {', '.join(sight.phases) or 'none'}"
        reason = sight.annotations.get(f"{GROUP}reason")
        if not (sight.awake or sight.asleep):
            yield Complaint(what="stuck", subject="", message=f"{shown} ({reason})")
        elif sight.asleep:
            decided = datetime.fromisoformat(sight.records[0]["spec"]["decidedAt"]).timestamp()
            because = sorted(self.holds.keys() & {"excluded", "not a Space", "awake-hours"})
            for name, since in self.holds.items():
                if since + LATE_SIGHT_SECONDS < decided:
                    because.append(f"it was held by {name} when it was put to sleep")
            if self._wakes is not None and self._wakes[0] >= decided:
                because.append(self._wakes[1])
            because += ["a wake was asked for"] if asked or self.wanted == "awake" else []
            if because:
                message = f"asleep although {', '.join(because)}"
                yield Complaint(what="stuck", subject="", message=message)
        elif (
            sight.is_space
            and sight.annotations.get(f"{GROUP}desired") == "asleep"
            and reason in UNTOLD
        ):
            message = f"awake although asked to sleep, and all that it says is {reason}"
            yield Complaint(what="stuck", subject="", message=message)

    def _of_both(self, will: Will, live: Json) -> Iterator[tuple[str, str]]:
        if rest_of(live) != will.rest:
            yield "lost", f"its spec is {_difference(rest_of(live), will.rest)}"
        if notes_of(live) != will.notes:
            yield "lost", f"its annotations are {_difference(notes_of(live), dict(will.notes))}"

    def _of_awake(
        self, key: Key, will: Will, live: Json, sight: Sight, asked: bool
    ) -> Iterator[tuple[str, str]]:
        yield from self._of_both(will, live)
        waits = will.copied and is_copy(live) and not asked
        wanted = will.replicas | {0} if waits else will.replicas
        replicas = replicas_of(live)
        if replicas not in wanted:
            yield "lost", f"replicas are {replicas}, wanted {_any_of(wanted)}"
        kept = will.when_scaled | {RETAIN} if waits else will.when_scaled
        if kept and when_scaled_of(live) not in kept:
            yield "lost", f"whenScaled is {when_scaled_of(live)}, wanted {_any_of(kept)}"
        if live["spec"]["revisionHistoryLimit"] != will.history and not waits:
            yield "lost", f"revisionHistoryLimit is {live['spec']['revisionHistoryLimit']}"
        raw = restore_of(live)
        if raw is not None and raw not in will.forged and not waits:
            yield "left", f"the restore annotation {raw}"
        if any(entry["manager"] == "sleeper" for entry in live["metadata"]["managedFields"]):
            yield "left", "a managedFields entry of sleeper"
        if will.quiet is not None and ownership_of(live) != will.quiet:
            now = json.loads(ownership_of(live))
            yield "lost", f"who owns its fields: {_difference(now, json.loads(will.quiet))}"
        yield from self._of_pods(key, will, live, sight)

    def _of_asleep(
        self, key: Key, will: Will, live: Json, sight: Sight, _asked: bool
    ) -> Iterator[tuple[str, str]]:
        yield from self._of_both(will, live)
        replicas, pods = replicas_of(live), sight.pods_of(key)
        if will.excluded is not None:
            if will.excluded is Exclusion.ASLEEP and not will.tampered and replicas == 0:
                yield "stuck", "it was excluded while it slept, and the Space sleeps on"
            if will.excluded is Exclusion.BEFORE:
                if replicas not in will.replicas:
                    yield "lost", f"excluded, and replicas are {replicas}"
                yield from self._of_pods(key, will, live, sight)
            return
        if replicas != 0:
            yield "stuck", f"it runs ({replicas}) in a Space that stays asleep"
            return
        if pods:
            yield "stuck", f"{len(pods)} of its Pods run in a Space that sleeps"
        if will.between and will.replicas != {0}:
            yield "lost", f"it was put to sleep between two revisions ({will.pods.serve.value})"
        if min(will.replicas) > 0 and not will.tampered and restore_of(live) is None:
            yield "lost", "it is at zero without a restore annotation"
        in_danger = will.when_scaled and when_scaled_of(live) == DELETE and min(will.replicas) > 0
        if in_danger and not will.retained_asleep:
            yield "lost", "it sleeps with whenScaled: Delete"

    def _of_pods(self, key: Key, will: Will, live: Json, sight: Sight) -> Iterator[tuple[str, str]]:
        wanted = replicas_of(live)
        pods = sight.pods_of(key)
        images = Counter(pod["spec"]["containers"][0]["image"] for pod in pods)
        ready = Counter(pod["spec"]["containers"][0]["image"] for pod in pods if is_ready(pod))
        shown = f"Pods are {dict(images)}, Ready {dict(ready)}"
        serve, held = will.pods.serve, will.pods.images
        if serve is Serve.CURRENT:
            if wanted and ready != {will.template.image: wanted}:
                yield "lost", f"{shown}, wanted {wanted} of {will.template.image}"
        elif serve is Serve.HELD:
            if images != held:
                yield "lost", f"{shown}, wanted {dict(held)}: the roll-out was held there"
        elif serve is Serve.STUCK:
            if ready.total() - ready[will.template.image] < will.pods.least:
                yield "lost", f"{shown}, wanted at least {will.pods.least} Ready of what served"
        elif wanted and not pods and serve is Serve.ANY:
            yield "lost", f"{shown}, wanted {wanted} of any image"
        if wanted == 0 and images:
            yield "lost", f"{shown}, wanted none"


def brakes(spec: Json) -> tuple[bool, int]:
    """What stops a roll-out on its way: paused, and the partition."""
    rolling = spec.get("updateStrategy", {}).get("rollingUpdate") or {}
    return bool(spec.get("paused")), int(rolling.get("partition", 0))


def _any_of(values: frozenset[Any]) -> str:
    return " or ".join(map(str, sorted(values)))


def _difference(now: Any, wanted: Any) -> str:
    """Where two values differ, briefly."""
    if isinstance(now, dict) and isinstance(wanted, dict):
        different = sorted(k for k in now.keys() | wanted.keys() if now.get(k) != wanted.get(k))
        return "; ".join(f"{k}: {_difference(now.get(k), wanted.get(k))}" for k in different)
    return f"{json.dumps(now)}, not {json.dumps(wanted)}"
